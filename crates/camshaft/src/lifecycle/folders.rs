//! The folders of packs of an engine: found and watched before anything runs, applied once it does.
//!
//! A folder that is not there is a mistake of whoever starts the engine, so it is told before any work
//! is taken up. An edit is noticed from then on, also one that comes while the folder is being applied.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::exit::CliError;
use crate::pack::service::Packs;
use crate::pack::{PackError, PackWatch, watch};
use crate::render::Screen;

/// Folders of packs, watched.
pub(super) struct Folders(Vec<Folder>);

struct Folder {
    path: PathBuf,
    /// What cannot be watched is applied at the start only.
    watch: Option<PackWatch>,
}

impl Folders {
    /// Begins to watch every one of them.
    ///
    /// # Errors
    /// One is not there.
    pub(super) fn find(paths: Vec<PathBuf>) -> Result<Self, CliError> {
        let found = paths.into_iter().map(|path| {
            there(&path)?;
            let watch = watch(&path).inspect_err(|error| {
                tracing::error!(folder = %path.display(), %error, "the folder of packs is not watched");
            });
            Ok(Folder {
                watch: watch.ok(),
                path,
            })
        });
        found.collect::<Result<_, _>>().map(Self)
    }

    /// Applies every one of them. What was applied before goes on working, and the folder is watched: a
    /// mistake in one file must not keep the engine from coming up again.
    pub(super) async fn apply(&self, packs: &Packs, screen: &Screen) {
        for Folder { path, .. } in &self.0 {
            if let Err(error) = packs.apply_folder(path).await {
                screen.error(&pack_error(path, error));
            }
        }
    }

    /// Applies each of them again whenever it was edited, until the tasks are aborted.
    pub(super) fn keep_applied(self, packs: &Arc<Packs>, screen: &Screen) -> Vec<JoinHandle<()>> {
        let watched = self
            .0
            .into_iter()
            .filter_map(|Folder { path, watch }| Some((path, watch?)));
        watched
            .map(|(path, mut watch)| {
                let (packs, screen) = (packs.clone(), screen.clone());
                tokio::spawn(async move {
                    while watch.changed().await {
                        match packs.apply_folder(&path).await {
                            Ok(changed) if changed.is_empty() => {}
                            Ok(changed) => {
                                screen.note(&format!("Applied {}", changed.join(", ")));
                            }
                            Err(error) => screen.error(&pack_error(&path, error)),
                        }
                    }
                })
            })
            .collect()
    }
}

/// Whether a folder of packs is there.
///
/// # Errors
/// It is not.
pub(crate) fn there(folder: &Path) -> Result<(), CliError> {
    if folder.is_dir() {
        return Ok(());
    }
    Err(pack_error(folder, PackError::Missing(folder.to_owned())))
}

/// What is wrong with a folder of packs.
pub(crate) fn pack_error(folder: &Path, error: PackError) -> CliError {
    let refused = camshaft_server::PackError::from(error);
    CliError::new(
        refused.code,
        format!("{}: {}", folder.display(), refused.message),
    )
    .problems(refused.problems.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::ErrorCode;

    #[tokio::test]
    async fn an_edit_is_noticed_as_soon_as_the_folder_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut folders = Folders::find(vec![dir.path().to_owned()]).unwrap();
        std::fs::write(dir.path().join("edited"), "").unwrap();
        let watch = folders.0[0].watch.as_mut().unwrap();
        assert!(watch.changed().await);
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("typo");
        let found = Folders::find(vec![dir.path().to_owned(), absent]);
        let error = found.err().unwrap();
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.message.contains("there is no folder"), "{error}");
    }
}

//! Noticing that somebody edits a folder of packs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{PackError, folder};

/// How long a folder must be quiet before it is read: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// How long a folder that is never quiet may put off being read.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A folder that is being watched, until it is dropped.
#[derive(Debug)]
pub struct PackWatch {
    // Watching ends when this is dropped.
    _watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
}

/// Watches a folder of packs, with everything below it.
///
/// # Errors
/// The folder cannot be watched.
pub fn watch(dir: &Path) -> Result<PackWatch, PackError> {
    // One place is enough: a change that finds it taken will be seen with the one before.
    let (sender, changes) = mpsc::channel(1);
    let failed = |source| PackError::Watch {
        path: dir.to_owned(),
        source,
    };
    let root: PathBuf = dir.canonicalize().map_err(PackError::io(dir))?;
    let watched = root.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error of the watcher may mean lost changes, so it counts as one.
        if event.map_or(true, |event| is_edit(&event, &watched)) {
            let _ = sender.try_send(());
        }
    })
    .map_err(failed)?;
    watcher
        .watch(&root, RecursiveMode::Recursive)
        .map_err(failed)?;
    Ok(PackWatch {
        _watcher: watcher,
        changes,
    })
}

/// Reading a pack is no edit, and neither is what tools leave behind.
fn is_edit(event: &notify::Event, root: &Path) -> bool {
    let within = |path: &PathBuf| !folder::is_ignored(path.strip_prefix(root).unwrap_or(path));
    !matches!(event.kind, EventKind::Access(_))
        && (event.paths.is_empty() || event.paths.iter().any(within))
}

impl PackWatch {
    /// Waits for a change and then until the folder is quiet. `false` if the watcher has ended.
    pub async fn changed(&mut self) -> bool {
        if self.changes.recv().await.is_none() {
            return false;
        }
        let latest = Instant::now() + LONGEST_WAIT;
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, self.changes.recv()).await {
                Ok(Some(())) if Instant::now() < latest => {}
                _ => return true,
            }
        }
    }
}

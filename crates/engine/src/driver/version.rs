//! Versions of packs that are not current any more, loaded when something is pinned to one.

use std::sync::Arc;

use camshaft_model::definition::{Catalog, Pack};
use camshaft_model::port::store::{PackRecord, StoreError};

use super::Core;

/// Loads a version of a pack from where it was installed. The catalog is what is current.
pub type LoadPack = dyn Fn(&PackRecord, &Catalog) -> Result<Arc<Pack>, String> + Send + Sync;

/// Why a version that is recorded is not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VersionError {
    /// It may be later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It will not be by itself: its folder is gone or was edited.
    #[error("version {hash} of pack '{pack}' cannot be loaded: {why}")]
    Unloadable {
        pack: String,
        hash: String,
        why: String,
    },
}

impl Core {
    /// A version of a pack, loaded if it has not been since the start; `None` if it was never
    /// installed: it came with an earlier program.
    pub(crate) async fn version(&self, hash: &str) -> Result<Option<Arc<Pack>>, VersionError> {
        if let Some(pack) = self.read(|state| state.versions.get(hash).cloned()) {
            return Ok(Some(pack));
        }
        let Some(record) = self.store().pack_version(hash.to_owned()).await? else {
            return Ok(None);
        };
        let name = record.pack.clone();
        let unloadable = |why: String| VersionError::Unloadable {
            pack: name,
            hash: hash.to_owned(),
            why,
        };
        let (load, world) = (self.load_pack(), self.read(|state| state.catalog.clone()));
        let loading = self
            .runtime
            .spawn_blocking(move || load(&record, &world))
            .await;
        match loading.map_err(|error| error.to_string()).flatten() {
            Ok(pack) => Ok(Some(self.alter(|state| {
                state.versions.entry(hash.into()).or_insert(pack).clone()
            }))),
            Err(why) => Err(unloadable(why)),
        }
    }
}

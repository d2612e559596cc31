//! The contract of every store, on SQLite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use camshaft_model::port::store::Store;
use camshaft_store::SqliteStore;
use camshaft_testkit::store_contract;
use camshaft_testkit::store_contract::Home;
use tempfile::TempDir;

struct Folder(TempDir);

impl Home for Folder {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.0.path().join("camshaft.db")).unwrap())
    }
}

store_contract!(|| Folder(tempfile::tempdir().unwrap()));

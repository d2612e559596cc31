//! The contract of every store, on SQLite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use camshaft_model::port::store::Store;
use camshaft_store::{Memory, SqliteStore};
use camshaft_testkit::store_contract;
use camshaft_testkit::store_contract::Home;
use tempfile::TempDir;

struct Folder(TempDir);

impl Home for Folder {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.0.path().join("camshaft.db")).unwrap())
    }
}

struct NoFile(Memory);

impl Home for NoFile {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::in_memory(&self.0).unwrap())
    }
}

mod in_a_file {
    use super::*;

    store_contract!(|| Folder(tempfile::tempdir().unwrap()));
}

mod in_memory {
    use super::*;

    store_contract!(|| NoFile(Memory::default()));
}

//! The only SQL of Camshaft: what the engine calls `Store`, on an embedded database.
//!
//! A transaction goes in through `Store::submit`, waits in a queue with others, and is committed
//! together with them by the one thread that may write (`sqlite/writer.rs`); its callback runs after
//! the commit. Reads go to a few threads with connections of their own (`sqlite/reader.rs`) and never
//! wait for the writer. Large values are in files beside the database (`sqlite/artifact.rs`). One file for each kind of row says how it is stored and read back; business
//! rules are not here: a guard compares what is stored with what the caller expects, no more.

mod sqlite;

pub use sqlite::{Memory, SqliteStore};

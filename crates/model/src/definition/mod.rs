//! Definitions: packs and what is in them.
//!
//! Text goes one way: YAML -> [`document`] (a tree in which every node knows its line and column)
//! -> [`decode`] and `authored` (what the person wrote, every mistake collected) -> [`load`]
//! (cross-references known to exist) -> `resolved` (checked, defaults filled in). Only resolved
//! definitions leave this module; configuration uses the tree and the decoder too.

mod authored;
pub mod decode;
pub mod document;
pub mod load;
pub mod problem;
mod resolved;
pub mod workflow;

pub use load::{Checks, Loaded, PackFiles, PackSource, load_pack, load_packs, load_pinned_pack};
pub use problem::{Position, Problem, Problems};
pub use resolved::{
    Action, Backoff, Catalog, Criterion, EntryPoint, OutputMode, Pack, PackOrigin,
    ParameterDelivery, ParameterSchema, PythonEnvironment, REDACTED, RetryPolicy, Rule, Runtime,
    Trigger, TriggerKind, Use, UseOf,
};
pub use workflow::Workflow;

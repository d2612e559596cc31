//! Runs of workflows, without the engine round them.
//!
//! [`program`] is a definition with its expressions compiled and [`graph`] what the planner makes of
//! it; both are made once for each definition. [`frontier`] follows one lap of one run through the
//! graph, [`items`] one task that fans out. These know neither expressions nor executions: they are
//! told what happened and answer what follows from it. [`run`] holds a run together: variables, results,
//! the tasks that are under way ([`active`]), and what the expressions make of them. What becomes of all that in
//! executions and rows is decided in `apply/workflow`; what is kept in the database is enough to make
//! everything here anew at any instant.

mod active;
pub(crate) mod cache;
mod frontier;
mod gather;
mod graph;
mod held;
mod item_ends;
mod items;
mod program;
mod readers;
mod reason;
mod run;
pub(crate) mod weight;

#[cfg(test)]
mod frontier_tests;
#[cfg(test)]
mod naive_tests;

pub(crate) use active::{Active, ActiveItems, ActiveWork, TaskEnd};
pub(crate) use cache::ResultCache;
pub(crate) use frontier::{Cause, Frontier, Lap, Step};
pub use held::RUN_MEMORY_BYTES;
pub(crate) use item_ends::{ItemEnds, NEVER_MADE, item_error};
pub(crate) use items::Fanout;
pub(crate) use program::{Program, Programs};
pub(crate) use run::{Alarm, Beginning, Kept, NextLap, Run, first_record, progress, truth};

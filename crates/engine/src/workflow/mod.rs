//! Which tasks of a run may start, and what the run has come to.
//!
//! [`graph`] is compiled once for each definition, [`frontier`] follows one lap of one run through it,
//! [`items`] follows one task that fans out. All three are told what happened and answer what follows
//! from it. They know neither expressions nor executions: whoever asks them renders `when` and the
//! transitions, starts what they say may start, and records what they say is skipped. What is kept of
//! a run in the database is enough to make them anew at any instant.

pub(crate) mod frontier;
mod gather;
pub(crate) mod graph;
pub(crate) mod items;
mod reason;

#[cfg(test)]
mod frontier_tests;

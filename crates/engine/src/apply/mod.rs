//! One command per file: the state and a command go in, changes and effects come out. Synchronous
//! and without I/O; time and chance come with the [`crate::state::Context`].

mod admit;
mod cancel;
mod constraint;
mod due;
mod end;
mod held;
mod ingest;
mod report;
mod request;
mod undo;
pub(crate) mod workflow;

pub(crate) use held::HeldEvents;

#[cfg(test)]
mod constraint_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod results_tests;
#[cfg(test)]
mod tests;

//! One command per file: the state and a command go in, changes and effects come out. Synchronous
//! and without I/O; time and chance come with the [`crate::state::Context`].

mod admit;
mod cancel;
mod constraint;
mod due;
mod end;
mod held;
mod ingest;
mod recover;
mod report;
mod request;
mod retry;
mod uncertain;
mod undo;
pub(crate) mod workflow;

#[cfg(test)]
pub(crate) mod constraint_tests;
#[cfg(test)]
mod explain_tests;
#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod results_tests;
#[cfg(test)]
mod sensor_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod told_tests;

//! How the parts of Camshaft talk.
//!
//! Inside one process that is [`bus::Bus`]: what was committed is told to every subscriber, one after
//! another, in the order of the commits. The event log itself is not a subscriber: its lines are
//! stored with what they tell of. Within one process attempts reach the worker by a call through the
//! dispatch port, so there is no local transport here.

pub mod bus;
pub mod mqtt;
pub mod otlp;
#[cfg(test)]
mod samples;
pub mod tracing_sink;

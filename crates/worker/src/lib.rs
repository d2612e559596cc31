//! The worker: the only code that starts processes.
//!
//! A [`Job`](camshaft_model::port::dispatch::Job) comes in through [`Worker`]. Its action names a
//! runtime; the [`registry`] finds it and the runtime turns the job into a command line
//! ([`runtime`]), which [`process`] runs and watches. Native functions and HTTP requests are tasks
//! instead of processes. However an attempt ends, one last report with its end goes back.
//!
//! Sensors that need files or processes live here as well ([`sensor`]); they know nothing of jobs.

pub mod process;
pub mod redact;
pub mod registry;
pub mod runtime;
pub mod sensor;
mod worker;

pub use registry::Registry;
pub use runtime::native::{NativeContext, NativeRegistry};
pub use sensor::Sensors;
pub use worker::{Worker, WorkerConfig};

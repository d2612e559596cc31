//! Decisions: which rules an event matches, what may start, what an ended attempt leads to.
//!
//! Everything outside [`driver`] is synchronous and pure, so that a test makes a decision in
//! microseconds: state and a command go in (`apply/`), changes and effects come out (`decision.rs`).
//! [`Engine`] is the handle that the server, sensors and embedding programs hold.

mod apply;
mod catalog;
mod constraint;
mod decision;
pub mod driver;
mod explain;
pub mod expression;
pub mod handle;
mod held_events;
mod hidden;
pub mod parameters;
pub mod retry;
pub mod rule;
pub mod schedule;
pub mod simulation;
mod state;
mod token;
pub mod trace;
mod uncertain;
mod workflow;

pub use driver::{Recovered, Recovery};
pub use handle::{Engine, InquiryAnswer, RetryFrom, World};
pub use hidden::Hidden;
pub use state::Settings;
pub use token::TokenSigner;
pub use workflow::RUN_MEMORY_BYTES;

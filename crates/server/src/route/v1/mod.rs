//! The endpoints under `/api/v1`, one family a file.

pub(super) mod actions;
pub(crate) mod constraints;
pub(super) mod enforcements;
pub(super) mod events;
pub(super) mod executions;
pub(super) mod hooks;
pub(super) mod inquiries;
pub(super) mod logs;
pub(super) mod node;
pub(super) mod packs;
pub(super) mod retry;
pub(super) mod rules;
pub(super) mod runs;
pub(super) mod step_events;
pub(super) mod submit;
pub(super) mod trace;

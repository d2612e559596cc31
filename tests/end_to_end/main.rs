//! End to end: the real binary, real processes, a real database. One file per promise.

#![expect(clippy::expect_used, reason = "a test that cannot go on must fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "the engine under test has the machine's clock, and so must who looks at it"
)]
#![expect(
    clippy::print_stderr,
    reason = "what a failed test leaves behind is said where the test runner shows it"
)]

mod collector;
mod config;
mod control;
mod control_again;
mod control_plane;
mod crash;
mod downtime;
mod embed;
mod executions;
mod guest;
mod harness;
mod health;
mod http;
mod lifecycle;
mod logs;
mod metrics;
mod mqtt;
mod packs;
mod pipeline;
mod readme;
mod rules;
mod runtimes;
mod screen;
mod sensors;
mod traces;
mod watching;
mod workflows;

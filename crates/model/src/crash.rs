//! Named points at which a test may kill the process.
//!
//! The promise "a crash at any instruction" is tested by crashing at the instants that matter: each
//! is marked with [`point`]. In a normal process no hook is installed and a point costs one relaxed
//! load. The binary installs a hook when it is asked to by its environment (see `lifecycle.rs` there).

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// Every point between accepting an event and its terminal state, in the order of the pipeline.
pub const POINTS: &[&str] = &[
    "event.before_commit",
    "event.after_commit",
    "attempt.before_spawn",
    "attempt.after_spawn",
    "attempt.running",
    "attempt.after_exit",
    "report.before_commit",
    "report.after_commit",
];

/// Marks an instant at which the process may be made to die.
pub fn point(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

/// Installs what happens at points. Only the first call has an effect.
pub fn install(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}

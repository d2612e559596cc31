//! The binary.

use std::process::ExitCode;

use camshaft::command::{self, Local};
use camshaft::{lifecycle, wire};

/// Allocations of one thread are freed by another all the time here: a decision is made on one, stored on
/// a second and told on a third.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command::main(
        std::env::args_os(),
        Local {
            up: lifecycle::up,
            guest: lifecycle::guest,
            check_database: wire::check_database,
        },
    )
}

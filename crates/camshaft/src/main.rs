//! The binary.

use std::process::ExitCode;

use camshaft::command::{self, Local};
use camshaft::{lifecycle, wire};

fn main() -> ExitCode {
    command::main(
        std::env::args_os(),
        Local {
            up: lifecycle::up,
            check_database: wire::check_database,
        },
    )
}

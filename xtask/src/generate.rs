//! Documents that are generated from the code, and compared with it in CI.

use std::path::{Path, PathBuf};

/// What to do with a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it.
    Write,
    /// Fail if it is not what would be written.
    Check,
}

/// Each document, relative to the repository, with its text.
fn documents() -> [(&'static str, String); 2] {
    [
        ("docs/cli.md", camshaft::command::cli_reference()),
        ("docs/openapi.json", camshaft_server::openapi_json() + "\n"),
    ]
}

/// Writes or checks every document.
pub(crate) fn run(mode: Mode) -> Result<String, String> {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut stale = Vec::new();
    for (name, text) in documents() {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        match mode {
            Mode::Check => stale.push(name),
            Mode::Write => {
                std::fs::write(&path, text).map_err(|error| format!("{name}: {error}"))?
            }
        }
    }
    if stale.is_empty() {
        Ok("generated documents are up to date".to_owned())
    } else {
        Err(format!(
            "out of date: {}; run: cargo xtask gen",
            stale.join(", ")
        ))
    }
}

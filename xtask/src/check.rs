//! Who may depend on whom. The table is the one of ARCHITECTURE.md; an edge that is not in it fails.

use std::process::Command;

use serde_json::Value;

/// Each crate of ours and those of ours that it may depend on, outside tests.
const EDGES: &[(&str, &[&str])] = &[
    ("camshaft-model", &[]),
    ("camshaft-engine", &["camshaft-model"]),
    ("camshaft-store", &["camshaft-model"]),
    ("camshaft-link", &["camshaft-model"]),
    ("camshaft-worker", &["camshaft-model"]),
    ("camshaft-server", &["camshaft-model", "camshaft-engine"]),
    (
        "camshaft",
        &[
            "camshaft-model",
            "camshaft-engine",
            "camshaft-store",
            "camshaft-link",
            "camshaft-worker",
            "camshaft-server",
        ],
    ),
];

/// Compares the table with `cargo metadata`.
pub(crate) fn run() -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let mut wrong = Vec::new();
    for (name, allowed) in EDGES {
        let package = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == *name)
            .ok_or_else(|| format!("there is no crate {name}"))?;
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        for dependency in dependencies.filter(|dependency| dependency["kind"].is_null()) {
            let on = dependency["name"].as_str().unwrap_or_default();
            if on.starts_with("camshaft") && !allowed.contains(&on) {
                wrong.push(format!("{name} must not depend on {on}"));
            }
        }
    }
    if wrong.is_empty() {
        Ok("layering holds".to_owned())
    } else {
        Err(wrong.join("\n"))
    }
}

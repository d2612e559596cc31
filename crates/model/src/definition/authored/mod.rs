//! What a person wrote: one function for each kind of file. Each takes the root of the file, notes
//! every mistake in it and fills what could not be read with defaults, so that one mistake does not
//! hide another; the load as a whole fails if anything was noted.

mod action;
mod entry_point;
mod manifest;
mod parameters;
mod rule;
mod runtime;
mod trigger;
mod workflow;

pub(super) use action::action;
pub(super) use manifest::{Manifest, manifest};
pub(super) use rule::{AuthoredRule, Mapped, rule};
pub(super) use runtime::{BUILT_IN_RUNTIMES, runtime};
pub(super) use trigger::trigger;
pub(super) use workflow::{
    Argument, ArgumentForm, AuthoredWorkflow, AwaitedTrigger, Call, RUNTIME as WORKFLOW, workflow,
};

use super::decode::{Cursor, Fields};
use super::load::{Checks, PackFiles};
use crate::Ref;

/// What the files of one pack are read against.
pub(super) struct Surroundings<'a> {
    /// The pack's ref, if `pack.yaml` has a valid one.
    pub pack: Option<&'a str>,
    /// Every file of the pack.
    pub files: &'a PackFiles,
    /// Checks that need the engine.
    pub checks: &'a dyn Checks,
    /// Whether this is the pack in the binary, which may say how its triggers come about.
    pub embedded: bool,
}

/// The ref of a definition, which must be the pack's own, and its description.
fn identity(fields: &mut Fields<'_>, surroundings: &Surroundings<'_>) -> (Option<Ref>, String) {
    let example = format!("{}.name", surroundings.pack.unwrap_or("pack"));
    let reference = fields.required("ref", &example).and_then(|cursor| {
        let reference = cursor.reference()?;
        if surroundings
            .pack
            .is_some_and(|pack| pack != reference.pack())
        {
            let name = reference
                .as_str()
                .split_once('.')
                .map_or("name", |(_, name)| name);
            cursor.problem(format!(
                "'{reference}' does not belong to this pack; write {}.{name}",
                surroundings.pack.unwrap_or_default()
            ));
        }
        Some(reference)
    });
    (reference, description(fields))
}

fn description(fields: &mut Fields<'_>) -> String {
    fields
        .optional("description")
        .and_then(|cursor| cursor.text())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// A JSON Schema that must itself be valid.
fn schema(cursor: &Cursor<'_>, checks: &dyn Checks) -> Option<serde_json::Value> {
    let schema = serde_json::Value::Object(cursor.object()?);
    cursor.parsed(checks.schema(&schema))?;
    Some(schema)
}

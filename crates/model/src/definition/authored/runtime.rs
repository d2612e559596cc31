//! `runtimes/*.yaml`.

use super::{Surroundings, identity};
use crate::Ref;
use crate::definition::Runtime;
use crate::definition::decode::Cursor;

/// The runtimes that workers have without a definition.
pub(in crate::definition) const BUILT_IN_RUNTIMES: &[&str] =
    &["shell", "python", "node", "local", "native", "http"];

pub(in crate::definition) fn runtime(
    root: &Cursor<'_>,
    surroundings: &Surroundings<'_>,
) -> (Option<Ref>, Option<Runtime>) {
    let Some(mut fields) = root.fields() else {
        return (None, None);
    };
    let (reference, description) = identity(&mut fields, surroundings);
    let command = fields.required("command", "[ruby]").and_then(|cursor| {
        let command = cursor.texts()?;
        if command.is_empty() {
            cursor.problem("expected at least the name of a program");
        }
        Some(command)
    });
    let extensions = fields.optional("extensions").and_then(|cursor| {
        let extensions = cursor.texts()?;
        Some(
            extensions
                .iter()
                .map(|text| text.trim_start_matches('.').to_owned())
                .collect(),
        )
    });
    fields.finish();
    let taken = |name: &&str| BUILT_IN_RUNTIMES.contains(name) || *name == "workflow";
    if let Some(name) = reference.as_ref().map(Ref::name).filter(taken) {
        root.problem(format!(
            "the runtime '{name}' is built in; give yours another name"
        ));
    }
    let runtime = reference.clone().map(|reference| Runtime {
        name: reference.name().to_owned(),
        reference,
        description,
        command: command.unwrap_or_default(),
        extensions: extensions.unwrap_or_default(),
    });
    (reference, runtime)
}

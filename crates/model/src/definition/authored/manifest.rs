//! `pack.yaml`.

use super::description;
use crate::definition::PythonEnvironment;
use crate::definition::decode::Cursor;
use crate::definition::load::PackFiles;
use crate::reference::is_name;

/// What `pack.yaml` says.
#[derive(Debug, Default)]
pub(in crate::definition) struct Manifest {
    /// The pack's ref; `None` if it is missing or wrong, which has been noted.
    pub reference: Option<String>,
    pub version: String,
    pub description: String,
    pub python: Option<PythonEnvironment>,
}

pub(in crate::definition) fn manifest(root: &Cursor<'_>, files: &PackFiles) -> Option<Manifest> {
    let mut fields = root.fields()?;
    let reference = fields.required("ref", "demo").and_then(|cursor| {
        let text = cursor.text()?;
        if !is_name(text) {
            cursor.problem(format!(
                "'{}' is not the ref of a pack: write lower-case letters, digits, '_' and '-', beginning with a letter",
                crate::definition::document::shorten(text)
            ));
            return None;
        }
        Some(text.to_owned())
    });
    let version = fields
        .required("version", "1.0.0")
        .and_then(|cursor| cursor.filled_text())
        .unwrap_or_default()
        .to_owned();
    let description = description(&mut fields);
    let python = fields
        .optional("python")
        .and_then(|cursor| python(&cursor, files));
    fields.finish();
    Some(Manifest {
        reference,
        version,
        description,
        python,
    })
}

fn python(cursor: &Cursor<'_>, files: &PackFiles) -> Option<PythonEnvironment> {
    let mut fields = cursor.fields()?;
    let requirements = fields
        .required("requirements", "requirements.txt")
        .and_then(|cursor| {
            let file = cursor.filled_text()?;
            if !files.contains_key(std::path::Path::new(file)) {
                cursor.problem(format!("the pack has no file '{file}'"));
            }
            Some(file.to_owned())
        });
    fields.finish();
    Some(PythonEnvironment {
        requirements: requirements?,
    })
}

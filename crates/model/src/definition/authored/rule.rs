//! `rules/*.yaml`.

use std::collections::BTreeMap;

use super::{Surroundings, identity};
use crate::definition::Criterion;
use crate::definition::decode::{Cursor, Fields, Located};
use crate::definition::document::Content;
use crate::definition::load::Checks;
use crate::definition::problem::Position;
use crate::{Object, Ref};

/// A ref and what is handed to it: `{ ref: …, parameters: { … } }`, or the ref alone.
pub(in crate::definition) struct Mapped {
    pub reference: Located<Ref>,
    pub parameters: Object,
    /// Where the parameters are, and where each of them is.
    pub position: Position,
    pub names: BTreeMap<String, Position>,
}

/// A rule whose trigger and action have not been looked up.
pub(in crate::definition) struct AuthoredRule {
    pub reference: Ref,
    pub description: String,
    pub enabled: bool,
    pub trigger: Option<Mapped>,
    pub criteria: Vec<Criterion>,
    pub when: Option<String>,
    pub action: Option<Mapped>,
    pub priority: i32,
}

pub(in crate::definition) fn rule(
    root: &Cursor<'_>,
    surroundings: &Surroundings<'_>,
) -> (Option<Ref>, Option<AuthoredRule>) {
    let Some(mut fields) = root.fields() else {
        return (None, None);
    };
    let (reference, description) = identity(&mut fields, surroundings);
    let enabled = fields
        .optional("enabled")
        .and_then(|cursor| cursor.boolean());
    let trigger = fields
        .required(
            "trigger",
            "{ ref: core.interval, parameters: { every: 10s } }",
        )
        .and_then(|cursor| mapped(&cursor));
    let criteria = fields
        .optional("criteria")
        .and_then(|cursor| criteria(&cursor, surroundings.checks));
    let when = fields.optional("when").and_then(|cursor| {
        let text = cursor.filled_text()?;
        cursor.parsed(surroundings.checks.expression(text))?;
        Some(text.to_owned())
    });
    let action = fields
        .required("action", "{ ref: core.echo, parameters: { message: hi } }")
        .and_then(|cursor| {
            templates(&cursor, surroundings);
            mapped(&cursor)
        });
    let priority = fields
        .optional("priority")
        .and_then(|cursor| cursor.integer(-100..=100));
    fields.finish();
    let rule = reference.clone().map(|reference| AuthoredRule {
        reference,
        description,
        enabled: enabled.unwrap_or(true),
        trigger,
        criteria: criteria.unwrap_or_default(),
        when,
        action,
        priority: priority.unwrap_or(0),
    });
    (reference, rule)
}

fn mapped(cursor: &Cursor<'_>) -> Option<Mapped> {
    if matches!(cursor.node().content, Content::Text(_)) {
        let reference = Located::new(cursor.reference()?, cursor);
        let position = cursor.position();
        return Some(Mapped {
            reference,
            parameters: Object::new(),
            position,
            names: BTreeMap::new(),
        });
    }
    let mut fields = cursor.fields()?;
    let reference = fields
        .required("ref", "core.interval")
        .and_then(|cursor| Some(Located::new(cursor.reference()?, &cursor)));
    let parameters = fields.optional("parameters");
    fields.finish();
    let names = parameters
        .as_ref()
        .and_then(Cursor::entries)
        .unwrap_or_default();
    Some(Mapped {
        reference: reference?,
        parameters: names
            .iter()
            .map(|(name, _, value)| ((*name).to_owned(), value.value()))
            .collect(),
        position: parameters
            .as_ref()
            .map_or(cursor.position(), Cursor::position),
        names: names
            .into_iter()
            .map(|(name, position, _)| (name.to_owned(), position))
            .collect(),
    })
}

/// Every text below an action is a template.
fn templates(cursor: &Cursor<'_>, surroundings: &Surroundings<'_>) {
    match &cursor.node().content {
        Content::Text(text) => {
            let _ = cursor.parsed(surroundings.checks.template(text));
        }
        Content::List(_) => {
            cursor
                .items()
                .iter()
                .flatten()
                .for_each(|item| templates(item, surroundings));
        }
        Content::Mapping(_) => {
            for (_, _, value) in cursor.entries().iter().flatten() {
                templates(value, surroundings);
            }
        }
        Content::Null | Content::Bool(_) | Content::Number(_) => {}
    }
}

/// A mapping from path to `{ type, pattern }`, or a list of `{ path, type, pattern }` for two
/// criteria on one path.
pub(super) fn criteria(cursor: &Cursor<'_>, checks: &dyn Checks) -> Option<Vec<Criterion>> {
    if matches!(cursor.node().content, Content::List(_)) {
        let items = cursor.items()?;
        return Some(
            items
                .iter()
                .filter_map(|item| {
                    let mut fields = item.fields()?;
                    let path = fields
                        .required("path", "trigger.count")
                        .and_then(|cursor| cursor.filled_text());
                    criterion(item, fields, path, checks)
                })
                .collect(),
        );
    }
    let entries = cursor.entries()?;
    Some(
        entries
            .iter()
            .filter_map(|(path, _, cursor)| criterion(cursor, cursor.fields()?, Some(path), checks))
            .collect(),
    )
}

fn criterion(
    cursor: &Cursor<'_>,
    mut fields: Fields<'_>,
    path: Option<&str>,
    checks: &dyn Checks,
) -> Option<Criterion> {
    let operator = fields
        .required("type", "equals")
        .and_then(|cursor| cursor.filled_text());
    let pattern = fields
        .nullable("pattern")
        .map_or(serde_json::Value::Null, |cursor| cursor.value());
    fields.finish();
    let criterion = Criterion {
        path: path?.to_owned(),
        operator: operator?.to_owned(),
        pattern,
    };
    cursor.parsed(checks.criterion(criterion))
}

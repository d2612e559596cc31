//! `triggers/*.yaml`.

use super::{Surroundings, identity, parameters, schema};
use crate::Ref;
use crate::definition::decode::Cursor;
use crate::definition::{Trigger, TriggerKind};

const KINDS: &[(&str, TriggerKind)] = &[
    ("interval", TriggerKind::Interval),
    ("cron", TriggerKind::Cron),
    ("date", TriggerKind::Date),
    ("rrule", TriggerKind::Rrule),
    ("webhook", TriggerKind::Webhook),
    ("file", TriggerKind::File),
    ("process", TriggerKind::Process),
    ("mqtt", TriggerKind::Mqtt),
    ("execution", TriggerKind::Execution),
    ("posted", TriggerKind::Posted),
];

pub(in crate::definition) fn trigger(
    root: &Cursor<'_>,
    surroundings: &Surroundings<'_>,
) -> (Option<Ref>, Option<Trigger>) {
    let Some(mut fields) = root.fields() else {
        return (None, None);
    };
    let (reference, description) = identity(&mut fields, surroundings);
    let kind = if surroundings.embedded {
        fields
            .optional("kind")
            .and_then(|cursor| cursor.one_of(KINDS))
    } else {
        fields.refused(
            "kind",
            "only triggers of the core pack have a kind; events of this one are posted over the API",
        );
        None
    };
    let checks = surroundings.checks;
    let parameters = fields
        .optional("parameters")
        .and_then(|cursor| parameters::parameters(&cursor, checks));
    let payload_schema = fields
        .optional("payload_schema")
        .and_then(|cursor| schema(&cursor, checks));
    fields.finish();
    let trigger = reference.clone().map(|reference| Trigger {
        reference,
        description,
        kind: kind.unwrap_or(TriggerKind::Posted),
        parameters: parameters.unwrap_or_else(parameters::none),
        payload_schema,
    });
    (reference, trigger)
}

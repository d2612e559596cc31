//! Enforcements: one row for each rule and event, clustered on the event.

use camshaft_model::port::store::{EnforcementFilter, PageRequest};
use camshaft_model::{Enforcement, EnforcementId, EnforcementOutcome, EventId, ExecutionId};
use rusqlite::{Connection, Result, Row, params, params_from_iter, types::Value};

use super::codec;
use super::name::{self, Names};

/// In the order in which [`read`] takes them.
const SELECT: &str = "SELECT id, (SELECT text FROM name WHERE name.id = rule), event, created_at,
    outcome, execution, reason, rule FROM enforcement";

const REQUESTED: u8 = 0;
const FAILED: u8 = 1;
const SKIPPED: u8 = 2;

/// Records a rule's answer. A second one of the rule to the event is an error of the caller.
pub(super) fn insert(
    connection: &Connection,
    names: &mut Names,
    enforcement: &Enforcement,
) -> Result<()> {
    let (outcome, execution, reason) = match &enforcement.outcome {
        EnforcementOutcome::Requested { execution } => (REQUESTED, Some(execution.bytes()), None),
        EnforcementOutcome::Failed { reason } => (FAILED, None, Some(reason)),
        EnforcementOutcome::Skipped { reason } => (SKIPPED, None, Some(reason)),
    };
    connection
        .prepare_cached(
            "INSERT INTO enforcement (event, rule, id, created_at, outcome, execution, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            enforcement.event.bytes(),
            names.number(connection, enforcement.rule.as_str())?,
            enforcement.id.bytes(),
            enforcement.created_at.as_micros(),
            outcome,
            execution,
            reason,
        ])
        .map(drop)
}

/// A page of enforcements, newest event first. The cursor is the event, so a page never ends in the
/// middle of one: it may be longer than asked for by the rest of its last event.
pub(super) fn page(
    connection: &Connection,
    filter: &EnforcementFilter,
    page: PageRequest<EventId>,
) -> Result<Vec<Enforcement>> {
    let below = codec::below(page.after.as_ref().map(EventId::bytes));
    let mut values = vec![
        Value::Blob(below.to_vec()),
        Value::Integer(page.limit.into()),
    ];
    let mut conditions = "event < ?1".to_owned();
    if let Some(event) = &filter.event {
        values.push(Value::Blob(event.bytes().to_vec()));
        conditions += &format!(" AND event = ?{}", values.len());
    }
    if let Some(rule) = &filter.rule {
        let Some(number) = name::find(connection, rule.as_str())? else {
            return Ok(Vec::new());
        };
        values.push(Value::Integer(number));
        conditions += &format!(" AND rule = ?{}", values.len());
    }
    let source = match (&filter.event, &filter.rule) {
        (None, Some(_)) => "INDEXED BY enforcement_by_rule",
        _ => "",
    };
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} {source} WHERE {conditions} ORDER BY event DESC, rule DESC LIMIT ?2"
    ))?;
    let mut found: Vec<(Enforcement, i64)> = statement
        .query_map(params_from_iter(&values), read)?
        .collect::<Result<_>>()?;
    let full = found.len() >= usize::try_from(page.limit).unwrap_or(usize::MAX);
    if let Some((last, rule)) = found.last().filter(|_| full && filter.rule.is_none()) {
        let rest = connection
            .prepare_cached(&format!(
                "{SELECT} WHERE event = ?1 AND rule < ?2 ORDER BY rule DESC"
            ))?
            .query_map(params![last.event.bytes(), rule], read)?
            .collect::<Result<Vec<_>>>()?;
        found.extend(rest);
    }
    Ok(found
        .into_iter()
        .map(|(enforcement, _)| enforcement)
        .collect())
}

fn read(row: &Row<'_>) -> Result<(Enforcement, i64)> {
    let reason = || Ok::<_, rusqlite::Error>(codec::read_text(row, 6)?.unwrap_or_default());
    let enforcement = Enforcement {
        id: EnforcementId::from_bytes(row.get(0)?),
        rule: codec::read_ref(row, 1)?,
        event: EventId::from_bytes(row.get(2)?),
        created_at: codec::read_time(row, 3)?,
        outcome: match row.get(4)? {
            REQUESTED => EnforcementOutcome::Requested {
                execution: ExecutionId::from_bytes(row.get(5)?),
            },
            FAILED => EnforcementOutcome::Failed { reason: reason()? },
            SKIPPED => EnforcementOutcome::Skipped { reason: reason()? },
            other => return Err(codec::unknown_variant(4, other)),
        },
    };
    Ok((enforcement, row.get(7)?))
}

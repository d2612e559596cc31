//! Step events: the event log of every run, in one table in the order in which it was written.
//!
//! Numbers are given by the writer, so that those of one transaction follow one another. Columns are
//! plain text for programs that read the table themselves.

use camshaft_model::port::store::{PageRequest, StepEventFilter};
use camshaft_model::{ExecutionId, StepEvent, StepEventDraft, StepScope};
use rusqlite::{Connection, Result, Row, params, params_from_iter, types::Value};

use super::codec;

/// The number of the newest line; 0 if there is none.
pub(super) fn last(connection: &Connection) -> Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM step_event", [], |row| {
        row.get(0)
    })
}

/// Adds a line.
pub(super) fn append(connection: &Connection, id: i64, draft: &StepEventDraft) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO step_event (id, execution_id, item_id, event_type, step, step_scope,
             payload, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id,
            draft.root.bytes(),
            draft.item.as_ref().map(ExecutionId::bytes),
            draft.event_type.as_str(),
            draft.step,
            draft.step_scope.map(StepScope::as_str),
            codec::json(&draft.payload)?,
            draft.created_at.as_micros(),
        ])
        .map(drop)
}

/// A page of the log, oldest first. Of one run it walks the run's lines; of all runs, all lines from
/// the cursor on until the page is full.
pub(super) fn page(
    connection: &Connection,
    filter: &StepEventFilter,
    page: PageRequest<i64>,
) -> Result<Vec<StepEvent>> {
    let mut values = vec![
        Value::Integer(page.after.unwrap_or(i64::MIN)),
        Value::Integer(page.limit.into()),
    ];
    let mut conditions = "id > ?1".to_owned();
    for (column, id) in [("execution_id", &filter.root), ("item_id", &filter.item)] {
        if let Some(id) = id {
            values.push(Value::Blob(id.bytes().to_vec()));
            conditions += &format!(" AND {column} = ?{}", values.len());
        }
    }
    if let Some(step) = &filter.step {
        values.push(Value::Text(step.clone()));
        conditions += &format!(" AND {STEP} = ?{}", values.len());
    }
    if !filter.types.is_empty() {
        let first = values.len() + 1;
        values.extend(
            filter
                .types
                .iter()
                .map(|t| Value::Text(t.as_str().to_owned())),
        );
        let marks: Vec<String> = (first..=values.len()).map(|n| format!("?{n}")).collect();
        conditions += &format!(" AND event_type IN ({})", marks.join(", "));
    }
    let source = if filter.root.is_some() {
        "INDEXED BY step_event_of_run"
    } else {
        "NOT INDEXED"
    };
    connection
        .prepare_cached(&format!(
            "SELECT id, execution_id, item_id, event_type, step, step_scope, payload, created_at
             FROM step_event {source} WHERE {conditions} ORDER BY id LIMIT ?2"
        ))?
        .query_map(params_from_iter(&values), read)?
        .collect()
}

/// The step of a line as readers see it: the column, else what the payload says.
const STEP: &str = "coalesce(step, CASE WHEN json_valid(payload) THEN
    coalesce(json_extract(payload, '$.step'), json_extract(payload, '$.phase')) END)";

/// Takes a row as it is, whoever wrote it: an odd value costs that value, not the page.
fn read(row: &Row<'_>) -> Result<StepEvent> {
    let id_at = |column| {
        row.get::<_, [u8; 16]>(column)
            .ok()
            .map(ExecutionId::from_bytes)
    };
    let text = |column| codec::read_text(row, column);
    Ok(StepEvent::from_row(
        row.get(0)?,
        id_at(1).unwrap_or(ExecutionId::from_bytes([0; 16])),
        id_at(2),
        &text(3)?.unwrap_or_default(),
        text(4)?,
        text(5)?.as_deref(),
        &text(6)?.unwrap_or_else(|| "{}".to_owned()),
        codec::read_time(row, 7).unwrap_or_default(),
    ))
}

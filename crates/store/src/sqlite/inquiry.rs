//! Questions to people: one row each, replaced as a whole when it is closed.

use camshaft_model::port::store::{InquiryFilter, PageRequest};
use camshaft_model::{ExecutionId, Inquiry, InquiryId, InquiryStatus, TaskRef};
use rusqlite::{
    Connection, OptionalExtension, Result, Row, params, params_from_iter, types::Value,
};

use super::artifact::Source;
use super::codec::{self, json_or_null, time};
use super::name::Names;
use super::stage::Large;

/// In the order in which [`read`] takes them.
const SELECT: &str = "SELECT id, run, root, lap, (SELECT text FROM name WHERE name.id = task),
    visit, item, prompt, schema, roles, created_at, expires_at, status, answer, answered_by,
    closed_at FROM inquiry";

const fn code(status: InquiryStatus) -> u8 {
    match status {
        InquiryStatus::Open => 0,
        InquiryStatus::Approved => 1,
        InquiryStatus::Rejected => 2,
        InquiryStatus::Expired => 3,
        InquiryStatus::Withdrawn => 4,
    }
}

/// Records a question, or what became of it.
pub(super) fn put(
    connection: &Connection,
    names: &mut Names,
    large: &Large,
    inquiry: &Inquiry,
) -> Result<()> {
    let roles = (!inquiry.roles.is_empty()).then_some(&inquiry.roles);
    connection
        .prepare_cached(
            "INSERT INTO inquiry (id, run, root, lap, task, visit, item, prompt, schema, roles,
             created_at, expires_at, status, answer, answered_by, closed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT (id) DO UPDATE SET prompt = excluded.prompt, schema = excluded.schema,
             roles = excluded.roles, expires_at = excluded.expires_at, status = excluded.status,
             answer = excluded.answer, answered_by = excluded.answered_by,
             closed_at = excluded.closed_at",
        )?
        .execute(params![
            inquiry.id.bytes(),
            inquiry.run.bytes(),
            (inquiry.root != inquiry.run).then_some(inquiry.root.bytes()),
            inquiry.task.lap,
            names.number(connection, &inquiry.task.name)?,
            inquiry.task.visit,
            inquiry.task.item,
            inquiry.prompt,
            json_or_null(inquiry.schema.as_ref())?,
            json_or_null(roles)?,
            inquiry.created_at.as_micros(),
            time(inquiry.expires_at),
            code(inquiry.status),
            codec::large_or_null(large, inquiry.answer.as_ref())?,
            inquiry.answered_by,
            time(inquiry.closed_at),
        ])
        .map(drop)
}

/// One question.
pub(super) fn one(
    connection: &Connection,
    source: &Source,
    id: InquiryId,
) -> Result<Option<Inquiry>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
        .query_row([id.bytes()], |row| read(row, source))
        .optional()
}

/// A page of questions, newest first.
pub(super) fn page(
    connection: &Connection,
    source: &Source,
    filter: &InquiryFilter,
    page: PageRequest<InquiryId>,
) -> Result<Vec<Inquiry>> {
    let mut values = vec![
        Value::Blob(codec::below(page.after.as_ref().map(InquiryId::bytes)).to_vec()),
        Value::Integer(page.limit.into()),
    ];
    let mut index = "";
    let mut conditions = "id < ?1".to_owned();
    if filter.statuses == [InquiryStatus::Open] {
        index = "INDEXED BY inquiry_open";
        conditions += " AND status = 0";
    } else if !filter.statuses.is_empty() {
        let codes: Vec<_> = filter
            .statuses
            .iter()
            .map(|s| code(*s).to_string())
            .collect();
        conditions += &format!(" AND status IN ({})", codes.join(", "));
    }
    if let Some(run) = &filter.run {
        index = "INDEXED BY inquiry_by_run";
        values.push(Value::Blob(run.bytes().to_vec()));
        let own = values.len();
        conditions += &if filter.below {
            format!(
                " AND run IN (WITH RECURSIVE below (id) AS (SELECT ?{own} UNION ALL
                 SELECT execution.id FROM below JOIN execution INDEXED BY execution_by_parent
                 ON execution.parent = below.id) SELECT id FROM below)"
            )
        } else {
            format!(" AND run = ?{own}")
        };
    }
    connection
        .prepare_cached(&format!(
            "{SELECT} {index} WHERE {conditions} ORDER BY id DESC LIMIT ?2"
        ))?
        .query_map(params_from_iter(&values), |row| read(row, source))?
        .collect()
}

fn read(row: &Row<'_>, source: &Source) -> Result<Inquiry> {
    let run = ExecutionId::from_bytes(row.get(1)?);
    let status: u8 = row.get(12)?;
    Ok(Inquiry {
        id: InquiryId::from_bytes(row.get(0)?),
        run,
        root: row
            .get::<_, Option<_>>(2)?
            .map_or(run, ExecutionId::from_bytes),
        task: TaskRef {
            lap: row.get(3)?,
            name: row.get(4)?,
            visit: row.get(5)?,
            item: row.get(6)?,
        },
        prompt: row.get(7)?,
        schema: codec::read_value(row, 8)?,
        roles: codec::read_json(row, 9)?.unwrap_or_default(),
        created_at: codec::read_time(row, 10)?,
        expires_at: codec::read_time_or_null(row, 11)?,
        status: InquiryStatus::ALL
            .iter()
            .copied()
            .find(|known| code(*known) == status)
            .ok_or_else(|| codec::unknown_variant(12, status))?,
        answer: codec::read_large(row, 13, source)?,
        answered_by: codec::read_text(row, 14)?,
        closed_at: codec::read_time_or_null(row, 15)?,
    })
}

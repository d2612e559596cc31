//! The promises that the database itself shows, each as a query for what breaks it.
//!
//! All of them are asked of one snapshot, so that what is written meanwhile breaks none.

use camshaft_model::port::store::Violation;
use camshaft_model::{EventId, ExecutionId, InquiryId, Status};
use rusqlite::{Connection, Result, Row, types::ValueRef};

/// At most so many rows are named for one promise.
const NAMED: usize = 100;

/// A promise, and a query whose rows break it.
struct Promise {
    invariant: &'static str,
    /// `{x}` execution id, `{e}` event id, `{i}` inquiry id, `{s}` status, `{v}` anything else; in the order of columns.
    detail: &'static str,
    sql: &'static str,
}

const PROMISES: &[Promise] = &[
    Promise {
        invariant: "known_status",
        detail: "{x} has status {v}",
        sql: "SELECT id, status FROM execution WHERE status NOT IN (0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15)",
    },
    Promise {
        invariant: "one_enforcement_per_rule_and_event",
        detail: "rule {v} has {v} enforcements on {e}",
        sql: "SELECT name.text, count(*), event FROM enforcement JOIN name ON name.id = rule
              GROUP BY event, name.text HAVING count(*) > 1",
    },
    Promise {
        invariant: "enforcement_has_its_event",
        detail: "the enforcement of rule {v} is on {e}, which is not recorded",
        sql: "SELECT (SELECT text FROM name WHERE name.id = rule), event FROM enforcement
              WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.id = enforcement.event)",
    },
    Promise {
        invariant: "enforcement_has_its_execution",
        detail: "the enforcement of rule {v} on {e} requested {x}, which is not recorded as requested by them",
        sql: "SELECT (SELECT text FROM name WHERE name.id = f.rule), f.event, f.execution
              FROM enforcement f LEFT JOIN execution x ON x.id = f.execution
              WHERE f.outcome = 0 AND (x.id IS NULL OR x.origin <> 2 OR x.rule IS NOT f.rule OR x.cause IS NOT f.event)",
    },
    Promise {
        invariant: "execution_has_its_enforcement",
        detail: "{x} was requested by rule {v} on {e}, whose enforcement does not name it",
        sql: "SELECT x.id, (SELECT text FROM name WHERE name.id = x.rule), x.cause FROM execution x
              LEFT JOIN enforcement f ON f.event = x.cause AND f.rule = x.rule
              WHERE x.origin = 2 AND f.execution IS NOT x.id",
    },
    Promise {
        invariant: "held_event_is_recorded",
        detail: "{e} is held, but it is not recorded",
        sql: "SELECT event FROM held_event
              WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.id = held_event.event)",
    },
    Promise {
        invariant: "held_event_names_rules",
        detail: "{e} is held from rules that cannot be read: {v}",
        sql: "SELECT event, rules FROM held_event
              WHERE rules IS NOT NULL AND (CASE WHEN json_valid(rules) AND json_type(rules) = 'array'
              THEN json_array_length(rules) ELSE 0 END = 0
              OR EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(rules) THEN rules ELSE '[]' END)
              WHERE type <> 'text' OR value NOT GLOB '?*.?*'))",
    },
    Promise {
        invariant: "held_event_is_not_answered",
        detail: "{e} is held from rule {v}, which has answered it",
        sql: "SELECT h.event, name.text FROM held_event h
              JOIN enforcement f ON f.event = h.event JOIN name ON name.id = f.rule
              WHERE h.rules IS NULL OR name.text IN (SELECT value
              FROM json_each(CASE WHEN json_valid(h.rules) THEN h.rules ELSE '[]' END))",
    },
    Promise {
        invariant: "terminal_has_an_end",
        detail: "{x} has status {s} and no end",
        sql: "SELECT id, status FROM execution WHERE status >= 10 AND ended_at IS NULL",
    },
    Promise {
        invariant: "only_terminal_has_an_end",
        detail: "{x} has status {s} and ended at {v}",
        sql: "SELECT id, status, ended_at FROM execution WHERE status < 10 AND ended_at IS NOT NULL",
    },
    Promise {
        invariant: "lease_only_where_one_is_held",
        detail: "{x} has status {s} and a lease until {v}",
        sql: "SELECT id, status, lease_expires_at FROM execution
              WHERE status NOT IN (1, 2, 4) AND lease_expires_at IS NOT NULL",
    },
    Promise {
        invariant: "lease_belongs_to_an_attempt",
        detail: "{x} has status {s} at attempt {v}",
        sql: "SELECT id, status, attempt FROM execution WHERE status IN (1, 2, 4) AND attempt < 1",
    },
    Promise {
        invariant: "attempts_without_gaps",
        detail: "{x} has {v} recorded attempts, of which the last is {v}",
        sql: "SELECT execution, count(*), max(attempt) FROM attempt GROUP BY execution
              HAVING count(*) <> max(attempt) OR min(attempt) < 1",
    },
    Promise {
        invariant: "attempt_has_its_execution",
        detail: "attempt {v} of {x} is recorded, but the execution is not or has not come so far",
        sql: "SELECT attempt.attempt, attempt.execution FROM attempt
              LEFT JOIN execution x ON x.id = attempt.execution
              WHERE x.id IS NULL OR attempt.attempt > x.attempt",
    },
    Promise {
        invariant: "completed_has_its_attempt",
        detail: "{x} completed at attempt {v}, which is not recorded as completed",
        sql: "SELECT x.id, x.attempt FROM execution x
              LEFT JOIN attempt ON attempt.execution = x.id AND attempt.attempt = x.attempt
              WHERE x.status = 10 AND x.attempt > 0 AND attempt.status IS NOT 10
              AND NOT EXISTS (SELECT 1 FROM run WHERE run.execution = x.id)",
    },
    Promise {
        invariant: "step_event_has_its_execution",
        detail: "step event {v} ({v}) names {x}, which is not recorded",
        sql: "SELECT s.id, s.event_type, s.execution_id FROM step_event s
              WHERE NOT EXISTS (SELECT 1 FROM execution x WHERE x.id = s.execution_id)
              UNION ALL SELECT s.id, s.event_type, s.item_id FROM step_event s
              WHERE s.item_id IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM execution x WHERE x.id = s.item_id)",
    },
    Promise {
        invariant: "one_start_per_attempt",
        detail: "{x} attempt {v} has {v} events {v}",
        sql: "SELECT coalesce(item_id, execution_id) AS x, CASE WHEN json_valid(payload)
              THEN json_extract(payload, '$.attempt') END AS n, count(*), event_type FROM step_event
              WHERE event_type IN ('step_started', 'step_spawned')
              GROUP BY x, event_type, n HAVING n IS NOT NULL AND count(*) > 1",
    },
    Promise {
        invariant: "run_has_its_execution",
        detail: "the run {x} is recorded, but its execution is not",
        sql: "SELECT execution FROM run
              WHERE NOT EXISTS (SELECT 1 FROM execution x WHERE x.id = run.execution)",
    },
    Promise {
        invariant: "child_has_its_run",
        detail: "{x} is a child of {x}, which is not recorded as a run",
        sql: "SELECT c.id, c.parent FROM execution c LEFT JOIN execution p ON p.id = c.parent
              LEFT JOIN run ON run.execution = c.parent
              WHERE c.parent IS NOT NULL AND (p.id IS NULL OR run.execution IS NULL)",
    },
    Promise {
        invariant: "one_child_per_place",
        detail: "{x} has {v} children at lap {v}, task '{v}', visit {v}, item {v}",
        sql: "SELECT parent, count(*), lap, (SELECT text FROM name WHERE name.id = task), visit, item
              FROM execution WHERE parent IS NOT NULL AND task IS NOT NULL
              GROUP BY parent, lap, task, visit, item HAVING count(*) > 1",
    },
    Promise {
        invariant: "ended_run_has_no_live_child",
        detail: "{x} has status {s}, but its child {x} has status {s}",
        sql: "SELECT p.id, p.status, c.id, c.status FROM execution c JOIN execution p ON p.id = c.parent
              WHERE c.parent IS NOT NULL AND p.status >= 10 AND c.status < 10",
    },
    Promise {
        invariant: "ended_run_has_no_live_task",
        detail: "{x} has status {s}, but its task '{v}' has status {s}",
        sql: "SELECT p.id, p.status, (SELECT text FROM name WHERE name.id = task.task), task.status
              FROM task JOIN execution p ON p.id = task.run
              WHERE p.status >= 10 AND task.status < 10",
    },
    Promise {
        invariant: "ended_run_has_no_open_inquiry",
        detail: "{x} has status {s}, but its question {i} is open",
        sql: "SELECT p.id, p.status, inquiry.id FROM inquiry JOIN execution p ON p.id = inquiry.run
              WHERE p.status >= 10 AND inquiry.status = 0",
    },
    Promise {
        invariant: "completed_run_has_its_output",
        detail: "the run {x} completed without an output",
        sql: "SELECT x.id FROM run JOIN execution x ON x.id = run.execution
              WHERE x.status = 10 AND x.result IS NULL",
    },
    Promise {
        invariant: "run_holds_no_lease",
        detail: "the run {x} has status {s}, attempt {v} and a lease until {v}",
        sql: "SELECT x.id, x.status, x.attempt, x.lease_expires_at
              FROM run JOIN execution x ON x.id = run.execution
              WHERE x.status IN (1, 2) OR x.lease_expires_at IS NOT NULL",
    },
    Promise {
        invariant: "task_has_its_run",
        detail: "task '{v}' belongs to {x}, which is not recorded as a run",
        sql: "SELECT (SELECT text FROM name WHERE name.id = t.task), t.run
              FROM (SELECT task, run FROM task UNION ALL SELECT task, run FROM task_items
              UNION ALL SELECT task, run FROM inquiry) t
              WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.execution = t.run)",
    },
    Promise {
        invariant: "task_has_its_execution",
        detail: "task '{v}' of {x} names {x}, which is not recorded as its child",
        sql: "SELECT (SELECT text FROM name WHERE name.id = t.task), t.run, t.execution
              FROM task t LEFT JOIN execution x ON x.id = t.execution
              WHERE t.execution IS NOT NULL AND t.taken_from IS NULL
              AND (x.id IS NULL OR x.parent IS NOT t.run OR x.task IS NOT t.task)
              UNION ALL SELECT (SELECT text FROM name WHERE name.id = t.task), t.run, t.execution
              FROM task t LEFT JOIN execution x ON x.id = t.execution
              WHERE t.execution IS NOT NULL AND t.taken_from IS NOT NULL AND x.id IS NULL",
    },
];

/// Everything that breaks a promise.
pub(super) fn violations(connection: &Connection) -> Result<Vec<Violation>> {
    let snapshot = connection.unchecked_transaction()?;
    let mut found = sound(&snapshot)?;
    for promise in PROMISES {
        let mut statement = snapshot.prepare(promise.sql)?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            if count <= NAMED {
                found.push(violation(promise, detail(promise.detail, row)?));
            }
        }
        if count > NAMED {
            found.push(violation(promise, format!("and {} more", count - NAMED)));
        }
    }
    Ok(found)
}

fn violation(promise: &Promise, detail: String) -> Violation {
    Violation {
        invariant: promise.invariant.to_owned(),
        detail,
    }
}

/// What SQLite finds wrong with the file itself.
fn sound(connection: &Connection) -> Result<Vec<Violation>> {
    let mut statement = connection.prepare("PRAGMA quick_check")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    lines
        .filter(|line| line.as_deref() != Ok("ok"))
        .map(|line| {
            Ok(Violation {
                invariant: "database_is_sound".to_owned(),
                detail: line?,
            })
        })
        .collect()
}

/// Fills the columns of a row into a template.
fn detail(template: &str, row: &Row<'_>) -> Result<String> {
    let mut parts = template.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (column, part) in parts.enumerate() {
        let (kind, rest) = part.split_once('}').unwrap_or((part, ""));
        text += &shown(kind, row.get_ref(column)?);
        text += rest;
    }
    Ok(text)
}

fn shown(kind: &str, value: ValueRef<'_>) -> String {
    match (kind, value) {
        ("x" | "e" | "i", ValueRef::Blob(bytes)) => bytes.try_into().map_or_else(
            |_| format!("{bytes:02x?}"),
            |id| match kind {
                "x" => ExecutionId::from_bytes(id).to_string(),
                "e" => EventId::from_bytes(id).to_string(),
                _ => InquiryId::from_bytes(id).to_string(),
            },
        ),
        ("s", ValueRef::Integer(code)) => u8::try_from(code)
            .ok()
            .and_then(Status::from_code)
            .map_or_else(|| code.to_string(), |status| status.to_string()),
        (_, ValueRef::Null) => "nothing".to_owned(),
        (_, ValueRef::Integer(number)) => number.to_string(),
        (_, ValueRef::Real(number)) => number.to_string(),
        (_, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_a_held_event_that_cannot_be_read_are_found() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::MIGRATIONS.to_latest(&mut connection).unwrap();
        let event = EventId::from_bytes([7; 16]);
        let found = |rules: &str| {
            let hold = "INSERT OR REPLACE INTO held_event (event, rules) VALUES (?1, ?2)";
            connection.execute(hold, (event.bytes(), rules)).unwrap();
            let all = violations(&connection).unwrap().into_iter();
            all.filter(|one| one.invariant == "held_event_names_rules")
                .map(|one| one.detail)
                .collect::<Vec<_>>()
        };
        for rules in [
            "",
            "t.a",
            "{}",
            "{\"t\": \"t.a\"}",
            "\"t.a\"",
            "[]",
            "[1]",
            "[\"t\"]",
            "[\"t.a\", null]",
        ] {
            let detail = format!("{event} is held from rules that cannot be read: {rules}");
            assert_eq!(found(rules), [detail]);
        }
        assert!(found("[\"t.a\", \"t.b\"]").is_empty());
    }
}

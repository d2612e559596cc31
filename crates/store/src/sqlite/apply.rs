//! What each change does to the rows, and the promise that a transaction is stored whole or not at
//! all.
//!
//! A guard looks before it writes (nobody else writes, so nothing can come between), so a transaction
//! that is refused at its first change has written nothing and needs no rollback. Only where a guard
//! that can be refused follows another change does a savepoint stand round the transaction.

use camshaft_model::port::store::{Change, Outcome, Refusal, Transaction};
use rusqlite::{Connection, Result};

use super::name::Names;
use super::stage::Large;
use super::{
    attempt, cached, constraint, enforcement, event, execution, held_event, inquiry, pack, run,
    sensor, step_event, task,
};

/// The writing connection with what the writer remembers of the database.
pub(super) struct Applier {
    connection: Connection,
    names: Names,
    last_step_event: i64,
}

impl Applier {
    /// Looks up what has to be remembered.
    pub(super) fn new(connection: Connection) -> Result<Self> {
        let last_step_event = step_event::last(&connection)?;
        Ok(Self {
            connection,
            names: Names::default(),
            last_step_event,
        })
    }

    /// Does the work inside one SQLite transaction and commits it; takes everything back on an error.
    pub(super) fn durably<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let last_step_event = self.last_step_event;
        let result = self.run("BEGIN IMMEDIATE").and_then(|()| {
            let done = work(self)?;
            self.run("COMMIT")?;
            Ok(done)
        });
        if result.is_err() {
            // A full disk may have ended the transaction already.
            if !self.connection.is_autocommit()
                && let Err(e) = self.run("ROLLBACK")
            {
                tracing::error!(error = %e, "a rollback failed");
            }
            self.last_step_event = last_step_event;
            self.names.forget();
        }
        result
    }

    /// Applies one transaction inside the current SQLite transaction.
    pub(super) fn apply(&mut self, transaction: &Transaction, large: &Large) -> Result<Outcome> {
        let before = self.last_step_event;
        let guarded_late = transaction.changes.iter().skip(1).any(may_be_refused);
        if guarded_late {
            self.run("SAVEPOINT one")?;
        }
        for change in &transaction.changes {
            if let Some(refusal) = self.change(change, large)? {
                if guarded_late {
                    self.run("ROLLBACK TO one")?;
                    self.run("RELEASE one")?;
                    self.last_step_event = before;
                    self.names.forget();
                }
                return Ok(Outcome::Refused(refusal));
            }
        }
        if guarded_late {
            self.run("RELEASE one")?;
        }
        Ok(Outcome::Applied {
            first_step_event: before + 1,
        })
    }

    /// Raises the lease epoch.
    pub(super) fn next_epoch(&mut self) -> Result<i64> {
        self.connection.query_row(
            "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value",
            [],
            |row| row.get(0),
        )
    }

    /// Writes something that changes nothing.
    pub(super) fn probe(&mut self) -> Result<()> {
        self.run("UPDATE meta SET value = value WHERE key = 'epoch'")
    }

    /// For a read, between two transactions.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives the connection back.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn change(&mut self, change: &Change, large: &Large) -> Result<Option<Refusal>> {
        let Self {
            connection,
            names,
            last_step_event,
        } = self;
        match change {
            Change::InsertEvent(event) => return event::insert(connection, names, event),
            Change::InsertExecution(execution) => {
                return execution::insert(connection, names, large, execution);
            }
            Change::Move(transition) => {
                return execution::transition(connection, names, large, transition);
            }
            Change::InsertEnforcement(enforcement) => {
                enforcement::insert(connection, names, enforcement)?;
            }
            Change::RecordAttempt(attempt) => attempt::record(connection, names, attempt)?,
            Change::AppendStepEvent(draft) => {
                step_event::append(connection, *last_step_event + 1, draft)?;
                *last_step_event += 1;
            }
            Change::PutSensorState { key, state } => sensor::put_state(connection, key, state)?,
            Change::PutPack(record) => pack::put(connection, record)?,
            Change::RemovePack(name) => pack::remove(connection, name)?,
            Change::SetRuleEnabled { rule, enabled } => {
                pack::set_rule_enabled(connection, rule, *enabled)?;
            }
            Change::HoldEvent { event, rules } => {
                held_event::put(connection, *event, rules.as_ref())?;
            }
            Change::ReleaseEvent(event) => held_event::remove(connection, *event)?,
            Change::PutConstraint { constraint, since } => {
                constraint::put(connection, constraint, *since)?;
            }
            Change::RemoveConstraint(key) => constraint::remove(connection, key)?,
            Change::PutHeldBy { execution, held_by } => {
                execution::put_held_by(connection, *execution, held_by)?;
            }
            Change::PutRateInstant { key, at } => {
                constraint::put_rate_instant(connection, key, *at)?;
            }
            Change::PutRun(record) => run::put(connection, large, record)?,
            Change::PutRunProgress(record) => run::put_progress(connection, record)?,
            Change::PutTask(record) => task::put(connection, names, large, record)?,
            Change::PutItems { run, task, items } => {
                task::put_items(connection, names, large, *run, task, items)?;
            }
            Change::PutInquiry(inquiry) => inquiry::put(connection, names, large, inquiry)?,
            Change::PutCached(cached) => cached::put(connection, large, cached)?,
            Change::PutPackVersion(record) => pack::put_version(connection, record)?,
        }
        Ok(None)
    }
}

fn may_be_refused(change: &Change) -> bool {
    match change {
        Change::InsertEvent(event) => event.draft.dedup_key.is_some(),
        Change::InsertExecution(execution) => execution.spec.idempotency_key.is_some(),
        Change::Move(_) => true,
        _ => false,
    }
}

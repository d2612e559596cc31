//! Puts the large values of transactions into files, ahead of the writer.
//!
//! A transaction that may have a large value goes to one of a few threads here, and its place in the
//! writer's queue waits for it: what was submitted before is committed meanwhile, and what was
//! submitted after it keeps the order. All other transactions never come this way.

use std::collections::HashMap;
use std::ptr;
use std::thread;

use camshaft_model::Object;
use camshaft_model::port::store::{Change, StoreError, Transaction};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::Value;

use super::artifact::{self, Artifacts, Reference};

/// How many threads write large values.
const THREADS: usize = 2;

/// Which values of one transaction are in files, by where they are in memory: what a transaction owns
/// is on the heap and stays there while the transaction goes from hand to hand.
#[derive(Debug, Default)]
pub(super) struct Large(HashMap<usize, Reference>);

impl Large {
    /// The file of a value of the transaction, if it is in one.
    pub(super) fn reference<T>(&self, value: &T) -> Option<Reference> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&address(value)).copied()
    }
}

fn address<T>(value: &T) -> usize {
    ptr::from_ref(value).addr()
}

/// A transaction and the files that it needs, durable; or why they could not be written.
pub(super) struct Staged {
    pub(super) transaction: Transaction,
    pub(super) large: Result<Large, StoreError>,
}

struct Errand {
    transaction: Transaction,
    answer: Sender<Staged>,
}

/// The threads that write large values. They end when this is dropped.
pub(super) struct Stage(Option<Sender<Errand>>);

impl Stage {
    /// Starts the threads; none if large values have no folder.
    pub(super) fn start(artifacts: &Artifacts) -> Result<Self, StoreError> {
        if !artifacts.are_kept() {
            return Ok(Self(None));
        }
        let (queue, errands) = unbounded();
        for number in 1..=THREADS {
            let (artifacts, errands): (_, Receiver<Errand>) = (artifacts.clone(), errands.clone());
            let scratch = format!("writing-{number}");
            thread::Builder::new()
                .name(format!("store-artifact-{number}"))
                .spawn(move || {
                    for Errand {
                        transaction,
                        answer,
                    } in errands
                    {
                        let large = keep(&artifacts, &transaction, &scratch);
                        let _ = answer.send(Staged { transaction, large });
                    }
                })
                .map_err(|e| StoreError::Unavailable(format!("no thread for large values: {e}")))?;
        }
        Ok(Self(Some(queue)))
    }

    /// Takes a transaction that may have large values; gives back any other.
    pub(super) fn take(&self, transaction: Transaction) -> Result<Receiver<Staged>, Transaction> {
        let Some(queue) = &self.0 else {
            return Err(transaction);
        };
        if !transaction.changes.iter().any(may_be_large) {
            return Err(transaction);
        }
        let (answer, answered) = bounded(1);
        match queue.send(Errand {
            transaction,
            answer,
        }) {
            Ok(()) => Ok(answered),
            Err(unsent) => Err(unsent.into_inner().transaction),
        }
    }
}

/// A part of a change that may be large.
enum Part<'t> {
    Value(&'t Value),
    Object(&'t Object),
}

/// The parts of a change that may be large: at most two.
fn parts(change: &Change) -> [Option<Part<'_>>; 2] {
    match change {
        Change::InsertExecution(execution) => [
            Some(Part::Object(&execution.spec.parameters)),
            execution.state.result.as_deref().map(Part::Value),
        ],
        Change::Move(transition) => [transition.to().result.as_deref().map(Part::Value), None],
        Change::PutRun(run) => [Some(Part::Object(&run.vars)), None],
        Change::PutTask(task) => [task.result.as_deref().map(Part::Value), None],
        Change::PutItems { items, .. } => [Some(Part::Value(items)), None],
        Change::PutInquiry(inquiry) => [inquiry.answer.as_ref().map(Part::Value), None],
        Change::PutCached(cached) => [Some(Part::Value(&cached.result)), None],
        Change::InsertEvent(_)
        | Change::InsertEnforcement(_)
        | Change::PutRunProgress(_)
        | Change::RecordAttempt(_)
        | Change::AppendStepEvent(_)
        | Change::PutPackVersion(_)
        | Change::PutSensorState { .. }
        | Change::PutPack(_)
        | Change::RemovePack(_)
        | Change::HoldEvent { .. }
        | Change::ReleaseEvent(_)
        | Change::PutConstraint { .. }
        | Change::RemoveConstraint(_)
        | Change::PutRateInstant { .. }
        | Change::PutHeldBy { .. }
        | Change::SetRuleEnabled { .. } => [None, None],
    }
}

fn may_be_large(change: &Change) -> bool {
    parts(change).into_iter().flatten().any(|part| match part {
        Part::Value(value) => artifact::may_be_large(value),
        Part::Object(object) => artifact::may_be_a_large_object(object),
    })
}

/// Writes the large values of a transaction into files, `scratch` being the name of those that are not whole
/// yet.
pub(super) fn keep(
    artifacts: &Artifacts,
    transaction: &Transaction,
    scratch: &str,
) -> Result<Large, StoreError> {
    let mut large = Large::default();
    for part in transaction.changes.iter().flat_map(parts).flatten() {
        let (address, kept) = match part {
            Part::Value(value) if artifact::may_be_large(value) => {
                // A result is often in two changes, and shared by them.
                if large.reference(value).is_some() {
                    continue;
                }
                (address(value), artifacts.keep(value, scratch))
            }
            Part::Object(object) if artifact::may_be_a_large_object(object) => {
                (address(object), artifacts.keep(object, scratch))
            }
            Part::Value(_) | Part::Object(_) => continue,
        };
        let kept = kept.map_err(|e| {
            StoreError::Unavailable(format!("a large value could not be written: {e}"))
        })?;
        large.0.extend(kept.map(|reference| (address, reference)));
    }
    Ok(large)
}

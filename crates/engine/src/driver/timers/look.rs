//! One look at one timer: recall, find what is due, record it event by event.

use camshaft_model::port::sensor::IntakeError;
use camshaft_model::port::store::{AtOnce, Change, Outcome, StoreError, Transaction};
use camshaft_model::{EventDraft, EventSource, Timestamp};
use serde_json::json;
use tokio::sync::oneshot;

use super::Timers;
use super::memory::Memory;
use super::slot::{Occurrence, Setback, Slot};
use crate::schedule::Schedule;

impl Timers {
    /// Emits what is due and says when to look next.
    pub(super) async fn look(
        &self,
        slot: &Slot,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Setback> {
        let Ok(schedule) = &slot.schedule else {
            return Ok(None);
        };
        let mut memory = self.recall(slot, schedule).await?;
        let schedule = slot.anchored(schedule, memory.anchor);
        let due = schedule.due(&slot.spec.key, slot.watch(memory.after, now), now);
        slot.keep(&due);
        while let Some(occurrence) = slot.first_pending() {
            if slot.is_removed() {
                return Ok(None);
            }
            let fired = memory.fired(occurrence.instant);
            let draft = draft(slot, &schedule, occurrence, fired.count, now);
            match self.intake.emit_with_state(draft, fired.to_value()).await {
                Ok(_) => {
                    memory = fired;
                    slot.pass(occurrence, None);
                }
                Err(IntakeError::Refused(reason)) => {
                    tracing::warn!(sensor = %slot.spec.key, instant = %occurrence.instant, reason, "an occurrence was refused");
                    let refusal =
                        format!("the event of {} was refused: {reason}", occurrence.instant);
                    slot.pass(occurrence, Some(refusal));
                }
                Err(unavailable) => return Err(Setback::Intake(unavailable.to_string())),
            }
        }
        Ok(due.next)
    }

    /// What the timer remembers. At its first activation that is its beginning, which is stored at
    /// once: a restart before the first occurrence must not begin anew.
    async fn recall(&self, slot: &Slot, schedule: &Schedule) -> Result<Memory, Setback> {
        if let Some(memory) = self.stored(slot).await? {
            return Ok(memory);
        }
        let beginning = Memory::beginning(schedule.start(), slot.activated_at);
        let state = beginning.to_value();
        self.put(Change::PutSensorState {
            key: slot.spec.key.clone(),
            state,
        })
        .await?;
        if schedule
            .anchored(beginning.anchor)
            .next_after(beginning.after)
            .is_none()
        {
            tracing::warn!(sensor = %slot.spec.key, "all of this timer's instants were over before it began");
        }
        // Two engines may begin at the same moment; what the store says is what both go by.
        Ok(self.stored(slot).await?.unwrap_or(beginning))
    }

    async fn stored(&self, slot: &Slot) -> Result<Option<Memory>, Setback> {
        let state = self
            .store
            .sensor_state(slot.spec.key.clone())
            .await
            .map_err(memory_setback)?;
        let memory = state.clone().and_then(Memory::from_value);
        if let (Some(state), None) = (&state, &memory) {
            tracing::warn!(sensor = %slot.spec.key, %state, "what a timer remembers cannot be read; it begins anew");
        }
        Ok(memory)
    }

    async fn put(&self, change: Change) -> Result<(), Setback> {
        let (done, stored) = oneshot::channel();
        // The other end is gone only if this look was broken off; then nobody waits for the answer.
        let on_commit = AtOnce::new(move |outcome| drop(done.send(outcome)));
        self.store.submit(
            Transaction {
                changes: vec![change],
            },
            on_commit,
        );
        match stored.await {
            Ok(Ok(Outcome::Applied { .. })) => Ok(()),
            Ok(Ok(Outcome::Refused(refusal))) => Err(Setback::Memory(format!("{refusal:?}"))),
            Ok(Err(error)) => Err(memory_setback(error)),
            Err(_) => Err(Setback::Memory("the database gave no answer".to_owned())),
        }
    }
}

fn memory_setback(error: StoreError) -> Setback {
    Setback::Memory(error.to_string())
}

fn draft(
    slot: &Slot,
    schedule: &Schedule,
    occurrence: Occurrence,
    count: u64,
    now: Timestamp,
) -> EventDraft {
    let key = &slot.spec.key;
    let instant = occurrence.instant;
    let mut payload = json!({
        "scheduled_at": instant,
        "fired_at": now,
        "count": count,
        "missed": occurrence.missed,
    });
    if let Some(timezone) = schedule.timezone() {
        payload["timezone"] = json!(timezone);
    }
    EventDraft {
        trigger: slot.spec.trigger.clone(),
        payload,
        source: EventSource {
            kind: "timer".to_owned(),
            name: Some(key.clone()),
        },
        dedup_key: Some(format!("{key}@{}", instant.as_micros())),
        occurred_at: Some(instant),
        sensor: Some(key.clone()),
        depth: 0,
        trace_parent: None,
    }
}

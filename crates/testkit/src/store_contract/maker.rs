//! Makes records for tests, each later than the one before and with an id of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::store::{Change, Transaction};
use camshaft_model::{
    Attempt, Enforcement, EnforcementId, EnforcementOutcome, Event, EventDraft, EventId,
    EventSource, Execution, ExecutionId, ExecutionSpec, ExecutionState, Inquiry, InquiryId,
    InquiryStatus, Object, Origin, Output, Ref, RunRecord, Status, StepEventDraft, StepEventType,
    StepScope, TaskRecord, TaskRef, Timestamp, Transition,
};
use serde_json::json;
use uuid::Uuid;

use crate::{ManualClock, SeededEntropy};

/// A clock and chance with the records that they make.
#[derive(Debug)]
pub struct Maker {
    clock: ManualClock,
    entropy: SeededEntropy,
}

impl Maker {
    /// The same records for the same seed.
    pub fn new(seed: u64) -> Self {
        Self {
            clock: ManualClock::at("2026-11-21T08:00:00Z"),
            entropy: SeededEntropy::new(seed),
        }
    }

    /// The next instant.
    pub fn now(&self) -> Timestamp {
        self.clock.advance(Duration::from_micros(137));
        self.clock.now()
    }

    /// The next id.
    pub fn uuid(&self) -> Uuid {
        self.entropy.uuid(self.now())
    }

    /// A ref that is written as one.
    pub fn reference(text: &str) -> Ref {
        text.parse().unwrap()
    }

    /// An event of a timer.
    pub fn event(&self, dedup_key: Option<&str>) -> Event {
        Event {
            id: EventId::new(self.uuid()),
            received_at: self.now(),
            draft: EventDraft {
                trigger: Self::reference("core.interval"),
                payload: json!({"count": 7, "scheduled_at": self.now()}),
                source: EventSource {
                    kind: "timer".into(),
                    name: Some("core.interval/5f2c".into()),
                },
                dedup_key: dedup_key.map(str::to_owned),
                occurred_at: None,
                sensor: Some("core.interval/5f2c".into()),
                depth: 0,
                trace_parent: None,
            },
        }
    }

    /// An execution that was asked for.
    pub fn requested(&self) -> Execution {
        let id = ExecutionId::new(self.uuid());
        Execution {
            spec: Arc::new(ExecutionSpec {
                id,
                root: id,
                parent: None,
                task: None,
                action: Self::reference("demo.greet"),
                pack_hash: Some("6b86b273ff34fce19d6b804eff5a3f57".into()),
                adhoc: None,
                parameters: Arc::new(Object::new()),
                priority: 0,
                requested_at: self.now(),
                origin: Origin::Api,
                idempotency_key: None,
                depth: 0,
                trace_parent: None,
            }),
            state: ExecutionState::requested(None),
        }
    }

    /// An execution that runs its first attempt.
    pub fn running(&self) -> Execution {
        let mut execution = self.requested();
        let now = self.now();
        let state = &mut execution.state;
        (state.status, state.attempt, state.epoch) = (Status::Running, 1, 1);
        state.worker = Some("local".into());
        (state.scheduled_at, state.started_at) = (Some(now), Some(now));
        execution
    }

    /// The execution of a workflow whose tasks have not ended.
    pub fn waiting(&self) -> Execution {
        let mut execution = self.running();
        execution.state.status = Status::Waiting;
        execution
    }

    /// An execution that runs a task, or an item of one, of a run.
    pub fn child(&self, parent: &Execution, task: &str, item: Option<u32>) -> Execution {
        let mut execution = self.running();
        self.change(&mut execution, |spec| {
            spec.root = parent.spec.root;
            spec.parent = Some(parent.spec.id);
            spec.origin = Origin::Workflow;
            spec.task = Some(Box::new(TaskRef {
                lap: 1,
                name: task.into(),
                visit: 1,
                item,
            }));
        });
        execution
    }

    /// How far a run has come that has just begun.
    pub fn run(&self, execution: &Execution) -> RunRecord {
        RunRecord {
            execution: execution.spec.id,
            lap: 1,
            cycle: 1,
            paused: false,
            vars: Object::new(),
            arrivals: BTreeMap::new(),
            ending: None,
            next_lap_at: None,
        }
    }

    /// A task that has just started.
    pub fn task(&self, run: ExecutionId, name: &str, lap: u32, visit: u32) -> TaskRecord {
        let task = TaskRef {
            lap,
            name: name.into(),
            visit,
            item: None,
        };
        TaskRecord::new(run, task, Status::Running, self.now())
    }

    /// A question that a task of a run asks.
    pub fn inquiry(&self, run: &Execution, task: &str) -> Inquiry {
        Inquiry {
            id: InquiryId::new(self.uuid()),
            run: run.spec.id,
            root: run.spec.root,
            task: self.task(run.spec.id, task, 1, 1).task,
            prompt: "Ship it?".into(),
            schema: None,
            roles: Vec::new(),
            created_at: self.now(),
            expires_at: None,
            status: InquiryStatus::Open,
            answer: None,
            answered_by: None,
            closed_at: None,
        }
    }

    /// An execution that `demo.every_ten_seconds` requested and that runs.
    pub fn requested_by(&self, event: &Event) -> Execution {
        let mut execution = self.running();
        let rule = Self::reference("demo.every_ten_seconds");
        self.change(&mut execution, |spec| {
            spec.origin = Origin::Rule {
                rule,
                event: event.id,
            }
        });
        execution
    }

    /// Changes what was asked for.
    pub fn change(&self, execution: &mut Execution, change: impl FnOnce(&mut ExecutionSpec)) {
        change(Arc::make_mut(&mut execution.spec));
    }

    /// The enforcement behind [`Maker::requested_by`].
    pub fn enforcement(&self, event: &Event, execution: &Execution) -> Enforcement {
        Enforcement {
            id: EnforcementId::new(self.uuid()),
            rule: Self::reference("demo.every_ten_seconds"),
            event: event.id,
            created_at: self.now(),
            outcome: EnforcementOutcome::Requested {
                execution: execution.spec.id,
            },
        }
    }

    /// A line of the event log.
    pub fn step_event(
        &self,
        root: ExecutionId,
        event_type: StepEventType,
        payload: serde_json::Value,
    ) -> Change {
        Change::AppendStepEvent(Box::new(StepEventDraft {
            root,
            item: None,
            event_type,
            step: Some("greet".into()),
            step_scope: Some(StepScope::Task),
            payload: payload.as_object().cloned().unwrap_or_default(),
            created_at: self.now(),
        }))
    }

    /// The line that an attempt begins with.
    pub fn step_started(&self, execution: &Execution) -> Change {
        let payload = json!({"agent_id": "local", "attempt": execution.state.attempt});
        self.step_event(execution.spec.id, StepEventType::StepStarted, payload)
    }

    /// The attempt of an execution that runs, as it ends.
    pub fn attempt(&self, execution: &Execution) -> Attempt {
        Attempt {
            key: execution.key(),
            status: Status::Completed,
            worker: execution.state.worker.clone(),
            started_at: execution.state.started_at,
            ended_at: self.now(),
            error: None,
            exit_code: Some(0),
            signal: None,
            stdout: Output {
                bytes: 3,
                stored: 3,
                inline: Some(b"hi\n".to_vec()),
                ..Output::default()
            },
            stderr: Output::default(),
            output_lost: None,
        }
    }

    /// The change of an execution to a status, ended if that is terminal.
    pub fn transition(&self, execution: &Execution, status: Status) -> Transition {
        let mut to = execution.state.clone();
        to.status = status;
        if status.is_terminal() {
            to.ended_at = Some(self.now());
            to.exit_code = Some(0);
            to.result = Some(Arc::new(json!("hi")));
        }
        Transition::new(execution.spec.id, &execution.state, &[], to).unwrap()
    }

    /// Everything that is stored when an execution that runs completes.
    pub fn ending(&self, execution: &Execution) -> Transaction {
        let id = execution.spec.id;
        let attempt = self.attempt(execution);
        let (number, bytes) = (attempt.key.attempt, attempt.stdout.stored);
        Transaction {
            changes: vec![
                Change::Move(Box::new(self.transition(execution, Status::Completed))),
                Change::RecordAttempt(Box::new(attempt)),
                self.step_event(
                    id,
                    StepEventType::StepSpawned,
                    json!({
                        "attempt": number, "pid": 41_271, "stdout_path": "logs/3f/exec.1.stdout",
                        "stderr_path": "logs/3f/exec.1.stderr", "command": "sh -c 'echo hi'",
                    }),
                ),
                self.step_event(
                    id,
                    StepEventType::StepFinished,
                    json!({
                        "attempt": number, "success": true, "exit_code": 0, "duration_ms": 1.25,
                        "stdout_bytes": bytes,
                    }),
                ),
            ],
        }
    }
}

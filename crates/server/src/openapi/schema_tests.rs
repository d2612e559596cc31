use super::*;
use camshaft_engine::handle::{ComponentHealth, ExecutionExplanation};
use camshaft_model::port::sensor::Accepted;
use camshaft_model::run::Ending;
use camshaft_model::{
    Attempt, AttemptKey, Constraint, Enforcement, EnforcementId, EnforcementOutcome, Event,
    EventDraft, EventId, EventSource, Execution, ExecutionId, ExecutionSpec, ExecutionState,
    Failure, FailureKind, Inquiry, InquiryId, Object, Origin, Output, RunRecord, Scope, StepEvent,
    TaskRecord, TaskRef, Terms, Timestamp, Via,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

use crate::route::{Run, Task};

const ID: ExecutionId = ExecutionId::new(Uuid::nil());

fn names(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

/// The properties of the schema are exactly those that the type writes.
fn same<T: Serialize>(schema: &str, value: &T) {
    let schemas = schemas();
    assert_eq!(
        names(&schemas[schema]["properties"]),
        names(&serde_json::to_value(value).unwrap()),
        "{schema}"
    );
}

fn task() -> TaskRef {
    TaskRef {
        lap: 1,
        name: "load".to_owned(),
        visit: 1,
        item: Some(0),
    }
}

fn draft() -> EventDraft {
    EventDraft {
        trigger: "demo.x".parse().unwrap(),
        payload: Value::Null,
        source: EventSource {
            kind: "api".to_owned(),
            name: Some("n".to_owned()),
        },
        dedup_key: Some("k".to_owned()),
        occurred_at: Some(Timestamp::default()),
        sensor: Some("s".to_owned()),
        depth: 0,
        trace_parent: Some("t".to_owned()),
    }
}

#[test]
fn executions_are_as_they_are_described() {
    let spec = ExecutionSpec {
        id: ID,
        root: ID,
        parent: None,
        task: Some(Box::new(task())),
        action: "demo.x".parse().unwrap(),
        pack_hash: None,
        adhoc: None,
        parameters: Arc::new(Object::new()),
        priority: 0,
        requested_at: Timestamp::default(),
        origin: Origin::Api,
        idempotency_key: None,
        depth: 0,
        trace_parent: None,
    };
    same(
        "Execution",
        &Execution {
            spec: Arc::new(spec),
            state: ExecutionState::requested(None),
        },
    );
    let explanation = ExecutionExplanation {
        execution: ID,
        action: "demo.x".parse().unwrap(),
        status: Status::Failed,
        blocked_by: None,
        summary: String::new(),
        blockers: Vec::new(),
        ahead: 0,
        history: Vec::new(),
    };
    same("ExecutionExplanation", &explanation);
    same("Output", &Output::default());
}

#[test]
fn runs_are_as_they_are_described() {
    let failure = Failure {
        kind: FailureKind::Task,
        message: String::new(),
    };
    let run = RunRecord {
        execution: ID,
        lap: 1,
        cycle: 1,
        vars: Object::new(),
        paused: false,
        arrivals: BTreeMap::new(),
        ending: None,
        next_lap_at: None,
    };
    let ending = Ending {
        status: Status::Failed,
        error: failure,
    };
    same("TaskRef", &task());
    same("RunRecord", &run);
    same("Ending", &ending);
    let place = TaskRef {
        item: None,
        ..task()
    };
    let record = TaskRecord {
        items: Some(2),
        ..TaskRecord::new(ID, place, Status::Running, Timestamp::default())
    };
    let task = Task {
        record,
        blocked_by: None,
        item_counts: None,
    };
    same("TaskRecord", &task);
    let answer = Run {
        run,
        tasks: vec![task],
        inquiries: Vec::new(),
        workflow: None,
    };
    same("Run", &answer);
}

#[test]
fn constraints_are_as_they_are_described() {
    use crate::route::constraints::{preview_shown, with_use};
    use camshaft_engine::handle::{ConstraintPreview, ConstraintUse};
    let now = Timestamp::default();
    let constraint = Constraint {
        id: String::new(),
        scope: Scope::global(),
        terms: Terms::Pause,
        expires_at: None,
        reason: None,
        owner: None,
        via: Via::Api,
        set_at: now,
    };
    same("Constraint", &constraint.shown(now));
    same(
        "ConstraintPreview",
        &preview_shown(&ConstraintPreview::default()),
    );
    let in_force = with_use(
        &ConstraintUse {
            constraint,
            leases: 0,
            holders: Vec::new(),
            waiting: 0,
            room: None,
            next_at: None,
        },
        now,
    );
    same("ConstraintInForce", &in_force);
    let names_of_use = names(&schemas()["ConstraintInForce"]["properties"]["use"]["properties"]);
    assert_eq!(names_of_use, names(&in_force["use"]));
}

#[test]
fn traces_are_as_they_are_described() {
    use camshaft_engine::trace::{Anomaly, AnomalyKind, Part, Phase, StepKind, Trace, TraceStep};
    let phase = Phase {
        part: Part::Run,
        offset_us: 0,
        duration_us: 1,
    };
    let step = TraceStep {
        kind: StepKind::Attempt,
        step: String::new(),
        lap: 1,
        execution: None,
        action: None,
        attempt: None,
        status: Status::Running,
        blocked_by: None,
        offset_us: 0,
        duration_us: 1,
        phases: vec![phase],
        reason: None,
        critical: true,
    };
    let anomaly = Anomaly {
        kind: AnomalyKind::Retried,
        step: String::new(),
        execution: None,
        attempt: None,
        message: String::new(),
        offset_us: 0,
    };
    let trace = Trace {
        execution: ID,
        action: "demo.x".parse().unwrap(),
        status: Status::Running,
        blocked_by: None,
        requested_at: Timestamp::default(),
        ended_at: None,
        duration_us: 1,
        steps: Vec::new(),
        anomalies: Vec::new(),
        critical_path: Vec::new(),
        parts_us: BTreeMap::new(),
        left_out: 0,
    };
    same("TracePhase", &phase);
    same("TraceStep", &step);
    same("Anomaly", &anomaly);
    same("Trace", &trace);
}

#[test]
fn inquiries_are_as_they_are_described() {
    let inquiry = Inquiry {
        id: InquiryId::new(Uuid::nil()),
        run: ID,
        root: ID,
        task: task(),
        prompt: String::new(),
        schema: None,
        roles: Vec::new(),
        created_at: Timestamp::default(),
        expires_at: None,
        status: InquiryStatus::Open,
        answer: None,
        answered_by: None,
        closed_at: None,
    };
    same("Inquiry", &inquiry);
}

#[test]
fn attempts_and_step_events_are_as_they_are_described() {
    let attempt = Attempt {
        key: AttemptKey {
            execution: ID,
            attempt: 1,
            epoch: 1,
        },
        status: Status::Completed,
        worker: None,
        started_at: None,
        ended_at: Timestamp::default(),
        error: None,
        exit_code: None,
        signal: None,
        stdout: Output::default(),
        stderr: Output::default(),
        output_lost: None,
    };
    same("Attempt", &attempt);
    same(
        "StepEvent",
        &StepEvent::from_row(
            1,
            ID,
            None,
            "step_started",
            None,
            None,
            "{}",
            Timestamp::default(),
        ),
    );
}

#[test]
fn events_are_as_they_are_described() {
    let id = EventId::new(Uuid::nil());
    same(
        "Event",
        &Event {
            id,
            received_at: Timestamp::default(),
            draft: draft(),
        },
    );
    same(
        "Accepted",
        &Accepted {
            event: id,
            duplicate: false,
            executions: Vec::new(),
        },
    );
    let enforcement = |outcome| Enforcement {
        id: EnforcementId::new(Uuid::nil()),
        rule: "demo.x".parse().unwrap(),
        event: id,
        created_at: Timestamp::default(),
        outcome,
    };
    let described = names(&schemas()["Enforcement"]["properties"]);
    for outcome in [
        EnforcementOutcome::Requested { execution: ID },
        EnforcementOutcome::Failed {
            reason: String::new(),
        },
    ] {
        let written = names(&serde_json::to_value(enforcement(outcome)).unwrap());
        assert!(
            written.iter().all(|name| described.contains(name)),
            "{written:?}"
        );
    }
    let part = ComponentHealth {
        component: "writer".to_owned(),
        problem: None,
    };
    let described = &schemas()["Readiness"]["properties"]["components"]["items"]["properties"];
    assert_eq!(
        names(described),
        names(&serde_json::to_value(part).unwrap())
    );
}

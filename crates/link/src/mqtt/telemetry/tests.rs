use std::sync::Arc;

use camshaft_model::{
    ExecutionSpec, ExecutionState, Failure, FailureKind, Status, StepEventType, StepScope, TaskRef,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::samples::{self, START};

struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        START
    }
}

fn telemetry() -> Telemetry {
    let identity = Identity {
        org_id: "local".into(),
        project_id: "default".into(),
        source: "host-7".into(),
    };
    Telemetry::new(identity, Topics::new("cascade"), Arc::new(StandingClock))
}

fn id(number: u128) -> ExecutionId {
    ExecutionId::new(Uuid::from_u128(number))
}

/// An execution of the run 1.
struct Maker {
    spec: ExecutionSpec,
    state: ExecutionState,
}

impl Maker {
    fn root() -> Self {
        let run = samples::run(id(1));
        Self {
            spec: (*run.spec).clone(),
            state: run.state,
        }
    }

    fn task(number: u128, name: &str, item: Option<u32>) -> Self {
        let mut maker = Self::root();
        maker.spec.id = id(number);
        maker.spec.parent = Some(id(1));
        maker.spec.task = Some(Box::new(TaskRef {
            lap: 1,
            name: name.into(),
            visit: 1,
            item,
        }));
        maker
    }

    fn is(&mut self, status: Status, attempt: u32) -> Notice {
        self.state.status = status;
        self.state.attempt = attempt;
        if status == Status::Running {
            self.state.started_at = Some(START);
            self.state.worker = Some("w".into());
        }
        if status.is_terminal() {
            self.state.ended_at = Some(START + std::time::Duration::from_micros(1_500));
        }
        if matches!(status, Status::Failed | Status::TimedOut) {
            let message = "[x] broke".to_owned();
            self.state.error = Some(Failure {
                kind: FailureKind::Exit,
                message,
            });
        }
        Notice::Execution(Arc::new(Execution {
            spec: Arc::new(self.spec.clone()),
            state: self.state.clone(),
        }))
    }
}

fn step(
    kind: StepEventType,
    item: Option<u128>,
    name: &str,
    scope: Option<StepScope>,
    payload: Value,
) -> Notice {
    let Value::Object(payload) = payload else {
        panic!("an object")
    };
    Notice::Step(Arc::new(StepEvent {
        id: 1,
        execution_id: id(1),
        item_id: item.map(id),
        event_type: kind,
        step: Some(name.into()),
        step_scope: scope,
        payload,
        created_at: START,
    }))
}

/// What was told, as lines: the lifecycle's event, or the task's state with what is not usual.
fn told(telemetry: &Telemetry) -> Vec<String> {
    std::iter::from_fn(|| telemetry.pop())
        .map(|queued| {
            telemetry.delivered(queued.run);
            let message: Value =
                serde_json::from_slice(&queued.write(&telemetry.identity)).unwrap();
            let body = &message["body"];
            let mut line = match body["event"].as_str() {
                Some(event) => event.to_owned(),
                None => format!(
                    "{} {}",
                    body["task_name"].as_str().unwrap(),
                    body["state"].as_str().unwrap()
                ),
            };
            for key in [
                "item",
                "attempt",
                "reason",
                "constraint",
                "worker",
                "error",
                "status",
                "resumed",
                "duration_ms",
            ] {
                match &body[key] {
                    Value::Null => {}
                    value if value == "" || value == &json!(0.0) => {}
                    value => line.push_str(&format!(" {key}={value}").replace('"', "")),
                }
            }
            line
        })
        .collect()
}

#[test]
fn an_action_is_a_run_with_one_task() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    telemetry.notice(&root.is(Status::Running, 1));
    telemetry.notice(&root.is(Status::Completed, 1));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED",
            "fetch RUNNING attempt=1 worker=w",
            "fetch COMPLETED attempt=1 worker=w duration_ms=1.5",
            "ENGINE_STOPPED status=completed duration_ms=1.5",
        ]
    );
    assert!(telemetry.inner.lock().runs.is_empty());
}

#[test]
fn waiting_being_held_and_retrying_are_told_once_each() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    telemetry.notice(&root.is(Status::Requested, 0));
    let held = json!({ "status": "blocked", "constraint": "pause-global", "reason": "held" });
    telemetry.notice(&step(StepEventType::TaskBlocked, None, "fetch", None, held));
    telemetry.notice(&root.is(Status::Requested, 0));
    telemetry.notice(&root.is(Status::Running, 1));
    let again = json!({ "reason": "[x] broke", "delay_ms": 5, "attempt": 1, "max_attempts": 2 });
    telemetry.notice(&step(
        StepEventType::StepRetrying,
        None,
        "fetch",
        None,
        again,
    ));
    telemetry.notice(&root.is(Status::Requested, 1));
    telemetry.notice(&root.is(Status::Running, 2));
    telemetry.notice(&root.is(Status::TimedOut, 2));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED",
            "fetch PENDING attempt=1",
            "fetch BLOCKED reason=held constraint=pause-global",
            "fetch RUNNING attempt=1 worker=w",
            "fetch RETRYING attempt=1 error=[x] broke",
            "fetch RUNNING attempt=2 worker=w",
            "fetch FAILED attempt=2 reason=timed_out worker=w error=[x] broke duration_ms=1.5",
            "ENGINE_STOPPED error=[x] broke status=timed_out duration_ms=1.5",
        ]
    );
}

#[test]
fn tasks_of_a_workflow_with_and_without_executions() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    let task = Some(StepScope::Task);
    telemetry.notice(&root.is(Status::Waiting, 1));
    let mut first = Maker::task(2, "first", None);
    telemetry.notice(&first.is(Status::Running, 1));
    // The event log tells of an end before the execution does.
    telemetry.notice(&step(
        StepEventType::TaskCompleted,
        Some(2),
        "first",
        task,
        json!({ "status": "completed" }),
    ));
    telemetry.notice(&first.is(Status::Completed, 1));
    telemetry.notice(&step(
        StepEventType::StepSkipped,
        None,
        "second",
        task,
        json!({ "reason": "when is false" }),
    ));
    telemetry.notice(&step(
        StepEventType::TaskBlocked,
        None,
        "ask",
        task,
        json!({ "reason": "waits for a person" }),
    ));
    telemetry.notice(&step(
        StepEventType::TaskCompleted,
        None,
        "ask",
        task,
        json!({ "duration_ms": 7 }),
    ));
    telemetry.notice(&step(
        StepEventType::TaskCompleted,
        None,
        "kept",
        task,
        json!({ "taken_from": { "kind": "cache" } }),
    ));
    telemetry.notice(&root.is(Status::Completed, 1));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED",
            "first RUNNING attempt=1 worker=w",
            "first COMPLETED attempt=1 worker=w duration_ms=1.5",
            "second SKIPPED reason=when is false",
            "ask BLOCKED reason=waits for a person",
            "ask COMPLETED duration_ms=7.0",
            "kept COMPLETED reason=taken from the cache",
            "ENGINE_STOPPED status=completed duration_ms=1.5",
        ]
    );
}

#[test]
fn a_task_with_items_is_one_pair_and_one_for_each_item() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    telemetry.notice(&root.is(Status::Waiting, 1));
    for item in 0..2 {
        let mut each = Maker::task(2 + u128::from(item), "each", Some(item));
        telemetry.notice(&each.is(Status::Running, 1));
        if item == 0 {
            telemetry.notice(&each.is(Status::Completed, 1));
        }
    }
    let end = json!({ "status": "completed", "items": 2, "items_failed": 0, "duration_ms": 3 });
    telemetry.notice(&step(
        StepEventType::TaskCompleted,
        None,
        "each",
        Some(StepScope::Task),
        end,
    ));
    // The event log tells of the end of the task before the end of its last item is told.
    let mut last = Maker::task(3, "each", Some(1));
    last.is(Status::Running, 1);
    telemetry.notice(&last.is(Status::Completed, 1));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED",
            "each RUNNING",
            "each RUNNING item=0 attempt=1 worker=w",
            "each COMPLETED item=0 attempt=1 worker=w duration_ms=1.5",
            "each RUNNING item=1 attempt=1 worker=w",
            "each COMPLETED item=1 attempt=1 worker=w duration_ms=1.5",
            "each COMPLETED duration_ms=3.0",
        ]
    );
}

#[test]
fn a_hold_that_is_told_before_the_execution_is_not_followed_by_pending() {
    let telemetry = telemetry();
    telemetry.notice(&Maker::root().is(Status::Waiting, 1));
    let held = json!({ "status": "blocked", "constraint": "pause-global", "reason": "held" });
    telemetry.notice(&step(
        StepEventType::TaskBlocked,
        Some(2),
        "next",
        Some(StepScope::Task),
        held,
    ));
    telemetry.notice(&Maker::task(2, "next", None).is(Status::Requested, 0));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED",
            "next BLOCKED reason=held constraint=pause-global"
        ]
    );
}

fn pause() -> camshaft_model::Constraint {
    crate::mqtt::message::read(
        br#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null}"#,
        START,
    )
    .unwrap()
}

fn pause_changed() -> Notice {
    Notice::Constraint {
        constraint: Arc::new(pause()),
        change: camshaft_model::ConstraintChange::Cleared,
        at: START,
    }
}

fn held_by(key: camshaft_model::ConstraintKey) -> BlockedBy {
    BlockedBy::Constraint(Box::new(camshaft_model::HeldBy {
        id: format!("the {}", key.kind),
        key,
        terms: "paused".into(),
        owner: None,
        reason: None,
        expires_at: None,
        next_at: None,
    }))
}

/// What the engine says keeps the execution of that number from its start is told.
fn settle(telemetry: &Telemetry, number: u128, blockers: Vec<BlockedBy>) -> Vec<String> {
    let doubts = telemetry.inner.lock().doubts();
    let blockers = [(id(number), blockers)].into();
    telemetry.inner.lock().settle(&doubts, &blockers, START);
    told(telemetry)
}

fn blocked_by_the_pause(root: &Execution) -> Notice {
    let payload = json!({ "constraint": "pause-global", "scope": "global", "type": "pause", "reason": "held" });
    step(
        StepEventType::TaskBlocked,
        None,
        root.spec.step(),
        None,
        payload,
    )
}

#[test]
fn what_a_constraint_has_held_waits_or_is_held_by_another_one() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    let Notice::Execution(requested) = root.is(Status::Requested, 0) else {
        panic!("an execution")
    };
    let slots = || vec![BlockedBy::Slots { capacity: 1 }];
    telemetry.notice(&Notice::Execution(requested.clone()));
    telemetry.notice(&blocked_by_the_pause(&requested));
    told(&telemetry);
    assert!(settle(&telemetry, 1, slots()).is_empty(), "nothing changed");
    telemetry.notice(&pause_changed());
    assert!(settle(&telemetry, 1, vec![]).is_empty(), "it starts");
    telemetry.notice(&pause_changed());
    let still = vec![BlockedBy::Gate, held_by(pause().key())];
    assert!(settle(&telemetry, 1, still).is_empty(), "it holds on");
    let mut limit = pause().key();
    limit.kind = camshaft_model::ConstraintType::Concurrency;
    telemetry.notice(&pause_changed());
    let other = settle(&telemetry, 1, vec![held_by(limit)]);
    assert_eq!(other.len(), 1);
    assert!(
        other[0].starts_with("fetch BLOCKED attempt=1")
            && other[0].ends_with("constraint=the concurrency"),
        "{other:?}"
    );
    telemetry.notice(&blocked_by_the_pause(&requested));
    told(&telemetry);
    telemetry.notice(&pause_changed());
    assert_eq!(
        settle(&telemetry, 1, slots()),
        ["fetch PENDING attempt=1 reason=All 1 slots are taken"]
    );
    telemetry.notice(&pause_changed());
    assert!(settle(&telemetry, 1, slots()).is_empty(), "told once");
    let again = || held_by(pause().key());
    telemetry.notice(&pause_changed());
    let told_again = settle(&telemetry, 1, vec![again()]);
    assert_eq!(told_again.len(), 1);
    assert!(told_again[0].starts_with("fetch BLOCKED"), "{told_again:?}");
    let line = |reason: &str| {
        let payload = json!({ "constraint": "the pause", "scope": "global", "type": "pause", "reason": reason });
        step(StepEventType::TaskBlocked, None, "fetch", None, payload)
    };
    telemetry.notice(&line(&again().to_string()));
    assert!(told(&telemetry).is_empty(), "the line says the same");
    telemetry.notice(&line("for another reason"));
    assert_eq!(told(&telemetry).len(), 1);
}

#[test]
fn what_was_told_while_the_engine_was_asked_stands() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    let requested = root.is(Status::Requested, 0);
    telemetry.notice(&requested);
    let Notice::Execution(requested) = requested else {
        panic!("an execution")
    };
    telemetry.notice(&blocked_by_the_pause(&requested));
    telemetry.notice(&pause_changed());
    let doubts = telemetry.inner.lock().doubts();
    telemetry.notice(&root.is(Status::Running, 1));
    told(&telemetry);
    let blockers = [(id(1), vec![BlockedBy::Slots { capacity: 1 }])].into();
    telemetry.inner.lock().settle(&doubts, &blockers, START);
    assert!(told(&telemetry).is_empty());
}

#[test]
fn what_an_earlier_life_has_left_waiting_is_told_as_it_is_held() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    root.spec.requested_at = START - std::time::Duration::from_secs(1);
    let Notice::Execution(left) = root.is(Status::Requested, 1) else {
        panic!("an execution")
    };
    telemetry.resume([&*left]);
    assert_eq!(told(&telemetry), ["ENGINE_STARTED resumed=true"]);
    let held = settle(&telemetry, 1, vec![held_by(pause().key())]);
    assert_eq!(
        held,
        [
            "fetch BLOCKED attempt=2 reason=Constraint 'the pause' on global holds it: paused constraint=the pause"
        ]
    );
}

#[test]
fn the_broker_is_behind_the_first_end_that_it_has_not_acknowledged() {
    let telemetry = telemetry();
    telemetry.begin_after(40);
    let mut root = Maker::root();
    telemetry.notice(&root.is(Status::Running, 1));
    let line = |id| {
        let line = step(StepEventType::StepFinished, None, "fetch", None, json!({}));
        let Notice::Step(line) = line else {
            panic!("a line")
        };
        let mut line = StepEvent::clone(&line);
        line.id = id;
        Notice::Step(Arc::new(line))
    };
    telemetry.notice(&line(43));
    assert_eq!(telemetry.told_up_to(), 43, "it has not ended");
    telemetry.notice(&root.is(Status::Completed, 1));
    telemetry.notice(&line(45));
    assert_eq!(telemetry.told_up_to(), 42);
    told(&telemetry);
    assert_eq!(telemetry.told_up_to(), 45);
}

#[test]
fn an_end_in_an_earlier_life_is_told_again() {
    for (worker, task) in [
        (Some("w"), Some("fetch COMPLETED attempt=1 worker=w")),
        (None, None),
    ] {
        let telemetry = telemetry();
        telemetry.begin_after(45);
        let mut root = Maker::root();
        root.spec.requested_at = START - std::time::Duration::from_secs(1);
        root.is(Status::Running, 1);
        root.state.worker = worker.map(str::to_owned);
        let Notice::Execution(ended) = root.is(Status::Completed, 1) else {
            panic!("an execution")
        };
        telemetry.end_again(&ended, 43);
        assert_eq!(telemetry.told_up_to(), 42);
        let mut expected = vec!["ENGINE_STARTED resumed=true".to_owned()];
        expected.extend(task.map(|task| format!("{task} duration_ms=1.5")));
        expected.push("ENGINE_STOPPED status=completed duration_ms=1.5".to_owned());
        assert_eq!(told(&telemetry), expected);
        assert_eq!(telemetry.told_up_to(), 45);
        assert!(telemetry.inner.lock().runs.is_empty());
    }
}

#[test]
fn a_run_of_an_earlier_life_says_so_and_one_that_is_cut_off_is_stopped() {
    let telemetry = telemetry();
    let mut root = Maker::root();
    root.spec.requested_at = START - std::time::Duration::from_secs(1);
    telemetry.notice(&root.is(Status::Running, 2));
    telemetry.close();
    telemetry.notice(&root.is(Status::Completed, 2));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED resumed=true",
            "fetch RUNNING attempt=2 worker=w",
            "ENGINE_STOPPED error=the engine stopped before the run was over; its next start takes the run up again status=interrupted",
        ]
    );
    assert!(telemetry.inner.lock().runs.is_empty());
}

#[test]
fn a_run_of_a_workflow_that_is_taken_up_is_no_task_of_itself() {
    let telemetry = telemetry();
    let before = START - std::time::Duration::from_secs(1);
    let mut root = Maker::root();
    let mut below = Maker::task(2, "sub", None);
    let left: Vec<Execution> = [&mut root, &mut below]
        .map(|maker| {
            maker.spec.requested_at = before;
            let Notice::Execution(left) = maker.is(Status::Waiting, 1) else {
                panic!("an execution")
            };
            Execution::clone(&left)
        })
        .into();
    telemetry.resume(&left);
    // A person answers a question of the run below.
    let mut answered = step(
        StepEventType::TaskCompleted,
        Some(2),
        "ask",
        Some(StepScope::Task),
        json!({ "duration_ms": 7 }),
    );
    telemetry.notice(&answered);
    if let Notice::Step(line) = &mut answered {
        Arc::make_mut(line).step = Some("sub".into());
    }
    telemetry.notice(&answered);
    telemetry.notice(&below.is(Status::Completed, 1));
    telemetry.notice(&root.is(Status::Completed, 1));
    assert_eq!(
        told(&telemetry),
        [
            "ENGINE_STARTED resumed=true",
            "ask COMPLETED duration_ms=7.0",
            "sub COMPLETED attempt=1",
            "ENGINE_STOPPED status=completed duration_ms=1001.5",
        ]
    );
}

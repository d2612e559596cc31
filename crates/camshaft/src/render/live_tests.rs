use super::*;

use camshaft_model::{
    BlockedBy, EnforcementId, EventDraft, EventId, EventSource, ExecutionId, ExecutionSpec,
    ExecutionState, Failure, FailureKind, Object, Origin, TaskRef,
};
use uuid::Uuid;

const START: &str = "2026-11-21T12:00:01Z";

fn at() -> Timestamp {
    START.parse().unwrap()
}

fn plain() -> LineStyle {
    LineStyle {
        colour: false,
        zone: TimeZone::UTC,
    }
}

fn execution(status: Status) -> Execution {
    let id = ExecutionId::new(Uuid::from_u128(1));
    let mut state = ExecutionState::requested(None);
    state.status = status;
    state.started_at = Some(at());
    state.ended_at = Some(at() + std::time::Duration::from_millis(12));
    let spec = ExecutionSpec {
        id,
        root: id,
        parent: None,
        task: None,
        action: "demo.greet".parse().unwrap(),
        pack_hash: None,
        adhoc: None,
        parameters: Arc::default(),
        priority: 0,
        requested_at: at(),
        origin: Origin::Api,
        idempotency_key: None,
        depth: 0,
        trace_parent: None,
    };
    Execution {
        spec: spec.into(),
        state,
    }
}

fn event() -> Notice {
    let draft = EventDraft {
        trigger: "core.interval".parse().unwrap(),
        payload: serde_json::json!({"count": 1, "missed": 0}),
        source: EventSource {
            kind: "timer".into(),
            name: None,
        },
        dedup_key: None,
        occurred_at: None,
        sensor: None,
        depth: 0,
        trace_parent: None,
    };
    Notice::Event(Arc::new(Event {
        id: EventId::new(Uuid::from_u128(2)),
        received_at: at(),
        draft,
    }))
}

/// An event with the payload of another source.
fn event_of(kind: &str, trigger: &str, payload: Value) -> Notice {
    let Notice::Event(mut event) = event() else {
        unreachable!("made above")
    };
    let draft = &mut Arc::make_mut(&mut event).draft;
    draft.source.kind = kind.into();
    draft.trigger = trigger.parse().unwrap();
    draft.payload = payload;
    Notice::Event(event)
}

fn rule(outcome: EnforcementOutcome) -> Notice {
    Notice::Enforcement(Arc::new(Enforcement {
        id: EnforcementId::new(Uuid::from_u128(3)),
        rule: "demo.every".parse().unwrap(),
        event: EventId::new(Uuid::from_u128(2)),
        created_at: at(),
        outcome,
    }))
}

fn step(event_type: StepEventType) -> Notice {
    Notice::Step(Arc::new(StepEvent {
        id: 1,
        execution_id: ExecutionId::new(Uuid::from_u128(1)),
        item_id: None,
        event_type,
        step: Some("greet".into()),
        step_scope: None,
        payload: Object::from_iter([("delay_ms".to_owned(), 500.into())]),
        created_at: at(),
    }))
}

#[test]
fn every_step_of_the_pipeline_has_a_line() {
    let mut waiting = execution(Status::Requested);
    waiting.state.blocked_by = Some(BlockedBy::Slots { capacity: 2 });
    let mut failed = execution(Status::Failed);
    failed.state.error = Some(Failure {
        kind: FailureKind::Exit,
        message: "exit status 3 [x]\u{1b}[2J\nmore".into(),
    });
    let id = ExecutionId::new(Uuid::from_u128(1));
    let notices = [
        event(),
        rule(EnforcementOutcome::Requested { execution: id }),
        rule(EnforcementOutcome::Failed {
            reason: "trigger.x is undefined".into(),
        }),
        Notice::Execution(Arc::new(waiting)),
        Notice::Execution(Arc::new(execution(Status::Running))),
        Notice::Execution(Arc::new(execution(Status::Completed))),
        Notice::Execution(Arc::new(failed)),
        step(StepEventType::StepRetrying),
        step(StepEventType::StepTimeout),
    ];
    let text: String = notices
        .iter()
        .filter_map(|notice| line(notice, &Names::default(), &plain()))
        .collect();
    insta::assert_snapshot!(text, @r"
    12:00:01  event      core.interval  #1  evt_00000000000000000000000002
    12:00:01  rule       demo.every matched  exec_00000000000000000000000001
    12:00:01  rule       demo.every could not be evaluated: trigger.x is undefined  evt_00000000000000000000000002
    12:00:01  execution  demo.greet waits: All 2 slots are taken  exec_00000000000000000000000001
    12:00:01  execution  demo.greet started  exec_00000000000000000000000001
    12:00:01  execution  demo.greet completed in 12ms  exec_00000000000000000000000001
    12:00:01  execution  demo.greet failed in 12ms: exit status 3 [x]\u{1b}[2J\nmore  exec_00000000000000000000000001
    12:00:01  step       ⚠️ Task 'greet' failed, retrying (attempt 0/0). Delaying for 0.50s. Error: -  exec_00000000000000000000000001
    12:00:01  step       greet step_timeout delay_ms=500  exec_00000000000000000000000001
    ");
}

/// A part of the run, as the bus tells of it.
fn part(number: u128, name: &str, status: Status) -> Notice {
    let mut part = execution(status);
    let spec = Arc::make_mut(&mut part.spec);
    let run = spec.id;
    (spec.id, spec.parent) = (ExecutionId::new(Uuid::from_u128(number)), Some(run));
    spec.task = Some(Box::new(TaskRef {
        lap: 1,
        name: name.to_owned(),
        visit: 1,
        item: None,
    }));
    Notice::Execution(Arc::new(part))
}

fn task_step(event_type: StepEventType, name: &str, payload: Value) -> Notice {
    let Notice::Step(mut event) = own_step(event_type, name, payload) else {
        unreachable!("made above")
    };
    Arc::make_mut(&mut event).step_scope = Some(StepScope::Task);
    Notice::Step(event)
}

/// A line about an execution that is no task.
fn own_step(event_type: StepEventType, name: &str, payload: Value) -> Notice {
    let Notice::Step(mut event) = step(event_type) else {
        unreachable!("made above")
    };
    let changed = Arc::make_mut(&mut event);
    changed.step = Some(name.to_owned());
    changed.payload = payload.as_object().cloned().unwrap();
    Notice::Step(event)
}

/// What the console shows of notices, one after another.
fn told(notices: impl IntoIterator<Item = Notice>) -> String {
    let (mut held, mut names) = (None, Names::default());
    let mut text = String::new();
    for notice in notices {
        names.learn(&notice);
        let ended = ended(&notice);
        text.extend(lines(notice, &mut held, &names, &plain()));
        ended.into_iter().for_each(|id| names.forget(id));
    }
    text
}

#[test]
fn a_task_is_told_from_its_run_and_an_execution_by_its_action() {
    use serde_json::json;
    // The run is called demo.greet, and so ends like each of its tasks.
    let failed = || json!({"status": "failed", "error": "no"});
    let plain_one = {
        let mut held = execution(Status::Requested);
        held.state.blocked_by = Some(BlockedBy::Slots { capacity: 2 });
        Notice::Execution(Arc::new(held))
    };
    let blocked = json!({"status": "blocked", "constraint": "pause-global", "reason": "held"});
    let text = told([
        Notice::Execution(Arc::new(execution(Status::Waiting))),
        task_step(
            StepEventType::StepSkipped,
            "eet",
            json!({"reason": "when is false"}),
        ),
        task_step(StepEventType::TaskFailed, "greet", failed()),
        own_step(StepEventType::TaskFailed, "greet", failed()),
        Notice::Execution(Arc::new(execution(Status::Failed))),
        plain_one,
        own_step(StepEventType::TaskBlocked, "greet", blocked),
    ]);
    insta::assert_snapshot!(text, @r"
    12:00:01  run        demo.greet started  exec_00000000000000000000000001
    12:00:01  step       demo.greet/eet skipped: when is false  exec_00000000000000000000000001
    12:00:01  step       demo.greet/greet failed: no  exec_00000000000000000000000001
    12:00:01  run        demo.greet failed in 12ms  exec_00000000000000000000000001
    12:00:01  execution  demo.greet waits: All 2 slots are taken  exec_00000000000000000000000001
    12:00:01  step       demo.greet is blocked: held  exec_00000000000000000000000001
    ");
}

#[test]
fn a_run_is_told_with_its_tasks_its_skips_and_its_questions() {
    use serde_json::json;
    let mut again = execution(Status::Requested);
    again.state.attempt = 1;
    again.state.blocked_by = Some(BlockedBy::NotBefore { until: at() });
    let inquiry =
        json!({"reason": "waits for a person", "inquiry": "inq_01", "prompt": "Load 3 rows?"});
    let notices = [
        Notice::Execution(Arc::new(execution(Status::Waiting))),
        part(7, "load", Status::Running),
        part(8, "late", Status::Running),
        task_step(StepEventType::TaskBlocked, "approve", inquiry),
        own_step(StepEventType::TaskPaused, "greet", json!({"paused": true})),
        part(7, "load", Status::Completed),
        task_step(
            StepEventType::StepSkipped,
            "quiet",
            json!({"reason": "when is false"}),
        ),
        task_step(
            StepEventType::TaskFailed,
            "ask",
            json!({"status": "failed", "error": "no"}),
        ),
        task_step(
            StepEventType::TaskFailed,
            "all",
            json!({"status": "failed", "items": 3, "items_failed": 1}),
        ),
        Notice::Execution(Arc::new(again)),
        own_step(
            StepEventType::StepRetrying,
            "greet",
            json!({"attempt": 1, "max_attempts": 3, "delay_ms": 500, "reason": "exit status 3"}),
        ),
        Notice::Execution(Arc::new(execution(Status::Completed))),
        part(8, "late", Status::Completed),
    ];
    insta::assert_snapshot!(told(notices));
}

#[test]
fn what_the_states_say_already_is_not_said_twice_and_only_failures_are_red() {
    assert_eq!(
        line(
            &step(StepEventType::StepStarted),
            &Names::default(),
            &plain()
        ),
        None
    );
    let red = LineStyle {
        colour: true,
        ..plain()
    };
    assert!(
        line(&step(StepEventType::StepTimeout), &Names::default(), &red)
            .unwrap()
            .contains("\u{1b}[31mstep")
    );
    let plain_event = line(&event(), &Names::default(), &red).unwrap();
    assert!(
        plain_event
            .ends_with("core.interval  #1\u{1b}[2m  evt_00000000000000000000000002\u{1b}[0m\n"),
        "{plain_event:?}"
    );
    let good = line(
        &Notice::Execution(Arc::new(execution(Status::Completed))),
        &Names::default(),
        &red,
    )
    .unwrap();
    assert!(good.contains("\u{1b}[32mexecution"), "{good:?}");
}

#[test]
fn an_event_says_what_it_is_about_and_nothing_that_a_stranger_wrote() {
    let hook = serde_json::json!({"method": "POST", "path": "greet", "body": {"password": "hunter2"}, "headers": {"authorization": "hunter2"}});
    let about = [
        event_of(
            "timer",
            "core.cron",
            serde_json::json!({"count": 7, "missed": 3}),
        ),
        event_of("webhook", "core.webhook", hook),
        event_of(
            "file",
            "core.file",
            serde_json::json!({"event": "created", "name": "a\u{1b}[2J.csv"}),
        ),
        event_of(
            "engine",
            "core.execution",
            serde_json::json!({"action": "demo.greet", "status": "failed"}),
        ),
        event_of("api", "t.order", serde_json::json!({"id": 7})),
        event_of("timer", "core.cron", serde_json::json!([])),
    ];
    let text: String = about
        .iter()
        .filter_map(|notice| line(notice, &Names::default(), &plain()))
        .collect();
    insta::assert_snapshot!(text, @r"
    12:00:01  event      core.cron  #7 after 3 missed  evt_00000000000000000000000002
    12:00:01  event      core.webhook  POST greet  evt_00000000000000000000000002
    12:00:01  event      core.file  created a\u{1b}[2J.csv  evt_00000000000000000000000002
    12:00:01  event      core.execution  demo.greet failed  evt_00000000000000000000000002
    12:00:01  event      t.order  evt_00000000000000000000000002
    12:00:01  event      core.cron  evt_00000000000000000000000002
    ");
}

#[test]
fn a_result_is_shown_and_a_long_one_is_cut() {
    let mut completed = execution(Status::Completed);
    completed.state.result = Some(Arc::new(Value::String("ä".repeat(SUMMARY_CHARS + 1))));
    let text = line(
        &Notice::Execution(Arc::new(completed.clone())),
        &Names::default(),
        &plain(),
    )
    .unwrap();
    assert!(
        text.contains(&format!(": {}…  exec_", "ä".repeat(SUMMARY_CHARS))),
        "{text}"
    );
    completed.state.result = Some(Arc::new(serde_json::json!({"letters": 3})));
    let text = line(
        &Notice::Execution(Arc::new(completed)),
        &Names::default(),
        &plain(),
    )
    .unwrap();
    assert!(
        text.contains("demo.greet completed in 12ms: {\"letters\":3}  exec_"),
        "{text}"
    );
}

#[test]
fn the_event_of_an_end_is_shown_only_if_a_rule_answers_it() {
    let end = || {
        event_of(
            "engine",
            "core.execution",
            serde_json::json!({"action": "demo.greet", "status": "failed"}),
        )
    };
    let answer = || {
        rule(EnforcementOutcome::Requested {
            execution: ExecutionId::new(Uuid::from_u128(1)),
        })
    };
    let mut held = None;
    assert_eq!(
        lines(end(), &mut held, &Names::default(), &plain()),
        [""; 0]
    );
    let shown = lines(answer(), &mut held, &Names::default(), &plain());
    assert!(
        shown.len() == 2
            && shown[0].contains("core.execution  demo.greet failed")
            && shown[1].contains("matched"),
        "{shown:?}"
    );
    assert_eq!(
        lines(answer(), &mut held, &Names::default(), &plain()).len(),
        1,
        "the event is shown once"
    );
    assert_eq!(
        lines(end(), &mut held, &Names::default(), &plain()),
        [""; 0]
    );
    assert_eq!(
        lines(event(), &mut held, &Names::default(), &plain()).len(),
        1
    );
    assert_eq!(
        lines(answer(), &mut held, &Names::default(), &plain()).len(),
        1,
        "the end is forgotten"
    );
}

#[test]
fn the_last_line_counts_what_went_by() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let (opener, open) = std::sync::mpsc::channel();
    let gate = Gate {
        open,
        opened: false,
        written: written.clone(),
    };
    let console = Console::new(Box::new(gate), plain()).unwrap();
    opener.send(()).unwrap();
    console.notice(&event());
    console.notice(&rule(EnforcementOutcome::Requested {
        execution: ExecutionId::new(Uuid::from_u128(1)),
    }));
    for status in [Status::Running, Status::Completed, Status::TimedOut] {
        console.notice(&Notice::Execution(Arc::new(execution(status))));
    }
    console.finish();
    let text = String::from_utf8(written.lock().clone()).unwrap();
    assert_eq!(
        text.lines().last().unwrap().trim(),
        "1 event, 1 rule match, 1 execution completed, 1 failed"
    );
}

/// A terminal that takes nothing until it is told to.
struct Gate {
    open: std::sync::mpsc::Receiver<()>,
    opened: bool,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.opened {
            self.opened = self.open.recv().is_ok();
        }
        self.written.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_terminal_loses_lines_and_is_told_how_many() {
    let (opener, open) = std::sync::mpsc::channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate {
        open,
        opened: false,
        written: written.clone(),
    };
    let console = Console::new(Box::new(gate), plain()).unwrap();
    // As many again as wait may be in the hands of the thread.
    let sent = QUEUE_LEN * 4;
    for _ in 0..sent {
        console.notice(&event());
    }
    opener.send(()).unwrap();
    console.finish();
    let text = String::from_utf8(written.lock().clone()).unwrap();
    let shown = text
        .lines()
        .filter(|line| line.contains("core.interval"))
        .count();
    let lost: usize = text
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("… ")?
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert_eq!(shown + lost, sent);
    assert!(lost >= QUEUE_LEN, "{lost}");
}

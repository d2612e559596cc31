use super::*;

use camshaft_model::definition::workflow::{Entry, Join, Need, Next, Question, Task, Work};
use camshaft_model::{
    AttemptKey, BlockedBy, ExecutionSpec, ExecutionState, Failure, FailureKind, Object, Origin,
    Output, StepEventType, TaskRef,
};
use serde_json::json;
use uuid::Uuid;

mod any_run;

/// What the tests count from.
const ZERO: i64 = 1_795_224_509_000_000;
const RUN: u128 = 1;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(ZERO + millis * 1_000)
}

fn id(number: u128) -> ExecutionId {
    ExecutionId::new(Uuid::from_u128(number))
}

fn task_ref(name: &str) -> TaskRef {
    TaskRef {
        lap: 1,
        name: name.to_owned(),
        visit: 1,
        item: None,
    }
}

fn item_ref(name: &str, item: u32) -> TaskRef {
    TaskRef {
        item: Some(item),
        ..task_ref(name)
    }
}

/// An execution that was requested, admitted, and ended at its first try.
fn execution(number: u128, task: Option<TaskRef>, times: [i64; 3]) -> Execution {
    let [requested, started, ended] = times;
    let mut state = ExecutionState::requested(None);
    state.status = Status::Completed;
    state.attempt = 1;
    state.scheduled_at = Some(at(started));
    state.started_at = Some(at(started));
    state.ended_at = Some(at(ended));
    let spec = ExecutionSpec {
        id: id(number),
        root: id(RUN),
        parent: (number != RUN).then(|| id(RUN)),
        task: task.map(Box::new),
        action: "demo.work".parse().unwrap(),
        pack_hash: None,
        adhoc: None,
        parameters: Arc::default(),
        priority: 0,
        requested_at: at(requested),
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

fn record(task: TaskRef, execution: Option<u128>, times: [i64; 2]) -> TaskRecord {
    TaskRecord {
        execution: execution.map(id),
        ended_at: Some(at(times[1])),
        ..TaskRecord::new(id(RUN), task, Status::Completed, at(times[0]))
    }
}

fn task(name: &str, needs: &[usize]) -> Task {
    let need = |task: &usize| Need {
        task: *task,
        on: Need::DEFAULT.to_vec(),
        implied: false,
    };
    Task {
        entry: Entry::Needs(needs.iter().map(need).collect()),
        ..Task::new(name, Work::Nothing)
    }
}

fn event(
    number: u128,
    event_type: StepEventType,
    millis: i64,
    payload: serde_json::Value,
) -> StepEvent {
    StepEvent {
        id: millis,
        execution_id: id(RUN),
        item_id: (number != RUN).then(|| id(number)),
        event_type,
        step: None,
        step_scope: None,
        payload: payload.as_object().cloned().unwrap(),
        created_at: at(millis),
    }
}

fn attempt(number: u128, count: u32, times: [i64; 2], kind: FailureKind) -> Attempt {
    Attempt {
        key: AttemptKey {
            execution: id(number),
            attempt: count,
            epoch: 1,
        },
        status: Status::Failed,
        worker: None,
        started_at: Some(at(times[0])),
        ended_at: at(times[1]),
        error: Some(Failure {
            kind,
            message: "exit status 3".to_owned(),
        }),
        exit_code: Some(3),
        signal: None,
        stdout: Output::default(),
        stderr: Output::default(),
        output_lost: None,
    }
}

fn traced(material: &Material) -> Trace {
    trace(material, id(RUN), at(100_000)).expect("it is there")
}

/// The critical path, a line for each stretch.
fn path(trace: &Trace) -> Vec<String> {
    let line = |piece: &PathPhase| {
        let phase = &piece.phase;
        format!(
            "{}+{} {} {:?}",
            phase.offset_us / 1_000,
            phase.duration_us / 1_000,
            piece.step.as_deref().unwrap_or("-"),
            phase.part
        )
    };
    trace.critical_path.iter().map(line).collect()
}

fn kinds(trace: &Trace) -> Vec<(AnomalyKind, String)> {
    let all = trace.anomalies.iter();
    all.map(|anomaly| {
        (
            anomaly.kind,
            format!("{}: {}", anomaly.step, anomaly.message),
        )
    })
    .collect()
}

/// Two tasks beside each other, and one that needs both.
fn diamond() -> Material {
    let workflow = Workflow {
        tasks: vec![task("fast", &[]), task("slow", &[]), task("last", &[0, 1])],
        ..Workflow::default()
    };
    Material {
        executions: vec![
            execution(RUN, None, [0, 1, 110]),
            execution(2, Some(task_ref("fast")), [2, 3, 20]),
            execution(3, Some(task_ref("slow")), [2, 12, 62]),
            execution(4, Some(task_ref("last")), [63, 63, 108]),
        ],
        tasks: vec![
            record(task_ref("fast"), Some(2), [2, 20]),
            record(task_ref("slow"), Some(3), [2, 62]),
            record(task_ref("last"), Some(4), [63, 108]),
        ],
        workflows: HashMap::from([(id(RUN), Arc::new(workflow))]),
        events: vec![
            event(3, StepEventType::StepStarted, 12, json!({"attempt": 1})),
            event(3, StepEventType::StepSpawned, 14, json!({"attempt": 1})),
        ],
        ..Material::default()
    }
}

#[test]
fn the_critical_path_follows_the_task_that_ended_last_among_those_that_were_needed() {
    let trace = traced(&diamond());
    assert_eq!(
        path(&trace),
        [
            "0+1 - Queue",
            "1+1 - Commit",
            "2+10 slow Queue",
            "12+2 slow Spawn",
            "14+48 slow Run",
            "62+1 - Commit",
            "63+45 last Run",
            "108+2 - Commit",
        ]
    );
    assert_eq!(trace.duration_us, 110_000);
    assert_eq!(trace.parts_us[&Part::Run], 93_000);
    let critical: Vec<_> = trace
        .steps
        .iter()
        .map(|s| (s.step.as_str(), s.critical))
        .collect();
    assert_eq!(critical, [("fast", false), ("slow", true), ("last", true)]);
}

#[test]
fn what_is_not_needed_is_not_on_the_path_though_it_ended_later() {
    let mut material = diamond();
    let workflow = Workflow {
        tasks: vec![task("fast", &[]), task("slow", &[]), task("last", &[0])],
        ..Workflow::default()
    };
    material.workflows.insert(id(RUN), Arc::new(workflow));
    let trace = traced(&material);
    assert!(
        path(&trace).contains(&"3+17 fast Run".to_owned()),
        "{:?}",
        path(&trace)
    );
    assert!(!path(&trace).iter().any(|line| line.contains("slow")));
}

#[test]
fn a_transition_leads_on_as_a_need_does() {
    let mut workflow = Workflow {
        tasks: vec![task("fast", &[]), task("slow", &[]), task("last", &[])],
        ..Workflow::default()
    };
    for task in &mut workflow.tasks {
        task.entry = Entry::Transitions(Join::Each);
    }
    workflow.tasks[0].next.push(Next {
        when: None,
        publish: Object::new(),
        to: vec![2],
    });
    let mut material = diamond();
    material.workflows.insert(id(RUN), Arc::new(workflow));
    assert!(path(&traced(&material)).contains(&"3+17 fast Run".to_owned()));
}

#[test]
fn a_retry_is_a_delay_and_a_line_of_its_own() {
    let mut single = execution(RUN, None, [0, 70, 100]);
    single.state.attempt = 2;
    let material = Material {
        executions: vec![single],
        attempts: vec![
            attempt(RUN, 1, [5, 20], FailureKind::Exit),
            Attempt {
                status: Status::Completed,
                error: None,
                ..attempt(RUN, 2, [75, 100], FailureKind::Exit)
            },
        ],
        events: vec![
            event(RUN, StepEventType::StepStarted, 3, json!({"attempt": 1})),
            event(
                RUN,
                StepEventType::StepRetrying,
                20,
                json!({"attempt": 1, "delay_ms": 40, "reason": "exit status 3"}),
            ),
            event(
                RUN,
                StepEventType::TaskBlocked,
                62,
                json!({"constraint": "pause-global"}),
            ),
            event(RUN, StepEventType::StepStarted, 70, json!({"attempt": 2})),
        ],
        ..Material::default()
    };
    let trace = traced(&material);
    assert_eq!(
        path(&trace),
        [
            "0+3 work Queue",
            "3+2 work Spawn",
            "5+15 work Run",
            "20+40 work Delay",
            "60+2 work Queue",
            "62+8 work Constraint",
            "70+5 work Spawn",
            "75+25 work Run",
        ]
    );
    let lines: Vec<_> = trace
        .steps
        .iter()
        .map(|s| (s.attempt, s.status, s.offset_us))
        .collect();
    assert_eq!(
        lines,
        [
            (Some(1), Status::Failed, 0),
            (Some(2), Status::Completed, 20_000)
        ]
    );
    let said = "work: tried again after 40ms: exit status 3".to_owned();
    assert_eq!(kinds(&trace), [(AnomalyKind::Retried, said)]);
}

#[test]
fn a_question_is_a_persons_time_and_an_awaited_event_an_events() {
    let mut ask = task("ask", &[]);
    ask.work = Work::Inquiry(Question {
        prompt: String::new(),
        schema: None,
        roles: Vec::new(),
        on_timeout: Default::default(),
    });
    let workflow = Workflow {
        tasks: vec![ask, task("hear", &[0])],
        ..Workflow::default()
    };
    let mut hear = record(task_ref("hear"), None, [50, 90]);
    hear.awaited = Some(json!({}));
    let material = Material {
        executions: vec![execution(RUN, None, [0, 0, 90])],
        tasks: vec![record(task_ref("ask"), None, [0, 50]), hear],
        workflows: HashMap::from([(id(RUN), Arc::new(workflow))]),
        ..Material::default()
    };
    assert_eq!(
        path(&traced(&material)),
        ["0+50 ask Person", "50+40 hear Event"]
    );
}

#[test]
fn a_pause_explains_the_time_in_which_nothing_started() {
    let mut material = diamond();
    material.events.extend([
        event(RUN, StepEventType::TaskPaused, 62, json!({})),
        event(4, StepEventType::StepStarted, 80, json!({"attempt": 1})),
    ]);
    material.executions[3] = execution(4, Some(task_ref("last")), [64, 80, 108]);
    let trace = traced(&material);
    assert!(
        path(&trace).contains(&"62+2 - Constraint".to_owned()),
        "{:?}",
        path(&trace)
    );
    assert!(path(&trace).contains(&"64+16 last Constraint".to_owned()));
}

#[test]
fn a_pause_ends_when_it_is_resumed() {
    let mut material = diamond();
    let paused = |millis, paused| {
        event(
            RUN,
            StepEventType::TaskPaused,
            millis,
            json!({"paused": paused}),
        )
    };
    material.events = vec![paused(62, true), paused(70, false)];
    material.executions[3] = execution(4, Some(task_ref("last")), [64, 80, 108]);
    let trace = traced(&material);
    let expected = [
        "62+2 - Constraint",
        "64+6 last Constraint",
        "70+10 last Queue",
    ];
    let path = path(&trace);
    assert!(path.windows(3).any(|lines| lines == expected), "{path:?}");
}

#[test]
fn items_are_under_way_one_after_another_where_the_concurrency_says_so() {
    let mut list = record(task_ref("all"), None, [0, 40]);
    list.items = Some(3);
    let item = |number: u128, item, from, to| {
        execution(number, Some(item_ref("all", item)), [from, from, to])
    };
    let material = Material {
        executions: vec![
            execution(RUN, None, [0, 0, 40]),
            item(2, 0, 0, 10),
            item(3, 1, 0, 25),
            item(4, 2, 10, 40),
        ],
        tasks: vec![list],
        ..Material::default()
    };
    let trace = traced(&material);
    assert_eq!(path(&trace), ["0+10 all[0] Run", "10+30 all[2] Run"]);
    let lines: Vec<_> = trace.steps.iter().map(|s| s.step.as_str()).collect();
    assert_eq!(lines, ["all", "all[0]", "all[1]", "all[2]"]);
}

#[test]
fn a_run_below_is_gone_into_and_its_steps_are_named_by_the_way_to_them() {
    let mut below = execution(3, Some(task_ref("inner")), [5, 6, 40]);
    let spec = Arc::make_mut(&mut below.spec);
    spec.parent = Some(id(2));
    let mut inner = record(task_ref("inner"), Some(3), [5, 40]);
    inner.run = id(2);
    let material = Material {
        executions: vec![
            execution(RUN, None, [0, 0, 50]),
            execution(2, Some(task_ref("outer")), [2, 3, 45]),
            below,
        ],
        tasks: vec![record(task_ref("outer"), Some(2), [2, 45]), inner],
        ..Material::default()
    };
    assert_eq!(
        path(&traced(&material)),
        [
            "0+2 - Commit",
            "2+1 outer Queue",
            "3+2 - Commit",
            "5+1 outer/inner Queue",
            "6+34 outer/inner Run",
            "40+10 - Commit",
        ]
    );
}

#[test]
fn laps_are_told_apart_and_the_rest_between_them_is_a_delay() {
    let second = TaskRef {
        lap: 2,
        ..task_ref("work")
    };
    let workflow = Workflow {
        tasks: vec![task("work", &[])],
        ..Workflow::default()
    };
    let material = Material {
        executions: vec![
            execution(RUN, None, [0, 0, 60]),
            execution(2, Some(task_ref("work")), [0, 0, 20]),
            execution(3, Some(second.clone()), [50, 50, 60]),
        ],
        tasks: vec![
            record(task_ref("work"), Some(2), [0, 20]),
            record(second, Some(3), [50, 60]),
        ],
        workflows: HashMap::from([(id(RUN), Arc::new(workflow))]),
        ..Material::default()
    };
    let trace = traced(&material);
    assert_eq!(
        path(&trace),
        ["0+20 work Run", "20+30 - Delay", "50+10 work Run"]
    );
    assert_eq!(
        trace.steps.iter().map(|s| s.lap).collect::<Vec<_>>(),
        [1, 2]
    );
}

/// Two tasks lead to the same one: what it was asked for the second time, it did once it was free again.
#[test]
fn a_second_visit_waits_for_the_first_and_not_for_what_asked_for_it() {
    let leads_to = |name: &str, to: Vec<usize>| Task {
        entry: Entry::Transitions(Join::Each),
        next: vec![Next {
            when: None,
            publish: Object::new(),
            to,
        }],
        ..task(name, &[])
    };
    let workflow = Workflow {
        tasks: vec![
            leads_to("start", vec![1, 2]),
            leads_to("aside", vec![2]),
            leads_to("work", Vec::new()),
        ],
        ..Workflow::default()
    };
    let second = TaskRef {
        visit: 2,
        ..task_ref("work")
    };
    let material = Material {
        executions: vec![
            execution(RUN, None, [0, 0, 70]),
            execution(2, Some(task_ref("start")), [0, 0, 10]),
            execution(3, Some(task_ref("aside")), [10, 10, 20]),
            execution(4, Some(task_ref("work")), [10, 10, 60]),
            execution(5, Some(second.clone()), [60, 60, 70]),
        ],
        tasks: vec![
            record(task_ref("start"), Some(2), [0, 10]),
            record(task_ref("aside"), Some(3), [10, 20]),
            record(task_ref("work"), Some(4), [10, 60]),
            record(second, Some(5), [60, 70]),
        ],
        workflows: HashMap::from([(id(RUN), Arc::new(workflow))]),
        ..Material::default()
    };
    assert_eq!(
        path(&traced(&material)),
        ["0+10 start Run", "10+50 work Run", "60+10 work#2 Run"]
    );
}

#[test]
fn a_run_that_has_not_ended_is_traced_up_to_now() {
    let mut run = execution(RUN, None, [0, 0, 0]);
    run.state.status = Status::Waiting;
    run.state.ended_at = None;
    let mut child = execution(2, Some(task_ref("held")), [10, 10, 10]);
    child.state = ExecutionState::requested(None);
    child.state.blocked_by = Some(BlockedBy::Paused { run: id(RUN) });
    let mut held = record(task_ref("held"), Some(2), [10, 10]);
    (held.status, held.ended_at) = (Status::Running, None);
    let material = Material {
        executions: vec![run, child],
        tasks: vec![held],
        ..Material::default()
    };
    let trace = trace(&material, id(RUN), at(1_000)).unwrap();
    assert_eq!(path(&trace), ["0+10 - Commit", "10+990 held Constraint"]);
    assert_eq!((trace.duration_us, trace.ended_at), (1_000_000, None));
}

#[test]
fn what_is_odd_is_named_with_its_reason() {
    let beat = |millis, state| {
        let payload = json!({"output_state": state, "elapsed_secs": 15});
        event(2, StepEventType::StepHeartbeat, millis, payload)
    };
    let mut skipped = record(task_ref("load"), None, [9_000, 9_000]);
    skipped.status = Status::Skipped;
    skipped.reason = Some("when is false".to_owned());
    let mut twice = execution(2, Some(task_ref("work")), [0, 4_000, 9_000]);
    twice.state.attempt = 2;
    let material = Material {
        executions: vec![
            execution(RUN, None, [0, 0, 9_000]),
            twice,
            execution(3, Some(task_ref("late")), [0, 2_000, 2_500]),
        ],
        attempts: vec![attempt(2, 1, [0, 3_000], FailureKind::Interrupted)],
        tasks: vec![
            record(task_ref("work"), Some(2), [0, 9_000]),
            record(task_ref("late"), Some(3), [0, 2_500]),
            skipped,
        ],
        events: vec![
            event(2, StepEventType::StepStarted, 0, json!({"attempt": 1})),
            beat(1_000, "active"),
            beat(2_000, "low_output"),
            event(2, StepEventType::StepStarted, 4_000, json!({"attempt": 2})),
            event(
                2,
                StepEventType::ResultRefused,
                5_000,
                json!({"attempt": 1}),
            ),
        ],
        usual: HashMap::from([(
            "demo.work".parse().unwrap(),
            [100, 200, 300, 400].map(Duration::from_millis).to_vec(),
        )]),
        ..Material::default()
    };
    let lines = kinds(&traced(&material))
        .into_iter()
        .map(|(kind, text)| format!("{kind:?} {text}\n"));
    insta::assert_snapshot!(lines.collect::<String>(), @r"
    LongRunning work: ran for 3s; usually it is 300ms
    LowOutput work: wrote next to nothing, seen after 15s
    InterruptedAttempt work: exit status 3
    DuplicateAttempt work: attempt 1 was started or reported its end more than once
    LongQueueWait late: waited 2s for a slot and ran for 500ms
    LongRunning work: ran for 5s; usually it is 300ms
    Skipped load: skipped: when is false
    ");
}

#[test]
fn two_completed_executions_are_no_history() {
    let mut material = diamond();
    let action: Ref = "demo.work".parse().unwrap();
    material
        .usual
        .insert(action, vec![Duration::from_millis(1); 2]);
    assert_eq!(kinds(&traced(&material)), []);
}

#[test]
fn an_execution_that_is_not_there_has_no_trace() {
    assert_eq!(trace(&diamond(), id(99), at(0)), None);
}

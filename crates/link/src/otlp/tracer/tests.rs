use std::time::Duration;

use camshaft_model::{ExecutionState, Failure, StepScope};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::samples::{self, START};

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

/// Ids of version 7: the variant is set, so no span is named 0.
fn id(number: u128) -> ExecutionId {
    ExecutionId::new(Uuid::from_u128(1 << 63 | number))
}

fn execution(number: u128) -> Execution {
    samples::run(id(number))
}

/// One of the run 1.
fn child(number: u128, task: &str, visit: u32, item: Option<u32>) -> Execution {
    let mut child = execution(number);
    let spec = Arc::make_mut(&mut child.spec);
    (spec.root, spec.parent) = (id(1), Some(id(1)));
    spec.task = Some(Box::new(TaskRef {
        lap: 1,
        name: task.to_owned(),
        visit,
        item,
    }));
    child
}

fn running(execution: &Execution, attempt: u32, from: u64) -> Execution {
    let mut execution = execution.clone();
    let state = &mut execution.state;
    (state.status, state.attempt) = (Status::Running, attempt);
    state.worker = Some("w".to_owned());
    state.started_at = Some(at(from));
    execution
}

fn ended(execution: &Execution, status: Status, to: u64) -> Execution {
    let mut execution = execution.clone();
    let state = &mut execution.state;
    (state.status, state.ended_at) = (status, Some(at(to)));
    execution
}

fn failing(execution: &Execution, kind: FailureKind) -> Execution {
    let mut execution = execution.clone();
    execution.state.error = Some(Failure {
        kind,
        message: "it broke".to_owned(),
    });
    execution
}

#[derive(Default)]
struct Bench {
    tracer: Tracer,
    spans: Vec<Span>,
    lines: i64,
}

impl Bench {
    fn hear(&mut self, execution: &Execution) {
        let heard = Heard::Execution(Box::new(execution.clone()));
        self.tracer.take(heard, &mut self.spans);
    }

    fn line(
        &mut self,
        of: &Execution,
        kind: StepEventType,
        step: &str,
        at: Timestamp,
        more: Value,
    ) {
        let Value::Object(payload) = more else {
            panic!("an object")
        };
        self.lines += 1;
        let line = StepEvent {
            id: self.lines,
            execution_id: of.spec.root,
            item_id: (of.spec.id != of.spec.root).then_some(of.spec.id),
            event_type: kind,
            step: Some(step.to_owned()),
            step_scope: Some(StepScope::Task),
            payload,
            created_at: at,
        };
        self.tracer
            .take(Heard::Step(Arc::new(line)), &mut self.spans);
    }

    /// The spans since the last look: name, seconds from and to, status and how many events.
    fn made(&mut self) -> Vec<String> {
        let seconds = |nanos: u64| (nanos / 1_000 - START.as_micros() as u64) / 1_000_000;
        let shown = |span: Span| {
            let failed = span.status.map_or("", |_| " error");
            let (from, to) = (span.start_time_unix_nano, span.end_time_unix_nano);
            let events = match span.events.len() {
                0 => String::new(),
                count => format!(" +{count}"),
            };
            format!(
                "{} {}-{}{failed}{events}",
                span.name,
                seconds(from),
                seconds(to)
            )
        };
        self.spans.drain(..).map(shown).collect()
    }
}

#[test]
fn each_attempt_and_the_execution_round_them_has_a_span() {
    let mut bench = Bench::default();
    let asked = execution(1);
    bench.hear(&asked);
    let first = running(&asked, 1, 1);
    bench.hear(&first);
    bench.line(
        &first,
        StepEventType::StepSpawned,
        "fetch",
        at(1),
        json!({"pid": 7}),
    );
    bench.line(
        &first,
        StepEventType::StepTimeout,
        "fetch",
        at(2),
        json!({}),
    );
    bench.line(
        &first,
        StepEventType::StepFinished,
        "fetch",
        at(3),
        json!({}),
    );
    let failed = failing(&first, FailureKind::Timeout);
    bench.hear(&Execution {
        state: ExecutionState {
            status: Status::Requested,
            ..failed.state.clone()
        },
        ..failed.clone()
    });
    bench.line(
        &failed,
        StepEventType::StepRetrying,
        "fetch",
        at(4),
        json!({"attempt": 1}),
    );
    assert_eq!(
        bench.spans[0]
            .attributes
            .iter()
            .filter(|a| a.key == "process.pid")
            .count(),
        1
    );
    assert_eq!(bench.made(), ["demo.fetch attempt 1-3 error +1"]);

    let second = running(&asked, 2, 5);
    bench.hear(&second);
    bench.hear(&ended(&second, Status::Completed, 6));
    let run = bench.spans[1].clone();
    assert_eq!(bench.spans[0].parent_span_id, run.span_id);
    assert_eq!(bench.spans[0].trace_id, run.trace_id);
    assert!(run.parent_span_id.is_empty());
    assert_eq!(
        bench.made(),
        ["demo.fetch attempt 5-6", "demo.fetch 0-6 +1"]
    );
}

#[test]
fn one_that_never_ran_has_no_attempt() {
    let mut bench = Bench::default();
    let asked = execution(1);
    bench.hear(&asked);
    bench.hear(&ended(&asked, Status::Cancelled, 2));
    assert_eq!(bench.made(), ["demo.fetch 0-2"]);
}

#[test]
fn one_of_an_earlier_life_of_the_engine_has_its_spans_all_the_same() {
    let mut bench = Bench::default();
    bench.hear(&ended(&running(&execution(1), 3, 4), Status::Failed, 9));
    assert_eq!(
        bench.made(),
        ["demo.fetch attempt 4-9 error", "demo.fetch 0-9 error"]
    );
}

#[test]
fn an_attempt_that_was_cut_off_is_told_of_once() {
    let mut bench = Bench::default();
    let cut_off = failing(&running(&execution(1), 1, 1), FailureKind::Interrupted);
    bench.hear(&Execution {
        state: ExecutionState {
            status: Status::Requested,
            ..cut_off.state.clone()
        },
        ..cut_off.clone()
    });
    for _ in 0..2 {
        bench.line(
            &cut_off,
            StepEventType::StepRetrying,
            "fetch",
            at(3),
            json!({}),
        );
    }
    assert_eq!(bench.made(), ["demo.fetch attempt 1-3 error"]);
}

#[test]
fn items_are_below_the_span_of_their_task_and_each_visit_is_one() {
    let mut bench = Bench::default();
    bench.hear(&execution(1));
    for visit in [1, 2] {
        for item in [0, 1] {
            let number = u128::from(10 * visit + item);
            let one = child(number, "each", visit, Some(item));
            bench.hear(&one);
            bench.hear(&ended(&running(&one, 1, 1), Status::Completed, 2));
        }
        let of_items: Vec<_> = bench
            .spans
            .iter()
            .map(|span| span.parent_span_id.clone())
            .collect();
        let items = bench.made();
        assert_eq!(items[1], "each 0-2");
        bench.line(
            &execution(1),
            StepEventType::TaskCompleted,
            "each",
            at(3),
            json!({}),
        );
        assert_eq!(of_items[1], bench.spans[0].span_id);
        assert_eq!(of_items[3], bench.spans[0].span_id, "both items");
        assert_eq!(bench.made(), ["each 0-3"]);
    }
}

#[test]
fn a_wait_is_a_span_and_what_was_taken_over_an_event() {
    let mut bench = Bench::default();
    let run = execution(1);
    bench.hear(&run);
    let waits = json!({"inquiry": "i", "reason": "asks"});
    bench.line(&run, StepEventType::TaskBlocked, "ask", at(1), waits);
    bench.line(
        &run,
        StepEventType::TaskBlocked,
        "held",
        at(1),
        json!({"constraint": "c"}),
    );
    let why = json!({"error": "nobody answered"});
    bench.line(&run, StepEventType::TaskFailed, "ask", at(5), why);
    bench.line(&run, StepEventType::TaskCompleted, "held", at(5), json!({}));
    let cached = json!({"taken_from": "cache"});
    bench.line(&run, StepEventType::TaskCompleted, "cached", at(5), cached);
    assert_eq!(bench.made(), ["ask 1-5 error"]);
    bench.hear(&ended(&run, Status::Completed, 6));
    assert_eq!(bench.made(), ["demo.fetch 0-6 +3"]);
}

#[test]
fn a_cause_is_linked_to_if_it_is_known() {
    let mut bench = Bench::default();
    let retry = |number| {
        let mut retry = execution(number);
        Arc::make_mut(&mut retry.spec).origin = Origin::Retry { of: id(1) };
        ended(&retry, Status::Completed, 2)
    };
    let heard = Heard::Execution(Box::new(retry(2)));
    assert_eq!(bench.tracer.unknown_cause(&heard), Some(id(1)));
    bench.hear(&retry(2));
    bench.tracer.learn(&execution(1));
    assert_eq!(bench.tracer.unknown_cause(&heard), None);
    bench.hear(&retry(3));

    let event = EventId::new(Uuid::from_u128(5));
    bench
        .tracer
        .take(Heard::Event(event, id(1)), &mut bench.spans);
    let mut caused = execution(4);
    let rule = "demo.again".parse().unwrap();
    Arc::make_mut(&mut caused.spec).origin = Origin::Rule { rule, event };
    bench.hear(&ended(&caused, Status::Completed, 2));
    let to = TraceContext::of_execution(&execution(1).spec).span_id();
    let linked: Vec<_> = bench.spans.iter().map(|span| span.links.first()).collect();
    assert!(linked[0].is_none());
    for link in &linked[1..] {
        assert_eq!(link.unwrap().span_id, to);
    }
}

#[test]
fn a_trace_that_nobody_records_leaves_nothing_behind() {
    let mut bench = Bench::default();
    let mut asked = execution(1);
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    Arc::make_mut(&mut asked.spec).trace_parent = Some(unsampled.into());
    bench.hear(&running(&asked, 1, 1));
    bench.line(
        &asked,
        StepEventType::StepRetrying,
        "fetch",
        at(1),
        json!({}),
    );
    bench.hear(&ended(&asked, Status::Completed, 2));
    assert!(bench.spans.is_empty() && bench.tracer.open.is_empty());
    assert!(bench.tracer.ended.known.is_empty());
}

#[test]
fn what_is_remembered_has_bounds() {
    let mut bench = Bench::default();
    for number in 0..(OPEN as u128 + 3) {
        bench.hear(&running(&execution(number), 1, 1));
    }
    assert_eq!(bench.tracer.open.len(), OPEN);
    let oldest = running(&execution(0), 1, 1);
    bench.hear(&ended(&oldest, Status::Completed, 2));
    assert_eq!(
        bench.made().len(),
        2,
        "forgotten, and told of from its record"
    );
    for number in 0..(RECENT as u128 + 3) {
        bench.hear(&ended(&execution(number), Status::Cancelled, 2));
    }
    let Recent { known, order } = &bench.tracer.ended;
    assert_eq!((known.len(), order.len()), (RECENT, RECENT));
    let run = execution(1);
    bench.hear(&run);
    for number in 0..(TASKS + 3) {
        let waits = json!({"trigger": "t"});
        bench.line(
            &run,
            StepEventType::TaskBlocked,
            &number.to_string(),
            at(1),
            waits,
        );
    }
    assert_eq!(bench.tracer.open[&run.spec.id].waits.len(), TASKS);
}

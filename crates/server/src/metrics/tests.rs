use super::*;
use camshaft_engine::handle::ConstraintLoad;
use camshaft_model::notice::{Connection, Notice, Subscriber};
use camshaft_model::{
    ConstraintKey, ConstraintType, Enforcement, EnforcementId, EnforcementOutcome, EventId,
    Execution, ExecutionId, ExecutionSpec, ExecutionState, Object, Origin, StepEvent,
};
use uuid::Uuid;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis * 1_000)
}

/// A state that an execution came to, with the times of one that waited 20 ms and ran for 300.
fn came_to(action: &str, status: Status) -> Notice {
    let id = ExecutionId::new(Uuid::nil());
    let spec = ExecutionSpec {
        id,
        root: id,
        parent: None,
        task: None,
        action: action.parse().unwrap(),
        pack_hash: None,
        adhoc: None,
        parameters: Arc::new(Object::new()),
        priority: 0,
        requested_at: at(1_000),
        origin: Origin::Api,
        idempotency_key: None,
        depth: 0,
        trace_parent: None,
    };
    let state = ExecutionState {
        status,
        attempt: 1,
        started_at: Some(at(1_020)),
        ended_at: status.is_terminal().then_some(at(1_320)),
        ..ExecutionState::requested(None)
    };
    Notice::Execution(Arc::new(Execution {
        spec: Arc::new(spec),
        state,
    }))
}

fn line(kind: &str) -> Notice {
    let id = ExecutionId::new(Uuid::nil());
    let line = StepEvent::from_row(1, id, None, kind, None, None, "{}", at(0));
    Notice::Step(Arc::new(line))
}

fn skipped() -> Notice {
    Notice::Enforcement(Arc::new(Enforcement {
        id: EnforcementId::new(Uuid::nil()),
        rule: "demo.rule".parse().unwrap(),
        event: EventId::new(Uuid::nil()),
        created_at: at(0),
        outcome: EnforcementOutcome::Skipped {
            reason: String::new(),
        },
    }))
}

fn small_run() -> Counted {
    let counted = Counted::new(1);
    for notice in [
        came_to("demo.one", Status::Running),
        line("step_started"),
        came_to("demo.one", Status::Completed),
        came_to("demo.two", Status::Running),
        came_to("demo.two", Status::Failed),
        came_to("demo.three", Status::Running),
        line("from_the_future"),
        skipped(),
    ] {
        counted.notice(&notice);
    }
    counted
}

fn page(format: Format) -> String {
    let part = |component: &str, problem: Option<&str>| ComponentHealth {
        component: component.to_owned(),
        problem: problem.map(str::to_owned),
    };
    let load = Load {
        slots: 8,
        slots_used: 3,
        resources: [("gpu".to_owned(), (2, 1))].into(),
        live: 7,
        ready: 1,
        delayed: 1,
        unprovided: 0,
        held: 2,
        oldest: Some(at(1_500)),
        constraints: 1,
        by_constraint: vec![(
            ConstraintKey {
                scope: "pack:demo".parse().unwrap(),
                kind: ConstraintType::Concurrency,
            },
            ConstraintLoad {
                leases: 3,
                room: Some(0),
                held: 2,
            },
        )],
    };
    let sinks = [Sink {
        name: "otlp".to_owned(),
        panics: 0,
        dropped: 5,
        refused: 0,
        connection: Some(Connection {
            to: "broker:1883".to_owned(),
            up: true,
            since: at(500),
            problem: None,
        }),
    }];
    let mut commits = Commits {
        transactions: 12,
        failed: 1,
        ..Commits::default()
    };
    commits.by_size[0] = 2;
    commits.by_size[3] = 1;
    let now = Now {
        version: "1.2.3",
        started_at: at(500),
        now: at(4_000),
        components: &[part("writer", None), part("a\"b\n\\c", Some("dead"))],
        load: &load,
        commits,
        sinks: &sinks,
        dropped_by_broker: Some(3),
    };
    written(format, &small_run(), &now)
}

#[test]
fn a_small_run_as_prometheus_reads_it() {
    insta::assert_snapshot!(page(Format::Prometheus));
}

#[test]
fn open_metrics_names_counters_units_and_the_end() {
    let text = page(Format::OpenMetrics);
    for line in [
        "# TYPE camshaft_events counter",
        "camshaft_events_total 0",
        "# UNIT camshaft_execution_wait_seconds seconds",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    assert_eq!(Format::accepted(None), Format::Prometheus);
    assert_eq!(
        Format::accepted(Some("text/plain, */*")),
        Format::Prometheus
    );
    let scraper = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    assert_eq!(Format::accepted(Some(scraper)), Format::OpenMetrics);
}

/// What a scraper insists on: a family is declared once and before its numbers, which stand together; no
/// number is there twice; buckets rise, and end at the count.
#[test]
fn the_page_keeps_the_rules_of_its_format() {
    let text = page(Format::Prometheus);
    let mut families: Vec<&str> = Vec::new();
    let mut numbers = std::collections::HashSet::new();
    let mut bucket: Option<f64> = None;
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(!families.contains(&name), "twice: {line}");
            families.push(name);
        } else if !line.starts_with("# HELP ") {
            let (number, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(numbers.insert(number), "twice: {line}");
            let name = number.split('{').next().unwrap();
            let family = families.last().unwrap();
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let of_it = suffixes
                .iter()
                .any(|suffix| name == format!("{family}{suffix}"));
            assert!(of_it, "{line} below {family}");
            if name.ends_with("_bucket") {
                assert!(bucket.is_none_or(|before| before <= value), "{line}");
                bucket = (!number.contains("+Inf")).then_some(value);
            }
        }
    }
    assert!(numbers.len() > 60, "{text}");
}

#[test]
fn every_metric_is_in_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observability.md");
    let document = std::fs::read_to_string(path).unwrap();
    for line in page(Format::Prometheus).lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let name = declared.split(' ').next().unwrap();
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }
}

//! Traces as a collector gets them: every span of a real run, and what becomes of it all where the
//! collector does not do its part.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use serde_json::json;

use crate::collector::{Collector, Manner, attribute, hex};
use crate::harness::{Engine, Site};

const NEVER: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
const AT_ONCE: (&str, &str) = ("CAMSHAFT__OTLP__INTERVAL", "1ms");

#[track_caller]
fn up(site: &Site, collector: &Collector, variables: &[(&str, &str)]) -> Engine {
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    site.up_with(&[], &[&endpoint, variables].concat())
}

fn of(span: &Span, key: &str) -> Option<String> {
    attribute(&span.attributes, key)
}

fn is_error(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code == StatusCode::Error as i32)
}

/// The tree below a span as lines, children in the order of name and item.
fn drawn(spans: &[Span], parent: &[u8], depth: usize, lines: &mut Vec<String>) {
    let mut children: BTreeMap<_, &Span> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        let number = of(span, "camshaft.attempt").or_else(|| of(span, "camshaft.item"));
        let twin = children.insert((&span.name, number), span);
        assert!(twin.is_none(), "twice: {span:?}");
    }
    for ((name, number), span) in children {
        let mut line = format!("{}{name}", "  ".repeat(depth));
        let status = of(span, "camshaft.status").unwrap_or_default();
        let number = number
            .map(|number| format!(" {number}"))
            .unwrap_or_default();
        let error = if is_error(span) { " !" } else { "" };
        line = format!("{line}{number}: {status}{error}");
        for event in &span.events {
            line = format!("{line} [{}]", event.name);
        }
        lines.push(line);
        drawn(spans, &span.span_id, depth + 1, lines);
    }
}

fn flow(site: &Site) {
    site.shell_action("context", "echo $TRACEPARENT", "");
    site.shell_action("one", "true", "");
    site.shell_action(
        "flaky",
        "test $CAMSHAFT_ATTEMPT -gt 1",
        "retry: { max_attempts: 2, delay: 1ms }",
    );
    site.shell_action("broken", "echo no >&2; exit 3", "");
    site.pack_file(
        "t/workflows/flow.yaml",
        "ref: t.flow\ntasks:\n  \
         make: { action: t.context }\n  \
         each: { needs: [make], items: [7, 8, 9], concurrency: 2, action: t.one }\n  \
         flaky: { needs: [make], action: t.flaky }\n  \
         ask: { needs: [each, flaky], inquiry: { prompt: 'Go on?' } }\n  \
         broken: { needs: [ask], action: t.broken }\n  \
         never: { needs: [broken], action: t.one }\n",
    );
}

#[test]
fn a_run_is_a_trace_and_what_its_processes_make_joins_it() {
    let site = Site::new();
    flow(&site);
    let collector = Collector::new(Manner::Takes);
    // Nothing is sent before the stop, so all that comes was flushed by it.
    let engine = up(&site, &collector, &[NEVER, ("OTEL_SERVICE_NAME", "line-4")]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [
        ("Content-Type", "application/json"),
        ("traceparent", &*parent),
    ];
    let body = json!({"action": "t.flow"}).to_string();
    let answer = site.http("POST", "/api/v1/executions", &headers, body.as_bytes());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let inquiry = loop {
        let open = site.json(["inquiry", "list"]);
        if let Some(inquiry) = open["items"][0]["id"].as_str() {
            break inquiry.to_owned();
        }
    };
    site.ok(["inquiry", "answer", &inquiry, "--approve"]);
    assert_eq!(site.ended(&id)["status"], "failed");
    let log = site.json(["events", &id]);
    let lines = log["items"].as_array().expect("a list");
    let of_make = lines.iter().find(|line| line["step"] == "make");
    let child = of_make.expect("a line")["item_id"].as_str().expect("an id");
    let told = site.wait_for_log(child, "\n");
    assert_eq!(engine.stop().0, 0);

    let request = collector.request();
    assert!(
        request.head.starts_with("POST /v1/traces HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert!(
        request.head.contains("application/x-protobuf"),
        "{}",
        request.head
    );
    let resource = request.export.resource_spans[0]
        .resource
        .clone()
        .expect("a resource");
    let said = |key| attribute(&resource.attributes, key);
    assert_eq!(said("service.name").as_deref(), Some("line-4"));
    assert_eq!(
        said("service.version").as_deref(),
        Some(env!("CARGO_PKG_VERSION"))
    );
    assert!(said("service.instance.id").is_some() && said("host.name").is_some());
    let spans = request.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == trace));
    let remote = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    let mut lines = Vec::new();
    drawn(&spans, &remote, 0, &mut lines);
    assert_eq!(lines.len(), spans.len(), "no span is elsewhere: {spans:#?}");
    insta::assert_snapshot!(lines.join("\n"), @r"
    t.flow: failed ! [task_blocked] [step_skipped]
      ask: completed
      broken: failed !
        broken attempt 1: failed !
      each: completed
        each 0: completed
          each attempt 1: completed
        each 1: completed
          each attempt 1: completed
        each 2: completed
          each attempt 1: completed
      flaky: completed [step_retrying]
        flaky attempt 1: failed !
        flaky attempt 2: completed
      make: completed
        make attempt 1: completed
    ");

    let find = |name: &str| spans.iter().find(|span| span.name == name).expect("a span");
    let attempt = find("make attempt");
    assert_eq!(
        told.trim(),
        format!("00-{trace}-{}-01", hex(&attempt.span_id))
    );
    for key in ["process.pid", "camshaft.worker"] {
        assert!(of(attempt, key).is_some(), "{attempt:?}");
    }
    assert_eq!(of(attempt, "camshaft.execution.id").as_deref(), Some(child));
    let broken = find("broken attempt");
    assert_eq!(of(broken, "process.exit.code").as_deref(), Some("3"));
    assert_eq!(of(broken, "error.type").as_deref(), Some("exit"));
    let message = &broken.status.as_ref().expect("a status").message;
    assert!(message.contains('3'), "{message}");
    let ask = find("ask");
    assert_eq!(of(ask, "camshaft.inquiry"), Some(inquiry));
    let run = find("t.flow");
    assert_eq!(of(run, "camshaft.run.id"), Some(id));
    assert_eq!(run.kind, 1);
    for span in &spans {
        let (from, to) = (span.start_time_unix_nano, span.end_time_unix_nano);
        let (begin, end) = (run.start_time_unix_nano, run.end_time_unix_nano);
        assert!(begin <= from && from <= to && to <= end, "{span:?}");
    }
}

#[test]
fn what_was_caused_is_linked_to_its_cause() {
    let site = Site::new();
    site.shell_action("first", "exit 1", "");
    site.shell_action("second", "true", "");
    site.pack_file(
        "t/rules/after.yaml",
        "ref: t.after\ntrigger: { ref: core.execution }\ncriteria: { trigger.action: { type: equals, pattern: t.first } }\naction: { ref: t.second }\n",
    );
    let collector = Collector::new(Manner::Takes);
    let engine = up(&site, &collector, &[NEVER]);
    let first = site.request(["t.first"]);
    site.ended(&first);
    let again = site.run(["execution", "retry", &first, "--wait"]);
    assert_eq!(again.status.code(), Some(1));
    let done = site.get("/api/v1/executions?action=t.second");
    for second in done["items"].as_array().expect("a list") {
        site.ended(second["id"].as_str().expect("an id"));
    }
    assert_eq!(engine.stop().0, 0);

    let spans = collector.spans();
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let (retried, original): (Vec<&Span>, Vec<&Span>) =
        named("t.first").partition(|span| of(span, "camshaft.retry_of").is_some());
    let points_at = |span: &Span, to: &Span, kind: &str| {
        span.links.iter().any(|link| {
            (&link.trace_id, &link.span_id) == (&to.trace_id, &to.span_id)
                && attribute(&link.attributes, "camshaft.link").as_deref() == Some(kind)
        })
    };
    assert!(points_at(retried[0], original[0], "retry"), "{spans:#?}");
    assert_ne!(retried[0].trace_id, original[0].trace_id);
    let caused: Vec<&Span> = named("t.second").collect();
    for cause in [original[0], retried[0]] {
        let linked = caused.iter().any(|span| points_at(span, cause, "event"));
        assert!(linked, "{spans:#?}");
    }
    assert!(of(caused[0], "camshaft.event.id").is_some_and(|id| id.starts_with("evt_")));
    assert_eq!(of(caused[0], "camshaft.rule").as_deref(), Some("t.after"));
}

#[test]
fn a_trace_that_nobody_records_is_not_exported() {
    let site = Site::new();
    site.shell_action("context", "echo $TRACEPARENT", "");
    let collector = Collector::new(Manner::Takes);
    let engine = up(&site, &collector, &[NEVER]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let headers = [
        ("Content-Type", "application/json"),
        ("traceparent", parent),
    ];
    let body = json!({"action": "t.context"}).to_string();
    let answer = site.http("POST", "/api/v1/executions", &headers, body.as_bytes());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    site.ended(&id);
    let told = site.wait_for_log(&id, "\n");
    assert!(
        told.starts_with(&parent[..35]) && told.trim().ends_with("-00"),
        "{told}"
    );
    assert_eq!(engine.stop().0, 0);
    assert_eq!(collector.spans(), []);
}

#[test]
fn a_collector_that_is_away_costs_one_warning_and_counted_spans() {
    let site = Site::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let variables = [
        ("CAMSHAFT__OTLP__ENDPOINT", url.as_str()),
        ("CAMSHAFT__OTLP__QUEUE_SPANS", "1"),
        AT_ONCE,
    ];
    let mut engine = site.up_with(&[], &variables);
    for _ in 0..3 {
        assert_eq!(site.done(["core.noop"])["status"], "completed");
    }
    engine.seen_or_wait("spans cannot be exported");
    // Two spans each, and room for one.
    let page = site.http("GET", "/metrics", &[], b"").text();
    let dropped = page
        .lines()
        .find_map(|line| line.strip_prefix("camshaft_telemetry_dropped_total{sink=\"otlp\"} "));
    assert!(dropped.is_some_and(|dropped| dropped != "0"), "{page}");
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("spans cannot be exported").count(), 1, "{log}");
    assert!(log.contains("the collector cannot be reached"), "{log}");
    assert!(log.contains("not every span"), "{log}");
}

#[test]
fn a_collector_that_hangs_holds_up_nobody() {
    let site = Site::new();
    let collector = Collector::new(Manner::Hangs);
    let engine = up(
        &site,
        &collector,
        &[AT_ONCE, ("CAMSHAFT__OTLP__FLUSH", "50ms")],
    );
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    drop(collector.request());
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    // It would answer in an hour; the request that is under way has ten seconds.
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("not every span could be exported"), "{log}");
}

#[test]
fn spans_are_sent_again_only_where_that_may_help() {
    let site = Site::new();
    let collector = Collector::new(Manner::Answers(500));
    let mut engine = up(&site, &collector, &[AT_ONCE]);
    site.done(["core.noop"]);
    let refused = collector.request().spans();
    engine.seen_or_wait("the collector answered 500");
    collector.becomes(Manner::Answers(503));
    site.done(["core.noop"]);
    let mut later = collector.request().spans();
    assert!(
        later.iter().all(|span| !refused.contains(span)),
        "{later:?}"
    );
    collector.becomes(Manner::Takes);
    engine.wait_for("spans are exported again");
    assert_eq!(engine.stop().0, 0);
    let mut arrived = collector.spans();
    arrived.retain(|span| later.contains(span));
    later.retain(|span| !arrived.contains(span));
    assert_eq!(later, [], "what was to be sent later has come");
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused_at_the_start() {
    let site = Site::new();
    let mut engine = site.starting(
        &[],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    );
    let (code, text) = engine.ended();
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "{text}");
}

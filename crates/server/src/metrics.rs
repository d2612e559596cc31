//! `GET /metrics`: what was counted since the start, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use camshaft_engine::handle::ComponentHealth;
use camshaft_model::Status;

use crate::feed::Feed;

/// The whole page.
pub(crate) fn render(feed: &Feed, components: &[ComponentHealth]) -> String {
    let mut page = String::with_capacity(2_048);
    family(
        &mut page,
        "camshaft_up",
        "gauge",
        "1 while the engine answers.",
        [(String::new(), 1)],
    );
    let parts = components.iter().map(|part| {
        (
            label("component", &part.component),
            u64::from(part.problem.is_none()),
        )
    });
    family(
        &mut page,
        "camshaft_component_up",
        "gauge",
        "1 while a part works.",
        parts,
    );
    let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let one = |counter: &AtomicU64| [(String::new(), counted(counter))];
    family(
        &mut page,
        "camshaft_events_total",
        "counter",
        "Events recorded.",
        one(&feed.events),
    );
    family(
        &mut page,
        "camshaft_step_events_total",
        "counter",
        "Lines added to event logs.",
        one(&feed.step_events),
    );
    let outcomes = ["requested", "failed", "skipped"]
        .into_iter()
        .zip(&feed.enforcements);
    let outcomes = outcomes.map(|(outcome, counter)| (label("outcome", outcome), counted(counter)));
    family(
        &mut page,
        "camshaft_enforcements_total",
        "counter",
        "Answers of rules to events.",
        outcomes,
    );
    let states = Status::ALL.iter().zip(&feed.executions);
    let states =
        states.map(|(status, counter)| (label("status", status.as_str()), counted(counter)));
    family(
        &mut page,
        "camshaft_execution_changes_total",
        "counter",
        "States that executions came to.",
        states,
    );
    page
}

fn family(
    page: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    // Writing to a String does not fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(page, "{name}{labels} {value}");
    }
}

fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_declared_and_labels_are_escaped() {
        let broken = ComponentHealth {
            component: "a\"b\nc".to_owned(),
            problem: Some("dead".to_owned()),
        };
        let page = render(&Feed::new(), &[broken]);
        assert!(
            page.contains("camshaft_component_up{component=\"a\\\"b\\nc\"} 0\n"),
            "{page}"
        );
        assert!(
            page.contains("# TYPE camshaft_events_total counter\ncamshaft_events_total 0\n"),
            "{page}"
        );
        assert!(
            page.contains("camshaft_execution_changes_total{status=\"timed_out\"} 0\n"),
            "{page}"
        );
    }
}

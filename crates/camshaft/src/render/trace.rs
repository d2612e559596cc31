//! A trace on one screen: the timeline, what is odd, the critical path and its sum.

use std::fmt::Write as _;
use std::time::Duration;

use camshaft_model::duration;
use serde::Deserialize;
use serde_json::Value;

use super::{Style, escape, execution, instant_at, text_at};

/// How wide the chart is.
const CHART_CHARS: usize = 40;
/// More lines of the timeline than this are not read: items that are not on the critical path go
/// first, then whatever is last.
const MAX_STEPS: usize = 100;
/// More odd things than this are counted, not named.
const MAX_ANOMALIES: usize = 30;
/// More stretches of the critical path than this are counted, not named.
const MAX_PATH: usize = 40;
/// Names and reasons are cut on a terminal.
const NAME_CHARS: usize = 32;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Phase {
    part: String,
    offset_us: u64,
    duration_us: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Step {
    kind: String,
    step: String,
    lap: u32,
    attempt: Option<u32>,
    status: String,
    blocked_by: Value,
    offset_us: u64,
    duration_us: u64,
    phases: Vec<Phase>,
    reason: Option<String>,
    critical: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Anomaly {
    kind: String,
    step: String,
    attempt: Option<u32>,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PathPhase {
    step: Option<String>,
    attempt: Option<u32>,
    part: String,
    offset_us: u64,
    duration_us: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Trace {
    duration_us: u64,
    steps: Vec<Step>,
    anomalies: Vec<Anomaly>,
    critical_path: Vec<PathPhase>,
    parts_us: serde_json::Map<String, Value>,
    left_out: u64,
}

/// The whole screen.
pub fn show(value: &Value, style: Style) -> String {
    let trace = match Trace::deserialize(value) {
        Ok(trace) => trace,
        Err(error) => return format!("the engine's answer cannot be read: {error}\n"),
    };
    let ended = value.get("ended_at").is_some_and(|at| !at.is_null());
    let mut text = format!(
        "{}  {}  {} {} {}\nrequested {}\n",
        text_at(value, "/execution"),
        text_at(value, "/action"),
        execution::status(value),
        if ended { "after" } else { "for" },
        micros(trace.duration_us),
        instant_at(value, "/requested_at"),
    );
    timeline(&mut text, &trace, style);
    anomalies(&mut text, &trace.anomalies);
    path(&mut text, &trace);
    parts(&mut text, &trace);
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn micros(micros: u64) -> String {
    duration::display(Duration::from_micros(micros))
}

/// A name with the attempt, where it was not the first one, and the lap likewise.
fn named(step: &str, attempt: Option<u32>) -> String {
    match attempt {
        Some(attempt) if attempt > 1 => format!("{step} (attempt {attempt})"),
        _ => step.to_owned(),
    }
}

fn shortened(text: &str, style: Style) -> String {
    let shown = escape::line(text);
    if !style.terminal || shown.chars().count() <= NAME_CHARS {
        return shown.into_owned();
    }
    shown.chars().take(NAME_CHARS - 1).chain(['…']).collect()
}

/// Which lines are shown, and how many are not.
fn chosen(steps: &[Step]) -> (Vec<&Step>, usize) {
    let mut shown: Vec<&Step> = steps.iter().collect();
    if shown.len() > MAX_STEPS {
        let is_item = |step: &Step| step.step.ends_with(']');
        shown.retain(|step| step.critical || !is_item(step) || step.status == "failed");
    }
    shown.truncate(MAX_STEPS);
    let hidden = steps.len() - shown.len();
    (shown, hidden)
}

fn timeline(text: &mut String, trace: &Trace, style: Style) {
    let (shown, hidden) = chosen(&trace.steps);
    let laps = trace.steps.iter().any(|step| step.lap > 1);
    let names: Vec<String> = shown
        .iter()
        .map(|step| {
            let lap = if laps {
                format!("lap {} ", step.lap)
            } else {
                String::new()
            };
            shortened(&format!("{lap}{}", named(&step.step, step.attempt)), style)
        })
        .collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(4)
        .max(4);
    let chart_head = if style.terminal {
        format!("  {:<CHART_CHARS$}", "TIMELINE")
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "\n  {:>9}  {:>8}  {:<width$}{chart_head}  STATUS",
        "OFFSET", "TOOK", "STEP"
    );
    for (step, name) in shown.iter().zip(&names) {
        let mark = if step.critical { '*' } else { ' ' };
        let chart = if style.terminal {
            format!("  {}", chart(step, trace.duration_us))
        } else {
            String::new()
        };
        let offset = format!("+{}", micros(step.offset_us));
        let reason = step
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(": {}", escape::line(reason)));
        let _ = writeln!(
            text,
            "{mark} {offset:>9}  {:>8}  {name:<width$}{chart}  {}{reason}",
            micros(step.duration_us),
            execution::named_status(&step.status, &step.blocked_by),
        );
    }
    if hidden > 0 {
        let _ = writeln!(text, "  {hidden} more steps (-o json has all)");
    }
    if trace.left_out > 0 {
        let _ = writeln!(
            text,
            "  {} executions are not traced: there are too many",
            trace.left_out
        );
    }
    if style.terminal {
        let legend: Vec<String> = PARTS
            .iter()
            .map(|(part, sign)| format!("{sign} {part}"))
            .collect();
        let _ = writeln!(text, "  * critical path   {}", legend.join("  "));
    } else {
        text.push_str("  * critical path\n");
    }
}

/// How each part is drawn.
const PARTS: [(&str, char); 8] = [
    ("queue", '·'),
    ("constraint", '='),
    ("delay", '-'),
    ("spawn", ':'),
    ("run", '█'),
    ("commit", '>'),
    ("person", '?'),
    ("event", '~'),
];

/// The bar of a step: what takes less than a column is still to be seen.
fn chart(step: &Step, whole: u64) -> String {
    let column = |at: u64| {
        let scaled = u128::from(at) * CHART_CHARS as u128 / u128::from(whole.max(1));
        usize::try_from(scaled)
            .unwrap_or(CHART_CHARS)
            .min(CHART_CHARS - 1)
    };
    let mut bar = [' '; CHART_CHARS];
    let mut draw = |sign: char, offset: u64, took: u64| {
        let (from, to) = (
            column(offset),
            column(offset.saturating_add(took).saturating_sub(1)),
        );
        bar[from..=to.max(from)].fill(sign);
    };
    if step.phases.is_empty() {
        draw(
            if step.kind == "task" { '|' } else { '─' },
            step.offset_us,
            step.duration_us,
        );
    }
    for phase in &step.phases {
        let sign = PARTS
            .iter()
            .find(|(part, _)| *part == phase.part)
            .map_or('#', |found| found.1);
        draw(sign, phase.offset_us, phase.duration_us);
    }
    bar.iter().collect()
}

fn anomalies(text: &mut String, anomalies: &[Anomaly]) {
    if anomalies.is_empty() {
        return;
    }
    text.push_str("\nOdd\n");
    for anomaly in anomalies.iter().take(MAX_ANOMALIES) {
        let _ = writeln!(
            text,
            "  {:<19}  {}: {}",
            anomaly.kind.replace('_', " "),
            escape::line(&named(&anomaly.step, anomaly.attempt)),
            escape::line(&anomaly.message)
        );
    }
    if anomalies.len() > MAX_ANOMALIES {
        let _ = writeln!(text, "  and {} more", anomalies.len() - MAX_ANOMALIES);
    }
}

fn path(text: &mut String, trace: &Trace) {
    text.push_str("\nCritical path\n");
    let path = &trace.critical_path;
    // The longest ones say most; they stay in the order in which they happened.
    let mut longest: Vec<usize> = (0..path.len()).collect();
    longest.sort_by_key(|at| std::cmp::Reverse(path[*at].duration_us));
    longest.truncate(MAX_PATH);
    longest.sort_unstable();
    for piece in longest.iter().filter_map(|at| path.get(*at)) {
        let step = piece.step.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "  {:>9}  {:>8}  {:<10}  {}",
            format!("+{}", micros(piece.offset_us)),
            micros(piece.duration_us),
            piece.part,
            escape::line(&named(step, piece.attempt)),
        );
    }
    if path.len() > MAX_PATH {
        let _ = writeln!(text, "  and {} shorter ones", path.len() - MAX_PATH);
    }
}

fn parts(text: &mut String, trace: &Trace) {
    text.push_str("\nWhere the time went\n");
    let whole = trace.duration_us.max(1) as f64;
    for (part, _) in PARTS {
        let spent = trace
            .parts_us
            .get(part)
            .and_then(Value::as_u64)
            .unwrap_or(0);
        if spent > 0 {
            let share = spent as f64 * 100.0 / whole;
            let _ = writeln!(text, "  {part:<10}  {:>8}  {share:>3.0}%", micros(spent));
        }
    }
    let _ = writeln!(text, "  {:<10}  {:>8}", "in all", micros(trace.duration_us));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn phase(part: &str, offset: u64, took: u64) -> Value {
        json!({"part": part, "offset_us": offset, "duration_us": took})
    }

    fn step(kind: &str, name: &str, phases: Vec<Value>) -> Value {
        let from = phases
            .first()
            .map_or(0, |phase| phase["offset_us"].as_u64().unwrap());
        let took: u64 = phases
            .iter()
            .map(|phase| phase["duration_us"].as_u64().unwrap())
            .sum();
        json!({"kind": kind, "step": name, "lap": 1, "execution": null, "action": null, "attempt": 1,
            "status": "completed", "offset_us": from, "duration_us": took, "phases": phases, "reason": null, "critical": true})
    }

    fn trace() -> Value {
        let mut second = step(
            "attempt",
            "merge",
            vec![
                phase("delay", 1_000_000, 500_000),
                phase("run", 1_500_000, 500_000),
            ],
        );
        second["attempt"] = json!(2);
        let mut skipped = step("task", "load\u{1b}[2J", vec![phase("commit", 2_000_000, 0)]);
        skipped["status"] = json!("skipped");
        skipped["reason"] = json!("when is false");
        skipped["critical"] = json!(false);
        skipped["phases"] = json!([]);
        json!({
            "execution": "exec_01", "action": "demo.etl", "status": "completed",
            "requested_at": "2026-11-21T01:28:29.590000Z", "ended_at": "2026-11-21T01:28:31.600000Z", "duration_us": 2_010_000,
            "steps": [
                step("attempt", "fetch[0]", vec![phase("queue", 0, 200_000), phase("spawn", 200_000, 10_000), phase("run", 210_000, 700_000)]),
                step("task", "approve", vec![phase("person", 910_000, 90_000)]),
                second,
                skipped,
            ],
            "anomalies": [{"kind": "retried", "step": "merge", "attempt": 1, "message": "tried again after 500ms: exit status 3"}],
            "critical_path": [
                {"step": "fetch[0]", "attempt": 1, "part": "queue", "offset_us": 0, "duration_us": 200_000},
                {"step": "merge", "attempt": 2, "part": "run", "offset_us": 1_500_000, "duration_us": 500_000},
                {"step": null, "attempt": null, "part": "commit", "offset_us": 2_000_000, "duration_us": 10_000},
            ],
            "parts_us": {"queue": 200_000, "run": 1_200_000, "commit": 10_000, "delay": 500_000, "spawn": 10_000, "person": 90_000, "constraint": 0, "event": 0},
            "left_out": 0,
        })
    }

    #[test]
    fn a_piped_trace_is_plain() {
        insta::assert_snapshot!(show(&trace(), Style::default()));
    }

    #[test]
    fn a_terminal_gets_a_bar_chart() {
        let style = Style {
            terminal: true,
            ..Style::default()
        };
        insta::assert_snapshot!(show(&trace(), style));
    }

    #[test]
    fn a_thousand_items_stay_readable() {
        let mut trace = trace();
        let items = (0..1_000).map(|n| {
            let mut item = step("attempt", &format!("fetch[{n}]"), vec![phase("run", n, 1)]);
            item["critical"] = json!(n == 999);
            item
        });
        let all = trace["steps"]
            .as_array()
            .unwrap()
            .iter()
            .cloned()
            .chain(items)
            .collect();
        trace["steps"] = Value::Array(all);
        let shown = show(&trace, Style::default());
        assert!(shown.lines().count() < 30, "{shown}");
        assert!(
            shown.contains("fetch[999]") && shown.contains("999 more steps"),
            "{shown}"
        );
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_said_to_be_one() {
        assert!(show(&json!({"steps": 7}), Style::default()).contains("cannot be read"));
    }
}

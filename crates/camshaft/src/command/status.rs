//! `camshaft status`: is it there, is it well, what can it run.

use std::process::ExitCode;

use camshaft_model::ErrorCode;
use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::context::items;
use crate::exit::CliError;
use crate::render::table::pairs;
use crate::render::{Style, constraint, instant_at, plain, text_at};

/// More constraints than this are counted, not named.
const MAX_CONSTRAINTS: usize = 10;

/// Show whether the engine is ready, and which part is not
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft status

The exit status is 0 if it is ready, 3 if it cannot be reached or a part of it does not work.")]
pub struct Status {}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let ready = context.client.ready().await?;
        let about = context.client.read("/info").await?;
        let in_force = context.client.read(&first_constraints()).await?;
        let url = context.client.endpoint()?.url;
        let is_ready = ready.get("ready") == Some(&Value::Bool(true));
        let components = ready.get("components").cloned().unwrap_or_default();
        let shown = json!({"ready": is_ready, "url": url, "components": components, "info": about,
            "constraints": items(&in_force)});
        context.show(&shown, render)?;
        Ok(if is_ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(ErrorCode::Unavailable.exit_code())
        })
    }
}

/// The components of a status, one a line, and what is wrong with them.
pub(super) fn component_rows(status: &Value) -> Vec<(&str, String)> {
    let components = status.get("components").and_then(Value::as_array);
    let row = |component: &Value| match text_at(component, "/problem").as_str() {
        "-" => format!("{}: ok", text_at(component, "/component")),
        problem => format!("{}: {problem}", text_at(component, "/component")),
    };
    components
        .into_iter()
        .flatten()
        .map(|component| ("component", row(component)))
        .collect()
}

/// The connections that the engine keeps up, one a line. It is ready without them.
fn connection_rows(info: &Value) -> Vec<(&str, String)> {
    let sinks = info.get("sinks").and_then(Value::as_array);
    let connections = sinks.into_iter().flatten().filter_map(|sink| {
        let name = text_at(sink, "/name");
        sink.get("connection")
            .filter(|connection| !connection.is_null())
            .map(|connection| (name, connection))
    });
    connections
        .map(|(name, connection)| {
            let to = text_at(connection, "/to");
            let since = instant_at(connection, "/since");
            let how = match text_at(connection, "/problem").as_str() {
                _ if connection["up"] == true => "connected".to_owned(),
                "-" => "not connected".to_owned(),
                problem => format!("not connected ({problem})"),
            };
            ("connection", format!("{name}: {to}, {how} since {since}"))
        })
        .collect()
}

/// Where the constraints are that are shown, and one more if there is one.
pub(super) fn first_constraints() -> String {
    format!("/constraints?limit={}", MAX_CONSTRAINTS + 1)
}

/// The constraints in force, one a line: a pause that everybody forgot looks like a defect.
pub(super) fn constraint_rows(status: &Value) -> Vec<(&str, String)> {
    let in_force = status.get("constraints").and_then(Value::as_array);
    let in_force = in_force.map_or(&[][..], Vec::as_slice);
    let shown = in_force.iter().take(MAX_CONSTRAINTS);
    let mut rows: Vec<_> = shown
        .map(|one| ("constraint", constraint::line(one)))
        .collect();
    if in_force.len() > MAX_CONSTRAINTS {
        rows.push((
            "constraint",
            "and more: camshaft constraint list".to_owned(),
        ));
    }
    rows
}

fn render(status: &Value, style: Style) -> String {
    let at = |pointer| text_at(status, pointer);
    let runtimes = status
        .pointer("/info/worker/runtimes")
        .and_then(Value::as_array);
    let runtimes: Vec<String> = runtimes.into_iter().flatten().map(plain).collect();
    let mut rows = vec![
        (
            "ready",
            if at("/ready") == "true" {
                "yes".to_owned()
            } else {
                "NO".to_owned()
            },
        ),
        ("url", at("/url")),
        ("version", at("/info/version")),
        ("pid", at("/info/pid")),
        ("data", at("/info/data_dir")),
        ("started", instant_at(status, "/info/started_at")),
        (
            "worker",
            format!(
                "{}, {} slots, {}",
                at("/info/worker/id"),
                at("/info/worker/slots"),
                runtimes.join(" ")
            ),
        ),
    ];
    rows.extend(component_rows(status));
    rows.extend(connection_rows(&status["info"]));
    rows.extend(constraint_rows(status));
    pairs(&rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_part_is_named() {
        let status = json!({"ready": false, "url": "http://127.0.0.1:7410",
            "components": [{"component": "writer", "problem": null}, {"component": "core.file#1", "problem": "no such folder"}],
            "constraints": [{"scope": "global", "terms": "pause", "owner": "ada", "remaining_secs": null, "use": {"waiting": 3}}],
            "info": {"version": "0.1.0", "pid": 7, "data_dir": "/d", "started_at": "2026-11-21T01:28:29Z",
                "worker": {"id": "local", "slots": 4, "runtimes": ["python", "shell"]},
                "sinks": [{"name": "otlp", "connection": null},
                    {"name": "mqtt", "connection": {"to": "h:1883", "up": true, "since": "2026-11-21T01:28:30Z", "problem": null}},
                    {"name": "mqtt", "connection": {"to": "h:1883", "up": false, "since": "2026-11-21T01:28:30Z", "problem": "refused"}}]}});
        insta::assert_snapshot!(render(&status, Style::default()), @r"
        ready       NO
        url         http://127.0.0.1:7410
        version     0.1.0
        pid         7
        data        /d
        started     2026-11-21T01:28:29.000Z
        worker      local, 4 slots, python shell
        component   writer: ok
        component   core.file#1: no such folder
        connection  mqtt: h:1883, connected since 2026-11-21T01:28:30.000Z
        connection  mqtt: h:1883, not connected (refused) since 2026-11-21T01:28:30.000Z
        constraint  global: pause, set by ada, until it is cleared, 3 waiting
        ");
    }
}

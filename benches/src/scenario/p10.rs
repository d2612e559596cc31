//! P10: how soon a constraint that comes by MQTT holds, and how soon work goes on once it is cleared.

use std::time::Duration;

use camshaft::clock::SystemClock;
use camshaft_link::mqtt::{Broker, Topics, controller, topic};
use camshaft_model::port::clock::Clock;
use camshaft_model::{Constraint, ConstraintType, Scope, Terms, Timestamp, Via};
use serde_json::{Value, json};

use super::Bench;
use crate::limit::millis;
use crate::report::{Sample, Want, quantile};
use crate::served::Served;
use crate::{Failure, packs};

/// So much work that it does not end before the last round.
const ITEMS: usize = 100_000;
const ROUNDS: usize = 25;
/// After so long nothing of what was published is on its way any more.
const SETTLED: Duration = Duration::from_millis(100);
const BAR_MS: f64 = 20.0;
const CLIENT: &str = "camshaft-bench";

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::shell(folder.path())?;
    let items = format!("\"{{{{ range({ITEMS}) | list }}}}\"");
    let task = format!("  each: {{ action: bench.true, items: {items}, concurrency: 8 }}\n");
    packs::workflow(folder.path(), "wide", &task)?;
    let port = free_port()?;
    let broker = format!("--broker=127.0.0.1:{port}");
    let served = Served::start_with(&bench.binary, &bench.dir, Some(folder.path()), &[&broker])?;
    let broker = Broker::new("127.0.0.1", port);
    let topics = Topics::new(topic::DEFAULT_PREFIX);
    let scope: Scope = "task:each".parse()?;

    let run = served
        .post("/api/v1/executions", &json!({ "action": "bench.wide" }))
        .await?;
    let run = run["id"].as_str().ok_or("no run")?.to_owned();
    let mut log = Log { run, after: 0 };
    let (mut held, mut freed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        tokio::time::sleep(SETTLED).await;
        log.starts(&served).await?;
        let published = SystemClock.now();
        controller::publish(&broker, CLIENT, &topics, &pause(&scope, published)).await?;
        tokio::time::sleep(SETTLED).await;
        let last = log.starts(&served).await?.into_iter().max();
        held.push(millis(last.unwrap_or(published).since(published)));

        let cleared = SystemClock.now();
        controller::clear(
            &broker,
            CLIENT,
            &topics,
            &scope,
            Some(ConstraintType::Pause),
        )
        .await?;
        tokio::time::sleep(SETTLED).await;
        let first = log
            .starts(&served)
            .await?
            .into_iter()
            .find(|at| *at >= cleared);
        freed.push(millis(first.ok_or("nothing went on")?.since(cleared)));
    }
    let bar = |name, values: &[f64]| {
        Sample::fixed(name, "ms", quantile(values, 0.5), Want::AtMost, BAR_MS)
    };
    Ok(vec![
        bar("pause published -> last start, p50", &held),
        bar("pause cleared -> next start, p50", &freed),
        Sample::plain("the first, p95", "ms", quantile(&held, 0.95)),
        Sample::plain("the second, p95", "ms", quantile(&freed, 0.95)),
    ])
}

fn pause(scope: &Scope, now: Timestamp) -> Constraint {
    Constraint {
        id: Constraint::default_id(scope, ConstraintType::Pause),
        scope: scope.clone(),
        terms: Terms::Pause,
        expires_at: None,
        reason: None,
        owner: None,
        via: Via::Mqtt,
        set_at: now,
    }
}

/// A port that nobody listens on. Somebody may take it before we do; then the engine says so.
fn free_port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// The event log of the run, read up to a line.
struct Log {
    run: String,
    after: i64,
}

impl Log {
    /// The instants of the starts since the last look, in order.
    async fn starts(&mut self, served: &Served) -> Result<Vec<Timestamp>, Failure> {
        let mut starts = Vec::new();
        loop {
            let (run, after) = (&self.run, self.after);
            let path = format!(
                "/api/v1/executions/{run}/events?type=step_started&limit=1000&after={after}"
            );
            let page = served.get(&path).await?;
            let items = page["items"].as_array().ok_or("no page")?;
            for item in items {
                let at = item["created_at"].as_str().ok_or("no instant")?;
                starts.push(at.parse()?);
                self.after = item["id"].as_i64().ok_or("no id")?;
            }
            if page["next_cursor"] == Value::Null {
                return Ok(starts);
            }
        }
    }
}

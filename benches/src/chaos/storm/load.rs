//! Clients: each posts one request after another, again and again until it is acknowledged, whatever
//! happens to the engine meanwhile, and remembers what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Trouble;
use crate::engine::Api;

/// How long a client waits between two requests, at most.
const PAUSE_MS: u64 = 20;
/// How often a client asks for a run of a workflow, which is a dozen executions.
const RUNS: f64 = 0.1;

/// What the engine said that it has.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    /// An event, or an execution that was asked for.
    pub(super) is_event: bool,
    /// The deduplication or idempotency key.
    pub(super) key: String,
    pub(super) id: String,
}

/// See the module.
pub(super) struct Load {
    target: watch::Sender<Option<Api>>,
    ended: AtomicBool,
    clients: Mutex<JoinSet<Result<Vec<Acknowledged>, String>>>,
}

impl Load {
    pub(super) fn start(clients: u64, seed: u64) -> Arc<Self> {
        let load = Arc::new(Self {
            target: watch::Sender::new(None),
            ended: AtomicBool::new(false),
            clients: Mutex::default(),
        });
        let mut set = load.clients.lock();
        for client in 0..clients {
            let target = load.target.subscribe();
            let (load, rng) = (load.clone(), StdRng::seed_from_u64(seed ^ (client + 1)));
            set.spawn(async move { load.client(client, rng, target).await });
        }
        drop(set);
        load
    }

    /// The engine to ask from now on; none while it is down.
    pub(super) fn aim_at(&self, api: Option<Api>) {
        self.target.send_replace(api);
    }

    /// Ends the load. Everything that was acknowledged.
    pub(super) async fn stop(&self) -> Result<Vec<Acknowledged>, Trouble> {
        self.ended.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut *self.clients.lock());
        let mut all = Vec::new();
        for outcome in clients.join_all().await {
            all.extend(outcome?);
        }
        Ok(all)
    }

    async fn client(
        &self,
        client: u64,
        mut rng: StdRng,
        mut target: watch::Receiver<Option<Api>>,
    ) -> Result<Vec<Acknowledged>, String> {
        let mut acknowledged = Vec::new();
        for number in 0_u64.. {
            let key = format!("{client}-{number}");
            let (path, body) = request(&key, &mut rng);
            loop {
                // The sender lives as long as this client.
                let Ok(api) = target
                    .wait_for(Option::is_some)
                    .await
                    .map(|api| api.clone())
                else {
                    return Ok(acknowledged);
                };
                if self.ended.load(Ordering::Relaxed) {
                    return Ok(acknowledged);
                }
                let Some(api) = api else { continue };
                match api.ask(Method::POST, path, Some(&body)).await {
                    Ok((status, answer)) if status.is_success() => {
                        let is_event = path == "/events";
                        let id = answer[if is_event { "event" } else { "id" }].as_str();
                        let id = id
                            .ok_or_else(|| format!("an acknowledgement without an id: {answer}"))?
                            .to_owned();
                        acknowledged.push(Acknowledged { is_event, key, id });
                        break;
                    }
                    Ok((status, answer)) if !status.is_server_error() => {
                        return Err(format!("{path} was refused: {status} {answer}"));
                    }
                    // It died, is dying, or says that it cannot now: once more.
                    Ok(_) | Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
            sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS))).await;
        }
        Ok(acknowledged)
    }
}

/// A request waits for the end of what it asks for, so that the load never runs far ahead of the worker;
/// an event is acknowledged at once.
fn request(key: &str, rng: &mut StdRng) -> (&'static str, Value) {
    let kind = if rng.random_bool(0.5) {
        "once"
    } else {
        "again"
    };
    let pause = ["0", "0", "0", "0.02", "0.3"][rng.random_range(0..5)];
    let escape = rng.random_bool(0.02);
    if rng.random_bool(RUNS) {
        let parameters = json!({"pause": pause});
        (
            "/executions?wait=5s",
            json!({"action": "storm.tree", "parameters": parameters, "idempotency_key": key}),
        )
    } else if rng.random_bool(0.5) {
        let payload = json!({"kind": kind, "pause": pause, "escape": escape});
        (
            "/events",
            json!({"trigger": "storm.poked", "payload": payload, "dedup_key": key}),
        )
    } else {
        let parameters = json!({"pause": pause, "escape": escape});
        (
            "/executions?wait=5s",
            json!({"action": format!("storm.{kind}"), "parameters": parameters, "idempotency_key": key}),
        )
    }
}

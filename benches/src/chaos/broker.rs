//! R3: the MQTT broker is killed and started again under load, with nothing retained. What it held must go
//! on holding, and the engine must be back by itself.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use camshaft_link::mqtt::{Broker, Topics, controller, topic};
use camshaft_model::{Constraint, ConstraintType, Scope, Terms, Timestamp, Via};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::Trouble;
use crate::engine::{Api, Site};
use crate::report::Report;

const KILLS: u32 = 20;
const SLOTS: u32 = 4;
/// How long the broker is away, at most, in milliseconds.
const AWAY_MS: u64 = 1_500;
/// How long after the broker is back the engine may listen to it again, at the latest.
const BACK: Duration = Duration::from_secs(30);
/// How long all that was accepted may take to its end.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);
const CLIENT: &str = "chaos";

pub(crate) async fn run(binary: &Path, seed: u64, report: &mut Report) -> Result<(), Trouble> {
    let before = report.violations();
    let site = Site::new(binary)?;
    for action in ["free", "held"] {
        let text = format!("ref: chaos.{action}\nruntime: shell\nscript: \"true\"\n");
        site.pack_file(&format!("chaos/actions/{action}.yaml"), &text)?;
    }
    site.pack_file("chaos/pack.yaml", "ref: chaos\nversion: 1.0.0\n")?;
    attack(&site, seed, report).await?;
    report.promise("R3", "what the database shows", "all", site.check().await?);
    if report.violations() > before {
        report.keep(&site.keep());
    }
    Ok(())
}

async fn attack(site: &Site, seed: u64, report: &mut Report) -> Result<(), Trouble> {
    let mut rng = StdRng::seed_from_u64(seed);
    let port = free_port()?;
    let mut mosquitto = Mosquitto::start(site.path(), port).await?;
    let controller = Controller::new(port);
    let text = port.to_string();
    let variables = [
        ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
        ("CAMSHAFT__MQTT__PORT", &text),
    ];
    let engine = site.up(SLOTS, &variables).await?;
    controller.pause("action:chaos.held").await?;
    in_force(&engine.api, "action:chaos.held").await?;

    let load = Load::start(engine.api.clone());
    let mut back = Vec::new();
    for kill in 0..KILLS {
        mosquitto.kill().await?;
        sleep(Duration::from_millis(rng.random_range(0..AWAY_MS))).await;
        mosquitto = Mosquitto::start(site.path(), port).await?;
        let began = Instant::now();
        // Who hears of this one has connected and subscribed again.
        let scope = format!("task:round_{kill}");
        controller.pause(&scope).await?;
        in_force(&engine.api, &scope).await?;
        back.push(began.elapsed());
    }
    let accepted = load.stop().await?;
    let held = engine.api.all("/executions?action=chaos.held").await?;
    let started: Vec<String> = held
        .iter()
        .filter(|execution| execution["status"] != "requested")
        .map(Value::to_string)
        .collect();
    let count = held.len();
    report.promise("R3", "starts in the scope of the pause", count, started);

    controller.clear("action:chaos.held").await?;
    let open = ended(&engine.api).await?;
    report.promise("R3", "accepted executions without an end", accepted, open);
    let longest = back.iter().max().copied().unwrap_or_default();
    let kills = format!("longest way back of {KILLS}, from the broker's start");
    let shown = format!("{} ms", longest.as_millis());
    let bound = format!("{} ms", BACK.as_millis());
    report.row("R3", &kills, shown, bound, longest <= BACK);
    engine.stop().await?;
    mosquitto.kill().await
}

fn free_port() -> Result<u16, Trouble> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A broker that keeps nothing on disk.
struct Mosquitto(Child);

impl Mosquitto {
    async fn start(folder: &Path, port: u16) -> Result<Self, Trouble> {
        let file = folder.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
        std::fs::write(&file, text)?;
        // Debian keeps it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("mosquitto")
            .arg("-c")
            .arg(&file)
            .env("PATH", format!("{path}:/usr/sbin"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("mosquitto: {error}; install it first"))?;
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(format!("mosquitto ended with {status}").into());
            }
            if began.elapsed() > BACK {
                return Err("mosquitto does not listen".into());
            }
            sleep(LOOK).await;
        }
        Ok(Self(child))
    }

    async fn kill(mut self) -> Result<(), Trouble> {
        Ok(self.0.kill().await?)
    }
}

/// A person with a command line and no way to the engine.
struct Controller {
    broker: Broker,
    topics: Topics,
}

impl Controller {
    fn new(port: u16) -> Self {
        Self {
            broker: Broker::new("127.0.0.1", port),
            topics: Topics::new(topic::DEFAULT_PREFIX),
        }
    }

    async fn pause(&self, scope: &str) -> Result<(), Trouble> {
        let scope: Scope = scope.parse()?;
        let pause = Constraint {
            id: Constraint::default_id(&scope, ConstraintType::Pause),
            scope,
            terms: Terms::Pause,
            expires_at: None,
            reason: None,
            owner: None,
            via: Via::Mqtt,
            set_at: Timestamp::default(),
        };
        Ok(controller::publish(&self.broker, CLIENT, &self.topics, &pause).await?)
    }

    async fn clear(&self, scope: &str) -> Result<(), Trouble> {
        let scope: Scope = scope.parse()?;
        controller::clear(&self.broker, CLIENT, &self.topics, &scope, None).await?;
        Ok(())
    }
}

/// Returns once the engine says that a pause on a scope is in force.
async fn in_force(api: &Api, scope: &str) -> Result<(), Trouble> {
    let path = format!("/constraints/{scope}/pause");
    let asked = async {
        while !api.ask(Method::GET, &path, None).await?.0.is_success() {
            sleep(LOOK).await;
        }
        Ok::<_, Trouble>(())
    };
    let late = |_| {
        format!(
            "{scope} is not in force {} s after it was published",
            BACK.as_secs()
        )
    };
    timeout(BACK, asked).await.map_err(late)?
}

/// What has no end after all patience.
async fn ended(api: &Api) -> Result<Vec<String>, Trouble> {
    let began = Instant::now();
    loop {
        let open = api
            .all("/executions?status=requested,scheduled,running")
            .await?;
        if open.is_empty() || began.elapsed() > PATIENCE {
            return Ok(open.iter().map(Value::to_string).collect());
        }
        sleep(LOOK).await;
    }
}

/// Posts executions of both actions, one after another, until it is stopped.
struct Load {
    stopped: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    client: tokio::task::JoinHandle<Result<(), String>>,
}

impl Load {
    fn start(api: Api) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (stop, count) = (stopped.clone(), accepted.clone());
        let client = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                for action in ["chaos.free", "chaos.held"] {
                    let body = json!({ "action": action });
                    let answer = api.must(Method::POST, "/executions", Some(&body)).await;
                    answer.map_err(|error| error.to_string())?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                sleep(LOOK).await;
            }
            Ok(())
        });
        Self {
            stopped,
            accepted,
            client,
        }
    }

    /// How many were accepted in all.
    async fn stop(self) -> Result<usize, Trouble> {
        self.stopped.store(true, Ordering::Relaxed);
        self.client.await??;
        Ok(self.accepted.load(Ordering::Relaxed))
    }
}

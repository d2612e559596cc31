//! R3: the MQTT broker is killed and started again under load, with nothing retained. The pause and the limits
//! that it brought must go on holding, rules must match every event once, and the engine must be back by itself.

use std::collections::{HashMap, HashSet};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

const SLOTS: u32 = 4;
const PAUSED: &str = "action:chaos.held";
const LIMITED: &str = "action:chaos.limited";
const LIMIT: usize = 2;
const RATED: &str = "action:chaos.rated";
const RATE: &str = "10/s";
/// How far apart starts at that rate are, at least.
const APART: Duration = Duration::from_millis(100);
/// Both match every event. What the second asks for is paused.
const RULES: [(&str, &str); 2] = [("go", "free"), ("hold", "held")];
/// How long the broker is away, at most, in milliseconds.
const AWAY_MS: u64 = 1_500;
/// How long after the broker is back the engine may listen to it again, at the latest.
const BACK: Duration = Duration::from_secs(30);
/// How long all that was accepted may take to its end.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);
const CLIENT: &str = "chaos";

pub(crate) async fn run(
    binary: &Path,
    seed: u64,
    kills: u32,
    report: &mut Report,
) -> Result<(), Trouble> {
    let before = report.violations();
    let site = Site::new(binary)?;
    define(&site)?;
    attack(&site, seed, kills, report).await?;
    report.promise("R3", "what the database shows", "all", site.check().await?);
    if report.violations() > before {
        report.keep(&site.keep());
    }
    Ok(())
}

fn define(site: &Site) -> Result<(), Trouble> {
    // One that is limited takes long enough for the next to come meanwhile.
    for (action, script) in [
        ("free", "true"),
        ("held", "true"),
        ("limited", "sleep 0.1"),
        ("rated", "true"),
    ] {
        let text = format!("ref: chaos.{action}\nruntime: shell\nscript: \"{script}\"\n");
        site.pack_file(&format!("chaos/actions/{action}.yaml"), &text)?;
    }
    for (rule, action) in RULES {
        let text = format!("ref: chaos.{rule}\ntrigger: chaos.happened\naction: chaos.{action}\n");
        site.pack_file(&format!("chaos/rules/{rule}.yaml"), &text)?;
    }
    site.pack_file("chaos/triggers/happened.yaml", "ref: chaos.happened\n")?;
    site.pack_file("chaos/pack.yaml", "ref: chaos\nversion: 1.0.0\n")
}

async fn attack(site: &Site, seed: u64, kills: u32, report: &mut Report) -> Result<(), Trouble> {
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
    let limit = u32::try_from(LIMIT)?;
    let rate = Terms::RateLimit {
        rate: RATE.parse()?,
        burst: 1,
    };
    for (scope, terms) in [
        (PAUSED, Terms::Pause),
        (LIMITED, Terms::Concurrency { limit }),
        (RATED, rate),
    ] {
        let kind = terms.kind();
        controller.set(scope, terms).await?;
        in_force(&engine.api, scope, kind).await?;
    }

    let load = Load::start(engine.api.clone());
    let mut back = Vec::new();
    for kill in 0..kills {
        mosquitto.kill().await?;
        sleep(Duration::from_millis(rng.random_range(0..AWAY_MS))).await;
        mosquitto = Mosquitto::start(site.path(), port).await?;
        let began = Instant::now();
        // Who hears of this one has connected and subscribed again.
        let scope = format!("task:round_{kill}");
        controller.set(&scope, Terms::Pause).await?;
        in_force(&engine.api, &scope, ConstraintType::Pause).await?;
        back.push(began.elapsed());
    }
    let Accepted { requests, events } = load.stop().await?;
    judge_the_pause(&engine.api, report).await?;
    judge_the_limit(&engine.api, report).await?;
    judge_the_rate(&engine.api, report).await?;

    for scope in [PAUSED, LIMITED, RATED] {
        controller.clear(scope).await?;
    }
    let open = ended(&engine.api).await?;
    let accepted = requests + RULES.len() * events.len();
    report.promise("R3", "accepted executions without an end", accepted, open);
    judge_the_rules(&engine.api, &events, report).await?;
    let longest = back.iter().max().copied().unwrap_or_default();
    let kills = format!("longest way back of {kills}, from the broker's start");
    let shown = format!("{} ms", longest.as_millis());
    let bound = format!("{} ms", BACK.as_millis());
    report.row("R3", &kills, shown, bound, longest <= BACK);
    engine.stop().await?;
    mosquitto.kill().await
}

/// Nothing in its scope has started, and there was something that might have.
async fn judge_the_pause(api: &Api, report: &mut Report) -> Result<(), Trouble> {
    let held = api.all("/executions?action=chaos.held").await?;
    let started: Vec<String> = held
        .iter()
        .filter(|execution| execution["status"] != "requested")
        .map(Value::to_string)
        .collect();
    let count = held.len();
    report.promise("R3", "starts in the scope of the pause", count, started);
    report.row(
        "R3",
        "executions that the pause held",
        count,
        "> 0",
        count > 0,
    );
    Ok(())
}

/// So many have run at once as may, and no more. Of what has not ended the list does not say when it will.
async fn judge_the_limit(api: &Api, report: &mut Report) -> Result<(), Trouble> {
    let mut changes: Vec<(Timestamp, bool)> = Vec::new();
    for execution in api
        .all("/executions?action=chaos.limited&status=completed")
        .await?
    {
        changes.push((instant(&execution, "scheduled_at")?, true));
        changes.push((instant(&execution, "ended_at")?, false));
    }
    // What ends at an instant makes room for what starts at it.
    changes.sort_unstable();
    let (mut at_once, mut most) = (0_usize, 0);
    for (_, is_start) in &changes {
        at_once = match is_start {
            true => at_once + 1,
            false => at_once.saturating_sub(1),
        };
        most = most.max(at_once);
    }
    let what = format!("most at once of {} below a limit", changes.len() / 2);
    report.row("R3", &what, most, LIMIT, most == LIMIT);
    Ok(())
}

/// No start came sooner than the rate allows, and some would have.
async fn judge_the_rate(api: &Api, report: &mut Report) -> Result<(), Trouble> {
    let rated = api.all("/executions?action=chaos.rated").await?;
    let started = rated
        .iter()
        .filter(|execution| execution["status"] != "requested");
    let starts: Result<Vec<Timestamp>, Trouble> = started
        .map(|execution| instant(execution, "scheduled_at"))
        .collect();
    let mut starts = starts?;
    starts.sort_unstable();
    let pairs = starts.windows(2);
    let closest = pairs.map(|pair| pair[1].since(pair[0])).min();
    let what = format!("closest two of {} starts at {RATE}", starts.len());
    let closest = closest.unwrap_or_default();
    let shown = format!("{} ms", closest.as_millis());
    let bound = format!("{} ms", APART.as_millis());
    report.row("R3", &what, shown, bound, closest >= APART);
    let held = rated.len() - starts.len();
    report.row("R3", "executions that the rate held", held, "> 0", held > 0);
    Ok(())
}

/// Every event has one enforcement of each rule, and that has an execution of its own.
async fn judge_the_rules(api: &Api, events: &[String], report: &mut Report) -> Result<(), Trouble> {
    let enforcements = api.all("/enforcements").await?;
    let mut of: HashMap<(&str, &str), Vec<&Value>> = HashMap::new();
    for enforcement in &enforcements {
        let key = (text(enforcement, "event"), text(enforcement, "rule"));
        of.entry(key).or_default().push(enforcement);
    }
    let mut executions = HashSet::new();
    let mut broken = Vec::new();
    for event in events {
        for (rule, _) in RULES {
            let rule = format!("chaos.{rule}");
            let found = of.get(&(event.as_str(), rule.as_str()));
            let found = found.map_or(&[][..], Vec::as_slice);
            let is_once = match found {
                [one] => {
                    !text(one, "execution").is_empty() && executions.insert(text(one, "execution"))
                }
                _ => false,
            };
            if !is_once {
                broken.push(format!("{event} has {found:?} of {rule}"));
            }
        }
    }
    let (what, count) = ("not one enforcement per rule and event", events.len());
    report.promise("R3", what, format!("{count} events"), broken);
    report.row("R3", "events", count, "> 0", count > 0);
    Ok(())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn instant(execution: &Value, field: &str) -> Result<Timestamp, Trouble> {
    let at = text(execution, field).parse();
    at.map_err(|error| format!("{field} of {execution}: {error}").into())
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

    async fn set(&self, scope: &str, terms: Terms) -> Result<(), Trouble> {
        let scope: Scope = scope.parse()?;
        let constraint = Constraint {
            id: Constraint::default_id(&scope, terms.kind()),
            scope,
            terms,
            expires_at: None,
            reason: None,
            owner: None,
            via: Via::Mqtt,
            set_at: Timestamp::default(),
        };
        Ok(controller::publish(&self.broker, CLIENT, &self.topics, &constraint).await?)
    }

    async fn clear(&self, scope: &str) -> Result<(), Trouble> {
        let scope: Scope = scope.parse()?;
        controller::clear(&self.broker, CLIENT, &self.topics, &scope, None).await?;
        Ok(())
    }
}

/// Returns once the engine says that a constraint on a scope is in force.
async fn in_force(api: &Api, scope: &str, kind: ConstraintType) -> Result<(), Trouble> {
    let path = format!("/constraints/{scope}/{}", kind.as_str());
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

/// What the engine has acknowledged.
#[derive(Default)]
struct Accepted {
    /// Requests of executions.
    requests: usize,
    /// The ids of events.
    events: Vec<String>,
}

/// Posts executions of every action and an event, one after another, until it is stopped.
struct Load {
    stopped: Arc<AtomicBool>,
    client: tokio::task::JoinHandle<Result<Accepted, String>>,
}

impl Load {
    fn start(api: Api) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        let client = tokio::spawn(async move {
            let mut accepted = Accepted::default();
            while !stop.load(Ordering::Relaxed) {
                for action in ["free", "held", "limited", "rated"] {
                    let body = json!({ "action": format!("chaos.{action}") });
                    let answer = api.must(Method::POST, "/executions", Some(&body)).await;
                    answer.map_err(|error| error.to_string())?;
                    accepted.requests += 1;
                }
                let body = json!({ "trigger": "chaos.happened", "payload": {} });
                let answer = api.must(Method::POST, "/events", Some(&body)).await;
                let answer = answer.map_err(|error| error.to_string())?;
                accepted.events.push(text(&answer, "event").to_owned());
                sleep(LOOK).await;
            }
            Ok(accepted)
        });
        Self { stopped, client }
    }

    /// What was accepted in all.
    async fn stop(self) -> Result<Accepted, Trouble> {
        self.stopped.store(true, Ordering::Relaxed);
        Ok(self.client.await??)
    }
}

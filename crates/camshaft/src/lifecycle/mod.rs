//! `camshaft up` from the first line to the last: configuration, packs, lock, listener, system, readiness;
//! then signals: the first one drains, the second one kills.
//!
//! The API listens before the system starts, so that the address is known to every child process, but
//! answers only once the system is up. Whoever waits for readiness reads the line that says so on
//! standard error, or asks `/readyz`.

pub(crate) mod folders;
mod guest;
mod log;
mod trial;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::notice::Subscriber;
use camshaft_model::{ErrorCode, Timestamp, crash, duration};
use camshaft_server::{Api, Counted, Feed, Info, Metrics, NamedToken, ServerConfig, WorkerInfo};
use camshaft_worker::runtime::native::NativeRegistry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::command::up::{Print, UpOptions};
use crate::config::{self, Config, Overrides};
use crate::connector::{self, Mqtt};
use crate::data_dir::DataDir;
use crate::exit::CliError;
use crate::pack::Program;
use crate::pack::service::Packs;
use crate::render::live::{Console, LineStyle};
use crate::render::{Screen, catalogue};
use crate::wire::{Part, Parts, System, invalid_configuration};

pub use guest::guest;

use folders::Folders;
use trial::Trial;

/// The variable that makes a process kill itself at a named point (`camshaft_model::crash`), for tests:
/// `point` or `point:n` for the n-th time it is reached.
const CRASH_AT: &str = "CAMSHAFT_CRASH_AT";

/// Runs the engine in this process until it is told to stop.
///
/// # Errors
/// The configuration is wrong, the data directory is in use, or the address is taken.
pub fn up(options: UpOptions) -> Result<ExitCode, CliError> {
    let UpOptions {
        packs,
        data_dir,
        listen,
        slots,
        drain,
        config: file,
        broker,
        run_for,
        print,
    } = options;
    let flags = Overrides {
        data_dir,
        packs_dir: None,
        listen,
        slots,
        drain,
        broker,
    };
    let config =
        config::load(file.as_deref(), std::env::vars_os(), flags).map_err(invalid_configuration)?;
    log::start(&config.log);
    arm_crash_point();
    camshaft_worker::process::keep_descriptors().map_err(|error| {
        CliError::new(
            ErrorCode::Internal,
            format!("inherited descriptors cannot be kept from children: {error}"),
        )
    })?;
    let folders = if packs.is_empty() {
        config.packs_dir.iter().cloned().collect()
    } else {
        packs
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CliError::new(
                ErrorCode::Internal,
                format!("the async runtime does not start: {error}"),
            )
        })?;
    let outcome = runtime.block_on(serve(config, folders, run_for, print));
    runtime.shutdown_background();
    outcome
}

async fn serve(
    config: Config,
    folders: Vec<PathBuf>,
    run_for: Option<Duration>,
    print: Print,
) -> Result<ExitCode, CliError> {
    let screen = Screen::standard();
    let tokens = config
        .read_tokens(|name| std::env::var(name).ok())
        .map_err(invalid_configuration)?;
    let folders = Folders::find(folders)?;
    let data = DataDir::hold(&config.data_dir)?;
    let (listener, address) = listen(config.api.listen).await?;
    let url = format!("http://{address}");
    announce(&data, &url)?;
    let feed = Arc::new(Feed::new());
    let console = (print == Print::Plain)
        .then(|| console(screen.style.colour))
        .transpose()?
        .map(Arc::new);
    let mut subscribers: Vec<Arc<dyn Subscriber>> = vec![feed.clone()];
    let counted = counted(&config, &mut subscribers);
    if let Some(console) = &console {
        subscribers.push(console.clone());
    }
    let trial = run_for.map(|_| Arc::new(Trial::default()));
    if let Some(trial) = &trial {
        subscribers.push(trial.clone());
    }
    let parts = Parts {
        config,
        data,
        native: NativeRegistry::new(),
        program: Program::default(),
        without_functions: false,
        api_url: url.clone(),
        subscribers,
        apart: Vec::new(),
        on_link: connector::tell(screen.clone()),
        part: Part::Everything,
    };
    let mut signals = Signals::listen()?;
    // From here on attempts start: what can fail before any of them comes before this.
    let system = System::start(parts).await?;
    let started_at = system.clock().now();
    let packs = Packs::new(
        system.engine().clone(),
        system.clock().clone(),
        system.data().path().to_owned(),
    );
    folders.apply(&packs, &screen).await;
    let router = camshaft_server::router(api(
        &system,
        packs.clone(),
        feed,
        counted,
        started_at,
        tokens,
    ));
    let (stop_server, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(camshaft_server::serve(listener, router, async move {
        let _ = stopped.await;
    }));
    if let Some(address) = system.mqtt().and_then(|mqtt| mqtt.embedded_address()) {
        let address = address.to_string();
        screen.note(&catalogue::text(
            "engine.broker.listening",
            &[("address", &address)],
        ));
    }
    let watches = folders.keep_applied(&packs, &screen);
    screen.note(&format!(
        "Camshaft is ready at {url} (data in {})",
        system.data().path().display()
    ));

    let deadline = run_for.map(|after| Instant::now() + after);
    signals.wait(deadline).await;
    system.data().unannounce();
    for watch in watches {
        watch.abort();
    }
    let grace = drain(&system, &mut signals, &screen).await;
    let _ = stop_server.send(());
    let _ = server.await;
    let engine = system.engine().clone();
    system.stop(grace).await;
    if let Some(console) = console {
        console.finish();
    }
    match engine.unfinished() {
        0 => {}
        1 => screen.note("1 execution has not ended; it is taken up at the next start"),
        count => screen.note(&format!(
            "{count} executions have not ended; they are taken up at the next start"
        )),
    }
    Ok(trial.map_or(ExitCode::SUCCESS, |trial| trial.exit(&screen)))
}

/// Tells the command line where the API will answer. The announcement goes with the hold on the data
/// directory.
fn announce(data: &DataDir, url: &str) -> Result<(), CliError> {
    data.announce(url).map_err(|error| {
        CliError::new(
            ErrorCode::Unavailable,
            format!("the address cannot be announced: {error}"),
        )
    })
}

async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let failed = |error: std::io::Error| {
        CliError::new(
            ErrorCode::InvalidConfiguration,
            format!("cannot listen on {at}: {error}"),
        )
        .hint("choose another address with --listen; port 0 takes any that is free")
    };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// What adds up metrics, as one more subscriber, if the configuration wants any.
fn counted(config: &Config, subscribers: &mut Vec<Arc<dyn Subscriber>>) -> Option<Arc<Counted>> {
    let metrics = &config.metrics;
    let counted = metrics
        .enabled
        .then(|| Arc::new(Counted::new(metrics.actions)))?;
    subscribers.push(counted.clone());
    Some(counted)
}

fn api(
    system: &System,
    packs: Arc<Packs>,
    feed: Arc<Feed>,
    counted: Option<Arc<Counted>>,
    started_at: Timestamp,
    named_tokens: Vec<NamedToken>,
) -> Api {
    let config = system.config();
    let capacity = system.worker().capacity();
    let dropped = system.mqtt().and_then(Mqtt::dropped_by_embedded);
    let metrics =
        counted.map(|counted| Metrics::new(counted, system.bus().clone()).of_broker(dropped));
    Api::new(
        system.engine().clone(),
        packs,
        feed,
        system.bus().clone(),
        metrics,
        ServerConfig {
            listen: config.api.listen,
            max_body_bytes: usize::try_from(config.api.max_body_bytes).unwrap_or(usize::MAX),
            token: system.data().token().to_owned(),
            named_tokens,
            logs_dir: system.data().path().join("logs"),
            info: Info {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                data_dir: system.data().path().to_owned(),
                started_at,
                worker: WorkerInfo {
                    id: capacity.worker,
                    slots: capacity.slots,
                    runtimes: capacity.runtimes,
                },
            },
        },
    )
}

/// Starts nothing more and waits for what runs: until all has ended, the time is over, or a second
/// signal comes. Returns how long what still runs gets between TERM and KILL.
async fn drain(system: &System, signals: &mut Signals, screen: &Screen) -> Duration {
    let engine = system.engine();
    engine.drain();
    if engine.running() == 0 {
        return Duration::ZERO;
    }
    let limit = system.config().engine.drain;
    let running = engine.running();
    screen.note(&format!(
        "Draining: {running} running, at most {}; once more to stop at once",
        duration::display(limit)
    ));
    let deadline = Instant::now() + limit;
    tokio::select! {
        () = engine.idle() => Duration::ZERO,
        () = signals.wait(Some(deadline)) => {
            if Instant::now() < deadline { Duration::ZERO } else { system.config().worker.grace }
        }
    }
}

fn console(colour: bool) -> Result<Console, CliError> {
    let style = LineStyle {
        colour,
        zone: jiff::tz::TimeZone::system(),
    };
    Console::new(Box::new(std::io::stdout()), style).map_err(|error| {
        CliError::new(
            ErrorCode::Internal,
            format!("the console does not start: {error}"),
        )
    })
}

fn arm_crash_point() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static AT: OnceLock<(String, AtomicU32)> = OnceLock::new();
    let Ok(text) = std::env::var(CRASH_AT) else {
        return;
    };
    let (name, nth) = match text.split_once(':') {
        Some((name, nth)) => (name.to_owned(), nth.parse().unwrap_or(1)),
        None => (text, 1),
    };
    let _ = AT.set((name, AtomicU32::new(nth)));
    crash::install(|point| {
        if let Some((name, left)) = AT.get()
            && name == point
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            // As if from outside: no destructor runs, nothing is flushed.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    });
}

/// The signals that end the engine.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                CliError::new(
                    ErrorCode::Internal,
                    format!("signals cannot be heard: {error}"),
                )
            })
        };
        // Past a limit on the size of files this signal ends a process that does not hear it. A write that
        // fails is enough: it is told of, and tried again.
        drop(on(SignalKind::from_raw(libc::SIGXFSZ))?);
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Returns at the next signal, or at the deadline if there is one.
    async fn wait(&mut self, deadline: Option<Instant>) {
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = timer => {}
        }
    }
}

//! An engine for the time of one command, where none runs on the data directory.
//!
//! It is the same engine with the same API, on a port of its own and announced like any other, so that
//! the command that brought it along, and others meanwhile, use it as they use `camshaft up`. It has no
//! sensors, and of what waits in the database it starts only what is asked of it: the rest is for the
//! next `up`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use camshaft_model::ErrorCode;
use camshaft_model::notice::Subscriber;
use camshaft_server::{Feed, NamedToken};
use camshaft_worker::runtime::native::NativeRegistry;
use tokio::sync::oneshot;

use super::folders::pack_error;
use super::{announce, api, arm_crash_point, counted, listen};
use crate::command::local::{Guest, GuestOptions};
use crate::config::{self, Config, Overrides};
use crate::connector;
use crate::data_dir::DataDir;
use crate::exit::CliError;
use crate::pack::Program;
use crate::pack::service::Packs;
use crate::render::Screen;
use crate::wire::{Part, Parts, System, invalid_configuration};

/// Brings an engine up on a thread of its own; it stops when the answer is dropped.
///
/// # Errors
/// The configuration is wrong, the data directory is in use, or a pack is not valid.
pub fn guest(options: GuestOptions) -> Result<Guest, CliError> {
    let (ready, is_ready) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let failed = |error: std::io::Error| {
        CliError::new(
            ErrorCode::Internal,
            format!("no engine of its own: {error}"),
        )
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let thread = std::thread::Builder::new()
        .name("guest".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(host(options, &ready, stopped)) {
                let _ = ready.send(Err(error));
            }
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    match is_ready.recv() {
        Ok(Ok(())) => Ok(Guest::new(move || {
            let _ = stop.send(());
            let _ = thread.join();
        })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(CliError::new(
            ErrorCode::Internal,
            "the engine of this command did not start",
        )),
    }
}

async fn host(
    options: GuestOptions,
    ready: &mpsc::Sender<Result<(), CliError>>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), CliError> {
    let (config, tokens) = configuration(&options)?;
    arm_crash_point();
    camshaft_worker::process::keep_descriptors().map_err(|error| {
        CliError::new(
            ErrorCode::Internal,
            format!("inherited descriptors cannot be kept from children: {error}"),
        )
    })?;
    let data = DataDir::hold(&config.data_dir)?;
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (listener, address) = listen(loopback).await?;
    let url = format!("http://{address}");
    announce(&data, &url)?;
    let feed = Arc::new(Feed::new());
    let mut subscribers: Vec<Arc<dyn Subscriber>> = vec![feed.clone()];
    let counted = counted(&config, &mut subscribers);
    let mut folders: Vec<_> = config.packs_dir.iter().cloned().collect();
    if !options.packs.is_empty() {
        folders.clone_from(&options.packs);
    }
    let system = System::start(Parts {
        config,
        data,
        native: NativeRegistry::new(),
        program: Program::default(),
        without_functions: false,
        api_url: url.clone(),
        subscribers,
        apart: Vec::new(),
        on_link: connector::tell(Screen::standard()),
        part: Part::OnlyWhatIsAsked,
    })
    .await?;
    let packs = Packs::new(
        system.engine().clone(),
        system.clock().clone(),
        system.data().path().to_owned(),
    );
    let applied = async {
        for folder in &folders {
            let applied = packs.apply_folder(folder).await;
            applied.map_err(|error| pack_error(folder, error))?;
        }
        Ok(())
    };
    if let Err(error) = applied.await {
        system.stop(Duration::ZERO).await;
        return Err(error);
    }
    let started_at = system.clock().now();
    let router = camshaft_server::router(api(&system, packs, feed, counted, started_at, tokens));
    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(camshaft_server::serve(listener, router, async move {
        let _ = server_stopped.await;
    }));
    let _ = ready.send(Ok(()));
    let _ = stopped.await;
    system.data().unannounce();
    let grace = system.config().worker.grace;
    let _ = stop_server.send(());
    let _ = server.await;
    system.stop(grace).await;
    Ok(())
}

fn configuration(options: &GuestOptions) -> Result<(Config, Vec<NamedToken>), CliError> {
    let flags = Overrides {
        data_dir: Some(options.data_dir.clone()),
        ..Overrides::default()
    };
    let config = config::load(None, std::env::vars_os(), flags).map_err(invalid_configuration)?;
    let tokens = config
        .read_tokens(|name| std::env::var(name).ok())
        .map_err(invalid_configuration)?;
    Ok((config, tokens))
}

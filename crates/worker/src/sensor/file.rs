//! `core.file`: files that appear, change or vanish.
//!
//! What the kernel tells is a hint that something about a path may have changed. A path that was
//! hinted at is looked at once it has been left alone for the settle time, and the difference between
//! what is there and what was known is the event. So a burst of writes is one event, a lost hint is
//! found by the next scan, and it does not matter in which order hints come.

mod known;
mod parameters;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Watch;
use known::{Change, Known};
use parameters::FileParameters;

/// How often a folder that is not there, or cannot be watched, is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Behind the hints: file systems of other machines give none.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// Hints beyond this are replaced by one scan.
const MAX_HINTS: usize = 4_096;

pub(super) async fn run(watch: &Watch) {
    let parameters = match FileParameters::read(&watch.spec.parameters) {
        Ok(parameters) => parameters,
        Err(why) => {
            watch.say(Some(why));
            return watch.stop.cancelled().await;
        }
    };
    let mut known = Known::new(parameters);
    // With `scan: false` what is there at the first look is known and not told.
    let mut told = known.parameters.scan;
    loop {
        match Hints::of(&known.parameters) {
            Ok(mut hints) => {
                watch.say(None);
                if !told {
                    known.learn();
                }
                let why = follow(watch, &mut known, &mut hints).await;
                watch.say(why);
            }
            Err(why) => watch.say(Some(why)),
        }
        if !watch.pause(RETRY).await {
            return;
        }
        // What appears in a folder that was not there before is new.
        told = true;
    }
}

/// What the kernel tells about the watched folder.
struct Hints {
    paths: mpsc::Receiver<PathBuf>,
    overflowed: Arc<AtomicBool>,
    _watcher: RecommendedWatcher,
}

impl Hints {
    fn of(parameters: &FileParameters) -> Result<Self, String> {
        let folder = parameters.folder()?;
        let (sender, paths) = mpsc::channel(MAX_HINTS);
        let overflowed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&overflowed);
        let hint = move |event: notify::Result<notify::Event>| {
            let lost = match event {
                Ok(event) if event.kind.is_access() => false,
                Ok(event) => {
                    event.need_rescan()
                        | event
                            .paths
                            .into_iter()
                            .any(|path| sender.try_send(path).is_err())
                }
                Err(_) => true,
            };
            if lost {
                flag.store(true, Ordering::Relaxed);
            }
        };
        let unwatched =
            |error: notify::Error| format!("{} cannot be watched: {error}", folder.display());
        let mut watcher = notify::recommended_watcher(hint).map_err(unwatched)?;
        let mode = if parameters.recursive {
            RecursiveMode::Recursive
        } else {
            RecursiveMode::NonRecursive
        };
        watcher.watch(&folder, mode).map_err(unwatched)?;
        Ok(Self {
            paths,
            overflowed,
            _watcher: watcher,
        })
    }
}

/// Follows a folder until it is gone (says so) or the sensor is stopped.
async fn follow(watch: &Watch, known: &mut Known, hints: &mut Hints) -> Option<String> {
    let mut next_scan = Instant::now();
    loop {
        let now = Instant::now();
        if hints.overflowed.swap(false, Ordering::Relaxed) || now >= next_scan {
            next_scan = now + SCAN_INTERVAL;
            if let Some(problem) = known.scan(now) {
                watch.say(Some(problem));
            }
        }
        for change in known.settled(now) {
            tell(watch, known, change).await;
        }
        let wake = known.next_look().map_or(next_scan, |at| at.min(next_scan));
        tokio::select! {
            () = watch.stop.cancelled() => return None,
            () = tokio::time::sleep_until(wake) => {}
            hint = hints.paths.recv() => {
                let mut hint = hint;
                while let Some(path) = hint {
                    known.hint(path, Instant::now());
                    hint = hints.paths.try_recv().ok();
                }
            }
        }
        if let Err(gone) = known.parameters.folder() {
            for change in known.vanish() {
                tell(watch, known, change).await;
            }
            return Some(gone);
        }
    }
}

async fn tell(watch: &Watch, known: &Known, change: Change) {
    if known.parameters.events.contains(&change.kind) {
        let (payload, key) = known.event(&change);
        watch.emit(payload, Some(key), change.modified_at()).await;
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

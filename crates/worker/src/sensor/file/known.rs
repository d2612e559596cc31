//! What is known of the watched files, and what the next look makes of it. No clock and no waiting
//! in here: the instant is a parameter.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use camshaft_model::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::parameters::FileParameters;
use super::text;

/// More files than this are not followed; the health of the sensor says so.
const MAX_FILES: usize = 100_000;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChangeKind {
    Created,
    Modified,
    Deleted,
}

impl ChangeKind {
    pub(super) const ALL: [Self; 3] = [Self::Created, Self::Modified, Self::Deleted];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified_micros: i64,
    size: u64,
    /// When the file was made, where the file system knows.
    born_micros: Option<i64>,
}

fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified_micros: metadata.modified().map_or(0, micros),
            size: metadata.len(),
            born_micros: metadata.created().ok().map(micros),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path)
            .ok()
            .filter(Metadata::is_file)
            .map(|m| Self::of(&m))
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    path: PathBuf,
    pub(super) kind: ChangeKind,
    stamp: Stamp,
}

impl Change {
    /// When it happened, as far as the file tells.
    pub(super) fn modified_at(&self) -> Option<Timestamp> {
        (self.kind != ChangeKind::Deleted)
            .then(|| Timestamp::from_micros(self.stamp.modified_micros))
    }
}

/// A path that was hinted at: its state then, and when to look whether it has stayed so.
struct Pending {
    stamp: Option<Stamp>,
    look_at: Instant,
}

/// What is known.
pub(super) struct Known {
    pub(super) parameters: FileParameters,
    files: HashMap<PathBuf, Stamp>,
    pending: HashMap<PathBuf, Pending>,
}

impl Known {
    pub(super) fn new(parameters: FileParameters) -> Self {
        Self {
            parameters,
            files: HashMap::new(),
            pending: HashMap::new(),
        }
    }

    /// Takes what is there as known, without telling it.
    pub(super) fn learn(&mut self) {
        let (found, _) = self.found();
        self.files = found.into_iter().collect();
    }

    /// Compares all that is there with what is known. Says so if it is too much.
    pub(super) fn scan(&mut self, now: Instant) -> Option<String> {
        let (found, complete) = self.found();
        let there: HashMap<PathBuf, Stamp> = found.into_iter().collect();
        let differs: Vec<PathBuf> = there
            .iter()
            .filter(|(path, stamp)| self.files.get(*path) != Some(stamp))
            .map(|(path, _)| path.clone())
            .chain(
                self.files
                    .keys()
                    .filter(|path| !there.contains_key(*path))
                    .cloned(),
            )
            .collect();
        differs.into_iter().for_each(|path| self.hint(path, now));
        (!complete).then(|| {
            format!(
                "{} holds more than {MAX_FILES} files; only these are followed",
                self.parameters.path.display()
            )
        })
    }

    /// Every watched file, and whether that is all of them.
    fn found(&self) -> (Vec<(PathBuf, Stamp)>, bool) {
        let mut found = Vec::new();
        if self.parameters.path.is_file() {
            found.extend(
                Stamp::at(&self.parameters.path).map(|stamp| (self.parameters.path.clone(), stamp)),
            );
            return (found, true);
        }
        let mut folders = vec![self.parameters.path.clone()];
        while let Some(folder) = folders.pop() {
            // A folder that vanishes or cannot be read while it is scanned has nothing to tell.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                // Links to folders are not entered: they may lead in a circle.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if self.parameters.recursive {
                        folders.push(path);
                    }
                } else if self.parameters.wants(&path)
                    && let Some(stamp) = Stamp::at(&path)
                {
                    if found.len() == MAX_FILES {
                        return (found, false);
                    }
                    found.push((path, stamp));
                }
            }
        }
        (found, true)
    }

    /// Something about a path may have changed.
    pub(super) fn hint(&mut self, path: PathBuf, now: Instant) {
        // A folder that came with files in it may have got them before it was watched.
        if self.parameters.recursive && path.is_dir() {
            let inside = fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            inside
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|path| self.hint(path, now));
            return;
        }
        if !self.parameters.wants(&path) || self.files.len() + self.pending.len() > 2 * MAX_FILES {
            return;
        }
        let pending = Pending {
            stamp: Stamp::at(&path),
            look_at: now + self.parameters.settle,
        };
        self.pending.insert(path, pending);
    }

    /// When there is something to look at again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.look_at).min()
    }

    /// The differences on paths that have been left alone for the settle time.
    pub(super) fn settled(&mut self, now: Instant) -> Vec<Change> {
        let due: Vec<PathBuf> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.look_at <= now)
            .map(|(path, _)| path.clone())
            .collect();
        let mut changes = Vec::new();
        for path in due {
            let stamp = Stamp::at(&path);
            let Some(pending) = self.pending.get_mut(&path) else {
                continue;
            };
            if pending.stamp == stamp {
                self.pending.remove(&path);
                changes.extend(self.difference(path, stamp));
            } else {
                *pending = Pending {
                    stamp,
                    look_at: now + self.parameters.settle,
                };
            }
        }
        changes.sort_by(|a, b| {
            (a.stamp.modified_micros, &a.path).cmp(&(b.stamp.modified_micros, &b.path))
        });
        changes
    }

    /// Everything that was known is gone with its folder.
    pub(super) fn vanish(&mut self) -> Vec<Change> {
        self.pending.clear();
        let gone = std::mem::take(&mut self.files);
        let mut changes: Vec<_> = gone
            .into_iter()
            .map(|(path, stamp)| Change {
                path,
                kind: ChangeKind::Deleted,
                stamp,
            })
            .collect();
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }

    fn difference(&mut self, path: PathBuf, stamp: Option<Stamp>) -> Option<Change> {
        let before = self.files.get(&path).copied();
        let (kind, stamp) = match (before, stamp) {
            (None, Some(stamp)) => (ChangeKind::Created, stamp),
            (Some(before), Some(stamp)) if before != stamp => (ChangeKind::Modified, stamp),
            (Some(before), None) => (ChangeKind::Deleted, before),
            _ => return None,
        };
        if kind == ChangeKind::Deleted {
            self.files.remove(&path);
        } else {
            self.files.insert(path.clone(), stamp);
        }
        Some(Change { path, kind, stamp })
    }

    /// The payload and the deduplication key of a change.
    ///
    /// A restart finds every file anew and tells it as created; the key makes the store drop what
    /// was told before. Where modifications are told as well, a state of a file has one key however
    /// it is told. Where they are not, the birth of the file is what counts, so that a file that has
    /// grown since is not told again.
    pub(super) fn event(&self, change: &Change) -> (Value, String) {
        let Change { path, kind, stamp } = change;
        let state = format!("{}:{}", stamp.modified_micros, stamp.size);
        let key = match (kind, stamp.born_micros) {
            (ChangeKind::Deleted, _) => format!("{}:deleted:{state}", text(path)),
            (ChangeKind::Created, Some(born))
                if !self.parameters.events.contains(&ChangeKind::Modified) =>
            {
                format!("{}:born:{born}", text(path))
            }
            _ => format!("{}:{state}", text(path)),
        };
        let name = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let payload = json!({
            "path": text(path),
            "name": name,
            "event": kind.as_str(),
            "size": stamp.size,
            "modified_at": Timestamp::from_micros(stamp.modified_micros),
        });
        (payload, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn known(dir: &Path, extra: &Value) -> Known {
        let mut parameters = json!({"path": dir, "settle": "1s"})
            .as_object()
            .unwrap()
            .clone();
        parameters.extend(extra.as_object().unwrap().clone());
        Known::new(FileParameters::read(&parameters).unwrap())
    }

    #[tokio::test]
    async fn a_file_is_told_when_it_has_stopped_changing() {
        let dir = tempfile::tempdir().unwrap();
        let (file, start, secs) = (dir.path().join("a"), Instant::now(), Duration::from_secs);
        let mut known = known(dir.path(), &json!({}));
        fs::write(&file, "1").unwrap();
        known.hint(file.clone(), start);
        assert_eq!(known.settled(start), []);
        fs::write(&file, "22").unwrap();
        assert_eq!(
            known.settled(start + secs(1)),
            [],
            "it has changed since the hint"
        );
        let told = known.settled(start + secs(2));
        assert_eq!(
            (told.len(), told[0].kind, told[0].stamp.size),
            (1, ChangeKind::Created, 2)
        );
        fs::remove_file(&file).unwrap();
        known.hint(file, start + secs(3));
        assert_eq!(known.settled(start + secs(4))[0].kind, ChangeKind::Deleted);
        assert_eq!(known.next_look(), None);
    }

    #[tokio::test]
    async fn a_restart_gives_the_keys_that_were_given_before() {
        let dir = tempfile::tempdir().unwrap();
        let (file, now) = (dir.path().join("a"), Instant::now());
        for events in [json!(["created"]), json!(["created", "modified"])] {
            fs::write(&file, "1").unwrap();
            let tell = |known: &mut Known| -> Vec<String> {
                known.scan(now);
                let changes = known.settled(now + Duration::from_secs(1));
                let told = changes
                    .iter()
                    .filter(|c| known.parameters.events.contains(&c.kind));
                told.map(|change| known.event(change).1).collect()
            };
            let mut first = known(dir.path(), &json!({"events": events}));
            let mut keys = tell(&mut first);
            fs::write(&file, "22").unwrap();
            keys.extend(tell(&mut first));
            let again = tell(&mut known(dir.path(), &json!({"events": events})));
            assert!(
                again.len() == 1 && keys.contains(&again[0]),
                "{events}: {again:?} in {keys:?}"
            );
        }
    }
}

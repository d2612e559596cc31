//! Large values: files beside the database, named by what is in them.
//!
//! A parameter object, a result, a list of items, variables or an answer whose JSON is longer than
//! [`INLINE_LIMIT`] is written to `artifacts/<first two hex digits>/<sha256>.json`, and its column
//! holds the 32 bytes of the hash as a BLOB; JSON itself is always TEXT, so neither can be taken for
//! the other. The file is durable before the transaction that names it is committed, so a crash in
//! between leaves a file that nobody names, never a name without a file. The same content is one
//! file. Nothing deletes files yet.
//!
//! Writing 8 MB takes longer than many commits, so it is done by threads of its own
//! (`sqlite/stage.rs`), while the writer goes on with what was submitted before. Reading checks the
//! hash.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft_model::port::store::Values;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// JSON text that is longer than this is kept in a file: 64 KiB.
pub(super) const INLINE_LIMIT: usize = 64 * 1024;
/// At most so many bytes of large values are read for one page of a list: 64 MiB.
const LIST_LIMIT: u64 = 64 << 20;
/// The key under which a list shows why a value is not there.
const UNREADABLE: &str = "unreadable";
/// The folder beside the database.
const FOLDER: &str = "artifacts";

/// Names a file by the SHA-256 of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference(pub(super) [u8; 32]);

impl Reference {
    /// The file, from the folder of the database.
    fn path(self) -> PathBuf {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            for digit in [byte >> 4, byte & 15] {
                hex.extend(char::from_digit(digit.into(), 16));
            }
        }
        Path::new(FOLDER)
            .join(hex.get(..2).unwrap_or_default())
            .join(hex + ".json")
    }
}

/// Why a large value is not there. Each names the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArtifactError {
    /// It may work again later.
    #[error("the artifact {} cannot be read: {why}", .path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    /// It was deleted.
    #[error(
        "the artifact {} is missing: put it back from a backup of the data directory",
        .path.display()
    )]
    Missing { path: PathBuf },
    /// It was changed.
    #[error(
        "the artifact {} is damaged: its content is not what its name says; put it back from a backup of the data directory",
        .path.display()
    )]
    Damaged { path: PathBuf },
}

/// The folder of large values, or none: then every value stays in its column.
#[derive(Debug, Clone, Default)]
pub(super) struct Artifacts(Option<Arc<Path>>);

impl Artifacts {
    /// Large values beside a database.
    pub(super) fn beside(database: &Path) -> io::Result<Self> {
        let home = match database.parent() {
            Some(home) if !home.as_os_str().is_empty() => home,
            _ => Path::new("."),
        };
        // What a process that was killed made and did not live to make durable.
        for folder in [home.join(FOLDER), home.to_owned()] {
            if folder.is_dir() {
                sync_folder(&folder)?;
            }
        }
        Ok(Self(Some(home.into())))
    }

    /// Whether there is a folder for large values.
    pub(super) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a value durably if its JSON is large. `scratch` names the file that is written first: no
    /// two calls at a time may have the same.
    pub(super) fn keep(
        &self,
        value: &impl Serialize,
        scratch: &str,
    ) -> io::Result<Option<Reference>> {
        let Some(home) = &self.0 else {
            return Ok(None);
        };
        let json = serde_json::to_vec(value)?;
        if json.len() <= INLINE_LIMIT {
            return Ok(None);
        }
        let reference = Reference(Sha256::digest(&json).into());
        let path = home.join(reference.path());
        let folder = path.parent().unwrap_or(home);
        let there = fs::metadata(&path).is_ok_and(|file| file.len() == json.len() as u64)
            && fs::read(&path)? == json;
        if !there {
            let root = home.join(FOLDER);
            make_folder(&root, home)?;
            make_folder(folder, &root)?;
            let scratch = root.join(scratch);
            let written = write(&scratch, &json).and_then(|()| fs::rename(&scratch, &path));
            if let Err(e) = written {
                // Not to fill a full disk with what nobody names; it would be overwritten anyway.
                let _ = fs::remove_file(&scratch);
                return Err(e);
            }
        }
        sync_folder(folder)?;
        Ok(Some(reference))
    }

    fn value(&self, reference: Reference) -> Result<Value, ArtifactError> {
        let json = self.text(reference)?;
        serde_json::from_slice(&json).map_err(|_| ArtifactError::Damaged {
            path: reference.path(),
        })
    }

    /// How many bytes there are behind a reference; 0 if there is no file.
    fn size(&self, reference: Reference) -> u64 {
        self.0
            .as_ref()
            .and_then(|home| fs::metadata(home.join(reference.path())).ok())
            .map_or(0, |file| file.len())
    }

    fn text(&self, reference: Reference) -> Result<Vec<u8>, ArtifactError> {
        let path = reference.path();
        let Some(home) = &self.0 else {
            return Err(ArtifactError::Missing { path });
        };
        match fs::read(home.join(&path)) {
            Ok(json) if Sha256::digest(&json)[..] == reference.0 => Ok(json),
            Ok(_) => Err(ArtifactError::Damaged { path }),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(ArtifactError::Missing { path }),
            Err(why) => Err(ArtifactError::Unreadable { path, why }),
        }
    }
}

/// How a read gets at large values.
pub(super) struct Source {
    artifacts: Artifacts,
    reads: Reads,
}

enum Reads {
    /// Every large value.
    All,
    /// So many bytes of them: what a list may still take.
    Some(Cell<u64>),
    /// None of them, nor any that is in its row.
    Nothing,
}

impl Source {
    /// For a read that decides something, or that asks for one thing: a value that is not there is
    /// an error.
    pub(super) fn whole(artifacts: &Artifacts) -> Self {
        Self {
            artifacts: artifacts.clone(),
            reads: Reads::All,
        }
    }

    /// For a read of values that the caller may do without.
    pub(super) fn of(artifacts: &Artifacts, values: Values) -> Self {
        Self {
            artifacts: artifacts.clone(),
            reads: match values {
                Values::Read => Reads::All,
                Values::LeaveOut => Reads::Nothing,
                Values::Bounded => Reads::Some(Cell::new(LIST_LIMIT)),
                Values::Named => Reads::Some(Cell::new(0)),
            },
        }
    }

    /// For a list that is looked at: a value that is not there is shown as an object that says so,
    /// and so are values past [`LIST_LIMIT`].
    pub(super) fn list(artifacts: &Artifacts) -> Self {
        Self::of(artifacts, Values::Bounded)
    }

    /// Whether this leaves all values out, also those that are in their rows.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.reads, Reads::Nothing)
    }

    /// How many bytes there are behind a reference; 0 if there is no file.
    pub(super) fn size(&self, reference: Reference) -> u64 {
        self.artifacts.size(reference)
    }

    /// The value behind a reference; `None` if this leaves values out.
    pub(super) fn value(&self, reference: Reference) -> Result<Option<Value>, ArtifactError> {
        let left = match &self.reads {
            Reads::All => return self.artifacts.value(reference).map(Some),
            Reads::Nothing => return Ok(None),
            Reads::Some(left) => left,
        };
        let shown = |why: String| json!({ UNREADABLE: why });
        let size = self.artifacts.size(reference);
        if size > left.get() {
            let path = reference.path();
            return Ok(Some(shown(format!(
                "the artifact {} is left out of this list: ask for the execution by itself",
                path.display(),
            ))));
        }
        left.set(left.get() - size);
        let value = self.artifacts.value(reference);
        Ok(Some(value.unwrap_or_else(|e| shown(e.to_string()))))
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_data()
}

fn make_folder(folder: &Path, parent: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether the JSON of a value may be longer than [`INLINE_LIMIT`]: never no where it is, and without
/// writing it.
pub(super) fn may_be_large(value: &Value) -> bool {
    spend(INLINE_LIMIT, value).is_none()
}

/// The same of an object.
pub(super) fn may_be_a_large_object(object: &Map<String, Value>) -> bool {
    spend_object(INLINE_LIMIT, object).is_none()
}

/// What is left of a budget of bytes after the JSON of a value and a comma, at most.
fn spend(budget: usize, value: &Value) -> Option<usize> {
    match value {
        Value::Null | Value::Bool(_) => budget.checked_sub("false,".len()),
        // The longest that there is: -1.7976931348623157e308
        Value::Number(_) => budget.checked_sub(25),
        Value::String(text) => spend_text(budget, text),
        Value::Array(values) => values
            .iter()
            .try_fold(budget.checked_sub("[],".len())?, spend),
        Value::Object(object) => spend_object(budget, object),
    }
}

fn spend_object(budget: usize, object: &Map<String, Value>) -> Option<usize> {
    object
        .iter()
        .try_fold(budget.checked_sub("{},".len())?, |budget, (key, value)| {
            spend(spend_text(budget, key)?, value)
        })
}

fn spend_text(budget: usize, text: &str) -> Option<usize> {
    let rest = budget.checked_sub(text.len() + "\"\",".len())?;
    // Each takes up to five bytes more: \u0000.
    let escaped = text
        .bytes()
        .filter(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))
        .count();
    rest.checked_sub(5 * escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[\\x00-\\x7f]{0,9}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_budget_covers_what_is_written(value in any_value()) {
            let length = value.to_string().len();
            let left = spend(INLINE_LIMIT, &value).unwrap();
            prop_assert!(INLINE_LIMIT - left >= length, "{value}");
        }
    }

    #[test]
    fn small_values_stay_and_large_ones_of_every_kind_are_seen() {
        for small in [
            json!(null),
            json!([]),
            json!("x".repeat(65_000)),
            json!(vec!["é\n"; 4_000]),
        ] {
            assert!(!may_be_large(&small));
        }
        let large = [
            json!("x".repeat(INLINE_LIMIT)),
            json!("\0".repeat(INLINE_LIMIT / 6 + 1)),
            json!({"k".repeat(INLINE_LIMIT): 1}),
            json!([[vec![1.5; 20_000]]]),
        ];
        for large in large {
            assert!(may_be_large(&large));
        }
    }

    #[test]
    fn the_same_content_is_one_file_and_a_damaged_one_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::beside(&dir.path().join("db")).unwrap();
        let value = json!("x".repeat(INLINE_LIMIT));
        let kept = artifacts.keep(&value, "one").unwrap().unwrap();
        let path = dir.path().join(kept.path());
        let content = fs::read(&path).unwrap();
        assert_eq!(artifacts.keep(&value, "two").unwrap(), Some(kept));
        fs::write(&path, content.to_ascii_uppercase()).unwrap();
        let error = artifacts.text(kept).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert_eq!(artifacts.keep(&value, "two").unwrap(), Some(kept));
        assert_eq!(artifacts.text(kept).unwrap(), content);
        let files = |path: &Path| fs::read_dir(path).unwrap().count();
        assert_eq!(files(path.parent().unwrap()), 1);
        assert_eq!(files(&dir.path().join(FOLDER)), 1);
        fs::remove_file(&path).unwrap();
        let error = artifacts.text(kept).unwrap_err().to_string();
        let name = format!("{}", kept.path().display());
        assert!(
            error.contains("is missing") && error.contains(&name),
            "{error}"
        );
    }

    #[test]
    fn what_only_looked_large_stays() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::beside(&dir.path().join("db")).unwrap();
        let value = json!(vec![1; 10_000]);
        assert!(may_be_large(&value));
        assert_eq!(artifacts.keep(&value, "one").unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

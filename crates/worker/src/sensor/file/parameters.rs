//! The parameters of a file sensor, checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft_model::{Object, duration};
use globset::{GlobBuilder, GlobMatcher};
use serde_json::Value;

use super::known::ChangeKind;

const DEFAULT_SETTLE: Duration = Duration::from_millis(200);

/// What is watched.
#[derive(Debug)]
pub(super) struct FileParameters {
    /// A folder, or one file in a folder.
    pub(super) path: PathBuf,
    /// Which names; of a pattern with a slash, which paths below the folder.
    glob: GlobMatcher,
    by_path: bool,
    /// What is told.
    pub(super) events: BTreeSet<ChangeKind>,
    /// How long a file must have been left alone.
    pub(super) settle: Duration,
    /// Whether folders in the folder are watched as well.
    pub(super) recursive: bool,
    /// Whether what is there at the start is told.
    pub(super) scan: bool,
}

fn wrong(name: &str, why: impl std::fmt::Display) -> String {
    format!("parameter '{name}' {why}")
}

fn flag(parameters: &Object, name: &str, default: bool) -> Result<bool, String> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| wrong(name, "must be true or false")),
    }
}

impl FileParameters {
    pub(super) fn read(parameters: &Object) -> Result<Self, String> {
        let given = |name: &str| parameters.get(name).filter(|value| !value.is_null());
        let path = given("path")
            .and_then(Value::as_str)
            .filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| wrong("path", "is required and must be a string"))?;
        let path = std::path::absolute(path).map_err(|error| wrong("path", error))?;
        let pattern = given("glob").map_or(Ok("*"), |v| {
            v.as_str().ok_or_else(|| wrong("glob", "must be a string"))
        })?;
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob
            .map_err(|error| wrong("glob", error))?
            .compile_matcher();
        let settle = match given("settle") {
            None => DEFAULT_SETTLE,
            Some(Value::String(text)) => {
                duration::parse(text).map_err(|error| wrong("settle", error))?
            }
            Some(value) => {
                duration::parse(&value.to_string()).map_err(|error| wrong("settle", error))?
            }
        };
        let events = match given("events") {
            None => ChangeKind::ALL.into_iter().collect(),
            Some(value) => events(value)
                .ok_or_else(|| wrong("events", "must be a list of created, modified, deleted"))?,
        };
        Ok(Self {
            path,
            by_path: pattern.contains('/'),
            glob,
            events,
            settle,
            recursive: flag(parameters, "recursive", false)?,
            scan: flag(parameters, "scan", true)?,
        })
    }

    /// The folder to watch: that of a single file is the one it is in, which outlives it.
    pub(super) fn folder(&self) -> Result<PathBuf, String> {
        if self.path.is_dir() {
            return Ok(self.path.clone());
        }
        let parent = self.path.parent().filter(|parent| parent.is_dir());
        match parent {
            Some(parent) if self.path.is_file() => Ok(parent.to_owned()),
            _ => Err(format!("{} does not exist", self.path.display())),
        }
    }

    /// Whether a file is one of those that are watched.
    pub(super) fn wants(&self, file: &Path) -> bool {
        let Ok(below) = file.strip_prefix(&self.path) else {
            return false;
        };
        let Some(name) = file.file_name() else {
            return false;
        };
        if below.as_os_str().is_empty() {
            return true;
        }
        let deep = below.components().count() > 1;
        let matches = if self.by_path {
            self.glob.is_match(below)
        } else {
            self.glob.is_match(name)
        };
        matches && (self.recursive || !deep)
    }
}

fn events(value: &Value) -> Option<BTreeSet<ChangeKind>> {
    let names = value.as_array()?.iter().map(Value::as_str);
    names
        .map(|name| {
            ChangeKind::ALL
                .into_iter()
                .find(|kind| Some(kind.as_str()) == name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<FileParameters, String> {
        FileParameters::read(value.as_object().unwrap())
    }

    #[test]
    fn names_and_depth_decide() {
        let flat = read(json!({"path": "/in", "glob": "*.csv"})).unwrap();
        assert!(flat.wants(Path::new("/in/a.csv")));
        for other in ["/in/a.txt", "/in/sub/a.csv", "/out/a.csv"] {
            assert!(!flat.wants(Path::new(other)), "{other}");
        }
        let deep = read(json!({"path": "/in", "glob": "sub/**/*.csv", "recursive": true})).unwrap();
        assert!(deep.wants(Path::new("/in/sub/x/a.csv")) && !deep.wants(Path::new("/in/a.csv")));
    }

    #[test]
    fn mistakes_name_their_parameter() {
        for (name, value) in [
            ("path", json!({})),
            ("glob", json!({"path": "/in", "glob": "[" })),
            ("settle", json!({"path": "/in", "settle": "soon"})),
            ("events", json!({"path": "/in", "events": ["renamed"]})),
            ("recursive", json!({"path": "/in", "recursive": "yes"})),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.starts_with(&format!("parameter '{name}'")), "{error}");
        }
    }
}

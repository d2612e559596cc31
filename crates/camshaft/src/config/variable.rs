//! `CAMSHAFT__SECTION__KEY=value` as a layer of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::document::{self, Content, Entry, Node};
use camshaft_model::definition::problem::{Position, Reporter};
use camshaft_model::definition::{Problem, Problems};

use super::{Config, layer};

const PREFIX: &str = "CAMSHAFT__";
/// How many parts the longest key has, and one more for a message about it.
const DEEPEST: usize = 4;

/// Applies one variable; others than ours are passed over, whatever bytes they have. Problems are those
/// of the variable.
pub(super) fn apply(name: &OsStr, value: &OsStr, config: &mut Config) -> Vec<Problem> {
    if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
        return Vec::new();
    }
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
        let message = "a variable of the configuration is UTF-8, and this one is not";
        return Problems::of_file(name.to_string_lossy(), message).into_list();
    };
    let key = &name[PREFIX.len()..];
    let path = key_path(key);
    if path.len() > DEEPEST {
        return Problems::of_file(name, "no key of the configuration is so deep").into_list();
    }
    // A variable has no quotes: it is taken as text first, and as YAML (a number, a list) where the
    // key wants something else.
    let as_text = Node {
        position: Position::START,
        content: Content::Text(value.to_owned()),
    };
    let first = attempt(name, &path, as_text, config);
    if first.is_empty() {
        return first;
    }
    match document::parse(value.as_bytes()) {
        Ok(node) if !matches!(node.content, Content::Text(_)) => attempt(name, &path, node, config),
        _ => first,
    }
}

fn attempt(name: &str, path: &[String], value: Node, config: &mut Config) -> Vec<Problem> {
    let root = path.iter().rev().fold(value, |value, key| {
        let entry = Entry {
            key: key.clone(),
            key_position: Position::START,
            value,
        };
        Node {
            position: Position::START,
            content: Content::Mapping(vec![entry]),
        }
    });
    let reporter = Reporter::new(name);
    let mut changed = config.clone();
    layer::apply(&Cursor::root(&root, &reporter), &mut changed);
    let problems = reporter.into_found();
    if problems.is_empty() {
        *config = changed;
    }
    problems
}

/// `WORKER__SLOTS` is `worker.slots`. Names of variables under `worker.environment` keep their case.
fn key_path(key: &str) -> Vec<String> {
    const VERBATIM: &str = "worker__environment__";
    let parts = || key.split("__");
    if key.to_ascii_lowercase().starts_with(VERBATIM) {
        let mut path: Vec<String> = parts().take(2).map(str::to_ascii_lowercase).collect();
        path.push(key[VERBATIM.len()..].to_owned());
        return path;
    }
    parts().map(str::to_ascii_lowercase).collect()
}

//! What the runtime of an action is given: a file, a script, a function, or nothing.

use std::path::{Component, Path, PathBuf};

use super::Surroundings;
use crate::definition::EntryPoint;
use crate::definition::decode::{Cursor, Fields};
use crate::definition::problem::did_you_mean;

/// Where action definitions and their files are.
const ACTIONS: &str = "actions";

pub(super) fn entry_point(
    root: &Cursor<'_>,
    fields: &mut Fields<'_>,
    runtime: &str,
    surroundings: &Surroundings<'_>,
) -> EntryPoint {
    let file = fields.optional("entry_point");
    let script = fields.optional("script");
    match (runtime, file, script) {
        ("http", None, None) => EntryPoint::None,
        ("http", Some(cursor), _) | ("http", None, Some(cursor)) => {
            cursor.problem("an action on the runtime http takes neither entry_point nor script");
            EntryPoint::None
        }
        (_, Some(_), Some(cursor)) => {
            cursor.problem("there is an entry_point and a script; write one of them");
            EntryPoint::None
        }
        ("native", Some(cursor), None) => cursor
            .filled_text()
            .map_or(EntryPoint::None, |name| EntryPoint::Native(name.to_owned())),
        (_, Some(cursor), None) => {
            file_of(&cursor, surroundings).map_or(EntryPoint::None, EntryPoint::File)
        }
        ("shell", None, Some(cursor)) => cursor
            .filled_text()
            .map_or(EntryPoint::None, |text| EntryPoint::Script(text.to_owned())),
        (_, None, Some(cursor)) => {
            cursor.problem(format!(
                "only an action on the runtime shell may have a script; this one is on {runtime}"
            ));
            EntryPoint::None
        }
        // The runtime is missing or refused, which has been noted.
        ("" | "workflow", None, None) => EntryPoint::None,
        (_, None, None) => {
            let more = if runtime == "shell" {
                ", or script"
            } else {
                ""
            };
            root.problem(format!(
                "the key 'entry_point'{more} is missing; write the name of a file beside this one"
            ));
            EntryPoint::None
        }
    }
}

fn file_of(cursor: &Cursor<'_>, surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    let text = cursor.filled_text()?;
    let Some(path) = inside(Path::new(text)) else {
        cursor.problem(format!("'{text}' leads out of the pack"));
        return None;
    };
    if !surroundings.files.contains_key(&path) {
        let near: Vec<&str> = surroundings
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(ACTIONS).ok()?.to_str())
            .collect();
        cursor.problem(format!(
            "the pack has no file '{}'{}",
            path.display(),
            did_you_mean(text, near)
        ));
    }
    Some(path)
}

/// The path from the pack's folder; `None` if it leads out of it.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut whole = PathBuf::from(ACTIONS);
    for component in path.components() {
        match component {
            Component::Normal(name) => whole.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !whole.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_pack_or_is_refused() {
        assert_eq!(
            inside(Path::new("../lib/./x.py")),
            Some(PathBuf::from("lib/x.py"))
        );
        assert_eq!(inside(Path::new("../../x.py")), None);
        assert_eq!(inside(Path::new("/etc/passwd")), None);
    }
}

//! Paths into an event: `trigger.a.b[0]`, `trigger["key.with.dots"]`, `event.source.kind`.

use serde_json::Value;

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 1_024;

/// A path, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Path {
    pub(super) root: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// Parses a path that begins with one of `roots`.
    pub(super) fn parse(text: &str, roots: &[&str]) -> Result<Self, String> {
        let refuse = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            format!("'{shown}' is not a path: {why}")
        };
        if text.len() > MAX_PATH_BYTES {
            return Err(refuse(&format!("it is longer than {MAX_PATH_BYTES} bytes")));
        }
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (root, mut rest) = text.split_at(end);
        if !roots.contains(&root) {
            return Err(refuse(&format!(
                "it must begin with {}",
                roots.join(" or ")
            )));
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, tail) = step(rest).map_err(refuse)?;
            steps.push(step);
            rest = tail;
        }
        Ok(Self {
            root: root.to_owned(),
            steps,
        })
    }

    /// The value that the path leads to from its root.
    pub(super) fn resolve<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.steps
            .iter()
            .try_fold(root, |value, step| match (step, value) {
                (Step::Key(key), Value::Object(map)) => map.get(key),
                (Step::Index(index), Value::Array(items)) => items.get(*index),
                // `a.0` is written for `a[0]` as well.
                (Step::Key(key), Value::Array(items)) => items.get(key.parse::<usize>().ok()?),
                _ => None,
            })
    }
}

/// The first step of `.key`, `."key"`, `[0]`, `["key"]`, and what follows it.
fn step(text: &str) -> Result<(Step, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('.') {
        if rest.starts_with(['"', '\'']) {
            let (key, rest) = quoted(rest)?;
            return Ok((Step::Key(key), rest));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (key, rest) = rest.split_at(end);
        return match key {
            "" => Err("a name is empty"),
            key => Ok((Step::Key(key.to_owned()), rest)),
        };
    }
    let Some(rest) = text.strip_prefix('[') else {
        return Err("write '.name' or '[0]' behind ']' and quotes");
    };
    if rest.starts_with(['"', '\'']) {
        let (key, rest) = quoted(rest)?;
        let rest = rest.strip_prefix(']').ok_or("a ']' is missing")?;
        return Ok((Step::Key(key), rest));
    }
    let (index, rest) = rest.split_once(']').ok_or("a ']' is missing")?;
    let index = index
        .parse()
        .map_err(|_| "between '[' and ']' is an index or a key in quotes")?;
    Ok((Step::Index(index), rest))
}

/// A key in quotes, in which a backslash takes the next character as it is.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    const OPEN: &str = "a quote is not closed";
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().ok_or(OPEN)?;
    let mut key = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => key.push(characters.next().ok_or(OPEN)?.1),
            c if c == quote => return Ok((key, &text[at + c.len_utf8()..])),
            c => key.push(c),
        }
    }
    Err(OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(path: &str, value: &Value) -> Option<Value> {
        Path::parse(path, &["trigger"])
            .unwrap()
            .resolve(value)
            .cloned()
    }

    #[test]
    fn a_path_leads_through_maps_and_lists() {
        let value = json!({"a": {"b": [10, {"c.d": 5}]}, "x'y": 1});
        assert_eq!(at("trigger", &value), Some(value.clone()));
        assert_eq!(at("trigger.a.b[0]", &value), Some(json!(10)));
        assert_eq!(at("trigger.a.b.0", &value), Some(json!(10)));
        assert_eq!(at("trigger.a.b[1][\"c.d\"]", &value), Some(json!(5)));
        assert_eq!(at("trigger.a.b[1].'c.d'", &value), Some(json!(5)));
        assert_eq!(at(r"trigger['x\'y']", &value), Some(json!(1)));
        for nowhere in [
            "trigger.z",
            "trigger.a[0]",
            "trigger.a.b[2]",
            "trigger.a.b.c",
            "trigger.a.b[0].c",
        ] {
            assert_eq!(at(nowhere, &value), None, "{nowhere}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "a.b",
            "trigger.",
            "trigger..a",
            "trigger[",
            "trigger[x]",
            "trigger['a",
            "trigger['a'",
            "triggers",
            "trigger['a']b",
            "trigger[-1]",
        ] {
            assert!(Path::parse(text, &["trigger"]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(trigger)?[.\\[\\]a0'\"\\\\é ]{0,20}") {
            if let Ok(path) = Path::parse(&text, &["trigger"]) {
                path.resolve(&json!({"a": [{"0": 1}]}));
            }
        }
    }
}

//! Values that a person types: JSON on the command line, in a file or on standard input.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::exit::{CliError, Problem};

/// What the engine would refuse anyway is not read whole.
const MAX_INPUT_BYTES: u64 = 64 << 20;

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// It cannot be read, is not UTF-8, or is too large.
pub(crate) fn read(path: &str) -> Result<String, CliError> {
    let reader: Box<dyn Read> = if path == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(fs::File::open(Path::new(path)).map_err(|error| unreadable(path, &error))?)
    };
    let mut text = String::new();
    reader
        .take(MAX_INPUT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(CliError::invalid(format!(
            "{} is larger than {MAX_INPUT_BYTES} bytes",
            name(path)
        )));
    }
    Ok(text)
}

fn name(path: &str) -> &str {
    if path == "-" { "standard input" } else { path }
}

fn unreadable(path: &str, error: &io::Error) -> CliError {
    CliError::invalid(format!("{} cannot be read: {error}", name(path)))
}

/// Reads a JSON or YAML document from a file, or from standard input for `-`.
///
/// # Errors
/// It cannot be read, or is neither.
pub(crate) fn document(path: &str) -> Result<Value, CliError> {
    let text = read(path)?;
    serde_json::from_str(&text).or_else(|_| {
        serde_yaml_ng::from_str(&text).map_err(|error| {
            let at = error.location();
            let number = |n: usize| u32::try_from(n).ok();
            CliError::invalid(format!("{} is neither JSON nor YAML", name(path))).problems(vec![
                Problem {
                    file: Some(name(path).to_owned()),
                    line: at.as_ref().and_then(|at| number(at.line())),
                    column: at.as_ref().and_then(|at| number(at.column())),
                    path: None,
                    message: error.to_string(),
                },
            ])
        })
    })
}

/// Reads an argument that is JSON, `@FILE` or `-`. `what` names it in errors.
///
/// # Errors
/// It is none of these.
pub(crate) fn json_argument(argument: &str, what: &str) -> Result<Value, CliError> {
    if argument == "-" {
        return document("-");
    }
    if let Some(path) = argument.strip_prefix('@') {
        return document(path);
    }
    serde_json::from_str(argument).map_err(|error| {
        CliError::invalid(format!("{what} is not JSON: {error}"))
            .hint("write JSON, @FILE, or - for standard input")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_argument_is_json_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "a: [1, 2]").unwrap();
        assert_eq!(json_argument(r#"{"a":1}"#, "it").unwrap(), json!({"a": 1}));
        assert_eq!(
            json_argument(&format!("@{}", path.display()), "it").unwrap(),
            json!({"a": [1, 2]})
        );
        assert!(
            json_argument("{a", "the payload")
                .unwrap_err()
                .message
                .starts_with("the payload is not JSON")
        );
        assert!(
            json_argument("@/nowhere", "it")
                .unwrap_err()
                .message
                .starts_with("/nowhere cannot be read")
        );
    }

    #[test]
    fn a_broken_file_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "a: 1\nb: [").unwrap();
        let error = document(path.to_str().unwrap()).unwrap_err();
        assert!(error.problems[0].line.is_some(), "{error:?}");
    }
}

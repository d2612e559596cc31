//! Filters: ours, and those of minijinja that need a limit.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::filters;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use sha2::{Digest as _, Sha256};

use super::MAX_RESULT_BYTES;
use super::json::{canonical, to_json};
use super::product::FACTOR;

/// The longest list that a filter walks.
const MAX_ITEMS: usize = 1_000_000;
/// The deepest indentation.
const MAX_INDENT: usize = 64;

/// Filters of minijinja whose cost depends on a number in their arguments and that nobody misses here:
/// they lay out pages.
const LEFT_OUT: &[&str] = &[
    "batch", "slice", "chain", "zip", "pprint", "format", "escape", "e", "safe",
];

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Adds ours and puts limits on those that need them.
pub(super) fn install(environment: &mut Environment<'static>) {
    for name in LEFT_OUT {
        environment.remove_filter(name);
    }
    environment.add_filter("tojson", tojson);
    environment.add_filter("fromjson", fromjson);
    environment.add_filter("hash", hash);
    environment.add_filter("b64encode", |text: &str| STANDARD.encode(text));
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter(FACTOR, factor);
    install_limited(environment);
}

fn install_limited(environment: &mut Environment<'static>) {
    type Arguments = Rest<Value>;
    environment.add_filter("list", |s: &State, v: Value| filters::list(s, limited(v)?));
    environment.add_filter("sum", |s: &State, v: Value| filters::sum(s, limited(v)?));
    environment.add_filter("min", |s: &State, v: Value| filters::min(s, limited(v)?));
    environment.add_filter("max", |s: &State, v: Value| filters::max(s, limited(v)?));
    environment.add_filter("last", |v: Value| filters::last(limited(v)?));
    environment.add_filter("reverse", |v: Value| filters::reverse(&limited(v)?));
    environment.add_filter("sort", |s: &State, v: Value, k: Kwargs| {
        filters::sort(s, limited(v)?, k)
    });
    environment.add_filter("unique", |s: &State, v: Value, k: Kwargs| {
        filters::unique(s, limited(v)?, k)
    });
    environment.add_filter("map", |s: &State, v: Value, a: Arguments| {
        filters::map(s, limited(v)?, a)
    });
    environment.add_filter("groupby", groupby);
    environment.add_filter("select", select);
    environment.add_filter("reject", reject);
    environment.add_filter("selectattr", selectattr);
    environment.add_filter("rejectattr", rejectattr);
    environment.add_filter("string", |s: &State, v: Value| {
        filters::string(s, &limited(v)?)
    });
}

fn groupby(list: Value, by: Option<&str>, options: Kwargs) -> Result<Value, Error> {
    filters::groupby(limited(list)?, by, options)
}

type Items = Result<Vec<Value>, Error>;
type Test<'a> = Option<Cow<'a, str>>;

fn select(state: &State, list: Value, test: Test<'_>, with: Rest<Value>) -> Items {
    filters::select(state, limited(list)?, test, with)
}

fn reject(state: &State, list: Value, test: Test<'_>, with: Rest<Value>) -> Items {
    filters::reject(state, limited(list)?, test, with)
}

fn selectattr(
    state: &State,
    list: Value,
    by: Cow<'_, str>,
    test: Test<'_>,
    with: Rest<Value>,
) -> Items {
    filters::selectattr(state, limited(list)?, by, test, with)
}

fn rejectattr(
    state: &State,
    list: Value,
    by: Cow<'_, str>,
    test: Test<'_>,
    with: Rest<Value>,
) -> Items {
    filters::rejectattr(state, limited(list)?, by, test, with)
}

/// An operand of `*`.
fn factor(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Seq | ValueKind::Iterable => Err(refuse("a list cannot be multiplied")),
        _ => Ok(value),
    }
}

/// A list of a length that may be walked.
fn limited(value: Value) -> Result<Value, Error> {
    match value.len() {
        Some(len) if len > MAX_ITEMS => {
            Err(refuse(format!("a list of more than {MAX_ITEMS} items")))
        }
        _ => Ok(value),
    }
}

fn tojson(value: &Value) -> Result<String, Error> {
    to_json(value).map(|json| json.to_string()).map_err(refuse)
}

fn fromjson(text: &str) -> Result<Value, Error> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|error| refuse(format!("not JSON: {error}")))?;
    Ok(Value::from_serialize(&json))
}

/// SHA-256, in hexadecimal, of a text or of the canonical JSON of anything else.
fn hash(value: &Value) -> Result<String, Error> {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => canonical(&to_json(value).map_err(refuse)?),
    };
    Ok(sha256_hex(&text))
}

/// SHA-256 of a text, in hexadecimal, lower case.
pub(crate) fn sha256_hex(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn b64decode(text: &str) -> Result<String, Error> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| refuse(format!("not base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| refuse("the decoded bytes are not UTF-8"))
}

fn within_limit(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_RESULT_BYTES {
        return Err(refuse(format!(
            "the result is larger than {MAX_RESULT_BYTES} bytes"
        )));
    }
    Ok(())
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let places = text.matches(from).count();
    within_limit(places.saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(text.replace(from, to))
}

fn join(value: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut text = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index >= MAX_ITEMS {
            return Err(refuse(format!("a list of more than {MAX_ITEMS} items")));
        }
        if index > 0 {
            text.push_str(separator.unwrap_or_default());
        }
        text.push_str(&shown(&item)?);
        within_limit(text.len())?;
    }
    Ok(text)
}

fn indent(text: &str, width: Option<usize>) -> Result<String, Error> {
    let width = width.unwrap_or(4);
    if width > MAX_INDENT {
        return Err(refuse(format!(
            "indent takes a width of at most {MAX_INDENT}"
        )));
    }
    within_limit(
        text.len()
            .saturating_add(text.matches('\n').count().saturating_mul(width)),
    )?;
    Ok(text.replace('\n', &format!("\n{}", " ".repeat(width))))
}

/// A value inside a text: strings as they are, everything else as JSON.
pub(super) fn shown(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => tojson(value),
    }
}

//! What each operator means: a pattern compiled once, values tested often.
//!
//! There is no coercion. A value of a type that an operator does not take cannot be evaluated, which
//! is an error with a reason, not an answer. A path that leads nowhere is no value: `nexists` holds,
//! everything else does not, `nequals` and its like included, because nothing is known to differ.

use camshaft_model::Timestamp;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::operators::Operator;
use super::search::Search;
use super::value::{compare, equal, fold, type_name};

/// The largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1024 * 1024;
/// The longest pattern of a glob or regular expression, in bytes.
const MAX_PATTERN_BYTES: usize = 4 * 1024;

/// An operator with its pattern.
#[derive(Debug)]
pub(super) struct Comparison {
    operator: Operator,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Presence,
    Equality(Value),
    Text(Text, String),
    Membership {
        pattern: Value,
        folded: Option<String>,
    },
    Order(Value),
    Regex(Regex),
    Elapsed(f64),
    Inside(Value),
    Search(Box<Search>),
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Equal,
    Start,
    End,
}

impl Comparison {
    /// Compiles a pattern for an operator.
    ///
    /// # Errors
    /// The operator does not take this pattern: a sentence.
    pub(super) fn compile(operator: Operator, pattern: &Value) -> Result<Self, String> {
        let test = match operator {
            Operator::Exists | Operator::NotExists => Test::Presence,
            Operator::Equals | Operator::NotEquals => Test::Equality(pattern.clone()),
            Operator::IEquals => Test::Text(Text::Equal, fold(text(operator, pattern)?)),
            Operator::StartsWith => Test::Text(Text::Start, text(operator, pattern)?.to_owned()),
            Operator::IStartsWith => Test::Text(Text::Start, fold(text(operator, pattern)?)),
            Operator::EndsWith => Test::Text(Text::End, text(operator, pattern)?.to_owned()),
            Operator::IEndsWith => Test::Text(Text::End, fold(text(operator, pattern)?)),
            Operator::Contains | Operator::NotContains => Test::Membership {
                pattern: pattern.clone(),
                folded: None,
            },
            Operator::IContains | Operator::NotIContains => Test::Membership {
                pattern: pattern.clone(),
                folded: Some(fold(text(operator, pattern)?)),
            },
            Operator::LessThan | Operator::GreaterThan => match pattern {
                Value::Number(_) | Value::String(_) => Test::Order(pattern.clone()),
                other => return Err(takes(operator, "a number or a string", other)),
            },
            Operator::MatchWildcard => {
                Test::Regex(regex(&glob(text(operator, pattern)?), false, true)?)
            }
            Operator::MatchRegex => Test::Regex(regex(
                &format!(r"\A(?:{})", text(operator, pattern)?),
                false,
                true,
            )?),
            Operator::Regex => Test::Regex(regex(text(operator, pattern)?, false, false)?),
            Operator::IRegex => Test::Regex(regex(text(operator, pattern)?, true, false)?),
            Operator::TimeDiffLessThan | Operator::TimeDiffGreaterThan => {
                let secs = pattern.as_f64();
                Test::Elapsed(secs.ok_or_else(|| takes(operator, "a number of seconds", pattern))?)
            }
            Operator::Inside | Operator::NotInside => match pattern {
                Value::Array(_) | Value::String(_) => Test::Inside(pattern.clone()),
                other => return Err(takes(operator, "a list or a string", other)),
            },
            Operator::Search => Test::Search(Box::new(Search::compile(pattern)?)),
        };
        Ok(Self { operator, test })
    }

    /// The pattern that a value must equal, where that is all there is to it.
    pub(super) const fn equals(&self) -> Option<&Value> {
        match (self.operator, &self.test) {
            (Operator::Equals, Test::Equality(pattern)) => Some(pattern),
            _ => None,
        }
    }

    /// Whether the comparison holds. `None` is a path that leads nowhere.
    ///
    /// # Errors
    /// It cannot be evaluated: a sentence.
    pub(super) fn holds(&self, value: Option<&Value>, now: Timestamp) -> Result<bool, String> {
        match (self.operator, value) {
            (Operator::Exists, value) => Ok(value.is_some()),
            (Operator::NotExists, value) => Ok(value.is_none()),
            (_, None) => Ok(false),
            (operator, Some(value)) => Ok(self.affirmed(value, now)? != operator.is_negated()),
        }
    }

    /// The comparison without its negation.
    fn affirmed(&self, value: &Value, now: Timestamp) -> Result<bool, String> {
        match &self.test {
            Test::Presence => Ok(true),
            Test::Equality(pattern) => Ok(equal(value, pattern)),
            Test::Text(place, pattern) => self.text(*place, value, pattern),
            Test::Membership { pattern, folded } => {
                self.contains(value, pattern, folded.as_deref())
            }
            Test::Order(pattern) => self.order(value, pattern),
            Test::Regex(regex) => Ok(regex.is_match(self.subject(value)?)),
            Test::Elapsed(secs) => self.elapsed(value, *secs, now),
            Test::Inside(pattern) => self.inside(value, pattern),
            Test::Search(search) => search.holds(value, now),
        }
    }

    fn subject<'a>(&self, value: &'a Value) -> Result<&'a str, String> {
        value
            .as_str()
            .ok_or_else(|| self.mismatch(value, "a string", "a string"))
    }

    fn mismatch(&self, value: &Value, needed: &str, pattern: &str) -> String {
        let kind = type_name(value);
        format!(
            "{} needs {needed}: the value is {kind} and the pattern {pattern}",
            self.operator
        )
    }

    fn text(&self, place: Text, value: &Value, pattern: &str) -> Result<bool, String> {
        let subject = self.subject(value)?;
        let folded;
        let subject = match self.operator {
            Operator::StartsWith | Operator::EndsWith => subject,
            _ => {
                folded = fold(subject);
                &folded
            }
        };
        Ok(match place {
            Text::Equal => subject == pattern,
            Text::Start => subject.starts_with(pattern),
            Text::End => subject.ends_with(pattern),
        })
    }

    fn contains(
        &self,
        value: &Value,
        pattern: &Value,
        folded: Option<&str>,
    ) -> Result<bool, String> {
        match (value, folded, pattern) {
            (Value::String(text), Some(folded), _) => Ok(fold(text).contains(folded)),
            (Value::String(text), None, Value::String(pattern)) => Ok(text.contains(pattern)),
            (Value::Array(items), Some(folded), _) => Ok(items
                .iter()
                .filter_map(Value::as_str)
                .any(|item| fold(item) == folded)),
            (Value::Array(items), None, pattern) => {
                Ok(items.iter().any(|item| equal(item, pattern)))
            }
            _ => Err(self.mismatch(value, "two strings, or a list", type_name(pattern))),
        }
    }

    fn order(&self, value: &Value, pattern: &Value) -> Result<bool, String> {
        let order = match (value, pattern) {
            (Value::Number(a), Value::Number(b)) => compare(a, b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            _ => {
                return Err(self.mismatch(value, "two numbers or two strings", type_name(pattern)));
            }
        };
        Ok(if self.operator == Operator::LessThan {
            order.is_lt()
        } else {
            order.is_gt()
        })
    }

    fn elapsed(&self, value: &Value, secs: f64, now: Timestamp) -> Result<bool, String> {
        let needs = "an RFC 3339 time or seconds since 1970";
        let then = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse::<Timestamp>().ok().map(seconds),
            _ => None,
        };
        let then = then.ok_or_else(|| self.mismatch(value, needs, "a number"))?;
        let passed = seconds(now) - then;
        Ok(if self.operator == Operator::TimeDiffLessThan {
            passed < secs
        } else {
            passed > secs
        })
    }

    fn inside(&self, value: &Value, pattern: &Value) -> Result<bool, String> {
        match (pattern, value) {
            (Value::Array(items), value) => Ok(items.iter().any(|item| equal(item, value))),
            (Value::String(whole), Value::String(part)) => Ok(whole.contains(part.as_str())),
            _ => Err(self.mismatch(value, "a list, or two strings", type_name(pattern))),
        }
    }
}

fn seconds(instant: Timestamp) -> f64 {
    instant.as_micros() as f64 / 1e6
}

fn takes(operator: Operator, needed: &str, pattern: &Value) -> String {
    format!(
        "the pattern of {operator} must be {needed}, and this is {}",
        type_name(pattern)
    )
}

fn text(operator: Operator, pattern: &Value) -> Result<&str, String> {
    pattern
        .as_str()
        .ok_or_else(|| takes(operator, "a string", pattern))
}

fn regex(pattern: &str, ignore_case: bool, dot_matches_line_end: bool) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern is longer than {MAX_PATTERN_BYTES} bytes"
        ));
    }
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .dot_matches_new_line(dot_matches_line_end)
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| format!("the pattern does not compile: {error}"))
}

/// A glob as a regular expression for the whole text: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. A bracket
/// that is not closed stands for itself. `/` and a dot at the beginning are nothing special.
fn glob(pattern: &str) -> String {
    let mut regex = String::from(r"\A");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (c, class(rest)) {
            ('*', _) => regex.push_str(".*"),
            ('?', _) => regex.push('.'),
            ('[', Some((class, tail))) => {
                regex.push_str(&class);
                rest = tail;
            }
            (c, _) => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(r"\z");
    regex
}

/// What follows `[` as a class of characters, and what follows its `]`.
fn class(text: &str) -> Option<(String, &str)> {
    let (negation, body) = text
        .strip_prefix('!')
        .map_or(("", text), |body| ("^", body));
    // A ']' at the beginning belongs to the class.
    let first = body.chars().next()?.len_utf8();
    let end = first + body.get(first..)?.find(']')?;
    let mut class = format!("[{negation}");
    for c in body[..end].chars() {
        if c.is_ascii_punctuation() && c != '-' {
            class.push('\\');
        }
        class.push(c);
    }
    class.push(']');
    Some((class, &body[end + 1..]))
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
pub(super) mod tests;

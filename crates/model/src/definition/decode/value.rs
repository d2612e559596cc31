//! The types that keys ask for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::Cursor;
use crate::definition::document::{Content, shorten};
use crate::definition::problem::did_you_mean;
use crate::{Object, Ref, duration};

impl<'a> Cursor<'a> {
    /// Text.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.content {
            Content::Text(text) => Some(text),
            Content::Number(_) | Content::Bool(_) => {
                self.problem(format!(
                    "expected text, found {}: put it in quotes",
                    self.node.describe()
                ));
                None
            }
            _ => {
                self.expected("text");
                None
            }
        }
    }

    /// Text that is not empty.
    pub fn filled_text(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.problem("expected text, found an empty one");
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match &self.node.content {
            Content::Bool(value) => Some(*value),
            _ => {
                self.expected("true or false");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn integer<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let number = match &self.node.content {
            Content::Number(number) => number.as_i64(),
            _ => None,
        };
        match number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
        {
            None => {
                self.expected(&format!(
                    "a whole number from {} to {}",
                    range.start(),
                    range.end()
                ));
                None
            }
            some => some,
        }
    }

    /// A duration: `30s`, or a number of seconds.
    pub fn duration(&self) -> Option<Duration> {
        let text = match &self.node.content {
            Content::Text(text) => text.clone(),
            Content::Number(number) => number.to_string(),
            _ => {
                self.expected("a duration such as 30s");
                return None;
            }
        };
        self.parsed(duration::parse(&text))
    }

    /// `pack.name`.
    pub fn reference(&self) -> Option<Ref> {
        let text = self.text()?;
        self.parsed(text.parse())
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.problem(format!(
            "expected one of {}, found '{}'{}",
            list.join(", "),
            shorten(text),
            did_you_mean(text, list.iter().copied())
        ));
        None
    }

    /// Any value, as JSON.
    pub fn value(&self) -> Value {
        self.node.to_value()
    }

    /// Any mapping, as JSON.
    pub fn object(&self) -> Option<Object> {
        match self.node.to_value() {
            Value::Object(object) => Some(object),
            _ => {
                self.expected("a mapping");
                None
            }
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Self>> {
        match &self.node.content {
            Content::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, node)| self.item(node, index))
                    .collect(),
            ),
            _ => {
                self.expected("a list");
                None
            }
        }
    }

    /// A list of texts.
    pub fn texts(&self) -> Option<Vec<String>> {
        self.items()?
            .iter()
            .map(|item| item.filled_text().map(str::to_owned))
            .collect()
    }

    /// The value of a result, whose error is noted here.
    pub fn parsed<T, E: Display>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(error.to_string())).ok()
    }
}

//! From a tree of nodes to types, collecting every mistake.
//!
//! A [`Cursor`] stands on one node and knows its path. Its methods ask for a type: they give the
//! value, or note in the [`Reporter`] what is wrong and give `None`, and the caller goes on with the
//! other keys. A [`Fields`] hands out the keys of a mapping and notes those that nobody asked for.

mod fields;
mod value;

pub use fields::Fields;

use super::document::Node;
use super::problem::{Position, Reporter};

/// A node, its path and where mistakes go.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    node: &'a Node,
    path: String,
    reporter: &'a Reporter,
}

impl<'a> Cursor<'a> {
    /// A cursor on the root of a file.
    pub const fn root(node: &'a Node, reporter: &'a Reporter) -> Self {
        Self {
            node,
            path: String::new(),
            reporter,
        }
    }

    /// The node.
    pub const fn node(&self) -> &'a Node {
        self.node
    }

    /// Where it is.
    pub const fn position(&self) -> Position {
        self.node.position
    }

    /// The key that leads to it, such as `retry.max_attempts`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Notes a mistake here.
    pub fn problem(&self, message: impl Into<String>) {
        self.reporter
            .report(self.node.position, self.path.clone(), message);
    }

    fn below(&self, node: &'a Node, key: &str) -> Self {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Self {
            node,
            path,
            reporter: self.reporter,
        }
    }

    fn item(&self, node: &'a Node, index: usize) -> Self {
        Self {
            node,
            path: format!("{}[{index}]", self.path),
            reporter: self.reporter,
        }
    }

    fn expected(&self, what: &str) {
        self.problem(format!("expected {what}, found {}", self.node.describe()));
    }
}

/// A value and where it was written, for checks that come after decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it begins.
    pub position: Position,
    /// The key that leads to it.
    pub path: String,
}

impl<T> Located<T> {
    /// A value found at a cursor.
    pub fn new(value: T, cursor: &Cursor<'_>) -> Self {
        Self {
            value,
            position: cursor.position(),
            path: cursor.path.clone(),
        }
    }

    /// Notes a mistake about it.
    pub fn problem(&self, reporter: &Reporter, message: impl Into<String>) {
        reporter.report(self.position, self.path.clone(), message);
    }
}

#[cfg(test)]
mod tests;

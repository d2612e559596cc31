//! Conditions of tasks, made of handles.

use std::ops::Not;

use super::value::{Given, Handle, Input, Uses};

/// Whether a task runs: see [`TaskBuilder::when`](super::TaskBuilder::when).
///
/// A handle of a `bool` is one. Others come from comparisons such as [`Handle::is`], and are joined by
/// [`and`](Condition::and), [`or`](Condition::or) and `!`.
#[derive(Debug, Clone)]
#[must_use = "a condition does nothing until a task is given it"]
pub struct Condition {
    expression: String,
    uses: Uses,
    problems: Vec<String>,
}

impl Condition {
    fn comparison<T>(left: &Handle<T>, operator: &str, right: &Given) -> Self {
        let mut uses = right.uses().clone();
        uses.add(left.uses().clone());
        Self {
            expression: format!("{} {operator} {}", left.expression(), right.operand()),
            uses,
            problems: right.problems().to_vec(),
        }
    }

    fn joined(self, operator: &str, other: Self) -> Self {
        let mut uses = self.uses;
        uses.add(other.uses);
        let mut problems = self.problems;
        problems.extend(other.problems);
        Self {
            expression: format!("({}) {operator} ({})", self.expression, other.expression),
            uses,
            problems,
        }
    }

    /// True if both are.
    pub fn and(self, other: impl Into<Self>) -> Self {
        self.joined("and", other.into())
    }

    /// True if one of them is.
    pub fn or(self, other: impl Into<Self>) -> Self {
        self.joined("or", other.into())
    }

    pub(super) fn expression(&self) -> &str {
        &self.expression
    }

    pub(super) const fn uses(&self) -> &Uses {
        &self.uses
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl Not for Condition {
    type Output = Self;

    fn not(self) -> Self {
        Self {
            expression: format!("not ({})", self.expression),
            ..self
        }
    }
}

impl From<&Handle<bool>> for Condition {
    fn from(handle: &Handle<bool>) -> Self {
        Self {
            expression: handle.expression().to_owned(),
            uses: handle.uses().clone(),
            problems: Vec::new(),
        }
    }
}

impl From<Handle<bool>> for Condition {
    fn from(handle: Handle<bool>) -> Self {
        Self::from(&handle)
    }
}

impl<T> Handle<T> {
    /// Whether it equals a value.
    pub fn is(&self, value: impl Input<T>) -> Condition {
        Condition::comparison(self, "==", &value.given())
    }

    /// Whether it differs from a value.
    pub fn is_not(&self, value: impl Input<T>) -> Condition {
        Condition::comparison(self, "!=", &value.given())
    }

    /// Whether it is less than a value.
    pub fn less_than(&self, value: impl Input<T>) -> Condition {
        Condition::comparison(self, "<", &value.given())
    }

    /// Whether it is a value or less.
    pub fn at_most(&self, value: impl Input<T>) -> Condition {
        Condition::comparison(self, "<=", &value.given())
    }

    /// Whether it is more than a value.
    pub fn more_than(&self, value: impl Input<T>) -> Condition {
        Condition::comparison(self, ">", &value.given())
    }

    /// Whether it is a value or more.
    pub fn at_least(&self, value: impl Input<T>) -> Condition {
        Condition::comparison(self, ">=", &value.given())
    }
}

impl<T> Handle<Option<T>> {
    /// Whether there is a value.
    pub fn is_some(&self) -> Condition {
        Condition {
            expression: format!("{} is not none", self.expression()),
            uses: self.uses().clone(),
            problems: Vec::new(),
        }
    }
}

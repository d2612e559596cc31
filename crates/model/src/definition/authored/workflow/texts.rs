//! Every expression and template of a workflow, with the names that it uses.

use crate::Object;
use crate::definition::decode::Cursor;
use crate::definition::document::Content;
use crate::definition::load::{Checks, Form, Names};

/// Where a text stands, which decides what it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The variables that a run starts with.
    Vars,
    /// The output of a run or the condition of its loop.
    Run,
    /// A task, before it has started.
    Task,
    /// The parameters of one item.
    Item,
    /// What a task publishes once it has completed.
    Publish,
    /// A transition, after any end of its task.
    Next,
    /// The expression over an awaited event.
    Event,
}

impl Place {
    /// The names there, and what they are for people.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Vars => &["params", "vars", "run", "env", "secrets"],
            Self::Run | Self::Task => &["params", "vars", "tasks", "run", "env", "secrets"],
            Self::Item => &[
                "params",
                "vars",
                "tasks",
                "run",
                "env",
                "secrets",
                "item",
                "item_index",
            ],
            Self::Publish => &["params", "vars", "tasks", "run", "env", "secrets", "result"],
            Self::Next => &[
                "params",
                "vars",
                "tasks",
                "run",
                "env",
                "secrets",
                "result",
                "status",
                "error",
                "succeeded",
                "failed",
            ],
            Self::Event => &[
                "params", "vars", "tasks", "run", "env", "secrets", "trigger", "event",
            ],
        }
    }
}

/// One text that names something.
pub(super) struct Text<'a> {
    /// The place of the task that it belongs to, if it belongs to one.
    pub task: Option<usize>,
    pub place: Place,
    pub cursor: Cursor<'a>,
    pub paths: Vec<Vec<String>>,
}

/// All of them.
pub(super) struct Texts<'a> {
    checks: &'a dyn Checks,
    pub found: Vec<Text<'a>>,
    /// The variables that tasks and transitions publish.
    pub published: Vec<String>,
}

impl<'a> Texts<'a> {
    pub(super) const fn new(checks: &'a dyn Checks) -> Self {
        Self {
            checks,
            found: Vec::new(),
            published: Vec::new(),
        }
    }

    pub(super) const fn checks(&self) -> &'a dyn Checks {
        self.checks
    }

    fn keep(&mut self, cursor: &Cursor<'a>, place: Place, task: Option<usize>, names: Names) {
        if !names.paths.is_empty() {
            self.found.push(Text {
                task,
                place,
                cursor: cursor.clone(),
                paths: names.paths,
            });
        }
    }

    /// An expression; `true` and `false` are two.
    pub(super) fn expression(
        &mut self,
        cursor: &Cursor<'a>,
        place: Place,
        task: Option<usize>,
    ) -> Option<String> {
        if let Content::Bool(value) = cursor.node().content {
            return Some(value.to_string());
        }
        let text = cursor.filled_text()?;
        let names = cursor.parsed(self.checks.expression(text))?;
        self.keep(cursor, place, task, names);
        Some(text.to_owned())
    }

    /// One text; what it is made of.
    pub(super) fn template(
        &mut self,
        cursor: &Cursor<'a>,
        place: Place,
        task: Option<usize>,
    ) -> Option<Form> {
        let Content::Text(text) = &cursor.node().content else {
            return None;
        };
        let names = cursor.parsed(self.checks.template(text))?;
        let form = names.form.clone();
        self.keep(cursor, place, task, names);
        Some(form)
    }

    /// Every text in a value.
    pub(super) fn templates(&mut self, cursor: &Cursor<'a>, place: Place, task: Option<usize>) {
        match &cursor.node().content {
            Content::Text(_) => {
                self.template(cursor, place, task);
            }
            Content::List(_) => {
                for item in cursor.items().iter().flatten() {
                    self.templates(item, place, task);
                }
            }
            Content::Mapping(_) => {
                for (_, _, value) in cursor.entries().iter().flatten() {
                    self.templates(value, place, task);
                }
            }
            Content::Null | Content::Bool(_) | Content::Number(_) => {}
        }
    }

    /// A mapping from variables to templates.
    pub(super) fn variables(
        &mut self,
        cursor: &Cursor<'a>,
        place: Place,
        task: Option<usize>,
    ) -> Object {
        let mut variables = Object::new();
        for (name, _, value) in cursor.entries().unwrap_or_default() {
            let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !valid {
                value.problem(
                    "a variable's name has letters, digits and '_', and does not begin with a digit",
                );
            }
            self.templates(&value, place, task);
            variables.insert(name.to_owned(), value.value());
        }
        variables
    }

    /// Variables that are set while the run goes on.
    pub(super) fn publish(&mut self, cursor: &Cursor<'a>, place: Place, task: usize) -> Object {
        let variables = self.variables(cursor, place, Some(task));
        self.published.extend(variables.keys().cloned());
        variables
    }
}

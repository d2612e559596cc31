//! A value in which every text is a template: the parameters of a rule's action.

use std::collections::BTreeSet;

use camshaft_model::Object;
use serde_json::Value;

use super::MAX_DEPTH;
use super::error::{ExpressionError, PathError};
use super::names::NamePath;
use super::scope::Scope;
use super::template::Template;

/// A value with compiled templates in the place of texts. Keys of maps are no templates.
#[derive(Debug)]
pub struct TemplateTree {
    path: String,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Literal(Value),
    Template(Template),
    List(Vec<TemplateTree>),
    Map(Vec<(String, TemplateTree)>),
}

impl TemplateTree {
    /// Compiles every text in a value. `path` names the value in errors and may be empty.
    ///
    /// # Errors
    /// Every text that is no template, with its path.
    pub fn compile(value: &Value, path: &str) -> Result<Self, Vec<PathError>> {
        let mut errors = Vec::new();
        let tree = Self::build(value, path.to_owned(), 0, &mut errors);
        if errors.is_empty() {
            Ok(tree)
        } else {
            Err(errors)
        }
    }

    fn build(value: &Value, path: String, depth: usize, errors: &mut Vec<PathError>) -> Self {
        let node = match value {
            _ if depth > MAX_DEPTH => {
                let error = ExpressionError::Limit(format!("nested deeper than {MAX_DEPTH}"));
                errors.push(PathError {
                    path: path.clone(),
                    error,
                });
                Node::Literal(Value::Null)
            }
            Value::String(text) => match Template::parse(text) {
                Ok(template) => Node::Template(template),
                Err(error) => {
                    errors.push(PathError {
                        path: path.clone(),
                        error,
                    });
                    Node::Literal(Value::Null)
                }
            },
            Value::Array(items) => Node::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        Self::build(item, format!("{path}[{index}]"), depth + 1, errors)
                    })
                    .collect(),
            ),
            Value::Object(map) => Node::Map(
                map.iter()
                    .map(|(key, item)| {
                        (
                            key.clone(),
                            Self::build(item, below(&path, key), depth + 1, errors),
                        )
                    })
                    .collect(),
            ),
            scalar => Node::Literal(scalar.clone()),
        };
        Self { path, node }
    }

    /// The names at the beginning of every path that is used.
    pub fn referenced_names(&self) -> BTreeSet<&str> {
        match &self.node {
            Node::Literal(_) => BTreeSet::new(),
            Node::Template(template) => template.referenced_names(),
            Node::List(items) => items.iter().flat_map(Self::referenced_names).collect(),
            Node::Map(entries) => entries
                .iter()
                .flat_map(|(_, item)| item.referenced_names())
                .collect(),
        }
    }

    /// Every path that is used.
    pub fn names(&self) -> BTreeSet<NamePath> {
        match &self.node {
            Node::Literal(_) => BTreeSet::new(),
            Node::Template(template) => template.names(),
            Node::List(items) => items.iter().flat_map(Self::names).collect(),
            Node::Map(entries) => entries.iter().flat_map(|(_, item)| item.names()).collect(),
        }
    }

    /// The value in a scope.
    ///
    /// # Errors
    /// The first text that cannot be rendered, with its path.
    pub fn render(&self, scope: &Scope) -> Result<Value, PathError> {
        match &self.node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Template(template) => template.render(scope).map_err(|error| PathError {
                path: self.path.clone(),
                error,
            }),
            Node::List(items) => items
                .iter()
                .map(|item| item.render(scope))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Node::Map(entries) => entries
                .iter()
                .map(|(key, item)| Ok((key.clone(), item.render(scope)?)))
                .collect::<Result<Object, _>>()
                .map(Value::Object),
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

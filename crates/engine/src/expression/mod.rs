//! The one expression language: minijinja, bounded.
//!
//! A text is compiled once, when a pack is loaded ([`Template::parse`], [`Template::expression`],
//! [`TemplateTree::compile`]), and evaluated often, against a [`Scope`] of names. A text that is exactly
//! one `{{ … }}` keeps the type of its value; anything else renders to text, in which strings stand
//! as they are and every other value as JSON. An undefined name is an error that names it.
//!
//! Expressions meet what strangers send, so everything is bounded: the length of the text, the steps
//! of an evaluation, the depth and size of a result. Statements that bind names (`set`, `macro`) and
//! those that load other templates are not part of the language, because a few lines of them can
//! double a string until memory ends; `if` and `for` are.

mod environment;
mod error;
mod filters;
mod json;
pub mod literal;
mod names;
mod product;
mod scope;
mod shared;
mod template;
mod tree;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use error::{ExpressionError, PathError};
pub(crate) use filters::sha256_hex;
pub use json::canonical;
pub use names::NamePath;
pub use scope::Scope;
pub use shared::{Namespace, Shared};
pub use template::Template;
pub use tree::TemplateTree;

/// The longest text that is compiled, in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;
/// The largest result, in bytes of JSON, roughly.
pub const MAX_RESULT_BYTES: usize = 32 * 1024 * 1024;
/// The deepest result or tree of templates.
pub const MAX_DEPTH: usize = 128;

/// Evaluates a bare expression, or one in `{{ … }}`.
///
/// # Errors
/// It is no expression, or it cannot be evaluated in this scope.
pub fn evaluate(expression: &str, scope: &Scope) -> Result<Value, ExpressionError> {
    Template::expression(expression)?.render(scope)
}

/// Renders a template; a text that is exactly one `{{ … }}` gives a value of its own type.
///
/// # Errors
/// It is no template, or it cannot be rendered in this scope.
pub fn render(template: &str, scope: &Scope) -> Result<Value, ExpressionError> {
    Template::parse(template)?.render(scope)
}

/// Renders every text in a value, in lists and in values of maps.
///
/// # Errors
/// The first text that is no template or cannot be rendered, with its path.
pub fn render_value(value: &Value, scope: &Scope) -> Result<Value, PathError> {
    TemplateTree::compile(value, "")
        .map_err(|mut errors| errors.swap_remove(0))?
        .render(scope)
}

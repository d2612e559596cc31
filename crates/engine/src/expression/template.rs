//! One text, compiled.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;

use minijinja::{Environment, Error, ErrorKind, Expression};
use serde_json::Value;

use super::environment::ENVIRONMENT;
use super::error::{ExpressionError, position, shorten};
use super::json::to_json;
use super::product::Guarded;
use super::scope::Scope;
use super::{MAX_RESULT_BYTES, MAX_SOURCE_BYTES};

/// The statements of the language. What binds names or loads templates is left out; see the module.
const STATEMENTS: &[&str] = &[
    "if", "elif", "else", "endif", "for", "endfor", "raw", "endraw",
];
/// The name of the only template in an environment of its own.
const NAME: &str = "text";

/// A compiled expression or template.
pub struct Template {
    source: String,
    form: Form,
    /// Every dotted name that is used, such as `trigger.a.b`.
    paths: BTreeSet<String>,
    /// What was compiled in the place of the source, where anything is multiplied.
    guarded: Option<Guarded>,
}

enum Form {
    /// A text without any markup.
    Literal,
    /// Exactly one expression, whose value keeps its type, and where it is in the source.
    Value(Expression<'static, 'static>, Range<usize>),
    /// Text around expressions. An environment is a handful of shared pointers, and the only owner
    /// that minijinja knows for a template.
    Text(Box<Environment<'static>>),
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// It is too long or does not follow the grammar.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        check_length(source)?;
        if let Some(range) = sole_expression(source) {
            return Self::compile_expression(source, range);
        }
        if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
            return Ok(Self {
                source: source.to_owned(),
                form: Form::Literal,
                paths: BTreeSet::new(),
                guarded: None,
            });
        }
        check_statements(source)?;
        let guarded = Guarded::new(source, false);
        let mut environment = ENVIRONMENT.clone();
        environment
            .add_template_owned(NAME, text_of(&guarded, source).to_owned())
            .map_err(|error| syntax(source, 0, &guarded, &error))?;
        let paths = environment
            .get_template(NAME)
            .map_err(|error| syntax(source, 0, &guarded, &error))?
            .undeclared_variables(true);
        Ok(Self {
            source: source.to_owned(),
            form: Form::Text(Box::new(environment)),
            paths: paths.into_iter().collect(),
            guarded,
        })
    }

    /// Compiles a bare expression, or one in `{{ … }}`.
    ///
    /// # Errors
    /// It is too long or does not follow the grammar.
    pub fn expression(source: &str) -> Result<Self, ExpressionError> {
        check_length(source)?;
        let start = source.len() - source.trim_start().len();
        let range = sole_expression(source.trim()).map_or(0..source.len(), |range| {
            range.start + start..range.end + start
        });
        Self::compile_expression(source, range)
    }

    fn compile_expression(source: &str, range: Range<usize>) -> Result<Self, ExpressionError> {
        let offset = range.start;
        let expression = source.get(range.clone()).unwrap_or_default();
        check_brackets(source, offset, expression)?;
        // What is constant is computed here already, so nothing is compiled without its guards.
        let guarded = Guarded::new(expression, true);
        let compiled = ENVIRONMENT
            .compile_expression_owned(text_of(&guarded, expression).to_owned())
            .map_err(|error| syntax(source, offset, &guarded, &error))?;
        let paths = compiled.undeclared_variables(true).into_iter().collect();
        Ok(Self {
            source: source.to_owned(),
            form: Form::Value(compiled, range),
            paths,
            guarded,
        })
    }

    /// The text that was compiled.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether there is no markup in it.
    pub fn is_literal(&self) -> bool {
        matches!(self.form, Form::Literal)
    }

    /// Whether it is exactly one expression, whose value keeps its type.
    pub fn is_value(&self) -> bool {
        matches!(self.form, Form::Value(..))
    }

    /// The expression of a text that is exactly one.
    pub(super) fn sole_expression(&self) -> Option<&str> {
        match &self.form {
            Form::Value(_, range) => self.source.get(range.clone()),
            Form::Literal | Form::Text(_) => None,
        }
    }

    /// Every dotted path, as minijinja finds them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The names at the beginning of every path that is used: `trigger`, `env`, ...
    pub fn referenced_names(&self) -> BTreeSet<&str> {
        self.paths
            .iter()
            .map(|path| path.split('.').next().unwrap_or(path))
            .collect()
    }

    /// The value in a scope.
    ///
    /// # Errors
    /// A name is undefined, an operation does not take its operands, or a limit is reached.
    pub fn render(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        match &self.form {
            Form::Literal => Ok(Value::String(self.source.clone())),
            Form::Value(expression, range) => {
                let value = expression
                    .eval(scope.root())
                    .map_err(|error| self.failure(&error, range.start, scope))?;
                if value.is_undefined() {
                    return Err(self.undefined(self.source.get(range.clone()), scope));
                }
                to_json(&value).map_err(|message| ExpressionError::Evaluation {
                    expression: shorten(&self.source),
                    message,
                })
            }
            Form::Text(environment) => {
                let mut text = Limited(Vec::new());
                environment
                    .get_template(NAME)
                    .and_then(|template| {
                        template
                            .render_captured_to(scope.root(), &mut text)
                            .map(drop)
                    })
                    .map_err(|error| self.failure(&error, 0, scope))?;
                Ok(Value::String(String::from_utf8_lossy(&text.0).into_owned()))
            }
        }
    }

    fn failure(&self, error: &Error, offset: usize, scope: &Scope) -> ExpressionError {
        let part = range_of(&self.guarded, error)
            .and_then(|range| self.source.get(range.start + offset..range.end + offset));
        match error.kind() {
            ErrorKind::UndefinedError => self.undefined(part, scope),
            ErrorKind::OutOfFuel => {
                ExpressionError::Limit(format!("'{}' takes too many steps", shorten(&self.source)))
            }
            ErrorKind::WriteFailure => ExpressionError::Limit(format!(
                "the result is larger than {MAX_RESULT_BYTES} bytes"
            )),
            kind => ExpressionError::Evaluation {
                expression: shorten(part.unwrap_or(&self.source)),
                message: error
                    .detail()
                    .map_or_else(|| kind.to_string(), str::to_owned),
            },
        }
    }

    /// Names what is missing: the paths of the failing part that lead nowhere, else all such paths,
    /// else the failing part itself.
    fn undefined(&self, part: Option<&str>, scope: &Scope) -> ExpressionError {
        let missing: Vec<&String> = self.paths.iter().filter(|path| !scope.has(path)).collect();
        let in_part = |path: &&String| part.is_some_and(|part| part.contains(path.as_str()));
        let mut names: Vec<String> = missing.iter().copied().filter(in_part).cloned().collect();
        if names.is_empty() {
            names = missing.into_iter().cloned().collect();
        }
        if names.is_empty() {
            names.push(shorten(part.unwrap_or(&self.source)));
        }
        ExpressionError::Undefined { names }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

fn check_length(source: &str) -> Result<(), ExpressionError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(ExpressionError::Limit(format!(
            "the text has {} bytes; a template has at most {MAX_SOURCE_BYTES}",
            source.len()
        )));
    }
    Ok(())
}

fn check_statements(source: &str) -> Result<(), ExpressionError> {
    for (offset, mark) in source.match_indices("{%") {
        let rest = source[offset + mark.len()..]
            .trim_start_matches(['-', '+'])
            .trim_start();
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = &rest[..end];
        if !STATEMENTS.contains(&word) {
            let (line, column) = position(source, offset);
            let message = format!(
                "'{}' is not a statement here; there are if and for",
                shorten(word)
            );
            return Err(ExpressionError::Syntax {
                line,
                column,
                message,
            });
        }
    }
    Ok(())
}

fn syntax(
    source: &str,
    offset: usize,
    guarded: &Option<Guarded>,
    error: &Error,
) -> ExpressionError {
    let message = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let (line, column) = match range_of(guarded, error) {
        Some(range) => position(source, offset + range.start),
        None => (
            position(source, offset).0 + error.line().unwrap_or(1).saturating_sub(1),
            1,
        ),
    };
    ExpressionError::Syntax {
        line,
        column,
        message,
    }
}

/// What is compiled.
fn text_of<'a>(guarded: &'a Option<Guarded>, source: &'a str) -> &'a str {
    guarded
        .as_ref()
        .map_or(source, |guarded| guarded.text.as_str())
}

/// Where an error is in the text that was written.
fn range_of(guarded: &Option<Guarded>, error: &Error) -> Option<Range<usize>> {
    let range = error.range()?;
    Some(match guarded {
        Some(guarded) => guarded.unguarded(range),
        None => range,
    })
}

/// Every character of an expression outside quotes, with its offset and how many brackets are open
/// before it.
fn outside_quotes(expression: &str) -> impl Iterator<Item = (usize, char, i64)> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut depth = 0_i64;
    expression.char_indices().filter_map(move |(at, c)| {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => {
                let before = depth;
                match c {
                    '"' | '\'' => quote = Some(c),
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
                return Some((at, c, before));
            }
        }
        None
    })
}

/// Refuses a bracket that closes nothing: minijinja takes `}}` for the end of a template that never
/// began, and panics.
fn check_brackets(source: &str, offset: usize, expression: &str) -> Result<(), ExpressionError> {
    let stray =
        outside_quotes(expression).find(|(_, c, open)| matches!(c, ')' | ']' | '}') && *open <= 0);
    let Some((at, bracket, _)) = stray else {
        return Ok(());
    };
    let (line, column) = position(source, offset + at);
    let message = format!("'{bracket}' closes nothing");
    Err(ExpressionError::Syntax {
        line,
        column,
        message,
    })
}

/// Where the expression is in a text that is exactly one `{{ … }}`, line ends behind it aside.
fn sole_expression(source: &str) -> Option<Range<usize>> {
    let trimmed = source.trim_end_matches(['\n', '\r']);
    let inner = trimmed.strip_prefix("{{")?.strip_suffix("}}")?;
    if outside_quotes(inner).any(|(at, _, open)| open == 0 && inner[at..].starts_with("}}")) {
        return None;
    }
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    let (start, inner) = inner
        .strip_prefix(['-', '+'])
        .map_or((2, inner), |rest| (3, rest));
    Some(start..start + inner.len())
}

/// A text of limited length.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RESULT_BYTES {
            return Err(io::Error::other("the text is longer than the limit"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

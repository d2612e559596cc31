//! What is wrong with an expression.

/// Why a text is no expression or template, or cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// The text does not follow the grammar, or uses a part of it that we leave out.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line in the text, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Names that are not there.
    #[error("'{}' {} undefined", names.join("' and '"), if names.len() == 1 { "is" } else { "are" })]
    Undefined {
        /// Each of them, such as `trigger.a.b`.
        names: Vec<String>,
    },
    /// A type or value that an operation does not take.
    #[error("'{expression}' cannot be evaluated: {message}")]
    Evaluation {
        /// The part of the text that failed.
        expression: String,
        /// What is wrong.
        message: String,
    },
    /// The text or its result is beyond a limit.
    #[error("{0}")]
    Limit(String),
}

/// An error in one text of a larger value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {error}")]
pub struct PathError {
    /// Where the text is, such as `parameters.name`.
    pub path: String,
    /// What is wrong with it.
    pub error: ExpressionError,
}

/// The line and the column, both from 1, of a byte offset in a text.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before: String = text
        .char_indices()
        .take_while(|(at, _)| *at < offset)
        .map(|(_, c)| c)
        .collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// The beginning of a text, for an error message.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.trim().chars().take(SHOWN).collect();
    if text.trim().chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

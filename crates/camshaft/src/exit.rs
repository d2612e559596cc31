//! How a command ends: its errors, how they are shown, and the exit code that follows from them.
//!
//! Every error that a person sees has a stable code. The code decides the exit status
//! ([`ErrorCode::exit_code`]) and names the page that tells cause and fix.

use std::fmt::Write as _;
use std::process::ExitCode;

use camshaft_model::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::render::escape;

/// One mistake at one place of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The file, as the person named it.
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: Option<u32>,
    /// Its column, from 1.
    pub column: Option<u32>,
    /// The path inside the document, such as `trigger.parameters.every`.
    pub path: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The stable code.
    pub code: ErrorCode,
    /// A sentence that says what and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The places, if there are any to name.
    pub problems: Vec<Problem>,
}

impl CliError {
    /// An error without a hint and without places.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            problems: Vec::new(),
        }
    }

    /// A request that makes no sense as it was typed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with places.
    #[must_use]
    pub fn problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// The status with which the process ends.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code.exit_code())
    }

    /// The text for standard error. Control characters that came from elsewhere are escaped, and
    /// nothing in it is read as markup.
    pub fn render(&self, colour: bool) -> String {
        let label = if colour {
            "\u{1b}[1;31merror:\u{1b}[0m"
        } else {
            "error:"
        };
        let mut text = format!("{label} {}\n", escape::lines(&self.message));
        for problem in &self.problems {
            let _ = writeln!(text, "  {}", problem.render());
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  hint: {}", escape::lines(hint));
        }
        let _ = writeln!(
            text,
            "  code: {code} (docs/errors/{code}.md)",
            code = self.code
        );
        text
    }
}

impl Problem {
    /// `file:line:column: message (at path)`, without what is not known.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            text.push_str(&escape::line(file));
            for number in [self.line, self.column].into_iter().flatten() {
                let _ = write!(text, ":{number}");
            }
            text.push_str(": ");
        }
        text.push_str(&escape::lines(&self.message));
        if let Some(path) = self.path.as_deref().filter(|path| !path.is_empty()) {
            let _ = write!(text, " (at {})", escape::line(path));
        }
        text
    }
}

impl From<camshaft_engine::handle::ControlError> for CliError {
    fn from(error: camshaft_engine::handle::ControlError) -> Self {
        let shown = Self::new(error.code, error.message);
        match error.hint {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    }
}

impl From<camshaft_model::definition::Problem> for Problem {
    fn from(problem: camshaft_model::definition::Problem) -> Self {
        Self {
            file: Some(problem.file),
            line: Some(problem.position.line),
            column: Some(problem.position.column),
            path: Some(problem.path),
            message: problem.message,
        }
    }
}

impl From<camshaft_server::ProblemItem> for Problem {
    fn from(item: camshaft_server::ProblemItem) -> Self {
        let number = |number: Option<usize>| number.and_then(|n| u32::try_from(n).ok());
        Self {
            file: item.file,
            line: number(item.line),
            column: number(item.column),
            path: item.path,
            message: item.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_places_hint_and_code() {
        let error = CliError::new(ErrorCode::InvalidDefinition, "2 mistakes in packs/demo")
            .hint("correct them and apply again")
            .problems(vec![
                Problem {
                    file: Some("rules/a.yaml".into()),
                    line: Some(3),
                    column: Some(5),
                    path: Some("trigger.reff".into()),
                    message: "unknown key 'reff', did you mean 'ref'?".into(),
                },
                Problem {
                    message: "the pack has no version".into(),
                    ..Problem::default()
                },
            ]);
        insta::assert_snapshot!(error.render(false), @r"
        error: 2 mistakes in packs/demo
          rules/a.yaml:3:5: unknown key 'reff', did you mean 'ref'? (at trigger.reff)
          the pack has no version
          hint: correct them and apply again
          code: invalid_definition (docs/errors/invalid_definition.md)
        ");
        assert_eq!(error.exit_code(), ExitCode::from(2));
    }

    #[test]
    fn text_of_strangers_is_shown_as_it_is_but_cannot_steer_the_terminal() {
        let error = CliError::new(
            ErrorCode::Internal,
            "[red]no markup[/red] \u{1b}[2Jgone\u{9b}1m",
        );
        insta::assert_snapshot!(error.render(false), @r"
        error: [red]no markup[/red] \u{1b}[2Jgone\u{9b}1m
          code: internal (docs/errors/internal.md)
        ");
    }

    #[test]
    fn colour_is_for_terminals_only() {
        let error = CliError::new(ErrorCode::Unreachable, "no");
        assert!(
            error
                .render(true)
                .starts_with("\u{1b}[1;31merror:\u{1b}[0m no")
        );
        assert!(!error.render(false).contains('\u{1b}'));
    }
}

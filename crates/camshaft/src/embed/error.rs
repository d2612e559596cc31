//! What an embedding program is told when something does not work.

use std::fmt;

use camshaft_engine::handle::ControlError;
use camshaft_model::{ErrorCode, ExecutionId, Failure, Status};

use crate::exit::{CliError, Problem};
use crate::pack::PROGRAM;

/// Why something was not done, or did not end well.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Definitions have mistakes, and nothing was started. The program is to be corrected.
    #[error("{what} is not valid:{}", listed(.problems))]
    Definition {
        /// What was built or started.
        what: String,
        /// Every mistake, with its task.
        problems: Vec<String>,
    },
    /// The engine did not do it, and nothing has changed. The code says whether trying later helps.
    #[error("{message}{}{}", listed(.problems), hinted(.hint))]
    Refused {
        /// The stable code, which has a page in `docs/errors/`.
        code: ErrorCode,
        /// What and where.
        message: String,
        /// The places, if there are any to name.
        problems: Vec<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The run has ended, and not as `completed`.
    #[error("the run {id} {status}{}", .failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message)))]
    Ended {
        /// The run.
        id: ExecutionId,
        /// How it ended.
        status: Status,
        /// Why.
        failure: Option<Failure>,
    },
    /// The run completed, and its result is not of the type that the program expects: the definition
    /// that it started with had another one.
    #[error("the result of the run {id} cannot be read: {reason}")]
    Result {
        /// The run.
        id: ExecutionId,
        /// What does not fit.
        reason: String,
    },
}

impl Error {
    /// The stable code, if the engine gave one.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Definition { .. } => Some(ErrorCode::InvalidDefinition),
            Self::Refused { code, .. } => Some(*code),
            Self::Ended { .. } | Self::Result { .. } => None,
        }
    }
}

fn listed(problems: &[String]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

fn hinted(hint: &Option<String>) -> String {
    hint.as_ref()
        .map_or_else(String::new, |hint| format!("\n  hint: {hint}"))
}

impl From<CliError> for Error {
    fn from(error: CliError) -> Self {
        let problems = error.problems.iter().map(described).collect();
        if error.code == ErrorCode::InvalidDefinition {
            let what = error.message.split(": ").next().unwrap_or_default();
            let what = what.to_owned();
            return Self::Definition { what, problems };
        }
        Self::Refused {
            code: error.code,
            message: error.message,
            problems,
            hint: error.hint,
        }
    }
}

impl From<ControlError> for Error {
    fn from(error: ControlError) -> Self {
        Self::Refused {
            code: error.code,
            message: error.message,
            problems: Vec::new(),
            hint: error.hint,
        }
    }
}

/// A mistake without the file and line of a definition that the program never wrote to a file.
pub(super) fn described(problem: &Problem) -> String {
    let file = problem.file.as_deref().unwrap_or_default();
    let Some(inside) = file.strip_prefix(PROGRAM) else {
        return problem.render();
    };
    let definition = inside.rsplit('/').next().unwrap_or(inside);
    let definition = definition.strip_suffix(".yaml").unwrap_or(definition);
    let path = problem.path.as_deref().unwrap_or_default();
    let place = Place { definition, path };
    format!("{place}{}", problem.message)
}

struct Place<'a> {
    definition: &'a str,
    path: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.definition)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        Ok(())
    }
}

//! What is wrong with a text that a person wrote, and where. Every mistake of a load is collected
//! and shown at once, so that a person mends a file in one go.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file: relative to the pack's folder, or as it was named.
    pub file: String,
    /// Where in the file.
    #[serde(flatten)]
    pub position: Position,
    /// The key, such as `retry.max_attempts`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and, where that is known, what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{}:{line}:{column}: ", self.file)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Every mistake that was found, at least one, by file and position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// All of them, sorted; `Ok` if there are none.
    ///
    /// # Errors
    /// There is at least one.
    pub fn check(mut list: Vec<Problem>) -> Result<(), Self> {
        if list.is_empty() {
            return Ok(());
        }
        list.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        list.dedup();
        Err(Self(list))
    }

    /// One mistake that concerns a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![Problem {
            file: file.into(),
            position: Position::START,
            path: String::new(),
            message: message.into(),
        }])
    }

    /// Each of them.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }

    /// Takes them apart.
    pub fn into_list(self) -> Vec<Problem> {
        self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects what is wrong with one file while it is read.
#[derive(Debug)]
pub struct Reporter {
    file: String,
    found: RefCell<Vec<Problem>>,
}

impl Reporter {
    /// A collector for a file.
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            found: RefCell::default(),
        }
    }

    /// The file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Notes a mistake.
    pub fn report(&self, position: Position, path: impl Into<String>, message: impl Into<String>) {
        self.found.borrow_mut().push(Problem {
            file: self.file.clone(),
            position,
            path: path.into(),
            message: message.into(),
        });
    }

    /// Everything that was noted.
    pub fn into_found(self) -> Vec<Problem> {
        self.found.into_inner()
    }
}

/// `; did you mean 'x'?` for the known name nearest to a wrong one, or nothing if none is near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// The known name nearest to a wrong one, if any is near enough to be what was meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.6;
    // Names are short; a text of a megabyte is no misspelt one and must cost nothing.
    const LONGEST: usize = 256;
    if wrong.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_if_it_is_near() {
        assert_eq!(
            did_you_mean("tiemout", ["retry", "timeout"]),
            "; did you mean 'timeout'?"
        );
        assert_eq!(did_you_mean("colour", ["retry", "timeout"]), "");
        assert_eq!(nearest(&"x".repeat(10_000), ["x"]), None);
    }
}

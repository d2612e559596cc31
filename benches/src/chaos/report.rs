//! What was measured beside its bound, and what was violated.

use std::fmt::{Display, Write};
use std::path::Path;

/// The most violations that are written out.
const SHOWN: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<[String; 5]>,
    violations: Vec<String>,
    kept: Vec<String>,
}

impl Report {
    /// A measurement and whether it is within its bound.
    pub(crate) fn row(
        &mut self,
        scenario: &str,
        what: &str,
        measured: impl Display,
        bound: impl Display,
        holds: bool,
    ) {
        let verdict = if holds { "ok" } else { "VIOLATED" };
        let measured = measured.to_string();
        if !holds {
            self.violations
                .push(format!("{scenario} {what}: {measured} (bound: {bound})"));
        }
        self.rows
            .push([scenario, what, &measured, &bound.to_string(), verdict].map(str::to_owned));
    }

    pub(crate) fn violation(&mut self, scenario: &str, what: impl Display) {
        self.violations.push(format!("{scenario} {what}"));
    }

    /// A promise, and everything that was found to break it.
    pub(crate) fn promise(
        &mut self,
        scenario: &str,
        what: &str,
        of: impl Display,
        broken: Vec<String>,
    ) {
        let holds = broken.is_empty();
        let verdict = if holds { "ok" } else { "VIOLATED" };
        let measured = format!("{} of {of}", broken.len());
        self.rows
            .push([scenario, what, &measured, "0", verdict].map(str::to_owned));
        self.violations.extend(
            broken
                .into_iter()
                .map(|broken| format!("{scenario} {what}: {broken}")),
        );
    }

    /// Where the files of a scenario with violations are.
    pub(crate) fn keep(&mut self, folder: &Path) {
        self.kept.push(folder.display().to_string());
    }

    /// How many violations there are so far.
    pub(crate) fn violations(&self) -> usize {
        self.violations.len()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn render(&self, seed: u64) -> String {
        let header = ["", "what", "measured", "bound", ""].map(str::to_owned);
        let rows: Vec<&[String; 5]> = std::iter::once(&header).chain(&self.rows).collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..5).map(width).collect();
        let mut text = String::new();
        for row in rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        for violation in self.violations.iter().take(SHOWN) {
            let _ = writeln!(text, "violation: {violation}");
        }
        if self.violations.len() > SHOWN {
            let _ = writeln!(
                text,
                "and {} more violations",
                self.violations.len() - SHOWN
            );
        }
        for folder in &self.kept {
            let _ = writeln!(text, "kept: {folder}");
        }
        let verdict = if self.is_clean() {
            "every promise held"
        } else {
            "PROMISES WERE BROKEN"
        };
        let _ = writeln!(text, "seed {seed}: {verdict}");
        text
    }
}

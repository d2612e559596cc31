//! What was measured, for people and for programs.

use std::io::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::Failure;
use crate::scenario::Scenario;

/// What a number must be to reach its bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Want {
    /// At least the bar.
    AtLeast,
    /// At most the bar.
    AtMost,
    /// There is no bar; the number is for orientation.
    Nothing,
}

/// One number of one round.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// What it is.
    pub(crate) name: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The number.
    pub(crate) value: f64,
    /// What the machine gave in the same round, where the bar depends on it.
    pub(crate) limit: Option<f64>,
    /// What it must be.
    pub(crate) bar: f64,
    /// In which direction.
    pub(crate) want: Want,
}

impl Sample {
    /// A number that must be at least `share` of what the machine gave.
    pub(crate) fn share(
        name: &'static str,
        unit: &'static str,
        value: f64,
        limit: f64,
        share: f64,
    ) -> Self {
        Self {
            name,
            unit,
            value,
            limit: Some(limit),
            bar: limit * share,
            want: Want::AtLeast,
        }
    }

    /// A number that must be at most the bar, which is the machine's limit and a margin.
    pub(crate) fn within(
        name: &'static str,
        unit: &'static str,
        value: f64,
        limit: f64,
        margin: f64,
    ) -> Self {
        Self {
            name,
            unit,
            value,
            limit: Some(limit),
            bar: limit + margin,
            want: Want::AtMost,
        }
    }

    /// A number that must be on the right side of a fixed bar.
    pub(crate) fn fixed(
        name: &'static str,
        unit: &'static str,
        value: f64,
        want: Want,
        bar: f64,
    ) -> Self {
        Self {
            name,
            unit,
            value,
            limit: None,
            bar,
            want,
        }
    }

    /// A number without a bar.
    pub(crate) fn plain(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self {
            name,
            unit,
            value,
            limit: None,
            bar: 0.0,
            want: Want::Nothing,
        }
    }
}

/// The machine that all this says something about.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    memory_mb: u64,
}

impl Machine {
    /// Asks the kernel.
    pub(crate) fn look() -> Self {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field("/proc/cpuinfo", "model name"),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            memory_mb: memory
                .split(' ')
                .next()
                .and_then(|kb| kb.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
        }
    }
}

/// One number with all its rounds.
#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    scenario: &'static str,
    name: &'static str,
    unit: &'static str,
    value: f64,
    limit: Option<f64>,
    bar: Option<f64>,
    want: Want,
    /// The value over the bar, the median of the rounds.
    ratio: Option<f64>,
    pass: Option<bool>,
    #[serde(skip)]
    limits: Vec<f64>,
    #[serde(skip)]
    bars: Vec<f64>,
    rounds: Vec<f64>,
}

impl Row {
    fn count(&mut self) {
        self.value = median(&self.rounds);
        self.limit = (!self.limits.is_empty()).then(|| median(&self.limits));
        if self.want == Want::Nothing {
            return;
        }
        let ratios: Vec<f64> = self
            .rounds
            .iter()
            .zip(&self.bars)
            .map(|(value, bar)| value / bar)
            .collect();
        let ratio = median(&ratios);
        self.bar = Some(median(&self.bars));
        self.ratio = Some(ratio);
        self.pass = Some(if self.want == Want::AtLeast {
            ratio >= 1.0
        } else {
            ratio <= 1.0
        });
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rounds: u32,
    rows: Vec<Row>,
}

impl Report {
    /// A report without numbers.
    pub(crate) const fn new(machine: Machine, rounds: u32) -> Self {
        Self {
            machine,
            rounds,
            rows: Vec::new(),
        }
    }

    /// Adds the numbers of one round.
    pub(crate) fn add(&mut self, scenario: &Scenario, samples: Vec<Sample>) {
        for sample in samples {
            let known = self
                .rows
                .iter()
                .position(|row| row.id == scenario.id && row.name == sample.name);
            let position = known.unwrap_or_else(|| {
                self.rows.push(Row {
                    id: scenario.id,
                    scenario: scenario.title,
                    name: sample.name,
                    unit: sample.unit,
                    value: 0.0,
                    limit: None,
                    bar: None,
                    want: sample.want,
                    ratio: None,
                    pass: None,
                    limits: Vec::new(),
                    bars: Vec::new(),
                    rounds: Vec::new(),
                });
                self.rows.len() - 1
            });
            let row = &mut self.rows[position];
            row.rounds.push(sample.value);
            row.bars.push(sample.bar);
            row.limits.extend(sample.limit);
            row.count();
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["id", "what", "median", "unit", "limit", "bar", "of bar", ""]);
        for row in &self.rows {
            let bar = match (row.bar, row.want) {
                (Some(bar), Want::AtLeast) => format!(">= {}", number(bar)),
                (Some(bar), _) => format!("<= {}", number(bar)),
                (None, _) => String::new(),
            };
            table.add_row([
                row.id.to_owned(),
                row.name.to_owned(),
                number(row.value),
                row.unit.to_owned(),
                row.limit.map(number).unwrap_or_default(),
                bar,
                row.ratio
                    .map(|ratio| format!("{ratio:.2}"))
                    .unwrap_or_default(),
                match row.pass {
                    Some(true) => "pass".to_owned(),
                    Some(false) => "MISS".to_owned(),
                    None => String::new(),
                },
            ]);
        }
        for column in [2, 4, 5, 6] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let Machine {
            cores,
            cpu,
            kernel,
            memory_mb,
        } = &self.machine;
        let (rounds, verdict) = (self.rounds, self.verdict());
        format!(
            "{cores} cores, {cpu}, Linux {kernel}, {memory_mb} MB; medians of {rounds} rounds\n\n{table}\n\n{verdict}\n"
        )
    }

    /// Which bars were missed.
    fn verdict(&self) -> String {
        let missed = self.rows.iter().filter(|row| row.pass == Some(false));
        let missed: Vec<String> = missed
            .map(|row| format!("{} {}", row.id, row.name))
            .collect();
        match missed.len() {
            0 => "every bar was reached".to_owned(),
            count => format!("bars missed: {count} ({})", missed.join("; ")),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let half = values.len() / 2;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The value that `share` of them do not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Standard output is for the result.
pub(crate) fn print(text: &str) {
    // Nobody is left to be told if this fails.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Standard error is for everything else.
pub(crate) fn complain(text: &str) {
    // As above.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn medians_and_quantiles_are_of_what_there_is() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (quantile(&hundred, 0.5), quantile(&hundred, 0.95)),
            (50.0, 95.0)
        );
        assert_eq!(quantile(&[7.0], 0.95), 7.0);
    }

    #[test]
    fn a_round_is_compared_with_the_limit_of_its_own_round() {
        let mut report = Report::new(Machine::look(), 3);
        // The machine was twice as fast in the second round, and so were we.
        for (value, limit) in [(700.0, 1_000.0), (1_500.0, 2_000.0), (800.0, 1_000.0)] {
            report.add(
                &SCENARIOS[0],
                vec![Sample::share("rate", "/s", value, limit, 0.7)],
            );
        }
        let row = &report.rows[0];
        assert_eq!(
            (row.value, row.limit, row.pass),
            (800.0, Some(1_000.0), Some(true))
        );
        assert!((row.ratio.unwrap() - 0.75 / 0.7).abs() < 1e-9);
        assert!(report.table().contains("pass"));
        assert!(report.table().ends_with("\nevery bar was reached\n"));
    }

    #[test]
    fn what_takes_too_long_is_a_miss() {
        let mut report = Report::new(Machine::look(), 1);
        report.add(
            &SCENARIOS[0],
            vec![
                Sample::within("latency", "ms", 2.0, 1.0, 0.5),
                Sample::plain("other", "", 1.0),
            ],
        );
        assert_eq!(
            (report.rows[0].pass, report.rows[1].pass),
            (Some(false), None)
        );
        assert!(report.json().unwrap().contains("\"pass\": false"));
        let missed = format!("\nbars missed: 1 ({} latency)\n", SCENARIOS[0].id);
        assert!(report.table().ends_with(&missed));
    }
}

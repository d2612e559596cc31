//! The operator `search`: criteria on the items of a list.
//!
//! Its pattern is a map of criteria by path, in which `item` is the item, and `condition`:
//! ```yaml
//! trigger.disks:
//!   type: search
//!   pattern:
//!     condition: any          # the default
//!     item.name: { type: startswith, pattern: sd }
//!     item.used: { type: greaterthan, pattern: 90 }
//! ```

use camshaft_model::Timestamp;
use camshaft_model::definition::problem::did_you_mean;
use serde_json::Value;

use super::comparison::Comparison;
use super::operators::Operator;
use super::path::Path;
use super::value::type_name;

const CONDITIONS: &[&str] = &["any", "all", "all2any", "any2any"];

#[derive(Debug, Clone, Copy)]
enum Condition {
    /// Some item satisfies every criterion.
    Any,
    /// Every item satisfies every criterion.
    All,
    /// Every criterion is satisfied by some item.
    AllToAny,
    /// Some criterion is satisfied by some item.
    AnyToAny,
}

#[derive(Debug)]
pub(super) struct Search {
    condition: Condition,
    criteria: Vec<(Path, Comparison)>,
}

impl Search {
    pub(super) fn compile(pattern: &Value) -> Result<Self, String> {
        let map = pattern.as_object().ok_or_else(|| {
            format!(
                "the pattern of search must be a map of criteria, and this is {}",
                type_name(pattern)
            )
        })?;
        let condition = map.get("condition").map_or(Ok(Condition::Any), condition)?;
        let criteria: Vec<_> = map
            .iter()
            .filter(|(path, _)| *path != "condition")
            .map(|(path, criterion)| self::criterion(path, criterion))
            .collect::<Result<_, _>>()?;
        if criteria.is_empty() {
            return Err("search needs at least one criterion, such as item.name".to_owned());
        }
        Ok(Self {
            condition,
            criteria,
        })
    }

    pub(super) fn holds(&self, value: &Value, now: Timestamp) -> Result<bool, String> {
        let items = value.as_array().ok_or_else(|| {
            format!(
                "search needs a list: the value is {} and the pattern a map",
                type_name(value)
            )
        })?;
        let test = |item: &Value, (path, comparison): &(Path, Comparison)| {
            comparison.holds(path.resolve(item), now)
        };
        let satisfies_all = |item: &Value| all(self.criteria.iter().map(|c| test(item, c)));
        match self.condition {
            Condition::Any => any(items.iter().map(satisfies_all)),
            Condition::All => all(items.iter().map(satisfies_all)),
            Condition::AllToAny => all(self
                .criteria
                .iter()
                .map(|c| any(items.iter().map(|item| test(item, c))))),
            Condition::AnyToAny => any(self
                .criteria
                .iter()
                .map(|c| any(items.iter().map(|item| test(item, c))))),
        }
    }
}

fn condition(value: &Value) -> Result<Condition, String> {
    match value.as_str() {
        Some("any") => Ok(Condition::Any),
        Some("all") => Ok(Condition::All),
        Some("all2any") => Ok(Condition::AllToAny),
        Some("any2any") => Ok(Condition::AnyToAny),
        other => {
            let hint = other.map_or_else(String::new, |text| {
                did_you_mean(text, CONDITIONS.iter().copied())
            });
            Err(format!(
                "the condition of search is one of {}{hint}",
                CONDITIONS.join(", ")
            ))
        }
    }
}

fn criterion(path: &str, criterion: &Value) -> Result<(Path, Comparison), String> {
    let parsed = Path::parse(path, &["item"])?;
    let inside = |message: String| format!("{path}: {message}");
    let operator = criterion.get("type").and_then(Value::as_str);
    let operator = operator.ok_or_else(|| inside("write { type: …, pattern: … }".to_owned()))?;
    let operator: Operator = operator
        .parse()
        .map_err(|error| inside(format!("{error}")))?;
    if operator == Operator::Search {
        return Err(inside("search does not nest".to_owned()));
    }
    let pattern = criterion.get("pattern").unwrap_or(&Value::Null);
    Ok((
        parsed,
        Comparison::compile(operator, pattern).map_err(inside)?,
    ))
}

/// Three-valued: one that does not hold decides, then one that cannot be evaluated.
fn all(tests: impl Iterator<Item = Result<bool, String>>) -> Result<bool, String> {
    let mut failed = None;
    for test in tests {
        match test {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(reason) => failed = failed.or(Some(reason)),
        }
    }
    failed.map_or(Ok(true), Err)
}

/// Three-valued: one that holds decides, then one that cannot be evaluated.
fn any(tests: impl Iterator<Item = Result<bool, String>>) -> Result<bool, String> {
    all(tests.map(|test| test.map(|holds| !holds))).map(|none| !none)
}

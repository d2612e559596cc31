//! Criteria, compiled: a path, an operator and a pattern, tested against an event.

use std::cell::OnceCell;

use camshaft_model::definition::Criterion;
use camshaft_model::{Event, Timestamp};
use serde_json::{Value, json};

use super::comparison::Comparison;
use super::operators::Operator;
use super::path::Path;
use super::trial::CriterionTrial;
use super::value::shown;

/// What a path may begin with.
const ROOTS: &[&str] = &["trigger", "event"];

/// An event as criteria and expressions see it.
pub(super) struct View<'a> {
    pub(super) event: &'a Event,
    pub(super) now: Timestamp,
    described: OnceCell<Value>,
}

impl<'a> View<'a> {
    pub(super) fn new(event: &'a Event, now: Timestamp) -> Self {
        Self {
            event,
            now,
            described: OnceCell::new(),
        }
    }

    /// The event without its payload: `event` in expressions and paths.
    pub(super) fn described(&self) -> &Value {
        self.described.get_or_init(|| {
            let draft = &self.event.draft;
            json!({
                "id": self.event.id,
                "trigger": draft.trigger,
                "source": draft.source,
                "received_at": self.event.received_at,
                "occurred_at": draft.occurred_at.unwrap_or(self.event.received_at),
                "dedup_key": draft.dedup_key,
            })
        })
    }

    fn root(&self, name: &str) -> &Value {
        if name == "event" {
            self.described()
        } else {
            &self.event.draft.payload
        }
    }
}

/// A criterion, compiled.
#[derive(Debug)]
pub(super) struct CompiledCriterion {
    criterion: Criterion,
    compiled: Result<(Path, Comparison), String>,
}

/// Whether path, operator and pattern of a criterion go together; gives the operator its canonical
/// name.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn check_criterion(mut criterion: Criterion) -> Result<Criterion, String> {
    let operator: Operator = criterion
        .operator
        .parse()
        .map_err(|error| format!("{error}"))?;
    operator.as_str().clone_into(&mut criterion.operator);
    compile(&criterion)?;
    Ok(criterion)
}

fn compile(criterion: &Criterion) -> Result<(Path, Comparison), String> {
    let path = Path::parse(&criterion.path, ROOTS)?;
    let operator: Operator = criterion
        .operator
        .parse()
        .map_err(|error| format!("{error}"))?;
    Ok((path, Comparison::compile(operator, &criterion.pattern)?))
}

impl CompiledCriterion {
    /// Compiles a criterion. One that does not compile cannot be evaluated on any event, and says so.
    pub(super) fn new(criterion: Criterion) -> Self {
        let compiled = compile(&criterion);
        Self {
            criterion,
            compiled,
        }
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// It cannot be evaluated: a sentence.
    pub(super) fn holds(&self, view: &View<'_>) -> Result<bool, String> {
        match &self.compiled {
            Ok((path, comparison)) => {
                comparison.holds(path.resolve(view.root(&path.root)), view.now)
            }
            Err(problem) => Err(problem.clone()),
        }
    }

    /// The path into the payload and what its value must equal, if that is what this criterion says.
    pub(super) fn equality(&self) -> Option<(&Path, &Value)> {
        let (path, comparison) = self.compiled.as_ref().ok()?;
        let pattern = comparison.equals()?;
        (path.root == "trigger").then_some((path, pattern))
    }

    /// The outcome with both values.
    pub(super) fn trial(&self, view: &View<'_>) -> CriterionTrial {
        let found = self
            .compiled
            .as_ref()
            .ok()
            .and_then(|(path, _)| path.resolve(view.root(&path.root)));
        let (holds, problem) = match self.holds(view) {
            Ok(holds) => (Some(holds), None),
            Err(problem) => (None, Some(problem)),
        };
        CriterionTrial {
            path: self.criterion.path.clone(),
            operator: self.criterion.operator.clone(),
            pattern: self.criterion.pattern.clone(),
            value: found.cloned(),
            holds,
            problem,
        }
    }

    /// `criterion trigger.count greaterthan 5`.
    pub(super) fn name(&self) -> String {
        name(
            &self.criterion.path,
            &self.criterion.operator,
            &self.criterion.pattern,
        )
    }
}

fn name(path: &str, operator: &str, pattern: &Value) -> String {
    let takes_none = matches!(operator.parse(), Ok(Operator::Exists | Operator::NotExists));
    let pattern = if takes_none {
        String::new()
    } else {
        format!(" {}", shown(pattern))
    };
    format!("criterion {path} {operator}{pattern}")
}

/// A criterion's outcome in a sentence without its full stop.
pub(super) fn sentence(trial: &CriterionTrial) -> String {
    let name = name(&trial.path, &trial.operator, &trial.pattern);
    let value = trial.value.as_ref().map_or_else(
        || "the path leads nowhere".to_owned(),
        |value| format!("the value is {}", shown(value)),
    );
    match (trial.holds, &trial.problem) {
        (Some(true), _) => format!("{name} holds: {value}"),
        (Some(false), _) => format!("{name} does not hold: {value}"),
        (None, problem) => {
            format!(
                "{name} cannot be evaluated: {}",
                problem.as_deref().unwrap_or(value.as_str())
            )
        }
    }
}

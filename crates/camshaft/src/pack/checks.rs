//! The checks of definitions that need the engine: JSON Schemas, schedules, operators, expressions.

use camshaft_engine::expression::Template;
use camshaft_engine::parameters;
use camshaft_engine::rule::Operator;
use camshaft_engine::schedule::{Schedule, ScheduleError};
use camshaft_link::mqtt::topic::is_filter;
use camshaft_model::Object;
use camshaft_model::definition::load::{Form, Names, ParameterProblem};
use camshaft_model::definition::{Checks, Criterion, Trigger, TriggerKind};
use serde_json::Value;

/// The engine's answers to [`Checks`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineChecks;

impl Checks for EngineChecks {
    fn criterion(&self, criterion: Criterion) -> Result<Criterion, String> {
        let operator: Operator = criterion
            .operator
            .parse()
            .map_err(|error: camshaft_engine::rule::UnknownOperator| error.to_string())?;
        Ok(Criterion {
            operator: operator.as_str().to_owned(),
            ..criterion
        })
    }

    fn expression(&self, text: &str) -> Result<Names, String> {
        Template::expression(text)
            .map(|template| names(&template))
            .map_err(|error| error.to_string())
    }

    fn template(&self, text: &str) -> Result<Names, String> {
        Template::parse(text)
            .map(|template| names(&template))
            .map_err(|error| error.to_string())
    }

    fn schema(&self, schema: &Value) -> Result<(), String> {
        parameters::check_schema(schema)
    }

    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        parameters::validate(schema, value)
    }

    fn trigger_parameters(
        &self,
        trigger: &Trigger,
        given: Object,
    ) -> Result<Object, Vec<ParameterProblem>> {
        let complete = parameters::check(&trigger.parameters, given).map_err(|errors| {
            errors
                .into_iter()
                .map(|error| problem(&error.path, error.message))
                .collect::<Vec<_>>()
        })?;
        let timer = matches!(
            trigger.kind,
            TriggerKind::Interval | TriggerKind::Cron | TriggerKind::Date | TriggerKind::Rrule
        );
        if timer {
            Schedule::parse(trigger.kind, &complete).map_err(|error| vec![of_schedule(&error)])?;
        }
        if trigger.kind == TriggerKind::Mqtt {
            mqtt(&complete).map_err(|problem| vec![problem])?;
        }
        Ok(complete)
    }
}

fn mqtt(parameters: &Object) -> Result<(), ParameterProblem> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    if !text("topic").is_some_and(is_filter) {
        let message = "this is no filter of topics: + and # stand alone in their level, and # is the last one";
        return Err(problem("topic", message.to_owned()));
    }
    if text("host").is_none()
        && let Some(name) = ["port", "user", "password"]
            .into_iter()
            .find(|name| parameters.contains_key(*name))
    {
        let message = "it is for a broker of the sensor's own: give 'host' as well".to_owned();
        return Err(problem(name, message));
    }
    Ok(())
}

fn names(template: &Template) -> Names {
    let form = match template.sole_name() {
        Some(path) => Form::Name(path),
        None if template.is_literal() => Form::Plain,
        None if template.is_value() => Form::Value,
        None => Form::Text,
    };
    Names {
        paths: template.names().into_iter().collect(),
        form,
    }
}

/// The parameter is the first part of a path such as `urls[0]`.
fn problem(path: &str, message: String) -> ParameterProblem {
    ParameterProblem {
        name: path.split(['.', '[']).next().unwrap_or_default().to_owned(),
        message,
    }
}

fn of_schedule(error: &ScheduleError) -> ParameterProblem {
    let name = match error {
        ScheduleError::NotATimer(_) | ScheduleError::Missing { .. } => "",
        ScheduleError::Invalid { parameter, .. } | ScheduleError::Never { parameter, .. } => {
            parameter
        }
    };
    problem(name, error.to_string())
}

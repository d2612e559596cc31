//! A request for an execution, from a person or a program.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::{Action, EntryPoint, ParameterDelivery, ParameterSchema};
use camshaft_model::port::store::Change;
use camshaft_model::{Adhoc, ErrorCode, ExecutionId, ExecutionSpec, ExecutionState, Ref};
use serde_json::json;

use super::workflow;
use crate::decision::{Decision, Unit};
use crate::handle::{ControlError, ExecutionRequest, Requested};
use crate::parameters;
use crate::state::{Context, State};
use crate::workflow::Kept;

/// The bounds of a priority.
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// The most characters of an idempotency key.
const MAX_KEY_LEN: usize = 200;

impl State {
    /// Adds an execution; a run may keep tasks of an earlier one. Its unit is the first of the decision.
    pub(crate) fn request(
        &mut self,
        request: ExecutionRequest,
        kept: Kept,
        context: &Context<'_>,
    ) -> Result<(Decision, ExecutionId), ControlError> {
        let invalid = |message: String| Err(ControlError::new(ErrorCode::InvalidRequest, message));
        if !PRIORITIES.contains(&request.priority) {
            return invalid(format!(
                "priority {} is not from -100 to 100",
                request.priority
            ));
        }
        if let Some(key) = &request.idempotency_key
            && (key.is_empty() || key.chars().count() > MAX_KEY_LEN)
        {
            return invalid(format!(
                "an idempotency key has 1 to {MAX_KEY_LEN} characters"
            ));
        }
        let mut version = None;
        let (action, adhoc) = match request.what {
            Requested::Action(reference) => (self.known_action(&reference)?, None),
            Requested::Adhoc(adhoc) => (Arc::new(adhoc_action(&adhoc)?), Some(adhoc)),
            Requested::Pinned(pinned) => {
                let action = pinned.pack.actions.get(&pinned.action).cloned();
                let action = action.ok_or_else(|| {
                    let message = format!("there is no action '{}' in it", pinned.action);
                    ControlError::new(ErrorCode::NotFound, message)
                })?;
                version = Some(pinned);
                (action, None)
            }
        };
        let parameters =
            parameters::check(&action.parameters, request.parameters).map_err(|problems| {
                ControlError::new(
                    ErrorCode::InvalidParameters,
                    format!(
                        "parameters of {}: {}",
                        action.reference,
                        parameters::sentence(&problems)
                    ),
                )
                .hint(format!(
                    "see what it takes: camshaft action show {}",
                    action.reference
                ))
            })?;
        let not_before = request.not_before.filter(|at| *at > context.now);
        let id = ExecutionId::new(context.entropy.uuid(context.now));
        let mut unit = Unit::default();
        if let Some(pinned) = version {
            let hash = pinned.pack.origin.hash.clone();
            self.versions.entry(hash).or_insert(pinned.pack);
            unit.changes
                .extend(pinned.record.map(Change::PutPackVersion));
        }
        if let Some(focus) = &mut self.focus {
            focus.insert(id);
        }
        self.add(
            ExecutionSpec {
                id,
                root: id,
                parent: None,
                task: None,
                action: action.reference.clone(),
                pack_hash: action.origin.as_ref().map(|o| o.hash.clone()),
                adhoc: adhoc.map(Box::new),
                parameters: self.shared(parameters),
                priority: request.priority,
                requested_at: context.now,
                origin: request.origin,
                idempotency_key: request.idempotency_key,
                depth: 0,
                trace_parent: request.trace_parent.map(Into::into),
            },
            ExecutionState::requested(not_before),
            action,
            &mut unit,
        );
        self.keep(id, kept, &mut unit);
        let mut decision = Decision { units: vec![unit] };
        self.admit(context, &mut decision);
        Ok((decision, id))
    }

    /// An action of the current catalog, or an error that names the nearest one.
    pub(crate) fn known_action(&self, reference: &Ref) -> Result<Arc<Action>, ControlError> {
        if let Some(action) = self.catalog.action(reference) {
            return Ok(action.clone());
        }
        let nearest = nearest(
            reference,
            self.catalog
                .packs
                .values()
                .flat_map(|pack| pack.actions.keys()),
        );
        let error = ControlError::new(
            ErrorCode::NotFound,
            format!("there is no action '{reference}'"),
        );
        Err(match nearest {
            Some(known) => error.hint(format!("did you mean '{known}'?")),
            None => error.hint("list what there is: camshaft action list"),
        })
    }

    /// A sentence that names the trigger nearest to one that is not there.
    pub(crate) fn no_trigger(&self, reference: &Ref) -> String {
        match nearest(
            reference,
            self.catalog
                .packs
                .values()
                .flat_map(|pack| pack.triggers.keys()),
        ) {
            Some(known) => format!("there is no trigger '{reference}'; did you mean '{known}'?"),
            None => format!("there is no trigger '{reference}'; see: camshaft trigger list"),
        }
    }

    /// The action behind a recorded execution, in the version that it is pinned to.
    pub(crate) fn action_of(&self, spec: &ExecutionSpec) -> Option<Arc<Action>> {
        if let Some(adhoc) = &spec.adhoc {
            return adhoc_action(adhoc).ok().map(Arc::new);
        }
        let action = match &spec.pack_hash {
            Some(hash) => self.versions.get(hash)?.actions.get(&spec.action)?,
            None => self.catalog.action(&spec.action)?,
        };
        let above = spec.parent.and_then(|parent| self.live.get(&parent));
        let task = above
            .and_then(|above| above.action.workflow())
            .zip(spec.task.as_ref())
            .and_then(|(workflow, place)| workflow.task(&place.name));
        Some(match task {
            Some((_, task)) => workflow::overridden(action, task),
            None => action.clone(),
        })
    }
}

/// The action that running a file without a definition amounts to.
fn adhoc_action(adhoc: &Adhoc) -> Result<Action, ControlError> {
    let stem: String = std::path::Path::new(&adhoc.path)
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .take(100)
        .collect();
    let reference: Ref = format!("adhoc.{stem}").parse().map_err(|_| {
        ControlError::new(
            ErrorCode::InvalidRequest,
            format!("'{}' names no file", adhoc.path),
        )
    })?;
    let entry_point = EntryPoint::File(adhoc.path.clone().into());
    Ok(Action {
        parameters: ParameterSchema {
            schema: json!({"type": "object", "properties": {}, "additionalProperties": false}),
            ..ParameterSchema::default()
        },
        parameter_delivery: ParameterDelivery::Env,
        timeout: adhoc.timeout_ms.map(Duration::from_millis),
        // Nobody has said that the file may be started twice.
        idempotent: false,
        ..Action::new(reference, adhoc.runtime.clone(), entry_point)
    })
}

/// The known ref that somebody may have meant.
fn nearest<'a>(reference: &Ref, known: impl Iterator<Item = &'a Ref>) -> Option<&'a Ref> {
    known
        .map(|known| {
            (
                strsim::jaro_winkler(known.as_str(), reference.as_str()),
                known,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

//! Loading a pack and trying its rules and workflows without an engine, for `camshaft pack test`.
//!
//! The pack is loaded beside the core pack and nothing else, with the checks that the engine makes
//! when it applies one, so what passes here is not refused there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use camshaft_engine::rule::{Surroundings, trial};
use camshaft_model::definition::{Catalog, Pack};
use camshaft_model::{ErrorCode, Event, EventDraft, EventId, EventSource, Ref, Timestamp};
use serde_json::Value;

use super::test::OfflinePack;
use crate::exit::{CliError, Problem};
use crate::pack::{self, PackError};

/// Loads the pack in a folder. Its mistakes are the error's problems.
pub(super) fn load(dir: &Path) -> Result<OfflinePack, CliError> {
    let core = pack::core_pack().map_err(|problems| refused(dir, PackError::Invalid(problems)))?;
    let world = Catalog {
        packs: BTreeMap::from([(core.origin.pack.clone(), core)]),
    };
    // Nothing is installed, so the folder where installed packs go does not matter.
    let plan = pack::plan(dir, Path::new(""), &world).map_err(|error| refused(dir, error))?;
    let problems: Vec<Problem> = plan.problems.into_iter().map(Into::into).collect();
    let Some(candidate) = plan.candidate.filter(|_| problems.is_empty()) else {
        let message = format!("{} is not a valid pack", dir.display());
        return Err(CliError::new(ErrorCode::InvalidDefinition, message).problems(problems));
    };
    let loaded = candidate.pack;
    let mut catalog = world.clone();
    let name = loaded.origin.pack.clone();
    catalog.packs.insert(name, loaded.clone());
    Ok(OfflinePack {
        catalog: Arc::new(catalog),
        pack: loaded.origin.pack.clone(),
        version: loaded.version.clone(),
        warnings: candidate.warnings.into_iter().map(Into::into).collect(),
        try_rule: Box::new(move |rule, payload| try_rule(&loaded, &world, rule, payload)),
    })
}

fn refused(dir: &Path, error: PackError) -> CliError {
    match error {
        PackError::Invalid(problems) => CliError::new(
            ErrorCode::InvalidDefinition,
            format!("{} is not a valid pack", dir.display()),
        )
        .problems(problems.into_list().into_iter().map(Into::into).collect()),
        PackError::Io { path, source } => {
            CliError::invalid(format!("cannot access {}: {source}", path.display()))
        }
        other => CliError::invalid(other.to_string()),
    }
}

/// Examples see neither secrets nor variables of the environment: they must not depend on a machine.
/// They all happen at one instant, for the same reason.
fn try_rule(
    loaded: &Arc<Pack>,
    world: &Catalog,
    reference: &Ref,
    payload: Value,
) -> Result<Value, CliError> {
    let rule = loaded.rules.get(reference).ok_or_else(|| {
        CliError::new(
            ErrorCode::NotFound,
            format!("an example names rule '{reference}', which the pack does not have"),
        )
    })?;
    let nothing = BTreeMap::new();
    let surroundings = Surroundings {
        secrets: &nothing,
        env: &nothing,
    };
    let now = Timestamp::default();
    let source = EventSource {
        kind: "example".to_owned(),
        name: None,
    };
    let draft = EventDraft {
        trigger: rule.trigger.clone(),
        payload,
        source,
        dedup_key: None,
        occurred_at: None,
        sensor: None,
        depth: 0,
        trace_parent: None,
    };
    let event = Event {
        id: EventId::from_bytes([0; 16]),
        received_at: now,
        draft,
    };
    let action = loaded
        .actions
        .get(&rule.action)
        .or_else(|| world.action(&rule.action));
    let trial = trial(
        rule,
        rule.enabled,
        action.map(AsRef::as_ref),
        &event,
        &surroundings,
        now,
    );
    serde_json::to_value(trial).map_err(|error| {
        CliError::new(
            ErrorCode::Internal,
            format!("the trial cannot be shown: {error}"),
        )
    })
}

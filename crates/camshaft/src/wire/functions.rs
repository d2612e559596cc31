//! Native functions that unfinished work still needs and this program does not have.
//!
//! A run goes on with the definition that it started with, which is in the database. The functions
//! that it calls are in the program, and a later version of the program may have lost some. A task
//! whose function is gone could only fail, and its run with it; so an engine does not start over such
//! a database unless it is told to.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use camshaft_engine::Engine;
use camshaft_model::definition::workflow::{Entry, LoopMode, Task, Work};
use camshaft_model::definition::{Action, EntryPoint, Pack, Workflow};
use camshaft_model::port::store::{Laps, Values};
use camshaft_model::{ErrorCode, Execution, ExecutionId, Ref, TaskRecord, TaskRef};
use camshaft_worker::runtime::native::NativeRegistry;

use super::of_store;
use crate::exit::{CliError, Problem};
use crate::pack;

/// So many of them are named.
const MAX_NAMED: usize = 20;

/// Refuses if unfinished work calls functions that are not there.
///
/// # Errors
/// It does, or the database does not answer.
pub(super) async fn check(engine: &Engine, native: &NativeRegistry) -> Result<(), CliError> {
    let mut search = Search {
        engine,
        native,
        versions: HashMap::new(),
        missing: BTreeSet::new(),
    };
    let unfinished = engine.store().unfinished().await.map_err(of_store)?;
    for execution in &unfinished {
        search.execution(execution).await?;
    }
    if search.missing.is_empty() {
        return Ok(());
    }
    let named = search.missing.iter().take(MAX_NAMED);
    let problems = named.map(|missing| Problem {
        message: format!(
            "{} of {} calls '{}'",
            missing.root, missing.user, missing.function
        ),
        ..Problem::default()
    });
    let count = search.missing.len();
    Err(CliError::new(
        ErrorCode::FunctionMissing,
        format!("unfinished work calls native functions that this program does not have ({count})"),
    )
    .problems(problems.collect())
    .hint(
        "start the program that has them, or give this one functions of these names; \
         Builder::without_functions() starts all the same and lets those tasks fail",
    ))
}

/// That an execution calls a function which is not there.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Missing {
    root: ExecutionId,
    user: String,
    function: String,
}

struct Search<'a> {
    engine: &'a Engine,
    native: &'a NativeRegistry,
    /// Versions that are not current, by hash; none where they cannot be loaded.
    versions: HashMap<String, Option<Arc<Pack>>>,
    missing: BTreeSet<Missing>,
}

impl Search<'_> {
    async fn execution(&mut self, execution: &Execution) -> Result<(), CliError> {
        let spec = &execution.spec;
        let pack = match &spec.pack_hash {
            Some(hash) => self.version(hash).await?,
            None => None,
        };
        let Some(action) = self.action(pack.as_deref(), &spec.action) else {
            return Ok(());
        };
        let Some(workflow) = action.workflow() else {
            self.needs(spec.root, spec.action.to_string(), &action);
            return Ok(());
        };
        let store = self.engine.store();
        let run = store.run(spec.id).await.map_err(of_store)?;
        let mut tasks = Vec::new();
        let lap = run.as_ref().map_or(TaskRef::KEPT_LAP, |run| run.lap);
        for lap in BTreeSet::from([TaskRef::KEPT_LAP, lap]) {
            let of_lap = store.tasks(spec.id, Laps::Only(lap), Values::LeaveOut);
            tasks.extend(of_lap.await.map_err(of_store)?);
        }
        let is_over = |task: &Task| is_over(task, workflow, &tasks);
        let tasks = workflow.tasks.iter().filter(|task| !is_over(task));
        let mut seen = BTreeSet::new();
        self.tasks(spec.root, &spec.action, pack.as_deref(), tasks, &mut seen);
        Ok(())
    }

    fn tasks<'t>(
        &mut self,
        root: ExecutionId,
        user: &Ref,
        pack: Option<&Pack>,
        tasks: impl Iterator<Item = &'t Task>,
        seen: &mut BTreeSet<Ref>,
    ) {
        for task in tasks {
            let Work::Action { reference, .. } = &task.work else {
                continue;
            };
            let Some(action) = self.action(pack, reference) else {
                continue;
            };
            self.needs(root, format!("{user}, task '{}',", task.name), &action);
            if let Some(workflow) = action.workflow()
                && seen.insert(reference.clone())
            {
                self.tasks(root, reference, pack, workflow.tasks.iter(), seen);
            }
        }
    }

    fn needs(&mut self, root: ExecutionId, user: String, action: &Action) {
        if let EntryPoint::Native(function) = &action.entry_point
            && !self.native.has(function)
        {
            self.missing.insert(Missing {
                root,
                user,
                function: function.clone(),
            });
        }
    }

    /// An action as the engine will find it: in the version of the pack, else in what is current.
    fn action(&self, pack: Option<&Pack>, reference: &Ref) -> Option<Arc<Action>> {
        let pinned = pack.and_then(|pack| pack.actions.get(reference));
        pinned
            .cloned()
            .or_else(|| self.engine.catalog().action(reference).cloned())
    }

    async fn version(&mut self, hash: &str) -> Result<Option<Arc<Pack>>, CliError> {
        let catalog = self.engine.catalog();
        let current = catalog
            .packs
            .values()
            .find(|pack| *pack.origin.hash == *hash);
        if let Some(pack) = current {
            return Ok(Some(pack.clone()));
        }
        if let Some(known) = self.versions.get(hash) {
            return Ok(known.clone());
        }
        let record = self.engine.store().pack_version(hash.to_owned()).await;
        let record = record.map_err(of_store)?;
        // One that cannot be loaded is told of when its runs are taken up.
        let pack = record.and_then(|record| pack::load_pinned(&record, &catalog).ok());
        self.versions.insert(hash.to_owned(), pack.clone());
        Ok(pack)
    }
}

/// Whether a task of a run is certain not to start again: it has ended in this lap, or is kept of an
/// earlier run.
fn is_over(task: &Task, workflow: &Workflow, records: &[TaskRecord]) -> bool {
    let once = workflow.cycles.mode == LoopMode::Once && matches!(task.entry, Entry::Needs(_));
    let has_ended =
        |record: &TaskRecord| record.task.name == task.name && record.status.is_terminal();
    once && records.iter().any(has_ended)
}

//! What a simulation is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::Catalog;
use camshaft_model::{Object, Ref};
use serde_json::Value;

use super::mock::Mocks;
use crate::handle::RetryFrom;

/// A run to be simulated, with everything that happens to it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The definitions. Rules are not looked at: only the run itself is simulated.
    pub catalog: Arc<Catalog>,
    /// What to run.
    pub action: Ref,
    /// Its parameters.
    pub parameters: Object,
    /// How attempts end.
    pub mocks: Mocks,
    /// What people and the world do meanwhile.
    pub acts: Vec<Act>,
    /// How many attempts run at once.
    pub slots: u32,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Variables that expressions may read.
    pub env: BTreeMap<String, String>,
    /// The engine is killed after so many commits, counted from 1, and started again.
    pub crash_after: Option<usize>,
}

/// Something that happens to a run.
#[derive(Debug, Clone)]
pub struct Act {
    /// How long after the start; `None` as soon as there is reason to (a question is asked, the run
    /// has ended).
    pub at: Option<Duration>,
    /// What happens.
    pub what: Move,
    /// A part of the error with which it must be refused. `None`: it must not be refused.
    pub refused: Option<String>,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Move {
    /// An event is emitted.
    Event {
        /// Its trigger.
        trigger: Ref,
        /// What it carries.
        payload: Value,
    },
    /// Somebody answers the question of a task.
    Answer(Answer),
    /// The run is cancelled.
    Cancel,
    /// Somebody holds the run.
    Pause,
    /// Somebody lets the run go on.
    Resume,
    /// The run, which has ended, is run once more. What follows concerns the new one.
    Retry(RetryFrom),
}

/// An answer to the question of a task.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The path of the task.
    pub task: String,
    /// Yes or no.
    pub approve: bool,
    /// What the schema asks for.
    pub response: Value,
    /// Who answers.
    pub by: String,
    /// The roles of who answers; `None` for somebody who has every role.
    pub roles: Option<Vec<String>>,
}

impl Scenario {
    /// A run of an action in which every attempt completes with null at once and nothing else happens.
    pub fn new(catalog: Arc<Catalog>, action: Ref) -> Self {
        Self {
            catalog,
            action,
            parameters: Object::new(),
            mocks: Mocks::default(),
            acts: Vec::new(),
            slots: DEFAULT_SLOTS,
            secrets: BTreeMap::new(),
            env: BTreeMap::new(),
            crash_after: None,
        }
    }
}

/// How many attempts run at once if the scenario does not say: as good as no limit.
const DEFAULT_SLOTS: u32 = 1_000;

//! The loop: takes what comes next to the engine's decisions, stores what they say, and performs their
//! effects on mocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::Catalog;
use camshaft_model::port::dispatch::{AttemptEnd, Capacity, Job, Report};
use camshaft_model::{
    AttemptKey, ExecutionId, Failure, FailureKind, Object, Origin, Output, Status, StepEventDraft,
    StepEventType, Timestamp, duration,
};
use serde_json::Value;

use super::agenda::{Agenda, Coming, Counter};
use super::ledger::Ledger;
use super::mock::Mock;
use super::outcome::Outcome;
use super::scenario::{Move, Scenario};
use crate::decision::{Decision, Effect};
use crate::handle::{ExecutionRequest, Requested};
use crate::parameters;
use crate::state::{Context, Settings, State};
use crate::token::TokenSigner;
use crate::workflow::{Kept, RUN_MEMORY_BYTES};

/// The most commits of a simulation: a loop without an end stops here.
const MAX_COMMITS: usize = 100_000;
/// The most turns of the loop, also of those that store nothing.
const MAX_TURNS: usize = 4 * MAX_COMMITS;
/// The worker that the event log names.
const WORKER: &str = "simulated";
/// The instant at which every simulation begins, in microseconds: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600_000_000;

/// How an attempt that runs will end.
#[derive(Debug)]
struct Plan {
    key: AttemptKey,
    job: Job,
    started_at: Timestamp,
    mock: Mock,
    /// Its instant came while the attempt waited to be started again.
    overdue: bool,
}

/// A simulation under way.
pub(super) struct Bench<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) state: State,
    pub(super) ledger: Ledger,
    pub(super) now: Timestamp,
    pub(super) runs: Vec<ExecutionId>,
    pub(super) complaints: Vec<String>,
    agenda: Agenda,
    chance: Counter,
    plans: HashMap<ExecutionId, Plan>,
    /// How many attempts at each task or item were started, those after a crash not counted again.
    tried: HashMap<String, usize>,
    /// Acts without an instant that are still to come.
    pending: BTreeSet<usize>,
    crashed: bool,
}

/// Simulates a run.
pub fn run(scenario: &Scenario) -> Outcome {
    let mut bench = Bench::new(scenario);
    bench.begin();
    bench.turn_until_quiet();
    bench.outcome()
}

impl<'a> Bench<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            state: new_state(scenario, 1),
            ledger: Ledger::default(),
            now: Timestamp::from_micros(BEGINNING),
            runs: Vec::new(),
            complaints: Vec::new(),
            agenda: Agenda::default(),
            chance: Counter::default(),
            plans: HashMap::new(),
            tried: HashMap::new(),
            pending: BTreeSet::new(),
            crashed: false,
        }
    }

    fn begin(&mut self) {
        self.state.capacity = capacity(self.scenario);
        for (place, act) in self.scenario.acts.iter().enumerate() {
            match act.at {
                Some(at) => self.agenda.plan(self.now + at, Coming::Act(place)),
                None => {
                    self.pending.insert(place);
                }
            }
        }
        let request = ExecutionRequest {
            what: Requested::Action(self.scenario.action.clone()),
            parameters: self.scenario.parameters.clone(),
            priority: 0,
            not_before: None,
            idempotency_key: None,
            origin: Origin::Library,
            trace_parent: None,
        };
        match self.apply(|state, context| state.request(request, Kept::new(), context)) {
            Ok((decision, id)) => {
                self.runs.push(id);
                self.commit(decision);
            }
            Err(error) => {
                let hint = error.hint.as_deref().unwrap_or_default();
                self.complain(format!("the run was refused: {} {hint}", error.message));
            }
        }
    }

    fn turn_until_quiet(&mut self) {
        for _ in 0..MAX_TURNS {
            if self.ledger.commits > MAX_COMMITS || !self.turn() {
                break;
            }
        }
        if self.ledger.commits > MAX_COMMITS {
            self.complain(format!("it did not end within {MAX_COMMITS} commits"));
        } else if self.agenda.next().is_some() || self.state.next_due().is_some() {
            self.complain(format!("it did not end within {MAX_TURNS} turns"));
        }
        for place in std::mem::take(&mut self.pending) {
            let what = self.scenario.acts[place].what.clone();
            self.complain(format!("there was never reason for {}", told(&what)));
        }
    }

    /// Does what comes next. `false` if nothing comes any more.
    fn turn(&mut self) -> bool {
        if let Some(place) = self.prompted() {
            self.pending.remove(&place);
            self.act(place);
            return true;
        }
        let coming = self.agenda.next();
        match (coming, self.state.next_due()) {
            (None, None) => self.end_prompted(),
            // What ends at a deadline has met it.
            (Some(coming), due) if due.is_none_or(|due| coming <= due) => {
                self.now = self.now.max(coming);
                match self.agenda.pop() {
                    Some(Coming::End(id)) => self.end(id),
                    Some(Coming::Act(place)) => self.act(place),
                    None => {}
                }
                true
            }
            (_, due) => {
                self.now = self.now.max(due.unwrap_or(self.now));
                let decision = self.apply(State::due);
                self.commit(decision);
                true
            }
        }
    }

    /// The first act without an instant for which there is reason now.
    fn prompted(&self) -> Option<usize> {
        let first = *self.pending.first()?;
        self.has_reason(&self.scenario.acts[first].what)
            .then_some(first)
    }

    /// Nothing comes any more: the time for acts on a run that has ended.
    fn end_prompted(&mut self) -> bool {
        let Some(place) = self.pending.first().copied() else {
            return false;
        };
        let over = self.runs.last().and_then(|id| self.ledger.execution(*id));
        let over = over.is_some_and(|run| run.state.status.is_terminal());
        let concerns_the_end = !matches!(self.scenario.acts[place].what, Move::Answer(_));
        if over && concerns_the_end {
            self.pending.remove(&place);
            self.act(place);
            return true;
        }
        false
    }

    fn act(&mut self, place: usize) {
        let act = &self.scenario.acts[place];
        match (self.command(&act.what), &act.refused) {
            (Ok(decision), None) => self.commit(decision),
            (Ok(decision), Some(expected)) => {
                self.commit(decision);
                let what = told(&act.what);
                self.complain(format!(
                    "{what} was to be refused ({expected}), and was not"
                ));
            }
            (Err(error), Some(expected)) if error.contains(expected.as_str()) => {}
            (Err(error), _) => {
                let what = told(&act.what);
                self.complain(format!("{what} was refused: {error}"));
            }
        }
    }

    pub(super) fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    /// Makes a decision at the present instant.
    pub(super) fn apply<R>(&mut self, command: impl FnOnce(&mut State, &Context<'_>) -> R) -> R {
        let context = Context {
            now: self.now,
            entropy: &self.chance,
        };
        command(&mut self.state, &context)
    }

    /// Stores the units of a decision one after another and performs the effects of each. A crash loses
    /// the effects of the unit that it follows, and all later units.
    pub(super) fn commit(&mut self, decision: Decision) {
        if let Some(id) = decision.torn() {
            self.complain(format!("{id} is new in one unit and moves in another"));
        }
        for mut unit in decision.units {
            let transaction = unit.transaction(&self.state, self.now);
            if transaction.changes.is_empty() && unit.effects.is_empty() {
                continue;
            }
            if let Err(refusal) = self.ledger.store(transaction, self.now) {
                self.complain(format!("a change was refused by the store: {refusal}"));
                continue;
            }
            if !self.crashed && self.scenario.crash_after == Some(self.ledger.commits) {
                self.crashed = true;
                self.restart();
                return;
            }
            unit.effects
                .into_iter()
                .for_each(|effect| self.perform(effect));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Start(job) => self.start(*job),
            Effect::Cancel(key, _) => self.stop(key),
            Effect::Told => self.state.untold.answered(),
            Effect::Held(_) | Effect::Sensors | Effect::Definitions(_) => {}
        }
    }

    fn start(&mut self, job: Job) {
        let id = job.key.execution;
        if let Some(plan) = self.plans.get_mut(&id) {
            // It was cut off before, and ends as it would have ended.
            plan.key = job.key;
            if std::mem::take(&mut plan.overdue) {
                self.agenda.plan(self.now, Coming::End(id));
            }
            return;
        }
        let mock = self.mock_of(&job);
        let limit = job.timeout.unwrap_or(Duration::MAX);
        self.agenda
            .plan(self.now + mock.takes.min(limit), Coming::End(id));
        let mock = if mock.takes > limit {
            Mock {
                status: Status::TimedOut,
                error: Some(format!(
                    "stopped at its timeout, having run for {}",
                    duration::display(limit)
                )),
                ..mock
            }
        } else {
            mock
        };
        let plan = Plan {
            key: job.key,
            job,
            started_at: self.now,
            mock,
            overdue: false,
        };
        self.plans.insert(id, plan);
    }

    fn mock_of(&mut self, job: &Job) -> Mock {
        let mut path = self.ledger.path(job.key.execution);
        if path.0.is_empty() {
            // Not a workflow: its attempts are mocked under the name of the action.
            path.0.push(camshaft_model::TaskRef {
                lap: 0,
                name: job.step.clone(),
                visit: 1,
                item: None,
            });
        }
        let nth = self.tried.entry(path.without_visits()).or_default();
        let found = self.scenario.mocks.find(&path, *nth).cloned();
        *nth += 1;
        if found.is_none() && self.scenario.mocks.strict {
            self.complain(format!("'{path}' ran and has no mock"));
        }
        let mock = found.unwrap_or_default();
        let mock = if mock.echo {
            Mock {
                result: Value::Object(Object::clone(&job.parameters)),
                ..mock
            }
        } else {
            mock
        };
        if mock.status == Status::Completed
            && let Some(schema) = &job.action.output_schema
            && let Err(problem) = parameters::validate(schema, &mock.result)
        {
            self.complain(format!(
                "the mock of '{path}' returns what {} cannot return: {problem}",
                job.action.reference
            ));
        }
        mock
    }

    fn stop(&mut self, key: AttemptKey) {
        let id = key.execution;
        if let Some(plan) = self.plans.get_mut(&id).filter(|plan| plan.key == key) {
            plan.mock.status = Status::Cancelled;
            self.agenda.forget(id);
            self.agenda.plan(self.now, Coming::End(id));
        }
    }

    /// The end of an attempt has come.
    fn end(&mut self, id: ExecutionId) {
        let at = self.ledger.execution(id);
        let runs = at.is_some_and(|at| at.state.status.holds_lease());
        let Some(plan) = self.plans.get_mut(&id) else {
            return;
        };
        if !runs || at.is_some_and(|at| at.key() != plan.key) {
            plan.overdue = true;
            return;
        }
        if let Some(plan) = self.plans.remove(&id) {
            let report = report(plan, self.now);
            let decision = self.apply(|state, context| state.report(report, context));
            self.commit(decision);
        }
    }

    /// Throws everything away but what is stored, and takes that up again.
    fn restart(&mut self) {
        let epoch = self.state.epoch + 1;
        self.state = new_state(self.scenario, epoch);
        self.recover();
        let over: Vec<ExecutionId> = self
            .plans
            .keys()
            .filter(|id| {
                let execution = self.ledger.execution(**id);
                execution.is_none_or(|execution| execution.state.status.is_terminal())
            })
            .copied()
            .collect();
        for id in over {
            self.plans.remove(&id);
            self.agenda.forget(id);
        }
        self.state.capacity = capacity(self.scenario);
        let decision = self.apply(State::due);
        self.commit(decision);
    }

    fn outcome(mut self) -> Outcome {
        let mut stuck: Vec<String> = self
            .state
            .live
            .values()
            .map(|live| {
                let path = self.ledger.path(live.spec.id);
                let name = if path.0.is_empty() {
                    live.spec.step().to_owned()
                } else {
                    path.to_string()
                };
                let why = self.state.blocked_by(live, self.now);
                let why = why.filter(|_| live.state.status == Status::Requested);
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                format!("{name} is {}{why}", live.state.status)
            })
            .collect();
        stuck.sort();
        self.complaints.extend(self.ledger.violations());
        Outcome {
            runs: self.runs,
            ledger: self.ledger,
            began_at: Timestamp::from_micros(BEGINNING),
            complaints: self.complaints,
            stuck,
        }
    }
}

/// An act, for people.
fn told(what: &Move) -> String {
    match what {
        Move::Event { trigger, .. } => format!("an event of {trigger}"),
        Move::Answer(answer) => format!("an answer to '{}'", answer.task),
        Move::Cancel => "a cancel".to_owned(),
        Move::Pause => "a pause".to_owned(),
        Move::Resume => "a resume".to_owned(),
        Move::Retry(_) => "a retry".to_owned(),
    }
}

fn new_state(scenario: &Scenario, epoch: i64) -> State {
    let settings = Settings {
        max_depth: 10,
        run_memory_bytes: RUN_MEMORY_BYTES,
        cancel_grace: Duration::from_secs(10),
        secrets: scenario.secrets.clone(),
        env: scenario.env.clone(),
        signer: TokenSigner::new(&[0; 32]),
        project: "default".to_owned(),
    };
    let mut state = State::new(settings, WORKER);
    let mut catalog = Catalog::clone(&scenario.catalog);
    for pack in catalog.packs.values_mut() {
        // What else happens in the world when an event comes is no matter of the run.
        Arc::make_mut(pack).rules.clear();
        state
            .versions
            .insert(pack.origin.hash.clone(), pack.clone());
    }
    state.catalog = Arc::new(catalog);
    state.reindex();
    state.epoch = epoch;
    state
}

/// A worker that has everything, and the slots of the scenario.
fn capacity(scenario: &Scenario) -> Capacity {
    let actions = || {
        let packs = scenario.catalog.packs.values();
        packs.flat_map(|pack| pack.actions.values())
    };
    let runtimes: BTreeSet<String> = actions().map(|action| action.runtime.clone()).collect();
    let resources = actions().flat_map(|action| action.resources.keys());
    let resources: BTreeMap<String, u32> = resources.map(|name| (name.clone(), u32::MAX)).collect();
    Capacity {
        worker: WORKER.to_owned(),
        slots: scenario.slots,
        runtimes: runtimes.into_iter().collect(),
        resources,
    }
}

/// What a worker would tell of the end of an attempt.
fn report(plan: Plan, now: Timestamp) -> Report {
    let Plan {
        key,
        job,
        started_at,
        mock,
        ..
    } = plan;
    let completed = mock.status == Status::Completed;
    let kind = match mock.status {
        Status::TimedOut => FailureKind::Timeout,
        // Not `Interrupted`: that is what the end of an engine is, and uses up no try.
        Status::Abandoned => FailureKind::Internal,
        Status::Cancelled => FailureKind::Cancelled,
        _ => FailureKind::Exit,
    };
    let error = (!completed).then(|| Failure {
        kind,
        message: mock.error.unwrap_or_else(|| "mocked".to_owned()),
    });
    let mut payload = Object::new();
    payload.insert("success".to_owned(), completed.into());
    let millis = u64::try_from(now.since(started_at).as_millis()).unwrap_or(u64::MAX);
    payload.insert("duration_ms".to_owned(), millis.into());
    if let Some(error) = &error {
        payload.insert("reason".to_owned(), error.message.clone().into());
    }
    let finished = StepEventDraft {
        root: job.root,
        item: (key.execution != job.root).then_some(key.execution),
        event_type: StepEventType::StepFinished,
        step: Some(job.step),
        step_scope: job.step_scope,
        payload,
        created_at: now,
    };
    Report {
        key,
        events: vec![finished],
        end: Some(Box::new(AttemptEnd {
            status: mock.status,
            result: completed.then_some(mock.result),
            error,
            exit_code: completed.then_some(0),
            signal: None,
            started_at: Some(started_at),
            ended_at: now,
            stdout: Output::default(),
            stderr: Output::default(),
            output_lost: None,
        })),
    }
}

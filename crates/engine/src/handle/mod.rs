//! The engine as everybody else sees it.

mod answer;
mod constraints;
mod error;
mod load;
mod request;
mod runs;
mod tasks;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use camshaft_model::definition::{Action, Catalog, Pack};
use camshaft_model::notice::Publish;
use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::dispatch::{Capacity, Dispatch, Reports};
use camshaft_model::port::sensor::{
    Accepted, Intake, IntakeError, SensorHealth, SensorHost, SensorSpec,
};
use camshaft_model::port::store::{Change, Outcome, PackRecord, Refusal, Store, StoreError};
use camshaft_model::{
    Adhoc, AttemptKey, ErrorCode, Event, EventDraft, EventId, Execution, ExecutionId,
    ExecutionSpec, Ref, Status,
};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::decision::{Decision, Definitions, Effect, Unit};
use crate::driver::{Core, LoadPack, Ports, Recovered, Recovery};
use crate::hidden::Hidden;
use crate::rule::RuleTrial;
use crate::state::{Settings, State};
use crate::workflow::Kept;

pub use answer::{Blocker, ComponentHealth, EventExplanation, ExecutionExplanation};
pub use constraints::{ConstraintPreview, ConstraintUse};
pub use error::ControlError;
use error::key_reused;
pub(crate) use error::{no_rule, unavailable};
pub use load::{COUNTED_CONSTRAINTS, ConstraintLoad, Load};
pub use request::{ExecutionRequest, Pinned, RequestAccepted, Requested};
pub(crate) use runs::may_answer;
pub use runs::{InquiryAnswer, RetryFrom};
pub(crate) use runs::{as_kept, to_keep};
pub use tasks::TaskNow;

/// So many events of one batch are on their way to the disk at a time: enough to fill a commit, while what
/// they need until then stays small and others get their turn.
const MAX_UNDER_WAY: usize = 128;

/// A handle to a running engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
}

/// What the world offers the engine.
pub struct World {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Who is told of what was committed.
    pub bus: Arc<dyn Publish>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub entropy: Arc<dyn Entropy>,
    /// Loads versions of packs that are not current any more.
    pub load_pack: Arc<LoadPack>,
}

impl Engine {
    /// An engine that knows nothing yet. Must be called within a tokio runtime. Then, in this order:
    /// [`Engine::load`], [`Engine::recover`], [`Engine::attach_worker`], [`Engine::attach_sensors`],
    /// and [`Engine::run`] for as long as it lives.
    pub fn new(settings: Settings, world: World, worker: &str) -> Self {
        let ports = Ports {
            store: world.store,
            bus: world.bus,
            clock: world.clock,
            entropy: world.entropy,
            load_pack: world.load_pack,
        };
        let core = Core::new(
            State::new(settings, worker),
            ports,
            tokio::runtime::Handle::current(),
        );
        Self { core }
    }

    /// Where workers report to.
    pub fn reports(&self) -> Arc<dyn Reports> {
        self.core.clone()
    }

    /// Takes packs that are recorded as current already.
    pub fn load(&self, packs: Vec<Arc<Pack>>) {
        self.core
            .alter(|state| state.define(Definitions::Put(packs)));
    }

    /// Raises the lease epoch and takes up what an earlier engine left. Nothing starts before a worker
    /// is attached.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn recover(&self, recovery: Recovery<'_>) -> Result<Recovered, StoreError> {
        self.core.recover(recovery).await
    }

    /// Lets attempts start on a worker.
    pub fn attach_worker(&self, dispatch: Arc<dyn Dispatch>, capacity: Capacity) {
        self.core.set_dispatch(dispatch);
        self.core.alter(|state| state.capacity = capacity);
        self.core.apply(|state, context| state.sweep(context));
    }

    /// Adds a host of sensors and hands it what the rules want.
    pub fn attach_sensors(&self, host: Arc<dyn SensorHost>) {
        self.core.attach_sensors(host);
    }

    /// Lets go of every host of sensors, before they stop: what runs that end still change is not told to them.
    pub fn detach_sensors(&self) {
        self.core.detach_sensors();
    }

    /// Wakes what is delayed, until `shutdown` says so.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        self.core.clone().pulse(shutdown).await;
    }

    /// Starts nothing any more. What waits says so.
    pub fn drain(&self) {
        self.core.alter(|state| state.draining = true);
    }

    /// How many attempts hold a lease.
    pub fn running(&self) -> usize {
        self.core.read(|state| state.leases.len())
    }

    /// Returns when no attempt holds a lease. With [`Engine::drain`] before it, none will.
    pub async fn idle(&self) {
        self.core.idle().await;
    }

    /// From now on starts only what is asked of this engine, and what belongs to it: for an engine that
    /// somebody brought along for one run, on a database where other work may wait.
    pub fn focus(&self) {
        self.core.alter(|state| state.focus = Some(HashSet::new()));
    }

    /// Says that the database is closed: whoever waits for an end is told that none will come.
    pub fn close(&self) {
        self.core.close();
    }

    /// How many executions are in a state that is not terminal.
    pub fn unfinished(&self) -> usize {
        self.core.read(|state| state.live.len())
    }

    /// Stops every attempt that runs, without cancelling its execution: idempotent ones are requested
    /// again, others end `abandoned`.
    pub fn interrupt_all(&self, grace: Duration) {
        self.core.interrupt_all(grace);
    }

    /// Records a request; returns after the commit.
    ///
    /// # Errors
    /// Unknown action, parameters that do not fit, a key that was used for something else, or a store
    /// that cannot take it.
    pub async fn request(
        &self,
        request: ExecutionRequest,
    ) -> Result<RequestAccepted, ControlError> {
        self.request_keeping(request, Kept::new()).await
    }

    async fn request_keeping(
        &self,
        mut request: ExecutionRequest,
        kept: Kept,
    ) -> Result<RequestAccepted, ControlError> {
        if let Requested::Adhoc(adhoc) = &mut request.what {
            self.resolve(adhoc)?;
        }
        let (sender, receiver) = oneshot::channel();
        let recorded = self.core.apply_with(
            |state, context| {
                let (decision, id) = state.request(request, kept, context)?;
                // A workflow without anything to wait for has ended already.
                let mut ended = decision.units.iter().flat_map(|unit| &unit.ended);
                let ended = ended.find(|ended| ended.spec.id == id).cloned();
                let live = state.live.get(&id).map(|live| Arc::new(live.record()));
                let recorded = live.or(ended);
                Ok::<_, ControlError>((decision, recorded))
            },
            move |outcome| {
                let _ = sender.send(outcome);
            },
        )?;
        match committed(receiver).await? {
            Outcome::Applied { .. } => {
                let execution = recorded.ok_or_else(|| {
                    ControlError::new(ErrorCode::Internal, "the execution was not kept")
                })?;
                Ok(RequestAccepted {
                    execution,
                    duplicate: false,
                })
            }
            Outcome::Refused(Refusal::DuplicateExecution(id)) => {
                let execution = Arc::new(self.stored(id).await?);
                if !recorded.is_some_and(|asked| asked.spec.asks_for_the_same(&execution.spec)) {
                    return Err(key_reused(&execution));
                }
                Ok(RequestAccepted {
                    execution,
                    duplicate: true,
                })
            }
            Outcome::Refused(refusal) => Err(ControlError::new(
                ErrorCode::Internal,
                format!("refused: {refusal:?}"),
            )),
        }
    }

    /// Fills in the runtime of a file without a definition, if the request does not name one.
    fn resolve(&self, adhoc: &mut Adhoc) -> Result<(), ControlError> {
        if !adhoc.runtime.is_empty() {
            return Ok(());
        }
        let Some(dispatch) = self.core.dispatch() else {
            return Err(ControlError::new(
                ErrorCode::Unavailable,
                "no worker is attached yet",
            ));
        };
        let catalog = self.catalog();
        let defined: Vec<_> = catalog
            .packs
            .values()
            .flat_map(|pack| pack.runtimes.values().cloned())
            .collect();
        adhoc.runtime = dispatch
            .resolve_adhoc(std::path::Path::new(&adhoc.path), &defined)
            .map_err(|reason| ControlError::new(ErrorCode::InvalidRequest, reason))?;
        Ok(())
    }

    /// Records events with what rules make of them, each for itself, in their order. If nobody waits for
    /// the answer any more, those that have not had their turn are not recorded.
    pub async fn ingest_batch(
        &self,
        drafts: Vec<EventDraft>,
    ) -> Vec<Result<Accepted, IntakeError>> {
        let mut results = Vec::with_capacity(drafts.len());
        let mut under_way = VecDeque::with_capacity(drafts.len().min(MAX_UNDER_WAY));
        for draft in drafts {
            if under_way.len() == MAX_UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                results.push(finish(oldest).await);
            }
            under_way.push_back(self.ingest(draft, None));
        }
        for rest in under_way {
            results.push(finish(rest).await);
        }
        results
    }

    fn ingest(
        &self,
        draft: EventDraft,
        sensor_state: Option<Value>,
    ) -> Result<PendingEvent, IntakeError> {
        let (sender, receiver) = oneshot::channel();
        let (event, executions) = self.core.apply_with(
            |state, context| {
                let ingested = state.ingest(draft, sensor_state, context)?;
                Ok::<_, IntakeError>((ingested.decision, (ingested.event, ingested.executions)))
            },
            move |outcome| {
                let _ = sender.send(outcome);
            },
        )?;
        Ok(PendingEvent {
            event,
            executions,
            receiver,
        })
    }

    /// Cancels an execution. One that runs becomes `canceling`; asking again changes nothing.
    ///
    /// # Errors
    /// It does not exist, or has ended otherwise.
    pub async fn cancel(&self, id: ExecutionId) -> Result<Execution, ControlError> {
        if self.core.read(|state| state.live.contains_key(&id)) {
            let (sender, receiver) = oneshot::channel();
            self.core.apply_with(
                |state, context| Ok::<_, ControlError>((state.cancel(id, context), ())),
                move |outcome| {
                    let _ = sender.send(outcome);
                },
            )?;
            committed(receiver).await?;
        }
        let execution = self.stored(id).await?;
        match execution.state.status {
            Status::Cancelled | Status::Canceling => Ok(execution),
            status if status.is_terminal() => Err(ControlError::new(
                ErrorCode::Conflict,
                format!("{id} is {status} already; what has ended cannot be cancelled"),
            )),
            // Nobody knows what it is: see the recovery at the start.
            _ => Err(ControlError::new(
                ErrorCode::Conflict,
                format!(
                    "the definition of {} that {id} runs by is gone, and it with it",
                    execution.spec.action
                ),
            )
            .hint(
                "apply that version of its pack again and restart the engine: it is taken up then",
            )),
        }
    }

    /// Waits until an execution is terminal.
    ///
    /// # Errors
    /// It does not exist, or the engine stops.
    pub async fn wait(&self, id: ExecutionId) -> Result<Arc<Execution>, ControlError> {
        let end = self.core.watch_end(id);
        if !self.core.read(|state| state.live.contains_key(&id)) {
            let stored = self.stored(id).await;
            if !matches!(&stored, Ok(execution) if !execution.state.status.is_terminal()) {
                drop(end);
                self.core.forget_watchers(id);
                return stored.map(Arc::new);
            }
        }
        end.await
            .map_err(|_| ControlError::new(ErrorCode::Unavailable, "the engine is shutting down"))
    }

    async fn stored(&self, id: ExecutionId) -> Result<Execution, ControlError> {
        self.store()
            .execution(id)
            .await
            .map_err(unavailable)?
            .ok_or_else(|| {
                ControlError::new(ErrorCode::NotFound, format!("there is no execution {id}"))
            })
    }

    /// The current definitions.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.core.read(|state| state.catalog.clone())
    }

    /// The action behind an execution in the version that it is pinned to, from the disk if the engine has
    /// not needed it since its start. `None` if it cannot be read any more.
    pub async fn definition(&self, spec: &ExecutionSpec) -> Option<Arc<Action>> {
        let at_hand = || self.core.read(|state| state.action_of(spec));
        if let Some(action) = at_hand() {
            return Some(action);
        }
        if let Err(error) = self.core.version(spec.pack_hash.as_deref()?).await {
            tracing::warn!(execution = %spec.id, %error, "the version of its pack cannot be read");
        }
        at_hand()
    }

    /// What must not be seen of what an execution of this action gives; `None` stands for a version that
    /// cannot be read any more.
    pub fn hidden_of(&self, spec: &ExecutionSpec, action: Option<&Action>) -> Hidden {
        self.core.read(|state| state.hidden_of(spec, action))
    }

    /// Makes packs current, all or none: records them, then derives sensors and the rule index anew.
    ///
    /// # Errors
    /// The store cannot take it.
    pub async fn put_packs(&self, packs: Vec<(Arc<Pack>, PackRecord)>) -> Result<(), ControlError> {
        let (packs, changes): (Vec<_>, Vec<_>) = packs
            .into_iter()
            .map(|(pack, record)| (pack, Change::PutPack(record)))
            .unzip();
        self.define(changes, Definitions::Put(packs)).await
    }

    /// Removes a pack. Runs that are pinned to it go on.
    ///
    /// # Errors
    /// There is no such pack, or the store cannot take it.
    pub async fn remove_pack(&self, pack: String) -> Result<(), ControlError> {
        if !self.catalog().packs.contains_key(&pack) {
            return Err(ControlError::new(
                ErrorCode::NotFound,
                format!("there is no pack '{pack}'"),
            ));
        }
        let changes = vec![Change::RemovePack(pack.clone())];
        self.define(changes, Definitions::Remove(pack)).await
    }

    /// Overrides whether a rule is enabled.
    ///
    /// # Errors
    /// There is no such rule, or the store cannot take it.
    pub async fn set_rule_enabled(
        &self,
        rule: Ref,
        enabled: Option<bool>,
    ) -> Result<(), ControlError> {
        if self.catalog().rule(&rule).is_none() {
            return Err(no_rule(&rule));
        }
        let changes = vec![Change::SetRuleEnabled {
            rule: rule.clone(),
            enabled,
        }];
        self.define(changes, Definitions::Enable(rule, enabled))
            .await
    }

    async fn define(
        &self,
        changes: Vec<Change>,
        definitions: Definitions,
    ) -> Result<(), ControlError> {
        self.decide(|_, _| {
            let mut unit = Unit::default();
            unit.changes.extend(changes);
            unit.effects.push(Effect::Definitions(definitions));
            Ok((Decision { units: vec![unit] }, ()))
        })
        .await?;
        // Who is told that it is done may send to a new webhook at once.
        self.core.reconcile_sensors();
        Ok(())
    }

    /// Whether a rule is enabled, overrides included.
    pub fn rule_enabled(&self, rule: &Ref) -> bool {
        self.core.read(|state| {
            state
                .catalog
                .rule(rule)
                .is_some_and(|rule| state.rule_enabled(rule))
        })
    }

    /// Hands the sensors that the enabled rules and the runs that wait for events want to every host, if
    /// they have changed.
    pub fn reconcile_sensors(&self) {
        self.core.reconcile_sensors();
    }

    /// What a rule would do with an event, without doing it.
    ///
    /// # Errors
    /// There is no such rule.
    pub fn test_rule(&self, rule: &Ref, event: &EventDraft) -> Result<RuleTrial, ControlError> {
        let event = Event {
            id: EventId::from_bytes([0; 16]),
            received_at: self.core.clock().now(),
            draft: event.clone(),
        };
        self.core
            .read(|state| state.trial(rule, &event, self.core.clock().now()))
            .ok_or_else(|| no_rule(rule))
    }

    /// How every part is, sensors included.
    pub fn health(&self) -> Vec<ComponentHealth> {
        let of = |component: &str, problem: Option<String>| ComponentHealth {
            component: component.to_owned(),
            problem,
        };
        let mut parts = vec![
            of("writer", self.store().health().err().map(|e| e.to_string())),
            of(
                "dispatcher",
                (!self.core.is_pulse_alive()).then(|| "its loop is not running".to_owned()),
            ),
            of(
                "worker",
                match self.core.dispatch() {
                    Some(dispatch) => dispatch.health(),
                    None => Some("no worker is attached".to_owned()),
                },
            ),
        ];
        parts.extend(
            self.sensors()
                .into_iter()
                .map(|sensor| of(&sensor.key, sensor.problem)),
        );
        parts
    }

    /// How the sensors are.
    pub fn sensors(&self) -> Vec<SensorHealth> {
        self.core.sensors.health()
    }

    /// The sensors that are wanted now (the webhook route looks paths up here).
    pub fn wanted_sensors(&self) -> Arc<Vec<SensorSpec>> {
        self.core.sensors.wanted()
    }

    /// The attempt that a token was made for, if that attempt is still alive.
    pub fn token_holder(&self, token: &str) -> Option<AttemptKey> {
        self.core.read(|state| {
            let key = state.settings.signer.verify(token)?;
            let live = state.live.get(&key.execution)?;
            (live.key() == key && live.holds_lease()).then_some(key)
        })
    }

    /// The database, for reading.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.core.store()
    }
}

/// An event on its way to the disk.
struct PendingEvent {
    event: EventId,
    executions: Vec<ExecutionId>,
    receiver: oneshot::Receiver<Result<Outcome, StoreError>>,
}

async fn finish(pending: Result<PendingEvent, IntakeError>) -> Result<Accepted, IntakeError> {
    let PendingEvent {
        event,
        executions,
        receiver,
    } = pending?;
    match committed(receiver).await {
        Ok(Outcome::Applied { .. }) => Ok(Accepted {
            event,
            duplicate: false,
            executions,
        }),
        Ok(Outcome::Refused(Refusal::DuplicateEvent(event))) => Ok(Accepted {
            event,
            duplicate: true,
            executions: Vec::new(),
        }),
        Ok(Outcome::Refused(refusal)) => {
            Err(IntakeError::Unavailable(format!("refused: {refusal:?}")))
        }
        Err(error) => Err(IntakeError::Unavailable(error.message)),
    }
}

async fn committed(
    receiver: oneshot::Receiver<Result<Outcome, StoreError>>,
) -> Result<Outcome, ControlError> {
    receiver
        .await
        .map_err(|_| ControlError::new(ErrorCode::Unavailable, "the engine is shutting down"))?
        .map_err(unavailable)
}

#[async_trait]
impl Intake for Engine {
    async fn emit(&self, draft: EventDraft) -> Result<Accepted, IntakeError> {
        finish(self.ingest(draft, None)).await
    }

    async fn emit_with_state(
        &self,
        draft: EventDraft,
        sensor_state: Value,
    ) -> Result<Accepted, IntakeError> {
        finish(self.ingest(draft, Some(sensor_state))).await
    }
}

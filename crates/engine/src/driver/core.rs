//! The state, its lock, and the way from a decision to the database and on to its effects.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use camshaft_model::crash;
use camshaft_model::notice::{Notice, Publish};
use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::dispatch::{Dispatch, Report, Reports};
use camshaft_model::port::sensor::SensorHost;
use camshaft_model::port::store::{
    Change, Outcome, Refusal, Store, StoreError, Submitted, Transaction,
};
use camshaft_model::{Execution, ExecutionId, Status, StepEvent, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::sensors::SensorHosts;
use super::version::LoadPack;
use crate::decision::{Decision, Effect, Unit};
use crate::state::{Context, State};

/// The world, as the engine reaches it.
pub(crate) struct Ports {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Publish>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) load_pack: Arc<LoadPack>,
}

/// Called with what became of one unit.
type Answer = Box<dyn FnOnce(Result<Outcome, StoreError>) + Send>;

/// A unit on its way to the disk.
struct Pending {
    core: Arc<Core>,
    unit: Unit,
    answer: Option<Answer>,
}

impl Submitted for Pending {
    /// Who waits is not kept waiting. What was decided stays, and is stored in its place.
    fn delayed(&mut self, why: &StoreError) {
        if let Some(answer) = self.answer.take() {
            answer(Err(StoreError::Delayed(why.to_string())));
        }
    }

    fn done(self: Box<Self>, outcome: Result<Outcome, StoreError>) {
        let Self { core, unit, answer } = *self;
        core.stored(outcome, unit, answer);
    }
}

/// See the module.
pub(crate) struct Core {
    pub(super) this: Weak<Self>,
    state: Mutex<State>,
    ports: Ports,
    dispatch: OnceLock<Arc<dyn Dispatch>>,
    waiters: Mutex<HashMap<ExecutionId, Vec<oneshot::Sender<Arc<Execution>>>>>,
    /// Whether the database is closed for good: nothing more will be told, and nothing is tried again.
    closed: AtomicBool,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) wake: Notify,
    idle: Notify,
    pub(super) pulse_alive: AtomicBool,
    pub(crate) sensors: SensorHosts,
}

impl Core {
    pub(crate) fn new(state: State, ports: Ports, runtime: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            state: Mutex::new(state),
            ports,
            dispatch: OnceLock::new(),
            waiters: Mutex::default(),
            closed: AtomicBool::new(false),
            runtime,
            wake: Notify::new(),
            idle: Notify::new(),
            pulse_alive: AtomicBool::new(false),
            sensors: SensorHosts::default(),
        })
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.ports.store
    }

    pub(super) fn load_pack(&self) -> Arc<LoadPack> {
        self.ports.load_pack.clone()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.ports.clock
    }

    pub(crate) fn set_dispatch(&self, dispatch: Arc<dyn Dispatch>) {
        let _ = self.dispatch.set(dispatch);
    }

    pub(crate) fn dispatch(&self) -> Option<&Arc<dyn Dispatch>> {
        self.dispatch.get()
    }

    pub(crate) fn is_pulse_alive(&self) -> bool {
        self.pulse_alive.load(Ordering::Relaxed)
    }

    /// Looks at the state. `look` must not block.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    /// Changes what is not recorded (the catalog, the capacity). `change` must not block.
    pub(crate) fn alter<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock())
    }

    /// Applies a command that nobody waits for.
    pub(crate) fn apply(&self, command: impl FnOnce(&mut State, &Context<'_>) -> Decision) {
        let mut state = self.state.lock();
        let context = self.context();
        let decision = command(&mut state, &context);
        self.submit(&mut state, decision, context.now, None);
    }

    /// Applies a command and tells `answer` what became of its first unit, after the commit. If it has
    /// none, what was asked for is so already, and the answer comes once that is stored.
    ///
    /// # Errors
    /// The command's own, or nothing can be stored now. Nothing has changed.
    pub(crate) fn apply_with<T, E: From<StoreError>>(
        &self,
        command: impl FnOnce(&mut State, &Context<'_>) -> Result<(Decision, T), E>,
        answer: impl FnOnce(Result<Outcome, StoreError>) + Send + 'static,
    ) -> Result<T, E> {
        self.ports.store.health()?;
        let mut state = self.state.lock();
        let context = self.context();
        let (decision, value) = command(&mut state, &context)?;
        self.submit(&mut state, decision, context.now, Some(Box::new(answer)));
        Ok(value)
    }

    fn context(&self) -> Context<'_> {
        Context {
            now: self.ports.clock.now(),
            entropy: &*self.ports.entropy,
        }
    }

    /// Hands the units to the writer, in order. Called under the lock; the writer never blocks.
    fn submit(
        &self,
        state: &mut State,
        mut decision: Decision,
        now: Timestamp,
        mut answer: Option<Answer>,
    ) {
        let torn = decision.torn();
        debug_assert_eq!(torn, None, "a decision that the store would refuse");
        if let Some(execution) = torn {
            tracing::error!(%execution, "it is new in one unit of a decision and moves in another");
        }
        let due = state.next_due();
        if state.leases.is_empty() {
            self.idle.notify_waiters();
        }
        if state.sensors_changed {
            match decision.units.last_mut() {
                Some(last) => last.effects.push(Effect::Sensors),
                None => self.refresh_sensors(),
            }
        }
        if let Some(wanted) = state.held_events.take_wanted() {
            self.read_held(wanted);
        }
        for mut unit in decision.units {
            state.expect_receipts(&mut unit);
            let transaction = unit.transaction(state, now);
            self.write(transaction, unit, answer.take());
        }
        if answer.is_some() {
            self.write(Transaction::default(), Unit::default(), answer);
        }
        if due.is_some() {
            self.wake.notify_one();
        }
    }

    fn write(&self, transaction: Transaction, unit: Unit, answer: Option<Answer>) {
        let Some(core) = self.this.upgrade() else {
            return;
        };
        if !unit.events.is_empty() {
            crash::point("event.before_commit");
        }
        if !unit.ended.is_empty() {
            crash::point("report.before_commit");
        }
        let pending = Pending { core, unit, answer };
        self.ports.store.submit(transaction, Box::new(pending));
    }

    /// On the writer's thread, after the commit.
    fn stored(
        self: Arc<Self>,
        outcome: Result<Outcome, StoreError>,
        unit: Unit,
        answer: Option<Answer>,
    ) {
        match &outcome {
            Ok(Outcome::Applied { first_step_event }) => {
                if !unit.events.is_empty() {
                    crash::point("event.after_commit");
                }
                if !unit.ended.is_empty() {
                    crash::point("report.after_commit");
                }
                let come = unit.receipts.iter().map(|receipt| receipt.come());
                if come.fold(false, |any, is_awaited| any | is_awaited) {
                    self.wake.notify_one();
                }
                self.perform(unit, *first_step_event);
            }
            Ok(Outcome::Refused(refusal)) => {
                self.look_up_refused(refusal);
                return self.take_back(unit, outcome, answer);
            }
            // The store is closed: what was not stored has not happened.
            Err(_) if self.closed.load(Ordering::SeqCst) => {}
            Err(error) => {
                tracing::error!(%error, "a decision cannot be stored and is taken back");
                return self.take_back(unit, outcome, answer);
            }
        }
        if let Some(answer) = answer {
            answer(outcome);
        }
    }

    fn perform(&self, unit: Unit, first_step_event: i64) {
        for effect in unit.effects {
            match (effect, self.dispatch.get()) {
                (Effect::Held(event), _) => {
                    self.alter(|state| state.held_events.stored(event));
                    self.wake.notify_one();
                }
                (Effect::Told, _) => {
                    self.alter(|state| state.untold.answered());
                    self.wake.notify_one();
                }
                (Effect::Start(job), Some(dispatch)) => dispatch.start(*job),
                (Effect::Cancel(key, grace), Some(dispatch)) => dispatch.cancel(key, grace),
                (Effect::Definitions(definitions), _) => {
                    self.alter(|state| state.define(definitions));
                    self.refresh_sensors();
                }
                (Effect::Sensors, _) => self.refresh_sensors(),
                (Effect::Start(_) | Effect::Cancel(..), None) => {}
            }
        }
        let steps = (first_step_event..).zip(unit.steps);
        let steps = steps.map(|(id, draft)| Arc::new(StepEvent::numbered(id, draft)));
        let (ended, shown) = (&unit.ended, &unit.shown);
        let as_shown = ended.iter().map(|ended| {
            let shown = shown.iter().find(|shown| shown.spec.id == ended.spec.id);
            shown.unwrap_or(ended).clone()
        });
        let as_shown: Vec<_> = as_shown.collect();
        self.tell(steps.collect(), &as_shown, &unit.notices);
        for ended in &unit.ended {
            self.tell_waiters(ended);
        }
    }

    /// Tells everybody in the order in which it came about: the last lines about an execution before its
    /// end, what the end leads to after it, and the first lines about an execution after the execution.
    fn tell(&self, mut steps: Vec<Arc<StepEvent>>, ended: &[Arc<Execution>], notices: &[Notice]) {
        let bus = &self.ports.bus;
        let about = |step: &StepEvent| step.item_id.unwrap_or(step.execution_id);
        let mut tell_if = |is_next: &dyn Fn(ExecutionId) -> bool| {
            steps.retain(|step| {
                let is_next = is_next(about(step));
                if is_next {
                    bus.publish(&Notice::Step(step.clone()));
                }
                !is_next
            });
        };
        for ended in ended {
            tell_if(&|id| id == ended.spec.id);
            bus.publish(&Notice::Execution(ended.clone()));
        }
        let moved: HashSet<ExecutionId> = notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::Execution(execution) => Some(execution.spec.id),
                _ => None,
            })
            .collect();
        tell_if(&|id| !moved.contains(&id));
        notices.iter().for_each(|notice| bus.publish(notice));
        tell_if(&|_| true);
    }

    fn tell_waiters(&self, ended: &Arc<Execution>) {
        for waiter in self
            .waiters
            .lock()
            .remove(&ended.spec.id)
            .into_iter()
            .flatten()
        {
            let _ = waiter.send(ended.clone());
        }
    }

    /// Takes an execution that is elsewhere as the database has it.
    fn look_up_refused(self: &Arc<Self>, refusal: &Refusal) {
        let Refusal::Moved { execution, at } = refusal else {
            return;
        };
        tracing::warn!(%execution, ?at, "a change found its execution elsewhere and was dropped");
        let (core, id) = (self.clone(), *execution);
        self.runtime.spawn(async move {
            if let Ok(stored) = core.ports.store.execution(id).await {
                let ended = stored
                    .clone()
                    .filter(|stored| stored.state.status.is_terminal());
                core.apply(|state, context| state.resync(id, stored, context));
                if let Some(ended) = ended {
                    core.tell_waiters(&Arc::new(ended));
                }
            }
        });
    }

    /// Takes back what was decided, and answers once that is done. In a task of its own: a store whose
    /// writer is gone may answer while the lock is still held.
    fn take_back(
        self: Arc<Self>,
        unit: Unit,
        outcome: Result<Outcome, StoreError>,
        answer: Option<Answer>,
    ) {
        let core = self.clone();
        self.runtime.spawn(async move {
            core.apply(|state, context| state.take_back(unit, context));
            if let Some(answer) = answer {
                answer(outcome);
            }
        });
    }

    /// Whether the database is closed for good.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Ends every wait for an end, those to come too.
    pub(crate) fn close(&self) {
        let mut waiters = self.waiters.lock();
        self.closed.store(true, Ordering::SeqCst);
        waiters.clear();
    }

    /// A receiver of the terminal record of an execution. Register first, look at the state after.
    pub(crate) fn watch_end(&self, id: ExecutionId) -> oneshot::Receiver<Arc<Execution>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters.lock();
        if self.closed.load(Ordering::SeqCst) {
            return receiver;
        }
        let senders = waiters.entry(id).or_default();
        senders.retain(|sender| !sender.is_closed());
        senders.push(sender);
        receiver
    }

    /// Returns when no attempt holds a lease.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Heard from here on, so that an end between the look and the wait is not missed.
            idle.as_mut().enable();
            if self.read(|state| state.leases.is_empty()) {
                return;
            }
            idle.await;
        }
    }

    /// Adds a host of sensors and hands it what is wanted.
    pub(crate) fn attach_sensors(&self, host: Arc<dyn SensorHost>) {
        self.sensors.attach(host);
    }

    /// Lets go of every host of sensors.
    pub(crate) fn detach_sensors(&self) {
        self.sensors.detach();
    }

    /// Has every host hear of the sensors that are wanted now, soon and on another thread: this may be the
    /// writer's, or the lock may be held.
    fn refresh_sensors(&self) {
        if self.sensors.ask()
            && let Some(core) = self.this.upgrade()
        {
            self.runtime.spawn(async move { core.reconcile_sensors() });
        }
    }

    /// If other sensors are wanted than at the last time, hands them to every host before it returns.
    pub(crate) fn reconcile_sensors(&self) {
        self.sensors
            .tell(|| self.alter(State::take_changed_sensors));
    }

    /// Forgets receivers of the end of an execution that nobody holds any more.
    pub(crate) fn forget_watchers(&self, id: ExecutionId) {
        let mut waiters = self.waiters.lock();
        if let Some(senders) = waiters.get_mut(&id) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiters.remove(&id);
            }
        }
    }

    /// Stops every attempt that runs without cancelling its execution: what that means for each is
    /// decided when its worker reports.
    pub(crate) fn interrupt_all(&self, grace: Duration) {
        let keys = self.read(|state| {
            state
                .leases
                .iter()
                .filter_map(|id| state.live.get(&id))
                .map(|live| live.key())
                .collect::<Vec<_>>()
        });
        if let Some(dispatch) = self.dispatch.get() {
            for key in keys {
                dispatch.cancel(key, grace);
            }
        }
    }
}

impl Reports for Core {
    fn report(&self, report: Report) {
        self.apply(|state, context| state.report(report, context));
    }
}

impl Unit {
    /// What the unit stores, guards first. Executions that are new are written, and told of, as they
    /// stand now.
    pub(crate) fn transaction(&mut self, state: &State, now: Timestamp) -> Transaction {
        let mut changes =
            Vec::with_capacity(2 + self.fresh.len() + self.changes.len() + self.steps.len());
        changes.extend(self.events.iter().cloned().map(Change::InsertEvent));
        let moves = self.moved().iter().cloned().map(Box::new);
        changes.extend(moves.map(Change::Move));
        for id in &self.fresh {
            let Some(live) = state.live.get(id) else {
                // It has ended in the decision that made it.
                let ended = self.ended.iter().find(|ended| ended.spec.id == *id);
                changes.extend(
                    ended.map(|ended| Change::InsertExecution(Box::new(Execution::clone(ended)))),
                );
                continue;
            };
            let mut record = live.record();
            if record.state.status == Status::Requested {
                record.state.blocked_by = state.blocked_by(live, now);
            }
            self.notices
                .push(Notice::Execution(Arc::new(record.clone())));
            record.state.blocked_by = state.recorded(live, record.state.blocked_by);
            changes.push(Change::InsertExecution(Box::new(record)));
        }
        changes.extend(self.changes.iter().cloned());
        changes.extend(
            self.steps
                .iter()
                .cloned()
                .map(|step| Change::AppendStepEvent(Box::new(step))),
        );
        Transaction { changes }
    }
}

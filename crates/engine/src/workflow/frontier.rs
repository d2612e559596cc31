//! Which tasks may start: one lap of one run, followed from task to task.
//!
//! The frontier is told of every end and answers with what follows from it: tasks that start, and
//! tasks that are skipped for good. Each task counts the needs that are not met yet, each join the
//! transitions that have arrived, so that an end costs as much as it has edges, however many tasks
//! there are. All tasks are looked at only where all are concerned: when a lap begins, when it fails,
//! and when nothing runs any more.
//!
//! A lap has two phases. In the first, everything but the `finally` tasks starts as its entry allows.
//! Once all of that has settled, in whichever way, the `finally` tasks run.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use camshaft_model::Status;
use camshaft_model::definition::workflow::{Entry, Join, Need, Task, Workflow};

use super::gather::Gather;
use super::graph::Graph;
use super::reason;

/// How often one task may start in one lap: what a cycle without an end is stopped by.
pub(crate) const MAX_VISITS: u32 = 1_000;

/// Something that follows from what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The task starts. The frontier takes it for running until it is settled.
    Start { task: usize, visit: u32 },
    /// The task never starts. It is settled, and what follows from that is in steps of its own.
    Skip { task: usize, reason: String },
}

/// Why nothing new starts, `finally` tasks aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// This task did not complete, and nothing in the workflow waits for that.
    Task { task: usize, status: Status },
    /// Nothing runs any more that could bring what this task waits for.
    Join { task: usize, missing: Vec<usize> },
    /// This task was to start more than [`MAX_VISITS`] times.
    Visits { task: usize },
    /// The run is being cancelled, or its time ran out.
    Outside,
    /// The run has failed of something that is recorded with it.
    Recorded,
}

/// What a lap has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lap {
    /// No failure was left unhandled.
    Completed,
    /// It failed, possibly in a `finally` task only.
    Failed(Cause),
}

/// How far one lap has come.
#[derive(Debug, Clone)]
pub(crate) struct Frontier {
    graph: Arc<Graph>,
    workflow: Arc<Workflow>,
    nodes: Vec<Node>,
    /// Arrivals at tasks that join.
    gathers: BTreeMap<usize, Gather>,
    /// Tasks that are ready and held, or whose start before has not ended, with the sources of the
    /// transitions that made them so, if it were some, and they do not join. One entry for each start.
    waiting: BTreeMap<usize, VecDeque<Option<usize>>>,
    /// Tasks by how far they have come: of the first phase and of the second.
    open: [Open; 2],
    phase: Phase,
    cause: Option<Cause>,
    held: bool,
    /// How many tasks and edges have been looked at.
    #[cfg(test)]
    pub(super) looked_at: Arc<std::sync::atomic::AtomicUsize>,
}

/// How far a task has come.
#[derive(Debug, Clone, Default)]
struct Node {
    /// How often it has started.
    visits: u32,
    /// Whether its latest start has not ended. The next one waits for that, so that there is never
    /// more than one.
    active: bool,
    /// How its latest end was, or that it was skipped.
    status: Option<Status>,
    /// Its needs that are neither met nor out of reach.
    unmet: usize,
}

/// What keeps a phase from being over.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// Tasks that have neither started nor been skipped.
    undecided: usize,
    /// Starts that have not ended.
    active: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Main,
    Finally,
}

impl Frontier {
    pub(crate) fn new(graph: Arc<Graph>, workflow: Arc<Workflow>) -> Self {
        let mut open = [Open::default(); 2];
        for task in 0..graph.len() {
            open[usize::from(graph.is_finally(task))].undecided += 1;
        }
        Self {
            nodes: vec![Node::default(); graph.len()],
            gathers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            open,
            phase: Phase::Main,
            cause: None,
            held: false,
            #[cfg(test)]
            looked_at: Arc::default(),
            graph,
            workflow,
        }
    }

    /// The same lap from what is recorded of it: the tasks that have ended or were skipped, those that
    /// run, and [`arrivals`](Self::arrivals). The steps are what may start and has not.
    pub(crate) fn restore(
        graph: Arc<Graph>,
        workflow: Arc<Workflow>,
        settled: impl IntoIterator<Item = (usize, u32, Status)>,
        active: impl IntoIterator<Item = (usize, u32)>,
        arrivals: &BTreeMap<usize, Vec<usize>>,
        cause: Option<Cause>,
        held: bool,
    ) -> (Self, Vec<Step>) {
        let mut frontier = Self::new(graph, workflow);
        frontier.held = held;
        frontier.cause = cause;
        let mut latest = vec![0; frontier.nodes.len()];
        for (task, visit, status) in settled {
            if frontier.count_visits(task, visit) && visit >= latest[task] {
                latest[task] = visit;
                frontier.nodes[task].status = Some(status);
            }
            frontier.notice(task, status);
        }
        for (task, visit) in active {
            if frontier.count_visits(task, visit) && !frontier.nodes[task].active {
                frontier.nodes[task].active = true;
                frontier.open_of(task).active += 1;
            }
        }
        let mut steps = Vec::new();
        frontier.arrived(arrivals, &mut steps);
        frontier.decide(Phase::Main, &mut steps);
        frontier.advance(&mut steps);
        (frontier, steps)
    }

    /// The start of a lap.
    pub(crate) fn begin(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.decide(Phase::Main, &mut steps);
        self.advance(&mut steps);
        steps
    }

    /// A task that was started has ended, or was found not to be run after all (`Skipped`: `when` was
    /// false). `taken` are the targets of the transitions that were taken. An end of a task that does
    /// not run changes nothing.
    #[cfg(test)]
    pub(crate) fn settle(&mut self, task: usize, status: Status, taken: &[usize]) -> Vec<Step> {
        self.settle_handled(task, status, taken, !taken.is_empty())
    }

    /// The same, where a transition may have been taken that leads nowhere but publishes: `handled`
    /// says whether any was.
    pub(crate) fn settle_handled(
        &mut self,
        task: usize,
        status: Status,
        taken: &[usize],
        handled: bool,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(node) = self.nodes.get_mut(task).filter(|node| node.active) else {
            return steps;
        };
        node.active = false;
        let first = node.status.replace(status).is_none();
        self.open_of(task).active -= 1;
        self.look(1);
        let handled = handled || self.graph.is_handled(task, status);
        if self.graph.is_finally(task) {
            self.notice(task, status);
            self.propagate(task, status, &mut steps);
        } else if self.cause.is_none() {
            if is_failure(status) && !handled {
                self.fail(Cause::Task { task, status }, &mut steps);
            } else {
                if first {
                    self.propagate(task, status, &mut steps);
                }
                self.lead(task, taken, &mut steps);
                self.start_next(task, &mut steps);
            }
        }
        self.advance(&mut steps);
        steps
    }

    /// The run has failed before anything in it could start.
    pub(crate) fn give_up(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.fail(Cause::Recorded, &mut steps);
        self.advance(&mut steps);
        steps
    }

    /// The run is cancelled or its time has run out: as a failure that nobody handles, even one that
    /// has failed or is held. Called again while `finally` tasks run, it skips those that have not
    /// started.
    pub(crate) fn stop(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.over().is_some() {
            return steps;
        }
        let again = self.cause == Some(Cause::Outside);
        match self.phase {
            Phase::Main => self.fail(Cause::Outside, &mut steps),
            Phase::Finally if again => {
                self.skip_undecided(Phase::Finally, &mut steps, |_, _| {
                    reason::STOPPED_AGAIN.to_owned()
                });
            }
            Phase::Finally => {
                self.cause = Some(Cause::Outside);
                self.let_go(&mut steps);
            }
        }
        self.advance(&mut steps);
        steps
    }

    /// Nothing starts from here on: what becomes ready is kept. A run that is being stopped cannot be
    /// held.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// What is kept starts.
    pub(crate) fn release(&mut self) -> Vec<Step> {
        self.held = false;
        let mut steps = Vec::new();
        self.let_go(&mut steps);
        self.advance(&mut steps);
        steps
    }

    /// Transitions that have arrived and whose target has not started for them, by target. Of a join
    /// that takes fewer than all its sources also the arrivals that it started for, until the last
    /// source has come: that one belongs to them.
    pub(crate) fn arrivals(&self) -> BTreeMap<usize, Vec<usize>> {
        let joins = self.gathers.iter().map(|(task, gather)| {
            let started = self.nodes[*task].visits;
            (*task, gather.arrivals(self.graph.sources(*task), started))
        });
        let others = self.waiting.iter().map(|(task, starts)| {
            let sources: Vec<usize> = starts.iter().copied().flatten().collect();
            (*task, sources)
        });
        let arrived = others.chain(joins);
        arrived.filter(|(_, sources)| !sources.is_empty()).collect()
    }

    /// Why nothing new starts, `finally` tasks aside; `None` while nothing keeps others from starting.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Whether a task runs, or may start without another one starting before it.
    pub(crate) fn is_open(&self, task: usize) -> bool {
        let node = self.nodes.get(task);
        let undecided = |node: &Node| node.visits == 0 && node.status.is_none();
        node.is_some_and(|node| node.active || undecided(node)) || self.waiting.contains_key(&task)
    }

    /// The tasks whose end may start this one by a transition.
    pub(crate) fn sources(&self, task: usize) -> &[usize] {
        self.graph.sources(task)
    }

    /// What the lap has come to; `None` while something runs or may start.
    pub(crate) fn over(&self) -> Option<Lap> {
        let open = |open: &Open| open.active > 0 || open.undecided > 0;
        if self.open.iter().any(open) || !self.waiting.is_empty() {
            return None;
        }
        Some(self.cause.clone().map_or(Lap::Completed, Lap::Failed))
    }
}

/// How tasks come to start.
impl Frontier {
    /// Starts and skips of one phase what can be decided before anything in it has ended.
    fn decide(&mut self, phase: Phase, steps: &mut Vec<Step>) {
        if phase == Phase::Main
            && let Some(cause) = self.cause.clone()
        {
            return self.fail(cause, steps);
        }
        let tasks: Vec<usize> = self.undecided(phase).collect();
        let mut dead = Vec::new();
        for task in &tasks {
            match self.count_needs(*task) {
                Ok(unmet) => self.nodes[*task].unmet = unmet,
                Err(reason) => {
                    // Others of its needs may be met before it is skipped.
                    self.nodes[*task].unmet = usize::MAX;
                    dead.push((*task, reason));
                }
            }
        }
        for (task, reason) in dead {
            if self.is_undecided(task) {
                self.skip(task, reason, steps);
                self.propagate(task, Status::Skipped, steps);
            }
        }
        for task in tasks {
            if self.is_undecided(task) && self.nodes[task].unmet == 0 {
                self.ready(task, None, steps);
            }
        }
    }

    /// How many needs of a task are open, from what has settled so far; or why one of them can no
    /// longer be met.
    fn count_needs(&self, task: usize) -> Result<usize, String> {
        let needs = match &self.workflow.tasks[task].entry {
            Entry::Needs(needs) => needs,
            // A transition that nobody has taken is a need too; whether one is taken, `lead` sees.
            Entry::Transitions(_) => return Ok(self.graph.sources(task).len()),
        };
        let mut unmet = 0;
        for need in needs {
            let finally = |task| self.graph.is_finally(task);
            let Some(source) = self.nodes.get(need.task) else {
                unmet += 1;
                continue;
            };
            if finally(task) && !finally(need.task) && need.implied {
                // It sees all tasks, whatever has become of them.
                continue;
            }
            match source.status {
                _ if finally(need.task) && !finally(task) => {
                    return Err(reason::too_late(&self.workflow, task, need));
                }
                Some(status) if need.on.contains(&status) => {}
                Some(status) => return Err(reason::unmet(&self.workflow, task, need, status)),
                None => unmet += 1,
            }
        }
        Ok(unmet)
    }

    /// Tells those that need a task how it has ended, and those that need a task which is skipped for
    /// that, and so on.
    fn propagate(&mut self, task: usize, status: Status, steps: &mut Vec<Step>) {
        let graph = Arc::clone(&self.graph);
        let workflow = Arc::clone(&self.workflow);
        let mut settled = VecDeque::from([(task, status)]);
        while let Some((source, status)) = settled.pop_front() {
            for edge in graph.dependents(source) {
                self.look(1);
                let Some(need) = need_of(&workflow.tasks[edge.task], edge.need) else {
                    continue;
                };
                if !self.is_undecided(edge.task) {
                    continue;
                }
                if !need.on.contains(&status) {
                    let reason = reason::unmet(&workflow, edge.task, need, status);
                    self.skip(edge.task, reason, steps);
                    settled.push_back((edge.task, Status::Skipped));
                    continue;
                }
                let node = &mut self.nodes[edge.task];
                node.unmet = node.unmet.saturating_sub(1);
                if node.unmet == 0 {
                    self.ready(edge.task, None, steps);
                }
            }
        }
    }

    /// Follows the transitions that the end of a task has taken. One end leads to a task once.
    fn lead(&mut self, source: usize, taken: &[usize], steps: &mut Vec<Step>) {
        let mut led = HashSet::new();
        for target in taken {
            self.look(1);
            if led.insert(target) {
                self.arrive(*target, source, steps);
            }
        }
    }

    fn arrive(&mut self, target: usize, source: usize, steps: &mut Vec<Step>) {
        let sources = match self.nodes.get(target) {
            Some(_) if self.cause.is_none() => self.graph.sources(target),
            _ => return,
        };
        if sources.binary_search(&source).is_err() {
            return;
        }
        let Some(quorum) = self.quorum(target) else {
            return self.ready(target, Some(source), steps);
        };
        let visits = self.nodes[target].visits;
        let gather = self
            .gathers
            .entry(target)
            .or_insert_with(|| Gather::new(quorum, visits));
        if gather.arrive(source) {
            self.ready(target, None, steps);
        }
    }

    /// From how many sources a task gathers; `None` if each of them starts it.
    fn quorum(&self, task: usize) -> Option<usize> {
        match self.workflow.tasks[task].entry {
            Entry::Transitions(Join::All) => Some(self.graph.sources(task).len()),
            Entry::Transitions(Join::Count(count)) => {
                Some(usize::try_from(count).unwrap_or(usize::MAX))
            }
            Entry::Transitions(Join::Each) | Entry::Needs(_) => None,
        }
    }

    /// A task may start: it does, or is kept while the run is held or an earlier start of it goes on.
    fn ready(&mut self, task: usize, source: Option<usize>, steps: &mut Vec<Step>) {
        self.waiting.entry(task).or_default().push_back(source);
        self.start_next(task, steps);
    }

    fn let_go(&mut self, steps: &mut Vec<Step>) {
        let tasks: Vec<usize> = self.waiting.keys().copied().collect();
        for task in tasks {
            self.start_next(task, steps);
        }
    }

    /// Starts a task for the first thing that made it ready, if nothing keeps it from starting.
    fn start_next(&mut self, task: usize, steps: &mut Vec<Step>) {
        let held = self.held && self.cause != Some(Cause::Outside);
        if held || self.nodes[task].active {
            return;
        }
        let Some(starts) = self.waiting.get_mut(&task) else {
            return;
        };
        starts.pop_front();
        if starts.is_empty() {
            self.waiting.remove(&task);
        }
        self.start(task, steps);
    }

    fn start(&mut self, task: usize, steps: &mut Vec<Step>) {
        let node = &mut self.nodes[task];
        if node.visits >= MAX_VISITS {
            if self.cause.is_none() {
                self.fail(Cause::Visits { task }, steps);
            }
            return;
        }
        let undecided = node.visits == 0;
        node.visits += 1;
        node.active = true;
        let visit = node.visits;
        let open = self.open_of(task);
        open.active += 1;
        open.undecided -= usize::from(undecided);
        steps.push(Step::Start { task, visit });
    }
}

/// How tasks come not to start, and how the lap comes to its end.
impl Frontier {
    /// Goes on to the `finally` tasks once everything else has settled, and settles what cannot start
    /// any more because nothing runs.
    fn advance(&mut self, steps: &mut Vec<Step>) {
        while self.waiting.is_empty() && self.open[self.phase as usize].active == 0 {
            match self.phase {
                Phase::Main => {
                    self.conclude(steps);
                    self.phase = Phase::Finally;
                    self.decide(Phase::Finally, steps);
                }
                Phase::Finally if self.open[1].undecided > 0 => self.conclude(steps),
                Phase::Finally => return,
            }
        }
    }

    /// Nothing of the phase runs or is ready: whatever has not started never will.
    fn conclude(&mut self, steps: &mut Vec<Step>) {
        if self.cause.is_none() {
            self.cause = self.stuck();
        }
        self.gathers
            .retain(|_, gather| gather.missing(&[]).is_some());
        self.skip_undecided(self.phase, steps, |frontier, task| {
            match frontier.missing(task) {
                Some(missing) => reason::waited(&frontier.workflow, &missing),
                None => reason::NOT_REACHED.to_owned(),
            }
        });
        self.gathers.clear();
    }

    /// A task that waits for what cannot come any more. A transition that nobody took is no such
    /// thing, unless nothing could start at all.
    fn stuck(&self) -> Option<Cause> {
        let joins = self.gathers.keys().copied();
        let waits = |task: usize| {
            let missing = self.missing(task)?;
            Some(Cause::Join { task, missing })
        };
        if let Some(cause) = joins.chain(self.undecided(self.phase)).find_map(waits) {
            return Some(cause);
        }
        let mut undecided = self.undecided(self.phase);
        let task = undecided.next().filter(|_| self.phase == Phase::Main)?;
        let nothing_done = self.nodes.iter().all(|node| node.status.is_none());
        let missing = self.graph.sources(task).to_vec();
        nothing_done.then_some(Cause::Join { task, missing })
    }

    /// What a task waits for, if it waits: sources that did not come to a join to which others did,
    /// or needs that are open.
    fn missing(&self, task: usize) -> Option<Vec<usize>> {
        if let Some(gather) = self.gathers.get(&task) {
            return gather.missing(self.graph.sources(task));
        }
        let Entry::Needs(needs) = &self.workflow.tasks[task].entry else {
            return None;
        };
        let open = |task: &usize| {
            self.nodes
                .get(*task)
                .is_none_or(|node| node.status.is_none())
        };
        let mut missing: Vec<usize> = needs.iter().map(|need| need.task).filter(open).collect();
        missing.sort_unstable();
        missing.dedup();
        Some(missing)
    }

    /// Nothing new starts, `finally` tasks aside.
    fn fail(&mut self, cause: Cause, steps: &mut Vec<Step>) {
        let reason = cause.skips(&self.workflow);
        self.cause = Some(cause);
        self.gathers.clear();
        self.waiting.clear();
        self.skip_undecided(Phase::Main, steps, |_, _| reason.clone());
    }

    fn skip_undecided(
        &mut self,
        phase: Phase,
        steps: &mut Vec<Step>,
        reason: impl Fn(&Self, usize) -> String,
    ) {
        let tasks: Vec<usize> = self.undecided(phase).collect();
        let reasons: Vec<String> = tasks.iter().map(|task| reason(self, *task)).collect();
        for (task, reason) in tasks.into_iter().zip(reasons) {
            self.skip(task, reason, steps);
        }
    }

    fn skip(&mut self, task: usize, reason: String, steps: &mut Vec<Step>) {
        self.nodes[task].status = Some(Status::Skipped);
        self.open_of(task).undecided -= 1;
        steps.push(Step::Skip { task, reason });
    }

    /// A `finally` task that failed makes the lap failed, and stops nothing.
    fn notice(&mut self, task: usize, status: Status) {
        let finally = task < self.graph.len() && self.graph.is_finally(task);
        if finally && is_failure(status) && self.cause.is_none() {
            self.cause = Some(Cause::Task { task, status });
        }
    }
}

/// What is known of single tasks.
impl Frontier {
    fn is_undecided(&self, task: usize) -> bool {
        let node = &self.nodes[task];
        node.visits == 0 && node.status.is_none() && !self.waiting.contains_key(&task)
    }

    fn undecided(&self, phase: Phase) -> impl Iterator<Item = usize> + '_ {
        self.look(self.nodes.len());
        (0..self.nodes.len()).filter(move |task| {
            let node = &self.nodes[*task];
            let finally = phase == Phase::Finally;
            self.graph.is_finally(*task) == finally && node.visits == 0 && node.status.is_none()
        })
    }

    fn open_of(&mut self, task: usize) -> &mut Open {
        &mut self.open[usize::from(self.graph.is_finally(task))]
    }

    /// Takes note of a start that is recorded; false of a task that does not exist.
    fn count_visits(&mut self, task: usize, visit: u32) -> bool {
        let Some(node) = self.nodes.get_mut(task) else {
            return false;
        };
        let undecided = node.visits == 0;
        node.visits = node.visits.max(visit).max(1);
        self.open_of(task).undecided -= usize::from(undecided);
        true
    }

    /// Takes up the arrivals that are recorded.
    fn arrived(&mut self, arrivals: &BTreeMap<usize, Vec<usize>>, steps: &mut Vec<Step>) {
        for (target, sources) in arrivals {
            let Some(visits) = self.nodes.get(*target).map(|node| node.visits) else {
                continue;
            };
            let graph = Arc::clone(&self.graph);
            let known = |source: &usize| graph.sources(*target).binary_search(source).is_ok();
            let sources: Vec<usize> = sources.iter().copied().filter(known).collect();
            if self.cause.is_some() {
                return;
            }
            if let Some(quorum) = self.quorum(*target) {
                let gather = Gather::restore(quorum, &sources, visits);
                let outstanding = gather.met().saturating_sub(visits);
                self.gathers.insert(*target, gather);
                for _ in 0..outstanding {
                    self.ready(*target, None, steps);
                }
            } else {
                for source in sources {
                    self.ready(*target, Some(source), steps);
                }
            }
        }
    }

    /// Tests count here what an end costs.
    #[cfg(test)]
    fn look(&self, at: usize) {
        self.looked_at
            .fetch_add(at, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests count")]
    const fn look(&self, _at: usize) {}
}

fn need_of(task: &Task, place: usize) -> Option<&Need> {
    match &task.entry {
        Entry::Needs(needs) => needs.get(place),
        Entry::Transitions(_) => None,
    }
}

const fn is_failure(status: Status) -> bool {
    matches!(
        status,
        Status::Failed | Status::TimedOut | Status::Cancelled | Status::Abandoned
    )
}

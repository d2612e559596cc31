//! The frontier against a planner that remembers only what happened, and looks at everything anew each
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camshaft_model::definition::workflow::{Entry, Join, Need, Next, Task, Workflow};
use camshaft_model::{Object, Status};
use proptest::prelude::*;

use super::frontier::{Cause, Frontier, Lap, Step};
use super::frontier_tests::task;
use super::graph::Graph;

use Status::{Abandoned, Cancelled, Completed, Failed, Skipped, TimedOut};

const ENDS: [&[Status]; 7] = [
    &[Completed],
    Need::DEFAULT,
    Need::FAILED,
    Need::ENDED,
    &[Skipped],
    &[TimedOut],
    &[Completed, Cancelled],
];

/// What happened in a lap, and nothing that follows from it.
struct Naive {
    workflow: Arc<Workflow>,
    /// Every settled start, and every task that never starts.
    settled: Vec<(usize, u32, Status)>,
    active: Vec<(usize, u32)>,
    /// Transitions that were taken: source, target.
    led: Vec<(usize, usize)>,
    cause: Option<Cause>,
    held: bool,
    /// Whether the first phase is over.
    ending: bool,
}

/// A start or a skip, without the reason.
type Said = BTreeSet<(usize, Option<u32>)>;

impl Naive {
    fn new(workflow: Arc<Workflow>) -> Self {
        Self {
            workflow,
            settled: Vec::new(),
            active: Vec::new(),
            led: Vec::new(),
            cause: None,
            held: false,
            ending: false,
        }
    }

    fn tasks(&self, finally: bool) -> Vec<usize> {
        let all = 0..self.workflow.tasks.len();
        all.filter(|task| self.workflow.tasks[*task].finally == finally)
            .collect()
    }

    fn status(&self, task: usize) -> Option<Status> {
        let mut of = self.settled.iter().filter(|settled| settled.0 == task);
        of.next_back().map(|settled| settled.2)
    }

    fn visits(&self, task: usize) -> u32 {
        let settled = self.settled.iter().filter(|settled| settled.0 == task);
        let active = self.active.iter().filter(|active| active.0 == task);
        u32::try_from(settled.count() + active.count()).unwrap()
    }

    fn sources(&self, task: usize) -> Vec<usize> {
        let leads = |source: &usize| {
            let mut next = self.workflow.tasks[*source].next.iter();
            next.any(|next| next.to.contains(&task))
        };
        let mut all = self.tasks(false);
        all.retain(leads);
        all
    }

    /// How often each source has led to a task.
    fn counts(&self, task: usize) -> Vec<(usize, usize)> {
        let count = |source| {
            self.led
                .iter()
                .filter(|led| **led == (source, task))
                .count()
        };
        let sources = self.sources(task).into_iter();
        sources.map(|source| (source, count(source))).collect()
    }

    /// How often the transitions to a task want it to have started.
    fn wanted(&self, task: usize, join: Join) -> usize {
        let counts: Vec<usize> = self
            .counts(task)
            .into_iter()
            .map(|(_, count)| count)
            .collect();
        let quorum = match join {
            _ if counts.is_empty() => return 1,
            Join::Each => return counts.iter().sum(),
            Join::All => counts.len(),
            Join::Count(count) => count as usize,
        };
        let met = |round: &usize| counts.iter().filter(|count| *count >= round).count() >= quorum;
        (1..=self.led.len()).take_while(met).count()
    }

    /// The sources that did not come to a round of a join that others came to.
    fn missing(&self, task: usize) -> Option<Vec<usize>> {
        let join = match self.workflow.tasks[task].entry {
            Entry::Transitions(Join::Each) | Entry::Needs(_) => return None,
            Entry::Transitions(join) => join,
        };
        let met = self.wanted(task, join);
        let counts = self.counts(task);
        let begun = !counts.is_empty() && counts.iter().any(|(_, count)| *count > met);
        let absent = counts.into_iter().filter(|(_, count)| *count <= met);
        begun.then(|| absent.map(|(source, _)| source).collect())
    }

    /// Whether a task that has not started is to be skipped (`Some(false)`) or may start.
    fn verdict(&self, task: usize) -> Option<bool> {
        let finally = |task: usize| self.workflow.tasks[task].finally;
        match &self.workflow.tasks[task].entry {
            Entry::Transitions(join) => (self.wanted(task, *join) > 0).then_some(true),
            Entry::Needs(needs) => {
                let met = |need: &Need| match self.status(need.task) {
                    _ if finally(task) && !finally(need.task) && need.implied => Some(true),
                    _ if finally(need.task) && !finally(task) => Some(false),
                    status => Some(need.on.contains(&status?)),
                };
                let met: Vec<Option<bool>> = needs.iter().map(met).collect();
                if met.contains(&Some(false)) {
                    return Some(false);
                }
                met.iter().all(Option::is_some).then_some(true)
            }
        }
    }

    /// Everything that follows from what happened.
    fn follow(&mut self) -> Said {
        let mut said = Said::new();
        while self.step(&mut said) {}
        said
    }

    /// One thing that follows; false if nothing does.
    fn step(&mut self, said: &mut Said) -> bool {
        let open: Vec<usize> = self
            .tasks(self.ending)
            .into_iter()
            .filter(|task| self.visits(*task) == 0)
            .collect();
        let failed = !self.ending && self.cause.is_some();
        let held = self.held && self.cause != Some(Cause::Outside);
        let mut waiting = false;
        for task in self.tasks(self.ending) {
            let start = match &self.workflow.tasks[task].entry {
                _ if failed => false,
                Entry::Transitions(join) => self.wanted(task, *join) > self.visits(task) as usize,
                Entry::Needs(_) => open.contains(&task) && self.verdict(task) == Some(true),
            };
            let runs = self.active.iter().any(|active| active.0 == task);
            if start && !held && !runs && self.settled_by_planner(task).is_none() {
                let visit = self.visits(task) + 1;
                self.active.push((task, visit));
                said.insert((task, Some(visit)));
                return true;
            }
            waiting |= start && self.settled_by_planner(task).is_none();
        }
        let dead = |task: &&usize| failed || self.verdict(**task) == Some(false);
        if let Some(task) = open.iter().find(dead) {
            return self.skip(*task, said);
        }
        let finally = |task: usize| self.workflow.tasks[task].finally;
        let runs = self
            .active
            .iter()
            .any(|active| finally(active.0) == self.ending);
        if runs || waiting {
            return false;
        }
        if self.cause.is_none() {
            self.cause = self.stuck(&open);
        }
        if let Some(task) = open.first() {
            for task in &open {
                self.skip(*task, said);
            }
            return self.visits(*task) > 0;
        }
        !std::mem::replace(&mut self.ending, true)
    }

    /// Whether a task was skipped without having started: then no transition starts it.
    fn settled_by_planner(&self, task: usize) -> Option<()> {
        let skipped = |settled: &&(usize, u32, Status)| settled.0 == task && settled.1 == 0;
        self.settled.iter().find(skipped).map(|_| ())
    }

    fn skip(&mut self, task: usize, said: &mut Said) -> bool {
        self.settled.push((task, 0, Skipped));
        said.insert((task, None))
    }

    fn stuck(&self, open: &[usize]) -> Option<Cause> {
        let missing = |task: usize| Some((task, self.missing(task)?));
        if let Some((task, missing)) = self.tasks(self.ending).into_iter().find_map(missing) {
            return Some(Cause::Join { task, missing });
        }
        let waits = |task: &usize| {
            let Entry::Needs(needs) = &self.workflow.tasks[*task].entry else {
                return None;
            };
            let needs = needs.iter().map(|need| need.task);
            let open = needs.filter(|need| self.status(*need).is_none());
            let missing: BTreeSet<usize> = open.collect();
            Some((*task, missing.into_iter().collect()))
        };
        let nothing = || {
            let first = open
                .first()
                .filter(|_| !self.ending && self.settled.is_empty())?;
            Some((*first, self.sources(*first)))
        };
        let (task, missing) = open.iter().find_map(waits).or_else(nothing)?;
        Some(Cause::Join { task, missing })
    }

    fn settle(&mut self, index: usize, status: Status, taken: &[usize]) -> usize {
        let (task, visit) = self.active.remove(index);
        self.settled.push((task, visit, status));
        let failure = matches!(status, Failed | TimedOut | Cancelled | Abandoned);
        let finally = self.workflow.tasks[task].finally;
        let handles = |other: &usize| match &self.workflow.tasks[*other].entry {
            Entry::Needs(needs) => needs
                .iter()
                .any(|need| *other != task && need.task == task && need.on.contains(&status)),
            Entry::Transitions(_) => false,
        };
        let handled = !taken.is_empty() || self.tasks(false).iter().any(handles);
        if failure && (finally || !handled) && self.cause.is_none() {
            self.cause = Some(Cause::Task { task, status });
        }
        if self.cause.is_none() {
            let targets: BTreeSet<usize> = taken.iter().copied().collect();
            self.led
                .extend(targets.into_iter().map(|target| (task, target)));
        }
        task
    }

    fn stop(&mut self) -> Said {
        if self.over().is_some() {
            return Said::new();
        }
        let mut said = Said::new();
        if self.cause == Some(Cause::Outside) && self.ending {
            for task in self.tasks(true) {
                if self.visits(task) == 0 {
                    self.skip(task, &mut said);
                }
            }
        }
        self.cause = Some(Cause::Outside);
        said.append(&mut self.follow());
        said
    }

    fn over(&self) -> Option<Lap> {
        let decided = |task: usize| self.visits(task) > 0;
        let all = (0..self.workflow.tasks.len()).all(decided);
        let held = self.cause.is_none()
            && (0..self.workflow.tasks.len()).any(|task| match self.workflow.tasks[task].entry {
                Entry::Transitions(join) => {
                    self.settled_by_planner(task).is_none()
                        && self.wanted(task, join) > self.visits(task) as usize
                }
                Entry::Needs(_) => false,
            });
        if !all || held || !self.active.is_empty() {
            return None;
        }
        Some(self.cause.clone().map_or(Lap::Completed, Lap::Failed))
    }
}

fn said(steps: Vec<Step>) -> Said {
    let count = steps.len();
    let said: Said = steps
        .into_iter()
        .map(|step| match step {
            Step::Start { task, visit } => (task, Some(visit)),
            Step::Skip { task, .. } => (task, None),
        })
        .collect();
    assert_eq!(said.len(), count, "a step was said twice");
    said
}

/// Tasks in the form of needs. Needs lead to lower places, unless `circles`; places are then mixed.
fn needs_form() -> impl Strategy<Value = Workflow> {
    let need = (
        any::<prop::sample::Index>(),
        0..ENDS.len(),
        prop::bool::weighted(0.2),
    );
    let one = (
        prop::collection::vec(need, 0..4),
        prop::bool::weighted(0.25),
    );
    let tasks = prop::collection::vec(one, 0..9);
    let count = 0..9_usize;
    let order = Just((0..9).collect::<Vec<usize>>()).prop_shuffle();
    (tasks, order, prop::bool::weighted(0.1), count).prop_map(|(tasks, order, circles, _)| {
        let mut places: Vec<usize> = order.into_iter().filter(|p| *p < tasks.len()).collect();
        places.truncate(tasks.len());
        let mut made = vec![task(""); tasks.len()];
        for (place, (needs, finally)) in tasks.iter().enumerate() {
            let among = if circles { tasks.len() } else { place };
            let need = |(other, on, implied): &(prop::sample::Index, usize, bool)| Need {
                task: places[other.index(among)],
                on: ENDS[*on].to_vec(),
                implied: *implied,
            };
            let needs = needs.iter().filter(|_| among > 0).map(need).collect();
            made[places[place]] = Task {
                entry: Entry::Needs(needs),
                finally: *finally,
                ..task(&format!("t{}", places[place]))
            };
        }
        Workflow {
            tasks: made,
            ..Workflow::default()
        }
    })
}

/// Tasks in the form of transitions, with cycles.
fn transition_form() -> impl Strategy<Value = Workflow> {
    let join = prop_oneof![
        3 => Just(Join::Each),
        2 => Just(Join::All),
        2 => (1..4_u32).prop_map(Join::Count),
    ];
    let one = (
        join,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.7),
    );
    prop::collection::vec(one, 0..9).prop_map(|tasks| {
        let count = tasks.len();
        let made = tasks
            .iter()
            .enumerate()
            .map(|(place, (join, to, finally, onward))| {
                // Mostly onward, so that there is a start.
                let target = |to: &prop::sample::Index| match (onward, place + 1 < count) {
                    (true, true) => Some(place + 1 + to.index(count - place - 1)),
                    (true, false) => None,
                    (false, _) => Some(to.index(count)),
                };
                let to = to.iter().filter(|_| !finally).filter_map(target);
                let next = to.filter(|to| !tasks[*to].2).map(|to| Next {
                    when: None,
                    publish: Object::new(),
                    to: vec![to],
                });
                Task {
                    entry: if *finally {
                        Entry::Needs(Vec::new())
                    } else {
                        Entry::Transitions(*join)
                    },
                    finally: *finally,
                    next: next.collect(),
                    ..task(&format!("t{place}"))
                }
            });
        Workflow {
            tasks: made.collect(),
            ..Workflow::default()
        }
    })
}

fn workflow() -> impl Strategy<Value = Workflow> {
    prop_oneof![needs_form().boxed(), transition_form().boxed()]
}

/// How starts of tasks end: a function of task and visit, so that it does not depend on the order.
#[derive(Debug, Clone)]
struct Outcomes(Vec<u8>);

impl Outcomes {
    fn byte(&self, task: usize, visit: u32) -> u8 {
        self.0[(task * 7 + visit as usize * 3) % self.0.len()]
    }

    fn status(&self, task: usize, visit: u32) -> Status {
        match self.byte(task, visit) % 16 {
            0 => Failed,
            1 => TimedOut,
            2 => Abandoned,
            3 => Cancelled,
            4 | 5 => Skipped,
            _ => Completed,
        }
    }

    /// A task leads on three times at most, so that every lap ends.
    fn taken(&self, workflow: &Workflow, task: usize, visit: u32) -> Vec<usize> {
        let byte = self.byte(task + 1, visit);
        let next = workflow.tasks[task].next.iter().enumerate();
        let taken = next.filter(|(place, _)| visit <= 3 && byte >> (place % 8) & 3 != 0);
        taken
            .flat_map(|(_, next)| next.to.iter().copied())
            .collect()
    }
}

fn outcomes() -> impl Strategy<Value = Outcomes> {
    prop::collection::vec(any::<u8>(), 32).prop_map(Outcomes)
}

fn frontier(workflow: &Arc<Workflow>) -> Frontier {
    Frontier::new(Arc::new(Graph::new(workflow)), Arc::clone(workflow))
}

/// The same frontier from what is recorded.
fn again(naive: &Naive, arrivals: &BTreeMap<usize, Vec<usize>>) -> (Frontier, Said) {
    let (frontier, steps) = Frontier::restore(
        Arc::new(Graph::new(&naive.workflow)),
        Arc::clone(&naive.workflow),
        naive
            .settled
            .iter()
            .map(|(task, visit, status)| (*task, (*visit).max(1), *status)),
        naive.active.iter().copied(),
        arrivals,
        naive.cause.clone(),
        naive.held,
    );
    (frontier, said(steps))
}

/// The verdict and the settled starts of a lap whose ends come in an order that the picks say.
fn lap(
    workflow: &Arc<Workflow>,
    outcomes: &Outcomes,
    picks: &[u8],
) -> (Option<Lap>, BTreeSet<(usize, u32, Status)>) {
    let mut frontier = frontier(workflow);
    let mut steps = frontier.begin();
    let (mut active, mut settled) = (Vec::new(), BTreeSet::new());
    for pick in picks.iter().cycle() {
        for step in steps.drain(..) {
            match step {
                Step::Start { task, visit } => active.push((task, visit)),
                Step::Skip { task, .. } => {
                    settled.insert((task, 0, Skipped));
                }
            }
        }
        if active.is_empty() {
            break;
        }
        let (task, visit) = active.swap_remove(*pick as usize % active.len());
        let status = outcomes.status(task, visit);
        settled.insert((task, visit, status));
        steps = frontier.settle(task, status, &outcomes.taken(workflow, task, visit));
    }
    (frontier.over(), settled)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Same starts, same skips, same verdict, and the same again from the records at every point.
    #[test]
    fn the_frontier_says_what_a_naive_planner_says(
        workflow in workflow().prop_map(Arc::new),
        outcomes in outcomes(),
        events in prop::collection::vec((any::<u8>(), any::<u8>(), any::<bool>()), 120),
    ) {
        let mut naive = Naive::new(Arc::clone(&workflow));
        let mut frontier = frontier(&workflow);
        prop_assert_eq!(said(frontier.begin()), naive.follow());
        for (what, pick, anew) in events {
            prop_assert_eq!(frontier.over(), naive.over());
            let arrivals = frontier.arrivals();
            let (restored, steps) = again(&naive, &arrivals);
            prop_assert_eq!(steps, Said::new());
            prop_assert_eq!(restored.over(), frontier.over());
            prop_assert_eq!(restored.arrivals(), arrivals);
            prop_assert_eq!(restored.cause(), naive.cause.as_ref());
            if anew {
                frontier = restored;
            }
            match what {
                0..=20 => {
                    frontier.hold();
                    naive.held = true;
                }
                21..=55 => {
                    naive.held = false;
                    prop_assert_eq!(said(frontier.release()), naive.follow());
                }
                56..=59 => prop_assert_eq!(said(frontier.stop()), naive.stop()),
                _ if naive.active.is_empty() => {}
                _ => {
                    let index = pick as usize % naive.active.len();
                    let (task, visit) = naive.active[index];
                    let status = outcomes.status(task, visit);
                    let taken = outcomes.taken(&workflow, task, visit);
                    naive.settle(index, status, &taken);
                    prop_assert_eq!(said(frontier.settle(task, status, &taken)), naive.follow());
                }
            }
        }
    }

    /// Unless it fails in the middle, what a lap comes to does not depend on who ends first.
    #[test]
    fn a_lap_comes_to_the_same_in_whichever_order_its_tasks_end(
        workflow in workflow().prop_map(Arc::new),
        outcomes in outcomes(),
        one in prop::collection::vec(any::<u8>(), 64),
        other in prop::collection::vec(any::<u8>(), 64),
    ) {
        let (verdict, settled) = lap(&workflow, &outcomes, &one);
        let (otherwise, also) = lap(&workflow, &outcomes, &other);
        prop_assert!(verdict.is_some());
        let failed = |lap: &Option<Lap>| matches!(lap, Some(Lap::Failed(Cause::Task { .. })));
        prop_assert_eq!(failed(&verdict), failed(&otherwise));
        if !failed(&verdict) {
            prop_assert_eq!(verdict, otherwise);
            prop_assert_eq!(settled, also);
        }
    }

    /// A retry that keeps tasks starts those whose needs are met by what is kept.
    #[test]
    fn a_lap_that_begins_with_settled_tasks_goes_on_from_them(
        workflow in needs_form().prop_map(Arc::new),
        kept in prop::collection::vec(any::<bool>(), 9),
        held in any::<bool>(),
    ) {
        let mut naive = Naive::new(Arc::clone(&workflow));
        naive.held = held;
        let keep = |task: &usize| kept[*task];
        let settled = naive.tasks(false).into_iter().filter(keep);
        naive.settled = settled.map(|task| (task, 1, Completed)).collect();
        let (mut frontier, steps) = again(&naive, &BTreeMap::new());
        prop_assert_eq!(steps, naive.follow());
        naive.held = false;
        prop_assert_eq!(said(frontier.release()), naive.follow());
        prop_assert_eq!(frontier.over(), naive.over());
    }
}

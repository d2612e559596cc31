//! From rows to nodes: what was when, below what, and after what.

use std::collections::{BTreeMap, HashMap, HashSet};

use camshaft_model::definition::workflow::{Work, Workflow};
use camshaft_model::{
    Attempt, BlockedBy, Execution, ExecutionId, Status, StepEvent, StepEventType, TaskRecord,
    TaskRef, Timestamp,
};

use super::timing::{self, Piece, Track};
use super::{Material, Part, StepKind, TraceStep, held_by};

/// Runs below runs are followed so far down.
const MAX_NESTING: usize = 64;

/// What the critical path is looked for in.
pub(super) struct Built<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    /// The execution that is asked about.
    pub(super) root: usize,
    pub(super) steps: Vec<TraceStep>,
    pub(super) pauses: Vec<(u64, u64)>,
}

/// Something that took time.
pub(super) struct Node<'a> {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) lap: u32,
    /// The task, by its place in the graph of the node above.
    pub(super) task: Option<usize>,
    pub(super) body: Body<'a>,
}

/// What a node consists of.
pub(super) enum Body<'a> {
    /// Pieces without a gap from its beginning to its end.
    Pieces(Vec<Piece>),
    /// Other nodes, after some pieces of its own.
    Inside {
        lead: Vec<Piece>,
        children: Vec<usize>,
        /// What follows from what; without it, anything that ended before may have led to it.
        graph: Option<&'a Workflow>,
    },
}

struct Builder<'a> {
    start: Timestamp,
    now: Timestamp,
    pauses: Vec<(u64, u64)>,
    executions: HashMap<ExecutionId, &'a Execution>,
    children: HashMap<ExecutionId, Vec<&'a Execution>>,
    attempts: HashMap<ExecutionId, Vec<&'a Attempt>>,
    events: HashMap<ExecutionId, Vec<&'a StepEvent>>,
    tasks: HashMap<ExecutionId, Vec<&'a TaskRecord>>,
    workflows: &'a HashMap<ExecutionId, std::sync::Arc<Workflow>>,
    held: &'a HashMap<(ExecutionId, TaskRef), BlockedBy>,
    seen: HashSet<ExecutionId>,
    nodes: Vec<Node<'a>>,
    steps: Vec<TraceStep>,
}

/// Builds the nodes of an execution and everything below it.
pub(super) fn build<'a>(
    material: &'a Material,
    subject: ExecutionId,
    now: Timestamp,
) -> Option<Built<'a>> {
    let executions: HashMap<_, _> = material.executions.iter().map(|e| (e.spec.id, e)).collect();
    let execution = *executions.get(&subject)?;
    let mut builder = Builder {
        start: execution.spec.requested_at,
        now: execution.state.ended_at.unwrap_or(now),
        pauses: Vec::new(),
        executions,
        children: group(&material.executions, |e| e.spec.parent),
        attempts: group(&material.attempts, |a| Some(a.key.execution)),
        events: group(&material.events, |e| {
            Some(e.item_id.unwrap_or(e.execution_id))
        }),
        tasks: group(&material.tasks, |t| Some(t.run)),
        workflows: &material.workflows,
        held: &material.held,
        seen: HashSet::new(),
        nodes: Vec::new(),
        steps: Vec::new(),
    };
    builder.pauses = builder.paused(&material.events);
    let place = Place {
        prefix: String::new(),
        lap: 1,
        task: None,
        depth: 0,
    };
    let root = builder.execution(execution, &place)?;
    Some(Built {
        nodes: builder.nodes,
        root,
        steps: builder.steps,
        pauses: builder.pauses,
    })
}

fn group<T>(all: &[T], key: impl Fn(&T) -> Option<ExecutionId>) -> HashMap<ExecutionId, Vec<&T>> {
    let mut groups: HashMap<_, Vec<&T>> = HashMap::new();
    for one in all {
        if let Some(key) = key(one) {
            groups.entry(key).or_default().push(one);
        }
    }
    groups
}

/// Where something is in the tree.
#[derive(Clone)]
struct Place {
    /// What its line is called; of a run, also what those below it begin with.
    prefix: String,
    lap: u32,
    task: Option<usize>,
    depth: usize,
}

/// How a start of a task is called.
pub(super) fn label(task: &TaskRef) -> String {
    let visit = match task.visit {
        0 | 1 => String::new(),
        visit => format!("#{visit}"),
    };
    match task.item {
        Some(item) => format!("{}{visit}[{item}]", task.name),
        None => format!("{}{visit}", task.name),
    }
}

impl<'a> Builder<'a> {
    fn offset(&self, at: Timestamp) -> u64 {
        u64::try_from(at.since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// When the run was paused, or one below it. A pause whose end is not told ends with the next
    /// start of anything.
    fn paused(&self, events: &[StepEvent]) -> Vec<(u64, u64)> {
        let mut pauses: Vec<(u64, u64)> = Vec::new();
        let mut since: Option<(u64, bool)> = None;
        for event in events {
            let at = self.offset(event.created_at);
            let resumed = event
                .payload
                .get("paused")
                .and_then(serde_json::Value::as_bool);
            let ends = match event.event_type {
                StepEventType::TaskPaused => resumed == Some(false),
                StepEventType::StepStarted => {
                    resumed.is_none() && since.is_some_and(|(_, told)| !told)
                }
                _ => false,
            };
            if ends {
                pauses.extend(since.take().map(|(from, _)| (from, at)));
            } else if event.event_type == StepEventType::TaskPaused {
                since.get_or_insert((at, resumed.is_some()));
            }
        }
        pauses.extend(since.map(|(from, _)| (from, u64::MAX)));
        pauses
    }

    fn push(&mut self, node: Node<'a>) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn step(&mut self, kind: StepKind, place: &Place, status: Status, from: u64, to: u64) -> usize {
        self.steps.push(TraceStep {
            kind,
            step: place.prefix.clone(),
            lap: place.lap,
            execution: None,
            action: None,
            attempt: None,
            status,
            blocked_by: None,
            offset_us: from,
            duration_us: to.saturating_sub(from),
            phases: Vec::new(),
            reason: None,
            critical: false,
        });
        self.steps.len() - 1
    }

    fn execution(&mut self, execution: &'a Execution, place: &Place) -> Option<usize> {
        let id = execution.spec.id;
        if place.depth > MAX_NESTING || !self.seen.insert(id) {
            return None;
        }
        let is_run = self.workflows.contains_key(&id)
            || self.tasks.contains_key(&id)
            || self.children.contains_key(&id);
        Some(if is_run {
            self.run(execution, place)
        } else {
            self.leaf(execution, place)
        })
    }

    fn leaf(&mut self, execution: &'a Execution, place: &Place) -> usize {
        let (spec, state) = (&execution.spec, &execution.state);
        let ended = self.attempts.get(&spec.id).cloned().unwrap_or_default();
        let events = self.events.get(&spec.id).cloned().unwrap_or_default();
        let times = timing::attempts(execution, &ended, &events);
        let from = self.offset(spec.requested_at);
        let to = self.offset(state.ended_at.unwrap_or(self.now)).max(from);
        let pauses = self.pauses.clone();
        let mut track = Track::new(from, to, &pauses);
        let first = self.steps.len();
        let mut not_before = None;
        for (index, time) in times.iter().enumerate() {
            let row = self.row(execution, place, Some(index as u32 + 1), track.at());
            let admitted = time.admitted.map_or(track.at(), |at| self.offset(at));
            if let Some(until) = not_before {
                track.go(Part::Delay, self.offset(until).min(admitted), row);
            }
            let mut held = timing::held(&events).map(|at| self.offset(at));
            if let Some(held) = held.find(|held| (track.at()..=admitted).contains(held)) {
                track.go(Part::Queue, held, row);
                track.go(Part::Constraint, admitted, row);
            }
            track.go(Part::Queue, admitted, row);
            let is_last = index + 1 == times.len();
            let end = match time.ended {
                Some(at) => self.offset(at),
                None if is_last => to,
                None => track.at(),
            };
            let spawned = time.spawned.map_or(track.at(), |at| self.offset(at));
            track.go(Part::Spawn, spawned.min(end), row);
            track.go(Part::Run, end, row);
            not_before = time.not_before;
            let attempt = ended.iter().find(|a| a.key.attempt as usize == index + 1);
            let waits_again = is_last && state.status == Status::Requested;
            let step = &mut self.steps[row];
            if let Some(attempt) = attempt {
                step.status = attempt.status;
                step.reason = attempt.error.as_ref().map(|error| error.message.clone());
            } else if is_last && !waits_again {
                step.reason = state.error.as_ref().map(|error| error.message.clone());
            } else {
                step.status = Status::Failed;
            }
        }
        if times.is_empty() || state.status == Status::Requested {
            let number = (!times.is_empty()).then_some(times.len() as u32 + 1);
            let row = self.row(execution, place, number, track.at());
            let error = state.error.as_ref();
            let error = error.filter(|_| state.status.is_terminal());
            self.steps[row].reason = error.map(|error| error.message.clone());
            self.held(row, held_by(execution));
            if let Some(until) = not_before.or(state.not_before) {
                track.go(Part::Delay, self.offset(until), row);
            }
            track.go(timing::waits_as(execution), to, row);
        } else {
            // The end of an attempt is the worker's, the end of its execution the engine's.
            track.go(Part::Commit, to, self.steps.len() - 1);
        }
        let pieces = track.finish();
        self.fill(first, &pieces);
        self.push(Node {
            from,
            to,
            lap: place.lap,
            task: place.task,
            body: Body::Pieces(pieces),
        })
    }

    fn row(
        &mut self,
        execution: &Execution,
        place: &Place,
        attempt: Option<u32>,
        from: u64,
    ) -> usize {
        let row = self.step(StepKind::Attempt, place, execution.state.status, from, from);
        let step = &mut self.steps[row];
        step.execution = Some(execution.spec.id);
        step.action = Some(execution.spec.action.clone());
        step.attempt = attempt;
        if step.step.is_empty() {
            step.step = execution.spec.step().to_owned();
        }
        row
    }

    /// Hands the pieces to the lines that they belong to.
    fn fill(&mut self, first: usize, pieces: &[Piece]) {
        for piece in pieces {
            if let Some(step) = piece.step.and_then(|at| self.steps.get_mut(at)) {
                step.duration_us = piece.to.saturating_sub(step.offset_us);
                step.phases.push(piece.phase());
            }
        }
        debug_assert!(pieces.iter().all(|p| p.step.is_none_or(|at| at >= first)));
    }

    fn run(&mut self, execution: &'a Execution, place: &Place) -> usize {
        let (spec, state) = (&execution.spec, &execution.state);
        let from = self.offset(spec.requested_at);
        let to = self.offset(state.ended_at.unwrap_or(self.now)).max(from);
        let row = (place.depth > 0).then(|| {
            let row = self.step(StepKind::Run, place, state.status, from, to);
            let step = &mut self.steps[row];
            step.execution = Some(spec.id);
            step.action = Some(spec.action.clone());
            step.reason = state.error.as_ref().map(|error| error.message.clone());
            self.held(row, held_by(execution));
            row
        });
        let pauses = self.pauses.clone();
        let mut track = Track::new(from, to, &pauses);
        let admitted = state.scheduled_at.or(state.started_at);
        let first_task = self
            .tasks
            .get(&spec.id)
            .into_iter()
            .flatten()
            .map(|t| t.started_at)
            .min();
        // The row tells of the latest attempt at the run; a task may have begun under an earlier one.
        let admitted = [admitted, first_task].into_iter().flatten().min();
        let lead_row = row.unwrap_or(usize::MAX);
        if let Some(until) = state.not_before {
            track.go(Part::Delay, self.offset(until), lead_row);
        }
        track.go(
            timing::waits_as(execution),
            admitted.map_or(to, |at| self.offset(at)),
            lead_row,
        );
        let lead = track.finish();
        let lead = lead
            .into_iter()
            .map(|piece| Piece { step: row, ..piece })
            .collect();
        let graph = self.workflows.get(&spec.id).map(std::sync::Arc::as_ref);
        let children = self.below(spec.id, graph, place);
        self.push(Node {
            from,
            to,
            lap: place.lap,
            task: place.task,
            body: Body::Inside {
                lead,
                children,
                graph,
            },
        })
    }

    /// The nodes of what a run consists of.
    fn below(
        &mut self,
        run: ExecutionId,
        graph: Option<&'a Workflow>,
        place: &Place,
    ) -> Vec<usize> {
        let mut items: BTreeMap<(u32, &str, u32), Vec<&'a Execution>> = BTreeMap::new();
        let mut others = Vec::new();
        for child in self.children.get(&run).into_iter().flatten() {
            match &child.spec.task {
                Some(task) if task.item.is_some() => items
                    .entry((task.lap, task.name.as_str(), task.visit))
                    .or_default()
                    .push(child),
                _ => others.push(*child),
            }
        }
        let at = |task: &TaskRef| Place {
            prefix: format!("{}{}", below(&place.prefix), label(task)),
            lap: task.lap,
            task: graph
                .and_then(|graph| graph.task(&task.name))
                .map(|found| found.0),
            depth: place.depth + 1,
        };
        let mut nodes = Vec::new();
        for record in self.tasks.get(&run).cloned().unwrap_or_default() {
            let task = &record.task;
            let place = at(task);
            let key = (task.lap, task.name.as_str(), task.visit);
            if record.items.is_some() {
                let executions = items.remove(&key).unwrap_or_default();
                nodes.push(self.items(record, &executions, &place, &at));
            } else if let Some(child) = self.own(record) {
                nodes.extend(self.execution(child, &place));
            } else {
                let work = place
                    .task
                    .and_then(|at| graph?.tasks.get(at))
                    .map(|task| &task.work);
                nodes.push(self.task(record, work, &place));
            }
        }
        for child in others.into_iter().chain(items.into_values().flatten()) {
            let place = child.spec.task.as_deref().map_or_else(
                || Place {
                    prefix: format!("{}{}", below(&place.prefix), child.spec.step()),
                    depth: place.depth + 1,
                    ..place.clone()
                },
                at,
            );
            nodes.extend(self.execution(child, &place));
        }
        nodes
    }

    /// The execution of a task, unless its result comes from elsewhere.
    fn own(&self, record: &TaskRecord) -> Option<&'a Execution> {
        let id = record.execution.filter(|_| record.taken_from.is_none())?;
        self.executions.get(&id).copied()
    }

    fn items(
        &mut self,
        record: &TaskRecord,
        executions: &[&'a Execution],
        place: &Place,
        at: &dyn Fn(&TaskRef) -> Place,
    ) -> usize {
        let row = self.record(StepKind::Items, record, place);
        let (from, to) = self.span(record);
        let mut children = Vec::with_capacity(executions.len());
        for execution in executions {
            let inner = execution
                .spec
                .task
                .as_deref()
                .map_or_else(|| place.clone(), at);
            children.extend(self.execution(execution, &inner));
        }
        // Nothing was started: the time was spent on finding that out.
        let body = if children.is_empty() {
            self.pieces(Part::Commit, from, to, row)
        } else {
            Body::Inside {
                lead: Vec::new(),
                children,
                graph: None,
            }
        };
        self.push(Node {
            from,
            to,
            lap: place.lap,
            task: place.task,
            body,
        })
    }

    fn task(&mut self, record: &TaskRecord, work: Option<&Work>, place: &Place) -> usize {
        let row = self.record(StepKind::Task, record, place);
        let (from, to) = self.span(record);
        let part = match work {
            Some(Work::Inquiry(_)) => Part::Person,
            Some(Work::WaitFor(_)) => Part::Event,
            _ if record.awaited.is_some() => Part::Event,
            None if record.until.is_some() || record.status == Status::Waiting => Part::Person,
            _ => Part::Commit,
        };
        let body = self.pieces(part, from, to, row);
        self.push(Node {
            from,
            to,
            lap: place.lap,
            task: place.task,
            body,
        })
    }

    fn span(&self, record: &TaskRecord) -> (u64, u64) {
        let from = self.offset(record.started_at);
        let end = match record.ended_at {
            Some(at) => self.offset(at),
            // What is skipped took no time, even if its row does not say when it ended.
            None if record.status.is_terminal() => from,
            None => self.offset(self.now),
        };
        (from, end.max(from))
    }

    fn pieces(&mut self, part: Part, from: u64, to: u64, row: usize) -> Body<'a> {
        let mut pieces = Vec::new();
        if from < to {
            pieces.push(Piece {
                part,
                from,
                to,
                step: Some(row),
            });
        }
        self.fill(row, &pieces);
        Body::Pieces(pieces)
    }

    fn record(&mut self, kind: StepKind, record: &TaskRecord, place: &Place) -> usize {
        let (from, to) = self.span(record);
        let row = self.step(kind, place, record.status, from, to);
        let step = &mut self.steps[row];
        step.execution = record.execution;
        let error = record.error.as_ref().map(|error| error.message.clone());
        step.reason = error.or_else(|| record.reason.clone());
        self.held(row, self.held.get(&(record.run, record.task.clone())));
        row
    }

    /// Says of a line what holds it, if anything does.
    fn held(&mut self, row: usize, by: Option<&BlockedBy>) {
        let step = &mut self.steps[row];
        step.blocked_by = by.cloned();
        if let Some(by) = by {
            step.reason.get_or_insert_with(|| by.to_string());
        }
    }
}

/// What the names of those below a run begin with.
fn below(prefix: &str) -> String {
    if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    }
}

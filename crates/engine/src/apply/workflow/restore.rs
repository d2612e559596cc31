//! Taking up runs that an earlier engine left, from what is recorded of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use camshaft_model::definition::workflow::{Task, Work};
use camshaft_model::port::store::Change;
use camshaft_model::{Execution, ExecutionId, Inquiry, RunRecord, Status, TaskRecord, TaskRef};
use serde_json::Value;

use crate::decision::{Decision, Unit};
use crate::state::{Context, State};
use crate::workflow::{
    self, Active, ActiveItems, ActiveWork, Alarm, Cause, Fanout, Frontier, Kept, NEVER_MADE, Run,
    Step, TaskEnd, item_error,
};

/// Everything that is recorded of a run that has not ended. Results may be left out.
#[derive(Debug, Clone)]
pub(crate) struct RunRows {
    pub(crate) record: RunRecord,
    /// What it keeps of an earlier run.
    pub(crate) kept: Vec<TaskRecord>,
    /// Those of its lap, in the order in which they started.
    pub(crate) tasks: Vec<TaskRecord>,
    /// The lists of the tasks that fan out and have not ended.
    pub(crate) items: Vec<(TaskRef, Arc<Value>)>,
    /// The executions of its lap, oldest first, ended or not.
    pub(crate) children: Vec<Execution>,
    /// Its open questions.
    pub(crate) inquiries: Vec<Inquiry>,
}

/// A run that was taken up.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// What may start and has not, for [`continue_run`](State::continue_run) once everything is taken
    /// up.
    pub(crate) steps: Vec<Step>,
    /// The results that its expressions may read and its rows left out, for
    /// [`supply`](State::supply) before anything else happens to it.
    pub(crate) absent: Vec<Absent>,
}

/// The result of a task, or of items of it, that is to be read from where it is.
#[derive(Debug, Clone)]
pub(crate) struct Absent {
    pub(crate) run: ExecutionId,
    task: TaskRef,
    /// Those that are to be read: of the task itself, or of an item.
    pub(crate) places: Vec<(Option<u32>, ResultPlace)>,
    /// What is known already of a list.
    known: Vec<Option<Arc<Value>>>,
}

/// Where a result is recorded.
#[derive(Debug, Clone)]
pub(crate) enum ResultPlace {
    /// With an execution.
    Execution(ExecutionId),
    /// With the record of a task itself.
    Record(TaskRef),
}

impl State {
    /// Takes up a run as it is recorded; its own execution is known already.
    ///
    /// # Errors
    /// Its definition is gone.
    pub(crate) fn take_run(&mut self, mut rows: RunRows) -> Result<Taken, String> {
        let id = rows.record.execution;
        let waits = self
            .live
            .get(&id)
            .is_some_and(|live| live.state.status == Status::Requested);
        if let Some(live) = self.live.get_mut(&id) {
            live.lap = rows.record.lap;
        }
        let kept = std::mem::take(&mut rows.kept).into_iter();
        let kept: Kept = kept.map(|task| (task.task.name.clone(), task)).collect();
        let absent = kept.values().filter(|record| record.result.is_none());
        let mut absent: Vec<Absent> = absent.map(|record| Absent::of_record(id, record)).collect();
        if !kept.is_empty() {
            self.kept.insert(id, kept.clone());
        }
        if waits {
            self.between.insert(id, rows.record);
            return Ok(Taken {
                absent,
                ..Taken::default()
            });
        }
        let mut run = self.new_run(rows.record.clone())?;
        if run.record.cycle == 1 {
            run.kept = kept;
            for record in &rows.tasks {
                run.kept.remove(&record.task.name);
            }
        }
        let program = run.program.clone();
        let mut past = Past::new(rows);
        let mut settled = Vec::new();
        let mut active = Vec::new();
        let mut ends: BTreeMap<usize, (TaskRecord, TaskEnd)> = BTreeMap::new();
        for record in std::mem::take(&mut past.tasks) {
            let Some((task, definition)) = program.task(&record.task.name) else {
                continue;
            };
            if record.status.is_terminal() {
                settled.push((task, record.task.visit, record.status));
                let end = past.end_of(&record, definition);
                ends.insert(task, (record, end));
                continue;
            }
            active.push((task, record.task.visit));
            let entry = self.active(&mut run, task, definition, record, &mut past);
            if let Some(entry) = entry {
                run.active.insert(task, entry);
            }
        }
        let arrivals = run.recorded_arrivals();
        let cause = run
            .record
            .ending
            .as_ref()
            .map(|ending| match ending.status {
                Status::Failed => Cause::Recorded,
                _ => Cause::Outside,
            });
        let held = self.holds(&run);
        let (frontier, steps) = Frontier::restore(
            run.program.graph.clone(),
            run.program.workflow.clone(),
            settled,
            active,
            &arrivals,
            cause,
            held,
        );
        run.frontier = frontier;
        run.is_written();
        for (task, (record, end)) in ends {
            let is_completed = end.status == Status::Completed;
            run.end_known(task, end);
            if run.holds_result(task) {
                absent.extend(past.absent(&record, is_completed));
            }
        }
        for active in run.active.values().filter(|active| reads_items(active)) {
            absent.extend(past.absent(&active.record, false));
        }
        if let Some(at) = run.deadline {
            self.alarms.insert((at, Alarm::Deadline(id)));
        }
        if let Some(at) = run.record.next_lap_at {
            self.alarms.insert((at, Alarm::Lap(id)));
        }
        self.runs.insert(id, run);
        Ok(Taken { steps, absent })
    }

    /// Takes results that were left out when a run was taken up, in the order of their places.
    pub(crate) fn supply(&mut self, absent: Absent, results: Vec<Option<Arc<Value>>>) {
        let Absent {
            run: id,
            task: place,
            places,
            mut known,
        } = absent;
        let mut whole = None;
        for ((item, _), result) in places.into_iter().zip(results) {
            match item {
                None => whole = result,
                Some(item) => {
                    if let Some(slot) = known.get_mut(item as usize) {
                        *slot = result;
                    }
                }
            }
        }
        if place.lap == TaskRef::KEPT_LAP {
            let run = self.runs.get_mut(&id).map(|run| &mut run.kept);
            for kept in self.kept.get_mut(&id).into_iter().chain(run) {
                if let Some(record) = kept.get_mut(&place.name) {
                    record.result.clone_from(&whole);
                }
            }
            return;
        }
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let Some(task) = run.program.place(&place.name) else {
            return;
        };
        match run.active.get_mut(&task).map(|active| &mut active.work) {
            Some(ActiveWork::Items(fan)) => {
                let before = fan.bytes;
                for (item, result) in (0..).zip(known) {
                    if let Some(result) = result.filter(|_| !fan.has_result(item)) {
                        fan.take_result(item, result);
                    }
                }
                let after = fan.bytes;
                run.hold_fan(before, after);
            }
            _ if known.is_empty() => run.take_result(task, whole.unwrap_or_default()),
            _ => {
                let value =
                    |result: Option<Arc<Value>>| result.map_or(Value::Null, Arc::unwrap_or_clone);
                let list = known.into_iter().map(value).collect();
                run.take_result(task, Arc::new(list));
            }
        }
    }

    /// Notes what a run that was asked for keeps of an earlier one.
    pub(crate) fn keep(&mut self, id: ExecutionId, mut kept: Kept, unit: &mut Unit) {
        if kept.is_empty() {
            return;
        }
        for task in kept.values_mut() {
            task.run = id;
        }
        let record = workflow::first_record(id, TaskRef::KEPT_LAP);
        unit.changes.push(Change::PutRun(Box::new(record.clone())));
        let tasks = kept.values().cloned().map(Box::new);
        unit.changes.extend(tasks.map(Change::PutTask));
        self.between.insert(id, record);
        self.kept.insert(id, kept);
    }

    /// Lets a run go on that was taken up: whatever may start and has not.
    pub(crate) fn continue_run(
        &mut self,
        id: ExecutionId,
        steps: Vec<Step>,
        context: &Context<'_>,
    ) -> Decision {
        let mut decision = Decision::default();
        let mut unit = Unit::default();
        self.advance(id, steps, &mut unit, &mut decision, context);
        if !unit.is_empty() {
            decision.units.insert(0, unit);
        }
        decision
    }

    fn active(
        &mut self,
        run: &mut Run,
        task: usize,
        definition: &Task,
        record: TaskRecord,
        past: &mut Past,
    ) -> Option<Active> {
        if let Some(until) = record.until {
            self.alarms.insert((until, Alarm::Wait(run.id(), task)));
        }
        let work = match (&definition.work, record.execution) {
            (Work::Action { .. }, Some(id)) => ActiveWork::Child(id),
            (Work::Action { .. }, None) => {
                let mut fan = past.fan(&record, definition, run.reads_items(task))?;
                // What is there for the end of the run goes on, unless that was stopped too.
                match run.record.ending.as_ref().map(|ending| ending.status) {
                    None => {}
                    Some(_) if past.is_cancelled(&record.task) => {
                        fan.cancelled = true;
                        fan.fanout.close();
                    }
                    Some(_) if definition.finally => {}
                    Some(Status::Failed) => fan.start_no_more(),
                    Some(_) => {
                        fan.cancelled = true;
                        fan.fanout.close();
                    }
                }
                ActiveWork::Items(Box::new(fan))
            }
            (Work::Inquiry(_), _) => {
                let inquiry = past.inquiry(&record.task)?;
                self.inquiries.insert(inquiry.id, (run.id(), task));
                ActiveWork::Inquiry(Box::new(inquiry))
            }
            (Work::WaitFor(awaited), _) => {
                let patterns = record.awaited.as_ref().map(|awaited| &awaited["patterns"]);
                let patterns = patterns.and_then(Value::as_array).cloned();
                ActiveWork::Event(self.listen(run, task, awaited, patterns.unwrap_or_default()))
            }
            (Work::Nothing, _) => return None,
        };
        if let ActiveWork::Items(fan) = &work {
            run.hold_fan(0, fan.bytes);
        }
        Some(Active { record, work })
    }
}

impl Absent {
    fn of_record(run: ExecutionId, record: &TaskRecord) -> Self {
        let place = ResultPlace::Record(record.task.clone());
        Self {
            run,
            task: record.task.clone(),
            places: vec![(None, place)],
            known: Vec::new(),
        }
    }
}

/// Whether the record of a task itself says why an item failed.
fn is_told(record: &TaskRecord, item: Option<u32>) -> bool {
    let errors = record.item_errors.as_ref();
    let error = item.and_then(|item| errors?.get(item as usize)?.as_ref());
    error.is_some()
}

fn reads_items(active: &Active) -> bool {
    matches!(&active.work, ActiveWork::Items(fan) if fan.is_read)
}

/// What is recorded, by where it belongs.
struct Past {
    tasks: Vec<TaskRecord>,
    items: Vec<(TaskRef, Arc<Value>)>,
    inquiries: Vec<Inquiry>,
    single: HashMap<ExecutionId, Execution>,
    /// Executions of items by their task.
    of_items: HashMap<TaskRef, Vec<Execution>>,
}

impl Past {
    fn new(rows: RunRows) -> Self {
        let mut single = HashMap::new();
        let mut of_items: HashMap<TaskRef, Vec<Execution>> = HashMap::new();
        for child in rows.children {
            let Some(place) = child.spec.task.clone() else {
                continue;
            };
            if place.item.is_some() {
                let task = TaskRef {
                    item: None,
                    ..*place
                };
                of_items.entry(task).or_default().push(child);
            } else {
                single.insert(child.spec.id, child);
            }
        }
        Self {
            tasks: rows.tasks,
            items: rows.items,
            inquiries: rows.inquiries,
            single,
            of_items,
        }
    }

    /// How a task that has ended ended.
    fn end_of(&self, record: &TaskRecord, definition: &Task) -> TaskEnd {
        let end = TaskEnd {
            status: record.status,
            result: record.result.clone().unwrap_or_default(),
            error: record.error.clone(),
            attempt: u32::from(record.status != Status::Skipped),
            errors: record.item_errors.clone(),
        };
        if let Some(child) = record.execution.and_then(|id| self.single.get(&id)) {
            return TaskEnd {
                result: child.state.result.clone().unwrap_or_default(),
                attempt: child.state.attempt,
                ..end
            };
        }
        if record.taken_from.is_some() || record.items.is_none() {
            return end;
        }
        let Some(fan) = self.fan(record, definition, true) else {
            return end;
        };
        let gathered = fan.end(true);
        TaskEnd {
            result: gathered.result,
            errors: gathered.errors,
            ..end
        }
    }

    fn fan(&self, record: &TaskRecord, definition: &Task, is_read: bool) -> Option<ActiveItems> {
        let total = record.items?;
        let declared = definition.items.as_ref()?;
        let items = self.items.iter().find(|(task, _)| *task == record.task);
        let items = items.map_or_else(
            || Arc::new(Value::Array(vec![Value::Null; total as usize])),
            |(_, items)| items.clone(),
        );
        let children = self
            .of_items
            .get(&record.task)
            .map_or(&[][..], Vec::as_slice);
        let place = |child: &Execution| child.spec.task.as_ref().and_then(|task| task.item);
        let is_over = |child: &&Execution| child.state.status.is_terminal();
        // One that is not there, and later ones are, failed before it was an execution.
        let there: BTreeSet<u32> = children.iter().filter_map(place).collect();
        let begun = there.last().map_or(0, |last| last + 1);
        let never: Vec<u32> = (0..begun).filter(|item| !there.contains(item)).collect();
        let ended = children.iter().filter(is_over).filter_map(|child| {
            let item = place(child)?;
            let completed = child.state.status == Status::Completed;
            Some((item, completed && !is_told(record, Some(item))))
        });
        let running = children
            .iter()
            .filter(|child| !is_over(child))
            .filter_map(place);
        let ended = ended.chain(never.iter().map(|item| (*item, false)));
        let fanout = Fanout::restore(total, declared, ended, running);
        let mut fan = ActiveItems::new(fanout, items, is_read);
        let unknown = |item: &u32| (*item, NEVER_MADE.to_owned());
        fan.errors = never.iter().map(unknown).collect();
        for child in children {
            let Some(item) = place(child) else { continue };
            if !child.state.status.is_terminal() {
                fan.running.insert(item, child.spec.id);
            } else if let Some(message) = item_error(&child.state) {
                fan.errors.insert(item, message);
            } else if let Some(result) = child.state.result.clone()
                && is_read
                && !is_told(record, Some(item))
            {
                fan.take_result(item, result);
            }
        }
        if let Some(errors) = &record.item_errors {
            fan.tell_again(errors);
        }
        Some(fan)
    }

    /// What the rows left out of the result of a task, if anything.
    fn absent(&self, record: &TaskRecord, is_completed: bool) -> Option<Absent> {
        let run = record.run;
        if record.taken_from.is_some() || (record.execution.is_none() && record.items.is_none()) {
            let absent = is_completed && record.result.is_none();
            return absent.then(|| Absent::of_record(run, record));
        }
        let lacks = |child: &Execution| {
            child.state.status == Status::Completed && child.state.result.is_none()
        };
        let mut absent = Absent {
            run,
            task: record.task.clone(),
            places: Vec::new(),
            known: Vec::new(),
        };
        if let Some(id) = record.execution {
            let child = self.single.get(&id).filter(|child| lacks(child))?;
            let place = ResultPlace::Execution(child.spec.id);
            absent.places.push((None, place));
            return Some(absent);
        }
        absent.known = vec![None; record.items.unwrap_or(0) as usize];
        for child in self.of_items.get(&record.task).into_iter().flatten() {
            let item = child.spec.task.as_ref().and_then(|task| task.item);
            if is_told(record, item) {
                continue;
            }
            if lacks(child) {
                let place = ResultPlace::Execution(child.spec.id);
                absent.places.push((item, place));
            } else if let Some(slot) = item.and_then(|item| absent.known.get_mut(item as usize)) {
                slot.clone_from(&child.state.result);
            }
        }
        (!absent.places.is_empty()).then_some(absent)
    }

    /// Whether an item of a task was cancelled, or is being.
    fn is_cancelled(&self, task: &TaskRef) -> bool {
        let items = self.of_items.get(task).into_iter().flatten();
        let mut statuses = items.map(|item| item.state.status);
        statuses.any(|status| matches!(status, Status::Canceling | Status::Cancelled))
    }

    fn inquiry(&mut self, task: &TaskRef) -> Option<Inquiry> {
        let place = self.inquiries.iter().position(|i| i.task == *task)?;
        Some(self.inquiries.swap_remove(place))
    }
}

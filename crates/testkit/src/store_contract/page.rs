//! Lists: their order, their filters, and that pages put together are the whole.

use std::sync::Arc;

use camshaft_model::port::store::{
    Change, EnforcementFilter, EventFilter, ExecutionFilter, Laps, PageRequest, StepEventFilter,
    Store, Values,
};
use camshaft_model::{
    Enforcement, EnforcementId, EnforcementOutcome, Execution, Status, StepEventType, TaskRef,
};
use serde_json::json;

use super::{Home, Maker, apply, first};

async fn all_pages(store: &dyn Store, filter: &ExecutionFilter, limit: u32) -> Vec<Execution> {
    let mut all: Vec<Execution> = Vec::new();
    loop {
        let after = all.last().map(|execution| execution.spec.id);
        let page = store
            .executions(filter.clone(), PageRequest { after, limit })
            .await
            .unwrap();
        assert!(page.len() <= limit as usize);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Every combination of filters, in pages of two sizes, against a filter in memory.
pub async fn executions_are_listed_newest_first(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(31));
    let statuses = [
        Status::Requested,
        Status::Running,
        Status::Completed,
        Status::Failed,
        Status::Completed,
    ];
    let mut known = Vec::new();
    for number in 0..60 {
        let mut execution = maker.requested_by(&maker.event(None));
        execution.state.status = statuses[number % statuses.len()];
        if number % 3 == 0 {
            maker.change(&mut execution, |spec| {
                spec.action = Maker::reference("demo.other")
            });
        }
        if number % 4 == 0 {
            maker.change(&mut execution, |spec| {
                spec.origin = camshaft_model::Origin::Api
            });
        }
        apply(
            &*store,
            vec![Change::InsertExecution(Box::new(execution.clone()))],
        )
        .await;
        known.insert(0, execution);
    }
    let refs = |text: &str| Some(Maker::reference(text));
    let some_statuses: [&[Status]; 6] = [
        &[],
        &[Status::Running],
        &[Status::Failed, Status::Requested, Status::Failed],
        &[Status::Completed],
        &[Status::Completed, Status::Failed],
        &[Status::Skipped],
    ];
    for statuses in some_statuses {
        for action in [None, refs("demo.other"), refs("demo.unknown")] {
            for rule in [None, refs("demo.every_ten_seconds"), refs("demo.other")] {
                let filter = ExecutionFilter {
                    statuses: statuses.to_vec(),
                    action: action.clone(),
                    rule,
                    roots: false,
                    ..ExecutionFilter::default()
                };
                let expected: Vec<_> = known
                    .iter()
                    .filter(|e| matches(&filter, e))
                    .cloned()
                    .collect();
                for limit in [7, 100] {
                    assert_eq!(
                        all_pages(&*store, &filter, limit).await,
                        expected,
                        "{filter:?}"
                    );
                }
            }
        }
    }
}

fn matches(filter: &ExecutionFilter, execution: &Execution) -> bool {
    let rule = match &execution.spec.origin {
        camshaft_model::Origin::Rule { rule, .. } => Some(rule),
        _ => None,
    };
    (filter.statuses.is_empty() || filter.statuses.contains(&execution.state.status))
        && filter
            .action
            .as_ref()
            .is_none_or(|action| *action == execution.spec.action)
        && filter
            .rule
            .as_ref()
            .is_none_or(|wanted| Some(wanted) == rule)
}

/// By trigger and by page.
pub async fn events_are_listed_newest_first(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(32));
    let mut known = Vec::new();
    for number in 0..10 {
        let mut event = maker.event(None);
        if number % 3 == 0 {
            event.draft.trigger = Maker::reference("demo.other");
        }
        apply(&*store, vec![Change::InsertEvent(Arc::new(event.clone()))]).await;
        known.insert(0, event);
    }
    for trigger in [
        None,
        Some(Maker::reference("demo.other")),
        Some(Maker::reference("demo.none")),
    ] {
        let filter = EventFilter { trigger };
        let wanted = |t| filter.trigger.as_ref().is_none_or(|wanted| wanted == t);
        let expected: Vec<_> = known
            .iter()
            .filter(|e| wanted(&e.draft.trigger))
            .cloned()
            .collect();
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|event: &camshaft_model::Event| event.id);
            let page = store
                .events(filter.clone(), PageRequest { after, limit: 3 })
                .await
                .unwrap();
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        assert_eq!(all, expected);
    }
}

/// By event, by rule and by page; a page does not end in the middle of an event.
pub async fn enforcements_are_listed_newest_first(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(33));
    let mut known: Vec<Enforcement> = Vec::new();
    for _ in 0..4 {
        let event = maker.event(None);
        let mut changes = vec![Change::InsertEvent(Arc::new(event.clone()))];
        for number in 0..5 {
            let reason = format!("because of {number}");
            let enforcement = Enforcement {
                id: EnforcementId::new(maker.uuid()),
                rule: Maker::reference(&format!("demo.r{number}")),
                event: event.id,
                created_at: maker.now(),
                outcome: if number % 2 == 0 {
                    EnforcementOutcome::Failed { reason }
                } else {
                    EnforcementOutcome::Skipped { reason }
                },
            };
            changes.push(Change::InsertEnforcement(Box::new(enforcement.clone())));
            known.push(enforcement);
        }
        apply(&*store, changes).await;
    }
    let rules = [
        None,
        Some(Maker::reference("demo.r3")),
        Some(Maker::reference("demo.unknown")),
    ];
    for event in [None, Some(known[7].event)] {
        for rule in rules.clone() {
            let filter = EnforcementFilter { event, rule };
            let mut all = pages_of_enforcements(&*store, &filter).await;
            assert!(all.windows(2).all(|pair| pair[0].event >= pair[1].event));
            let mut expected: Vec<_> = known
                .iter()
                .filter(|e| event.is_none_or(|id| id == e.event))
                .filter(|e| filter.rule.as_ref().is_none_or(|rule| *rule == e.rule))
                .cloned()
                .collect();
            all.sort_by_key(|e| e.id);
            expected.sort_by_key(|e| e.id);
            assert_eq!(all, expected, "{filter:?}");
        }
    }
}

async fn pages_of_enforcements(store: &dyn Store, filter: &EnforcementFilter) -> Vec<Enforcement> {
    let mut all: Vec<Enforcement> = Vec::new();
    loop {
        let after = all.last().map(|enforcement| enforcement.event);
        let page = PageRequest { after, limit: 2 };
        let page = store.enforcements(filter.clone(), page).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// By run, item, type, step and page; the step may be in the payload alone.
pub async fn step_events_are_listed_oldest_first(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(34));
    let runs = [maker.running(), maker.running()];
    let item = maker.running().spec.id;
    for number in 0..12 {
        let event_type = if number % 3 == 0 {
            StepEventType::StepFinished
        } else {
            StepEventType::CycleStarted
        };
        let payload = if number == 4 {
            json!({"step": "greet"})
        } else {
            json!({"n": number})
        };
        let mut change = maker.step_event(runs[number % 2].spec.id, event_type, payload);
        if let Change::AppendStepEvent(draft) = &mut change {
            draft.item = (number % 4 == 1).then_some(item);
            draft.step = (number % 4 != 0).then(|| "greet".into());
            draft.step_scope = None;
        }
        apply(&*store, vec![change]).await;
    }
    let whole = store
        .step_events(StepEventFilter::default(), first(99))
        .await
        .unwrap();
    assert!(whole.len() == 12 && whole.is_sorted_by_key(|line| line.id));
    for (root, item) in [
        (None, None),
        (Some(runs[0].spec.id), None),
        (Some(runs[1].spec.id), Some(item)),
        (None, Some(item)),
    ] {
        for types in [
            vec![],
            vec![StepEventType::StepFinished],
            vec![StepEventType::StepFinished, StepEventType::CycleStarted],
        ] {
            for step in [None, Some("greet".to_owned()), Some("unknown".to_owned())] {
                let filter = StepEventFilter {
                    root,
                    item,
                    types: types.clone(),
                    step,
                };
                let expected: Vec<_> = whole
                    .iter()
                    .filter(|line| root.is_none_or(|id| id == line.execution_id))
                    .filter(|line| item.is_none_or(|id| Some(id) == line.item_id))
                    .filter(|line| types.is_empty() || types.contains(&line.event_type))
                    .filter(|line| filter.step.is_none() || filter.step == line.step)
                    .cloned()
                    .collect();
                let mut all: Vec<camshaft_model::StepEvent> = Vec::new();
                loop {
                    let page = PageRequest {
                        after: all.last().map(|line| line.id),
                        limit: 5,
                    };
                    let page = store.step_events(filter.clone(), page).await.unwrap();
                    if page.is_empty() {
                        break;
                    }
                    all.extend(page);
                }
                assert_eq!(all, expected, "{filter:?}");
            }
        }
    }
}

/// All that are not terminal, oldest first.
pub async fn unfinished_executions_are_found(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(35));
    let mut expected = Vec::new();
    for status in Status::ALL.iter().chain(Status::ALL) {
        let mut execution = maker.running();
        execution.state.status = *status;
        apply(
            &*store,
            vec![Change::InsertExecution(Box::new(execution.clone()))],
        )
        .await;
        if !status.is_terminal() {
            expected.push(execution);
        }
    }
    assert_eq!(store.unfinished().await.unwrap(), expected);
}

/// A lap is read alone, and what a run keeps of an earlier one only if it is asked for.
pub async fn laps_are_read_apart(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(64));
    let parent = maker.waiting();
    let run = parent.spec.id;
    let mut changes = vec![Change::InsertExecution(Box::new(parent.clone()))];
    let mut tasks = Vec::new();
    let mut children = Vec::new();
    for lap in [2, TaskRef::KEPT_LAP, 1, 3] {
        let task = maker.task(run, "zeta", lap, 1);
        changes.push(Change::PutTask(Box::new(task.clone())));
        tasks.push(task);
        if lap == TaskRef::KEPT_LAP {
            continue;
        }
        for item in 0..3 {
            let mut child = maker.child(&parent, "zeta", Some(item));
            let spec = Arc::make_mut(&mut child.spec);
            spec.task.as_mut().unwrap().lap = lap;
            changes.push(Change::InsertExecution(Box::new(child.clone())));
            children.push(child);
        }
    }
    apply(&*store, changes).await;
    let large = Values::Read;
    for lap in 0..5 {
        let of_lap = |task: &TaskRef| task.lap == lap;
        let read = store.tasks(run, Laps::Only(lap), large).await.unwrap();
        let expected = tasks.iter().filter(|task| of_lap(&task.task));
        assert_eq!(read, expected.cloned().collect::<Vec<_>>());

        let mut expected = children.clone();
        expected.retain(|child| child.spec.task.as_deref().is_some_and(of_lap));
        let mut read: Vec<Execution> = Vec::new();
        loop {
            let page = PageRequest {
                after: read.last().map(|child| child.spec.id),
                limit: 2,
            };
            let more = store.children(run, Laps::Only(lap), page, large).await;
            let more = more.unwrap();
            if more.is_empty() {
                break;
            }
            read.extend(more);
        }
        assert_eq!(read, expected);
    }
    let until = store.tasks(run, Laps::Until(2), large).await.unwrap();
    let expected = tasks.iter().filter(|task| (1..=2).contains(&task.task.lap));
    assert_eq!(until, expected.cloned().collect::<Vec<_>>());
    let all = store.tasks(run, Laps::All, large).await.unwrap();
    tasks.retain(|task| task.task.lap != TaskRef::KEPT_LAP);
    assert_eq!(all, tasks);
    let all = store.children(run, Laps::All, first(9), large).await;
    assert_eq!(all.unwrap(), children);
}

/// A result of `null` is one. Without values, what else there is to an execution or a task is read.
pub async fn results_are_read_alone_or_left_out(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(65));
    let parent = maker.waiting();
    let mut children = Vec::new();
    for (item, result) in [Some(json!([1])), None, Some(json!(null))]
        .iter()
        .enumerate()
    {
        let mut child = maker.child(&parent, "many", u32::try_from(item).ok());
        child.state.result = result.clone().map(Arc::new);
        apply(
            &*store,
            vec![Change::InsertExecution(Box::new(child.clone()))],
        )
        .await;
        children.push(child);
    }
    let mut task = maker.task(parent.spec.id, "many", 1, 1);
    task.result = Some(Arc::new(json!(5)));
    apply(&*store, vec![Change::PutTask(Box::new(task.clone()))]).await;

    let ids = [2, 0, 1, 0].map(|place: usize| children[place].spec.id);
    let unknown = maker.waiting().spec.id;
    let results = store.results(ids.into_iter().chain([unknown]).collect());
    let expected = [
        Some(json!(null)),
        Some(json!([1])),
        None,
        Some(json!([1])),
        None,
    ];
    assert_eq!(results.await.unwrap(), expected);

    let run = parent.spec.id;
    let read = store.children(run, Laps::All, first(9), Values::LeaveOut);
    for child in &mut children {
        child.state.result = None;
        Arc::make_mut(&mut child.spec).parameters = Arc::default();
    }
    assert_eq!(read.await.unwrap(), children);
    task.result = None;
    let read = store.tasks(run, Laps::All, Values::LeaveOut);
    assert_eq!(read.await.unwrap(), [task]);
}

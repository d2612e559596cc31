//! Runs of workflows: their tasks, children, questions and kept results.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::store::{
    Change, ExecutionFilter, InquiryFilter, Laps, Outcome, PackRecord, PageRequest, Refusal, Store,
    Values,
};
use camshaft_model::run::{CachedResult, Ending};
use camshaft_model::{
    Execution, ExecutionId, Failure, FailureKind, Inquiry, InquiryId, InquiryStatus, Object,
    Origin, RunRecord, Status, StepEventType, TakenFrom, TaskRecord, TaskRef,
};
use serde_json::{Value, json};

use super::{Home, Maker, apply, commit, first, submit};

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap()
}

fn failure() -> Failure {
    Failure {
        kind: FailureKind::Task,
        message: "task 'load' failed: – “so”".into(),
    }
}

fn insert(execution: &Execution) -> Change {
    Change::InsertExecution(Box::new(execution.clone()))
}

fn put_run(run: &RunRecord) -> Change {
    Change::PutRun(Box::new(run.clone()))
}

fn put_task(task: &TaskRecord) -> Change {
    Change::PutTask(Box::new(task.clone()))
}

fn put_inquiry(inquiry: &Inquiry) -> Change {
    Change::PutInquiry(Box::new(inquiry.clone()))
}

fn put_items(run: ExecutionId, task: &TaskRef, items: Value) -> Change {
    Change::PutItems {
        run,
        task: task.clone(),
        items: Arc::new(items),
    }
}

/// The first record and the one that replaces it, field by field, also after a restart.
pub async fn runs_are_read_back_whole_and_replaced(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(51));
    let (one, other) = (maker.run(&maker.waiting()), maker.run(&maker.waiting()));
    apply(&*store, vec![put_run(&one), put_run(&other)]).await;
    let id = one.execution;
    assert_eq!(store.run(id).await.unwrap().as_ref(), Some(&one));
    let unknown = ExecutionId::new(maker.uuid());
    assert_eq!(store.run(unknown).await.unwrap(), None);

    let full = RunRecord {
        execution: id,
        lap: 7,
        cycle: 3,
        paused: true,
        vars: object(json!({"z": 1, "a": [null, 1.5, "ü\u{0}"], "m": {"k": u64::MAX}})),
        arrivals: [
            ("join".to_owned(), vec!["b".to_owned(), "a".to_owned()]),
            ("ünused".to_owned(), vec![]),
        ]
        .into(),
        ending: Some(Ending {
            status: Status::TimedOut,
            error: failure(),
        }),
        next_lap_at: Some(maker.now()),
    };
    apply(&*store, vec![put_run(&full)]).await;
    assert_eq!(store.run(id).await.unwrap(), Some(full.clone()));
    assert_eq!(store.run(other.execution).await.unwrap(), Some(other));
    drop(store);
    let store = home.open();
    assert_eq!(store.run(id).await.unwrap(), Some(full.clone()));
    // All but the variables.
    let progress = |run: &RunRecord| {
        Change::PutRunProgress(Box::new(RunRecord {
            vars: Object::new(),
            ..run.clone()
        }))
    };
    let other = RunRecord {
        vars: full.vars.clone(),
        ..one.clone()
    };
    apply(&*store, vec![progress(&one)]).await;
    assert_eq!(store.run(id).await.unwrap(), Some(other));
    apply(&*store, vec![progress(&full)]).await;
    assert_eq!(store.run(id).await.unwrap(), Some(full));
    apply(&*store, vec![put_run(&one)]).await;
    assert_eq!(store.run(id).await.unwrap(), Some(one));
}

/// A task that ends keeps its place; laps and visits are starts of their own; runs do not mix.
pub async fn tasks_keep_the_order_of_their_starts(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(52));
    let (run, other) = (maker.waiting().spec.id, maker.waiting().spec.id);
    let mut tasks = vec![
        maker.task(run, "zeta", 1, 1),
        maker.task(run, "alpha", 1, 1),
        maker.task(run, "zeta", 1, 2),
        maker.task(run, "zeta", 2, 1),
    ];
    let elsewhere = maker.task(other, "zeta", 1, 1);
    for task in [&tasks[0], &elsewhere, &tasks[1], &tasks[2], &tasks[3]] {
        apply(&*store, vec![put_task(task)]).await;
    }
    assert_eq!(
        store.tasks(run, Laps::All, Values::Read).await.unwrap(),
        tasks
    );

    tasks[0] = TaskRecord {
        status: Status::Failed,
        execution: Some(ExecutionId::new(maker.uuid())),
        items: Some(10_000),
        reason: Some("“why”\nnot".into()),
        error: Some(failure()),
        result: Some(Arc::new(Value::Null)),
        taken_from: Some(TakenFrom::Run { of: other }),
        cache_key: Some("demo.etl/zeta/“k”\n".into()),
        item_errors: Some(vec![None, Some("“why”\n".into())]),
        awaited: Some(json!({"trigger": "core.webhook", "criteria": []})),
        until: Some(maker.now()),
        started_at: maker.now(),
        ended_at: Some(maker.now()),
        ..tasks[0].clone()
    };
    tasks[2].taken_from = Some(TakenFrom::Cache);
    tasks[2].awaited = Some(Value::Null);
    tasks[2].result = Some(Arc::new(json!([0, false, "", null])));
    let late = maker.task(run, "last", 1, 1);
    apply(
        &*store,
        vec![put_task(&tasks[2]), put_task(&late), put_task(&tasks[0])],
    )
    .await;
    tasks.push(late);
    assert_eq!(
        store.tasks(run, Laps::All, Values::Read).await.unwrap(),
        tasks
    );
    assert_eq!(
        store.tasks(other, Laps::All, Values::Read).await.unwrap(),
        [elsewhere]
    );
    drop(store);
    let store = home.open();
    assert_eq!(
        store.tasks(run, Laps::All, Values::Read).await.unwrap(),
        tasks
    );
    // What is filled may be emptied again.
    tasks[0] = maker.task(run, "zeta", 1, 1);
    apply(&*store, vec![put_task(&tasks[0])]).await;
    assert_eq!(
        store.tasks(run, Laps::All, Values::Read).await.unwrap(),
        tasks
    );
    let unknown = ExecutionId::new(maker.uuid());
    assert_eq!(
        store.tasks(unknown, Laps::All, Values::Read).await.unwrap(),
        []
    );
}

/// Each start of a task has its own list, which may be replaced.
pub async fn lists_of_items_are_kept(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(53));
    let run = maker.waiting().spec.id;
    let places: Vec<TaskRef> = [
        ("hosts", 1, 1),
        ("hosts", 1, 2),
        ("hosts", 2, 1),
        ("b", 1, 1),
    ]
    .into_iter()
    .map(|(name, lap, visit)| maker.task(run, name, lap, visit).task)
    .collect();
    let list = |number: usize| json!([number, null, {"host": "ä"}, []]);
    for (number, place) in places.iter().enumerate() {
        apply(&*store, vec![put_items(run, place, list(number))]).await;
    }
    apply(&*store, vec![put_items(run, &places[3], json!([]))]).await;
    for (place, expected) in places.iter().zip([list(0), list(1), list(2), json!([])]) {
        let read = store.task_items(run, place.clone()).await.unwrap();
        assert_eq!(read, Some(expected));
    }
    let mut nowhere = places[0].clone();
    nowhere.visit = 9;
    assert_eq!(store.task_items(run, nowhere.clone()).await.unwrap(), None);
    nowhere.name = "never heard of".into();
    assert_eq!(store.task_items(run, nowhere).await.unwrap(), None);
}

/// The place in the run and the origin come back; grandchildren and strangers are not listed.
pub async fn children_are_read_back_whole_and_listed_oldest_first(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(54));
    let parent = maker.waiting();
    let mut children = vec![
        maker.child(&parent, "one", None),
        maker.child(&parent, "many", Some(0)),
        maker.child(&parent, "many", Some(u32::MAX)),
    ];
    maker.change(&mut children[0], |spec| {
        let task = spec.task.as_mut().unwrap();
        (task.lap, task.visit) = (3, 1_000);
    });
    let grandchild = maker.child(&children[0], "deep", None);
    assert_eq!(grandchild.spec.root, parent.spec.id);
    let stranger = maker.child(&maker.waiting(), "one", None);
    for execution in [&children[2], &parent, &grandchild, &children[0], &stranger] {
        apply(&*store, vec![insert(execution)]).await;
    }
    apply(&*store, vec![insert(&children[1])]).await;
    for execution in children.iter().chain([&parent, &grandchild]) {
        let read = store.execution(execution.spec.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(execution));
    }
    assert_eq!(children[0].spec.origin, Origin::Workflow);
    let listed = store
        .children(parent.spec.id, Laps::All, first(9), Values::Read)
        .await
        .unwrap();
    assert_eq!(listed, children);
    let below = store
        .children(children[0].spec.id, Laps::All, first(9), Values::Read)
        .await
        .unwrap();
    assert_eq!(below, [grandchild]);
    let none = store
        .children(stranger.spec.id, Laps::All, first(9), Values::Read)
        .await
        .unwrap();
    assert_eq!(none, []);
}

/// Pages put together are the whole, in order, none twice.
pub async fn ten_thousand_children_are_paged(home: &impl Home) {
    const CHILDREN: u32 = 10_000;
    let (store, maker) = (home.open(), Maker::new(55));
    let (parent, other) = (maker.waiting(), maker.waiting());
    let mut answers = Vec::new();
    let mut expected = Vec::new();
    for item in 0..CHILDREN {
        let child = maker.child(&parent, "many", Some(item));
        expected.push(child.spec.id);
        let stranger = maker.child(&other, "many", Some(item));
        answers.push(submit(&*store, vec![insert(&child), insert(&stranger)]));
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let mut listed: Vec<ExecutionId> = Vec::new();
    loop {
        let page = PageRequest {
            after: listed.last().copied(),
            limit: 999,
        };
        let children = store
            .children(parent.spec.id, Laps::All, page, Values::Read)
            .await
            .unwrap();
        if children.is_empty() {
            break;
        }
        assert!(children.len() <= 999);
        listed.extend(children.iter().map(|child| child.spec.id));
    }
    // In the order of ids, whatever that of the insertions.
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

/// Only items of this run and of the laps that are asked for count, each start of a task for itself.
pub async fn items_are_counted_by_task_and_status(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(58));
    let (run, other) = (maker.waiting(), maker.waiting());
    let mut changes = vec![
        insert(&maker.child(&run, "single", None)),
        insert(&maker.child(&other, "many", Some(0))),
    ];
    for item in 0..7 {
        let mut child = maker.child(&run, "many", Some(item));
        child.state.status = match item {
            0..3 => Status::Completed,
            3 => Status::Failed,
            _ => Status::Requested,
        };
        changes.push(insert(&child));
    }
    changes.push(insert(&maker.child(&run, "more", Some(0))));
    for lap in 2..4 {
        let mut child = maker.child(&run, "many", Some(0));
        let spec = Arc::make_mut(&mut child.spec);
        let place = spec.task.as_deref().cloned().unwrap();
        spec.task = Some(Box::new(TaskRef { lap, ..place }));
        changes.push(insert(&child));
    }
    for change in changes {
        apply(&*store, vec![change]).await;
    }
    let in_laps = async |laps| {
        let counts = store.item_counts(run.spec.id, laps).await.unwrap();
        counts.iter().map(|(_, _, count)| count).sum::<u32>()
    };
    assert_eq!(in_laps(Laps::Only(2)).await, 1);
    assert_eq!(in_laps(Laps::Until(2)).await, 9);
    assert_eq!(in_laps(Laps::All).await, 10);
    let counts = store.item_counts(run.spec.id, Laps::Only(1)).await.unwrap();
    assert!(counts.iter().all(|(task, _, _)| task.item.is_none()));
    let mut counted: Vec<_> = counts
        .iter()
        .map(|(task, status, count)| (task.name.as_str(), *status, *count))
        .collect();
    counted.sort_unstable();
    let more = maker.child(&run, "more", Some(0)).state.status;
    assert_eq!(
        counted,
        [
            ("many", Status::Requested, 3),
            ("many", Status::Completed, 3),
            ("many", Status::Failed, 1),
            ("more", more, 1),
        ]
    );
}

/// Alone and with every other filter.
pub async fn roots_are_listed_without_children(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(56));
    let mut known = Vec::new();
    for number in 0..12 {
        let mut root = maker.requested_by(&maker.event(None));
        root.state.status = [Status::Completed, Status::Failed, Status::Running][number % 3];
        let mut child = maker.child(&root, "one", None);
        child.state.status = root.state.status;
        apply(&*store, vec![insert(&root), insert(&child)]).await;
        known.insert(0, root.clone());
    }
    for statuses in [vec![], vec![Status::Completed], vec![Status::Failed]] {
        for (action, rule) in [
            (None, None),
            (Some("demo.greet"), None),
            (None, Some("demo.every_ten_seconds")),
        ] {
            let filter = ExecutionFilter {
                statuses: statuses.clone(),
                action: action.map(Maker::reference),
                rule: rule.map(Maker::reference),
                roots: true,
                ..ExecutionFilter::default()
            };
            let expected: Vec<_> = known
                .iter()
                .filter(|root| statuses.is_empty() || statuses.contains(&root.state.status))
                .cloned()
                .collect();
            let listed = store.executions(filter, first(99)).await.unwrap();
            assert_eq!(listed, expected);
        }
    }
    let all = ExecutionFilter::default();
    assert_eq!(store.executions(all, first(99)).await.unwrap().len(), 24);
}

/// Every field, every status, every filter, in pages.
pub async fn inquiries_are_read_back_whole_and_listed_newest_first(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(57));
    let (run, other) = (maker.waiting(), maker.waiting());
    let mut known: Vec<Inquiry> = Vec::new();
    for (number, status) in InquiryStatus::ALL.iter().cycle().take(20).enumerate() {
        let asks = if number % 3 == 0 { &other } else { &run };
        let mut inquiry = maker.inquiry(asks, "approve");
        apply(&*store, vec![put_inquiry(&inquiry)]).await;
        assert_eq!(
            store.inquiry(inquiry.id).await.unwrap().as_ref(),
            Some(&inquiry)
        );
        if *status != InquiryStatus::Open {
            inquiry.status = *status;
            inquiry.answer = (number % 2 == 0).then(|| json!({"comment": ["ä", number]}));
            inquiry.answered_by = Some("admin".into());
            inquiry.closed_at = Some(maker.now());
        }
        apply(&*store, vec![put_inquiry(&inquiry)]).await;
        known.insert(0, inquiry);
    }
    // The fields that are usually empty, and a null that is an answer.
    let mut full = maker.inquiry(&maker.child(&run, "sub", None), "ask");
    full.root = run.spec.id;
    full.task = TaskRef {
        lap: 2,
        name: "ask".into(),
        visit: 3,
        item: Some(4),
    };
    full.schema = Some(json!({"type": "object"}));
    full.roles = vec!["ops".into(), "on call".into()];
    full.expires_at = Some(maker.now());
    full.answer = Some(Value::Null);
    apply(&*store, vec![put_inquiry(&full)]).await;
    known.insert(0, full);
    drop(store);
    let store = home.open();

    let open = vec![InquiryStatus::Open];
    let closed = vec![InquiryStatus::Approved, InquiryStatus::Withdrawn];
    for statuses in [vec![], open, closed] {
        for of in [None, Some(run.spec.id), Some(other.spec.id)] {
            let filter = InquiryFilter {
                statuses: statuses.clone(),
                run: of,
                below: false,
            };
            let expected: Vec<_> = known
                .iter()
                .filter(|inquiry| statuses.is_empty() || statuses.contains(&inquiry.status))
                .filter(|inquiry| of.is_none_or(|run| run == inquiry.run))
                .cloned()
                .collect();
            assert!(!expected.is_empty());
            assert_eq!(
                all_inquiries(&*store, &filter).await,
                expected,
                "{filter:?}"
            );
        }
    }
    let unknown = InquiryId::new(maker.uuid());
    assert_eq!(store.inquiry(unknown).await.unwrap(), None);
}

/// Those of a run can be asked for with those of the runs below it, and of no others.
pub async fn inquiries_of_the_runs_below_are_listed_with_those_of_a_run(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(61));
    let (run, stranger) = (maker.waiting(), maker.waiting());
    let child = maker.child(&run, "sub", None);
    let grandchild = maker.child(&child, "deeper", Some(3));
    let mut asked = Vec::new();
    for execution in [&run, &stranger, &child, &grandchild] {
        apply(&*store, vec![insert(execution)]).await;
        let inquiry = maker.inquiry(execution, "approve");
        apply(&*store, vec![put_inquiry(&inquiry)]).await;
        asked.insert(0, inquiry);
    }
    let [deepest, below, strange, own] = &asked[..] else {
        unreachable!()
    };
    for (of, below, expected) in [
        (&run, true, vec![deepest, below, own]),
        (&run, false, vec![own]),
        (&child, true, vec![deepest, below]),
        (&stranger, true, vec![strange]),
    ] {
        for statuses in [vec![], vec![InquiryStatus::Open]] {
            let filter = InquiryFilter {
                statuses,
                run: Some(of.spec.id),
                below,
            };
            let found = all_inquiries(&*store, &filter).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }
}

async fn all_inquiries(store: &dyn Store, filter: &InquiryFilter) -> Vec<Inquiry> {
    let mut all: Vec<Inquiry> = Vec::new();
    loop {
        let page = PageRequest {
            after: all.last().map(|inquiry| inquiry.id),
            limit: 4,
        };
        let found = store.inquiries(filter.clone(), page).await.unwrap();
        if found.is_empty() {
            return all;
        }
        assert!(found.len() <= 4);
        all.extend(found);
    }
}

/// A key has its newest result; what has expired is neither read nor kept; 10,000 at most, and no more
/// bytes than are asked for, of those that expire last.
pub async fn cached_results_expire_and_the_oldest_go_first(home: &impl Home) {
    const KEPT: usize = 10_000;
    let (store, maker) = (home.open(), Maker::new(58));
    let result = |key: String, secs: u64| CachedResult {
        key,
        result: Arc::new(Value::Null),
        item_errors: None,
        kept_at: maker.now(),
        expires_at: maker.now() + Duration::from_secs(secs),
    };
    let put = |cached: &CachedResult| Change::PutCached(Box::new(cached.clone()));
    let short = result("short".into(), 1);
    let mut long = result("long ä".into(), 3_600);
    apply(&*store, vec![put(&long), put(&short)]).await;
    let before = short.kept_at;
    let both = store.cached(before, u64::MAX).await.unwrap();
    assert_eq!(both, [long.clone(), short.clone()]);
    let after = store.cached(short.expires_at, u64::MAX).await.unwrap();
    assert_eq!(after, [long.clone()]);

    // A later one forgets what has expired by then, and replaces that of its own key.
    long.result = Arc::new(json!([0]));
    long.kept_at = short.expires_at;
    apply(&*store, vec![put(&long)]).await;
    assert_eq!(
        store.cached(before, u64::MAX).await.unwrap(),
        [long.clone()]
    );

    let many: Vec<_> = (0..KEPT)
        .map(|number| result(number.to_string(), 3_600))
        .collect();
    for some in many.chunks(500) {
        apply(&*store, some.iter().map(put).collect()).await;
    }
    let mut youngest_first = many.clone();
    youngest_first.reverse();
    assert_eq!(
        store.cached(before, u64::MAX).await.unwrap(),
        youngest_first
    );
    let two_nulls = 2 * "null".len() as u64 + 1;
    assert_eq!(
        store.cached(before, two_nulls).await.unwrap(),
        youngest_first[..2]
    );
    let last = result("one more".into(), 3_600);
    // The oldest becomes the youngest by being replaced.
    apply(&*store, vec![put(&many[0]), put(&last)]).await;
    let kept = store.cached(before, u64::MAX).await.unwrap();
    assert_eq!(kept.len(), KEPT);
    assert_eq!(kept[0], last);
    assert_eq!(kept[KEPT - 2..], [many[2].clone(), many[0].clone()]);
}

/// A run that was started with a folder of definitions finds them again.
pub async fn a_version_of_a_pack_is_kept_without_being_current(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(59));
    let version = |hash: &str| PackRecord {
        pack: "demo".into(),
        version: "1.2.3".into(),
        hash: hash.into(),
        dir: format!("packs/{hash}"),
        applied_at: maker.now(),
    };
    let (current, pinned) = (version("a"), version("b"));
    apply(
        &*store,
        vec![
            Change::PutPack(current.clone()),
            Change::PutPackVersion(pinned.clone()),
        ],
    )
    .await;
    assert_eq!(store.packs().await.unwrap(), std::slice::from_ref(&current));
    for known in [current, pinned] {
        let read = store.pack_version(known.hash.clone()).await.unwrap();
        assert_eq!(read, Some(known));
    }
}

/// The end of one child, what it leads to, and a second move that is refused: nothing is stored.
pub async fn a_completion_is_stored_whole_or_not_at_all(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(60));
    let parent = maker.waiting();
    let (child, next) = (
        maker.child(&parent, "a", None),
        maker.child(&parent, "b", None),
    );
    let run = maker.run(&parent);
    let started = maker.task(parent.spec.id, "a", 1, 1);
    apply(
        &*store,
        vec![
            insert(&parent),
            insert(&child),
            put_run(&run),
            put_task(&started),
        ],
    )
    .await;
    let log = |store: Arc<dyn Store>| async move {
        let filter = camshaft_model::port::store::StepEventFilter::default();
        store.step_events(filter, first(9)).await.unwrap()
    };
    let mut after = run.clone();
    after.vars = object(json!({"done": true}));
    let mut ended = started.clone();
    ended.status = Status::Completed;
    let asked = maker.inquiry(&parent, "only named here");
    let changes = |second: &Execution| {
        vec![
            Change::Move(Box::new(maker.transition(&child, Status::Completed))),
            Change::Move(Box::new(maker.transition(second, Status::Completed))),
            insert(&next),
            put_run(&after),
            put_task(&ended),
            put_task(&maker.task(parent.spec.id, "only named here", 1, 1)),
            put_items(parent.spec.id, &started.task, json!([1])),
            put_inquiry(&asked),
            maker.step_event(parent.spec.id, StepEventType::TaskCompleted, json!({})),
        ]
    };
    let mut moved = parent.clone();
    moved.state.attempt = 2;
    let refused = commit(&*store, changes(&moved)).await.unwrap();
    let at = Some((Status::Waiting, 1, 1));
    let execution = parent.spec.id;
    assert_eq!(refused, Outcome::Refused(Refusal::Moved { execution, at }));
    assert_eq!(
        store.execution(child.spec.id).await.unwrap(),
        Some(child.clone())
    );
    assert_eq!(store.execution(next.spec.id).await.unwrap(), None);
    assert_eq!(store.run(execution).await.unwrap(), Some(run));
    let tasks = store
        .tasks(execution, Laps::All, Values::Read)
        .await
        .unwrap();
    assert_eq!(tasks, std::slice::from_ref(&started));
    let items = store.task_items(execution, started.task.clone());
    assert_eq!(items.await.unwrap(), None);
    assert_eq!(store.inquiry(asked.id).await.unwrap(), None);
    assert_eq!(log(Arc::clone(&store)).await, []);

    // The same with a move that applies is stored whole, names that were taken back included.
    let number = apply(&*store, changes(&parent)).await;
    assert_eq!(store.run(execution).await.unwrap(), Some(after.clone()));
    let tasks = store
        .tasks(execution, Laps::All, Values::Read)
        .await
        .unwrap();
    assert_eq!(tasks[0], ended);
    assert_eq!(tasks[1].task.name, "only named here");
    assert_eq!(store.inquiry(asked.id).await.unwrap(), Some(asked.clone()));
    let listed = store
        .children(execution, Laps::All, first(9), Values::Read)
        .await
        .unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(log(store).await[0].id, number);
}

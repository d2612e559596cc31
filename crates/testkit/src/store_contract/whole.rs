//! What is stored comes back as it was, in order, once, also after a restart.

use std::sync::Arc;

use camshaft_model::port::store::{
    Change, Outcome, PackRecord, StepEventFilter, StoreError, Transaction,
};
use camshaft_model::{
    Adhoc, BlockedBy, EventId, Execution, ExecutionId, Failure, FailureKind, Origin, Output, Status,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Home, Maker, apply, first};

fn failure() -> Failure {
    Failure {
        kind: FailureKind::Exit,
        message: "it said [x] and ended with 3 – “so”".into(),
    }
}

fn full(maker: &Maker) -> Execution {
    let mut execution = maker.running();
    let (other, event) = (ExecutionId::new(maker.uuid()), EventId::new(maker.uuid()));
    maker.change(&mut execution, |spec| {
        spec.root = other;
        spec.parent = Some(other);
        spec.adhoc = Some(Box::new(Adhoc {
            path: "/srv/x.sh".into(),
            args: vec!["a b".into(), String::new()],
            working_dir: "/srv".into(),
            runtime: "shell".into(),
            timeout_ms: Some(1_500),
        }));
        let parameters = json!({"z": 1, "a": [null, 1.5, "ü\u{0}"], "m": {"k": u64::MAX}});
        spec.parameters = Arc::new(parameters.as_object().cloned().unwrap());
        spec.priority = -100;
        spec.origin = Origin::Rule {
            rule: Maker::reference("demo.r"),
            event,
        };
        spec.idempotency_key = Some("key".into());
        spec.depth = 3;
        spec.trace_parent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    });
    let state = &mut execution.state;
    state.not_before = Some(maker.now());
    state.blocked_by = Some(BlockedBy::Resource {
        resource: "gpu".into(),
        needs: 1,
        capacity: 0,
    });
    state.lease_expires_at = Some(maker.now());
    state.ended_at = Some(maker.now());
    state.result = Some(Arc::new(Value::Null));
    state.error = Some(failure());
    (state.exit_code, state.signal) = (Some(-3), Some(9));
    execution
}

/// Every field of every record, and every kind of origin.
pub async fn what_is_stored_is_read_back_whole(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(21));
    let mut executions = vec![
        maker.requested(),
        full(&maker),
        maker.running(),
        maker.running(),
    ];
    maker.change(&mut executions[2], |spec| spec.origin = Origin::Library);
    let of = executions[0].spec.id;
    maker.change(&mut executions[3], |spec| {
        spec.origin = Origin::Retry { of }
    });
    for execution in &executions {
        apply(
            &*store,
            vec![Change::InsertExecution(Box::new(execution.clone()))],
        )
        .await;
        let read = store.execution(execution.spec.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(execution));
    }

    let mut events = vec![maker.event(Some("k")), maker.event(None), maker.event(None)];
    events[1].draft.payload = json!({});
    events[1].draft.sensor = None;
    events[1].draft.source.name = None;
    events[2].draft.payload = json!([1, "two", null]);
    events[2].draft.occurred_at = Some(maker.now());
    events[2].draft.depth = 4;
    events[2].draft.trace_parent = Some("00-1-2-01".into());
    for event in &events {
        apply(&*store, vec![Change::InsertEvent(Arc::new(event.clone()))]).await;
        assert_eq!(store.event(event.id).await.unwrap().as_ref(), Some(event));
    }
}

/// The first record of an attempt stays; attempts come in order, with their outputs.
pub async fn attempts_are_recorded_once(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(22));
    let mut execution = maker.running();
    execution.state.attempt = 2;
    let second = maker.attempt(&execution);
    execution.state.attempt = 1;
    let mut earlier = maker.attempt(&execution);
    earlier.status = Status::Failed;
    earlier.error = Some(failure());
    earlier.signal = Some(15);
    earlier.stdout = Output {
        bytes: 1 << 40,
        stored: 7,
        truncated: true,
        redacted: false,
        inline: None,
    };
    earlier.stderr = Output {
        bytes: 4,
        stored: 4,
        truncated: false,
        redacted: true,
        inline: Some(vec![0, 255, 10, 13]),
    };
    earlier.output_lost = Some("the disk was full".into());
    let mut again = earlier.clone();
    again.status = Status::Completed;
    let record =
        |attempt: &camshaft_model::Attempt| Change::RecordAttempt(Box::new(attempt.clone()));
    apply(&*store, vec![record(&second), record(&earlier)]).await;
    apply(&*store, vec![record(&again)]).await;
    assert_eq!(
        store.attempts(execution.spec.id).await.unwrap(),
        [earlier, second]
    );
    assert_eq!(
        store
            .attempts(ExecutionId::new(maker.uuid()))
            .await
            .unwrap(),
        []
    );
}

/// The newest state, the current version, the last override.
pub async fn sensors_packs_and_overrides_are_kept(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(23));
    let pack = |version: &str| PackRecord {
        pack: "demo".into(),
        version: version.into(),
        hash: format!("hash of {version}"),
        dir: format!("packs/{version}"),
        applied_at: maker.now(),
    };
    let (old, new) = (pack("1.0.0"), pack("1.1.0"));
    let rule = Maker::reference("demo.r");
    for (record, state, enabled) in [
        (&old, json!({"at": 1}), true),
        (&new, json!({"at": 2}), false),
    ] {
        apply(
            &*store,
            vec![
                Change::PutPack(record.clone()),
                Change::PutSensorState {
                    key: "core.cron/1".into(),
                    state,
                },
                Change::SetRuleEnabled {
                    rule: rule.clone(),
                    enabled: Some(enabled),
                },
            ],
        )
        .await;
    }
    assert_eq!(store.packs().await.unwrap(), std::slice::from_ref(&new));
    assert_eq!(
        store.sensor_state("core.cron/1".into()).await.unwrap(),
        Some(json!({"at": 2}))
    );
    assert_eq!(
        store.sensor_state("core.cron/2".into()).await.unwrap(),
        None
    );
    assert_eq!(
        store.rule_overrides().await.unwrap(),
        [(rule.clone(), false)]
    );

    let forget = vec![
        Change::RemovePack("demo".into()),
        Change::SetRuleEnabled {
            rule,
            enabled: None,
        },
    ];
    apply(&*store, forget).await;
    assert_eq!(store.packs().await.unwrap(), []);
    assert_eq!(store.rule_overrides().await.unwrap(), []);
    for version in [old, new] {
        assert_eq!(
            store.pack_version(version.hash.clone()).await.unwrap(),
            Some(version)
        );
    }
    assert_eq!(store.pack_version("another".into()).await.unwrap(), None);
}

/// The outcome names the first number; the others follow, also after a restart.
pub async fn step_events_of_a_transaction_have_no_gaps(home: &impl Home) {
    let maker = Maker::new(24);
    let mut last = 0;
    for _ in 0..2 {
        let store = home.open();
        for size in [3, 1, 2] {
            let execution = maker.running();
            let lines: Vec<Change> = (0..size).map(|_| maker.step_started(&execution)).collect();
            let number = apply(&*store, lines).await;
            assert!(number > last);
            let root = Some(execution.spec.id);
            let log = store.step_events(
                StepEventFilter {
                    root,
                    ..Default::default()
                },
                first(9),
            );
            let numbers: Vec<i64> = log.await.unwrap().iter().map(|line| line.id).collect();
            assert_eq!(numbers, (number..number + size).collect::<Vec<_>>());
            last = number + size - 1;
        }
    }
}

/// What the callback said is there after the store was closed and opened again.
pub async fn what_was_acknowledged_survives_a_restart(home: &impl Home) {
    let (mut store, maker) = (home.open(), Maker::new(25));
    let mut ids = Vec::new();
    for _ in 0..3 {
        for _ in 0..40 {
            let execution = maker.running();
            apply(
                &*store,
                vec![Change::InsertExecution(Box::new(execution.clone()))],
            )
            .await;
            apply(&*store, maker.ending(&execution).changes).await;
            ids.push(execution.spec.id);
        }
        drop(store);
        store = home.open();
        for id in &ids {
            let read = store.execution(*id).await.unwrap();
            assert_eq!(read.map(|e| e.state.status), Some(Status::Completed));
        }
    }
    assert_eq!(store.check().await.unwrap(), []);
}

/// No two starts get the same epoch.
pub async fn epochs_rise_also_over_restarts(home: &impl Home) {
    let mut last = 0;
    for _ in 0..3 {
        let store = home.open();
        for _ in 0..2 {
            let epoch = store.next_epoch().await.unwrap();
            assert!(epoch > last, "{epoch} after {last}");
            last = epoch;
        }
    }
}

/// One callback each, in the order of submission, also for what waits while the store is dropped.
pub async fn callbacks_are_called_once_and_in_order(home: &impl Home) {
    const COUNT: usize = 5_000;
    let (store, maker) = (home.open(), Maker::new(26));
    let called = Arc::new(Mutex::new(Vec::new()));
    for number in 0..COUNT {
        let called = Arc::clone(&called);
        let changes = vec![Change::InsertExecution(Box::new(maker.requested()))];
        store.submit(
            Transaction { changes },
            Box::new(move |outcome: Result<Outcome, StoreError>| {
                called.lock().push((number, outcome.is_ok()));
            }),
        );
    }
    drop(store);
    let expected: Vec<_> = (0..COUNT).map(|number| (number, true)).collect();
    assert_eq!(*called.lock(), expected);
    let limit = u32::try_from(COUNT).unwrap() + 1;
    assert_eq!(
        home.open()
            .executions(Default::default(), first(limit))
            .await
            .unwrap()
            .len(),
        COUNT
    );
}

//! Constraints.

use std::time::Duration;

use camshaft_model::port::store::{Change, ConstraintRecord};
use camshaft_model::{
    BlockedBy, Constraint, ConstraintType, HeldBy, Status, Terms, Timestamp, Via,
};
use serde_json::{Value, json};

use super::{Home, Maker, apply};

fn constraint(maker: &Maker, scope: &str, kind: ConstraintType, params: &Value) -> Constraint {
    let scope = scope.parse().unwrap();
    Constraint {
        id: Constraint::default_id(&scope, kind),
        terms: Terms::read(kind, params).unwrap(),
        expires_at: None,
        reason: None,
        owner: None,
        via: Via::Api,
        set_at: maker.now(),
        scope,
    }
}

/// One of each key; what is replaced keeps the instant of its rate; all of it survives a restart.
pub async fn constraints_are_replaced_by_key_and_keep_the_instant_of_their_rate(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(31));
    let pause = constraint(&maker, "global", ConstraintType::Pause, &json!({}));
    let rate = |text: &str| {
        let params = json!({ "rate": text, "burst": 2 });
        constraint(&maker, "task:api_*", ConstraintType::RateLimit, &params)
    };
    let slow = rate("10/m");
    let fast = Constraint {
        id: "a label".into(),
        expires_at: Some(maker.now() + Duration::from_secs(60)),
        reason: Some("quota".into()),
        owner: Some("ana".into()),
        via: Via::Mqtt,
        ..rate("5/s")
    };
    let at = Timestamp::from_micros(1_795_224_509_590_123);
    let put = |constraint: &Constraint, since| Change::PutConstraint {
        constraint: Box::new(constraint.clone()),
        since,
    };
    let recorded = |constraint, since, rate_at| ConstraintRecord {
        constraint,
        since,
        rate_at,
    };
    let (pause_key, key) = (pause.key(), slow.key());
    let instant = |key| Change::PutRateInstant { key, at };
    let changes = vec![
        put(&pause, pause.set_at),
        put(&slow, slow.set_at),
        instant(key.clone()),
        put(&fast, at),
    ];
    apply(&*store, changes).await;
    drop(store);

    let store = home.open();
    let kept = store.constraints().await.unwrap();
    let pause = recorded(pause.clone(), pause.set_at, None);
    assert_eq!(kept, [pause, recorded(fast, at, Some(at))]);

    let forget = |key| Change::RemoveConstraint(key);
    // The instant of a constraint that is gone goes nowhere.
    let changes = vec![forget(key.clone()), instant(key), forget(pause_key)];
    apply(&*store, changes).await;
    assert_eq!(store.constraints().await.unwrap(), []);
}

/// What the event log says to hold an execution is in its row for as long as it waits.
pub async fn what_holds_an_execution_is_recorded_while_it_waits(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(33));
    let (waits, runs) = (maker.requested(), maker.running());
    let pause = constraint(&maker, "global", ConstraintType::Pause, &json!({}));
    let held_by = Box::new(HeldBy {
        id: pause.id.clone(),
        key: pause.key(),
        terms: pause.terms.to_string(),
        owner: Some("ana".into()),
        reason: Some("quota".into()),
        expires_at: None,
        next_at: None,
    });
    let tell = |execution| Change::PutHeldBy {
        execution,
        held_by: held_by.clone(),
    };
    let (first, second) = (waits.spec.id, runs.spec.id);
    let changes = vec![
        Change::InsertExecution(Box::new(waits.clone())),
        Change::InsertExecution(Box::new(runs)),
        tell(first),
        tell(second),
        // One that there is not.
        tell(maker.requested().spec.id),
    ];
    apply(&*store, changes).await;
    drop(store);

    let store = home.open();
    let row = async |id| store.execution(id).await.unwrap().unwrap().state.blocked_by;
    assert_eq!(
        row(first).await,
        Some(BlockedBy::Constraint(held_by.clone()))
    );
    assert_eq!(row(second).await, None);
    let admitted = maker.transition(&waits, Status::Scheduled);
    apply(&*store, vec![Change::Move(Box::new(admitted)), tell(first)]).await;
    assert_eq!(row(first).await, None);
}

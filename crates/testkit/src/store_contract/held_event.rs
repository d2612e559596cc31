//! Events that rules have not answered.

use std::sync::Arc;

use camshaft_model::port::store::Change;

use super::{Home, Maker, apply};

/// Each with the rules that have not answered it, oldest first, until it is released; over a restart.
pub async fn held_events_are_kept_with_the_rules_that_have_not_answered(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(37));
    let [first, second, third, other] = [(); 4].map(|()| Arc::new(maker.event(None)));
    let rules = Some(vec![Maker::reference("t.a"), Maker::reference("t.b")]);
    let hold = |event: &camshaft_model::Event, rules| Change::HoldEvent {
        event: event.id,
        rules,
    };
    for event in [&first, &second, &third, &other] {
        apply(&*store, vec![Change::InsertEvent(event.clone())]).await;
    }
    let changes = vec![
        hold(&third, rules.clone()),
        hold(&first, None),
        hold(&second, None),
        hold(&second, rules.clone()),
    ];
    apply(&*store, changes).await;
    drop(store);

    let store = home.open();
    let held = store.held_events().await.unwrap();
    let [first, second, third] = [first, second, third].map(|event| (*event).clone());
    assert_eq!(
        held,
        [
            (first.clone(), None),
            (second.clone(), rules.clone()),
            (third, rules.clone())
        ]
    );
    // Released and held again in one transaction: it is still held.
    let changes = vec![
        Change::ReleaseEvent(first.id),
        Change::ReleaseEvent(second.id),
        hold(&second, None),
    ];
    apply(&*store, changes).await;
    let held = store.held_events().await.unwrap();
    let ids: Vec<_> = held
        .iter()
        .map(|(event, rules)| (event.id, rules.is_some()))
        .collect();
    assert_eq!(ids[0], (second.id, false));
    assert_eq!(ids.len(), 2);
}

//! Events that rules have not answered.

use std::sync::Arc;

use camshaft_model::port::store::{Change, HeldEvent};
use camshaft_model::{Event, EventId, Ref};
use serde_json::json;

use super::{Home, Maker, apply};

/// Each with the rules that have not answered it, oldest first, until it is released; over a restart.
pub async fn held_events_are_kept_with_the_rules_that_have_not_answered(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(37));
    let [first, second, third, other] = [(); 4].map(|()| Arc::new(maker.event(None)));
    let rules = Some(vec![Maker::reference("t.a"), Maker::reference("t.b")]);
    let hold = |event: &Event, rules| Change::HoldEvent {
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
    let is_held = |event: &Event, rules: &Option<Vec<Ref>>| HeldEvent {
        event: event.id,
        trigger: event.draft.trigger.clone(),
        rules: rules.clone(),
    };
    let all = [
        is_held(&first, &None),
        is_held(&second, &rules),
        is_held(&third, &rules),
    ];
    assert_eq!(held, all);
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
        .map(|held| (held.event, held.rules.is_some()))
        .collect();
    assert_eq!(ids[0], (second.id, false));
    assert_eq!(ids.len(), 2);
}

/// In the order in which they are asked for, up to a size, and at least one.
pub async fn events_are_read_by_their_ids_up_to_a_size(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(39));
    let large = json!({ "text": "x".repeat(1_000) });
    let events = [(); 4].map(|()| {
        let mut event = maker.event(None);
        event.draft.payload = large.clone();
        Arc::new(event)
    });
    let changes = events.iter().cloned().map(Change::InsertEvent);
    apply(&*store, changes.collect()).await;
    let unknown = maker.event(None).id;
    let read = async |ids: &[EventId], max_bytes| {
        let read = store.events_by_id(ids.to_vec(), max_bytes).await.unwrap();
        read.into_iter().map(Arc::new).collect::<Vec<_>>()
    };
    let [a, b, c, d] = &events;
    let all = [d.id, unknown, b.id, a.id, c.id];
    assert_eq!(read(&all, u64::MAX).await, [d, b, a, c].map(Arc::clone));
    assert_eq!(read(&all, 2_500).await, [d, b].map(Arc::clone));
    assert_eq!(read(&all, 10).await, [Arc::clone(d)]);
    assert_eq!(read(&[unknown], 10).await, []);
}

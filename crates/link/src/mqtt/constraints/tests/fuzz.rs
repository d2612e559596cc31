//! Whatever anybody publishes below the topics of constraints: what is none changes nothing, and is counted.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("10/m")),
        Just(json!({ "limit": 3 })),
        Just(json!("task:x")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

/// A constraint of which some keys say something else, or nothing.
fn nearly_a_constraint() -> impl Strategy<Value = Vec<u8>> {
    let valid = prop_oneof![Just(PAUSE), Just(LIMIT)];
    let keys = prop::sample::select(vec![
        "id",
        "scope",
        "type",
        "params",
        "expires_at",
        "reason",
        "owner",
    ]);
    let changes = prop::collection::vec((keys, prop::option::of(any_json())), 0..3);
    (valid, changes).prop_map(|(valid, changes)| {
        let mut message: serde_json::Map<String, Value> = serde_json::from_str(valid).unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => message.insert(key.to_owned(), value),
                None => message.remove(key),
            };
        }
        Value::Object(message).to_string().into_bytes()
    })
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(TASK.to_owned()),
        1 => Just(of_type("pause")),
        1 => Just(of_type("concurrency")),
        2 => "cascade/constraints/[a-z%~0-9é/]{0,16}",
        1 => ".{0,20}",
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => nearly_a_constraint(),
        1 => any::<Vec<u8>>(),
        1 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => Just(Vec::new()),
    ]
}

/// What a message is to change, said plainly.
fn changes_something(topics: &Topics, topic: &str, payload: &[u8], retained: bool) -> bool {
    let Ok(about) = topics.read_constraint(topic) else {
        return false;
    };
    if payload.is_empty() {
        // No broker retains that.
        return !retained;
    }
    message::read(payload, NOW).is_ok_and(|constraint| {
        constraint.scope == about.scope
            && about
                .kind
                .is_none_or(|kind| kind == constraint.terms.kind())
            && !constraint.is_expired(NOW)
    })
}

proptest! {
    #[test]
    fn what_is_no_constraint_changes_nothing(topic in topic(), payload in payload(), retained: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new();
            bench.connect(&[]).await;
            bench.calls();
            let changes = changes_something(&bench.constraints.topics, &topic, &payload, retained);
            let is_empty = payload.is_empty();
            let is_expired = message::read(&payload, NOW).is_ok_and(|c| c.is_expired(NOW));
            bench.constraints.take(Input::Received { topic, payload, retained }).await;
            assert_eq!(bench.calls().len(), usize::from(changes));
            let refused = bench.constraints.refused.count();
            // What has expired while it was retained is no mistake, nor is what is not there.
            assert!(refused == u64::from(!changes) || ((is_expired || is_empty) && refused == 0));
        });
    }
}

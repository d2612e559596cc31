use serde_json::json;

use super::*;

fn handle<T>(expression: &str) -> Handle<T> {
    Handle::new(Owner(0), expression.to_owned())
}

#[test]
fn a_path_leads_through_fields_keys_and_elements() {
    let list: Handle<Vec<Value>> = handle("tasks['a'].result");
    let deep = list.at(2).get::<Value>("plain").get::<u8>("it's \"odd\"");
    assert_eq!(
        deep.expression(),
        r#"tasks['a'].result[2].plain["it's \"odd\""]"#
    );
    assert_eq!(list.count().expression(), "(tasks['a'].result | length)");
}

#[test]
fn values_and_handles_stand_beside_one_another() {
    let n: Handle<u64> = handle("params.n");
    let given = inputs!({ "n": &n, "list": [&n, &n], "own": "{{ x }}", "deep": inputs!({ "n": n.clone() }) });
    let given = Input::<Value>::given(given);
    assert_eq!(
        given.template(),
        json!({
            "n": "{{ params.n }}",
            "list": ["{{ params.n }}", "{{ params.n }}"],
            "own": "{{ \"{{ x }}\" }}",
            "deep": { "n": "{{ params.n }}" },
        })
    );
    assert_eq!(given.uses().owners.len(), 1);
}

#[test]
fn fields_may_have_the_names_of_the_values_that_they_get() {
    #[derive(Serialize)]
    struct Swapped {
        a: u8,
        b: u8,
    }
    let (a, b): (Handle<u8>, Handle<u8>) = (handle("params.a"), handle("params.b"));
    let given = Input::<Swapped>::given(inputs!(Swapped { a: &b, b: &a }));
    let wanted = json!({ "a": "{{ params.b }}", "b": "{{ params.a }}" });
    assert_eq!(given.template(), wanted);
}

#[test]
fn a_value_that_is_no_json_is_a_problem() {
    let map = std::collections::BTreeMap::from([(vec![1], 2)]);
    let given = Input::<std::collections::BTreeMap<Vec<i32>, i32>>::given(map);
    assert!(
        given.problems()[0].contains("JSON"),
        "{:?}",
        given.problems()
    );
}

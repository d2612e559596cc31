use proptest::prelude::*;
use serde_json::json;

use super::*;

fn schema() -> ParameterSchema {
    let Value::Object(defaults) = json!({"times": 1}) else {
        unreachable!()
    };
    ParameterSchema {
        schema: json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"}, "times": {"type": "integer"}, "token": {"type": "string", "minLength": 90},
                "urls": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
            },
            "required": ["name"],
            "additionalProperties": false,
        }),
        defaults,
        secret: vec!["token".to_owned()],
    }
}

fn run(parameters: Value) -> Result<Value, String> {
    let Value::Object(parameters) = parameters else {
        unreachable!()
    };
    check(&schema(), parameters)
        .map(Value::Object)
        .map_err(|errors| sentence(&errors))
}

#[test]
fn defaults_are_filled_in_and_do_not_replace_what_is_given() {
    assert_eq!(
        run(json!({"name": "a"})),
        Ok(json!({"name": "a", "times": 1}))
    );
    assert_eq!(
        run(json!({"name": "a", "times": 2})),
        Ok(json!({"name": "a", "times": 2}))
    );
}

#[test]
fn every_mistake_is_reported_with_its_path() {
    let errors = run(json!({"nmae": "a", "times": "2", "urls": [{"port": "x"}]})).unwrap_err();
    for part in [
        "there is no parameter 'nmae'; did you mean 'name'?",
        "times: \"2\" is not of type \"integer\"",
        "urls[0].port: \"x\" is not of type \"integer\"",
        "\"name\" is required",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn an_error_shows_no_secret() {
    let errors = run(json!({"name": "a", "token": "hunter2"})).unwrap_err();
    assert!(
        errors.contains("token: ") && !errors.contains("hunter2"),
        "{errors}"
    );
}

#[test]
fn a_schema_that_is_none_is_reported() {
    for schema in [
        json!({"type": "nonsense"}),
        json!(7),
        json!({"pattern": "("}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"$ref": "http://x/y"}),
    ] {
        assert!(check_schema(&schema).is_err(), "{schema}");
        assert!(validate(&schema, &json!("x")).is_err(), "{schema}");
    }
}

#[test]
fn a_value_is_validated_against_a_schema() {
    assert_eq!(
        validate(
            &json!({"type": "object", "required": ["a"]}),
            &json!({"a": 1})
        ),
        Ok(())
    );
    let problem = validate(
        &json!({"properties": {"a": {"minimum": 3}}}),
        &json!({"a": 1}),
    )
    .unwrap_err();
    assert_eq!(problem, "a: 1 is less than the minimum of 3");
}

proptest! {
    #[test]
    fn no_pattern_in_a_schema_panics(pattern: String, value: String) {
        let _ = validate(&json!({"pattern": pattern}), &json!(value));
    }

    #[test]
    fn no_keyword_in_a_schema_panics(
        keyword in proptest::sample::select(vec!["type", "properties", "items", "required", "enum", "$ref", "multipleOf", "pattern", "format"]),
        index in 0_usize..8,
    ) {
        let values = [json!(null), json!(0), json!(-1.5), json!("x"), json!([]), json!({}), json!([1]), json!({"a": 1})];
        let _ = validate(&json!({keyword: values[index]}), &values[7 - index]);
    }
}

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn scope() -> Scope {
    Scope::new()
        .with("trigger", &json!({
            "count": 3, "ratio": 1.5, "whole": 2.0, "big": u64::MAX, "small": i64::MIN, "name": "Ada", "on": true,
            "none": null, "list": [1, "two", null], "map": {"b": 1, "a": [2]}, "hostile": "{{ secrets.token }}",
        }))
        .with("secrets", &json!({"token": "s3cret"}))
}

#[rstest]
#[case("{{ trigger.count }}", json!(3))]
#[case("{{ trigger.count }}\n", json!(3))]
#[case("{{- trigger.count -}}", json!(3))]
#[case("{{ trigger.ratio }}", json!(1.5))]
#[case("{{ trigger.whole }}", json!(2.0))]
#[case("{{ trigger.big }}", json!(u64::MAX))]
#[case("{{ trigger.small }}", json!(i64::MIN))]
#[case("{{ trigger.on }}", json!(true))]
#[case("{{ trigger.none }}", json!(null))]
#[case("{{ trigger.list }}", json!([1, "two", null]))]
#[case("{{ trigger.map }}", json!({"b": 1, "a": [2]}))]
#[case("{{ {'a': {'b': '}}'}} }}", json!({"a": {"b": "}}"}}))]
#[case("{{ trigger.missing | default(7) }}", json!(7))]
#[case("{{ trigger.name }} x {{ trigger.count }}", json!("Ada x 3"))]
#[case("{{ trigger.list }}!", json!("[1,\"two\",null]!"))]
#[case("{{ trigger.none }}-{{ trigger.on }}", json!("null-true"))]
#[case(" {{ trigger.count }}", json!(" 3"))]
#[case("plain } text {", json!("plain } text {"))]
#[case("{{ trigger.hostile }}", json!("{{ secrets.token }}"))]
#[case("<{{ trigger.hostile }}>", json!("<{{ secrets.token }}>"))]
#[case("{% if trigger.on %}a{% else %}b{% endif %}", json!("a"))]
#[case("{% for x in trigger.list %}{{ x }};{% endfor %}", json!("1;two;null;"))]
#[case("{{ trigger.map | tojson }}", json!("{\"b\":1,\"a\":[2]}"))]
#[case("{{ '{\"a\": [1]}' | fromjson }}", json!({"a": [1]}))]
#[case("{{ 'abc' | b64encode }}", json!("YWJj"))]
#[case("{{ 'YWJj' | b64decode }}", json!("abc"))]
#[case("{{ 'abc' | hash }}", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))]
#[case("{{ '7' | int }}", json!(7))]
#[case("{{ trigger.list | join('-') }}", json!("1-two-null"))]
fn templates_keep_types(#[case] template: &str, #[case] expected: Value) {
    assert_eq!(render(template, &scope()), Ok(expected));
}

#[test]
fn equal_values_have_equal_hashes_whatever_the_order_of_their_keys() {
    let hash = |text| evaluate(text, &scope()).unwrap();
    assert_eq!(
        hash("{'a': 1, 'b': [2]} | hash"),
        hash("{'b': [2], 'a': 1} | hash")
    );
}

#[rstest]
#[case("{{ trigger.missing }}", "'trigger.missing' is undefined")]
#[case("{{ trigger.a.b }}", "'trigger.a.b' is undefined")]
#[case("{{ nothing }}", "'nothing' is undefined")]
#[case("{{ nothing.at.all }}", "'nothing.at.all' is undefined")]
#[case("a {{ trigger.missing }}", "'trigger.missing' is undefined")]
#[case(
    "{{ trigger.count }} {{ trigger.missing | upper }}",
    "'trigger.missing' is undefined"
)]
#[case("{{ trigger.missing == 1 }}", "'trigger.missing' is undefined")]
#[case("{{ trigger.list[9] }}", "'trigger.list[9]' is undefined")]
fn an_undefined_name_is_an_error_that_names_it(#[case] template: &str, #[case] message: &str) {
    match render(template, &scope()) {
        Err(error @ ExpressionError::Undefined { .. }) => assert_eq!(error.to_string(), message),
        // minijinja compares an undefined value without complaint.
        other => assert_eq!(
            (template, other),
            ("{{ trigger.missing == 1 }}", Ok(json!(false)))
        ),
    }
}

#[test]
fn a_bare_expression_and_one_in_braces_are_the_same() {
    assert_eq!(
        evaluate("trigger.count % 2 == 1", &scope()),
        Ok(json!(true))
    );
    assert_eq!(
        evaluate(" {{ trigger.count % 2 == 1 }} ", &scope()),
        Ok(json!(true))
    );
}

#[rstest]
#[case("{{ 1 + }}", 1)]
#[case("ab\n{{ x", 2)]
#[case("ab\n  {% set x = 1 %}", 2)]
#[case("{% include 'secret' %}", 1)]
#[case("{% for %}", 1)]
#[case("{{ ) }}", 1)]
fn a_syntax_error_has_its_place(#[case] template: &str, #[case] expected_line: usize) {
    match Template::parse(template) {
        Err(ExpressionError::Syntax { line, column, .. }) => {
            assert_eq!(line, expected_line);
            assert!(column >= 1);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_end_without_a_beginning_is_refused() {
    for text in ["1 }}", "-}}", "1 -}} x", ")", "(]", "{{ 1 }} }}"] {
        assert!(Template::expression(text).is_err(), "{text}");
    }
}

#[test]
fn a_column_counts_from_the_beginning_of_the_text() {
    let error = Template::parse("{{ trigger.count + * }}").unwrap_err();
    assert!(
        matches!(
            error,
            ExpressionError::Syntax {
                line: 1,
                column: 20,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn an_error_in_a_value_has_its_path() {
    let value = json!({"name": "x", "deep": [{"at": "{{ trigger.none.here }}"}]});
    let tree = TemplateTree::compile(&value, "parameters").unwrap();
    let error = tree.render(&scope()).unwrap_err().to_string();
    assert_eq!(
        error,
        "parameters.deep[0].at: 'trigger.none.here' is undefined"
    );
    let errors = TemplateTree::compile(&json!(["{{ ( }}", "{{ ) }}"]), "p").unwrap_err();
    assert_eq!(
        errors.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(),
        ["p[0]", "p[1]"]
    );
}

#[test]
fn the_names_that_a_template_uses_are_known() {
    let template = Template::parse("{{ trigger.a.b }} {{ env.HOME }}").unwrap();
    assert_eq!(
        template.referenced_names().into_iter().collect::<Vec<_>>(),
        ["env", "trigger"]
    );
}

#[rstest]
#[case("{{ 'x' * 90000000 }}".to_owned())]
#[case("{{ [1] * 100000000000 }}".to_owned())]
#[case("{{ ([1] * 100000000000) | list }}".to_owned())]
#[case("{{ ([1] * 100000000000) | join }}".to_owned())]
#[case("{{ ([1] * 100000000000) | select }}".to_owned())]
#[case("{{ ([0] * trigger.count) ~ '' }}".to_owned())]
#[case("{{ 2 in ([1] * 100000000000) }}".to_owned())]
#[case("{{ 2 in (100000000000 * [1]) }}".to_owned())]
#[case("{{ ([1, 2] * 9223372036854775808) | length }}".to_owned())]
#[case("{{ trigger.list * 9223372036854775807 == [] }}".to_owned())]
#[case("a{{ (trigger.list * 100000000000) | string }}".to_owned())]
#[case("{{ trigger.list|reverse * 100000000000 is eq 'x' }}".to_owned())]
#[case("{{ 'a\na' | indent(99999999999999) }}".to_owned())]
#[case("{{ '%999999999999d' | format(1) }}".to_owned())]
#[case("{{ ('a' * 100000) | replace('a', 'b' * 100000) }}".to_owned())]
#[case("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned())]
#[case("{% for a in range(9999) %}{{ 'x' * 4000 }}{% endfor %}".to_owned())]
#[case(format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000)))]
#[case(format!("{{{{ {}1{} }}}}", "[".repeat(5_000), "]".repeat(5_000)))]
#[case("{{ x }}".repeat(20_000))]
fn bombs_are_refused(#[case] template: String) {
    assert!(render(&template, &scope()).is_err());
}

#[test]
fn a_value_that_is_too_deep_is_refused() {
    let mut value = json!("{{ 1 }}");
    for _ in 0..MAX_DEPTH + 2 {
        value = json!([value]);
    }
    assert!(render_value(&value, &scope()).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = render(&text, &scope());
        let _ = evaluate(&text, &scope());
    }

    #[test]
    fn no_text_of_our_alphabet_panics(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "-", " ", "trigger", ".", "list", "map", "[", "]", "(", ")", "'", "\"", "\\",
            "|", "hash", "int", "join", "if", "else", "for x in", "endfor", "1", "0", "9.5", "+", "//", "%", "**", "~", "é", "\n",
        ]), 0..24)
    ) {
        let text = parts.concat();
        let _ = render(&text, &scope());
        let _ = evaluate(&text, &scope());
    }

    #[test]
    fn a_string_from_an_event_is_never_taken_for_a_template(text: String) {
        let scope = Scope::new().with("trigger", &json!({"text": text}));
        prop_assert_eq!(render("{{ trigger.text }}", &scope), Ok(json!(text)));
        prop_assert_eq!(render("<{{ trigger.text }}>", &scope), Ok(json!(format!("<{text}>"))));
    }
}

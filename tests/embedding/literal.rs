//! Texts of a program are literal: nothing in them is rendered, whatever it looks like.

use camshaft::embed::Workflow;
use camshaft::{field, inputs, text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{run, same};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Texts {
    text: String,
    list: Vec<String>,
    any: Value,
}

#[derive(Serialize, Deserialize)]
struct Secret {
    secret: String,
}

const HOSTILE: &[&str] = &[
    "{{ params.secret }}",
    "{% for x in [1, 2] %}{{ params.secret }}{% endfor %}",
    "{# gone #} stays",
    "{{ '}}' }} \" \\ ' {{",
    "}} {{ params.secret",
    "{{\n\t\u{0}\u{7f}\u{2028}\u{1f600} params.secret }}\n",
    "%} {%- raw -%}",
    "true",
    "null",
    "",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_of_the_program_is_rendered_wherever_it_stands() {
    for (place, hostile) in HOSTILE.iter().enumerate() {
        let mut w = Workflow::<Secret>::builder(&format!("literal.case{place}"));
        let secret = w.parameters();
        let whole = Texts {
            text: (*hostile).to_owned(),
            list: vec![(*hostile).to_owned(), "plain".to_owned()],
            any: json!({ *hostile: { "deep": [hostile, 1.5, u64::MAX, i64::MIN, null] } }),
        };
        let literal = w.task("literal").run(same::<Texts>, whole);
        let mixed = w.task("mixed").when(field!(literal.text).is(*hostile)).run(
            same::<Texts>,
            inputs!(Texts {
                text: text!(*hostile, &field!(secret.secret), *hostile),
                list: [field!(literal.text), field!(secret.secret)],
                any: json!([hostile]),
            }),
        );
        let items = w.task("items").each(vec![*hostile, "b"]).run(
            same::<Value>,
            |item| inputs!({ "item": item.value, "own": *hostile }),
        );
        let end =
            inputs!({ "literal": &literal, "mixed": &mixed, "items": &items, "own": *hostile });
        let workflow = w
            .build(end)
            .unwrap_or_else(|error| panic!("{hostile:?}: {error}"));
        let parameters = Secret {
            secret: "{{ run.id }}".to_owned(),
        };
        let end = run(&workflow, &parameters).await;
        let end = end.unwrap_or_else(|error| panic!("{hostile:?}: {error}"));
        let wanted = json!({
            "literal": {
                "text": hostile,
                "list": [hostile, "plain"],
                "any": { *hostile: { "deep": [hostile, 1.5, u64::MAX, i64::MIN, null] } },
            },
            "mixed": {
                "text": format!("{hostile}{{{{ run.id }}}}{hostile}"),
                "list": [hostile, "{{ run.id }}"],
                "any": [hostile],
            },
            "items": [{ "item": hostile, "own": hostile }, { "item": "b", "own": hostile }],
            "own": hostile,
        });
        assert_eq!(end, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_of_one_value_is_a_text() {
    let mut w = Workflow::<Value>::builder("literal.text");
    let n = w.parameters().get::<i64>("n");
    let end =
        inputs!({ "alone": text!(&n), "between": text!("{", &n, "}"), "none": text!("a", "b") });
    let workflow = w.task("go").run(same::<Value>, end);
    let workflow = w.build(workflow).unwrap();
    let end = run(&workflow, &json!({ "n": 5 })).await.unwrap();
    assert_eq!(end, json!({ "alone": "5", "between": "{5}", "none": "ab" }));
}

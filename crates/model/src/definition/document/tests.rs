use proptest::prelude::*;
use serde_json::json;

use super::*;

fn message(text: &str) -> String {
    let errors = parse(text.as_bytes()).unwrap_err();
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn nodes_know_where_they_are() {
    let root = parse("a:\n  - é: [1, x]\n".as_bytes()).unwrap();
    let Content::Mapping(entries) = &root.content else {
        panic!("{root:?}")
    };
    assert_eq!(entries[0].key_position, Position { line: 1, column: 1 });
    let Content::List(items) = &entries[0].value.content else {
        panic!("{root:?}")
    };
    let Content::Mapping(inner) = &items[0].content else {
        panic!("{root:?}")
    };
    assert_eq!(inner[0].key_position, Position { line: 2, column: 5 });
    let Content::List(last) = &inner[0].value.content else {
        panic!("{root:?}")
    };
    assert_eq!(
        last[1].position,
        Position {
            line: 2,
            column: 12
        }
    );
}

#[test]
fn scalars_follow_the_core_schema() {
    let text = "[1, -2, 0x1F, 0o17, 1.5, 1e3, .5, 18446744073709551615, true, ~, null, '', yes, on, '1', 1.2.3, 2026-01-02, 0x, !!str 5]";
    assert_eq!(
        parse(text.as_bytes()).unwrap().to_value(),
        json!([
            1,
            -2,
            31,
            15,
            1.5,
            1000.0,
            0.5,
            18446744073709551615_u64,
            true,
            null,
            null,
            "",
            "yes",
            "on",
            "1",
            "1.2.3",
            "2026-01-02",
            "0x",
            "5"
        ])
    );
}

#[test]
fn json_is_accepted() {
    let value = json!({"a": [1, {"b": "x\u{1}\n\"é"}], "c": null, "1": 1.25});
    let text = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(parse(text.as_bytes()).unwrap().to_value(), value);
}

#[test]
fn what_is_not_one_document_is_refused_with_its_place() {
    let texts = [
        "a: 1\nb: 2\n\na: 3\nb: 4\n",
        "a: 1\n---\nb: 2\n",
        "a: [1\n",
        "? [a]\n: 1\n",
        "a: &x [*x]\n",
        "a: *nobody\n",
        "a: !thing 1\n",
        "<<: {a: 1}\n",
        "a: 123456789012345678901\n",
        "a: 1e999\n",
        "a:\n\tb: 1\n",
    ]
    .map(message);
    insta::assert_snapshot!(texts.join("\n"));
    let not_text = parse(b"a: 1\nb: \xff\n").unwrap_err();
    assert_eq!(
        not_text[0].to_string(),
        "line 2, column 4: the file is not UTF-8 text"
    );
}

#[test]
fn bombs_end_in_a_message() {
    let aliases: String = (1..10)
        .map(|n| {
            format!(
                "a{n}: &a{n} [{}]\n",
                vec![format!("*a{}", n - 1); 10].join(", ")
            )
        })
        .collect();
    assert!(message(&format!("a0: &a0 x\n{aliases}")).contains("more than 100000 values"));
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        "*a,".repeat(50_000)
    );
    assert!(message(&long).contains("bytes of text"));
    for open in ["[", "{a: ", "- ", "? ", "{? "] {
        let text = open.repeat(MAX_BYTES / open.len() - 1);
        assert!(parse(text.as_bytes()).is_err(), "{open}");
    }
    assert!(message(&"[".repeat(65)).contains("64 deep"));
    let rising: String = (1..40)
        .map(|n| format!("a{n}: &a{n} [[*a{}]]\n", n - 1))
        .collect();
    assert!(message(&format!("a0: &a0 x\n{rising}")).contains("64 deep"));
    assert!(message(&"x".repeat(MAX_BYTES + 1)).contains("the most is 1048576"));
}

#[test]
fn nothing_is_null() {
    for text in ["", "\n", "# only this\n", "---\n", "\u{feff}"] {
        assert_eq!(
            parse(text.as_bytes()).unwrap().content,
            Content::Null,
            "{text:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_marks_are_read_or_refused(
        text in r#"([ \n\t:,\[\]{}?&*!|>'"%@#a0~.-]|---|\.\.\.|: |- |\? |&a |\*a |!!|<<|\\x|\r\n|"\\u){0,60}"#,
    ) {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn json_comes_back_as_it_was(text: String, number: i64, key: String) {
        let value = json!({ key: [number, text, {"x": true}] });
        let written = value.to_string();
        match parse(written.as_bytes()) {
            Ok(node) => prop_assert_eq!(node.to_value(), value),
            // YAML refuses some control characters that JSON writes as they are, and merge keys.
            Err(errors) => prop_assert!(
                written.contains("<<") || written.chars().any(|c| !c.is_ascii_graphic() && c != ' '),
                "{} {:?}", written, errors
            ),
        }
    }
}

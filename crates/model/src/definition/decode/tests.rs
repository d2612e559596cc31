use proptest::prelude::*;

use super::*;
use crate::definition::document;
use crate::definition::problem::Problems;

fn decode(text: &str, read: impl Fn(&Cursor<'_>)) -> String {
    let node = document::parse(text.as_bytes()).unwrap();
    let reporter = Reporter::new("f");
    read(&Cursor::root(&node, &reporter));
    Problems::check(reporter.into_found())
        .map_or_else(|problems| problems.to_string(), |()| String::new())
}

fn all_types(root: &Cursor<'_>) {
    let Some(mut fields) = root.fields() else {
        return;
    };
    fields
        .required("text", "x")
        .and_then(|cursor| cursor.filled_text());
    fields
        .optional("boolean")
        .and_then(|cursor| cursor.boolean());
    fields
        .optional("integer")
        .and_then(|cursor| cursor.integer(1_u32..=9));
    fields
        .optional("duration")
        .and_then(|cursor| cursor.duration());
    fields
        .optional("reference")
        .and_then(|cursor| cursor.reference());
    fields
        .optional("word")
        .and_then(|cursor| cursor.one_of(&[("red", 1), ("green", 2)]));
    fields.optional("texts").and_then(|cursor| cursor.texts());
    fields.optional("object").and_then(|cursor| cursor.object());
    fields.refused("sandbox", "not yet");
    fields.finish();
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_write() {
    let text = "txet: a\nboolean: yes\ninteger: 12\nduration: soon\nreference: Demo\nword: gren\n\
                texts: [a, 1]\nobject: []\nsandbox: {}\nsandboks: {}\n";
    insta::assert_snapshot!(decode(text, all_types), @r"
    f:1:1: the key 'text' is missing; write, for example, text: x
    f:1:1: unknown key 'txet'; did you mean 'text'?
    f:2:10: boolean: expected true or false, found 'yes'
    f:3:10: integer: expected a whole number from 1 to 9, found number 12
    f:4:11: duration: 'soon' is not a duration: write a number and a unit, such as 250ms, 30s, 5m, 4h, 1d or 1h30m
    f:5:12: reference: 'Demo' is not a ref: write pack.name, in lower-case letters, digits, '_' and '-'
    f:6:7: word: expected one of red, green, found 'gren'; did you mean 'green'?
    f:7:12: texts[1]: expected text, found number 1: put it in quotes
    f:8:9: object: expected a mapping, found a list
    f:9:1: sandbox: not yet
    f:10:1: unknown key 'sandboks'
    ");
}

#[test]
fn a_key_without_a_value_counts_as_missing() {
    assert_eq!(decode("text: x\nduration:\n", all_types), "");
    assert!(decode("text:\n", all_types).contains("the key 'text' is missing"));
}

proptest! {
    #[test]
    fn any_document_is_decoded_or_refused(text in r"(text|word|integer|texts|a)(: |:\n  - )[a-z0-9\[\]{}, ]{0,20}") {
        if let Ok(node) = document::parse(text.as_bytes()) {
            all_types(&Cursor::root(&node, &Reporter::new("f")));
        }
    }
}

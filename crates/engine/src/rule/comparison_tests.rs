use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn holds(operator: &str, value: Option<&Value>, pattern: &Value) -> Result<bool, String> {
    Comparison::compile(operator.parse().unwrap(), pattern)?.holds(value, now())
}

/// Each row: operator, pattern, values for which it holds, values for which it does not, values with
/// which it cannot be evaluated.
#[rstest]
#[case("equals|eq", json!(1), json!([1, 1.0]), json!([2, "1", true, null, [1], {}]), json!([]))]
#[case("equals|eq", json!({"a": [1]}), json!([{"a": [1.0]}]), json!([{"a": [1, 2]}, {}]), json!([]))]
#[case("nequals|neq", json!(1), json!([2, "1", null]), json!([1, 1.0]), json!([]))]
#[case("iequals|ieq", json!("Straße"), json!(["STRASSE", "straße"]), json!(["strase"]), json!([1, null]))]
#[case("contains", json!("b"), json!(["abc", ["a", "b"]]), json!(["ac", "B", ["abc"]]), json!([1, null, {}]))]
#[case("contains", json!(1), json!([[0, 1.0]]), json!([["1"]]), json!(["1", 1]))]
#[case("ncontains", json!("b"), json!(["ac", ["abc"]]), json!(["abc", ["b"]]), json!([1, {}]))]
#[case("icontains", json!("B"), json!(["abc", ["b"]]), json!(["ac", [1]]), json!([1]))]
#[case("incontains", json!("B"), json!(["ac", [1]]), json!(["abc", ["b"]]), json!([1]))]
#[case("startswith", json!("ab"), json!(["abc"]), json!(["ABC", "cab"]), json!([1, ["ab"]]))]
#[case("istartswith", json!("AB"), json!(["abc", "ABC"]), json!(["cab"]), json!([1]))]
#[case("endswith", json!("bc"), json!(["abc"]), json!(["ABC", "bca"]), json!([null]))]
#[case("iendswith", json!("BC"), json!(["abc", "ABC"]), json!(["bca"]), json!([{}]))]
#[case("lessthan|lt", json!(5), json!([4, 4.9, -1]), json!([5, 5.0, 6]), json!(["4", null, true, [1]]))]
#[case("lessthan|lt", json!("b"), json!(["a", "B"]), json!(["b", "c"]), json!([1]))]
#[case("greaterthan|gt", json!(5), json!([6, 5.1, u64::MAX]), json!([5, 4]), json!(["6", null]))]
#[case("greaterthan|gt", json!("b"), json!(["c", "ba"]), json!(["b", "a"]), json!([1]))]
#[case("matchwildcard", json!("a*[!0-9]?.[ch]"), json!(["a/bxx.c", "a\nbx.h"]), json!(["A1x.c", "a12x.c", "abx.cc"]), json!([1]))]
#[case("matchwildcard", json!("a.b[]x]["), json!(["a.b]["]), json!(["axb][", "a.b]"]), json!([]))]
#[case("matchregex", json!("a.c"), json!(["abcd", "a\nc"]), json!(["xabc", "ABC"]), json!([1]))]
#[case("matchregex", json!("a|b"), json!(["a", "bx"]), json!(["xb"]), json!([]))]
#[case("regex", json!("b.$"), json!(["abc"]), json!(["bcd", "a\nB"]), json!([1]))]
#[case("iregex", json!("B.$"), json!(["abc"]), json!(["bcd"]), json!([null]))]
#[case("timediff_lt|td_lt", json!(60), json!(["2026-11-21T11:59:30Z", "2026-11-21T13:59:30+02:00", 1_795_262_370.5, 1_795_262_399, "2030-01-01T00:00:00Z"]),
    json!(["2026-11-21T11:59:00Z", 0]), json!(["yesterday", null, "2026-11-21"]))]
#[case("timediff_gt|td_gt", json!(60), json!(["2026-11-21T11:00:00Z", 0]), json!(["2026-11-21T11:59:00Z", 1_795_262_399]), json!([true, "x"]))]
#[case("exists", json!(null), json!([1, null, {}]), json!([]), json!([]))]
#[case("nexists", json!(null), json!([]), json!([1, null, {}]), json!([]))]
#[case("inside|in", json!([1, "a", null]), json!([1.0, "a", null]), json!(["1", [1]]), json!([]))]
#[case("inside|in", json!("abc"), json!(["b", ""]), json!(["B"]), json!([1]))]
#[case("ninside|nin", json!([1, "a"]), json!(["1", null]), json!([1, "a"]), json!([]))]
#[case("ninside|nin", json!("abc"), json!(["B"]), json!(["b"]), json!([1]))]
#[case("search", json!({"item.n": {"type": "gt", "pattern": 1}, "item.s": {"type": "eq", "pattern": "x"}}),
    json!([[{"n": 0}, {"n": 2, "s": "x"}], [{"n": "?", "s": "y"}, {"n": 2, "s": "x"}]]), json!([[], [{"n": 2}, {"s": "x"}], [{"n": "?", "s": "y"}]]),
    json!([{}, 1, [{"n": "2", "s": "x"}]]))]
#[case("search", json!({"condition": "all", "item": {"type": "lt", "pattern": 3}}), json!([[], [1, 2]]), json!([[1, 3], ["1", 3]]), json!([[1, "2"]]))]
#[case("search", json!({"condition": "all2any", "item.a": {"type": "exists"}, "item.b": {"type": "exists"}}), json!([[{"a": 1}, {"b": 1}]]), json!([[{"a": 1}]]), json!([]))]
#[case("search", json!({"condition": "any2any", "item.a": {"type": "exists"}, "item.b": {"type": "exists"}}), json!([[{"a": 1}]]), json!([[], [{}]]), json!([]))]
fn operators(
    #[case] names: &str,
    #[case] pattern: Value,
    #[case] yes: Value,
    #[case] no: Value,
    #[case] error: Value,
) {
    for name in names.split('|') {
        for value in yes.as_array().unwrap() {
            assert_eq!(
                holds(name, Some(value), &pattern),
                Ok(true),
                "{value} {name} {pattern}"
            );
        }
        for value in no.as_array().unwrap() {
            assert_eq!(
                holds(name, Some(value), &pattern),
                Ok(false),
                "{value} {name} {pattern}"
            );
        }
        for value in error.as_array().unwrap() {
            assert!(
                holds(name, Some(value), &pattern).is_err(),
                "{value} {name} {pattern}"
            );
        }
        assert_eq!(
            holds(name, None, &pattern),
            Ok(name == "nexists"),
            "absent {name} {pattern}"
        );
    }
}

#[test]
fn an_error_names_both_types() {
    assert_eq!(
        holds("gt", Some(&json!("6")), &json!(5)).unwrap_err(),
        "greaterthan needs two numbers or two strings: the value is a string and the pattern a number"
    );
}

#[rstest]
#[case("startswith", json!(1), "the pattern of startswith must be a string, and this is a number")]
#[case("lt", json!(null), "the pattern of lessthan must be a number or a string, and this is null")]
#[case("in", json!({}), "the pattern of inside must be a list or a string, and this is a map")]
#[case("td_lt", json!("60"), "the pattern of timediff_lt must be a number of seconds, and this is a string")]
#[case("search", json!({"condition": "al", "item": {"type": "eq"}}), "the condition of search is one of any, all, all2any, any2any; did you mean 'all'?")]
#[case("search", json!({"item.a": {"type": "eqals"}}), "item.a: there is no operator 'eqals'; did you mean 'equals'?")]
#[case("search", json!({}), "search needs at least one criterion, such as item.name")]
fn a_pattern_that_does_not_fit_is_refused(
    #[case] operator: &str,
    #[case] pattern: Value,
    #[case] message: &str,
) {
    assert_eq!(
        Comparison::compile(operator.parse().unwrap(), &pattern).unwrap_err(),
        message
    );
}

#[test]
fn a_regular_expression_is_limited() {
    for pattern in ["(", "((a{1000}){1000}){1000}", &"x".repeat(10_000)] {
        assert!(Comparison::compile(Operator::Regex, &json!(pattern)).is_err());
    }
    // Linear in the text, however the pattern is made.
    assert_eq!(
        holds("regex", Some(&json!("a".repeat(50_000))), &json!("(a*)*b")),
        Ok(false)
    );
}

pub(in crate::rule) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "[İßa*?\\[\\]!-]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]|item|condition|type|pattern", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(operator in proptest::sample::select(Operator::ALL), pattern in any_json(), value in any_json()) {
        if let Ok(comparison) = Comparison::compile(operator, &pattern) {
            let _ = comparison.holds(Some(&value), now());
            let _ = comparison.holds(None, now());
        }
    }

    #[test]
    fn every_glob_compiles_or_says_why(pattern in "[a*?\\[\\]!^\\\\&~-]{0,12}", text: String) {
        if let Ok(comparison) = Comparison::compile(Operator::MatchWildcard, &json!(pattern)) {
            let _ = comparison.holds(Some(&json!(text)), now());
        }
    }

    #[test]
    fn a_glob_without_marks_matches_itself_only(text in "[^*?\\[]{0,12}", other: String) {
        prop_assert_eq!(holds("matchwildcard", Some(&json!(text)), &json!(text)), Ok(true));
        prop_assert_eq!(holds("matchwildcard", Some(&json!(other)), &json!(text)), Ok(text == other));
    }
}

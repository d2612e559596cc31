//! Expressions of every operator and filter, with numbers that no list has items for: each ends, within what
//! a result may be, and none panics. One that walks what nobody could hold would not end here either.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;

const ATOMS: &[&str] = &[
    "trigger.n",
    "trigger.big",
    "trigger.list",
    "trigger.rows",
    "trigger.text",
    "trigger.map",
    "trigger.missing",
    "none",
    "true",
    "0",
    "-1",
    "2",
    "1.5",
    "100000000000",
    "9223372036854775807",
    "170141183460469231731687303715884105727",
    "''",
    "'a\nb'",
    "[]",
    "[0]",
    "[1, 'two', none]",
    "{}",
    "{'a': [1]}",
    "range(9)",
    "range(100000)",
    "('x' * 1000)",
];
const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "//", "%", "**", "~", "in", "not in", "==", "!=", "<", "<=", ">", ">=",
    "and", "or",
];
const FILTERS: &[&str] = &[
    "abs",
    "attr('a')",
    "b64decode",
    "b64encode",
    "batch(3)",
    "bool",
    "capitalize",
    "default(7)",
    "dictsort",
    "first",
    "float",
    "format(1)",
    "fromjson",
    "groupby('a')",
    "hash",
    "indent(9)",
    "int",
    "items",
    "join",
    "join(',')",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map('int')",
    "map(attribute='a')",
    "max",
    "min",
    "reject",
    "rejectattr('a')",
    "replace('a', 'bb')",
    "reverse",
    "round(3)",
    "select",
    "select('odd')",
    "selectattr('a')",
    "slice(3)",
    "sort",
    "sort(reverse=true)",
    "split(',')",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "zip",
];
const TESTS: &[&str] = &[
    "defined",
    "divisibleby(3)",
    "eq(1)",
    "in([1])",
    "iterable",
    "lt(3)",
    "mapping",
    "number",
    "odd",
    "sequence",
    "startingwith('a')",
    "string",
];

fn expression() -> impl Strategy<Value = String> {
    let atom = select(ATOMS).prop_map(str::to_owned);
    atom.prop_recursive(4, 12, 3, |inner| {
        let inner = inner.boxed();
        let two = (inner.clone(), select(OPERATORS), inner.clone());
        prop_oneof![
            4 => two.clone().prop_map(|(a, operator, b)| format!("({a}) {operator} ({b})")),
            2 => two.prop_map(|(a, operator, b)| format!("{a} {operator} {b}")),
            4 => (inner.clone(), select(FILTERS)).prop_map(|(a, filter)| format!("({a}) | {filter}")),
            1 => (inner.clone(), select(TESTS)).prop_map(|(a, test)| format!("({a}) is {test}")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[:{b}]")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("({a} if {b} else {b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_expression_ends(expression in expression()) {
        let scope = Scope::new().with("trigger", &json!({
            "n": 1_000_000_000_000_u64, "big": u64::MAX, "list": [3, 1, 2], "rows": [{"a": 1}, {"a": [2]}], "text": "a,b",
            "map": {"a": 1},
        }));
        let templates = [
            format!("{{{{ {expression} }}}}"),
            format!("<{{{{ {expression} }}}}>"),
            format!("{{% for x in {expression} %}}{{{{ x }}}}{{% endfor %}}"),
            format!("{{% if {expression} %}}a{{% endif %}}"),
        ];
        for template in templates {
            if let Ok(value) = render(&template, &scope) {
                prop_assert!(value.to_string().len() <= 2 * MAX_RESULT_BYTES);
            }
        }
    }
}

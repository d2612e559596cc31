//! What a process printed, taken as its result.
//!
//! For `json` the places where programs put a result are tried in this order: the whole text is one
//! document; the last line that is not blank is one; the text ends with one that spans lines; the
//! last line anywhere that is one; the last object or array anywhere.

use camshaft_model::definition::OutputMode;
use camshaft_model::{Failure, FailureKind};
use serde_json::Value;

use super::failure;

/// The most bytes of text that become a result. A result is part of its execution wherever that is
/// stored and shown, and control characters take six times their size there; the log has all of it.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// The result of a process that exited with 0.
///
/// # Errors
/// A failure of kind `Output`: the text is not what the action declares.
pub fn result(mode: OutputMode, captured: &[u8], truncated: bool) -> Result<Value, Failure> {
    if mode == OutputMode::Text {
        return Ok(Value::String(text(captured)));
    }
    if truncated {
        let bytes = captured.len();
        return Err(failure(
            FailureKind::Output,
            format!("standard output is longer than the {bytes} bytes of which a result is made"),
        ));
    }
    let text = String::from_utf8_lossy(captured);
    match mode {
        OutputMode::Jsonl => lines(&text),
        OutputMode::Json | OutputMode::Text => last_value(&text).ok_or_else(|| no_json(&text)),
    }
}

/// After how many bytes of standard output the result was cut; `None` if it is whole. Only text is cut:
/// of other output that is too long no result is made.
pub fn cut_after(mode: OutputMode, captured: &[u8], truncated: bool) -> Option<usize> {
    let limit = captured.len().min(MAX_TEXT_BYTES);
    (mode == OutputMode::Text && (truncated || captured.len() > limit)).then_some(limit)
}

/// The text without its last line end, as far as it may become a result.
fn text(captured: &[u8]) -> String {
    let mut kept = captured.len().min(MAX_TEXT_BYTES);
    // Not in the middle of a character, if it is one.
    let begins = |at: usize| captured.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
    kept -= (0..4.min(kept))
        .find(|back| begins(kept - back))
        .unwrap_or(0);
    let text = String::from_utf8_lossy(&captured[..kept]);
    let end = text
        .strip_suffix('\n')
        .map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t));
    end.to_owned()
}

fn lines(text: &str) -> Result<Value, Failure> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                let (number, shown) = (index + 1, excerpt(line));
                failure(
                    FailureKind::Output,
                    format!("line {number} of standard output is not JSON ({error}): {shown}"),
                )
            })
        })
        .collect::<Result<_, _>>()
        .map(Value::Array)
}

fn last_value(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let last_line = || trimmed.lines().next_back().and_then(parse);
    if let Some(value) = parse(trimmed).or_else(last_line) {
        return Some(value);
    }
    let (value, end) = last_composite(trimmed).unzip();
    if end == Some(trimmed.len()) {
        return value;
    }
    trimmed.lines().rev().find_map(parse).or(value)
}

/// The last object or array that is not inside another one, and where it ends.
///
/// Every `{` and `[` outside a value that was read is tried once. An attempt ends at the first byte
/// that cannot go on, and at 128 levels, so hostile text costs a bounded number of readings of it.
fn last_composite(text: &str) -> Option<(Value, usize)> {
    let mut found = None;
    let mut from = 0;
    while let Some(start) = text[from..].find(['{', '[']).map(|at| from + at) {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
        match values.next() {
            Some(Ok(value)) => {
                from = start + values.byte_offset();
                found = Some((value, from));
            }
            _ => from = start + 1,
        }
    }
    found
}

fn no_json(text: &str) -> Failure {
    let message = if text.trim().is_empty() {
        "standard output is empty, and the action declares JSON".to_owned()
    } else {
        format!(
            "standard output holds no JSON value; it begins with {}",
            excerpt(text)
        )
    };
    failure(FailureKind::Output, message)
}

/// The beginning of a text, quoted, on one line.
fn excerpt(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    let text = text.trim();
    let head: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if head.len() < text.len() { "…" } else { "" };
    format!("{head:?}{more}")
}

/// The last line that says something, at most 300 characters of it: what people look for first when
/// a program failed.
pub fn last_line(bytes: &[u8]) -> Option<String> {
    const SHOWN_CHARS: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let line = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())?;
    Some(line.chars().take(SHOWN_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::whole("[\n  1,\n  2\n]\n", json!([1, 2]))]
    #[case::last_line("loading\n{\"a\": 1}\n", json!({"a": 1}))]
    #[case::scalar_line("loading\n42\n\n", json!(42))]
    #[case::null("null", json!(null))]
    #[case::spans_lines_at_the_end("[info] loading\n[\n  1,\n  2\n]", json!([1, 2]))]
    #[case::earlier_line("{\"a\": 1}\ndone [2] it\n", json!({"a": 1}))]
    #[case::inside_a_line("result: {\"a\": {\"b\": 1}} ok", json!({"a": {"b": 1}}))]
    fn the_last_json_value_is_the_result(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(
            result(OutputMode::Json, text.as_bytes(), false),
            Ok(expected)
        );
    }

    #[test]
    fn no_json_says_what_there_was() {
        let error = result(OutputMode::Json, b"hello {", false).unwrap_err();
        assert_eq!(error.kind, FailureKind::Output);
        assert!(error.message.contains("\"hello {\""), "{}", error.message);
        let error = result(OutputMode::Json, b"\n", false).unwrap_err();
        assert!(error.message.contains("empty"), "{}", error.message);
    }

    #[test]
    fn each_line_of_jsonl_is_a_value() {
        assert_eq!(
            result(OutputMode::Jsonl, b"1\n\n{\"a\":2}\n", false),
            Ok(json!([1, {"a": 2}]))
        );
        let error = result(OutputMode::Jsonl, b"1\nx\n", false).unwrap_err();
        assert!(error.message.starts_with("line 2 "), "{}", error.message);
    }

    #[test]
    fn too_much_output_is_said_for_json_and_cut_for_text() {
        assert_eq!(result(OutputMode::Text, b"ab", true), Ok(json!("ab")));
        let error = result(OutputMode::Json, b"{}", true).unwrap_err();
        assert!(error.message.contains("2 bytes"), "{}", error.message);
    }

    #[test]
    fn only_text_is_cut_and_the_place_is_known() {
        let long = vec![b'x'; MAX_TEXT_BYTES + 1];
        for (mode, captured, truncated, cut) in [
            (OutputMode::Text, &long[..], false, Some(MAX_TEXT_BYTES)),
            (OutputMode::Text, &long[..5], true, Some(5)),
            (OutputMode::Text, &long[1..], false, None),
            (OutputMode::Jsonl, &long[..], true, None),
        ] {
            assert_eq!(cut_after(mode, captured, truncated), cut);
        }
    }

    #[test]
    fn text_that_is_too_long_for_a_result_is_cut_between_characters() {
        let euros = "\u{20ac}".repeat(MAX_TEXT_BYTES / 3 + 1);
        let whole = json!("\u{20ac}".repeat(MAX_TEXT_BYTES / 3));
        assert_eq!(result(OutputMode::Text, euros.as_bytes(), false), Ok(whole));
        let noise = vec![0x80; MAX_TEXT_BYTES + 9];
        let Ok(Value::String(text)) = result(OutputMode::Text, &noise, false) else {
            panic!("text")
        };
        assert_eq!(text.chars().count(), MAX_TEXT_BYTES);
    }

    #[test]
    fn text_loses_one_line_end_and_nothing_else() {
        assert_eq!(
            result(OutputMode::Text, b" a\n\n", false),
            Ok(json!(" a\n"))
        );
        assert_eq!(result(OutputMode::Text, b"a\r\n", false), Ok(json!("a")));
        assert_eq!(
            result(OutputMode::Text, b"\xff", false),
            Ok(json!("\u{fffd}"))
        );
    }

    #[test]
    fn deep_nesting_is_read_in_bounded_time() {
        assert!(result(OutputMode::Json, "[".repeat(1 << 14).as_bytes(), false).is_err());
        assert!(
            result(
                OutputMode::Json,
                "{\"a\":[".repeat(1 << 12).as_bytes(),
                false
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes: Vec<u8>) {
            for mode in [OutputMode::Text, OutputMode::Json, OutputMode::Jsonl] {
                let _ = result(mode, &bytes, false);
            }
        }

        #[test]
        fn a_document_after_noise_is_found(noise in "[a-z{\\[ \n]{0,60}", number: i32) {
            let text = format!("{noise}\n{{\"n\":{number}}}\n");
            prop_assert_eq!(result(OutputMode::Json, text.as_bytes(), false), Ok(json!({"n": number})));
        }
    }
}

//! Replacing the values of secrets in a stream of bytes, and nothing else.
//!
//! A value is looked for as it is, line by line (for keys and certificates), in base64 wherever it
//! stands inside a longer text, percent-encoded and escaped as in JSON. All forms of all values are
//! one automaton; the longest one that begins first wins. A stream holds back only a tail that may
//! be the beginning of a form, so a follower sees everything else at once.
//!
//! Not redacted: values shorter than three bytes (they would hit by chance), lines of a longer value
//! that are shorter than four, and base64 that is broken into lines in the middle of a value.

mod forms;

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind};
use camshaft_model::definition::REDACTED;

/// Replaces secrets in one stream. A clone shares the forms and begins a stream of its own.
#[derive(Debug)]
pub struct Redactor {
    forms: Option<Arc<Forms>>,
    held: Vec<u8>,
    redacted: bool,
}

#[derive(Debug)]
struct Forms {
    /// Sorted, so that "does any form begin with this" is one binary search.
    sorted: Vec<Vec<u8>>,
    longest: usize,
    automaton: AhoCorasick,
}

impl Clone for Redactor {
    fn clone(&self) -> Self {
        Self {
            forms: self.forms.clone(),
            held: Vec::new(),
            redacted: false,
        }
    }
}

impl Redactor {
    /// A redactor for these values. Without any it passes everything on untouched.
    pub fn new(secrets: &[String]) -> Self {
        let sorted = forms::of(secrets);
        let forms = if sorted.is_empty() {
            None
        } else {
            Some(Arc::new(Forms::new(sorted)))
        };
        Self {
            forms,
            held: Vec::new(),
            redacted: false,
        }
    }

    /// Takes the next bytes and appends to `out` what is certain by now.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(forms) = &self.forms else {
            out.extend_from_slice(bytes);
            return;
        };
        if self.held.is_empty() {
            let done = forms.replace(bytes, false, out, &mut self.redacted);
            self.held.extend_from_slice(&bytes[done..]);
        } else {
            self.held.extend_from_slice(bytes);
            let done = forms.replace(&self.held, false, out, &mut self.redacted);
            self.held.drain(..done);
        }
    }

    /// Ends the stream: appends what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(forms) = &self.forms {
            forms.replace(&self.held, true, out, &mut self.redacted);
            self.held.clear();
        }
    }

    /// Whether anything has been replaced so far.
    pub fn redacted(&self) -> bool {
        self.redacted
    }

    /// A whole text with its secrets replaced.
    pub fn text(&self, text: &str) -> String {
        match &self.forms {
            None => text.to_owned(),
            Some(forms) => {
                let mut out = Vec::with_capacity(text.len());
                forms.replace(text.as_bytes(), true, &mut out, &mut false);
                String::from_utf8_lossy(&out).into_owned()
            }
        }
    }
}

impl Forms {
    fn new(sorted: Vec<Vec<u8>>) -> Self {
        let longest = sorted.iter().map(Vec::len).max().unwrap_or(0);
        let automaton = build(&sorted);
        Self {
            sorted,
            longest,
            automaton,
        }
    }

    /// Appends the redacted `bytes` to `out` as far as no later byte can change them (to the end, if
    /// no more will come), and says how far that is.
    fn replace(&self, bytes: &[u8], last: bool, out: &mut Vec<u8>, redacted: &mut bool) -> usize {
        let mut done = 0;
        let mut open = self.open_tail(bytes, 0, last);
        while let Some(found) = self.find(bytes, done) {
            // A form that began earlier may still be completed, or this one may become a longer one.
            if found.start >= open {
                break;
            }
            out.extend_from_slice(&bytes[done..found.start]);
            out.extend_from_slice(REDACTED.as_bytes());
            *redacted = true;
            done = found.end;
            if open < done {
                open = self.open_tail(bytes, done, last);
            }
        }
        out.extend_from_slice(&bytes[done..open]);
        open
    }

    fn find(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        let input = Input::new(bytes).range(from..).anchored(Anchored::No);
        self.automaton.find(input).map(|found| found.range())
    }

    /// Where the first tail begins, at `from` or later, that a later byte may make a form or a longer form.
    fn open_tail(&self, bytes: &[u8], from: usize, last: bool) -> usize {
        if last {
            return bytes.len();
        }
        let first = (bytes.len() + 1).saturating_sub(self.longest).max(from);
        (first..bytes.len())
            .find(|start| self.begins(&bytes[*start..]))
            .unwrap_or(bytes.len())
    }

    /// Whether a form begins with `tail` and goes on after it.
    fn begins(&self, tail: &[u8]) -> bool {
        let at = self.sorted.partition_point(|form| form.as_slice() <= tail);
        self.sorted
            .get(at)
            .is_some_and(|form| form.starts_with(tail))
    }
}

#[expect(
    clippy::expect_used,
    reason = "the number and length of forms are bounded far below the automaton's limits"
)]
fn build(sorted: &[Vec<u8>]) -> AhoCorasick {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(sorted)
        .expect("an automaton of bounded size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn redact(secrets: &[&str], bytes: &[u8]) -> String {
        let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
        let mut redactor = Redactor::new(&secrets);
        let mut out = Vec::new();
        redactor.push(bytes, &mut out);
        redactor.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn values_are_replaced_and_words_about_them_are_not() {
        assert_eq!(
            redact(&["hunter2"], b"password=hunter2 ok"),
            "password=[redacted] ok"
        );
        assert_eq!(redact(&["ab"], b"ab abc"), "ab abc");
        assert_eq!(
            redact(&["\u{130}stanbul"], "x\u{130}stanbul\u{130}".as_bytes()),
            "x[redacted]\u{130}"
        );
    }

    #[test]
    fn the_longest_of_overlapping_values_wins() {
        assert_eq!(
            redact(&["secret", "secret-long"], b"secret-long secret-lo"),
            "[redacted] [redacted]-lo"
        );
    }

    #[test]
    fn lines_of_a_value_are_replaced_by_themselves() {
        let key = "-----BEGIN-----\n  line one\nab\nline two\n";
        assert_eq!(
            redact(&[key], b"a\r\nline one\r\nline two\r\nab"),
            "a\r\n[redacted]\r\n[redacted]\r\nab"
        );
        assert_eq!(redact(&[key], key.as_bytes()), "[redacted]");
    }

    #[test]
    fn base64_is_found_wherever_it_stands() {
        for before in ["", "x", "xy", "xyz"] {
            for after in ["", "1", "12", "123"] {
                let text = format!("{before}correct horse{after}");
                let shown = redact(&["correct horse"], STANDARD.encode(&text).as_bytes());
                assert!(shown.contains("[redacted]"), "{text}: {shown}");
                assert!(shown.len() <= "[redacted]".len() + 12, "{text}: {shown}");
            }
        }
        assert_eq!(
            redact(&["correct horse"], b"Y29ycmVjdCBob3JzZQ=="),
            "[redacted]"
        );
        assert_eq!(
            redact(&["correct horse"], b"Y29ycmVjdCBob3JzZQ."),
            "[redacted]."
        );
        assert_eq!(
            redact(&["~~~???"], b"fn5-Pz8_ fn5+Pz8/"),
            "[redacted] [redacted]"
        );
    }

    #[test]
    fn encoded_forms_are_found() {
        assert_eq!(redact(&["a/b c&d"], b"?k=a%2Fb%20c%26d"), "?k=[redacted]");
        assert_eq!(redact(&["a/b c&d"], b"?k=a%2fb+c%26d"), "?k=[redacted]");
        assert_eq!(
            redact(&["a\"b\\c\u{e9}"], br#"{"k":"a\"b\\c\u00e9"}"#),
            r#"{"k":"[redacted]"}"#
        );
        assert_eq!(redact(&["one\ntwo"], br#""one\ntwo""#), "\"[redacted]\"");
    }

    #[test]
    fn a_tail_that_cannot_become_a_secret_is_shown_at_once() {
        let mut redactor = Redactor::new(&["secret".to_owned()]);
        let mut out = Vec::new();
        redactor.push(b"progress 10%", &mut out);
        assert_eq!(out, b"progress 10%");
        redactor.push(b" sec", &mut out);
        assert_eq!(out, b"progress 10% ");
        redactor.push(b"ond", &mut out);
        assert_eq!(
            (out.as_slice(), redactor.redacted()),
            (b"progress 10% second".as_slice(), false)
        );
    }

    #[test]
    fn a_huge_value_is_replaced_in_pieces() {
        let value: String = (0..20_000u64)
            .map(|n| char::from(b'a' + (n * n / 7 % 23) as u8))
            .collect();
        let shown = redact(&[&value], format!("<{value}>").as_bytes());
        assert!(
            shown.starts_with("<[redacted]") && shown.ends_with("[redacted]>"),
            "{}",
            shown.len()
        );
        assert!(!shown.contains(&value[10_000..10_040]));
    }

    /// What the streaming must be equal to: at each place the longest form, else one byte.
    fn naive(forms: &[Vec<u8>], bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            match forms
                .iter()
                .filter(|form| bytes[at..].starts_with(form))
                .map(Vec::len)
                .max()
            {
                Some(length) => {
                    out.extend_from_slice(REDACTED.as_bytes());
                    at += length;
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_chunking_gives_what_one_replacement_gives(
            secrets in prop::collection::vec("[xyz\"/ %\n]{0,9}", 0..4),
            parts in prop::collection::vec(("[xyz\"/ %\n]{0,6}", any::<prop::sample::Index>(), 0u8..4), 0..12),
            sizes in prop::collection::vec(1usize..9, 1..20),
        ) {
            let mut text = Vec::new();
            for (noise, which, form) in &parts {
                text.extend_from_slice(noise.as_bytes());
                if let Some(secret) = (!secrets.is_empty()).then(|| which.get(&secrets)) {
                    match form {
                        0 => text.extend_from_slice(secret.as_bytes()),
                        1 => text.extend_from_slice(STANDARD.encode(format!("{noise}{secret}{noise}")).as_bytes()),
                        2 => text.extend_from_slice(&secret.as_bytes()[..secret.len() / 2]),
                        _ => text.extend_from_slice(serde_json::to_string(secret).unwrap().as_bytes()),
                    }
                }
            }
            let mut redactor = Redactor::new(&secrets);
            let mut out = Vec::new();
            let mut rest = text.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                redactor.push(chunk, &mut out);
                rest = after;
            }
            redactor.finish(&mut out);
            let expected = naive(&forms::of(&secrets), &text);
            prop_assert_eq!(&out, &expected);
            prop_assert_eq!(redactor.redacted(), out != text);
            for secret in secrets.iter().filter(|secret| secret.len() >= 3) {
                prop_assert!(!out.windows(secret.len()).any(|window| window == secret.as_bytes()));
            }
        }

        #[test]
        fn any_bytes_and_values_are_taken(secrets in prop::collection::vec(any::<String>(), 0..4), bytes: Vec<u8>) {
            let mut redactor = Redactor::new(&secrets);
            let mut out = Vec::new();
            redactor.push(&bytes, &mut out);
            redactor.finish(&mut out);
            prop_assert_eq!(out, naive(&forms::of(&secrets), &bytes));
        }
    }
}

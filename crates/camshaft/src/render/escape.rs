//! Text of strangers on a terminal: control characters are shown, not obeyed.

use std::borrow::Cow;

fn is_unsafe(c: char) -> bool {
    // Bidirectional overrides can make a line read as something else than it is.
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let bad = |c: char| is_unsafe(c) && !keep(c);
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let escaped = text
        .chars()
        .fold(String::with_capacity(text.len() + 16), |mut out, c| {
            if bad(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
            out
        });
    Cow::Owned(escaped)
}

/// For one cell or one line: line breaks are escaped too.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// For a message that may have several lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n' || c == '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(line("a\u{1b}[31m\nb\r"), "a\\u{1b}[31m\\nb\\r");
        assert_eq!(lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
        assert_eq!(line("x\u{202e}y"), "x\\u{202e}y");
        assert!(matches!(line("grüße [x] 🎉"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_control_character_is_left(text: String) {
            prop_assert!(!line(&text).contains(char::is_control));
        }
    }
}

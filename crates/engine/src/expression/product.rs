//! Multiplications, guarded. `list * number` repeats a list without making it: a few characters stand for a
//! list that no memory holds, and operators walk it without a step being counted. So no list is multiplied.
//! Whether an operand is one is known only when it is evaluated, and minijinja has no place to ask at an
//! operator. Each operand of `*` is therefore given a filter, [`FACTOR`], before the text is compiled.

use std::ops::Range;

use minijinja::machinery::{Token, WhitespaceConfig, tokenize};
use minijinja::syntax::SyntaxConfig;

/// The filter that every operand passes.
pub(super) const FACTOR: &str = "factor";
const GUARD: &str = "|factor";

/// A text whose multiplications are guarded.
#[derive(Debug, PartialEq)]
pub(super) struct Guarded {
    pub(super) text: String,
    /// Where guards were put, as offsets in the text without them, in order.
    guards: Vec<usize>,
}

impl Guarded {
    /// Guards an expression, or a text with expressions in it; `None` if nothing is multiplied.
    pub(super) fn new(source: &str, is_expression: bool) -> Option<Self> {
        let tokens = tokens(source, is_expression);
        let mut guards = Vec::new();
        for (at, (token, _)) in tokens.iter().enumerate() {
            if matches!(token, Token::Mul)
                && let Some(before) = at.checked_sub(1)
                && ends_operand(&tokens[before].0)
            {
                guards.push(tokens[before].1.end);
                guards.extend(operand_end(&tokens, at + 1));
            }
        }
        if guards.is_empty() {
            return None;
        }
        // What is the right operand of one may be the left one of the next.
        guards.sort_unstable();
        guards.dedup();
        let mut text = String::with_capacity(source.len() + guards.len() * GUARD.len());
        let mut done = 0;
        for guard in &guards {
            text.push_str(source.get(done..*guard)?);
            text.push_str(GUARD);
            done = *guard;
        }
        text.push_str(source.get(done..)?);
        Some(Self { text, guards })
    }

    /// Where a part of the guarded text is in the text without guards.
    pub(super) fn unguarded(&self, range: Range<usize>) -> Range<usize> {
        let place = |mut offset: usize| {
            for guard in &self.guards {
                if offset <= *guard {
                    break;
                }
                offset -= GUARD.len().min(offset - guard);
            }
            offset
        };
        place(range.start)..place(range.end)
    }
}

type Tokens<'a> = Vec<(Token<'a>, Range<usize>)>;

/// As far as the text can be read; what cannot is not compiled either.
fn tokens(source: &str, is_expression: bool) -> Tokens<'_> {
    let syntax = SyntaxConfig::default();
    let found = tokenize(source, is_expression, syntax, WhitespaceConfig::default());
    found
        .map_while(Result::ok)
        .map(|(token, span)| (token, span.start_offset as usize..span.end_offset as usize))
        .collect()
}

/// Whether an operand may end here; else `*` unpacks arguments.
fn ends_operand(token: &Token<'_>) -> bool {
    is_atom(token)
        || matches!(
            token,
            Token::BracketClose | Token::ParenClose | Token::BraceClose
        )
}

fn is_atom(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
    )
}

/// Where the operand ends that begins with a token: after its signs, its first part, and what hangs on that.
fn operand_end(tokens: &Tokens<'_>, mut at: usize) -> Option<usize> {
    while matches!(tokens.get(at)?.0, Token::Minus | Token::Plus) {
        at += 1;
    }
    let mut last = part(tokens, at)?;
    loop {
        last = match tokens.get(last + 1).map(|(token, _)| token) {
            Some(Token::Dot | Token::Pipe) => part(tokens, last + 2)?,
            Some(Token::BracketOpen | Token::ParenOpen) => part(tokens, last + 1)?,
            _ => return Some(tokens[last].1.end),
        };
    }
}

/// The last token of an atom, or of what is in brackets.
fn part(tokens: &Tokens<'_>, first: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, (token, _)) in tokens.iter().enumerate().skip(first) {
        match token {
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => depth += 1,
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                depth = depth.checked_sub(1)?;
            }
            token if depth == 0 && !is_atom(token) => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a * b", "a|factor * b|factor")]
    #[case("a*b*-c", "a|factor*b|factor*-c|factor")]
    #[case(
        "x.y[0] * f(1, [2])|int(3) + 1",
        "x.y[0]|factor * f(1, [2])|int(3)|factor + 1"
    )]
    #[case("[1] * (a + b)", "[1]|factor * (a + b)|factor")]
    #[case("'*' * 3", "'*'|factor * 3|factor")]
    #[case("a * b is odd if c else d", "a|factor * b|factor is odd if c else d")]
    fn every_operand_is_guarded(#[case] source: &str, #[case] guarded: &str) {
        assert_eq!(Guarded::new(source, true).unwrap().text, guarded);
    }

    #[test]
    fn what_multiplies_nothing_is_left_alone() {
        for source in ["a ** b", "f(*a, **b)", "[*a]", "'a * b'"] {
            assert_eq!(Guarded::new(source, true), None, "{source}");
        }
        let text = "a * b {{ c }} * {# d * e #}{% raw %}{{ f * g }}{% endraw %}";
        assert_eq!(Guarded::new(text, false), None);
        let text = Guarded::new("2 * 3 = {{ 2 * n }}", false).unwrap();
        assert_eq!(text.text, "2 * 3 = {{ 2|factor * n|factor }}");
    }

    #[test]
    fn places_are_those_of_the_text_that_was_written() {
        let source = "a + b * z * none.x";
        let guarded = Guarded::new(source, true).unwrap();
        for part in ["a", "b", "z", "none.x"] {
            let at = guarded.text.find(part).unwrap();
            let range = guarded.unguarded(at..at + part.len());
            assert_eq!(&source[range], part);
        }
        assert_eq!(guarded.unguarded(0..guarded.text.len()), 0..source.len());
    }
}

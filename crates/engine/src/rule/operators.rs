//! The operators of criteria, by name. What each means is in `comparison.rs`; the table for people is
//! docs/rules.md.

use std::fmt;
use std::str::FromStr;

use camshaft_model::definition::problem::did_you_mean;

macro_rules! operators {
    ($($variant:ident = $name:literal $(| $alias:literal)*, $negated:literal, $doc:literal;)*) => {
        /// An operator.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operator { $(#[doc = $doc] $variant,)* }

        impl Operator {
            /// Every operator.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Every name, canonical ones and aliases.
            pub const NAMES: &'static [&'static str] = &[$($name, $($alias,)*)*];

            /// The canonical name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it says what must not be.
            pub const fn is_negated(self) -> bool {
                match self { $(Self::$variant => $negated,)* }
            }
        }

        impl FromStr for Operator {
            type Err = UnknownOperator;

            fn from_str(text: &str) -> Result<Self, UnknownOperator> {
                match text {
                    $($name $(| $alias)* => Ok(Self::$variant),)*
                    _ => Err(UnknownOperator(text.chars().take(64).collect())),
                }
            }
        }
    };
}

operators! {
    Equals = "equals" | "eq", false, "The values are equal.";
    NotEquals = "nequals" | "neq", true, "The values differ.";
    IEquals = "iequals" | "ieq", false, "The texts are equal, upper and lower case alike.";
    Contains = "contains", false, "The text or list contains the pattern.";
    NotContains = "ncontains", true, "The text or list does not contain the pattern.";
    IContains = "icontains", false, "As contains, upper and lower case alike.";
    NotIContains = "incontains", true, "As ncontains, upper and lower case alike.";
    StartsWith = "startswith", false, "The text begins with the pattern.";
    IStartsWith = "istartswith", false, "The same, upper and lower case alike.";
    EndsWith = "endswith", false, "The text ends with the pattern.";
    IEndsWith = "iendswith", false, "The same, upper and lower case alike.";
    LessThan = "lessthan" | "lt", false, "The value is less than the pattern.";
    GreaterThan = "greaterthan" | "gt", false, "The value is greater than the pattern.";
    MatchWildcard = "matchwildcard", false, "The whole text matches a pattern with *, ? and [..].";
    MatchRegex = "matchregex", false, "A regular expression matches at the beginning of the text.";
    Regex = "regex", false, "A regular expression matches somewhere in the text.";
    IRegex = "iregex", false, "The same, upper and lower case alike.";
    TimeDiffLessThan = "timediff_lt" | "td_lt", false, "Less than so many seconds have passed since the value.";
    TimeDiffGreaterThan = "timediff_gt" | "td_gt", false, "More than so many seconds have passed since the value.";
    Exists = "exists", false, "The path leads to a value, which may be null.";
    NotExists = "nexists", true, "The path leads nowhere.";
    Inside = "inside" | "in", false, "The value is in the pattern.";
    NotInside = "ninside" | "nin", true, "The value is not in the pattern.";
    Search = "search", false, "Items of a list satisfy criteria.";
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOperator(String);

impl fmt::Display for UnknownOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Operator::NAMES.iter().copied();
        let mut hint = did_you_mean(&self.0, names.clone());
        if hint.is_empty() {
            hint = beginning_of(&self.0, names);
        }
        write!(f, "there is no operator '{}'{hint}", self.0)
    }
}

/// A name of which the text is a (misspelt) beginning: `greatr` is far from `greaterthan` by the number
/// of letters and still means it.
fn beginning_of(text: &str, names: impl Iterator<Item = &'static str>) -> String {
    const LEAST_CHARS: usize = 3;
    let length = text.chars().count();
    let meant = |name: &&str| {
        // One letter more or less than was typed.
        (length - 1..=length + 1).any(|end| {
            let beginning = name.get(..end.min(name.len())).unwrap_or(name);
            !did_you_mean(text, [beginning]).is_empty()
        })
    };
    let mut names = names.filter(|_| length >= LEAST_CHARS).filter(meant);
    match names.next() {
        Some(name) => format!("; did you mean '{name}'?"),
        None => String::new(),
    }
}

impl std::error::Error for UnknownOperator {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_is_known_and_a_near_miss_is_offered_one() {
        for name in "eq equals neq nequals ieq iequals contains ncontains icontains incontains startswith \
            istartswith endswith iendswith lt lessthan gt greaterthan matchwildcard matchregex regex iregex \
            timediff_lt td_lt timediff_gt td_gt exists nexists in inside nin ninside search"
            .split_whitespace()
        {
            let operator: Operator = name.parse().unwrap();
            assert_eq!(operator.as_str().parse::<Operator>(), Ok(operator));
            assert!(Operator::NAMES.contains(&name), "{name}");
        }
        let error = "greatherthan".parse::<Operator>().unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no operator 'greatherthan'; did you mean 'greaterthan'?"
        );
    }

    #[test]
    fn a_name_that_was_cut_short_is_offered_whole() {
        for (text, meant) in [
            ("greatr", "greaterthan"),
            ("less", "lessthan"),
            ("wildcard", "matchwildcard"),
            ("start", "startswith"),
            ("time", "timediff_lt"),
            ("is", ""),
            ("", ""),
            ("\u{20ac}\u{20ac}\u{20ac}", ""),
        ] {
            let error = text.parse::<Operator>().unwrap_err().to_string();
            let hint = error.split_once("; ").map_or("", |(_, hint)| hint);
            let expected = match meant {
                "" => String::new(),
                name => format!("did you mean '{name}'?"),
            };
            assert_eq!(hint, expected, "{text}");
        }
    }
}

//! Reads the whole numbers of flags. One place, so that every flag refuses in the same words: what was given,
//! which numbers there are, and one of them.

use std::ops::RangeInclusive;

/// At least one, and no bound but that of the type.
pub(super) const COUNT: RangeInclusive<i64> = 1..=u32::MAX as i64;

/// So many characters of what was given are shown.
const MAX_SHOWN: usize = 64;

/// Why a text is not the number that a flag wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not a whole number from {low} to {high}: write one such as {example}")]
pub(super) struct NumberError {
    given: String,
    low: i64,
    high: i64,
    example: i64,
}

/// A parser of the whole numbers of a range that all are of the type `T`. Its refusal gives `example`.
pub(super) fn whole<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
    example: i64,
) -> impl Fn(&str) -> Result<T, NumberError> + Clone {
    move |text| {
        let number = text.trim().parse().ok();
        number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| NumberError {
                given: text.chars().take(MAX_SHOWN).collect(),
                low: *range.start(),
                high: *range.end(),
                example,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn a_number_of_a_range_is_taken_and_anything_else_refused() {
        let slots = whole::<u32>(1..=4_096, 8);
        for (text, number) in [("1", 1), (" 4096 ", 4_096), ("+7", 7)] {
            assert_eq!(slots(text).unwrap(), number);
        }
        let long = "9".repeat(1_000);
        for text in [
            "", "0", "-1", "4097", "two", "1.5", "1e3", "0x10", "٣", &long,
        ] {
            let refused = slots(text).unwrap_err().to_string();
            let shown: String = text.chars().take(MAX_SHOWN).collect();
            let words = "is not a whole number from 1 to 4096: write one such as 8";
            assert_eq!(refused, format!("'{shown}' {words}"));
        }
    }

    #[test]
    fn every_flag_says_what_it_wants() {
        let mut flags = vec![
            ["camshaft", "events", "--after"]
                .map(str::to_owned)
                .to_vec(),
        ];
        collect(
            &Cli::command(),
            &mut vec!["camshaft".to_owned()],
            &mut flags,
        );
        assert!(flags.len() > 10, "{flags:?}");
        for mut arguments in flags {
            arguments.push("nonsense".to_owned());
            let Err(error) = Cli::try_parse_from(&arguments) else {
                panic!("{arguments:?} is taken");
            };
            let text = error.to_string();
            assert!(
                text.contains("'nonsense' is not a") && text.contains("such as"),
                "{arguments:?}: {text}"
            );
        }
    }

    /// The flags of all commands whose values are numbers, durations, rates or instants.
    fn collect(command: &clap::Command, path: &mut Vec<String>, flags: &mut Vec<Vec<String>>) {
        const KINDS: [&str; 6] = ["N", "TIME", "DURATION", "RATE", "PORT", "INSTANT"];
        for flag in command.get_arguments() {
            let value = flag.get_value_names().and_then(|names| names.first());
            if let (Some(long), Some(value)) = (flag.get_long(), value)
                && KINDS.contains(&value.as_str())
            {
                let given = path.iter().cloned();
                flags.push(given.chain([format!("--{long}")]).collect());
            }
        }
        for below in command.get_subcommands() {
            path.push(below.get_name().to_owned());
            collect(below, path, flags);
            path.pop();
        }
    }
}

//! Durations as people write them in definitions, configuration and flags: `250ms`, `30s`, `5m`,
//! `4h`, `1d`, several together (`1h30m`), or a bare number of seconds.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a duration: write a number and a unit, such as 250ms, 30s, 5m, 4h, 1d or 1h30m"
)]
pub struct DurationError(String);

/// Reads a duration. Units: `ms`, `s`, `m`, `h`, `d`; a bare number is seconds.
///
/// # Errors
/// The text is empty, negative, has an unknown unit, or is longer than 100 years.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    const LIMIT_SECS: f64 = 100.0 * 366.0 * 86_400.0;
    let refuse = || DurationError(text.chars().take(64).collect());
    let trimmed = text.trim();
    let mut total = 0.0;
    let mut rest = trimmed;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| refuse())?;
        let unit_len = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        total += number
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                "" if digits == trimmed.len() => 1.0,
                _ => return Err(refuse()),
            };
        rest = tail.trim_start();
    }
    if !total.is_finite() || total > LIMIT_SECS {
        return Err(refuse());
    }
    Ok(Duration::from_micros((total * 1e6).round() as u64))
}

/// Writes a duration for people, at most two units: `1h30m`, `2.5s`, `40ms`.
pub fn display(duration: Duration) -> String {
    let secs = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    match secs {
        0 if duration.as_millis() == 0 && !duration.is_zero() => {
            format!("{:.2}ms", duration.as_secs_f64() * 1e3)
        }
        0 => format!("{}ms", duration.as_millis()),
        1..=59 if duration.subsec_millis() == 0 => format!("{secs}s"),
        1..=59 => format!("{:.1}s", duration.as_secs_f64()),
        60..=3_599 => two(secs / 60, "m", secs % 60, "s"),
        3_600..=86_399 => two(secs / 3_600, "h", secs % 3_600 / 60, "m"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_durations_in_several_ways() {
        let cases = [
            ("30", 30_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
            ("0", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(
                parse(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "-1s",
            "s",
            "5 minutes",
            "1h30",
            "1e9",
            "1..2s",
            "99999999d",
            "٣s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn display_uses_at_most_two_units() {
        let cases = [
            (0, "0ms"),
            (40, "40ms"),
            (2_500, "2.5s"),
            (5_400_000, "1h30m"),
            (90_000_000, "1d1h"),
        ];
        for (millis, text) in cases {
            assert_eq!(display(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text: String) {
            let _ = parse(&text);
        }
    }
}

//! Identities. Every id is a UUID version 7 (so ids sort by the time they were made) and is written
//! as a prefix and 26 characters of Crockford base32: `exec_01jd2x…`. The prefix is part of the
//! identity: an event id is refused where an execution id is expected.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// Why a text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not {expected}: it must be '{prefix}_' and 26 characters of 0-9 a-z (no i, l, o, u)"
)]
pub struct IdError {
    text: String,
    expected: &'static str,
    prefix: &'static str,
}

fn encode(value: u128, out: &mut [u8; ENCODED_LEN]) {
    for (position, slot) in out.iter_mut().enumerate() {
        let shift = 5 * (ENCODED_LEN - 1 - position);
        *slot = ALPHABET[((value >> shift) & 31) as usize];
    }
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != ENCODED_LEN {
        return None;
    }
    let mut value: u128 = 0;
    for (position, byte) in text.bytes().enumerate() {
        let digit = ALPHABET
            .iter()
            .position(|a| *a == byte.to_ascii_lowercase())? as u128;
        // 26 characters carry 130 bits: the first may only use its low three.
        if position == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | digit;
    }
    Some(value)
}

macro_rules! id {
    ($name:ident, $prefix:literal, $expected:literal) => {
        #[doc = concat!("The identity of ", $expected, ", without its article in code: `", $prefix, "_…`.")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id from a UUID that the caller's entropy source made.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the id.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The 16 bytes that databases store.
            pub const fn bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id behind 16 stored bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; ENCODED_LEN];
                encode(self.0.as_u128(), &mut text);
                f.write_str($prefix)?;
                f.write_str("_")?;
                text.iter().try_for_each(|c| fmt::Write::write_char(f, char::from(*c)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(|value| Self(Uuid::from_u128(value)))
                    .ok_or_else(|| IdError {
                        text: text.chars().take(64).collect(),
                        expected: $expected,
                        prefix: $prefix,
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(ExecutionId, "exec", "an execution id");
id!(EventId, "evt", "an event id");
id!(EnforcementId, "enf", "an enforcement id");
id!(InquiryId, "inq", "an inquiry id");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_of_another_kind_is_refused_with_both_names() {
        let event = EventId::new(Uuid::from_u128(7)).to_string();
        let error = event.parse::<ExecutionId>().unwrap_err().to_string();
        assert!(error.contains(&event) && error.contains("exec_"), "{error}");
    }

    proptest! {
        #[test]
        fn text_and_id_are_one_to_one(value: u128) {
            let id = ExecutionId::new(Uuid::from_u128(value));
            prop_assert_eq!(id.to_string().parse::<ExecutionId>().unwrap(), id);
        }

        #[test]
        fn ids_sort_as_their_texts_do(a: u128, b: u128) {
            let (a, b) = (EventId::new(Uuid::from_u128(a)), EventId::new(Uuid::from_u128(b)));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn any_text_parses_or_is_refused(text: String) {
            let _ = text.parse::<EventId>();
        }
    }
}

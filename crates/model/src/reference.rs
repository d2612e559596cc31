//! The identity of a definition: `pack.name`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most characters that a ref may have.
pub const MAX_REF_LEN: usize = 200;

/// `pack.name`: at least two parts of `a-z 0-9 _ -`, joined by dots, the first beginning with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref(Arc<str>);

/// Why a text is not a ref.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a ref: write pack.name, in lower-case letters, digits, '_' and '-'")]
pub struct RefError(String);

/// Whether a text may be the ref of a pack or one part of a longer ref.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        && text.len() <= MAX_REF_LEN
}

impl Ref {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pack's part: all before the first dot.
    pub fn pack(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(pack, _)| pack)
    }

    /// The last part, which task scopes and screens use.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(_, name)| name)
    }
}

impl FromStr for Ref {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        let mut parts = text.split('.');
        let starts_well = parts.next().is_some_and(is_name);
        let rest: Vec<&str> = parts.collect();
        let part_ok = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        };
        if starts_well && !rest.is_empty() && rest.iter().all(part_ok) && text.len() <= MAX_REF_LEN
        {
            Ok(Self(text.into()))
        } else {
            Err(RefError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Ref {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Ref {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_has_a_pack_and_a_name() {
        let reference: Ref = "demo.tools.greet-2".parse().unwrap();
        assert_eq!((reference.pack(), reference.name()), ("demo", "greet-2"));
    }

    #[test]
    fn what_is_no_ref_is_refused() {
        for text in [
            "",
            "demo",
            "demo.",
            ".greet",
            "Demo.greet",
            "demo..greet",
            "demo.gr eet",
            "1.a",
            "demo.é",
        ] {
            assert!(text.parse::<Ref>().is_err(), "{text}");
        }
    }
}

//! Attempt tokens: what a process proves its attempt with (`CAMSHAFT_TOKEN`).
//!
//! A token is the attempt's key and a signature over it, so nothing is stored: it is good exactly as
//! long as the attempt holds its lease, which whoever checks it has to ask.

use camshaft_model::{AttemptKey, ExecutionId};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const PREFIX: &str = "cat_";
const KEY_LEN: usize = 28;
const SIGNATURE_LEN: usize = 16;

/// Signs and checks attempt tokens.
#[derive(Clone)]
pub struct TokenSigner(Hmac<Sha256>);

impl TokenSigner {
    /// A signer with a secret key.
    pub fn new(secret: &[u8; 32]) -> Self {
        // The type takes keys of any length, so making one from 32 bytes cannot fail.
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| unreachable!()))
    }

    /// The token of an attempt.
    pub fn sign(&self, key: &AttemptKey) -> String {
        let mut bytes = [0; KEY_LEN + SIGNATURE_LEN];
        bytes[..16].copy_from_slice(key.execution.bytes());
        bytes[16..20].copy_from_slice(&key.attempt.to_be_bytes());
        bytes[20..28].copy_from_slice(&key.epoch.to_be_bytes());
        let signature = self
            .0
            .clone()
            .chain_update(&bytes[..KEY_LEN])
            .finalize()
            .into_bytes();
        bytes[KEY_LEN..].copy_from_slice(&signature[..SIGNATURE_LEN]);
        let mut text = String::with_capacity(PREFIX.len() + bytes.len() * 2);
        text.push_str(PREFIX);
        for byte in bytes {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        text
    }

    /// The attempt that a token was made for; whether it is still alive is not known here.
    pub fn verify(&self, token: &str) -> Option<AttemptKey> {
        let hex = token.strip_prefix(PREFIX)?.as_bytes();
        if hex.len() != 2 * (KEY_LEN + SIGNATURE_LEN) {
            return None;
        }
        let mut bytes = [0; KEY_LEN + SIGNATURE_LEN];
        for (slot, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *slot = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        let (key, signature) = bytes.split_at(KEY_LEN);
        self.0
            .clone()
            .chain_update(key)
            .verify_truncated_left(signature)
            .ok()?;
        Some(AttemptKey {
            execution: ExecutionId::from_bytes(key[..16].try_into().ok()?),
            attempt: u32::from_be_bytes(key[16..20].try_into().ok()?),
            epoch: i64::from_be_bytes(key[20..28].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn a_token_names_its_attempt_and_no_other(execution: u128, attempt: u32, epoch: i64, flip in 4usize..92) {
            let signer = TokenSigner::new(&[7; 32]);
            let key = AttemptKey { execution: ExecutionId::new(Uuid::from_u128(execution)), attempt, epoch };
            let token = signer.sign(&key);
            prop_assert_eq!(signer.verify(&token), Some(key));
            prop_assert_eq!(TokenSigner::new(&[8; 32]).verify(&token), None);
            let mut forged = token.into_bytes();
            forged[flip] = if forged[flip] == b'0' { b'1' } else { b'0' };
            prop_assert_eq!(signer.verify(&String::from_utf8(forged).unwrap()), None);
        }

        #[test]
        fn any_text_is_checked_without_panic(text: String) {
            prop_assert_eq!(TokenSigner::new(&[7; 32]).verify(&text), None);
        }
    }
}

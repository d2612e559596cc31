//! The byte strings in which a secret may show itself.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// Shorter values would hit by chance.
const VALUE_BYTES: usize = 3;
/// Shorter lines of a value that has several would.
const LINE_BYTES: usize = 4;
/// Shorter encoded forms would.
const ENCODED_BYTES: usize = 4;
/// Longer values are looked for in pieces, which bounds how much a stream holds back.
const PIECE_BYTES: usize = 4096;

/// Every form of every value, sorted, each once.
pub(super) fn of(secrets: &[String]) -> Vec<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        for text in texts(secret) {
            for piece in pieces(text) {
                add(piece, &mut forms);
            }
        }
    }
    forms.into_iter().collect()
}

/// A value, the value without the white space around it, and its lines.
fn texts(secret: &str) -> BTreeSet<&str> {
    let whole = [secret, secret.trim()]
        .into_iter()
        .filter(|text| text.len() >= VALUE_BYTES);
    let several = secret.contains(['\n', '\r']);
    let lines = secret.split(['\n', '\r']).map(str::trim);
    whole
        .chain(lines.filter(|line| several && line.len() >= LINE_BYTES))
        .collect()
}

/// Cuts a long text into parts of about the same length, at characters.
fn pieces(text: &str) -> Vec<&str> {
    let count = text.len().div_ceil(PIECE_BYTES).max(1);
    let length = text.len().div_ceil(count);
    let mut pieces = Vec::with_capacity(count);
    let mut rest = text;
    while rest.len() > length {
        let mut end = length;
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

fn add(text: &str, forms: &mut BTreeSet<Vec<u8>>) {
    forms.insert(text.as_bytes().to_vec());
    let encoded = base64(text.as_bytes())
        .into_iter()
        .chain(percent(text))
        .chain(json(text));
    forms.extend(encoded.filter(|form| form.len() >= ENCODED_BYTES));
}

/// Base64 at each of the three places that a value may have in a group of three bytes: the
/// characters that depend on the value alone, and those up to its end where it ends the text.
fn base64(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(value);
        // Characters that the bytes before have a part in.
        let first = [0, 2, 3][before];
        let alone = bytes.len() * 8 / 6;
        for (padded, bare) in [(&STANDARD, &STANDARD_NO_PAD), (&URL_SAFE, &URL_SAFE_NO_PAD)] {
            let bare = bare.encode(&bytes).into_bytes();
            if let Some(form) = bare.get(first..alone) {
                forms.push(form.to_vec());
            }
            forms.extend(bare.get(first..).map(<[u8]>::to_vec));
            forms.extend(
                padded
                    .encode(&bytes)
                    .as_bytes()
                    .get(first..)
                    .map(<[u8]>::to_vec),
            );
        }
    }
    forms
}

/// Percent-encoding as the usual libraries write it: what they leave as it is, the case of their
/// digits, and whether a space is a plus.
fn percent(text: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for plain in [b"-._~".as_slice(), b"-._~/", b"-._~!*'()", b"-._*"] {
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            for space in [b"%20".as_slice(), b"+"] {
                let mut form = Vec::with_capacity(text.len());
                for byte in text.bytes() {
                    if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
                        form.push(byte);
                    } else if byte == b' ' {
                        form.extend_from_slice(space);
                    } else {
                        form.extend([
                            b'%',
                            digits[usize::from(byte >> 4)],
                            digits[usize::from(byte & 15)],
                        ]);
                    }
                }
                forms.push(form);
            }
        }
    }
    forms
}

/// The inside of a JSON string: with other characters as they are or as `\u`, with or without `\/`.
fn json(text: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for ascii in [false, true] {
        for slash in [false, true] {
            let mut form = String::with_capacity(text.len());
            for character in text.chars() {
                escape(character, ascii, slash, &mut form);
            }
            forms.push(form.into_bytes());
        }
    }
    forms
}

fn escape(character: char, ascii: bool, slash: bool, form: &mut String) {
    let short = match character {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        '\t' => Some("\\t"),
        '\u{8}' => Some("\\b"),
        '\u{c}' => Some("\\f"),
        '/' if slash => Some("\\/"),
        _ => None,
    };
    if let Some(short) = short {
        form.push_str(short);
    } else if character < ' ' || ascii && !character.is_ascii() {
        for unit in character.encode_utf16(&mut [0; 2]) {
            form.push_str(&format!("\\u{unit:04x}"));
        }
    } else {
        form.push(character);
    }
}

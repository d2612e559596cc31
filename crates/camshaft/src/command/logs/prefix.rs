//! Bytes of a stream as lines, each after the name of who wrote it.

/// A line that is longer is broken: it must not be held back, nor fill the memory.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Cuts chunks of any size into lines.
#[derive(Debug)]
pub(super) struct Prefixer {
    prefix: Vec<u8>,
    rest: Vec<u8>,
}

impl Prefixer {
    pub(super) fn new(name: &str) -> Self {
        Self {
            prefix: format!("{name} | ").into_bytes(),
            rest: Vec::new(),
        }
    }

    /// The lines that a chunk completes.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.flush(&mut out);
            } else {
                while self.rest.len() > MAX_LINE_BYTES {
                    let later = self.rest.split_off(MAX_LINE_BYTES);
                    self.flush(&mut out);
                    self.rest = later;
                }
            }
        }
        out
    }

    /// What is left of a last line without an end.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.rest.is_empty() {
            self.flush(&mut out);
        }
        out
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        out.append(&mut self.rest);
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(chunks: &[&[u8]]) -> Vec<u8> {
        let mut prefixer = Prefixer::new("load[3]");
        let mut out: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| prefixer.push(chunk))
            .collect();
        out.extend(prefixer.finish());
        out
    }

    #[test]
    fn every_line_has_its_prefix_and_the_last_one_an_end() {
        let out = whole(&[b"one\ntw", b"o\n\n", b"\xff"]);
        assert_eq!(
            out,
            b"load[3] | one\nload[3] | two\nload[3] | \nload[3] | \xff\n"
        );
        assert_eq!(whole(&[]), b"");
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let out = whole(&[&[b'x'; MAX_LINE_BYTES + 1]]);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(bytes: Vec<u8>, cut in 0..64usize) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(whole(&[&bytes]), whole(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}

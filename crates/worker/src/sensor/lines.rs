//! Lines of a stream, each of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its end. A last line without an end counts.
    Whole(Vec<u8>),
    /// A line that was too long; its beginning. The rest of it has been passed over.
    TooLong(Vec<u8>),
}

/// The next line; `None` at the end of the stream. Of a line that is longer than `limit` no more than
/// `limit` bytes are ever held.
pub(super) async fn next(
    stream: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut length = 0;
    loop {
        let available = stream.fill_buf().await?;
        if available.is_empty() {
            return Ok((length > 0).then(|| whole(line, length, limit)));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = limit - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        length += part.len();
        let used = part.len() + usize::from(end.is_some());
        stream.consume(used);
        if end.is_some() {
            return Ok(Some(whole(line, length, limit)));
        }
    }
}

fn whole(line: Vec<u8>, length: usize, limit: usize) -> Line {
    if length > limit {
        Line::TooLong(line)
    } else {
        Line::Whole(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_the_last_needs_no_end() {
        let mut stream = tokio::io::BufReader::with_capacity(3, &b"abc\n\nabcdefgh\nab"[..]);
        let mut read = Vec::new();
        while let Some(line) = next(&mut stream, 5).await.unwrap() {
            read.push(line);
        }
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(
            read,
            [
                whole("abc"),
                whole(""),
                Line::TooLong(b"abcde".to_vec()),
                whole("ab")
            ]
        );
    }
}

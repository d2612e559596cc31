//! What is there of one output stream of an attempt, byte by byte.
//!
//! The bytes of an attempt that has ended are in its row, if they are few, or in its log file. While
//! it runs they are in the file, once there is one. A file that ought to be there and is not, or is
//! shorter than it was, is said to be lost; it is never an error and never a blank.

use std::io;
use std::path::Path;

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{Attempt, AttemptKey, Output, Status};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// The most bytes of one answer.
pub(crate) const MAX_BYTES: u64 = 8 << 20;
/// The bytes of one answer when nothing is asked for.
pub(crate) const DEFAULT_BYTES: u64 = 1 << 20;

/// Which bytes are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) limit: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Slice {
    pub(crate) bytes: Vec<u8>,
    /// Whether the attempt has ended and nothing follows these bytes.
    pub(crate) ended: bool,
    pub(crate) empty: bool,
    pub(crate) truncated: bool,
    pub(crate) redacted: bool,
    /// Why bytes that there were cannot be shown.
    pub(crate) lost: Option<String>,
}

/// What is kept of a stream.
pub(crate) fn output(attempt: &Attempt, stream: OutputStream) -> &Output {
    match stream {
        OutputStream::Stdout => &attempt.stdout,
        OutputStream::Stderr => &attempt.stderr,
    }
}

/// Reads from an attempt that has ended.
pub(crate) async fn of_ended(
    dir: &Path,
    attempt: &Attempt,
    stream: OutputStream,
    span: Span,
) -> Slice {
    let output = output(attempt, stream);
    let mut slice = Slice {
        empty: output.bytes == 0 && output.stored == 0 && attempt.output_lost.is_none(),
        truncated: output.truncated,
        redacted: output.redacted,
        lost: attempt.output_lost.clone(),
        ..Slice::default()
    };
    let there = if let Some(inline) = &output.inline {
        slice.bytes = cut(inline, span);
        inline.len() as u64
    } else if output.stored == 0 {
        0
    } else {
        from_file(dir, &attempt.key, stream, span, output.stored, &mut slice).await
    };
    slice.ended = span.offset.saturating_add(slice.bytes.len() as u64) >= there;
    slice
}

/// Reads the file of an attempt of which `stored` bytes were kept, and says how many are there.
async fn from_file(
    dir: &Path,
    key: &AttemptKey,
    stream: OutputStream,
    span: Span,
    stored: u64,
    slice: &mut Slice,
) -> u64 {
    let missing = match read(&dir.join(stream.log_file(key)), span).await {
        Ok((bytes, there)) => {
            slice.bytes = bytes;
            if there >= stored {
                return there;
            }
            (there, format!("the log file has {there} of {stored} bytes"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (0, "the log file is not there any more".to_owned())
        }
        Err(error) => (0, format!("the log file cannot be read: {error}")),
    };
    slice.lost.get_or_insert(missing.1);
    missing.0
}

/// Reads from an attempt that has not ended: what its file has by now. `gone` says that no end was
/// recorded of it and none will be.
pub(crate) async fn of_unended(
    dir: &Path,
    key: &AttemptKey,
    stream: OutputStream,
    span: Span,
    gone: bool,
) -> Slice {
    let (bytes, there) = read(&dir.join(stream.log_file(key)), span)
        .await
        .unwrap_or_default();
    let ended = gone && span.offset.saturating_add(bytes.len() as u64) >= there;
    let lost = gone.then(|| "the end of the attempt was not recorded".to_owned());
    Slice {
        bytes,
        ended,
        lost,
        ..Slice::default()
    }
}

/// How many bytes the file of an attempt has by now.
pub(crate) async fn written(dir: &Path, key: &AttemptKey, stream: OutputStream) -> u64 {
    let file = tokio::fs::metadata(dir.join(stream.log_file(key))).await;
    file.map_or(0, |file| file.len())
}

/// An execution that ended before anything was started has an empty log.
pub(crate) fn of_nothing(ended: bool) -> Slice {
    Slice {
        ended,
        empty: ended,
        ..Slice::default()
    }
}

fn cut(bytes: &[u8], span: Span) -> Vec<u8> {
    let start = usize::try_from(span.offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let length = usize::try_from(span.limit)
        .unwrap_or(usize::MAX)
        .min(bytes.len() - start);
    bytes[start..start + length].to_vec()
}

async fn read(path: &Path, span: Span) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path).await?;
    let there = file.metadata().await?.len();
    let length = there.saturating_sub(span.offset).min(span.limit);
    if length == 0 {
        return Ok((Vec::new(), there));
    }
    file.seek(io::SeekFrom::Start(span.offset)).await?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes).await?;
    Ok((bytes, there))
}

/// What an answer says beside the bytes.
pub(crate) struct Heading {
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) status: Status,
    pub(crate) offset: u64,
}

impl Slice {
    fn notes(&self) -> String {
        let notes = [
            ("empty", self.empty),
            ("truncated", self.truncated),
            ("redacted", self.redacted),
            ("lost", self.lost.is_some()),
        ];
        let notes: Vec<&str> = notes
            .into_iter()
            .filter(|(_, holds)| *holds)
            .map(|(note, _)| note)
            .collect();
        notes.join(",")
    }

    /// The answer.
    pub(crate) fn into_response(self, heading: &Heading) -> Response {
        let next = heading.offset.saturating_add(self.bytes.len() as u64);
        let headers = [
            ("content-type", "application/octet-stream".to_owned()),
            ("camshaft-attempt", heading.attempt.to_string()),
            ("camshaft-attempts", heading.attempts.to_string()),
            ("camshaft-status", heading.status.to_string()),
            ("camshaft-next-offset", next.to_string()),
            ("camshaft-ended", self.ended.to_string()),
            ("camshaft-notes", self.notes()),
            (
                "camshaft-lost-reason",
                self.lost.as_deref().map(printable).unwrap_or_default(),
            ),
        ];
        let mut response = self.bytes.into_response();
        for (name, value) in headers {
            if let (false, Ok(value)) = (value.is_empty(), HeaderValue::try_from(value)) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// A text that may stand in a header.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .take(500)
        .collect()
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;

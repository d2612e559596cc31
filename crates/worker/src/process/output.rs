//! One output stream of a process: counted as it arrives, redacted, kept up to a limit.
//!
//! Bytes go pipe -> redactor -> `pending` -> log file. A process that says little and ends soon never
//! gets a file: what is pending at its end is kept inline. Otherwise pending bytes reach the file at
//! the latest 100 ms after they arrived, so that followers see them. Nothing here grows with what the
//! child writes: past the limit bytes are counted and dropped.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft_model::Output;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::redact::Redactor;

/// How much one read takes from a pipe.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// How long bytes may wait before they are in the file.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// How much may wait before it is written without regard to time.
const PENDING_BYTES: usize = 64 * 1024;
/// How much of the end of a stream is remembered for messages.
const TAIL_BYTES: usize = 2048;
/// What is still read after the end of the process: more than any pipe holds, and an end to it
/// where a process that got away goes on writing.
const DRAIN_BYTES: u64 = 32 * 1024 * 1024;

/// How much of a stream is kept where.
pub(super) struct Keep {
    /// In the log file, after redaction.
    pub(super) output_bytes: u64,
    /// Inline instead of in a file.
    pub(super) inline_bytes: usize,
    /// In memory from the beginning on.
    pub(super) capture_bytes: usize,
    /// Whether the last bytes are remembered.
    pub(super) tail: bool,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Bytes(usize),
    Nothing,
    End,
}

/// One output stream of a process.
pub(super) struct Stream {
    pipe: Option<OwnedFd>,
    path: PathBuf,
    keep: Keep,
    redactor: Redactor,
    /// Redacted bytes of the last chunk, before they are handed out.
    fresh: Vec<u8>,
    bytes: u64,
    /// Redacted bytes that were accepted for storing: in the file or pending.
    accepted: u64,
    /// Bytes that are in the file.
    stored: u64,
    truncated: bool,
    pending: Vec<u8>,
    flush_at: Option<Instant>,
    file: Option<File>,
    lost: Option<String>,
    captured: Vec<u8>,
    capture_truncated: bool,
    tail: Vec<u8>,
}

/// A stream that has ended.
pub(super) struct Ended {
    pub(super) output: Output,
    pub(super) lost: Option<String>,
    pub(super) captured: Vec<u8>,
    pub(super) capture_truncated: bool,
    pub(super) tail: Vec<u8>,
}

impl Stream {
    pub(super) fn new(
        pipe: Option<OwnedFd>,
        path: PathBuf,
        keep: Keep,
        redactor: Redactor,
    ) -> Self {
        Self {
            pipe,
            path,
            keep,
            redactor,
            fresh: Vec::new(),
            bytes: 0,
            accepted: 0,
            stored: 0,
            truncated: false,
            pending: Vec::new(),
            flush_at: None,
            file: None,
            lost: None,
            captured: Vec::new(),
            capture_truncated: false,
            tail: Vec::new(),
        }
    }

    /// The reading end, while the other end may still be open.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Whether nobody holds the other end any more.
    pub(super) fn is_closed(&self) -> bool {
        let Some(pipe) = &self.pipe else { return true };
        let mut entry = [PollFd::new(pipe, PollFlags::IN)];
        poll(&mut entry, Some(&Timespec::default())).is_ok()
            && entry[0].revents().contains(PollFlags::HUP)
    }

    /// Where the log is, once there is one.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that have arrived so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When pending bytes must be in the file.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Takes one chunk from the pipe, if there is one.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> Found {
        let Some(pipe) = &self.pipe else {
            return Found::End;
        };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => {
                self.pipe = None;
                Found::End
            }
            Ok(length) => {
                self.take(&buffer[..length], now);
                Found::Bytes(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => Found::Nothing,
            Err(error) => {
                self.lose(&format!("reading failed: {}", io::Error::from(error)));
                self.pipe = None;
                Found::End
            }
        }
    }

    /// Takes what is already in the pipe, without waiting for more.
    pub(super) fn drain(&mut self, buffer: &mut [u8], now: Instant) -> Found {
        let mut drained = 0;
        while drained < DRAIN_BYTES {
            match self.read(buffer, now) {
                Found::Bytes(length) => drained += length as u64,
                other => return other,
            }
        }
        Found::Nothing
    }

    fn take(&mut self, chunk: &[u8], now: Instant) {
        self.bytes += chunk.len() as u64;
        let wanted = self.stores() || self.captures() || self.keep.tail;
        if !wanted {
            self.truncated = true;
            self.capture_truncated = true;
            return;
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.clear();
        self.redactor.push(chunk, &mut fresh);
        self.accept(&fresh, now);
        self.fresh = fresh;
    }

    fn stores(&self) -> bool {
        self.lost.is_none() && self.accepted < self.keep.output_bytes
    }

    fn captures(&self) -> bool {
        self.captured.len() < self.keep.capture_bytes
    }

    fn accept(&mut self, fresh: &[u8], now: Instant) {
        let room = self.keep.capture_bytes - self.captured.len();
        self.captured
            .extend_from_slice(&fresh[..fresh.len().min(room)]);
        self.capture_truncated |= fresh.len() > room;
        if self.keep.tail {
            remember(&mut self.tail, fresh);
        }
        let room = usize::try_from(self.keep.output_bytes - self.accepted).unwrap_or(usize::MAX);
        self.truncated |= fresh.len() > room;
        let kept = &fresh[..fresh.len().min(room)];
        if kept.is_empty() || self.lost.is_some() {
            return;
        }
        self.accepted += kept.len() as u64;
        self.pending.extend_from_slice(kept);
        if self.pending.len() >= PENDING_BYTES {
            self.flush();
        } else {
            self.flush_at.get_or_insert(now + FLUSH_AFTER);
        }
    }

    /// Writes pending bytes to the file.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        if self.pending.is_empty() || self.lost.is_some() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        if let Err(error) = self.write(&pending) {
            self.lose(&format!(
                "writing '{}' failed: {error}",
                self.path.display()
            ));
        }
        pending.clear();
        self.pending = pending;
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.path)?),
        };
        while !bytes.is_empty() {
            match file.write_at(bytes, self.stored) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.stored += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lose(&mut self, reason: &str) {
        self.pending = Vec::new();
        self.flush_at = None;
        self.lost.get_or_insert_with(|| reason.to_owned());
    }

    /// The end of the stream: what is held back is released and everything is where it will stay.
    pub(super) fn end(mut self, now: Instant) -> Ended {
        let mut rest = Vec::new();
        self.redactor.finish(&mut rest);
        self.accept(&rest, now);
        let inline = self.file.is_none()
            && self.lost.is_none()
            && self.pending.len() <= self.keep.inline_bytes;
        if inline {
            self.stored = self.pending.len() as u64;
        } else {
            self.flush();
        }
        if self.tail.len() > TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        Ended {
            output: Output {
                bytes: self.bytes,
                stored: self.stored,
                truncated: self.truncated,
                redacted: self.redactor.redacted(),
                inline: inline.then_some(self.pending),
            },
            lost: self.lost,
            captured: self.captured,
            capture_truncated: self.capture_truncated,
            tail: self.tail,
        }
    }
}

/// Keeps at least the last [`TAIL_BYTES`] and at most twice as many.
fn remember(tail: &mut Vec<u8>, fresh: &[u8]) {
    let fresh = &fresh[fresh.len().saturating_sub(TAIL_BYTES)..];
    tail.extend_from_slice(fresh);
    if tail.len() > 2 * TAIL_BYTES {
        tail.drain(..tail.len() - TAIL_BYTES);
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

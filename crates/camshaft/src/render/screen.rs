//! Standard output and standard error of a command. Standard output is data; everything else goes
//! to standard error. Colours and shortened cells are for terminals only.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camshaft_model::ErrorCode;
use parking_lot::Mutex;

use crate::exit::CliError;

/// What the two streams can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Colours may be used on standard output.
    pub colour: bool,
    /// Colours may be used on standard error.
    pub error_colour: bool,
}

impl Style {
    /// What this process's streams can show. `NO_COLOR` with any text in it turns colours off.
    pub fn detect() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = io::stdout().is_terminal();
        Self {
            terminal,
            colour: terminal && wanted,
            error_colour: io::stderr().is_terminal() && wanted,
        }
    }
}

type Stream = Arc<Mutex<Box<dyn Write + Send>>>;

/// Where a command writes; cheap to clone.
#[derive(Clone)]
pub struct Screen {
    out: Stream,
    err: Stream,
    closed: Arc<AtomicBool>,
    /// What the streams can show.
    pub style: Style,
}

impl Screen {
    /// The streams of this process.
    pub fn standard() -> Self {
        Self::new(
            Box::new(io::stdout()),
            Box::new(io::stderr()),
            Style::detect(),
        )
    }

    /// Any two streams.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, style: Style) -> Self {
        let stream = |writer| Arc::new(Mutex::new(writer));
        Self {
            out: stream(out),
            err: stream(err),
            closed: Arc::default(),
            style,
        }
    }

    /// Whether the reader of standard output has gone away: then there is nobody to tell more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes bytes to standard output and flushes.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn data(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.write(&self.out, "standard output", bytes)
    }

    /// Writes bytes of an action's standard error to ours.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn data_err(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.write(&self.err, "standard error", bytes)
    }

    /// Writes text to standard output, with a line break at its end.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn text(&self, text: &str) -> Result<(), CliError> {
        let end = if text.ends_with('\n') || text.is_empty() {
            ""
        } else {
            "\n"
        };
        self.data(format!("{text}{end}").as_bytes())
    }

    /// Tells the person something beside the data. If even that cannot be written there is nobody
    /// to tell.
    pub fn note(&self, text: &str) {
        let _ = writeln!(self.err.lock(), "{text}");
    }

    /// Shows an error.
    pub fn error(&self, error: &CliError) {
        let _ = self
            .err
            .lock()
            .write_all(error.render(self.style.error_colour).as_bytes());
    }

    fn write(&self, stream: &Stream, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let mut writer = stream.lock();
        writer
            .write_all(bytes)
            .and_then(|()| writer.flush())
            .map_err(|error| {
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.closed.store(true, Ordering::Relaxed);
                }
                CliError::new(
                    ErrorCode::Internal,
                    format!("{name} cannot be written: {error}"),
                )
            })
    }
}

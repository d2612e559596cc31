//! Up to which line of the event log the broker has the ends of runs, as it is kept for the next start.
//!
//! Runs that are not over are taken up by the next start, so it tells of them. One that had ended is known to
//! it by nothing else than this note: what the broker had not acknowledged when the engine was killed, or when
//! the time at its stop was over, is told again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::super::constraints::Notes;
use super::Telemetry;

/// The note is written no more often than this.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Noted(Option<Mutex<Line>>);

struct Line {
    notes: Arc<dyn Notes>,
    /// What was kept last.
    kept: Option<i64>,
    /// Where the broker was when it was looked at last.
    seen: Option<i64>,
    is_closed: bool,
}

impl Noted {
    pub(crate) fn new(notes: Option<Arc<dyn Notes>>) -> Self {
        Self(notes.map(|notes| {
            Mutex::new(Line {
                kept: read(&*notes),
                notes,
                seen: None,
                is_closed: false,
            })
        }))
    }

    /// Keeps the note as the broker goes on, for ever.
    pub(crate) async fn keep(self: Arc<Self>, telemetry: Arc<Telemetry>) {
        let Some(line) = &self.0 else {
            return;
        };
        loop {
            telemetry.went_on().await;
            while line.lock().tick(telemetry.told_up_to()) {
                sleep(INTERVAL).await;
            }
        }
    }

    /// Keeps the last note: nothing is told any more.
    pub(crate) fn close(&self, at: i64) {
        if let Some(line) = &self.0 {
            let mut line = line.lock();
            line.write(at);
            line.is_closed = true;
        }
    }
}

impl Line {
    /// Keeps where the broker was at the last look: the lines about an end are told before the end, so where
    /// it is now may be just between them. Says whether to look again.
    fn tick(&mut self, now: i64) -> bool {
        if let Some(seen) = self.seen.replace(now) {
            self.write(seen.min(now));
        }
        self.kept != Some(now)
    }

    fn write(&mut self, at: i64) {
        if self.kept != Some(at) && !self.is_closed {
            self.notes.write(&format!("{at}\n"));
            self.kept = Some(at);
        }
    }
}

/// The line that was noted last, if there is a note.
pub fn read(notes: &dyn Notes) -> Option<i64> {
    notes.read().trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Paper(Mutex<String>);

    impl Notes for Paper {
        fn read(&self) -> String {
            self.0.lock().clone()
        }

        fn write(&self, text: &str) {
            *self.0.lock() = text.to_owned();
        }
    }

    #[test]
    fn what_is_noted_was_so_a_while_ago_and_the_last_note_is_exact() {
        let paper = Arc::new(Paper::default());
        let noted = Noted::new(Some(paper.clone()));
        let line = noted.0.as_ref().unwrap();
        assert!(line.lock().tick(5));
        assert_eq!(read(&*paper), None);
        assert!(line.lock().tick(9));
        assert_eq!(read(&*paper), Some(5));
        assert!(!line.lock().tick(7), "an end was told after its lines");
        assert_eq!(read(&*paper), Some(7));
        noted.close(12);
        line.lock().tick(20);
        line.lock().tick(20);
        assert_eq!(read(&*paper), Some(12));
    }
}

//! How the life of one execution divides into phases.

use camshaft_model::{Attempt, BlockedBy, Execution, Status, StepEvent, StepEventType, Timestamp};

use super::{Part, Phase};

/// A stretch of time, in microseconds since the request of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) part: Part,
    pub(super) from: u64,
    pub(super) to: u64,
    /// The line of the timeline that it belongs to.
    pub(super) step: Option<usize>,
}

impl Piece {
    pub(super) fn duration_us(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    pub(super) fn phase(&self) -> Phase {
        Phase {
            part: self.part,
            offset_us: self.from,
            duration_us: self.duration_us(),
        }
    }
}

/// Pieces that follow each other without a gap.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pieces: Vec<Piece>,
    at: u64,
    end: u64,
    /// While the run was paused, so that nothing new started.
    pauses: &'a [(u64, u64)],
}

impl<'a> Track<'a> {
    pub(super) fn new(from: u64, end: u64, pauses: &'a [(u64, u64)]) -> Self {
        Self {
            pieces: Vec::new(),
            at: from,
            end: end.max(from),
            pauses,
        }
    }

    /// Where the track is.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Goes on to `to`, or stays if that is not ahead.
    pub(super) fn go(&mut self, part: Part, to: u64, step: usize) {
        let to = to.clamp(self.at, self.end);
        split(part, self.at, to, self.pauses, |part, from, to| {
            self.pieces.push(Piece {
                part,
                from,
                to,
                step: Some(step),
            });
        });
        self.at = to;
    }

    pub(super) fn finish(self) -> Vec<Piece> {
        self.pieces
    }
}

/// Divides a stretch in which something waited: where the run was paused, the pause was the reason.
pub(super) fn split(
    part: Part,
    from: u64,
    to: u64,
    pauses: &[(u64, u64)],
    mut piece: impl FnMut(Part, u64, u64),
) {
    let mut at = from;
    if matches!(part, Part::Queue | Part::Commit) {
        for (paused, resumed) in pauses {
            let (begin, end) = ((*paused).clamp(at, to), (*resumed).clamp(at, to));
            if begin < end {
                if at < begin {
                    piece(part, at, begin);
                }
                piece(Part::Constraint, begin, end);
                at = end;
            }
        }
    }
    if at < to {
        piece(part, at, to);
    }
}

/// When things happened to one attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AttemptTimes {
    pub(super) admitted: Option<Timestamp>,
    pub(super) spawned: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    /// The next attempt was not to start before that.
    pub(super) not_before: Option<Timestamp>,
}

/// What is known of the attempts of an execution, the first one first. `events` are those about it.
pub(super) fn attempts(
    execution: &Execution,
    ended: &[&Attempt],
    events: &[&StepEvent],
) -> Vec<AttemptTimes> {
    let state = &execution.state;
    let known = ended.iter().map(|attempt| attempt.key.attempt);
    let count = known.chain([state.attempt]).max().unwrap_or(0) as usize;
    // A row that claims more attempts than can be recorded is cut off, not believed.
    let mut all = vec![AttemptTimes::default(); count.min(MAX_ATTEMPTS)];
    for event in events {
        let number = |key: &str| event.payload.get(key).and_then(serde_json::Value::as_u64);
        let Some(times) = number("attempt").and_then(|n| all.get_mut((n as usize).checked_sub(1)?))
        else {
            continue;
        };
        match event.event_type {
            StepEventType::StepStarted => times.admitted = Some(event.created_at),
            StepEventType::StepSpawned => times.spawned = Some(event.created_at),
            StepEventType::StepRetrying => {
                let delay = std::time::Duration::from_millis(number("delay_ms").unwrap_or(0));
                times.ended.get_or_insert(event.created_at);
                times.not_before = Some(event.created_at + delay);
            }
            _ => {}
        }
    }
    for attempt in ended {
        let Some(times) = all.get_mut((attempt.key.attempt as usize).wrapping_sub(1)) else {
            continue;
        };
        times.spawned = times.spawned.or(attempt.started_at);
        times.ended = Some(attempt.ended_at);
    }
    if state.attempt as usize == all.len()
        && let Some(last) = all.last_mut()
    {
        last.admitted = last.admitted.or(state.scheduled_at).or(state.started_at);
        last.spawned = last.spawned.or(state.started_at);
        last.ended = last.ended.or(state.ended_at);
    }
    all
}

/// Since when a constraint held something, each time. Until when is not written down: a wait for a slot that
/// followed is taken for the same.
pub(super) fn held(events: &[&StepEvent]) -> impl Iterator<Item = Timestamp> {
    let is_held = |event: &&&StepEvent| {
        event.event_type == StepEventType::TaskBlocked && event.payload.contains_key("constraint")
    };
    events.iter().filter(is_held).map(|event| event.created_at)
}

/// So many attempts of one execution are told apart.
const MAX_ATTEMPTS: usize = 10_000;

/// Why something that has not started yet waits, as of now.
pub(super) fn waits_as(execution: &Execution) -> Part {
    if execution.state.status != Status::Requested {
        return Part::Queue;
    }
    match execution.state.blocked_by {
        Some(
            BlockedBy::Resource { .. }
            | BlockedBy::Runtime { .. }
            | BlockedBy::Overlap { .. }
            | BlockedBy::Paused { .. }
            | BlockedBy::Constraint(_),
        ) => Part::Constraint,
        Some(BlockedBy::NotBefore { .. }) => Part::Delay,
        Some(BlockedBy::Slots { .. } | BlockedBy::Gate | BlockedBy::Draining) | None => Part::Queue,
    }
}

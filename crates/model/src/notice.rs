//! What the engine tells everybody after a commit: the message that travels on the in-process bus.

use serde::Serialize;

use crate::{Constraint, ConstraintChange, Enforcement, Event, Execution, StepEvent, Timestamp};

/// Something that has been committed. Never about what may yet fail.
#[derive(Debug, Clone)]
pub enum Notice {
    /// An event was recorded.
    Event(std::sync::Arc<Event>),
    /// A rule answered an event.
    Enforcement(std::sync::Arc<Enforcement>),
    /// An execution was recorded or changed its state.
    Execution(std::sync::Arc<Execution>),
    /// A line was added to the event log of a run.
    Step(std::sync::Arc<StepEvent>),
    /// A constraint was set, was cleared or expired.
    Constraint {
        /// The constraint as it is, or was.
        constraint: std::sync::Arc<Constraint>,
        /// What became of it.
        change: ConstraintChange,
        /// When.
        at: Timestamp,
    },
}

/// The subscriber's side of the bus.
pub trait Subscriber: Send + Sync {
    /// A name for logs and metrics.
    fn name(&self) -> &str;

    /// Whether it would make anything of a notice. Asked on the engine's thread: it must answer at once.
    fn wants(&self, _: &Notice) -> bool {
        true
    }

    /// Takes one notice.
    fn notice(&self, notice: &Notice);

    /// How many pieces of telemetry it could not deliver since the start.
    fn dropped(&self) -> u64 {
        0
    }

    /// How many messages from outside it could make nothing of.
    fn refused(&self) -> u64 {
        0
    }

    /// How its connection to something outside is, if it keeps one up.
    fn connection(&self) -> Option<Connection> {
        None
    }
}

/// How a connection that is kept up is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Where to, without what is secret.
    pub to: String,
    /// Whether it is there.
    pub up: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why it is not there, if that is known.
    pub problem: Option<String>,
}

/// How a subscriber fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sink {
    /// The name of the subscriber.
    pub name: String,
    /// How often it panicked over a notice.
    pub panics: u64,
    /// See [`Subscriber::dropped`].
    pub dropped: u64,
    /// See [`Subscriber::refused`].
    pub refused: u64,
    /// See [`Subscriber::connection`].
    pub connection: Option<Connection>,
}

/// Whoever knows every sink.
pub trait Sinks: Send + Sync {
    /// One entry for each.
    fn sinks(&self) -> Vec<Sink>;
}

/// The publisher's side of the bus.
pub trait Publish: Send + Sync {
    /// Tells every subscriber, one after another. A subscriber that panics is isolated and counted.
    fn publish(&self, notice: &Notice);
}

//! What waits to be applied to constraints: one order for messages, connections and changes. Putting
//! something in never waits, so that a database that is slow to take a constraint holds up neither
//! telemetry nor the end; what may come without end is bounded by its bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use camshaft_model::{Constraint, ConstraintChange};
use tokio::sync::mpsc;

/// The most bytes that wait, more or less.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// What an input is counted as besides its texts.
const INPUT_BYTES: usize = 256;

/// What happens to constraints, in order.
#[derive(Debug)]
pub(super) enum Input {
    /// The connection with this number was made; retained messages follow.
    Connected(u64),
    /// A message came.
    Received {
        topic: String,
        payload: Vec<u8>,
        retained: bool,
    },
    /// A message came that is larger than a constraint can be.
    TooLarge { topic: String, bytes: usize },
    /// Nothing more is waited for before the gate that the connection closed may open.
    Gathered {
        connection: u64,
        /// Whether every retained message has come.
        complete: bool,
    },
    /// The connection with this number is gone.
    Disconnected(u64),
    /// The engine tells of a change.
    Changed(Arc<Constraint>, ConstraintChange),
}

impl Input {
    fn bytes(&self) -> usize {
        INPUT_BYTES
            + match self {
                Self::Received { topic, payload, .. } => topic.len() + payload.len(),
                Self::TooLarge { topic, .. } => topic.len(),
                _ => 0,
            }
    }
}

/// Where inputs are put in.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    sender: mpsc::UnboundedSender<Input>,
    waiting: Arc<AtomicUsize>,
}

/// Where they are taken out.
#[derive(Debug)]
pub(super) struct Inputs {
    receiver: mpsc::UnboundedReceiver<Input>,
    waiting: Arc<AtomicUsize>,
}

/// An empty one.
pub(super) fn inbox() -> (Inbox, Inputs) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox {
        sender,
        waiting: waiting.clone(),
    };
    (inbox, Inputs { receiver, waiting })
}

impl Inbox {
    /// Puts in what comes as often as somebody else wants; `false` if too much waits already.
    pub(super) fn offer(&self, input: Input) -> bool {
        if self.waiting.load(Ordering::Relaxed) + input.bytes() > MAX_WAITING_BYTES {
            return false;
        }
        self.put(input);
        true
    }

    /// Puts in what comes only as often as we connect and publish, and as the engine stores changes of constraints.
    pub(super) fn put(&self, input: Input) {
        self.waiting.fetch_add(input.bytes(), Ordering::Relaxed);
        // Without anybody who applies them the engine has stopped.
        let _ = self.sender.send(input);
    }
}

impl Inputs {
    /// The next one, until nobody puts any in any more.
    pub(super) async fn next(&mut self) -> Option<Input> {
        let input = self.receiver.recv().await?;
        self.waiting.fetch_sub(input.bytes(), Ordering::Relaxed);
        Some(input)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_takes_no_more_than_it_may_and_goes_on_when_something_was_taken() {
        let (inbox, mut inputs) = inbox();
        let message = || Input::Received {
            topic: "t".into(),
            payload: vec![0; 1024 * 1024],
            retained: true,
        };
        let taken = (0..100).take_while(|_| inbox.offer(message())).count();
        assert_eq!(taken, 15);
        inbox.put(Input::Disconnected(1));
        assert!(inputs.next().await.is_some());
        assert!(inbox.offer(message()));
        assert!(!inbox.offer(message()));
    }
}

//! Listens to topics of a broker for as long as somebody wants to, through every loss of the connection.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::QoS;
use tokio::time::sleep;

use super::broker::Broker;
use super::session::{ConnectError, Happened, Session};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// What a watcher sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// What it says.
        payload: Vec<u8>,
        /// Whether the broker had kept it for who comes later.
        retained: bool,
    },
    /// The connection is gone, and is tried again.
    Lost {
        /// Why.
        reason: String,
        /// When.
        after: Duration,
    },
    /// The connection is there again. What was published meanwhile is not seen.
    Back,
}

/// See the module.
pub struct Watcher {
    broker: Broker,
    client_id: String,
    filters: Vec<String>,
    session: Option<Session<()>>,
    backoff: Duration,
    pause: Duration,
    /// What was seen while the subscription was being granted.
    early: VecDeque<Seen>,
}

impl Watcher {
    /// Connects, and returns once the broker has granted the subscription to every filter.
    ///
    /// # Errors
    /// There is no connection, or a filter is refused.
    pub async fn connect(
        broker: Broker,
        client_id: String,
        filters: Vec<String>,
    ) -> Result<Self, ConnectError> {
        let mut watcher = Self {
            broker,
            client_id,
            filters,
            session: None,
            backoff: FIRST_BACKOFF,
            pause: Duration::ZERO,
            early: VecDeque::new(),
        };
        watcher.open().await?;
        Ok(watcher)
    }

    async fn open(&mut self) -> Result<(), ConnectError> {
        let mut session =
            Session::open(&self.broker, &self.client_id, None, CONNECT_TIMEOUT).await?;
        let filters = self.filters.iter();
        session.subscribe(
            filters
                .map(|filter| (filter.clone(), QoS::AtLeastOnce))
                .collect(),
        )?;
        let granted = async {
            loop {
                match session.next().await? {
                    Happened::Subscribed(granted) => return Ok(granted),
                    Happened::Received(publish) => self.early.push_back(seen(publish)),
                    Happened::Acknowledged(()) => {}
                }
            }
        };
        let refused = || ConnectError::Refused {
            at: self.broker.to_string(),
            reason: format!("it does not grant {}", self.filters.join(", ")),
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, granted).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(refused()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(refused()),
        }
        self.session = Some(session);
        self.backoff = FIRST_BACKOFF;
        Ok(())
    }

    /// What is seen next.
    pub async fn next(&mut self) -> Seen {
        if let Some(seen) = self.early.pop_front() {
            return seen;
        }
        if self.session.is_none() {
            sleep(std::mem::take(&mut self.pause)).await;
            return match self.open().await {
                Ok(()) => Seen::Back,
                Err(error) => self.lost(&error),
            };
        }
        loop {
            let Some(session) = &mut self.session else {
                return Seen::Back;
            };
            match session.next().await {
                Ok(Happened::Received(publish)) => return seen(publish),
                Ok(_) => {}
                Err(error) => return self.lost(&error),
            }
        }
    }

    fn lost(&mut self, error: &ConnectError) -> Seen {
        self.session = None;
        self.pause = self.backoff;
        self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
        Seen::Lost {
            reason: error.to_string(),
            after: self.pause,
        }
    }
}

fn seen(publish: rumqttc::Publish) -> Seen {
    Seen::Message {
        topic: publish.topic,
        payload: publish.payload.into(),
        retained: publish.retain,
    }
}

//! Control by the broker alone: publishes a constraint, or the end of one, for every engine that
//! listens there, and returns once the broker has it. Needs no engine.

use std::time::Duration;

use camshaft_model::{Constraint, ConstraintKey, ConstraintType, Scope, Timestamp};
use rumqttc::{Publish, QoS};
use tokio::time::timeout;

use super::broker::Broker;
use super::message::{self, Said};
use super::session::{ConnectError, Happened, Message, Session};
use super::topic::Topics;

/// How long the broker has for all of it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long it is waited for what the topic of a scope retains: brokers send it at once.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of the topic of a scope once one of its types was cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It retains nothing that was cleared.
    Nothing,
    /// The broker did not say what it retains, although we asked.
    Unknown {
        /// The topic of the scope.
        topic: String,
        /// What we published to be told when all is here.
        marker: String,
    },
}

/// Publishes a constraint, retained: to the topic of its (scope, type), so that one who comes later hears
/// of each type, and to that of its scope, which every client reads, unless the clients in the field do not
/// know its type.
///
/// # Errors
/// The broker cannot be reached, or does not acknowledge in time.
pub async fn publish(
    broker: &Broker,
    client_id: &str,
    topics: &Topics,
    constraint: &Constraint,
) -> Result<(), ConnectError> {
    let of_type = topics.constraint_of_type(&constraint.key());
    let mut messages = vec![Message::retained(of_type, message::write(constraint))];
    if constraint.terms.kind() != ConstraintType::EventPause {
        messages.push(Message::retained(
            topics.constraint(&constraint.scope),
            message::write_plain(constraint),
        ));
    }
    within(broker, async {
        let mut session = Session::open(broker, client_id, None, TIMEOUT).await?;
        deliver(&mut session, messages).await?;
        session.close().await;
        Ok(())
    })
    .await
}

/// Ends the constraints of exactly this scope, for every engine and for who comes later: all of them,
/// or those of one type.
///
/// # Errors
/// The broker cannot be reached, or does not acknowledge in time.
pub async fn clear(
    broker: &Broker,
    client_id: &str,
    topics: &Topics,
    scope: &Scope,
    kind: Option<ConstraintType>,
) -> Result<Left, ConnectError> {
    // Of all types there are, so that nothing is left that a later version has written.
    let kinds = kind.map_or_else(|| ConstraintType::ALL.to_vec(), |kind| vec![kind]);
    let of_types = kinds.into_iter().map(|kind| {
        let scope = scope.clone();
        topics.constraint_of_type(&ConstraintKey { scope, kind })
    });
    let plain = topics.constraint(scope);
    let all = of_types.chain(kind.is_none().then(|| plain.clone()));
    let messages = all.map(|topic| Message::retained(topic, "")).collect();
    within(broker, async {
        let mut session = Session::open(broker, client_id, None, TIMEOUT).await?;
        deliver(&mut session, messages).await?;
        let mut left = Left::Nothing;
        if let Some(kind) = kind {
            let marker = format!("{}/{client_id}", topics.status("controller"));
            match retained(&mut session, &plain, &marker).await? {
                Some(kept) => {
                    let over = kept.and_then(|kept| without(kind, &kept));
                    deliver(&mut session, over.into_iter().collect()).await?;
                }
                None => {
                    left = Left::Unknown {
                        topic: plain,
                        marker,
                    };
                }
            }
        }
        session.close().await;
        Ok(left)
    })
    .await
}

/// What replaces the retained message of a scope that is of a type which has been cleared. An empty message
/// would end the scope's other types as well, which may have been published there before it and are not
/// retained any more.
fn without(kind: ConstraintType, kept: &Publish) -> Option<Message> {
    let said = message::read_said(&kept.payload, Timestamp::default()).ok()?;
    let constraint = said.constraint();
    let is_held = constraint.terms.kind() == kind && !matches!(said, Said::Over(_));
    is_held.then(|| Message::retained(kept.topic.clone(), message::write_over(constraint)))
}

/// The retained message of a topic, if it has one; `None` if that did not become known. When there is
/// none, the broker shows it by the echo of a message that is published after the subscription was granted.
async fn retained(
    session: &mut Session<()>,
    topic: &str,
    marker: &str,
) -> Result<Option<Option<Publish>>, ConnectError> {
    session.subscribe(vec![
        (topic.to_owned(), QoS::AtLeastOnce),
        (marker.to_owned(), QoS::AtLeastOnce),
    ])?;
    let look = async {
        loop {
            match session.next().await? {
                Happened::Subscribed(_) => {
                    let _ = session.publish(Message::passing(marker.to_owned(), "sync"), ());
                }
                Happened::Received(publish) if publish.topic == marker => return Ok(None),
                Happened::Received(publish) if publish.topic == topic => {
                    return Ok((!publish.payload.is_empty()).then_some(publish));
                }
                Happened::Received(_) | Happened::Acknowledged(()) => {}
            }
        }
    };
    timeout(LOOK_TIMEOUT, look).await.ok().transpose()
}

async fn deliver(session: &mut Session<()>, messages: Vec<Message>) -> Result<(), ConnectError> {
    for message in messages {
        // There is room for far more than these.
        let _ = session.publish(message, ());
    }
    while !session.is_idle() {
        session.next().await?;
    }
    Ok(())
}

async fn within<T>(
    broker: &Broker,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match timeout(TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::Timeout {
            at: broker.to_string(),
            within_ms: u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

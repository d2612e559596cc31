//! Control by the broker alone: publishes a constraint, or the end of one, for every engine that
//! listens there, and returns once the broker has it. Needs no engine.

use std::time::Duration;

use camshaft_model::{Constraint, ConstraintKey, ConstraintType, Scope, Timestamp};
use rumqttc::{Publish, QoS};
use tokio::time::timeout;

use super::broker::Broker;
use super::message;
use super::session::{ConnectError, Happened, Message, Session};
use super::topic::Topics;

/// How long the broker has for all of it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes a constraint, retained: to the topic of its scope, which every client reads, and to that
/// of its (scope, type), so that one who comes later hears of each type.
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
    let messages = vec![
        Message::retained(of_type, message::write(constraint)),
        Message::retained(
            topics.constraint(&constraint.scope),
            message::write_plain(constraint),
        ),
    ];
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
) -> Result<(), ConnectError> {
    let of_type = |kind: ConstraintType| {
        let scope = scope.clone();
        topics.constraint_of_type(&ConstraintKey { scope, kind })
    };
    within(broker, async {
        let mut session = Session::open(broker, client_id, None, TIMEOUT).await?;
        let messages = match kind {
            None => {
                // Every type there is, so that nothing is left that a later version has written.
                let types = ConstraintType::ALL.iter().map(|kind| of_type(*kind));
                let all = types.chain([topics.constraint(scope)]);
                all.map(|topic| Message::retained(topic, "")).collect()
            }
            Some(kind) => {
                let mut messages = vec![Message::retained(of_type(kind), "")];
                let plain = topics.constraint(scope);
                let marker = format!("{}/{client_id}", topics.status("controller"));
                let kept = retained(&mut session, &plain, &marker).await?;
                messages.extend(kept.and_then(|kept| without(kind, &kept)));
                messages
            }
        };
        deliver(&mut session, messages).await?;
        session.close().await;
        Ok(())
    })
    .await
}

/// What replaces the retained message of a scope that is of a type which has been cleared: the same
/// constraint, long expired. An empty message would end the scope's other types as well, which may have
/// been published there before it and are not retained any more.
fn without(kind: ConstraintType, kept: &Publish) -> Option<Message> {
    let constraint = message::read(&kept.payload, Timestamp::default()).ok()?;
    let is_held = constraint.terms.kind() == kind && !message::is_over(&constraint);
    is_held.then(|| Message::retained(kept.topic.clone(), message::write_over(&constraint)))
}

/// The retained message of a topic. The broker sends it before the echo of a message that is published
/// after the subscription was granted.
async fn retained(
    session: &mut Session<()>,
    topic: &str,
    marker: &str,
) -> Result<Option<Publish>, ConnectError> {
    session.subscribe(vec![
        (topic.to_owned(), QoS::AtLeastOnce),
        (marker.to_owned(), QoS::AtLeastOnce),
    ])?;
    let mut kept = None;
    loop {
        match session.next().await? {
            Happened::Subscribed(_) => {
                let _ = session.publish(Message::passing(marker.to_owned(), "sync"), ());
            }
            Happened::Received(publish) if publish.topic == marker => return Ok(kept),
            Happened::Received(publish) if publish.topic == topic => {
                kept = (!publish.payload.is_empty()).then_some(publish);
            }
            Happened::Received(_) | Happened::Acknowledged(()) => {}
        }
    }
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

async fn within(
    broker: &Broker,
    work: impl Future<Output = Result<(), ConnectError>>,
) -> Result<(), ConnectError> {
    match timeout(TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::Timeout {
            at: broker.to_string(),
            within_ms: u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

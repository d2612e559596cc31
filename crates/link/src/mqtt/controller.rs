//! Control by the broker alone: publishes a constraint, or the end of one, for every engine that
//! listens there, and returns once the broker has it. Needs no engine.

use std::collections::BTreeMap;
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

/// What is known of the topic of a scope once constraints were cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It retains nothing that was cleared.
    Nothing,
    /// The broker did not say what this topic retains, although we asked.
    Unknown(String),
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
/// or those of one type. Of what the broker retained the ends are left, for an engine that is away and has it
/// in its database.
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
    let of_types = kinds.iter().map(|kind| {
        let (scope, kind) = (scope.clone(), *kind);
        topics.constraint_of_type(&ConstraintKey { scope, kind })
    });
    let of_types: Vec<String> = of_types.collect();
    let plain = topics.constraint(scope);
    let asked = of_types.iter().chain([&plain]).cloned();
    let asked = asked.map(|topic| (topic, QoS::AtLeastOnce)).collect();
    let emptied = of_types
        .into_iter()
        .chain(kind.is_none().then(|| plain.clone()));
    let emptied: Vec<String> = emptied.collect();
    within(broker, async {
        let mut session = Session::open(broker, client_id, None, TIMEOUT).await?;
        // What they retain is asked for before they are emptied, and comes before the echo of that.
        session.subscribe(asked)?;
        for topic in &emptied {
            let _ = session.publish(Message::retained(topic.clone(), ""), ());
        }
        let heard = hear_until_empty(&mut session, emptied.last()).await?;
        let ends = heard
            .as_ref()
            .map(|heard| ends(topics, scope, kind, heard, client_id));
        deliver(&mut session, ends.unwrap_or_default()).await?;
        session.close().await;
        // With all types its own topic was emptied as well.
        Ok(match heard {
            None if kind.is_some() => Left::Unknown(plain),
            _ => Left::Nothing,
        })
    })
    .await
}

/// What is published of constraints that were retained when they were cleared: their ends, to the topics of
/// their types. What is on the topic of the scope is written over there if only one type was cleared: an empty
/// message would end the scope's other types as well, which may have been published there before it and are not
/// retained any more.
fn ends(
    topics: &Topics,
    scope: &Scope,
    kind: Option<ConstraintType>,
    heard: &[Publish],
    mark: &str,
) -> Vec<Message> {
    let plain = topics.constraint(scope);
    let mut of_types = BTreeMap::new();
    let mut over = None;
    for Publish { topic, payload, .. } in heard {
        let is_plain = *topic == plain;
        let said = message::read_said(payload, Timestamp::default()).ok();
        let held = match said {
            Some(Said::Wanted(constraint) | Said::Kept(constraint)) => Some(constraint),
            Some(Said::Ended { .. } | Said::Over(_)) | None => None,
        };
        let held = held.filter(|held| {
            held.scope == *scope && kind.is_none_or(|kind| held.terms.kind() == kind)
        });
        if is_plain {
            over = held
                .as_ref()
                .filter(|_| kind.is_some())
                .map(message::write_over);
        }
        if let Some(held) = held {
            let of_type = topics.constraint_of_type(&held.key());
            let end = message::write_emptied(&held, mark);
            if is_plain {
                // It is the later word.
                of_types.insert(of_type, end);
            } else {
                of_types.entry(of_type).or_insert(end);
            }
        }
    }
    let over = over.map(|over| Message::retained(plain, over));
    let ends = of_types
        .into_iter()
        .map(|(topic, end)| Message::retained(topic, end));
    ends.chain(over).collect()
}

/// What the topics retain that were subscribed to, and what has been published to them since, until this one was
/// emptied; `None` if that did not become known.
async fn hear_until_empty(
    session: &mut Session<()>,
    last: Option<&String>,
) -> Result<Option<Vec<Publish>>, ConnectError> {
    let hear = async {
        let mut heard = Vec::new();
        loop {
            match session.next().await? {
                Happened::Received(publish)
                    if publish.payload.is_empty() && Some(&publish.topic) == last =>
                {
                    return Ok(heard);
                }
                Happened::Received(publish) => heard.push(publish),
                Happened::Subscribed(_) | Happened::Acknowledged(()) => {}
            }
        }
    };
    timeout(LOOK_TIMEOUT, hear).await.ok().transpose()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_left_of_the_scope_and_the_type_alone_and_the_scopes_own_topic_says_the_last() {
        let (topics, scope) = (Topics::new("cascade"), "task:x".parse().unwrap());
        let plain = topics.constraint(&scope);
        let pause = ConstraintType::Pause;
        let typed = topics.constraint_of_type(&ConstraintKey {
            scope: scope.clone(),
            kind: pause,
        });
        let message = |topic: &str, scope: &str, kind: &str, ends: &str| {
            let params = if kind == "pause" {
                "{}"
            } else {
                r#"{"limit": 1}"#
            };
            let payload = format!(
                r#"{{"scope": "{scope}", "type": "{kind}", "params": {params}, "expires_at": {ends}}}"#
            );
            Publish::new(topic, QoS::AtLeastOnce, payload)
        };
        let heard = [
            message(&typed, "task:x", "pause", "7.0"),
            message(&plain, "task:x", "pause", "9.0"),
            message(&typed, "task:y", "pause", "8.0"),
            message(&typed, "task:x", "concurrency", "8.0"),
        ];
        let told = |kind, heard: &[Publish]| -> Vec<(String, String)> {
            let ends = ends(&topics, &scope, kind, heard, "m").into_iter();
            ends.map(|end| (end.topic, String::from_utf8(end.payload).unwrap()))
                .collect()
        };
        let one = told(Some(pause), &heard);
        assert_eq!(one.len(), 2);
        assert_eq!((&one[0].0, &one[1].0), (&typed, &plain));
        assert!(
            one[0]
                .1
                .contains(r#""was": 9.0, "emptied": true, "mark": "m""#),
            "{}",
            one[0].1
        );
        assert!(one[1].1.contains(r#""expires_at": 1.0}"#), "{}", one[1].1);
        assert_eq!(told(None, &heard).len(), 2, "a pause and a limit");
        // Somebody has put something else there since.
        let since = [
            &heard[..],
            &[message(&plain, "task:x", "concurrency", "null")],
        ]
        .concat();
        assert_eq!(told(Some(pause), &since).len(), 1);
    }
}

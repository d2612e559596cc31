//! Who is let in: the first packet of a connection, and the answer to it.

use std::net::SocketAddr;

use bytes::BytesMut;
use parking_lot::Mutex;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Login, Packet};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Duration, Instant};

use super::connection::{End, Reader};
use super::limits::{LOGGED_A_MINUTE, MAX_CLIENT_ID_BYTES, MAX_PACKET_BYTES};
use crate::mqtt::topic::is_topic;

/// See the module.
pub(super) struct Door {
    login: Option<(String, String)>,
    log: Mutex<Log>,
}

/// So that somebody who tries again and again does not fill the log.
#[derive(Default)]
struct Log {
    since: Option<Instant>,
    written: u32,
    unsaid: u64,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    /// Too few to tell.
    Begun,
    /// A CONNECT of another version of MQTT, whose other fields are not those that we know.
    OtherVersion(u8),
    /// A CONNECT that the codec takes or refuses.
    Known,
    /// Something else.
    Other,
}

impl Door {
    pub(super) fn new(login: Option<(String, String)>) -> Self {
        Self {
            login,
            log: Mutex::default(),
        }
    }

    /// Takes the first packet. One that is refused gets the reason, as far as the protocol has a word for it.
    pub(super) async fn greet(
        &self,
        reader: &mut Reader,
        write: &mut OwnedWriteHalf,
    ) -> Result<Connect, End> {
        let version = loop {
            match greeting(reader.bytes()) {
                Greeting::Begun => reader.fill(None).await?,
                Greeting::OtherVersion(version) => break Some(version),
                Greeting::Known => break None,
                Greeting::Other => {
                    return Err(End::Protocol("it does not begin with CONNECT".to_owned()));
                }
            }
        };
        let (code, why) = if let Some(version) = version {
            let why = format!(
                "it speaks version {version} of the protocol, and 4 (MQTT 3.1.1) is spoken here"
            );
            (ConnectReturnCode::RefusedProtocolVersion, why)
        } else {
            let Packet::Connect(connect) = reader.packet(None).await? else {
                return Err(End::Protocol("it does not begin with CONNECT".to_owned()));
            };
            match self.refusal(&connect) {
                None => return Ok(connect),
                Some((code, why)) => (code, why.to_owned()),
            }
        };
        let mut answer = BytesMut::new();
        let _ = ConnAck::new(code, false).write(&mut answer);
        let _ = write.write_all(&answer).await;
        Err(End::Refused(why))
    }

    fn refusal(&self, connect: &Connect) -> Option<(ConnectReturnCode, &'static str)> {
        let id = &connect.client_id;
        if !self.admits(connect.login.as_ref()) {
            Some((
                ConnectReturnCode::BadUserNamePassword,
                "its name or password is wrong, or missing",
            ))
        } else if id.len() > MAX_CLIENT_ID_BYTES {
            Some((ConnectReturnCode::BadClientId, "its client id is too long"))
        } else if id.is_empty() && !connect.clean_session {
            Some((
                ConnectReturnCode::BadClientId,
                "it wants its session kept and has no client id",
            ))
        } else if let Some(will) = &connect.last_will
            && !is_topic(&will.topic)
        {
            Some((
                ConnectReturnCode::BadClientId,
                "its will is not for a topic",
            ))
        } else {
            None
        }
    }

    fn admits(&self, login: Option<&Login>) -> bool {
        let Some((user, password)) = &self.login else {
            return true;
        };
        login.is_some_and(|login| {
            let user = is_equal(user.as_bytes(), login.username.as_bytes());
            user & is_equal(password.as_bytes(), login.password.as_bytes())
        })
    }

    /// Tells of a client that was not let in.
    pub(super) fn tell(&self, peer: SocketAddr, why: &str) {
        let unsaid = {
            let mut log = self.log.lock();
            let now = Instant::now();
            let is_over = |since: Instant| now - since >= Duration::from_secs(60);
            if log.since.is_none_or(is_over) {
                (log.since, log.written) = (Some(now), 0);
            }
            if log.written >= LOGGED_A_MINUTE {
                log.unsaid += 1;
                return;
            }
            log.written += 1;
            std::mem::take(&mut log.unsaid)
        };
        tracing::info!(%peer, unsaid, "a client was not let in by the embedded broker: {why}");
    }
}

fn greeting(bytes: &[u8]) -> Greeting {
    let Some((kind, mut rest)) = bytes.split_first() else {
        return Greeting::Begun;
    };
    if kind >> 4 != 1 {
        return Greeting::Other;
    }
    // The length, of which every byte but the last has its highest bit set.
    let mut length = 0;
    for place in 0.. {
        let Some((digit, after)) = rest.split_first() else {
            return Greeting::Begun;
        };
        length |= usize::from(digit & 0x7f) << (7 * place);
        rest = after;
        if digit & 0x80 == 0 {
            break;
        }
        if place == 3 {
            return Greeting::Other;
        }
    }
    if length > MAX_PACKET_BYTES {
        return Greeting::Known;
    }
    for name in [&b"\x00\x04MQTT"[..], b"\x00\x06MQIsdp"] {
        match rest.strip_prefix(name) {
            Some([]) => return Greeting::Begun,
            Some([4, ..]) if name.ends_with(b"MQTT") => return Greeting::Known,
            Some([version, ..]) => return Greeting::OtherVersion(*version),
            None if name.starts_with(rest) => return Greeting::Begun,
            None => {}
        }
    }
    Greeting::Other
}

/// Takes as long for a wrong text as for a right one of the same length.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_known_as_soon_as_it_is_there() {
        for (packet, expected) in [
            (&b"\x10\x0c\x00\x04MQTT\x04"[..], Greeting::Known),
            (b"\x10\x0c\x00\x04MQTT\x05", Greeting::OtherVersion(5)),
            (
                b"\x10\x8c\x01\x00\x04MQTT\x84",
                Greeting::OtherVersion(0x84),
            ),
            (b"\x10\x0c\x00\x06MQIsdp\x03", Greeting::OtherVersion(3)),
            (b"\x10\x0c\x00\x04MQTX", Greeting::Other),
            (b"\x10\xff\xff\xff\xff", Greeting::Other),
            (b"\x10\xff\xff\xff\x7f", Greeting::Known),
            (b"\x30", Greeting::Other),
        ] {
            let (last, before) = packet.split_last().unwrap();
            assert_eq!(greeting(packet), expected, "{last:x} after {before:x?}");
            for end in 0..before.len() {
                assert_eq!(
                    greeting(&packet[..end]),
                    Greeting::Begun,
                    "{end} of {packet:x?}"
                );
            }
        }
    }
}

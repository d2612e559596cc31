//! How much the broker in the process takes and keeps, and for how long it waits. All of it is here,
//! because one limit makes sense beside the others only; docs/mqtt.md tells of them.
//!
//! What is retained has no part in what waits for a client: it is fetched from the one set as the client
//! reads, so it may be more than fits there.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// The most connections at once.
pub(super) const MAX_CONNECTIONS: usize = 512;
/// The largest packet that is taken, and so the largest message.
pub(super) const MAX_PACKET_BYTES: usize = MIB;
/// The most bytes of a client's name.
pub(super) const MAX_CLIENT_ID_BYTES: usize = 256;

/// The most filters of a client, and of one packet.
pub(super) const MAX_SUBSCRIPTIONS: usize = 256;
/// The most bytes of a client's filters.
pub(super) const MAX_FILTER_BYTES: usize = 256 * 1024;

/// The most topics that retain a message.
pub(super) const MAX_RETAINED: usize = 50_000;
/// The most bytes that are retained.
pub(super) const MAX_RETAINED_BYTES: usize = 64 * MIB;
/// The most subscriptions of a client whose retained messages have not come all yet.
pub(super) const MAX_CURSORS: usize = 256;
/// The most bytes of their filters.
pub(super) const MAX_CURSOR_BYTES: usize = MIB;
/// How many times a topic may be compared with a filter, while retained messages are looked for, before
/// others have their turn.
pub(super) const MAX_COMPARISONS: usize = 4_096;

/// The most messages that a client has not acknowledged yet, whether they have been sent or not, and
/// whether it is there or not. One whose session is not kept is cut off if there are more; for others
/// those that come are dropped.
pub(super) const MAX_WAITING: usize = 20_000;
/// The most bytes of them.
pub(super) const MAX_WAITING_BYTES: usize = 32 * MIB;
/// The most bytes of them for all clients that are there together. Beyond it the client for which the most
/// wait makes room: it is cut off, or, where its session is kept, those that are not on their way are dropped.
/// A message counts for each client that it waits for, although they share its payload.
pub(super) const MAX_PRESENT_BYTES: usize = 1024 * MIB;
/// How many bytes are passed on before it is counted anew how much waits for all of them.
pub(super) const COUNTED_EVERY_BYTES: usize = 16 * MIB;
/// What a message is counted as besides its topic and its payload.
pub(super) const MESSAGE_BYTES: usize = 128;
/// How many of them may have been sent.
pub(super) const WINDOW: usize = 64;
/// The bytes of those, more or less.
pub(super) const WINDOW_BYTES: usize = 4 * MIB;
/// The bytes of answers that wait for a client before nothing more is read from it.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The most messages with QoS 2 that a client may have begun and not released.
pub(super) const MAX_BEGUN: usize = 1_024;
/// The bytes that are written at once, more or less.
pub(super) const BATCH_BYTES: usize = 64 * 1024;
/// The room that there is at least for what is read at once.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// The most sessions that are kept for clients that are away. Beyond it the one that has been away the
/// longest is forgotten.
pub(super) const MAX_AWAY: usize = 256;
/// The most bytes of all these sessions together.
pub(super) const MAX_AWAY_BYTES: usize = 128 * MIB;

/// How many clients that were not let in are told of in the log in a minute.
pub(super) const LOGGED_A_MINUTE: u32 = 10;

/// How long a client may take to say who it is.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to read what is written at once.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long clients may take, when the broker stops, to read what was published for them.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connections may take to end after that.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait when no connection can be accepted, for want of descriptors for instance.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// The largest message can wait for everybody.
const _: () = assert!(MAX_CONNECTIONS * (MAX_PACKET_BYTES + MESSAGE_BYTES) <= MAX_PRESENT_BYTES);
// Any message that is taken can wait for a client, and be retained.
const _: () = assert!(MAX_PACKET_BYTES + MESSAGE_BYTES <= MAX_WAITING_BYTES);
const _: () = assert!(MAX_PACKET_BYTES <= MAX_RETAINED_BYTES);
const _: () = assert!(WINDOW <= MAX_WAITING && WINDOW_BYTES <= MAX_WAITING_BYTES);
// A client can ask for all that it subscribes to.
const _: () = assert!(MAX_SUBSCRIPTIONS <= MAX_CURSORS && MAX_FILTER_BYTES <= MAX_CURSOR_BYTES);
// No session is forgotten for what it holds alone.
const _: () = assert!(MAX_WAITING_BYTES + MAX_FILTER_BYTES <= MAX_AWAY_BYTES);
// One topic can always be compared with all filters of a packet.
const _: () = assert!(MAX_SUBSCRIPTIONS <= MAX_COMPARISONS);
// Filters that fill a packet are refused by name and not by a closed connection.
const _: () = assert!(MAX_FILTER_BYTES <= MAX_PACKET_BYTES);

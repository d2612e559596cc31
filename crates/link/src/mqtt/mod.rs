//! MQTT 3.1.1: constraints come in, telemetry goes out.
//!
//! [`topic`] and [`message`] say what is on the wire, and know nothing of connections. [`broker`] says
//! where a broker is, `session` is one connection to it. [`connect`] keeps a connection up for the
//! engine: [`constraints`] come in by it, and [`telemetry`] goes out. [`controller`] publishes
//! constraints without an engine. [`embedded`] is a broker in this process. [`sensor`] makes messages
//! events, [`publish`] is for an action, [`watcher`] for somebody who looks on.

mod backoff;
pub mod broker;
pub mod connect;
pub mod constraints;
pub mod controller;
pub mod embedded;
mod gate;
#[cfg(test)]
mod hand;
mod inbox;
pub mod message;
pub mod publish;
pub mod sensor;
mod session;
pub mod telemetry;
pub mod topic;
pub mod watcher;

pub use broker::{Broker, TlsError, TlsFiles};
pub use connect::{Connector, Link, Listener, Settings};
pub use embedded::EmbeddedBroker;
pub use sensor::MqttSensors;
pub use session::ConnectError;
pub use telemetry::{Identity, Telemetry};
pub use topic::Topics;
pub use watcher::{Seen, Watcher};

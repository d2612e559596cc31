//! MQTT 3.1.1: constraints come in, telemetry goes out.
//!
//! [`topic`] and [`message`] say what is on the wire, and know nothing of connections. [`broker`] says
//! where a broker is, `session` is one connection to it. [`connect`] keeps a connection up for the
//! engine: [`constraints`] come in by it, and [`telemetry`] goes out. [`controller`] publishes
//! constraints without an engine.

pub mod broker;
pub mod connect;
pub mod constraints;
pub mod controller;
pub mod embedded;
mod gate;
pub mod message;
mod session;
pub mod telemetry;
pub mod topic;

pub use broker::{Broker, TlsError, TlsFiles};
pub use connect::{Connector, Link, Listener, Settings};
pub use embedded::EmbeddedBroker;
pub use session::ConnectError;
pub use telemetry::{Identity, Telemetry};
pub use topic::Topics;

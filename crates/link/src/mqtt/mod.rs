//! MQTT 3.1.1: constraints come in, telemetry goes out.
//!
//! [`topic`] and [`message`] say what is on the wire, and know nothing of connections. [`broker`] says
//! where a broker is, [`session`] is one connection to it. [`controller`] publishes constraints without
//! an engine.

pub mod broker;
pub mod controller;
pub mod message;
mod session;
pub mod topic;

pub use broker::{Broker, TlsError, TlsFiles};
pub use session::ConnectError;
pub use topic::Topics;

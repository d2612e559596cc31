//! MQTT: constraints in, telemetry out, with Mosquitto and with the broker that the engine brings along,
//! and with the clients that everybody has.

mod both_ways;
mod broker;
mod control;
mod embedded;
mod ends;
mod held;
mod metrics;
mod sensor;
mod telemetry;

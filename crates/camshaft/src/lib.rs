//! Camshaft: the binary's parts and the library facade.
//!
//! ```text
//! command/  what a person types      client  how it reaches the engine     render/  how it is shown
//! lifecycle `camshaft up`            wire    the composition root          pack/, config/, data_dir
//! ```

pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod connector;
pub mod data_dir;
pub mod embed;
pub mod exit;
pub mod lifecycle;
pub mod pack;
pub mod render;
pub mod wire;
pub mod workflow_test;

//! `camshaft sensor`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use crate::exit::CliError;
use crate::render::table::Column;
use crate::render::text_at;

const COLUMNS: &[Column] = &[
    Column::at("SENSOR", "/key"),
    Column::at("TRIGGER", "/trigger"),
    Column::with("HEALTH", |item| match text_at(item, "/problem").as_str() {
        "-" => "ok".to_owned(),
        problem => problem.to_owned(),
    }),
];

/// What watches the world
#[derive(Debug, Subcommand)]
pub enum Sensor {
    List(List),
}

/// List sensors and how each is; they are derived from the enabled rules
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft sensor list")]
pub struct List {}

impl Sensor {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let Self::List(List {}) = self;
        let page: Value = context.client.get("/sensors", &[], Duration::ZERO).await?;
        context.list(&page, COLUMNS)
    }
}

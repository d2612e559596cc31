//! `camshaft pack remove`.

use std::process::ExitCode;

use clap::Args;

use super::show::pack_name;
use crate::command::Context;
use crate::exit::CliError;
use crate::render::Format;

/// Remove a pack; runs that started with it go on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft pack remove demo

It is refused while rules of other packs need something of it.")]
pub struct Remove {
    /// The pack
    #[arg(value_name = "PACK", value_parser = pack_name)]
    pack: String,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let answer = context
            .client
            .delete(&format!("/packs/{}", self.pack))
            .await?;
        if context.format == Format::Table || answer.is_null() {
            context
                .screen
                .note(&format!("Pack {} is removed.", self.pack));
            return Ok(ExitCode::SUCCESS);
        }
        context.show(&answer, |_, _| String::new())
    }
}

//! `camshaft rule`: list, show, enable, disable, reset, test.

mod list;
mod show;
mod switch;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// What is done about which events
#[derive(Debug, Subcommand)]
pub enum Rule {
    List(list::List),
    Show(show::Show),
    /// Enable a rule, whatever its definition says
    #[command(after_help = "Example:\n  camshaft rule enable demo.every_ten_seconds")]
    Enable(switch::Switch),
    /// Disable a rule, whatever its definition says; executions that it requested go on
    #[command(after_help = "Example:\n  camshaft rule disable demo.every_ten_seconds")]
    Disable(switch::Switch),
    /// Let the rule's definition say again whether it is enabled
    #[command(after_help = "Example:\n  camshaft rule reset demo.every_ten_seconds")]
    Reset(switch::Switch),
    Test(test::Test),
}

impl Rule {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Enable(verb) => verb.run(context, "enable").await,
            Self::Disable(verb) => verb.run(context, "disable").await,
            Self::Reset(verb) => verb.run(context, "reset").await,
            Self::Test(verb) => verb.run(context).await,
        }
    }
}

//! `camshaft completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Context};
use crate::exit::CliError;

/// Write completions for a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft completions bash > ~/.local/share/bash-completion/completions/camshaft
  camshaft completions zsh > ~/.zfunc/_camshaft
  camshaft completions fish > ~/.config/fish/completions/camshaft.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "camshaft", &mut script);
        context.screen.data(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

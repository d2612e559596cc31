//! `docs/cli.md`: the help of every verb as one page, made from the same definitions as `--help`.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Cli;

/// The reference page of the command line, in Markdown.
pub fn cli_reference() -> String {
    let mut page = String::from(
        "# The command line\n\nThis page is made from the definitions behind `--help`; `cargo xtask gen` writes it.\n",
    );
    // A fixed width: the page must not depend on who makes it.
    let mut command = Cli::command().term_width(100);
    command.build();
    write_command(&mut page, &mut command, "camshaft", 2);
    page
}

fn write_command(page: &mut String, command: &mut Command, name: &str, depth: usize) {
    let help = command.render_long_help().to_string();
    let help: String = help
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    let _ = write!(
        page,
        "\n{} `{name}`\n\n```text\n{}\n```\n",
        "#".repeat(depth.min(4)),
        help.trim_end()
    );
    for verb in command
        .get_subcommands_mut()
        .filter(|verb| verb.get_name() != "help")
    {
        let name = format!("{name} {}", verb.get_name());
        write_command(page, verb, &name, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_has_every_verb_and_the_same_words_each_time() {
        let page = cli_reference();
        for verb in [
            "up",
            "run",
            "execution list",
            "pack plan",
            "rule test",
            "logs",
            "why",
            "doctor",
        ] {
            assert!(page.contains(&format!("`camshaft {verb}`")), "{verb}");
        }
        assert_eq!(page, cli_reference());
    }

    #[test]
    fn every_verb_says_what_it_is_for() {
        fn check(command: &Command) {
            assert!(
                command.get_about().is_some(),
                "{} has no purpose",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn help_teaches() {
        insta::assert_snapshot!("cli_reference", cli_reference());
    }
}

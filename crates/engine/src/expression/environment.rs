//! The one environment in which everything is compiled and evaluated.

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::filters;

/// The most steps of one evaluation; a loop over 10,000 items takes about a fifth of them.
const FUEL: u64 = 500_000;
/// How deep an evaluation may nest.
const RECURSION_LIMIT: usize = 64;

/// The environment. It has no loader: a template cannot reach another one or a file.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.remove_global("debug");
    environment.remove_global("namespace");
    filters::install(&mut environment);
    environment.set_formatter(|out, _, value| {
        out.write_str(&filters::shown(value)?)
            .map_err(|_| Error::new(ErrorKind::WriteFailure, "the text is longer than the limit"))
    });
    environment
});

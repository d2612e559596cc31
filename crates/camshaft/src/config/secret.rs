//! Where secrets come from. The configuration names places; values are read once, at start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::{Problem, Problems, problem::Position};

use super::Config;

/// The place of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Env(String),
    /// A file; one line end at its end is no part of the secret.
    File(PathBuf),
}

/// The most bytes that the file of a secret may have.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

pub(super) fn apply(cursor: &Cursor<'_>, config: &mut Config) {
    for (name, _, cursor) in cursor.entries().unwrap_or_default() {
        if let Some(source) = source(&cursor) {
            config.secrets.insert(name.to_owned(), source);
        }
    }
}

pub(super) fn source(cursor: &Cursor<'_>) -> Option<SecretSource> {
    let mut fields = cursor.fields()?;
    let env = fields.optional("env");
    let file = fields.optional("file");
    fields.finish();
    match (env, file) {
        (Some(env), None) => env
            .filled_text()
            .map(|name| SecretSource::Env(name.to_owned())),
        (None, Some(file)) => file
            .filled_text()
            .map(|path| SecretSource::File(path.into())),
        _ => {
            cursor.problem(
                "a secret comes from one place; write { env: VARIABLE } or { file: /path }",
            );
            None
        }
    }
}

impl Config {
    /// Reads the values of all secrets. `environment` gives the value of a variable.
    ///
    /// # Errors
    /// Every secret that is not where the configuration says.
    pub fn read_secrets(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, Problems> {
        let mut values = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, source) in &self.secrets {
            match read(source, &environment) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(message) => problems.push(Problem {
                    file: "configuration".to_owned(),
                    position: Position::START,
                    path: format!("secrets.{name}"),
                    message,
                }),
            }
        }
        Problems::check(problems)?;
        Ok(values)
    }
}

pub(super) fn read(
    source: &SecretSource,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    match source {
        SecretSource::Env(variable) => {
            environment(variable).ok_or_else(|| format!("the variable {variable} is not set"))
        }
        SecretSource::File(path) => {
            let refused =
                |error: std::io::Error| format!("cannot read {}: {error}", path.display());
            let size = std::fs::metadata(path).map_err(refused)?.len();
            if size > MAX_SECRET_BYTES {
                return Err(format!(
                    "{} has more than {MAX_SECRET_BYTES} bytes",
                    path.display()
                ));
            }
            let mut value = std::fs::read_to_string(path).map_err(refused)?;
            if value.ends_with('\n') {
                value.pop();
                if value.ends_with('\r') {
                    value.pop();
                }
            }
            Ok(value)
        }
    }
}

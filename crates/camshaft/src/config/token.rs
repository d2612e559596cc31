//! Tokens of the API besides that of the data directory: who their owners are, which roles they have,
//! and where the tokens come from.

use std::collections::HashSet;

use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::{Problem, Problems, problem::Position};
use camshaft_server::{ADMIN, NamedToken};

use super::Config;
use super::secret::{self, SecretSource};

/// The most named tokens: each request without the first of them is compared with all.
const MAX_TOKENS: usize = 100;
/// The fewest characters of a token; what is shorter can be guessed.
const MIN_TOKEN_CHARS: usize = 16;

/// Where the token of somebody comes from, and what its owner may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSource {
    /// What the owner is called in the record of answers.
    pub name: String,
    /// The place of the token.
    pub source: SecretSource,
    /// The owner's roles.
    pub roles: Vec<String>,
}

pub(super) fn list(cursor: &Cursor<'_>) -> Option<Vec<TokenSource>> {
    let items = cursor.items()?;
    if items.len() > MAX_TOKENS {
        cursor.problem(format!("there are at most {MAX_TOKENS} tokens"));
        return None;
    }
    let mut names = HashSet::new();
    let tokens: Vec<Option<TokenSource>> = items
        .iter()
        .map(|item| {
            let (name, token) = one(item)?;
            if token.name == ADMIN {
                name.problem(format!(
                    "'{ADMIN}' is whoever has the token of the data directory; take another name"
                ));
            } else if !names.insert(token.name.clone()) {
                name.problem(format!("there are two tokens of '{}'", token.name));
            }
            Some(token)
        })
        .collect();
    // Every item has been looked at by now: one that is wrong hides no other.
    tokens.into_iter().collect()
}

fn one<'a>(cursor: &Cursor<'a>) -> Option<(Cursor<'a>, TokenSource)> {
    let mut fields = cursor.fields()?;
    let name = fields.required("name", "ada");
    let env = fields.optional("token_env");
    let file = fields.optional("token_file");
    let roles = fields.optional("roles");
    fields.finish();
    let roles = roles.map(|roles| roles.texts());
    let source = match (env, file) {
        (Some(env), None) => env
            .filled_text()
            .map(|variable| SecretSource::Env(variable.to_owned())),
        (None, Some(file)) => file
            .filled_text()
            .map(|path| SecretSource::File(path.into())),
        _ => {
            cursor.problem(
                "a token comes from one place; write token_env: VARIABLE or token_file: /path",
            );
            None
        }
    };
    let text = name.as_ref().and_then(|name| name.filled_text());
    Some((
        name?,
        TokenSource {
            name: text?.to_owned(),
            source: source?,
            roles: roles.unwrap_or(Some(Vec::new()))?,
        },
    ))
}

impl Config {
    /// Reads the named tokens. `environment` gives the value of a variable.
    ///
    /// # Errors
    /// Every token that is not where the configuration says, or is no good as one.
    pub fn read_tokens(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<NamedToken>, Problems> {
        let mut tokens: Vec<NamedToken> = Vec::new();
        let mut problems = Vec::new();
        for (
            index,
            TokenSource {
                name,
                source,
                roles,
            },
        ) in self.api.tokens.iter().enumerate()
        {
            let read = secret::read(source, &environment)
                .and_then(usable)
                .and_then(
                    |token| match tokens.iter().find(|other| other.token == token) {
                        Some(other) => {
                            Err(format!("it is the same token as that of '{}'", other.name))
                        }
                        None => Ok(token),
                    },
                );
            match read {
                Ok(token) => tokens.push(NamedToken {
                    name: name.clone(),
                    token,
                    roles: roles.clone(),
                }),
                Err(message) => problems.push(Problem {
                    file: "configuration".to_owned(),
                    position: Position::START,
                    path: format!("api.tokens[{index}]"),
                    message: format!("the token of '{name}': {message}"),
                }),
            }
        }
        Problems::check(problems)?;
        Ok(tokens)
    }
}

/// A token travels in a header, so it has letters, digits and signs and nothing else.
fn usable(token: String) -> Result<String, String> {
    if token.len() < MIN_TOKEN_CHARS {
        return Err(format!(
            "it has fewer than {MIN_TOKEN_CHARS} characters; make one with: openssl rand -hex 24"
        ));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it has characters other than letters, digits and signs".to_owned());
    }
    Ok(token)
}

//! Where the engine is: said by the person, or read from the data directory.

use std::fs;
use std::io;
use std::path::PathBuf;

use camshaft_model::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::exit::CliError;

/// The file in the data directory that says where the engine listens; mode 0600.
pub const API_FILE: &str = "api.json";

/// An address and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Such as `http://127.0.0.1:7410`.
    pub url: String,
    /// The bearer token.
    #[serde(default)]
    pub token: Option<String>,
}

/// What the person said about where the engine is.
#[derive(Debug, Clone)]
pub struct Source {
    /// The data directory whose engine is meant if there is no URL.
    pub data_dir: PathBuf,
    /// The URL, if one was given.
    pub url: Option<String>,
    /// The token, if one was given; it wins over the file's.
    pub token: Option<String>,
}

impl Source {
    /// Finds the endpoint. The file is read even if there is a URL without a token, but only its
    /// token for the same URL is used: a token is not shown to a stranger.
    ///
    /// # Errors
    /// There is no URL and no readable file.
    pub fn find(&self) -> Result<Endpoint, CliError> {
        let Some(url) = self.url.clone() else {
            let mut endpoint = self.read()?;
            if let Some(token) = &self.token {
                endpoint.token = Some(token.clone());
            }
            return Ok(endpoint);
        };
        let token = self.token.clone().or_else(|| {
            let found = self.read().ok()?;
            (found.url.trim_end_matches('/') == url.trim_end_matches('/')).then_some(found.token)?
        });
        Ok(Endpoint { url, token })
    }

    fn read(&self) -> Result<Endpoint, CliError> {
        let path = self.data_dir.join(API_FILE);
        let refuse = |code, reason: String| {
            CliError::new(code, reason)
                .hint("start it with: camshaft up (or name one with --url, or --data-dir)")
        };
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refuse(
                ErrorCode::Unreachable,
                format!(
                    "no engine runs on {} (there is no {API_FILE} in it)",
                    self.data_dir.display()
                ),
            ),
            io::ErrorKind::PermissionDenied => CliError::new(
                ErrorCode::Unauthorized,
                format!(
                    "{} may only be read by the user who started the engine",
                    path.display()
                ),
            )
            .hint("ask for a token and give it with --url and --token"),
            _ => refuse(
                ErrorCode::Unreachable,
                format!("{} cannot be read: {error}", path.display()),
            ),
        })?;
        serde_json::from_str(&text).map_err(|error| {
            refuse(
                ErrorCode::Unreachable,
                format!("{} is damaged: {error}", path.display()),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dir: &tempfile::TempDir, url: Option<&str>) -> Source {
        Source {
            data_dir: dir.path().to_path_buf(),
            url: url.map(str::to_owned),
            token: None,
        }
    }

    #[test]
    fn without_a_file_the_engine_is_unreachable_and_the_hint_says_how_to_start_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = source(&dir, None).find().unwrap_err();
        assert_eq!(
            (error.code, error.code.exit_code()),
            (ErrorCode::Unreachable, 3)
        );
        assert!(
            error
                .hint
                .unwrap()
                .starts_with("start it with: camshaft up")
        );
    }

    #[test]
    fn the_token_of_the_file_goes_to_its_own_url_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(API_FILE),
            r#"{"url":"http://127.0.0.1:7410","token":"cam_1","pid":7}"#,
        )
        .unwrap();
        let found = source(&dir, None).find().unwrap();
        assert_eq!(found.token.as_deref(), Some("cam_1"));
        let same = source(&dir, Some("http://127.0.0.1:7410/")).find().unwrap();
        assert_eq!(same.token.as_deref(), Some("cam_1"));
        assert_eq!(
            source(&dir, Some("http://example.org"))
                .find()
                .unwrap()
                .token,
            None
        );
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(API_FILE), "{").unwrap();
        assert!(
            source(&dir, None)
                .find()
                .unwrap_err()
                .message
                .contains("api.json is damaged")
        );
    }
}

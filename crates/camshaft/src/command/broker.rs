//! Where the broker is, for commands that speak MQTT themselves and need no engine.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use camshaft_link::mqtt::broker::{PORT, TLS_PORT};
use camshaft_link::mqtt::topic::DEFAULT_PREFIX;
use camshaft_link::mqtt::{Broker, ConnectError, TlsFiles, Topics};
use camshaft_model::ErrorCode;
use clap::Args;

use crate::clock::SystemEntropy;
use crate::command::number::whole;
use crate::config::{PREFIX_RULE, is_prefix};
use crate::exit::CliError;

/// Where a broker is if nothing is said.
const HOST: &str = "127.0.0.1";
/// The most bytes of a file with a password, a certificate or a key.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A broker, and who we are to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Broker options")]
pub(in crate::command) struct BrokerOptions {
    /// The broker's name or address [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Its port [default: 1883, with TLS 8883]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true, value_parser = whole::<u16>(1..=65_535, 1883))]
    port: Option<u16>,
    /// The name to log in with
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file with the password; one line end at its end is no part of it
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Use TLS, and trust the authorities of this system
    #[arg(long)]
    tls: bool,
    /// Use TLS, and trust the authorities in this PEM file only
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A client certificate in PEM, with --tls-key
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// What every topic begins with [default: cascade]
    #[arg(long, value_name = "TOPIC")]
    prefix: Option<String>,
}

impl BrokerOptions {
    /// The broker.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(in crate::command) fn broker(&self) -> Result<Broker, CliError> {
        let uses_tls = self.tls || self.tls_ca.is_some() || self.tls_cert.is_some();
        let port = self.port.unwrap_or(if uses_tls { TLS_PORT } else { PORT });
        let mut broker = Broker::new(self.host.as_deref().unwrap_or(HOST), port);
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let password = String::from_utf8(read(file)?)
                .map_err(|_| CliError::invalid(format!("{} is not UTF-8", file.display())))?;
            let password = password.strip_suffix('\n').unwrap_or(&password);
            broker = broker.login(user, password.strip_suffix('\r').unwrap_or(password));
        }
        if !uses_tls {
            return Ok(broker);
        }
        let client = match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => Some((read(chain)?, read(key)?)),
            _ => None,
        };
        let files = TlsFiles {
            ca: self.tls_ca.as_deref().map(read).transpose()?,
            client,
        };
        broker
            .tls(&files)
            .map_err(|error| CliError::invalid(format!("TLS cannot be used: {error}")))
    }

    /// The topics below the prefix.
    ///
    /// # Errors
    /// The prefix is none.
    pub(in crate::command) fn topics(&self) -> Result<Topics, CliError> {
        let prefix = self.prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
        if is_prefix(prefix) {
            return Ok(Topics::new(prefix));
        }
        Err(
            CliError::invalid(format!("'{prefix}' cannot be the prefix of topics"))
                .hint(PREFIX_RULE),
        )
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let refuse = |what: String| CliError::invalid(format!("{} {what}", file.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(format!("has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A name that no other client has at the broker: the second one of a name ends the first.
pub(in crate::command) fn client_id() -> String {
    let mut id = "camshaft-".to_owned();
    for byte in SystemEntropy::bytes::<6>() {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// What went wrong with a broker.
pub(in crate::command) fn unreachable(error: &ConnectError) -> CliError {
    CliError::new(ErrorCode::Unreachable, error.to_string())
        .hint("is the broker up, and are --host, --port, the login and TLS right?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_the_configuration_takes_for_one() {
        let topics = |prefix: Option<&str>| {
            let options = BrokerOptions {
                prefix: prefix.map(str::to_owned),
                ..BrokerOptions::default()
            };
            options.topics()
        };
        assert_eq!(topics(None).unwrap(), Topics::new(DEFAULT_PREFIX));
        assert_eq!(topics(Some("site/7")).unwrap(), Topics::new("site/7"));
        for prefix in ["/site", "$site", "site/", "a/#", ""] {
            assert!(topics(Some(prefix)).is_err(), "{prefix}");
        }
    }
}

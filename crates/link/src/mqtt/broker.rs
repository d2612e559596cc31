//! Where a broker is, who we are to it, and how it is reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{LastWill, MqttOptions, TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The port of MQTT without TLS.
pub const PORT: u16 = 1883;
/// The port of MQTT with TLS.
pub const TLS_PORT: u16 = 8883;

/// The most bytes that a packet from a broker or to it may have. MQTT 3.1.1 has no way to tell a broker
/// to leave out what is larger, so one such packet ends the connection.
pub(super) const MAX_CLIENT_PACKET_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes that a packet can have.
pub(super) const MAX_MQTT_PACKET_BYTES: usize = 0x0fff_ffff;
/// How many messages may wait for their acknowledgement.
pub(super) const MAX_INFLIGHT: u16 = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A broker, as somebody who wants to reach it knows it.
#[derive(Clone)]
pub struct Broker {
    host: String,
    port: u16,
    login: Option<(String, String)>,
    tls: Option<Arc<ClientConfig>>,
}

/// Files for TLS, in PEM. Without a file of authorities those of the system are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may have signed the broker's certificate.
    pub ca: Option<Vec<u8>>,
    /// The certificate chain and the key that we show.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why TLS cannot be used as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no usable certificate.
    #[error("there is no usable certificate among the {0}")]
    NoCertificate(&'static str),
    /// There is no usable key.
    #[error("the client's key cannot be read: {0}")]
    Key(String),
    /// The pieces do not fit together.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Broker {
    /// A broker that asks for no name and is reached without TLS.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            login: None,
            tls: None,
        }
    }

    /// The same with a name and a password.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The same by TLS.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn tls(mut self, files: &TlsFiles) -> Result<Self, TlsError> {
        self.tls = Some(Arc::new(tls_config(files)?));
        Ok(self)
    }

    pub(super) fn options(&self, client_id: &str, will: Option<LastWill>) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, &self.host, self.port);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(true)
            .set_max_packet_size(MAX_CLIENT_PACKET_BYTES, MAX_CLIENT_PACKET_BYTES)
            .set_inflight(MAX_INFLIGHT);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        if let Some(tls) = &self.tls {
            let tls = TlsConfiguration::Rustls(tls.clone());
            options.set_transport(Transport::tls_with_config(tls));
        }
        if let Some(will) = will {
            options.set_last_will(will);
        }
        options
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords stay out of logs.
        write!(f, "Broker({self})")
    }
}

fn tls_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let mut trusted = RootCertStore::empty();
    match &files.ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem).flatten() {
                trusted.add(certificate)?;
            }
            if trusted.is_empty() {
                return Err(TlsError::NoCertificate("authorities"));
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            trusted.add_parsable_certificates(system.certs);
            if trusted.is_empty() {
                return Err(TlsError::NoCertificate("authorities of this system"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted);
    let Some((chain, key)) = &files.client else {
        return Ok(config.with_no_client_auth());
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).flatten().collect();
    if chain.is_empty() {
        return Err(TlsError::NoCertificate("client's certificates"));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
    Ok(config.with_client_auth_cert(chain, key)?)
}

//! The command line's side of the HTTP API.
//!
//! Where the engine is comes from `--url` and `--token`, or from `<data_dir>/api.json`, which
//! `camshaft up` writes once it listens. Nothing is tried twice here: a request that changes
//! something must not be sent again without being asked to. Only those who follow a stream read on
//! after a lost connection, from where they were ([`Client::refresh`] finds an engine that came back
//! on another port).

pub mod endpoint;
mod problem;
pub mod sse;

use std::time::Duration;

use camshaft_model::ErrorCode;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::data_dir::is_held;
use crate::exit::CliError;
use endpoint::{Endpoint, Source};

/// How long the connection to the engine may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take beyond the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to an engine.
pub struct Client {
    http: reqwest::Client,
    source: Source,
    endpoint: Mutex<Option<Endpoint>>,
}

impl Client {
    /// A client that looks for the engine when it is first needed.
    ///
    /// # Errors
    /// The HTTP client cannot be made (no entropy, no certificates).
    pub fn new(source: Source) -> Result<Self, CliError> {
        // The token must not travel through a proxy that the environment happens to name.
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("camshaft/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                CliError::new(ErrorCode::Internal, format!("no HTTP client: {error}"))
            })?;
        Ok(Self {
            http,
            source,
            endpoint: Mutex::new(None),
        })
    }

    /// Where the engine is.
    ///
    /// # Errors
    /// It is not known: no engine runs on the data directory.
    pub fn endpoint(&self) -> Result<Endpoint, CliError> {
        let mut known = self.endpoint.lock();
        if let Some(endpoint) = &*known {
            return Ok(endpoint.clone());
        }
        let endpoint = self.source.find()?;
        *known = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Whether an engine was named, or one has announced itself in the data directory and still holds it.
    pub fn has_engine(&self) -> bool {
        self.source.url.is_some() || (self.endpoint().is_ok() && is_held(&self.source.data_dir))
    }

    /// Forgets where the engine was, so that the next request looks again.
    pub fn refresh(&self) {
        *self.endpoint.lock() = None;
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, CliError> {
        let endpoint = self.endpoint()?;
        let url = format!("{}{path}", endpoint.url.trim_end_matches('/'));
        let request = self.http.request(method, url);
        Ok(match &endpoint.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Sends a request and returns the answer, whatever its status.
    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        if error.is_builder() {
            return CliError::invalid(format!(
                "the URL of the engine is not one: {}",
                chain(error)
            ));
        }
        let place = self
            .endpoint
            .lock()
            .as_ref()
            .map_or_else(String::new, |e| format!(" at {}", e.url));
        CliError::new(
            ErrorCode::Unreachable,
            format!("the engine{place} does not answer: {}", chain(error)),
        )
        .hint("start it with: camshaft up")
    }

    async fn accept(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(problem::from_response(response).await)
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let response = self.accept(request).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| {
            CliError::new(
                ErrorCode::Internal,
                format!("the engine's answer cannot be read: {error}"),
            )
            .hint("is it a Camshaft of the same version?")
        })
    }

    /// Reads a resource below `/api/v1`. `wait` is how long the engine was asked to hold the answer.
    ///
    /// # Errors
    /// The engine cannot be reached, or says no.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        wait: Duration,
    ) -> Result<T, CliError> {
        let request = self.request(Method::GET, &format!("/api/v1{path}"))?;
        self.json(request.query(query).timeout(wait + ANSWER_TIMEOUT))
            .await
    }

    /// Reads a resource below `/api/v1` at once.
    ///
    /// # Errors
    /// The engine cannot be reached, or says no.
    pub async fn read(&self, path: &str) -> Result<Value, CliError> {
        self.get(path, &[], Duration::ZERO).await
    }

    /// Posts to a resource below `/api/v1`.
    ///
    /// # Errors
    /// The engine cannot be reached, or says no.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        idempotency_key: Option<&str>,
    ) -> Result<T, CliError> {
        let mut request = self
            .request(Method::POST, &format!("/api/v1{path}"))?
            .json(body);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.json(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// Puts a resource below `/api/v1` in its place.
    ///
    /// # Errors
    /// The engine cannot be reached, or says no.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let request = self
            .request(Method::PUT, &format!("/api/v1{path}"))?
            .json(body);
        self.json(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// Deletes a resource below `/api/v1`.
    ///
    /// # Errors
    /// The engine cannot be reached, or says no.
    pub async fn delete(&self, path: &str) -> Result<Value, CliError> {
        let request = self.request(Method::DELETE, &format!("/api/v1{path}"))?;
        self.json(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// How ready the engine says it is: both answers, 200 and 503, carry the components.
    ///
    /// # Errors
    /// The engine cannot be reached, or answers something else.
    pub async fn ready(&self) -> Result<Value, CliError> {
        let request = self
            .request(Method::GET, "/readyz")?
            .timeout(ANSWER_TIMEOUT);
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => response
                .json()
                .await
                .map_err(|error| self.unreachable(&error)),
            _ => Err(problem::from_response(response).await),
        }
    }

    /// Opens a resource below `/api/v1` whose body the caller reads: logs and streams. The whole
    /// body of a log page must come within `within`; a stream has no such limit.
    ///
    /// # Errors
    /// The engine cannot be reached, or says no.
    pub async fn open(
        &self,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, String)],
        within: Option<Duration>,
    ) -> Result<Response, CliError> {
        let mut request = self
            .request(Method::GET, &format!("/api/v1{path}"))?
            .query(query);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(wait) = within {
            request = request.timeout(wait + ANSWER_TIMEOUT);
        }
        self.accept(request).await
    }
}

/// An error and its causes in one line, without saying one twice.
fn chain(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.is_timeout() {
        "it took too long".to_owned()
    } else {
        innermost.to_string()
    }
}

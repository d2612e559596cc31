//! `http`: one request, without a process. The parameters of the job say all of it; see
//! [`request`]. Redirects are followed here and not in the client, because each action has its own
//! limit and because headers with credentials must stay with the host that they were meant for.

mod request;

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind, Object, duration};
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, PROXY_AUTHORIZATION,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};

use super::failure;
use request::HttpRequest;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where neither the request nor the action says: an answer that never comes must not hold a slot.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const SHOWN_CHARS: usize = 200;

/// The client that all HTTP actions share; made when the first one runs.
#[derive(Default)]
pub(crate) struct Http(OnceLock<Result<Client, String>>);

impl Http {
    fn client(&self) -> Result<&Client, Failure> {
        let made = self.0.get_or_init(|| {
            Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("camshaft/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| chain(&error))
        });
        made.as_ref().map_err(|error| {
            failure(
                FailureKind::Http,
                format!("the HTTP client cannot be made: {error}"),
            )
        })
    }

    /// Sends the job's request.
    ///
    /// # Errors
    /// A failure of kind `Parameters`, or of kind `Http`: no answer, another one than expected, or
    /// one that is too long.
    pub(crate) async fn run(&self, job: &Job) -> Result<Value, Failure> {
        let request = HttpRequest::read(&job.parameters, &job.idempotency_key, &job.trace_parent)?;
        let client = self.client()?;
        let limit = request.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let asked = format!("{} {}", request.method, shown(&request.url));
        tokio::time::timeout(limit, exchange(client, request, &job.secrets))
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "gave no answer within {}",
                    duration::display(limit)
                ))
            })
            .map_err(|error| failure(FailureKind::Http, format!("{asked} {error}")))
    }
}

/// A URL without the credentials that it may carry.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have credentials.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut at = error.source();
    while let Some(cause) = at {
        texts.push(cause.to_string());
        at = cause.source();
    }
    texts.dedup();
    texts.join(": ")
}

/// Asks, follows redirects, reads and judges the answer.
async fn exchange(
    client: &Client,
    mut request: HttpRequest,
    secrets: &[String],
) -> Result<Value, String> {
    let mut followed = 0;
    loop {
        let response = send(client, &request).await?;
        let Some(next) = redirect(&request, &response)? else {
            return answer(&request, response).await;
        };
        if request.redirects == 0 {
            return answer(&request, response).await;
        }
        followed += 1;
        if followed > request.redirects {
            return Err(format!(
                "was redirected more than {} times",
                request.redirects
            ));
        }
        turn(&mut request, response.status(), next, secrets);
    }
}

async fn send(client: &Client, request: &HttpRequest) -> Result<Response, String> {
    let mut builder = client
        .request(request.method.clone(), request.url.clone())
        .headers(request.headers.clone());
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    builder
        .send()
        .await
        .map_err(|error| format!("failed: {}", chain(&error.without_url())))
}

/// Where a response leads, if it is a redirect.
fn redirect(request: &HttpRequest, response: &Response) -> Result<Option<Url>, String> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| follows) else {
        return Ok(None);
    };
    let next = location
        .to_str()
        .ok()
        .and_then(|text| request.url.join(text).ok());
    let next = next.filter(|url| matches!(url.scheme(), "http" | "https"));
    next.map(Some)
        .ok_or_else(|| "was redirected to what is not an http or https URL".to_owned())
}

/// Makes the request that follows a redirect, as browsers do: what was not a reading request becomes
/// one unless the status says to repeat it, and credentials stay behind when the origin changes.
fn turn(request: &mut HttpRequest, status: StatusCode, next: Url, secrets: &[String]) {
    let repeat = matches!(status.as_u16(), 307 | 308) || request.method == Method::HEAD;
    let posted = status == StatusCode::SEE_OTHER || request.method == Method::POST;
    if !repeat && posted {
        request.method = Method::GET;
        request.body = None;
        for name in [CONTENT_TYPE, CONTENT_LENGTH] {
            request.headers.remove(name);
        }
        request.headers.remove("idempotency-key");
    }
    if next.origin() != request.url.origin() {
        strip_credentials(&mut request.headers, secrets);
    }
    request.url = next;
}

fn strip_credentials(headers: &mut HeaderMap, secrets: &[String]) {
    let tells = |value: &[u8]| {
        let text = String::from_utf8_lossy(value);
        secrets
            .iter()
            .any(|secret| !secret.is_empty() && text.contains(secret.as_str()))
    };
    let known = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
    let names: Vec<_> = headers
        .iter()
        .filter(|(name, value)| known.contains(name) || tells(value.as_bytes()))
        .map(|(name, _)| name.clone())
        .collect();
    for name in names {
        headers.remove(name);
    }
}

async fn answer(request: &HttpRequest, mut response: Response) -> Result<Value, String> {
    let (status, url) = (response.status(), response.url().clone());
    let headers = response.headers().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| format!("broke off: {}", chain(&error.without_url())))?
    {
        if (bytes.len() + chunk.len()) as u64 > request.max_bytes {
            return Err(format!(
                "answered with more than max_bytes ({}) bytes",
                request.max_bytes
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    if !request.expects(status.as_u16()) {
        let text = String::from_utf8_lossy(&bytes);
        let head: String = text.trim().chars().take(SHOWN_CHARS).collect();
        let said = if head.is_empty() {
            String::new()
        } else {
            format!(": {head}")
        };
        return Err(format!(
            "answered {status} (expected {}){said}",
            request.expectation()
        ));
    }
    Ok(json!({
        "status": status.as_u16(),
        "headers": header_object(&headers),
        "body": body(&headers, &bytes),
        "url": shown(&url),
    }))
}

fn header_object(headers: &HeaderMap) -> Object {
    let mut object = Object::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        object.insert(name.to_string(), values.join(", ").into());
    }
    object
}

/// JSON where the answer says that it is and it is; otherwise its text.
fn body(headers: &HeaderMap, bytes: &[u8]) -> Value {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let kind = kind
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let is_json = kind == "application/json" || kind.ends_with("+json");
    if is_json && bytes.is_empty() {
        return Value::Null;
    }
    let parsed = is_json
        .then(|| serde_json::from_slice(bytes).ok())
        .flatten();
    parsed.unwrap_or_else(|| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

#[cfg(test)]
mod tests;

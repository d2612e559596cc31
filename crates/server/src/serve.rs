//! Listening, and stopping within a bounded time.

use std::future::{Future, IntoFuture};
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::serve::ListenerExt;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests that are being answered may go on after the server was told to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Tells long-polls and streams that the server stops. Without a server, as in a test, it never does.
#[derive(Clone, Default)]
pub(crate) struct Stopping(CancellationToken);

impl Stopping {
    /// Returns once the server stops.
    pub(crate) async fn stopped(&self) {
        self.0.cancelled().await;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Stopping {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Answers requests until `shutdown` ends, then ends long-polls and streams and gives other requests
/// five seconds.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let stopping = Stopping::default();
    // An answer must not wait for the client to acknowledge the segment before it.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
    });
    let router = router.layer(Extension(stopping.clone()));
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(stopping.0.clone().cancelled_owned())
        .into_future();
    let mut server = pin!(server);
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => {}
    }
    stopping.0.cancel();
    tokio::time::timeout(SHUTDOWN_GRACE, server)
        .await
        .unwrap_or_else(|_| {
            tracing::warn!(
                "requests that took longer than {SHUTDOWN_GRACE:?} were cut off at shutdown"
            );
            Ok(())
        })
}

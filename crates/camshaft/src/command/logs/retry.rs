//! Patience with an engine that goes away while it is followed: reading on is safe, so it is tried
//! again for a while, with the place that was reached.

use std::time::Duration;

use camshaft_model::ErrorCode;
use camshaft_model::duration;

use crate::command::Context;
use crate::exit::CliError;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(5);
/// An engine that stays away for longer is not coming back by itself.
const LIMIT: Duration = Duration::from_secs(120);

/// How long has been waited since the last sign of life.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    delay: Duration,
    waited: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            delay: FIRST_DELAY,
            waited: Duration::ZERO,
        }
    }
}

impl Patience {
    /// The error of a connection that broke.
    pub fn lost(reason: &str) -> CliError {
        CliError::new(
            ErrorCode::Unreachable,
            format!("the connection was lost: {reason}"),
        )
        .hint("start it with: camshaft up")
    }

    /// Waits before another try, or gives up with the error: at once if it is no matter of the
    /// connection, and when the limit is reached.
    ///
    /// # Errors
    /// The one that was handed in.
    pub async fn wait(
        &mut self,
        context: &Context,
        error: CliError,
        what: &str,
    ) -> Result<(), CliError> {
        self.wait_saying(context, error, what, |text| context.screen.note(text))
            .await
    }

    /// The same for who has another place to say it.
    ///
    /// # Errors
    /// The one that was handed in.
    pub async fn wait_saying(
        &mut self,
        context: &Context,
        error: CliError,
        what: &str,
        say: impl FnOnce(&str),
    ) -> Result<(), CliError> {
        let transient = matches!(error.code, ErrorCode::Unreachable | ErrorCode::Unavailable);
        if !transient || self.waited >= LIMIT {
            return Err(error);
        }
        if self.waited.is_zero() {
            let limit = duration::display(LIMIT);
            say(&format!(
                "Waiting up to {limit} to read on in {what}: {}",
                error.message
            ));
        }
        tokio::time::sleep(self.delay).await;
        self.waited += self.delay;
        self.delay = (self.delay * 2).min(MAX_DELAY);
        context.client.refresh();
        Ok(())
    }
}

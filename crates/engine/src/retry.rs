//! When an attempt that did not complete is followed by another.

use std::time::Duration;

use camshaft_model::Status;
use camshaft_model::definition::{Action, Backoff, RetryPolicy};

/// How often an idempotent execution is taken up again after the engine itself was interrupted, on
/// top of its policy's tries. Bounds an action that takes the engine down with it.
pub const MAX_INTERRUPTIONS: u32 = 5;

/// The delay before the attempt after `attempt` (from 1); `fraction` is chance from 0 to 1.
pub fn delay(policy: &RetryPolicy, attempt: u32, fraction: f64) -> Duration {
    let factor = match policy.backoff {
        Backoff::Constant => 1.0,
        Backoff::Linear => f64::from(attempt),
        Backoff::Exponential => {
            2f64.powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX))
        }
    };
    let limit = policy.max_delay.as_secs_f64();
    let grown = (policy.delay.as_secs_f64() * factor).min(limit);
    let secs = if policy.jitter {
        grown * (0.5 + fraction / 2.0)
    } else {
        grown
    };
    Duration::try_from_secs_f64(secs).unwrap_or(policy.max_delay)
}

/// Whether the policy allows another attempt after `attempt` ended with `status`.
pub fn allows(policy: &RetryPolicy, attempt: u32, status: Status) -> bool {
    attempt < policy.max_attempts && policy.on.contains(&status)
}

/// Whether an attempt that was cut off by the end of the engine or worker is followed by another.
/// That was not the action's doing, so it does not use up its tries.
pub fn allows_after_interruption(action: &Action, attempt: u32) -> bool {
    action.idempotent
        && action.retry.on.contains(&Status::Abandoned)
        && attempt < action.retry.max_attempts.saturating_add(MAX_INTERRUPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(backoff: Backoff, jitter: bool) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 4,
            delay: Duration::from_secs(2),
            backoff,
            max_delay: Duration::from_secs(7),
            jitter,
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn delays_grow_as_declared_and_stop_at_the_cap() {
        let secs = |backoff| [1, 2, 3, 4].map(|n| delay(&policy(backoff, false), n, 0.9).as_secs());
        assert_eq!(secs(Backoff::Constant), [2, 2, 2, 2]);
        assert_eq!(secs(Backoff::Linear), [2, 4, 6, 7]);
        assert_eq!(secs(Backoff::Exponential), [2, 4, 7, 7]);
    }

    #[test]
    fn max_attempts_counts_the_first_try() {
        let policy = policy(Backoff::Constant, false);
        assert!(allows(&policy, 3, Status::Failed));
        assert!(!allows(&policy, 4, Status::Failed));
        assert!(!allows(&policy, 1, Status::Cancelled));
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_the_whole(attempt in 1u32.., fraction in 0f64..1.0) {
            let whole = delay(&policy(Backoff::Exponential, false), attempt, 0.0);
            let got = delay(&policy(Backoff::Exponential, true), attempt, fraction);
            prop_assert!(got <= whole && got >= whole / 2);
        }
    }
}

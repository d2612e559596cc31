//! The one module that reads the clock, makes ids and asks for chance.

use std::time::{SystemTime, UNIX_EPOCH};

use camshaft_model::Timestamp;
use camshaft_model::port::clock::{Clock, Entropy};
use parking_lot::Mutex;
use rand::RngCore;
use uuid::{Builder, Uuid};

/// The clock of the machine.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module where time enters"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Ids that rise, and chance.
///
/// An id has the milliseconds of its instant, then a counter that starts anew, at a random place in
/// the lower half, with each millisecond, then chance. If the clock steps back, or one millisecond
/// uses its counter up, ids go on from the last one's millisecond: a later id always sorts later.
#[derive(Debug, Default)]
pub struct SystemEntropy {
    last: Mutex<(u64, u32)>,
}

impl SystemEntropy {
    /// Random bytes, for keys and tokens.
    pub fn bytes<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}

impl Entropy for SystemEntropy {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let mut bytes: [u8; 10] = Self::bytes();
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        let mut last = self.last.lock();
        if millis > last.0 {
            let start = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 1;
            *last = (millis, start);
        } else if last.1 == 0x00ff_ffff {
            *last = (last.0 + 1, 0);
        } else {
            last.1 += 1;
        }
        // The version takes the upper half of the first byte and the variant the upper quarter of the
        // third, so the counter's 24 bits go where all of them survive.
        let counter = last.1;
        bytes[0] = (counter >> 20) as u8;
        bytes[1] = (counter >> 12) as u8;
        bytes[2] = ((counter >> 6) & 0x3f) as u8;
        bytes[3] = (((counter & 0x3f) << 2) as u8) | (bytes[3] & 3);
        Builder::from_unix_timestamp_millis(last.0, &bytes).into_uuid()
    }

    fn fraction(&self) -> f64 {
        f64::from(rand::rng().next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_also_when_the_clock_steps_back() {
        let entropy = SystemEntropy::default();
        let mut last = Uuid::nil();
        for micros in [5_000, 5_000, 9_000, 3_000, 9_500, 12_000].repeat(2_000) {
            let id = entropy.uuid(Timestamp::from_micros(micros));
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.get_version_num(), 7);
            last = id;
        }
    }
}

//! How long to wait before something that failed is tried again: exponentially longer, and at random, so that many who failed at
//! once do not come back at once.

use crate::error::Next;
use crate::status::SinkState;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The longest first pause; it doubles with each failure.
    pub first: Duration,
    /// The longest of all.
    pub most: Duration,
    /// The longest while somebody must do something: it is not less than half of it.
    pub slow: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(10), slow: Duration::from_secs(30) }
    }
}

impl Pace {
    /// What to be, and for how long to wait, after the `failures`-th failure in a row; `None`: it is time to end.
    pub(crate) fn after(&self, next: Next, failures: u32) -> Option<(SinkState, Duration)> {
        match next {
            Next::Stop => None,
            Next::Again => Some((SinkState::Retrying, self.pause(failures, random()))),
            Next::Somebody => Some((SinkState::Stalled, self.slow(random()))),
            Next::Ousted => Some((SinkState::Ousted, self.slow(random()))),
        }
    }

    /// After the `failures`-th failure in a row (1, 2, …): anything up to the limit ("full jitter": Brooker, *Exponential
    /// Backoff And Jitter*, AWS 2015). `random` decides where.
    pub fn pause(&self, failures: u32, random: u64) -> Duration {
        let limit = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.most);
        part(limit, random)
    }

    /// While somebody must do something.
    pub fn slow(&self, random: u64) -> Duration {
        self.slow / 2 + part(self.slow / 2, random)
    }
}

fn part(limit: Duration, random: u64) -> Duration {
    // A number below 2^32 of 2^32.
    let nanos = (limit.as_nanos() * u128::from(random >> 32)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Random enough for pauses: the standard library's keys for hash maps are, and differ each time.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pace = Pace::default();
        assert_eq!(pace.pause(1, 0), Duration::ZERO);
        let most = |failures| pace.pause(failures, u64::MAX);
        assert!(most(1) > Duration::from_millis(99) && most(1) < Duration::from_millis(100));
        assert!(most(3) > Duration::from_millis(399) && most(3) < Duration::from_millis(400));
        assert!(most(u32::MAX) < Duration::from_secs(10) && most(u32::MAX) > Duration::from_secs(9));
        assert!(pace.slow(0) == Duration::from_secs(15) && pace.slow(u64::MAX) < Duration::from_secs(30));
        assert!((0..9).map(|_| random()).collect::<std::collections::BTreeSet<_>>().len() > 1);
    }
}

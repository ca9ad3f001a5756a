//! When an engine may start again whose writer has ended. Pure: whoever follows the group asks it, and starts.
//!
//! A writer is fenced by a later one of its name. Mostly that is the brokers' own doing, or a process that was thought dead
//! and has come back: the group says within two heartbeats whose the partitions are. Two processes that both go on for ever
//! would fence each other in turn, so that an engine does not start again any number of times in a row.

use aulaflow_model::share::Share;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often an engine starts again without having stayed.
pub const RESTARTS_MAX: u32 = 3;
/// An engine that ran for so long has stayed: what was before does not count any more.
pub const STAYED: Duration = Duration::from_secs(600);

/// What to do with an engine whose writer has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Start it again once the pause is over ([`Restarts::may_start`]).
    StartLater,
    /// Start nothing: it has ended so many times in a row.
    GiveUp(u32),
}

/// The engines whose writers have ended.
#[derive(Debug)]
pub struct Restarts {
    pause: Duration,
    ended: BTreeMap<Share, Ended>,
}

#[derive(Debug)]
struct Ended {
    at: Instant,
    /// How many times without having stayed in between.
    in_a_row: u32,
}

impl Restarts {
    /// None has ended. The group is asked every `session_timeout / 10` whose the partitions are.
    pub fn new(session_timeout: Duration) -> Self {
        Self { pause: session_timeout / 5, ended: BTreeMap::new() }
    }

    /// A share's engine has ended; what to do.
    pub fn ended(&mut self, share: Share, now: Instant) -> Next {
        let before = self.ended.get(&share).filter(|ended| now.duration_since(ended.at) < self.pause + STAYED);
        let in_a_row = before.map_or(0, |ended| ended.in_a_row) + 1;
        self.ended.insert(share, Ended { at: now, in_a_row });
        if in_a_row > RESTARTS_MAX { Next::GiveUp(in_a_row) } else { Next::StartLater }
    }

    /// Whether a share's engine may start now.
    pub fn may_start(&self, share: Share, now: Instant) -> bool {
        self.ended.get(&share).is_none_or(|ended| now.duration_since(ended.at) >= self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(45);
    const SHARE: Share = Share::Partition(3);

    #[test]
    fn an_engine_starts_after_two_heartbeats() {
        let (mut restarts, begun) = (Restarts::new(SESSION), Instant::now());
        assert!(restarts.may_start(SHARE, begun));
        assert_eq!(restarts.ended(SHARE, begun), Next::StartLater);
        for (seconds, may_start) in [(0, false), (8, false), (9, true), (1_000, true)] {
            assert_eq!(restarts.may_start(SHARE, begun + Duration::from_secs(seconds)), may_start, "{seconds} s");
        }
        assert!(restarts.may_start(Share::Partition(4), begun), "the others need not wait");
    }

    #[test]
    fn it_does_not_start_again_and_again() {
        // Seconds between two ends, and what follows.
        let (soon, stayed) = (10, 609);
        let table = [
            (vec![soon, soon, soon], Next::GiveUp(4)),
            (vec![soon, soon, stayed - 1], Next::GiveUp(4)),
            (vec![soon, soon, stayed], Next::StartLater),
            (vec![stayed, soon, soon, soon], Next::GiveUp(4)),
            (vec![soon, stayed, soon, soon], Next::StartLater),
            (vec![stayed; 9], Next::StartLater),
        ];
        for (pauses, expected) in table {
            let (mut restarts, mut now) = (Restarts::new(SESSION), Instant::now());
            let mut last = restarts.ended(SHARE, now);
            for seconds in &pauses {
                assert_eq!(last, Next::StartLater, "{pauses:?}");
                now += Duration::from_secs(*seconds);
                last = restarts.ended(SHARE, now);
            }
            assert_eq!(last, expected, "{pauses:?}");
            assert_eq!(restarts.ended(Share::All, now), Next::StartLater, "each share counts for itself");
        }
    }
}

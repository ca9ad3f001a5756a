//! How long the oldest block that is not sent has waited, about: when which block was the newest is remembered now and then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two notes.
const EVERY: Duration = Duration::from_secs(1);
/// Notes that are kept; beyond it every second one is forgotten.
const NOTES_MAX: usize = 1_024;

/// The notes of one outbox.
#[derive(Debug, Default)]
pub struct Ages {
    notes: VecDeque<(u64, Instant)>,
}

impl Ages {
    /// The newest block has this number now.
    pub fn newest(&mut self, number: u64, now: Instant) {
        let due = self.notes.back().is_none_or(|(last, at)| number > *last && now.duration_since(*at) >= EVERY);
        if !due {
            return;
        }
        if self.notes.len() >= NOTES_MAX {
            let mut keep = false;
            self.notes.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.notes.push_back((number, now));
    }

    /// Everything up to this number is sent.
    pub fn sent(&mut self, number: u64) {
        while self.notes.front().is_some_and(|(newest, _)| *newest <= number) {
            self.notes.pop_front();
        }
    }

    /// How long the oldest unsent one waits.
    pub fn oldest(&self, now: Instant) -> Duration {
        self.notes.front().map_or(Duration::ZERO, |(_, at)| now.duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unsent_block_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut ages = Ages::default();
        assert_eq!(ages.oldest(at(5)), Duration::ZERO);
        for second in 0..10 {
            ages.newest(second + 1, at(second));
        }
        assert_eq!(ages.oldest(at(10)), Duration::from_secs(10));
        ages.sent(4);
        assert_eq!(ages.oldest(at(10)), Duration::from_secs(6));
        ages.sent(10);
        assert_eq!(ages.oldest(at(10)), Duration::ZERO);
    }

    #[test]
    fn notes_are_bounded() {
        let start = Instant::now();
        let mut ages = Ages::default();
        for second in 0..5_000 {
            ages.newest(second + 1, start + Duration::from_secs(second));
        }
        assert!(ages.notes.len() <= NOTES_MAX);
        assert_eq!(ages.oldest(start + Duration::from_secs(5_000)), Duration::from_secs(5_000));
    }
}

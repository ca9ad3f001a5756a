//! Where a writer that goes on from a checkpoint must look again. Pure bookkeeping of offsets and times.
//!
//! A round reads profiles as they are, which may be newer than what a checkpoint covers by then. Were such a value left on
//! the changelog, and did the change come undone before the next round, a restart would not see it: it computes no change.
//! So a mark points at the first round that may have read anything later than its checkpoint.

use aulaflow_log::Offset;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Offsets by partition.
pub type Offsets = BTreeMap<u32, Offset>;

/// What a checkpoint keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What the rows are of: a hash of the views' definitions. After another one everything is written again.
    pub views: u64,
    /// From where on there may be something newer.
    pub offsets: Offsets,
    /// As of when everything before is true.
    pub as_of: i64,
}

/// Rounds remembered at most, until a checkpoint is made: some minutes of them. More are merged.
const ROUNDS_MAX: usize = 4_096;

/// The rounds since the last checkpoint.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Where the round's first record is, and the latest time that it may have read.
    rounds: VecDeque<(Offsets, u64)>,
    /// Where the next record will be, or earlier.
    pub next: Offsets,
}

impl Rounds {
    /// A round that began at these offsets has read nothing later than `newest`.
    pub fn push(&mut self, start: Offsets, newest: u64) {
        self.rounds.push_back((start, newest));
        if self.rounds.len() > ROUNDS_MAX
            && let Some((start, _)) = self.rounds.pop_front()
            && let Some(second) = self.rounds.front_mut()
        {
            second.0 = start;
        }
    }

    /// Where records begin that may be newer than `time`. Times only grow: what lies before is forgotten.
    pub fn newer_than(&mut self, time: u64) -> Offsets {
        while self.rounds.front().is_some_and(|(_, newest)| *newest <= time) {
            self.rounds.pop_front();
        }
        self.rounds.front().map_or(&self.next, |(start, _)| start).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Offsets {
        Offsets::from([(0, offset)])
    }

    #[test]
    fn a_mark_points_at_the_first_round_that_may_have_read_more() {
        let mut rounds = Rounds { next: at(0), ..Rounds::default() };
        assert_eq!(rounds.newer_than(5), at(0), "nothing was written");
        rounds.push(at(0), 10);
        rounds.push(at(3), 25);
        rounds.push(at(7), 40);
        rounds.next = at(9);
        assert_eq!(rounds.newer_than(8), at(0));
        assert_eq!(rounds.newer_than(10), at(3));
        assert_eq!(rounds.newer_than(30), at(7));
        assert_eq!(rounds.newer_than(40), at(9));
    }

    #[test]
    fn rounds_without_a_checkpoint_are_merged_towards_the_earlier() {
        let mut rounds = Rounds::default();
        for n in 0..ROUNDS_MAX as u64 + 2 {
            rounds.push(at(n), n * 10);
        }
        assert_eq!(rounds.rounds.len(), ROUNDS_MAX);
        assert_eq!(rounds.newer_than(0), at(0));
        assert_eq!(rounds.newer_than(25), at(3));
    }
}

//! Which event ids were seen: each counts once within the dedupe horizon.
//!
//! Ids are kept as 128-bit hashes of (tenant, student, event id), in generations of a third of the horizon, by the clock
//! at which they were accepted or the event's own time, whichever is later: an event clock that starts at nothing, or
//! jumps, must not forget what is still to come. A generation is forgotten when its youngest id is older than the
//! horizon, a bounded number of ids at a time; so an id is remembered for at least the horizon, and a little longer.

use aulaflow_model::instant::Millis;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// An event's identity.
pub type IdHash = u128;

/// How many ids one call forgets at most.
const FORGET_MAX: usize = 20_000;

/// The identity of an event: the student's route stands for tenant and student.
pub fn id_hash(route: u64, table: usize, event_id: &str) -> IdHash {
    xxh3_128_with_seed(event_id.as_bytes(), route.wrapping_add(table as u64))
}

/// The ids of one table and worker.
pub struct Seen {
    width_ms: i64,
    ids: HashTable<IdHash>,
    generations: BTreeMap<i64, Vec<IdHash>>,
}

/// Where an id lies in the table: it is a hash already.
fn place(id: &IdHash) -> u64 {
    *id as u64
}

impl Seen {
    /// Remembers nothing yet.
    pub fn new(horizon_ms: i64) -> Self {
        Self { width_ms: (horizon_ms / 3).max(1), ids: HashTable::new(), generations: BTreeMap::new() }
    }

    /// The generation of an event of this time, accepted at this clock reading.
    pub fn generation(&self, clock: Millis, occurred_at: Millis) -> i64 {
        clock.max(occurred_at).pane(self.width_ms)
    }

    /// The oldest generation that is still remembered at a clock reading.
    pub fn oldest(&self, clock: Millis) -> i64 {
        clock.pane(self.width_ms) - 3
    }

    /// Takes an id into a generation; false if it is known.
    pub fn insert(&mut self, id: IdHash, generation: i64) -> bool {
        match self.ids.entry(place(&id), |known| *known == id, place) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(id);
                self.generations.entry(generation).or_default().push(id);
                true
            }
        }
    }

    /// Forgets what is past the horizon, at most [`FORGET_MAX`] ids: the rest at the next calls.
    pub fn expire(&mut self, clock: Millis) {
        let oldest = self.oldest(clock);
        let mut left = FORGET_MAX;
        while let Some(mut first) = self.generations.first_entry().filter(|g| *g.key() < oldest) {
            let ids = first.get_mut();
            let kept = ids.len().saturating_sub(left);
            left -= ids.len() - kept;
            for id in ids.drain(kept..) {
                if let Ok(entry) = self.ids.find_entry(place(&id), |known| *known == id) {
                    entry.remove();
                }
            }
            if !ids.is_empty() {
                return;
            }
            first.remove();
        }
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_once_within_the_horizon() {
        let mut seen = Seen::new(30);
        let id = id_hash(1, 0, "e1");
        let mut insert = |clock, occurred_at| {
            seen.expire(Millis(clock));
            let generation = seen.generation(Millis(clock), Millis(occurred_at));
            (seen.insert(id, generation), seen.len())
        };
        assert_eq!(insert(9, 9), (true, 1));
        for clock in [9, 10, 20, 39] {
            assert_eq!(insert(clock, 9), (false, 1), "at {clock}");
        }
        assert_eq!(insert(49, 9), (true, 1));
    }

    #[test]
    fn an_event_of_a_later_time_is_remembered_until_after_it() {
        let mut seen = Seen::new(30);
        let id = id_hash(1, 0, "e1");
        let generation = seen.generation(Millis(0), Millis(1_000));
        assert!(seen.insert(id, generation));
        seen.expire(Millis(1_029));
        let generation = seen.generation(Millis(1_029), Millis(1_000));
        assert!(!seen.insert(id, generation));
    }

    #[test]
    fn a_large_generation_is_forgotten_in_parts() {
        let mut seen = Seen::new(30);
        let count = FORGET_MAX + 5;
        for n in 0..count {
            assert!(seen.insert(id_hash(1, 0, &n.to_string()), 0));
        }
        seen.expire(Millis(1_000));
        assert_eq!(seen.len(), 5);
        seen.expire(Millis(1_000));
        assert_eq!((seen.len(), seen.generations.len()), (0, 0));
    }

    #[test]
    fn students_and_tables_are_apart() {
        assert_ne!(id_hash(1, 0, "e"), id_hash(2, 0, "e"));
        assert_ne!(id_hash(1, 0, "e"), id_hash(1, 1, "e"));
    }
}

//! Which event ids were seen: each counts once within the dedupe horizon.
//!
//! Ids are kept as hashes of (tenant, student, event id), in generations of a third of the horizon, by the instant at which
//! the event was accepted or its own time, whichever is later. Whether an event repeats another is decided by the two
//! generations alone, so a log that is read again, however much later, gives the same answer. *Forgetting* only frees
//! memory: it may come late, and must not come while events are read that are older than what is forgotten.

use aulaflow_model::instant::Millis;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// An event's identity: a hash whose low 16 bits are free for the generation.
pub type IdHash = u128;

/// How many ids one call forgets at most.
const FORGET_MAX: usize = 20_000;
/// How long after it was accepted an event is read at the latest, while no older ones are.
const MOMENT_MS: i64 = 60_000;
/// For how many generations an id is remembered after its own.
const GENERATIONS: i64 = 3;
/// The bits of a remembered id that hold its generation.
const GENERATION_BITS: u128 = 0xffff;

/// The identity of an event: the student's route stands for tenant and student.
pub fn id_hash(route: u64, table: usize, event_id: &str) -> IdHash {
    xxh3_128_with_seed(event_id.as_bytes(), route.wrapping_add(table as u64)) & !GENERATION_BITS
}

/// The ids of one table and worker.
pub struct Seen {
    width_ms: i64,
    /// Each with the low bits of its generation: enough to tell it from any other that is near.
    ids: HashTable<IdHash>,
    generations: BTreeMap<i64, Vec<IdHash>>,
}

/// Where an id lies in the table: it is a hash already.
fn place(id: &IdHash) -> u64 {
    (*id >> 16) as u64
}

fn same(a: IdHash, b: IdHash) -> bool {
    a & !GENERATION_BITS == b & !GENERATION_BITS
}

fn with_generation(id: IdHash, generation: i64) -> IdHash {
    (id & !GENERATION_BITS) | u128::from(generation as u16)
}

/// How many generations an id's is before another one.
fn age(id: IdHash, generation: i64) -> i64 {
    i64::from((generation as u16).wrapping_sub(id as u16) as i16)
}

impl Seen {
    /// Remembers nothing yet.
    pub fn new(horizon_ms: i64) -> Self {
        Self { width_ms: (horizon_ms / 3).max(1), ids: HashTable::new(), generations: BTreeMap::new() }
    }

    /// The generation of an event of this time, accepted at this instant.
    pub fn generation(&self, accepted: Millis, occurred_at: Millis) -> i64 {
        accepted.max(occurred_at).pane(self.width_ms)
    }

    /// Generations before this one are forgotten at a clock. A record that is read now may have been accepted a moment ago.
    pub fn oldest(&self, clock: Millis) -> i64 {
        Millis(clock.0.saturating_sub(MOMENT_MS)).pane(self.width_ms) - GENERATIONS
    }

    /// Takes an id into a generation; false if it repeats one that is remembered.
    pub fn insert(&mut self, id: IdHash, generation: i64) -> bool {
        match self.ids.entry(place(&id), |known| same(*known, id), place) {
            Entry::Occupied(known) if age(*known.get(), generation) <= GENERATIONS => return false,
            Entry::Occupied(mut known) => *known.get_mut() = with_generation(id, generation),
            Entry::Vacant(free) => drop(free.insert(with_generation(id, generation))),
        }
        self.generations.entry(generation).or_default().push(id);
        true
    }

    /// Forgets what no event that is read from this clock on can repeat, at most [`FORGET_MAX`] ids: the rest at the next
    /// calls.
    pub fn forget(&mut self, clock: Millis) {
        let oldest = self.oldest(clock);
        let mut left = FORGET_MAX;
        while let Some(mut first) = self.generations.first_entry().filter(|g| *g.key() < oldest) {
            let generation = *first.key();
            let ids = first.get_mut();
            let kept = ids.len().saturating_sub(left);
            left -= ids.len() - kept;
            for id in ids.drain(kept..) {
                // Unless it has come again since, in a later generation.
                let own = |known: &IdHash| *known == with_generation(id, generation);
                if let Ok(entry) = self.ids.find_entry(place(&id), own) {
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
    fn an_id_counts_once_within_the_horizon_whether_or_not_it_was_forgotten() {
        for forgets in [true, false] {
            let mut seen = Seen::new(30);
            let id = id_hash(1, 0, "e1");
            let mut insert = |accepted| {
                if forgets {
                    seen.forget(Millis(accepted + MOMENT_MS));
                }
                let generation = seen.generation(Millis(accepted), Millis(9));
                (seen.insert(id, generation), seen.len())
            };
            assert_eq!(insert(9), (true, 1));
            for accepted in [9, 10, 20, 39] {
                assert_eq!(insert(accepted), (false, 1), "at {accepted}");
            }
            assert_eq!(insert(40), (true, 1));
            assert_eq!(insert(79), (false, 1), "counted from when it counted again");
        }
    }

    #[test]
    fn an_id_that_came_again_is_not_forgotten_with_its_first_generation() {
        let mut seen = Seen::new(30);
        let id = id_hash(1, 0, "e1");
        assert!(seen.insert(id, 0));
        assert!(seen.insert(id, 4));
        seen.forget(Millis(45 + MOMENT_MS));
        assert!(!seen.insert(id, 5));
        seen.forget(Millis(90 + MOMENT_MS));
        assert_eq!((seen.len(), seen.generations.len()), (0, 0));
    }

    #[test]
    fn an_event_of_a_later_time_is_remembered_until_after_it() {
        let mut seen = Seen::new(30);
        let id = id_hash(1, 0, "e1");
        let generation = seen.generation(Millis(0), Millis(1_000));
        assert!(seen.insert(id, generation));
        seen.forget(Millis(1_029 + MOMENT_MS));
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
        seen.forget(Millis(1_000 + MOMENT_MS));
        assert_eq!(seen.len(), 5);
        seen.forget(Millis(1_000 + MOMENT_MS));
        assert_eq!((seen.len(), seen.generations.len()), (0, 0));
    }

    #[test]
    fn students_and_tables_are_apart() {
        assert_ne!(id_hash(1, 0, "e"), id_hash(2, 0, "e"));
        assert_ne!(id_hash(1, 0, "e"), id_hash(1, 1, "e"));
    }
}

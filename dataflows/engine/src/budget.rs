//! The error budget of a source partition: when most of what is read cannot be used, a producer is broken, and reading on
//! would bury what is wrong under dead letters. Pure counting.
//!
//! What counts is what speaks of the producer: records that nobody can read (`key`, `schema`, `size`) and events from the
//! future. Late events do not: whoever imports last year's events has nothing but those. Nor does what a view could not
//! evaluate or keep: that is the view's fault, and the other views count the event.

use crate::dead_letters::Class;
use std::collections::{BTreeMap, VecDeque};

/// How much may be dead.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// More than this many of a hundred is too much; 100: nothing is.
    pub percent: u32,
    /// Of the last so many records.
    pub records: u64,
    /// Fewer records than this say nothing.
    pub records_min: u64,
}

/// Dead records by class.
pub type Dead = BTreeMap<Class, u64>;

/// What was read of one partition lately.
#[derive(Debug, Default)]
pub struct Budget {
    /// Records and dead ones by epoch, the oldest first.
    epochs: VecDeque<(u64, Dead)>,
    records: u64,
}

impl Class {
    /// Whether it says that the producer is broken.
    fn is_the_producers(self) -> bool {
        match self {
            Self::Key | Self::Schema | Self::Size | Self::Partition | Self::Future => true,
            Self::Late | Self::Expression | Self::Limit => false,
        }
    }
}

impl Budget {
    /// Takes an epoch's records. Why the source must not be read on, if so.
    pub fn spend(&mut self, limits: Limits, topic: &str, records: u64, mut dead: Dead) -> Option<String> {
        if limits.percent >= 100 || records == 0 {
            return None;
        }
        dead.retain(|class, _| class.is_the_producers());
        self.epochs.push_back((records, dead));
        self.records += records;
        while let Some((oldest, _)) = self.epochs.front().filter(|(n, _)| self.records - n >= limits.records) {
            self.records -= oldest;
            self.epochs.pop_front();
        }
        let of_class = self.epochs.iter().flat_map(|(_, dead)| dead).fold(Dead::new(), |mut sum, (class, n)| {
            *sum.entry(*class).or_default() += n;
            sum
        });
        let dead: u64 = of_class.values().sum();
        let too_many = self.records >= limits.records_min.min(limits.records)
            && u128::from(dead) * 100 > u128::from(self.records) * u128::from(limits.percent);
        let (most, _) = of_class.iter().max_by_key(|(_, n)| **n).filter(|_| too_many)?;
        Some(format!(
            "error budget: {dead} of the last {} records of {topic} could not be used, mostly `{}`: mend the producer, see \
             `aulaflow dlq list --topic {topic}`, then `aulaflow resume {topic}`",
            self.records,
            most.name()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { percent: 50, records: 1_000, records_min: 100 };

    fn spend(budget: &mut Budget, records: u64, class: Class, dead: u64) -> bool {
        budget.spend(LIMITS, "t", records, Dead::from([(class, dead)])).is_some()
    }

    #[test]
    fn more_than_the_share_of_enough_records_is_too_much() {
        let mut budget = Budget::default();
        assert!(!spend(&mut budget, 99, Class::Schema, 99), "too few to judge");
        assert!(spend(&mut budget, 1, Class::Schema, 0));
        let mut budget = Budget::default();
        assert!(!spend(&mut budget, 200, Class::Schema, 100), "exactly the share");
        assert!(spend(&mut budget, 1, Class::Schema, 1));
    }

    #[test]
    fn old_records_are_forgotten() {
        let mut budget = Budget::default();
        assert!(!spend(&mut budget, 900, Class::Schema, 0));
        for _ in 0..5 {
            assert!(!spend(&mut budget, 100, Class::Key, 100));
        }
        // Of the last 1,000 and what came with them: 600 of 1,000.
        assert!(!spend(&mut budget, 400, Class::Key, 0));
        assert!(spend(&mut budget, 300, Class::Key, 300));
    }

    #[test]
    fn the_reason_names_what_is_wrong() {
        let dead = Dead::from([(Class::Schema, 600), (Class::Key, 131), (Class::Late, 9_000)]);
        let reason = Budget::default().spend(LIMITS, "aula.behavior.v1", 1_000, dead);
        let reason = reason.unwrap_or_default();
        let says = "error budget: 731 of the last 1000 records of aula.behavior.v1 could not be used, mostly `schema`";
        assert!(reason.starts_with(says), "{reason}");
    }

    #[test]
    fn late_events_and_views_faults_spend_nothing_and_100_percent_is_off() {
        for class in [Class::Late, Class::Expression, Class::Limit] {
            assert!(!spend(&mut Budget::default(), 1_000, class, 1_000));
        }
        let off = Limits { percent: 100, ..LIMITS };
        assert_eq!(Budget::default().spend(off, "t", 1_000, Dead::from([(Class::Key, 1_000)])), None);
    }
}

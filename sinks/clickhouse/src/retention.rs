//! For how many days what the log said is kept in ClickHouse: from which day on a row counts, and when it goes. Pure; what goes
//! is removed elsewhere.
//!
//! A day is one of UTC, as a number since 1970. Retention counts from the day on which the log took a record: a late event is
//! kept as long as others, and a clock that is wrong keeps nothing for ever. On the event clock, where everything is read at
//! once, it counts from the day on which the event happened.

use crate::raw::Raw;
use aulaflow_model::instant::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;

/// ClickHouse removes a row by itself so many days after it should have gone: where no instance runs that does.
const TTL_DAYS: u16 = 7;

/// The last day of a `Date`, 2149-06-06: never.
const NEVER: u16 = u16::MAX;

/// A day of UTC since 1970.
pub type Day = u16;

/// The day of an instant; the first and the last one that there are for instants outside.
pub fn day_of(at: Millis) -> Day {
    let day = at.pane(DAY_MS).clamp(0, i64::from(NEVER));
    u16::try_from(day).unwrap_or(NEVER)
}

/// For how many days each kind is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptDays {
    /// Behaviour events.
    pub behavior: u16,
    /// Service events.
    pub service_events: u16,
    /// Dead letters.
    pub dead_letters: u16,
}

impl KeptDays {
    /// Of a table.
    pub fn of(&self, raw: Raw) -> u16 {
        match raw {
            Raw::Behavior => self.behavior,
            Raw::ServiceEvents => self.service_events,
            Raw::DeadLetters => self.dead_letters,
        }
    }
}

/// What is kept for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Where nothing else is said.
    pub default: KeptDays,
    /// Of single tenants.
    pub tenants: BTreeMap<String, KeptDays>,
}

impl RetentionPolicy {
    /// For how many days a tenant's rows are kept.
    pub fn days(&self, raw: Raw, tenant: &str) -> u16 {
        self.tenants.get(tenant).unwrap_or(&self.default).of(raw)
    }
}

/// An instant that is asked for.
pub type Now = Arc<dyn Fn() -> Millis + Send + Sync>;
/// The same of a clock that may not stand anywhere yet.
pub type MaybeNow = Arc<dyn Fn() -> Option<Millis> + Send + Sync>;

/// What "today" is.
#[derive(Clone)]
pub struct Clocks {
    /// The wall clock.
    pub wall: Now,
    /// The clock of the events, where the instance runs on it. Dead letters are about the instance's own work and have the wall
    /// clock's days all the same.
    pub events: Option<MaybeNow>,
}

/// The days of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its retention counts from here.
    pub from: Day,
    /// It goes on this day.
    pub expires: Day,
    /// ClickHouse removes it by itself on this day.
    pub ttl: Day,
}

impl Clocks {
    /// Today, for a table; none while the clock of the events stands nowhere.
    pub fn today(&self, raw: Raw) -> Option<Day> {
        match self.events(raw) {
            Some(events) => events().map(day_of),
            None => Some(day_of((self.wall)())),
        }
    }

    /// The days of a row that happened, or says so, and that the log took at an instant.
    pub fn kept(&self, raw: Raw, days: u16, happened: Millis, received: Millis) -> Kept {
        match self.events(raw) {
            Some(_) => {
                let from = day_of(happened);
                Kept { from, expires: from.saturating_add(days), ttl: NEVER }
            }
            None => {
                // A producer may give its records any time: not one that is still to come.
                let from = day_of(received).min(day_of((self.wall)()).saturating_add(1));
                let expires = from.saturating_add(days);
                Kept { from, expires, ttl: expires.saturating_add(TTL_DAYS) }
            }
        }
    }

    fn events(&self, raw: Raw) -> Option<&MaybeNow> {
        match raw {
            Raw::Behavior | Raw::ServiceEvents => self.events.as_ref(),
            Raw::DeadLetters => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(day: i64) -> Millis {
        Millis(day * DAY_MS + 5)
    }

    #[test]
    fn retention_counts_from_the_log_and_on_the_event_clock_from_the_event() {
        let live = Clocks { wall: Arc::new(|| at(20_000)), events: None };
        let kept = |clocks: &Clocks, raw, happened, received| clocks.kept(raw, 30, at(happened), at(received));
        let of = |from, expires, ttl| Kept { from, expires, ttl };
        assert_eq!(kept(&live, Raw::Behavior, 19_000, 19_999), of(19_999, 20_029, 20_036));
        // A timestamp from the future keeps nothing for longer.
        assert_eq!(kept(&live, Raw::Behavior, 19_000, 40_000), of(20_001, 20_031, 20_038));
        assert_eq!(live.today(Raw::Behavior), Some(20_000));
        let replay = Clocks { wall: Arc::new(|| at(20_000)), events: Some(Arc::new(|| Some(at(16_000)))) };
        assert_eq!(kept(&replay, Raw::Behavior, 15_999, 20_000), of(15_999, 16_029, NEVER));
        assert_eq!(kept(&replay, Raw::DeadLetters, 15_999, 20_000), of(20_000, 20_030, 20_037));
        assert_eq!((replay.today(Raw::ServiceEvents), replay.today(Raw::DeadLetters)), (Some(16_000), Some(20_000)));
        assert_eq!((day_of(Millis(-1)), day_of(Millis(i64::MAX))), (0, NEVER));
    }

    #[test]
    fn a_tenant_may_have_days_of_its_own() {
        let default = KeptDays { behavior: 30, service_events: 30, dead_letters: 90 };
        let own = KeptDays { behavior: 7, ..default };
        let policy = RetentionPolicy { default, tenants: [("t".to_owned(), own)].into() };
        assert_eq!((policy.days(Raw::Behavior, "t"), policy.days(Raw::Behavior, "u")), (7, 30));
        assert_eq!(policy.days(Raw::DeadLetters, "t"), 90);
    }
}

//! What workers publish about time, and what a reader makes of it.
//!
//! The order of publication is what makes an instant true:
//!
//! - A worker changes profiles, then stores its frontier (release). A reader loads all frontiers (acquire), then the
//!   profile: it sees at least every change before `F`.
//! - A worker sets `expiring` before it stores a frontier past the boundary. A reader loads a worker's frontier before
//!   its `expiring`: if the frontier is past the boundary, it sees the boundary, or that it was cleared since.
//! - A worker clears `expiring` after its last change of the expiry. A reader loads `expiring` before the profile: if
//!   it sees it cleared, it sees the expiry's changes too.
//!
//! So a reader loads, in this order: frontiers, boundaries, profile.
//!
//! A *hold* is beside that: while a restarted process has not read again what was accepted before it, its clock runs and
//! claims too much. No instant is then later than the hold. It is set before anybody reads, and lifted once the frontiers are
//! past everything that was to be read: so a reader that finds it lifted must load the frontiers after it.

use aulaflow_model::instant::{ClockTime, Millis};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// No expiry is under way. An instant that no clock reaches.
const NONE: i64 = i64::MAX;

/// What one worker publishes; on a cache line of its own, since every reader loads it and one thread stores it.
#[repr(align(128))]
pub(crate) struct WorkerClock {
    frontier: AtomicU64,
    expiring: AtomicI64,
}

impl Default for WorkerClock {
    fn default() -> Self {
        Self { frontier: AtomicU64::new(ClockTime::ZERO.0), expiring: AtomicI64::new(NONE) }
    }
}

impl WorkerClock {
    /// Everything of this worker before `frontier` is in the map. Never goes back.
    pub(crate) fn advance(&self, frontier: ClockTime) {
        self.frontier.fetch_max(frontier.0, Ordering::Release);
    }

    pub(crate) fn set_expiring(&self, boundary: Option<Millis>) {
        self.expiring.store(boundary.map_or(NONE, |at| at.0), Ordering::Release);
    }
}

/// The latest instant that may be claimed, if there is one.
pub(crate) struct Hold(AtomicI64);

impl Default for Hold {
    fn default() -> Self {
        Self(AtomicI64::new(NONE))
    }
}

impl Hold {
    pub(crate) fn set(&self, until: Option<Millis>) {
        self.0.store(until.map_or(NONE, |at| at.0), Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != NONE
    }

    /// Loaded before the frontiers: where it is lifted, they and the profiles are at least as new.
    fn load(&self) -> Millis {
        Millis(self.0.load(Ordering::Acquire))
    }
}

/// The least frontier.
pub(crate) fn frontier(workers: &[WorkerClock]) -> ClockTime {
    ClockTime(workers.iter().map(|w| w.frontier.load(Ordering::Acquire)).min().unwrap_or_default())
}

/// What a reader knows before it loads a profile.
pub(crate) struct Instant {
    /// The last reading of the clock of which every step before `F` is complete.
    complete: Millis,
    /// Each worker's boundary; empty where no worker has one.
    expiring: SmallVec<[i64; 8]>,
    hold: Millis,
}

impl Instant {
    pub(crate) fn load(workers: &[WorkerClock], hold: &Hold) -> Self {
        let hold = hold.load();
        let frontier = frontier(workers);
        let mut expiring = SmallVec::new();
        if workers.iter().any(|w| w.expiring.load(Ordering::Acquire) != NONE) {
            expiring.extend(workers.iter().map(|w| w.expiring.load(Ordering::Acquire)));
        }
        // A frontier at the first step of a millisecond says nothing of that millisecond: what happens at it (a pane
        // that leaves its window, for one) may still come. True is what was just before.
        Self { complete: ClockTime(frontier.0.saturating_sub(1)).clock(), expiring, hold }
    }

    /// As of when a profile of `worker`, last changed at `changed_at` and loaded after this, is true.
    pub(crate) fn as_of(&self, worker: usize, changed_at: Millis) -> Millis {
        let at = self.complete.max(changed_at).min(self.hold);
        match self.expiring.get(worker) {
            Some(&boundary) if changed_at.0 < boundary => at.min(Millis(boundary - 1)),
            Some(_) | None => at,
        }
    }

    /// As of when a profile is true that has not changed for long, whoever writes it.
    pub(crate) fn of_all(&self) -> Millis {
        self.expiring.iter().fold(self.complete.min(self.hold), |at, boundary| at.min(Millis(boundary - 1)))
    }
}

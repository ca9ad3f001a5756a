//! The operators, one file each. What they have in common: they work epoch by epoch, in order, once the frontier has
//! passed an epoch, and keep a capability until they have; so a probe behind them that passes an epoch says that they did.

pub mod ask;
pub mod behavior;
pub mod cohorts;
pub mod evaluations;
pub mod features;
pub mod grades;
pub mod profiles;
pub mod tenants;

use crate::shared::{Handed, Local, Tell, Time};
use std::collections::BTreeMap;
use timely::progress::frontier::MutableAntichain;

/// Data by epoch, and the epochs that a frontier has completed.
pub struct Epochs<D> {
    pending: BTreeMap<Time, Vec<D>>,
    local: Local,
    done: Time,
}

/// One epoch to work on.
pub struct Epoch<D> {
    /// When.
    pub time: Time,
    /// Everything that came at that time.
    pub data: Vec<D>,
    /// Whether to export what changed, after this epoch.
    pub barrier: bool,
    /// What versions of grades are cut to.
    pub versions_bound: u32,
    /// Which changed rows of features leave.
    pub tell: Tell,
}

impl<D> Epochs<D> {
    /// Nothing pending.
    pub fn new(local: Local) -> Self {
        Self { pending: BTreeMap::new(), local, done: 0 }
    }

    /// Keeps data for its epoch.
    pub fn push(&mut self, time: Time, data: &mut Vec<D>) {
        self.pending.entry(time).or_default().append(data);
    }

    /// Keeps one datum for its epoch.
    pub fn push_one(&mut self, time: Time, datum: D) {
        self.pending.entry(time).or_default().push(datum);
    }

    /// The next completed epoch below `upper`: each that was handed out comes once, in order, with or without data.
    ///
    /// Only those: a frontier also passes numbers between epochs, while the data of the next one is on its way. No
    /// operator has moved its clock there, so nothing is true as of them.
    pub fn next(&mut self, upper: Time) -> Option<Epoch<D>> {
        let epochs = self.local.epochs.borrow();
        let (time, handed) = epochs.range(self.done + 1..).next().filter(|(time, _)| **time < upper)?;
        self.done = *time;
        let data = self.pending.remove(time).unwrap_or_default();
        debug_assert!(self.pending.first_key_value().is_none_or(|(t, _)| t > time), "data at a time that is no epoch");
        let Handed { barrier, versions_bound, tell } = *handed;
        Some(Epoch { time: *time, data, barrier, versions_bound, tell })
    }
}

/// The frontier of totally ordered times as a number: everything below it is complete.
pub fn upper(frontier: &MutableAntichain<Time>) -> Time {
    frontier.frontier().first().copied().unwrap_or(Time::MAX)
}

/// Moves an operator's capability to the frontier once everything below is done; drops it at the end.
fn keep_until(capability: &mut Option<timely::dataflow::operators::Capability<Time>>, upper: Time) {
    if upper == Time::MAX {
        *capability = None;
    } else if let Some(cap) = capability {
        cap.downgrade(&upper);
    }
}

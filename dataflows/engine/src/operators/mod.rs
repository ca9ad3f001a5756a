//! The operators, one file each. What they have in common: they work epoch by epoch, in order, once the frontier has
//! passed an epoch, and keep a capability until they have; so a probe behind them that passes an epoch says that they did.

pub mod behavior;
pub mod evaluations;
pub mod features;
pub mod grades;
pub mod profiles;
pub mod tenants;

use crate::shared::{Local, Time};
use std::collections::BTreeMap;
use timely::progress::frontier::MutableAntichain;

/// Data by epoch, and the epochs that a frontier has completed.
pub struct Epochs<D> {
    pending: BTreeMap<Time, Vec<D>>,
    local: Local,
    exported: Time,
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
}

impl<D> Epochs<D> {
    /// Nothing pending.
    pub fn new(local: Local) -> Self {
        Self { pending: BTreeMap::new(), local, exported: 0, done: 0 }
    }

    /// Keeps data for its epoch.
    pub fn push(&mut self, time: Time, data: &mut Vec<D>) {
        self.pending.entry(time).or_default().append(data);
    }

    /// The next completed epoch below `upper` that has data or is a barrier; last, the latest time below `upper`,
    /// so that the clock moves on without data as well.
    pub fn next(&mut self, upper: Time) -> Option<Epoch<D>> {
        let barrier = self.local.barriers.borrow().range(self.exported + 1..).next().copied().filter(|t| *t < upper);
        let data = self.pending.first_key_value().map(|(t, _)| *t).filter(|t| *t < upper);
        let clock = upper.checked_sub(1).filter(|t| upper != Time::MAX && *t > self.done);
        let time = [barrier, data, clock].into_iter().flatten().min()?;
        self.done = time;
        if barrier == Some(time) {
            self.exported = time;
        }
        let data = if data == Some(time) { self.pending.pop_first().map(|(_, d)| d) } else { None };
        Some(Epoch { time, data: data.unwrap_or_default(), barrier: barrier == Some(time) })
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

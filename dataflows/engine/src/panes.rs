//! The pane store: each student's open panes, and what they add to each window as the clock moves.
//! Pure state; the operator around it is in `operators/features.rs`.
//!
//! Law: with `P = floor(clock / slide)` and `n = size / slide`, a view's window is the sum of its panes `P - n + 1 ..= P`.
//! A ring remembers the `P` that it was last settled at; settling it at a later `P'` adds the panes that entered,
//! subtracts those that left, and forgets the latter. So settling is idempotent, may come late, and a student touched
//! by an event is settled first: what leaves the store about a student is exact as of the epoch that it leaves in.

use crate::aggregate::{FeatureSum, Layout, Slot};
use crate::symbols::StudentNo;
use aulaflow_model::change::WindowSpec;
use aulaflow_model::instant::Millis;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// How many rings one epoch settles in the background, so that fresh events don't wait behind a boundary
/// at which very many panes expire.
pub const SETTLE_MAX: usize = 16_384;

/// A view's panes of one student.
#[derive(Debug, Clone, PartialEq)]
struct Ring {
    view: u16,
    /// The pane number that the ring was last settled at.
    settled: i64,
    /// By pane number, ascending; none is empty, none is older than the window at `settled`.
    panes: Vec<(i64, FeatureSum)>,
}

/// A pane as it is stored: its number, and its cells with slots counted from the view's first one.
pub type StoredPane = (i64, Vec<(Slot, i128)>);

/// A student's panes as they are stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredStudent {
    /// Per view: the identity of its definition, and its panes.
    pub rings: Vec<(u64, Vec<StoredPane>)>,
}

/// What one event adds to the views that it passes: slots in ascending order.
pub type Amounts = SmallVec<[(Slot, i64); 6]>;

/// Panes of all students of one worker.
pub struct PaneStore {
    windows: Vec<WindowSpec>,
    /// Per view: its first slot, one past its last, and its identity.
    slots: Vec<(Slot, Slot, u64)>,
    view_of_slot: Vec<u16>,
    students: FxHashMap<StudentNo, SmallVec<[Ring; 2]>>,
    /// Rings to settle when the clock reaches an instant: a pane enters or leaves then.
    due: BTreeMap<i64, Vec<(StudentNo, u16)>>,
    /// Due rings that are not settled yet, oldest boundary first.
    settling: VecDeque<(i64, Vec<(StudentNo, u16)>)>,
    clock: Millis,
    changes: FxHashMap<StudentNo, FeatureSum>,
    dirty: FxHashSet<StudentNo>,
    panes: usize,
}

impl PaneStore {
    /// An empty store for a plan's views.
    pub fn new(windows: Vec<WindowSpec>, layout: &Layout, identities: &[u64]) -> Self {
        let slots: Vec<_> = layout.views.iter().zip(identities).map(|(v, id)| (v.rows, v.end, *id)).collect();
        let mut view_of_slot = Vec::new();
        for (view, (_, end, _)) in slots.iter().enumerate() {
            view_of_slot.resize(*end as usize, view as u16);
        }
        Self {
            windows,
            slots,
            view_of_slot,
            students: FxHashMap::default(),
            due: BTreeMap::new(),
            settling: VecDeque::new(),
            clock: Millis(i64::MIN / 4),
            changes: FxHashMap::default(),
            dirty: FxHashSet::default(),
            panes: 0,
        }
    }

    /// Moves the clock and settles at most `budget` rings that became due. Calling again settles more.
    pub fn advance(&mut self, clock: Millis, budget: usize) {
        self.clock = self.clock.max(clock);
        while let Some(entry) = self.due.first_entry() {
            if *entry.key() > self.clock.0 {
                break;
            }
            self.settling.push_back(entry.remove_entry());
        }
        let mut left = budget;
        while left > 0 {
            let Some((_, rings)) = self.settling.front_mut() else { break };
            let Some((student, view)) = rings.pop() else {
                self.settling.pop_front();
                continue;
            };
            self.settle(student, view);
            left -= 1;
        }
        // Boundaries whose last ring has just been settled are done now, not at the next call.
        while self.settling.front().is_some_and(|(_, rings)| rings.is_empty()) {
            self.settling.pop_front();
        }
    }

    /// The oldest boundary at which rings still wait to be settled.
    pub fn unsettled(&self) -> Option<Millis> {
        self.settling.front().map(|(boundary, _)| Millis(*boundary))
    }

    /// Adds one event of a student. Views whose window has already passed it ignore it.
    pub fn add(&mut self, student: StudentNo, occurred_at: Millis, amounts: &[(Slot, i64)]) {
        let mut rest = amounts;
        let mut touched = false;
        while let Some((slot, _)) = rest.first() {
            let view = self.view_of_slot[*slot as usize];
            let end = self.slots[view as usize].1;
            let (mine, others) = rest.split_at(rest.iter().position(|(s, _)| *s >= end).unwrap_or(rest.len()));
            rest = others;
            let mine = mine.iter().map(|(slot, amount)| (*slot, i128::from(*amount)));
            touched |= self.add_to_view(student, view, occurred_at, mine);
        }
        if touched {
            self.dirty.insert(student);
        }
    }

    fn add_to_view(
        &mut self,
        student: StudentNo,
        view: u16,
        occurred_at: Millis,
        amounts: impl Iterator<Item = (Slot, i128)> + Clone,
    ) -> bool {
        let window = self.windows[view as usize];
        let now = self.clock.pane(window.slide_ms);
        let pane = occurred_at.pane(window.slide_ms);
        if pane + window.panes() <= now {
            return false;
        }
        self.settle(student, view);
        let rings = self.students.entry(student).or_default();
        let at = rings.iter().position(|r| r.view == view).unwrap_or_else(|| {
            rings.push(Ring { view, settled: now, panes: Vec::new() });
            rings.len() - 1
        });
        let ring = &mut rings[at];
        // Events mostly belong to the newest pane: look from the end.
        let at = match ring.panes.iter().rposition(|(p, _)| *p <= pane) {
            Some(at) if ring.panes[at].0 == pane => at,
            before => {
                let at = before.map_or(0, |b| b + 1);
                ring.panes.insert(at, (pane, FeatureSum::default()));
                self.panes += 1;
                let leaves = (pane + window.panes()).saturating_mul(window.slide_ms);
                self.due.entry(leaves).or_default().push((student, view));
                if pane > now {
                    self.due.entry(pane * window.slide_ms).or_default().push((student, view));
                }
                at
            }
        };
        let sum = &mut ring.panes[at].1;
        for (slot, amount) in amounts.clone() {
            sum.add(slot, amount);
        }
        if pane <= now {
            let change = self.changes.entry(student).or_default();
            for (slot, amount) in amounts {
                change.add(slot, amount);
            }
        }
        true
    }

    /// Brings one ring to the present clock.
    fn settle(&mut self, student: StudentNo, view: u16) {
        let window = self.windows[view as usize];
        let now = self.clock.pane(window.slide_ms);
        let Some(rings) = self.students.get_mut(&student) else { return };
        let Some(at) = rings.iter().position(|r| r.view == view) else { return };
        let ring = &mut rings[at];
        if ring.settled >= now {
            return;
        }
        let first = now - window.panes() + 1;
        for (pane, sum) in &ring.panes {
            let was = *pane <= ring.settled;
            let is = (first..=now).contains(pane);
            if was != is {
                self.changes.entry(student).or_default().add_all(sum, was);
            }
        }
        ring.settled = now;
        let before = ring.panes.len();
        ring.panes.retain(|(pane, _)| *pane >= first);
        self.panes -= before - ring.panes.len();
        if ring.panes.is_empty() {
            rings.remove(at);
            if rings.is_empty() {
                self.students.remove(&student);
                // The stored row must go; other expired panes are left out when the state is loaded.
                self.dirty.insert(student);
            }
        }
    }

    /// What changed since the last call: per student the difference of its windows' sums.
    pub fn take_changes(&mut self) -> impl Iterator<Item = (StudentNo, FeatureSum)> + '_ {
        self.changes.drain().filter(|(_, change)| !change.is_empty())
    }

    /// Students whose stored panes changed since the last call, with what to store now (`None`: nothing is left).
    pub fn take_dirty(&mut self) -> Vec<(StudentNo, Option<StoredStudent>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|student| (student, self.stored(student))).collect()
    }

    fn stored(&self, student: StudentNo) -> Option<StoredStudent> {
        let rings = self.students.get(&student)?;
        let rings = rings.iter().map(|ring| {
            let (first, _, identity) = self.slots[ring.view as usize];
            let panes = ring.panes.iter().map(|(p, sum)| (*p, sum.cells().map(|(s, n)| (s - first, n)).collect()));
            (identity, panes.collect())
        });
        Some(StoredStudent { rings: rings.collect() })
    }

    /// Takes a student's stored panes in. Views that are not in the plan any more are left out.
    pub fn load(&mut self, student: StudentNo, stored: StoredStudent) {
        for (identity, panes) in stored.rings {
            let Some(view) = self.slots.iter().position(|(_, _, id)| *id == identity) else { continue };
            let first = self.slots[view].0;
            let slide_ms = self.windows[view].slide_ms;
            for (pane, cells) in panes {
                let cells = cells.iter().map(|(slot, amount)| (first + slot, *amount));
                self.add_to_view(student, view as u16, Millis(pane.saturating_mul(slide_ms)), cells);
            }
        }
    }

    /// When the next pane enters or leaves.
    pub fn next_due(&self) -> Option<Millis> {
        self.due.first_key_value().map(|(at, _)| Millis(*at))
    }

    /// Students and panes held.
    pub fn len(&self) -> (usize, usize) {
        (self.students.len(), self.panes)
    }
}

#[cfg(test)]
mod tests;

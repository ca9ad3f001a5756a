//! The pane store: each student's open panes, and what they add to each window as the clock moves.
//! Pure state; the operator around it is in `operators/features.rs`.
//!
//! Law: with `P = floor(clock / slide)` and `n = size / slide`, a view's window is the sum of its panes `P - n + 1 ..= P`.
//! A ring remembers the `P` that it was last settled at; settling it at a later `P'` adds the panes that entered,
//! subtracts those that left, and forgets the latter. So settling is idempotent and may come late. A student touched by
//! an event is settled first, in all views: what changed at an epoch is exact as of it. What did not change since the
//! clock passed the boundary that is being settled is exact as of just before that boundary.

use crate::aggregate::{FeatureSum, Layout, Slot};
use crate::symbols::StudentNo;
use aulaflow_model::instant::Millis;
use aulaflow_model::window::WindowSpec;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// How many students one epoch settles in the background, so that fresh events don't wait behind a boundary
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

/// One student: rings, what changed since it was last taken, and whether the student is on the lists of those that changed.
#[derive(Default)]
struct Student {
    rings: SmallVec<[Ring; 2]>,
    change: FeatureSum,
    changed: bool,
    dirty: bool,
    /// Whether the panes are still to be exported as they are.
    pending: bool,
}

impl Student {
    /// Puts the student on the lists of those whose windows changed and whose stored panes changed, each once.
    fn note(
        &mut self,
        number: StudentNo,
        dirty: bool,
        changed_list: &mut Vec<StudentNo>,
        dirty_list: &mut Vec<StudentNo>,
    ) {
        if !self.change.is_empty() && !std::mem::replace(&mut self.changed, true) {
            changed_list.push(number);
        }
        if dirty && !std::mem::replace(&mut self.dirty, true) {
            dirty_list.push(number);
        }
    }
}

/// What a store knows of its views.
struct Views {
    windows: Vec<WindowSpec>,
    /// Per view: its first slot, one past its last, and its identity.
    slots: Vec<(Slot, Slot, u64)>,
    of_slot: Vec<u16>,
}

/// Students to settle when the clock reaches an instant: a pane enters or leaves then.
type Due = BTreeMap<i64, Vec<StudentNo>>;

/// Panes of all students of one worker.
pub struct PaneStore {
    views: Views,
    students: FxHashMap<StudentNo, Student>,
    due: Due,
    /// Due students that are not settled yet, oldest boundary first.
    settling: VecDeque<(i64, Vec<StudentNo>)>,
    clock: Millis,
    changed: Vec<StudentNo>,
    dirty: Vec<StudentNo>,
    /// Students to export, as of when [`PaneStore::begin_export`] was called.
    exporting: Vec<StudentNo>,
    /// What was exported early, because it was about to change.
    exported: Vec<(StudentNo, Option<StoredStudent>)>,
    panes: usize,
}

impl PaneStore {
    /// An empty store for a plan's views.
    pub fn new(windows: Vec<WindowSpec>, layout: &Layout, identities: &[u64]) -> Self {
        let slots: Vec<_> = layout.views.iter().zip(identities).map(|(v, id)| (v.rows, v.end, *id)).collect();
        Self::with_slots(windows, slots)
    }

    fn with_slots(windows: Vec<WindowSpec>, slots: Vec<(Slot, Slot, u64)>) -> Self {
        let mut of_slot = Vec::new();
        for (view, (_, end, _)) in slots.iter().enumerate() {
            of_slot.resize(usize::from(*end), view as u16);
        }
        Self {
            views: Views { windows, slots, of_slot },
            students: FxHashMap::default(),
            due: Due::new(),
            settling: VecDeque::new(),
            clock: Millis(i64::MIN / 4),
            changed: Vec::new(),
            dirty: Vec::new(),
            exporting: Vec::new(),
            exported: Vec::new(),
            panes: 0,
        }
    }

    /// Moves the clock and settles the students whose panes became due: at most `budget` at a time, by calling again,
    /// where a single boundary is due; all at once where there are several. So everybody who waits is exact as of just
    /// before [`PaneStore::unsettled`], and so is everybody who was settled and did not change.
    pub fn advance(&mut self, clock: Millis, budget: usize) {
        self.clock = self.clock.max(clock);
        while let Some(entry) = self.due.first_entry() {
            if *entry.key() > self.clock.0 {
                break;
            }
            self.settling.push_back(entry.remove_entry());
        }
        let budget = if self.settling.len() > 1 { usize::MAX } else { budget };
        for (boundary, mut students) in std::mem::take(&mut self.settling) {
            for student in students.drain(students.len().saturating_sub(budget)..) {
                self.settle(student);
            }
            if !students.is_empty() {
                self.settling.push_back((boundary, students));
            }
        }
    }

    /// The boundary at which students still wait to be settled.
    pub fn unsettled(&self) -> Option<Millis> {
        self.settling.front().map(|(boundary, _)| Millis(*boundary))
    }

    /// Adds one event of a student: slots in ascending order. Views whose window has already passed it ignore it.
    pub fn add(&mut self, number: StudentNo, occurred_at: Millis, amounts: &[(Slot, i64)]) {
        let student = self.students.entry(number).or_default();
        self.views.export_before_change(number, student, &mut self.exported);
        if !self.settling.is_empty() {
            let mut at = Place { views: &self.views, due: &mut self.due, clock: self.clock, panes: &mut self.panes };
            at.settle_all(student);
        }
        let mut rest = amounts;
        let mut touched = false;
        while let Some((slot, _)) = rest.first() {
            let view = self.views.of_slot[usize::from(*slot)];
            let end = self.views.slots[usize::from(view)].1;
            let (mine, others) = rest.split_at(rest.iter().position(|(s, _)| *s >= end).unwrap_or(rest.len()));
            rest = others;
            let mine = mine.iter().map(|(slot, amount)| (*slot, i128::from(*amount)));
            let mut at = Place { views: &self.views, due: &mut self.due, clock: self.clock, panes: &mut self.panes };
            touched |= at.add(student, (number, view), occurred_at, mine);
        }
        student.note(number, touched || student.rings.is_empty(), &mut self.changed, &mut self.dirty);
    }

    /// Brings a student to the present clock, in all views.
    fn settle(&mut self, number: StudentNo) {
        let Some(student) = self.students.get_mut(&number) else { return };
        self.views.export_before_change(number, student, &mut self.exported);
        let mut at = Place { views: &self.views, due: &mut self.due, clock: self.clock, panes: &mut self.panes };
        at.settle_all(student);
        // A stored row whose last pane has left must go; other expired panes are left out when the state is loaded.
        student.note(number, student.rings.is_empty(), &mut self.changed, &mut self.dirty);
    }

    /// What changed since the last call: per student the difference of its windows' sums.
    pub fn take_changes(&mut self) -> Vec<(StudentNo, FeatureSum)> {
        let mut changes = Vec::with_capacity(self.changed.len());
        for number in self.changed.drain(..) {
            let Some(student) = self.students.get_mut(&number) else { continue };
            student.changed = false;
            let change = std::mem::take(&mut student.change);
            if !change.is_empty() {
                changes.push((number, change));
            }
        }
        changes
    }

    /// Begins to export the students whose stored panes changed since the last export, as they are now. Returns how many.
    pub fn begin_export(&mut self) -> usize {
        for number in std::mem::take(&mut self.dirty) {
            let Some(student) = self.students.get_mut(&number) else { continue };
            student.dirty = false;
            student.pending = true;
            self.exporting.push(number);
        }
        self.exporting.len()
    }

    /// What to store of at most about `step` more students (`None`: nothing is left of them), and whether that was the last.
    /// What changes in between is exported as it was before. Changes must have been taken: a student without panes is
    /// forgotten here.
    pub fn export(&mut self, step: usize) -> (Vec<(StudentNo, Option<StoredStudent>)>, bool) {
        let mut out = std::mem::take(&mut self.exported);
        for _ in 0..step.min(self.exporting.len()) {
            let Some(number) = self.exporting.pop() else { break };
            let Some(student) = self.students.get_mut(&number) else { continue };
            self.views.export_before_change(number, student, &mut out);
            if student.rings.is_empty() && student.change.is_empty() && !student.dirty {
                self.students.remove(&number);
            }
        }
        (out, self.exporting.is_empty())
    }

    /// Takes a student's stored panes in. Views that are not in the plan any more are left out.
    pub fn load(&mut self, number: StudentNo, stored: StoredStudent) {
        let student = self.students.entry(number).or_default();
        for (identity, panes) in stored.rings {
            let Some(view) = self.views.slots.iter().position(|(_, _, id)| *id == identity) else { continue };
            let first = self.views.slots[view].0;
            let slide_ms = self.views.windows[view].slide_ms;
            for (pane, cells) in panes {
                let cells = cells.iter().map(|(slot, amount)| (first + slot, *amount));
                let mut at =
                    Place { views: &self.views, due: &mut self.due, clock: self.clock, panes: &mut self.panes };
                at.add(student, (number, view as u16), Millis(pane.saturating_mul(slide_ms)), cells);
            }
        }
        student.note(number, student.rings.is_empty(), &mut self.changed, &mut self.dirty);
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

impl Views {
    /// Exports a student that waits for it.
    fn export_before_change(
        &self,
        number: StudentNo,
        student: &mut Student,
        exported: &mut Vec<(StudentNo, Option<StoredStudent>)>,
    ) {
        if std::mem::replace(&mut student.pending, false) {
            let rings: Vec<_> = student.rings.iter().map(|ring| self.stored(ring)).collect();
            exported.push((number, (!rings.is_empty()).then_some(StoredStudent { rings })));
        }
    }

    fn stored(&self, ring: &Ring) -> (u64, Vec<StoredPane>) {
        let (first, _, identity) = self.slots[usize::from(ring.view)];
        let pane = |(p, sum): &(i64, FeatureSum)| (*p, sum.cells().map(|(s, n)| (s - first, n)).collect());
        (identity, ring.panes.iter().map(pane).collect())
    }
}

/// What adding and settling need besides the student.
struct Place<'a> {
    views: &'a Views,
    due: &'a mut Due,
    clock: Millis,
    panes: &'a mut usize,
}

impl Place<'_> {
    /// Adds to one view; false if its window has passed the event.
    fn add(
        &mut self,
        student: &mut Student,
        (number, view): (StudentNo, u16),
        occurred_at: Millis,
        amounts: impl Iterator<Item = (Slot, i128)> + Clone,
    ) -> bool {
        let window = &self.views.windows[usize::from(view)];
        let now = self.clock.pane(window.slide_ms);
        let pane = occurred_at.pane(window.slide_ms);
        if pane + window.panes() <= now {
            return false;
        }
        let rings = &mut student.rings;
        let at = rings.iter().position(|r| r.view == view).unwrap_or_else(|| {
            rings.push(Ring { view, settled: now, panes: Vec::new() });
            rings.len() - 1
        });
        let ring = &mut rings[at];
        self.settle(ring, &mut student.change);
        // Events mostly belong to the newest pane: look from the end.
        let at = match ring.panes.iter().rposition(|(p, _)| *p <= pane) {
            Some(at) if ring.panes[at].0 == pane => at,
            before => {
                let at = before.map_or(0, |b| b + 1);
                ring.panes.insert(at, (pane, FeatureSum::default()));
                *self.panes += 1;
                let leaves = (pane + window.panes()).saturating_mul(window.slide_ms);
                self.due.entry(leaves).or_default().push(number);
                if pane > now {
                    self.due.entry(pane * window.slide_ms).or_default().push(number);
                }
                at
            }
        };
        let sum = &mut ring.panes[at].1;
        for (slot, amount) in amounts.clone() {
            sum.add(slot, amount);
        }
        if pane <= now {
            for (slot, amount) in amounts {
                student.change.add(slot, amount);
            }
        }
        true
    }

    /// Brings all of a student's rings to the present clock, since what is shown of a student is of one instant.
    /// Empty ones are removed.
    fn settle_all(&mut self, student: &mut Student) {
        for ring in &mut student.rings {
            self.settle(ring, &mut student.change);
        }
        student.rings.retain(|ring| !ring.panes.is_empty());
    }

    fn settle(&mut self, ring: &mut Ring, change: &mut FeatureSum) {
        let window = &self.views.windows[usize::from(ring.view)];
        let now = self.clock.pane(window.slide_ms);
        if ring.settled >= now {
            return;
        }
        let first = now - window.panes() + 1;
        for (pane, sum) in &ring.panes {
            let was = *pane <= ring.settled;
            let is = (first..=now).contains(pane);
            if was != is {
                change.add_all(sum, was);
            }
        }
        ring.settled = now;
        let before = ring.panes.len();
        ring.panes.retain(|(pane, _)| *pane >= first);
        *self.panes -= before - ring.panes.len();
    }
}

#[cfg(test)]
mod tests;

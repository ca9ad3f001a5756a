//! The pane store: each student's open panes, and the rows that they make as the clock moves. Pure state; the operator
//! around it is in `operators/features.rs`. What is shared between views is in `layout.rs`; rows are made in `panes/rows.rs`.
//!
//! Law: with `P = pane(clock)` and `n = size / slide`, a view's window is what its panes `P - n + 1 ..= P` hold, combined.
//! A ring keeps the running sums of its windows as of the `P` that it was last settled at; settling it at a later `P'` adds
//! the panes that entered, subtracts those that left, and forgets what no window needs. So settling is idempotent and may
//! come late. A student touched by an event is settled first, in all views: what changed at an epoch is exact as of it.
//! What did not change since the clock passed the boundary that is being settled is exact as of just before that boundary.

use crate::cells::{Kind, Moment, Part, Scalar};
use crate::layout::Layout;
use crate::sum::{Amount, Slot, Sums};
use crate::symbols::StudentNo;
use aulaflow_model::instant::Millis;
use aulaflow_plan::Plan;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod clocks;
mod explain;
mod pane;
mod rings;
mod rows;
pub mod sizes;
mod stored;
mod views;

use clocks::GridClock;
pub use clocks::PaneNumbers;
use pane::Pane;
use rings::{full_set, place_in_pane, place_in_run, trim_tail};
pub use rows::{FeatureUpdate, RowValues};
pub use stored::{StoredRun, StoredStudent};
use views::ViewSet;

/// How many students one epoch settles in the background, so that fresh events don't wait behind a boundary
/// at which very many panes expire.
pub const SETTLE_MAX: usize = 16_384;

/// Distinct values that an aggregate keeps of one student at most, over all panes.
pub const DISTINCT_MAX: usize = 10_000;

/// One grid's panes of one student.
#[derive(Debug, Clone, PartialEq)]
struct Ring {
    grid: u16,
    /// Panes that changed since they were last exported, at least: those that left since are counted too.
    unsaved: u32,
    /// The pane number that the ring was last settled at.
    settled: i64,
    /// When something of it changes though no event comes.
    wake: i64,
    /// By number and run, ascending; none is empty, none is older than the grid keeps at `settled`.
    panes: Vec<Pane>,
    /// Running sums, by the grid's windows; empty where a window is one pane.
    windows: SmallVec<[Sums; 1]>,
}

/// One student: rings, which views changed since they were last taken, and whether the student is on the lists of those
/// that changed.
struct Student {
    rings: SmallVec<[Ring; sizes::RINGS_INLINE]>,
    changed: ViewSet,
    /// When the student is due to be settled; no other entry of `due` counts.
    due: i64,
    listed: bool,
    /// In which round the student was put on the list of those to export: if it is not the present one, the panes are
    /// still to be exported as they are.
    dirty: Option<Round>,
}

impl Default for Student {
    fn default() -> Self {
        let (rings, changed) = (SmallVec::new(), ViewSet::default());
        Self { rings, changed, due: i64::MAX, listed: false, dirty: None }
    }
}

/// Two take turns: what changed before an export that is under way, and since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    One,
    Other,
}

/// What one event adds on one grid, as a whole or not at all.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// The grid.
    pub grid: u16,
    /// What is added.
    pub amounts: &'a [Amount],
    /// What is combined.
    pub parts: &'a [(Slot, Scalar)],
}

/// Students to settle when the clock reaches an instant.
type Due = BTreeMap<i64, Vec<StudentNo>>;

/// Panes of all students of one worker.
pub struct PaneStore {
    place: Place,
    students: FxHashMap<StudentNo, Student>,
    due: Due,
    /// Due students that are not settled yet, oldest boundary first.
    settling: VecDeque<(i64, Vec<StudentNo>)>,
    changed: Vec<StudentNo>,
    dirty: Vec<StudentNo>,
    round: Round,
    /// Students to export, as of when [`PaneStore::begin_export`] was called.
    exporting: Vec<StudentNo>,
    /// What was exported early, because it was about to change.
    exported: Vec<(StudentNo, StoredStudent)>,
}

/// What is the same for every student: the layout, and the clock by grid.
struct Place {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    clocks: Vec<GridClock>,
    clock: Millis,
    /// Panes held.
    panes: usize,
    /// Expressions of outputs that had no value.
    failed: u64,
}

impl PaneStore {
    /// An empty store for a plan's views.
    pub fn new(plan: Arc<Plan>, layout: Arc<Layout>) -> Self {
        let clocks = (0..layout.grids.len()).map(|grid| GridClock::new(&layout, grid)).collect();
        let clock = Millis(i64::MIN / 4);
        Self {
            place: Place { plan, layout, clocks, clock, panes: 0, failed: 0 },
            students: FxHashMap::default(),
            due: Due::new(),
            settling: VecDeque::new(),
            changed: Vec::new(),
            dirty: Vec::new(),
            round: Round::One,
            exporting: Vec::new(),
            exported: Vec::new(),
        }
    }

    /// Moves the clock and settles the students whose panes became due: at most `budget` at a time, by calling again,
    /// where a single boundary is due; all at once where there are several. So everybody who waits is exact as of just
    /// before [`PaneStore::unsettled`], and so is everybody who was settled and did not change.
    pub fn advance(&mut self, clock: Millis, budget: usize) {
        if clock > self.place.clock {
            self.place.clock = clock;
            self.place.clocks.iter_mut().for_each(|grid| grid.advance(clock));
        }
        while let Some(entry) = self.due.first_entry() {
            if *entry.key() > self.place.clock.0 {
                break;
            }
            self.settling.push_back(entry.remove_entry());
        }
        let budget = if self.settling.len() > 1 { usize::MAX } else { budget };
        for (boundary, mut students) in std::mem::take(&mut self.settling) {
            for student in students.drain(students.len().saturating_sub(budget)..) {
                self.settle(student, boundary);
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

    /// Adds one event of a student. Grids that keep no pane so old ignore it. Returns the slots whose set is full: they
    /// leave the event out.
    pub fn add(&mut self, number: StudentNo, moment: &Moment, segments: &[Segment<'_>]) -> SmallVec<[Slot; 1]> {
        let student = self.students.entry(number).or_default();
        if student.dirty.is_some_and(|round| round != self.round) {
            self.exported.extend(self.place.export_before_change(number, student));
        }
        self.place.settle(student);
        let mut touched = false;
        let mut full = SmallVec::new();
        for segment in segments {
            touched |= self.place.add(student, moment, segment, &mut full);
        }
        let dirty = touched || student.rings.is_empty();
        self.note(number, dirty);
        full
    }

    /// Brings a student to the present clock, in all views, if it is due as it was listed.
    fn settle(&mut self, number: StudentNo, boundary: i64) {
        let Some(student) = self.students.get_mut(&number).filter(|student| student.due == boundary) else { return };
        if student.dirty.is_some_and(|round| round != self.round) {
            self.exported.extend(self.place.export_before_change(number, student));
        }
        self.place.settle(student);
        // Panes that have left expire in the state by themselves; who has none any more is forgotten after an export.
        let dirty = student.rings.is_empty();
        self.note(number, dirty);
    }

    /// Puts a student on the lists: of those whose views changed, of those whose panes are to be exported, each once, and of
    /// those that are due.
    fn note(&mut self, number: StudentNo, dirty: bool) {
        let Some(student) = self.students.get_mut(&number) else { return };
        if !student.changed.is_empty() && !std::mem::replace(&mut student.listed, true) {
            self.changed.push(number);
        }
        if dirty && student.dirty.is_none() {
            student.dirty = Some(self.round);
            self.dirty.push(number);
        }
        let wake = student.rings.iter().map(|ring| ring.wake).min().unwrap_or(i64::MAX);
        if wake < student.due {
            student.due = wake;
            self.due.entry(wake).or_default().push(number);
        }
    }

    /// Students whose rows may have changed since they were taken.
    pub fn untold(&self) -> usize {
        self.changed.len()
    }

    /// What changed, of at most `students_max` students, those first who wait longest: per student the rows of the views
    /// that may have changed, as they are now.
    pub fn take_changes(&mut self, students_max: usize) -> Vec<(StudentNo, Vec<FeatureUpdate>)> {
        let count = self.changed.len().min(students_max);
        let later = self.changed.split_off(count);
        let mut changes = Vec::with_capacity(count);
        for number in std::mem::replace(&mut self.changed, later) {
            let Some(student) = self.students.get_mut(&number) else { continue };
            student.listed = false;
            let views = std::mem::take(&mut student.changed);
            let rows: Vec<_> = views.iter().filter_map(|view| self.place.update(student, view)).collect();
            if !rows.is_empty() {
                changes.push((number, rows));
            }
        }
        changes
    }

    /// Begins to export the panes that changed since the last export, as they are now. Returns how many students have some.
    pub fn begin_export(&mut self) -> usize {
        // One that is still under way is ended: its students are not told from those of the next.
        let rest = self.export(usize::MAX).0;
        self.exported = rest;
        // No student is touched here: fresh events wait meanwhile.
        self.exporting = std::mem::take(&mut self.dirty);
        self.round = match self.round {
            Round::One => Round::Other,
            Round::Other => Round::One,
        };
        self.exporting.len()
    }

    /// The changed panes of at most about `step` more students, and whether those were the last.
    /// What changes in between is exported as it was before. Changes must have been taken: a student without panes is
    /// forgotten here.
    pub fn export(&mut self, step: usize) -> (Vec<(StudentNo, StoredStudent)>, bool) {
        let mut out = std::mem::take(&mut self.exported);
        for _ in 0..step.min(self.exporting.len()) {
            let Some(number) = self.exporting.pop() else { break };
            let Some(student) = self.students.get_mut(&number) else { continue };
            if student.dirty.is_some_and(|round| round != self.round) {
                out.extend(self.place.export_before_change(number, student));
            }
            if student.rings.is_empty() && !student.listed && student.dirty.is_none() {
                self.students.remove(&number);
            }
        }
        (out, self.exporting.is_empty())
    }

    /// Takes a student's stored panes in. What no view needs any more is left out.
    pub fn load(&mut self, number: StudentNo, stored: StoredStudent) {
        let student = self.students.entry(number).or_default();
        self.place.load(student, stored);
        let dirty = student.rings.is_empty();
        self.note(number, dirty);
    }

    /// When the next pane enters or leaves.
    pub fn next_due(&self) -> Option<Millis> {
        self.due.first_key_value().map(|(at, _)| Millis(*at))
    }

    /// Students and panes held.
    pub fn len(&self) -> (usize, usize) {
        (self.students.len(), self.place.panes)
    }

    /// Expressions of outputs that had no value since the last call: they show null.
    pub fn take_failed(&mut self) -> u64 {
        std::mem::take(&mut self.place.failed)
    }
}

impl Place {
    /// Adds to one grid; false if it keeps no pane so old. Slots whose set is full leave the event out, and are put into
    /// `all_full`.
    fn add(
        &mut self,
        student: &mut Student,
        moment: &Moment,
        segment: &Segment<'_>,
        all_full: &mut SmallVec<[Slot; 1]>,
    ) -> bool {
        let at = usize::from(segment.grid);
        let layout = Arc::clone(&self.layout);
        let grid = &layout.grids[at];
        let number = self.clocks[at].pane(Millis(moment.at));
        let now = self.clocks[at].now();
        if number + grid.panes <= now {
            return false;
        }
        let ring_at = self.ring(student, segment.grid);
        let Student { rings, changed, .. } = student;
        let ring = &mut rings[ring_at];
        let full = segment.parts.iter().filter_map(|(slot, value)| full_set(&layout, ring, number, *slot, value));
        let full: SmallVec<[Slot; 1]> = full.collect();
        let before = ring.panes.len();
        let pane = if grid.is_session() {
            let offset = moment.at - self.clocks[at].start(number).0;
            place_in_run(ring, &layout, grid, number, offset)
        } else {
            place_in_pane(ring, number)
        };
        self.panes = self.panes + ring.panes.len() - before;
        let needed = |slot: Slot| layout.slot(slot).filter(|info| number + info.panes > now);
        let entered = number <= now;
        for amount in segment.amounts {
            let Some(info) = needed(amount.slot) else { continue };
            ring.panes[pane].cells.sums.add(amount.slot, amount.get());
            ring.add_to_windows(grid, info, (number, now), amount.get());
            if entered {
                changed.extend(&info.views);
            }
        }
        for (slot, value) in segment.parts.iter().filter(|(slot, _)| !full.contains(slot)) {
            let Some(info) = needed(*slot) else { continue };
            let part = Part::of_event(info.kind, moment, value.clone());
            ring.panes[pane].cells.merge_part(*slot, info.kind, part);
            if entered {
                changed.extend(&info.views);
            }
            if let Kind::Tail(most) = info.kind {
                trim_tail(ring, *slot, most as usize, now);
            }
        }
        ring.unsaved += u32::from(ring.panes[pane].set_unsaved());
        // A pane that was there has its times; a session ends later than it did.
        if ring.panes.len() != before || grid.is_session() {
            student.rings[ring_at].wake = self.wake(at, &student.rings[ring_at]);
        }
        all_full.extend(full);
        true
    }

    /// The place of a student's ring on a grid, which is settled at the present clock.
    fn ring(&self, student: &mut Student, grid: u16) -> usize {
        student.rings.iter().position(|r| r.grid == grid).unwrap_or_else(|| {
            student.rings.push(self.empty_ring(grid));
            student.rings.len() - 1
        })
    }

    fn empty_ring(&self, grid: u16) -> Ring {
        let windows = self.layout.grids[usize::from(grid)].windows.iter().map(|_| Sums::default()).collect();
        let settled = self.clocks[usize::from(grid)].now();
        Ring { grid, unsaved: 0, settled, wake: i64::MAX, panes: Vec::new(), windows }
    }

    /// Brings all of a student's rings to the present clock, since what is shown of a student is of one instant.
    /// Empty ones are removed.
    fn settle(&mut self, student: &mut Student) {
        if student.due <= self.clock.0 {
            // Whoever waits to be settled for this does not need to any more.
            student.due = i64::MAX;
        }
        let mut removed = false;
        for ring in &mut student.rings {
            if ring.wake <= self.clock.0 {
                self.settle_ring(ring, &mut student.changed);
                ring.wake = self.wake(usize::from(ring.grid), ring);
                removed |= ring.panes.is_empty();
            } else {
                // Nothing enters or leaves: only the number moves on.
                ring.settled = self.clocks[usize::from(ring.grid)].now();
            }
        }
        if removed {
            student.rings.retain(|ring| !ring.panes.is_empty());
        }
    }

    fn settle_ring(&mut self, ring: &mut Ring, changed: &mut ViewSet) {
        let layout = Arc::clone(&self.layout);
        let grid = &layout.grids[usize::from(ring.grid)];
        let clock = &self.clocks[usize::from(ring.grid)];
        let now = clock.now();
        if grid.is_session() {
            changed.extend(clock.views());
        }
        changed.extend(&grid.outers);
        changed.extend(&grid.clocked);
        let before = ring.panes.len();
        for pane in &mut ring.panes {
            for (window, panes) in grid.windows.iter().enumerate() {
                let covers = |at: i64| pane.number() <= at && pane.number() + panes > at;
                let (was, is) = (covers(ring.settled), covers(now));
                if was != is {
                    for (slot, amount) in pane.cells.sums.iter().filter(|_| *panes > 1) {
                        if layout.slot(slot).is_some_and(|info| info.windows & (1 << window) != 0) {
                            ring.windows[window].add(slot, if was { -amount } else { amount });
                        }
                    }
                    for slot in pane.cells.slots() {
                        changed.extend(layout.slot(slot).map_or(&[][..], |info| &info.views));
                    }
                }
            }
            let (age_then, age) = (ring.settled - pane.number(), now - pane.number());
            if clock.trims().iter().any(|panes| age_then < *panes && *panes <= age) {
                pane.cells.retain(|slot| layout.slot(slot).is_some_and(|info| info.panes > age));
            }
        }
        ring.settled = now;
        ring.panes.retain(|pane| !pane.cells.is_empty() && pane.number() + grid.panes > now);
        self.panes -= before - ring.panes.len();
    }

    /// When something of a ring changes though no event comes: a pane enters or leaves a window, a session ends, or a view
    /// has a boundary of its own.
    fn wake(&mut self, grid_index: usize, ring: &Ring) -> i64 {
        let layout = Arc::clone(&self.layout);
        let grid = &layout.grids[grid_index];
        let now = self.clocks[grid_index].now();
        let clock = self.clock;
        let mut wake = i64::MAX;
        let entered = ring.panes.partition_point(|pane| pane.number() <= now);
        if let Some(pane) = ring.panes.get(entered) {
            wake = wake.min(self.clocks[grid_index].start(pane.number()).0);
        }
        let Some(newest) = entered.checked_sub(1).map(|at| &ring.panes[at]) else { return wake };
        // A pane leaves each window that it is in, and what is kept for longer in the end.
        for panes in self.clocks[grid_index].leaves().iter() {
            let oldest = ring.panes[..entered].iter().find(|pane| pane.number() + panes > now);
            if let Some(pane) = oldest {
                wake = wake.min(self.clocks[grid_index].start(pane.number() + panes).0);
            }
        }
        if grid.is_session() {
            let ends = self.clocks[grid_index].start(newest.number()).0 + i64::from(newest.run.1) + grid.spec.gap_ms;
            wake = wake.min(if ends > clock.0 { ends } else { i64::MAX });
        }
        for view in grid.clocked.iter().chain(&grid.outers) {
            let spec = &self.plan.views[usize::from(*view)].schema.window;
            if spec.gap_ms > 0 {
                // A session of rows ends its gap after its last row, which need not be the newest: the view's filter may
                // leave newer ones out. So each row that is younger than the gap is a boundary.
                for pane in ring.panes[..entered].iter().rev() {
                    let start = self.clocks[grid_index].start(pane.number()).0;
                    let row = if grid.is_session() { start + i64::from(pane.run.0) } else { start };
                    if row + spec.gap_ms <= clock.0 {
                        break;
                    }
                    wake = wake.min(row + spec.gap_ms);
                }
            } else {
                let boundary = spec.bounds(clock).1.0;
                wake = wake.min(if boundary > clock.0 { boundary } else { i64::MAX });
            }
        }
        wake
    }
}

#[cfg(test)]
mod tests;

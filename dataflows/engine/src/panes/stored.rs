//! A student's panes as they are stored, and back. What is stored carries slots' numbers, which mean the same in every
//! later process, and grids' identities.

use super::rings::trim_tail;
use super::{Pane, Place, Ring, Student};
use crate::cells::{Cells, Kind, Part};
use crate::sum::Slot;
use crate::symbols::StudentNo;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// A pane's contents as they are stored: of a session grid one run of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredRun {
    /// The first and the last event of a run.
    run: (u32, u32),
    sums: Vec<(Slot, i128)>,
    parts: Vec<(Slot, Part)>,
}

/// Panes of one student as they are stored: those that changed, or all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StoredStudent {
    /// Per grid: its identity, and its panes by number.
    rings: Vec<(u64, Vec<(i64, Vec<StoredRun>)>)>,
}

impl StoredStudent {
    /// Grid, number and contents of each pane.
    pub fn panes(self) -> impl Iterator<Item = (u64, i64, Vec<StoredRun>)> {
        let of_grid = |(grid, panes): (u64, Vec<_>)| panes.into_iter().map(move |(number, runs)| (grid, number, runs));
        self.rings.into_iter().flat_map(of_grid)
    }

    /// Adds a pane; those of a grid come one after the other.
    pub fn push(&mut self, grid: u64, number: i64, runs: Vec<StoredRun>) {
        match self.rings.last_mut().filter(|(last, _)| *last == grid) {
            Some((_, panes)) => panes.push((number, runs)),
            None => self.rings.push((grid, vec![(number, runs)])),
        }
    }
}

/// The changed panes of a ring by number, all runs of each; from now on they are saved.
fn stored(ring: &mut Ring) -> Vec<(i64, Vec<StoredRun>)> {
    let mut left = std::mem::take(&mut ring.unsaved);
    let mut numbers: SmallVec<[i64; 8]> = SmallVec::new();
    // Events mostly belong to the newest panes: look from the end, no longer than there is something to find.
    for pane in ring.panes.iter_mut().rev() {
        if left == 0 {
            break;
        }
        if pane.is_unsaved() {
            pane.set_saved();
            left -= 1;
            if numbers.last() != Some(&pane.number()) {
                numbers.push(pane.number());
            }
        }
    }
    let run = |pane: &Pane| StoredRun {
        run: pane.run,
        sums: pane.cells.sums.iter().collect(),
        parts: pane.cells.parts().to_vec(),
    };
    let runs = |number: i64| {
        let first = ring.panes.partition_point(|pane| pane.number() < number);
        ring.panes[first..].iter().take_while(|pane| pane.number() == number).map(run).collect()
    };
    numbers.iter().rev().map(|number| (*number, runs(*number))).collect()
}

impl Place {
    /// The changed panes of a student that waits for its export, as they are now; it does not wait any more.
    pub(super) fn export_before_change(
        &self,
        number: StudentNo,
        student: &mut Student,
    ) -> Option<(StudentNo, StoredStudent)> {
        student.dirty = None;
        let mut rings = Vec::new();
        for ring in student.rings.iter_mut().filter(|ring| ring.unsaved > 0) {
            let panes = stored(ring);
            if !panes.is_empty() {
                rings.push((self.layout.grids[usize::from(ring.grid)].identity, panes));
            }
        }
        (!rings.is_empty()).then_some((number, StoredStudent { rings }))
    }

    /// Takes stored panes in. Slots that no view needs any more, or not as long, are left out.
    pub(super) fn load(&mut self, student: &mut Student, stored: StoredStudent) {
        let layout = Arc::clone(&self.layout);
        for (identity, panes) in stored.rings {
            for (at, grid) in layout.grids.iter().enumerate().filter(|(_, grid)| grid.identity == identity) {
                let now = self.clocks[at].now();
                let mut loaded = Vec::new();
                let runs = panes.iter().flat_map(|(number, runs)| runs.iter().map(move |run| (number, run)));
                for (number, StoredRun { run, sums, parts }) in runs.filter(|(number, _)| *number + grid.panes > now) {
                    let needed = |slot: Slot| {
                        layout.slot(slot).is_some_and(|info| usize::from(info.grid) == at && number + info.panes > now)
                    };
                    let mut cells = Cells::default();
                    for (slot, amount) in sums.iter().filter(|(slot, _)| needed(*slot)) {
                        cells.sums.add(*slot, *amount);
                    }
                    for (slot, part) in parts.iter().filter(|(slot, _)| needed(*slot)) {
                        cells.merge_part(*slot, layout.kind(*slot), part.clone());
                    }
                    if !cells.is_empty() {
                        loaded.push(Pane::new(*number, *run, cells));
                    }
                }
                if !loaded.is_empty() {
                    self.take_in(student, at, loaded);
                }
            }
        }
    }

    /// A grid's panes of a student who has none there yet.
    fn take_in(&mut self, student: &mut Student, grid_index: usize, panes: Vec<Pane>) {
        let layout = Arc::clone(&self.layout);
        let grid = &layout.grids[grid_index];
        let now = self.clocks[grid_index].now();
        self.panes += panes.len();
        student.changed.extend(self.clocks[grid_index].views());
        let mut ring = self.empty_ring(grid_index as u16);
        for pane in panes.iter().filter(|pane| pane.number() <= now) {
            for (slot, amount) in pane.cells.sums.iter() {
                let Some(info) = layout.slot(slot) else { continue };
                ring.add_to_windows(grid, info, (pane.number(), now), amount);
            }
        }
        ring.panes = panes;
        // An older pane was stored when it held more of the last events than it needs to by now.
        for info in layout.slots.iter().flatten().filter(|info| usize::from(info.grid) == grid_index) {
            if let Kind::Tail(most) = info.kind {
                trim_tail(&mut ring, info.number, most as usize, now);
            }
        }
        ring.wake = self.wake(grid_index, &ring);
        student.rings.push(ring);
    }
}

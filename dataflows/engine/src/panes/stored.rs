//! A student's panes as they are stored, and back. What is stored carries slots' numbers, which mean the same in every
//! later process, and grids' identities.

use super::{Pane, Place, Ring, Student};
use crate::cells::{Cells, Part};
use crate::sum::Slot;
use crate::symbols::StudentNo;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A pane as it is stored: its number, its run, its sums and its other parts.
type StoredPane = (i64, (u32, u32), Vec<(Slot, i128)>, Vec<(Slot, Part)>);

/// A student's panes as they are stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredStudent {
    /// Per grid: its identity, and its panes.
    rings: Vec<(u64, Vec<StoredPane>)>,
}

impl Place {
    /// What to store of a student that waits for its export: as it is now.
    pub(super) fn export_before_change(
        &self,
        number: StudentNo,
        student: &mut Student,
    ) -> Option<(StudentNo, Option<StoredStudent>)> {
        if !std::mem::replace(&mut student.pending, false) {
            return None;
        }
        let rings: Vec<_> = student.rings.iter().map(|ring| self.stored(ring)).collect();
        Some((number, (!rings.is_empty()).then_some(StoredStudent { rings })))
    }

    fn stored(&self, ring: &Ring) -> (u64, Vec<StoredPane>) {
        let pane = |pane: &Pane| (pane.number, pane.run, pane.cells.sums.iter().collect(), pane.cells.parts().to_vec());
        (self.layout.grids[usize::from(ring.grid)].identity, ring.panes.iter().map(pane).collect())
    }

    /// Takes stored panes in. Slots that no view needs any more, or not as long, are left out.
    pub(super) fn load(&mut self, student: &mut Student, stored: StoredStudent) {
        let layout = Arc::clone(&self.layout);
        for (identity, panes) in stored.rings {
            for (at, grid) in layout.grids.iter().enumerate().filter(|(_, grid)| grid.identity == identity) {
                let now = self.clocks[at].now();
                let mut loaded = Vec::new();
                for (number, run, sums, parts) in panes.iter().filter(|(number, ..)| number + grid.panes > now) {
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
                        loaded.push(Pane { number: *number, run: *run, cells });
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
        for pane in panes.iter().filter(|pane| pane.number <= now) {
            for (slot, amount) in pane.cells.sums.iter() {
                let Some(info) = layout.slot(slot) else { continue };
                ring.add_to_windows(grid, info, (pane.number, now), amount);
            }
        }
        ring.panes = panes;
        ring.wake = self.wake(grid_index, &ring);
        student.rings.push(ring);
    }
}

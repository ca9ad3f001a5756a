//! How much memory the state takes under given assumptions: sizes of the real types, with what their containers reserve.
//!
//! Upper bounds where it depends on the events: every student has panes on every grid, and every part of a grid is in each
//! of them. What allocators add, and what a differential trace holds twice while it merges, is left out.

use super::{Assumptions, Size};
use crate::cells::{Kind, Moment, Part};
use crate::dedupe::IdHash;
use crate::evaluations::{self, GradeKey};
use crate::layout::{Layout, SlotInfo};
use crate::operators::{grades, profiles};
use crate::panes::sizes::{PANE, RING, RINGS_INLINE, STUDENT, WINDOW};
use crate::shared::Time;
use crate::sum::{Amount, Slot};
use crate::symbols::{self, StudentNo};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow};
use aulaflow_model::event::Evaluation;
use aulaflow_model::grade::{CategoryResult, Grade, Item};
use aulaflow_model::ids::{EvaluationType, PeriodId, Subject};
use aulaflow_plan::Plan;
use std::sync::Arc;

/// Counts in front of what an `Arc` points to.
const ARC: usize = 2 * size_of::<usize>();
/// Entries in a leaf of the standard library's B-tree, which is allocated whole.
const LEAF: usize = 11;

fn size(entries: u64, bytes: u64) -> Size {
    Size { entries, bytes }
}

/// A hash table: a power of two of places, at most seven eighths of them taken, with a byte of control each.
fn table(entries: u64, entry: usize) -> u64 {
    if entries == 0 {
        return 0;
    }
    (entries * 8).div_ceil(7).next_power_of_two() * (entry as u64 + 1)
}

/// A vector that has grown one by one.
fn grown(len: u64, entry: usize) -> u64 {
    if len == 0 { 0 } else { len.next_power_of_two().max(4) * entry as u64 }
}

/// Sums of so many slots: they grow by half (`Sums::add`).
fn sums(slots: u64) -> u64 {
    let mut capacity = 0;
    while capacity < slots {
        capacity += 1 + capacity / 2;
    }
    capacity * size_of::<Amount>() as u64
}

/// A differential arrangement: keys and values with an offset each, and an update per value.
fn arranged((keys, key): (u64, usize), (values, value): (u64, usize)) -> u64 {
    let offset = size_of::<u32>();
    keys * (key + offset) as u64 + values * (value + offset + size_of::<Time>() + size_of::<isize>()) as u64
}

/// Each student's entry.
pub fn students(layout: &Layout, a: &Assumptions) -> Size {
    let rings = layout.grids.len();
    let spilled = if rings > RINGS_INLINE { rings.next_power_of_two() * RING } else { 0 };
    // The list of those that are due at an instant.
    let due = 2 * size_of::<StudentNo>();
    size(a.students, table(a.students, STUDENT) + a.students * (spilled + due) as u64)
}

/// A grid's panes.
pub fn panes(layout: &Layout, grid: usize, a: &Assumptions) -> Size {
    let of_grid = &layout.grids[grid];
    let kept = |panes: i64| u64::try_from(panes).unwrap_or(0).min(a.active_panes);
    let slots: Vec<&SlotInfo> = layout.slots.iter().flatten().filter(|slot| usize::from(slot.grid) == grid).collect();
    let panes = kept(of_grid.panes);
    let mut bytes = grown(panes, PANE);
    for age in 0..panes {
        let there = || slots.iter().filter(|slot| kept(slot.panes) > age);
        bytes += sums(there().filter(|slot| slot.kind == Kind::Sum).count() as u64);
        let parts = there().filter(|slot| slot.kind != Kind::Sum).count() as u64;
        if parts > 0 {
            bytes += size_of::<Vec<(Slot, Part)>>() as u64 + grown(parts, size_of::<(Slot, Part)>());
        }
        let sets = there().filter(|slot| slot.kind == Kind::Distinct).count() as u64;
        bytes += sets * grown(a.distinct_values, size_of::<u128>());
    }
    for slot in &slots {
        if let Kind::Tail(most) = slot.kind {
            bytes += u64::from(most) * size_of::<Moment>() as u64;
        }
    }
    for (window, panes) in of_grid.windows.iter().enumerate().filter(|(_, panes)| **panes > 1) {
        let running = |slot: &&&SlotInfo| slot.kind == Kind::Sum && slot.windows & (1 << window) != 0;
        debug_assert!(*panes <= of_grid.panes, "a grid keeps what its windows cover");
        bytes += sums(slots.iter().filter(running).count() as u64);
    }
    if of_grid.windows.len() > 1 {
        bytes += (of_grid.windows.len().next_power_of_two() * WINDOW) as u64;
    }
    size(a.students * panes, a.students * bytes)
}

/// The event ids of a table: a horizon, and the generation that is under way.
pub fn event_ids(horizon_ms: i64, a: &Assumptions) -> Size {
    let per_day = u128::from(a.students) * u128::from(a.events_per_day);
    let ids = per_day * u128::from(horizon_ms.unsigned_abs()) * 4 / 3 / 86_400_000;
    let ids = u64::try_from(ids).unwrap_or(u64::MAX / 1_024);
    size(ids, table(ids, size_of::<IdHash>()) + ids * size_of::<IdHash>() as u64)
}

/// The present evaluations.
pub fn evaluations(a: &Assumptions) -> Size {
    let count = a.students * a.evaluations;
    let behind = size_of::<Evaluation>() + ARC + size_of::<Item>();
    size(count, table(count, evaluations::ENTRY_BYTES) + count * behind as u64)
}

/// Items by grade; the items themselves are the evaluations'.
pub fn items(a: &Assumptions) -> Size {
    let (grades, items) = (a.students * a.grades, a.students * a.evaluations);
    size(items, arranged((grades, size_of::<GradeKey>()), (items, size_of::<Arc<Item>>())))
}

/// A grade's items as one list.
pub fn groups(a: &Assumptions) -> Size {
    let (grades, items) = (a.students * a.grades, a.students * a.evaluations);
    let lists = grades * ARC as u64 + items * size_of::<Item>() as u64;
    size(grades, lists + arranged((grades, size_of::<GradeKey>()), (grades, size_of::<Arc<[Item]>>())))
}

/// The same lists by subject; keys are few.
pub fn groups_by_subject(a: &Assumptions) -> Size {
    let grades = a.students * a.grades;
    size(grades, arranged((a.grades, grades::SUBJECT_KEY_BYTES), (grades, grades::GROUP_BYTES)))
}

/// Version, time of change and digest of each row shown.
pub fn history(plan: &Plan, a: &Assumptions) -> Size {
    let views = plan.views.iter().filter(|view| view.serve).count() as u64;
    let marks = table(a.grades, profiles::GRADE_MARK_BYTES) + table(views, profiles::FEATURE_MARK_BYTES);
    size(a.students * (a.grades + views), table(a.students, profiles::HISTORY_BYTES) + a.students * marks)
}

/// Names as numbers.
pub fn names(a: &Assumptions) -> Size {
    let (entry, listed) = symbols::NAME_BYTES;
    size(a.students, table(a.students, entry) + grown(a.students, listed))
}

/// The rows of profiles.
pub fn rows(plan: &Plan, a: &Assumptions) -> Size {
    let category = LEAF * (size_of::<EvaluationType>() + size_of::<CategoryResult>());
    let key = size_of::<Subject>() + size_of::<PeriodId>();
    let grade = key + size_of::<GradeRow>() + ARC + size_of::<Grade>() + category;
    let views = plan.views.iter().filter(|view| view.serve);
    let feature = |outputs: usize| size_of::<(u16, FeatureRow)>() + ARC + outputs * size_of::<FeatureValue>();
    let features: usize = views.clone().map(|view| feature(view.outputs.len())).sum();
    let count = a.grades + views.count() as u64;
    size(a.students * count, a.students * (a.grades * grade as u64 + features as u64))
}

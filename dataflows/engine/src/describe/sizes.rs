//! How much memory the state takes under given assumptions: sizes of the real types, with what their containers reserve.
//!
//! Upper bounds where it depends on the events: every student has panes on every grid, and every part of a grid is in each
//! of them. An allocation counts with what the allocator gives for it. What a differential trace holds twice while it
//! merges is left out.

use super::{Assumptions, Size};
use crate::cells::{Kind, Moment, Part, Scalar};
use crate::dedupe::IdHash;
use crate::evaluations::{self, GradeKey};
use crate::layout::{Layout, SlotInfo};
use crate::operators::behavior::{Event, SegmentLengths};
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
use aulaflow_sink::update::{FeatureChange, StudentChange};
use std::sync::Arc;

/// Counts in front of what an `Arc` points to.
const ARC: usize = 2 * size_of::<usize>();
/// Entries in a leaf of the standard library's B-tree, which is allocated whole.
const LEAF: usize = 11;

fn size(entries: u64, bytes: u64) -> Size {
    Size { entries, bytes }
}

/// The largest allocation that comes out of a size class; larger ones are whole pages.
const CLASS_MAX: u64 = 128 << 10;

/// What an allocation takes: the program's allocator (mimalloc) has sixteen-byte steps up to 64 bytes, and four classes
/// for each doubling above.
pub fn block(bytes: u64) -> u64 {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=64 => bytes.next_multiple_of(16),
        65..=CLASS_MAX => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
        _ => bytes.next_multiple_of(4_096),
    }
}

/// A hash table: a power of two of places, at most seven eighths of them taken, with a byte of control each and one
/// group of those more.
pub fn table(entries: u64, entry: usize) -> u64 {
    let places = match entries {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        _ => (entries * 8).div_ceil(7).next_power_of_two(),
    };
    block(places * (entry as u64 + 1) + TABLE_GROUP)
}

/// Bytes of control that a hash table looks at in one step.
const TABLE_GROUP: u64 = 16;

/// A vector that has grown one by one.
fn grown(len: u64, entry: usize) -> u64 {
    if len == 0 { 0 } else { block(len.next_power_of_two().max(4) * entry as u64) }
}

/// A vector that grows by half, as the sums and parts of a pane do (`Sums::add`, `Cells::merge_part`).
fn by_half(len: u64, entry: usize) -> u64 {
    let mut capacity = 0;
    while capacity < len {
        capacity += 1 + capacity / 2;
    }
    block(capacity * entry as u64)
}

/// Sums of so many slots.
fn sums(slots: u64) -> u64 {
    by_half(slots, size_of::<Amount>())
}

/// The last events of a pane; the first is put into a vector of its own.
fn tail(events: u64) -> u64 {
    if events == 1 { block(size_of::<Moment>() as u64) } else { grown(events, size_of::<Moment>()) }
}

/// Behaviour events in a pane that holds any: a day's, spread over as many of the day's panes as are active.
fn events_per_pane(a: &Assumptions, slide_ms: i64) -> u64 {
    let in_a_day = u64::try_from(DAY_MS / slide_ms.max(1)).unwrap_or(1).clamp(1, a.active_panes.max(1));
    a.events_per_day.div_ceil(in_a_day).max(1)
}

/// A day.
const DAY_MS: i64 = 86_400_000;

/// A differential arrangement: keys and values with an offset each, and an update per value.
fn arranged((keys, key): (u64, usize), (values, value): (u64, usize)) -> u64 {
    let offset = size_of::<u32>();
    keys * (key + offset) as u64 + values * (value + offset + size_of::<Time>() + size_of::<isize>()) as u64
}

/// Each student's entry.
pub fn students(layout: &Layout, a: &Assumptions) -> Size {
    let rings = layout.grids.len();
    let spilled = if rings > RINGS_INLINE { block((rings.next_power_of_two() * RING) as u64) } else { 0 };
    // The list of those that are due at an instant.
    let due = 2 * size_of::<StudentNo>();
    size(a.students, table(a.students, STUDENT) + a.students * (spilled + due as u64))
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
        bytes += by_half(parts, size_of::<(Slot, Part)>());
        let sets = there().filter(|slot| slot.kind == Kind::Distinct).count() as u64;
        bytes += sets * grown(a.distinct_values, size_of::<u128>());
        for slot in there() {
            if let Kind::Tail(most) = slot.kind {
                bytes += tail(u64::from(most).min(events_per_pane(a, of_grid.spec.slide_ms)));
            }
        }
    }
    for (window, panes) in of_grid.windows.iter().enumerate().filter(|(_, panes)| **panes > 1) {
        let running = |slot: &&&SlotInfo| slot.kind == Kind::Sum && slot.windows & (1 << window) != 0;
        debug_assert!(*panes <= of_grid.panes, "a grid keeps what its windows cover");
        bytes += sums(slots.iter().filter(running).count() as u64);
    }
    if of_grid.windows.len() > 1 {
        bytes += block((of_grid.windows.len().next_power_of_two() * WINDOW) as u64);
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
    let behind = block(size_of::<Evaluation>() as u64) + block((ARC + size_of::<Item>()) as u64);
    size(count, table(count, evaluations::ENTRY_BYTES) + count * behind)
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

/// The rows of profiles: a list of grades and one of features per student, and behind each entry its contents.
pub fn rows(plan: &Plan, a: &Assumptions) -> Size {
    let category = LEAF * (size_of::<EvaluationType>() + size_of::<CategoryResult>());
    let behind_grade = block((ARC + size_of::<Grade>()) as u64) + block(category as u64);
    let views: Vec<_> = plan.views.iter().filter(|view| view.serve).collect();
    let values = |outputs: usize| block((ARC + outputs * size_of::<FeatureValue>()) as u64);
    let list = |entries: u64, entry: usize| if entries == 0 { 0 } else { block(ARC as u64 + entries * entry as u64) };
    let grades = list(a.grades, size_of::<Subject>() + size_of::<PeriodId>() + size_of::<GradeRow>());
    let features = list(views.len() as u64, size_of::<(u16, FeatureRow)>());
    let contents = a.grades * behind_grade + views.iter().map(|view| values(view.outputs.len())).sum::<u64>();
    size(a.students * (a.grades + views.len() as u64), a.students * (grades + features + contents))
}

/// What a process without students takes: its code, libraries and threads. Measured, with an empty serving store (the
/// case `memory` of the benchmarks, on Linux with x86-64).
const EMPTY_PROCESS: u64 = 50 << 20;
/// What a behaviour event takes as JSON on the log, about.
const RECORD: u64 = 200;
/// Epochs that are under way at a time, at most.
const EPOCHS: u64 = 2;

/// The process itself, and what it works on while it reads as fast as it can: full epochs of records, what they add, and
/// the rows that change.
pub fn process(plan: &Plan, layout: &Layout, a: &Assumptions) -> u64 {
    let engine = &plan.runtime.engine;
    let there = a.students.saturating_mul(a.events_per_day.max(1));
    let most = (engine.batch_records_max as u64).min(engine.batch_bytes_max as u64 / RECORD);
    let records = (EPOCHS * most).min(there);
    let slots = layout.slots.iter().flatten();
    let added: usize =
        slots.map(|slot| if slot.kind == Kind::Sum { size_of::<Amount>() } else { size_of::<(Slot, Scalar)>() }).sum();
    let segments = layout.grids.len() * size_of::<SegmentLengths>();
    let served = plan.views.iter().filter(|view| view.serve).count();
    let told = size_of::<StudentChange>() + served * size_of::<FeatureChange>();
    EMPTY_PROCESS + records * (RECORD + (size_of::<Event>() + segments + added + told) as u64)
}

//! Where in a ring an event belongs, what it adds to there, and what must not grow in it.

use super::{DISTINCT_MAX, Pane, Ring};
use crate::cells::{Cells, Kind, Part, Scalar};
use crate::layout::{Grid, Layout, SlotInfo};
use crate::sum::Slot;
use aulaflow_model::instant::Millis;

/// The pane of a number; a new one where there is none.
pub(super) fn place_in_pane(ring: &mut Ring, number: i64) -> usize {
    // Events mostly belong to the newest pane: look from the end.
    match ring.panes.iter().rposition(|pane| pane.number() <= number) {
        Some(at) if ring.panes[at].number() == number => at,
        before => {
            let at = before.map_or(0, |before| before + 1);
            ring.panes.insert(at, Pane::new(number, (0, 0), Cells::default()));
            at
        }
    }
}

/// The run of a pane that an event belongs to: which it extends, which it joins with the next one, or a new one.
pub(super) fn place_in_run(ring: &mut Ring, layout: &Layout, grid: &Grid, number: i64, offset: i64) -> usize {
    let gap = grid.spec.gap_ms;
    // A pane of sessions is shorter than 49 days.
    let at = u32::try_from(offset).unwrap_or(u32::MAX);
    let joins = |pane: &Pane| {
        pane.number() == number && i64::from(pane.run.0) - offset < gap && offset - i64::from(pane.run.1) < gap
    };
    let Some(first) = ring.panes.iter().position(joins) else {
        let place = ring.panes.partition_point(|pane| (pane.number(), pane.run.0) < (number, at));
        ring.panes.insert(place, Pane::new(number, (at, at), Cells::default()));
        return place;
    };
    // At most two runs are within reach of an event that is in neither.
    if ring.panes.get(first + 1).is_some_and(joins) {
        let second = ring.panes.remove(first + 1);
        let run = &mut ring.panes[first];
        run.run.1 = second.run.1;
        run.cells.merge(&second.cells, &|slot| layout.kind(slot));
    }
    let run = &mut ring.panes[first].run;
    *run = (run.0.min(at), run.1.max(at));
    first
}

/// The slot, if its set is full and does not hold the value yet. `number` is the event's pane.
pub(super) fn full_set(layout: &Layout, ring: &Ring, number: i64, slot: Slot, value: &Scalar) -> Option<Slot> {
    if layout.kind(slot) != Kind::Distinct {
        return None;
    }
    let key = value.distinct_key();
    let holds = |keys: &&[u128]| keys.binary_search(&key).is_ok();
    // Mostly the event's own pane has the value, and then nothing grows.
    let own = ring.panes.iter().rev().find(|pane| pane.number() == number).and_then(|pane| set_of(pane, slot));
    if own.as_ref().is_some_and(holds) {
        return None;
    }
    let mut sets = ring.panes.iter().filter_map(|pane| set_of(pane, slot));
    let full = sets.clone().map(<[u128]>::len).sum::<usize>() >= DISTINCT_MAX;
    (full && !sets.any(|keys| holds(&keys))).then_some(slot)
}

fn set_of(pane: &Pane, slot: Slot) -> Option<&[u128]> {
    match pane.cells.part(slot) {
        Some(Part::Distinct(keys)) => Some(keys),
        Some(Part::Extreme(_) | Part::Edge(..) | Part::Tail(_)) | None => None,
    }
}

/// Of the panes that have entered, only the latest events are kept: older ones never come back into sight.
pub(super) fn trim_tail(ring: &mut Ring, slot: Slot, most: usize, now: i64) {
    let mut left = most;
    for pane in ring.panes.iter_mut().rev().filter(|pane| pane.number() <= now) {
        if let Some(Part::Tail(events)) = pane.cells.part_mut(slot) {
            events.drain(..events.len().saturating_sub(left));
            left -= events.len();
        }
    }
}

/// Of stretches of time, oldest first, those of the session that is open at a clock: the last ones without a gap between
/// them; none, if the gap has passed since. `bounds` are a stretch's first and last instant.
pub(super) fn keep_open<T>(stretches: &mut Vec<T>, gap_ms: i64, clock: Millis, bounds: impl Fn(&T) -> (i64, i64)) {
    let breaks = |pair: &[T]| bounds(&pair[1]).0 - bounds(&pair[0]).1 >= gap_ms;
    let first = stretches.windows(2).rposition(breaks).map_or(0, |at| at + 1);
    stretches.drain(..first);
    if stretches.last().is_some_and(|last| bounds(last).1 + gap_ms <= clock.0) {
        stretches.clear();
    }
}

impl Ring {
    /// Adds to the running sums of the windows that cover a pane and keep one of the slot.
    pub(super) fn add_to_windows(&mut self, grid: &Grid, info: &SlotInfo, (number, now): (i64, i64), amount: i128) {
        for (window, panes) in grid.windows.iter().enumerate() {
            let covers = number <= now && number + panes > now;
            if covers && *panes > 1 && info.windows & (1 << window) != 0 {
                self.windows[window].add(info.number, amount);
            }
        }
    }
}

//! The clock as one grid sees it: which pane is now, and quick answers for the panes of events. Calendars are slow to ask,
//! and events mostly fall into the pane of the one before.

use crate::layout::Layout;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::Millis;
use aulaflow_model::window::WindowSpec;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Starts of panes that are remembered.
const STARTS_MAX: usize = 100_000;

/// A window's panes with a memory for the last one asked for.
pub struct PaneNumbers {
    spec: WindowSpec,
    /// From, to, number.
    last: (Millis, Millis, i64),
}

impl PaneNumbers {
    /// For a window.
    pub fn new(spec: WindowSpec) -> Self {
        Self { spec, last: (Millis(0), Millis(0), 0) }
    }

    /// The pane that holds an instant.
    pub fn pane(&mut self, at: Millis) -> i64 {
        if self.spec.zone.is_none() {
            return at.pane(self.spec.slide_ms);
        }
        if !(self.last.0 <= at && at < self.last.1) {
            let pane = self.spec.pane(at);
            self.last = (self.spec.start_of(pane), self.spec.start_of(pane + 1), pane);
        }
        self.last.2
    }
}

/// A grid's clock.
pub struct GridClock {
    events: PaneNumbers,
    starts: FxHashMap<i64, Millis>,
    now: i64,
    /// After how many panes some slot is not needed any more, where others are.
    trims: Vec<i64>,
    /// After how many panes anything leaves: a window, a slot that is not needed any more, the ring.
    leaves: Arc<[i64]>,
    views: Vec<ViewIndex>,
}

impl GridClock {
    /// For a grid, long before anything.
    pub fn new(layout: &Layout, index: usize) -> Self {
        let grid = &layout.grids[index];
        let own = || layout.slots.iter().flatten().filter(|slot| usize::from(slot.grid) == index);
        let trims: BTreeSet<i64> = own().map(|slot| slot.panes).filter(|panes| *panes < grid.panes).collect();
        let views: BTreeSet<ViewIndex> = own().flat_map(|slot| slot.views.iter().copied()).collect();
        let leaves: BTreeSet<i64> = trims.iter().chain(&grid.windows).chain([&grid.panes]).copied().collect();
        Self {
            events: PaneNumbers::new(grid.spec.clone()),
            starts: FxHashMap::default(),
            now: i64::MIN / 4,
            trims: trims.into_iter().collect(),
            leaves: leaves.into_iter().collect(),
            views: views.into_iter().collect(),
        }
    }

    /// Moves on.
    pub fn advance(&mut self, clock: Millis) {
        self.now = self.events.spec.pane(clock);
    }

    /// The pane of the clock.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// The pane that holds an event.
    pub fn pane(&mut self, at: Millis) -> i64 {
        self.events.pane(at)
    }

    /// The first instant of a pane.
    pub fn start(&mut self, pane: i64) -> Millis {
        let spec = &self.events.spec;
        if spec.zone.is_none() {
            return spec.start_of(pane);
        }
        if self.starts.len() >= STARTS_MAX {
            self.starts.clear();
        }
        *self.starts.entry(pane).or_insert_with(|| spec.start_of(pane))
    }

    /// After how many panes some slot is not needed any more, where others are.
    pub fn trims(&self) -> &[i64] {
        &self.trims
    }

    /// After how many panes anything leaves.
    pub fn leaves(&self) -> Arc<[i64]> {
        Arc::clone(&self.leaves)
    }

    /// The views that read the grid.
    pub fn views(&self) -> &[ViewIndex] {
        &self.views
    }
}

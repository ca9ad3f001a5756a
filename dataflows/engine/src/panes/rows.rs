//! A student's panes to the rows that are shown: windows, sessions, and views over either.
//!
//! Nothing is remembered here: a row is made from the panes and, where sums can be kept running, from those. So whoever
//! explains a row calls the same functions.

use super::rings::keep_open;
use super::{Pane, Place, Ring, Student};
use crate::cells::{Cells, Moment, Part, Scalar};
use crate::fold::{Fold, Item, Window, outputs, shown};
use crate::layout::{Grid, PaneView, ViewLayout};
use crate::sum::{Slot, Sums};
use aulaflow_model::change::{FeatureValue, ViewIndex};
use aulaflow_model::instant::Millis;
use aulaflow_model::window::WindowKind;
use aulaflow_plan::sql::View;
use aulaflow_plan::sql::expr::{Row, Value};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// A view's row as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureUpdate {
    /// The view.
    pub view: ViewIndex,
    /// Values, and of a session its first event and its end; `None`: no row.
    pub row: Option<RowValues>,
}

/// Values, and of a session its first event and its end.
pub type RowValues = (Arc<[FeatureValue]>, Option<(Millis, Millis)>);

/// A window or session of a view, as a row for views over it.
pub(super) struct InnerRow {
    pub(super) start: Millis,
    pub(super) end: Millis,
    pub(super) values: Vec<Scalar>,
}

impl Row for &InnerRow {
    fn column(&self, index: usize) -> Value<'_> {
        match self.values.get(index) {
            Some(scalar) => scalar.value(),
            None if index == self.values.len() => Value::Timestamp(self.start),
            None => Value::Timestamp(self.end),
        }
    }
}

/// A stretch of time and what is in it.
pub(super) struct Stretch<'r> {
    pub(super) start: Millis,
    pub(super) end: Millis,
    pub(super) cells: Cow<'r, Cells>,
}

impl Place {
    /// What to tell of a view that may have changed; `None` where nobody is shown it.
    pub(super) fn update(&mut self, student: &Student, view: ViewIndex) -> Option<FeatureUpdate> {
        let plan = Arc::clone(&self.plan);
        let definition = plan.views.get(usize::from(view)).filter(|view| view.serve)?;
        let row = self.row(student, usize::from(view), definition);
        Some(FeatureUpdate { view, row: row.map(|(values, session)| (shown(&values), session)) })
    }

    fn row(&mut self, student: &Student, index: usize, view: &View) -> Option<(Vec<Scalar>, Option<(Millis, Millis)>)> {
        let layout = Arc::clone(&self.layout);
        let grid_index = layout.grid_of(index)?;
        let ring = student.rings.iter().find(|ring| usize::from(ring.grid) == grid_index)?;
        let grid = &layout.grids[grid_index];
        match &layout.views[index] {
            ViewLayout::Panes(placed) if grid.is_session() => {
                let open = self.open_session(ring, view)?;
                let bounds = (open.start, open.end);
                let values = self.values(placed, view, &open.cells.sums, &open.cells, bounds)?;
                Some((values, Some(bounds)))
            }
            ViewLayout::Panes(placed) => self.window(ring, grid, placed, view).map(|values| (values, None)),
            ViewLayout::Windows { inner, panes, fold } => self.over_windows(ring, (*inner, *panes), fold, view),
            ViewLayout::Present => None,
        }
    }

    /// A view's outputs from its slots; `None` where there is no row.
    pub(super) fn values(
        &mut self,
        placed: &PaneView,
        view: &View,
        sums: &Sums,
        parts: &Cells,
        bounds: (Millis, Millis),
    ) -> Option<Vec<Scalar>> {
        if sums.get(placed.rows) == 0 {
            return None;
        }
        let window = Window { sums, parts };
        let results: Vec<_> = placed.places.iter().map(|place| place.result(placed.rows, &window)).collect();
        Some(outputs(view, &results, bounds, &mut self.failed))
    }

    /// The row of a `tumble` or `hop` view.
    fn window(&mut self, ring: &Ring, grid: &Grid, placed: &PaneView, view: &View) -> Option<Vec<Scalar>> {
        let now = self.clocks[placed.grid].now();
        let panes = grid.windows[placed.window];
        let within = || ring.panes.iter().filter(|pane| pane.number() <= now && pane.number() + panes > now);
        let single = within().next_back().map(|pane| &pane.cells.sums).filter(|_| panes == 1);
        let sums = single.unwrap_or(&ring.windows[placed.window]);
        let parts = self.combine(&placed.parts, within());
        let bounds = self.bounds(view);
        self.values(placed, view, sums, &parts, bounds)
    }

    /// The bounds of a `tumble` or `hop` view's window, if an output reads them: calendars are slow to ask.
    fn bounds(&self, view: &View) -> (Millis, Millis) {
        if view.reads_bounds { view.schema.window.bounds(self.clock) } else { Default::default() }
    }

    /// Slots that are no sums, over panes.
    fn combine<'r>(&self, slots: &[Slot], panes: impl Iterator<Item = &'r Pane> + Clone) -> Cells {
        let mut cells = Cells::default();
        for slot in slots {
            let kind = self.layout.kind(*slot);
            let mut keys: Vec<u128> = Vec::new();
            for part in panes.clone().filter_map(|pane| pane.cells.part(*slot)) {
                match part {
                    Part::Distinct(more) => keys.extend(more),
                    Part::Extreme(_) | Part::Edge(..) | Part::Tail(_) => cells.merge_part(*slot, kind, part.clone()),
                }
            }
            if !keys.is_empty() {
                keys.sort_unstable();
                keys.dedup();
                cells.merge_part(*slot, kind, Part::Distinct(keys));
            }
        }
        cells
    }

    /// The sessions in the last `panes` of a ring, oldest first: runs without a gap, over panes.
    fn sessions<'r>(&mut self, ring: &'r Ring, gap_ms: i64, panes: i64) -> Vec<Stretch<'r>> {
        let clock = &mut self.clocks[usize::from(ring.grid)];
        let now = clock.now();
        let mut sessions: Vec<Stretch<'r>> = Vec::new();
        for pane in ring.panes.iter().filter(|pane| pane.number() <= now && pane.number() + panes > now) {
            let start = clock.start(pane.number()).0;
            let (first, last) = (start + i64::from(pane.run.0), start + i64::from(pane.run.1));
            let end = Millis(last + gap_ms);
            match sessions.last_mut() {
                // The end is the last event and the gap: an event before it belongs to the session.
                Some(open) if first < open.end.0 => {
                    open.cells.to_mut().merge(&pane.cells, &|slot| self.layout.kind(slot));
                    open.end = end;
                }
                Some(_) | None => {
                    sessions.push(Stretch { start: Millis(first), end, cells: Cow::Borrowed(&pane.cells) })
                }
            }
        }
        sessions
    }

    fn open_session<'r>(&mut self, ring: &'r Ring, view: &View) -> Option<Stretch<'r>> {
        let (clock, window) = (self.clock, &view.schema.window);
        self.sessions(ring, window.gap_ms, window.panes()).pop().filter(|session| session.end > clock)
    }

    /// The windows or sessions in the last `panes` of a ring, oldest first.
    fn stretches<'r>(&mut self, ring: &'r Ring, panes: i64) -> Vec<Stretch<'r>> {
        let layout = Arc::clone(&self.layout);
        let grid = &layout.grids[usize::from(ring.grid)];
        if grid.is_session() {
            return self.sessions(ring, grid.spec.gap_ms, panes);
        }
        let clock = &mut self.clocks[usize::from(ring.grid)];
        let now = clock.now();
        let entered = ring.panes.iter().filter(|pane| pane.number() <= now && pane.number() + panes > now);
        let one = |pane: &'r Pane| Stretch {
            start: clock.start(pane.number()),
            end: clock.start(pane.number() + 1),
            cells: Cow::Borrowed(&pane.cells),
        };
        entered.map(one).collect()
    }

    /// The rows of an inner view that an outer view's window covers, oldest first.
    fn inner_rows(&mut self, ring: &Ring, (inner, panes): (usize, i64), view: &View) -> Vec<InnerRow> {
        let (plan, layout) = (Arc::clone(&self.plan), Arc::clone(&self.layout));
        let ViewLayout::Panes(placed) = &layout.views[inner] else { return Vec::new() };
        let spec = &view.schema.window;
        let (from, to) = match spec.kind {
            WindowKind::Session => (spec.start_of(spec.pane(self.clock) - spec.panes() + 1), Millis(i64::MAX)),
            WindowKind::Tumble | WindowKind::Hop | WindowKind::Present => spec.bounds(self.clock),
        };
        let mut rows = Vec::new();
        for stretch in self.stretches(ring, panes).into_iter().filter(|s| from <= s.start && s.start < to) {
            let (sums, bounds) = (&stretch.cells.sums, (stretch.start, stretch.end));
            if let Some(values) = self.values(placed, &plan.views[inner], sums, &stretch.cells, bounds) {
                rows.push(InnerRow { start: stretch.start, end: stretch.end, values });
            }
        }
        rows
    }

    /// The row of a view over another view's windows.
    fn over_windows(
        &mut self,
        ring: &Ring,
        inner: (usize, i64),
        fold: &Fold,
        view: &View,
    ) -> Option<(Vec<Scalar>, Option<(Millis, Millis)>)> {
        let rows = self.covered_rows(ring, inner, view);
        let gap_ms = view.schema.window.gap_ms;
        let session = match (rows.first(), rows.last()) {
            (Some(first), Some(last)) if gap_ms > 0 => Some((first.start, Millis(last.start.0 + gap_ms))),
            _ => None,
        };
        let bounds = session.unwrap_or_else(|| self.bounds(view));
        let item = |row| Item { moment: moment_of(row), row };
        let results = fold.results(view, rows.iter().map(item), &mut self.failed)?;
        let values = outputs(view, &results, bounds, &mut self.failed);
        Some((values, session))
    }

    /// The rows that make a view over windows: of a session, those of the one that is open.
    pub(super) fn covered_rows(&mut self, ring: &Ring, inner: (usize, i64), view: &View) -> Vec<InnerRow> {
        let mut rows = self.inner_rows(ring, inner, view);
        let gap_ms = view.schema.window.gap_ms;
        if gap_ms > 0 {
            let holds = |row: &InnerRow| view.filter.as_ref().is_none_or(|filter| filter.holds(&row).unwrap_or(false));
            rows.retain(holds);
            keep_open(&mut rows, gap_ms, self.clock, |row| (row.start.0, row.start.0));
        }
        rows
    }
}

/// A window's place in time is its start.
pub(super) fn moment_of(row: &InnerRow) -> Moment {
    Moment { at: row.start.0, id: CompactString::default() }
}

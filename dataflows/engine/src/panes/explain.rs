//! How a row came about: computed again from the panes alone, without the running sums that the row was made with.

use super::rings::keep_open;
use super::rows::{InnerRow, moment_of};
use super::{PaneStore, Place, Student};
use crate::cells::{Cells, Moment, Part};
use crate::fold::{Fold, Item, outputs, shown};
use crate::layout::{PaneView, ViewLayout};
use crate::symbols::StudentNo;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::explain::{ExplainedEvent, ExplainedPane, ExplainedWindow, FeatureExplanation};
use aulaflow_model::instant::Millis;
use aulaflow_plan::sql::View;
use std::sync::Arc;

impl PaneStore {
    /// Explains a student's row of a view. The student is settled first: what the explanation says is of the present clock,
    /// and so is the row that leaves with the next changes. `None`: nothing is known of the student, or the view has no panes.
    pub fn explain(&mut self, number: StudentNo, view: ViewIndex) -> Option<FeatureExplanation> {
        let student = self.students.get_mut(&number)?;
        if student.dirty.is_some_and(|round| round != self.round) {
            self.exported.extend(self.place.export_before_change(number, student));
        }
        self.place.settle(student);
        let explanation = self.place.explain(student, usize::from(view));
        let dirty = student.rings.is_empty();
        self.note(number, dirty);
        explanation
    }
}

impl Place {
    fn explain(&mut self, student: &Student, index: usize) -> Option<FeatureExplanation> {
        let (plan, layout) = (Arc::clone(&self.plan), Arc::clone(&self.layout));
        let view = plan.views.get(index)?;
        let grid = layout.grid_of(index)?;
        let spec = &view.schema.window;
        let (start, end) = spec.bounds(self.clock);
        let nothing = FeatureExplanation {
            as_of: self.clock,
            window: ExplainedWindow { kind: spec.kind, start, end },
            values: None,
            panes: Vec::new(),
            events: Vec::new(),
        };
        let Some(ring) = student.rings.iter().find(|ring| usize::from(ring.grid) == grid) else { return Some(nothing) };
        Some(match &layout.views[index] {
            ViewLayout::Panes(placed) => {
                let mut pieces = self.pieces(ring, spec.panes());
                if spec.gap_ms > 0 {
                    keep_open(&mut pieces, spec.gap_ms, self.clock, |(first, last, _)| (*first, *last));
                }
                self.explain_panes(placed, view, &pieces, nothing)
            }
            ViewLayout::Windows { inner, panes, fold } => {
                let rows = self.covered_rows(ring, (*inner, *panes), view);
                self.explain_windows(fold, view, &rows, nothing)
            }
            ViewLayout::Present => nothing,
        })
    }

    /// The last `panes` of a ring, oldest first: first and last instant, and what is in them. Of sessions, runs.
    fn pieces<'r>(&mut self, ring: &'r super::Ring, panes: i64) -> Vec<(i64, i64, &'r Cells)> {
        let is_session = self.layout.grids[usize::from(ring.grid)].is_session();
        let clock = &mut self.clocks[usize::from(ring.grid)];
        let now = clock.now();
        let within = ring.panes.iter().filter(|pane| pane.number() <= now && pane.number() + panes > now);
        let bounds = |pane: &'r super::Pane| {
            let start = clock.start(pane.number()).0;
            if is_session {
                (start + i64::from(pane.run.0), start + i64::from(pane.run.1), &pane.cells)
            } else {
                (start, clock.start(pane.number() + 1).0, &pane.cells)
            }
        };
        within.map(bounds).collect()
    }

    fn explain_panes(
        &mut self,
        placed: &PaneView,
        view: &View,
        pieces: &[(i64, i64, &Cells)],
        nothing: FeatureExplanation,
    ) -> FeatureExplanation {
        let layout = Arc::clone(&self.layout);
        let mut explanation = nothing;
        let mut whole = Cells::default();
        for (start, end, cells) in pieces {
            whole.merge(cells, &|slot| layout.kind(slot));
            let bounds = (Millis(*start), Millis(*end));
            if let Some(values) = self.values(placed, view, &cells.sums, cells, bounds) {
                explanation.panes.push(ExplainedPane { start: bounds.0, end: bounds.1, values: shown(&values) });
            }
        }
        if let (true, Some(first), Some(last)) = (view.schema.window.gap_ms > 0, pieces.first(), pieces.last()) {
            explanation.window.start = Millis(first.0);
            explanation.window.end = Millis(last.1 + view.schema.window.gap_ms);
        }
        let bounds = (explanation.window.start, explanation.window.end);
        explanation.values = self.values(placed, view, &whole.sums, &whole, bounds).map(|values| shown(&values));
        if let Some(Part::Tail(events)) = placed.tail.and_then(|slot| whole.part(slot)) {
            explanation.events = events.iter().rev().map(event).collect();
        }
        explanation
    }

    fn explain_windows(
        &mut self,
        fold: &Fold,
        view: &View,
        rows: &[InnerRow],
        nothing: FeatureExplanation,
    ) -> FeatureExplanation {
        let mut explanation = nothing;
        let gap_ms = view.schema.window.gap_ms;
        if let (true, Some(first), Some(last)) = (gap_ms > 0, rows.first(), rows.last()) {
            explanation.window.start = first.start;
            explanation.window.end = Millis(last.start.0 + gap_ms);
        }
        let bounds = (explanation.window.start, explanation.window.end);
        let mut row = |rows: &[InnerRow], bounds| {
            let items = rows.iter().map(|row| Item { moment: moment_of(row), row });
            let results = fold.results(view, items, &mut self.failed)?;
            Some(shown(&outputs(view, &results, bounds, &mut self.failed)))
        };
        for one in rows {
            if let Some(values) = row(std::slice::from_ref(one), (one.start, one.end)) {
                explanation.panes.push(ExplainedPane { start: one.start, end: one.end, values });
            }
        }
        explanation.values = row(rows, bounds);
        explanation
    }
}

fn event(moment: &Moment) -> ExplainedEvent {
    ExplainedEvent { event_id: moment.id.to_string(), occurred_at: Millis(moment.at) }
}

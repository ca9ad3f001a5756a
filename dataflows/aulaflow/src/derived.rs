//! Views over `grades`: the bridge from the plan's definitions to the serving store, which computes their rows when a profile
//! is read.

use aulaflow_engine::{GradeView, ShownGrade};
use aulaflow_model::change::ViewIndex;
use aulaflow_plan::Plan;
use aulaflow_serving::{CohortLookup, DerivedRow, DerivedView, GradeEntry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The plan's views over grades. Registers the metric that counts expressions without a value.
pub fn derived_views(plan: &Plan, registry: &mut Registry) -> Vec<DerivedView> {
    let failed = Counter::default();
    let help = "Expressions of views over grades that had no value when a profile was read: left out, or null";
    registry.register("grade_view_errors", help, failed.clone());
    GradeView::of(plan).into_iter().map(|(index, view)| derived(index, view, failed.clone())).collect()
}

fn derived(index: ViewIndex, view: GradeView, errors: Counter) -> DerivedView {
    let row: Arc<DerivedRow> = Arc::new(move |grades: &[GradeEntry], cohort: &CohortLookup<'_>| {
        let cohorts: Vec<_> = grades.iter().map(|entry| cohort(&entry.subject, &entry.period)).collect();
        let shown = grades.iter().zip(&cohorts).map(|(entry, cohort)| ShownGrade {
            subject: &entry.subject,
            period: &entry.period,
            grade: &entry.row.grade,
            updated_at: entry.row.updated_at,
            cohort: cohort.as_deref(),
        });
        let mut failed = 0;
        let row = view.row(shown, &mut failed);
        if failed > 0 {
            errors.inc_by(failed);
        }
        row
    });
    DerivedView { index, row }
}

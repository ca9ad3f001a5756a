//! Views over what a profile shows: their rows are computed when it is read, and nowhere stored.

use crate::GradeEntry;
use aulaflow_model::change::{FeatureValue, ViewIndex};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::ids::{PeriodId, Subject};
use std::sync::Arc;

/// Looks a cohort of the student's tenant up.
pub type CohortLookup<'a> = dyn Fn(&Subject, &PeriodId) -> Option<Arc<Cohort>> + 'a;

/// Computes a row from a student's grades, in order of (subject, period), and their cohorts. `None`: there is no row.
///
/// It is called on every read: it must be quick and must not block.
pub type DerivedRow =
    dyn for<'a> Fn(&'a [GradeEntry], &'a CohortLookup<'a>) -> Option<Arc<[FeatureValue]>> + Send + Sync;

/// A view without a window (`WindowKind::Present`).
#[derive(Clone)]
pub struct DerivedView {
    /// Its place among the schemas.
    pub index: ViewIndex,
    /// Its row: the values in the order of the view's outputs.
    pub row: Arc<DerivedRow>,
}

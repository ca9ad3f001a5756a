//! What leaves the dataflows: exact updates of rows, each with the row before and after it, and the time at which it
//! happened.

use aulaflow_model::change::{FeatureRow, GradeRow, ViewIndex};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::ClockTime;
use std::sync::Arc;

/// An update of a student's grade.
///
/// Both rows are there where it changed. In a snapshot only `after` counts. Where both are `None`, the row of an earlier
/// process has gone.
#[derive(Debug, Clone, PartialEq)]
pub struct GradeChange {
    /// The subject.
    pub subject: Subject,
    /// The period.
    pub period: PeriodId,
    /// The row that this process emitted last; `None`: there was no row, or an earlier process emitted it and it is not
    /// known here (see [`crate::TransactionWriter`]).
    pub before: Option<GradeRow>,
    /// The row from now on; `None`: there is none any more.
    pub after: Option<GradeRow>,
}

/// An update of a student's feature.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureChange {
    /// The view.
    pub view: ViewIndex,
    /// As [`GradeChange::before`].
    pub before: Option<FeatureRow>,
    /// The row from now on; `None`: the window is empty.
    pub after: Option<FeatureRow>,
}

/// Everything of one student that changed at one time. A sink applies it whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentChange {
    /// The student's tenant.
    pub tenant: TenantId,
    /// The student.
    pub student: StudentId,
    /// Changed grades; each (subject, period) at most once.
    pub grades: Vec<GradeChange>,
    /// Changed features; each view at most once.
    pub features: Vec<FeatureChange>,
}

/// The updates that one worker saw at one time. A student's updates always come from the same worker, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeBatch {
    /// When.
    pub time: ClockTime,
    /// Per student.
    pub changes: Vec<StudentChange>,
}

/// An update of a cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortChange {
    /// The tenant.
    pub tenant: TenantId,
    /// The subject.
    pub subject: Subject,
    /// The period.
    pub period: PeriodId,
    /// Its numbers before; `None`: no grade of it had a score.
    pub before: Option<Arc<Cohort>>,
    /// Its numbers from now on; `None`: no grade of it has a score any more.
    pub after: Option<Arc<Cohort>>,
}

/// The cohorts that one worker saw change at one time; each at most once. A cohort's updates always come from the same
/// worker, in order, which need not be the one that its students' updates come from.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortBatch {
    /// When.
    pub time: ClockTime,
    /// Per cohort.
    pub changes: Vec<CohortChange>,
}

//! Rows as format 4 wrote them. A state of it is read; what is written is of the present format.

use aulaflow_model::decimal::Decimal;
use aulaflow_model::event::Evaluation;
use aulaflow_model::grade::Status;
use aulaflow_model::ids::{EvaluationId, EvaluationType, PeriodId, StudentId, Subject};
use aulaflow_model::instant::Millis;
use aulaflow_model::updated_at::UpdatedAt;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// An evaluation. Its `updated_at` was cut to the millisecond, and was `graded_at` where none was given: which of the two
/// it is cannot be told any more, and it counts as given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationOf4 {
    evaluation_id: EvaluationId,
    student_id: StudentId,
    subject: Subject,
    category: EvaluationType,
    score: Decimal,
    max_score: Decimal,
    weight: Decimal,
    graded_at: Millis,
    updated_at: Millis,
    teacher_id: Option<CompactString>,
    period: Option<PeriodId>,
    status: Status,
}

impl From<EvaluationOf4> for Evaluation {
    fn from(old: EvaluationOf4) -> Self {
        Self {
            evaluation_id: old.evaluation_id,
            student_id: old.student_id,
            subject: old.subject,
            category: old.category,
            score: old.score,
            max_score: old.max_score,
            weight: old.weight,
            graded_at: old.graded_at,
            updated_at: Some(UpdatedAt::from(old.updated_at)),
            teacher_id: old.teacher_id,
            period: old.period,
            status: old.status,
        }
    }
}

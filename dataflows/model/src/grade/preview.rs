//! What a change of a rule would do: grades under the present rule beside those under another one, and a summary.

use super::Grade;
use crate::exact::Exact;
use crate::ids::{PeriodId, StudentId, Subject};
use crate::instant::Millis;
use crate::tenant::RoundingMode;
use compact_str::CompactString;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a rule would do if it were put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The instant as of which it is true.
    pub as_of: Millis,
    /// The new rule's version.
    pub rule_version: String,
    /// Versions of the rules that it would replace, of all rows looked at.
    pub base_rule_versions: BTreeSet<String>,
    /// All rows in numbers.
    pub summary: PreviewSummary,
    /// The rows that would change, by subject, period and student.
    pub changes: Vec<PreviewRow>,
}

/// A student's grade under the present rule and under another one. Either may be missing: without a rule there is no
/// grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewRow {
    /// Whose.
    pub student_id: StudentId,
    /// The subject.
    pub subject: Subject,
    /// The period.
    pub period: PeriodId,
    /// Under the present rule.
    pub before: Option<Arc<Grade>>,
    /// Under the other one.
    pub after: Option<Arc<Grade>>,
}

/// Many [`PreviewRow`]s in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PreviewSummary {
    /// Rows whose rule would be another one and that have a grade before or after.
    pub rows: usize,
    /// Rows that would change. A rule's version is part of a row, so these are usually all.
    pub changed: usize,
    /// Rows whose score would change, appear or go.
    pub changed_scores: usize,
    /// Rows with a score both before and after: those of the means.
    pub scored_both: usize,
    /// The mean of their scores as shown, before; at most 6 digits (half up). `None` without such rows.
    pub mean_before: Option<CompactString>,
    /// Likewise, after.
    pub mean_after: Option<CompactString>,
    /// The exact difference of the two, rounded once, so it may differ from theirs in the last digit.
    pub mean_shift: Option<CompactString>,
    /// Rows that would pass and don't now.
    pub newly_passing: usize,
    /// Rows that pass now and would not any more.
    pub newly_failing: usize,
}

impl PreviewSummary {
    /// Counts the rows.
    pub fn of(rows: &[PreviewRow]) -> Self {
        let mut summary = Self { rows: rows.len(), ..Self::default() };
        let (mut before, mut after) = (0_i128, 0_i128);
        for row in rows {
            let score = |grade: &Option<Arc<Grade>>| grade.as_ref().and_then(|grade| grade.score.clone());
            let passing = |grade: &Option<Arc<Grade>>| grade.as_ref().is_some_and(|grade| grade.passing);
            let scores = (score(&row.before), score(&row.after));
            summary.changed += usize::from(row.before != row.after);
            summary.changed_scores += usize::from(scores.0 != scores.1);
            summary.newly_passing += usize::from(passing(&row.after) && !passing(&row.before));
            summary.newly_failing += usize::from(passing(&row.before) && !passing(&row.after));
            let micros = |score: Option<CompactString>| score.as_deref().and_then(micros);
            if let (Some(old), Some(new)) = (micros(scores.0), micros(scores.1)) {
                summary.scored_both += 1;
                before += old;
                after += new;
            }
        }
        let count = Exact::from_int(i64::try_from(summary.scored_both).unwrap_or(i64::MAX));
        let mean = |sum: i128| {
            let mean = Exact::from_micros(sum).div(&count)?;
            Some(mean.round(RoundingMode::HalfUp, 6).trimmed())
        };
        (summary.mean_before, summary.mean_after) = (mean(before), mean(after));
        summary.mean_shift = mean(after - before);
        summary
    }
}

/// A shown score in millionths. Wider than a decimal: extra credit has no upper bound.
fn micros(score: &str) -> Option<i128> {
    let (whole, fraction) = score.split_once('.').unwrap_or((score, ""));
    let digits = format!("{whole}{fraction:0<6}");
    (fraction.len() <= 6).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn grade(score: Option<&str>, passing: bool) -> Option<Arc<Grade>> {
        Some(Arc::new(Grade {
            score: score.map(CompactString::new),
            passing,
            complete: true,
            evaluations_count: 1,
            by_category: BTreeMap::new(),
            rule_version: CompactString::new(if passing { "r-a" } else { "r-b" }),
        }))
    }

    fn row(before: Option<Arc<Grade>>, after: Option<Arc<Grade>>) -> PreviewRow {
        PreviewRow {
            student_id: StudentId::new("s").unwrap(),
            subject: Subject::new("m").unwrap(),
            period: PeriodId::new("p").unwrap(),
            before,
            after,
        }
    }

    #[test]
    fn rows_are_counted_and_means_are_exact() {
        let rows = [
            row(grade(Some("50.00"), false), grade(Some("60.5"), true)),
            row(grade(Some("70"), true), grade(Some("-0.25"), false)),
            row(grade(Some("10.00"), false), grade(Some("10.00"), false)),
            row(None, grade(Some("90"), true)),
            row(grade(Some("90"), true), None),
            row(grade(None, false), grade(Some("1"), false)),
        ];
        let summary = PreviewSummary::of(&rows);
        let text = |value: &Option<CompactString>| value.as_deref().unwrap().to_owned();
        assert_eq!((summary.rows, summary.changed, summary.changed_scores, summary.scored_both), (6, 5, 5, 3));
        assert_eq!((summary.newly_passing, summary.newly_failing), (2, 2));
        assert_eq!(text(&summary.mean_before), "43.333333");
        assert_eq!(text(&summary.mean_after), "23.416667");
        assert_eq!(text(&summary.mean_shift), "-19.916667");
    }

    #[test]
    fn nothing_has_no_mean() {
        let summary = PreviewSummary::of(&[row(None, grade(None, false))]);
        assert_eq!((summary.mean_before, summary.mean_after, summary.mean_shift), (None, None, None));
    }

    #[test]
    fn scores_are_read_exactly() {
        assert_eq!(micros("84.30"), Some(84_300_000));
        assert_eq!(micros("-0.000001"), Some(-1));
        assert_eq!(micros("7"), Some(7_000_000));
        assert_eq!(micros("1234567890123.5"), Some(1_234_567_890_123_500_000));
    }
}

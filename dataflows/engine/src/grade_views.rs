//! Views over `grades`: a student's grades as they are shown, and their cohorts, to the row of a view. Computed when somebody
//! reads and nowhere kept, by the functions that all views go through. Where grades and cohorts come from is the caller's.

use crate::cells::Moment;
use crate::fold::{Fold, Item, outputs, shown};
use aulaflow_model::change::{FeatureValue, ViewIndex};
use aulaflow_model::cohort::{Cohort, score_micros};
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::instant::Millis;
use aulaflow_plan::Plan;
use aulaflow_plan::sql::expr::{Row, Value};
use aulaflow_plan::sql::{Relation, View};
use compact_str::format_compact;
use std::borrow::Cow;

/// A view over `grades`, ready to be computed.
pub struct GradeView {
    view: View,
    fold: Fold,
}

/// A grade as it is shown: a row of `grades`. Its columns are `aulaflow_plan::sql::GRADE_COLUMNS`; those of the cohort are
/// null where there is none.
#[derive(Debug, Clone, Copy)]
pub struct ShownGrade<'a> {
    /// The subject.
    pub subject: &'a Subject,
    /// The period.
    pub period: &'a PeriodId,
    /// The grade.
    pub grade: &'a Grade,
    /// The clock at its last change.
    pub updated_at: Millis,
    /// The grades of the subject and period.
    pub cohort: Option<&'a Cohort>,
}

impl GradeView {
    /// The served views of a plan that read `grades`, with their places.
    pub fn of(plan: &Plan) -> Vec<(ViewIndex, Self)> {
        let views = plan.views.iter().enumerate().filter(|(_, view)| view.serve && view.source == Relation::Grades);
        views
            .map(|(index, view)| (index as ViewIndex, Self { view: view.clone(), fold: Fold::new(&view.aggregates) }))
            .collect()
    }

    /// The view's values for a student's grades; `None` where its filter leaves none. An expression that has no value (a
    /// division by zero) is left out of its own aggregate, or shows null in an output, and adds to `failed`.
    pub fn row<'a>(
        &self,
        grades: impl Iterator<Item = ShownGrade<'a>>,
        failed: &mut u64,
    ) -> Option<std::sync::Arc<[FeatureValue]>> {
        // A grade's place in time is its last change; of those at one instant the order is that of subject and period.
        let item = |row: ShownGrade<'a>| Item {
            moment: Moment { at: row.updated_at.0, id: format_compact!("{}/{}", row.subject, row.period) },
            row,
        };
        let results = self.fold.results(&self.view, grades.map(item), failed)?;
        // No window, no bounds: no output can read them.
        let bounds = (Millis::default(), Millis::default());
        Some(shown(&outputs(&self.view, &results, bounds, failed)))
    }
}

impl Row for ShownGrade<'_> {
    fn column(&self, index: usize) -> Value<'_> {
        let double = |micros: Option<i128>| micros.map_or(Value::Null, |micros| Value::Double(micros as f64 / 1e6));
        let score = || self.grade.score.as_deref().and_then(score_micros);
        let cohort = |number: fn(&Cohort) -> Option<i128>| double(self.cohort.and_then(number));
        // In the order of GRADE_COLUMNS; a test compares their types.
        match index {
            0 => Value::Text(Cow::Borrowed(self.subject.as_str())),
            1 => Value::Text(Cow::Borrowed(self.period.as_str())),
            2 => double(score()),
            3 => Value::Boolean(self.grade.passing),
            4 => Value::Boolean(self.grade.complete),
            5 => Value::Bigint(i64::from(self.grade.evaluations_count)),
            6 => Value::Timestamp(self.updated_at),
            7 => self.cohort.map_or(Value::Null, |cohort| Value::Bigint(cohort.sums.count)),
            8 => cohort(Cohort::mean),
            9 => cohort(Cohort::stddev),
            10 => cohort(Cohort::pass_rate),
            11 => double(self.cohort.and_then(|cohort| cohort.percentile(score()?))),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aulaflow_model::cohort::Sums;
    use aulaflow_model::decimal::Decimal;
    use aulaflow_model::tenant::Scale;
    use aulaflow_plan::sql::{GRADE_COLUMNS, expr::Type};
    use aulaflow_plan::{Source, compile, parse_runtime};
    use std::collections::BTreeMap;

    fn views(sql: &str) -> Vec<(ViewIndex, GradeView)> {
        let (file, diagnostics) = parse_runtime(&Source::new("test.toml", ""));
        let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
        let sql = [Source::new("test.sql", sql)];
        let plan = compile(file, &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)));
        GradeView::of(&plan)
    }

    fn grade(score: Option<&str>, passing: bool) -> Grade {
        Grade {
            score: score.map(Into::into),
            passing,
            complete: true,
            evaluations_count: 3,
            by_category: BTreeMap::new(),
            rule_version: "r".into(),
        }
    }

    fn cohort(scores: &[&str]) -> Cohort {
        let scale = Scale { min: Decimal::ZERO, max: Decimal::from_int(100) };
        let mut sums = Sums::default();
        for score in scores {
            sums.add(&Sums::of(&grade(Some(score), *score > "60"), scale).unwrap());
        }
        Cohort { scale, sums }
    }

    /// The row over three grades: maths 80 (of 50, 60, 70 and 80), history 55 (alone), art without a score.
    fn row(sql: &str) -> (Option<Vec<FeatureValue>>, u64) {
        let names = ["art", "history", "maths"].map(|name| Subject::new(name).unwrap());
        let period = PeriodId::new("2026-Q1").unwrap();
        let grades = [grade(None, false), grade(Some("55.00"), false), grade(Some("80.00"), true)];
        let cohorts = [None, Some(cohort(&["55.00"])), Some(cohort(&["50.00", "60.00", "70.00", "80.00"]))];
        let shown = |i: usize| ShownGrade {
            subject: &names[i],
            period: &period,
            grade: &grades[i],
            updated_at: Millis([5, 9, 5][i]),
            cohort: cohorts[i].as_ref(),
        };
        let mut failed = 0;
        let (_, view) = views(sql).remove(0);
        let row = view.row((0..3).map(shown), &mut failed);
        (row.map(|values| values.to_vec()), failed)
    }

    fn select(outputs: &str, rest: &str) -> (Option<Vec<FeatureValue>>, u64) {
        row(&format!(
            "CREATE MATERIALIZED VIEW v AS SELECT student_id, {outputs} FROM grades {rest} GROUP BY student_id;"
        ))
    }

    use FeatureValue::{Int, Micros, Null, Text};

    #[test]
    fn every_column_has_its_type() {
        let (subject, period) = (Subject::new("s").unwrap(), PeriodId::new("p").unwrap());
        let (grade, cohort) = (grade(Some("50.00"), true), cohort(&["50.00", "70.00"]));
        let row = ShownGrade {
            subject: &subject,
            period: &period,
            grade: &grade,
            updated_at: Millis(1),
            cohort: Some(&cohort),
        };
        for (index, (name, ty)) in GRADE_COLUMNS.iter().enumerate() {
            let matches = matches!(
                (row.column(index), ty),
                (Value::Text(_), Type::Text)
                    | (Value::Double(_), Type::Double)
                    | (Value::Boolean(_), Type::Boolean)
                    | (Value::Bigint(_), Type::Bigint)
                    | (Value::Timestamp(_), Type::Timestamp)
            );
            assert!(matches, "{name}");
        }
        assert!(matches!(row.column(GRADE_COLUMNS.len()), Value::Null));
    }

    #[test]
    fn grades_are_summed_up() {
        let (values, failed) =
            select("count(*) AS n, count(score) AS scored, avg(score) AS mean, last(subject) AS newest", "");
        assert_eq!(values, Some(vec![Int(3), Int(2), Micros(67_500_000), Text("history".into())]));
        assert_eq!(failed, 0);
        let (values, _) = select("count(*) AS n, first(subject) AS earliest", "WHERE passing");
        assert_eq!(values, Some(vec![Int(1), Text("maths".into())]));
        assert_eq!(select("count(*) AS n", "WHERE score > 90").0, None, "no grade, no row");
    }

    #[test]
    fn cohorts_are_columns() {
        let (values, _) = select(
            "avg(score - cohort.mean) AS above, max(cohort.percentile) AS best, sum(cohort.count) AS peers, \
             min(cohort.pass_rate) AS rate, count(cohort.stddev) AS known",
            "",
        );
        // Maths: 15 above the mean of 65; 80 is a lower bound with three of four below. History: alone, 0 above.
        let expected = vec![Micros(7_500_000), Micros(75_000_000), Int(5), Micros(0), Int(2)];
        assert_eq!(values, Some(expected));
    }

    #[test]
    fn what_has_no_value_is_counted_and_left_out() {
        let (values, failed) = select("count(*) AS n, sum(1 / (score - 55)) AS s", "WHERE score IS NOT NULL");
        assert_eq!((values, failed), (Some(vec![Int(2), Micros(40_000)]), 1));
        let (values, failed) = select("1 / (count(*) - 3) AS x", "");
        assert_eq!((values, failed), (Some(vec![Null]), 1));
    }

    #[test]
    fn only_served_views_over_grades_are_of_the_plan() {
        let table = "CREATE TABLE b (event_id TEXT, student_id TEXT, occurred_at TIMESTAMP) WITH (connector = 'log', \
                     topic = 'aula.behavior.v1', event_time = 'occurred_at');";
        let events = "CREATE MATERIALIZED VIEW a AS SELECT student_id, count(*) AS n FROM b \
                      GROUP BY student_id, tumble(interval '1 day');";
        let of = |name: &str, serve| {
            format!(
                "CREATE MATERIALIZED VIEW {name} WITH (serve = {serve}) AS SELECT student_id, count(*) AS n FROM grades \
                 GROUP BY student_id;"
            )
        };
        let views = views(&format!("{table}{events}{}{}", of("hidden", false), of("shown", true)));
        assert_eq!(views.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2]);
    }
}

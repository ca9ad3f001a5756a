//! The Open University dataset as Aulaflow's events: which row becomes which event, and in what order.
//! Reading the files is in [`read`], writing events as JSON in [`json`]; nothing here knows where events go.

pub mod json;
pub mod read;

use aulaflow_model::decimal::Decimal;
use aulaflow_model::instant::Millis;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The whole dataset, compact: the larger table has ten million rows.
#[derive(Debug, Default)]
pub struct Dataset {
    /// Every module-presentation that a row names.
    pub presentations: Vec<Presentation>,
    /// Every assessment.
    pub assessments: Vec<Assessment>,
    /// Activity types; index 0 is `unknown`.
    pub activities: Vec<String>,
    /// The rows of `studentAssessment.csv`, in file order.
    pub results: Vec<AssessmentResult>,
    /// The rows of `studentVle.csv`, in file order.
    pub clicks: Vec<Click>,
}

/// A module as presented once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presentation {
    /// `code_module`: the subject.
    pub module: String,
    /// `code_presentation`: the period.
    pub code: String,
    /// Day 0 at 12:00 UTC.
    pub start: Millis,
}

/// An assessment, from `assessments.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// `id_assessment`.
    pub id: u32,
    /// Index of its presentation.
    pub presentation: u16,
    /// `assessment_type`, lower case.
    pub category: String,
    /// `weight`, in percent.
    pub weight: Decimal,
}

/// A row of `studentAssessment.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssessmentResult {
    /// Index of its assessment.
    pub assessment: u16,
    /// `id_student`.
    pub student: u32,
    /// `date_submitted`: days since the presentation's start.
    pub day: i32,
    /// `score` of 100; `None` where it is empty or `?`: not submitted.
    pub score: Option<Decimal>,
}

/// A row of `studentVle.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Click {
    /// Index of its presentation.
    pub presentation: u16,
    /// Index of its site's activity type.
    pub activity: u16,
    /// `id_student`.
    pub student: u32,
    /// `date`: days since the presentation's start.
    pub day: i32,
    /// `sum_click`.
    pub clicks: u32,
}

/// A row of either table, by its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// In [`Dataset::results`].
    Result(u32),
    /// In [`Dataset::clicks`].
    Click(u32),
}

impl Dataset {
    /// How many events the dataset makes.
    pub fn len(&self) -> u64 {
        (self.results.len() + self.clicks.len()) as u64
    }

    /// When a row happened: day n is the presentation's start plus n days, at 12:00 UTC.
    pub fn instant(&self, row: Row) -> Millis {
        let (presentation, day) = match row {
            Row::Result(i) => {
                let result = &self.results[i as usize];
                (self.assessments[usize::from(result.assessment)].presentation, result.day)
            }
            Row::Click(i) => {
                let click = &self.clicks[i as usize];
                (click.presentation, click.day)
            }
        };
        Millis(self.presentations[usize::from(presentation)].start.0 + i64::from(day) * DAY_MS)
    }

    /// All rows in order of their instants; at one instant the results first, each table in file order.
    pub fn in_order(&self) -> Vec<Row> {
        let results = (0..self.results.len() as u32).map(Row::Result);
        let mut rows: Vec<Row> = results.chain((0..self.clicks.len() as u32).map(Row::Click)).collect();
        // Instants are computed once per row; the sort is stable, which is the rule for ties.
        rows.sort_by_cached_key(|row| self.instant(*row));
        rows
    }
}

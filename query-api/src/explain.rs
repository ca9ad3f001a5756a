//! `GET /v1/students/{id}/explain/{name}`: where a number comes from, recomputed from its present inputs by the functions
//! that make it, and compared with what is served.

use crate::ask::{AskFailure, ask};
use crate::body::json;
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::profiles::READERS;
use crate::scope::Scope;
use crate::state::ApiState;
use aulaflow_model::change::{ViewIndex, ViewSchema};
use aulaflow_model::explain::{ShownFeature, named};
use aulaflow_model::grade::{Explanation, Grade};
use aulaflow_model::ids::{PeriodId, StudentId, Subject};
use aulaflow_model::tenant::Rule;
use aulaflow_serving::ProfileRead;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// A row may change between the explanation and the look at it; then both are taken again, this often at most.
const ATTEMPTS: usize = 3;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExplainQuery {
    period: Option<String>,
    kind: Option<NameKind>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NameKind {
    Feature,
    Grade,
}

/// What is to be explained.
enum Wanted {
    Feature(ViewIndex),
    Grade(Subject, PeriodId),
}

pub(crate) fn routes(api: Api) -> Api {
    let explain = operation("Where a grade or feature comes from", READERS)
        .tag("students")
        .describe(
            "For a feature: its window, the panes and the last events that count. For a grade (`name` is the subject): \
             every evaluation and what became of it, the categories, the exact score before rounding, and the rule. \
             `agrees` says whether it equals the row served; null where that row changed each time it was compared.",
        )
        .path_parameter("id", "The student's id")
        .path_parameter("name", "A feature's name, or a subject")
        .query("period", "string", "The grade's period; needed where the student has grades of several")
        .query("kind", "string", "`feature` or `grade`, where the name is both")
        .answer("200", answer("The explanation").schema("Explanation"));
    api.route("get", "/v1/students/{id}/explain/{name}", get(explain_name), explain)
}

async fn explain_name(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let no_student = || ApiError::not_found("student");
    let Ok(Path((id, name))) = path else { return Err(no_student()) };
    let student = StudentId::new(id).map_err(|_| no_student())?;
    let wanted = {
        let profile = state.access.profile(&scope, &student)?.ok_or_else(no_student)?;
        let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
        wanted(&name, query, &profile, state.access.views())?
    };
    let shown = ask(&state, move |state, timeout| {
        let until = Instant::now() + timeout;
        let asked = Asked { state, scope: &scope, student: &student, name: &name, until };
        match &wanted {
            Wanted::Feature(view) => asked.feature(*view),
            Wanted::Grade(subject, period) => asked.grade(subject, period),
        }
    });
    Ok(json(shown.await?.ok_or_else(|| ApiError::not_found("grade or feature of this student"))?))
}

/// What a name means for a student.
fn wanted(
    name: &str,
    query: ExplainQuery,
    profile: &ProfileRead<'_>,
    views: &[ViewSchema],
) -> Result<Wanted, ApiError> {
    let refused = |detail: String| Err(ApiError::new(Kind::BadRequest, detail));
    let view = views.iter().position(|view| view.name == name).and_then(|place| ViewIndex::try_from(place).ok());
    let subject = Subject::new(name).ok();
    let periods: Vec<&PeriodId> =
        profile.grades().iter().filter(|grade| grade.subject.as_str() == name).map(|grade| &grade.period).collect();
    let view = match (query.kind, view) {
        (Some(NameKind::Feature), None) => return Err(ApiError::not_found("feature")),
        (None, Some(_)) if !periods.is_empty() || query.period.is_some() => {
            return refused(format!("{name:?} is a feature and a subject: say `kind=feature` or `kind=grade`"));
        }
        (Some(NameKind::Grade), _) | (None, None) => None,
        (Some(NameKind::Feature) | None, Some(view)) => Some(view),
    };
    if let Some(view) = view {
        return match query.period {
            Some(_) => refused("a feature has no `period`".to_owned()),
            None => Ok(Wanted::Feature(view)),
        };
    }
    let nothing = || ApiError::not_found("grade or feature of this student");
    let subject = subject.ok_or_else(nothing)?;
    let period = match (query.period, periods.as_slice()) {
        (Some(period), _) => PeriodId::new(period).map_err(|_| nothing())?,
        (None, []) => return Err(nothing()),
        (None, [only]) => PeriodId::clone(only),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|period| format!("`{period}`")).collect();
            return refused(format!("say which `period`: the student has grades of {}", names.join(", ")));
        }
    };
    Ok(Wanted::Grade(subject, period))
}

/// Who asks for what; on a thread that may block.
struct Asked<'a> {
    state: &'a ApiState,
    scope: &'a Scope,
    student: &'a StudentId,
    /// As the caller wrote it.
    name: &'a str,
    /// All attempts together.
    until: Instant,
}

/// How an explanation compares with the row served.
enum Compared {
    Agrees,
    /// The row is of another instant than the explanation.
    Moved,
    Differs,
}

impl Asked<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn grade(&self, subject: &Subject, period: &PeriodId) -> Result<Option<Vec<u8>>, AskFailure> {
        let (tenant, student) = (self.scope.tenant(), self.student);
        let row = || {
            let profile = self.state.access.profile(self.scope, student).ok().flatten()?;
            let row = profile.grades().iter().find(|grade| grade.subject == *subject && grade.period == *period)?;
            Some(row.row.clone())
        };
        let explain = || {
            let before = row();
            let asked = self.state.dataflow.grade(tenant, student, subject, period, self.left())?;
            let Some(explained) = asked else { return Ok(None) };
            let after = row();
            // What has left the memory is not served, and that is no disagreement.
            let is_past = || {
                let profile = self.state.access.profile(self.scope, student).ok().flatten();
                profile.is_some_and(|profile| profile.past_periods().any(|past| past == period))
            };
            let same = explained.explanation.grade.as_ref() == after.as_ref().map(|row| &*row.grade)
                || (after.is_none() && is_past());
            Ok(Some((compare(same, before == after), (explained, after))))
        };
        let Some((agrees, (explained, row))) = self.repeat("grade", explain)? else { return Ok(None) };
        Ok(Some(bytes(&ShownGrade {
            kind: "grade",
            name: self.name,
            student_id: student,
            subject,
            period,
            as_of: explained.as_of.to_string(),
            agrees,
            served: row.as_ref().map(|row| Served {
                grade: &row.grade,
                version: row.version,
                updated_at: row.updated_at.to_string(),
            }),
            rule: &explained.rule,
            explanation: &explained.explanation,
        })))
    }

    fn feature(&self, view: ViewIndex) -> Result<Option<Vec<u8>>, AskFailure> {
        let (tenant, student) = (self.scope.tenant(), self.student);
        let Some(schema) = self.state.access.views().get(usize::from(view)) else { return Ok(None) };
        let row = || {
            let profile = self.state.access.profile(self.scope, student).ok().flatten()?;
            let row = profile.features().find(|(other, _)| other.name == schema.name).map(|(_, row)| row.clone());
            Some((row, profile.as_of()))
        };
        let explain = || {
            let before = row().and_then(|(row, _)| row);
            let asked = self.state.dataflow.feature(tenant, student, view, self.left())?;
            let Some(explained) = asked else { return Ok(None) };
            let (after, as_of) = row().unwrap_or((None, explained.as_of));
            let same = explained.values == after.as_ref().map(|row| row.values.clone());
            // While panes are being released, a row may be as of just before their boundary.
            let still = before == after && as_of >= explained.as_of;
            Ok(Some((compare(same, still), (explained, after))))
        };
        let Some((agrees, (explained, row))) = self.repeat("feature", explain)? else { return Ok(None) };
        Ok(Some(bytes(&FeatureAnswer {
            kind: "feature",
            name: self.name,
            student_id: student,
            as_of: explained.as_of.to_string(),
            agrees,
            served: row.map(|row| {
                let mut served = named(&schema.outputs, &row.values);
                served.insert("updated_at".to_owned(), row.updated_at.to_string().into());
                served
            }),
            explanation: ShownFeature { explanation: &explained, outputs: &schema.outputs },
        })))
    }

    /// Explains until the explanation and the row are of one instant, and counts how they compare.
    fn repeat<T>(
        &self,
        kind: &'static str,
        explain: impl Fn() -> Result<Option<(Compared, T)>, AskFailure>,
    ) -> Result<Option<(Option<bool>, T)>, AskFailure> {
        let mut attempt = 1;
        loop {
            let Some((compared, explained)) = explain()? else { return Ok(None) };
            let agrees = match compared {
                Compared::Agrees => Some(true),
                Compared::Moved | Compared::Differs if attempt < ATTEMPTS => {
                    attempt += 1;
                    continue;
                }
                Compared::Moved => None,
                Compared::Differs => Some(false),
            };
            if let Some(agrees) = agrees {
                self.state.dataflow.compared(kind, agrees);
            }
            if agrees == Some(false) {
                tracing::error!(kind, "an explanation differs from what is served");
            }
            return Ok(Some((agrees, explained)));
        }
    }
}

/// `same`: the content is equal. `still`: the row was the same before and after the explanation was made, so it is the row
/// of that instant as well.
fn compare(same: bool, still: bool) -> Compared {
    match (same, still) {
        (true, _) => Compared::Agrees,
        (false, true) => Compared::Differs,
        (false, false) => Compared::Moved,
    }
}

#[derive(Serialize)]
struct ShownGrade<'a> {
    kind: &'static str,
    name: &'a str,
    student_id: &'a StudentId,
    subject: &'a Subject,
    period: &'a PeriodId,
    as_of: String,
    agrees: Option<bool>,
    served: Option<Served<'a>>,
    #[serde(flatten)]
    explanation: &'a Explanation,
    rule: &'a Rule,
}

#[derive(Serialize)]
struct FeatureAnswer<'a> {
    kind: &'static str,
    name: &'a str,
    student_id: &'a StudentId,
    as_of: String,
    agrees: Option<bool>,
    served: Option<Map<String, Value>>,
    #[serde(flatten)]
    explanation: ShownFeature<'a>,
}

/// A grade's row as profiles write it.
#[derive(Serialize)]
struct Served<'a> {
    #[serde(flatten)]
    grade: &'a Grade,
    version: u32,
    updated_at: String,
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // A struct of strings and numbers always serialises.
    serde_json::to_vec(value).unwrap_or_default()
}

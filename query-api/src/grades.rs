//! `GET /v1/students/{id}/grades`: grades alone, from memory; those of a period that is not there from the history.

use crate::body::json;
use crate::error::{ApiError, Kind};
use crate::history::HistoryFailure;
use crate::openapi::{Api, answer, operation};
use crate::profiles::READERS;
use crate::scope::Scope;
use crate::state::ApiState;
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_serving::GradeEntry;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GradesQuery {
    period: Option<String>,
}

pub(crate) fn routes(api: Api) -> Api {
    let grades = operation("A student's grades", READERS).tag("students")
        .describe(
            "Those in memory, true as of `as_of`. With `period`: the grades of that period; where memory has none, they are \
             read from the history (`source`), which may be a little behind, and kept for a minute. A student reads its own \
             only.",
        )
        .path_parameter("id", "The student's id")
        .query("period", "string", "One period only")
        .answer("200", answer("The grades").schema("Grades"));
    api.route("get", "/v1/students/{id}/grades", get(read), grades)
}

async fn read(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<GradesQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let none = || ApiError::not_found("student");
    let student = path.ok().and_then(|Path(id)| StudentId::new(id).ok()).ok_or_else(none)?;
    let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
    let period = match query.period.map(PeriodId::new).transpose() {
        Ok(period) => period,
        Err(_) => return Err(ApiError::new(Kind::BadRequest, "`period` is not a period's name")),
    };
    let shown = |source, as_of: Millis, grades: &mut dyn Iterator<Item = &GradeEntry>| {
        let grades = grades.map(Shown::of).collect();
        let (tenant_id, student_id) = (scope.tenant(), &student);
        // A struct of strings and numbers always serialises.
        json(
            serde_json::to_vec(&Answer { tenant_id, student_id, as_of: as_of.to_string(), source, grades })
                .unwrap_or_default(),
        )
    };
    // A block: what is read of memory does not live across the wait.
    let in_memory = {
        let profile = state.access.profile(&scope, &student)?;
        let wanted = |entry: &&GradeEntry| period.as_ref().is_none_or(|period| entry.period == *period);
        match &profile {
            Some(profile) if period.is_none() || profile.grades().iter().any(|entry| wanted(&entry)) => {
                Err(shown("memory", profile.as_of(), &mut profile.grades().iter().filter(wanted)))
            }
            Some(profile) => Ok(Some(profile.as_of())),
            None => Ok(None),
        }
    };
    let in_memory = match in_memory {
        Ok(as_of) => as_of,
        Err(answer) => {
            if let Some(period) = &period {
                // It may leave the memory again: nobody is then shown what is older than this.
                state.past.forget(scope.tenant(), &student, period).await;
            }
            return Ok(answer);
        }
    };
    // What a caller may not see is not there, and nobody is asked for it.
    let Some(period) = period.filter(|_| scope.may_see(&student)) else { return Err(none()) };
    let past = state.past.grades(&*state.history, scope.tenant(), &student, &period).await;
    match (past, in_memory) {
        (Ok(past), _) if !past.grades.is_empty() => Ok(shown("history", past.as_of, &mut past.grades.iter())),
        // Without a history nothing is taken out of memory: there are no such grades.
        (Ok(_) | Err(HistoryFailure::Off(_)), Some(as_of)) => Ok(shown("memory", as_of, &mut std::iter::empty())),
        (Ok(_) | Err(HistoryFailure::Off(_)), None) => Err(none()),
        (Err(failure), _) => Err(failure.into()),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    tenant_id: &'a TenantId,
    student_id: &'a StudentId,
    as_of: String,
    source: &'static str,
    grades: Vec<Shown<'a>>,
}

/// A grade as profiles write it, without its cohort.
#[derive(Serialize)]
struct Shown<'a> {
    subject: &'a str,
    period: &'a str,
    #[serde(flatten)]
    grade: &'a Grade,
    version: u32,
    updated_at: String,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a GradeEntry) -> Self {
        let row = &entry.row;
        Self {
            subject: entry.subject.as_str(),
            period: entry.period.as_str(),
            grade: &row.grade,
            version: row.version,
            updated_at: row.updated_at.to_string(),
        }
    }
}

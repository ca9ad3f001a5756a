//! `GET /v1/cohorts`: the tenant's cohorts in numbers, from memory.

use crate::body::json;
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_model::cohort::BINS;
use aulaflow_model::decimal::write_micros;
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_serving::{CohortEntry, CohortQuery};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};

const READERS: &[Role] = &[Role::Teacher, Role::Counsellor, Role::Admin, Role::Service];

/// Cohorts on a page, where the caller doesn't say, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What the query may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    subject: Option<String>,
    period: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Page {
    cohorts: Vec<Shown>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    subject: Subject,
    period: PeriodId,
    count: i64,
    mean: Option<String>,
    stddev: Option<String>,
    pass_rate: Option<String>,
    histogram: Vec<Bin>,
}

#[derive(Serialize)]
struct Bin {
    from: String,
    to: String,
    count: i64,
}

pub(crate) fn routes(api: Api) -> Api {
    let read = operation("The cohorts: all grades of a subject and period, in numbers", READERS)
        .tag("students")
        .describe("In order of subject and period. A cohort has the grades with a score; one without any is not there.")
        .query("subject", "string", "Of this subject only")
        .query("period", "string", "Of this period only")
        .query("limit", "integer", "At most this many: 1 to 1000, else 100")
        .query("cursor", "string", "Go on after a page: its `next_cursor`")
        .answer("200", answer("The cohorts").schema("Cohorts"));
    api.route("get", "/v1/cohorts", get(cohorts), read)
}

async fn cohorts(
    State(state): State<ApiState>,
    scope: Scope,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let bad = |detail: String| ApiError::new(Kind::BadRequest, detail);
    let Query(asked) = query.map_err(|error| bad(error.body_text()))?;
    let subject = asked.subject.map(Subject::new).transpose().map_err(|error| bad(format!("`subject` {error}")))?;
    let period = asked.period.map(PeriodId::new).transpose().map_err(|error| bad(format!("`period` {error}")))?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(bad(format!("`limit` is {limit}; it must be from 1 to {LIMIT_MAX}")));
    }
    let after = match asked.cursor {
        Some(text) => Some(read_cursor(&text).ok_or_else(|| bad("`cursor` is none that was given out".to_owned()))?),
        None => None,
    };
    let query = CohortQuery {
        subject: subject.as_ref(),
        period: period.as_ref(),
        after: after.as_ref().map(|(subject, period)| (subject, period)),
        // One more says whether there is another page.
        limit: limit + 1,
    };
    let mut entries = state.access.cohorts(&scope, query)?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next_cursor = entries.last().filter(|_| more).map(cursor);
    let page = Page { cohorts: entries.into_iter().map(shown).collect(), next_cursor };
    // Numbers and names always serialise.
    Ok(json(serde_json::to_vec(&page).unwrap_or_default()))
}

fn shown(entry: CohortEntry) -> Shown {
    let cohort = &entry.cohort;
    let bin = |n: usize| {
        let (from, to) = cohort.bin_bounds(n);
        Bin { from: decimal(from), to: decimal(to), count: cohort.sums.bins[n] }
    };
    Shown {
        count: cohort.sums.count,
        mean: cohort.mean().map(decimal),
        stddev: cohort.stddev().map(decimal),
        pass_rate: cohort.pass_rate().map(decimal),
        histogram: (0..BINS).map(bin).collect(),
        subject: entry.subject,
        period: entry.period,
    }
}

fn decimal(micros: i128) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_micros(&mut text, micros);
    text
}

/// The place of a cohort, as text that needs no escaping in a URL: hexadecimal digits of a JSON array.
fn cursor(entry: &CohortEntry) -> String {
    let place = serde_json::to_vec(&(&entry.subject, &entry.period)).unwrap_or_default();
    place.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_cursor(text: &str) -> Option<(Subject, PeriodId)> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let place: Option<Vec<u8>> = text.as_bytes().chunks(2).map(digits).collect();
    let (subject, period): (String, String) = serde_json::from_slice(&place?).ok()?;
    Some((Subject::new(subject).ok()?, PeriodId::new(period).ok()?))
}

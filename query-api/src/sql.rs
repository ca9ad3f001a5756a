//! `POST /v1/sql`: an analyst's query over the tenant's own tables. What may be asked is decided by whoever answers it; here
//! are the body, the forms of the answer, and how many may ask at once.

use crate::accept;
use crate::body::{self, json};
use crate::error::{ApiError, Kind};
use crate::history::SqlRows;
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_model::fault::Fault;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

const ASKERS: &[Role] = &[Role::Analyst, Role::Admin];

/// Queries under way at most.
pub(crate) const QUERIES_MAX: usize = 4;

/// The largest body.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Whether rows were left out; in forms that have no place for it.
const X_TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

pub(crate) fn routes(api: Api) -> Api {
    let ask = operation("Answer a SQL query", ASKERS)
        .describe(
            "One SELECT in ClickHouse's SQL over the tenant's own tables: `grades`, `cohorts` and the views with analytics; each \
             with `…_changes` (its history) and `…_as_of(t = '2026-03-01')`. Students are pseudonyms. The answer is JSON, or CSV or \
             JSON lines by `Accept`. `SHOW TABLES` and `DESCRIBE TABLE name` say what there is.",
        )
        .tag("analytics")
        .body_text("SqlAsked", "SELECT subject, count(*) AS students, avg(score) AS mean FROM grades GROUP BY subject")
        .problem("406", &[Kind::NotAcceptable])
        .answer(
            "200",
            answer("The rows").schema("SqlAnswer").text(&["text/csv", "application/x-ndjson"]),
        );
    api.route("post", "/v1/sql", post(sql), ask)
}

/// The query, as text or as `{"query": …}`.
struct Asked(String);

impl FromRequest<ApiState> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let media = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let media = media.unwrap_or("text/plain").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let as_json = match media.as_str() {
            "text/plain" | "application/sql" => false,
            "application/json" => true,
            _ => {
                let detail =
                    "send the query as `Content-Type: text/plain`, or `application/json` with `{\"query\": …}`";
                return Err(ApiError::new(Kind::UnsupportedMediaType, detail));
            }
        };
        let bytes = body::whole(request, BODY_BYTES_MAX.min(state.config.body_bytes_max)).await?;
        if as_json { query_of(&bytes) } else { utf8(&bytes) }
    }
}

fn utf8(bytes: &Bytes) -> Result<Asked, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::new(Kind::BadRequest, "the body is not UTF-8"))?;
    Ok(Asked(text.to_owned()))
}

fn query_of(bytes: &[u8]) -> Result<Asked, ApiError> {
    let expected =
        || ApiError::invalid(vec![Fault::new("", "expected an object with `query`, a text, and nothing else")]);
    let Value::Object(mut object) = body::value(bytes)? else { return Err(expected()) };
    match (object.remove("query"), object.is_empty()) {
        (Some(Value::String(query)), true) => Ok(Asked(query)),
        _ => Err(expected()),
    }
}

async fn sql(
    State(state): State<ApiState>,
    scope: Scope,
    headers: HeaderMap,
    asked: Result<Asked, ApiError>,
) -> Result<Response, ApiError> {
    scope.require(ASKERS)?;
    let Asked(text) = asked?;
    // Before anything is asked.
    let form = accept::preferred(&headers, FORMS)?;
    let _turn = state.queries.try_acquire().map_err(|_| {
        let detail = format!("{QUERIES_MAX} queries are under way already");
        ApiError::new(Kind::Overloaded, detail).retry_after(Duration::from_secs(1))
    })?;
    let started = Instant::now();
    let rows = state.history.sql(scope.tenant(), &text).await?;
    let elapsed_ms = started.elapsed().as_millis();
    Ok(match form {
        Form::Json => json(document(&rows, elapsed_ms)),
        Form::Csv => lines("text/csv; charset=utf-8; header=present", csv(&rows), rows.truncated),
        Form::JsonLines => lines("application/x-ndjson", json_lines(&rows), rows.truncated),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    JsonLines,
}

/// By their media types; JSON where the caller does not mind.
const FORMS: &[(&str, Form)] = &[
    ("application/json", Form::Json),
    ("text/csv", Form::Csv),
    ("application/x-ndjson", Form::JsonLines),
    ("application/jsonl", Form::JsonLines),
];

fn document(rows: &SqlRows, elapsed_ms: u128) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Column<'a> {
        name: &'a str,
        r#type: &'a str,
    }
    #[derive(serde::Serialize)]
    struct Document<'a> {
        columns: Vec<Column<'a>>,
        rows: &'a [Vec<Box<RawValue>>],
        rows_count: usize,
        truncated: bool,
        elapsed_ms: u128,
        #[serde(skip_serializing_if = "Option::is_none")]
        as_of: Option<String>,
    }
    let columns = rows.columns.iter().map(|(name, r#type)| Column { name, r#type }).collect();
    let document = Document {
        columns,
        rows: &rows.rows,
        rows_count: rows.rows.len(),
        truncated: rows.truncated,
        elapsed_ms,
        as_of: rows.as_of.map(|at| at.to_string()),
    };
    // Texts, numbers and what is JSON already always serialise.
    serde_json::to_vec(&document).unwrap_or_default()
}

fn lines(media: &'static str, body: Vec<u8>, truncated: bool) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_TRUNCATED, HeaderValue::from_static(if truncated { "true" } else { "false" })),
    ];
    (headers, body).into_response()
}

/// RFC 4180, with the names first. Null is nothing; lists and maps are their JSON.
fn csv(rows: &SqlRows) -> Vec<u8> {
    let mut out = Vec::new();
    let cells = |out: &mut Vec<u8>, row: &mut dyn Iterator<Item = String>| {
        for (place, cell) in row.enumerate() {
            if place > 0 {
                out.push(b',');
            }
            if cell.contains(['"', ',', '\n', '\r']) {
                out.extend_from_slice(format!("\"{}\"", cell.replace('"', "\"\"")).as_bytes());
            } else {
                out.extend_from_slice(cell.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    };
    cells(&mut out, &mut rows.columns.iter().map(|(name, _)| name.clone()));
    for row in &rows.rows {
        cells(
            &mut out,
            &mut row.iter().map(|cell| match cell.get() {
                "null" => String::new(),
                text if text.starts_with('"') => serde_json::from_str(text).unwrap_or_default(),
                other => other.to_owned(),
            }),
        );
    }
    out
}

/// An object per line.
fn json_lines(rows: &SqlRows) -> Vec<u8> {
    let mut out = Vec::new();
    for row in &rows.rows {
        out.push(b'{');
        for (place, ((name, _), cell)) in rows.columns.iter().zip(row).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            // A text always serialises.
            out.extend_from_slice(&serde_json::to_vec(name).unwrap_or_default());
            out.push(b':');
            out.extend_from_slice(cell.get().as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }
    out
}

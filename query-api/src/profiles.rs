//! `GET /v1/students/{id}/profile` and `POST /v1/profiles:batchGet`, from memory.

use crate::body::{self, RequestBody, json};
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_model::fault::Fault;
use aulaflow_model::fields::{Faults, Field};
use aulaflow_model::ids::StudentId;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};

pub(crate) const READERS: &[Role] = &[Role::Student, Role::Teacher, Role::Counsellor, Role::Admin, Role::Service];
const BATCH_READERS: &[Role] = &[Role::Service];

/// Profiles asked for at once.
const PROFILES_MAX: usize = 500;
/// Room for a usual profile.
const PROFILE_BYTES: usize = 2048;

pub(crate) fn routes(api: Api) -> Api {
    let one = operation("A student's profile", READERS)
        .tag("students")
        .describe("Grades and features, true as of one instant (`as_of`). A student reads its own only.")
        .path_parameter("id", "The student's id")
        .answer("200", answer("The profile").schema("Profile"));
    let many = operation("Up to 500 profiles", BATCH_READERS)
        .tag("students")
        .describe("In the order asked; `missing` names the students who have none.")
        .body("ProfilesAsked")
        .example(serde_json::json!({ "student_ids": ["s-000000", "s-000001"] }))
        .answer("200", answer("The profiles").schema("Profiles"));
    api.route("get", "/v1/students/{id}/profile", get(profile), one).route(
        "post",
        "/v1/profiles:batchGet",
        post(profiles),
        many,
    )
}

async fn profile(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let none = || ApiError::not_found("student");
    let student = path.ok().and_then(|Path(id)| StudentId::new(id).ok()).ok_or_else(none)?;
    let profile = state.access.profile(&scope, &student)?.ok_or_else(none)?;
    // Empty, so that the first write makes it exactly as large as the profile.
    let mut out = Vec::new();
    profile.write_json(&mut out);
    Ok(json(out))
}

async fn profiles(State(state): State<ApiState>, scope: Scope, body: RequestBody) -> Result<Response, ApiError> {
    scope.require(BATCH_READERS)?;
    let students = asked(&body::value(&body.json()?)?)?;
    let mut out = Vec::with_capacity(32 + PROFILE_BYTES * students.len());
    let mut missing = Vec::new();
    out.extend_from_slice(b"{\"profiles\":[");
    let mut first = true;
    for student in &students {
        match state.access.profile(&scope, student)? {
            Some(profile) => {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                profile.write_json(&mut out);
            }
            None => missing.push(student),
        }
    }
    out.extend_from_slice(b"],\"missing\":");
    // Strings always serialise.
    out.extend_from_slice(&serde_json::to_vec(&missing).unwrap_or_default());
    out.push(b'}');
    Ok(json(out))
}

fn asked(value: &serde_json::Value) -> Result<Vec<StudentId>, ApiError> {
    let faults = Faults::default();
    let body = Field::root(value, "", &faults).table(&["student_ids"]);
    let list = body.and_then(|body| body.need("student_ids")?.array()).unwrap_or_default();
    if list.len() > PROFILES_MAX {
        let detail = format!("{} students were asked for, at most {PROFILES_MAX} are answered at once", list.len());
        return Err(ApiError::new(Kind::TooManyItems, detail));
    }
    let students = list.iter().filter_map(|id| id.parse(str::parse::<StudentId>)).collect();
    let faults: Vec<Fault> = faults.into_vec();
    if faults.is_empty() { Ok(students) } else { Err(ApiError::invalid(faults)) }
}

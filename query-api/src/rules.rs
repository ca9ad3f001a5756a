//! `GET` and `PUT /v1/rules/{subject}`.

use crate::access::position;
use crate::body::{self, RequestBody, json};
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::tenant::{Rule, TenantConfig};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const READERS: &[Role] = &[Role::Admin, Role::Teacher, Role::Counsellor, Role::Service];
pub(crate) const WRITERS: &[Role] = &[Role::Admin];

/// What the query of a `GET` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleQuery {
    period: Option<String>,
}

pub(crate) fn routes(api: Api) -> Api {
    let subject = "The subject; `*` is the rule of subjects without one of their own";
    let read = operation("A subject's grading rule", READERS)
        .describe("Where a subject has several rules, the one for `period`, or the one for all periods.")
        .path_parameter("subject", subject)
        .query("period", "string", "The period that the rule is asked for")
        .answer("200", answer("The rule").schema("Rule"));
    let write = operation("Set a subject's grading rule", WRITERS)
        .describe(
            "From then on the subject has this rule and no other. Exactly the grades that it changes change; 200 once \
             the rule is durable.",
        )
        .path_parameter("subject", subject)
        .body("Rule")
        .answer("200", answer("The rule as it is in force").schema("Rule"));
    let path = "/v1/rules/{subject}";
    api.route("get", path, get(read_rule), read).route("put", path, put(write_rule), write)
}

async fn read_rule(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<RuleQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let subject = subject(path)?;
    let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
    let config = state.access.tenant_config(&scope);
    let own = || config.rules.iter().filter(|rule| rule.subject == subject);
    let rule = match query.period.map(PeriodId::new) {
        Some(Ok(period)) => own()
            .find(|rule| rule.periods.as_ref().is_some_and(|periods| periods.contains(&period)))
            .or_else(|| own().find(|rule| rule.periods.is_none())),
        Some(Err(_)) => None,
        None => own().find(|rule| rule.periods.is_none()).or_else(|| own().next()),
    };
    Ok(json(shown(rule.ok_or_else(|| ApiError::not_found("rule"))?)?))
}

async fn write_rule(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
    body: RequestBody,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let subject = subject(path)?;
    let mut value = body::value(&body.json()?)?;
    // What a GET answered may be sent back.
    if let Some(object) = value.as_object_mut() {
        object.remove("rule_version");
    }
    let rule = Rule::from_json_for(subject.as_ref(), &value, "").map_err(ApiError::invalid)?;
    let answer = shown(&rule)?;
    let change = |config: &TenantConfig| config.with_rule(rule).map_err(ApiError::invalid);
    let (_, appended) = state.access.change_config(&scope, change).await?;
    Ok(([position(&appended)], json(answer)).into_response())
}

/// `None` is `*`.
fn subject(path: Result<Path<String>, PathRejection>) -> Result<Option<Subject>, ApiError> {
    match path {
        Ok(Path(text)) if text == "*" => Ok(None),
        Ok(Path(text)) => Subject::new(text).map(Some).map_err(|_| ApiError::not_found("subject")),
        Err(_) => Err(ApiError::not_found("subject")),
    }
}

/// The rule as JSON with its version.
fn shown(rule: &Rule) -> Result<Vec<u8>, ApiError> {
    let cannot = |error| ApiError::new(Kind::Internal, format!("cannot show the rule: {error}"));
    let mut value = serde_json::to_value(rule).map_err(cannot)?;
    if let Value::Object(object) = &mut value {
        object.insert("rule_version".to_owned(), json!(rule.version()));
    }
    serde_json::to_vec(&value).map_err(cannot)
}

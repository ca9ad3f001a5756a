//! `GET /v1/rules`, `GET`, `PUT` and `DELETE /v1/rules/{subject}`, and what is scheduled. Previews are in `preview`, what was in force before in `rule_versions`.

use crate::access::{Access, position};
use crate::body::{self, RequestBody, json};
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, before_action, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::{Rule, RuleChange, ScheduledRule, TenantConfig};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::header::ALLOW;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const READERS: &[Role] = &[Role::Admin, Role::Teacher, Role::Counsellor, Role::Service];
pub(crate) const WRITERS: &[Role] = &[Role::Admin];

/// The path's parameter.
pub(crate) const SUBJECT: &str = "The subject; `*` is the rule of subjects without one of their own";

/// What the query of a `GET` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleQuery {
    period: Option<String>,
}

pub(crate) fn routes(api: Api) -> Api {
    let read = operation("A subject's grading rule", READERS).tag("rules")
        .describe(
            "The rule that is in force: where a subject has several, the one for `period`, or the one for all periods. Where \
             the subject has none of its own it is the rule of `*`, and `governs` names the subject that was asked for. \
             `scheduled` lists rules that come into force later.",
        )
        .path_parameter("subject", SUBJECT)
        .query("period", "string", "The period that the rule is asked for")
        .answer("200", answer("The rule").schema("Rule"));
    let write = operation("Set a subject's grading rule", WRITERS)
        .tag("rules")
        .describe(
            "From then on the subject has this rule and no other. Exactly the grades that it changes change; 200 once \
             the rule is durable. With an `effective_at` in the future the present rule stays until then, and a rule \
             scheduled for the same subject and instant is replaced; without one, scheduled rules stay.",
        )
        .path_parameter("subject", SUBJECT)
        .body("Rule")
        .example(serde_json::json!({ "weights": { "exam": "0.7", "homework": "0.3" }, "min_passing": 60 }))
        .answer("200", answer("The rule as it is in force, or scheduled").schema("Rule"));
    let list = operation("All grading rules", READERS)
        .tag("rules")
        .describe("Those in force, and in `scheduled` those that come into force later.")
        .answer("200", answer("The rules").schema("Rules"));
    let remove = operation("Delete a subject's grading rule", WRITERS)
        .tag("rules")
        .describe(
            "The subject has no rule of its own from then on, so that the rule of `*` governs it. Scheduled rules stay. 204 \
             once that is durable, 404 where it has none.",
        )
        .path_parameter("subject", SUBJECT)
        .answer("204", answer("It has none of its own any more"));
    let cancel = operation("Cancel a subject's scheduled rules", WRITERS)
        .tag("rules")
        .describe("All of them; the rule in force stays. 204 once that is durable, 404 where none is scheduled.")
        .path_parameter("subject", SUBJECT)
        .answer("204", answer("None is scheduled any more"));
    let path = "/v1/rules/{subject}";
    api.route("get", "/v1/rules", get(list_rules), list)
        .route("get", path, get(read_rule), read)
        .route("put", path, put(write_rule), write)
        .route("delete", path, delete(delete_rule), remove)
        .route("delete", "/v1/rules/{subject}/scheduled", delete(cancel_scheduled), cancel)
}

async fn read_rule(
    State(state): State<ApiState>,
    Place(subject): Place<PLAIN>,
    scope: Scope,
    query: Result<Query<RuleQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let subject = subject.ok_or_else(|| ApiError::not_found("subject"))?;
    let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
    let config = state.access.tenant_config(&scope);
    let period = query.period.map(PeriodId::new).transpose().map_err(|_| ApiError::not_found("rule"))?;
    let rule = rule_of(&config, subject.as_ref(), period.as_ref());
    let rule = rule.or_else(|| rule_of(&config, None, period.as_ref()));
    let rule = rule.ok_or_else(|| match scheduled(&config, subject.as_ref()).next() {
        Some(first) => {
            ApiError::new(Kind::NotFound, format!("there is no such rule; one is scheduled for {}", first.effective_at))
        }
        None => ApiError::not_found("rule"),
    })?;
    answer_with(rule, subject.as_ref(), None, &config)
}

/// The rule in force among those of one subject, or of `*`: for a period, or for all of them.
fn rule_of<'a>(
    config: &'a TenantConfig,
    subject: Option<&Subject>,
    period: Option<&PeriodId>,
) -> Option<&'a Arc<Rule>> {
    let own = || config.rules.iter().filter(|rule| rule.subject.as_ref() == subject);
    let general = || own().find(|rule| rule.periods.is_none());
    let names = |rule: &&Arc<Rule>, period| rule.periods.as_ref().is_some_and(|periods| periods.contains(period));
    match period {
        Some(period) => own().find(|rule| names(rule, period)).or_else(general),
        None => general().or_else(|| own().next()),
    }
}

async fn list_rules(State(state): State<ApiState>, scope: Scope) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let config = state.access.tenant_config(&scope);
    let now: Result<Vec<_>, _> = config.rules.iter().map(|rule| shown(rule, rule)).collect();
    let later: Result<Vec<_>, _> = config.scheduled.iter().map(|later| shown(later, &later.rule)).collect();
    let all = json!({ "rules": now.map_err(cannot_show)?, "scheduled": later.map_err(cannot_show)? });
    Ok(json(serde_json::to_vec(&all).map_err(cannot_show)?))
}

async fn delete_rule(
    State(state): State<ApiState>,
    Place(subject): Place<PLAIN>,
    scope: Scope,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let subject = subject.ok_or_else(|| ApiError::not_found("subject"))?;
    let change = |config: &TenantConfig| match rule_of(config, subject.as_ref(), None) {
        Some(_) => Ok(config.without_rule(subject.as_ref())),
        None => Err(ApiError::new(
            Kind::NotFound,
            "the subject has no rule of its own; `GET /v1/rules` lists those there are",
        )),
    };
    let (_, appended) = Access::change_config(&state, &scope, change).await?;
    Ok((StatusCode::NO_CONTENT, [position(&appended)]).into_response())
}

async fn write_rule(
    State(state): State<ApiState>,
    Place(subject): Place<PLAIN>,
    scope: Scope,
    body: RequestBody,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let subject = subject.ok_or_else(|| ApiError::not_found("subject"))?;
    let RuleChange { rule, effective_at } = read(subject.as_ref(), body)?;
    // A past instant acts at once: it is a change like any other.
    let effective_at = effective_at.filter(|at| *at > state.access.clock());
    let rule = Arc::new(rule);
    let change = |config: &TenantConfig| {
        let next = match effective_at {
            None => config.with_rule(Rule::clone(&rule)),
            Some(effective_at) => config.with_scheduled(ScheduledRule { effective_at, rule: rule.clone() }),
        };
        next.map_err(ApiError::invalid)
    };
    let (config, appended) = Access::change_config(&state, &scope, change).await?;
    Ok(([position(&appended)], answer_with(&rule, subject.as_ref(), effective_at, &config)?).into_response())
}

async fn cancel_scheduled(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let subject = path.ok().and_then(|Path(name)| subject(&name)).ok_or_else(|| ApiError::not_found("subject"))?;
    let change = |config: &TenantConfig| match scheduled(config, subject.as_ref()).next() {
        Some(_) => Ok(config.without_scheduled(subject.as_ref())),
        None => Err(ApiError::not_found("scheduled rule")),
    };
    let (_, appended) = Access::change_config(&state, &scope, change).await?;
    Ok((StatusCode::NO_CONTENT, [position(&appended)]).into_response())
}

/// The body's rule. What a `GET` answered may be sent back.
pub(crate) fn read(subject: Option<&Subject>, body: RequestBody) -> Result<RuleChange, ApiError> {
    let mut value = body::value(&body.json()?)?;
    if let Some(object) = value.as_object_mut() {
        for name in ["rule_version", "scheduled", "warnings"] {
            object.remove(name);
        }
        // The rule of `*` as it governs the subject becomes the subject's own.
        let governs = object.remove("governs");
        if subject.is_some() && governs.as_ref().and_then(Value::as_str) == subject.map(Subject::as_str) {
            object.remove("subject");
        }
    }
    RuleChange::from_json_for(subject, &value, "").map_err(ApiError::invalid)
}

/// A path names a rule itself.
pub(crate) const PLAIN: bool = false;
/// A path ends in `:preview`, which is no part of the subject.
pub(crate) const PREVIEW: bool = true;

/// The subject in the path; `Some(None)` is `*`, `None` is no subject. A path of the other form does not know the method:
/// the router cannot tell the two apart.
pub(crate) struct Place<const FORM: bool>(pub(crate) Option<Option<Subject>>);

impl<const FORM: bool> FromRequestParts<ApiState> for Place<FORM> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Response> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else { return Ok(Self(None)) };
        let (name, form) = match before_action(&parts.uri, &text, ":preview") {
            Some(name) => (name, PREVIEW),
            None => (text.as_str(), PLAIN),
        };
        if form != FORM {
            let detail = "this route does not know the method; the Allow header names those it knows";
            let mut response = ApiError::new(Kind::MethodNotAllowed, detail).into_response();
            let allowed = if form == PREVIEW { "POST" } else { "GET, HEAD, PUT, DELETE" };
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return Err(response);
        }
        Ok(Self(subject(name)))
    }
}

/// `Some(None)` is `*`.
pub(crate) fn subject(name: &str) -> Option<Option<Subject>> {
    if name == "*" { Some(None) } else { Subject::new(name).ok().map(Some) }
}

/// The rules that are scheduled for a subject.
fn scheduled<'a>(config: &'a TenantConfig, subject: Option<&'a Subject>) -> impl Iterator<Item = &'a ScheduledRule> {
    config.scheduled.iter().filter(move |scheduled| scheduled.rule.subject.as_ref() == subject)
}

/// A rule as the answer for a subject, which may have none of its own.
fn answer_with(
    rule: &Rule,
    subject: Option<&Subject>,
    effective_at: Option<Millis>,
    config: &TenantConfig,
) -> Result<Response, ApiError> {
    let mut value = shown(rule, rule).map_err(cannot_show)?;
    let governs = subject.filter(|_| rule.subject.is_none());
    let general = scheduled(config, None).filter(|_| governs.is_some());
    let later = scheduled(config, subject).chain(general).map(|later| shown(later, &later.rule));
    let later: Result<Vec<_>, _> = later.collect();
    let warnings = rule.warnings("");
    if let Value::Object(object) = &mut value {
        object.extend(effective_at.map(|at| ("effective_at".to_owned(), json!(at.to_string()))));
        object.extend(governs.map(|subject| ("governs".to_owned(), json!(subject))));
        object.insert("scheduled".to_owned(), later.map_err(cannot_show)?.into());
        if !warnings.is_empty() {
            object.insert("warnings".to_owned(), json!(warnings));
        }
    }
    Ok(json(serde_json::to_vec(&value).map_err(cannot_show)?))
}

fn cannot_show(error: serde_json::Error) -> ApiError {
    ApiError::new(Kind::Internal, format!("cannot show the rule: {error}"))
}

/// A rule, or one with more members, as JSON with its version.
pub(crate) fn shown(value: &impl Serialize, rule: &Rule) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(value)?;
    if let Value::Object(object) = &mut value {
        object.insert("rule_version".to_owned(), json!(rule.version()));
    }
    Ok(value)
}

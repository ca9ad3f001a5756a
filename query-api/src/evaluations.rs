//! `POST /v1/evaluations`, `POST /v1/evaluations:batch`, `DELETE /v1/evaluations/{id}`.

use crate::access::{now, position};
use crate::batch::{Batch, BatchQuery, FUTURE, ITEMS_MAX, Prepared, SCHEMA, offload};
use crate::body::{self, Item, RequestBody, json};
use crate::error::ApiError;
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_model::event::{Evaluation, Origin, decode_evaluation, tombstone_key};
use aulaflow_model::fault::{Fault, suggestion};
use aulaflow_model::ids::{EvaluationId, PeriodId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::{Rule, TenantConfig, Weights};
use aulaflow_model::topic::EVALUATIONS;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const WRITERS: &[Role] = &[Role::Teacher, Role::Admin];

pub(crate) fn routes(api: Api) -> Api {
    let one = operation("Put one evaluation", WRITERS)
        .tag("events")
        .describe(
            "An upsert by `evaluation_id`. Without an `updated_at` it is an edit and wins over everything before it; with \
             one it loses only to a newer one that was given. 201 once it is durable.",
        )
        .body("Evaluation")
        .example(serde_json::json!({ "evaluation_id": "e-1", "student_id": "s-000000", "subject": "matematicas", "type": "exam", "score": "84.5", "graded_at": "2026-03-02T12:00:00Z" }))
        .answer("201", answer("Durable").schema("EvaluationTaken"));
    let batch = operation("Put up to 5,000 evaluations", WRITERS).tag("events")
        .describe(
            "Good ones are taken, bad ones are named by index. JSON lines are accepted as well. 422 where none is good.",
        )
        .query("dead_letters", "boolean", "Keep the bad items in the topic's dead letters as well (admin)")
        .body_array("Evaluation")
        .example(serde_json::json!([{ "evaluation_id": "e-1", "student_id": "s-000000", "subject": "matematicas", "type": "exam", "score": "84.5", "graded_at": "2026-03-02T12:00:00Z" }]))
        .answer("200", answer("Durable").schema("BatchAnswer"));
    let remove = operation("Delete an evaluation", WRITERS)
        .tag("events")
        .describe("204 once the deletion is durable, also where there was none.")
        .path_parameter("id", "The evaluation's id")
        .answer("204", answer("Deleted"));
    api.route("post", "/v1/evaluations", post(put_one), one)
        .route("post", "/v1/evaluations:batch", post(put_batch), batch)
        .route("delete", "/v1/evaluations/{id}", delete(remove_one), remove)
}

async fn put_one(State(state): State<ApiState>, scope: Scope, body: RequestBody) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let bytes = body.json()?;
    body::check_json(&bytes)?;
    let received = now();
    let outcome = Judge::new(&state, &scope).read(&bytes, received);
    let (evaluation, warnings) = outcome.map_err(|(_, faults)| {
        state.metrics.count_records(EVALUATIONS, "refused", 1);
        ApiError::invalid(faults)
    })?;
    let mut records = RecordSetBuilder::default();
    let tenant = scope.tenant();
    records.push(received, evaluation.log_key(tenant).as_bytes(), Some(&evaluation.to_log_json(tenant)), &[]);
    let outcome = state.access.append(&scope, EVALUATIONS, records.finish()).await;
    state.metrics.count_records(EVALUATIONS, if outcome.is_ok() { "accepted" } else { "failed" }, 1);
    let appended = outcome?;
    let mut answer = json!({ "evaluation_id": evaluation.evaluation_id });
    if let (false, Some(answer)) = (warnings.is_empty(), answer.as_object_mut()) {
        answer.insert("warnings".to_owned(), json!(warnings));
    }
    Ok((StatusCode::CREATED, [position(&appended)], json(answer.to_string().into_bytes())).into_response())
}

async fn put_batch(
    State(state): State<ApiState>,
    scope: Scope,
    query: Result<Query<BatchQuery>, QueryRejection>,
    body: RequestBody,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let query = BatchQuery::read(query, &scope)?;
    let (judge, tenant) = (Judge::new(&state, &scope), scope.tenant().clone());
    let (size, record_bytes_max) = (body.bytes.len(), state.config.record_bytes_max);
    let prepare = move || {
        let items = body::items(&body.bytes, body.format, ITEMS_MAX, "evaluations")?;
        Ok::<Prepared, ApiError>(read_batch(&items, &judge, Batch::new(tenant, EVALUATIONS, query, record_bytes_max)))
    };
    let prepared = offload(size, prepare).await?;
    prepared.commit(&state, &scope, EVALUATIONS, StatusCode::OK).await
}

fn read_batch(items: &[Item<'_>], judge: &Judge, mut batch: Batch) -> Prepared {
    for item in items {
        match judge.read(item.json, batch.now()) {
            Ok((evaluation, warnings)) => {
                let key = evaluation.log_key(batch.tenant());
                let value = evaluation.to_log_json(batch.tenant());
                batch.accept(item, key.as_bytes(), &value);
                batch.warn(item.index, warnings);
            }
            Err((class, faults)) => batch.refuse(item, class, faults),
        }
    }
    batch.finish()
}

async fn remove_one(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let id = path.ok().and_then(|Path(id)| EvaluationId::new(id).ok());
    let id = id.ok_or_else(|| ApiError::not_found("evaluation"))?;
    let mut records = RecordSetBuilder::default();
    records.push(now(), tombstone_key(scope.tenant(), &id).as_bytes(), None, &[]);
    let outcome = state.access.append(&scope, EVALUATIONS, records.finish()).await;
    state.metrics.count_records(EVALUATIONS, if outcome.is_ok() { "accepted" } else { "failed" }, 1);
    Ok((StatusCode::NO_CONTENT, [position(&outcome?)]).into_response())
}

/// What evaluations of a tenant are judged by.
struct Judge {
    config: Arc<TenantConfig>,
    max_skew_ms: Option<i64>,
}

impl Judge {
    fn new(state: &ApiState, scope: &Scope) -> Self {
        let skew_ms = |max: Duration| i64::try_from(max.as_millis()).unwrap_or(i64::MAX);
        Self { config: state.access.tenant_config(scope), max_skew_ms: state.config.max_skew.map(skew_ms) }
    }

    /// Decodes an evaluation received at an instant: it and its warnings, or its faults and their class.
    fn read(&self, json: &[u8], received: Millis) -> Result<(Evaluation, Vec<Fault>), (&'static str, Vec<Fault>)> {
        let evaluation = decode_evaluation(json, Origin::Edge).map_err(|faults| (SCHEMA, faults))?;
        let warnings = judge(&self.config, &evaluation).map_err(|faults| (SCHEMA, faults))?;
        match self.max_skew_ms.and_then(|max_skew_ms| evaluation.updated_ahead(received, max_skew_ms)) {
            Some(ahead) => Err((FUTURE, vec![ahead])),
            None => Ok((evaluation, warnings)),
        }
    }
}

/// What the tenant's configuration says of an evaluation: a fault refuses it, warnings only tell.
///
/// Configuration may come after the evaluations that it is for, so an evaluation that nothing covers yet is taken: it
/// shows as soon as a period and a rule cover it.
fn judge(config: &TenantConfig, evaluation: &Evaluation) -> Result<Vec<Fault>, Vec<Fault>> {
    // A period that is given is the grade's period, whether the tenant has told of it or not.
    let period = evaluation.period.as_ref().or_else(|| config.period_at(evaluation.graded_at));
    let rule = period.and_then(|period| config.rule_for(&evaluation.subject, period));
    if evaluation.above_max() {
        let extra_credit = |rule: &Rule| rule.extra_credit;
        let allowed = match rule {
            Some(rule) => extra_credit(rule),
            // Without a period no rule is decided: any that may become its rule may allow it.
            None => config.rules.iter().any(|rule| {
                rule.subject.as_ref().is_none_or(|subject| *subject == evaluation.subject) && extra_credit(rule)
            }),
        };
        if !allowed {
            return Err(vec![evaluation.above_max_fault()]);
        }
    }
    Ok(warnings(config, evaluation, period, rule.map(AsRef::as_ref)))
}

fn warnings(
    config: &TenantConfig,
    evaluation: &Evaluation,
    period: Option<&PeriodId>,
    rule: Option<&Rule>,
) -> Vec<Fault> {
    let mut warnings = Vec::new();
    let known = || config.periods.iter().map(|known| known.id.as_str());
    // Where a tenant has no periods at all, its evaluations' own are all there are.
    if let Some(given) = &evaluation.period
        && !config.periods.is_empty()
        && known().all(|known| known != given.as_str())
    {
        let near = suggestion(given.as_str(), known());
        warnings.push(Fault::new("/period", format!("the tenant has no such period{near}; it shows under this name")));
    }
    if period.is_none() {
        warnings.push(Fault::new("/graded_at", "no period of the tenant holds it yet; it counts once one does"));
    } else if rule.is_none() {
        warnings.push(Fault::new("/subject", "the tenant has no rule for it yet; it counts once there is one"));
    }
    match rule.map(|rule| &rule.weights) {
        Some(Weights::Categories(weights)) if !weights.contains_key(&evaluation.category) => {
            warnings.push(Fault::new("/type", "has no weight in the rule, so it does not count"));
        }
        Some(Weights::Categories(_) | Weights::Items) | None => {}
    }
    warnings
}

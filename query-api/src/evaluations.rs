//! `POST /v1/evaluations`, `POST /v1/evaluations:batch`, `DELETE /v1/evaluations/{id}`.

use crate::access::{now, position};
use crate::batch::{Batch, BatchQuery, ITEMS_MAX, Prepared, offload};
use crate::body::{self, Item, RequestBody, json};
use crate::error::ApiError;
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_model::event::{Evaluation, Origin, decode_evaluation, tombstone_key};
use aulaflow_model::fault::{Fault, suggestion};
use aulaflow_model::ids::{EvaluationId, PeriodId};
use aulaflow_model::tenant::{Rule, TenantConfig, Weights};
use aulaflow_model::topic::EVALUATIONS;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use serde_json::json;

const WRITERS: &[Role] = &[Role::Teacher, Role::Admin];

pub(crate) fn routes(api: Api) -> Api {
    let one = operation("Put one evaluation", WRITERS).tag("events")
        .describe("An upsert by `evaluation_id`: the newest `updated_at` wins. 201 once it is durable.")
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
    let remove = operation("Delete an evaluation", WRITERS).tag("events")
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
    let outcome = decode_evaluation(&bytes, Origin::Edge)
        .and_then(|evaluation| judge(&state.access.tenant_config(&scope), &evaluation).map(|w| (evaluation, w)));
    let (evaluation, warnings) = outcome.map_err(|faults| {
        state.metrics.count_records(EVALUATIONS, "refused", 1);
        ApiError::invalid(faults)
    })?;
    let mut records = RecordSetBuilder::default();
    let tenant = scope.tenant();
    records.push(now(), evaluation.log_key(tenant).as_bytes(), Some(&evaluation.to_log_json(tenant)), &[]);
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
    let (config, tenant) = (state.access.tenant_config(&scope), scope.tenant().clone());
    let (size, record_bytes_max) = (body.bytes.len(), state.config.record_bytes_max);
    let prepare = move || {
        let items = body::items(&body.bytes, body.format, ITEMS_MAX, "evaluations")?;
        Ok::<Prepared, ApiError>(read_batch(&items, &config, Batch::new(tenant, EVALUATIONS, query, record_bytes_max)))
    };
    let prepared = offload(size, prepare).await?;
    prepared.commit(&state, &scope, EVALUATIONS, StatusCode::OK).await
}

fn read_batch(items: &[Item<'_>], config: &TenantConfig, mut batch: Batch) -> Prepared {
    for item in items {
        let judged = decode_evaluation(item.json, Origin::Edge)
            .and_then(|evaluation| judge(config, &evaluation).map(|warnings| (evaluation, warnings)));
        match judged {
            Ok((evaluation, warnings)) => {
                let key = evaluation.log_key(batch.tenant());
                let value = evaluation.to_log_json(batch.tenant());
                batch.accept(item, key.as_bytes(), &value);
                batch.warn(item.index, warnings);
            }
            Err(faults) => batch.refuse(item, faults),
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

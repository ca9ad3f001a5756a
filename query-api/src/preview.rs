//! `POST /v1/rules/{subject}:preview`: what a rule would change, without any effect.

use crate::ask::ask;
use crate::body::{RequestBody, json};
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::rules::{self, PREVIEW, WRITERS};
use crate::scope::Scope;
use crate::state::ApiState;
use aulaflow_model::fault::{Fault, suggestion};
use aulaflow_model::grade::{Preview, PreviewRow, PreviewSummary};
use aulaflow_model::ids::Subject;
use aulaflow_serving::CohortQuery;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Changed rows in an answer, where the caller does not say.
const LIMIT: usize = 1_000;
/// At most.
const LIMIT_MAX: usize = 10_000;

/// Cohorts that are looked through for a subject of a similar name.
const SUBJECTS_MAX: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PreviewQuery {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Shown<'a> {
    as_of: String,
    subject: &'a str,
    rule_version: &'a str,
    base_rule_versions: &'a BTreeSet<String>,
    summary: &'a PreviewSummary,
    changes_total: usize,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [Fault],
    changes: &'a [PreviewRow],
}

pub(crate) fn routes(api: Api) -> Api {
    let preview = operation("Preview a grading rule", WRITERS).tag("rules")
        .describe(
            "What `PUT` of this rule would change, as of one instant: exactly the rows whose rule would be another one, \
             under both rules. It has no effect. An `effective_at` is checked and not considered: the rule is looked at \
             as if it were in force now.",
        )
        .path_parameter("subject", rules::SUBJECT)
        .query("limit", "integer", "Changed rows in the answer: 1 to 10,000, 1,000 if not given")
        .body("Rule")
        .example(serde_json::json!({ "weights": { "exam": "0.7", "homework": "0.3" }, "min_passing": 60 }))
        .answer("200", answer("What would change").schema("Preview"));
    api.action("post", "/v1/rules/{subject}:preview", "/v1/rules/{subject}", post(preview_rule), preview)
}

async fn preview_rule(
    State(state): State<ApiState>,
    rules::Place(subject): rules::Place<PREVIEW>,
    scope: Scope,
    query: Result<Query<PreviewQuery>, QueryRejection>,
    body: RequestBody,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let subject = subject.ok_or_else(|| ApiError::not_found("subject"))?;
    let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::new(Kind::BadRequest, format!("`limit` must be between 1 and {LIMIT_MAX}")));
    }
    let change = rules::read(subject.as_ref(), body)?;
    // The checks of a PUT, against what is in force.
    state.access.tenant_config(&scope).with_rule(change.rule.clone()).map_err(ApiError::invalid)?;
    let tenant = scope.tenant().clone();
    let mut warnings = change.rule.warnings("");
    warnings.extend(subject.as_ref().and_then(|subject| unknown(&state, &scope, subject)));
    let answer = ask(&state, move |state, timeout| {
        let preview = state.dataflow.preview(&tenant, &change.rule, timeout)?;
        Ok(shown(&preview, subject.as_ref().map_or("*", |subject| subject.as_str()), limit, &warnings))
    });
    Ok(json(answer.await?))
}

/// Says that nobody has a grade in a subject: its name may be misspelt.
fn unknown(state: &ApiState, scope: &Scope, subject: &Subject) -> Option<Fault> {
    let all = state.access.cohorts(scope, CohortQuery { limit: SUBJECTS_MAX, ..CohortQuery::default() }).ok()?;
    let of_it = CohortQuery { subject: Some(subject), limit: 1, ..CohortQuery::default() };
    if !state.access.cohorts(scope, of_it).ok()?.is_empty() {
        return None;
    }
    let near = suggestion(subject.as_str(), all.iter().map(|entry| entry.subject.as_str()));
    Some(Fault::new("/subject", format!("nobody has a grade in `{subject}` now{near}")))
}

fn shown(preview: &Preview, subject: &str, limit: usize, warnings: &[Fault]) -> Vec<u8> {
    let shown = Shown {
        as_of: preview.as_of.to_string(),
        subject,
        rule_version: &preview.rule_version,
        base_rule_versions: &preview.base_rule_versions,
        summary: &preview.summary,
        changes_total: preview.changes.len(),
        warnings,
        changes: preview.changes.get(..limit).unwrap_or(&preview.changes),
    };
    // A struct of strings and numbers always serialises.
    serde_json::to_vec(&shown).unwrap_or_default()
}

//! `POST /v1/behavior`: behaviour events, the hot path of writing. An event is decoded once to check it; what goes on
//! the log is the caller's own bytes with the tenant spliced in.

use crate::batch::{Batch, BatchQuery, ITEMS_MAX, Prepared, SCHEMA, offload};
use crate::body::{self, Format, Item, RequestBody};
use crate::error::ApiError;
use crate::openapi::{Api, answer, operation};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_model::event::{Origin, decode_behavior, splice_tenant};
use aulaflow_model::fault::Fault;
use aulaflow_model::topic::BEHAVIOR;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;

const WRITERS: &[Role] = &[Role::Student, Role::Teacher, Role::Service];

pub(crate) fn routes(api: Api) -> Api {
    let put = operation("Report behaviour events", WRITERS).tag("events")
        .describe(
            "Up to 5,000 events, as an array or as JSON lines. Good ones are taken, bad ones are named by index (of the \
             array, or of the line, from 0). 422 where none is good. A student reports its own events only.",
        )
        .query("dead_letters", "boolean", "Keep the bad items in the topic's dead letters as well (service)")
        .body_array("Behavior")
        .example(serde_json::json!([{ "event_id": "b-1", "student_id": "s-000000", "event_type": "participation", "occurred_at": "2026-03-02T12:00:00Z" }]))
        .answer("202", answer("Durable").schema("BatchAnswer"));
    api.route("post", "/v1/behavior", post(put_events), put)
}

async fn put_events(
    State(state): State<ApiState>,
    scope: Scope,
    query: Result<Query<BatchQuery>, QueryRejection>,
    body: RequestBody,
) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let query = BatchQuery::read(query, &scope)?;
    let only = match scope.role() {
        Role::Student => scope.subject().map(str::to_owned),
        Role::Teacher
        | Role::Counsellor
        | Role::Admin
        | Role::Analyst
        | Role::Service
        | Role::Gov
        | Role::Ops
        | Role::Platform => None,
    };
    let batch = Batch::new(scope.tenant().clone(), BEHAVIOR, query, state.config.record_bytes_max);
    let prepared =
        offload(body.bytes.len(), move || read_events(&body.bytes, body.format, only.as_deref(), batch)).await?;
    prepared.commit(&state, &scope, BEHAVIOR, StatusCode::ACCEPTED).await
}

/// Reads a body's events into records. `only`: the one student whose events are taken.
pub(crate) fn read_events(
    bytes: &[u8],
    format: Format,
    only: Option<&str>,
    mut batch: Batch,
) -> Result<Prepared, ApiError> {
    let tenant = batch.tenant().clone();
    let (mut key, mut value) = (Vec::with_capacity(64), Vec::with_capacity(512));
    for item in body::items(bytes, format, ITEMS_MAX, "events")? {
        match decode_event(&item, only, &mut key, tenant.as_str()) {
            Ok(()) => {
                value.clear();
                splice_tenant(item.json, &tenant, &mut value);
                batch.accept(&item, &key, &value);
            }
            Err(faults) => batch.refuse(&item, SCHEMA, faults),
        }
    }
    Ok(batch.finish())
}

/// Checks an event and makes its key, `tenant/student_id`.
fn decode_event(item: &Item<'_>, only: Option<&str>, key: &mut Vec<u8>, tenant: &str) -> Result<(), Vec<Fault>> {
    let event = decode_behavior(item.json, Origin::Edge)?;
    if only.is_some_and(|student| student != event.student_id) {
        return Err(vec![Fault::new("/student_id", "is not the token's: a student reports its own events only")]);
    }
    key.clear();
    key.extend_from_slice(tenant.as_bytes());
    key.push(b'/');
    key.extend_from_slice(event.student_id.as_bytes());
    Ok(())
}

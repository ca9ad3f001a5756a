//! `GET` and `PUT /v1/periods`: the tenant's time zone and grading periods.

use crate::access::{Access, position};
use crate::body::{self, RequestBody, json};
use crate::error::ApiError;
use crate::openapi::{Api, answer, operation};
use crate::rules::{READERS, WRITERS};
use crate::scope::Scope;
use crate::state::ApiState;
use aulaflow_model::fault::Fault;
use aulaflow_model::tenant::TenantConfig;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::Value;

const MEMBERS: [&str; 2] = ["timezone", "period"];

pub(crate) fn routes(api: Api) -> Api {
    let read = operation("The tenant's grading periods", READERS)
        .tag("rules")
        .answer("200", answer("Time zone and periods").schema("Periods"));
    let write = operation("Set the tenant's grading periods", WRITERS).tag("rules")
        .describe(
            "All of them at once; without a `timezone` the present one stays. Exactly the grades that move change; 200 \
             once the periods are durable.",
        )
        .body("Periods")
        .example(serde_json::json!({ "timezone": "America/Mexico_City", "period": [{ "id": "2026-Q1", "start": "2026-01-15", "end": "2026-04-15" }] }))
        .answer("200", answer("The periods as they are in force").schema("Periods"));
    api.route("get", "/v1/periods", get(read_periods), read).route("put", "/v1/periods", put(write_periods), write)
}

async fn read_periods(State(state): State<ApiState>, scope: Scope) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    Ok(json(shown(&state.access.tenant_config(&scope))))
}

async fn write_periods(State(state): State<ApiState>, scope: Scope, body: RequestBody) -> Result<Response, ApiError> {
    scope.require(WRITERS)?;
    let value = body::value(&body.json()?)?;
    let change = |config: &TenantConfig| with_periods(config, value.clone()).map_err(ApiError::invalid);
    let (config, appended) = Access::change_config(&state, &scope, change).await?;
    Ok(([position(&appended)], json(shown(&config))).into_response())
}

/// The configuration with the body's members instead of its own. The body's pointers are the configuration's.
fn with_periods(config: &TenantConfig, body: Value) -> Result<TenantConfig, Vec<Fault>> {
    let Value::Object(body) = body else {
        return Err(vec![Fault::new("", "expected an object with `timezone` and `period`")]);
    };
    let mut faults: Vec<Fault> = body
        .keys()
        .filter(|key| !MEMBERS.contains(&key.as_str()))
        .map(|key| Fault::unknown_key("", key, MEMBERS))
        .collect();
    if !body.contains_key("period") {
        faults.push(Fault::new("/period", "is required: a list of periods, which may be empty"));
    }
    let mut whole = config.to_json();
    if let Value::Object(whole) = &mut whole {
        whole.extend(body.into_iter().filter(|(key, _)| MEMBERS.contains(&key.as_str())));
    }
    match TenantConfig::from_json(&whole) {
        Ok(config) if faults.is_empty() => Ok(config),
        Ok(_) => Err(faults),
        Err(more) => {
            faults.extend(more);
            Err(faults)
        }
    }
}

fn shown(config: &TenantConfig) -> Vec<u8> {
    let mut whole = config.to_json();
    if let Value::Object(whole) = &mut whole {
        whole.retain(|key, _| MEMBERS.contains(&key.as_str()));
    }
    // A value always serialises.
    serde_json::to_vec(&whole).unwrap_or_default()
}

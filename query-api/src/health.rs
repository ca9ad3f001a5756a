//! `/healthz`, `/readyz` and `/metrics`: for the local network, without a token.

use crate::body::json;
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::time::Duration;

pub(crate) fn routes(api: Api) -> Api {
    let live =
        operation("Whether the process lives", &[]).tag("service").answer("200", answer("It does").schema("Health"));
    let ready = operation("Whether the views are there and fresh", &[])
        .tag("service")
        .describe("503 says why not. A serve-only process is ready once it has caught up, and says how stale it is.")
        .answer("200", answer("They are").schema("Readiness"));
    let metrics = operation("Metrics in the OpenMetrics text format", &[])
        .tag("service")
        .answer("200", answer("The metrics").text(&["application/openmetrics-text"]));
    api.route("get", "/healthz", get(healthz), live).route("get", "/readyz", get(readyz), ready).route(
        "get",
        "/metrics",
        get(metrics_text),
        metrics,
    )
}

async fn healthz() -> Response {
    json(br#"{"status":"ok"}"#.to_vec())
}

async fn readyz(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let no_frontier = || (!state.access.has_frontier()).then(|| "the views have not been computed yet".to_owned());
    match (state.not_ready)().or_else(no_frontier) {
        None => Ok(json(match (state.lag)().staleness_seconds() {
            // A replica goes on serving however stale it is, and says so.
            Some(seconds) => format!(r#"{{"status":"ready","staleness_seconds":{seconds}}}"#).into_bytes(),
            None => br#"{"status":"ready"}"#.to_vec(),
        })),
        Some(why) => Err(ApiError::new(Kind::NotReady, why).retry_after(Duration::from_secs(1))),
    }
}

async fn metrics_text(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let mut text = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut text, &state.registry.lock())
        .map_err(|error| ApiError::new(Kind::Internal, format!("the metrics cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

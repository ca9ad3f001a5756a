//! `POST /v1/sources/{topic}:resume`: reads a topic on whose error budget was spent.

use crate::body::json;
use crate::error::ApiError;
use crate::openapi::{Api, answer, before_action, operation};
use crate::scope::{AnyCaller, Role};
use crate::state::ApiState;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::post;
use serde::Serialize;

const OPERATORS: &[Role] = &[Role::Ops, Role::Platform];

#[derive(Serialize)]
struct Resumed {
    topic: String,
    /// The partitions that were stopped.
    partitions: Vec<u32>,
}

pub(crate) fn routes(api: Api) -> Api {
    let resume = operation("Read a source on", OPERATORS).tag("operations")
        .describe(
            "Partitions of the topic that were stopped because their error budget was spent are read on, with a fresh one. \
             What they could not use is in the dead letters.",
        )
        .path_parameter("topic", "The source topic")
        .answer("200", answer("Which partitions were stopped").schema("Resumed"));
    api.action("post", "/v1/sources/{topic}:resume", "/v1/sources/{topic}", post(resume_source), resume)
}

async fn resume_source(
    State(state): State<ApiState>,
    AnyCaller(caller): AnyCaller,
    uri: Uri,
    Path(place): Path<String>,
) -> Result<Response, ApiError> {
    let topic = before_action(&uri, &place, ":resume").ok_or_else(|| ApiError::not_found("source"))?;
    caller.require(OPERATORS)?;
    let known = (state.lag)().partitions.iter().any(|partition| partition.topic == topic);
    if !known {
        return Err(ApiError::not_found("source"));
    }
    let resumed = Resumed { topic: topic.to_owned(), partitions: state.dataflow.resume(topic) };
    Ok(json(serde_json::to_vec(&resumed).unwrap_or_default()))
}

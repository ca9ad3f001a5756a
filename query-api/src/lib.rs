//! The HTTP edge: tokens, tenancy, limits, writes that are durable when they are answered, reads from memory, and the
//! document that describes it all. One file per resource.
//!
//! It never sees the dataflow engine or the configuration files: the binary hands it settings ([`ApiConfig`]) and the
//! things it talks to ([`Parts`]). A tenant's data is reached only through `access`, whose every method asks for a
//! `scope::Scope`, which only a verified token makes.

mod accept;
mod access;
mod ask;
pub mod auth;
mod batch;
mod behavior;
mod body;
mod cohorts;
mod config;
pub mod dead_letters;
mod docs;
mod edge;
mod error;
mod evaluations;
mod explain;
mod grades;
mod health;
mod history;
mod lag;
mod metrics;
mod openapi;
mod periods;
mod preview;
mod profiles;
mod request_id;
mod rule_versions;
mod rules;
mod scope;
mod sources;
mod sql;
mod state;
mod tenants;

pub use ask::{Ask, AskFailure};
pub use config::{ApiConfig, ConfigError};
pub use history::{History, HistoryFailure, Later, NoHistory, PastGrades, SqlRows};
pub use lag::{LagReport, PartitionLag, ReplicaLag, SinkLag};
pub use scope::Role;
pub use state::{ApiState, Parts};

use axum::Router;
use axum::serve::ListenerExt;
use openapi::Api;
use std::future::Future;
use tokio::net::TcpListener;

/// Every route with its description. A resource is one file and one line here.
fn api() -> Api {
    let api = Api::default();
    let api = evaluations::routes(api);
    let api = behavior::routes(api);
    let api = profiles::routes(api);
    let api = grades::routes(api);
    let api = cohorts::routes(api);
    let api = explain::routes(api);
    let api = rules::routes(api);
    let api = preview::routes(api);
    let api = rule_versions::routes(api);
    let api = periods::routes(api);
    let api = dead_letters::routes(api);
    let api = sources::routes(api);
    let api = sql::routes(api);
    let api = lag::routes(api);
    let api = health::routes(api);
    openapi::routes(api)
}

/// The router, ready to serve: routes, the fallback for what is none, and the edge around all of it.
pub fn router(state: ApiState) -> Router {
    let Api { router, routes, .. } = api();
    let edge = edge::Edge::new(state.clone(), routes.iter().map(|(_, path)| *path));
    router
        .fallback(edge::no_such_route)
        .method_not_allowed_fallback(edge::no_such_method)
        .layer(axum::middleware::from_fn_with_state(edge, edge::around))
        .with_state(state)
}

/// The OpenAPI 3.1 document.
pub fn openapi_document() -> serde_json::Value {
    api().document()
}

/// Serves until `shutdown` completes and the requests in flight are answered. Follows the tenants' topic meanwhile.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let follower = tokio::spawn(tenants::follow(state.clone()));
    // Answers are single small writes: waiting to fill a packet would only add latency.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(shutdown).await;
    follower.abort();
    served
}

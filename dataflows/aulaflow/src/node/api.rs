//! The HTTP server's settings and what it talks to, from the plan and the running parts.

use super::ask::Dataflow;
use super::shares::Shares;
use crate::failure::Misuse;
use crate::tenant_records;
use anyhow::Result;
use aulaflow_engine::Status;
use aulaflow_log::Log;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_query_api::auth::AuthKey;
use aulaflow_query_api::{ApiConfig, ApiState, ConfigError, LagReport, PartitionLag, Parts};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// The running parts of an instance that the server needs.
pub struct Running {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The dataflows and their stores.
    pub shares: Arc<Shares>,
    /// The process's metrics.
    pub registry: Registry,
}

/// The server's state. Reads the tenants' topic: not for an async thread.
pub fn state(plan: &Plan, keys: Vec<AuthKey>, running: Running) -> Result<ApiState> {
    let settings = &plan.runtime;
    let config = ApiConfig {
        body_bytes_max: settings.server.body_bytes_max,
        request_timeout: settings.server.request_timeout,
        append_timeout: settings.log.append_timeout,
        issuer: settings.auth.issuer.clone(),
        audience: settings.auth.audience.clone(),
        ..ApiConfig::new(settings.server.listen, keys)
    };
    let Running { log, shares, registry } = running;
    let live = settings.engine.clock == ClockMode::Live;
    let stale_after = live.then_some(settings.serving.stale_after);
    let (for_lag, for_clock, for_ready) = (Arc::clone(&shares), Arc::clone(&shares), Arc::clone(&shares));
    let served = plan.views.iter().map(|view| view.serve).collect();
    let parts = Parts {
        log,
        stores: shares.stores().clone(),
        registry: Arc::new(Mutex::new(registry)),
        not_ready: Box::new(move || not_ready(&for_ready.status(), stale_after)),
        lag: Box::new(move || lag(for_lag.status(), live)),
        clock: Box::new(
            move || {
                if live { tenant_records::now() } else { for_clock.status().clock.unwrap_or_default() }
            },
        ),
        dataflow: Box::new(Dataflow { shares, served }),
    };
    ApiState::new(config, parts).map_err(|error| match error {
        ConfigError::Log(error) => anyhow::Error::new(error).context("the tenants' configurations cannot be read"),
        error @ (ConfigError::NoKey
        | ConfigError::DuplicateKey(_)
        | ConfigError::DevelopmentKey { .. }
        | ConfigError::Key { .. }) => Misuse::error(error.to_string()),
    })
}

/// Why reads should not come here, if they should not. `stale_after` is for the live clock only: on the event clock the
/// views are as old as the events.
fn not_ready(status: &Status, stale_after: Option<Duration>) -> Option<String> {
    if let Some(reason) = &status.failure {
        return Some(format!("the dataflows have stopped: {reason}"));
    }
    if let Some((loaded, of)) = status.loading {
        return Some(format!("the state is being loaded: {loaded} of about {of} rows"));
    }
    if !status.caught_up {
        return Some("the dataflows are reading what is on the log".to_owned());
    }
    let Some(clock) = status.clock else { return Some("no view is complete yet".to_owned()) };
    let age_ms = tenant_records::now().0.saturating_sub(clock.0);
    let stale = stale_after.is_some_and(|limit| u128::try_from(age_ms).is_ok_and(|age| age > limit.as_millis()));
    stale.then(|| format!("the views are {:.1} s old", age_ms as f64 / 1_000.0))
}

fn lag(status: Status, live: bool) -> LagReport {
    let clock = status.clock.unwrap_or_default();
    let behind_ms = tenant_records::now().0.saturating_sub(clock.0);
    let partitions = status.positions.into_iter().map(|position| PartitionLag {
        topic: position.place.topic,
        partition: position.place.partition,
        visible_offset: position.visible,
        end_offset: position.end,
        lag_records: position.end.saturating_sub(position.visible),
    });
    LagReport {
        clock,
        frontier_lag_seconds: live.then_some(behind_ms as f64 / 1_000.0),
        checkpoint_age_seconds: status.checkpoint_age_ms.map(|age_ms| age_ms as f64 / 1_000.0),
        partitions: partitions.collect(),
    }
}

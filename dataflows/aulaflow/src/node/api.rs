//! The HTTP server's settings and what it talks to, from the plan and the running parts.

use super::ask::Dataflow;
use crate::failure::Misuse;
use crate::tenant_records;
use anyhow::Result;
use aulaflow_engine::{Asker, Monitor, Status, state_name};
use aulaflow_log::{Log, SourceState};
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_query_api::auth::AuthKey;
use aulaflow_query_api::{ApiConfig, ApiState, ConfigError, LagReport, PartitionLag, Parts};
use aulaflow_serving::ReadHalf;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// The running parts of an instance that the server needs.
pub struct Running {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The serving store.
    pub store: ReadHalf,
    /// How far the views are.
    pub monitor: Monitor,
    /// Asks the views.
    pub asker: Asker,
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
        record_bytes_max: settings.engine.record_bytes_max,
        issuer: settings.auth.issuer.clone(),
        audience: settings.auth.audience.clone(),
        ..ApiConfig::new(settings.server.listen, keys)
    };
    let Running { log, store, monitor, asker, registry } = running;
    let live = settings.engine.clock == ClockMode::Live;
    let stale_after = live.then_some(settings.serving.stale_after);
    let (for_lag, for_clock, for_resume) = (monitor.clone(), monitor.clone(), monitor.clone());
    let served = plan.views.iter().map(|view| view.serve).collect();
    let parts = Parts {
        log,
        store,
        registry: Arc::new(Mutex::new(registry)),
        not_ready: Box::new(move || not_ready(&monitor.status(), stale_after)),
        lag: Box::new(move || lag(for_lag.status(), live)),
        clock: Box::new(
            move || {
                if live { tenant_records::now() } else { for_clock.status().clock.unwrap_or_default() }
            },
        ),
        dataflow: Box::new(Dataflow { asker, served, monitor: for_resume }),
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
    // One source that cannot be read makes its own tenants' views old, and nobody else's: only when none can be read is
    // there nothing here that another instance would not show fresher.
    let reasons = || {
        status.positions.iter().filter_map(|position| match &position.state {
            SourceState::Stalled(reason) => Some(reason),
            SourceState::Connecting | SourceState::Live => None,
        })
    };
    if let Some(reason) = reasons().next().filter(|_| reasons().count() == status.positions.len()) {
        return Some(format!("no source can be read: {reason}"));
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
        lag_seconds: position.lag_seconds,
        state: state_name(&position.state),
        reason: match position.state {
            SourceState::Stalled(reason) => Some(reason),
            SourceState::Connecting | SourceState::Live => None,
        },
        idle: position.idle,
    });
    LagReport {
        clock,
        frontier_lag_seconds: live.then_some(behind_ms as f64 / 1_000.0),
        checkpoint_age_seconds: status.checkpoint_age_ms.map(|age_ms| age_ms as f64 / 1_000.0),
        partitions: partitions.collect(),
    }
}

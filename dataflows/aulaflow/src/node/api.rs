//! The HTTP server's settings and what it talks to, from the plan and the running parts.

use super::ask::Dataflow;
use super::replica::{self, Nobody, ReplicaMonitor};
use super::roles::Roles;
use super::shares::Shares;
use crate::failure::Misuse;
use crate::tenant_records;
use anyhow::Result;
use aulaflow_engine::{Status, state_name};
use aulaflow_log::{Log, SourceState};
use aulaflow_model::instant::Millis;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_query_api::auth::AuthKey;
use aulaflow_query_api::{ApiConfig, ApiState, Ask, ConfigError, History, LagReport, PartitionLag, Parts, SinkLag};
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
    /// What the process does.
    pub roles: Roles,
    /// Asks the replica, where it is one.
    pub replica: Option<ReplicaMonitor>,
    /// What is no longer in memory, and analysts' tables.
    pub history: Box<dyn History>,
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
        max_skew: (settings.engine.clock == ClockMode::Live).then_some(settings.engine.max_skew),
        writes: running.roles.edge,
        reads: running.roles.serve,
        ..ApiConfig::new(settings.server.listen, keys)
    };
    let Running { log, shares, roles, replica, history, registry } = running;
    let stores = shares.stores().clone();
    let says = match replica {
        Some(replica) => of_replica(replica, settings.engine.clock),
        None if roles.dataflow => of_dataflows(plan, shares),
        None => of_nothing(),
    };
    let Says { not_ready, lag, clock, dataflow } = says;
    let registry = Arc::new(Mutex::new(registry));
    let parts = Parts { log, stores, registry, not_ready, lag, clock, dataflow, history };
    ApiState::new(config, parts).map_err(|error| match error {
        ConfigError::Log(error) => anyhow::Error::new(error).context("the tenants' configurations cannot be read"),
        error @ (ConfigError::NoKey
        | ConfigError::DuplicateKey(_)
        | ConfigError::DevelopmentKey { .. }
        | ConfigError::Key { .. }) => Misuse::error(error.to_string()),
    })
}

/// What a process says of its views.
struct Says {
    not_ready: Box<dyn Fn() -> Option<String> + Send + Sync>,
    lag: Box<dyn Fn() -> LagReport + Send + Sync>,
    clock: Box<dyn Fn() -> Millis + Send + Sync>,
    dataflow: Box<dyn Ask>,
}

fn of_dataflows(plan: &Plan, shares: Arc<Shares>) -> Says {
    let live = plan.runtime.engine.clock == ClockMode::Live;
    let stale_after = live.then_some(plan.runtime.serving.stale_after);
    let (for_lag, for_clock, for_ready) = (Arc::clone(&shares), Arc::clone(&shares), Arc::clone(&shares));
    let served = plan.views.iter().map(|view| view.serve).collect();
    let clock = move || if live { tenant_records::now() } else { for_clock.status().clock.unwrap_or_default() };
    Says {
        not_ready: Box::new(move || none_ready(&for_ready, stale_after)),
        lag: Box::new(move || lag(for_lag.status(), for_lag.sinks(), live)),
        clock: Box::new(clock),
        dataflow: Box::new(Dataflow { shares, served }),
    }
}

fn of_replica(replica: ReplicaMonitor, mode: ClockMode) -> Says {
    let (for_lag, for_clock) = (Arc::clone(&replica), Arc::clone(&replica));
    let clock = move || match mode {
        ClockMode::Live => tenant_records::now(),
        ClockMode::Event => replica::clock(&for_clock()).unwrap_or_default(),
    };
    Says {
        not_ready: Box::new(move || replica::not_ready(&replica())),
        lag: Box::new(move || replica::lag(for_lag())),
        clock: Box::new(clock),
        dataflow: Box::new(Nobody),
    }
}

/// Of a process that only takes writes: it has nothing to wait for.
fn of_nothing() -> Says {
    let lag = || LagReport {
        clock: tenant_records::now(),
        frontier_lag_seconds: None,
        checkpoint_age_seconds: None,
        partitions: Vec::new(),
        replica: Vec::new(),
        sinks: Vec::new(),
    };
    Says {
        not_ready: Box::new(|| None),
        lag: Box::new(lag),
        clock: Box::new(tenant_records::now),
        dataflow: Box::new(Nobody),
    }
}

/// Why reads should not come here, if they should not: nothing here can be served. Where some of several partitions can,
/// the others' tenants are told so one by one.
fn none_ready(shares: &Shares, stale_after: Option<Duration>) -> Option<String> {
    if let Some(reason) = shares.failure() {
        return Some(reason);
    }
    let reasons: Vec<_> = shares.statuses().iter().map(|status| not_ready(status, stale_after)).collect();
    if reasons.is_empty() {
        return Some(shares.waiting().unwrap_or_else(|| "the dataflows are being started".to_owned()));
    }
    reasons.into_iter().reduce(Option::and).flatten()
}

/// Why an engine's views should not be read, if they should not. `stale_after` is for the live clock only: on the event
/// clock the views are as old as the events.
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
    // Sources that cannot be read are no reason: what is old is better than nothing, and an outage of the log would else
    // take every instance out of service at once. The lag, a metric and an alert tell of it.
    let Some(clock) = status.clock else { return Some("no view is complete yet".to_owned()) };
    let age_ms = tenant_records::now().0.saturating_sub(clock.0);
    let stale = stale_after.is_some_and(|limit| u128::try_from(age_ms).is_ok_and(|age| age > limit.as_millis()));
    stale.then(|| format!("the views are {:.1} s old", age_ms as f64 / 1_000.0))
}

fn lag(status: Status, sinks: Vec<SinkLag>, live: bool) -> LagReport {
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
        replica: Vec::new(),
        sinks,
    }
}

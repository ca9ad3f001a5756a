//! A process without dataflows: its stores follow the changelog, and questions to the dataflows are turned away.

use super::Shares;
use anyhow::{Context as _, Result};
use aulaflow_changelog::{Replica, ReplicaMetrics, ReplicaPartition, ReplicaStart, ReplicaStatus};
use aulaflow_engine::state_name;
use aulaflow_log::{Log, SourceState};
use aulaflow_model::change::ViewIndex;
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::Preview;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::Rule;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_query_api::{Ask, AskFailure, LagReport, PartitionLag, ReplicaLag};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Asks a replica how far it is.
pub type ReplicaMonitor = Arc<dyn Fn() -> ReplicaStatus + Send + Sync>;

/// Starts a replica whose stores answer in the place of engines'.
pub fn start(plan: &Plan, log: &Arc<dyn Log>, shares: &Shares, registry: &mut Registry) -> Result<Replica> {
    let start = ReplicaStart {
        log: Arc::clone(log),
        shown: shares.stores().clone(),
        derived: shares.derived().to_vec(),
        students_expected: plan.runtime.serving.students_expected,
        live: plan.runtime.engine.clock == ClockMode::Live,
        metrics: ReplicaMetrics::new(registry),
    };
    Replica::start(start).context("the changelog cannot be followed")
}

/// Why reads should not come here, if they should not. Staleness is no reason: what is old is better than nothing, and
/// says of when it is.
pub fn not_ready(status: &ReplicaStatus) -> Option<String> {
    if let Some(reason) = &status.failure {
        return Some(reason.clone());
    }
    let read: u64 = status.partitions.iter().map(|partition| partition.visible).sum();
    let end: u64 = status.partitions.iter().map(|partition| partition.end).sum();
    (!status.caught_up).then(|| format!("the changelog is being read: {read} of {end} records"))
}

/// As of when all of it is true; none before every partition has said so.
pub fn clock(status: &ReplicaStatus) -> Option<Millis> {
    status.partitions.iter().map(|partition| partition.as_of).min().flatten()
}

/// What `GET /v1/lag` answers.
pub fn lag(status: ReplicaStatus) -> LagReport {
    let stalest = status.partitions.iter().filter_map(|partition| partition.staleness_seconds).reduce(f64::max);
    let state = match &status.trouble {
        Some(reason) => SourceState::Stalled(reason.clone()),
        None => SourceState::Live,
    };
    let place = |partition: &ReplicaPartition| PartitionLag {
        topic: topic::PROFILES.to_owned(),
        partition: partition.partition,
        visible_offset: partition.visible,
        end_offset: partition.end,
        lag_records: partition.end.saturating_sub(partition.visible),
        lag_seconds: partition.staleness_seconds,
        state: state_name(&state),
        reason: status.trouble.clone(),
        idle: false,
    };
    let as_of = |partition: &ReplicaPartition| ReplicaLag {
        partition: partition.partition,
        as_of: partition.as_of,
        staleness_seconds: partition.staleness_seconds,
    };
    LagReport {
        clock: clock(&status).unwrap_or_default(),
        frontier_lag_seconds: stalest,
        checkpoint_age_seconds: None,
        partitions: status.partitions.iter().map(place).collect(),
        replica: status.partitions.iter().map(as_of).collect(),
        sinks: Vec::new(),
    }
}

/// Nobody to ask: there are no dataflows in this process.
pub struct Nobody;

impl Ask for Nobody {
    fn grade(
        &self,
        _tenant: &TenantId,
        _student: &StudentId,
        _subject: &Subject,
        _period: &PeriodId,
        _timeout: Duration,
    ) -> Result<Option<GradeExplanation>, AskFailure> {
        Err(AskFailure::ServesOnly)
    }

    fn feature(
        &self,
        _tenant: &TenantId,
        _student: &StudentId,
        _view: ViewIndex,
        _timeout: Duration,
    ) -> Result<Option<FeatureExplanation>, AskFailure> {
        Err(AskFailure::ServesOnly)
    }

    fn preview(&self, _tenant: &TenantId, _rule: &Rule, _timeout: Duration) -> Result<Preview, AskFailure> {
        Err(AskFailure::ServesOnly)
    }

    fn compared(&self, _kind: &'static str, _agrees: bool) {}
}

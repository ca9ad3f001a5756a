//! What a bridge says of itself: its state, why it does not go on, how many records wait on the log.

use crate::raw::Raw;
use crate::status::SinkState;
use aulaflow_log::TopicPartition;
use aulaflow_model::share::Share;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::{Duration, Instant};

/// `table` and `outcome`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CopiedLabels {
    /// The table.
    pub table: &'static str,
    /// `written`; `mended`: rows that ClickHouse had lost or had twice; `unusable`: it is a dead letter; `expired`: its retention
    /// was over; `lost`: the log had removed it before it was copied.
    pub outcome: &'static str,
}

/// `topic` and `partition`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PlaceLabels {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
}

/// What the bridges of a process count.
#[derive(Debug, Clone, Default)]
pub struct BridgeMetrics {
    /// Records by what became of them.
    pub records: Family<CopiedLabels, Counter>,
    /// Offsets that are not copied yet.
    pub lag: Family<PlaceLabels, Gauge>,
}

impl BridgeMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Records of the log by what became of them on their way to ClickHouse";
        registry.register("clickhouse_bridge_records", help, metrics.records.clone());
        let help = "Offsets of the log that are not copied to ClickHouse yet";
        registry.register("clickhouse_bridge_lag_records", help, metrics.lag.clone());
        metrics
    }

    pub(super) fn count(&self, raw: Raw, outcome: &'static str, records: u64) {
        if records > 0 {
            self.records.get_or_create(&CopiedLabels { table: raw.name(), outcome }).inc_by(records);
        }
    }

    /// How many records of a table had an outcome.
    pub fn counted(&self, raw: Raw, outcome: &'static str) -> u64 {
        self.records.get_or_create(&CopiedLabels { table: raw.name(), outcome }).get()
    }
}

/// How far a bridge is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeStatus {
    /// Whose records.
    pub share: Share,
    /// What it does.
    pub state: SinkState,
    /// Why it does not go on.
    pub reason: Option<String>,
    /// Offsets of the log that are not copied yet.
    pub records: u64,
    /// Offsets that are behind it.
    pub passed: u64,
    /// Since when there were always some, about.
    pub lag: Duration,
}

/// The place where a bridge writes how far it is.
pub(super) struct Board {
    share: Share,
    metrics: BridgeMetrics,
    inner: Mutex<Inner>,
}

struct Inner {
    state: SinkState,
    reason: Option<String>,
    records: u64,
    passed: u64,
    /// When everything was copied last.
    level: Instant,
}

impl Board {
    pub(super) fn new(share: Share, metrics: BridgeMetrics) -> Self {
        let inner = Inner { state: SinkState::Starting, reason: None, records: 0, passed: 0, level: Instant::now() };
        Self { share, metrics, inner: Mutex::new(inner) }
    }

    /// What it does now, and why. A change is logged once.
    pub(super) fn state(&self, state: SinkState, reason: Option<&str>) {
        let share = self.share;
        let mut inner = self.inner.lock();
        if inner.state != state {
            match (state, reason) {
                (SinkState::Stalled | SinkState::Ousted, Some(reason)) => {
                    tracing::error!(%share, reason, "the log is not copied to ClickHouse ({})", state.name());
                }
                (SinkState::Retrying, Some(reason)) => {
                    tracing::warn!(%share, reason, "the log is not copied to ClickHouse: trying again");
                }
                (state, reason) => tracing::debug!(%share, reason, "the bridge to ClickHouse is {}", state.name()),
            }
        }
        (inner.state, inner.reason) = (state, reason.map(str::to_owned));
    }

    /// Of each partition what is copied, and what waits.
    pub(super) fn waiting<'a>(&self, places: impl Iterator<Item = (&'a TopicPartition, u64, u64)>) {
        let (mut all, mut passed) = (0, 0);
        for (place, next, waits) in places {
            passed += next;
            let labels = PlaceLabels { topic: place.topic.clone(), partition: place.partition };
            self.metrics.lag.get_or_create(&labels).set(i64::try_from(waits).unwrap_or(i64::MAX));
            all += waits;
        }
        let mut inner = self.inner.lock();
        (inner.records, inner.passed) = (all, passed);
        if all == 0 {
            inner.level = Instant::now();
        }
    }

    pub(super) fn status(&self) -> BridgeStatus {
        let inner = self.inner.lock();
        let lag =
            if inner.records == 0 && inner.state == SinkState::Live { Duration::ZERO } else { inner.level.elapsed() };
        let reason = inner.reason.clone();
        BridgeStatus {
            share: self.share,
            state: inner.state,
            reason,
            records: inner.records,
            passed: inner.passed,
            lag,
        }
    }
}

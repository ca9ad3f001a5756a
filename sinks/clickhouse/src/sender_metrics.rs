//! What the senders count. No student, no tenant.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// `outcome`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `written`; `mended` (they were there in another number than sent, and were replaced).
    pub outcome: &'static str,
}

/// `sink` and `share`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    /// `clickhouse`.
    pub sink: &'static str,
    /// Which partitions: `all`, or a number.
    pub share: String,
}

/// `share` and `state`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// Which partitions: `all`, or a number.
    pub share: String,
    /// As [`crate::SinkState`] says.
    pub state: &'static str,
}

/// What the senders of a process count.
#[derive(Debug, Clone, Default)]
pub struct SenderMetrics {
    /// Rows that ClickHouse has.
    pub rows: Family<OutcomeLabels, Counter>,
    /// Statements that were sent again.
    pub retries: Counter,
    /// How long the oldest rows wait.
    pub lag: Family<SinkLabels, Gauge<f64, AtomicU64>>,
    /// 1 for the state that a sender is in.
    pub state: Family<StateLabels, Gauge>,
}

impl SenderMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("clickhouse_rows", "Rows that ClickHouse has acknowledged", metrics.rows.clone());
        let help = "Statements to ClickHouse that failed and were sent again";
        registry.register("clickhouse_retries", help, metrics.retries.clone());
        let help = "How long the oldest rows wait to be sent, about";
        registry.register_with_unit("sink_lag", help, Unit::Seconds, metrics.lag.clone());
        registry.register("clickhouse_state", "1 for the state that the sink is in", metrics.state.clone());
        metrics
    }
}

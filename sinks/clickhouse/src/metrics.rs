//! What recorders count. No student and no unbounded label.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// `share`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShareLabels {
    /// Which partitions: `all`, or a number.
    pub share: String,
}

/// What the recorders of a process count.
#[derive(Debug, Clone, Default)]
pub struct RecorderMetrics {
    /// Rows of differences put into blocks.
    pub differences: Counter,
    /// Blocks that wait to be sent.
    pub outbox_blocks: Family<ShareLabels, Gauge>,
    /// Bytes of them.
    pub outbox_bytes: Family<ShareLabels, Gauge>,
    /// Changes that wait to be recorded.
    pub waiting: Family<ShareLabels, Gauge>,
    /// Students that the comparison under way still has to look at; 0 where none is.
    pub comparing: Family<ShareLabels, Gauge>,
}

impl RecorderMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Rows of differences recorded for ClickHouse";
        registry.register("clickhouse_differences", help, metrics.differences.clone());
        let help = "Blocks that wait to be sent to ClickHouse";
        registry.register("clickhouse_outbox_blocks", help, metrics.outbox_blocks.clone());
        let help = "Size of the blocks that wait to be sent to ClickHouse";
        registry.register_with_unit("clickhouse_outbox", help, Unit::Bytes, metrics.outbox_bytes.clone());
        let help = "Changed rows that wait to be recorded for ClickHouse";
        registry.register("clickhouse_waiting", help, metrics.waiting.clone());
        let help = "Students whose rows are still to be compared with what was recorded for ClickHouse";
        registry.register("clickhouse_comparing", help, metrics.comparing.clone());
        metrics
    }
}

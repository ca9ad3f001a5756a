//! What writers and replicas count. No student and no unbounded label.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// `kind`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// `profile`, `cohort`, `watermark`.
    pub kind: &'static str,
}

/// `share`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShareLabels {
    /// Which partitions: `all`, or a number.
    pub share: String,
}

/// `reason`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// `format` (a version or kind that is not known), `damaged`, `view` (a row of a view that is not known).
    pub reason: &'static str,
}

/// `partition`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    /// The partition.
    pub partition: u32,
}

/// What the writers of a process count.
#[derive(Debug, Clone, Default)]
pub struct WriterMetrics {
    /// Records written.
    pub records: Family<KindLabels, Counter>,
    /// Keys that wait to be written.
    pub waiting: Family<ShareLabels, Gauge>,
}

impl WriterMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("changelog_records", "Records written to the changelog", metrics.records.clone());
        let help = "Profiles and cohorts that changed and wait to be written to the changelog";
        registry.register("changelog_waiting", help, metrics.waiting.clone());
        metrics
    }
}

/// What a replica counts.
#[derive(Debug, Clone, Default)]
pub struct ReplicaMetrics {
    /// Records applied.
    pub records: Family<KindLabels, Counter>,
    /// What was passed over.
    pub skipped: Family<ReasonLabels, Counter>,
    /// By how much a partition's watermark is behind the wall clock.
    pub staleness: Family<PartitionLabels, Gauge<f64, AtomicU64>>,
}

impl ReplicaMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("replica_records", "Records of the changelog that were applied", metrics.records.clone());
        let help = "Records of the changelog, or rows of them, that were passed over";
        registry.register("replica_skipped", help, metrics.skipped.clone());
        let help = "By how much the profiles of a partition are behind the wall clock";
        registry.register_with_unit("replica_staleness", help, Unit::Seconds, metrics.staleness.clone());
        metrics
    }
}

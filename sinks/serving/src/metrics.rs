//! The store's metrics, taken when they are asked for.

use crate::Stores;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

pub(crate) struct StoreMetrics(pub(crate) Stores);

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreMetrics")
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let students = ConstGauge::new(i64::try_from(self.0.students()).unwrap_or(i64::MAX));
        students.encode(encoder.encode_descriptor(
            "serving_students",
            "Students with a profile in memory",
            None,
            students.metric_type(),
        )?)?;
        let frontier = ConstGauge::new(self.0.frontier().clock().0 as f64 / 1000.0);
        frontier.encode(encoder.encode_descriptor(
            "serving_frontier_seconds",
            "Everything before this instant (Unix time) is visible in profiles",
            None,
            frontier.metric_type(),
        )?)
    }
}

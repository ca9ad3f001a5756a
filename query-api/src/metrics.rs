//! The edge's metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecordLabels {
    topic: &'static str,
    outcome: &'static str,
}

/// Upper bounds in seconds: reads take tens of microseconds, writes wait for a disk.
const BUCKETS: [f64; 16] =
    [50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone)]
struct RequestHistogram;

impl MetricConstructor<Histogram> for RequestHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

pub(crate) struct ApiMetrics {
    requests: Family<RequestLabels, Histogram, RequestHistogram>,
    records: Family<RecordLabels, Counter>,
}

impl ApiMetrics {
    /// Makes the metrics and adds them to a registry, whose prefix they take.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::new_with_constructor(RequestHistogram), records: Family::default() };
        registry.register_with_unit(
            "http_request_duration",
            "Time from the request's head to the answer's, by route pattern",
            Unit::Seconds,
            metrics.requests.clone(),
        );
        registry.register(
            "http_records",
            "Records received over HTTP: accepted (durable on the log), refused (not valid), failed (the log did not \
             confirm them)",
            metrics.records.clone(),
        );
        metrics
    }

    pub(crate) fn observe_request(&self, route: &'static str, method: &'static str, status: u16, seconds: f64) {
        self.requests.get_or_create(&RequestLabels { route, method, status }).observe(seconds);
    }

    pub(crate) fn count_records(&self, topic: &'static str, outcome: &'static str, n: usize) {
        if n > 0 {
            self.records.get_or_create(&RecordLabels { topic, outcome }).inc_by(n as u64);
        }
    }
}

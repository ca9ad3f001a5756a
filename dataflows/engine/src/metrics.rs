//! The engine's metrics. No student and no unbounded label.

use aulaflow_log::SourceState;
use aulaflow_state::Committed;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// `topic`, `outcome`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RecordLabels {
    /// The topic.
    pub topic: &'static str,
    /// `accepted`, `duplicate`, `dead`.
    pub outcome: &'static str,
}

/// `view`, `output`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeftOutLabels {
    /// The view.
    pub view: String,
    /// Its output.
    pub output: String,
}

/// `topic`, `error_class`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeadLabels {
    /// The topic.
    pub topic: &'static str,
    /// See `dead_letters::Class`.
    pub error_class: &'static str,
}

/// `topic`, `partition`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
}

/// `topic`, `partition`, `state`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceStateLabels {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// `connecting`, `live`, `stalled`.
    pub state: &'static str,
}

/// The names of the states of a source.
const STATES: [&str; 3] = ["connecting", "live", "stalled"];

/// A state's name in metrics and answers.
pub fn state_name(state: &SourceState) -> &'static str {
    match state {
        SourceState::Connecting => STATES[0],
        SourceState::Live => STATES[1],
        SourceState::Stalled(_) => STATES[2],
    }
}

/// `dataflow`, `operator`, `share`, `worker`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperatorLabels {
    /// The dataflow.
    pub dataflow: &'static str,
    /// The operator.
    pub operator: &'static str,
    /// Which partitions: `all`, or a number.
    pub share: String,
    /// The worker.
    pub worker: u32,
}

/// `kind`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExplainLabels {
    /// `grade`, `feature`.
    pub kind: &'static str,
}

/// `share`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShareLabels {
    /// Which partitions: `all`, or a number.
    pub share: String,
}

/// A gauge of seconds.
pub type SecondsGauge = Gauge<f64, AtomicU64>;

/// Everything that the engine counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records read, by outcome.
    pub records: Family<RecordLabels, Counter>,
    /// Dead letters.
    pub dead: Family<DeadLabels, Counter>,
    /// Expressions of views' outputs that had no value: they show null.
    pub output_errors: Counter,
    /// Events that an output's aggregate leaves out since its argument has no value for them.
    pub left_out: Family<LeftOutLabels, Counter>,
    /// Behaviour events older than every window.
    pub late: Family<PartitionTopic, Counter>,
    /// Records on the log that are not visible yet.
    pub lag_records: Family<PartitionLabels, Gauge>,
    /// How long the oldest of them has been there.
    pub lag_seconds: Family<PartitionLabels, SecondsGauge>,
    /// 1 for the state that a source is in.
    pub source_state: Family<SourceStateLabels, Gauge>,
    /// How often a source was stopped because its error budget was spent.
    pub source_stalls: Family<PartitionLabels, Counter>,
    /// The clock as of which the views are true.
    pub clock: Family<ShareLabels, SecondsGauge>,
    /// Wall clock less that clock.
    pub frontier_lag: Family<ShareLabels, SecondsGauge>,
    /// From the log's timestamp to visible, sampled per stored batch.
    pub freshness: Histogram,
    /// State sizes.
    pub arrangement: Family<OperatorLabels, Gauge>,
    /// Seconds since the last checkpoint.
    pub checkpoint_age: Family<ShareLabels, SecondsGauge>,
    /// How long writing a checkpoint takes.
    pub checkpoint: Histogram,
    /// Rows written by checkpoints.
    pub checkpoint_rows: Counter,
    /// Bytes written by checkpoints.
    pub checkpoint_bytes: Counter,
    /// Segments of the last checkpoint.
    pub checkpoint_segments: Family<ShareLabels, Gauge>,
    /// Bytes written by merging segments.
    pub compaction_bytes: Counter,
    /// Seconds that checkpoints waited for merges.
    pub compaction_wait: Counter<f64, AtomicU64>,
    /// Rows loaded at starts.
    pub restored_rows: Counter,
    /// How long loading them took at the last start.
    pub restore: Family<ShareLabels, SecondsGauge>,
    /// Retractions of what was never there: a bug.
    pub negative: Counter,
    /// Explanations compared with what is shown.
    pub explain_samples: Family<ExplainLabels, Counter>,
    /// Those that differed: a bug.
    pub explain_disagreements: Family<ExplainLabels, Counter>,
    /// Evaluations whose type the rule does not weigh, counted when a grade is computed with them.
    pub unweighted: Counter,
}

/// `topic`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionTopic {
    /// The topic.
    pub topic: &'static str,
}

impl Metrics {
    /// Registers all; the registry gives them the prefix `aulaflow_`.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];
        let metrics = Self {
            records: Family::default(),
            dead: Family::default(),
            output_errors: Counter::default(),
            left_out: Family::default(),
            late: Family::default(),
            lag_records: Family::default(),
            lag_seconds: Family::default(),
            source_state: Family::default(),
            source_stalls: Family::default(),
            clock: Family::default(),
            frontier_lag: Family::default(),
            freshness: Histogram::new(seconds),
            arrangement: Family::default(),
            checkpoint_age: Family::default(),
            checkpoint: Histogram::new(seconds),
            checkpoint_rows: Counter::default(),
            checkpoint_bytes: Counter::default(),
            checkpoint_segments: Family::default(),
            compaction_bytes: Counter::default(),
            compaction_wait: Counter::default(),
            restored_rows: Counter::default(),
            restore: Family::default(),
            negative: Counter::default(),
            explain_samples: Family::default(),
            explain_disagreements: Family::default(),
            unweighted: Counter::default(),
        };
        let r = registry;
        r.register("source_records", "Records read from the log, by outcome", metrics.records.clone());
        r.register("dlq_records", "Records written to dead-letter topics", metrics.dead.clone());
        let failed = "Expressions of views' outputs that had no value (a division by zero, a bad cast): they show null";
        r.register("output_errors", failed, metrics.output_errors.clone());
        let left_out = "Events that an output's aggregate leaves out since its argument has no value for them";
        r.register("values_left_out", left_out, metrics.left_out.clone());
        r.register("late_records", "Behaviour events older than every window that reads them", metrics.late.clone());
        metrics.register_sources(r);
        r.register_with_unit(
            "clock",
            "The instant as of which the views are true",
            Unit::Seconds,
            metrics.clock.clone(),
        );
        r.register_with_unit(
            "frontier_lag",
            "Wall clock less the instant as of which the views are true",
            Unit::Seconds,
            metrics.frontier_lag.clone(),
        );
        r.register_with_unit("freshness", "From accepted to visible", Unit::Seconds, metrics.freshness.clone());
        r.register("arrangement_records", "Entries that an operator keeps", metrics.arrangement.clone());
        r.register_with_unit(
            "checkpoint_age",
            "Since the last checkpoint was written",
            Unit::Seconds,
            metrics.checkpoint_age.clone(),
        );
        metrics.register_state(r);
        r.register("negative_multiplicity", "Retractions of what was never there: a bug", metrics.negative.clone());
        metrics.register_explain(r);
        r.register(
            "unweighted_evaluations",
            "Evaluations of a type that the rule does not weigh, each time a grade is computed with one",
            metrics.unweighted.clone(),
        );
        metrics
    }

    fn register_state(&self, r: &mut Registry) {
        r.register_with_unit("checkpoint", "Time to write a checkpoint", Unit::Seconds, self.checkpoint.clone());
        r.register("checkpoint_rows", "Rows written by checkpoints", self.checkpoint_rows.clone());
        r.register_with_unit("checkpoint", "Written by checkpoints", Unit::Bytes, self.checkpoint_bytes.clone());
        r.register("checkpoint_segments", "Segments of the last checkpoint", self.checkpoint_segments.clone());
        let merged = "Written by merging the segments of checkpoints";
        r.register_with_unit("compaction", merged, Unit::Bytes, self.compaction_bytes.clone());
        let waited = "Time that checkpoints waited since merging was far behind";
        r.register_with_unit("compaction_wait", waited, Unit::Seconds, self.compaction_wait.clone());
        r.register("restored_rows", "Rows of the state loaded at starts", self.restored_rows.clone());
        r.register_with_unit(
            "restore",
            "Time to load the state at the last start",
            Unit::Seconds,
            self.restore.clone(),
        );
    }

    /// Counts a checkpoint.
    pub fn committed(&self, share: &ShareLabels, took: Duration, committed: &Committed) {
        self.checkpoint.observe(took.as_secs_f64());
        self.checkpoint_rows.inc_by(committed.rows);
        self.checkpoint_bytes.inc_by(committed.bytes);
        self.checkpoint_segments.get_or_create(share).set(committed.segments as i64);
        self.compaction_bytes.inc_by(committed.compacted_bytes);
        self.compaction_wait.inc_by(committed.waited.as_secs_f64());
    }

    /// Counts a state that was loaded.
    pub fn restored(&self, share: &ShareLabels, took: Duration, rows: u64) {
        self.restored_rows.inc_by(rows);
        self.restore.get_or_create(share).set(took.as_secs_f64());
    }

    /// Counts records that were refused before they were on the log, and kept as dead letters.
    pub fn refused(&self, topic: &'static str, error_class: &'static str, count: usize) {
        self.dead.get_or_create(&DeadLabels { topic, error_class }).inc_by(count as u64);
    }

    /// Counts an explanation that was compared with what is shown.
    pub fn compared(&self, kind: &'static str, agrees: bool) {
        let labels = ExplainLabels { kind };
        self.explain_samples.get_or_create(&labels).inc();
        let disagreements = self.explain_disagreements.get_or_create(&labels);
        if !agrees {
            disagreements.inc();
        }
    }

    fn register_sources(&self, r: &mut Registry) {
        r.register("source_lag_records", "Records on the log that no view shows yet", self.lag_records.clone());
        let oldest = "How long the oldest record that no view shows yet has been on the log";
        r.register_with_unit("source_lag", oldest, Unit::Seconds, self.lag_seconds.clone());
        r.register("source_state", "1 for the state that reading a partition is in", self.source_state.clone());
        let stalls = "How often a partition was not read on because its error budget was spent";
        r.register("source_stalls", stalls, self.source_stalls.clone());
    }

    /// Sets the state of a source.
    pub fn source_state(&self, place: &PartitionLabels, state: &SourceState) {
        let now = state_name(state);
        for state in STATES {
            let labels = SourceStateLabels { topic: place.topic, partition: place.partition, state };
            self.source_state.get_or_create(&labels).set(i64::from(state == now));
        }
    }

    fn register_explain(&self, r: &mut Registry) {
        // There from the start, so that an alert sees a 0 turn into a 1.
        for kind in ["grade", "feature"] {
            drop(self.explain_disagreements.get_or_create(&ExplainLabels { kind }));
        }
        r.register("explain_samples", "Explanations compared with the rows shown", self.explain_samples.clone());
        r.register(
            "explain_disagreements",
            "Explanations that differ from the rows shown: a bug",
            self.explain_disagreements.clone(),
        );
    }
}

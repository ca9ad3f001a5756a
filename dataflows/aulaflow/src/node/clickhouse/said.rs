//! What the log said, in ClickHouse beside an engine: a bridge for each share, and one keeper that removes what is old. What a
//! bridge and a keeper do, is the sink's business; here is what they are started with.

use crate::kafka_settings::kafka_config;
use crate::tenant_records::now;
use anyhow::Result;
use aulaflow_clickhouse::{
    Bridge, BridgeLimits, BridgeMetrics, BridgeStart, Clocks, Keeper, KeeperStart, KeptDays, Making, MaybeNow,
    PseudonymKeys, RetentionMetrics, RetentionPolicy, Server, Uuid,
};
use aulaflow_log::kafka::KafkaConfig;
use aulaflow_log::{KafkaLog, Log};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::{self, ClickHouseRetention, ClockMode, Runtime};
use aulaflow_query_api::SinkLag;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The bridge's name in answers.
const BRIDGE: &str = "clickhouse-log";
/// How often it is looked whether another day has begun.
const DAY_LOOK: Duration = Duration::from_secs(10);
/// The bridge reads beside the dataflows, which come first: it has this part of what they read ahead.
const READ_AHEAD_PART: usize = 4;

/// What the bridges of all shares have in common.
pub struct Said {
    log: Arc<dyn Log>,
    runtime: Runtime,
    making: Making,
    metrics: BridgeMetrics,
    retention_metrics: RetentionMetrics,
    /// The clock of the views, once there are any: for the event clock.
    clock: Arc<OnceLock<MaybeNow>>,
    /// A log in Kafka, opened once more: a partition has one reader per handle.
    own_log: Mutex<Option<Arc<dyn Log>>>,
}

impl Said {
    /// Reaches for nothing yet.
    pub fn new(plan: &Plan, log: &Arc<dyn Log>, keys: &Arc<PseudonymKeys>, registry: &mut Registry) -> Self {
        let settings = &plan.runtime.clickhouse_sink;
        let clock: Arc<OnceLock<MaybeNow>> = Arc::default();
        let events = match plan.runtime.engine.clock {
            ClockMode::Live => None,
            ClockMode::Event => {
                let clock = Arc::clone(&clock);
                Some(Arc::new(move || clock.get().and_then(|clock| clock())) as MaybeNow)
            }
        };
        Self {
            log: Arc::clone(log),
            runtime: plan.runtime.clone(),
            making: Making {
                keys: Arc::clone(keys),
                retention: Arc::new(policy(&settings.retention)),
                clocks: Clocks { wall: Arc::new(now), events },
                record_bytes_max: plan.runtime.engine.record_bytes_max,
                free_text: !settings.leave_out_free_text,
            },
            metrics: BridgeMetrics::new(registry),
            retention_metrics: RetentionMetrics::new(registry),
            clock,
            own_log: Mutex::default(),
        }
    }

    /// Where the clock of the views is to be asked.
    pub fn clock_is(&self, clock: impl Fn() -> Option<Millis> + Send + Sync + 'static) {
        // There is one set of engines in a process.
        let _ = self.clock.set(Arc::new(clock));
    }

    /// Starts a share's bridge.
    pub fn start(&self, share: Share, server: &Arc<Server>, writer: Uuid, alone: bool) -> Result<Bridge> {
        let settings = &self.runtime.clickhouse_sink;
        let limits = BridgeLimits {
            rows_max: settings.block_rows as u64,
            bytes_max: settings.block_bytes,
            ..BridgeLimits::default()
        };
        Ok(Bridge::start(BridgeStart {
            share,
            log: self.own_log()?,
            server: Arc::clone(server),
            making: self.making.clone(),
            writer,
            alone,
            limits,
            metrics: self.metrics.clone(),
            at: aulaflow_state::crash_point,
        })?)
    }

    /// Starts what removes what is old.
    pub fn keep(&self, server: &Arc<Server>) -> Result<Keeper> {
        Ok(Keeper::start(KeeperStart {
            server: Arc::clone(server),
            retention: Arc::clone(&self.making.retention),
            clocks: self.making.clocks.clone(),
            metrics: self.retention_metrics.clone(),
            look_every: DAY_LOOK,
        })?)
    }

    /// A log that nobody else follows with the same handle. The embedded one has any number of readers.
    fn own_log(&self) -> Result<Arc<dyn Log>> {
        let Some(config) = kafka_config(&self.runtime)? else { return Ok(Arc::clone(&self.log)) };
        let mut own = self.own_log.lock();
        if let Some(log) = &*own {
            return Ok(Arc::clone(log));
        }
        let topics: Vec<String> = topic::TOPICS
            .iter()
            .filter(|topic| topic.copied)
            .map(|topic| topic.name.to_owned())
            .chain(topic::SOURCES.map(topic::dead_letters))
            .collect();
        let config = KafkaConfig {
            followed: topics.len(),
            read_ahead_bytes_max: config.read_ahead_bytes_max / READ_AHEAD_PART,
            topics,
            ..config
        };
        let log: Arc<dyn Log> = Arc::new(KafkaLog::open(config)?);
        *own = Some(Arc::clone(&log));
        Ok(log)
    }
}

fn policy(settings: &ClickHouseRetention) -> RetentionPolicy {
    let of = |days: &runtime::KeptDays| {
        let runtime::KeptDays { behavior, service_events, dead_letters } = *days;
        KeptDays { behavior, service_events, dead_letters }
    };
    let tenants = settings.tenants.iter().map(|(tenant, days)| (tenant.as_str().to_owned(), of(days)));
    RetentionPolicy { default: of(&settings.default), tenants: tenants.collect() }
}

/// How far a bridge is.
pub fn lag(bridge: &Bridge) -> SinkLag {
    let status = bridge.status();
    SinkLag {
        sink: BRIDGE,
        share: status.share.to_string(),
        state: status.state.name(),
        reason: status.reason,
        lag_seconds: status.lag.as_secs_f64(),
        waiting_blocks: 0,
        waiting_bytes: 0,
        waiting_records: status.records,
    }
}

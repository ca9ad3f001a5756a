//! ClickHouse as a sink of an instance: how its parts are put together, how far they are, and in which order they end. Where the server is, is `crate::clickhouse`'s business. A ClickHouse that is missing, or tables that are
//! not as they should be, never stop an engine: what is recorded waits.

mod said;

use super::sinks::{Parts, RunningSink, Sink};
use crate::clickhouse::ClickHouseEndpoint;
use anyhow::{Context, Result};
use aulaflow_clickhouse::{
    Access, Bridge, Keeper, Limits, Pace, PseudonymKeys, ReadLimits, Reader, Recorder, RecorderMetrics, RecorderStart,
    Sender, SenderMetrics, SenderStart, Server, SinkState, Tables, TablesBy, Whereabouts,
};
use aulaflow_log::Log;
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::{ClickHouseKind, ClickHouseReads, ClickHouseSink, LogKind, Runtime};
use aulaflow_query_api::SinkLag;
use aulaflow_serving::ReadHalf;
use prometheus_client::registry::Registry;
use said::Said;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The name that a checkpoint keeps its mark under, and the sink's in answers.
const NAME: &str = "clickhouse";
/// How long a start waits to hear who wrote last. Without it all rows are compared later.
const CLAIM_WAIT: Duration = Duration::from_secs(3);
/// What an insert takes, and more.
const MOMENT: Duration = Duration::from_secs(2);

/// What the sinks of all shares have in common.
pub struct Analytics {
    server: Arc<Server>,
    keys: Arc<PseudonymKeys>,
    log: Arc<dyn Log>,
    metrics: RecorderMetrics,
    settings: ClickHouseSink,
    dir: PathBuf,
    /// No other process can have our shares.
    alone: bool,
    /// What the log said.
    said: Said,
}

/// The sink of one share.
pub struct Recording {
    recorder: Recorder,
    sender: Sender,
    bridge: Bridge,
    drain: Duration,
    block_age: Duration,
}

/// Where the tenants' pseudonym keys are.
pub fn keys_dir(runtime: &Runtime) -> PathBuf {
    runtime.clickhouse_sink.pseudonym_keys.clone().unwrap_or_else(|| runtime.data_dir.join("pseudonym-keys"))
}

/// Where it is remembered which columns the history has.
pub fn columns_file(runtime: &Runtime) -> PathBuf {
    runtime.data_dir.join("analytics").join("columns.json")
}

/// How our connections reach it.
pub fn access(endpoint: &ClickHouseEndpoint, timeout: Duration) -> Access {
    let ClickHouseEndpoint { url, database, user, password } = endpoint.clone();
    let password = Some(password).filter(|password| !password.is_empty());
    Access { url, database, user: Some(user), password, timeout }
}

impl Analytics {
    /// The sink where there is a ClickHouse. Reaches for nothing yet.
    pub fn open(
        plan: &Plan,
        endpoint: Option<&ClickHouseEndpoint>,
        log: &Arc<dyn Log>,
        registry: &mut Registry,
    ) -> Result<Option<Self>> {
        let Some(endpoint) = endpoint else { return Ok(None) };
        let settings = &plan.runtime.clickhouse_sink;
        let by = match plan.runtime.clickhouse.kind {
            ClickHouseKind::Off | ClickHouseKind::Server { .. } => TablesBy::Somebody,
            ClickHouseKind::Embedded { .. } => TablesBy::Us,
        };
        let access = access(endpoint, settings.insert_timeout);
        // An embedded one that is started again is where it was.
        let at: Whereabouts = Arc::new(move || Ok(access.clone()));
        let tables = Arc::new(Tables::of(plan).context("the views cannot be kept in ClickHouse")?);
        let keys = Arc::new(PseudonymKeys::open(&keys_dir(&plan.runtime))?);
        let alone = match plan.runtime.log.kind {
            LogKind::Embedded => true,
            LogKind::Kafka(_) => false,
        };
        Ok(Some(Self {
            server: Server::remembering(
                at,
                tables,
                by,
                (Pace::default(), SenderMetrics::new(registry)),
                Some(columns_file(&plan.runtime)),
            ),
            said: Said::new(plan, log, &keys, registry),
            keys,
            log: Arc::clone(log),
            metrics: RecorderMetrics::new(registry),
            settings: settings.clone(),
            dir: plan.runtime.data_dir.join("analytics"),
            alone,
        }))
    }

    /// Reads for people, from the same place and with the same keys.
    pub fn reader(&self, limits: &ClickHouseReads) -> Reader {
        let ClickHouseReads { sql_timeout, sql_rows_max, sql_memory_max } = *limits;
        let limits = ReadLimits { sql_timeout, sql_rows_max: u64::from(sql_rows_max), sql_memory_max };
        Reader::new(self.server.at(), Arc::clone(self.server.tables()), Arc::clone(&self.keys), limits)
    }

    /// Where the clock of the views is to be asked, for an instance on the clock of its events.
    pub fn clock_is(&self, clock: impl Fn() -> Option<Millis> + Send + Sync + 'static) {
        self.said.clock_is(clock);
    }

    /// Starts what removes rows whose retention is over.
    pub fn keep(&self) -> Result<Keeper> {
        self.said.keep(&self.server)
    }
}

impl Sink for Analytics {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, share: Share, store: &ReadHalf, parts: &mut Parts) -> Result<Box<dyn RunningSink>> {
        let settings = &self.settings;
        let limits = Limits {
            block_rows_max: settings.block_rows,
            block_bytes_max: settings.block_bytes,
            block_age_max: settings.block_age,
            outbox_bytes_max: settings.outbox_bytes_max,
            ..Limits::default()
        };
        let (recorder, queues) = Recorder::start(RecorderStart {
            share,
            dir: self.dir.join(share.to_string()),
            tables: Arc::clone(self.server.tables()),
            store: store.clone(),
            workers: parts.fanouts.len(),
            keys: Arc::clone(&self.keys),
            limits,
            metrics: self.metrics.clone(),
            at: aulaflow_state::crash_point,
        })?;
        let log = Arc::clone(&self.log);
        let is_ours = move |tenant: &str| {
            // A log that cannot say whose a tenant is: it is not touched then.
            log.partition_of(topic::BEHAVIOR, tenant).is_ok_and(|partition| share.has(partition))
        };
        let sender = Sender::start(SenderStart {
            share,
            recorder: recorder.handle(),
            server: Arc::clone(&self.server),
            is_ours: Arc::new(is_ours),
            alone: self.alone,
            claim_wait: CLAIM_WAIT,
            at: aulaflow_state::crash_point,
        })?;
        // Of one local store there is one process at a time.
        let writer = recorder.handle().outbox().writer();
        let bridge = self.said.start(share, &self.server, writer, self.alone)?;
        parts.add(queues);
        parts.participants.push((NAME.to_owned(), Arc::new(recorder.handle())));
        let (drain, block_age) = (settings.drain_timeout, settings.block_age);
        Ok(Box::new(Recording { recorder, sender, bridge, drain, block_age }))
    }
}

impl Recording {
    fn lag(&self) -> SinkLag {
        let status = self.sender.status();
        let (state, reason) = match self.recorder.handle().failure() {
            Some(reason) => ("failed", Some(reason)),
            None => match self.recorder.handle().trouble() {
                // Both are in the way: what the recorder waits for may be the sender.
                Some(trouble) => {
                    ("held", Some(status.reason.map_or(trouble.clone(), |why| format!("{trouble}; {why}"))))
                }
                None => (status.state.name(), status.reason),
            },
        };
        SinkLag {
            sink: NAME,
            share: status.share.to_string(),
            state,
            reason,
            lag_seconds: status.lag.as_secs_f64(),
            waiting_blocks: status.blocks,
            waiting_bytes: status.bytes,
            waiting_records: 0,
        }
    }
}

impl RunningSink for Recording {
    fn lags(&self) -> Vec<SinkLag> {
        vec![self.lag(), said::lag(&self.bridge)]
    }

    fn history_behind(&self) -> Option<Duration> {
        let status = self.sender.status();
        let live = self.recorder.handle().is_whole() && status.state == SinkState::Live;
        // A row waits for its block, and the block for the sender.
        live.then(|| status.lag + self.block_age * 2 + MOMENT)
    }

    fn patience(&self) -> Duration {
        self.drain
    }

    /// Too much waits to be sent.
    fn is_full(&self) -> bool {
        self.recorder.handle().is_full()
    }

    /// What it drops from then on is found again by the next start's comparison.
    fn release(&self) {
        if self.is_full() {
            tracing::warn!("too much waits for ClickHouse: the rest is recorded after the next start");
        }
        self.recorder.handle().release();
    }

    /// What is recorded is sent, for a while.
    fn stop(self: Box<Self>) {
        let Self { recorder, sender, bridge, drain, block_age: _ } = *self;
        recorder.close();
        let sent = std::thread::scope(|scope| {
            scope.spawn(|| bridge.stop(drain));
            sender.stop(drain)
        });
        if !sent {
            tracing::warn!("ClickHouse has not taken everything: what is left waits on the disk");
        }
    }

    /// Nothing is sent any more.
    fn abandon(self: Box<Self>) {
        self.bridge.stop(Duration::ZERO);
        self.sender.stop(Duration::ZERO);
        self.recorder.abandon();
    }
}

//! ClickHouse beside an engine: who tells the recorder what changed, who is asked before a checkpoint is made, and in which
//! order the parts end. Where the server is, is `crate::clickhouse`'s business. A ClickHouse that is missing, or tables that are
//! not as they should be, never stop an engine: what is recorded waits.

mod said;

use super::changelog::Outward;
use crate::clickhouse::ClickHouseEndpoint;
use anyhow::{Context, Result};
use aulaflow_clickhouse::{
    Access, Bridge, Keeper, Limits, Pace, PseudonymKeys, Queue, ReadLimits, Reader, Recorder, RecorderHandle,
    RecorderMetrics, RecorderStart, Sender, SenderMetrics, SenderStart, Server, SinkState, Tables, TablesBy,
    Whereabouts,
};
use aulaflow_engine::{Gate, Outlet};
use aulaflow_log::Log;
use aulaflow_model::change::{ChangeBatch, CohortBatch};
use aulaflow_model::instant::{ClockTime, Millis};
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
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The name that a checkpoint keeps its mark under, and the sink's in answers.
const NAME: &str = "clickhouse";
/// How long a start waits to hear who wrote last. Without it all rows are compared later.
const CLAIM_WAIT: Duration = Duration::from_secs(3);
/// What an insert takes, and more.
const MOMENT: Duration = Duration::from_secs(2);
/// How often it is looked whether an engine that ends is held back.
const LOOK: Duration = Duration::from_millis(100);

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

    /// Starts a share's sink between its engine and the outlets, and puts its gate beside the others.
    pub fn start(&self, share: Share, outward: &mut Outward, store: &ReadHalf) -> Result<Recording> {
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
            workers: outward.outlets.len(),
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
        let gate: Arc<dyn Gate> = Arc::new(RecorderGate(recorder.handle()));
        let recorded = |(outlet, queue)| Box::new(RecordedOutlet { outlet, queue }) as Box<dyn Outlet>;
        outward.outlets = std::mem::take(&mut outward.outlets).into_iter().zip(queues).map(recorded).collect();
        outward.gates.push((NAME.to_owned(), gate));
        Ok(Recording { recorder, sender, bridge, drain: settings.drain_timeout, block_age: settings.block_age })
    }
}

impl Recording {
    /// How far its parts are.
    pub fn lags(&self) -> [SinkLag; 2] {
        [self.lag(), said::lag(&self.bridge)]
    }

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

    /// How long ago a row must have changed to be in ClickHouse; `None` while that is not known.
    pub fn is_behind(&self) -> Option<Duration> {
        let status = self.sender.status();
        let live = self.recorder.handle().is_whole() && status.state == SinkState::Live;
        // A row waits for its block, and the block for the sender.
        live.then(|| status.lag + self.block_age * 2 + MOMENT)
    }

    /// Lets an engine end. One that is held back, since too much waits for ClickHouse, is let go after a while: what it tells from
    /// then on is found again by the next start's comparison.
    pub fn while_ending<T>(&self, end: impl FnOnce() -> T) -> T {
        let handle = self.recorder.handle();
        let (ended, ends) = channel::<()>();
        let patience = self.drain;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut wait = patience;
                while ends.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    wait = LOOK;
                    if handle.is_full() {
                        tracing::warn!("too much waits for ClickHouse: the rest is recorded after the next start");
                        return handle.release();
                    }
                }
            });
            let done = end();
            drop(ended);
            done
        })
    }

    /// Ends it in order, after its engine: what is recorded is sent, for a while.
    pub fn stop(self) {
        let Self { recorder, sender, bridge, drain, block_age: _ } = self;
        recorder.close();
        let sent = std::thread::scope(|scope| {
            scope.spawn(|| bridge.stop(drain));
            sender.stop(drain)
        });
        if !sent {
            tracing::warn!("ClickHouse has not taken everything: what is left waits on the disk");
        }
    }

    /// Holds nobody back any more: the engine is to end as by a crash.
    pub fn release(&self) {
        self.recorder.handle().release();
    }

    /// Ends it as a crash would: nothing is sent any more.
    pub fn abandon(self) {
        self.bridge.stop(Duration::ZERO);
        self.sender.stop(Duration::ZERO);
        self.recorder.abandon();
    }
}

struct RecorderGate(RecorderHandle);

impl Gate for RecorderGate {
    fn resume(&self, mark: Option<&[u8]>) {
        self.0.resume(mark);
    }

    /// Nothing is recorded before the engine has caught up.
    fn loaded(&self) {}

    fn caught_up(&self) {
        self.0.caught_up();
    }

    fn reach(&self, time: ClockTime, timeout: Duration) -> Result<Vec<u8>, String> {
        self.0.reach(time, timeout)
    }
}

/// An outlet whose changes are told to the recorder. The order of the calls is [`Queue`]'s.
struct RecordedOutlet {
    outlet: Box<dyn Outlet>,
    queue: Queue,
}

impl Outlet for RecordedOutlet {
    fn apply(&mut self, batch: ChangeBatch) {
        let telling = self.queue.begin(&batch);
        self.outlet.apply(batch);
        self.queue.done(telling);
    }

    fn shown_again(&mut self, batch: ChangeBatch) {
        self.outlet.shown_again(batch);
    }

    fn cohorts(&mut self, batch: CohortBatch) {
        let telling = self.queue.begin_cohorts(&batch);
        self.outlet.cohorts(batch);
        self.queue.done(telling);
    }

    fn cohorts_loaded(&mut self, batch: CohortBatch) {
        self.outlet.cohorts_loaded(batch);
    }

    fn expiring(&mut self, boundary: Option<Millis>) {
        self.outlet.expiring(boundary);
    }

    fn advance(&mut self, complete: ClockTime) {
        self.outlet.advance(complete);
        self.queue.advance(complete);
    }
}

//! A running instance: log, dataflows, serving store and HTTP server in one process. It knows how they are put
//! together, in which order they start and stop, and nothing of the command line.

mod api;
mod archiving;
mod ask;
mod changelog;
pub mod clickhouse;
mod follow;
mod history;
pub mod past;
mod replica;
mod restarts;
mod retention;
mod roles;
mod shares;
pub mod sinks;

use self::clickhouse::Analytics;
use crate::clickhouse::ClickHouse;
use crate::commands::topics;
use crate::failure::Misuse;
use crate::log_store::Opened;
use crate::stop_signal::StopSignal;
use crate::{crash, log_store, tenant_records, token};
use anyhow::{Result, anyhow};
use archiving::{Archiving, Copying};
use aulaflow_changelog::Replica;
use aulaflow_clickhouse::Keeper;
use aulaflow_log::kafka::Membership;
use aulaflow_log::{KafkaLog, Log};
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::{LogKind, Runtime};
use follow::Follow;
use past::PastPeriods;
use prometheus_client::registry::Registry;
use replica::ReplicaMonitor;
use retention::Retention;
pub use roles::Roles;
pub use shares::{Shares, state_dir};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long requests in flight may go on when the instance stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Time between two looks at whether the dataflows still run.
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// A running instance. Dropping it ends it without a checkpoint: call [`Node::stop`].
pub struct Node {
    /// Where it listens.
    pub url: String,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The dataflows and their stores.
    pub shares: Arc<Shares>,
    /// Where analysts' tables are.
    pub clickhouse: ClickHouse,
    /// What decides which engines run, and copies what they make.
    dataflow: Option<Dataflow>,
    /// What fills the stores where there are no dataflows.
    replica: Option<Replica>,
    past: Option<PastPeriods>,
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    stop_signal: StopSignal,
    _retention: Retention,
    /// What removes from ClickHouse what is old.
    keeper: Option<Keeper>,
}

struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Why a running instance should stop.
#[derive(Debug)]
pub enum End {
    /// Somebody asked: see [`StopSignal`].
    Asked,
    /// It cannot go on.
    Failed(anyhow::Error),
}

impl Node {
    /// Starts what the roles ask for. What is returned answers requests; `/readyz` says when the views are up to date.
    pub fn start(plan: Plan, roles: Roles, stop_signal: StopSignal) -> Result<Self> {
        crash::install();
        Self::start_on(plan, roles, stop_signal, log_store::open)
    }

    fn start_on(
        plan: Plan,
        roles: Roles,
        stop_signal: StopSignal,
        open: impl FnOnce(&Runtime) -> Result<Opened>,
    ) -> Result<Self> {
        let plan = Arc::new(plan);
        let settings = &plan.runtime;
        let keys = token::keys(&settings.auth)?;
        // First, since it is the cheapest thing that can fail. Requests wait until the rest has started.
        let listener = bind(settings.server.listen)?;
        topics::refuse_wrong(&plan)?;
        let Opened { log, kafka } = open(settings)?;
        // Starts beside the rest: what writes to it waits until it answers.
        let clickhouse = ClickHouse::start(settings, roles)?;
        let mut registry = Registry::with_prefix("aulaflow");
        let analytics = Analytics::open(&plan, clickhouse.endpoint.as_ref(), &log, &mut registry)?;
        let reader = analytics.as_ref().map(|analytics| analytics.reader(&settings.clickhouse_reads));
        let history = history::history(reader, &settings.clickhouse.kind);
        let analytics = analytics.filter(|_| roles.dataflow).map(Arc::new);
        let sinks = sinks::sinks(&plan, &log, analytics.as_ref(), &mut registry);
        let shares = Shares::new(&plan, &log, sinks, &mut registry);
        if let Some(analytics) = &analytics {
            let weak = Arc::downgrade(&shares);
            analytics.clock_is(move || weak.upgrade()?.status().clock);
        }
        let dataflow =
            if roles.dataflow { Some(start_dataflow(&plan, (&log, kafka), &shares, &mut registry)?) } else { None };
        let past = start_past(settings, &clickhouse, (&log, &shares), &mut registry)?;
        let replica =
            if roles.is_replica() { Some(replica::start(&plan, &log, &shares, &mut registry)?) } else { None };
        let monitor = replica.as_ref().map(|replica| Arc::new(replica.monitor()) as ReplicaMonitor);
        let running = api::Running {
            log: Arc::clone(&log),
            shares: Arc::clone(&shares),
            roles,
            replica: monitor,
            history,
            registry,
        };
        let state = api::state(&plan, keys, running)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(crash::HTTP_THREAD).build()?;
        let address = listener.local_addr()?;
        let server = runtime.block_on(async { serve(listener, state) })?;
        let keeper = analytics.as_ref().map(|analytics| analytics.keep()).transpose()?;
        let url = format!("http://{address}");
        let server = Some(server);
        let retention = Retention::start(Arc::clone(&log), settings.log.retention)?;
        stop_signal.started();
        Ok(Self {
            url,
            log,
            shares,
            clickhouse,
            dataflow,
            replica,
            past,
            runtime,
            server,
            stop_signal,
            _retention: retention,
            keeper,
        })
    }

    /// Waits until somebody asks it to stop, or until it cannot go on.
    pub fn until_end(&mut self) -> End {
        let Some(server) = &mut self.server else { return End::Asked };
        self.runtime.block_on(end(&mut server.task, &mut self.stop_signal, &self.shares, self.replica.as_ref()))
    }

    /// The same, for a while. `None`: it runs on.
    pub fn until_end_or(&mut self, pause: Duration) -> Option<End> {
        let Some(server) = &mut self.server else { return Some(End::Asked) };
        let end = end(&mut server.task, &mut self.stop_signal, &self.shares, self.replica.as_ref());
        self.runtime.block_on(async { tokio::time::timeout(pause, end).await.ok() })
    }

    /// Stops: no new requests, those in flight are answered, then a checkpoint.
    pub fn stop(mut self) -> Result<()> {
        if let Some(Server { stop, task }) = self.server.take() {
            // An ended server does not hear it.
            let _ = stop.send(());
            let drained = self.runtime.block_on(async { tokio::time::timeout(DRAIN, task).await });
            if drained.is_err() {
                tracing::warn!(seconds = DRAIN.as_secs(), "requests in flight were cut off");
            }
        }
        if let Some(past) = self.past.take() {
            past.stop();
        }
        // First: nothing starts any more, and nothing is copied while the last checkpoints are made.
        let archiving = self.dataflow.take().and_then(Dataflow::stop);
        let stopped = self.shares.stop_all(archiving.as_deref());
        if let Some(replica) = self.replica.take() {
            replica.stop();
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        // Last: what is written at the end is written to it.
        self.clickhouse.stop();
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        stopped
    }
}

/// The threads beside the engines.
struct Dataflow {
    archiving: Option<Arc<Archiving>>,
    copying: Option<Copying>,
    follow: Option<Follow>,
}

impl Dataflow {
    /// Ends them. Last checkpoints go to the archive that is returned.
    fn stop(self) -> Option<Arc<Archiving>> {
        if let Some(copying) = self.copying {
            copying.stop();
        }
        if let Some(follow) = self.follow {
            follow.stop();
        }
        self.archiving
    }
}

/// Lets grades of past periods leave the memory where they shall, and there is somewhere to read them from.
fn start_past(
    settings: &Runtime,
    clickhouse: &ClickHouse,
    (log, shares): (&Arc<dyn Log>, &Arc<Shares>),
    registry: &mut Registry,
) -> Result<Option<PastPeriods>> {
    let Some(keep) = settings.serving.grades_keep else { return Ok(None) };
    if clickhouse.endpoint.is_none() {
        tracing::warn!("all grades stay in memory: there is no ClickHouse to read those of past periods from");
        return Ok(None);
    }
    PastPeriods::start(shares, log, keep, registry).map(Some)
}

/// Starts the engines: at once, or, with a log in Kafka, as the consumer group gives partitions.
fn start_dataflow(
    plan: &Plan,
    (log, kafka): (&Arc<dyn Log>, Option<Arc<KafkaLog>>),
    shares: &Arc<Shares>,
    registry: &mut Registry,
) -> Result<Dataflow> {
    tenant_records::record_files(log.as_ref(), plan)?;
    let settings = plan.runtime.archive.as_ref();
    let archiving = settings.map(|settings| Archiving::open(settings, registry)).transpose()?;
    let follow = match (kafka, &plan.runtime.log.kind) {
        (Some(kafka), LogKind::Kafka(settings)) => {
            let membership = Membership::join(&kafka, topic::BEHAVIOR)?;
            Some(Follow::start(membership, log, shares, archiving.clone(), settings)?)
        }
        (None | Some(_), LogKind::Embedded | LogKind::Kafka(_)) => {
            if let Some(archiving) = &archiving {
                archiving.bring(Share::All, &shares.state_dir(Share::All))?;
            }
            shares.start(Share::All)?;
            None
        }
    };
    let copying = match (&archiving, settings) {
        (Some(archiving), Some(settings)) => Some(archiving.start(shares, settings.interval)?),
        (None | Some(_), _) => None,
    };
    Ok(Dataflow { archiving, copying, follow })
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "{address} is in use by another process: stop that one, or choose another with --listen ADDR \
             (--listen 127.0.0.1:0 takes a free port)"
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            Misuse::error(format!("{address} is not an address of this machine: choose another with --listen ADDR"))
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("listening on {address} is not permitted: choose a port from 1024 on with --listen ADDR")
        }
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address}")),
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(listener: TcpListener, state: aulaflow_query_api::ApiState) -> Result<Server> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(aulaflow_query_api::serve(listener, state, async {
        // A dropped sender means the same.
        let _ = stopped.await;
    }));
    Ok(Server { stop, task })
}

/// Completes when the instance should stop.
async fn end(
    server: &mut JoinHandle<std::io::Result<()>>,
    stop_signal: &mut StopSignal,
    shares: &Shares,
    replica: Option<&Replica>,
) -> End {
    tokio::select! {
        () = stop_signal.asked() => End::Asked,
        ended = server => End::Failed(match ended {
            Ok(Ok(())) => anyhow!("the HTTP server has ended"),
            Ok(Err(error)) => anyhow::Error::new(error).context("the HTTP server has failed"),
            Err(error) => anyhow::Error::new(error).context("the HTTP server has ended"),
        }),
        reason = failure(shares, replica) => End::Failed(anyhow!("{reason}")),
    }
}

async fn failure(shares: &Shares, replica: Option<&Replica>) -> String {
    loop {
        if let Some(reason) = shares.failure() {
            return format!("the dataflows have stopped: {reason}");
        }
        if let Some(reason) = replica.and_then(|replica| replica.status().failure) {
            return reason;
        }
        tokio::time::sleep(HEALTH_EVERY).await;
    }
}

#[cfg(test)]
mod tests;

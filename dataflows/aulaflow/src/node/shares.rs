//! The engines of this process: one for each share of the partitions that it has. Shares come and go while the others
//! run; requests are routed by their tenant's partition.

use super::archiving::Archiving;
use super::sinks::{RunningSinks, Sink};
use crate::derived::derived_views;
use crate::log_store;
use anyhow::{Context as _, Result, anyhow};
use aulaflow_engine::{Asker, Checkpoint, Engine, Failure, Metrics, Start, Status, Wall};
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::TenantId;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::Runtime;
use aulaflow_query_api::SinkLag;
use aulaflow_serving::{DerivedView, ReadHalf, Stores};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time between two looks at whether a share's state is loaded.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The running engines.
pub struct Shares {
    plan: Arc<Plan>,
    log: Arc<dyn Log>,
    metrics: Metrics,
    /// Where rows go besides the stores.
    sinks: Vec<Arc<dyn Sink>>,
    derived: Vec<DerivedView>,
    stores: Stores,
    running: Mutex<BTreeMap<Share, Running>>,
    /// Why no further engine starts, while none does.
    waiting: Mutex<Option<String>>,
    /// Why this process cannot go on.
    failure: Mutex<Option<String>>,
    /// Engines that were ended since their writer was at its end, and are started again.
    restarts: Family<ShareLabels, Counter>,
}

/// Of which share a number is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShareLabels {
    share: String,
}

/// A share's engine.
struct Running {
    engine: Engine,
    sinks: RunningSinks,
    store: ReadHalf,
    /// Grades that it has let go, as far as that was counted.
    let_go: Arc<AtomicU64>,
    /// Its store, until its state is loaded and it can answer.
    waiting: Option<ReadHalf>,
    /// Its store, until it is as new as the log was at the start: what it claims is held back.
    held: Option<ReadHalf>,
}

impl Running {
    /// How far it is. Readers are let at its store as soon as that holds what the checkpoint says: until it is caught up, it
    /// is true as of the checkpoint and says so; without a checkpoint nobody reads it before. They are let at it here, so
    /// that nobody hears of something as visible which no reader finds.
    fn status(&mut self, share: Share, stores: &Stores) -> Status {
        let status = self.engine.monitor().status();
        if status.loading.is_none()
            && status.clock.is_some()
            && let Some(store) = self.waiting.take()
        {
            // While it is not caught up, its clock is the checkpoint's.
            store.hold(status.clock.filter(|_| !status.caught_up));
            stores.put(share, store.clone());
            self.held = Some(store);
        }
        if status.caught_up
            && let Some(store) = self.held.take()
        {
            store.hold(None);
        }
        status
    }

    /// Why its engine cannot go on.
    fn failure(&self) -> Option<Failure> {
        self.engine.monitor().status().failure.or_else(|| self.sinks.failure())
    }
}

/// A share's store whose rows are in a history outside the process.
pub struct Recorded {
    /// Which.
    pub share: Share,
    /// It.
    pub store: ReadHalf,
    /// Rows that changed so long ago are in the history.
    pub behind: Duration,
    let_go: Arc<AtomicU64>,
}

impl Recorded {
    /// How many grades were let go since it was asked last.
    pub fn newly_let_go(&self) -> u64 {
        let now = self.store.grades_let_go();
        now.saturating_sub(self.let_go.swap(now, Ordering::Relaxed))
    }
}

/// Where a share's state is.
pub fn state_dir(runtime: &Runtime, share: Share) -> PathBuf {
    let state = runtime.data_dir.join("state");
    match share {
        Share::All => state,
        Share::Partition(number) => state.join(number.to_string()),
    }
}

impl Shares {
    /// No engine runs yet. Registers the metrics of all.
    pub fn new(plan: &Arc<Plan>, log: &Arc<dyn Log>, sinks: Vec<Arc<dyn Sink>>, registry: &mut Registry) -> Arc<Self> {
        let schemas: Arc<[ViewSchema]> = plan.views.iter().map(|view| view.schema.clone()).collect();
        let stores = Stores::new(schemas);
        stores.register_metrics(registry);
        let restarts: Family<ShareLabels, Counter> = Family::default();
        let help = "Engines that were ended since another writer of their name began, and are started again";
        registry.register("engine_restarts", help, restarts.clone());
        Arc::new(Self {
            sinks,
            derived: derived_views(plan, registry),
            metrics: Metrics::new(registry),
            plan: Arc::clone(plan),
            log: Arc::clone(log),
            stores,
            running: Mutex::default(),
            waiting: Mutex::default(),
            failure: Mutex::default(),
            restarts,
        })
    }

    /// Views over the profile.
    pub fn derived(&self) -> &[DerivedView] {
        &self.derived
    }

    /// What readers read.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Where a share's state is.
    pub fn state_dir(&self, share: Share) -> PathBuf {
        state_dir(&self.plan.runtime, share)
    }

    /// Starts a share's engine. Its store answers once its state is loaded.
    pub fn start(self: &Arc<Self>, share: Share) -> Result<()> {
        let settings = &self.plan.runtime;
        let workers = settings.engine.workers.max(1);
        let schemas = Arc::clone(self.stores.schemas());
        let students = settings.serving.students_expected;
        let (writers, store) = aulaflow_serving::store(schemas, self.derived.clone(), students, workers);
        let state_dir = self.state_dir(share);
        let (sinks, parts) = RunningSinks::start(&self.sinks, share, writers, &store)?;
        let engine = aulaflow_engine::start(Start {
            plan: Arc::clone(&self.plan),
            log: Arc::clone(&self.log),
            share,
            state_dir: state_dir.clone(),
            sinks: parts.fanouts,
            participants: parts.participants,
            metrics: self.metrics.clone(),
            wall: Wall::System,
        })
        .with_context(|| format!("the dataflows cannot start from {}", state_dir.display()))?;
        let (waiting, let_go) = (Some(store.clone()), Arc::default());
        let running = Running { engine, sinks, store, let_go, waiting, held: None };
        self.running.lock().insert(share, running);
        self.show_when_loaded(share)
    }

    /// Looks until readers are at a share's store and what it claims is not held back any more.
    fn show_when_loaded(self: &Arc<Self>, share: Share) -> Result<()> {
        let shares = Arc::clone(self);
        let look = move || {
            loop {
                {
                    let mut running = shares.running.lock();
                    // It may have been stopped, or stopped and started again: then another thread looks.
                    let Some(running) = running.get_mut(&share) else { return };
                    let failed = running.status(share, &shares.stores).failure.is_some();
                    if failed || (running.waiting.is_none() && running.held.is_none()) {
                        return;
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        std::thread::Builder::new().name(format!("aulaflow-load-{share}")).spawn(look)?;
        Ok(())
    }

    /// Ends a share's engine; nothing is answered for it any more. Returns its last checkpoint.
    pub fn stop(&self, share: Share) -> Result<Option<Checkpoint>> {
        self.stores.remove(share);
        let Some(running) = self.running.lock().remove(&share) else { return Ok(None) };
        let checkpoints = running.engine.checkpoints();
        let Running { engine, sinks, .. } = running;
        let stopped = sinks.stop(engine);
        let stopped = stopped.map_err(|reason| anyhow!("the dataflows did not stop cleanly: {reason}"));
        self.release(share);
        stopped.map(|()| checkpoints.newest())
    }

    /// Ends a share's engine as a crash would: whoever has the share now goes on from an earlier checkpoint.
    pub fn abandon(&self, share: Share) {
        self.stores.remove(share);
        let Some(running) = self.running.lock().remove(&share) else { return };
        if let Err(reason) = running.sinks.abandon(running.engine) {
            tracing::warn!(%share, reason, "the dataflows did not end cleanly");
        }
        self.release(share);
    }

    /// Nobody follows a share's partitions any more.
    fn release(&self, share: Share) {
        for (_, source) in topic::inputs() {
            // A log that cannot say which partitions there are has nothing to let go.
            let partitions = self.log.partitions(source).unwrap_or(0);
            for partition in (0..partitions).filter(|partition| share.has(*partition)) {
                self.log.release(&TopicPartition { topic: source.to_owned(), partition });
            }
        }
    }

    /// Ends all at once, each with a last checkpoint, which goes to the archive: one that waits for the brokers does not
    /// hold up the others. The first failure is told.
    pub fn stop_all(&self, archiving: Option<&Archiving>) -> Result<()> {
        let all: Vec<Share> = self.running.lock().keys().copied().collect();
        let stop = |share| -> Result<()> {
            let last = self.stop(share)?;
            if let (Some(archiving), Some(last)) = (archiving, last) {
                archiving.copy_last(share, &last);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let stopping: Vec<_> = all.into_iter().map(|share| scope.spawn(move || stop(share))).collect();
            let panicked = |_| Err(anyhow!("a thread that ends an engine panicked"));
            stopping.into_iter().map(|one| one.join().unwrap_or_else(panicked)).fold(Ok(()), Result::and)
        })
    }

    /// How far each is.
    pub fn statuses(&self) -> Vec<Status> {
        self.running.lock().iter_mut().map(|(share, running)| running.status(*share, &self.stores)).collect()
    }

    /// How far the sinks outside the process are.
    pub fn sinks(&self) -> Vec<SinkLag> {
        self.running.lock().values().flat_map(|running| running.sinks.lags()).collect()
    }

    /// The stores whose rows are in a history, but for those of the last moment.
    pub fn recorded(&self) -> Vec<Recorded> {
        let running = self.running.lock();
        let recorded = |(share, running): (&Share, &Running)| {
            let behind = running.sinks.history_behind()?;
            Some(Recorded { share: *share, store: running.store.clone(), behind, let_go: Arc::clone(&running.let_go) })
        };
        running.iter().filter_map(recorded).collect()
    }

    /// Whether a share's engine runs.
    pub fn has(&self, share: Share) -> bool {
        self.running.lock().contains_key(&share)
    }

    /// The newest checkpoint of each share. Their files stay until these are dropped.
    pub fn checkpoints(&self) -> Vec<(Share, Checkpoint)> {
        let running = self.running.lock();
        running.iter().filter_map(|(share, running)| Some((*share, running.engine.checkpoints().newest()?))).collect()
    }

    /// How far all are: the least of each.
    pub fn status(&self) -> Status {
        let mut running = self.running.lock();
        Status::merged(running.iter_mut().map(|(share, running)| running.status(*share, &self.stores)))
    }

    /// Ends the process: it cannot go on.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the dataflows cannot go on");
        self.failure.lock().get_or_insert(reason);
    }

    /// Why it cannot. An engine whose writer is at its end can be started again where there is a group that says whose the
    /// partitions are: whoever follows the group does that ([`Self::end_writerless`]).
    pub fn failure(&self) -> Option<String> {
        let is_followed = log_store::is_shared(&self.plan.runtime);
        let of_process = |failure: Failure| match failure {
            Failure::Writer { .. } if is_followed => None,
            Failure::Writer { .. } | Failure::Engine(_) => Some(failure.to_string()),
        };
        let own = self.failure.lock().clone();
        own.or_else(|| self.running.lock().values().find_map(|running| running.failure().and_then(of_process)))
    }

    /// Ends, as a crash would, the engines whose writer is at its end. Which, to be started again from their last checkpoints.
    pub fn end_writerless(&self) -> Vec<(Share, Failure)> {
        let writerless = |(share, running): (&Share, &Running)| match running.failure()? {
            failure @ Failure::Writer { .. } => Some((*share, failure)),
            Failure::Engine(_) => None,
        };
        let ended: Vec<_> = self.running.lock().iter().filter_map(writerless).collect();
        for (share, failure) in &ended {
            tracing::warn!(%share, %failure, "this share's engine ends, and is started again");
            self.abandon(*share);
            self.restarts.get_or_create_owned(&ShareLabels { share: share.to_string() }).inc();
        }
        ended
    }

    /// What must happen before there is something to serve; `None`: nothing.
    pub fn waits_for(&self, what: Option<String>) {
        if let Some(what) = &what {
            tracing::info!(what, "waiting");
        }
        *self.waiting.lock() = what;
    }

    /// What it waits for.
    pub fn waiting(&self) -> Option<String> {
        self.waiting.lock().clone()
    }

    /// The engine that has a tenant.
    pub fn asker(&self, tenant: &TenantId) -> Option<Asker> {
        let partition = self.log.partition_of(topic::BEHAVIOR, tenant.as_str()).ok()?;
        let running = self.running.lock();
        let found = running.iter().find(|(share, _)| share.has(partition));
        found.map(|(_, running)| running.engine.asker())
    }

    /// Counts records that were refused at the edge and kept as dead letters.
    pub fn refused(&self, topic: &'static str, error_class: &'static str, count: usize) {
        self.metrics.refused(topic, error_class, count);
    }

    /// Reads a topic on that was stopped for its errors; which partitions.
    pub fn resume(&self, topic: &str) -> Vec<u32> {
        let monitors: Vec<_> = self.running.lock().values().map(|running| running.engine.monitor()).collect();
        monitors.iter().flat_map(|monitor| monitor.resume(topic)).collect()
    }

    /// Counts an explanation that was compared with what is served (`kind`: `grade` or `feature`).
    pub fn compared(&self, kind: &'static str, agrees: bool) {
        self.metrics.compared(kind, agrees);
    }
}

//! The engines of this process: one for each share of the partitions that it has. Shares come and go while the others
//! run; requests are routed by their tenant's partition.

use super::changelog::{self, Outward};
use crate::derived::derived_views;
use crate::log_store;
use anyhow::{Context as _, Result, anyhow};
use aulaflow_changelog::{Changelog, WriterMetrics};
use aulaflow_engine::{Asker, Engine, Metrics, Start, Status, Wall};
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::TenantId;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::Plan;
use aulaflow_serving::{DerivedView, ReadHalf, Stores};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks at whether a share's state is loaded.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The running engines.
pub struct Shares {
    plan: Arc<Plan>,
    log: Arc<dyn Log>,
    metrics: Metrics,
    /// Where the changelog is written.
    changelog: Option<WriterMetrics>,
    derived: Vec<DerivedView>,
    stores: Stores,
    running: Mutex<BTreeMap<Share, Running>>,
}

/// A share's engine.
struct Running {
    engine: Engine,
    changelog: Option<Changelog>,
    /// Its store, until its state is loaded and it can answer.
    waiting: Option<ReadHalf>,
}

impl Shares {
    /// No engine runs yet. Registers the metrics of all.
    pub fn new(plan: &Arc<Plan>, log: &Arc<dyn Log>, registry: &mut Registry) -> Arc<Self> {
        let schemas: Arc<[ViewSchema]> = plan.views.iter().map(|view| view.schema.clone()).collect();
        let stores = Stores::new(schemas);
        stores.register_metrics(registry);
        Arc::new(Self {
            changelog: changelog::is_written(plan, log_store::is_shared(&plan.runtime))
                .then(|| WriterMetrics::new(registry)),
            derived: derived_views(plan, registry),
            metrics: Metrics::new(registry),
            plan: Arc::clone(plan),
            log: Arc::clone(log),
            stores,
            running: Mutex::default(),
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
        let state = self.plan.runtime.data_dir.join("state");
        match share {
            Share::All => state,
            Share::Partition(number) => state.join(number.to_string()),
        }
    }

    /// Starts a share's engine. Its store answers once its state is loaded.
    pub fn start(self: &Arc<Self>, share: Share) -> Result<()> {
        let settings = &self.plan.runtime;
        let workers = settings.engine.workers.max(1);
        let schemas = Arc::clone(self.stores.schemas());
        let students = settings.serving.students_expected;
        let (writers, store) = aulaflow_serving::store(schemas, self.derived.clone(), students, workers);
        let state_dir = self.state_dir(share);
        let metrics = self.changelog.as_ref();
        let Outward { outlets, gates, changelog } =
            changelog::outward(&self.plan, &self.log, share, (writers, &store), metrics)?;
        let engine = aulaflow_engine::start(Start {
            plan: Arc::clone(&self.plan),
            log: Arc::clone(&self.log),
            share,
            state_dir: state_dir.clone(),
            outlets,
            gates,
            metrics: self.metrics.clone(),
            wall: Wall::System,
        })
        .with_context(|| format!("the dataflows cannot start from {}", state_dir.display()))?;
        self.running.lock().insert(share, Running { engine, changelog, waiting: Some(store) });
        self.show_when_loaded(share)
    }

    /// Lets readers at a share's store as soon as it holds what the checkpoint says.
    fn show_when_loaded(self: &Arc<Self>, share: Share) -> Result<()> {
        let shares = Arc::clone(self);
        let look = move || {
            loop {
                {
                    let mut running = shares.running.lock();
                    // It may have been stopped, or stopped and started again: then another thread looks.
                    let Some(running) = running.get_mut(&share) else { return };
                    if running.waiting.is_none() {
                        return;
                    }
                    let status = running.engine.monitor().status();
                    if status.loading.is_none()
                        && status.clock.is_some()
                        && let Some(store) = running.waiting.take()
                    {
                        shares.stores.put(share, store);
                        return;
                    }
                    if status.failure.is_some() {
                        return;
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        std::thread::Builder::new().name(format!("aulaflow-load-{share}")).spawn(look)?;
        Ok(())
    }

    /// Ends a share's engine with a last checkpoint; nothing is answered for it any more.
    pub fn stop(&self, share: Share) -> Result<()> {
        self.stores.remove(share);
        let Some(running) = self.running.lock().remove(&share) else { return Ok(()) };
        let stopped = changelog::stop(running.engine, running.changelog)
            .map_err(|reason| anyhow!("the dataflows did not stop cleanly: {reason}"));
        for source in [topic::TENANTS, topic::EVALUATIONS, topic::BEHAVIOR] {
            for partition in (0..self.log.partitions(source)?).filter(|partition| share.has(*partition)) {
                self.log.release(&TopicPartition { topic: source.to_owned(), partition });
            }
        }
        stopped
    }

    /// Ends all, each with a last checkpoint. The first failure is told; the others are tried all the same.
    pub fn stop_all(&self) -> Result<()> {
        let all: Vec<Share> = self.running.lock().keys().copied().collect();
        all.into_iter().map(|share| self.stop(share)).fold(Ok(()), Result::and)
    }

    /// How far all are: the least of each.
    pub fn status(&self) -> Status {
        let running = self.running.lock();
        Status::merged(running.values().map(|running| running.engine.monitor().status()))
    }

    /// The engine that has a tenant.
    pub fn asker(&self, tenant: &TenantId) -> Option<Asker> {
        let partition = self.log.partition_of(topic::BEHAVIOR, tenant.as_str()).ok()?;
        let running = self.running.lock();
        let found = running.iter().find(|(share, _)| share.has(partition));
        found.map(|(_, running)| running.engine.asker())
    }

    /// Counts an explanation that was compared with what is served (`kind`: `grade` or `feature`).
    pub fn compared(&self, kind: &'static str, agrees: bool) {
        self.metrics.compared(kind, agrees);
    }
}

//! Plays a case: an engine over a log and a state in a folder of its own, with a clock that the case sets, and profiles
//! that are read as clients read them. Files are not its business.

use super::case::{Bounds, Case, Row, Step, shown};
use crate::derived::derived_views;
use crate::log_store;
use crate::node::sinks::serving;
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_engine::{Engine, HandClock, Metrics, Start, Wall};
use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog, Fsync};
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_serving::ReadHalf;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any case: where no checkpoint is wanted but the last.
const NEVER: Duration = Duration::from_secs(86_400);

/// Metrics that count bugs.
const NEVER_COUNTED: [&str; 2] = ["negative_multiplicity_total", "explain_disagreements_total"];

/// Time between two looks at how far the engine is.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How a case is played.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Dataflow workers.
    pub workers: usize,
    /// After a third of its lines it is stopped with a checkpoint and started from it; after two thirds it is ended
    /// without one, so that the lines in between are read from the log again.
    pub killed: bool,
}

impl Way {
    /// All ways in which a case must come out the same.
    pub const ALL: [Self; 6] = [
        Self { workers: 1, killed: false },
        Self { workers: 2, killed: false },
        Self { workers: 3, killed: false },
        Self { workers: 1, killed: true },
        Self { workers: 2, killed: true },
        Self { workers: 3, killed: true },
    ];
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let workers = if self.workers == 1 { "worker" } else { "workers" };
        write!(f, "with {} {workers}{}", self.workers, if self.killed { ", killed on the way" } else { "" })
    }
}

/// A file system in memory, where there is one: nothing of a case outlives it, and waiting for a disk is most of its time.
const MEMORY: &str = "/dev/shm";

/// What must be free there.
const MEMORY_BYTES_MIN: u64 = 1 << 30;

fn folder() -> std::io::Result<TempDir> {
    let free = rustix::fs::statvfs(MEMORY).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    let in_memory = if free >= MEMORY_BYTES_MIN { tempfile::tempdir_in(MEMORY).ok() } else { None };
    in_memory.map_or_else(tempfile::tempdir, Ok)
}

/// Plays a case; what the profiles show at each of its instants: before the clock moves on, and at the end.
pub fn play(plan: &Plan, case: &Case, way: Way) -> Result<Vec<Row>> {
    let folder = folder().context("a case is played in a temporary folder")?;
    let mut plan = plan.clone();
    let engine = &mut plan.runtime.engine;
    (engine.clock, engine.tick, engine.checkpoint_interval) = (ClockMode::Live, LOOK_EVERY, NEVER);
    let Some(Step::Clock(first)) = case.steps.first() else { bail!("the first line is no clock") };
    let config =
        EmbeddedConfig { fsync: Fsync::Never, ..EmbeddedConfig::new(folder.path().join("log"), log_store::topics()) };
    let log = Arc::new(EmbeddedLog::open(config)?);
    let mut stage = Stage { plan: Arc::new(plan), log, state_dir: &folder.path().join("state"), clock: *first };
    let mut player = stage.start(way.workers)?;
    let mut rows = Vec::new();
    let (stop_at, kill_at) = (case.steps.len() / 3, case.steps.len() * 2 / 3);
    for (index, step) in case.steps.iter().enumerate().skip(1) {
        if way.killed && index == stop_at {
            player.end(false)?;
            player = stage.start(way.workers)?;
        }
        if way.killed && index == kill_at {
            player.end(true)?;
            player = stage.start(way.workers)?;
        }
        match step {
            Step::Clock(at) => {
                stage.settle(&player, case)?;
                rows.extend(stage.rows(&player, case)?);
                stage.clock = *at;
                player.wall.set(*at);
                stage.log.wake();
                stage.settle(&player, case)?;
            }
            Step::Record { topic, tenant, key, value } => {
                let mut set = RecordSetBuilder::default();
                set.push(stage.clock, key, value.as_deref(), &[]);
                let partition = stage.log.partition_of(topic, tenant.as_str())?;
                let place = TopicPartition { topic: (*topic).to_owned(), partition };
                stage.log.append_wait(&place, set.finish(), PATIENCE)?;
            }
        }
    }
    stage.settle(&player, case)?;
    rows.extend(stage.rows(&player, case)?);
    player.end(false)?;
    Ok(rows)
}

/// What outlives an engine.
struct Stage<'a> {
    plan: Arc<Plan>,
    log: Arc<EmbeddedLog>,
    state_dir: &'a Path,
    clock: Millis,
}

/// A running engine.
struct Player {
    engine: Engine,
    store: ReadHalf,
    wall: Arc<HandClock>,
    registry: Registry,
}

impl Player {
    /// Stops it with a checkpoint, or ends it without one. It must not have met what is never to happen.
    fn end(self, killed: bool) -> Result<()> {
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &self.registry)?;
        let mut bugs = metrics.lines().filter(|line| NEVER_COUNTED.iter().any(|name| line.starts_with(name)));
        if let Some(bug) = bugs.find(|line| !line.ends_with(" 0")) {
            bail!("the dataflows count what must not happen: {bug}");
        }
        let ended = if killed { self.engine.abandon() } else { self.engine.stop() };
        ended.map_err(|reason| anyhow!(reason))
    }
}

impl Stage<'_> {
    fn start(&self, workers: usize) -> Result<Player> {
        let mut registry = Registry::default();
        let schemas: Arc<[ViewSchema]> = self.plan.views.iter().map(|view| view.schema.clone()).collect();
        let derived = derived_views(&self.plan, &mut registry);
        let (writers, store) = aulaflow_serving::store(schemas, derived, 0, workers);
        let wall = Arc::new(HandClock::new(self.clock));
        let engine = aulaflow_engine::start(Start {
            plan: Arc::clone(&self.plan),
            log: Arc::clone(&self.log) as Arc<dyn Log>,
            share: Share::All,
            state_dir: self.state_dir.to_owned(),
            sinks: serving(writers),
            participants: Vec::new(),
            metrics: Metrics::new(&mut registry),
            wall: Wall::Hand(Arc::clone(&wall)),
        })?;
        Ok(Player { engine, store, wall, registry })
    }

    /// Waits until everything on the log is visible as of the clock, in every profile.
    fn settle(&self, player: &Player, case: &Case) -> Result<()> {
        let begun = Instant::now();
        while !self.is_settled(player, case)? {
            if begun.elapsed() > PATIENCE {
                bail!(
                    "the views do not become true as of {}: {:?}",
                    shown(self.clock),
                    player.engine.monitor().status()
                );
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        Ok(())
    }

    fn is_settled(&self, player: &Player, case: &Case) -> Result<bool> {
        let status = player.engine.monitor().status();
        if let Some(failure) = status.failure {
            bail!("the dataflows have failed: {failure}");
        }
        let mut visible = status.caught_up && status.clock == Some(self.clock);
        for position in &status.positions {
            visible &= position.visible >= self.log.end_offset(&position.place)?;
        }
        let profiles = || case.students.iter().filter_map(|(tenant, student)| player.store.profile(tenant, student));
        Ok(visible && profiles().all(|profile| profile.as_of() >= self.clock))
    }

    /// What the profiles show.
    fn rows(&self, player: &Player, case: &Case) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (tenant, student) in &case.students {
            let Some(profile) = player.store.profile(tenant, student) else { continue };
            let mut json = Vec::new();
            profile.write_json(&mut json);
            let mut profile: Map<String, Value> = serde_json::from_slice(&json)?;
            let Some(Value::Object(mut features)) = profile.remove("features") else {
                bail!("a profile has no features")
            };
            for view in &self.plan.views {
                let Some(Value::Object(mut values)) = features.remove(&view.schema.name) else { continue };
                values.remove("updated_at");
                let window = values.remove("window").and_then(|window| bounds(&window));
                rows.push(Row {
                    at: self.clock,
                    tenant: tenant.to_string(),
                    student: student.to_string(),
                    view: view.schema.name.clone(),
                    values,
                    window,
                });
            }
        }
        Ok(rows)
    }
}

fn bounds(window: &Value) -> Option<Bounds> {
    let at = |name: &str| Millis::parse_rfc3339(window.get(name)?.as_str()?).ok();
    Some(Bounds { start: at("start")?, end: at("end")? })
}

//! Putting the engine together: the state is opened and compared with plan and log, threads are started, the state is
//! loaded, and reading goes on from its offsets.

use crate::ask::Asker;
use crate::checkpoint::{Checkpointer, Durable};
use crate::checkpoints::Checkpoints;
use crate::configs::Configs;
use crate::coordinator::{Coordinator, Source, positions, versions_bound};
use crate::dead_letters::Writer;
use crate::layout::Layout;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::shared::{Home, Settling, Shared, StateMessage, Versions};
use crate::state::{Covered, KnownSlots, StateError, StateStore};
use crate::symbols::Symbols;
use crate::wall::Wall;
use crate::worker::{self, Progress, ToWorker};
use crate::{Failure, Monitor, Position, StartError, Status, backfill, restore};
use aulaflow_log::{Log, LogError, TopicPartition};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_model::topic::{self, Input};
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use aulaflow_plan::sql::Relation;
use aulaflow_sink::{Fanout, Participant, Participants};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

/// Epochs that may wait for a worker; the coordinator keeps fewer under way.
const WORKER_QUEUE: usize = 8;
/// Messages that may wait for the state's thread before workers wait for it.
const STATE_QUEUE: usize = 4_096;

/// A running engine. Dropping it does not stop it: call [`Engine::stop`].
pub struct Engine {
    monitor: Monitor,
    began: Vec<Position>,
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
    log: Arc<dyn Log>,
    store: StateStore,
    asker: Asker,
    coordinator: JoinHandle<Result<(), String>>,
    checkpointer: JoinHandle<()>,
    workers: JoinHandle<Result<(), String>>,
}

/// What an engine is started with.
pub struct Start {
    /// What to compute.
    pub plan: Arc<Plan>,
    /// Where records come from.
    pub log: Arc<dyn Log>,
    /// Which of its partitions.
    pub share: Share,
    /// Where the state is: a folder of this engine's own.
    pub state_dir: PathBuf,
    /// The sinks of each worker: their number is the number of workers.
    pub sinks: Vec<Fanout>,
    /// What takes part in checkpoints, by name: none is made of what they don't hold.
    pub participants: Vec<(String, Arc<dyn Participant>)>,
    /// What it counts, shared by the engines of a process.
    pub metrics: Metrics,
    /// The clock on the wall.
    pub wall: Wall,
}

/// What an engine leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// Checkpoints and dead letters.
    Everything,
    /// Nothing: it was only looked at.
    Nothing,
}

/// Starts the dataflows: loads the checkpoint in the state's folder, reads on from its offsets.
/// Returns at once; [`Monitor::status`] tells how far loading and catching up are.
pub fn start(start: Start) -> Result<Engine, StartError> {
    launch(start, Leaves::Everything)
}

/// Starts the dataflows as [`start`] does, to look at what they show: neither checkpoints nor dead letters are written.
/// To be ended with [`Engine::abandon`].
pub fn examine(start: Start) -> Result<Engine, StartError> {
    let mut plan = Plan::clone(&start.plan);
    plan.runtime.engine.checkpoint_interval = Duration::MAX;
    // Everything is to be seen.
    plan.runtime.engine.error_budget_percent = 100;
    launch(Start { plan: Arc::new(plan), ..start }, Leaves::Nothing)
}

fn launch(start: Start, leaves: Leaves) -> Result<Engine, StartError> {
    let Start { plan, log, share, state_dir, sinks, participants, metrics, wall } = start;
    let participants = Participants::new(participants);
    let (store, covered) = open_state(&plan, &state_dir)?;
    refuse_without_room(&plan, covered.as_ref())?;
    let (layout, rebuild) = layout(&plan, covered.as_ref());
    let (loaded, covered) = (covered.is_some(), covered.unwrap_or_default());
    participants.restore(&covered.tokens);
    let (live, workers) = (plan.runtime.engine.clock == ClockMode::Live, sinks.len());
    let sources = sources(log.as_ref(), share, &covered)?;
    let versions = match leaves {
        Leaves::Everything => versions(&store, share, &sources, covered.versions_floor)?,
        Leaves::Nothing => Versions::default(),
    };
    let began = positions(&sources);
    let letters = letters(leaves, &log, share, &covered)?;
    let (state, messages) = bounded(STATE_QUEUE);
    let event_high = covered.event_high.iter().map(|((_, p), at)| (*p, Millis(*at))).collect();
    let scene = (share, home(&log)?, metrics);
    let shared = Arc::new(shared(plan, layout, &covered, scene, (workers, versions, state)));
    note_changes(&shared, loaded.then_some(&covered));
    let time = first_time(&covered, live.then(|| wall.now()));
    let status = Arc::new(Mutex::new(Status::at_start(store.approximate_rows(), positions(&sources))));
    let durable = Arc::new(Mutex::new(Durable { offsets: covered.offsets.clone(), at: None, failing: None }));
    let resumes = Arc::new(Mutex::default());
    let (stop, abandon) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));

    let checkpointer = Checkpointer {
        store: store.clone(),
        forgotten: covered.forgotten,
        log: log.clone(),
        letters,
        participants: participants.clone(),
        unread: VecDeque::new(),
        durable: durable.clone(),
        status: status.clone(),
        workers,
        shared: shared.clone(),
        abandon: abandon.clone(),
    };
    let checkpointer = spawn("checkpoint", move || checkpointer.run(&messages))?;
    let progress = Arc::new(Progress::new(workers));
    let (senders, threads, alive) = spawn_workers(&shared, sinks, &progress)?;
    let (asker, asks) = Asker::new(log.clone(), status.clone(), &shared);
    let coordinator = Coordinator {
        memory: Memory::new(shared.plan.runtime.engine.memory_max),
        shared,
        wall,
        log: log.clone(),
        participants,
        workers: senders,
        progress,
        sources,
        event_high,
        time,
        saved: covered.time,
        claim: loaded.then(|| ClockTime(covered.time).clock()),
        asks,
        status: status.clone(),
        durable: durable.clone(),
        resumes: resumes.clone(),
        stop: stop.clone(),
        alive: Box::new(move || alive.load(Ordering::Acquire)),
    };
    let monitor = Monitor { status, durable, resumes, log: log.clone() };
    let coordinator = spawn_coordinator(coordinator, (store.clone(), rebuild), monitor.clone(), abandon.clone())?;
    Ok(Engine { monitor, began, stop, abandon, log, store, asker, coordinator, checkpointer, workers: threads })
}

/// What writes dead letters, where the engine leaves anything behind.
fn letters(leaves: Leaves, log: &Arc<dyn Log>, share: Share, covered: &Covered) -> Result<Option<Writer>, StartError> {
    match leaves {
        Leaves::Everything => {
            let sources: Vec<_> = topic::inputs().map(|(_, name)| name).collect();
            let (seen, written) = (&covered.dead_letter_ends, covered.dead_letters_written.clone());
            Ok(Some(Writer::open(log, share, &sources, seen, written)?))
        }
        // Opening one would end that of an engine which runs.
        Leaves::Nothing => Ok(None),
    }
}

/// An error where the numbers of parts that the state has given out leave none for the plan's new ones.
fn refuse_without_room(plan: &Plan, covered: Option<&Covered>) -> Result<(), StartError> {
    match covered {
        Some(covered) if !Layout::has_room(plan, &covered.slots) => Err(StartError::State(NO_ROOM.to_owned())),
        Some(_) | None => Ok(()),
    }
}

/// What the threads of an engine share, at its start.
fn shared(
    plan: Arc<Plan>,
    layout: Layout,
    covered: &Covered,
    (share, home, metrics): (Share, Home, Metrics),
    (workers, versions, state): (usize, Versions, Sender<StateMessage>),
) -> Shared {
    Shared {
        new_tables: new_tables(&layout, covered),
        layout: Arc::new(layout),
        identities: identities(&plan),
        symbols: Arc::new(Symbols::default()),
        configs: Arc::new(Configs::default()),
        metrics,
        share,
        home,
        format: plan.tables.first().map(|table| table.format).unwrap_or_default(),
        settling: Settling::new(workers),
        histories: dashmap::DashMap::new(),
        event_high: Mutex::default(),
        dead: Mutex::default(),
        next_due: (0..workers).map(|_| AtomicI64::new(i64::MAX)).collect(),
        state,
        export: crate::shared::Export::default(),
        unsaved: AtomicU64::new(0),
        versions,
        behind: AtomicBool::new(true),
        untold: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        asks: crate::ask::Open::default(),
        sampler: crate::sampler::Sampler::default(),
        next_switch: AtomicI64::new(i64::MAX),
        live: plan.runtime.engine.clock == ClockMode::Live,
        plan,
    }
}

fn open_state(plan: &Plan, dir: &Path) -> Result<(StateStore, Option<Covered>), StartError> {
    let failed = |e: StateError| StartError::State(e.to_string());
    let store = StateStore::open(dir, plan.runtime.engine.checkpoints_kept).map_err(failed)?;
    let covered = store.covered().map_err(failed)?;
    Ok((store, covered))
}

impl Engine {
    /// A cheap handle to ask for [`Status`] from anywhere.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// A cheap handle to ask the views for previews and explanations.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// How far the partitions were covered by the checkpoint that it started from.
    pub fn began(&self) -> &[Position] {
        &self.began
    }

    /// The checkpoints that it makes.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints(self.store.clone())
    }

    /// Finishes what was read, writes a checkpoint, ends the workers.
    pub fn stop(self) -> Result<(), String> {
        self.stop.store(true, Ordering::Release);
        self.log.wake();
        self.join()
    }

    /// Ends without a last checkpoint, as a crash would: a restart continues from the one before.
    pub fn abandon(self) -> Result<(), String> {
        self.abandon.store(true, Ordering::Release);
        self.stop()
    }

    fn join(self) -> Result<(), String> {
        let ended = |_| "a thread of the engine panicked".to_owned();
        let outcome = self.coordinator.join().map_err(ended)?;
        self.workers.join().map_err(ended)??;
        self.checkpointer.join().map_err(ended)?;
        outcome
    }
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, StartError> {
    let name = format!("aulaflow-{name}");
    std::thread::Builder::new().name(name).spawn(run).map_err(|e| StartError::Workers(e.to_string()))
}

fn spawn_coordinator(
    mut coordinator: Coordinator,
    (store, rebuild): (StateStore, bool),
    monitor: Monitor,
    abandon: Arc<AtomicBool>,
) -> Result<JoinHandle<Result<(), String>>, StartError> {
    spawn("coordinator", move || {
        let (total, begun) = (store.approximate_rows(), Instant::now());
        let progress = |rows| monitor.status.lock().loading = Some((rows, total.max(rows)));
        let loaded = restore::load(&mut coordinator, &store, &progress).and_then(|rows| {
            coordinator.shared.metrics.restored(&coordinator.shared.share_labels(), begun.elapsed(), rows);
            drop(store);
            if rebuild { make_missing(&mut coordinator, &monitor) } else { Ok(()) }
        });
        let outcome = loaded.and_then(|()| {
            coordinator.participants.loaded();
            monitor.status.lock().loading = None;
            coordinator.run(&abandon)
        });
        if let Err(failure) = &outcome {
            tracing::error!(failure, "the engine has failed");
            monitor.status.lock().failure.get_or_insert_with(|| Failure::Engine(failure.clone()));
        }
        outcome
    })
}

type Spawned = (Vec<crossbeam_channel::Sender<ToWorker>>, JoinHandle<Result<(), String>>, Arc<AtomicBool>);

fn spawn_workers(shared: &Arc<Shared>, sinks: Vec<Fanout>, progress: &Arc<Progress>) -> Result<Spawned, StartError> {
    let (senders, receivers): (Vec<_>, Vec<_>) = sinks.iter().map(|_| bounded(WORKER_QUEUE)).unzip();
    let count = sinks.len();
    type Seat = (Fanout, Receiver<ToWorker>);
    let seats: Mutex<Vec<Option<Seat>>> = Mutex::new(sinks.into_iter().zip(receivers).map(Some).collect());
    let communication = if count == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(count) };
    let config = timely::Config { communication, worker: WorkerConfig::default() };
    let alive = Arc::new(AtomicBool::new(true));
    let (shared, progress, watched) = (shared.clone(), progress.clone(), alive.clone());
    let threads = spawn("workers", move || {
        let watched_by_worker = watched.clone();
        let guards = timely::execute(config, move |worker: &mut Worker| {
            // A worker that leaves, however, is the end of all: timely's rule.
            let _left = Left(watched_by_worker.clone());
            let seat = seats.lock().get_mut(worker.index()).and_then(Option::take);
            if let Some((sinks, receiver)) = seat {
                worker::run(worker, shared.clone(), sinks, &receiver, &progress);
            }
        });
        guards.and_then(|guards| guards.join().into_iter().collect::<Result<Vec<()>, _>>().map(|_| ()))
    })?;
    Ok((senders, threads, alive))
}

/// Says that a worker has left, also by a panic.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What versions are bounded by from now on. From now on an engine runs on the state.
fn versions(store: &StateStore, share: Share, sources: &[Source], floor: u32) -> Result<Versions, StartError> {
    let noted = store.note_running(true).map_err(|e| StartError::State(e.to_string()))?;
    // Another process may have had the partition since, and have shown what the state here does not cover.
    let moved = share != Share::All && sources.iter().any(|s| s.input != Input::Behavior && s.next < s.end_at_start);
    let unclean = noted || moved;
    let floor = if unclean { floor.max(versions_bound(sources)) } else { floor };
    Ok(Versions { floor, capped: unclean })
}

/// Every topic has a tenant in a partition of the same number, so one topic tells.
pub fn home(log: &Arc<dyn Log>) -> Result<Home, LogError> {
    let log = Arc::clone(log);
    // Asked once more whenever it is needed, so that an error here is found before anything starts.
    log.partition_of(topic::BEHAVIOR, "")?;
    Ok(Box::new(move |tenant| log.partition_of(topic::BEHAVIOR, tenant).unwrap_or(u32::MAX)))
}

/// Notes what a checkpoint is to hold though no record comes: a floor of versions, or a plan that is not that of the checkpoint
/// which is started from.
fn note_changes(shared: &Shared, covered: Option<&Covered>) {
    if shared.versions.capped || covered.is_some_and(|covered| is_changed(shared, covered)) {
        // Any epoch from now on is later than the checkpoint.
        shared.note_unsaved(covered.map_or(0, |covered| covered.time) + 1);
    }
}

/// Whether the next checkpoint holds another plan than the one that is started from: other views, other parts of aggregates, or
/// another memory of event ids. Without it the next start would make good for the same changes once more.
fn is_changed(shared: &Shared, covered: &Covered) -> bool {
    // Where ids are not remembered any more, what is known of them stays as it was.
    let horizon = |(at, number): (usize, &u16)| {
        let known = covered.forgotten.get(&u32::from(*number)).map(|forgotten| forgotten.horizon_ms);
        shared.plan.tables[at].dedupe_horizon_ms.is_some_and(|horizon| known != Some(horizon))
    };
    shared.layout.known() != covered.slots
        || shared.known_views() != covered.views
        || shared.layout.tables.iter().enumerate().any(horizon)
}

/// Tables that the state has nothing of.
fn new_tables(layout: &Layout, covered: &Covered) -> Vec<usize> {
    let known = covered.slots.tables.len();
    (0..layout.tables.len()).filter(|table| usize::from(layout.tables[*table]) >= known).collect()
}

/// Makes what no view needed before from the log.
fn make_missing(coordinator: &mut Coordinator, monitor: &Monitor) -> Result<(), String> {
    let shared = coordinator.shared.clone();
    let views: Vec<_> = shared.layout.missing_views().into_iter().collect();
    let names: Vec<_> = views.iter().map(|view| shared.plan.views[usize::from(*view)].schema.name.as_str()).collect();
    tracing::warn!(views = names.join(", "), "views were added or changed: what they need is made from the log");
    backfill::run(coordinator, &|done, total| monitor.status.lock().loading = Some((done, total.max(done))))
}

/// What is said where a state has no number left for a part of an aggregate.
pub const NO_ROOM: &str = "the state has given out all 65,535 numbers of parts of aggregates, after many changes of views: \
                           stop the instance, move the state folder away, and start again; everything is then made from the log";

/// The layout of a plan over what a state covers, and whether a part of it must be made from the log.
pub fn layout(plan: &Plan, covered: Option<&Covered>) -> (Layout, bool) {
    let layout = Layout::new(plan, covered.map_or(&KnownSlots::default(), |covered| &covered.slots));
    let rebuild = covered.is_some() && !layout.missing_views().is_empty();
    (layout, rebuild)
}

/// The time that a start goes on from: the checkpoint's, so that rows are made as they were emitted, and time passes then.
/// `now` on the live clock, for a start without a checkpoint.
pub fn first_time(covered: &Covered, now: Option<Millis>) -> ClockTime {
    match covered.time {
        0 => now.map_or(ClockTime::ZERO, ClockTime::at),
        time => ClockTime(time),
    }
}

/// A hash of what each view shows: its statement, and what it reads.
pub fn identities(plan: &Plan) -> Vec<u64> {
    let reads = |view: &aulaflow_plan::sql::View| match view.source {
        Relation::Table(table) => {
            let table = &plan.tables[table];
            let columns = table.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(",");
            format!("{}\0{columns}", table.topic)
        }
        Relation::View(inner) => plan.views[inner].text.clone(),
        Relation::Grades => "grades".to_owned(),
    };
    plan.views
        .iter()
        .map(|view| xxhash_rust::xxh3::xxh3_64(format!("{}\0{}", view.text, reads(view)).as_bytes()))
        .collect()
}

/// The partitions to read and where to read on. The log must still be the one that the state was made from.
pub fn sources(log: &dyn Log, share: Share, covered: &Covered) -> Result<Vec<Source>, StartError> {
    let mut sources = Vec::new();
    for (input, topic) in topic::inputs() {
        for partition in (0..log.partitions(topic)?).filter(|partition| share.has(*partition)) {
            let place = TopicPartition { topic: topic.to_owned(), partition };
            // Asked, since another engine may have shown what was appended a moment ago.
            let (start, end) = log.ask_bounds(&place)?;
            let next = covered.offsets.get(&(topic.to_owned(), partition)).copied();
            if let Some(next) = next.filter(|next| *next > end) {
                return Err(StartError::State(format!(
                    "the state covers {topic}/{partition} up to offset {next}, but the log ends at {end}: it is not the \
                     log that the state was made from. Bring that log back, or move the state folder away to rebuild it"
                )));
            }
            if let Some(offset) = next.filter(|next| *next < start) {
                let gone = LogError::Gone { topic: topic.to_owned(), partition, offset, start };
                return Err(StartError::State(format!(
                    "{gone}. Records that no view has seen were removed by retention: move the state folder away to \
                     rebuild it from what the log still has"
                )));
            }
            let next = next.unwrap_or(start);
            sources.push(Source::new((input, topic), place, next, end));
        }
    }
    Ok(sources)
}

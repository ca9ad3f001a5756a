//! The workers of an engine, fed by hand: epochs at given instants, checkpoints kept in memory, restarts from them.

use crate::ask::{Ask, Asked};
use crate::configs::Configs;
use crate::layout::Layout;
use crate::metrics::Metrics;
use crate::operators::behavior::BehaviorInput;
use crate::restore::Step;
use crate::shared::{AskedFeature, Chunk, EXPORT_PARTS, Export, Settling, Shared, StateMessage, Versions};
use crate::state::{self, Covered, EncodedChange, Gather, Key, KnownSlots, Loaded};
use crate::symbols::Symbols;
use crate::worker::{self, EpochInput, Progress, ToWorker};
use aulaflow_log::{RecordSet, RecordSetBuilder};
use aulaflow_model::change::FeatureValue;
use aulaflow_model::explain::FeatureExplanation;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_plan::Plan;
use aulaflow_sink::update::ChangeBatch;
use aulaflow_sink::update::CohortBatch;
use aulaflow_sink::{Fanout, IdempotentSink, Outcome};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Rows as they are shown, by student and view.
pub type Shown = BTreeMap<(String, u16), (Vec<FeatureValue>, Option<(Millis, Millis)>)>;

struct Remember(Arc<Mutex<Shown>>);

impl IdempotentSink for Remember {
    /// What was before is what was shown: updates of a row are a chain.
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        let shown = self.0.lock();
        for change in &batch.changes {
            for feature in &change.features {
                let key = (change.student.to_string(), feature.view);
                let before = feature.before.as_ref().map(|row| (row.values.to_vec(), row.session));
                assert_eq!(before.as_ref(), shown.get(&key), "before a change of {key:?}");
            }
        }
        drop(shown);
        self.snapshot(batch)
    }

    fn snapshot(&mut self, batch: &ChangeBatch) -> Outcome {
        let mut shown = self.0.lock();
        for change in &batch.changes {
            for feature in &change.features {
                let key = (change.student.to_string(), feature.view);
                match &feature.after {
                    Some(row) => shown.insert(key, (row.values.to_vec(), row.session)),
                    None => shown.remove(&key),
                };
            }
        }
        Outcome::Applied
    }

    fn apply_cohorts(&mut self, _batch: &CohortBatch) -> Outcome {
        Outcome::Applied
    }

    fn advance(&mut self, _frontier: ClockTime) {}
}

/// The log: records with the instants at which they were accepted.
#[derive(Default)]
pub struct Records(Vec<(Millis, Vec<u8>, Vec<u8>)>);

impl Records {
    pub fn push(&mut self, at: Millis, key: String, value: String) {
        self.0.push((at, key.into_bytes(), value.into_bytes()));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn set(&self, from: usize, to: usize) -> RecordSet {
        let mut set = RecordSetBuilder::default();
        for (at, key, value) in &self.0[from..to] {
            set.push(*at, key, Some(value), &[]);
        }
        set.finish()
    }
}

/// A checkpoint in memory.
pub struct Checkpoint {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    known: KnownSlots,
    pub covered: usize,
    pub time: ClockTime,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), known: KnownSlots::default(), covered: 0, time: ClockTime::ZERO }
    }
}

/// Running workers.
pub struct Running {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    workers: Vec<Sender<ToWorker>>,
    messages: Receiver<StateMessage>,
    threads: Option<timely::communication::WorkerGuards<()>>,
    pub shown: Arc<Mutex<Shown>>,
    pub time: ClockTime,
    /// Records read so far.
    pub read: usize,
    /// Error classes of the letters, by offset.
    pub dead: BTreeMap<u64, &'static str>,
}

/// What workers share, and the messages that they send to the state.
pub fn shared(plan: &Arc<Plan>, known: &KnownSlots, workers: usize) -> (Arc<Shared>, Receiver<StateMessage>) {
    let (state, messages) = bounded(100_000);
    let shared = Arc::new(Shared {
        new_tables: if known.tables.is_empty() { vec![0] } else { Vec::new() },
        identities: plan.views.iter().map(|v| xxhash_rust::xxh3::xxh3_64(v.text.as_bytes())).collect(),
        layout: Arc::new(Layout::new(plan, known)),
        symbols: Arc::new(Symbols::default()),
        configs: Arc::new(Configs::default()),
        metrics: Metrics::new(&mut Registry::default()),
        share: aulaflow_model::share::Share::All,
        home: Box::new(|_| 0),
        format: aulaflow_plan::sql::Format::Json,
        settling: Settling::new(workers),
        histories: dashmap::DashMap::new(),
        event_high: Mutex::default(),
        dead: Mutex::default(),
        next_due: (0..workers).map(|_| AtomicI64::new(i64::MAX)).collect(),
        state,
        export: Export::default(),
        unsaved: std::sync::atomic::AtomicU64::new(0),
        versions: Versions::default(),
        behind: std::sync::atomic::AtomicBool::new(true),
        untold: (0..workers).map(|_| std::sync::atomic::AtomicUsize::new(0)).collect(),
        asks: crate::ask::Open::default(),
        sampler: crate::sampler::Sampler::default(),
        next_switch: AtomicI64::new(i64::MAX),
        live: true,
        plan: plan.clone(),
    });
    (shared, messages)
}

impl Running {
    pub fn start(plan: &Arc<Plan>, checkpoint: &Checkpoint, records: &Records, workers: usize) -> Self {
        let (shared, messages) = shared(plan, &checkpoint.known, workers);
        let rebuild = checkpoint.time > ClockTime::ZERO && !shared.layout.missing_views().is_empty();
        let progress = Arc::new(Progress::new(workers));
        let shown = Arc::new(Mutex::new(Shown::new()));
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded::<ToWorker>(8)).unzip();
        let seats: Mutex<Vec<_>> = Mutex::new(receivers.into_iter().map(Some).collect());
        let communication = if workers == 1 {
            timely::CommunicationConfig::Thread
        } else {
            timely::CommunicationConfig::Process(workers)
        };
        let config = timely::Config { communication, worker: timely::WorkerConfig::default() };
        let (of_workers, watched, remembered) = (shared.clone(), progress.clone(), shown.clone());
        let threads = timely::execute(config, move |worker| {
            let receiver = seats.lock()[worker.index()].take().unwrap();
            worker::run(
                worker,
                of_workers.clone(),
                Fanout::new().with(Remember(remembered.clone())),
                &receiver,
                &watched,
            );
        });
        let mut running = Self {
            shared,
            progress,
            workers: senders,
            messages,
            threads: Some(threads.unwrap()),
            shown,
            time: checkpoint.time,
            read: checkpoint.covered,
            dead: BTreeMap::new(),
        };
        running.load(checkpoint);
        if rebuild {
            let chunk = |records| BehaviorInput::Backfill(Chunk { partition: 0, base_offset: 0, records });
            let set = records.set(0, checkpoint.covered);
            let inputs = running.split(&set, &chunk);
            running.epoch(inputs, running.time.clock(), false, true);
        }
        running
    }

    fn load(&mut self, checkpoint: &Checkpoint) {
        let mut step = Step::new(self.workers.len());
        let mut kinds = None;
        let order = |loaded: &Loaded| match loaded {
            Loaded::Row(Key::History(..), _) => 0,
            Loaded::Row(Key::Tenant(_) | Key::Evaluation(..), _) => 1,
            Loaded::Row(Key::Ids(..), _) => 2,
            Loaded::Row(Key::Pane(..), _) | Loaded::Student(..) => 3,
        };
        let mut gather = Gather::default();
        let mut rows: Vec<_> = checkpoint.rows.iter().filter_map(|(k, v)| gather.push(k, v).unwrap()).collect();
        rows.extend(gather.finish());
        rows.sort_by_key(order);
        for row in rows {
            if kinds.is_some_and(|kind| kind != order(&row)) {
                let full = std::mem::replace(&mut step, Step::new(self.workers.len()));
                self.epoch(full.inputs, self.time.clock(), false, true);
            }
            kinds = Some(order(&row));
            step.add(&self.shared, row).unwrap();
        }
        self.epoch(step.inputs, self.time.clock(), false, true);
    }

    fn split(&self, set: &RecordSet, input: &dyn Fn(RecordSet) -> BehaviorInput) -> Vec<EpochInput> {
        let of = self.workers.len() as u32;
        let part = |n: u32| input(set.slice(set.len() * n / of, set.len() * (n + 1) / of));
        let one = |n| EpochInput { behavior: vec![part(n)], ..EpochInput::default() };
        (0..of).map(one).collect()
    }

    /// Reads on to a record, at a clock; with a checkpoint after it, if asked.
    pub fn step(&mut self, records: &Records, to: usize, clock: Millis, checkpoint: Option<&mut Checkpoint>) {
        // Records may have waited for as long as the clock likes; without any, what comes is new.
        self.shared.behind.store(to > self.read, Ordering::Release);
        let base = self.read as u64;
        let set = records.set(self.read, to);
        let inputs =
            self.split(&set, &|records| BehaviorInput::Chunk(Chunk { partition: 0, base_offset: base, records }));
        self.read = to;
        if checkpoint.is_some() {
            self.shared.export.parts.store(self.workers.len() * EXPORT_PARTS, Ordering::Release);
            self.shared.export.hurry.store(true, Ordering::Release);
        }
        self.epoch(inputs, clock, checkpoint.is_some(), false);
        let mut exported = 0;
        let mut changes: Vec<EncodedChange> = Vec::new();
        while let Ok(message) = self.messages.try_recv() {
            match message {
                StateMessage::Dead(letter) => drop(self.dead.insert(letter.offset, letter.class.name())),
                StateMessage::DeadAt { offset, class, .. } => drop(self.dead.insert(offset, class.name())),
                StateMessage::Changes(more) => changes.extend(more.iter().map(state::encode)),
                StateMessage::Histories(students) => {
                    let symbols = &self.shared.symbols;
                    changes.extend(students.into_iter().map(|(s, history)| state::encode_history(symbols, s, history)));
                }
                StateMessage::Panes(students) => {
                    for (student, panes) in students {
                        state::encode_panes(&self.shared.symbols, student, panes, &mut changes);
                    }
                }
                StateMessage::Exported => exported += 1,
                StateMessage::Complete(_) | StateMessage::Barrier { .. } | StateMessage::Stop { .. } => {}
            }
        }
        if let Some(checkpoint) = checkpoint {
            assert_eq!(exported, self.workers.len() * EXPORT_PARTS);
            for (key, row) in changes {
                match row {
                    Some(row) => drop(checkpoint.rows.insert(key, row)),
                    None => drop(checkpoint.rows.remove(&key)),
                }
            }
            let panes_from = self.shared.layout.panes_from(self.time.clock());
            let expired = Covered { panes_from, ..Covered::default() }.expired();
            checkpoint.rows.retain(|key, _| !expired(key));
            checkpoint.known = self.shared.layout.known();
            checkpoint.covered = self.read;
            checkpoint.time = self.time;
        }
    }

    /// The plan that is in force.
    pub fn plan(&self) -> Arc<Plan> {
        self.shared.plan.clone()
    }

    /// Explains a student's row, as of the last epoch's clock.
    pub fn explain(&mut self, student: &str, view: u16) -> Option<FeatureExplanation> {
        let (_, student) = self.shared.symbols.find_student("t", student)?;
        let waits = Arc::new(());
        let (ask, answer) = Ask::new(Asked::Feature { student, view }, Arc::downgrade(&waits));
        self.shared.asks.open(1, ask);
        let asked = AskedFeature { no: 1, student, view };
        let input = || EpochInput { asked_features: vec![asked], ..EpochInput::default() };
        self.epoch(self.workers.iter().map(|_| input()).collect(), self.time.clock(), false, false);
        self.shared.asks.close(1, self.time.0);
        answer.try_recv().unwrap().feature
    }

    fn epoch(&mut self, inputs: Vec<EpochInput>, clock: Millis, barrier: bool, loading: bool) {
        self.progress.wait_here();
        self.time = self.time.next(clock);
        for (index, (worker, mut input)) in self.workers.iter().zip(inputs).enumerate() {
            (input.time, input.barrier, input.loading) = (self.time.0, barrier, loading);
            worker.send(ToWorker::Epoch(input)).unwrap();
            self.progress.wake(index);
        }
        while self.progress.complete() < self.time.0 {
            assert!(
                self.threads.as_ref().is_some_and(|t| t.guards().iter().all(|g| !g.is_finished())),
                "a worker ended"
            );
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }

    /// Ends at once, as a crash does for whoever reads the checkpoint.
    pub fn stop(mut self) {
        for (index, worker) in self.workers.iter().enumerate() {
            worker.send(ToWorker::Stop).unwrap();
            self.progress.wake(index);
        }
        drop(self.threads.take());
    }
}

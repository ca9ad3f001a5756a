//! A process of the made-up dataflow: serving store, recorder and sender.

use crate::engine::{VIEWS, plan, tables};
use crate::harness::{after, hand_over};
use crate::world::{State, WORKERS, World};
use aulaflow_clickhouse::{
    Access, Limits, Pace, PseudonymKeys, Queue, Recorder, RecorderHandle, RecorderMetrics, RecorderStart, Sender,
    SenderMetrics, SenderStart, Server, SinkState, SinkStatus, TablesBy,
};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_serving::{ReadHalf, WriteHalf};
use aulaflow_sink::update::ChangeBatch;
use aulaflow_sink::{IdempotentSink, Outcome, Participant};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where an engine can go on from.
#[derive(Clone)]
pub struct Checkpoint {
    pub epoch: usize,
    pub mark: Option<Vec<u8>>,
}

/// What processes have in common.
pub struct Setting {
    pub plan: Plan,
    pub server: Arc<Server>,
    pub keys: Arc<PseudonymKeys>,
    pub share: Share,
    pub alone: bool,
    pub claim_wait: Duration,
    pub limits: Limits,
}

pub struct Process {
    pub store: ReadHalf,
    recorder: Recorder,
    sender: Sender,
    queues: Vec<Queue>,
    writers: Vec<WriteHalf>,
}

impl Setting {
    /// Of processes that write there, make the tables themselves and are alone.
    pub fn new(access: &Access, keys: &Path) -> Self {
        Self {
            plan: plan(VIEWS),
            server: Self::server(access, TablesBy::Us),
            keys: Arc::new(PseudonymKeys::open(keys).unwrap()),
            share: Share::All,
            alone: true,
            claim_wait: Duration::from_millis(200),
            limits: Limits { block_rows_max: 16, block_age_max: Duration::from_millis(10), ..Limits::default() },
        }
    }

    /// In a hurry.
    pub fn server(access: &Access, by: TablesBy) -> Arc<Server> {
        let access = access.clone();
        let (first, most, slow) = (Duration::from_millis(5), Duration::from_millis(50), Duration::from_millis(100));
        let pace = Pace { first, most, slow };
        Server::new(Arc::new(move || Ok(access.clone())), tables(VIEWS), by, pace, SenderMetrics::default())
    }
}

impl Process {
    /// Starts one that goes on from a checkpoint.
    pub fn start(setting: &Setting, dir: &Path, world: &World, from: &Checkpoint) -> Self {
        let schemas: Arc<[ViewSchema]> = setting.plan.views.iter().map(|view| view.schema.clone()).collect();
        let (writers, store) = aulaflow_serving::store(schemas, Vec::new(), 100, WORKERS);
        let start = RecorderStart {
            share: setting.share,
            dir: dir.to_owned(),
            tables: Arc::clone(setting.server.tables()),
            store: store.clone(),
            workers: WORKERS,
            keys: Arc::clone(&setting.keys),
            limits: setting.limits,
            metrics: RecorderMetrics::default(),
            at: |_| {},
        };
        let (recorder, queues) = Recorder::start(start).unwrap();
        let sender = Sender::start(SenderStart {
            share: setting.share,
            recorder: recorder.handle(),
            server: Arc::clone(&setting.server),
            is_ours: Arc::new(|_| true),
            alone: setting.alone,
            claim_wait: setting.claim_wait,
            at: |_| {},
        });
        let mut process = Self { store, recorder, sender: sender.unwrap(), queues, writers };
        process.recorder.handle().restore(from.mark.as_deref());
        let loaded = world.batches(&State::new(), from.epoch);
        for (writer, batch) in process.writers.iter_mut().zip(loaded) {
            assert_eq!(writer.apply(&batch), Outcome::Applied);
        }
        process.advance(world.times[from.epoch]);
        process
    }

    /// Shows and tells what changes from one epoch to another.
    pub fn go(&mut self, world: &World, from: usize, to: usize) {
        for (worker, batch) in world.batches(&world.states[from], to).iter().enumerate() {
            if !batch.changes.is_empty() {
                self.tell(worker, batch);
            }
        }
        self.advance(world.times[to]);
    }

    /// The same, epoch by epoch.
    pub fn go_each(&mut self, world: &World, from: usize, to: usize) {
        (from..to).for_each(|epoch| self.go(world, epoch, epoch + 1));
    }

    fn tell(&mut self, worker: usize, batch: &ChangeBatch) {
        self.queues[worker].begin(batch.time);
        assert_eq!(self.writers[worker].apply(batch), Outcome::Applied);
        hand_over(&mut self.queues[worker], batch);
    }

    fn advance(&mut self, time: ClockTime) {
        for (writer, queue) in self.writers.iter_mut().zip(&mut self.queues) {
            writer.advance(after(time));
            queue.advance(after(time));
        }
    }

    pub fn caught_up(&self) {
        self.recorder.handle().caught_up();
    }

    pub fn recorder(&self) -> RecorderHandle {
        self.recorder.handle()
    }

    /// Waits until the sender is in a state; what it says then.
    pub fn until(&self, state: SinkState, patience: Duration) -> SinkStatus {
        let started = Instant::now();
        loop {
            let status = self.status();
            if status.state == state {
                return status;
            }
            assert!(started.elapsed() < patience, "not {state:?} after {patience:?}: {status:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn status(&self) -> SinkStatus {
        self.sender.status()
    }

    /// A checkpoint, and whether what was recorded is all that is shown.
    pub fn checkpoint(&self, world: &World, epoch: usize, patience: Duration) -> (Checkpoint, bool) {
        let handle = self.recorder.handle();
        let mark = handle.prepare(world.times[epoch], patience).expect("the recorder's disk takes everything");
        (Checkpoint { epoch, mark: Some(mark) }, handle.is_whole())
    }

    /// Waits until what was recorded is all that is shown.
    pub fn until_whole(&self, patience: Duration) {
        let started = Instant::now();
        while !self.recorder.handle().is_whole() {
            assert!(
                started.elapsed() < patience,
                "nothing is whole after {patience:?}: {:?} {:?}",
                self.status(),
                self.recorder.handle().failure()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether everything was sent.
    pub fn stop(self, patience: Duration) -> bool {
        self.recorder.close();
        self.sender.stop(patience)
    }

    /// Ends it as a crash would; whether everything that was recorded was sent.
    pub fn kill(self) -> bool {
        let outbox = self.recorder.outbox();
        self.sender.stop(Duration::ZERO);
        self.recorder.abandon();
        outbox.blocks() == 0
    }
}

//! The recorder as others see it: it is started, told where to go on, waited for, and stopped. What its thread does is in `work`.

use crate::metrics::RecorderMetrics;
use crate::outbox::Outbox;
use crate::pseudonym::PseudonymKeys;
use crate::queue::{Inbox, Queue};
use crate::rebuild::{Rebuild, RebuildError};
use crate::store::{Meta, Store, StoreError};
use crate::tables::{Source, Tables};
use crate::work::Work;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::share::Share;
use aulaflow_serving::ReadHalf;
use aulaflow_sink::{Participant, Token};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The names of the places that [`RecorderStart::at`] is called with, for a driver that tries each.
pub const CRASH_POINTS: &[&str] =
    &["clickhouse.commit.before", "clickhouse.blocks.written", "clickhouse.commit.after", "clickhouse.compared"];

/// How long a recorder may take to lay down its work: a commit, at most.
const LAYING_DOWN: Duration = Duration::from_secs(10);

/// What a recorder is started with.
pub struct RecorderStart {
    /// Whose rows: those of the tenants in these partitions.
    pub share: Share,
    /// Where the local store is; made where it is missing. Nobody else may have it open.
    pub dir: PathBuf,
    /// What is kept.
    pub tables: Arc<Tables>,
    /// What the rows are.
    pub store: ReadHalf,
    /// How many workers fill the store.
    pub workers: usize,
    /// The tenants' keys.
    pub keys: Arc<PseudonymKeys>,
    /// How much at once.
    pub limits: Limits,
    /// What it counts.
    pub metrics: RecorderMetrics,
    /// Called before and after every durable step with its name: where a test ends the process.
    pub at: fn(&'static str),
}

/// How much at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A block is finished when this many rows have changed.
    pub block_rows_max: usize,
    /// Or when all that changed takes this much.
    pub block_bytes_max: usize,
    /// Or when the first change has waited for this long.
    pub block_age_max: Duration,
    /// While this much waits to be sent, nothing more is recorded, and the dataflow is held back.
    pub outbox_bytes_max: u64,
    /// Changed rows that wait to be recorded before workers wait for the recorder.
    pub queue_rows_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_rows_max: 100_000,
            block_bytes_max: 32 << 20,
            block_age_max: Duration::from_secs(1),
            outbox_bytes_max: 4 << 30,
            queue_rows_max: 200_000,
        }
    }
}

/// A running recorder.
///
/// It is started, and then, before anything is loaded: either [`Recorder::rebuild`] or nothing, then [`Recorder::based`]. The
/// engine has the handle as a [`Participant`], and its workers the queues.
/// Dropping it does not stop it: call [`Recorder::close`] or [`Recorder::abandon`]. The folder can be opened again when every
/// handle and every clone of the outbox is dropped as well.
pub struct Recorder {
    handle: RecorderHandle,
    thread: JoinHandle<()>,
}

/// A running recorder, for whoever makes checkpoints.
#[derive(Clone)]
pub struct RecorderHandle(Arc<Control>);

/// What the recorder's thread shares with everybody else.
pub(crate) struct Control {
    pub state: Mutex<State>,
    /// Wakes who waits for the thread.
    pub done: Condvar,
    pub inbox: Arc<Inbox>,
    pub store: Arc<Store>,
    pub outbox: Outbox,
    pub tables: Arc<Tables>,
    pub keys: Arc<PseudonymKeys>,
    pub share: Share,
    outbox_bytes_max: u64,
    /// What the store was closed as.
    closed: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    resumed: bool,
    /// The local store is older than what it has said to be.
    pub lost: bool,
    /// The local store is what ClickHouse holds, or will with the outbox.
    pub based: bool,
    /// The thread uses the local store.
    pub at_work: bool,
    /// What is told from the start on is all that changed.
    pub in_step: bool,
    pub caught_up: bool,
    /// What was recorded is all that is shown, as of the recorder's position.
    pub whole: bool,
    /// Changes are told that nobody takes: it will not be whole again.
    pub released: bool,
    pub ending: Option<Ending>,
    /// Somebody waits for this time.
    pub wanted: u64,
    /// Everything up to this time is on the disk.
    pub reached: Option<u64>,
    /// Why nothing can be written, while it cannot.
    pub trouble: Option<String>,
    /// Why nothing will ever be recorded again.
    pub failed: Option<String>,
}

/// How a recorder ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    Close,
    /// As after a crash.
    Abandon,
}

/// What a checkpoint keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    writer: String,
    time: u64,
    whole: bool,
}

impl Recorder {
    /// Starts a recorder, and a queue for each worker.
    pub fn start(start: RecorderStart) -> Result<(Self, Vec<Queue>), StoreError> {
        let (store, closed) = Store::open(&start.dir.join("rows"), &start.tables)?;
        let store = Arc::new(store);
        let outbox = Outbox::open(&start.dir.join("outbox"), &store)?;
        let mut views = Vec::new();
        for relation in &start.tables.relations {
            if let Source::View(index) = relation.source {
                views.resize(views.len().max(usize::from(index) + 1), false);
                views[usize::from(index)] = true;
            }
        }
        let inbox = Arc::new(Inbox::new(views, start.limits.queue_rows_max));
        let queues = (0..start.workers.max(1)).map(|worker| Queue::new(&inbox, worker)).collect();
        let control = Arc::new(Control {
            state: Mutex::default(),
            done: Condvar::new(),
            inbox,
            store,
            outbox,
            tables: Arc::clone(&start.tables),
            keys: Arc::clone(&start.keys),
            share: start.share,
            outbox_bytes_max: start.limits.outbox_bytes_max,
            closed,
        });
        let thread = std::thread::Builder::new().name(format!("aulaflow-recorder-{}", start.share));
        let (dir, shared) = (start.dir.clone(), Arc::clone(&control));
        let thread = thread.spawn(move || Work::new(start, shared).run());
        let thread = thread.map_err(|error| StoreError::Io { path: dir, error })?;
        Ok((Self { handle: RecorderHandle(control), thread }, queues))
    }

    /// The handle.
    pub fn handle(&self) -> RecorderHandle {
        self.handle.clone()
    }

    /// See [`RecorderHandle::outbox`].
    pub fn outbox(&self) -> Outbox {
        self.handle.outbox()
    }

    /// See [`RecorderHandle::is_new`].
    pub fn is_new(&self) -> bool {
        self.handle.is_new()
    }

    /// See [`RecorderHandle::rebuild`].
    pub fn rebuild(&self) -> Result<Rebuild, RebuildError> {
        self.handle.rebuild()
    }

    /// See [`RecorderHandle::based`].
    pub fn based(&self) {
        self.handle.based();
    }

    /// Ends in order: records what was told completely, so that the next start can go on from there. Call it after the engine has
    /// ended with a last checkpoint.
    pub fn close(self) {
        self.end(Ending::Close);
    }

    /// Ends as a crash would: what was not written yet stays unwritten.
    pub fn abandon(self) {
        self.end(Ending::Abandon);
    }

    fn end(self, ending: Ending) {
        self.handle.0.state.lock().ending = Some(ending);
        self.handle.0.inbox.wake();
        if self.thread.join().is_err() {
            tracing::error!("the recorder's thread has panicked");
        }
        self.handle.0.inbox.close();
    }
}

impl RecorderHandle {
    /// Finished blocks, for the sender.
    pub fn outbox(&self) -> Outbox {
        self.0.outbox.clone()
    }

    /// Whether the local store is new: nothing was ever recorded here. If ClickHouse has rows of these tenants, it must be rebuilt.
    pub fn is_new(&self) -> bool {
        self.0.store.meta().is_new
    }

    /// Makes the local store again, from ClickHouse. To be finished before [`RecorderHandle::based`]. A recorder that is at work
    /// lays it down: nothing is recorded until then, and all that is shown is compared after it.
    pub fn rebuild(&self) -> Result<Rebuild, RebuildError> {
        let control = &self.0;
        let deadline = Instant::now() + LAYING_DOWN;
        let mut state = control.state.lock();
        (state.based, state.in_step, state.whole, state.reached) = (false, false, false, None);
        control.inbox.want_not();
        control.inbox.wake();
        while state.at_work {
            let ends = state.ending.is_some() || state.failed.is_some();
            if ends || control.done.wait_until(&mut state, deadline).timed_out() {
                return Err(RebuildError::AtWork);
            }
        }
        drop(state);
        Rebuild::begin(Arc::clone(&control.store), Arc::clone(&control.tables), control.outbox.clone())
    }

    /// The local store is what ClickHouse holds, or will with the outbox: the recorder may go to work. Called before
    /// [`Participant::restore`], a store that was closed in order need not be compared. Called later, it is: until then nothing is
    /// recorded, and nothing waits.
    pub fn based(&self) {
        self.0.state.lock().based = true;
        self.0.go_on();
    }

    /// Whether all that is shown was recorded, as of the recorder's position: no comparison is under way.
    pub fn is_whole(&self) -> bool {
        self.0.state.lock().whole
    }

    /// Whether so much waits to be sent that the dataflow is held back. An engine that is to end in order would wait, too.
    pub fn is_full(&self) -> bool {
        self.0.outbox.bytes() >= self.0.outbox_bytes_max
    }

    /// Holds nobody back any more: what is told from now on is lost, and found by the comparison of the next start. For an engine
    /// that has to end while ClickHouse is away.
    pub fn release(&self) {
        let mut state = self.0.state.lock();
        (state.whole, state.released) = (false, true);
        drop(state);
        self.0.inbox.close();
    }

    /// Why nothing can be recorded at the moment: the dataflow is held back by that, sooner or later.
    pub fn trouble(&self) -> Option<String> {
        self.0.state.lock().trouble.clone()
    }

    /// Why it will never record again.
    pub fn failure(&self) -> Option<String> {
        self.0.state.lock().failed.clone()
    }
}

impl Participant for RecorderHandle {
    fn restore(&self, token: Option<&[u8]>) {
        let control = &self.0;
        let mark = token.and_then(|bytes| serde_json::from_slice::<Mark>(bytes).ok());
        let meta = control.store.meta();
        let mut state = control.state.lock();
        state.resumed = true;
        state.in_step = state.based && mark.as_ref().is_some_and(|mark| control.is_in_step(mark, &meta));
        // What was on the disk before a mark was given is not there: numbers of blocks would be given a second time.
        state.lost = mark.is_some_and(|mark| mark.whole && mark.writer == meta.writer && mark.time > meta.reached);
        drop(state);
        control.go_on();
    }

    /// The serving store is at least as new as it ever was.
    fn caught_up(&self) {
        self.0.state.lock().caught_up = true;
        self.0.go_on();
    }

    /// Waits until everything up to `barrier` is recorded and on the disk. The error says what it waits for.
    fn prepare(&self, barrier: ClockTime, timeout: Duration) -> Result<Token, String> {
        let control = &self.0;
        let deadline = Instant::now() + timeout;
        let mut state = control.state.lock();
        loop {
            if let Some(reason) = &state.failed {
                return Err(reason.clone());
            }
            // Where nothing is wanted yet there is nothing to wait for: a comparison will make good.
            if !control.inbox.is_wanted() || state.reached.is_some_and(|reached| reached >= barrier.0) {
                let whole = state.whole && control.inbox.is_wanted();
                let mark = Mark { writer: control.store.meta().writer, time: barrier.0, whole };
                return serde_json::to_vec(&mark).map_err(|error| error.to_string());
            }
            state.wanted = state.wanted.max(barrier.0);
            control.inbox.wake();
            if control.done.wait_until(&mut state, deadline).timed_out() {
                let waits = "changes are still being recorded for ClickHouse: the recorder goes on";
                return Err(state.trouble.clone().unwrap_or_else(|| waits.to_owned()));
            }
        }
    }
}

impl Control {
    /// Wants changes as soon as they can be recorded.
    fn go_on(&self) {
        let state = self.state.lock();
        if state.based && state.resumed && (state.in_step || state.caught_up) {
            self.inbox.want();
        }
        drop(state);
        self.inbox.wake();
    }

    fn is_in_step(&self, mark: &Mark, meta: &Meta) -> bool {
        mark.whole
            && mark.writer == meta.writer
            && self.closed.as_ref() == Some(&self.made_by())
            && meta.last_time <= mark.time
            && mark.time <= meta.reached
    }

    /// What rows are made by: the plan and the keys.
    pub fn made_by(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.tables.made_by);
        hash.update(self.keys.fingerprint());
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

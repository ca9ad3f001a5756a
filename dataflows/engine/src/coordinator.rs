//! The thread that turns the log into epochs: it reads bounded batches, decides each epoch's time, hands its parts to
//! the workers, and keeps at most a few epochs under way: that is the backpressure.

mod next;
mod sources;

use crate::Status;
use crate::ask::{ASKS_MAX, Ask, Asked};
use crate::checkpoint::Durable;
use crate::clock::{PartitionTime, event_clock};
use crate::memory::{Memory, Room, SHORT_RECORDS};
use crate::operators::ask::AskRef;
use crate::operators::behavior::BehaviorInput;
use crate::operators::evaluations::EvaluationInput;
use crate::operators::tenants::TenantInput;
use crate::sampler::Sampling;
use crate::shared::{AskedFeature, Chunk, EXPORT_PARTS, Shared, StateMessage, Tell, Time};
use crate::wall::Wall;
use crate::worker::{EpochInput, Progress, ToWorker};
use aulaflow_log::{Log, LogError, Offset};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::topic::Input;
use aulaflow_sink::Participants;
use crossbeam_channel::{Receiver, Sender};
use next::{CatchingUp, Outstanding, Reading};
use parking_lot::Mutex;
pub use sources::{Source, positions, versions_bound};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Epochs under way at most: one that finishes while the next is read.
const UNDER_WAY_MAX: usize = 2;
/// A quiet live clock moves on this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Bytes read from one partition at a time.
const READ_BYTES_MAX: usize = 1 << 20;
/// Time between two looks for partitions that were added.
const PARTITIONS_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks while memory is used up.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// Fewer records than this are not split over the workers.
const SPLIT_MIN: u32 = 1_024;

/// An epoch that the workers work on.
struct UnderWay {
    time: ClockTime,
    offsets: Vec<Offset>,
    /// Log timestamps of the first record of each set in it.
    accepted: Vec<Millis>,
    barrier: bool,
    tell: Tell,
    /// Numbers of the questions that it answers.
    asks: Vec<u64>,
    /// By source: records in it, and when the log took the first.
    read: Vec<(u64, Option<Millis>)>,
}

/// The coordinator's state.
pub struct Coordinator {
    /// With everybody.
    pub shared: Arc<Shared>,
    /// What the live clock reads.
    pub wall: Wall,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Sinks outside the process.
    pub participants: Participants,
    /// Channels to the workers.
    pub workers: Vec<Sender<ToWorker>>,
    /// How far the workers are.
    pub progress: Arc<Progress>,
    /// What is read.
    pub sources: Vec<Source>,
    /// What the process may use.
    pub memory: Memory,
    /// Highest event time by behaviour partition, of the complete epochs.
    pub event_high: BTreeMap<u32, Millis>,
    /// The last epoch's time.
    pub time: ClockTime,
    /// The checkpoint's clock, if there is one: all that can be claimed until the log was read to where it ended at the
    /// start, since records that were accepted soon after it are not read yet.
    pub claim: Option<Millis>,
    /// Everything up to this time is in a checkpoint, or will be in the one that is under way.
    pub saved: Time,
    /// Questions that wait for an epoch.
    pub asks: Receiver<Ask>,
    /// For whoever wants to know.
    pub status: Arc<Mutex<Status>>,
    /// What is durable.
    pub durable: Arc<Mutex<Durable>>,
    /// Topics whose sources are to be read on.
    pub resumes: Arc<Mutex<BTreeSet<String>>>,
    /// Set to end.
    pub stop: Arc<AtomicBool>,
    /// Whether the workers' and the state's threads live.
    pub alive: Box<dyn Fn() -> bool + Send>,
}

/// What the loop keeps besides.
struct Loop {
    under_way: VecDeque<UnderWay>,
    last_epoch: Instant,
    last_barrier: Instant,
    /// When partitions were last looked for.
    last_look: Instant,
    /// Offsets that the last barrier covers.
    covered: Vec<Offset>,
    /// Offsets that the last epoch was made at.
    made_at: Vec<Offset>,
    catching_up: CatchingUp,
    /// No epoch was made yet.
    first: bool,
    /// The last gathering took all it may: more is waiting.
    backlog: bool,
    seen: u64,
    turn: usize,
    /// Questions given to the workers so far.
    asked: u64,
    sampling: Sampling,
}

/// What one gathering found.
#[derive(Default)]
struct Gathered {
    inputs: Vec<EpochInput>,
    records: usize,
    bytes: usize,
    accepted: Vec<Millis>,
    /// As in [`UnderWay`].
    read: Vec<(u64, Option<Millis>)>,
}

impl Coordinator {
    /// Works until told to stop: then everything read is finished and written. An error ends the process.
    pub fn run(mut self, abandon: &AtomicBool) -> Result<(), String> {
        self.progress.wait_here();
        let started = Instant::now();
        let mut state = Loop {
            under_way: VecDeque::new(),
            last_epoch: started,
            last_barrier: started,
            last_look: started,
            covered: self.durable_offsets(),
            made_at: self.offsets(),
            catching_up: CatchingUp::default(),
            first: true,
            backlog: true,
            seen: 0,
            turn: 0,
            asked: 0,
            sampling: Sampling::default(),
        };
        while !self.stop.load(Ordering::Acquire) {
            self.reap(&mut state);
            self.resume();
            if !(self.alive)() {
                return Err("a worker has ended".to_owned());
            }
            let room = self.memory.room();
            if state.under_way.len() >= if room == Room::Enough { UNDER_WAY_MAX } else { 1 } {
                std::thread::park_timeout(Duration::from_millis(5));
                continue;
            }
            let tick = self.shared.plan.runtime.engine.tick;
            if let Some(rest) = tick.checked_sub(state.last_epoch.elapsed()).filter(|_| !state.backlog && !state.first)
            {
                std::thread::park_timeout(rest);
                continue;
            }
            if state.last_look.elapsed() >= PARTITIONS_EVERY {
                state.last_look = Instant::now();
                let added = self.find_partitions().map_err(|e| e.to_string())?;
                state.covered.extend(added);
            }
            let gathered = match room {
                // What is under way gives back some of it when it is done, and the clock when windows move.
                Room::Full => self.nothing(),
                Room::Short | Room::Enough => self.gather(room, &mut state).map_err(|e| e.to_string())?,
            };
            if gathered.records > 0 || self.outstanding(&state).epoch_is_due() {
                self.epoch(gathered, &mut state, false);
            } else if state.under_way.is_empty() {
                self.rest(&mut state);
            } else {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
        if abandon.load(Ordering::Acquire) {
            self.end();
            return Ok(());
        }
        self.finish(&mut state)
    }

    fn durable_offsets(&self) -> Vec<Offset> {
        let durable = self.durable.lock();
        let key = |s: &Source| (s.topic.to_owned(), s.place.partition);
        self.sources.iter().map(|s| durable.offsets.get(&key(s)).copied().unwrap_or(0)).collect()
    }

    /// How far was read.
    fn offsets(&self) -> Vec<Offset> {
        self.sources.iter().map(|s| s.next).collect()
    }

    /// Reads what there is, in turns, up to the batch's limit.
    fn gather(&mut self, room: Room, state: &mut Loop) -> Result<Gathered, LogError> {
        let workers = self.workers.len();
        let settings = &self.shared.plan.runtime.engine;
        let (mut records_max, bytes_max) = (settings.batch_records_max, settings.batch_bytes_max);
        if room != Room::Enough {
            records_max = records_max.min(SHORT_RECORDS);
        }
        let mut gathered = self.nothing();
        let mut idle = 0;
        while gathered.records < records_max && gathered.bytes < bytes_max && idle < self.sources.len() {
            let at = state.turn % self.sources.len();
            state.turn += 1;
            let source = &mut self.sources[at];
            if source.stalled.is_some() {
                idle += 1;
                continue;
            }
            let fetched = self.log.read(&source.place, source.next, READ_BYTES_MAX)?;
            // Also where nothing comes: a log may have offsets without records.
            source.next = fetched.next_offset;
            if fetched.records.is_empty() {
                idle += 1;
                continue;
            }
            idle = 0;
            source.last_data = Some(Instant::now());
            gathered.records += fetched.records.len() as usize;
            gathered.bytes += fetched.records.len_bytes();
            let first = fetched.records.iter().next().map(|r| r.timestamp);
            gathered.accepted.extend(first);
            source.last_timestamp = first.or(source.last_timestamp);
            let read = &mut gathered.read[at];
            *read = (read.0 + u64::from(fetched.records.len()), read.1.or(first));
            let chunk =
                |records| Chunk { partition: source.place.partition, base_offset: fetched.base_offset, records };
            let count = fetched.records.len();
            // One worker has the configurations.
            let parts = if count < SPLIT_MIN || source.input == Input::Tenants { 1 } else { workers as u32 };
            for part in 0..parts {
                let records = fetched.records.slice(count * part / parts, count * (part + 1) / parts);
                let worker = (state.turn + part as usize) % workers;
                match source.input {
                    Input::Tenants => gathered.inputs[0].tenants.push(TenantInput::Chunk(chunk(records))),
                    Input::Evaluations => {
                        gathered.inputs[worker].evaluations.push(EvaluationInput::Chunk(chunk(records)));
                    }
                    Input::Behavior => gathered.inputs[worker].behavior.push(BehaviorInput::Chunk(chunk(records))),
                }
            }
        }
        state.backlog = gathered.records >= records_max || gathered.bytes >= bytes_max;
        let behind = state.backlog || !self.status.lock().caught_up;
        self.shared.behind.store(behind, Ordering::Release);
        Ok(gathered)
    }

    fn nothing(&self) -> Gathered {
        Gathered {
            inputs: self.workers.iter().map(|_| EpochInput::default()).collect(),
            read: vec![(0, None); self.sources.len()],
            ..Gathered::default()
        }
    }

    /// The clock as it should read now.
    fn clock(&self) -> Millis {
        if self.shared.live {
            return self.wall.now();
        }
        let engine = &self.shared.plan.runtime.engine;
        let lateness = self.shared.plan.tables.iter().map(|t| t.lateness_ms).max().unwrap_or(0);
        let behavior = self.sources.iter().filter(|s| s.input == Input::Behavior);
        let partitions: Vec<_> = behavior
            .map(|source| {
                let high = self.event_high.get(&source.place.partition).copied();
                let end = self.log.end_offset(&source.place).unwrap_or(source.next);
                let recent = source.last_data.is_some_and(|at| at.elapsed() < engine.idle_timeout);
                PartitionTime { high, active: source.stalled.is_none() && (end > source.next || recent) }
            })
            .collect();
        event_clock(&partitions, lateness).unwrap_or(self.time.clock())
    }

    fn next_due(&self) -> Millis {
        let panes = self.shared.next_due.iter().map(|due| due.load(Ordering::Relaxed)).min().unwrap_or(i64::MAX);
        Millis(panes.min(self.shared.next_switch.load(Ordering::Relaxed)))
    }

    /// What waits for an epoch.
    fn outstanding(&self, state: &Loop) -> Outstanding {
        let clock = self.clock();
        let heartbeat = self.shared.live && state.last_epoch.elapsed() >= HEARTBEAT;
        // A clock set by hand moves because somebody waits for it.
        let waited_for = !self.shared.live || !self.wall.moves();
        let moved = clock > self.time.clock() && (waited_for || clock >= self.next_due());
        Outstanding {
            first: state.first,
            asked: !self.asks.is_empty(),
            under_way: !state.under_way.is_empty(),
            reading: self.reading(),
            passed: self.sources.iter().map(|s| s.next).ne(state.made_at.iter().copied()),
            unemitted: self.shared.untold() > 0,
            settling: self.shared.settling.any(),
            exporting: self.shared.export.parts.load(Ordering::Acquire) > 0,
            checkpoint: self.checkpoint_is_due(state),
            clock: heartbeat || moved,
        }
    }

    fn reading(&self) -> Reading {
        if self.status.lock().caught_up {
            Reading::CaughtUp
        } else if self.is_caught_up_at(self.sources.iter().map(|s| s.next)) {
            Reading::Read
        } else {
            Reading::Behind
        }
    }

    /// Whether a checkpoint would hold something that the last one does not: records, or what was made without any.
    fn is_unsaved(&self, state: &Loop) -> bool {
        let read = self.sources.iter().map(|s| s.next).ne(state.covered.iter().copied());
        read || self.shared.unsaved.load(Ordering::Acquire) > self.saved
    }

    fn checkpoint_is_due(&self, state: &Loop) -> bool {
        let interval = self.shared.plan.runtime.engine.checkpoint_interval;
        let may = state.last_barrier.elapsed() >= interval && !self.shared.export.open.load(Ordering::Acquire);
        may && self.is_unsaved(state)
    }

    /// Sleeps until something is appended, or the clock must move.
    fn rest(&self, state: &mut Loop) {
        self.observe(&state.under_way, None);
        if self.memory.is_full() {
            // Appends change nothing.
            std::thread::park_timeout(FULL_PAUSE);
            return;
        }
        let heartbeat = HEARTBEAT.saturating_sub(state.last_epoch.elapsed());
        let until = if self.shared.live && self.wall.moves() {
            let due = self.next_due().0.saturating_sub(self.wall.now().0).max(1);
            heartbeat.min(Duration::from_millis(due as u64))
        } else {
            // Idle partitions are left out after a timeout, which nothing else announces.
            self.shared.plan.runtime.engine.idle_timeout.min(Duration::from_millis(100))
        };
        state.seen = self.log.wait(state.seen, until.max(Duration::from_millis(1)));
    }

    fn epoch(&mut self, mut gathered: Gathered, state: &mut Loop, last: bool) {
        self.time = self.time.next(self.clock());
        let asks = self.take_asks(&mut gathered.inputs, state);
        (state.last_epoch, state.first) = (Instant::now(), false);
        let offsets = self.offsets();
        let barrier = last || self.checkpoint_is_due(state);
        if barrier {
            self.saved = self.time.0;
            let export = &self.shared.export;
            export.parts.store(self.workers.len() * EXPORT_PARTS, Ordering::Release);
            export.open.store(true, Ordering::Release);
        }
        let tell = state.catching_up.tell(self.reading(), self.shared.untold());
        self.send(std::mem::take(&mut gathered.inputs), (barrier, tell), false);
        if barrier {
            state.last_barrier = Instant::now();
            state.covered.clone_from(&offsets);
        }
        state.made_at.clone_from(&offsets);
        let Gathered { accepted, read, .. } = gathered;
        state.under_way.push_back(UnderWay { time: self.time, offsets, accepted, barrier, tell, asks, read });
    }

    /// Whether what is read up to these offsets, one per source, is all that was on the log at the start. What is not read on
    /// holds nobody else up.
    fn is_caught_up_at(&self, offsets: impl IntoIterator<Item = Offset>) -> bool {
        self.sources.iter().zip(offsets).all(|(s, offset)| offset >= s.end_at_start || s.stalled.is_some())
    }

    /// Adds the questions that wait to an epoch.
    fn take_asks(&self, inputs: &mut [EpochInput], state: &mut Loop) -> Vec<u64> {
        let mut taken = Vec::new();
        // While rows wait to be told, what is shown is older than what would be explained.
        let sample = if self.status.lock().caught_up { state.sampling.ask(&self.shared) } else { None };
        for ask in self.asks.try_iter().take(ASKS_MAX).filter(Ask::is_awaited).chain(sample) {
            state.asked += 1;
            let no = state.asked;
            match ask.asked {
                Asked::Dataflow(question) => {
                    let at = self.time.0;
                    inputs.iter_mut().take(1).for_each(|input| input.asks.push((AskRef { no, at }, question)));
                }
                Asked::Feature { student, view } => {
                    let asked = AskedFeature { no, student, view };
                    inputs.iter_mut().for_each(|input| input.asked_features.push(asked));
                }
                Asked::Nothing => {}
            }
            self.shared.asks.open(no, ask);
            taken.push(no);
        }
        taken
    }

    /// Hands an epoch to the workers.
    fn send(&self, inputs: Vec<EpochInput>, (barrier, tell): (bool, Tell), loading: bool) {
        let versions_bound = versions_bound(&self.sources);
        for (index, (worker, mut input)) in self.workers.iter().zip(inputs).enumerate() {
            input.time = self.time.0;
            input.versions_bound = versions_bound;
            input.barrier = barrier;
            input.tell = tell;
            input.loading = loading;
            // A worker that has ended is found by `alive`.
            let _ended = worker.send(ToWorker::Epoch(input));
            self.progress.wake(index);
        }
    }

    /// Loads one bounded step of the state, and waits until it is in the views.
    pub fn load(&mut self, inputs: Vec<EpochInput>) -> Result<(), String> {
        self.progress.wait_here();
        self.time = self.time.next(self.time.clock());
        self.send(inputs, (false, Tell::All), true);
        while self.progress.complete() < self.time.0 {
            if !(self.alive)() {
                return Err("a worker has ended while the state was loaded".to_owned());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.shared.settling.complete(self.time.0);
        Ok(())
    }

    /// Takes note of the epochs that are complete.
    fn reap(&mut self, state: &mut Loop) {
        let complete: Time = self.progress.complete();
        while state.under_way.front().is_some_and(|e| e.time.0 <= complete) {
            let Some(epoch) = state.under_way.pop_front() else { break };
            let time = epoch.time;
            state.catching_up.complete(epoch.tell, self.shared.untold());
            self.shared.settling.complete(time.0);
            epoch.asks.iter().for_each(|no| self.shared.asks.close(*no, time.0));
            state.sampling.check(&self.shared);
            for (partition, at) in self.shared.take_event_highs(time.0) {
                let high = self.event_high.entry(partition).or_insert(at);
                *high = at.max(*high);
            }
            self.shared.send(StateMessage::Complete(time.0));
            if epoch.barrier {
                let key = |s: &Source| (s.topic.to_owned(), s.place.partition);
                let offsets = self.sources.iter().map(key).zip(epoch.offsets.iter().copied()).collect();
                let event_high = self.event_high.clone();
                self.shared.send(StateMessage::Barrier { time: time.0, offsets, event_high });
            }
            let wall = self.wall.now();
            for accepted in &epoch.accepted {
                self.shared.metrics.freshness.observe((wall.0 - accepted.0).max(0) as f64 / 1e3);
            }
            self.spend(&epoch);
            self.publish(&epoch, &state.under_way, wall);
        }
        if let Some(at) = self.durable.lock().at {
            let age = if self.is_unsaved(state) { at.elapsed().as_secs_f64() } else { 0.0 };
            self.shared.metrics.checkpoint_age.get_or_create(&self.shared.share_labels()).set(age);
        }
    }

    fn publish(&self, epoch: &UnderWay, under_way: &VecDeque<UnderWay>, wall: Millis) {
        let UnderWay { time, offsets, .. } = epoch;
        let metrics = &self.shared.metrics;
        let share = self.shared.share_labels();
        {
            let mut status = self.status.lock();
            if !status.caught_up {
                status.caught_up = epoch.tell == Tell::All && self.is_caught_up_at(offsets.iter().copied());
                if status.caught_up {
                    self.participants.caught_up();
                }
            }
        }
        self.observe(under_way, Some((time.clock(), offsets.as_slice())));
        if let Some(clock) = self.status.lock().clock {
            metrics.clock.get_or_create(&share).set(clock.0 as f64 / 1e3);
            metrics.frontier_lag.get_or_create(&share).set((wall.0 - clock.0) as f64 / 1e3);
        }
    }

    /// Finishes what is under way, writes a last checkpoint, and ends the workers.
    fn finish(&mut self, state: &mut Loop) -> Result<(), String> {
        self.shared.export.hurry.store(true, Ordering::Release);
        self.drain(state)?;
        if self.shared.export.parts.load(Ordering::Acquire) > 0 {
            // A checkpoint under way is exported to its end by one more epoch, since there is hurry now.
            self.epoch(self.nothing(), state, false);
            self.drain(state)?;
        }
        if self.is_unsaved(state) {
            self.epoch(self.nothing(), state, true);
        }
        self.drain(state)?;
        self.end();
        Ok(())
    }

    fn end(&self) {
        for (index, worker) in self.workers.iter().enumerate() {
            let _ended = worker.send(ToWorker::Stop);
            self.progress.wake(index);
        }
        // One that ends while it reads again what a crashed one had shown leaves that to the next one.
        let again = self.shared.versions.capped && self.sources.iter().any(|s| s.next < s.end_at_start);
        self.shared.send(StateMessage::Stop { clean: !again });
    }

    fn drain(&mut self, state: &mut Loop) -> Result<(), String> {
        while !state.under_way.is_empty() {
            if !(self.alive)() {
                return Err("a worker has ended".to_owned());
            }
            std::thread::park_timeout(Duration::from_millis(5));
            self.reap(state);
        }
        Ok(())
    }
}

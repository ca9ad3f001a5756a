//! The writing end: a thread that writes what changed, as it is now, and then how far that goes.
//!
//! A round takes the store's frontier *first*, then the keys that changed, then each profile as it is: so everything before
//! the frontier is in the round or in an earlier one, however often it changed since.
//!
//! After a restart the store goes back to the last checkpoint and reads the log again from there, while the changelog has
//! what the crashed process had shown. Keys written after the checkpoint's mark are *held*: what is there is newer than what
//! the store has, so they are written again only once the store has caught up. Until then marks stay where they were, and
//! no watermark is written. Nothing that anybody has seen goes back.

use crate::metrics::{KindLabels, ShareLabels, WriterMetrics};
use crate::notes::Notes;
use crate::position::{Mark, Offsets, Rounds};
use crate::record::{self, Key, Profiles, Watermark};
use aulaflow_log::{Log, LogError, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_serving::ReadHalf;
use aulaflow_sink::{Participant, Token};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes written in one go, roughly: what a reader sees at once, and what is in memory.
const BATCH_BYTES: usize = 4 << 20;
/// How long one write may take before it is tried again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// A watermark is written at least this often, also where nothing changes and no clock moves.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 4 << 20;

/// The names of the places that [`ChangelogStart::at`] is called with, for a driver that tries each.
pub const CRASH_POINTS: &[&str] =
    &["changelog.resumed", "changelog.write.before", "changelog.write.after", "changelog.round.written"];

/// What a writer is started with.
pub struct ChangelogStart {
    /// Where it writes.
    pub log: Arc<dyn Log>,
    /// Whose profiles: those of the tenants in these partitions.
    pub share: Share,
    /// What they are.
    pub store: ReadHalf,
    /// How many workers fill the store.
    pub workers: usize,
    /// A hash of the views' definitions. After another one everything is written once.
    pub views: u64,
    /// Time between two rounds.
    pub interval: Duration,
    /// What it counts.
    pub metrics: WriterMetrics,
    /// Called before and after every durable step with its name: where a test ends the process.
    pub at: fn(&'static str),
}

/// A running writer. Dropping it does not stop it: call [`Changelog::stop`], after the last checkpoint was made.
pub struct Changelog {
    writer: Writer,
    thread: JoinHandle<()>,
}

/// A handle to a running writer, for whoever makes checkpoints.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes whoever waits for the thread.
    done: Condvar,
    notes: Vec<Notes>,
    views: u64,
}

#[derive(Default)]
struct State {
    /// What the checkpoint kept; the outer `None` until it is known.
    resumed: Option<Option<Mark>>,
    loaded: bool,
    caught_up: bool,
    stop: bool,
    /// Somebody waits for a round.
    asked: bool,
    /// Everything up to this time is on the changelog.
    reached: Option<u64>,
    rounds: Rounds,
    /// While keys are held: the mark that finds them again.
    holding: Option<Offsets>,
    /// Whether a round was written since the store has caught up.
    current: bool,
    /// As of when everything on the changelog is true.
    as_of: Millis,
    /// Why nothing can be written, while it cannot.
    trouble: Option<String>,
    /// Why nothing will ever be written again.
    failed: Option<LogError>,
}

impl Changelog {
    /// Starts a writer, and a [`Notes`] for each worker. It ends every earlier writer of its share, and then waits to be
    /// told where to go on ([`Participant::restore`]).
    pub fn start(start: ChangelogStart) -> std::io::Result<(Self, Vec<Notes>)> {
        let notes: Vec<_> = (0..start.workers.max(1)).map(|_| Notes::new()).collect();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            notes: notes.clone(),
            views: start.views,
        });
        let writer = Writer(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name(format!("aulaflow-changelog-{}", start.share));
        let thread = thread.spawn(move || Work::new(start, shared).run())?;
        Ok((Self { writer, thread }, notes))
    }

    /// The handle.
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Ends the thread; what is not written stays unwritten.
    pub fn stop(self) {
        self.writer.0.state.lock().stop = true;
        self.writer.0.work.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the changelog's thread has panicked");
        }
    }
}

impl Writer {
    /// Whether a round was written since the store has caught up: nothing is held back any more.
    pub fn is_current(&self) -> bool {
        self.0.state.lock().current
    }

    /// Why it will never write again: another process writes this share now, or the log cannot be used.
    pub fn failure(&self) -> Option<LogError> {
        self.0.state.lock().failed.clone()
    }
}

impl Participant for Writer {
    fn restore(&self, token: Option<&[u8]>) {
        let mark = token.and_then(|bytes| serde_json::from_slice::<Mark>(bytes).ok());
        let mark = mark.filter(|mark| mark.views == self.0.views);
        if mark.is_none() {
            self.0.notes.iter().for_each(Notes::want_everything);
        }
        self.0.state.lock().resumed = Some(mark);
        self.0.work.notify_all();
    }

    /// The store is loaded: a profile that is not there is gone.
    fn loaded(&self) {
        self.0.state.lock().loaded = true;
        self.0.work.notify_all();
    }

    /// The store is at least as new as it ever was.
    fn caught_up(&self) {
        self.0.state.lock().caught_up = true;
        self.0.work.notify_all();
    }

    /// Waits until everything up to `barrier` is on the changelog. The error says what it waits for.
    fn prepare(&self, barrier: ClockTime, timeout: Duration) -> Result<Token, String> {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.state.lock();
        loop {
            if let Some(reason) = &state.failed {
                return Err(reason.to_string());
            }
            if state.reached.is_some_and(|reached| reached >= barrier.0) {
                return Ok(state.mark(barrier, self.0.views));
            }
            state.asked = true;
            self.0.work.notify_all();
            if self.0.done.wait_until(&mut state, deadline).timed_out() {
                let waits = "the changelog is still being written: its writer goes on";
                return Err(state.trouble.clone().unwrap_or_else(|| waits.to_owned()));
            }
        }
    }
}

impl State {
    fn mark(&mut self, time: ClockTime, views: u64) -> Vec<u8> {
        let newer = self.rounds.newer_than(time.0);
        let offsets = self.holding.clone().unwrap_or(newer);
        let mark = Mark { views, offsets, as_of: self.as_of.0 };
        serde_json::to_vec(&mark).unwrap_or_else(|e| panic!("offsets can always be written: {e}"))
    }
}

/// Why the thread ends.
enum End {
    Stopped,
    Failed(LogError),
}

/// What the thread has.
struct Work {
    start: ChangelogStart,
    shared: Arc<Shared>,
    /// Keys to write.
    waiting: HashSet<Key>,
    /// Keys whose records may be newer than the store.
    held: HashSet<Key>,
    /// The last watermark, and when it was written.
    watermark: Option<(Millis, Instant)>,
    profiles: Profiles,
}

type Parts = BTreeMap<u32, RecordSetBuilder>;

impl Work {
    fn new(start: ChangelogStart, shared: Arc<Shared>) -> Self {
        let profiles = Profiles::new(start.store.schemas());
        Self { start, shared, waiting: HashSet::new(), held: HashSet::new(), watermark: None, profiles }
    }

    fn run(mut self) {
        if let Err(End::Failed(reason)) = self.work() {
            tracing::error!(share = %self.start.share, %reason, "the changelog is not written any more");
            self.shared.state.lock().failed = Some(reason);
            self.shared.done.notify_all();
        }
    }

    fn work(&mut self) -> Result<(), End> {
        let mark = self.wait(|state| state.resumed.clone())?;
        let name = format!("aulaflow-changelog-{}", self.start.share);
        let mut writer = self.until(|work| Arc::clone(&work.start.log).writer(&name))?;
        // After earlier writers have ended: nothing comes behind what is read now.
        let partitions = self.until(|work| work.partitions())?;
        let from = self.until(|work| work.read_on(&partitions, mark.as_ref()))?;
        (self.start.at)("changelog.resumed");
        {
            let mut state = self.shared.state.lock();
            state.holding = (!self.held.is_empty()).then_some(from);
            // Watermarks of the process before may be later than the one of its checkpoint.
            state.as_of = state.as_of.max(mark.map_or(Millis(0), |mark| Millis(mark.as_of)));
        }
        self.wait(|state| state.loaded.then_some(()))?;
        loop {
            let begun = Instant::now();
            self.round(&partitions, writer.as_mut())?;
            let mut state = self.shared.state.lock();
            let due = begun + self.start.interval;
            while !state.stop && !state.asked && !self.shared.work.wait_until(&mut state, due).timed_out() {}
            if state.stop {
                return Err(End::Stopped);
            }
        }
    }

    /// Waits for something that the state says.
    fn wait<T>(&self, ready: impl Fn(&State) -> Option<T>) -> Result<T, End> {
        let mut state = self.shared.state.lock();
        loop {
            if state.stop {
                return Err(End::Stopped);
            }
            if let Some(found) = ready(&state) {
                return Ok(found);
            }
            self.shared.work.wait_for(&mut state, HEARTBEAT);
        }
    }

    /// Tries until it succeeds, or never can.
    fn until<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, LogError>) -> Result<T, End> {
        loop {
            let error = match attempt(self) {
                Ok(done) => {
                    self.shared.state.lock().trouble = None;
                    return Ok(done);
                }
                Err(error) => error,
            };
            match error {
                LogError::Fenced(_)
                | LogError::Ended { .. }
                | LogError::Unknown(..)
                | LogError::Refused(_)
                | LogError::Corrupt(_) => return Err(End::Failed(error)),
                LogError::Full { .. } | LogError::Unavailable(_) | LogError::Gone { .. } => {}
            }
            let error = error.to_string();
            let mut state = self.shared.state.lock();
            if state.trouble.replace(error.clone()).as_ref() != Some(&error) {
                tracing::warn!(share = %self.start.share, error, "the changelog cannot be written; trying on");
            }
            if !state.stop {
                self.shared.work.wait_for(&mut state, RETRY);
            }
            if state.stop {
                return Err(End::Stopped);
            }
        }
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>, LogError> {
        let topic = || topic::PROFILES.to_owned();
        let own = (0..self.start.log.partitions(topic::PROFILES)?).filter(|partition| self.start.share.has(*partition));
        Ok(own.map(|partition| TopicPartition { topic: topic(), partition }).collect())
    }

    /// Reads what is on the changelog from a mark on, or all of it. Where that begins.
    fn read_on(&mut self, partitions: &[TopicPartition], mark: Option<&Mark>) -> Result<Offsets, LogError> {
        let mut from = Offsets::new();
        let mut next = Offsets::new();
        let mut watermarks = Vec::new();
        for place in partitions {
            let first = self.start.log.start_offset(place)?;
            let marked = mark.and_then(|mark| mark.offsets.get(&place.partition)).copied();
            let mut offset = marked.unwrap_or(first).max(first);
            from.insert(place.partition, offset);
            let mut watermark = None;
            loop {
                let fetched = self.start.log.read_aside(place, offset, READ_BYTES)?;
                watermark = fetched.records.iter().filter_map(|record| record::watermark(&record)).last().or(watermark);
                self.held.extend(fetched.records.iter().filter_map(|record| record::key(&record)));
                if fetched.next_offset <= offset {
                    break;
                }
                offset = fetched.next_offset;
            }
            next.insert(place.partition, offset);
            watermarks.extend(watermark.map(|watermark| watermark.as_of));
        }
        let mut state = self.shared.state.lock();
        state.rounds.next = next;
        state.as_of = watermarks.into_iter().min().unwrap_or_default();
        drop(state);
        Ok(from)
    }

    /// Writes what changed, and how far that goes.
    fn round(&mut self, partitions: &[TopicPartition], writer: &mut dyn aulaflow_log::Writer) -> Result<(), End> {
        let (caught_up, asked, start) = {
            let mut state = self.shared.state.lock();
            let asked = std::mem::take(&mut state.asked);
            // A store that is held claims less than a watermark says.
            (state.caught_up && !self.start.store.is_held(), asked, state.rounds.next.clone())
        };
        // What a store that is behind shows is of a later instant than its profiles may claim: replicas are spared that, as
        // far as no checkpoint waits for it.
        if !caught_up && !asked {
            return Ok(());
        }
        // The order matters: how far the store is, then what changed, then what it is.
        let frontier = self.start.store.frontier().0;
        let as_of = self.start.store.as_of();
        if caught_up {
            self.waiting.extend(std::mem::take(&mut self.held));
        }
        for notes in &self.shared.notes {
            self.waiting.extend(notes.take().into_iter().filter(|key| !self.held.contains(key)));
        }
        let labels = ShareLabels { share: self.start.share.to_string() };
        let gauge = self.start.metrics.waiting.get_or_create_owned(&labels);
        let mut keys = std::mem::take(&mut self.waiting).into_iter().peekable();
        let due = self.watermark.is_none_or(|(last, at)| as_of > last || at.elapsed() >= HEARTBEAT);
        let mut watermark = (caught_up && due).then_some(as_of);
        while keys.peek().is_some() || watermark.is_some() {
            gauge.set(keys.len() as i64);
            let mut parts = Parts::new();
            self.until(|work| work.batch(&mut keys, &mut parts, caught_up))?;
            if keys.peek().is_none()
                && let Some(as_of) = watermark.take()
            {
                self.push_watermarks(partitions, &mut parts, as_of);
            }
            self.write(parts, writer)?;
        }
        gauge.set(0);
        (self.start.at)("changelog.round.written");
        let newest = self.shared.notes.iter().map(Notes::newest).max().unwrap_or(0);
        let mut state = self.shared.state.lock();
        state.rounds.push(start, newest);
        state.reached = frontier.checked_sub(1);
        if caught_up {
            state.holding = None;
            state.as_of = as_of;
            state.current = true;
        }
        drop(state);
        self.shared.done.notify_all();
        Ok(())
    }

    /// Encodes keys as they are now, until a batch is full.
    fn batch(
        &mut self,
        keys: &mut std::iter::Peekable<impl Iterator<Item = Key>>,
        parts: &mut Parts,
        caught_up: bool,
    ) -> Result<(), LogError> {
        let store = &self.start.store;
        let now = now();
        // What a store that is behind shows is no truer than what was there before.
        let as_of = (!caught_up).then(|| self.shared.state.lock().as_of);
        let mut bytes = 0;
        while let Some(key) = keys.peek()
            && bytes < BATCH_BYTES
        {
            let partition = self.start.log.partition_of(topic::PROFILES, key.tenant().as_str())?;
            let set = parts.entry(partition).or_default();
            let before = set.len_bytes();
            match key {
                Key::Student(tenant, student) => {
                    let profile = store.profile(tenant, student);
                    self.profiles.push(set, now, (tenant, student), profile.as_ref(), as_of);
                }
                Key::Cohort(tenant, subject, period) => {
                    let cohort = store.cohort(tenant, subject, period);
                    record::push_cohort(set, now, (tenant, subject, period), cohort.as_deref());
                }
            }
            bytes += set.len_bytes() - before;
            self.start.metrics.records.get_or_create(&KindLabels { kind: key.kind() }).inc();
            keys.next();
        }
        Ok(())
    }

    fn push_watermarks(&mut self, partitions: &[TopicPartition], parts: &mut Parts, as_of: Millis) {
        let watermark = Watermark { as_of, written_at: now() };
        for place in partitions {
            record::push_watermark(parts.entry(place.partition).or_default(), watermark);
            self.start.metrics.records.get_or_create(&KindLabels { kind: "watermark" }).inc();
        }
        self.watermark = Some((as_of, Instant::now()));
    }

    fn write(&mut self, parts: Parts, writer: &mut dyn aulaflow_log::Writer) -> Result<(), End> {
        let place = |partition| TopicPartition { topic: topic::PROFILES.to_owned(), partition };
        let parts: Vec<_> = parts.into_iter().map(|(partition, set)| (place(partition), set.finish())).collect();
        (self.start.at)("changelog.write.before");
        let written = self.until(|_| writer.write(&parts, WRITE_TIMEOUT))?;
        (self.start.at)("changelog.write.after");
        let mut state = self.shared.state.lock();
        for appended in written {
            state.rounds.next.insert(appended.place.partition, appended.base_offset + u64::from(appended.count));
        }
        Ok(())
    }
}

/// The wall clock.
pub(crate) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

//! The reading end: stores that are filled from the changelog and from nothing else, one per partition, so that each says
//! for itself how far it is.
//!
//! A replica keeps nothing on disk: it reads the changelog from its start, which compaction keeps about as long as the
//! profiles themselves. While nobody writes, it goes on serving what it has, and `as_of` says of when that is.

use crate::metrics::{KindLabels, PartitionLabels, ReasonLabels, ReplicaMetrics};
use crate::record::{Entry, KnownViews, Refusal, Watermark};
use crate::writer::now;
use aulaflow_log::{Log, LogError, Offset, RecordRef, RecordSet, TopicPartition};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_serving::{DerivedView, ReadHalf, Stores, WriteHalf};
use aulaflow_sink::update::CohortBatch;
use aulaflow_sink::{IdempotentSink, Outcome};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes read of one partition before the next one's turn.
const READ_BYTES: usize = 4 << 20;
/// How often the log is looked at where nothing is announced; staleness is counted as often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long one append is waited for.
const WAIT: Duration = Duration::from_millis(100);

/// What a replica is started with.
pub struct ReplicaStart {
    /// What it follows.
    pub log: Arc<dyn Log>,
    /// Where each partition's store is shown once it has caught up. Their views are those that the replica shows.
    pub shown: Stores,
    /// Views over the profile, computed on reading.
    pub derived: Vec<DerivedView>,
    /// Sizes the stores.
    pub students_expected: usize,
    /// Whether clocks are the wall clock: then a watermark is as old as its clock says, else as old as its writing.
    pub live: bool,
    /// What it counts.
    pub metrics: ReplicaMetrics,
}

/// A running replica. Dropping it does not stop it: call [`Replica::stop`].
pub struct Replica {
    stores: Vec<(u32, ReadHalf)>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    log: Arc<dyn Log>,
    live: bool,
    stop: AtomicBool,
    status: Mutex<Status>,
}

#[derive(Default)]
struct Status {
    places: Vec<Place>,
    trouble: Option<String>,
    failure: Option<String>,
}

/// How far one partition is.
struct Place {
    partition: u32,
    next: Offset,
    end: Offset,
    end_at_start: Offset,
    watermark: Option<Watermark>,
}

/// How far a replica is.
#[derive(Debug, Clone)]
pub struct ReplicaStatus {
    /// Whether every partition was read to where it ended at the start.
    pub caught_up: bool,
    /// By partition.
    pub partitions: Vec<ReplicaPartition>,
    /// Why the changelog cannot be read, while it cannot.
    pub trouble: Option<String>,
    /// Why it will never be read again: the process should end, and start over.
    pub failure: Option<String>,
}

/// How far one partition of a replica is.
#[derive(Debug, Clone)]
pub struct ReplicaPartition {
    /// The partition.
    pub partition: u32,
    /// Records before this offset are in the store.
    pub visible: Offset,
    /// Records before this offset are on the changelog.
    pub end: Offset,
    /// As of when its profiles are true at least; `None` before the first watermark.
    pub as_of: Option<Millis>,
    /// Seconds by which that is behind the wall clock. On the event clock: since when nobody has said anything.
    pub staleness_seconds: Option<f64>,
}

impl Replica {
    /// Starts following. Its stores are there at once, and empty.
    pub fn start(start: ReplicaStart) -> Result<Self, LogError> {
        let ReplicaStart { log, shown, derived, students_expected, live, metrics } = start;
        let schemas = Arc::clone(shown.schemas());
        let count = log.partitions(topic::PROFILES)?;
        let (mut stores, mut partitions, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for partition in 0..count {
            let expected = students_expected / count as usize;
            let (writers, store) = aulaflow_serving::store(Arc::clone(&schemas), derived.clone(), expected, 1);
            let place = TopicPartition { topic: topic::PROFILES.to_owned(), partition };
            let (next, end) = (log.start_offset(&place)?, log.end_offset(&place)?);
            places.push(Place { partition, next, end, end_at_start: end, watermark: None });
            stores.push((partition, store.clone()));
            // One writer, so one of these.
            partitions.extend(writers.into_iter().map(|writer| Partition {
                place: place.clone(),
                next,
                writer,
                until: end,
                waiting: Some(store.clone()),
            }));
        }
        let status = Mutex::new(Status { places, ..Status::default() });
        let shared = Arc::new(Shared { log, live, stop: AtomicBool::new(false), status });
        let known = KnownViews::new(schemas);
        let follower =
            Follower { shared: Arc::clone(&shared), shown, partitions, known, metrics, told: HashSet::new() };
        let thread = std::thread::Builder::new().name("aulaflow-replica".to_owned());
        let thread = thread
            .spawn(move || follower.run())
            .map_err(|error| LogError::Unavailable(format!("no thread to follow the changelog: {error}")))?;
        Ok(Self { stores, shared, thread })
    }

    /// The stores, by partition, whether they have caught up or not.
    pub fn stores(&self) -> &[(u32, ReadHalf)] {
        &self.stores
    }

    /// A closure that tells how far it is, from anywhere.
    pub fn monitor(&self) -> impl Fn() -> ReplicaStatus + Send + Sync + Clone + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.status()
    }

    /// How far it is.
    pub fn status(&self) -> ReplicaStatus {
        self.shared.status()
    }

    /// Ends following; the stores stay as they are.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.log.wake();
        if self.thread.join().is_err() {
            tracing::error!("the replica's thread has panicked");
        }
    }
}

impl Shared {
    fn status(&self) -> ReplicaStatus {
        let status = self.status.lock();
        let now = now();
        let partition = |place: &Place| ReplicaPartition {
            partition: place.partition,
            visible: place.next,
            end: place.end,
            as_of: place.watermark.map(|watermark| watermark.as_of),
            staleness_seconds: self.staleness(place, now),
        };
        ReplicaStatus {
            caught_up: status.places.iter().all(|place| place.next >= place.end_at_start),
            partitions: status.places.iter().map(partition).collect(),
            trouble: status.trouble.clone(),
            failure: status.failure.clone(),
        }
    }

    fn staleness(&self, place: &Place, now: Millis) -> Option<f64> {
        let Watermark { as_of, written_at } = place.watermark?;
        let since = if self.live { as_of } else { written_at };
        Some(now.0.saturating_sub(since.0).max(0) as f64 / 1_000.0)
    }
}

/// A partition and the store that it fills.
struct Partition {
    place: TopicPartition,
    next: Offset,
    writer: WriteHalf,
    /// Where it ended at the start.
    until: Offset,
    /// Its store, until it was read to there: before, a student may be missing who is on the changelog.
    waiting: Option<ReadHalf>,
}

/// What the thread has.
struct Follower {
    shared: Arc<Shared>,
    shown: Stores,
    partitions: Vec<Partition>,
    known: KnownViews,
    metrics: ReplicaMetrics,
    /// What was passed over and logged: once each.
    told: HashSet<String>,
}

/// Reasons logged at most; they are counted on.
const TOLD_MAX: usize = 100;

impl Follower {
    fn run(mut self) {
        let mut seen = 0;
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.step() {
                Ok(true) => {}
                Ok(false) => seen = self.shared.log.wait(seen, LOOK_EVERY.min(WAIT)),
                Err(error @ (LogError::Unavailable(_) | LogError::Full { .. })) => {
                    let error = error.to_string();
                    let before = self.shared.status.lock().trouble.replace(error.clone());
                    if before.as_ref() != Some(&error) {
                        tracing::warn!(error, "the changelog cannot be read; serving on, and trying on");
                    }
                    self.report();
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(
                    error @ (LogError::Gone { .. }
                    | LogError::Unknown(..)
                    | LogError::Fenced(_)
                    | LogError::Ended { .. }
                    | LogError::Refused(_)
                    | LogError::Corrupt(_)),
                ) => {
                    let reason = format!("the changelog cannot be followed any more: {error}");
                    tracing::error!(reason, "the replica has stopped");
                    self.shared.status.lock().failure = Some(reason);
                    return;
                }
            }
        }
    }

    /// Takes what there is of each partition, in turns; whether there was anything.
    fn step(&mut self) -> Result<bool, LogError> {
        let mut any = false;
        for at in 0..self.partitions.len() {
            let Partition { place, next, .. } = &self.partitions[at];
            let fetched = self.shared.log.read(place, *next, READ_BYTES)?;
            any |= fetched.next_offset > *next;
            self.partitions[at].next = fetched.next_offset;
            let watermark = self.take(at, &fetched.records);
            self.show(at);
            let mut status = self.shared.status.lock();
            let place = &mut status.places[at];
            (place.next, place.end) = (fetched.next_offset, fetched.end_offset);
            place.watermark = watermark.or(place.watermark);
        }
        self.shared.status.lock().trouble = None;
        self.report();
        Ok(any)
    }

    /// Lets readers at a store that has caught up.
    fn show(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        if partition.next >= partition.until
            && let Some(store) = partition.waiting.take()
        {
            self.shown.put(Share::Partition(partition.place.partition), store);
        }
    }

    fn report(&self) {
        let status = self.shared.status.lock();
        let now = now();
        for place in &status.places {
            if let Some(seconds) = self.shared.staleness(place, now) {
                let labels = PartitionLabels { partition: place.partition };
                self.metrics.staleness.get_or_create(&labels).set(seconds);
            }
        }
    }

    /// Applies records; the last watermark among them.
    fn take(&mut self, at: usize, records: &RecordSet) -> Option<Watermark> {
        let mut last = None;
        for record in records {
            match self.known.decode(&record) {
                Ok(Entry::Watermark(watermark)) => {
                    // The frontier is the first instant that is not complete.
                    let complete = ClockTime::at(Millis(watermark.as_of.0.saturating_add(1)));
                    self.partitions[at].writer.advance(complete);
                    last = Some(watermark);
                    self.count("watermark");
                }
                Ok(Entry::Profile { whole, past, as_of, unknown }) => {
                    let outcome = self.partitions[at].writer.replace(&whole, &past, as_of);
                    if unknown > 0 {
                        let rows = unknown as u64;
                        self.skip("view", rows, "rows of views that this configuration has not, or defines otherwise");
                    }
                    self.applied("profile", outcome);
                }
                Ok(Entry::Cohort(change)) => {
                    let batch = CohortBatch { time: ClockTime::at(record.timestamp), changes: vec![change] };
                    let outcome = self.partitions[at].writer.apply_cohorts(&batch);
                    self.applied("cohort", outcome);
                }
                Err(refusal) => self.refuse(at, &record, &refusal),
            }
        }
        last
    }

    fn applied(&mut self, kind: &'static str, outcome: Outcome) {
        match outcome {
            // A store in memory holds nobody up.
            Outcome::Applied | Outcome::Hold(_) => self.count(kind),
            Outcome::Stop(reason) => self.skip("view", 1, &reason),
        }
    }

    fn count(&self, kind: &'static str) {
        self.metrics.records.get_or_create(&KindLabels { kind }).inc();
    }

    fn refuse(&mut self, at: usize, record: &RecordRef<'_>, refusal: &Refusal) {
        match refusal {
            Refusal::Unknown(what) => {
                self.skip("format", 1, &format!("records of {what}, which this version does not know"))
            }
            Refusal::Damaged(what) => {
                // Keys hold students' ids: the place is what an operator can look at.
                let partition = self.partitions[at].place.partition;
                tracing::debug!(partition, index = record.index, what, "a record of the changelog is damaged");
                self.skip("damaged", 1, "records that cannot be read");
            }
        }
    }

    /// Counts what is passed over, and says it once.
    fn skip(&mut self, reason: &'static str, count: u64, what: &str) {
        self.metrics.skipped.get_or_create(&ReasonLabels { reason }).inc_by(count);
        if self.told.len() < TOLD_MAX && self.told.insert(what.to_owned()) {
            tracing::warn!(what, "the changelog has what a replica passes over");
        }
    }
}

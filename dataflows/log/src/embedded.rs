//! The embedded log: an LSM store on the local disk, one writer thread that commits in groups, readers that never
//! wait for it. The rows are in `store`, the writing in `writer`, what waits in `queue`.
//!
//! **A full disk.** The store (fjall) takes no more writes after one has failed, since it cannot know what reached the
//! disk. So appends are refused while the file system has less than [`EmbeddedConfig::free_bytes_min`] free beside
//! what memory still has to flush, and are taken again once there is room. Should a write fail all the same, the store
//! is opened again, in place, with the next append at most every second; reads go on until then.

mod config;
mod queue;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use config::{EmbeddedConfig, Fsync, OpenError};
pub use stats::LogStats;

use crate::{Ack, Appended, Fetched, Log, LogError, Offset, RecordSet, TopicPartition};
use aulaflow_model::instant::Millis;
use crossbeam_channel::{Receiver, bounded};
use parking_lot::{Condvar, Mutex, RwLock};
use queue::{Pending, Queue, Refused};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::{Catalogue, CatalogueError, Place, Store};

/// The log on the local disk. Dropping it writes what waits and closes the store.
///
/// One process has it open at a time. Cheap to share behind an `Arc`.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    /// The writer and the sign that it has ended.
    writer: Option<(JoinHandle<()>, Receiver<()>)>,
    append_timeout: Duration,
}

/// What the writer and the callers share.
struct Shared {
    dir: PathBuf,
    fsync: Fsync,
    free_bytes_min: u64,
    /// A topic's id by its name.
    topics: HashMap<String, u16>,
    partitions_per_topic: u32,
    /// By topic id, then partition.
    partitions: Vec<Partition>,
    /// `None` only where opening it again has failed.
    store: RwLock<Option<Store>>,
    queue: Queue,
    changes: Mutex<u64>,
    change: Condvar,
    /// Retention runs once at a time.
    retention: Mutex<()>,
    stats: Arc<LogStats>,
}

/// What is durable of a partition.
struct Partition {
    place: Place,
    start: AtomicU64,
    end: AtomicU64,
}

/// Bytes of one append: a stored batch's length is a `u32`, and its memory is needed a few times over.
const SET_BYTES_MAX: usize = 1 << 30;
/// What a timeout that no clock can hold means.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Topics that a store can have; their ids are 16 bits.
const TOPICS_MAX: usize = 1 << 12;
/// Partitions that a topic can have: all of them are kept in memory.
const PARTITIONS_MAX: u32 = 1 << 12;

impl EmbeddedLog {
    /// Opens the log, or makes it. After a crash this replays what was not yet in place, at most some 200 MB.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        check(&config)?;
        let dir = config.dir.clone();
        let store = Store::open(&dir).map_err(|e| storage_error(&dir, e))?;
        let catalogue = settle_catalogue(&store, &config)?;
        let mut partitions = Vec::new();
        for (topic, name) in catalogue.topics.iter().enumerate() {
            let name: Arc<str> = name.as_str().into();
            for partition in 0..catalogue.partitions {
                // `check` and the catalogue keep topics below TOPICS_MAX.
                let place = Place { topic: topic as u16, partition, name: Arc::clone(&name) };
                let bounds = store.bounds(&place);
                let (start, end) =
                    bounds.map_err(|e| OpenError::Damaged { dir: dir.clone(), detail: e.to_string() })?;
                partitions.push(Partition { place, start: start.into(), end: end.into() });
            }
        }
        let stats = Arc::new(LogStats::default());
        let shared = Arc::new(Shared {
            dir: dir.clone(),
            fsync: config.fsync,
            free_bytes_min: config.free_bytes_min,
            topics: catalogue.topics.into_iter().zip(0..).collect(),
            partitions_per_topic: catalogue.partitions,
            partitions,
            store: RwLock::new(Some(store)),
            queue: Queue::new(config.buffer_bytes_max, Arc::clone(&stats)),
            changes: Mutex::new(0),
            change: Condvar::new(),
            retention: Mutex::new(()),
            stats,
        });
        let (ended, end) = bounded(1);
        let for_writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("aulaflow-log".to_owned()).spawn(move || {
            // Dropped last, also by a panic.
            let _ended = ended;
            let closes = CloseOnExit(&for_writer);
            writer::run(closes.0);
        });
        let thread =
            thread.map_err(|e| OpenError::Storage { dir, detail: format!("no thread for its writer: {e}") })?;
        Ok(Self { shared, writer: Some((thread, end)), append_timeout: config.append_timeout })
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.shared.stats
    }

    /// The topics, in the order of their ids.
    pub fn topics(&self) -> Vec<String> {
        let partitions = self.shared.partitions.iter().filter(|p| p.place.partition == 0);
        partitions.map(|p| p.place.name.to_string()).collect()
    }

    fn pending(
        &self,
        place: &TopicPartition,
        records: RecordSet,
        timeout: Duration,
        ack: Ack,
    ) -> Result<Pending, LogError> {
        let partition = self.shared.partition(place)?;
        if records.len_bytes() > SET_BYTES_MAX {
            let bytes = records.len_bytes();
            return Err(LogError::Unavailable(format!(
                "{bytes} bytes are too many for one append: append them in parts"
            )));
        }
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + WAIT_MAX);
        let newest = records.newest().unwrap_or(Millis(i64::MIN));
        Ok(Pending { partition, records: records.reindexed(), newest, deadline, ack })
    }
}

impl Log for EmbeddedLog {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        match self.shared.topics.get(topic) {
            Some(_) => Ok(self.shared.partitions_per_topic),
            None => Err(LogError::Unknown(topic.to_owned(), 0)),
        }
    }

    fn partition_of(&self, topic: &str, tenant: &str) -> Result<u32, LogError> {
        // Stored data depends on this: the hash must never change.
        let hash = xxhash_rust::xxh3::xxh3_64(tenant.as_bytes());
        Ok((hash % u64::from(self.partitions(topic)?)) as u32)
    }

    fn append(&self, place: &TopicPartition, records: RecordSet, ack: Ack) -> Result<(), LogError> {
        let pending = self.pending(place, records, self.append_timeout, ack)?;
        self.shared.queue.push(pending).map_err(|refused| match refused {
            Refused::Full => LogError::Full { retry_after: self.shared.stats.retry_after() },
            Refused::Closed => closed(),
        })
    }

    fn append_wait(&self, place: &TopicPartition, records: RecordSet, timeout: Duration) -> Result<Appended, LogError> {
        let (done, outcome) = bounded(1);
        // Nobody listens after the timeout.
        let ack: Ack = Box::new(move |result| drop(done.send(result)));
        let pending = self.pending(place, records, timeout, ack)?;
        let deadline = pending.deadline;
        self.shared.queue.push_wait(pending).map_err(|refused| match refused {
            Refused::Full => LogError::Unavailable(format!("no room in the append buffer within {timeout:?}")),
            Refused::Closed => closed(),
        })?;
        match outcome.recv_deadline(deadline) {
            Ok(result) => result,
            Err(_) => Err(LogError::Unavailable(format!("an append was not acknowledged within {timeout:?}"))),
        }
    }

    /// Reads from `offset` on. Past the end (a crash of the machine under [`Fsync::Never`] can take records that were
    /// already read) the result is empty and goes on at the end: nothing that comes later is skipped.
    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        let partition = &self.shared.partitions[self.shared.partition(place)?];
        // The start first: it never passes an end that was read later.
        let start = partition.start.load(Ordering::Acquire);
        let end_offset = partition.end.load(Ordering::Acquire);
        let gone = |start| LogError::Gone { topic: place.topic.clone(), partition: place.partition, offset, start };
        if offset < start {
            return Err(gone(start));
        }
        if offset >= end_offset {
            let records = RecordSet::default();
            return Ok(Fetched { records, base_offset: end_offset, next_offset: end_offset, end_offset });
        }
        let store = self.shared.store.read();
        let Some(store) = store.as_ref() else {
            return Err(LogError::Unavailable("the store is not open".to_owned()));
        };
        match store.read(&partition.place, offset, end_offset, bytes_max)? {
            Some(records) => {
                let next_offset = offset + u64::from(records.len());
                Ok(Fetched { records, base_offset: offset, next_offset, end_offset })
            }
            // Retention was here since `start` was read.
            None => Err(gone(store.bounds(&partition.place)?.0)),
        }
    }

    fn start_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.shared.partitions[self.shared.partition(place)?].start.load(Ordering::Acquire))
    }

    fn end_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.shared.partitions[self.shared.partition(place)?].end.load(Ordering::Acquire))
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let mut changes = self.shared.changes.lock();
        self.shared.change.wait_while_for(&mut changes, |now| *now == seen, timeout);
        *changes
    }

    fn wake(&self) {
        self.shared.changed();
    }

    /// Removes from each partition's start, and stops at the first batch with a record that is not older than `before`.
    /// All of a partition may go; its offsets go on where they were.
    fn retain(&self, topic: &str, before: Millis) -> Result<u64, LogError> {
        self.partitions(topic)?;
        let _one_at_a_time = self.shared.retention.lock();
        let store = self.shared.store.read();
        let Some(store) = store.as_ref() else {
            return Err(LogError::Unavailable("the store is not open".to_owned()));
        };
        let mut removed = 0;
        for partition in self.shared.partitions.iter().filter(|p| &*p.place.name == topic) {
            let end = partition.end.load(Ordering::Acquire);
            store.remove_older(&partition.place, before, end, |start| {
                removed += start - partition.start.swap(start, Ordering::AcqRel);
            })?;
        }
        if removed > 0 {
            store.compact().map_err(|e| LogError::Unavailable(e.to_string()))?;
        }
        Ok(removed)
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.wake();
        let Some((thread, ended)) = self.writer.take() else {
            return;
        };
        // The writer never sends: the channel breaks when it ends.
        match ended.recv_timeout(self.append_timeout) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                tracing::error!("the log did not write what waited within {:?}; leaving it", self.append_timeout);
            }
            Ok(()) | Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                if thread.join().is_err() {
                    tracing::error!("the log's writer panicked");
                }
            }
        }
    }
}

/// Refuses appends and fails those that wait once the writer has ended, whatever the reason.
struct CloseOnExit<'a>(&'a Shared);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.queue.close();
        while let Some(left) = self.0.queue.take(usize::MAX) {
            for pending in left {
                (pending.ack)(Err(closed()));
            }
        }
    }
}

impl Shared {
    fn partition(&self, place: &TopicPartition) -> Result<usize, LogError> {
        match self.topics.get(&place.topic) {
            Some(topic) if place.partition < self.partitions_per_topic => {
                Ok(usize::from(*topic) * self.partitions_per_topic as usize + place.partition as usize)
            }
            Some(_) | None => Err(LogError::Unknown(place.topic.clone(), place.partition)),
        }
    }

    fn changed(&self) {
        *self.changes.lock() += 1;
        self.change.notify_all();
    }

    /// Whether the disk has room for `bytes` more, twice: in the journal, and in place.
    fn check_space(&self, bytes: u64) -> Result<(), LogError> {
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(e) => {
                return Err(LogError::Unavailable(format!("the free space of {}: {e}", self.dir.display())));
            }
        };
        let unflushed = self.store.read().as_ref().map_or(0, Store::unflushed_bytes);
        let needed = self.free_bytes_min + unflushed + 2 * bytes;
        if free < needed {
            let (free, needed) = (free >> 20, needed.div_ceil(1 << 20));
            let dir = self.dir.display();
            return Err(LogError::Unavailable(format!(
                "disk nearly full: {free} MiB free in {dir}, {needed} MiB needed"
            )));
        }
        Ok(())
    }

    /// Closes a store that failed and opens it again. The ends are read anew: what failed may be there after all.
    fn reopen(&self) -> Result<(), String> {
        let mut slot = self.store.write();
        // The old one must be gone before: it holds the lock.
        *slot = None;
        let store = Store::open(&self.dir).map_err(|e| e.to_string())?;
        for partition in &self.partitions {
            let (_, end) = store.bounds(&partition.place).map_err(|e| e.to_string())?;
            partition.end.fetch_max(end, Ordering::AcqRel);
        }
        *slot = Some(store);
        drop(slot);
        LogStats::add(&self.stats.reopened, 1);
        self.changed();
        tracing::warn!("the log was opened again after a write error");
        Ok(())
    }
}

fn closed() -> LogError {
    LogError::Unavailable("the log is closed".to_owned())
}

fn check(config: &EmbeddedConfig) -> Result<(), OpenError> {
    let wrong = |what: String| Err(OpenError::Config(what));
    if config.partitions == 0 || config.partitions > PARTITIONS_MAX {
        return wrong(format!("{} partitions; 1 to {PARTITIONS_MAX} are possible", config.partitions));
    }
    for (at, topic) in config.topics.iter().enumerate() {
        if topic.is_empty() || topic.len() > 249 || topic.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return wrong(format!("the topic name {topic:?} is empty, too long, or has spaces or control characters"));
        }
        if config.topics[..at].contains(topic) {
            return wrong(format!("the topic {topic} is listed twice"));
        }
    }
    Ok(())
}

/// Reads the catalogue, compares it with the configuration and adds what is new.
fn settle_catalogue(store: &Store, config: &EmbeddedConfig) -> Result<Catalogue, OpenError> {
    let dir = || config.dir.clone();
    let stored = store.catalogue().map_err(|e| match e {
        CatalogueError::Format(found) => OpenError::Format { dir: dir(), found, known: store::FORMAT },
        CatalogueError::Damaged(detail) => OpenError::Damaged { dir: dir(), detail },
        CatalogueError::Storage(e) => storage_error(&config.dir, e),
    })?;
    let is_new = stored.is_none();
    let mut catalogue = stored.unwrap_or(Catalogue { partitions: config.partitions, topics: Vec::new() });
    if catalogue.partitions != config.partitions {
        return Err(OpenError::Partitions { dir: dir(), stored: catalogue.partitions, asked: config.partitions });
    }
    let known = catalogue.topics.len();
    let new: Vec<_> = config.topics.iter().filter(|t| !catalogue.topics.contains(t)).cloned().collect();
    catalogue.topics.extend(new);
    if catalogue.topics.len() > TOPICS_MAX {
        return Err(OpenError::Config(format!("more than {TOPICS_MAX} topics")));
    }
    if is_new || catalogue.topics.len() > known {
        store.set_catalogue(&catalogue).map_err(|e| storage_error(&config.dir, e))?;
    }
    Ok(catalogue)
}

fn storage_error(dir: &std::path::Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse { dir: dir.to_owned() },
        fjall::Error::Io(e) => OpenError::Storage { dir: dir.to_owned(), detail: e.to_string() },
        other => OpenError::Storage { dir: dir.to_owned(), detail: other.to_string() },
    }
}

//! The log: the truth that every view is a function of. One trait, [`Log`]; the embedded implementation keeps it in an
//! LSM store on the local disk, the other one in Apache Kafka. Knows nothing of dataflows, JSON or tenants' rules.

pub mod embedded;
mod forward;
pub mod kafka;
pub mod letters;
pub mod record;

use aulaflow_model::instant::Millis;
pub use embedded::{EmbeddedConfig, EmbeddedLog, Fsync, LogStats, OpenError};
pub use forward::Forward;
pub use kafka::{KafkaConfig, KafkaLog};
pub use record::{DamagedRecords, Headers, RecordRef, RecordSet, RecordSetBuilder, Records};
use std::time::Duration;

/// A record's position in its partition: 0, 1, 2, …
pub type Offset = u64;

/// A topic's partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// 0, 1, …
    pub partition: u32,
}

/// Where an acknowledged append went: `count` records from `base_offset` to `last_offset`. Other writers' records may lie
/// between them on Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Topic and partition.
    pub place: TopicPartition,
    /// The first record's offset.
    pub base_offset: Offset,
    /// The last record's offset; the first one's where there are no records.
    pub last_offset: Offset,
    /// How many records.
    pub count: u32,
}

/// What went wrong with the log, and whether to try again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The append buffer is full: nothing was taken. Try again later.
    #[error("the log's append buffer is full")]
    Full {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing was made durable in time, or the disk refused. Whether the records are on the log is unknown.
    #[error("the log does not answer: {0}")]
    Unavailable(String),
    /// No such topic or partition.
    #[error("the log has no {0} partition {1}")]
    Unknown(String, u32),
    /// The offset was removed by retention; the log starts at `start` now.
    #[error("offset {offset} of {topic}/{partition} is gone: the log starts at {start}")]
    Gone {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// Asked for.
        offset: Offset,
        /// The first one there.
        start: Offset,
    },
    /// A later writer of the same name has taken over: nothing was written, and nothing ever will be by this one.
    #[error("another process writes as {0} now")]
    Fenced(String),
    /// This writer has come to an end that is nobody's doing: nothing will ever be written by it. What became of its last
    /// write is unknown, and another one of its name would end a rightful later one: whoever makes it asks the consumer
    /// group first, and reads again what was written.
    #[error("the writer {name} cannot go on: {why}")]
    Ended {
        /// The writer's name.
        name: String,
        /// What ended it.
        why: String,
    },
    /// The log will never take these records, however often they are tried: one is too large, say, or the topic refuses it.
    #[error("the log refuses the records: {0}")]
    Refused(String),
    /// What is stored cannot be read.
    #[error("the log is damaged: {0}")]
    Corrupt(String),
}

impl LogError {
    /// Whether the writer that says so will never write again, however often it is tried.
    pub fn ends_writer(&self) -> bool {
        match self {
            Self::Fenced(_) | Self::Ended { .. } => true,
            Self::Full { .. }
            | Self::Unavailable(_)
            | Self::Unknown(..)
            | Self::Gone { .. }
            | Self::Refused(_)
            | Self::Corrupt(_) => false,
        }
    }
}

/// Called once with the outcome of an append, from the log's own thread: it must not block.
pub type Ack = Box<dyn FnOnce(Result<Appended, LogError>) + Send>;

/// What a read gives: records from an offset on, in order, as one shared buffer.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The records; empty where the partition ends.
    pub records: RecordSet,
    /// Offset of the first record of `records`.
    pub base_offset: Offset,
    /// Where to read on.
    pub next_offset: Offset,
    /// The partition's end: the offset that the next append gets. `end_offset - next_offset` is the lag.
    pub end_offset: Offset,
}

/// How reading a partition goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// Nothing was heard of it yet.
    Connecting,
    /// Records come, or would if there were any.
    Live,
    /// Nothing comes, for this reason; it is tried on.
    Stalled(String),
}

/// Writes sets of records to several partitions, in order, and ends every earlier writer of its name.
pub trait Writer: Send {
    /// Writes and waits until all is durable; one answer for each part, in order. After an error that does
    /// not end the writer ([`LogError::ends_writer`]) the same write can be tried again. Kafka's writes are transactions: a reader sees all of one
    /// or nothing. Another log may show a failed try's records twice, so that what is written must bear that.
    fn write(&mut self, parts: &[(TopicPartition, RecordSet)], timeout: Duration) -> Result<Vec<Appended>, LogError>;
}

/// Writes by appending: for a log that only one process has open.
pub struct Appending<L: Log + ?Sized>(pub std::sync::Arc<L>);

impl<L: Log + ?Sized> Writer for Appending<L> {
    fn write(&mut self, parts: &[(TopicPartition, RecordSet)], timeout: Duration) -> Result<Vec<Appended>, LogError> {
        parts.iter().map(|(place, records)| self.0.append_wait(place, records.clone(), timeout)).collect()
    }
}

/// A durable, partitioned, append-only log. Shaped after Kafka, so that Kafka can be behind it.
///
/// Implementations must keep: an acknowledged record survives a crash of the process; offsets of a partition
/// only grow; a reader sees a partition's records in the order of their offsets, and only durable ones.
pub trait Log: Send + Sync + 'static {
    /// How many partitions a topic has; `Unknown` if there is no such topic. Records of one tenant share one partition.
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// The partition of a tenant in a topic.
    fn partition_of(&self, topic: &str, tenant: &str) -> Result<u32, LogError>;

    /// Queues records; `ack` is called once they are durable, or have failed. Never blocks: a full buffer is `Full`,
    /// and then `ack` is dropped uncalled.
    fn append(&self, place: &TopicPartition, records: RecordSet, ack: Ack) -> Result<(), LogError>;

    /// Appends and waits until the records are durable; waits for room in the buffer as well.
    /// Gives up with `Unavailable` after `timeout`.
    fn append_wait(&self, place: &TopicPartition, records: RecordSet, timeout: Duration) -> Result<Appended, LogError>;

    /// Reads from `offset` on: at least one stored batch if there is one, at most about `bytes_max` bytes.
    /// Does not wait: an empty result means that the partition ends here for now.
    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError>;

    /// Reads as [`Log::read`] does, but beside the one who follows the partition: for the odd look at some place of it.
    /// Waits for the records, a bounded time; an empty result means that the partition ends there.
    fn read_aside(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        self.read(place, offset, bytes_max)
    }

    /// A writer of this name. It ends every earlier one of the name, in whatever process that is.
    fn writer(self: std::sync::Arc<Self>, _name: &str) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(Appending(self)))
    }

    /// The largest record that an append takes, with its key and headers.
    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// How reading this partition goes.
    fn source_state(&self, _place: &TopicPartition) -> SourceState {
        SourceState::Live
    }

    /// Nobody follows the partition any more: what was read ahead is dropped.
    fn release(&self, _place: &TopicPartition) {}

    /// Everything before these offsets is in a durable checkpoint. For whoever watches from outside; nothing is read by it.
    fn note_covered(&self, _offsets: &[(TopicPartition, Offset)]) {}

    /// The first offset still there.
    fn start_offset(&self, place: &TopicPartition) -> Result<Offset, LogError>;

    /// The offset that the next append gets, as last heard: others may have appended since.
    fn end_offset(&self, place: &TopicPartition) -> Result<Offset, LogError>;

    /// The first offset still there and the one that the next append gets, not older than the call: everything that any
    /// reader was ever given is before the second.
    fn ask_bounds(&self, place: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        Ok((self.start_offset(place)?, self.end_offset(place)?))
    }

    /// Waits until something was appended since the call that returned `seen`, or until the timeout.
    /// Returns a number that grows with every durable append; start with 0.
    fn wait(&self, seen: u64, timeout: Duration) -> u64;

    /// Makes `wait` return soon, from any thread.
    fn wake(&self);

    /// Removes whole stored batches whose records are all older than `before`. Returns how many records went.
    fn retain(&self, topic: &str, before: Millis) -> Result<u64, LogError>;
}

//! What the embedded log is told at its start, and why it may refuse to open.

use std::path::PathBuf;
use std::time::Duration;

/// How to open the embedded log.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Where the store lives; made if missing. Nothing else may be in it.
    pub dir: PathBuf,
    /// All topics to have, dead-letter topics too. New ones are added to an existing store; topics that the store has
    /// and the list lacks stay readable.
    pub topics: Vec<String>,
    /// Partitions per topic, fixed when the store is made.
    pub partitions: u32,
    /// When appends reach the disk.
    pub fsync: Fsync,
    /// Bytes of appends that may wait to be written. A set larger than that is taken when nothing else waits.
    pub buffer_bytes_max: usize,
    /// An append that waited longer than this for its turn is not written any more. Also bounds closing.
    pub append_timeout: Duration,
    /// Free space of the file system below which appends are refused, besides what is still to be flushed.
    /// The store cannot outlive a full disk (see [`super`]), so it must never meet one.
    pub free_bytes_min: u64,
}

impl EmbeddedConfig {
    /// `free_bytes_min`, unless said otherwise: 64 MiB.
    pub const FREE_BYTES_MIN: u64 = 64 << 20;

    /// The defaults: 4 partitions, group fsync, a buffer of 64 MiB, 10 seconds.
    pub fn new(dir: impl Into<PathBuf>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            dir: dir.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            partitions: 4,
            fsync: Fsync::Group,
            buffer_bytes_max: 64 << 20,
            append_timeout: Duration::from_secs(10),
            free_bytes_min: Self::FREE_BYTES_MIN,
        }
    }
}

/// When appends reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before the acknowledgement; appends that wait share one fsync. Survives a crash of the machine.
    Group,
    /// When the operating system likes: an acknowledged append survives a crash of the process, not of the machine.
    Never,
}

/// Why the log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store's lock is taken.
    #[error("the log in {dir} is in use by another process: stop that one, or give this one another data directory")]
    InUse {
        /// The store.
        dir: PathBuf,
    },
    /// Partition counts never change: a tenant's records would move to another partition.
    #[error(
        "the log in {dir} has {stored} partitions per topic, the configuration says {asked}: \
         set it to {stored}, or start with an empty data directory"
    )]
    Partitions {
        /// The store.
        dir: PathBuf,
        /// What it has.
        stored: u32,
        /// What was asked for.
        asked: u32,
    },
    /// The configuration makes no sense.
    #[error("the log's configuration is wrong: {0}")]
    Config(String),
    /// Written by another version of this program.
    #[error("the log in {dir} has format {found}, this program reads format {known}: use the version that wrote it")]
    Format {
        /// The store.
        dir: PathBuf,
        /// What it has.
        found: u32,
        /// What we can read.
        known: u32,
    },
    /// The store's own bookkeeping cannot be read.
    #[error("the log in {dir} is damaged: {detail}")]
    Damaged {
        /// The store.
        dir: PathBuf,
        /// What and where.
        detail: String,
    },
    /// The disk or the store refuses.
    #[error("the log cannot be opened in {dir}: {detail}")]
    Storage {
        /// The store.
        dir: PathBuf,
        /// What the disk or the store said.
        detail: String,
    },
}

//! The log in Apache Kafka, over librdkafka. Reading is in `follow` (partitions that are followed) and `aside` (looks at
//! other places), what is known of topics in `watch`, writing in `append` and `writer`. Positions come from whoever reads,
//! never from Kafka's group; `membership` only says which partitions are ours. Knows nothing of what a record means.

mod append;
mod aside;
mod client;
mod config;
mod follow;
mod headers;
mod membership;
mod murmur2;
mod oauth;
mod orphans;
mod rejoin;
mod signal;
mod slot;
#[cfg(test)]
mod tests;
pub mod topics;
mod watch;
mod writer;

pub use config::{KafkaConfig, KafkaOpenError, OAuth, Sasl, Secret, Security, Tls};
pub use headers::panic_is_caught;
pub use membership::{Membership, Ownership};
pub use murmur2::{murmur2, partition};

use crate::{Ack, Appended, Fetched, Log, LogError, Offset, RecordSet, SourceState, TopicPartition, Writer};
use append::Appender;
use aside::Aside;
use aulaflow_model::instant::Millis;
use client::{Context, Health};
use follow::Follower;
use membership::Commits;
use oauth::TokenSource;
use signal::{Changes, join};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use watch::Watch;
use writer::TransactionalWriter;

/// The log in Kafka. Dropping it waits for what is on its way, a bounded time.
///
/// Opens whether or not a broker answers: [`Log::source_state`] says how it goes.
pub struct KafkaLog {
    config: KafkaConfig,
    context: Context,
    follower: Follower,
    aside: Aside,
    appender: Appender,
    watch: Arc<Watch>,
    watcher: Option<JoinHandle<()>>,
    changes: Arc<Changes>,
    commits: Arc<Commits>,
}

impl KafkaLog {
    /// Opens the log.
    pub fn open(config: KafkaConfig) -> Result<Self, KafkaOpenError> {
        config.check()?;
        let context = context(&config)?;
        let changes = Arc::new(Changes::default());
        let watch = Watch::new(&config, context.clone(), Arc::clone(&changes))?;
        let follower = Follower::start(&config, context.clone(), Arc::clone(&watch), Arc::clone(&changes))?;
        let appender = Appender::new(&config, context.clone(), Arc::clone(&changes))?;
        let aside = Aside::new(&config, context.clone(), Arc::clone(&watch));
        let commits = Arc::clone(&context.commits);
        let watcher = Some(watch.start(config.topics.clone())?);
        Ok(Self { config, context, follower, aside, appender, watch, watcher, changes, commits })
    }

    /// How it was opened.
    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Bytes read ahead and not yet read, in our own buffers.
    pub fn buffered_bytes(&self) -> usize {
        self.follower.buffered()
    }
}

/// What all clients of one configuration share.
fn context(config: &KafkaConfig) -> Result<Context, KafkaOpenError> {
    let health = Arc::new(Health::new(config.stalled_after));
    let tokens = match &config.security.sasl {
        Some(Sasl::OAuth(settings)) => {
            let tokens = TokenSource::new(settings.clone()).map_err(|e| KafkaOpenError::Config(e.to_string()))?;
            Some(Arc::new(tokens))
        }
        Some(Sasl::Plain(..) | Sasl::ScramSha256(..) | Sasl::ScramSha512(..)) | None => None,
    };
    Ok(Context { health, tokens, statistics: None, commits: Arc::default(), served: Arc::default() })
}

impl Log for KafkaLog {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.watch.partitions(topic)
    }

    /// As Kafka's own clients partition by a key that is the tenant's id.
    fn partition_of(&self, topic: &str, tenant: &str) -> Result<u32, LogError> {
        Ok(partition(tenant.as_bytes(), self.partitions(topic)?))
    }

    fn append(&self, place: &TopicPartition, records: RecordSet, ack: Ack) -> Result<(), LogError> {
        self.appender.append(place, &records, ack)
    }

    fn append_wait(&self, place: &TopicPartition, records: RecordSet, timeout: Duration) -> Result<Appended, LogError> {
        self.appender.append_wait(place, &records, timeout)
    }

    /// What was read ahead; about 256 KiB at most, or one record. An empty result may come with a `next_offset` that is
    /// higher than `offset`: between them there are no records. A place that was not followed is followed from now on;
    /// a read at another offset than the one before went on at goes there.
    fn read(&self, place: &TopicPartition, offset: Offset, _bytes_max: usize) -> Result<Fetched, LogError> {
        self.follower.read(place, offset)
    }

    fn read_aside(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        self.aside.read(place, offset, bytes_max)
    }

    fn writer(self: Arc<Self>, name: &str) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(TransactionalWriter::new(&self.config, self.context.clone(), name)?))
    }

    fn source_state(&self, place: &TopicPartition) -> SourceState {
        self.follower.state(place)
    }

    fn release(&self, place: &TopicPartition) {
        self.follower.release(place);
    }

    fn note_covered(&self, offsets: &[(TopicPartition, Offset)]) {
        self.commits.note(offsets);
    }

    fn start_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.watch.bounds(place)?.start)
    }

    fn end_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.watch.bounds(place)?.end)
    }

    fn ask_bounds(&self, place: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        let bounds = self.watch.ask_bounds(place)?;
        Ok((bounds.start, bounds.end))
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.changes.wait(seen, timeout)
    }

    fn wake(&self) {
        self.changes.bump();
    }

    /// Kafka removes old records by itself, as each topic's retention says.
    fn retain(&self, _topic: &str, _before: Millis) -> Result<u64, LogError> {
        Ok(0)
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.changes.bump();
        self.watch.stop();
        self.appender.close();
        join(&mut self.watcher, "watches Kafka's topics");
    }
}

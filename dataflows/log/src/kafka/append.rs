//! Appends: an idempotent producer behind a buffer that is bounded by our own count of bytes. An append is acknowledged
//! when the brokers have taken all its records.

use super::client::{Context, Health, append_error};
use super::config::{KafkaConfig, KafkaOpenError, refused};
use super::signal::Changes;
use crate::{Ack, Appended, LogError, Offset, RecordRef, RecordSet, TopicPartition};
use crossbeam_channel::bounded;
use parking_lot::{Condvar, Mutex, RwLock};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ThreadedProducer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What librdkafka needs for a message besides its bytes, about.
const MESSAGE_BYTES: usize = 300;
/// Time between two attempts to start a producer anew.
const RENEW_PAUSE: Duration = Duration::from_secs(1);
/// When to try again while the buffer is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What a timeout that no clock can hold means.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The records of one append, on their way.
pub(super) struct Batch {
    place: TopicPartition,
    count: u32,
    /// The writer's name, where a writer sent them.
    name: Option<String>,
    health: Arc<Health>,
    inner: Mutex<Progress>,
}

struct Progress {
    /// Records without an answer, and one more until all were handed over.
    left: u32,
    first: Offset,
    last: Offset,
    error: Option<LogError>,
    done: Option<Done>,
}

/// Called once with how it went.
type Done = Box<dyn FnOnce(Result<Appended, LogError>) + Send>;

impl Batch {
    pub fn new(place: &TopicPartition, count: u32, name: Option<&str>, health: &Arc<Health>, done: Done) -> Arc<Self> {
        let inner = Progress { left: count + 1, first: Offset::MAX, last: 0, error: None, done: Some(done) };
        Arc::new(Self {
            place: place.clone(),
            count,
            name: name.map(str::to_owned),
            health: Arc::clone(health),
            inner: Mutex::new(inner),
        })
    }

    /// The brokers' answer for one record.
    pub fn delivered(&self, result: &DeliveryResult<'_>) {
        match result {
            Ok(message) => self.answered(1, Ok(Offset::try_from(message.offset()).ok())),
            Err((error, _)) => self.answered(1, Err(append_error(error, self.name.as_deref(), &self.health))),
        }
    }

    /// `records` of them have an answer.
    fn answered(&self, records: u32, outcome: Result<Option<Offset>, LogError>) {
        let mut inner = self.inner.lock();
        match outcome {
            Ok(Some(offset)) => {
                inner.first = inner.first.min(offset);
                inner.last = inner.last.max(offset);
            }
            Ok(None) => {}
            // The first one says it best: the others may only say that they went with it.
            Err(error) if inner.error.is_none() => inner.error = Some(error),
            Err(_) => {}
        }
        inner.left -= records;
        if inner.left > 0 {
            return;
        }
        let outcome = match inner.error.take() {
            Some(error) => Err(error),
            None => {
                let (base_offset, last_offset) = if self.count == 0 { (0, 0) } else { (inner.first, inner.last) };
                Ok(Appended { place: self.place.clone(), base_offset, last_offset, count: self.count })
            }
        };
        let done = inner.done.take();
        drop(inner);
        if let Some(done) = done {
            done(outcome);
        }
    }

    /// Hands all records over; what cannot be handed over has failed.
    pub fn send(self: Arc<Self>, producer: &ThreadedProducer<Context>, records: &RecordSet) -> Result<(), KafkaError> {
        let mut sent = 0;
        for record in records {
            if let Err(error) = self.send_one(producer, &record) {
                let why = append_error(&error, self.name.as_deref(), &self.health);
                self.answered(self.count - sent + 1, Err(why));
                return Err(error);
            }
            sent += 1;
        }
        // Damaged bytes may have ended early.
        self.answered(self.count - sent + 1, Ok(None));
        Ok(())
    }

    fn send_one(
        self: &Arc<Self>,
        producer: &ThreadedProducer<Context>,
        record: &RecordRef<'_>,
    ) -> Result<(), KafkaError> {
        let headers = (!record.headers.is_empty()).then(|| {
            let empty = OwnedHeaders::new_with_capacity(record.headers.len());
            record.headers.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
        });
        let message = BaseRecord {
            topic: &self.place.topic,
            partition: Some(self.place.partition as i32),
            payload: record.value,
            key: Some(record.key),
            timestamp: Some(record.timestamp.0),
            headers,
            delivery_opaque: Arc::clone(self),
        };
        producer.send(message).map_err(|(error, _)| error)
    }
}

/// Appends to partitions.
pub(super) struct Appender {
    config: KafkaConfig,
    context: Context,
    producer: RwLock<Renewable>,
    room: Arc<Room>,
    changes: Arc<Changes>,
}

/// An idempotent producer ends for good at some errors; then another takes its place.
struct Renewable {
    producer: Arc<ThreadedProducer<Context>>,
    made: Instant,
}

/// Room for appends that wait.
struct Room {
    taken: Mutex<usize>,
    freed: Condvar,
    bytes_max: usize,
}

impl Room {
    /// Takes room, at the latest by the deadline. What is larger than all of it goes alone.
    fn take(&self, bytes: usize, deadline: Option<Instant>) -> bool {
        let mut taken = self.taken.lock();
        while *taken > 0 && *taken + bytes > self.bytes_max {
            let Some(deadline) = deadline else { return false };
            if self.freed.wait_until(&mut taken, deadline).timed_out() {
                return false;
            }
        }
        *taken += bytes;
        true
    }

    fn free(&self, bytes: usize) {
        *self.taken.lock() -= bytes;
        self.freed.notify_all();
    }
}

impl Appender {
    pub fn new(config: &KafkaConfig, context: Context, changes: Arc<Changes>) -> Result<Self, KafkaOpenError> {
        let producer = Arc::new(config.producer().create_with_context(context.clone()).map_err(refused)?);
        let room = Room { taken: Mutex::new(0), freed: Condvar::new(), bytes_max: config.buffer_bytes_max };
        Ok(Self {
            config: config.clone(),
            context,
            producer: RwLock::new(Renewable { producer, made: Instant::now() }),
            room: Arc::new(room),
            changes,
        })
    }

    /// Queues records, or says at once that there is no room.
    pub fn append(&self, place: &TopicPartition, records: &RecordSet, ack: Ack) -> Result<(), LogError> {
        if !self.room.take(cost(records), None) {
            return Err(LogError::Full { retry_after: RETRY_AFTER });
        }
        self.send(place, records, ack);
        Ok(())
    }

    /// Appends and waits.
    pub fn append_wait(
        &self,
        place: &TopicPartition,
        records: &RecordSet,
        timeout: Duration,
    ) -> Result<Appended, LogError> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + WAIT_MAX);
        if !self.room.take(cost(records), Some(deadline)) {
            return Err(LogError::Unavailable(format!("no room in the append buffer within {timeout:?}")));
        }
        let (done, outcome) = bounded(1);
        // Nobody listens after the timeout.
        self.send(place, records, Box::new(move |result| drop(done.send(result))));
        match outcome.recv_deadline(deadline) {
            Ok(result) => result,
            Err(_) => {
                let why = format!("an append was not acknowledged within {timeout:?}");
                Err(LogError::Unavailable(self.context.health.reason(&why)))
            }
        }
    }

    /// The room is taken already.
    fn send(&self, place: &TopicPartition, records: &RecordSet, ack: Ack) {
        let (room, changes, bytes) = (Arc::clone(&self.room), Arc::clone(&self.changes), cost(records));
        let done = Box::new(move |outcome: Result<Appended, LogError>| {
            room.free(bytes);
            if outcome.is_ok() {
                changes.bump();
            }
            ack(outcome);
        });
        let producer = self.producer();
        let batch = Batch::new(place, records.len(), None, &self.context.health, done);
        // The batch has told whoever waits.
        if let Err(error) = batch.send(&producer, records) {
            tracing::debug!(%error, topic = place.topic, "the producer takes nothing");
        }
    }

    /// The producer; a new one where the old one cannot go on.
    fn producer(&self) -> Arc<ThreadedProducer<Context>> {
        let present = {
            let renewable = self.producer.read();
            if renewable.producer.client().fatal_error().is_none() || renewable.made.elapsed() < RENEW_PAUSE {
                return Arc::clone(&renewable.producer);
            }
            Arc::clone(&renewable.producer)
        };
        let mut renewable = self.producer.write();
        if Arc::ptr_eq(&present, &renewable.producer) {
            let why = present.client().fatal_error().map(|(_, why)| why).unwrap_or_default();
            renewable.made = Instant::now();
            match self.config.producer().create_with_context(self.context.clone()) {
                Ok(producer) => {
                    tracing::warn!(why, "the producer could not go on: a new one takes its place");
                    renewable.producer = Arc::new(producer);
                }
                Err(error) => tracing::error!(%error, "no new producer"),
            }
        }
        Arc::clone(&renewable.producer)
    }

    /// Waits for what is on its way, a bounded time.
    pub fn close(&self) {
        let producer = Arc::clone(&self.producer.read().producer);
        if let Err(error) = producer.flush(self.config.append_timeout)
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::OperationTimedOut)
        {
            tracing::debug!(%error, "flushing the producer");
        }
    }
}

/// Room that an append takes; never 0.
fn cost(records: &RecordSet) -> usize {
    records.len_bytes() + (records.len() as usize + 1) * MESSAGE_BYTES
}

//! Reads beside the follower: a look at some place by a consumer of its own, one look at a time.

use super::client::{Context, Health};
use super::config::KafkaConfig;
use super::follow::{beyond, gone, list};
use super::headers::with_headers;
use super::slot::{Incoming, Slot};
use super::watch::Watch;
use crate::{Fetched, LogError, Offset, TopicPartition};
use aulaflow_model::instant::Millis;
use parking_lot::Mutex;
use rdkafka::Offset as Position;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looks at places.
pub(super) struct Aside {
    config: KafkaConfig,
    context: Context,
    watch: Arc<Watch>,
    health: Arc<Health>,
    /// Made by the first look.
    consumer: Mutex<Option<BaseConsumer<Context>>>,
}

impl Aside {
    pub fn new(config: &KafkaConfig, context: Context, watch: Arc<Watch>) -> Self {
        let health = Arc::clone(&context.health);
        Self { config: config.clone(), context, watch, health, consumer: Mutex::new(None) }
    }

    /// Reads about `bytes_max` bytes from `offset` on; waits for them. Empty: the partition ends there.
    pub fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        let deadline = Instant::now() + self.config.request_timeout;
        // Asked before it is read: what is before this end comes, or is no record.
        let bounds = self.watch.ask_bounds(place)?;
        if offset < bounds.start {
            return Err(gone(place, offset, bounds.start));
        }
        if offset > bounds.end {
            return Err(beyond(place, offset, bounds.end));
        }
        let slot = Slot::new(place.clone(), offset);
        if offset < bounds.end {
            self.receive(&slot, offset, bytes_max.max(1), bounds.end, deadline)?;
        }
        let mut inner = slot.inner.into_inner();
        Ok(inner.take(offset, bounds.end))
    }

    /// Receives until there is enough, or all there is.
    fn receive(
        &self,
        slot: &Slot,
        offset: Offset,
        bytes_max: usize,
        end: Offset,
        deadline: Instant,
    ) -> Result<(), LogError> {
        let broken = |error: KafkaError| LogError::Unavailable(error.to_string());
        let Some(mut consumer) = self.consumer.try_lock_until(deadline) else {
            return Err(LogError::Unavailable("another look at the log takes too long".to_owned()));
        };
        let consumer = match &mut *consumer {
            Some(consumer) => consumer,
            none => none.insert(self.config.aside().create_with_context(self.context.clone()).map_err(broken)?),
        };
        consumer.assign(&list(&slot.place, Position::Offset(offset as i64))).map_err(broken)?;
        let received = self.poll(consumer, slot, bytes_max, end, deadline);
        // The next look assigns anew: this only stops the fetching.
        consumer.unassign().map_err(broken)?;
        received
    }

    fn poll(
        &self,
        consumer: &BaseConsumer<Context>,
        slot: &Slot,
        bytes_max: usize,
        end: Offset,
        deadline: Instant,
    ) -> Result<(), LogError> {
        let place = &slot.place;
        let mut inner = slot.inner.lock();
        let bytes_max = bytes_max.min(super::slot::PIECE_BYTES);
        while inner.received < end && inner.bytes < bytes_max {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // What has come is good.
                let nothing = inner.bytes == 0;
                let why = || self.health.reason(&format!("{}/{} was not read in time", place.topic, place.partition));
                return if nothing { Err(LogError::Unavailable(why())) } else { Ok(()) };
            }
            match consumer.poll(left.min(Duration::from_millis(100))) {
                None => {}
                Some(Ok(message)) => {
                    let ours = message.partition() == place.partition as i32 && message.topic() == place.topic;
                    let Some(offset) = Offset::try_from(message.offset()).ok().filter(|_| ours) else { continue };
                    with_headers(&message, |headers| {
                        inner.push(&Incoming {
                            offset,
                            timestamp: Millis(message.timestamp().to_millis().unwrap_or(0)),
                            key: message.key().unwrap_or_default(),
                            value: message.payload(),
                            headers,
                        })
                    });
                }
                // The rest up to the end is no record.
                Some(Err(KafkaError::PartitionEOF(_))) => inner.received = inner.received.max(end),
                // Such as a broker that is away: it is tried until the deadline.
                Some(Err(error)) => tracing::debug!(%error, topic = place.topic, "reading beside"),
            }
        }
        Ok(())
    }
}

//! A log in front of another one: a test that counts what is read, refuses writes or holds something back says only that, and
//! the rest goes through. Knows neither of the two logs.

use crate::{Ack, Appended, Fetched, Log, LogError, Offset, RecordSet, SourceState, TopicPartition, Writer};
use aulaflow_model::instant::Millis;
use std::sync::Arc;
use std::time::Duration;

/// A log in front of [`Forward::behind`]: each method is that one's, until it is written anew. What they mean is said at
/// [`Log`], which everything that forwards is.
pub trait Forward: Send + Sync + 'static {
    /// Where everything goes.
    fn behind(&self) -> &Arc<dyn Log>;

    /// As [`Log::partitions`].
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.behind().partitions(topic)
    }

    /// As [`Log::append_wait`].
    fn append_wait(&self, place: &TopicPartition, records: RecordSet, timeout: Duration) -> Result<Appended, LogError> {
        self.behind().append_wait(place, records, timeout)
    }

    /// As [`Log::read`].
    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        self.behind().read(place, offset, bytes_max)
    }

    /// As [`Log::read_aside`].
    fn read_aside(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        self.behind().read_aside(place, offset, bytes_max)
    }

    /// As [`Log::writer`].
    fn writer(self: Arc<Self>, name: &str) -> Result<Box<dyn Writer>, LogError> {
        Arc::clone(self.behind()).writer(name)
    }

    /// As [`Log::record_bytes_max`].
    fn record_bytes_max(&self) -> usize {
        self.behind().record_bytes_max()
    }

    /// As [`Log::source_state`].
    fn source_state(&self, place: &TopicPartition) -> SourceState {
        self.behind().source_state(place)
    }
}

impl<F: Forward> Log for F {
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Forward::partitions(self, topic)
    }

    fn partition_of(&self, topic: &str, tenant: &str) -> Result<u32, LogError> {
        self.behind().partition_of(topic, tenant)
    }

    fn append(&self, place: &TopicPartition, records: RecordSet, ack: Ack) -> Result<(), LogError> {
        self.behind().append(place, records, ack)
    }

    fn append_wait(&self, place: &TopicPartition, records: RecordSet, timeout: Duration) -> Result<Appended, LogError> {
        Forward::append_wait(self, place, records, timeout)
    }

    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        Forward::read(self, place, offset, bytes_max)
    }

    fn read_aside(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        Forward::read_aside(self, place, offset, bytes_max)
    }

    fn writer(self: Arc<Self>, name: &str) -> Result<Box<dyn Writer>, LogError> {
        Forward::writer(self, name)
    }

    fn record_bytes_max(&self) -> usize {
        Forward::record_bytes_max(self)
    }

    fn source_state(&self, place: &TopicPartition) -> SourceState {
        Forward::source_state(self, place)
    }

    fn release(&self, place: &TopicPartition) {
        self.behind().release(place);
    }

    fn note_covered(&self, offsets: &[(TopicPartition, Offset)]) {
        self.behind().note_covered(offsets);
    }

    fn start_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        self.behind().start_offset(place)
    }

    fn end_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        self.behind().end_offset(place)
    }

    fn ask_bounds(&self, place: &TopicPartition) -> Result<(Offset, Offset), LogError> {
        self.behind().ask_bounds(place)
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.behind().wait(seen, timeout)
    }

    fn wake(&self) {
        self.behind().wake();
    }

    fn retain(&self, topic: &str, before: Millis) -> Result<u64, LogError> {
        self.behind().retain(topic, before)
    }
}

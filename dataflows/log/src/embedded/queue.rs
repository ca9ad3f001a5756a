//! Appends that wait for the writer: a queue bounded by bytes. Knows nothing of the store.

use super::stats::LogStats;
use crate::{Ack, RecordSet};
use aulaflow_model::instant::Millis;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One append that waits.
pub(super) struct Pending {
    /// Index of the partition among all of the log's.
    pub partition: usize,
    pub records: RecordSet,
    /// The newest timestamp; found by the appending thread, not by the one writer.
    pub newest: Millis,
    /// After this instant nobody waits for it, and it is not written.
    pub deadline: Instant,
    pub ack: Ack,
}

impl Pending {
    /// Room taken in the buffer; never 0, so that empty sets are bounded too.
    pub fn bytes(&self) -> usize {
        self.records.len_bytes() + 128
    }
}

/// Why an append was not taken.
pub(super) enum Refused {
    Full,
    Closed,
}

pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Signalled when something was put in, or the queue was closed.
    work: Condvar,
    /// Signalled when bytes were released, or the queue was closed.
    room: Condvar,
    bytes_max: usize,
    stats: Arc<LogStats>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Pending>,
    /// Bytes of what waits and of what the writer is working on.
    bytes: usize,
    closed: bool,
}

/// Longest sleep of an idle writer before it looks again.
const IDLE_WAIT: Duration = Duration::from_secs(5);

impl Queue {
    pub fn new(bytes_max: usize, stats: Arc<LogStats>) -> Self {
        Self { inner: Mutex::default(), work: Condvar::new(), room: Condvar::new(), bytes_max, stats }
    }

    /// Puts an append in, or says at once why not.
    pub fn push(&self, pending: Pending) -> Result<(), Refused> {
        self.put(&mut self.inner.lock(), pending).map_err(|(refused, _)| refused)
    }

    /// Puts an append in, waiting for room until its deadline.
    pub fn push_wait(&self, mut pending: Pending) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        let deadline = pending.deadline;
        loop {
            match self.put(&mut inner, pending) {
                Ok(()) => return Ok(()),
                Err((Refused::Closed, _)) => return Err(Refused::Closed),
                Err((Refused::Full, back)) => pending = back,
            }
            if self.room.wait_until(&mut inner, deadline).timed_out() {
                return self.put(&mut inner, pending).map_err(|(refused, _)| refused);
            }
        }
    }

    // The refused append travels back by value; it is moved, not copied.
    #[allow(clippy::result_large_err)]
    fn put(&self, inner: &mut Inner, pending: Pending) -> Result<(), (Refused, Pending)> {
        if inner.closed {
            return Err((Refused::Closed, pending));
        }
        // A set larger than the buffer would never fit: it may go alone.
        if inner.bytes > 0 && inner.bytes + pending.bytes() > self.bytes_max {
            return Err((Refused::Full, pending));
        }
        inner.bytes += pending.bytes();
        LogStats::set(&self.stats.queue_bytes, inner.bytes as u64);
        inner.waiting.push_back(pending);
        self.work.notify_one();
        Ok(())
    }

    /// Waits for work and takes it: everything there is, up to about `bytes_max`. `None` when closed and empty.
    /// The bytes stay counted until [`Queue::release`].
    pub fn take(&self, bytes_max: usize) -> Option<Vec<Pending>> {
        let mut inner = self.inner.lock();
        while inner.waiting.is_empty() {
            if inner.closed {
                return None;
            }
            self.work.wait_for(&mut inner, IDLE_WAIT);
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = inner.waiting.pop_front_if(|p| bytes == 0 || bytes + p.bytes() <= bytes_max) {
            bytes += next.bytes();
            taken.push(next);
        }
        Some(taken)
    }

    /// Gives the room of taken appends back.
    pub fn release(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.bytes -= bytes;
        LogStats::set(&self.stats.queue_bytes, inner.bytes as u64);
        drop(inner);
        self.room.notify_all();
    }

    /// Takes nothing more; what waits is still given out.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }
}

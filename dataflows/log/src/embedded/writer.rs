//! The log's one writer: takes what waits, writes it as one group, makes it durable once, acknowledges it in order.

use super::queue::Pending;
use super::stats::LogStats;
use super::store::{Place, Row, Store};
use super::{Fsync, Shared};
use crate::{Appended, LogError, Offset, RecordSet, TopicPartition};
use aulaflow_model::instant::Millis;
use fjall::PersistMode;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Bytes of one group commit, about.
const COMMIT_BYTES_MAX: usize = 16 << 20;
/// Small appends of a partition that are committed together become one stored batch of about this size.
const BATCH_BYTES: usize = 1 << 20;
/// A larger set is stored as several batches: a reader has to take at least one whole batch.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Between tries to open a store again that failed.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Writes until the queue is closed and empty.
pub(super) fn run(shared: &Shared) {
    let mut writer = Writer { shared, broken: None };
    while let Some(taken) = shared.queue.take(COMMIT_BYTES_MAX) {
        writer.commit(taken);
    }
    let store = shared.store.read();
    if let Some(Err(e)) = store.as_ref().map(Store::sync) {
        tracing::error!(error = %e, "the log could not be synced when it closed");
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    /// Set after a write error: the store takes nothing more until it is opened again.
    broken: Option<Broken>,
}

struct Broken {
    cause: String,
    retry_at: Instant,
}

/// The rows of a group commit, and what each append will be told.
#[derive(Default)]
struct Plan {
    rows: Vec<Row>,
    appended: Vec<Appended>,
    ends: HashMap<usize, Offset>,
    open: HashMap<usize, Row>,
}

impl Writer<'_> {
    fn commit(&mut self, taken: Vec<Pending>) {
        let shared = self.shared;
        let bytes: usize = taken.iter().map(Pending::bytes).sum();
        let now = Instant::now();
        let (live, late): (Vec<_>, Vec<_>) = taken.into_iter().partition(|p| p.deadline > now);
        let ready = self.repair(bytes as u64);
        let mut acks = Vec::with_capacity(live.len());
        let mut plan = Plan::default();
        for pending in live {
            plan.add(shared, pending.partition, &pending.records, pending.newest);
            acks.push(pending.ack);
        }
        plan.close_all();
        let outcome = ready.and_then(|()| if plan.rows.is_empty() { Ok(()) } else { self.write(&plan) });
        match &outcome {
            Ok(()) => {
                for (partition, end) in &plan.ends {
                    shared.partitions[*partition].end.store(*end, Ordering::Release);
                }
                let records: u64 = plan.appended.iter().map(|a| u64::from(a.count)).sum();
                LogStats::add(&shared.stats.appended_records, records);
                LogStats::add(&shared.stats.appended_bytes, plan.rows.iter().map(|r| r.bytes() as u64).sum());
                LogStats::add(&shared.stats.commits, u64::from(!acks.is_empty()));
                LogStats::set(&shared.stats.last_commit_micros, now.elapsed().as_micros() as u64);
                if !plan.rows.is_empty() {
                    shared.changed();
                }
            }
            Err(_) => LogStats::add(&shared.stats.commits_failed, 1),
        }
        shared.queue.release(bytes);
        for (ack, appended) in acks.into_iter().zip(plan.appended) {
            call(ack, outcome.clone().map(|()| appended));
        }
        for pending in late {
            let waited = "the append waited too long for its turn and was not written";
            call(pending.ack, Err(LogError::Unavailable(waited.to_owned())));
        }
    }

    /// Opens the store again after a write error, if it is time and there is room. Comes before the offsets are given:
    /// an append that failed can be on the log after all.
    fn repair(&mut self, bytes: u64) -> Result<(), LogError> {
        if let Some(broken) = &self.broken {
            if Instant::now() < broken.retry_at {
                return Err(LogError::Unavailable(broken.cause.clone()));
            }
            // While the disk is full the old store can at least be read.
            self.shared.check_space(bytes)?;
            self.shared.reopen().map_err(|cause| self.fail(cause))?;
            self.broken = None;
        }
        self.shared.check_space(bytes)
    }

    fn write(&mut self, plan: &Plan) -> Result<(), LogError> {
        let mode = match self.shared.fsync {
            Fsync::Group => PersistMode::SyncData,
            Fsync::Never => PersistMode::Buffer,
        };
        let written = match self.shared.store.read().as_ref() {
            Some(store) => store.write(&plan.rows, mode).map_err(|e| e.to_string()),
            None => Err("the store is not open".to_owned()),
        };
        written.map_err(|cause| {
            tracing::error!(%cause, "the log could not be written");
            self.fail(cause)
        })
    }

    fn fail(&mut self, cause: String) -> LogError {
        self.broken = Some(Broken { cause: cause.clone(), retry_at: Instant::now() + REOPEN_PAUSE });
        LogError::Unavailable(cause)
    }
}

impl Plan {
    /// Gives an append its offsets and puts it in the partition's open batch, or into batches of its own.
    fn add(&mut self, shared: &Shared, partition: usize, records: &RecordSet, newest: Millis) {
        let state = &shared.partitions[partition];
        let end = self.ends.entry(partition).or_insert_with(|| state.end.load(Ordering::Acquire));
        let place = TopicPartition { topic: state.place.name.to_string(), partition: state.place.partition };
        let last_offset = *end + u64::from(records.len().saturating_sub(1));
        self.appended.push(Appended { place, base_offset: *end, last_offset, count: records.len() });
        let parts =
            if records.len_bytes() > BATCH_BYTES_MAX { records.split(BATCH_BYTES_MAX) } else { vec![records.clone()] };
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let open = self.open.entry(partition).or_insert_with(|| Row::starting_at(&state.place, *end));
            if !open.parts.is_empty() && open.bytes() + part.len_bytes() > BATCH_BYTES {
                self.rows.push(std::mem::replace(open, Row::starting_at(&state.place, *end)));
            }
            *end += u64::from(part.len());
            open.count += part.len();
            // A part of a big set may be given a newer timestamp than its own: it only stays a little longer.
            open.newest = open.newest.max(newest);
            open.parts.push(part);
        }
    }

    fn close_all(&mut self) {
        self.rows.extend(self.open.drain().map(|(_, row)| row).filter(|row| row.count > 0));
    }
}

impl Row {
    fn starting_at(place: &Place, base: Offset) -> Self {
        Self { place: place.clone(), base, count: 0, newest: Millis(i64::MIN), parts: Vec::new() }
    }
}

/// Calls an acknowledgement. One that panics must not take the log with it.
fn call(ack: crate::Ack, outcome: Result<Appended, LogError>) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| ack(outcome))).is_err() {
        tracing::error!("an acknowledgement panicked");
    }
}

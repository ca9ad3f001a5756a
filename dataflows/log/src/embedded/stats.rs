//! Counters of the embedded log, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the log has done since it was opened. Read with [`LogStats::get`] of a field.
#[derive(Debug, Default)]
pub struct LogStats {
    /// Records made durable.
    pub appended_records: AtomicU64,
    /// Their encoded bytes.
    pub appended_bytes: AtomicU64,
    /// Group commits that succeeded.
    pub commits: AtomicU64,
    /// Group commits that failed, the ones refused for want of space included.
    pub commits_failed: AtomicU64,
    /// Times that the store was opened again after a write error.
    pub reopened: AtomicU64,
    /// Bytes that wait to be written or are being written.
    pub queue_bytes: AtomicU64,
    /// How long the last commit took, fsync included, in microseconds.
    pub last_commit_micros: AtomicU64,
}

impl LogStats {
    /// Reads a counter.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn set(counter: &AtomicU64, n: u64) {
        counter.store(n, Ordering::Relaxed);
    }

    /// When a refused append is worth trying again: after about two commits.
    pub(super) fn retry_after(&self) -> Duration {
        let commit = Duration::from_micros(Self::get(&self.last_commit_micros));
        (commit * 2).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }
}

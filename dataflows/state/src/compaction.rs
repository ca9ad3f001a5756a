//! Merging segments, on a thread of its own: neither commits nor readers wait for it. Its result is taken into the next
//! checkpoint's manifest.
//!
//! Which: newer segments in tiers, eight of a level to one of the next; and all of them, once what is newer than the oldest
//! has become as much as the oldest. So after `n` checkpoints a byte has been written again at most `log8(n) + 2` times:
//! once per level, and twice for the merges of everything, which write at most double of what came since the last one.
//! There are at most `7 log8(n) + 8` segments, and they are at most double of the rows that count, where merging keeps up.

use crate::disk::Disk;
use crate::error::StoreError;
use crate::merge::Merge;
use crate::segment::{SegmentRef, SegmentWriter};
use crate::{Expired, segment};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Segments of a level that are merged to one of the next.
pub const FAN_IN: usize = 8;
/// The level of a segment that holds all older rows.
pub const BASE_LEVEL: u8 = u8::MAX;
/// Everything is merged when at least so much is new.
const BASE_MERGE_MIN: u64 = if cfg!(test) { 256 } else { 1 << 20 };
/// Rows between two looks at whether to end.
const ROWS_PER_LOOK: u64 = 1_024;

/// What to merge.
pub struct Job {
    /// In the order of age.
    pub segments: Vec<SegmentRef>,
    /// The number of the result.
    pub id: u64,
    /// Its level.
    pub level: u8,
    /// Whether nothing older is left: then removals need not be kept.
    pub bottom: bool,
    /// What is left out.
    pub expired: Expired,
}

/// What became of a job.
pub struct Outcome {
    /// What was merged.
    pub inputs: Vec<u64>,
    /// The result; no segment, if no row is left.
    pub result: Result<Option<SegmentRef>, StoreError>,
}

/// Which of a checkpoint's segments to merge next, and the level of the result.
pub fn plan(segments: &[SegmentRef]) -> Option<(Range<usize>, u8)> {
    let (oldest, newer) = segments.split_first()?;
    let new_bytes: u64 = newer.iter().map(|segment| segment.bytes).sum();
    if new_bytes >= oldest.bytes.max(BASE_MERGE_MIN) {
        return Some((0..segments.len(), BASE_LEVEL));
    }
    let mut end = segments.len();
    while let Some(last) = end.checked_sub(1).map(|at| &segments[at]) {
        let same = segments[..end].iter().rev().take_while(|segment| segment.level == last.level).count();
        if same >= FAN_IN && last.level < BASE_LEVEL - 1 {
            return Some((end - same..end, last.level + 1));
        }
        end -= same;
    }
    None
}

/// The thread.
pub struct Compactor {
    jobs: Option<Sender<Job>>,
    outcomes: Receiver<Outcome>,
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    /// Starts it.
    pub fn start(disk: Disk) -> Result<Self, StoreError> {
        let (jobs, receiver) = bounded::<Job>(1);
        let (sender, outcomes) = bounded(1);
        let cancel = Arc::new(AtomicBool::new(false));
        let (cancelled, of) = (cancel.clone(), disk.clone());
        let work = move || {
            for job in receiver {
                let inputs = job.segments.iter().map(|segment| segment.id).collect();
                let result = merge(&disk, &job, &cancelled);
                if sender.send(Outcome { inputs, result }).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("aulaflow-compaction".to_owned()).spawn(work);
        let thread = Some(thread.map_err(|e| of.failed("", e))?);
        Ok(Self { jobs: Some(jobs), outcomes, cancel, thread })
    }

    /// Begins a job. One at a time: the caller has taken the outcome of the one before.
    pub fn begin(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// The outcome of the job, if it has one within this time.
    pub fn outcome(&self, wait: Duration) -> Option<Outcome> {
        self.outcomes.recv_timeout(wait).ok()
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Release);
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that merges segments panicked");
        }
    }
}

fn merge(disk: &Disk, job: &Job, cancel: &AtomicBool) -> Result<Option<SegmentRef>, StoreError> {
    let result = try_merge(disk, job, cancel);
    if !matches!(result, Ok(Some(_))) && disk.step("compaction.begin").is_ok() {
        // What cannot be removed now is removed when the folder is opened.
        disk.remove(&segment::name(job.id)).ok();
    }
    result
}

fn try_merge(disk: &Disk, job: &Job, cancel: &AtomicBool) -> Result<Option<SegmentRef>, StoreError> {
    disk.step("compaction.begin")?;
    disk.check_space(job.segments.iter().map(|segment| segment.bytes).sum())?;
    let mut rows = Merge::new(disk, &job.segments, &[], job.expired.clone())?;
    let mut writer = SegmentWriter::new(disk, job.id)?;
    let (mut seen, mut kept) = (0, 0u64);
    while let Some((key, value)) = rows.next_row()? {
        seen += 1;
        if seen % ROWS_PER_LOOK == 0 && cancel.load(Ordering::Acquire) {
            return Ok(None);
        }
        if value.is_some() || !job.bottom {
            writer.push(key, value)?;
            kept += 1;
        }
    }
    if kept == 0 {
        return Ok(None);
    }
    writer.finish(job.level, ["compaction.written", "compaction.durable"]).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(all: &[(u64, u8)]) -> Vec<SegmentRef> {
        let one = |(id, (bytes, level)): (usize, &(u64, u8))| SegmentRef {
            id: id as u64,
            bytes: *bytes,
            rows: 1,
            checksum: 0,
            level: *level,
        };
        all.iter().enumerate().map(one).collect()
    }

    #[test]
    fn tiers_are_merged_from_below_and_everything_when_it_has_doubled() {
        let mb = 1 << 20;
        assert_eq!(plan(&[]), None);
        assert_eq!(plan(&segments(&[(mb, 0)])), None);
        assert_eq!(plan(&segments(&[(3 * mb, 255), (mb, 0), (mb, 0)])), None);
        assert_eq!(plan(&segments(&[(3 * mb, 255), (2 * mb, 1), (mb, 0)])), Some((0..3, 255)));
        assert_eq!(plan(&segments(&[(3, 255), (2, 1), (1, 0)])), None, "too little to be worth it");
        let tier = |before: &[(u64, u8)]| segments(&[before, &[(1, 0); 8]].concat());
        assert_eq!(plan(&tier(&[(100, 255), (1, 1)])), Some((2..10, 1)));
        assert_eq!(plan(&tier(&[(100, 0)])), Some((0..9, 1)));
        let above = segments(&[&[(100, 255)][..], &[(1, 2); 8], &[(1, 0); 7]].concat());
        assert_eq!(plan(&above), Some((1..9, 3)));
    }
}

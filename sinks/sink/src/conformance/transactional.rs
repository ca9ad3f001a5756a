//! What every transactional sink must do: nothing is delivered before it is committed, what is committed is delivered once,
//! and a crash at any point changes neither.

use super::change;
use crate::update::ChangeBatch;
use crate::{Outcome, Participant, Token, TransactionWriter};
use aulaflow_model::change::GradeRow;
use aulaflow_model::instant::{ClockTime, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a sink on this machine may take to prepare a few rows.
const PREPARE_WITHIN: Duration = Duration::from_secs(30);
const STUDENTS: [&str; 3] = ["ana", "bo", "cy"];

/// One update of a student's grade as a reader of the sink finds it: the versions of the row before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The student.
    pub student: String,
    /// The version of the row before; `None`: there was none.
    pub before: Option<u32>,
    /// The version of the row after; `None`: there is none.
    pub after: Option<u32>,
}

/// A sink's storage, which outlives the processes that write to it.
pub trait Storage {
    /// A process begins: one worker's writer, and the participant. An earlier one may have ended at any point.
    fn open(&self) -> (Box<dyn TransactionWriter>, Arc<dyn Participant>);

    /// What has been delivered to readers, in order.
    fn delivered(&self) -> Vec<Delivered>;
}

/// Runs the whole suite. `storage` makes an empty one.
pub fn check_transactional<S: Storage>(storage: impl Fn() -> S) {
    nothing_is_delivered_before_it_is_committed(&storage());
    what_comes_after_the_barrier_is_not_of_its_transaction(&storage());
    preparing_and_committing_again_change_nothing(&storage());
    what_is_not_of_the_checkpoint_is_discarded(&storage());
    a_checkpoint_that_counts_is_delivered_though_the_process_ended(&storage());
    for seed in 1..=50 {
        crashes_at_random_lose_and_double_nothing(&storage(), seed);
    }
}

/// Rows are written, then sealed by a checkpoint, and only then delivered.
pub fn nothing_is_delivered_before_it_is_committed(storage: &impl Storage) {
    let mut process = Process::begin(storage, None);
    process.epoch(1, &[("ana", None, Some(1)), ("bo", None, Some(2))]);
    assert_eq!(storage.delivered(), [], "a row was delivered before its checkpoint");
    let token = process.prepare(1);
    assert_eq!(storage.delivered(), [], "a row was delivered before its checkpoint counted");
    process.participant.commit(&token);
    assert_eq!(sorted(storage.delivered()), [delivered("ana", None, Some(1)), delivered("bo", None, Some(2))]);
    process.epoch(2, &[("ana", Some(1), Some(3)), ("bo", Some(2), None)]);
    let token = process.prepare(2);
    process.participant.commit(&token);
    assert_eq!(
        sorted(storage.delivered().split_off(2)),
        [delivered("ana", Some(1), Some(3)), delivered("bo", Some(2), None)]
    );
}

/// The dataflow does not stand still for a checkpoint: later rows are written before it is prepared.
pub fn what_comes_after_the_barrier_is_not_of_its_transaction(storage: &impl Storage) {
    let mut process = Process::begin(storage, None);
    process.epoch(1, &[("ana", None, Some(1))]);
    process.epoch(2, &[("ana", Some(1), Some(2))]);
    let token = process.prepare(1);
    process.participant.commit(&token);
    assert_eq!(storage.delivered(), [delivered("ana", None, Some(1))]);
    // The process ends; what the checkpoint does not cover comes again.
    let mut process = Process::begin(storage, Some(&token));
    process.epoch(2, &[("ana", Some(1), Some(2))]);
    let token = process.prepare(2);
    process.participant.commit(&token);
    assert_eq!(storage.delivered(), [delivered("ana", None, Some(1)), delivered("ana", Some(1), Some(2))]);
}

/// A checkpoint that could not be written is prepared again, and a start commits what may be committed already.
pub fn preparing_and_committing_again_change_nothing(storage: &impl Storage) {
    let mut process = Process::begin(storage, None);
    process.epoch(1, &[("ana", None, Some(1))]);
    process.prepare(1);
    let token = process.prepare(1);
    process.participant.commit(&token);
    process.participant.commit(&token);
    let once = [delivered("ana", None, Some(1))];
    assert_eq!(storage.delivered(), once);
    let process = Process::begin(storage, Some(&token));
    assert_eq!(storage.delivered(), once);
    // A checkpoint without a new row.
    let token = process.prepare(2);
    process.participant.commit(&token);
    assert_eq!(storage.delivered(), once);
}

/// A process that ended before its checkpoint counted: its rows come again.
pub fn what_is_not_of_the_checkpoint_is_discarded(storage: &impl Storage) {
    for prepared in [false, true] {
        let mut process = Process::begin(storage, None);
        process.epoch(1, &[("ana", None, Some(1))]);
        if prepared {
            process.prepare(1);
        }
    }
    let mut process = Process::begin(storage, None);
    assert_eq!(storage.delivered(), []);
    process.epoch(1, &[("ana", None, Some(1))]);
    let token = process.prepare(1);
    process.participant.commit(&token);
    assert_eq!(storage.delivered(), [delivered("ana", None, Some(1))]);
}

/// A process that ended between a checkpoint and its commit: the start that goes on from it commits it.
pub fn a_checkpoint_that_counts_is_delivered_though_the_process_ended(storage: &impl Storage) {
    let mut process = Process::begin(storage, None);
    process.epoch(1, &[("ana", None, Some(1))]);
    let token = process.prepare(1);
    drop(process);
    let _process = Process::begin(storage, Some(&token));
    assert_eq!(storage.delivered(), [delivered("ana", None, Some(1))]);
}

/// Epochs, checkpoints that count and that do not, and crashes, in an order that follows from the seed.
pub fn crashes_at_random_lose_and_double_nothing(storage: &impl Storage, seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: u64| {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    // Each epoch's updates are a function of its number, as a dataflow's are of the log.
    let mut story: Vec<Vec<(&str, Option<u32>, Option<u32>)>> = Vec::new();
    let mut rows: BTreeMap<&str, u32> = BTreeMap::new();
    for epoch in 1..=40_u32 {
        let who = STUDENTS[below(3) as usize];
        let after = (below(4) > 0).then_some(epoch);
        let before = rows.remove(who);
        rows.extend(after.map(|after| (who, after)));
        let is_update = before.is_some() || after.is_some();
        story.push(is_update.then_some((who, before, after)).into_iter().collect());
    }
    let mut process = Process::begin(storage, None);
    // Epochs written by this process, and what the last checkpoint that counts covers.
    let (mut written, mut covered, mut token) = (0, 0, None);
    while covered < story.len() {
        match below(8) {
            0..=3 if written < story.len() => {
                written += 1;
                process.epoch(written as i64, &story[written - 1]);
            }
            0..=5 if written > covered => {
                // Of what was written a checkpoint covers some: later epochs go on meanwhile.
                let barrier = covered + 1 + below((written - covered) as u64) as usize;
                let prepared = process.prepare(barrier as i64);
                let ends = below(4);
                if ends > 0 {
                    (covered, token) = (barrier, Some(prepared.clone()));
                }
                if ends > 1 {
                    process.participant.commit(&prepared);
                } else {
                    // Before or after the manifest.
                    process = Process::begin(storage, token.as_deref());
                    written = covered;
                }
            }
            0..=6 => {}
            _ => {
                process = Process::begin(storage, token.as_deref());
                written = covered;
            }
        }
    }
    let _last = Process::begin(storage, token.as_deref());
    let expected = story.iter().flatten().map(|(who, before, after)| delivered(who, *before, *after));
    assert_eq!(storage.delivered(), expected.collect::<Vec<_>>(), "seed {seed}");
}

struct Process {
    writer: Box<dyn TransactionWriter>,
    participant: Arc<dyn Participant>,
}

impl Process {
    /// As an engine starts: the token of the checkpoint that it goes on from, which counts.
    fn begin(storage: &impl Storage, token: Option<&[u8]>) -> Self {
        let (writer, participant) = storage.open();
        participant.restore(token);
        if let Some(token) = token {
            participant.commit(token);
        }
        participant.loaded();
        participant.caught_up();
        Self { writer, participant }
    }

    /// One epoch's updates: student, and the versions before and after.
    fn epoch(&mut self, n: i64, updates: &[(&str, Option<u32>, Option<u32>)]) {
        let time = ClockTime::at(Millis(n));
        let update = |(who, before, after): &(&str, Option<u32>, Option<u32>)| {
            let row = |version: &Option<u32>| change(who, version.map(i64::from));
            let mut update = row(after);
            // Of the versions before, the same rows with other numbers.
            for (update, before) in update.grades.iter_mut().zip(row(before).grades) {
                update.before = before.after;
            }
            for (update, before) in update.features.iter_mut().zip(row(before).features) {
                update.before = before.after;
            }
            update
        };
        let batch = ChangeBatch { time, changes: updates.iter().map(update).collect() };
        if !batch.changes.is_empty() {
            assert_eq!(self.writer.write(&batch), Outcome::Applied, "an available sink refused a batch");
        }
        self.writer.advance(time.next(time.clock()));
    }

    fn prepare(&self, n: i64) -> Token {
        match self.participant.prepare(ClockTime::at(Millis(n)), PREPARE_WITHIN) {
            Ok(token) => token,
            Err(reason) => panic!("an available sink cannot prepare: {reason}"),
        }
    }
}

fn delivered(student: &str, before: Option<u32>, after: Option<u32>) -> Delivered {
    Delivered { student: student.to_owned(), before, after }
}

/// Rows of one time may come in any order.
fn sorted(mut all: Vec<Delivered>) -> Vec<Delivered> {
    all.sort_by(|a, b| a.student.cmp(&b.student));
    all
}

/// The update of a student's grade as [`Delivered`] says it; for sinks whose readers find whole updates.
pub fn delivered_grades(update: &crate::update::StudentChange) -> Vec<Delivered> {
    let one = |grade: &crate::update::GradeChange| {
        let version = |row: &Option<GradeRow>| row.as_ref().map(|row| row.version);
        delivered(update.student.as_str(), version(&grade.before), version(&grade.after))
    };
    update.grades.iter().map(one).collect()
}

//! The thread that writes dead letters and checkpoints, off the workers' path.
//!
//! A checkpoint is the changes that operators exported at a barrier, and the log's offsets as of it, in one atomic write.
//! Dead letters of the epochs that it covers are on their topics before it is written: a crash between the two makes us
//! meet the same records again, and they are known by their offsets.

use crate::dead_letters::{Class, DeadLetter, Writer};
use crate::dedupe::Seen;
use crate::shared::{EXPORT_PARTS, Shared, StateMessage, Time};
use crate::state::{self, Covered, EncodedChange, Forgotten, StateStore};
use crate::{Failure, Status};
use aulaflow_log::{Log, LogError, Offset, TopicPartition};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::topic;
use aulaflow_sink::Participants;
use aulaflow_state::{Committed, change_bytes};
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Changes of more bytes than this are written to the disk before their barrier is complete.
const STAGE_BYTES: u64 = 32 << 20;

/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How long the last checkpoint of an engine that ends is tried. Whoever stops a process waits half a minute, commonly.
const LAST_WAIT: Duration = Duration::from_secs(15);

/// After a write of dead letters has failed, those of complete epochs wait as long: a try may take seconds, and there are
/// many epochs in the queue.
const LETTERS_PAUSE: Duration = Duration::from_secs(5);

/// What is durable, for whoever asks.
#[derive(Debug, Default)]
pub struct Durable {
    /// The last checkpoint's offsets.
    pub offsets: BTreeMap<(String, u32), Offset>,
    /// When it was written.
    pub at: Option<Instant>,
    /// Why the last try failed, while it does.
    pub failing: Option<String>,
}

/// What the thread needs.
pub struct Checkpointer {
    /// Where the state is.
    pub store: StateStore,
    /// Event ids that are forgotten as of the last checkpoint.
    pub forgotten: BTreeMap<u32, Forgotten>,
    /// Where dead letters go.
    pub log: Arc<dyn Log>,
    /// Dead letters; `None` where they are not to be written.
    pub letters: Option<Writer>,
    /// Dead records to be read again.
    pub unread: VecDeque<DeadPlace>,
    /// Sinks outside the process, which a checkpoint waits for.
    pub participants: Participants,
    /// What is durable.
    pub durable: Arc<Mutex<Durable>>,
    /// Where it is told that nothing can be written any more.
    pub status: Arc<Mutex<Status>>,
    /// How many workers export.
    pub workers: usize,
    /// For metrics and the plan.
    pub shared: Arc<Shared>,
    /// Set when the process must not wait any longer.
    pub abandon: Arc<std::sync::atomic::AtomicBool>,
}

/// A behaviour event that cannot be used, of which only its place is known.
pub struct DeadPlace {
    time: Time,
    partition: u32,
    offset: Offset,
    class: Class,
    error: String,
}

/// What a checkpoint covers.
struct Barrier {
    time: Time,
    offsets: BTreeMap<(String, u32), Offset>,
    event_high: BTreeMap<u32, Millis>,
}

/// Why a checkpoint was not written.
enum Failed {
    /// It can be tried again.
    NotYet(String),
    /// It never will be: the writer of the dead letters is at its end.
    Ended(LogError),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::NotYet(why)
    }
}

impl From<LogError> for Failed {
    fn from(error: LogError) -> Self {
        match error.ends_writer() {
            true => Self::Ended(error),
            false => Self::NotYet(format!("dead letters: {error}")),
        }
    }
}

impl Checkpointer {
    /// Works until told to stop, or until all senders are gone.
    pub fn run(mut self, messages: &Receiver<StateMessage>) {
        let mut changes = Pending::default();
        let parts = self.workers * EXPORT_PARTS;
        let mut exported = 0;
        let mut barrier = None;
        let mut refused: Option<Instant> = None;
        while let Ok(message) = messages.recv() {
            if self.abandon.load(Ordering::Acquire) {
                return;
            }
            match message {
                StateMessage::Dead(letter) => self.dead(letter),
                StateMessage::DeadAt { time, partition, offset, class, error } => {
                    self.unread.push_back(DeadPlace { time, partition, offset, class, error });
                }
                StateMessage::Changes(more) => changes.add(more.iter().map(state::encode).collect(), &self.store),
                StateMessage::Histories(students) => {
                    let symbols = &self.shared.symbols;
                    let encoded = students.into_iter().map(|(s, history)| state::encode_history(symbols, s, history));
                    changes.add(encoded.collect(), &self.store);
                }
                StateMessage::Panes(students) => {
                    let mut encoded = Vec::with_capacity(students.len());
                    for (student, panes) in students {
                        state::encode_panes(&self.shared.symbols, student, panes, &mut encoded);
                    }
                    changes.add(encoded, &self.store);
                }
                StateMessage::Complete(time) => {
                    // A log that refuses now is tried again soon, and must succeed at the next barrier.
                    if refused.is_some_and(|at| at.elapsed() < LETTERS_PAUSE) {
                        continue;
                    }
                    refused = match self.flush_letters(time) {
                        Ok(()) => None,
                        Err(error) if error.ends_writer() => return self.fail(error),
                        Err(error) => {
                            tracing::warn!(%error, "dead letters could not be written yet");
                            Some(Instant::now())
                        }
                    };
                }
                StateMessage::Exported => exported += 1,
                StateMessage::Barrier { time, offsets, event_high } => {
                    barrier = Some(Barrier { time, offsets, event_high });
                }
                StateMessage::Stop { clean } => {
                    if clean && let Err(error) = self.store.note_running(false) {
                        tracing::warn!(%error, "a clean end could not be noted: the next start counts as after a crash");
                    }
                    return;
                }
            }
            if exported == parts
                && let Some(covers) = barrier.take()
            {
                if !self.commit(std::mem::take(&mut changes).rows, covers) {
                    return;
                }
                exported = 0;
                self.shared.export.open.store(false, Ordering::Release);
            }
        }
    }

    fn dead(&mut self, letter: DeadLetter) {
        if let Some(letters) = &mut self.letters {
            letters.push(letter);
        }
    }

    /// Ends the engine: no checkpoint can be written any more, and a restart goes on from the last one.
    fn fail(&self, error: LogError) {
        tracing::error!(%error, "no checkpoint can be written any more");
        self.status.lock().failure.get_or_insert(Failure::Writer { what: "dead letters", error });
    }

    fn flush_letters(&mut self, time: Time) -> Result<(), LogError> {
        self.read_dead()?;
        self.letters.as_mut().map_or(Ok(()), |letters| letters.flush(time, now()))
    }

    /// Reads the records that were found to be dead where only their places were known any more.
    fn read_dead(&mut self) -> Result<(), LogError> {
        while let Some(DeadPlace { time, partition, offset, class, error }) = self.unread.front() {
            let place = TopicPartition { topic: topic::BEHAVIOR.to_owned(), partition: *partition };
            // Any length reads one batch at least.
            match self.log.read_aside(&place, *offset, 1) {
                Ok(fetched) => {
                    let mut records = fetched.records.iter();
                    let found = records.find(|r| fetched.base_offset + u64::from(r.index) == *offset);
                    let place = (topic::BEHAVIOR, *partition, *offset);
                    let letter = found.map(|record| DeadLetter::new(*time, place, &record, *class, error.as_str()));
                    if let Some(letter) = letter {
                        self.dead(letter);
                    }
                }
                // Retention was faster than we.
                Err(reason @ LogError::Gone { .. }) => {
                    tracing::error!(%reason, partition, offset, error, "a dead record cannot be read again from the log");
                }
                Err(other) => return Err(other),
            }
            self.unread.pop_front();
        }
        Ok(())
    }

    /// Writes a checkpoint, trying until it succeeds: meanwhile the channel fills and holds the dataflow back.
    /// False if the process ends before.
    fn commit(&mut self, mut changes: Vec<EncodedChange>, covers: Barrier) -> bool {
        let begun = Instant::now();
        loop {
            match self.try_commit(&mut changes, &covers) {
                Ok(committed) => {
                    self.shared.metrics.committed(&self.shared.share_labels(), begun.elapsed(), &committed);
                    let place = |((topic, partition), offset): (&(String, u32), &Offset)| {
                        (TopicPartition { topic: topic.clone(), partition: *partition }, *offset)
                    };
                    self.log.note_covered(&covers.offsets.iter().map(place).collect::<Vec<_>>());
                    let at = Some(Instant::now());
                    *self.durable.lock() = Durable { offsets: covers.offsets, at, failing: None };
                    return true;
                }
                Err(Failed::Ended(error)) => {
                    self.fail(error);
                    return false;
                }
                Err(Failed::NotYet(error)) => {
                    if self.durable.lock().failing.replace(error.clone()).as_ref() != Some(&error) {
                        tracing::error!(error, "a checkpoint cannot be written; trying on, the dataflow waits");
                    }
                    // A process that ends does not wait for ever: a restart goes on from the checkpoint before.
                    let too_late = self.shared.export.hurry.load(Ordering::Acquire) && begun.elapsed() > LAST_WAIT;
                    if too_late {
                        tracing::error!(error, "the last checkpoint could not be written: a restart reads more again");
                    }
                    if too_late || self.abandon.load(Ordering::Acquire) {
                        return false;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn try_commit(&mut self, changes: &mut [EncodedChange], covers: &Barrier) -> Result<Committed, Failed> {
        let time = covers.time;
        self.flush_letters(time)?;
        let tokens = self.participants.prepare(ClockTime(time))?;
        self.forget(ClockTime(time).clock());
        let letters = self.letters.as_ref().ok_or_else(|| "a checkpoint without dead letters is none".to_owned())?;
        let high = |(p, at): (&u32, &Millis)| ((topic::BEHAVIOR.to_owned(), *p), at.0);
        let covered = Covered {
            time,
            offsets: covers.offsets.clone(),
            dead_letter_ends: letters.read_to().clone(),
            dead_letters_written: letters.written().clone(),
            slots: self.shared.layout.known(),
            views: self.shared.known_views(),
            event_high: covers.event_high.iter().map(high).collect(),
            tokens,
            forgotten: self.forgotten.clone(),
            versions_floor: self.shared.versions.floor,
            panes_from: self.shared.layout.panes_from(ClockTime(time).clock()),
        };
        let committed = self.store.commit(changes, &covered).map_err(|e| e.to_string())?;
        self.participants.commit(&covered.tokens);
        Ok(committed)
    }

    /// Event ids that no event can repeat any more leave the state as it is written.
    fn forget(&mut self, clock: Millis) {
        let layout = &self.shared.layout;
        for (table, horizon) in self.shared.plan.tables.iter().map(|t| t.dedupe_horizon_ms).enumerate() {
            let Some(horizon_ms) = horizon else { continue };
            let known = self.forgotten.get(&u32::from(layout.tables[table])).filter(|f| f.horizon_ms == horizon_ms);
            let known = known.map_or(i64::MIN, |forgotten| forgotten.before);
            // What is read again later may repeat what is old now.
            let behind = self.shared.behind.load(Ordering::Acquire);
            let before = if behind { known } else { Seen::new(horizon_ms).oldest(clock).max(known) };
            self.forgotten.insert(u32::from(layout.tables[table]), Forgotten { horizon_ms, before });
        }
    }
}

/// Changes that wait for their barrier to be complete.
#[derive(Default)]
struct Pending {
    rows: Vec<EncodedChange>,
    bytes: u64,
}

impl Pending {
    /// Adds some, and writes all where they have become many. What cannot be written now stays, and is tried when as much
    /// has come again, and with the checkpoint at last.
    fn add(&mut self, more: Vec<EncodedChange>, store: &StateStore) {
        self.bytes += change_bytes(&more);
        self.rows.extend(more);
        if self.bytes < STAGE_BYTES {
            return;
        }
        self.bytes = 0;
        match store.stage(&mut self.rows) {
            Ok(()) => self.rows = Vec::new(),
            Err(error) => tracing::warn!(%error, "a part of a checkpoint could not be written yet"),
        }
    }
}

/// The wall clock.
pub fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

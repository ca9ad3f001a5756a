//! What an importer hands on: some JSON lines of one kind, and what became of them.

use crate::client::Positions;
use crate::ingest::Kind;
use anyhow::Result;

/// The most events in one batch: what `POST /v1/behavior` takes at once.
pub const BATCH_EVENTS_MAX: usize = 5_000;

/// The most bytes in one batch; a single longer line goes alone.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// JSON lines of one kind.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What they are.
    pub kind: Kind,
    /// The lines, each with its line feed.
    pub lines: Vec<u8>,
    /// Where each line came from: its number in the input, from 1.
    pub numbers: Vec<u64>,
}

impl Batch {
    /// An empty batch.
    pub fn new(kind: Kind) -> Self {
        Self { kind, lines: Vec::new(), numbers: Vec::new() }
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether `bytes` more still fit.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.len() < BATCH_EVENTS_MAX && (self.numbers.is_empty() || self.lines.len() + bytes <= BATCH_BYTES_MAX)
    }

    /// The same events as two batches, in their order.
    pub fn halves(&self) -> [Self; 2] {
        let middle = self.len() / 2;
        let bytes = self.lines.split_inclusive(|byte| *byte == b'\n').take(middle).map(<[u8]>::len).sum();
        let (first, second) = self.lines.split_at(bytes);
        let (low, high) = self.numbers.split_at(middle);
        [(first, low), (second, high)].map(|(lines, numbers)| Self {
            kind: self.kind,
            lines: lines.to_vec(),
            numbers: numbers.to_vec(),
        })
    }

    /// The lines without their line feeds.
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// Where batches go.
pub trait Destination: Send {
    /// Sends a batch; what it returns is durable. An error ends the import.
    fn send(&mut self, batch: &Batch) -> Result<Tally>;
}

/// Examples of refused events that are kept for the report.
const EXAMPLES_MAX: usize = 5;

/// What became of events.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// On the log.
    pub accepted: u64,
    /// Refused: on the dead-letter topic where `dead_letters` is set, nowhere else.
    pub refused: u64,
    /// Of the refused: too long to be dead letters, on the log in no form.
    pub skipped: u64,
    /// The first refusals, for people.
    pub examples: Vec<String>,
    /// Where the last ones are on the log.
    pub positions: Positions,
}

impl Tally {
    /// Counts an event that was left out: it is too long to be kept.
    pub fn skip(&mut self, line: u64, reason: &str) {
        self.skipped += 1;
        self.refuse(line, reason);
    }

    /// Counts a refused event.
    pub fn refuse(&mut self, line: u64, reason: &str) {
        self.refused += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("line {line}: {reason}"));
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: Tally) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.skipped += other.skipped;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
        self.positions.merge(other.positions);
    }
}

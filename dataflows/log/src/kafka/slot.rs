//! One partition that is followed: what was received and not yet read, and how far it is. Knows no client.

use crate::{Fetched, Offset, RecordSet, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Bytes of a set of records; about what one read gives.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// A larger gap between offsets begins a new set: indexes within a set are 32 bits.
const GAP_MAX: u64 = 1 << 30;

/// A partition that is followed.
pub(super) struct Slot {
    pub place: TopicPartition,
    /// Whether librdkafka's queue may hold something.
    pub dirty: AtomicBool,
    pub inner: Mutex<Inner>,
}

pub(super) struct Inner {
    ready: VecDeque<Piece>,
    open: RecordSetBuilder,
    open_base: Offset,
    /// Encoded bytes of all that was received and not yet read.
    pub bytes: usize,
    /// Between this and `read_next` there are no records: a reader who has not heard that may ask anywhere there.
    read_from: Offset,
    /// Where the reader goes on.
    read_next: Offset,
    /// Everything before has been received, or is no record.
    pub received: Offset,
    /// The reader wants another place: nothing is received until the follower has gone there.
    pub moved: bool,
    pub heard: Heard,
    pub fault: Option<Fault>,
}

/// Whether the brokers sent something since the partition was assigned. Statistics from before are of another position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// Something, but statistics from before may still be on their way.
    Something,
    /// Statistics that come now are of this position.
    Surely,
}

/// Why nothing comes.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub at: Instant,
    /// The position is not between the partition's start and end.
    pub out_of_range: bool,
    pub why: String,
}

struct Piece {
    base: Offset,
    next: Offset,
    records: RecordSet,
}

/// A record as it comes.
pub(super) struct Incoming<'a> {
    pub offset: Offset,
    pub timestamp: Millis,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Slot {
    pub fn new(place: TopicPartition, offset: Offset) -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            open: RecordSetBuilder::default(),
            open_base: offset,
            bytes: 0,
            read_from: offset,
            read_next: offset,
            received: offset,
            moved: true,
            heard: Heard::Nothing,
            fault: None,
        };
        Self { place, dirty: AtomicBool::new(false), inner: Mutex::new(inner) }
    }

    /// Whether the queue may hold something; asks once.
    pub fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }
}

impl Inner {
    /// Whether a reader who asks for `offset` goes on where it was.
    pub fn goes_on_at(&self, offset: Offset) -> bool {
        (self.read_from..=self.read_next).contains(&offset)
    }

    /// Drops what was received; the follower must go to `offset`. Returns the bytes dropped.
    pub fn move_to(&mut self, offset: Offset) -> usize {
        self.ready.clear();
        self.open = RecordSetBuilder::default();
        (self.read_from, self.read_next, self.received) = (offset, offset, offset);
        self.moved = true;
        self.heard = Heard::Nothing;
        self.fault = None;
        std::mem::take(&mut self.bytes)
    }

    /// Takes a record in; returns its encoded bytes.
    pub fn push(&mut self, record: &Incoming<'_>) -> usize {
        if record.offset < self.received {
            return 0;
        }
        let gap = record.offset - self.received;
        let wide = u64::from(self.open.next_index()) + gap > GAP_MAX;
        if self.open.count() > 0 && (wide || self.open.len_bytes() >= PIECE_BYTES) {
            self.seal();
        }
        let before = self.open.len_bytes();
        if self.open.count() == 0 {
            self.open_base = record.offset;
        } else {
            // Not wide: it fits.
            self.open.push_hole(gap as u32);
        }
        self.open.push(record.timestamp, record.key, record.value, record.headers);
        self.received = record.offset + 1;
        let added = self.open.len_bytes() - before;
        self.bytes += added;
        added
    }

    fn seal(&mut self) {
        let next = self.open_base + u64::from(self.open.next_index());
        let records = std::mem::take(&mut self.open).finish();
        self.ready.push_back(Piece { base: self.open_base, next, records });
    }

    /// The next set for a reader at `offset`, which must be one that [`Inner::goes_on_at`].
    pub fn take(&mut self, offset: Offset, end_offset: Offset) -> Fetched {
        if self.ready.is_empty() && self.open.count() > 0 {
            self.seal();
        }
        let Some(piece) = self.ready.pop_front() else {
            // What is neither here nor to come is no record.
            self.read_from = offset;
            self.read_next = self.received;
            let next_offset = self.received;
            let end_offset = end_offset.max(next_offset);
            return Fetched { records: RecordSet::default(), base_offset: next_offset, next_offset, end_offset };
        };
        self.bytes -= piece.records.len_bytes();
        (self.read_from, self.read_next) = (piece.next, piece.next);
        let end_offset = end_offset.max(self.received);
        Fetched { records: piece.records, base_offset: piece.base, next_offset: piece.next, end_offset }
    }
}

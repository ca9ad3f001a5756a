//! Several segments as one: rows in the order of their keys, of each key the newest.

use crate::Expired;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::segment::{SegmentReader, SegmentRef};
use std::cmp::Ordering;

/// Segments merged as they are read, with a block of each in memory.
pub struct Merge {
    /// Newest first.
    readers: Vec<SegmentReader>,
    /// Places in `readers`: a heap by key, then by age.
    heap: Vec<usize>,
    /// The key of the row that was given out last.
    last: Vec<u8>,
    begun: bool,
    expired: Expired,
}

impl Merge {
    /// Of segments in the order of age, oldest first; from a key on.
    pub fn new(disk: &Disk, segments: &[SegmentRef], from: &[u8], expired: Expired) -> Result<Self, StoreError> {
        let mut readers = Vec::with_capacity(segments.len());
        for segment in segments.iter().rev() {
            readers.extend(SegmentReader::open(disk, segment, from)?);
        }
        let heap = (0..readers.len()).collect();
        let mut merge = Self { readers, heap, last: Vec::new(), begun: false, expired };
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(at);
        }
        Ok(merge)
    }

    /// The next row that has not expired; its value is `None` where it was removed.
    #[expect(clippy::type_complexity, reason = "a row")]
    pub fn next_row(&mut self) -> Result<Option<(&[u8], Option<&[u8]>)>, StoreError> {
        loop {
            if self.begun {
                self.pass_last()?;
            }
            let Some(top) = self.heap.first().copied() else { return Ok(None) };
            self.last.clear();
            self.last.extend_from_slice(self.readers[top].key());
            self.begun = true;
            if !(self.expired)(&self.last) {
                return Ok(Some((self.readers[top].key(), self.readers[top].value())));
            }
        }
    }

    /// Passes all rows of the last key: older ones count no more.
    fn pass_last(&mut self) -> Result<(), StoreError> {
        while let Some(top) = self.heap.first().copied().filter(|top| self.readers[*top].key() == self.last) {
            if !self.readers[top].advance()? {
                self.heap.swap_remove(0);
            }
            self.sift_down(0);
        }
        Ok(())
    }

    fn before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a], self.heap[b]);
        match self.readers[a].key().cmp(self.readers[b].key()) {
            Ordering::Less => true,
            Ordering::Equal => a < b,
            Ordering::Greater => false,
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut first = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.before(child, first) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.heap.swap(at, first);
            at = first;
        }
    }
}

/// The rows of a checkpoint whose keys begin alike, in the order of the keys.
pub struct Rows {
    merge: Merge,
    prefix: Vec<u8>,
}

impl Rows {
    pub(crate) fn new(merge: Merge, prefix: &[u8]) -> Self {
        Self { merge, prefix: prefix.to_owned() }
    }

    /// The next row, key and value.
    pub fn next_row(&mut self) -> Result<Option<(&[u8], &[u8])>, StoreError> {
        // Two passes, since a row that is given out is borrowed from the merge.
        loop {
            match self.merge.next_row()? {
                Some((key, _)) if !key.starts_with(&self.prefix) => return Ok(None),
                None => return Ok(None),
                Some((_, Some(_))) => break,
                Some((_, None)) => {}
            }
        }
        Ok(self.merge.present())
    }
}

impl Merge {
    /// The row that was given out last, if it is one.
    fn present(&self) -> Option<(&[u8], &[u8])> {
        let reader = &self.readers[*self.heap.first()?];
        reader.value().map(|value| (reader.key(), value))
    }
}

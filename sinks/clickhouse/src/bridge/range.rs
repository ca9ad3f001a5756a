//! Rows of a range of offsets, by the day on which they go: each day's are one insert into one partition of their table.

use crate::retention::Day;
use aulaflow_log::Offset;
use std::collections::{BTreeMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// Offsets from one on to before another, and their rows.
#[derive(Debug, Default)]
pub struct Range {
    /// The first offset.
    pub from: Offset,
    /// The one behind the last.
    pub to: Offset,
    /// Rows by the day on which they go.
    pub groups: BTreeMap<Day, Group>,
    /// How many.
    pub rows: u64,
    /// Their bytes.
    pub bytes: usize,
}

/// Rows that go on one day, in RowBinary, one after the other.
#[derive(Debug, Default)]
pub struct Group {
    body: Vec<u8>,
    /// Each row's offset, and where it ends.
    rows: Vec<(Offset, usize)>,
}

impl Range {
    /// An empty one.
    pub fn at(from: Offset) -> Self {
        Self { from, to: from, ..Self::default() }
    }

    /// Adds a row.
    pub fn add(&mut self, expires: Day, offset: Offset, write: impl FnOnce(&mut Vec<u8>)) {
        let group = self.groups.entry(expires).or_default();
        let before = group.body.len();
        write(&mut group.body);
        group.rows.push((offset, group.body.len()));
        self.rows += 1;
        self.bytes += group.body.len() - before;
    }
}

impl Group {
    /// How many rows.
    pub fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// All rows.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The rows whose offsets are not among these, and how many they are.
    pub fn without(&self, there: &HashSet<Offset>) -> (Vec<u8>, u64) {
        let (mut body, mut count, mut start) = (Vec::new(), 0, 0);
        for (offset, end) in &self.rows {
            if !there.contains(offset) {
                body.extend_from_slice(&self.body[start..*end]);
                count += 1;
            }
            start = *end;
        }
        (body, count)
    }

    /// What ClickHouse knows its insert by. The same rows have the same token, whoever sends them; other rows have another one,
    /// so that none are swallowed.
    pub fn token(&self, topic: &str, partition: u32, (from, to): (Offset, Offset)) -> String {
        format!("bridge-{topic}-{partition}-{from}-{to}-{:016x}", xxh3_64(&self.body))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_offsets() {
        let mut range = Range::at(7);
        for (offset, text) in [(7, "a"), (9, "bcd"), (10, "ef")] {
            range.add(5, offset, |out| out.extend_from_slice(text.as_bytes()));
        }
        range.add(6, 8, |out| out.push(b'x'));
        assert_eq!((range.rows, range.bytes, range.groups.len()), (4, 7, 2));
        let group = &range.groups[&5];
        assert_eq!(group.without(&HashSet::from([9])), (b"aef".to_vec(), 2));
        assert_eq!(group.without(&HashSet::new()), (group.body().to_vec(), group.len()));
        assert_ne!(group.token("t", 0, (7, 11)), range.groups[&6].token("t", 0, (7, 11)));
    }
}

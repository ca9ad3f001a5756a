//! Records in one contiguous buffer, so that a batch of thousands is one allocation and one write.
//! Nothing here knows where a set is stored.
//!
//! A record is `length, timestamp, key length, key, value length + 1 (0: no value), value, header count, headers`;
//! a header is `name length, name, value length, value`. Numbers are LEB128 varints of up to 64 bits, the timestamp is
//! zigzag-coded; `length` counts the bytes after itself, so that a reader can skip. Records do not refer to each other:
//! sets are joined by joining their bytes, and a part of a set is a part of its bytes.
//!
//! A log may give offsets to what is no record (Kafka's transaction markers) or take records away (compaction). A set read
//! from it has *holes* there: a length of 0, which no record has, and the number of offsets without a record.

use aulaflow_model::instant::Millis;
use bytes::Bytes;

/// Encoded records, cheap to clone.
#[derive(Clone, Default)]
pub struct RecordSet {
    bytes: Bytes,
    /// Index that the first record has, or the hole before it; not 0 only in a slice.
    first: u32,
    /// Records; holes do not count.
    count: u32,
    /// Whether there may be holes.
    holes: bool,
}

/// A record, borrowed from its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The record's offset less the base offset of the set that was appended or fetched, also when read from a
    /// [`RecordSet::slice`] of it. Without holes these are 0, 1, 2, …
    pub index: u32,
    /// When the log took it.
    pub timestamp: Millis,
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Name and value of each header, in the order given.
    pub headers: Headers<'a>,
}

/// The headers of a record, decoded when asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: u32,
}

/// Collects records into a [`RecordSet`].
#[derive(Debug, Default)]
pub struct RecordSetBuilder {
    bytes: Vec<u8>,
    count: u32,
    /// Offsets that are passed over by holes.
    passed: u32,
}

/// Bytes that are not records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {index} cannot be decoded")]
pub struct DamagedRecords {
    /// The first record that cannot be decoded; the number of records where bytes follow the last one.
    pub index: u32,
}

impl RecordSetBuilder {
    /// Adds a record.
    pub fn push(&mut self, timestamp: Millis, key: &[u8], value: Option<&[u8]>, headers: &[(&str, &[u8])]) {
        let time = zigzag(timestamp.0);
        let value_bytes = value.map_or(0, <[u8]>::len);
        let value_code = value.map_or(0, |v| v.len() as u64 + 1);
        let mut length = varint_len(time)
            + varint_len(key.len() as u64)
            + key.len()
            + varint_len(value_code)
            + value_bytes
            + varint_len(headers.len() as u64);
        for (name, value) in headers {
            length += varint_len(name.len() as u64) + name.len() + varint_len(value.len() as u64) + value.len();
        }
        self.bytes.reserve(length + varint_len(length as u64));
        put_varint(&mut self.bytes, length as u64);
        put_varint(&mut self.bytes, time);
        put_bytes(&mut self.bytes, key);
        put_varint(&mut self.bytes, value_code);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        put_varint(&mut self.bytes, headers.len() as u64);
        for (name, value) in headers {
            put_bytes(&mut self.bytes, name.as_bytes());
            put_bytes(&mut self.bytes, value);
        }
        self.count += 1;
    }

    /// Passes over `offsets` that have no record: the next record's index is that much higher. No set is longer than
    /// `u32::MAX` offsets; the caller begins another before.
    pub fn push_hole(&mut self, offsets: u32) {
        if offsets > 0 {
            self.bytes.push(0);
            put_varint(&mut self.bytes, u64::from(offsets));
            self.passed += offsets;
        }
    }

    /// The set.
    pub fn finish(self) -> RecordSet {
        RecordSet { bytes: self.bytes.into(), first: 0, count: self.count, holes: self.passed > 0 }
    }

    /// The index that the next record gets.
    pub fn next_index(&self) -> u32 {
        self.count + self.passed
    }

    /// Encoded size so far.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl RecordSet {
    /// Takes encoded records from outside; every record is checked, so that iterating gives all `count` of them.
    pub fn decode(bytes: Bytes, count: u32) -> Result<Self, DamagedRecords> {
        let mut rest = &*bytes;
        let mut next = 0;
        for index in 0..count {
            let record = take_record(&mut rest, &mut next).ok_or(DamagedRecords { index })?;
            if !record.headers.is_sound() {
                return Err(DamagedRecords { index });
            }
        }
        if !rest.is_empty() {
            return Err(DamagedRecords { index: count });
        }
        Ok(Self { bytes, first: 0, count, holes: next > count })
    }

    /// Takes bytes that a checksum vouches for. Were they wrong all the same, iterating would end early, not panic.
    pub(crate) fn trusted(bytes: Bytes, count: u32) -> Self {
        Self { bytes, first: 0, count, holes: false }
    }

    /// How many records.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Encoded size.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded records.
    pub fn encoded(&self) -> &Bytes {
        &self.bytes
    }

    /// The records, in order.
    pub fn iter(&self) -> Records<'_> {
        Records { rest: &self.bytes, index: self.first, left: self.count }
    }

    /// Records `from..to`, counted from this set's start, as a set that shares this one's bytes: how a big set is
    /// handed to several workers. Its records keep their [`RecordRef::index`]. Bounds past the end mean the end.
    /// Costs a walk over the records before `to`.
    pub fn slice(&self, from: u32, to: u32) -> RecordSet {
        let to = to.min(self.count);
        let from = from.min(to);
        let mut rest = &*self.bytes;
        let mut first = self.first;
        skip_records(&mut rest, &mut first, from);
        let start = self.bytes.len() - rest.len();
        skip_records(&mut rest, &mut { first }, to - from);
        let end = self.bytes.len() - rest.len();
        RecordSet { bytes: self.bytes.slice(start..end), first, count: to - from, holes: self.holes }
    }

    /// The same records with indexes 0, 1, 2, …: for a log that gives offsets without holes.
    pub(crate) fn reindexed(self) -> Self {
        if !self.holes {
            return Self { first: 0, ..self };
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut rest = &*self.bytes;
        for _ in 0..self.count {
            skip_holes(&mut rest, &mut 0);
            let before = rest;
            if take_bytes(&mut rest).is_none() {
                break;
            }
            bytes.extend_from_slice(&before[..before.len() - rest.len()]);
        }
        Self { bytes: bytes.into(), first: 0, count: self.count, holes: false }
    }

    /// The set in parts of at most `bytes_max` bytes; a record larger than that is a part of its own.
    pub(crate) fn split(&self, bytes_max: usize) -> Vec<RecordSet> {
        let mut parts = Vec::new();
        let (mut start, mut from) = (0, 0);
        let mut rest = &*self.bytes;
        for index in 0..self.count {
            let before = self.bytes.len() - rest.len();
            skip_records(&mut rest, &mut 0, 1);
            let after = self.bytes.len() - rest.len();
            if after - start > bytes_max && index > from {
                parts.push(Self { holes: self.holes, ..Self::trusted(self.bytes.slice(start..before), index - from) });
                (start, from) = (before, index);
            }
        }
        if self.count > from {
            parts.push(Self { holes: self.holes, ..Self::trusted(self.bytes.slice(start..), self.count - from) });
        }
        parts
    }

    /// The newest timestamp; `None` in an empty set.
    pub fn newest(&self) -> Option<Millis> {
        self.iter().map(|record| record.timestamp).max()
    }
}

impl std::fmt::Debug for RecordSet {
    /// Sizes only: records hold people's data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordSet({} records, {} bytes)", self.count, self.bytes.len())
    }
}

impl<'a> IntoIterator for &'a RecordSet {
    type Item = RecordRef<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The records of a set, borrowed.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    /// Index of what comes next.
    index: u32,
    /// Records to come.
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    fn next(&mut self) -> Option<RecordRef<'a>> {
        if self.left == 0 {
            return None;
        }
        let record = take_record(&mut self.rest, &mut self.index);
        self.left = if record.is_some() { self.left - 1 } else { 0 };
        record
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The lower bound stays 0: damaged bytes end early.
        (0, Some(self.left as usize))
    }
}

impl<'a> Headers<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Name and value of each, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| take_header(&mut rest))
    }

    /// The value of the first header of that name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    fn is_sound(&self) -> bool {
        let mut rest = self.bytes;
        (0..self.count).all(|_| take_header(&mut rest).is_some()) && rest.is_empty()
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The next record; `next` is the index of what comes next, before and after.
fn take_record<'a>(rest: &mut &'a [u8], next: &mut u32) -> Option<RecordRef<'a>> {
    skip_holes(rest, next)?;
    let index = *next;
    *next = index.checked_add(1)?;
    let mut body = take_bytes(rest)?;
    let timestamp = Millis(unzigzag(take_varint(&mut body)?));
    let key = take_bytes(&mut body)?;
    let value = match take_varint(&mut body)? {
        0 => None,
        code => Some(take(&mut body, code - 1)?),
    };
    let count = u32::try_from(take_varint(&mut body)?).ok()?;
    Some(RecordRef { index, timestamp, key, value, headers: Headers { bytes: body, count } })
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let name = std::str::from_utf8(take_bytes(rest)?).ok()?;
    Some((name, take_bytes(rest)?))
}

/// Skips up to `count` records and the holes before each; stops where there are no more.
fn skip_records(rest: &mut &[u8], next: &mut u32, count: u32) {
    for _ in 0..count {
        if skip_holes(rest, next).is_none() || take_bytes(rest).is_none() {
            return;
        }
        *next = next.wrapping_add(1);
    }
}

/// Skips the holes before a record. `None`: damage.
fn skip_holes(rest: &mut &[u8], next: &mut u32) -> Option<()> {
    while let Some(hole) = rest.strip_prefix(&[0]) {
        *rest = hole;
        let offsets = u32::try_from(take_varint(rest)?).ok()?;
        *next = next.checked_add(offsets)?;
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(head)
}

/// A length and that many bytes. On damage `rest` may be left in the middle; callers stop there.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_varint(rest)?;
    take(rest, length)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (position, &byte) in rest.iter().enumerate().take(10) {
        // The tenth byte holds the 64th bit only.
        if position == 9 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            *rest = rest.get(position + 1..)?;
            return Some(number);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as usize
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    type Owned = (i64, Vec<u8>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

    fn record() -> impl Strategy<Value = Owned> {
        let bytes = || vec(any::<u8>(), 0..200);
        (any::<i64>(), bytes(), option::of(bytes()), vec((".{0,8}", bytes()), 0..3))
    }

    fn build(records: &[Owned]) -> RecordSet {
        let mut builder = RecordSetBuilder::default();
        for (at, key, value, headers) in records {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            builder.push(Millis(*at), key, value.as_deref(), &headers);
        }
        assert_eq!(builder.count() as usize, records.len());
        builder.finish()
    }

    fn own(record: RecordRef<'_>) -> Owned {
        let headers = record.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        (record.timestamp.0, record.key.to_vec(), record.value.map(<[u8]>::to_vec), headers)
    }

    proptest! {
        #[test]
        fn gives_back_what_was_pushed(records in vec(record(), 0..20)) {
            let set = build(&records);
            prop_assert_eq!(set.iter().map(own).collect::<Vec<_>>(), records.clone());
            prop_assert!(set.iter().map(|r| r.index).eq(0..records.len() as u32));
            prop_assert_eq!(set.newest(), records.iter().map(|r| Millis(r.0)).max());
            let decoded = RecordSet::decode(set.encoded().clone(), set.len()).unwrap();
            prop_assert_eq!(decoded.iter().map(own).collect::<Vec<_>>(), records);
        }

        #[test]
        fn slices_keep_indexes_and_share_bytes(records in vec(record(), 0..20), a in 0u32..24, b in 0u32..24, c in 0u32..6) {
            let set = build(&records);
            let slice = set.slice(a, b);
            let end = (b as usize).min(records.len());
            let start = (a as usize).min(end);
            prop_assert_eq!(slice.iter().map(own).collect::<Vec<_>>(), &records[start..end]);
            prop_assert!(slice.iter().map(|r| r.index).eq(start as u32..end as u32));
            // A slice of a slice counts from the slice's start; the index is still the first set's.
            let inner = slice.slice(c, u32::MAX);
            prop_assert!(inner.iter().map(|r| r.index).eq((start as u32 + c).min(end as u32)..end as u32));
            if !slice.is_empty() {
                prop_assert!(set.encoded().as_ptr_range().contains(&slice.encoded().as_ptr()));
            }
        }

        #[test]
        fn offsets_survive_holes_slices_and_parts(
            records in vec((0u32..5, record()), 0..20), a in 0u32..24, b in 0u32..24, c in 0u32..6, bytes_max in 1usize..1000,
        ) {
            let mut builder = RecordSetBuilder::default();
            let mut expected: Vec<(u32, Owned)> = Vec::new();
            for (hole, (at, key, value, headers)) in &records {
                // In two parts: holes may follow each other.
                builder.push_hole(hole / 2);
                builder.push_hole(hole - hole / 2);
                let index = expected.last().map_or(0, |(last, _)| last + 1) + hole;
                prop_assert_eq!(builder.next_index(), index);
                let borrowed: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
                builder.push(Millis(*at), key, value.as_deref(), &borrowed);
                expected.push((index, (*at, key.clone(), value.clone(), headers.clone())));
            }
            let set = builder.finish();
            let of = |set: &RecordSet| set.iter().map(|r| (r.index, own(r))).collect::<Vec<_>>();
            prop_assert_eq!(of(&set), expected.clone());
            prop_assert_eq!(set.len() as usize, records.len());
            let end = (b as usize).min(records.len());
            let start = (a as usize).min(end);
            let slice = set.slice(a, b);
            prop_assert_eq!(of(&slice), &expected[start..end]);
            prop_assert_eq!(of(&slice.slice(c, u32::MAX)), &expected[(start + c as usize).min(end)..end]);
            let decoded = RecordSet::decode(set.encoded().clone(), set.len()).unwrap();
            prop_assert_eq!(of(&decoded), expected.clone());
            let parts = set.split(bytes_max);
            let whole = parts.iter().flat_map(|p| p.iter().map(own).collect::<Vec<_>>()).collect::<Vec<_>>();
            let records: Vec<_> = expected.into_iter().map(|(_, record)| record).collect();
            prop_assert_eq!(&whole, &records);
            // What a log without holes stores.
            let dense = slice.reindexed();
            let dense: Vec<_> = dense.iter().map(|r| (r.index as usize, own(r))).collect();
            prop_assert_eq!(dense, records[start..end].iter().cloned().enumerate().collect::<Vec<_>>());
        }

        #[test]
        fn parts_are_the_whole(records in vec(record(), 0..20), bytes_max in 1usize..1000) {
            let set = build(&records);
            let parts = set.split(bytes_max);
            prop_assert_eq!(parts.iter().flat_map(|p| p.iter().map(own).collect::<Vec<_>>()).collect::<Vec<_>>(), records);
            prop_assert!(parts.iter().all(|p| p.len() == 1 || p.len_bytes() <= bytes_max));
            prop_assert!(parts.iter().all(|p| !p.is_empty()));
        }

        #[test]
        fn damage_never_panics(records in vec(record(), 1..10), at in any::<prop::sample::Index>(), bits in 1u8.., cut in any::<prop::sample::Index>()) {
            let set = build(&records);
            let mut bytes = set.encoded().to_vec();
            let place = at.index(bytes.len());
            bytes[place] ^= bits;
            bytes.truncate(cut.index(bytes.len() + 1));
            let set = RecordSet::trusted(bytes.clone().into(), set.len());
            let read = set.iter().map(own).count();
            prop_assert!(read <= set.len() as usize);
            let _ = (set.slice(1, 5).iter().count(), set.split(64), set.newest());
            if let Ok(decoded) = RecordSet::decode(bytes.into(), set.len()) {
                prop_assert_eq!(decoded.iter().count(), set.len() as usize);
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), count in 0u32..10) {
            let _ = RecordSet::decode(bytes.clone().into(), count);
            let set = RecordSet::trusted(bytes.into(), count);
            let _ = (set.iter().map(own).count(), set.slice(0, 3), set.split(10));
        }

        #[test]
        fn varints(number in any::<u64>(), signed in any::<i64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            prop_assert_eq!(bytes.len(), varint_len(number));
            prop_assert_eq!(take_varint(&mut bytes.as_slice()), Some(number));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn varints_at_the_edges() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
            assert_eq!(take_varint(&mut bytes.as_slice()), Some(number));
        }
        assert_eq!(take_varint(&mut [0xff; 11].as_slice()), None);
    }

    #[test]
    fn headers_by_name_and_tombstones() {
        let mut builder = RecordSetBuilder::default();
        builder.push(Millis(5), b"k", None, &[("error", b"bad"), ("n", b"1")]);
        builder.push(Millis(-6), b"", Some(b""), &[]);
        let set = builder.finish();
        let records: Vec<_> = set.iter().collect();
        assert_eq!(records[0].headers.get("n"), Some(b"1".as_slice()));
        assert_eq!(records[0].headers.get("x"), None);
        assert_eq!((records[0].value, records[0].headers.len()), (None, 2));
        assert_eq!((records[1].value, records[1].timestamp), (Some(b"".as_slice()), Millis(-6)));
        assert!(records[1].headers.is_empty());
    }

    #[test]
    fn decode_refuses_a_wrong_count() {
        let set = build(&[(1, vec![1], None, vec![]), (2, vec![2], None, vec![])]);
        assert_eq!(RecordSet::decode(set.encoded().clone(), 3).unwrap_err(), DamagedRecords { index: 2 });
        assert_eq!(RecordSet::decode(set.encoded().clone(), 1).unwrap_err(), DamagedRecords { index: 1 });
    }
}

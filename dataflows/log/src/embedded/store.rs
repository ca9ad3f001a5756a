//! The rows of the LSM store: which keys and values there are, and how they are written and read.
//! Knows nothing of queues, acknowledgements or who may see what.
//!
//! One keyspace holds everything, so that no rarely written keyspace pins old journals:
//!
//! | key | value |
//! |---|---|
//! | `0 c` | the catalogue: format, partitions and topics, a line each; a topic's id is its line |
//! | `0 r` | empty; rewritten by retention |
//! | `0 s topic:u16 partition:u32` | first offset still there, once retention has run |
//! | `1 topic:u16 partition:u32 base:u64 count:u32 newest:i64 bytes:u32` | a stored batch: 0 (plain) or 1 (LZ4), xxh3 of key and rest, records |
//!
//! Numbers in keys are big-endian, so a partition's batches lie in the order of their offsets. What retention and
//! readers must know of a batch before they read its megabyte is part of its key.

use crate::{LogError, Offset, RecordSet};
use aulaflow_model::instant::Millis;
use bytes::Bytes;
use fjall::config::{CompressionPolicy, FilterPolicy};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Slice, UserKey,
};
use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

/// A partition of a topic.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The topic's id in the catalogue, which is in the keys.
    pub topic: u16,
    pub partition: u32,
    /// The topic's name, for errors.
    pub name: Arc<str>,
}

/// A batch to store: records of one partition, from one append or several.
pub(super) struct Row {
    pub place: Place,
    pub base: Offset,
    pub count: u32,
    pub newest: Millis,
    pub parts: Vec<RecordSet>,
}

/// What the store was made with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Catalogue {
    pub partitions: u32,
    pub topics: Vec<String>,
}

/// Why the catalogue cannot be used.
pub(super) enum CatalogueError {
    Format(u32),
    Damaged(String),
    Storage(fjall::Error),
}

pub(super) struct Store {
    db: Database,
    rows: Keyspace,
}

/// The only format so far.
pub(super) const FORMAT: u32 = 1;

const CATALOGUE_KEY: &[u8] = b"\0c";
const COMPACTED_KEY: &[u8] = b"\0r";
/// Before the records in a value: how they are packed, and the checksum.
const HEAD_BYTES: usize = 9;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
/// Smaller batches are not worth packing.
const PACK_BYTES_MIN: usize = 256;
const KEY_BYTES: usize = 31;
/// Memory of one memtable; up to five of them live while the disk is slow. Also what a restart has to replay.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Readers follow the end, which is in a memtable; older batches are read once, in order. So hardly any cache helps.
const CACHE_BYTES: u64 = 8 << 20;
/// Journals on disk before their memtables are flushed early.
const JOURNALS_BYTES: u64 = 192 << 20;
/// How long giving space back waits for the store's worker, over all its steps: that has one task at a time, and a merge before
/// ours may take minutes. What is not on the disk by then gives its space back at the next retention.
const FLUSH_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at what waits to be flushed.
const FLUSH_LOOK_EVERY: Duration = Duration::from_millis(2);
/// Batches removed in one go by retention.
const REMOVE_ROWS_MAX: usize = 1024;

impl Store {
    /// Opens the store, or makes it.
    pub fn open(dir: &Path) -> Result<Self, fjall::Error> {
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES)
            .journal_compression(CompressionType::None)
            // A second worker would spin while the first compacts; compactions only touch keys here.
            .worker_threads(1)
            .open()?;
        let rows = db.keyspace("log", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
                // Only ranges are read: filters would never be asked.
                .filter_policy(FilterPolicy::disabled())
                // Values are written once by the flush and not again by compactions.
                .with_kv_separation(Some(KvSeparationOptions::default().compression(CompressionType::None)))
        })?;
        Ok(Self { db, rows })
    }

    /// Reads the catalogue; `None` in a new store.
    pub fn catalogue(&self) -> Result<Option<Catalogue>, CatalogueError> {
        let Some(row) = self.rows.get(CATALOGUE_KEY).map_err(CatalogueError::Storage)? else {
            return Ok(None);
        };
        let damaged = |what: &str| CatalogueError::Damaged(format!("its catalogue {what}"));
        let text = std::str::from_utf8(&row).map_err(|_| damaged("is not text"))?;
        let mut lines = text.lines();
        let mut number = |what| lines.next().and_then(|l| l.parse::<u32>().ok()).ok_or_else(|| damaged(what));
        let format = number("has no format")?;
        if format != FORMAT {
            return Err(CatalogueError::Format(format));
        }
        let partitions = number("has no partitions")?;
        Ok(Some(Catalogue { partitions, topics: lines.map(str::to_owned).collect() }))
    }

    /// Writes the catalogue, durably.
    pub fn set_catalogue(&self, catalogue: &Catalogue) -> Result<(), fjall::Error> {
        let mut text = format!("{FORMAT}\n{}\n", catalogue.partitions);
        for topic in &catalogue.topics {
            text.push_str(topic);
            text.push('\n');
        }
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.rows, CATALOGUE_KEY, text.as_bytes());
        batch.commit()
    }

    /// First offset still there and the offset that the next append gets.
    pub fn bounds(&self, place: &Place) -> Result<(Offset, Offset), LogError> {
        let start = match self.rows.get(start_key(place)).map_err(read_error)? {
            None => 0,
            Some(row) => row
                .as_ref()
                .try_into()
                .map(Offset::from_le_bytes)
                .map_err(|_| LogError::Corrupt(format!("{place}: the first offset is not a number")))?,
        };
        let end = match self.rows.prefix(place_key(place)).next_back() {
            None => start,
            Some(guard) => BatchKey::parse(place, &guard.key().map_err(read_error)?)?.end(),
        };
        Ok((start, end.max(start)))
    }

    /// Writes batches, all or none; returns when they are as durable as `mode` says.
    pub fn write(&self, rows: &[Row], mode: PersistMode) -> Result<(), fjall::Error> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.db.clone(), rows.len()).durability(Some(mode));
        for row in rows {
            batch.insert(&self.rows, row.key(), row.value()?);
        }
        batch.commit()
    }

    /// Reads adjacent batches from the one that holds `offset` on, those below `end`: the first in any case, then up to
    /// `bytes_max`. `None` if there is no batch at or before `offset`. Records before `offset` are left out.
    pub fn read(
        &self,
        place: &Place,
        offset: Offset,
        end: Offset,
        bytes_max: usize,
    ) -> Result<Option<RecordSet>, LogError> {
        let mut at_most = place_key(place);
        at_most.extend(offset.to_be_bytes());
        at_most.extend([0xff; KEY_BYTES - 15]);
        let Some(found) = self.rows.range(place_key(place)..=at_most).next_back() else {
            return Ok(None);
        };
        let from = found.key().map_err(read_error)?;
        let first = BatchKey::parse(place, &from)?;
        let mut last_key = place_key(place);
        last_key.extend([0xff; KEY_BYTES - 7]);
        let mut parts: Vec<Bytes> = Vec::new();
        let (mut next, mut bytes, mut count) = (first.base, 0usize, 0u32);
        for guard in self.rows.range(from.as_ref()..=last_key.as_slice()) {
            let room = bytes_max.saturating_sub(bytes);
            // The value is loaded only if it is wanted.
            let wanted = |key: &UserKey| {
                BatchKey::parse(place, key).is_ok_and(|k| {
                    k.base < end && (count == 0 || (k.bytes as usize <= room && count.checked_add(k.count).is_some()))
                })
            };
            let (key, value) = guard.into_inner_if(wanted).map_err(|e| place.damage_or_failure(next, e))?;
            let key_read = BatchKey::parse(place, &key)?;
            let Some(value) = value else { break };
            if key_read.base != next {
                return Err(place.corrupt(next, "records are missing here"));
            }
            parts.push(checked_records(place, &key, &key_read, value)?);
            (next, bytes, count) = (key_read.end(), bytes + key_read.bytes as usize, count + key_read.count);
        }
        if next <= offset {
            return Err(place.corrupt(offset, "records are missing here"));
        }
        let joined = match <[Bytes; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => parts.concat().into(),
        };
        let set = RecordSet::trusted(joined, count);
        // `offset` is in the first batch, whose count is a u32.
        Ok(Some(if offset == first.base { set } else { set.slice((offset - first.base) as u32, u32::MAX).reindexed() }))
    }

    /// Removes the batches at a partition's start whose records are all older than `before`, below `end`.
    /// Calls `removed` with the new first offset after each durable step.
    pub fn remove_older(
        &self,
        place: &Place,
        before: Millis,
        end: Offset,
        mut removed: impl FnMut(Offset),
    ) -> Result<(), LogError> {
        loop {
            let mut old = Vec::new();
            let mut start = None;
            for guard in self.rows.prefix(place_key(place)).take(REMOVE_ROWS_MAX) {
                let key = guard.key().map_err(read_error)?;
                let batch = BatchKey::parse(place, &key)?;
                // Only a prefix may go: a partition has no holes.
                if batch.newest >= before || batch.end() > end {
                    break;
                }
                start = Some(batch.end());
                old.push(key);
            }
            let Some(start) = start else { return Ok(()) };
            let full = old.len() == REMOVE_ROWS_MAX;
            let mut step = self.db.batch().durability(Some(PersistMode::SyncData));
            for key in old {
                step.remove(&self.rows, key);
            }
            step.insert(&self.rows, start_key(place), start.to_le_bytes());
            step.commit().map_err(|e| LogError::Unavailable(e.to_string()))?;
            removed(start);
            if !full {
                return Ok(());
            }
        }
    }

    /// Gives the space of removed batches back to the disk. Takes a while: the keys are rewritten, and those of the
    /// values' files that hold much of what was removed.
    pub fn compact(&self) -> Result<(), fjall::Error> {
        // The first round removes the keys and finds the files that nothing points to; they are deleted with the
        // store's last version that knows them, which the second round replaces.
        let deadline = Instant::now() + FLUSH_WAIT;
        for _ in 0..2 {
            self.flush(deadline)?;
            self.rows.major_compact()?;
        }
        self.flush(deadline)
    }

    /// Sees to it that what was written before is in tables, until a deadline.
    fn flush(&self, deadline: Instant) -> Result<(), fjall::Error> {
        // Compactions keep what the newest sequence number wrote, and that may be the removal itself: move it on.
        let mut step = self.db.batch();
        step.insert(&self.rows, COMPACTED_KEY, []);
        step.commit()?;
        self.rows.rotate_memtable()?;
        // The store has a wait of its own, which never ends if its worker has failed, or while appends seal one after another.
        let mut flushed = Flushed::default();
        while !flushed.look(self.rows.sealed_memtable_count()) {
            if Instant::now() >= deadline {
                tracing::info!("the log's store is busy: the space of removed records comes back later");
                break;
            }
            std::thread::sleep(FLUSH_LOOK_EVERY);
        }
        Ok(())
    }

    /// Bytes in memory that have yet to find room on the disk, beside the journal.
    pub fn unflushed_bytes(&self) -> u64 {
        self.db.write_buffer_size()
    }

    /// Hands everything to the disk.
    pub fn sync(&self) -> Result<(), fjall::Error> {
        self.db.persist(PersistMode::SyncAll)
    }

    /// Writes a row as it is, to damage a store.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub fn damage(&self, place: &Place, change: impl Fn(&mut Vec<u8>)) {
        for guard in self.rows.prefix(place_key(place)) {
            let (key, value) = guard.into_inner().expect("the row is there");
            let mut value = value.to_vec();
            change(&mut value);
            self.rows.insert(key, value).expect("the store takes the row");
        }
    }
}

/// Whether a memtable that was sealed before the first look is in a table, by how many are sealed.
///
/// The worker flushes all that are sealed when it begins, in one go. A flush that had begun before ours was sealed makes the
/// number smaller once; the one after it has ours. Appends that seal others meanwhile keep the number from ever being 0.
#[derive(Debug, Default)]
struct Flushed {
    last: usize,
    times: u8,
}

impl Flushed {
    fn look(&mut self, sealed: usize) -> bool {
        self.times += u8::from(sealed < std::mem::replace(&mut self.last, sealed));
        sealed == 0 || self.times >= 2
    }
}

impl Row {
    fn key(&self) -> [u8; KEY_BYTES] {
        // A batch never nears 4 GiB: the writer splits sets.
        let bytes = self.bytes() as u32;
        let mut key = [0; KEY_BYTES];
        let fields = place_key(&self.place).into_iter();
        let fields = fields.chain(self.base.to_be_bytes()).chain(self.count.to_be_bytes());
        let fields = fields.chain(self.newest.0.to_be_bytes()).chain(bytes.to_be_bytes());
        for (to, from) in key.iter_mut().zip(fields) {
            *to = from;
        }
        key
    }

    pub fn bytes(&self) -> usize {
        self.parts.iter().map(RecordSet::len_bytes).sum()
    }

    /// Packed once here, and neither by the journal nor by the tables: the disk, the memtables and the processor all
    /// gain.
    fn value(&self) -> std::io::Result<Slice> {
        let joined: Cow<'_, [u8]> = match self.parts.as_slice() {
            [only] => only.encoded().as_ref().into(),
            parts => parts.iter().map(|part| part.encoded().as_ref()).collect::<Vec<_>>().concat().into(),
        };
        let packed = (joined.len() >= PACK_BYTES_MIN).then(|| lz4_flex::block::compress(&joined));
        let (form, body) = match packed {
            Some(packed) if packed.len() < joined.len() => (LZ4, packed.into()),
            Some(_) | None => (PLAIN, joined),
        };
        let checksum = checksum(&self.key(), form, &body);
        let mut head = [form; HEAD_BYTES];
        head[1..].copy_from_slice(&checksum);
        Slice::from_reader(&mut head.as_slice().chain(&*body), HEAD_BYTES + body.len())
    }
}

/// What a batch's key says.
struct BatchKey {
    base: Offset,
    count: u32,
    newest: Millis,
    bytes: u32,
}

impl BatchKey {
    fn parse(place: &Place, key: &[u8]) -> Result<Self, LogError> {
        let wrong = || LogError::Corrupt(format!("{place}: a batch has a key of {} bytes", key.len()));
        let fields: &[u8; KEY_BYTES - 7] = key.get(7..).and_then(|f| f.try_into().ok()).ok_or_else(wrong)?;
        let number = |from: usize, to: usize| fields[from..to].iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        let parsed = Self {
            base: number(0, 8),
            count: number(8, 12) as u32,
            newest: Millis(number(12, 20) as i64),
            bytes: number(20, 24) as u32,
        };
        // So that `end` cannot overflow, whatever the key says.
        if parsed.base.checked_add(u64::from(parsed.count)).is_none() || parsed.count == 0 {
            return Err(place.corrupt(parsed.base, "the batch's key makes no sense"));
        }
        Ok(parsed)
    }

    fn end(&self) -> Offset {
        self.base + u64::from(self.count)
    }
}

impl Place {
    fn corrupt(&self, offset: Offset, what: &str) -> LogError {
        LogError::Corrupt(format!("{self} offset {offset}: {what}"))
    }

    fn damage_or_failure(&self, offset: Offset, error: fjall::Error) -> LogError {
        match error {
            fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => {
                LogError::Unavailable(format!("{self} offset {offset}: {e}"))
            }
            other => self.corrupt(offset, &other.to_string()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.partition)
    }
}

fn read_error(error: fjall::Error) -> LogError {
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => LogError::Unavailable(e.to_string()),
        other => LogError::Corrupt(other.to_string()),
    }
}

/// The records of a stored batch, if its checksum is right. Where they are not packed, shares the value's memory.
fn checked_records(place: &Place, key: &[u8], fields: &BatchKey, value: Slice) -> Result<Bytes, LogError> {
    let corrupt = |what| place.corrupt(fields.base, what);
    let Some((&[form, ref expected @ ..], body)) = value.split_first_chunk::<HEAD_BYTES>() else {
        return Err(corrupt("the batch is cut short"));
    };
    if *expected != checksum(key, form, body) {
        return Err(corrupt("the batch's checksum is wrong"));
    }
    let records = match form {
        PLAIN => Bytes::from_owner(value).slice(HEAD_BYTES..),
        LZ4 => lz4_flex::block::decompress(body, fields.bytes as usize)
            .map_err(|_| corrupt("the batch cannot be unpacked"))?
            .into(),
        _ => return Err(corrupt("the batch has an unknown form")),
    };
    if records.len() != fields.bytes as usize {
        return Err(corrupt("the batch has another length than its key says"));
    }
    Ok(records)
}

fn checksum(key: &[u8], form: u8, body: &[u8]) -> [u8; 8] {
    let mut hash = Xxh3::new();
    hash.update(key);
    hash.update(&[form]);
    hash.update(body);
    hash.digest().to_le_bytes()
}

/// The start of the keys of a partition's batches: 7 bytes.
fn place_key(place: &Place) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_BYTES);
    key.push(1);
    key.extend(place.topic.to_be_bytes());
    key.extend(place.partition.to_be_bytes());
    key
}

fn start_key(place: &Place) -> Vec<u8> {
    let mut key = vec![0, b's'];
    key.extend(place.topic.to_be_bytes());
    key.extend(place.partition.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_memtable_is_flushed_though_others_are_sealed() {
        let table: [(&str, &[usize], bool); 7] = [
            ("at once", &[0], true),
            ("it waits", &[1, 1, 1], false),
            ("and is flushed", &[1, 1, 0], true),
            ("a flush that had begun before has others", &[3, 1, 1], false),
            ("the next one has it", &[3, 1, 2, 1], true),
            ("appends seal one after another", &[1, 2, 3, 4], false),
            ("so that there is never none", &[2, 1, 3, 4, 2], true),
        ];
        for (what, looks, flushed) in table {
            let mut watch = Flushed::default();
            let last = looks.iter().map(|sealed| watch.look(*sealed)).last();
            assert_eq!(last, Some(flushed), "{what}");
        }
    }

    /// A worker that flushes all that is sealed when it begins, beside appends that seal: whatever the order of steps, what is
    /// said to be flushed is, and it is said though something is always sealed.
    #[test]
    fn whatever_is_said_to_be_flushed_is() {
        let mut random = 7_u64;
        let mut below = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        for _ in 0..2_000 {
            let before = below(4) as u32;
            let mut flushing: Vec<u32> = if below(2) == 0 { (0..before).collect() } else { Vec::new() };
            // Ours is the last that is sealed.
            let mut sealed: Vec<u32> = (0..=before).collect();
            let (mut watch, mut next, mut steps) = (Flushed::default(), before, 0);
            loop {
                if watch.look(sealed.len()) {
                    assert!(!sealed.contains(&before), "{sealed:?}");
                    break;
                }
                match below(3) {
                    0 => {
                        next += 1;
                        sealed.push(next);
                    }
                    1 if flushing.is_empty() => flushing.clone_from(&sealed),
                    1 => {
                        sealed.retain(|one| !flushing.contains(one));
                        flushing.clear();
                    }
                    _ => {}
                }
                steps += 1;
                assert!(steps < 10_000, "it is never said");
            }
        }
    }
}

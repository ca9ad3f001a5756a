//! The state store: what a restart needs, in an embedded LSM store, committed atomically with the log's offsets.
//!
//! It holds inputs and not operators' internals: the present evaluations, the open panes, the event ids seen, the
//! tenants' configurations, and what history adds to the rows shown (version, time of change). Rows carry names, never
//! this process's numbers. Any later version of the code can rebuild its views from it.

use crate::dedupe::IdHash;
use crate::panes::StoredStudent;
use crate::sum::Slot;
use aulaflow_log::Offset;
use aulaflow_model::event::Evaluation;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of what is stored. Another one is refused.
const FORMAT: u32 = 4;

/// Free space below which nothing is written.
const FREE_BYTES_MIN: u64 = 16 << 20;

/// What went wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store itself.
    #[error("the state cannot be read or written: {0}")]
    Store(#[from] fjall::Error),
    /// A row.
    #[error("a row of the state cannot be decoded: {0}")]
    Row(String),
    /// The disk is too full to write safely. Tried again later, it may work.
    #[error("the disk of the state is nearly full: {free} bytes are free, {needed} are needed; free some space")]
    NearlyFull {
        /// Free bytes.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// Another version.
    #[error(
        "the state was written in format {found}, and this version reads format {FORMAT}; move the folder away to rebuild it from the log"
    )]
    Format {
        /// Its format.
        found: u32,
    },
}

/// What the state covers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Covered {
    /// The time of the last epoch in it.
    pub time: u64,
    /// Per source topic and partition: the offset to read on from.
    pub offsets: BTreeMap<(String, u32), Offset>,
    /// Where the dead-letter topics ended, per source topic and partition.
    pub dead_letter_ends: BTreeMap<(String, u32), Offset>,
    /// Below which source offset every dead letter is written.
    pub dead_letters_written: BTreeMap<(String, u32), Offset>,
    /// The parts of aggregates that its panes hold.
    pub slots: KnownSlots,
    /// The views that were shown.
    pub views: Vec<KnownView>,
    /// Per source partition, the highest event time seen: the event clock's memory.
    pub event_high: BTreeMap<(String, u32), i64>,
    /// What sinks outside the process remember by, by name (see `gate`).
    pub marks: BTreeMap<String, Vec<u8>>,
}

/// A view that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownView {
    /// Its name.
    pub name: String,
    /// A hash of what it shows.
    pub identity: u64,
}

/// The numbers that rows of the state use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSlots {
    /// Those in use.
    pub slots: Vec<KnownSlot>,
    /// Above every number that any row may use.
    pub next: Slot,
    /// Tables by number.
    pub tables: Vec<String>,
}

/// A part of an aggregate that panes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSlot {
    /// A hash of what it computes.
    pub identity: u64,
    /// Its number.
    pub number: Slot,
    /// For how many panes back it is complete.
    pub panes: i64,
}

/// A row of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Row {
    /// A tenant's configuration: the JSON of its record, and its offset.
    Tenant {
        /// The record's value.
        json: Vec<u8>,
        /// Its offset.
        offset: u64,
    },
    /// A present evaluation and its offset.
    Evaluation(Box<Evaluation>, u64),
    /// A student's panes.
    Panes(StoredStudent),
    /// Event ids of one table and generation: (route, id).
    Ids(Vec<(u64, IdHash)>),
    /// What history adds to a student's rows.
    History(StoredHistory),
}

/// What history adds to a student's rows: names, version, time of change, digest of the row (0: no row now).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredHistory {
    /// (subject, period, version, updated at, digest)
    pub grades: Vec<(String, String, u32, i64, u64)>,
    /// (view's identity, updated at, digest)
    pub features: Vec<(u64, i64, u64)>,
}

/// A row's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Of a tenant's configuration.
    Tenant(String),
    /// Tenant, student and evaluation: a student's rows lie together, so that they are loaded together.
    Evaluation(String, String, String),
    /// Tenant and student.
    Panes(String, String),
    /// Table, generation, and a number that makes the row its own: time and worker.
    Ids(u32, i64, u64, u32),
    /// Tenant and student.
    History(String, String),
}

const TENANT: u8 = b'T';
const EVALUATION: u8 = b'E';
const PANES: u8 = b'P';
const IDS: u8 = b'I';
const HISTORY: u8 = b'H';

impl Key {
    fn encode(&self) -> Vec<u8> {
        let two = |kind: u8, a: &str, b: &str| [&[kind], a.as_bytes(), b"\0", b.as_bytes()].concat();
        match self {
            Self::Tenant(tenant) => [&[TENANT], tenant.as_bytes()].concat(),
            Self::Evaluation(tenant, student, id) => {
                [&[EVALUATION], tenant.as_bytes(), b"\0", student.as_bytes(), b"\0", id.as_bytes()].concat()
            }
            Self::Panes(tenant, student) => two(PANES, tenant, student),
            Self::History(tenant, student) => two(HISTORY, tenant, student),
            Self::Ids(table, generation, time, worker) => [
                &[IDS][..],
                &table.to_be_bytes(),
                // The sign bit is turned so that the order of the bytes is the order of the numbers.
                &(*generation as u64 ^ (1 << 63)).to_be_bytes(),
                &time.to_be_bytes(),
                &worker.to_be_bytes(),
            ]
            .concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).ok();
        // Ids hold no control characters, so a NUL separates.
        let split = |b: &[u8]| {
            let at = b.iter().position(|b| *b == 0)?;
            Some((text(&b[..at])?, b[at + 1..].to_vec()))
        };
        let two = || {
            let (a, b) = split(rest)?;
            Some((a, text(&b)?))
        };
        Some(match *kind {
            TENANT => Self::Tenant(text(rest)?),
            EVALUATION => {
                let (tenant, rest) = split(rest)?;
                let (student, id) = split(&rest)?;
                Self::Evaluation(tenant, student, text(&id)?)
            }
            PANES => two().map(|(a, b)| Self::Panes(a, b))?,
            HISTORY => two().map(|(a, b)| Self::History(a, b))?,
            IDS => Self::Ids(
                u32::from_be_bytes(rest.get(..4)?.try_into().ok()?),
                (u64::from_be_bytes(rest.get(4..12)?.try_into().ok()?) ^ (1 << 63)) as i64,
                u64::from_be_bytes(rest.get(12..20)?.try_into().ok()?),
                u32::from_be_bytes(rest.get(20..24)?.try_into().ok()?),
            ),
            _ => return None,
        })
    }
}

/// A change of the state: `None` removes the row.
pub type Change = (Key, Option<Row>);

/// An encoded change.
pub type EncodedChange = (Vec<u8>, Option<Vec<u8>>);

/// Encodes a change.
pub fn encode((key, row): &Change) -> EncodedChange {
    let row = row.as_ref().map(|row| {
        postcard::to_stdvec(row).unwrap_or_else(|e| panic!("a row of plain values can always be encoded: {e}"))
    });
    (key.encode(), row)
}

/// The store on disk.
#[derive(Clone)]
pub struct StateStore {
    dir: PathBuf,
    db: Database,
    rows: Keyspace,
    meta: Keyspace,
}

impl StateStore {
    /// Whether a folder holds a store.
    pub fn exists(dir: &Path) -> bool {
        // fjall's own marker.
        dir.join("version").is_file()
    }

    /// Opens or creates the store.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let db = Database::builder(dir).open()?;
        let rows = db.keyspace("rows", KeyspaceCreateOptions::default)?;
        let meta = db.keyspace("meta", KeyspaceCreateOptions::default)?;
        let store = Self { dir: dir.to_owned(), db, rows, meta };
        match store.meta.get("format")? {
            None => store.meta.insert("format", FORMAT.to_be_bytes())?,
            Some(found) if *found == FORMAT.to_be_bytes() => {}
            Some(found) => {
                let found = found.as_ref().try_into().map_or(0, u32::from_be_bytes);
                return Err(StateError::Format { found });
            }
        }
        Ok(store)
    }

    /// Opens the store again after a failed write, which the LSM store does not survive. No other handle may be left.
    pub fn reopen(self) -> Result<Self, StateError> {
        let dir = self.dir.clone();
        drop(self);
        Self::open(&dir)
    }

    /// Refuses to write where a failing write is likely: one would end the store.
    fn check_space(&self, changes: &[EncodedChange]) -> Result<(), StateError> {
        let bytes: usize = changes.iter().map(|(key, row)| key.len() + row.as_ref().map_or(0, Vec::len)).sum();
        // The journal now, a flushed table and a compaction later.
        let needed = FREE_BYTES_MIN + 3 * bytes as u64;
        let disk = rustix::fs::statvfs(&self.dir).map_err(|e| StateError::Store(std::io::Error::from(e).into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < needed { Err(StateError::NearlyFull { free, needed }) } else { Ok(()) }
    }

    /// Notes, durably, whether an engine runs on this state. Returns what was noted before: `true` at a start means that
    /// the last one ended without a last checkpoint.
    pub fn note_running(&self, running: bool) -> Result<bool, StateError> {
        let before = self.meta.get("running")?.is_some_and(|noted| *noted == [1]);
        self.meta.insert("running", [u8::from(running)])?;
        self.db.persist(PersistMode::SyncAll)?;
        Ok(before)
    }

    /// What the state covers; `None` before the first commit.
    pub fn covered(&self) -> Result<Option<Covered>, StateError> {
        let Some(bytes) = self.meta.get("covered")? else { return Ok(None) };
        postcard::from_bytes(&bytes).map(Some).map_err(|e| StateError::Row(e.to_string()))
    }

    /// Writes changes and what they cover, all or nothing, durably.
    pub fn commit(&self, changes: &[EncodedChange], covered: &Covered) -> Result<(), StateError> {
        self.check_space(changes)?;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for (key, row) in changes {
            match row {
                Some(row) => batch.insert(&self.rows, key.as_slice(), row.as_slice()),
                None => batch.remove(&self.rows, key.as_slice()),
            }
        }
        let covered = postcard::to_stdvec(covered).map_err(|e| StateError::Row(e.to_string()))?;
        batch.insert(&self.meta, "covered", covered);
        batch.commit()?;
        Ok(())
    }

    /// Rows of a kind, one after the other.
    fn rows(&self, kind: u8) -> impl Iterator<Item = Result<(Key, Row), StateError>> + use<> {
        self.rows.prefix([kind]).map(|entry| {
            let (key, value) = entry.into_inner()?;
            let key = Key::decode(&key).ok_or_else(|| StateError::Row("unknown key".to_owned()))?;
            let row = postcard::from_bytes(&value).map_err(|e| StateError::Row(e.to_string()))?;
            Ok((key, row))
        })
    }

    /// All rows, in the order in which they are to be loaded: histories, configurations, evaluations, ids, panes.
    pub fn load(&self) -> impl Iterator<Item = Result<(Key, Row), StateError>> + use<> {
        let store = self.clone();
        [HISTORY, TENANT, EVALUATION, IDS, PANES].into_iter().flat_map(move |kind| store.rows(kind))
    }

    /// How many rows there are, roughly: for a progress bar.
    pub fn approximate_rows(&self) -> usize {
        self.rows.approximate_len()
    }

    /// Keys of id rows of a table whose generation is before `oldest`.
    pub fn expired_ids(&self, table: u32, oldest: i64) -> Result<Vec<EncodedChange>, StateError> {
        let from = Key::Ids(table, i64::MIN, 0, 0).encode();
        let to = Key::Ids(table, oldest, 0, 0).encode();
        self.rows.range(from..to).map(|entry| Ok((entry.key()?.to_vec(), None))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_in_order() {
        let keys = [
            Key::Tenant("t".into()),
            Key::Evaluation("t".into(), "s 1".into(), "a/b".into()),
            Key::Panes("t".into(), "ñandú".into()),
            Key::History("t".into(), "s".into()),
            Key::Ids(1, -5, 7, 2),
        ];
        for key in keys {
            assert_eq!(Key::decode(&key.encode()), Some(key));
        }
        assert!(Key::Ids(1, -5, 9, 0).encode() < Key::Ids(1, 3, 0, 0).encode());
        assert_eq!(Key::decode(b"?x"), None);
        assert_eq!(Key::decode(b""), None);
    }

    #[test]
    fn a_commit_is_read_back_and_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        assert_eq!(store.covered().unwrap(), None);
        let row = Row::Ids(vec![(7, 8)]);
        let covered = Covered { time: 5, ..Covered::default() };
        let ids = (Key::Ids(0, 1, 5, 0), Some(row.clone()));
        store.commit(&[encode(&ids)], &covered).unwrap();
        drop(store);
        let store = StateStore::open(dir.path()).unwrap();
        assert_eq!(store.covered().unwrap(), Some(covered));
        let rows: Vec<_> = store.load().map(Result::unwrap).collect();
        assert_eq!(rows, [(Key::Ids(0, 1, 5, 0), row)]);
        assert_eq!(store.expired_ids(0, 1).unwrap().len(), 0);
        assert_eq!(store.expired_ids(0, 2).unwrap().len(), 1);
        store.meta.insert("format", 99u32.to_be_bytes()).unwrap();
        drop(store);
        assert!(matches!(StateStore::open(dir.path()), Err(StateError::Format { found: 99 })));
    }
}

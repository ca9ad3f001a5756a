//! The local store: what was recorded last, and what waits for the end of its day, over the LSM store fjall. Which rows are
//! written when is not decided here.
//!
//! One keyspace holds everything, so that no rarely written keyspace pins old journals:
//!
//! | key | value |
//! |---|---|
//! | `m` | [`Meta`] as JSON |
//! | `c` | the [`Catalogue`] as JSON |
//! | `r number:u16 key` | a row as it was recorded last: its values |
//! | `p day:u32 number:u16 key` | a row of a relation that is recorded once a day, as it was last on that day: 1 and its values, or 0 |
//!
//! Numbers in keys are big-endian. `number` is a relation's, see [`Catalogue`]; `key` are the key's columns in RowBinary.

use crate::rows::{self, NUMBER_BYTES};
use crate::tables::{Relation, Tables};
use crate::{Form, Uuid};
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The only format so far.
const FORMAT: u32 = 1;
const META_KEY: &[u8] = b"m";
const CATALOGUE_KEY: &[u8] = b"c";
const ROW: u8 = b'r';
const PENDING: u8 = b'p';
/// Memory of one memtable.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Most rows that change have changed before: their blocks are worth keeping.
const CACHE_BYTES: u64 = 64 << 20;
/// Journals on disk before their memtables are flushed early.
const JOURNALS_BYTES: u64 = 192 << 20;
/// Rows moved or removed in one go.
const STEP_ROWS: usize = 4_096;

/// Why the local store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Files cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The LSM store has failed.
    #[error("the folder {path}: {error}")]
    Storage {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: fjall::Error,
    },
    /// What is stored makes no sense.
    #[error(
        "the folder {path} is damaged: {what}; remove it while the process is stopped, and it is made again from ClickHouse"
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

/// What the store is as of. Written with every change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub format: u32,
    /// Who writes its blocks; another one after the store was made anew.
    pub writer: String,
    /// The number of the next block.
    pub next_block: u64,
    /// The last version given.
    pub version: u64,
    /// The last clock.
    pub clock: i64,
    /// The time of the last epoch that changed anything.
    pub last_time: u64,
    /// Everything up to this time is in the store, and on the disk.
    pub reached: u64,
    /// What rows were made by, where it was closed in order; `None` while it is open, and after a crash.
    pub closed: Option<String>,
    /// Nothing was ever recorded or rebuilt.
    pub is_new: bool,
    /// A rebuild has begun and not ended: the rows are not all there.
    pub rebuilding: bool,
}

/// Which number a relation has in keys, and which columns its values have. A relation that is not kept any more stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Catalogue {
    next: u16,
    relations: Vec<Numbered>,
    /// Numbers whose rows are to be removed.
    leftover: Vec<u16>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Numbered {
    name: String,
    number: u16,
    /// Names and types of the key's columns and of the values'.
    key: Vec<(String, String)>,
    values: Vec<(String, String)>,
}

/// A row that waits for the end of its day.
pub(crate) struct Waiting {
    /// The key in the store.
    pub stored_key: Slice,
    /// The row, unless it is removed.
    pub row: Option<Slice>,
}

pub(crate) struct Store {
    db: Database,
    rows: Keyspace,
    dir: PathBuf,
    meta: Mutex<Meta>,
    /// The relations' numbers, in the order of the tables.
    numbers: Mutex<Vec<u16>>,
}

impl Store {
    /// Opens the store, or makes it, for these tables. What it was closed as is taken out of it: from now on it is open.
    pub fn open(dir: &Path, tables: &Tables) -> Result<(Self, Option<String>), StoreError> {
        let failed = |error| StoreError::Storage { path: dir.to_owned(), error };
        std::fs::create_dir_all(dir).map_err(|error| StoreError::Io { path: dir.to_owned(), error })?;
        let db = Database::builder(dir).cache_size(CACHE_BYTES).max_journaling_size(JOURNALS_BYTES).worker_threads(1);
        let db = db.open().map_err(failed)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        };
        let rows = db.keyspace("rows", options).map_err(failed)?;
        let found = rows.get(META_KEY).map_err(failed)?;
        let mut meta = match found {
            Some(bytes) => parse::<Meta>(dir, "what it is as of", &bytes)?,
            None => fresh(dir)?,
        };
        if meta.format != FORMAT {
            let what = format!("its format is {}, and this program knows {FORMAT}", meta.format);
            return Err(StoreError::Damaged { path: dir.to_owned(), what });
        }
        if meta.writer.parse::<Uuid>().is_err() {
            let what = "its writer is no UUID".to_owned();
            return Err(StoreError::Damaged { path: dir.to_owned(), what });
        }
        let closed = meta.closed.take();
        let store = Self { db, rows, dir: dir.to_owned(), meta: Mutex::new(meta.clone()), numbers: Mutex::default() };
        if meta.rebuilding {
            store.reset(tables, false)?;
        } else {
            store.fit(tables)?;
            store.commit(store.batch(0), meta)?;
        }
        store.sync()?;
        Ok((store, closed))
    }

    /// Forgets everything, and takes another writer's name.
    pub fn reset(&self, tables: &Tables, rebuilding: bool) -> Result<(), StoreError> {
        self.rows.clear().map_err(|error| self.failed(error))?;
        let meta = Meta { rebuilding, ..fresh(&self.dir)? };
        self.fit(tables)?;
        self.commit(self.batch(0), meta)?;
        self.sync()
    }

    pub fn meta(&self) -> Meta {
        self.meta.lock().clone()
    }

    /// The number of the relation at a place.
    pub fn number(&self, relation: usize) -> u16 {
        self.numbers.lock().get(relation).copied().unwrap_or(0)
    }

    pub fn batch(&self, capacity: usize) -> OwnedWriteBatch {
        // A process that is killed loses nothing then; what power takes away is taken as a whole.
        OwnedWriteBatch::with_capacity(self.db.clone(), capacity).durability(Some(PersistMode::Buffer))
    }

    /// Writes a batch with what the store is as of then.
    pub fn commit(&self, mut batch: OwnedWriteBatch, meta: Meta) -> Result<(), StoreError> {
        batch.insert(&self.rows, META_KEY, json(&meta));
        batch.commit().map_err(|error| self.failed(error))?;
        *self.meta.lock() = meta;
        Ok(())
    }

    pub fn put_row(&self, batch: &mut OwnedWriteBatch, key: &[u8], row: Option<&[u8]>) {
        let stored = stored_row(key);
        match row {
            Some(row) => batch.insert(&self.rows, stored, row),
            None => batch.remove(&self.rows, stored),
        }
    }

    pub fn put_pending(&self, batch: &mut OwnedWriteBatch, day: u32, key: &[u8], row: Option<&[u8]>) {
        let value = match row {
            Some(row) => [&[1], row].concat(),
            None => vec![0],
        };
        batch.insert(&self.rows, stored_pending(day, key), value);
    }

    pub fn remove_pending(&self, batch: &mut OwnedWriteBatch, waiting: &Waiting) {
        batch.remove(&self.rows, waiting.stored_key.clone());
    }

    /// A row as it was recorded last.
    pub fn row(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        self.rows.get(stored_row(key)).map_err(|error| self.failed(error))
    }

    /// What waits for the end of a day of a row; the outer `None`: nothing.
    pub fn pending(&self, day: u32, key: &[u8]) -> Result<Option<Option<Slice>>, StoreError> {
        let found = self.rows.get(stored_pending(day, key)).map_err(|error| self.failed(error))?;
        Ok(found.map(|value| waiting_row(&value)))
    }

    /// Recorded rows whose keys begin with `prefix`, those after a key, `limit` at most: keys and values.
    pub fn rows_after(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Slice)>, StoreError> {
        let mut found = Vec::new();
        for guard in self.after(stored_row(prefix), after.map(stored_row)).take(limit) {
            let (key, value) = guard.into_inner().map_err(|error| self.failed(error))?;
            found.push((key.get(1..).unwrap_or_default().to_vec(), value));
        }
        Ok(found)
    }

    /// What waits for the end of a day, after a stored key.
    pub fn pending_after(&self, day: u32, after: Option<&Slice>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let mut found = Vec::new();
        for guard in self.after(stored_pending(day, &[]), after.map(|key| key.to_vec())).take(limit) {
            let (stored_key, value) = guard.into_inner().map_err(|error| self.failed(error))?;
            found.push(Waiting { row: waiting_row(&value), stored_key });
        }
        Ok(found)
    }

    fn after(&self, prefix: Vec<u8>, after: Option<Vec<u8>>) -> Box<dyn Iterator<Item = fjall::Guard>> {
        let Some(after) = after else { return Box::new(self.rows.prefix(prefix)) };
        let bounds = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        // The range has no end of its own: it is where the prefix ends.
        let end = successor(prefix);
        let bounds = (bounds.0, end.map_or(bounds.1, std::ops::Bound::Excluded));
        Box::new(self.rows.range::<Vec<u8>, _>(bounds))
    }

    /// The days that rows wait for the end of.
    pub fn pending_days(&self) -> Result<Vec<u32>, StoreError> {
        let mut days = Vec::new();
        let mut from = 0;
        loop {
            let range = stored_pending(from, &[])..vec![PENDING + 1];
            let Some(guard) = self.rows.range(range).next() else { return Ok(days) };
            let key = guard.key().map_err(|error| self.failed(error))?;
            let day = key.get(1..5).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
            days.push(day);
            let Some(next) = day.checked_add(1) else { return Ok(days) };
            from = next;
        }
    }

    /// Hands everything to the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: fjall::Error) -> StoreError {
        StoreError::Storage { path: self.dir.clone(), error }
    }

    /// Gives every relation a number. One that got columns keeps its rows, with nulls in them, as ClickHouse has it; one that
    /// looks otherwise is another one.
    fn fit(&self, tables: &Tables) -> Result<(), StoreError> {
        let found = self.rows.get(CATALOGUE_KEY).map_err(|error| self.failed(error))?;
        let mut catalogue = match found {
            Some(bytes) => parse::<Catalogue>(&self.dir, "its catalogue", &bytes)?,
            None => Catalogue::default(),
        };
        // What a move that a crash interrupted has left.
        self.forget(&mut catalogue)?;
        let mut numbers = Vec::with_capacity(tables.relations.len());
        for relation in &tables.relations {
            let now = Numbered::of(relation, catalogue.next);
            let before = catalogue.relations.iter().find(|known| known.name == now.name).cloned();
            match before {
                Some(before) if (&before.key, &before.values) == (&now.key, &now.values) => {
                    numbers.push(before.number);
                    continue;
                }
                Some(before) => {
                    // The number is taken before anything is written under it.
                    catalogue.next = now.number.saturating_add(1);
                    catalogue.leftover.push(now.number);
                    self.put_catalogue(&catalogue)?;
                    self.move_rows(&before, now.number, relation)?;
                    catalogue.relations.retain(|known| known.name != now.name);
                    catalogue.leftover = vec![before.number];
                }
                None => catalogue.next = now.number.saturating_add(1),
            }
            numbers.push(now.number);
            catalogue.relations.push(now);
            self.put_catalogue(&catalogue)?;
            self.forget(&mut catalogue)?;
        }
        *self.numbers.lock() = numbers;
        Ok(())
    }

    fn put_catalogue(&self, catalogue: &Catalogue) -> Result<(), StoreError> {
        let mut batch = self.batch(1);
        batch.insert(&self.rows, CATALOGUE_KEY, json(catalogue));
        batch.commit().map_err(|error| self.failed(error))
    }

    /// Copies the rows of a relation that got columns under another number. Where it looks otherwise, there is nothing to copy.
    fn move_rows(&self, before: &Numbered, to: u16, relation: &Relation) -> Result<(), StoreError> {
        let form = |(name, text): &(String, String)| {
            let same = relation.values.iter().find(|column| column.name == *name && column.r#type == *text);
            same.map(|column| (name.clone(), column.form.clone()))
        };
        let forms: Option<Vec<(String, Form)>> = before.values.iter().map(form).collect();
        let same_key = before.key == Numbered::of(relation, to).key;
        let Some(forms) = forms.filter(|_| same_key) else {
            tracing::warn!(table = relation.name, "the columns have changed: the table's rows are recorded anew");
            return Ok(());
        };
        let renumbered = |key: &[u8]| [&to.to_be_bytes()[..], key.get(NUMBER_BYTES..).unwrap_or_default()].concat();
        let widened = |row: &[u8]| {
            let what = || format!("a row of \"{}\" does not have its columns", relation.name);
            let damaged = || StoreError::Damaged { path: self.dir.clone(), what: what() };
            rows::with_columns(&forms, relation, row).ok_or_else(damaged)
        };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let step = self.rows_after(&before.number.to_be_bytes(), after.as_deref(), STEP_ROWS)?;
            let Some((last, _)) = step.last() else { break };
            after = Some(last.clone());
            let mut batch = self.batch(step.len());
            for (key, row) in step {
                self.put_row(&mut batch, &renumbered(&key), Some(&widened(&row)?));
            }
            batch.commit().map_err(|error| self.failed(error))?;
        }
        for day in self.pending_days()? {
            let mut after: Option<Slice> = None;
            loop {
                let step = self.pending_after(day, after.as_ref(), STEP_ROWS)?;
                let Some(last) = step.last() else { break };
                after = Some(last.stored_key.clone());
                let mut batch = self.batch(step.len());
                for waiting in step.iter().filter(|waiting| waiting.number() == before.number) {
                    let row = waiting.row.as_deref().map(widened).transpose()?;
                    self.put_pending(&mut batch, day, &renumbered(waiting.key()), row.as_deref());
                }
                batch.commit().map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    /// Removes what is left over.
    fn forget(&self, catalogue: &mut Catalogue) -> Result<(), StoreError> {
        if catalogue.leftover.is_empty() {
            return Ok(());
        }
        for number in &catalogue.leftover {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let step = self.rows_after(&number.to_be_bytes(), after.as_deref(), STEP_ROWS)?;
                let Some((last, _)) = step.last() else { break };
                after = Some(last.clone());
                let mut batch = self.batch(step.len());
                for (key, _) in &step {
                    self.put_row(&mut batch, key, None);
                }
                batch.commit().map_err(|error| self.failed(error))?;
            }
        }
        for day in self.pending_days()? {
            let mut after: Option<Slice> = None;
            loop {
                let step = self.pending_after(day, after.as_ref(), STEP_ROWS)?;
                let Some(last) = step.last() else { break };
                after = Some(last.stored_key.clone());
                let mut batch = self.batch(step.len());
                for waiting in step.iter().filter(|waiting| catalogue.leftover.contains(&waiting.number())) {
                    self.remove_pending(&mut batch, waiting);
                }
                batch.commit().map_err(|error| self.failed(error))?;
            }
        }
        catalogue.leftover.clear();
        self.put_catalogue(catalogue)
    }
}

impl Waiting {
    /// The row's key.
    pub fn key(&self) -> &[u8] {
        self.stored_key.get(5..).unwrap_or_default()
    }

    /// Its relation's number.
    pub fn number(&self) -> u16 {
        number_of(self.key())
    }
}

/// The number of a key's relation.
pub(crate) fn number_of(key: &[u8]) -> u16 {
    key.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

impl Numbered {
    fn of(relation: &Relation, number: u16) -> Self {
        let texts = |columns: &[crate::Column]| {
            columns.iter().map(|column| (column.name.clone(), column.r#type.clone())).collect()
        };
        Self { name: relation.name.clone(), number, key: texts(&relation.key), values: texts(&relation.values) }
    }
}

fn fresh(dir: &Path) -> Result<Meta, StoreError> {
    let writer = Uuid::random().map_err(|error| StoreError::Io { path: dir.to_owned(), error })?;
    Ok(Meta {
        format: FORMAT,
        writer: writer.to_string(),
        next_block: 1,
        version: 0,
        clock: 0,
        last_time: 0,
        reached: 0,
        closed: None,
        is_new: true,
        rebuilding: false,
    })
}

fn stored_row(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}

fn stored_pending(day: u32, key: &[u8]) -> Vec<u8> {
    [&[PENDING], &day.to_be_bytes()[..], key].concat()
}

fn waiting_row(value: &Slice) -> Option<Slice> {
    match value.split_first() {
        Some((1, row)) => Some(Slice::from(row)),
        Some(_) | None => None,
    }
}

/// The first key after all that begin with a prefix; `None`: there is no such key.
fn successor(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|e| panic!("texts and numbers can always be written: {e}"))
}

fn parse<T: for<'de> Deserialize<'de>>(dir: &Path, what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    let damaged = |error| StoreError::Damaged { path: dir.to_owned(), what: format!("{what} cannot be read: {error}") };
    serde_json::from_slice(bytes).map_err(damaged)
}

//! What is committed in one go: rows, what waits for the end of its day, and the blocks that say the same to ClickHouse.
//! When that is, and which rows, is decided elsewhere.

use crate::outbox::Outbox;
use crate::rows::NUMBER_BYTES;
use crate::store::{Meta, Store, StoreError, Waiting};
use crate::tables::{Cadence, TableKind, Tables};
use crate::{Block, Uuid};
use aulaflow_model::instant::Millis;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// When something is recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub clock: Millis,
    pub version: u64,
}

/// Changes that are not committed yet, over the store.
pub(crate) struct Unit {
    store: Arc<Store>,
    outbox: Outbox,
    tables: Arc<Tables>,
    meta: Meta,
    writer: [u8; 16],
    rows: FxHashMap<Vec<u8>, Touched>,
    pending: FxHashMap<(u32, Vec<u8>), Option<Vec<u8>>>,
    flushed: Vec<Waiting>,
    /// Blocks of differences being filled; hardly ever more than a few.
    filling: Vec<Filling>,
    /// Blocks that are finished, where the disk did not take them yet.
    finished: Vec<Block>,
    at: fn(&'static str),
    /// The last version that is committed, and the one that is given instead of it and those before.
    committed: u64,
    instead: Option<u64>,
    /// The month of a day: most changes are of one day.
    month: Option<(i64, [u8; 7])>,
    bytes: usize,
    differences: u64,
}

/// A row that was recorded in this unit.
struct Touched {
    relation: usize,
    /// The values; of a removed row its last ones.
    values: Vec<u8>,
    is_there: bool,
    stamp: Stamp,
}

/// A block of differences.
struct Filling {
    number: u64,
    relation: usize,
    /// Its partition: `YYYY-MM`.
    month: [u8; 7],
    rows: u64,
    body: Vec<u8>,
}

impl Unit {
    pub fn new(store: Arc<Store>, outbox: Outbox, tables: Arc<Tables>, at: fn(&'static str)) -> Self {
        let meta = store.meta();
        let writer = meta.writer.parse::<Uuid>().unwrap_or_default().to_row_binary();
        Self {
            store,
            outbox,
            tables,
            meta,
            writer,
            rows: FxHashMap::default(),
            pending: FxHashMap::default(),
            flushed: Vec::new(),
            filling: Vec::new(),
            finished: Vec::new(),
            at,
            committed: 0,
            instead: None,
            month: None,
            bytes: 0,
            differences: 0,
        }
    }

    /// A stamp at a clock, or at the last one if that is later; its version is `least` or later than all before.
    pub fn stamp(&mut self, clock: Millis, least: u64) -> Stamp {
        self.meta.clock = self.meta.clock.max(clock.0);
        Stamp { clock: Millis(self.meta.clock), version: self.next_version(least) }
    }

    /// A stamp at a clock that has passed: for relations of which nothing later was recorded.
    pub fn stamp_of_past(&mut self, clock: Millis) -> Stamp {
        self.meta.clock = self.meta.clock.max(clock.0);
        Stamp { clock, version: self.next_version(0) }
    }

    fn next_version(&mut self, least: u64) -> u64 {
        self.meta.version = least.max(self.meta.version + 1);
        self.meta.version
    }

    fn instead_of(&mut self, stamp: Stamp) -> Stamp {
        let version = match self.instead {
            Some(version) => version,
            None => self.next_version(0),
        };
        self.instead = Some(version);
        Stamp { version, ..stamp }
    }

    /// The epoch at this time changed something.
    pub fn changed_at(&mut self, time: u64) {
        self.meta.last_time = self.meta.last_time.max(time);
    }

    /// How much it holds: bytes of blocks and of what waits.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        self.rows.len() + self.pending.len() + self.flushed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// How many differences were recorded, since the last call.
    pub fn take_differences(&mut self) -> u64 {
        std::mem::take(&mut self.differences)
    }

    /// Records that a row is now this one, if it was not.
    pub fn record(&mut self, relation: usize, key: &[u8], now: Option<&[u8]>, stamp: Stamp) -> Result<(), StoreError> {
        // An epoch that began before the last commit: its rows may be there at its version.
        let stamp = if stamp.version <= self.committed { self.instead_of(stamp) } else { stamp };
        if let Some(before) = self.rows.get(key) {
            // A second change at one version, which the present could not tell from the first.
            let stamp = match before.stamp.version >= stamp.version {
                true => Stamp { version: self.next_version(0), ..stamp },
                false => stamp,
            };
            let Some(mut before) = self.rows.remove(key) else { return Ok(()) };
            if before.is_there != now.is_some() || now.is_some_and(|now| now != before.values) {
                self.differ(relation, key, before.is_there.then_some(&before.values), now, stamp);
                before.is_there = now.is_some();
                before.stamp = stamp;
                if let Some(now) = now {
                    now.clone_into(&mut before.values);
                }
            }
            self.rows.insert(key.to_vec(), before);
            return Ok(());
        }
        let before = self.store.row(key)?;
        if before.as_deref() == now {
            return Ok(());
        }
        self.differ(relation, key, before.as_deref(), now, stamp);
        let values = now.or(before.as_deref()).unwrap_or_default().to_vec();
        self.bytes += key.len() + values.len() + 24;
        self.rows.insert(key.to_vec(), Touched { relation, values, is_there: now.is_some(), stamp });
        Ok(())
    }

    /// Appends the rows of a difference to the block that is being filled.
    fn differ(&mut self, relation: usize, key: &[u8], before: Option<&[u8]>, now: Option<&[u8]>, stamp: Stamp) {
        let month = self.month(stamp.clock);
        let place = self.filling.iter().position(|block| block.relation == relation && block.month == month);
        let place = place.unwrap_or_else(|| {
            let number = self.meta.next_block;
            self.meta.next_block += 1;
            self.filling.push(Filling { number, relation, month, rows: 0, body: Vec::new() });
            self.filling.len() - 1
        });
        let Some(block) = self.filling.get_mut(place) else { return };
        let size = block.body.len();
        for (values, diff) in [(before, -1_i8), (now, 1)] {
            let Some(values) = values else { continue };
            block.body.extend_from_slice(key.get(NUMBER_BYTES..).unwrap_or_default());
            block.body.extend_from_slice(values);
            block.body.extend_from_slice(&stamp.clock.0.to_le_bytes());
            block.body.extend_from_slice(&diff.to_le_bytes());
            block.body.extend_from_slice(&stamp.version.to_le_bytes());
            block.body.extend_from_slice(&self.writer);
            block.body.extend_from_slice(&block.number.to_le_bytes());
            block.rows += 1;
            self.differences += 1;
        }
        self.bytes += block.body.len() - size;
    }

    /// The partition of a clock.
    fn month(&mut self, clock: Millis) -> [u8; 7] {
        let day = clock.0.div_euclid(DAY_MS);
        if let Some((known, month)) = self.month
            && known == day
        {
            return month;
        }
        let text = clock.to_string();
        let month = text.as_bytes().first_chunk().copied().unwrap_or_default();
        self.month = Some((day, month));
        month
    }

    /// A row of a relation that is recorded once a day is this one.
    pub fn put_pending(&mut self, day: u32, key: Vec<u8>, now: Option<Vec<u8>>) {
        self.bytes += key.len() + now.as_ref().map_or(0, Vec::len);
        self.pending.insert((day, key), now);
    }

    /// What waits was recorded.
    pub fn flushed(&mut self, waiting: Vec<Waiting>) {
        self.flushed.extend(waiting);
    }

    /// A row as it is known here: what waits, the last day first, or what was recorded.
    pub fn known(&self, relation: usize, days: &[u32], key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let cadence = self.tables.relations.get(relation).map_or(Cadence::Changes, |relation| relation.cadence);
        if cadence == Cadence::Daily {
            for day in days.iter().rev() {
                if let Some(waiting) = self.pending.get(&(*day, key.to_vec())) {
                    return Ok(waiting.clone());
                }
                if let Some(waiting) = self.store.pending(*day, key)? {
                    return Ok(waiting.map(|row| row.to_vec()));
                }
            }
        }
        match self.rows.get(key) {
            Some(touched) => Ok(touched.is_there.then(|| touched.values.clone())),
            None => Ok(self.store.row(key)?.map(|row| row.to_vec())),
        }
    }

    /// What it is as of, to be changed before it is committed.
    pub fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }

    /// Writes everything: blocks, then rows with what the store is as of. After an error it can be tried again.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if self.finished.is_empty() {
            self.finished = self.blocks();
        }
        (self.at)("clickhouse.commit.before");
        let sizes = self.outbox.write(&self.finished)?;
        (self.at)("clickhouse.blocks.written");
        if !self.is_empty() {
            self.meta.is_new = false;
        }
        let mut batch = self.store.batch(self.rows() + 1);
        for (key, touched) in &self.rows {
            self.store.put_row(&mut batch, key, touched.is_there.then_some(&touched.values));
        }
        for waiting in &self.flushed {
            self.store.remove_pending(&mut batch, waiting);
        }
        for ((day, key), now) in &self.pending {
            self.store.put_pending(&mut batch, *day, key, now.as_deref());
        }
        self.store.commit(batch, self.meta.clone())?;
        self.outbox.publish(sizes);
        (self.at)("clickhouse.commit.after");
        self.finished.clear();
        self.rows.clear();
        self.pending.clear();
        self.flushed.clear();
        self.bytes = 0;
        (self.committed, self.instead) = (self.meta.version, None);
        Ok(())
    }

    /// Finished blocks: the differences, then the present of the rows that they are of.
    fn blocks(&mut self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for Filling { number, relation, rows, body, .. } in std::mem::take(&mut self.filling) {
            blocks.push(self.block(number, relation, TableKind::Changes, rows, body));
        }
        let mut present: Vec<(u64, Vec<u8>)> = Vec::new();
        present.resize_with(self.tables.relations.len(), Default::default);
        for (key, touched) in &self.rows {
            let Some((rows, body)) = present.get_mut(touched.relation) else { continue };
            *rows += 1;
            body.extend_from_slice(key.get(NUMBER_BYTES..).unwrap_or_default());
            body.extend_from_slice(&touched.values);
            body.extend_from_slice(&touched.stamp.clock.0.to_le_bytes());
            body.extend_from_slice(&touched.stamp.version.to_le_bytes());
            body.push(u8::from(!touched.is_there));
        }
        for (relation, (rows, body)) in present.into_iter().enumerate().filter(|(_, (rows, _))| *rows > 0) {
            let number = self.meta.next_block;
            self.meta.next_block += 1;
            blocks.push(self.block(number, relation, TableKind::Present, rows, body));
        }
        blocks
    }

    fn block(&self, number: u64, relation: usize, kind: TableKind, rows: u64, body: Vec<u8>) -> Block {
        let table = self.tables.of_relation(relation, kind);
        let columns = table.columns.iter().map(|column| column.name.clone()).collect();
        Block { number, table: table.name.clone(), columns, rows, body, token: String::new() }
    }
}

/// A day of UTC.
pub(crate) const DAY_MS: i64 = 86_400_000;

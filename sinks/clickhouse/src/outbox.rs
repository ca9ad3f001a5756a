//! The outbox: finished blocks that ClickHouse does not have yet, a file each. What is in a block, and how it is sent, is not
//! known here.
//!
//! Files and not rows of the local store: a block is written once, read once and removed, and its space is free then. Blocks are
//! handed to the disk before the store says that they exist ([`Outbox::write`], commit, [`Outbox::publish`]), and the store is
//! handed to the disk before a block leaves ([`Outbox::first`]): so whatever ClickHouse has got is remembered here, even if the
//! power fails, and a number is never given twice.

use crate::store::{Store, StoreError};
use crate::{Block, Uuid};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"aulablk1";
const SUFFIX: &str = ".block";

/// The sender's end of the local store. Cheap to clone; one sender at a time.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    store: Arc<Store>,
    state: Mutex<State>,
    /// Wakes who waits for a block, or for room.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    writer: Uuid,
    /// Numbers and sizes, in order.
    blocks: VecDeque<(u64, u64)>,
    bytes: u64,
    /// The number of the next block.
    next: u64,
    /// Blocks below this number may leave: the store that knows them is on the disk.
    durable: u64,
    /// Whoever waits for a block is to look at something else.
    woken: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    number: u64,
    table: String,
    columns: Vec<String>,
    rows: u64,
}

impl Outbox {
    /// Opens the folder. Blocks that the store does not know of are of a crash: they are removed.
    pub(crate) fn open(dir: &Path, store: &Arc<Store>) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io { path: dir.to_owned(), error };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let meta = store.meta();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|n| n.parse::<u64>().ok());
            let Some(number) = number else { continue };
            if number < meta.next_block && !meta.is_new {
                found.push((number, entry.metadata().map_err(failed)?.len()));
            } else {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        found.sort_unstable();
        let expected = meta.next_block.saturating_sub(found.len() as u64)..meta.next_block;
        if found.iter().map(|(number, _)| *number).ne(expected) {
            let what = "blocks are missing that were not sent".to_owned();
            return Err(StoreError::Damaged { path: dir.to_owned(), what });
        }
        let state = State {
            writer: meta.writer.parse().unwrap_or_default(),
            bytes: found.iter().map(|(_, bytes)| bytes).sum(),
            blocks: found.into(),
            next: meta.next_block,
            durable: meta.next_block,
            woken: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), store: Arc::clone(store), state, changed })))
    }

    /// The first block that was not sent; `None`: there is none. The same one until [`Outbox::done`].
    pub fn first(&self) -> Result<Option<Block>, StoreError> {
        let (number, next, durable) = {
            let state = self.0.state.lock();
            let Some((number, _)) = state.blocks.front() else { return Ok(None) };
            (*number, state.next, state.durable)
        };
        if number >= durable {
            self.0.store.sync()?;
            let mut state = self.0.state.lock();
            state.durable = state.durable.max(next);
        }
        self.read(number).map(Some)
    }

    /// ClickHouse has the block: it is removed.
    pub fn done(&self, number: u64) -> Result<(), StoreError> {
        let mut state = self.0.state.lock();
        if state.blocks.front().map(|(first, _)| *first) != Some(number) {
            return Ok(());
        }
        let path = self.0.path(number);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::Io { path, error }),
            Ok(()) | Err(_) => {}
        }
        let sent = state.blocks.pop_front();
        state.bytes -= sent.map_or(0, |(_, bytes)| bytes);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits until there is a block, for `timeout` at most; whether there is one.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |state| !state.blocks.is_empty())
    }

    /// The same, or until [`Outbox::wake`].
    pub(crate) fn wait_or_wake(&self, timeout: Duration) {
        self.wait_until(timeout, |state| state.woken || !state.blocks.is_empty());
    }

    /// Whoever waits for a block waits no longer: the sender is to end.
    pub(crate) fn wake(&self) {
        self.0.state.lock().woken = true;
        self.0.changed.notify_all();
    }

    /// Waits until everything is sent, for `timeout` at most; whether it is.
    pub fn wait_empty(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |state| state.blocks.is_empty())
    }

    /// Waits until there are fewer bytes than `limit`, for `timeout` at most; whether there are.
    pub(crate) fn wait_below(&self, limit: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |state| state.bytes < limit)
    }

    fn wait_until(&self, timeout: Duration, ready: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.state.lock();
        while !ready(&state) {
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                return ready(&state);
            }
        }
        true
    }

    /// Bytes that wait to be sent.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().bytes
    }

    /// Blocks that wait to be sent.
    pub fn blocks(&self) -> u64 {
        self.0.state.lock().blocks.len() as u64
    }

    /// Who writes the blocks: part of their tokens.
    pub fn writer(&self) -> Uuid {
        self.0.state.lock().writer
    }

    /// The number of the next block: every block of this writer that ClickHouse has is below it. Where it has another one, this
    /// folder is an old copy, and must be rebuilt.
    pub fn next_block(&self) -> u64 {
        self.0.state.lock().next
    }

    /// Writes blocks; nobody sees them yet. Answers their sizes.
    pub(crate) fn write(&self, blocks: &[Block]) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut sizes = Vec::with_capacity(blocks.len());
        for block in blocks {
            let path = self.0.path(block.number);
            let bytes = write_block(&path, block).map_err(|error| StoreError::Io { path, error })?;
            sizes.push((block.number, bytes));
        }
        if !blocks.is_empty() {
            let synced = File::open(&self.0.dir).and_then(|dir| dir.sync_all());
            synced.map_err(|error| StoreError::Io { path: self.0.dir.clone(), error })?;
        }
        Ok(sizes)
    }

    /// The store knows of these blocks now.
    pub(crate) fn publish(&self, sizes: Vec<(u64, u64)>) {
        let mut state = self.0.state.lock();
        for (number, bytes) in sizes {
            state.next = number + 1;
            state.bytes += bytes;
            state.blocks.push_back((number, bytes));
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Removes all blocks: those of a store that is made anew.
    pub(crate) fn reset(&self) -> Result<(), StoreError> {
        let meta = self.0.store.meta();
        let mut state = self.0.state.lock();
        while let Some((number, bytes)) = state.blocks.pop_front() {
            state.bytes -= bytes;
            let path = self.0.path(number);
            std::fs::remove_file(&path).map_err(|error| StoreError::Io { path, error })?;
        }
        state.writer = meta.writer.parse().unwrap_or_default();
        (state.next, state.durable) = (meta.next_block, meta.next_block);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }

    fn read(&self, number: u64) -> Result<Block, StoreError> {
        let path = self.0.path(number);
        let bytes = std::fs::read(&path).map_err(|error| StoreError::Io { path: path.clone(), error })?;
        let damaged = || StoreError::Damaged { path: self.0.dir.clone(), what: format!("block {number} is not whole") };
        let (sealed, checksum) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
        if xxh3_64(sealed) != u64::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        let rest = sealed.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (header, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
        let Header { number: own, table, columns, rows } = serde_json::from_slice(header).map_err(|_| damaged())?;
        if own != number {
            return Err(damaged());
        }
        let token = Block::token_of(self.writer(), number);
        Ok(Block { number, table, columns, rows, body: body.to_vec(), token })
    }
}

impl Inner {
    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}{SUFFIX}"))
    }
}

fn write_block(path: &Path, block: &Block) -> io::Result<u64> {
    let Block { number, table, columns, rows, body, .. } = block;
    let header = Header { number: *number, table: table.clone(), columns: columns.clone(), rows: *rows };
    let header = serde_json::to_vec(&header).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(body.len() + header.len() + 20);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(body);
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let mut file = File::create(path)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    Ok(bytes.len() as u64)
}

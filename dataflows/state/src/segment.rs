//! A segment: rows by key, ascending, each key once, in compressed blocks. Written once, never changed.
//!
//! Its bytes: blocks, then the index (postcard: each block's place and first key), then its length (u32), its xxh3 (u64)
//! and `AULASEGM`. A block: length before and after compression (u32 each), xxh3 of both and of what follows (u64), the
//! rows compressed by lz4. A row: the key's length, the key, 0 for a removal or 1 + the value's length, the value; lengths
//! are LEB128. The manifest knows the file's length and its xxh3. All numbers are little-endian.

use crate::disk::Disk;
use crate::error::StoreError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// A block is closed when its rows take so many bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes handed to the system at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes made durable at once while a long file is written, so that the log's syncs don't wait for all of it.
const SYNC_BYTES: u64 = 16 << 20;
/// Bytes read at once from each of the segments that are merged.
const READ_BYTES: usize = 128 << 10;

const MAGIC: &[u8; 8] = b"AULASEGM";
/// Two lengths and a checksum.
const BLOCK_FRAME: usize = 16;
/// A length, a checksum and the magic.
const TRAILER: usize = 20;

/// A segment of a checkpoint, as its manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Its number: no other segment of the folder ever had it.
    pub id: u64,
    /// The file's length.
    pub bytes: u64,
    /// Rows and removals.
    pub rows: u64,
    /// xxh3 of the file.
    pub checksum: u64,
    /// How often its oldest rows were merged; 255 for what holds all older rows.
    pub level: u8,
}

impl SegmentRef {
    /// Its file.
    pub fn name(&self) -> String {
        name(self.id)
    }
}

/// The name of a segment's file.
pub fn name(id: u64) -> String {
    format!("segment-{id:016}")
}

/// The number in a segment's name.
pub fn number(name: &str) -> Option<u64> {
    name.strip_prefix("segment-").filter(|digits| digits.len() == 16)?.parse().ok()
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Index {
    rows: u64,
    last_key: Vec<u8>,
    /// Where each block starts, and its first key.
    blocks: Vec<(u64, Vec<u8>)>,
}

/// Writes a segment.
pub struct SegmentWriter<'d> {
    disk: &'d Disk,
    name: String,
    id: u64,
    file: File,
    hash: Xxh3Default,
    /// Bytes before `out`, and those of them that are durable.
    written: u64,
    synced: u64,
    out: Vec<u8>,
    block: Vec<u8>,
    index: Index,
}

impl<'d> SegmentWriter<'d> {
    /// Begins one.
    pub fn new(disk: &'d Disk, id: u64) -> Result<Self, StoreError> {
        let name = name(id);
        let file = disk.create(&name)?;
        let index = Index { rows: 0, last_key: Vec::new(), blocks: Vec::new() };
        let (out, block) = (Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES), Vec::with_capacity(BLOCK_BYTES * 2));
        Ok(Self { disk, name, id, file, hash: Xxh3Default::new(), written: 0, synced: 0, out, block, index })
    }

    /// Adds a row, or a removal; keys must come in ascending order.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        if self.block.is_empty() {
            self.index.blocks.push((self.written + self.out.len() as u64, key.to_vec()));
        }
        put_length(&mut self.block, key.len());
        self.block.extend_from_slice(key);
        put_length(&mut self.block, value.map_or(0, |value| value.len() + 1));
        self.block.extend_from_slice(value.unwrap_or_default());
        self.index.rows += 1;
        self.index.last_key.clear();
        self.index.last_key.extend_from_slice(key);
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let start = self.out.len();
        let room = lz4_flex::block::get_maximum_output_size(self.block.len());
        self.out.resize(start + BLOCK_FRAME + room, 0);
        let stored = lz4_flex::block::compress_into(&self.block, &mut self.out[start + BLOCK_FRAME..])
            .map_err(|e| self.disk.failed(&self.name, std::io::Error::other(e)))?;
        self.out.truncate(start + BLOCK_FRAME + stored);
        let raw = u32::try_from(self.block.len());
        let raw = raw.map_err(|e| self.disk.failed(&self.name, std::io::Error::other(e)))?;
        let frame = &mut self.out[start..];
        frame[..4].copy_from_slice(&raw.to_le_bytes());
        frame[4..8].copy_from_slice(&(stored as u32).to_le_bytes());
        let checksum = block_checksum(&frame[..8], &frame[BLOCK_FRAME..]);
        frame[8..16].copy_from_slice(&checksum.to_le_bytes());
        self.block.clear();
        if self.out.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), StoreError> {
        let failed = |e| self.disk.failed(&self.name, e);
        self.file.write_all(&self.out).map_err(failed)?;
        self.hash.update(&self.out);
        self.written += self.out.len() as u64;
        self.out.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data().map_err(failed)?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Completes the file and makes it durable, but not its name; `steps` are passed before and after.
    pub fn finish(mut self, level: u8, steps: [&'static str; 2]) -> Result<SegmentRef, StoreError> {
        self.close_block()?;
        let index =
            postcard::to_stdvec(&self.index).unwrap_or_else(|e| panic!("numbers and bytes can always be encoded: {e}"));
        self.out.extend_from_slice(&index);
        let length = u32::try_from(index.len());
        let length = length.map_err(|e| self.disk.failed(&self.name, std::io::Error::other(e)))?;
        self.out.extend(length.to_le_bytes());
        self.out.extend(xxh3_64(&index).to_le_bytes());
        self.out.extend(MAGIC);
        self.write_out()?;
        self.disk.step(steps[0])?;
        self.file.sync_all().map_err(|e| self.disk.failed(&self.name, e))?;
        self.disk.step(steps[1])?;
        let (bytes, checksum) = (self.written, self.hash.digest());
        self.disk.read_back(&self.name, bytes, checksum)?;
        Ok(SegmentRef { id: self.id, bytes, rows: self.index.rows, checksum, level })
    }
}

/// Reads a segment's rows in order, from a key on.
pub struct SegmentReader {
    disk: Disk,
    name: String,
    file: BufReader<File>,
    /// Blocks left to read.
    left: usize,
    stored: Vec<u8>,
    block: Vec<u8>,
    /// Of the present row, in the block: where the key and the value are, and where the next row starts.
    key: (usize, usize),
    value: Option<(usize, usize)>,
    next: usize,
}

impl SegmentReader {
    /// Opens it and goes to its first row with a key of at least `from`; `None` if there is none.
    pub fn open(disk: &Disk, segment: &SegmentRef, from: &[u8]) -> Result<Option<Self>, StoreError> {
        let name = segment.name();
        let mut file = disk.open(&name)?;
        let index = read_index(disk, &name, &mut file)?;
        if index.last_key.as_slice() < from || index.blocks.is_empty() {
            return Ok(None);
        }
        let first = index.blocks.partition_point(|(_, key)| key.as_slice() <= from).saturating_sub(1);
        file.seek(SeekFrom::Start(index.blocks[first].0)).map_err(|e| disk.failed(&name, e))?;
        let mut reader = Self {
            disk: disk.clone(),
            name,
            file: BufReader::with_capacity(READ_BYTES, file),
            left: index.blocks.len() - first,
            stored: Vec::new(),
            block: Vec::new(),
            key: (0, 0),
            value: None,
            next: 0,
        };
        while reader.advance()? {
            if reader.key() >= from {
                return Ok(Some(reader));
            }
        }
        Ok(None)
    }

    /// The present row's key.
    pub fn key(&self) -> &[u8] {
        &self.block[self.key.0..self.key.1]
    }

    /// The present row's value; `None`: the row was removed.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.map(|(from, to)| &self.block[from..to])
    }

    /// Goes to the next row; false at the end.
    pub fn advance(&mut self) -> Result<bool, StoreError> {
        if self.next >= self.block.len() && !self.read_block()? {
            return Ok(false);
        }
        self.parse().ok_or_else(|| self.disk.damaged(&self.name, "a block's rows cannot be decoded"))?;
        Ok(true)
    }

    fn parse(&mut self) -> Option<()> {
        let mut at = self.next;
        let length = take_length(&self.block, &mut at)?;
        self.key = (at, at.checked_add(length)?);
        at = self.key.1;
        let length = take_length(&self.block, &mut at)?;
        self.value = match length.checked_sub(1) {
            Some(length) => Some((at, at.checked_add(length)?)),
            None => None,
        };
        self.next = self.value.map_or(at, |(_, to)| to);
        (self.next <= self.block.len()).then_some(())
    }

    fn read_block(&mut self) -> Result<bool, StoreError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        self.next = 0;
        let Self { disk, name, file, stored, block, .. } = self;
        let mut frame = [0; BLOCK_FRAME];
        file.read_exact(&mut frame).map_err(|e| disk.failed(name, e))?;
        let number = |at: usize| frame[at..at + 4].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
        let (raw, length) = (number(0), number(4));
        stored.clear();
        let read = file.by_ref().take(length as u64).read_to_end(stored).map_err(|e| disk.failed(name, e))?;
        if read < length || block_checksum(&frame[..8], stored).to_le_bytes() != frame[8..] {
            return Err(disk.damaged(name, "a block does not match its checksum"));
        }
        block.resize(raw, 0);
        match lz4_flex::block::decompress_into(stored, block) {
            Ok(found) if found == raw => Ok(true),
            Ok(_) | Err(_) => Err(disk.damaged(name, "a block cannot be decompressed")),
        }
    }
}

fn block_checksum(lengths: &[u8], stored: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(lengths);
    hash.update(stored);
    hash.digest()
}

fn read_index(disk: &Disk, name: &str, file: &mut File) -> Result<Index, StoreError> {
    let failed = |e| disk.failed(name, e);
    let damaged = || disk.damaged(name, "its index does not match its checksum");
    let length = file.metadata().map_err(failed)?.len();
    let trailer_at = length.checked_sub(TRAILER as u64).ok_or_else(damaged)?;
    let mut trailer = [0; TRAILER];
    file.seek(SeekFrom::Start(trailer_at)).and_then(|_| file.read_exact(&mut trailer)).map_err(failed)?;
    let bytes = trailer[..4].iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    let index_at = trailer_at.checked_sub(bytes).filter(|_| trailer[12..] == *MAGIC).ok_or_else(damaged)?;
    let mut index = vec![0; (trailer_at - index_at) as usize];
    file.seek(SeekFrom::Start(index_at)).and_then(|_| file.read_exact(&mut index)).map_err(failed)?;
    if xxh3_64(&index).to_le_bytes() != trailer[4..12] {
        return Err(damaged());
    }
    postcard::from_bytes(&index).map_err(|_| damaged())
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn take_length(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut length = 0;
    for shift in (0..).step_by(7).take_while(|shift| *shift < usize::BITS) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(length);
        }
    }
    None
}

//! A checkpoint's manifest: what it consists of, and the caller's note. It is written under another name and renamed once
//! it is whole and durable, so there is all of it or nothing.
//!
//! Its bytes: `AULACKPT`, the version of these files' layout and the caller's version of the rows (u32 each, little-endian),
//! the body (postcard), xxh3 of all before (u64). The first and the last stay where they are in every version, so that an
//! older program can tell a newer version from damage.

use crate::disk::Disk;
use crate::error::StoreError;
use crate::open::Refusal;
use crate::segment::SegmentRef;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::ops::RangeInclusive;
use xxhash_rust::xxh3::xxh3_64;

/// The version of what files look like.
pub const LAYOUT: u32 = 1;

const MAGIC: &[u8; 8] = b"AULACKPT";
/// Magic, two versions, checksum.
const FRAME_BYTES: usize = 24;

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Checkpoints are numbered upwards; numbers may be left out.
    pub number: u64,
    /// The caller's note.
    pub meta: Vec<u8>,
    /// Oldest first: a row of a later one is newer.
    pub segments: Vec<SegmentRef>,
}

/// The name of a checkpoint's manifest.
pub fn name(number: u64) -> String {
    format!("checkpoint-{number:016}")
}

/// The number in a manifest's name.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("checkpoint-").filter(|digits| digits.len() == 16)?;
    digits.parse().ok()
}

impl Manifest {
    /// As bytes; `format` is the caller's version of the rows.
    pub fn encode(&self, format: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(LAYOUT.to_le_bytes());
        bytes.extend(format.to_le_bytes());
        let mut bytes =
            postcard::to_extend(self, bytes).unwrap_or_else(|e| panic!("numbers and bytes can always be encoded: {e}"));
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// From bytes; `formats` are the versions of the rows that the caller reads.
    pub fn decode(bytes: &[u8], formats: RangeInclusive<u32>) -> Result<Self, Refusal> {
        let damaged = |why: &str| Refusal::Damaged(format!("the manifest {why}"));
        if bytes.len() < FRAME_BYTES {
            return Err(damaged("is cut short"));
        }
        let (rest, checksum) = bytes.split_at(bytes.len() - 8);
        if xxh3_64(rest).to_le_bytes() != checksum {
            return Err(damaged("does not match its checksum"));
        }
        let (magic, rest) = rest.split_at(8);
        if magic != MAGIC {
            return Err(damaged("is none"));
        }
        let (versions, body) = rest.split_at(8);
        let (layout, found) = versions.split_at(4);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
        match (number(layout), number(found)) {
            (LAYOUT, found) if formats.contains(&found) => {}
            (LAYOUT, found) => return Err(Refusal::Format { found, reads: *formats.end() }),
            (found, _) => return Err(Refusal::Layout { found, reads: LAYOUT }),
        }
        postcard::from_bytes(body).map_err(|_| damaged("cannot be decoded"))
    }

    /// Writes it, durably.
    pub fn write(&self, disk: &Disk, format: u32) -> Result<(), StoreError> {
        let (name, bytes) = (name(self.number), self.encode(format));
        let temporary = format!("{name}.tmp");
        let mut file = disk.create(&temporary)?;
        file.write_all(&bytes).map_err(|e| disk.failed(&temporary, e))?;
        disk.step("checkpoint.manifest.written")?;
        file.sync_all().map_err(|e| disk.failed(&temporary, e))?;
        disk.step("checkpoint.manifest.synced")?;
        disk.rename(&temporary, &name)?;
        disk.step("checkpoint.manifest.renamed")?;
        disk.sync_names()?;
        disk.read_back(&name, bytes.len() as u64, xxh3_64(&bytes))?;
        disk.step("checkpoint.manifest.durable")
    }
}

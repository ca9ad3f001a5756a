//! The disk that the instances write to: its limit, and how much is on it.

use crate::latencies::Latencies;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Instant;

/// Bytes written before each sync: a block, more than a small write of the log.
const BLOCK_BYTES: usize = 4096;

/// The name of the limit that durable writes are compared with.
pub const WRITE_AND_SYNC: &str = "write and sync";

/// What the disk allows: no durable write can be answered sooner than the first, and where a file grows with every write,
/// not sooner than the second.
pub fn limits(folder: &Path, count: usize) -> Result<[(&'static str, Latencies); 2]> {
    Ok([(WRITE_AND_SYNC, synced(folder, count, true)?), ("append and sync", synced(folder, count, false)?)])
}

/// Time to write a block and make it durable, again and again. With `in_place` the file has its blocks before, so that
/// a sync writes the block alone; otherwise it writes what the file system notes about the file's growth as well.
fn synced(folder: &Path, count: usize, in_place: bool) -> Result<Latencies> {
    let path = folder.join("synced");
    let mut file = File::create(&path).with_context(|| format!("cannot write to {}", folder.display()))?;
    if in_place {
        file.write_all(&vec![0; BLOCK_BYTES * count])?;
        file.sync_all()?;
        file.rewind()?;
    }
    let block = [b'x'; BLOCK_BYTES];
    let mut latencies = Latencies::default();
    for _ in 0..count {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.add(started.elapsed());
    }
    fs::remove_file(path)?;
    Ok(latencies)
}

/// Reads all files in a folder, one after the other; returns how many bytes they have.
pub fn read_all(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += read_all(&entry.path())?;
            continue;
        }
        let mut file = File::open(entry.path())?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => bytes += n as u64,
            }
        }
    }
    Ok(bytes)
}

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Bytes of all files in a folder, as they are allocated on the disk.
pub fn allocated(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            // A file may be removed while this looks.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

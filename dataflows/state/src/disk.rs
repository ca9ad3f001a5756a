//! A folder's files: made durable step by step, each step a place where a test can crash.

use crate::crash::crash_point;
use crate::error::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3Default;

/// Free space below which nothing is written.
pub const FREE_BYTES_MIN: u64 = 16 << 20;

/// Bytes read at once where a whole file is read.
const READ_BYTES: usize = 1 << 20;

/// What a test does at a step: an error stands for a crash there.
#[cfg(test)]
pub type Hook = Arc<dyn Fn(&'static str) -> io::Result<()> + Send + Sync>;

/// A folder.
#[derive(Clone)]
pub struct Disk {
    dir: Arc<PathBuf>,
    #[cfg(test)]
    pub hook: Option<Hook>,
}

impl Disk {
    /// A folder, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: Arc::new(dir.to_owned()),
            #[cfg(test)]
            hook: None,
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A durable step has been made, or is about to be.
    pub fn step(&self, name: &'static str) -> Result<(), StoreError> {
        crash_point(name);
        #[cfg(test)]
        if let Some(hook) = &self.hook {
            hook(name).map_err(|e| self.failed(name, e))?;
        }
        Ok(())
    }

    /// What went wrong with a file.
    pub fn failed(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path(name), source }
    }

    /// A file that does not hold what was written to it.
    pub fn damaged(&self, name: &str, why: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path(name), why: why.into() }
    }

    /// Makes the folder.
    pub fn make(&self) -> Result<(), StoreError> {
        std::fs::create_dir_all(&*self.dir).map_err(|e| self.failed("", e))?;
        match self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => File::open(parent).and_then(|f| f.sync_all()).map_err(|e| self.failed("..", e)),
            None => Ok(()),
        }
    }

    /// Takes the folder for this process, until the file is dropped.
    pub fn lock(&self) -> Result<File, StoreError> {
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(self.path("lock"));
        let file = open.map_err(|e| self.failed("lock", e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { dir: self.dir.to_path_buf() }),
            Err(TryLockError::Error(e)) => Err(self.failed("lock", e)),
        }
    }

    /// The files' names.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let entries = match std::fs::read_dir(&*self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.failed("", e)),
        };
        let name = |entry: io::Result<std::fs::DirEntry>| entry.map(|e| e.file_name().to_string_lossy().into_owned());
        entries.map(name).collect::<io::Result<_>>().map_err(|e| self.failed("", e))
    }

    /// A new, empty file.
    pub fn create(&self, name: &str) -> Result<File, StoreError> {
        File::create(self.path(name)).map_err(|e| self.failed(name, e))
    }

    /// A file that is there.
    pub fn open(&self, name: &str) -> Result<File, StoreError> {
        File::open(self.path(name)).map_err(|e| self.failed(name, e))
    }

    /// A file's length; `None` if it is not there.
    pub fn length(&self, name: &str) -> Option<u64> {
        std::fs::metadata(self.path(name)).ok().map(|m| m.len())
    }

    /// Makes names durable: of files that were made, renamed or removed.
    pub fn sync_names(&self) -> Result<(), StoreError> {
        File::open(&*self.dir).and_then(|f| f.sync_all()).map_err(|e| self.failed("", e))
    }

    /// Gives a file another name.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        std::fs::rename(self.path(from), self.path(to)).map_err(|e| self.failed(to, e))
    }

    /// Removes a file; one that is not there is removed already.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        match std::fs::remove_file(self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.failed(name, e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads a whole file in order; its length and checksum.
    pub fn checksum(&self, name: &str) -> Result<(u64, u64), StoreError> {
        let mut file = self.open(name)?;
        let mut buffer = vec![0; READ_BYTES];
        let (mut bytes, mut hash) = (0, Xxh3Default::new());
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok((bytes, hash.digest())),
                Ok(read) => {
                    bytes += read as u64;
                    hash.update(&buffer[..read]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(name, e)),
            }
        }
    }

    /// Reads a file back that was just written and synced, from the disk where the system allows, and compares.
    pub fn read_back(&self, name: &str, bytes: u64, checksum: u64) -> Result<(), StoreError> {
        let file = self.open(name)?;
        // Without it the answer comes from memory; a system that refuses is no reason to stop.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).ok();
        match self.checksum(name)? {
            found if found == (bytes, checksum) => Ok(()),
            (found, _) if found != bytes => {
                Err(self.damaged(name, format!("{found} of {bytes} bytes can be read back")))
            }
            _ => Err(self.damaged(name, "what is read back is not what was written")),
        }
    }

    /// Refuses to write where there is little room.
    pub fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        let needed = FREE_BYTES_MIN.saturating_add(bytes);
        let disk = rustix::fs::statvfs(&*self.dir).map_err(|e| self.failed("", e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < needed { Err(StoreError::NearlyFull { free, needed }) } else { Ok(()) }
    }
}

//! What can go wrong with a folder of checkpoints.

use crate::open::Refused;
use std::path::PathBuf;

/// What went wrong. A failed commit leaves the checkpoints before it usable, and may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file.
    #[error("the state cannot be read or written: {path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process works on the folder, or this one does already.
    #[error("the state in {dir} is in use by another process", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The disk is too full to write safely. Tried again later, it may work.
    #[error("the disk of the state is nearly full: {free} bytes are free, {needed} are needed; free some space")]
    NearlyFull {
        /// Free bytes.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// A file does not hold what was written to it.
    #[error("the state cannot be read: {path}: {why}; start again to go on from an older checkpoint", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There are checkpoints, and none of them can be used.
    #[error(
        "none of the checkpoints in {dir} can be used: {}. Bring a sound copy of the folder back, start the version that wrote \
         it, or move the folder away to rebuild the state from the log", refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), dir = dir.display()
    )]
    Unusable {
        /// The folder.
        dir: PathBuf,
        /// Why, by checkpoint, the newest first.
        refused: Vec<Refused>,
    },
    /// Merging segments is far behind. Tried again later, it may work.
    #[error("merging the state's segments is far behind ({segments} of them): the disk is too slow or too full for it")]
    Behind {
        /// How many there are.
        segments: usize,
    },
}

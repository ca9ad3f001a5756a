//! Checkpoints as files: rows of bytes by key, and a note of the caller's (`meta`) that is atomic with them.
//!
//! A commit writes the rows that changed as one segment, a file that never changes again, and then a manifest that names
//! all segments of the checkpoint. So a checkpoint costs what changed, several are kept by sharing segments, and one is
//! copied elsewhere file by file. What rows and note mean is the caller's business.
//!
//! A folder holds `checkpoint-N` (manifests), `segment-N`, `lock`, and `running` while somebody works on it.

mod compaction;
mod crash;
mod disk;
mod error;
mod manifest;
mod merge;
mod open;
mod segment;
mod store;
#[cfg(test)]
mod tests;

pub use crash::{CRASH_POINTS, crash_point};
pub use error::StoreError;
pub use merge::Rows;
pub use open::{Inspected, Options, Refusal, Refused};
pub use store::{Change, CheckpointInfo, CheckpointStore, Committed, FileInfo, Pinned, change_bytes, note_unclean};

use std::sync::Arc;

/// Tells the keys of rows that nobody needs any more: they are left out when segments are merged and when rows are read,
/// so nobody has to remove them one by one. What has expired must never be needed again.
pub type Expired = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Nothing expires.
pub fn never() -> Expired {
    Arc::new(|_| false)
}

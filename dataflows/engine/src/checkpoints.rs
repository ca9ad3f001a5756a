//! Checkpoints as files, for whoever copies them elsewhere.

use crate::StartError;
use crate::state::{StateStore, decode_covered};
pub use aulaflow_state::FileInfo as CheckpointFile;
use aulaflow_state::Pinned;
use std::path::Path;

/// An engine's checkpoints.
pub struct Checkpoints(pub(crate) StateStore);

/// A checkpoint whose files stay where they are while this exists. The folder is in use as long.
pub struct Checkpoint {
    pinned: Pinned,
    progress: Option<u64>,
}

impl Checkpoints {
    /// The newest one; `None` before the first.
    pub fn newest(&self) -> Option<Checkpoint> {
        let pinned = self.0.pin()?;
        let progress = decode_covered(pinned.meta()).ok().map(|covered| covered.progress());
        Some(Checkpoint { pinned, progress })
    }
}

impl Checkpoint {
    /// Its number in its folder.
    pub fn number(&self) -> u64 {
        self.pinned.number()
    }

    /// How far on the log it is: the sum of its offsets. Of two checkpoints of one share the one with more knows more.
    pub fn progress(&self) -> Option<u64> {
        self.progress
    }

    /// Its files; the last one makes the others a checkpoint.
    pub fn files(&self) -> &[CheckpointFile] {
        self.pinned.files()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.pinned.dir()
    }
}

/// Notes, durably, in a folder that a checkpoint was brought into: rows may have been shown elsewhere that it does not cover.
/// The start from it counts as one after a crash.
pub fn note_moved(state_dir: &Path) -> Result<(), StartError> {
    aulaflow_state::note_unclean(state_dir).map_err(|e| StartError::State(e.to_string()))
}

/// How far on the log the checkpoint in a folder is that a start would go on from; `None` where there is none.
pub fn progress(state_dir: &Path) -> Result<Option<u64>, StartError> {
    let covered = StateStore::inspect(state_dir).map_err(|e| StartError::State(e.to_string()))?;
    Ok(covered.map(|covered| covered.progress()))
}

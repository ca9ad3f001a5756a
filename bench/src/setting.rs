//! What a run was asked to do, and where it works.

use crate::{interrupt, procfs};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The product.
    pub binary: PathBuf,
    /// Where temporary folders are made.
    pub dir: PathBuf,
    /// The Open University dataset.
    pub oulad: PathBuf,
    /// Small sizes and short times, to see that everything works. Its numbers mean nothing.
    pub quick: bool,
    /// How often each measurement is repeated.
    pub runs: usize,
}

impl Setting {
    /// Makes sure that a run can start.
    pub fn check(&self) -> Result<()> {
        if !self.binary.is_file() {
            bail!(
                "{} is not there: build it with `cargo build --release -p aulaflow`, or name it with --binary",
                self.binary.display()
            );
        }
        let kind = procfs::file_system(&self.dir);
        if ["tmpfs", "ramfs"].contains(&kind.as_str()) {
            bail!(
                "{} is on {kind}, where a sync costs nothing: name a folder on a disk with --dir",
                self.dir.display()
            );
        }
        Ok(())
    }

    /// A temporary folder, removed with the value.
    pub fn folder(&self) -> Result<TempDir> {
        let made = tempfile::Builder::new().prefix("aulaflow-bench-").tempdir_in(&self.dir);
        let made = made.with_context(|| format!("cannot make a folder in {}", self.dir.display()))?;
        interrupt::made(made.path());
        Ok(made)
    }

    /// One of two sizes.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Tells how far a case is.
    pub fn progress(&self, case: &str, what: &str) {
        eprintln!("[{case}] {what}");
    }
}

/// The program beside this one.
pub fn default_binary() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new("")).join("aulaflow")
}

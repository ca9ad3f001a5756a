//! Copying checkpoints to the archive while engines run, and bringing the furthest one back before an engine starts.

use super::shares::Shares;
use crate::archive::{Archive, CopiedFile, Source};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use aulaflow_engine::Checkpoint;
use aulaflow_model::share::Share;
use aulaflow_plan::runtime;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The archive, as the engines of this process use it.
pub struct Archiving {
    archive: Archive,
    /// The last checkpoint of each share that was copied.
    copied: Mutex<BTreeMap<Share, u64>>,
    bytes: Counter,
    failures: Counter,
    /// When the last copy was made, Unix time.
    at: Gauge<f64, AtomicU64>,
}

/// The thread that copies every so often.
pub struct Copying {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Copying {
    /// Ends it, after the copy under way.
    pub fn stop(self) {
        drop(self.stop);
        // A copy that panicked has ended the process.
        let _ = self.thread.join();
    }
}

impl Archiving {
    /// Opens the archive. Registers its metrics.
    pub fn open(settings: &runtime::Archive, registry: &mut Registry) -> Result<Arc<Self>> {
        let archive = Archive::open(&settings.url).context("the archive of checkpoints cannot be used")?;
        let archiving = Self {
            archive,
            copied: Mutex::default(),
            bytes: Counter::default(),
            failures: Counter::default(),
            at: Gauge::default(),
        };
        registry.register("archive_bytes", "Bytes of checkpoints copied to the archive", archiving.bytes.clone());
        let failures = "Copies of checkpoints to the archive that failed; they are tried again";
        registry.register("archive_failures", failures, archiving.failures.clone());
        let at = "When a checkpoint was last copied to the archive (Unix time)";
        registry.register_with_unit("archive_copied_at", at, Unit::Seconds, archiving.at.clone());
        Ok(Arc::new(archiving))
    }

    /// Copies every share's newest checkpoint, now and then.
    pub fn start(self: &Arc<Self>, shares: &Arc<Shares>, every: Duration) -> Result<Copying> {
        let (stop, stopped) = channel();
        let (archiving, shares) = (Arc::clone(self), Arc::clone(shares));
        let thread = std::thread::Builder::new().name("aulaflow-archive".to_owned());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                for (share, checkpoint) in shares.checkpoints() {
                    archiving.copy_last(share, &checkpoint);
                }
            }
        })?;
        Ok(Copying { stop, thread })
    }

    /// Copies a checkpoint, unless it was copied before. A failure is told and counted: the one after it is tried.
    pub fn copy_last(&self, share: Share, checkpoint: &Checkpoint) {
        if self.copied.lock().get(&share) == Some(&checkpoint.number()) {
            return;
        }
        match self.copy(share, checkpoint) {
            Ok(bytes) => {
                self.bytes.inc_by(bytes);
                self.at.set(crate::tenant_records::now().0 as f64 / 1e3);
                self.copied.lock().insert(share, checkpoint.number());
                tracing::debug!(%share, number = checkpoint.number(), bytes, "a checkpoint was copied to the archive");
            }
            Err(error) => {
                self.failures.inc();
                tracing::warn!(%share, "a checkpoint could not be copied to the archive: {error:#}");
            }
        }
    }

    fn copy(&self, share: Share, checkpoint: &Checkpoint) -> Result<u64> {
        let file = |file: &aulaflow_engine::CheckpointFile| CopiedFile {
            name: file.name.clone(),
            bytes: file.bytes,
            checksum: file.checksum,
        };
        let source = Source {
            dir: checkpoint.dir(),
            number: checkpoint.number(),
            progress: checkpoint.progress().context("the checkpoint cannot be read")?,
            files: checkpoint.files().iter().map(file).collect(),
        };
        Ok(self.archive.copy(share, &source)?.bytes)
    }

    /// Before an engine starts: takes the archive's checkpoint where it is further than that of the folder.
    pub fn bring(&self, share: Share, state_dir: &Path) -> Result<()> {
        let here = aulaflow_engine::progress(state_dir).with_context(|| state_dir.display().to_string())?;
        let bar = OnceCell::new();
        let told = |done: u64, of: u64| {
            let (bar, before): &(Progress, Cell<u64>) = bar
                .get_or_init(|| (Progress::start("checkpoint from the archive", Some(of)).of("bytes"), Cell::new(0)));
            bar.advance(done - before.replace(done));
        };
        match self.archive.take(share, state_dir, here, &told) {
            Ok(Some(progress)) => tracing::info!(%share, progress, "the archive's checkpoint is gone on from"),
            Ok(None) => {}
            Err(error) if here.is_some() => {
                tracing::warn!(%share, "the archive cannot be read, going on from the checkpoint here: {error:#}");
            }
            Err(error) => bail!(
                "the archive cannot be read, and there is no checkpoint here: {error:#}. Mend the archive, or take \
                 `[archive]` out of the configuration to make the views from the log"
            ),
        }
        if let Some((bar, _)) = bar.get() {
            bar.finish();
        }
        Ok(())
    }
}

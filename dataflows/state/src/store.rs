//! A folder of checkpoints: committing one, keeping several, and what may be removed when.

use crate::compaction::{Compactor, Job, Outcome, plan};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::manifest::{self, Manifest};
use crate::merge::{Merge, Rows};
use crate::open::{self, Inspected, Options, Refused, survey};
use crate::segment::{self, SegmentRef, SegmentWriter};
use crate::{Expired, never};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Segments of a checkpoint at most: a commit that would add another one waits for a merge.
pub const SEGMENTS_MAX: usize = 96;
/// How long it waits.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A row to write, or to remove (`None`).
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The checkpoint's number.
    pub number: u64,
    /// Rows and removals written.
    pub rows: u64,
    /// Bytes written: one segment, one manifest.
    pub bytes: u64,
    /// Segments that the checkpoint has now.
    pub segments: usize,
    /// Bytes that merges wrote and that this checkpoint took over.
    pub compacted_bytes: u64,
    /// How long it waited, since there were too many segments.
    pub waited: Duration,
}

/// A checkpoint, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its number.
    pub number: u64,
    /// Rows and removals in its segments: as many as the rows that count, or more.
    pub rows: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// How many segments.
    pub segments: usize,
}

/// A file of a checkpoint. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its xxh3 (64 bits).
    pub checksum: u64,
}

/// A folder of checkpoints, open in this process alone. A cheap handle.
#[derive(Clone)]
pub struct CheckpointStore(Arc<Inner>);

struct Inner {
    disk: Disk,
    options: Options,
    /// Held by one commit at a time.
    committing: Mutex<()>,
    state: Mutex<State>,
    compactor: Compactor,
    _lock: File,
}

struct State {
    /// The rows that the next checkpoint builds on, oldest first: those of the last one, some of them merged since.
    segments: Vec<SegmentRef>,
    /// Checkpoints, the newest last.
    kept: VecDeque<Manifest>,
    /// Written for the next checkpoint, oldest first.
    staged: Vec<SegmentRef>,
    /// Numbers of checkpoints that cannot be used. While there is one, no file is removed that it may need.
    refused: BTreeSet<u64>,
    next_number: u64,
    next_segment: u64,
    /// The number of the segment that a merge is making.
    merging: Option<u64>,
    /// Bytes that merges wrote since the last checkpoint.
    merged_bytes: u64,
    /// Files that somebody copies, by who does.
    pins: BTreeMap<u64, BTreeSet<String>>,
    next_pin: u64,
}

impl CheckpointStore {
    /// Opens or creates a folder, and tells which checkpoints it cannot use. It goes on from the newest that it can;
    /// an error, if there are some and it can use none.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Vec<Refused>), StoreError> {
        Self::open_on(Disk::new(dir), options)
    }

    pub(crate) fn open_on(disk: Disk, options: Options) -> Result<(Self, Vec<Refused>), StoreError> {
        disk.make()?;
        let lock = disk.lock()?;
        let mut survey = survey(&disk, options)?;
        survey.usable.drain(..survey.usable.len().saturating_sub(options.kept.max(1)));
        let state = State {
            segments: survey.usable.last().map(|newest| newest.segments.clone()).unwrap_or_default(),
            kept: survey.usable.into(),
            staged: Vec::new(),
            refused: survey.refused.iter().map(|refused| refused.number).collect(),
            next_number: survey.next_number,
            next_segment: survey.next_segment,
            merging: None,
            merged_bytes: 0,
            pins: BTreeMap::new(),
            next_pin: 0,
        };
        let compactor = Compactor::start(disk.clone())?;
        let (committing, state) = (Mutex::default(), Mutex::new(state));
        let inner = Inner { disk, options, committing, state, compactor, _lock: lock };
        inner.remove_unneeded();
        Ok((Self(Arc::new(inner)), survey.refused))
    }

    /// Looks at a folder without changing it: which checkpoint a start would go on from.
    pub fn inspect(dir: &Path, options: Options) -> Result<Inspected, StoreError> {
        open::inspect(dir, options)
    }

    /// Whether a folder is one of checkpoints, even if there is none in it yet.
    pub fn is_there(dir: &Path) -> bool {
        let ours = |name: &String| name == "lock" || manifest::number(name).is_some();
        Disk::new(dir).names().is_ok_and(|names| names.iter().any(ours))
    }

    /// The note of the newest checkpoint; `None` before the first one.
    pub fn meta(&self) -> Option<Vec<u8>> {
        self.0.state.lock().kept.back().map(|newest| newest.meta.clone())
    }

    /// The rows whose keys begin alike, without those that have expired, in the order of their keys.
    pub fn rows(&self, prefix: &[u8], expired: &Expired) -> Result<Rows, StoreError> {
        let segments = self.0.state.lock().segments.clone();
        Ok(Rows::new(Merge::new(&self.0.disk, &segments, prefix, expired.clone())?, prefix))
    }

    /// Writes changes of the next checkpoint before it is made, so that they need not all be in memory; those of its
    /// [`CheckpointStore::commit`] come after them. Without a commit they are nothing. After an error none of them is taken;
    /// one is where there are too many segments: only a commit, which takes what was staged, lets them be merged.
    pub fn stage(&self, changes: &mut [Change]) -> Result<(), StoreError> {
        let inner = &*self.0;
        let _alone = inner.committing.lock();
        let segments = {
            let state = inner.state.lock();
            state.segments.len() + state.staged.len()
        };
        if segments >= SEGMENTS_MAX {
            return Err(StoreError::Behind { segments });
        }
        inner.disk.check_space(change_bytes(changes))?;
        let (_, id) = inner.numbers();
        match inner.write_segment(changes, id) {
            Ok(segment) => {
                inner.state.lock().staged.push(segment);
                Ok(())
            }
            Err(error) => {
                // What cannot be removed now, is by a later commit.
                inner.disk.remove(&segment::name(id)).ok();
                Err(error)
            }
        }
    }

    /// Writes a checkpoint: the one before with what was staged and these changes (sorted here; of a key the last one
    /// counts), and a note. All or nothing, durably: when it returns, the new files have been read back, and only then older ones are removed.
    /// What has expired is left out by later merges.
    pub fn commit(&self, changes: &mut [Change], meta: &[u8], expired: &Expired) -> Result<Committed, StoreError> {
        let inner = &*self.0;
        let _alone = inner.committing.lock();
        let waited = inner.make_room(expired)?;
        inner.disk.check_space(change_bytes(changes) + meta.len() as u64)?;
        inner.disk.step("checkpoint.begin")?;
        // A number is given once, so that a file of a failed try is never taken for another's.
        let (number, id) = inner.numbers();
        let written = inner.write(changes, number, id, meta);
        if written.is_err() && inner.disk.step("checkpoint.remove").is_ok() {
            // What cannot be removed now, is by a later commit.
            inner.disk.remove(&manifest::name(number)).ok();
            inner.disk.remove(&segment::name(id)).ok();
        }
        let (manifest, old) = written?;
        let new = &manifest.segments[old..];
        let rows = new.iter().map(|segment| segment.rows).sum();
        let bytes =
            new.iter().map(|segment| segment.bytes).sum::<u64>() + manifest.encode(inner.options.format).len() as u64;
        let segments = manifest.segments.len();
        let compacted_bytes = inner.keep(manifest);
        inner.remove_unneeded();
        inner.begin_merge(expired);
        Ok(Committed { number, rows, bytes, segments, compacted_bytes, waited })
    }

    /// The checkpoints that are kept, the newest last.
    pub fn checkpoints(&self) -> Vec<CheckpointInfo> {
        let info = |manifest: &Manifest| CheckpointInfo {
            number: manifest.number,
            rows: manifest.segments.iter().map(|segment| segment.rows).sum(),
            bytes: manifest.segments.iter().map(|segment| segment.bytes).sum(),
            segments: manifest.segments.len(),
        };
        self.0.state.lock().kept.iter().map(info).collect()
    }

    /// The files of a checkpoint, its manifest last; `None` if it is not kept. They may be removed at any time: see
    /// [`CheckpointStore::pin`].
    pub fn files(&self, number: u64) -> Option<Vec<FileInfo>> {
        let state = self.0.state.lock();
        state.kept.iter().find(|manifest| manifest.number == number).map(|manifest| self.0.files(manifest))
    }

    /// The newest checkpoint, whose files are not removed before this is dropped; `None` before the first one.
    pub fn pin(&self) -> Option<Pinned> {
        let mut state = self.0.state.lock();
        let newest = state.kept.back()?;
        let (number, files, meta) = (newest.number, self.0.files(newest), newest.meta.clone());
        let pin = state.next_pin;
        state.next_pin += 1;
        state.pins.insert(pin, files.iter().map(|file| file.name.clone()).collect());
        drop(state);
        Some(Pinned { store: self.clone(), pin, number, files, meta })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.0.disk.dir()
    }

    /// Notes, durably, whether somebody works on the rows. Returns what was noted before: `true` at a start means that
    /// the last one ended without saying so.
    pub fn note_running(&self, running: bool) -> Result<bool, StoreError> {
        let disk = &self.0.disk;
        let before = disk.length("running").is_some();
        match (before, running) {
            (false, true) => {
                create_running(disk)?;
            }
            (true, false) => disk.remove("running")?,
            (true, true) | (false, false) => return Ok(before),
        }
        disk.sync_names()?;
        disk.step("running.noted")?;
        Ok(before)
    }

    /// Waits until nothing is left to merge, and takes over what was merged; ends at a merge that fails.
    pub fn wait_for_merges(&self) {
        let _alone = self.0.committing.lock();
        while self.0.state.lock().merging.is_some() {
            let before = self.0.state.lock().segments.len();
            let result = self.0.take_over(WAIT_MAX);
            if result.is_err() || self.0.state.lock().segments.len() == before {
                return;
            }
            self.0.begin_merge(&never());
        }
    }
}

/// Bytes of keys and rows.
pub fn change_bytes(changes: &[Change]) -> u64 {
    changes.iter().map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64).sum()
}

/// Notes in a folder, as [`CheckpointStore::note_running`] does, that somebody worked on its rows and did not say that it
/// ended: for files that were brought there. Nobody may have the folder open.
pub fn note_unclean(dir: &Path) -> Result<(), StoreError> {
    let disk = Disk::new(dir);
    create_running(&disk)?;
    disk.sync_names()
}

fn create_running(disk: &Disk) -> Result<(), StoreError> {
    let file = disk.create("running")?;
    file.sync_all().map_err(|e| disk.failed("running", e))
}

/// A checkpoint whose files stay while this exists, to copy them.
pub struct Pinned {
    store: CheckpointStore,
    pin: u64,
    number: u64,
    files: Vec<FileInfo>,
    meta: Vec<u8>,
}

impl Pinned {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its note.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Its files, its manifest last: a copy is a checkpoint once the manifest is there.
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// The folder that they are in.
    pub fn dir(&self) -> &Path {
        self.store.dir()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The next commit removes what is not needed any more.
        self.store.0.state.lock().pins.remove(&self.pin);
    }
}

impl Inner {
    fn numbers(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        let numbers = (state.next_number, state.next_segment);
        state.next_number += 1;
        state.next_segment += 1;
        numbers
    }

    /// Takes over what was merged. Where there are too many segments still, waits for a merge.
    fn make_room(&self, expired: &Expired) -> Result<Duration, StoreError> {
        self.take_over(Duration::ZERO)?;
        if self.state.lock().segments.len() < SEGMENTS_MAX {
            return Ok(Duration::ZERO);
        }
        let begun = Instant::now();
        tracing::warn!("a checkpoint waits: merging the state's segments is far behind");
        self.begin_merge(expired);
        self.take_over(WAIT_MAX)?;
        match self.state.lock().segments.len() {
            segments if segments < SEGMENTS_MAX => Ok(begun.elapsed()),
            segments => Err(StoreError::Behind { segments }),
        }
    }

    /// Puts the result of a merge in the place of what was merged. An error only where there is no room left for another
    /// segment, else the merge is tried again later.
    fn take_over(&self, wait: Duration) -> Result<(), StoreError> {
        if self.state.lock().merging.is_none() {
            return Ok(());
        }
        let Some(Outcome { inputs, result }) = self.compactor.outcome(wait) else { return Ok(()) };
        let mut state = self.state.lock();
        state.merging = None;
        let output = match result {
            Ok(output) => output,
            Err(error) if state.segments.len() < SEGMENTS_MAX => {
                tracing::warn!(%error, "segments of the state could not be merged; it is tried again");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let at = state.segments.iter().position(|segment| inputs.first() == Some(&segment.id)).unwrap_or(0);
        state.merged_bytes += output.as_ref().map_or(0, |segment| segment.bytes);
        state.segments.splice(at..at + inputs.len(), output);
        Ok(())
    }

    fn begin_merge(&self, expired: &Expired) {
        let mut state = self.state.lock();
        if state.merging.is_some() {
            return;
        }
        let Some((range, level)) = plan(&state.segments) else { return };
        let id = state.next_segment;
        let bottom = range.start == 0;
        let segments = state.segments[range].to_vec();
        if self.compactor.begin(Job { segments, id, level, bottom, expired: expired.clone() }) {
            state.next_segment += 1;
            state.merging = Some(id);
        }
    }

    /// Writes a checkpoint's files; its manifest, and how many of its segments are old: the first ones.
    fn write(
        &self,
        changes: &mut [Change],
        number: u64,
        id: u64,
        meta: &[u8],
    ) -> Result<(Manifest, usize), StoreError> {
        let (mut segments, staged) = {
            let state = self.state.lock();
            (state.segments.clone(), state.staged.clone())
        };
        let old = segments.len();
        segments.extend(staged);
        if !changes.is_empty() {
            segments.push(self.write_segment(changes, id)?);
        }
        let manifest = Manifest { number, meta: meta.to_vec(), segments };
        manifest.write(&self.disk, self.options.format)?;
        Ok((manifest, old))
    }

    fn write_segment(&self, changes: &mut [Change], id: u64) -> Result<SegmentRef, StoreError> {
        // Stable: of a key's changes the last one counts.
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut writer = SegmentWriter::new(&self.disk, id)?;
        for (at, (key, value)) in changes.iter().enumerate() {
            if changes.get(at + 1).is_none_or(|(next, _)| next != key) {
                writer.push(key, value.as_deref())?;
            }
        }
        let segment = writer.finish(0, ["checkpoint.segment.written", "checkpoint.segment.synced"])?;
        // A manifest must not be there before what it names.
        self.disk.sync_names()?;
        self.disk.step("checkpoint.segment.durable")?;
        Ok(segment)
    }

    /// Makes a checkpoint the newest; the bytes that merges wrote for it.
    fn keep(&self, manifest: Manifest) -> u64 {
        let mut state = self.state.lock();
        state.segments.clone_from(&manifest.segments);
        state.staged.clear();
        state.kept.push_back(manifest);
        while state.kept.len() > self.options.kept.max(1) {
            state.kept.pop_front();
        }
        // Once as many new ones are there as are kept, nobody goes back to one that could not be used.
        if state.kept.len() >= self.options.kept {
            let oldest = state.kept.front().map_or(0, |manifest| manifest.number);
            state.refused.retain(|number| *number >= oldest);
        }
        std::mem::take(&mut state.merged_bytes)
    }

    /// Removes files that no checkpoint which is kept names, except what is being copied or made.
    fn remove_unneeded(&self) {
        let unneeded = self.disk.names().map(|names| self.unneeded(names));
        let removed = unneeded.and_then(|names| {
            if names.is_empty() {
                return Ok(());
            }
            self.disk.step("checkpoint.remove")?;
            names.iter().try_for_each(|name| self.disk.remove(name))?;
            self.disk.step("checkpoint.removed")
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "files of older checkpoints could not be removed; it is tried again");
        }
    }

    fn unneeded(&self, names: Vec<String>) -> Vec<String> {
        let state = self.state.lock();
        let named = state.kept.iter().flat_map(|manifest| &manifest.segments);
        let needed: BTreeSet<u64> =
            named.chain(&state.segments).chain(&state.staged).map(|segment| segment.id).chain(state.merging).collect();
        let manifests: BTreeSet<u64> =
            state.kept.iter().map(|manifest| manifest.number).chain(state.refused.iter().copied()).collect();
        let pinned = |name: &String| state.pins.values().any(|files| files.contains(name));
        let mut unneeded: Vec<_> = names
            .into_iter()
            .filter(|name| {
                let old_segment = segment::number(name).is_some_and(|id| !needed.contains(&id));
                let old_manifest = manifest::number(name).is_some_and(|number| !manifests.contains(&number));
                let unfinished = name.starts_with("checkpoint-") && name.ends_with(".tmp");
                (old_manifest || unfinished || old_segment && state.refused.is_empty()) && !pinned(name)
            })
            .collect();
        // Manifests before what they name.
        unneeded.sort();
        unneeded
    }

    fn files(&self, manifest: &Manifest) -> Vec<FileInfo> {
        let of_segment =
            |segment: &SegmentRef| FileInfo { name: segment.name(), bytes: segment.bytes, checksum: segment.checksum };
        let bytes = manifest.encode(self.options.format);
        let own =
            FileInfo { name: manifest::name(manifest.number), bytes: bytes.len() as u64, checksum: xxh3_64(&bytes) };
        manifest.segments.iter().map(of_segment).chain([own]).collect()
    }
}

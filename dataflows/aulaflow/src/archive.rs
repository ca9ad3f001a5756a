//! Copies of checkpoints in an object store, so that a share of the partitions can go on in another machine. What a
//! checkpoint holds is not known here: its files never change, and a manifest names them.
//!
//! Layout, per share: `SHARE/files/CHECKSUM-NAME` are files of checkpoints; `SHARE/checkpoints/PROGRESS-NUMBER-ORIGIN`
//! names the files of one. Progress says how far on the log a checkpoint is: of all checkpoints of a share the one that is
//! furthest is right to go on from, whoever wrote it, since each is a function of the log. So a process that has lost a
//! share without knowing can do no harm here.

use anyhow::{Context, Result, bail, ensure};
use aulaflow_model::share::Share;
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use xxhash_rust::xxh3::Xxh3;

/// Copied checkpoints that are kept, per share.
const KEPT: usize = 3;
/// A file that no kept checkpoint names is removed once it is this old: it may belong to a copy under way.
const GRACE: Duration = Duration::from_secs(3_600);
/// Bytes read, sent and received at once.
const PART: usize = 8 << 20;
/// Parts under way at once.
const PARTS: usize = 4;
/// How long one call may take, with all of its retries.
pub const CALL_MAX: Duration = Duration::from_secs(120);

/// An object store with copies of checkpoints.
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    /// Tells copies of this process from others' with the same number.
    origin: String,
    runtime: Runtime,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFile {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its xxh3 (64 bits).
    pub checksum: u64,
}

/// A checkpoint to copy, whose files stay where they are meanwhile.
pub struct Source<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// Its number there.
    pub number: u64,
    /// How far on the log it is.
    pub progress: u64,
    /// Its files; the last one makes the others a checkpoint.
    pub files: Vec<CopiedFile>,
}

/// What a copy took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Files that were not there yet.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A copied checkpoint.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    files: Vec<CopiedFile>,
}

/// The version of [`Manifest`].
const FORMAT: u32 = 1;

impl Archive {
    /// Opens the store at a URL: `file:///folder`, or `s3://bucket/folder` with the usual `AWS_…` variables for keys,
    /// region and endpoint.
    pub fn open(url: &str) -> Result<Self> {
        let (store, prefix) = store_at(url)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aulaflow-archive")
            .enable_all()
            .build()?;
        let origin = format!("{:x}-{:x}", std::process::id(), crate::tenant_records::now().0);
        Ok(Self { store, prefix, origin, runtime })
    }

    /// Copies what is not there yet, then removes what is old.
    pub fn copy(&self, share: Share, source: &Source<'_>) -> Result<Copied> {
        self.runtime.block_on(async {
            let there = self.names(&self.folder(share, "files")).await?;
            let mut copied = Copied::default();
            for file in source.files.iter().filter(|file| !there.contains(&object_name(file))) {
                let key = self.folder(share, "files").join(object_name(file));
                self.upload(&source.dir.join(&file.name), &key, file).await?;
                copied.files += 1;
                copied.bytes += file.bytes;
            }
            let manifest = serde_json::to_vec(&Manifest { format: FORMAT, files: source.files.clone() })?;
            let name = format!("{:020}-{:012}-{}", source.progress, source.number, self.origin);
            let key = self.folder(share, "checkpoints").join(name);
            within(self.store.put(&key, manifest.into())).await?;
            self.remove_old(share).await?;
            Ok(copied)
        })
    }

    /// Takes the checkpoint that is furthest, if it is further than `than`, into a folder that replaces `dir`. One that is
    /// not whole is left for the next one. Returns its progress. `told` is told how many bytes of how many have come.
    pub fn take(&self, share: Share, dir: &Path, than: Option<u64>, told: &dyn Fn(u64, u64)) -> Result<Option<u64>> {
        self.runtime.block_on(async {
            let mut names: Vec<String> = self.names(&self.folder(share, "checkpoints")).await?.into_iter().collect();
            while let Some(name) = names.pop() {
                let progress = name.split('-').next().and_then(|digits| digits.parse::<u64>().ok());
                let Some(progress) = progress.filter(|progress| than.is_none_or(|than| *progress > than)) else {
                    continue;
                };
                match self.take_one(share, &name, dir, told).await {
                    Ok(()) => return Ok(Some(progress)),
                    Err(error) => {
                        tracing::warn!(%share, name, "a copied checkpoint cannot be used: {error:#}");
                    }
                }
            }
            Ok(None)
        })
    }

    async fn take_one(&self, share: Share, name: &str, dir: &Path, told: &dyn Fn(u64, u64)) -> Result<()> {
        let manifest = within(self.store.get(&self.folder(share, "checkpoints").join(name.to_owned()))).await?;
        let manifest: Manifest = serde_json::from_slice(&within(manifest.bytes()).await?)?;
        ensure!(manifest.format == FORMAT, "its format is {}, and this version reads {FORMAT}", manifest.format);
        let incoming = beside(dir, "incoming");
        remove_dir(&incoming)?;
        std::fs::create_dir_all(&incoming)?;
        let total = manifest.files.iter().map(|file| file.bytes).sum();
        let mut done = 0;
        for file in &manifest.files {
            ensure!(is_plain(&file.name), "a file has the name {:?}", file.name);
            let key = self.folder(share, "files").join(object_name(file));
            self.download(&key, &incoming.join(&file.name), file).await?;
            done += file.bytes;
            told(done, total);
        }
        aulaflow_engine::note_moved(&incoming)?;
        std::fs::File::open(&incoming)?.sync_all()?;
        let replaced = beside(dir, "replaced");
        remove_dir(&replaced)?;
        if dir.exists() {
            std::fs::rename(dir, &replaced)?;
        }
        std::fs::rename(&incoming, dir)?;
        remove_dir(&replaced)
    }

    async fn upload(&self, from: &Path, to: &Key, file: &CopiedFile) -> Result<()> {
        let mut source = std::fs::File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
        let upload = within(self.store.put_multipart(to)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut buffer = vec![0; PART];
        let mut hash = Xxh3::new();
        let mut left = file.bytes;
        while left > 0 {
            let part = &mut buffer[..PART.min(usize::try_from(left).unwrap_or(PART))];
            if let Err(error) = source.read_exact(part) {
                upload.abort().await?;
                return Err(error).with_context(|| format!("cannot read {}", from.display()));
            }
            hash.update(part);
            left -= part.len() as u64;
            within(upload.wait_for_capacity(PARTS)).await?;
            upload.write(part);
        }
        if hash.digest() != file.checksum {
            upload.abort().await?;
            bail!("{} does not match its checksum", from.display());
        }
        within(upload.finish()).await?;
        Ok(())
    }

    async fn download(&self, from: &Key, to: &Path, file: &CopiedFile) -> Result<()> {
        let mut target = std::fs::File::create_new(to)?;
        let mut parts = within(self.store.get(from)).await?.into_stream();
        let (mut hash, mut bytes) = (Xxh3::new(), 0);
        while let Some(part) = within(parts.try_next()).await? {
            hash.update(&part);
            bytes += part.len() as u64;
            target.write_all(&part)?;
        }
        ensure!(bytes == file.bytes && hash.digest() == file.checksum, "{from} is not what it was when it was copied");
        target.sync_all()?;
        Ok(())
    }

    /// Removes older checkpoints than those kept, and files that none of those names.
    async fn remove_old(&self, share: Share) -> Result<()> {
        let mut names: Vec<String> = self.names(&self.folder(share, "checkpoints")).await?.into_iter().collect();
        let kept = names.split_off(names.len().saturating_sub(KEPT));
        for old in names {
            within(self.store.delete(&self.folder(share, "checkpoints").join(old))).await?;
        }
        let mut needed = BTreeSet::new();
        for name in kept {
            let manifest = within(self.store.get(&self.folder(share, "checkpoints").join(name))).await?;
            let manifest: Manifest = serde_json::from_slice(&within(manifest.bytes()).await?)?;
            needed.extend(manifest.files.iter().map(object_name));
        }
        let now = crate::tenant_records::now().0;
        for object in self.objects(&self.folder(share, "files")).await? {
            let age_ms = u128::try_from(now - object.last_modified.timestamp_millis()).unwrap_or(0);
            let is_needed = object.location.filename().is_none_or(|name| needed.contains(name));
            if !is_needed && age_ms > GRACE.as_millis() {
                within(self.store.delete(&object.location)).await?;
            }
        }
        Ok(())
    }

    fn folder(&self, share: Share, what: &'static str) -> Key {
        self.prefix.clone().join(share.to_string()).join(what)
    }

    async fn objects(&self, folder: &Key) -> Result<Vec<ObjectMeta>> {
        within(self.store.list(Some(folder)).try_collect()).await
    }

    /// The names in a folder, in order.
    async fn names(&self, folder: &Key) -> Result<BTreeSet<String>> {
        let objects = self.objects(folder).await?;
        Ok(objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }
}

/// The object store at a URL, and the folder in it.
pub fn store_at(url: &str) -> Result<(Arc<dyn ObjectStore>, Key)> {
    let parsed = reqwest::Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
    if parsed.scheme() == "file"
        && let Ok(folder) = parsed.to_file_path()
    {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let variables = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
    let options = variables.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let (store, prefix) =
        object_store::parse_url_opts(&parsed, options).with_context(|| format!("{url:?} cannot be used"))?;
    Ok((Arc::from(store), prefix))
}

/// A file's name in the object store: two processes may write different files of one name.
fn object_name(file: &CopiedFile) -> String {
    format!("{:016x}-{}", file.checksum, file.name)
}

/// A name that stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        || name.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    dir.with_file_name(name)
}

fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", dir.display())),
    }
}

/// Bounds a call.
pub async fn within<T>(call: impl Future<Output = object_store::Result<T>>) -> Result<T> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => bail!("the object store did not answer in {} s", CALL_MAX.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A folder with some files, as a checkpoint would be.
    fn source(dir: &Path, contents: &[(&str, &[u8])]) -> Vec<CopiedFile> {
        std::fs::create_dir_all(dir).unwrap();
        let file = |(name, bytes): &(&str, &[u8])| {
            std::fs::write(dir.join(name), bytes).unwrap();
            let checksum = xxhash_rust::xxh3::xxh3_64(bytes);
            CopiedFile { name: (*name).to_owned(), bytes: bytes.len() as u64, checksum }
        };
        contents.iter().map(file).collect()
    }

    fn archive(folder: &Path) -> Archive {
        Archive::open(&format!("file://{}", folder.display())).unwrap()
    }

    fn quiet(_: u64, _: u64) {}

    #[test]
    fn the_furthest_whole_checkpoint_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let remote = folder.path().join("remote");
        follow_a_share(&archive(&remote), folder.path(), |name| {
            std::fs::write(remote.join("3/files").join(name), b"mOre").unwrap();
        });
    }

    /// The same in an S3 store: `AULAFLOW_S3` is a folder there that nobody else uses (`.ci/test` starts a server).
    #[test]
    fn the_furthest_whole_checkpoint_is_taken_from_s3() {
        let Ok(url) = std::env::var("AULAFLOW_S3") else {
            println!("SKIPPED: AULAFLOW_S3 names no S3 store");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&url).unwrap();
        follow_a_share(&archive, folder.path(), |name| {
            let key = archive.folder(Share::Partition(3), "files").join(name.to_owned());
            archive.runtime.block_on(archive.store.put(&key, b"mOre".to_vec().into())).unwrap();
        });
    }

    /// Two checkpoints of a share, and somebody who takes them. `damage` overwrites a file of the second.
    fn follow_a_share(archive: &Archive, folder: &Path, damage: impl Fn(&str)) {
        let local = folder.join("here");
        let share = Share::Partition(3);
        let big: Vec<u8> = (0..3 * PART as u32 / 4 + 7).flat_map(u32::to_le_bytes).collect();
        let files = source(&local, &[("segment-1", &big), ("checkpoint-1", b"one")]);
        let first = Source { dir: &local, number: 1, progress: 100, files };
        assert_eq!(archive.copy(share, &first).unwrap(), Copied { files: 2, bytes: big.len() as u64 + 3 });
        let files = source(&local, &[("segment-1", &big), ("segment-2", b"more"), ("checkpoint-2", b"two")]);
        let second = Source { dir: &local, number: 2, progress: 200, files };
        // Only what is new is sent.
        assert_eq!(archive.copy(share, &second).unwrap(), Copied { files: 2, bytes: 7 });

        let there = folder.join("there");
        source(&there, &[("checkpoint-0", b"older")]);
        assert_eq!(archive.take(share, &there, Some(200), &quiet).unwrap(), None);
        assert_eq!(archive.take(Share::Partition(4), &there, None, &quiet).unwrap(), None);
        assert!(there.join("checkpoint-0").exists());
        assert_eq!(archive.take(share, &there, Some(150), &quiet).unwrap(), Some(200));
        assert_eq!(std::fs::read(there.join("segment-1")).unwrap(), big);
        assert_eq!(std::fs::read(there.join("checkpoint-2")).unwrap(), b"two");
        assert!(!there.join("checkpoint-0").exists());

        // A damaged file: the one before is taken.
        damage(&object_name(&second.files[1]));
        assert_eq!(archive.take(share, &there, None, &quiet).unwrap(), Some(100));
        assert_eq!(std::fs::read(there.join("checkpoint-1")).unwrap(), b"one");
    }

    #[test]
    fn a_process_that_is_behind_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(&folder.path().join("remote"));
        let dirs = ["ahead", "behind"].map(|name| folder.path().join(name));
        let ahead = Source { number: 9, progress: 900, files: source(&dirs[0], &[("segment-1", b"a")]), dir: &dirs[0] };
        archive.copy(Share::All, &ahead).unwrap();
        let behind =
            Source { number: 50, progress: 30, files: source(&dirs[1], &[("segment-1", b"b")]), dir: &dirs[1] };
        archive.copy(Share::All, &behind).unwrap();
        let there = folder.path().join("there");
        assert_eq!(archive.take(Share::All, &there, None, &quiet).unwrap(), Some(900));
        assert_eq!(std::fs::read(there.join("segment-1")).unwrap(), b"a");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(&folder.path().join("remote"));
        let dir = folder.path().join("here");
        let mut files = source(&dir, &[("segment-1", b"right")]);
        files[0].checksum ^= 1;
        let wrong = Source { dir: &dir, number: 1, progress: 1, files };
        let error = format!("{:#}", archive.copy(Share::All, &wrong).unwrap_err());
        assert!(error.contains("does not match its checksum"), "{error}");
        assert_eq!(archive.take(Share::All, &dir, None, &quiet).unwrap(), None);
        for (url, expected) in [("nonsense", "is not a URL"), ("ftp://x/y", "cannot be used")] {
            let error = format!("{:#}", Archive::open(url).err().unwrap());
            assert!(error.contains(expected), "{error}");
        }
        assert!(is_plain("segment-0001") && is_plain("checkpoint-1.manifest"));
        assert!(!is_plain("..") && !is_plain("a/b") && !is_plain("") && !is_plain(".x"));
    }
}

//! Closed days as Parquet files in a folder or an object store:
//! `TABLE/year=YYYY/month=MM/tenant=T/YYYY-MM-DD.parquet`, with a manifest per table and month that says of each day what it holds.
//! A file is there as a whole or not at all, and the manifest names it only then; what is there and has not changed is left alone. What is
//! in a file is `aulaflow_clickhouse::lake`'s business.

mod manifest;

use crate::archive::{store_at, within};
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use aulaflow_clickhouse::lake::{self, Closed, files};
use aulaflow_clickhouse::{Connection, Next, ServerError};
use futures_util::TryStreamExt;
use manifest::{Entry, File, Manifest};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Bytes sent at once, and how many such parts are under way.
const PART: usize = 8 << 20;
const PARTS: usize = 4;
/// How a Parquet file ends.
const MAGIC: &[u8] = b"PAR1";

/// Where files go.
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    runtime: Runtime,
}

/// What an export has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Days of a tenant and table that were written, and their files, rows and bytes.
    pub days: u64,
    /// Files.
    pub files: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Days that were there already.
    pub unchanged: u64,
}

impl Lake {
    /// A URL as checkpoints' copies have it (`file:///folder`, `s3://bucket/folder`).
    pub fn open(url: &str) -> Result<Self> {
        let (store, prefix) = store_at(url)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aulaflow-lake")
            .enable_all()
            .build()?;
        Ok(Self { store, prefix, runtime })
    }

    /// Writes a table's days that are not there, or are not what they were.
    pub fn export(
        &self,
        connection: &Connection,
        table: &lake::Exported,
        days: Vec<Closed>,
        progress: &Progress,
    ) -> Result<Exported> {
        let mut months: BTreeMap<(String, String), Vec<Closed>> = BTreeMap::new();
        for day in days {
            months.entry(day.day.month()).or_default().push(day);
        }
        let mut done = Exported::default();
        for ((year, month), days) in months {
            let folder = self
                .prefix
                .clone()
                .join(table.name.as_str())
                .join(format!("year={year}"))
                .join(format!("month={month}"));
            let there = self.there(&folder)?;
            let mut manifest = self.manifest(&folder)?;
            for day in &days {
                progress.advance(day.rows);
                if manifest.holds(day, &there) {
                    done.unchanged += 1;
                    continue;
                }
                let entry = self.day(connection, table, &folder, day)?;
                done.days += 1;
                done.files += entry.files.len() as u64;
                done.rows += day.rows;
                done.bytes += entry.files.iter().map(|file| file.bytes).sum::<u64>();
                let replaced = manifest.put(day, entry);
                // After each day, so that one that is cut off goes on from there.
                self.write(&folder.clone().join(manifest::NAME), serde_json::to_vec_pretty(&manifest)?)?;
                for file in replaced {
                    let key = key_of(&folder, day, &file.name);
                    self.runtime
                        .block_on(within(self.store.delete(&key)))
                        .context("a replaced file cannot be removed")?;
                }
            }
        }
        Ok(done)
    }

    /// The files of a month and their sizes, by their paths in its folder.
    fn there(&self, folder: &Key) -> Result<BTreeMap<String, u64>> {
        let objects = self.runtime.block_on(within(self.store.list(Some(folder)).try_collect::<Vec<_>>()))?;
        let name = |key: &Key| {
            let parts: Vec<String> = key.prefix_match(folder)?.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(objects.iter().filter_map(|object| Some((name(&object.location)?, object.size))).collect())
    }

    fn manifest(&self, folder: &Key) -> Result<Manifest> {
        let key = folder.clone().join(manifest::NAME);
        let bytes = self.runtime.block_on(async {
            match tokio::time::timeout(crate::archive::CALL_MAX, self.store.get(&key)).await {
                Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
                Ok(Err(error)) => Err(anyhow::Error::from(error)),
                Ok(Ok(found)) => within(found.bytes()).await.map(Some),
                Err(_) => Err(anyhow::anyhow!("the object store does not answer")),
            }
        })?;
        let Some(bytes) = bytes else { return Ok(Manifest::default()) };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .with_context(|| format!("{key} cannot be read: move it away to export the month anew"))?;
        ensure!(
            manifest.format == manifest::FORMAT,
            "{key} has the format {}, which this version does not know",
            manifest.format
        );
        Ok(manifest)
    }

    /// Writes the files of one day.
    fn day(&self, connection: &Connection, table: &lake::Exported, folder: &Key, day: &Closed) -> Result<Entry> {
        let selects = files(connection, table, day);
        let several = selects.len() > 1;
        let mut entry = Entry::of(day);
        for (number, select) in selects.iter().enumerate() {
            let name =
                if several { format!("{}-{number:03}.parquet", day.day) } else { format!("{}.parquet", day.day) };
            let key = key_of(folder, day, &name);
            let file = self.file(connection, select, &key, name).with_context(|| format!("{key} cannot be written"))?;
            entry.files.push(file);
        }
        Ok(entry)
    }

    /// ClickHouse's answer, as it comes, into a file that is seen when it is complete.
    fn file(&self, connection: &Connection, select: &str, key: &Key, name: String) -> Result<File> {
        let upload = self.runtime.block_on(within(self.store.put_multipart(key)))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let (mut hash, mut bytes, mut end) = (Sha256::new(), 0_u64, Vec::new());
        let read = connection.stream(select, "Parquet", |part| {
            hash.update(part);
            bytes += part.len() as u64;
            end.extend_from_slice(part.get(part.len().saturating_sub(MAGIC.len())..).unwrap_or_default());
            end.drain(..end.len().saturating_sub(MAGIC.len()));
            self.runtime.block_on(async {
                let room = within(upload.wait_for_capacity(PARTS)).await;
                room.map_err(|error| ServerError { next: Next::Somebody, code: None, reason: error.to_string() })?;
                upload.write(part);
                Ok(())
            })
        });
        // An error of the server's in the middle of an answer is in the answer.
        let whole = end == MAGIC;
        if read.is_err() || !whole {
            self.runtime.block_on(within(upload.abort()))?;
            read?;
            anyhow::bail!("ClickHouse's answer is cut off: try again, or look into the server's log");
        }
        self.runtime.block_on(within(upload.finish()))?;
        let mut sha256 = String::with_capacity(64);
        for byte in hash.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(File { name, bytes, sha256 })
    }

    fn write(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        self.runtime
            .block_on(within(self.store.put(key, bytes.into())))
            .with_context(|| format!("{key} cannot be written"))?;
        Ok(())
    }
}

fn key_of(folder: &Key, day: &Closed, name: &str) -> Key {
    folder.clone().join(manifest::tenant(day)).join(name)
}

//! The tenants' present configurations: read from the log at start, kept by our own writes and by following the topic.

use crate::state::ApiState;
use aulaflow_log::{Log, LogError, Offset, RecordRef, TopicPartition};
use aulaflow_model::event::tenant_of_key;
use aulaflow_model::ids::TenantId;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::tenant::merge::Applied;
use aulaflow_model::topic;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes read at once while following.
const READ_BYTES_MAX: usize = 1 << 20;
/// How long a wait for new records lasts; also how long a stop may take.
const WAIT: Duration = Duration::from_millis(500);
/// The log wakes for every topic's appends; ours are rare, so look this seldom.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Tenants {
    present: RwLock<HashMap<TenantId, Present>>,
    /// Where to read on, per partition. Held while reading, so that there is one reader.
    next: Mutex<Vec<Offset>>,
}

#[derive(Default)]
struct Present {
    /// With the offset of its record: an older record never replaces a newer one.
    config: Option<(Arc<TenantConfig>, Offset)>,
    /// What its file said when it was applied last: every record carries it on.
    applied: Option<Arc<Applied>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Tenants {
    /// A tenant's configuration; an empty one where there is none.
    pub(crate) fn config(&self, tenant: &TenantId) -> Arc<TenantConfig> {
        let present = self.present.read();
        match present.get(tenant).and_then(|present| present.config.as_ref()) {
            Some((config, _)) => Arc::clone(config),
            None => Arc::new(TenantConfig::empty(tenant.clone())),
        }
    }

    /// Held while a tenant's configuration is changed.
    pub(crate) fn turn(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.present.write().entry(tenant.clone()).or_default().turn)
    }

    /// What a tenant's file said when it was applied last.
    pub(crate) fn applied(&self, tenant: &TenantId) -> Option<Arc<Applied>> {
        self.present.read().get(tenant)?.applied.clone()
    }

    /// Up to where a partition was read.
    pub(crate) fn read_to(&self, partition: u32) -> Offset {
        self.next.lock().get(partition as usize).copied().unwrap_or(0)
    }

    /// Takes a configuration that is on the log at `offset`.
    pub(crate) fn put(&self, config: Arc<TenantConfig>, offset: Offset) {
        let mut present = self.present.write();
        let present = present.entry(config.tenant.clone()).or_default();
        if present.config.as_ref().is_none_or(|(_, known)| *known <= offset) {
            present.config = Some((config, offset));
        }
    }

    /// Takes a record of the topic. False where it cannot be used: as in the dataflows, what was in force stays, also
    /// after a tombstone.
    fn take(&self, record: &RecordRef<'_>, offset: Offset) -> bool {
        let Some(config) = config_of(record) else { return false };
        let tenant = config.tenant.clone();
        self.put(Arc::new(config), offset);
        if let Some(applied) = Applied::of(record.headers.iter(), record.value) {
            self.present.write().entry(tenant).or_default().applied = Some(Arc::new(applied));
        }
        true
    }

    /// Reads the topic to its end. Blocks on the disk.
    pub(crate) fn catch_up(&self, log: &dyn Log) -> Result<(), LogError> {
        let mut next = self.next.lock();
        next.resize(log.partitions(topic::TENANTS)? as usize, 0);
        let mut unreadable = Unreadable::default();
        for (partition, next) in next.iter_mut().enumerate() {
            let place = TopicPartition { topic: topic::TENANTS.to_owned(), partition: partition as u32 };
            loop {
                let fetched = match log.read_aside(&place, *next, READ_BYTES_MAX) {
                    Err(LogError::Gone { start, .. }) if start > *next => {
                        *next = start;
                        continue;
                    }
                    other => other?,
                };
                for record in fetched.records.iter() {
                    let offset = fetched.base_offset + u64::from(record.index);
                    if !self.take(&record, offset) {
                        unreadable.found(partition, offset);
                    }
                }
                if fetched.next_offset <= *next {
                    break;
                }
                *next = fetched.next_offset;
            }
        }
        Ok(())
    }
}

/// The configuration that a record says, if it is one.
fn config_of(record: &RecordRef<'_>) -> Option<TenantConfig> {
    let config = TenantConfig::from_json_slice(record.value?).ok()?;
    (tenant_of_key(record.key)? == config.tenant).then_some(config)
}

/// The tenant's last configuration among the records of a partition from `from` to before `to`. Blocks on the disk.
pub(crate) fn last_between(
    log: &dyn Log,
    place: &TopicPartition,
    (from, to): (Offset, Offset),
    tenant: &TenantId,
) -> Result<Option<TenantConfig>, LogError> {
    let (mut next, mut found) = (from, None);
    while next < to {
        let fetched = log.read_aside(place, next, READ_BYTES_MAX)?;
        for record in fetched.records.iter().take_while(|record| fetched.base_offset + u64::from(record.index) < to) {
            found = config_of(&record).filter(|config| config.tenant == *tenant).or(found);
        }
        if fetched.next_offset <= next {
            break;
        }
        next = fetched.next_offset;
    }
    Ok(found)
}

/// Records that cannot be read, as far as one look came. The dataflow gives them to the dead letters; here they only must
/// not stop the edge.
#[derive(Default)]
struct Unreadable {
    count: usize,
    first: Option<(usize, Offset)>,
}

impl Unreadable {
    fn found(&mut self, partition: usize, offset: Offset) {
        self.count += 1;
        self.first.get_or_insert((partition, offset));
    }
}

impl Drop for Unreadable {
    /// However the look ended: what was read is not read again.
    fn drop(&mut self) {
        if let Some((partition, offset)) = self.first {
            let count = self.count;
            tracing::warn!(count, partition, offset, "tenants' records cannot be read; the first of them stands here");
        }
    }
}

/// Follows the topic until it is aborted.
pub(crate) async fn follow(state: ApiState) {
    let mut seen = 0;
    loop {
        let inner = state.clone();
        let step = tokio::task::spawn_blocking(move || {
            let log = inner.access.log();
            let seen = log.wait(seen, WAIT);
            (seen, inner.access.tenants().catch_up(log.as_ref()))
        });
        match step.await {
            Ok((now_seen, outcome)) => {
                seen = now_seen;
                if let Err(error) = outcome {
                    tracing::warn!(%error, "the tenants' topic cannot be read");
                }
            }
            // The runtime is shutting down.
            Err(_) => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

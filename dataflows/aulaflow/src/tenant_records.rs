//! Tenants' configurations on the log: what was last recorded, and recording what changed. A tenant's file is put on
//! the log when its meaning differs from what the *file* last said, so that a change made over HTTP is kept until the
//! file itself changes.

use anyhow::{Context, Result};
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{Appended, Log, TopicPartition};
use aulaflow_model::event::tenant_of_key;
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::topic::TENANTS;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The header with the hash of the file's meaning; records of changes over HTTP have none.
const FILE_HASH: &str = "file-hash";

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// How long the log may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What the log last said of a tenant.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Its configuration; `None` where the last record is a tombstone or cannot be read.
    pub config: Option<TenantConfig>,
    /// The hash of the last file that was recorded.
    file_hash: Option<String>,
}

/// Reads what the log says of every tenant.
pub fn read(log: &dyn Log) -> Result<BTreeMap<TenantId, Recorded>> {
    let mut tenants: BTreeMap<TenantId, Recorded> = BTreeMap::new();
    for partition in 0..log.partitions(TENANTS)? {
        let place = TopicPartition { topic: TENANTS.to_owned(), partition };
        let mut offset = log.start_offset(&place)?;
        loop {
            let fetched = log.read_aside(&place, offset, READ_BYTES)?;
            if fetched.records.is_empty() {
                break;
            }
            for record in fetched.records.iter() {
                let Some(tenant) = tenant_of_key(record.key) else { continue };
                let recorded = tenants.entry(tenant).or_default();
                recorded.config = record.value.and_then(|value| TenantConfig::from_json_slice(value).ok());
                if let Some((_, hash)) = record.headers.iter().find(|(name, _)| *name == FILE_HASH) {
                    recorded.file_hash = Some(String::from_utf8_lossy(hash).into_owned());
                }
            }
            offset = fetched.next_offset;
        }
    }
    Ok(tenants)
}

/// Puts the files' tenants on the log where they changed. Returns how many did.
pub fn record_files(log: &dyn Log, files: &[(TenantConfig, String)]) -> Result<usize> {
    let known = read(log)?;
    let mut changed = 0;
    for (config, hash) in files {
        let last = known.get(&config.tenant).and_then(|recorded| recorded.file_hash.as_deref());
        if last != Some(hash.as_str()) {
            append(log, config, &[(FILE_HASH, hash.as_bytes())])?;
            tracing::info!(tenant = %config.tenant, "the tenant's file is new or has changed: it is in force now");
            changed += 1;
        }
    }
    Ok(changed)
}

/// Puts a tenant's configuration on the log.
pub fn append(log: &dyn Log, config: &TenantConfig, headers: &[(&str, &[u8])]) -> Result<Appended> {
    let tenant = config.tenant.as_str();
    let place = TopicPartition { topic: TENANTS.to_owned(), partition: log.partition_of(TENANTS, tenant)? };
    let mut set = RecordSetBuilder::default();
    set.push(now(), tenant.as_bytes(), Some(config.to_json().to_string().as_bytes()), headers);
    log.append_wait(&place, set.finish(), APPEND_TIMEOUT)
        .with_context(|| format!("the configuration of tenant {tenant} cannot be put on the log"))
}

/// The wall clock.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog};
    use serde_json::json;

    fn config(min_passing: u32) -> TenantConfig {
        let rule = json!({ "subject": "*", "weights": "items", "min_passing": min_passing });
        TenantConfig::from_json(&json!({ "tenant": "school_1", "rule": [rule] })).unwrap()
    }

    #[test]
    fn a_file_is_recorded_when_it_changed_and_not_over_a_change_by_http() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(EmbeddedConfig::new(folder.path(), crate::log_store::topics())).unwrap();
        let tenant = TenantId::new("school_1").unwrap();
        let present = |log: &EmbeddedLog| read(log).unwrap().remove(&tenant).unwrap().config;

        assert_eq!(record_files(&log, &[(config(60), "h1".to_owned())]).unwrap(), 1);
        assert_eq!(record_files(&log, &[(config(60), "h1".to_owned())]).unwrap(), 0);
        append(&log, &config(70), &[]).unwrap();
        assert_eq!(record_files(&log, &[(config(60), "h1".to_owned())]).unwrap(), 0);
        assert_eq!(present(&log), Some(config(70)));
        assert_eq!(record_files(&log, &[(config(50), "h2".to_owned())]).unwrap(), 1);
        assert_eq!(present(&log), Some(config(50)));
    }
}

//! Tenants' configurations on the log: what was last recorded, and recording what the tenants' files say. A file is merged
//! with the log part by part (`aulaflow_model::tenant::merge`), so that what was set over HTTP stays until the file says
//! something else of the same subject or period.

use anyhow::{Context, Result};
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{Appended, Log, Offset, TopicPartition};
use aulaflow_model::event::tenant_of_key;
use aulaflow_model::fault::Fault;
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::tenant::merge::{Applied, Change, Merged, merge};
use aulaflow_model::topic::TENANTS;
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::ClockMode;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// How long the log may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What the log last said of a tenant.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Its configuration; `None` where no record can be read.
    pub config: Option<TenantConfig>,
    /// What its file said when it was applied last.
    pub applied: Option<Applied>,
}

/// What a start does with a tenant's file.
#[derive(Debug)]
pub struct Outcome {
    /// Whose.
    pub tenant: TenantId,
    /// Whether the file says something else than when it was applied last.
    pub is_new: bool,
    /// Whether the log has anything of the tenant.
    pub is_known: bool,
    /// What comes of it, or why it does not go together with what was set over HTTP.
    pub merged: Result<Merged, Vec<Fault>>,
}

/// Reads what the log says of every tenant. As in the dataflows, a record that cannot be read changes nothing.
pub fn read(log: &dyn Log) -> Result<BTreeMap<TenantId, Recorded>> {
    read_but(log, &Own::new())
}

/// Places of records that this process wrote just now: partitions and offsets.
type Own = BTreeSet<(u32, Offset)>;

fn read_but(log: &dyn Log, own: &Own) -> Result<BTreeMap<TenantId, Recorded>> {
    let mut tenants: BTreeMap<TenantId, Recorded> = BTreeMap::new();
    for partition in 0..log.partitions(TENANTS)? {
        let place = TopicPartition { topic: TENANTS.to_owned(), partition };
        let mut offset = log.start_offset(&place)?;
        loop {
            let fetched = log.read_aside(&place, offset, READ_BYTES)?;
            if fetched.records.is_empty() {
                break;
            }
            let others = fetched.records.iter().filter(|record| {
                let offset = fetched.base_offset + u64::from(record.index);
                !own.contains(&(partition, offset))
            });
            for record in others {
                let config = record.value.and_then(|value| TenantConfig::from_json_slice(value).ok());
                let (Some(tenant), Some(config)) = (tenant_of_key(record.key), config) else { continue };
                let recorded = tenants.entry(tenant).or_default();
                recorded.config = Some(config);
                if let Some(applied) = Applied::of(record.headers.iter(), record.value) {
                    recorded.applied = Some(applied);
                }
            }
            offset = fetched.next_offset;
        }
    }
    Ok(tenants)
}

/// What a start would do with the plan's tenants' files. Changes nothing.
pub fn outcomes(log: &dyn Log, plan: &Plan) -> Result<Vec<Outcome>> {
    Ok(outcomes_over(&read(log)?, plan))
}

fn outcomes_over(known: &BTreeMap<TenantId, Recorded>, plan: &Plan) -> Vec<Outcome> {
    // Where the events' own clock stands is not known before the dataflows run.
    let clock = (plan.runtime.engine.clock == ClockMode::Live).then(now);
    let outcome = |(file, hash): &(TenantConfig, String)| {
        let recorded = known.get(&file.tenant);
        let applied = recorded.and_then(|recorded| recorded.applied.as_ref());
        let said = applied.and_then(|applied| TenantConfig::from_json_slice(&applied.file).ok());
        let present = recorded.and_then(|recorded| recorded.config.as_ref());
        Outcome {
            tenant: file.tenant.clone(),
            is_new: applied.is_none_or(|applied| applied.hash != *hash),
            is_known: present.is_some(),
            merged: merge(file, said.as_ref(), present, clock),
        }
    };
    plan.tenants.iter().map(outcome).collect()
}

/// Puts the tenants' files on the log where they say something else than before, merged with what is there. Returns how
/// many did. One that does not go together with what was set over HTTP changes nothing and is told of at every start.
pub fn record_files(log: &dyn Log, plan: &Plan) -> Result<usize> {
    let mut known = read(log)?;
    let (mut changed, mut own) = (BTreeSet::new(), Own::new());
    loop {
        record_over(log, plan, &known, (&mut changed, &mut own))?;
        // Another process may have set something between the reading and the writing, which the record here would hide.
        let again = read_but(log, &own)?;
        let same = |tenant: &TenantId| known.get(tenant).map(|r| &r.config) == again.get(tenant).map(|r| &r.config);
        if changed.iter().all(same) {
            return Ok(changed.len());
        }
        known = again;
    }
}

fn record_over(
    log: &dyn Log,
    plan: &Plan,
    known: &BTreeMap<TenantId, Recorded>,
    (changed, own): (&mut BTreeSet<TenantId>, &mut Own),
) -> Result<()> {
    for (outcome, (file, hash)) in outcomes_over(known, plan).into_iter().zip(&plan.tenants) {
        let Outcome { tenant, is_new, is_known, merged } = outcome;
        if !is_new {
            continue;
        }
        match merged {
            Ok(Merged { config, changes }) => {
                let appended = append(log, &config, Some(&Applied::now(file, hash)))?;
                own.insert((appended.place.partition, appended.base_offset));
                tracing::info!(%tenant, "the tenant's file is new or has changed");
                for change in changes.into_iter().filter(|_| is_known) {
                    tracing::info!(%tenant, "{change}");
                }
                changed.insert(tenant);
            }
            Err(faults) => {
                let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::error!(
                    %tenant,
                    "the tenant's file does not go together with what was set over HTTP, so it is not applied and all stays \
                     as it is: {faults}; change the file, or what was set"
                );
            }
        }
    }
    Ok(())
}

/// What a start would do, as `check` and `plan` show it.
#[derive(Debug, Serialize)]
pub struct Shown {
    tenant: TenantId,
    /// What happens, part by part.
    changes: Vec<ShownChange>,
    /// Why the file is not applied.
    errors: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct ShownChange {
    part: String,
    effect: aulaflow_model::tenant::merge::Effect,
    #[serde(skip)]
    text: String,
}

impl From<Outcome> for Shown {
    fn from(outcome: Outcome) -> Self {
        let (changes, errors) = match outcome.merged {
            Ok(merged) => (merged.changes, Vec::new()),
            Err(faults) => (Vec::new(), faults),
        };
        let change = |change: Change| ShownChange {
            part: change.part.to_string(),
            effect: change.effect,
            text: change.to_string(),
        };
        Self { tenant: outcome.tenant, changes: changes.into_iter().map(change).collect(), errors }
    }
}

impl Shown {
    /// Whether the file does not go together with what is on the log.
    pub fn is_refused(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Lines for people; none where nothing changes.
    pub fn lines(&self) -> Vec<String> {
        let changes = self.changes.iter().map(|change| format!("tenant {}: {}", self.tenant, change.text));
        let errors = self.errors.iter().map(|fault| {
            format!("tenant {}: the file would not be applied, beside what was set over HTTP: {fault}", self.tenant)
        });
        changes.chain(errors).collect()
    }
}

/// Puts a tenant's configuration on the log, with what its file said last.
pub fn append(log: &dyn Log, config: &TenantConfig, applied: Option<&Applied>) -> Result<Appended> {
    let headers = applied.map(Applied::headers);
    append_with(log, config, headers.as_ref().map_or(&[], |headers| headers))
}

fn append_with(log: &dyn Log, config: &TenantConfig, headers: &[(&str, &[u8])]) -> Result<Appended> {
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

    fn config(rules: &[(&str, u32)]) -> TenantConfig {
        let rule = |(subject, min): &(&str, u32)| json!({ "subject": subject, "weights": "items", "min_passing": min });
        let rules: Vec<_> = rules.iter().map(rule).collect();
        TenantConfig::from_json(&json!({ "tenant": "school_1", "rule": rules })).unwrap()
    }

    fn log(folder: &std::path::Path) -> EmbeddedLog {
        EmbeddedLog::open(EmbeddedConfig::new(folder, crate::log_store::topics())).unwrap()
    }

    fn plan(file: &TenantConfig) -> Plan {
        let text = "[auth]\n[[auth.key]]\nid = \"k\"\nalgorithm = \"HS256\"\nsecret = \"a-secret-that-is-long-enough-for-this\"\n";
        let (runtime, faults) = aulaflow_plan::parse_runtime(&aulaflow_plan::Source::new("r.toml", text));
        let mut plan = aulaflow_plan::compile(runtime.unwrap_or_else(|| panic!("{faults:?}")), &[], &[]).unwrap();
        plan.tenants = vec![(file.clone(), format!("{:?}", file.to_json().to_string()))];
        plan
    }

    fn present(log: &EmbeddedLog) -> Option<TenantConfig> {
        read(log).unwrap().remove(&TenantId::new("school_1").unwrap()).unwrap().config
    }

    #[test]
    fn a_file_is_recorded_when_it_changed_and_merged_with_changes_by_http() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let first = config(&[("*", 60), ("art", 10)]);
        assert_eq!(record_files(&log, &plan(&first)).unwrap(), 1);
        assert_eq!(record_files(&log, &plan(&first)).unwrap(), 0);
        // As an earlier version set it over HTTP: without headers.
        append(&log, &config(&[("*", 60), ("art", 11), ("chemistry", 90)]), None).unwrap();
        assert_eq!(record_files(&log, &plan(&first)).unwrap(), 0);
        let second = config(&[("*", 60), ("art", 10), ("music", 5)]);
        assert_eq!(record_files(&log, &plan(&second)).unwrap(), 1);
        assert_eq!(present(&log), Some(config(&[("*", 60), ("art", 11), ("chemistry", 90), ("music", 5)])));
        // The file says something else of art, and nothing of music any more.
        assert_eq!(record_files(&log, &plan(&config(&[("*", 60), ("art", 12)]))).unwrap(), 1);
        assert_eq!(present(&log), Some(config(&[("*", 60), ("art", 12), ("chemistry", 90)])));
    }

    #[test]
    fn what_a_file_said_is_known_from_the_last_record_alone() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let file = config(&[("*", 60)]);
        let set = config(&[("*", 60), ("chemistry", 90)]);
        // What a compacted topic has left of a file and a change over HTTP.
        append(&log, &set, Some(&Applied::now(&file, &plan(&file).tenants[0].1))).unwrap();
        assert_eq!(record_files(&log, &plan(&file)).unwrap(), 0);
        assert_eq!(record_files(&log, &plan(&config(&[("*", 61)]))).unwrap(), 1);
        assert_eq!(present(&log), Some(config(&[("*", 61), ("chemistry", 90)])));
    }

    #[test]
    fn records_of_an_earlier_version_say_what_the_file_was() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let file = config(&[("*", 60), ("art", 10)]);
        append_with(&log, &file, &[("file-hash", b"an earlier one")]).unwrap();
        append(&log, &config(&[("*", 60), ("art", 11), ("chemistry", 90)]), None).unwrap();
        assert_eq!(record_files(&log, &plan(&config(&[("*", 60), ("art", 10), ("music", 5)]))).unwrap(), 1);
        assert_eq!(present(&log), Some(config(&[("*", 60), ("art", 11), ("chemistry", 90), ("music", 5)])));
    }

    #[test]
    fn what_another_process_sets_during_a_start_is_merged_too() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        append(&log, &config(&[("*", 60)]), None).unwrap();
        let plan = plan(&config(&[("*", 60), ("art", 10)]));
        let known = read(&log).unwrap();
        append(&log, &config(&[("*", 60), ("music", 20)]), None).unwrap();
        let (mut changed, mut own) = (BTreeSet::new(), Own::new());
        record_over(&log, &plan, &known, (&mut changed, &mut own)).unwrap();
        // The record of the start hides `music`, and is left out when looking again.
        assert_eq!(present(&log), Some(config(&[("*", 60), ("art", 10)])));
        record_over(&log, &plan, &read_but(&log, &own).unwrap(), (&mut changed, &mut own)).unwrap();
        assert_eq!(present(&log), Some(config(&[("*", 60), ("music", 20), ("art", 10)])));
    }

    #[test]
    fn a_record_that_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        append(&log, &config(&[("*", 60)]), None).unwrap();
        let place =
            TopicPartition { topic: TENANTS.to_owned(), partition: log.partition_of(TENANTS, "school_1").unwrap() };
        for value in [None, Some(b"{".as_slice())] {
            let mut set = RecordSetBuilder::default();
            set.push(now(), b"school_1", value, &[]);
            log.append_wait(&place, set.finish(), APPEND_TIMEOUT).unwrap();
        }
        assert_eq!(present(&log), Some(config(&[("*", 60)])));
    }
}

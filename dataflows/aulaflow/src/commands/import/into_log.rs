//! Straight into the log, where no instance runs: the same checks as at the HTTP edge, and the same records.

use super::batch::{Batch, Destination, Tally};
use crate::ingest::Kind;
use crate::tenant_records::{self, now};
use anyhow::{Context, Result};
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::event::{Origin, decode_behavior, decode_evaluation, decode_service_event, splice_tenant};
use aulaflow_model::fault::Fault;
use aulaflow_model::ids::{Subject, TenantId};
use aulaflow_model::tenant::merge::Applied;
use aulaflow_model::tenant::{Rule, TenantConfig};
use aulaflow_model::topic;
use std::sync::Arc;
use std::time::Duration;

/// How long the log may take to make a batch durable.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The log as a destination.
pub struct IntoLog {
    log: Arc<dyn Log>,
    /// What the log says of the tenant.
    tenant: TenantConfig,
    /// What its file said last, which a record of the tenant carries on.
    applied: Option<Applied>,
    record_bytes_max: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl IntoLog {
    /// Writes a tenant's events; what takes more bytes as a record is a dead letter.
    pub fn new(log: Arc<dyn Log>, tenant: &TenantId, record_bytes_max: usize) -> Result<Self> {
        let recorded = tenant_records::read(log.as_ref())?.remove(tenant).unwrap_or_default();
        let tenant = recorded.config.unwrap_or_else(|| TenantConfig::empty(tenant.clone()));
        Ok(Self { log, tenant, applied: recorded.applied, record_bytes_max, key: Vec::new(), value: Vec::new() })
    }

    /// Makes a rule the tenant's own for all subjects.
    pub fn install_rule(&mut self, rule: Rule) -> Result<()> {
        let changed =
            self.tenant.in_force(now()).0.with_rule(rule).map_err(|faults| anyhow::anyhow!(describe(&faults)))?;
        if changed != self.tenant {
            tenant_records::append(self.log.as_ref(), &changed, self.applied.as_ref())?;
            self.tenant = changed;
        }
        Ok(())
    }

    fn append(&self, topic: &str, set: RecordSetBuilder) -> Result<()> {
        if set.count() == 0 {
            return Ok(());
        }
        let partition = self.log.partition_of(topic, self.tenant.tenant.as_str())?;
        let place = TopicPartition { topic: topic.to_owned(), partition };
        let appended = self.log.append_wait(&place, set.finish(), APPEND_TIMEOUT);
        appended.with_context(|| format!("{topic}/{partition} takes no more records"))?;
        Ok(())
    }
}

impl Destination for IntoLog {
    fn send(&mut self, batch: &Batch) -> Result<Tally> {
        let mut tally = Tally::default();
        let (mut good, mut bad) = (RecordSetBuilder::default(), RecordSetBuilder::default());
        let timestamp = now();
        let failed_at = timestamp.to_string();
        for (item, number) in batch.items().zip(&batch.numbers) {
            let checked = record((batch.kind, item), &self.tenant, &mut self.key, &mut self.value);
            let checked = checked.and_then(|()| fits(&self.key, &self.value, self.record_bytes_max));
            match checked {
                Ok(()) => {
                    good.push(timestamp, &self.key, Some(&self.value), &[]);
                    tally.accepted += 1;
                }
                Err(faults) => {
                    let reason = describe(&faults);
                    let headers: [(&str, &[u8]); 4] = [
                        ("error", reason.as_bytes()),
                        ("error-class", b"schema"),
                        ("source-topic", batch.kind.topic().as_bytes()),
                        ("failed-at", failed_at.as_bytes()),
                    ];
                    bad.push(timestamp, self.tenant.tenant.as_str().as_bytes(), Some(item), &headers);
                    tally.refuse(*number, &reason);
                }
            }
        }
        self.append(&topic::dead_letters(batch.kind.topic()), bad)?;
        self.append(batch.kind.topic(), good)?;
        Ok(tally)
    }
}

/// Whether a record is one that the engine reads.
fn fits(key: &[u8], value: &[u8], bytes_max: usize) -> Result<(), Vec<Fault>> {
    let bytes = key.len() + value.len();
    if bytes <= bytes_max {
        return Ok(());
    }
    let message = format!("takes {bytes} bytes as a record; engine.record_bytes_max allows {bytes_max}");
    Err(vec![Fault::new("", message)])
}

/// Checks an event and writes its record: the key, and the value with the tenant in it.
pub fn record(
    (kind, item): (Kind, &[u8]),
    tenant: &TenantConfig,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Result<(), Vec<Fault>> {
    let name = &tenant.tenant;
    key.clear();
    value.clear();
    let rest = match kind {
        Kind::Evaluations => {
            let evaluation = decode_evaluation(item, Origin::Edge)?;
            if evaluation.above_max() && !allows_extra_credit(tenant, &evaluation.subject) {
                return Err(vec![evaluation.above_max_fault()]);
            }
            key.extend_from_slice(evaluation.log_key(name).as_bytes());
            value.extend_from_slice(&evaluation.to_log_json(name));
            return Ok(());
        }
        Kind::Behavior => decode_behavior(item, Origin::Edge)?.student_id,
        Kind::Events => decode_service_event(item, Origin::Edge)?.service,
    };
    key.extend_from_slice(name.as_str().as_bytes());
    key.push(b'/');
    key.extend_from_slice(rest.as_bytes());
    splice_tenant(item, name, value);
    Ok(())
}

/// Whether a rule that the subject may have lets scores exceed their maximum.
fn allows_extra_credit(tenant: &TenantConfig, subject: &Subject) -> bool {
    let may_apply = |rule: &Rule| rule.subject.as_ref().is_none_or(|own| own == subject);
    tenant.rules.iter().any(|rule| rule.extra_credit && may_apply(rule))
}

/// Faults as one sentence.
pub fn describe(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog};

    #[test]
    fn good_lines_become_records_and_bad_ones_dead_letters() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(EmbeddedConfig::new(folder.path(), crate::log_store::topics())).unwrap();
        let tenant = TenantId::new("school_1").unwrap();
        let mut destination = IntoLog::new(Arc::new(log), &tenant, 1 << 20).unwrap();
        let mut batch = Batch::new(Kind::Behavior);
        let good = r#"{"event_id":"e1","student_id":"s/1","event_type":"answer","occurred_at":"2026-03-02T15:04:05Z"}"#;
        for (number, line) in [(1, good), (3, "{\"event_id\":"), (4, r#"{"event_id":"e2"}"#)] {
            batch.lines.extend_from_slice(line.as_bytes());
            batch.lines.push(b'\n');
            batch.numbers.push(number);
        }
        let tally = destination.send(&batch).unwrap();
        assert_eq!((tally.accepted, tally.refused), (1, 2));
        assert!(tally.examples[0].starts_with("line 3: "), "{:?}", tally.examples);

        let partition = destination.log.partition_of(topic::BEHAVIOR, tenant.as_str()).unwrap();
        let read = |topic: &str| {
            let place = TopicPartition { topic: topic.to_owned(), partition };
            destination.log.read(&place, 0, 1 << 20).unwrap().records
        };
        let records = read(topic::BEHAVIOR);
        let record = records.iter().next().unwrap();
        assert_eq!(record.key, b"school_1/s/1");
        assert!(decode_behavior(record.value.unwrap(), Origin::Log(&tenant)).is_ok());
        let letters = read(&topic::dead_letters(topic::BEHAVIOR));
        let values: Vec<_> = letters.iter().map(|letter| letter.value.unwrap().to_vec()).collect();
        assert_eq!(values, [b"{\"event_id\":".to_vec(), br#"{"event_id":"e2"}"#.to_vec()]);
    }
}

//! A record of the log to a row of its table, by the decoders that everybody uses. What cannot be used is no row here: it is
//! among the dead letters.

use super::range::Range;
use super::scrub;
use crate::PseudonymKeys;
use crate::pseudonym::KeyError;
use crate::raw::Raw;
use crate::retention::{Clocks, Day, RetentionPolicy};
use crate::rows::{instant, nullable, text};
use aulaflow_log::letters::Letter;
use aulaflow_log::{Offset, RecordRef};
use aulaflow_model::event::{Behavior, Origin, ServiceEvent, decode_behavior, decode_service_event, tenant_of_key};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// Members of events and of tenants' configurations: what an error's text may name.
const MEMBERS: &[&str] = &[
    "tenant_id",
    "student_id",
    "event_id",
    "event_type",
    "value",
    "occurred_at",
    "context",
    "evaluation_id",
    "subject",
    "type",
    "score",
    "max_score",
    "weight",
    "graded_at",
    "updated_at",
    "teacher_id",
    "period",
    "status",
    "timestamp",
    "service",
    "message",
    "metadata",
    "tenant",
    "timezone",
    "rule",
    "periods",
    "weights",
    "scale",
    "rounding",
    "category",
    "start",
    "end",
];

/// What rows are made with.
#[derive(Clone)]
pub struct Making {
    /// What stands for students.
    pub keys: Arc<PseudonymKeys>,
    /// What is kept for how long.
    pub retention: Arc<RetentionPolicy>,
    /// What today is.
    pub clocks: Clocks,
    /// Larger records are dead letters.
    pub record_bytes_max: usize,
    /// Contexts, metadata and messages are copied; else they are empty.
    pub free_text: bool,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Its table.
    pub raw: Raw,
    /// The source topic: of a dead letter the one that it was on.
    pub source: &'static str,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// Today; none: nothing is too old.
    pub today: Option<Day>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// A row.
    Row,
    /// It is no event, or not of this partition: it is among the dead letters.
    Unusable,
    /// Its retention is over already.
    Expired,
}

impl Making {
    /// Adds a record's row to a range.
    pub fn add(
        &self,
        standing: Standing,
        record: &RecordRef<'_>,
        is_home: &dyn Fn(&str) -> bool,
        range: &mut Range,
    ) -> Result<Made, KeyError> {
        match standing.raw {
            Raw::DeadLetters => Ok(self.letter(standing, record, range)),
            Raw::Behavior | Raw::ServiceEvents => {
                let bytes = record.key.len() + record.value.map_or(0, <[u8]>::len);
                let tenant = tenant_of_key(record.key).filter(|tenant| is_home(tenant.as_str()));
                let (Some(tenant), Some(json)) = (tenant, record.value.filter(|_| bytes <= self.record_bytes_max))
                else {
                    return Ok(Made::Unusable);
                };
                match standing.raw {
                    Raw::Behavior => self.behavior(standing, record, (&tenant, json), range),
                    Raw::ServiceEvents | Raw::DeadLetters => {
                        Ok(self.service_event(standing, record, (&tenant, json), range))
                    }
                }
            }
        }
    }

    fn behavior(
        &self,
        standing: Standing,
        record: &RecordRef<'_>,
        (tenant, json): (&TenantId, &[u8]),
        range: &mut Range,
    ) -> Result<Made, KeyError> {
        let Ok(event) = decode_behavior(json, Origin::Log(tenant)) else { return Ok(Made::Unusable) };
        let Ok(student) = StudentId::new(&event.student_id) else { return Ok(Made::Unusable) };
        let pseudonym = self.keys.pseudonym(tenant, &student)?;
        let name = pseudonym.to_string();
        let Behavior { event_id, student_id, event_type, value, occurred_at, context, extra } = &event;
        let context = if self.free_text { object(*context, extra) } else { Cow::Borrowed("") };
        Ok(self.row(standing, (tenant.as_str(), *occurred_at, record.timestamp), range, |out| {
            out.extend_from_slice(&pseudonym.to_row_binary());
            instant(out, *occurred_at);
            text(out, &scrub::words(event_id, student_id, &name));
            text(out, &scrub::text(event_type, student_id, &name));
            out.extend_from_slice(&value.micros().to_le_bytes());
            text(out, &scrub::json(&context, student_id, &name));
        }))
    }

    fn service_event(
        &self,
        standing: Standing,
        record: &RecordRef<'_>,
        (tenant, json): (&TenantId, &[u8]),
        range: &mut Range,
    ) -> Made {
        let Ok(event) = decode_service_event(json, Origin::Log(tenant)) else { return Made::Unusable };
        let ServiceEvent { timestamp, service, message, metadata, extra } = &event;
        let (message, metadata) =
            if self.free_text { (&**message, object(*metadata, extra)) } else { ("", Cow::Borrowed("")) };
        self.row(standing, (tenant.as_str(), *timestamp, record.timestamp), range, |out| {
            text(out, service);
            instant(out, *timestamp);
            text(out, message);
            text(out, &metadata);
        })
    }

    fn letter(&self, standing: Standing, record: &RecordRef<'_>, range: &mut Range) -> Made {
        let first = standing.offset.saturating_sub(u64::from(record.index));
        let letter = Letter::of(record, first);
        // A key without a tenant may begin with anything, a student's id too. Tenants' own records have no more than a name.
        let has_tenant = letter.key.contains(&b'/') || standing.source == topic::TENANTS;
        let tenant = if has_tenant { tenant_of_key(letter.key) } else { None };
        let tenant = tenant.as_ref().map_or("", TenantId::as_str);
        let whole = letter.value.map_or(0, <[u8]>::len) as u64;
        let student =
            std::str::from_utf8(letter.key).ok().and_then(|key| key.split_once('/')).map_or("", |(_, rest)| rest);
        let said = scrub::error(letter.error(), MEMBERS);
        // Ids of letters alone are no numbers and may stand without quotes.
        let said = if student.is_empty() { Cow::Borrowed(said.as_str()) } else { scrub::text(&said, student, "…") };
        self.row(standing, (tenant, letter.failed_at(), record.timestamp), range, |out| {
            text(out, standing.source);
            let source = letter.source();
            nullable(out, source, |out, (partition, _)| out.extend_from_slice(&partition.to_le_bytes()));
            nullable(out, source, |out, (_, offset)| out.extend_from_slice(&offset.to_le_bytes()));
            text(out, class(&letter));
            text(out, &said);
            out.extend_from_slice(&letter.truncated_from().unwrap_or(whole).to_le_bytes());
            instant(out, letter.failed_at());
        })
    }

    /// A row: the tenant, what the table has of its own, then the place and the days.
    fn row(
        &self,
        standing: Standing,
        (tenant, happened, received): (&str, Millis, Millis),
        range: &mut Range,
        own: impl FnOnce(&mut Vec<u8>),
    ) -> Made {
        let Standing { raw, partition, offset, today, .. } = standing;
        let kept = self.clocks.kept(raw, self.retention.days(raw, tenant), happened, received);
        if today.is_some_and(|today| kept.expires <= today) {
            return Made::Expired;
        }
        range.add(kept.expires, offset, |out| {
            text(out, tenant);
            own(out);
            instant(out, received);
            out.extend_from_slice(&partition.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            for day in [kept.from, kept.expires, kept.ttl] {
                out.extend_from_slice(&day.to_le_bytes());
            }
        });
        Made::Row
    }
}

/// A letter's class, if it is one word as ours are.
fn class<'a>(letter: &Letter<'a>) -> &'a str {
    let class = letter.class();
    let is_word =
        class.len() <= 32 && class.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
    if is_word { class } else { "" }
}

/// An object with further members; empty where there is nothing.
fn object<'a>(given: Option<&'a RawValue>, extra: &[(Cow<'a, str>, &'a RawValue)]) -> Cow<'a, str> {
    let given = given.map_or("", RawValue::get);
    if extra.is_empty() {
        return Cow::Borrowed(given);
    }
    let inner = given.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map_or("", str::trim);
    let mut out = String::with_capacity(given.len() + 64);
    out.push('{');
    out.push_str(inner);
    for (name, value) in extra {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::from(name.as_ref()).to_string());
        out.push(':');
        out.push_str(value.get());
    }
    out.push('}');
    Cow::Owned(out)
}

/// The topics that are copied, with their tables: of a dead-letter topic its source.
pub fn sources() -> impl Iterator<Item = (Raw, &'static str)> {
    [(Raw::Behavior, topic::BEHAVIOR), (Raw::ServiceEvents, topic::EVENTS)]
        .into_iter()
        .chain(topic::SOURCES.map(|source| (Raw::DeadLetters, source)))
}

/// The topic itself.
pub fn topic_of(raw: Raw, source: &str) -> String {
    match raw {
        Raw::Behavior | Raw::ServiceEvents => source.to_owned(),
        Raw::DeadLetters => topic::dead_letters(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_that_is_to_be_copied_has_its_table() {
        let copied: Vec<_> = topic::TOPICS.iter().filter(|topic| topic.copied).map(|topic| topic.name).collect();
        let with_tables: Vec<_> =
            sources().filter(|(raw, _)| *raw != Raw::DeadLetters).map(|(_, source)| source).collect();
        assert_eq!(with_tables, copied);
    }
}

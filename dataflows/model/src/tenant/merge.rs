//! A tenant's file and what was set otherwise: a three-way merge of what the file says now, what it said when it was
//! applied last, and what is on the log (as `kubectl apply` merges, whose *last-applied configuration* is the second).
//!
//! Law, for each part by itself: where the file says what it said before, the log's part stays; where it says something
//! else, that is newer than all that was set before, and the file's part is taken. A part that left the file is removed,
//! unless it was set otherwise since.

use super::{CivilDate, Period, Rule, ScheduledRule, TenantConfig};
use crate::fault::Fault;
use crate::ids::{PeriodId, Subject};
use crate::instant::Millis;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The header of a record on `aula.tenants.v1` with what the tenant's file said when it was applied last: its
/// configuration as JSON. Every record carries it on, since a compacted topic keeps the last one only.
pub const FILE: &str = "file";
/// The header with the hash of that configuration. In records of earlier versions it stands alone, and the value is the
/// file's.
pub const FILE_HASH: &str = "file-hash";

/// What a tenant's file said when it was applied last, as records carry it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its configuration, as JSON.
    pub file: Vec<u8>,
    /// The hash of its meaning.
    pub hash: String,
}

impl Applied {
    /// Of a record's headers and value; `None` where it says nothing of a file.
    pub fn of<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>, value: Option<&[u8]>) -> Option<Self> {
        let (mut file, mut hash) = (None, None);
        for (name, header) in headers {
            match name {
                FILE => file = Some(header),
                FILE_HASH => hash = Some(String::from_utf8_lossy(header).into_owned()),
                _ => {}
            }
        }
        Some(Self { hash: hash?, file: file.or(value)?.to_vec() })
    }

    /// Of a file that is applied now.
    pub fn now(file: &TenantConfig, hash: &str) -> Self {
        Self { file: file.to_json().to_string().into_bytes(), hash: hash.to_owned() }
    }

    /// The headers of a record.
    pub fn headers(&self) -> [(&'static str, &[u8]); 2] {
        [(FILE_HASH, self.hash.as_bytes()), (FILE, &self.file)]
    }
}

/// A part of a configuration that is merged by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The time zone.
    TimeZone,
    /// A period.
    Period(PeriodId),
    /// The rules of a subject (`None`: `"*"`).
    Rules(Option<Subject>),
    /// The rules of a subject that come into force at an instant.
    Scheduled(Option<Subject>, Millis),
}

/// What a merge does with a part, seen from what is on the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is new.
    Added,
    /// It becomes what the file says.
    Changed,
    /// It left the file.
    Removed,
    /// It stays as it was set over HTTP, and the file says something else.
    Kept,
}

/// What a merge does with one part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The part.
    pub part: Part,
    /// What is done with it.
    pub effect: Effect,
}

/// A merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The configuration that comes of it.
    pub config: TenantConfig,
    /// Parts that differ between the log and the configuration, or between it and the file.
    pub changes: Vec<Change>,
}

/// Merges a file. `applied`: what it said before, as far as it is known. `present`: what is on the log. `clock`: the
/// instant as of which all three are compared; `None` where it is not known, as on the event clock before a start.
/// The faults are those of parts that are right each by itself and do not go together.
pub fn merge(
    file: &TenantConfig,
    applied: Option<&TenantConfig>,
    present: Option<&TenantConfig>,
    clock: Option<Millis>,
) -> Result<Merged, Vec<Fault>> {
    let as_of = |config: &TenantConfig| clock.map_or_else(|| config.clone(), |clock| config.in_force(clock).0);
    let file = as_of(file);
    let (applied, present) = (applied.map(as_of), present.map(as_of));
    let of_file = parts(&file);
    let [of_applied, of_present] = [&applied, &present].map(|config| config.as_ref().map(parts).unwrap_or_default());
    let mut whole = BTreeMap::new();
    let mut changes = Vec::new();
    let mut all: Vec<&Part> = of_file.keys().chain(of_applied.keys()).chain(of_present.keys()).collect();
    all.sort_unstable();
    all.dedup();
    for part in all {
        let [now, before, there] = [&of_file, &of_applied, &of_present].map(|parts| parts.get(part));
        let unchanged = now == before;
        let (taken, effect) = match (now, there) {
            (now, there) if now == there => (now, None),
            // What was never in a file is nobody's but whose it is.
            (None, there) if before.is_none() => (there, None),
            (_, there) if unchanged => (there, Some(Effect::Kept)),
            (None, there) if there == before => (None, Some(Effect::Removed)),
            (None, there) => (there, Some(Effect::Kept)),
            (Some(_), None) => (now, Some(Effect::Added)),
            (Some(_), Some(_)) => (now, Some(Effect::Changed)),
        };
        whole.extend(taken.map(|value| (part.clone(), value.clone())));
        changes.extend(effect.map(|effect| Change { part: part.clone(), effect }));
    }
    let order = present.iter().chain([&file]).flat_map(|config| &config.rules).map(|rule| rule.subject.clone());
    let config = compose(&file, whole, order)?;
    Ok(Merged { config, changes })
}

/// A part's value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    TimeZone(String),
    Period(CivilDate, CivilDate),
    Rules(Vec<Arc<Rule>>),
}

fn parts(config: &TenantConfig) -> BTreeMap<Part, Value> {
    let mut parts = BTreeMap::from([(Part::TimeZone, Value::TimeZone(config.timezone.clone()))]);
    for Period { id, start, end } in &config.periods {
        parts.insert(Part::Period(id.clone()), Value::Period(*start, *end));
    }
    let now = config.rules.iter().map(|rule| (Part::Rules(rule.subject.clone()), rule));
    let later = config
        .scheduled
        .iter()
        .map(|ScheduledRule { effective_at, rule }| (Part::Scheduled(rule.subject.clone(), *effective_at), rule));
    for (part, rule) in now.chain(later) {
        match parts.entry(part).or_insert_with(|| Value::Rules(Vec::new())) {
            Value::Rules(rules) => rules.push(Arc::clone(rule)),
            Value::TimeZone(_) | Value::Period(..) => {}
        }
    }
    parts
}

/// The configuration of parts, checked as one from outside. Subjects in force come in an order as far as it names them.
fn compose(
    file: &TenantConfig,
    mut parts: BTreeMap<Part, Value>,
    order: impl Iterator<Item = Option<Subject>>,
) -> Result<TenantConfig, Vec<Fault>> {
    let mut timezone = file.timezone.clone();
    let (mut periods, mut rules) = (Vec::new(), Vec::new());
    for subject in order {
        if let Some(Value::Rules(own)) = parts.remove(&Part::Rules(subject)) {
            rules.extend(own.iter().map(|rule| json!(rule)));
        }
    }
    for (part, value) in parts {
        match (part, value) {
            (_, Value::TimeZone(zone)) => timezone = zone,
            (Part::Period(id), Value::Period(start, end)) => periods.push(json!(Period { id, start, end })),
            (Part::Scheduled(_, effective_at), Value::Rules(own)) => {
                rules.extend(own.into_iter().map(|rule| json!(ScheduledRule { effective_at, rule })));
            }
            (_, Value::Rules(own)) => rules.extend(own.iter().map(|rule| json!(rule))),
            (_, Value::Period(..)) => {}
        }
    }
    let whole = json!({ "tenant": file.tenant, "timezone": timezone, "period": periods, "rule": rules });
    TenantConfig::from_json(&whole)
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |subject: &Option<Subject>| subject.as_ref().map_or("*".to_owned(), ToString::to_string);
        match self {
            Self::TimeZone => f.write_str("the time zone"),
            Self::Period(id) => write!(f, "the period `{id}`"),
            Self::Rules(subject) => write!(f, "the rule of `{}`", name(subject)),
            Self::Scheduled(subject, at) => write!(f, "the rule of `{}` from {at} on", name(subject)),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Added => "added from the file",
            Effect::Changed => "changed to what the file says",
            Effect::Removed => "removed, as it left the file",
            Effect::Kept => "kept as it was set over HTTP, though the file says otherwise",
        };
        write!(f, "{}: {effect}", self.part)
    }
}

#[cfg(test)]
mod tests;

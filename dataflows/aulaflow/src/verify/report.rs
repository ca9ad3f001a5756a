//! What a verification found: counts, and the first differences.

use super::expected::Part;
use aulaflow_engine::batch::Batch;
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_plan::Plan;
use aulaflow_plan::sql::Relation;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Differences that are listed; the others are only counted.
const LISTED: usize = 50;

/// What a verification found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was read of each source partition.
    pub log: Vec<ReadFrom>,
    /// What was compared and is equal, or differs: how many of each kind.
    pub compared: BTreeMap<&'static str, u64>,
    /// What cannot be compared, by why.
    pub not_comparable: BTreeMap<String, u64>,
    /// What changed so often that no two looks agreed on which records it shows.
    pub moving: u64,
    /// How many differ.
    pub differences: u64,
    /// The first of them.
    pub first: Vec<Difference>,
    /// What to know to judge the rest.
    pub notes: Vec<String>,
}

/// How much of a source partition was read.
#[derive(Debug, Serialize)]
pub struct ReadFrom {
    topic: &'static str,
    partition: u32,
    from_offset: u64,
    to_offset: u64,
    /// Where records before it were removed: when the log took the first that is left.
    reaches_back_to: Option<String>,
}

/// Something that is shown and follows not from the log, or the other way round.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Whose; empty for what is of no tenant.
    pub tenant: String,
    /// Whose; none for what is of no student.
    pub student: Option<String>,
    /// A grade, a feature, a cohort, a dead letter.
    pub what: String,
    /// What is shown; null: nothing.
    pub shown: Value,
    /// What the log says.
    pub recomputed: Value,
}

#[cfg(test)]
impl ReadFrom {
    /// Whether it is events of a partition, and some.
    pub fn holds_events_of(&self, partition: u32) -> bool {
        (self.topic, self.partition) == (aulaflow_model::topic::BEHAVIOR, partition)
            && self.to_offset > self.from_offset
    }
}

impl Difference {
    /// Of a part of a profile, or of a tenant.
    pub fn of(tenant: &TenantId, student: Option<&StudentId>, part: Part) -> Self {
        Self {
            tenant: tenant.to_string(),
            student: student.map(ToString::to_string),
            what: format!("{} {}", part.kind, part.name),
            shown: part.shown.unwrap_or_default(),
            recomputed: part.recomputed.unwrap_or_default(),
        }
    }
}

impl Report {
    /// Whether there was nothing to compare: then that nothing differs says nothing.
    pub fn compared_nothing(&self) -> bool {
        self.compared.values().all(|count| *count == 0)
            && self.not_comparable.is_empty()
            && self.differences == 0
            && self.moving == 0
    }

    /// Of a recomputation, before anything is compared.
    pub fn new(plan: &Plan, batch: &Batch) -> Self {
        let mut report = Self::default();
        for ((topic, partition), reached) in batch.reached() {
            let reaches_back_to = reached.reaches_back_to.map(|at| at.to_string());
            report.log.push(ReadFrom {
                topic,
                partition: *partition,
                from_offset: reached.start,
                to_offset: reached.next,
                reaches_back_to,
            });
        }
        report.notes.push("Not compared: a row's version and updated_at, which only its history knows.".to_owned());
        if plan.views.iter().any(|view| view.serve && view.source == Relation::Grades) {
            let note = "Views over grades are recomputed with the grades' updated_at as shown.";
            report.notes.push(note.to_owned());
        }
        report
    }

    /// Adds what another verification of the same plan found.
    pub fn add(&mut self, other: Self) {
        self.log.extend(other.log);
        other.compared.into_iter().for_each(|(kind, count)| *self.compared.entry(kind).or_default() += count);
        other.not_comparable.into_iter().for_each(|(why, count)| *self.not_comparable.entry(why).or_default() += count);
        self.moving += other.moving;
        self.differences += other.differences;
        self.first.extend(other.first);
        self.first.truncate(LISTED);
        let new: Vec<_> = other.notes.into_iter().filter(|note| !self.notes.contains(note)).collect();
        self.notes.extend(new);
    }

    /// One more is equal.
    pub fn same(&mut self, kind: &'static str) {
        *self.compared.entry(kind).or_default() += 1;
    }

    /// One more differs.
    pub fn differs(&mut self, difference: Difference) {
        self.differences += 1;
        if self.first.len() < LISTED {
            self.first.push(difference);
        }
    }

    /// One more cannot be compared.
    pub fn untold(&mut self, why: &str) {
        *self.not_comparable.entry(why.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: u64 = self.log.iter().map(|read| read.to_offset - read.from_offset).sum();
        writeln!(f, "{records} records read from {} partitions", self.log.len())?;
        for read in self.log.iter().filter(|read| read.from_offset > 0) {
            let since = read.reaches_back_to.as_deref().unwrap_or("now");
            writeln!(
                f,
                "  {}/{} begins at offset {}, {since}: what was before is gone",
                read.topic, read.partition, read.from_offset
            )?;
        }
        for difference in &self.first {
            let whose = match &difference.student {
                Some(student) => format!("{}/{student}: ", difference.tenant),
                None if difference.tenant.is_empty() => String::new(),
                None => format!("{}: ", difference.tenant),
            };
            writeln!(f, "DIFFERS  {whose}{}", difference.what)?;
            writeln!(f, "    shown       {}\n    recomputed  {}", difference.shown, difference.recomputed)?;
        }
        if self.differences > self.first.len() as u64 {
            writeln!(f, "… and {} more", self.differences - self.first.len() as u64)?;
        }
        let compared: Vec<_> = self.compared.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        writeln!(f, "equal: {}", if compared.is_empty() { "nothing there".to_owned() } else { compared.join(", ") })?;
        for (why, count) in &self.not_comparable {
            writeln!(f, "not comparable: {count}: {why}")?;
        }
        if self.moving > 0 {
            let why = "changed each time they were looked at, or wait for records that are not visible";
            writeln!(f, "not compared: {} that {why}", self.moving)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        write!(f, "differences: {}", self.differences)
    }
}

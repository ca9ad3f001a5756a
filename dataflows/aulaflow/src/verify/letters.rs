//! The dead letters that there are against those that there must be: each record that cannot be used, once.

use super::{Difference, Offsets, Scope, Verifier};
use anyhow::{Context, Result};
use aulaflow_engine::Class;
use aulaflow_log::letters::{self, Letter};
use aulaflow_log::{Log, Offset};
use aulaflow_model::event::tenant_of_key;
use aulaflow_model::ids::StudentId;
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use aulaflow_plan::runtime::ClockMode;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Bytes read at a time.
const READ_BYTES: usize = 4 << 20;
/// How long an instance may take from showing what a record made of a view to writing the letters of those beside it: brokers
/// may be slow, and after a failed write it waits for seconds before it tries again.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
/// Time between two looks at all letters.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Refused because a set was full: which event finds it full depends on when it is read.
const LIMIT: &str = "limit";

/// A letter by the record that it was.
type Found = BTreeMap<(&'static str, u32, Offset), Vec<(String, Option<Millis>)>>;

impl Verifier<'_> {
    /// Views that count distinct values cannot be told of students with a letter for a full set.
    pub(super) fn letters_refused_for_a_limit(&mut self) -> Result<()> {
        let mut students = BTreeSet::new();
        each(self.log, &mut |_, letter| {
            let student = std::str::from_utf8(letter.key).ok().and_then(|key| key.split_once('/')).map(|(_, id)| id);
            if letter.class() == LIMIT
                && let (Some(tenant), Some(Ok(student))) = (tenant_of_key(letter.key), student.map(StudentId::new))
            {
                students.insert((tenant, student));
            }
        })?;
        students.into_iter().for_each(|(tenant, student)| self.batch.limited(tenant, student));
        Ok(())
    }

    /// Compares them. What is not written yet is waited for, a bounded time, where the instance goes on.
    pub(super) fn dead_letters(&mut self, due: Option<&Offsets>, scope: Scope) -> Result<()> {
        let before = if self.shown.moves() { self.shown.visible()? } else { Offsets::new() };
        let mut found = self.found()?;
        let begun = Instant::now();
        while self.shown.moves() && begun.elapsed() < WRITTEN_WITHIN && !self.missing(&found, due, &before).is_empty() {
            std::thread::sleep(LOOK_EVERY);
            found = self.found()?;
        }
        self.judge_found(&found, scope);
        for (place, class) in self.missing(&found, due, &before) {
            // When a record that has no letter was accepted is not known here.
            let since = scope.configured_since.is_some();
            if let Some(why) = self.undecided(Some(class.name()), None, since) {
                self.report.untold(why);
            } else {
                self.report.differs(difference(place, None, Some(class.name())));
            }
        }
        Ok(())
    }

    fn found(&self) -> Result<Found> {
        let mut found = Found::new();
        let reached = self.batch.reached();
        each(self.log, &mut |source, letter| {
            // Refused at the edge: never on the source topic.
            let Some((partition, offset)) = letter.source() else { return };
            let within = reached.get(&(source, partition)).is_some_and(|r| (r.start..r.next).contains(&offset));
            if within && letter.class() != LIMIT {
                let entry = (letter.class().to_owned(), letter.source_timestamp());
                found.entry((source, partition, offset)).or_default().push(entry);
            }
        })?;
        Ok(found)
    }

    fn class_of(&self, (source, partition, offset): (&'static str, u32, Offset)) -> Option<Class> {
        let letters = self.batch.letters().get(&(source, partition))?;
        letters.binary_search_by_key(&offset, |(offset, _)| *offset).ok().map(|at| letters[at].1)
    }

    fn judge_found(&mut self, found: &Found, scope: Scope) {
        for (place, letters) in found {
            let class = self.class_of(*place).map(Class::name);
            for (n, (shown, accepted)) in letters.iter().enumerate() {
                let old = scope.configured_since.is_some_and(|since| accepted.is_none_or(|at| at < since));
                if n == 0 && class == Some(shown.as_str()) {
                    self.report.same("dead letter");
                } else if n > 0 {
                    self.report.differs(difference(*place, Some(shown), Some("once only")));
                } else if let Some(why) = self.undecided(class, Some(shown), old) {
                    self.report.untold(why);
                } else {
                    self.report.differs(difference(*place, Some(shown), class));
                }
            }
        }
    }

    /// Why nobody can tell which of two verdicts on a record is right. `old`: it may have been read with another
    /// configuration.
    fn undecided(&self, one: Option<&str>, other: Option<&str>, old: bool) -> Option<&'static str> {
        let all = |classes: &[&str]| [one, other].into_iter().flatten().all(|class| classes.contains(&class));
        if old && all(&["late", "future", "expression", "size"]) {
            return Some("views and settings as they were when the record was read decide whether it is dead");
        }
        let event_clock = self.plan.runtime.engine.clock == ClockMode::Event;
        (event_clock && all(&["late", "expression"]))
            .then_some("the event clock's reading when the record was read decides whether it is late")
    }

    /// Letters that there must be and are not.
    fn missing(
        &self,
        found: &Found,
        due: Option<&Offsets>,
        visible: &Offsets,
    ) -> Vec<((&'static str, u32, Offset), Class)> {
        let mut missing = Vec::new();
        for ((source, partition), letters) in self.batch.letters() {
            let place = (*source, *partition);
            // What no checkpoint covers is written at the next start, if it was not written before.
            let until = due.and_then(|due| due.get(&place)).or_else(|| visible.get(&place)).copied();
            for (offset, class) in letters.iter().filter(|(offset, _)| until.is_none_or(|until| *offset < until)) {
                let place = (*source, *partition, *offset);
                if !found.contains_key(&place) {
                    missing.push((place, *class));
                }
            }
        }
        missing
    }
}

fn difference(
    (source, partition, offset): (&'static str, u32, Offset),
    shown: Option<&str>,
    recomputed: Option<&str>,
) -> Difference {
    Difference {
        what: format!("dead letter of {source}/{partition}/{offset}"),
        shown: shown.into(),
        recomputed: recomputed.into(),
        ..Difference::default()
    }
}

/// Every letter of every source topic.
fn each(log: &dyn Log, take: &mut dyn FnMut(&'static str, &Letter<'_>)) -> Result<()> {
    for (_, source) in topic::inputs() {
        let partitions = log.partitions(&topic::dead_letters(source));
        for partition in 0..partitions.context("the dead letters cannot be read")? {
            let mut offset = 0;
            loop {
                let next =
                    letters::read(log, source, partition, offset, READ_BYTES, &mut |letter| take(source, letter));
                let next = next.context("the dead letters cannot be read")?;
                if next == offset {
                    break;
                }
                offset = next;
            }
        }
    }
    Ok(())
}

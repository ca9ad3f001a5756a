//! Rules that come into force later: what a configuration says as of a clock, and when it says something else.

use super::{Lookup, Rule, TenantConfig, check};
use crate::fault::Fault;
use crate::ids::Subject;
use crate::instant::Millis;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// A rule that replaces the rules of its subject at an instant. Several for one subject and instant (for different
/// periods) replace them together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduledRule {
    /// The first instant at which it is in force.
    pub effective_at: Millis,
    /// The rule.
    pub rule: Arc<Rule>,
}

/// A rule as a caller sets it: at once, or from an instant on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleChange {
    /// The rule.
    pub rule: Rule,
    /// From when on; `None`: at once.
    pub effective_at: Option<Millis>,
}

impl RuleChange {
    /// Checks one rule for a subject (`None`: `"*"`), as [`Rule::from_json_for`]; it may have an `effective_at`.
    pub fn from_json_for(
        subject: Option<&Subject>,
        value: &serde_json::Value,
        pointer: &str,
    ) -> Result<Self, Vec<Fault>> {
        check::rule_change(value, pointer, subject)
    }
}

impl TenantConfig {
    /// The configuration as of a clock: scheduled rules whose time has come have replaced those of their subjects and
    /// are scheduled no more. With it the next instant at which it says something else.
    ///
    /// Whoever changes the rules of a configuration folds it first: an old schedule would replace the new rule.
    pub fn in_force(&self, clock: Millis) -> (Self, Option<Millis>) {
        let due = self.scheduled.partition_point(|scheduled| scheduled.effective_at <= clock);
        let (past, later) = self.scheduled.split_at(due);
        let mut rules = self.rules.clone();
        // They are in order of instant and subject.
        for together in past.chunk_by(|a, b| (a.effective_at, &a.rule.subject) == (b.effective_at, &b.rule.subject)) {
            rules = replaced(&rules, together.iter().map(|scheduled| scheduled.rule.clone()).collect());
        }
        let next = later.first().map(|scheduled| scheduled.effective_at);
        (Self { scheduled: later.to_vec(), ..self.with_rules(rules) }, next)
    }

    /// The configuration with this rule instead of all rules of its subject, also where the rule names periods that the
    /// configuration does not have: those it has nothing to say for. [`TenantConfig::with_rule`] checks.
    pub fn replacing(&self, rule: Arc<Rule>) -> Self {
        self.with_rules(replaced(&self.rules, vec![rule]))
    }

    /// The configuration without the rules of a subject (`None`: `"*"`). Scheduled ones stay.
    pub fn without_rule(&self, subject: Option<&Subject>) -> Self {
        self.with_rules(self.rules.iter().filter(|rule| rule.subject.as_ref() != subject).cloned().collect())
    }

    /// The configuration with this rule scheduled, instead of those of the same subject and instant. Faults point into
    /// the rule.
    pub fn with_scheduled(&self, scheduled: ScheduledRule) -> Result<Self, Vec<Fault>> {
        check::named_periods(self, &scheduled.rule)?;
        let same = |other: &ScheduledRule| {
            (other.effective_at, &other.rule.subject) == (scheduled.effective_at, &scheduled.rule.subject)
        };
        let mut all: Vec<_> = self.scheduled.iter().filter(|other| !same(other)).cloned().collect();
        all.push(scheduled);
        Ok(Self { scheduled: in_order(all), ..self.clone() })
    }

    /// The configuration without the rules that are scheduled for a subject (`None`: `"*"`).
    pub fn without_scheduled(&self, subject: Option<&Subject>) -> Self {
        let others = self.scheduled.iter().filter(|scheduled| scheduled.rule.subject.as_ref() != subject);
        Self { scheduled: others.cloned().collect(), ..self.clone() }
    }

    fn with_rules(&self, rules: Vec<Arc<Rule>>) -> Self {
        let lookup = Lookup::new(self.lookup.bounds.clone(), &rules);
        Self { rules, lookup, ..self.clone() }
    }
}

/// The rules with these, which are of one subject, instead of that subject's; where the first of them was.
fn replaced(rules: &[Arc<Rule>], with: Vec<Arc<Rule>>) -> Vec<Arc<Rule>> {
    let Some(subject) = with.first().map(|rule| rule.subject.clone()) else { return rules.to_vec() };
    let place = rules.iter().position(|other| other.subject == subject).unwrap_or(rules.len());
    let mut all: Vec<_> = rules.iter().filter(|other| other.subject != subject).cloned().collect();
    let place = place.min(all.len());
    all.splice(place..place, with);
    all
}

/// By instant and subject; those of one stay as given.
pub(super) fn in_order(mut scheduled: Vec<ScheduledRule>) -> Vec<ScheduledRule> {
    scheduled.sort_by(|a, b| (a.effective_at, &a.rule.subject).cmp(&(b.effective_at, &b.rule.subject)));
    scheduled
}

impl Serialize for ScheduledRule {
    /// The rule's members and `effective_at`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            effective_at: String,
            #[serde(flatten)]
            rule: &'a Rule,
        }
        Shown { effective_at: self.effective_at.to_string(), rule: &self.rule }.serialize(serializer)
    }
}

/// The rules of a configuration's record: those in force, then the scheduled ones, which have an `effective_at`.
pub(super) struct Rules<'a>(pub(super) &'a [Arc<Rule>], pub(super) &'a [ScheduledRule]);

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Entry<'a> {
            Now(&'a Rule),
            Later(&'a ScheduledRule),
        }
        let now = self.0.iter().map(|rule| Entry::Now(rule));
        serializer.collect_seq(now.chain(self.1.iter().map(Entry::Later)))
    }
}

//! A tenant's configuration: its calendar of periods and its grading rules, checked. How it is
//! read from JSON is in `check`, how dates become instants in `calendar`, rules that come later in `schedule`, and how a
//! file goes together with what was set otherwise in `merge`.

mod calendar;
mod check;
pub mod merge;
mod schedule;

pub use schedule::{RuleChange, ScheduledRule};

use crate::decimal::Decimal;
use crate::fault::{Fault, join};
use crate::ids::{EvaluationType, PeriodId, Subject, TenantId};
use crate::instant::Millis;
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// A tenant's configuration, checked. It is also the JSON of the record on `aula.tenants.v1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantConfig {
    /// Whose.
    pub tenant: TenantId,
    /// IANA name of the time zone that the periods' dates are in.
    pub timezone: String,
    /// Periods, in order of their start; they don't overlap.
    pub periods: Vec<Period>,
    /// Rules, in the order given.
    pub rules: Vec<Arc<Rule>>,
    /// Rules that replace others at an instant, in order of it. [`TenantConfig::in_force`] says what holds when.
    pub scheduled: Vec<ScheduledRule>,
    /// What follows from the fields above, so that no evaluation waits for a search or a time zone.
    lookup: Lookup,
}

/// Derived from a configuration's public fields; who changes those builds a new configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Lookup {
    /// Per period, in order: its first instant and the first one after it.
    bounds: Vec<(Millis, Millis)>,
    /// Places of the rules with a subject of their own.
    own: BTreeMap<Subject, Vec<usize>>,
    /// Places of the rules for `"*"`.
    general: Vec<usize>,
}

/// A grading period: local dates, both inclusive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Period {
    /// Its name.
    pub id: PeriodId,
    /// First day, `YYYY-MM-DD`.
    pub start: CivilDate,
    /// Last day.
    pub end: CivilDate,
}

/// A calendar date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CivilDate(pub jiff::civil::Date);

/// How to consolidate a student's evaluations of one subject and period.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rule {
    /// The subject it is for; `None` (`"*"`): subjects without a rule of their own.
    #[serde(serialize_with = "subject_or_star")]
    pub subject: Option<Subject>,
    /// The periods it is for; `None` (`["*"]`): all.
    #[serde(serialize_with = "periods_or_star")]
    pub periods: Option<Vec<PeriodId>>,
    /// Category weights, or `"items"`.
    pub weights: Weights,
    /// The smallest passing score, on the rule's scale.
    pub min_passing: Decimal,
    /// The scale of the result.
    pub scale: Scale,
    /// Once, at the end.
    pub rounding: Rounding,
    /// What a category without evaluations does to the result.
    pub absent_category: AbsentCategory,
    /// Whether scores above `max_score` count as such; else they count as `max_score`.
    pub extra_credit: bool,
    /// How each category is combined; categories not named here use the default: `mean`, no drops.
    #[serde(rename = "category")]
    pub categories: BTreeMap<EvaluationType, Category>,
}

/// What weighs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weights {
    /// Each category its weight.
    Categories(BTreeMap<EvaluationType, Decimal>),
    /// One category of everything, combined by the evaluations' own weights.
    Items,
}

/// The scale of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Scale {
    /// Score of a student with nothing right.
    pub min: Decimal,
    /// Score of a student with everything right.
    pub max: Decimal,
}

/// Rounding of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rounding {
    /// What happens to ties and to the rest.
    pub mode: RoundingMode,
    /// Fractional digits: 0 to 6.
    pub decimals: u8,
}

/// Rounding modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundingMode {
    /// To the nearest; ties away from zero.
    HalfUp,
    /// To the nearest; ties to the even digit.
    HalfEven,
    /// Toward zero.
    Down,
}

/// What an absent category does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsentCategory {
    /// Its weight is spread over the others.
    Renormalise,
    /// It counts as 0.
    Zero,
}

/// How a category's evaluations become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Category {
    /// The combination.
    pub combine: Combine,
    /// How many of the smallest normalised scores to leave out; never the last one.
    pub drop_lowest: u32,
}

/// Combinations of a category's evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// The mean of the normalised scores.
    Mean,
    /// Weighted by each evaluation's weight.
    Weighted,
    /// Sum of scores over sum of maximum scores.
    Points,
}

impl Category {
    /// The combination of a category that the rule says nothing of.
    pub const DEFAULT: Self = Self { combine: Combine::Mean, drop_lowest: 0 };
}

impl Default for Category {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TenantConfig {
    /// Checks a tenant's configuration from outside, TOML (turned into JSON values) or JSON. All faults at once.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, Vec<Fault>> {
        check::config(value)
    }

    /// What a configuration from outside allows and probably does not mean. Of one with faults, what can be read of it.
    pub fn warnings(value: &serde_json::Value) -> Vec<Fault> {
        check::warnings(value)
    }

    /// Checks the JSON text of a configuration, such as a record's value on `aula.tenants.v1`.
    pub fn from_json_slice(json: &[u8]) -> Result<Self, Vec<Fault>> {
        Self::from_json(&crate::fields::parse_json(json)?)
    }

    /// A tenant without periods and rules: nothing of it has a grade.
    pub fn empty(tenant: TenantId) -> Self {
        Self {
            tenant,
            timezone: "UTC".to_owned(),
            periods: Vec::new(),
            rules: Vec::new(),
            scheduled: Vec::new(),
            lookup: Lookup::default(),
        }
    }

    /// The JSON of the record on `aula.tenants.v1`; [`TenantConfig::from_json_slice`] reads it back.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
    }

    /// The configuration with this rule instead of all rules of its subject (or of `"*"`). Faults point into the rule.
    /// Scheduled rules stay.
    pub fn with_rule(&self, rule: Rule) -> Result<Self, Vec<Fault>> {
        check::with_rule(self, rule)
    }

    /// The configuration with these periods instead of its own. Faults point into the list, which is at `pointer`.
    pub fn with_periods(&self, periods: Vec<Period>, pointer: &str) -> Result<Self, Vec<Fault>> {
        check::with_periods(self, periods, pointer)
    }

    /// The period that holds an instant, by the tenant's calendar.
    pub fn period_at(&self, at: Millis) -> Option<&PeriodId> {
        let after = self.lookup.bounds.partition_point(|(start, _)| *start <= at);
        let i = after.checked_sub(1)?;
        let (_, end) = self.lookup.bounds.get(i)?;
        if at < *end { self.periods.get(i).map(|period| &period.id) } else { None }
    }

    /// The instants that a period covers: `[start, end)`.
    pub fn period_bounds(&self, period: &PeriodId) -> Option<(Millis, Millis)> {
        let i = self.periods.iter().position(|p| p.id == *period)?;
        self.lookup.bounds.get(i).copied()
    }

    /// The rule for a subject and period that is in force, schedules aside: the subject's own first, else a `"*"` rule; among several the
    /// one that names the period first.
    pub fn rule_for(&self, subject: &Subject, period: &PeriodId) -> Option<&Arc<Rule>> {
        let among = |places: &[usize]| {
            let rules = || places.iter().filter_map(|i| self.rules.get(*i));
            let named = rules().find(|rule| rule.periods.as_ref().is_some_and(|periods| periods.contains(period)));
            named.or_else(|| rules().find(|rule| rule.periods.is_none()))
        };
        self.lookup.own.get(subject).and_then(|places| among(places)).or_else(|| among(&self.lookup.general))
    }
}

impl Lookup {
    fn new(bounds: Vec<(Millis, Millis)>, rules: &[Arc<Rule>]) -> Self {
        let mut lookup = Self { bounds, ..Self::default() };
        for (i, rule) in rules.iter().enumerate() {
            match &rule.subject {
                Some(subject) => lookup.own.entry(subject.clone()).or_default().push(i),
                None => lookup.general.push(i),
            }
        }
        lookup
    }
}

impl Rule {
    /// Checks one rule from outside; pointers are relative to `pointer`.
    pub fn from_json(value: &serde_json::Value, pointer: &str) -> Result<Self, Vec<Fault>> {
        check::rule(value, pointer, None)
    }

    /// Checks one rule for a subject (`None`: `"*"`) named elsewhere, such as in a path. The rule may leave its
    /// `subject` out; another one than this is a fault.
    pub fn from_json_for(
        subject: Option<&Subject>,
        value: &serde_json::Value,
        pointer: &str,
    ) -> Result<Self, Vec<Fault>> {
        check::rule(value, pointer, Some(subject))
    }

    /// What is allowed and probably not meant; pointers are relative to `pointer`.
    pub fn warnings(&self, pointer: &str) -> Vec<Fault> {
        let Weights::Categories(weights) = &self.weights else { return Vec::new() };
        let pointer = format!("{pointer}/weights");
        if weights.values().all(|weight| *weight == Decimal::ZERO) {
            return vec![Fault::new(pointer, "add up to 0, so that no grade of this rule has a score")];
        }
        let idle = weights.iter().filter(|(_, weight)| **weight == Decimal::ZERO);
        let warn = |(category, _): (&EvaluationType, _)| {
            Fault::new(join(&pointer, category.as_str()), "is 0, so that evaluations of this type count for nothing")
        };
        idle.map(warn).collect()
    }

    /// How a category is combined.
    pub fn category(&self, category: &EvaluationType) -> &Category {
        self.categories.get(category).unwrap_or(&Category::DEFAULT)
    }

    /// A short hash of the rule's meaning: equal rules, equal versions.
    ///
    /// The meaning is how a grade is computed, with every default written out. Subject and periods say which grades
    /// the rule is for and are left out: adding a period to a rule leaves the rows of the others as they are.
    pub fn version(&self) -> String {
        let mut canonical = String::from("v1");
        // Writing to a string cannot fail.
        let _ = self.write_canonical(&mut canonical);
        let digest = Sha256::digest(canonical.as_bytes());
        let mut version = String::from("r-");
        for byte in digest.iter().take(6) {
            let _ = write!(version, "{byte:02x}");
        }
        version
    }

    /// One line per fact, names quoted, in the order of the names: injective, and independent of how it was written.
    fn write_canonical(&self, out: &mut String) -> std::fmt::Result {
        match &self.weights {
            Weights::Items => write!(out, "\nweights items")?,
            Weights::Categories(weights) => {
                for (category, weight) in weights {
                    let Category { combine, drop_lowest } = self.category(category);
                    write!(out, "\ncategory {:?} {weight} {combine:?} {drop_lowest}", category.as_str())?;
                }
            }
        }
        write!(out, "\nmin_passing {}\nscale {} {}", self.min_passing, self.scale.min, self.scale.max)?;
        write!(out, "\nrounding {:?} {}", self.rounding.mode, self.rounding.decimals)?;
        write!(out, "\nabsent_category {:?}\nextra_credit {}", self.absent_category, self.extra_credit)
    }
}

impl Period {
    /// Checks an array of periods from outside, each by itself; how they go together is checked by
    /// [`TenantConfig::with_periods`].
    pub fn list_from_json(value: &serde_json::Value, pointer: &str) -> Result<Vec<Self>, Vec<Fault>> {
        check::period_list(value, pointer)
    }
}

impl Serialize for TenantConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut config = s.serialize_struct("TenantConfig", 4)?;
        config.serialize_field("tenant", &self.tenant)?;
        config.serialize_field("timezone", &self.timezone)?;
        config.serialize_field("period", &self.periods)?;
        config.serialize_field("rule", &schedule::Rules(&self.rules, &self.scheduled))?;
        config.end()
    }
}

impl std::fmt::Display for CivilDate {
    /// `YYYY-MM-DD`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Weights {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Categories(weights) => weights.serialize(s),
            Self::Items => s.serialize_str("items"),
        }
    }
}

fn subject_or_star<S: Serializer>(subject: &Option<Subject>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(subject.as_ref().map_or("*", Subject::as_str))
}

fn periods_or_star<S: Serializer>(periods: &Option<Vec<PeriodId>>, s: S) -> Result<S::Ok, S::Error> {
    match periods {
        Some(periods) => periods.serialize(s),
        None => {
            let mut star = s.serialize_seq(Some(1))?;
            star.serialize_element("*")?;
            star.end()
        }
    }
}

#[cfg(test)]
mod tests;

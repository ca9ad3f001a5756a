//! A tenant's configuration from JSON values: every fault with its pointer, then the checked types.

use super::{
    AbsentCategory, Category, CivilDate, Combine, Lookup, Period, Rounding, RoundingMode, Rule, RuleChange, Scale,
    ScheduledRule, TenantConfig, Weights, calendar, schedule,
};
use crate::decimal::Decimal;
use crate::fault::{Fault, join, suggestion};
use crate::fields::{Faults, Field, Fields};
use crate::ids::{EvaluationType, PeriodId, Subject, TenantId};
use crate::instant::Millis;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

const CONFIG_KEYS: &[&str] = &["tenant", "timezone", "period", "rule"];
const PERIOD_KEYS: &[&str] = &["id", "start", "end"];
const RULE_KEYS: &[&str] = &[
    "subject",
    "periods",
    "weights",
    "min_passing",
    "scale",
    "rounding",
    "absent_category",
    "extra_credit",
    "category",
];
/// Of a rule that may come into force later.
const RULE_CHANGE_KEYS: &[&str] = &[
    "subject",
    "periods",
    "weights",
    "min_passing",
    "scale",
    "rounding",
    "absent_category",
    "extra_credit",
    "category",
    "effective_at",
];

/// The most fractional digits of a result: as many as a decimal has.
const DECIMALS_MAX: i64 = 6;

/// More evaluations than this to drop is a slip of the keyboard.
const DROP_LOWEST_MAX: i64 = 1_000_000;

pub(super) fn config(value: &Value) -> Result<TenantConfig, Vec<Fault>> {
    let faults = Faults::default();
    let config = read_config(&Field::root(value, "", &faults));
    faults.finish(config)
}

pub(super) fn warnings(value: &Value) -> Vec<Fault> {
    let faults = Faults::default();
    let Some(fields) = Field::root(value, "", &faults).table(CONFIG_KEYS) else { return Vec::new() };
    let rules = fields.array("rule");
    let of = |field: &Field<'_>| Some(read_rule_change(field, None)?.rule.warnings(field.pointer()));
    rules.iter().filter_map(of).flatten().collect()
}

pub(super) fn rule(value: &Value, pointer: &str, given: Option<Option<&Subject>>) -> Result<Rule, Vec<Fault>> {
    let faults = Faults::default();
    let rule = Field::root(value, pointer, &faults).table(RULE_KEYS).and_then(|fields| read_rule(&fields, given));
    faults.finish(rule)
}

pub(super) fn rule_change(value: &Value, pointer: &str, given: Option<&Subject>) -> Result<RuleChange, Vec<Fault>> {
    let faults = Faults::default();
    let change = read_rule_change(&Field::root(value, pointer, &faults), Some(given));
    faults.finish(change)
}

pub(super) fn period_list(value: &Value, pointer: &str) -> Result<Vec<Period>, Vec<Fault>> {
    let faults = Faults::default();
    let list = Field::root(value, pointer, &faults).array();
    let periods = list.map(|list| list.iter().filter_map(read_period).collect());
    faults.finish(periods)
}

pub(super) fn with_rule(config: &TenantConfig, rule: Rule) -> Result<TenantConfig, Vec<Fault>> {
    named_periods(config, &rule)?;
    Ok(config.replacing(Arc::new(rule)))
}

/// Whether a rule names only periods of the configuration.
pub(super) fn named_periods(config: &TenantConfig, rule: &Rule) -> Result<(), Vec<Fault>> {
    let faults = Faults::default();
    let known: HashSet<&PeriodId> = config.periods.iter().map(|period| &period.id).collect();
    check_named_periods(rule, "", &known, &faults);
    faults.finish(Some(()))
}

pub(super) fn with_periods(
    config: &TenantConfig,
    periods: Vec<Period>,
    pointer: &str,
) -> Result<TenantConfig, Vec<Fault>> {
    let faults = Faults::default();
    let placed = periods.into_iter().enumerate().map(|(i, period)| (format!("{pointer}/{i}"), period)).collect();
    let zone = calendar::time_zone(&config.timezone).map_err(|detail| vec![Fault::new("/timezone", detail)])?;
    let (periods, bounds) = check_periods(placed, Some(&zone), &faults);
    let known: HashSet<&PeriodId> = periods.iter().map(|period| &period.id).collect();
    let scheduled = config.scheduled.iter().map(|scheduled| &scheduled.rule);
    for rule in config.rules.iter().chain(scheduled).filter(|_| !known.is_empty()) {
        for period in rule.periods.iter().flatten().filter(|period| !known.contains(*period)) {
            let subject = rule.subject.as_ref().map_or("*", Subject::as_str);
            faults.add(pointer, format!("the rule for `{subject}` names the period `{period}`, which is not here"));
        }
    }
    let lookup = Lookup::new(bounds, &config.rules);
    faults.finish(Some(TenantConfig { periods, lookup, ..config.clone() }))
}

fn read_config(root: &Field<'_>) -> Option<TenantConfig> {
    let fields = root.table(CONFIG_KEYS)?;
    let tenant = fields.need("tenant").and_then(|field| field.parse(str::parse::<TenantId>));
    let zone = match fields.get("timezone") {
        Some(field) => read_zone(&field),
        None => Some(("UTC".to_owned(), TimeZone::UTC)),
    };
    let periods_given = fields.array("period");
    let placed: Vec<_> = periods_given.iter().filter_map(|f| Some((f.pointer().to_owned(), read_period(f)?))).collect();
    // A period that could not be read may be the one that a rule names.
    let all_read = placed.len() == periods_given.len();
    let (periods, bounds) = check_periods(placed, zone.as_ref().map(|(_, zone)| zone), fields.faults());
    let known: HashSet<&PeriodId> = if all_read { periods.iter().map(|p| &p.id).collect() } else { HashSet::new() };

    let mut changes = Vec::new();
    for field in fields.array("rule") {
        if let Some(change) = read_rule_change(&field, None) {
            check_named_periods(&change.rule, field.pointer(), &known, fields.faults());
            changes.push((field.pointer().to_owned(), change));
        }
    }
    check_duplicates(&changes, fields.faults());
    let (mut rules, mut scheduled) = (Vec::new(), Vec::new());
    for (_, RuleChange { rule, effective_at }) in changes {
        let rule = Arc::new(rule);
        match effective_at {
            None => rules.push(rule),
            Some(effective_at) => scheduled.push(ScheduledRule { effective_at, rule }),
        }
    }
    let (lookup, scheduled) = (Lookup::new(bounds, &rules), schedule::in_order(scheduled));
    Some(TenantConfig { tenant: tenant?, timezone: zone?.0, periods, rules, scheduled, lookup })
}

/// The zone and its name as the database spells it, so that equal zones are written equally.
fn read_zone(field: &Field<'_>) -> Option<(String, TimeZone)> {
    let name = field.string()?;
    match calendar::time_zone(name) {
        Ok(zone) => Some((zone.iana_name().unwrap_or(name).to_owned(), zone)),
        Err(detail) => {
            field.fault(detail);
            None
        }
    }
}

fn read_period(field: &Field<'_>) -> Option<Period> {
    let fields = field.table(PERIOD_KEYS)?;
    let id = fields.need("id").and_then(|field| read_period_id(&field));
    let date = |key| fields.need(key).and_then(|field| field.parse(parse_date));
    let (start, end) = (date("start"), date("end"));
    Some(Period { id: id?, start: start?, end: end? })
}

fn read_period_id(field: &Field<'_>) -> Option<PeriodId> {
    let id = field.parse(str::parse::<PeriodId>)?;
    if id.as_str() == "*" {
        field.fault("`*` stands for all periods and cannot be one");
        return None;
    }
    Some(id)
}

/// `YYYY-MM-DD` and nothing else: jiff alone would also take `20260115` and dates with a time.
fn parse_date(text: &str) -> Result<CivilDate, &'static str> {
    let parsed = if text.len() == 10 { text.parse().ok() } else { None };
    parsed.map(CivilDate).ok_or("is not a date such as 2026-01-15")
}

type Bounds = Vec<(crate::instant::Millis, crate::instant::Millis)>;

/// Sorts the periods by their start and checks how they go together; each comes with its pointer.
fn check_periods(mut placed: Vec<(String, Period)>, zone: Option<&TimeZone>, faults: &Faults) -> (Vec<Period>, Bounds) {
    let mut seen: HashSet<&PeriodId> = HashSet::new();
    for (pointer, period) in &placed {
        if !seen.insert(&period.id) {
            faults.add(join(pointer, "id"), format!("the period `{}` is there twice", period.id));
        }
        if period.start > period.end {
            faults.add(join(pointer, "end"), format!("ends on {}, before its start on {}", period.end, period.start));
        }
    }
    placed.sort_by_key(|(_, period)| (period.start, period.end));
    // Against the one that reaches farthest, not only against the one before: a long period may hold several.
    let mut farthest: Option<&Period> = None;
    for (pointer, period) in &placed {
        if let Some(other) = farthest.filter(|other| period.start <= other.end) {
            let days = format!("`{}` ({} to {})", other.id, other.start, other.end);
            faults.add(join(pointer, "start"), format!("starts on {}, within the period {days}", period.start));
        }
        if farthest.is_none_or(|other| other.end < period.end) {
            farthest = Some(period);
        }
    }
    let mut bounds = Bounds::new();
    if let Some(zone) = zone {
        bounds.extend(placed.iter().map(|(_, period)| calendar::bounds(period, zone)));
    }
    (placed.into_iter().map(|(_, period)| period).collect(), bounds)
}

/// A rule may only name periods that there are; where none are given (or none could be read) nothing is known.
fn check_named_periods(rule: &Rule, pointer: &str, known: &HashSet<&PeriodId>, faults: &Faults) {
    if known.is_empty() {
        return;
    }
    for (i, period) in rule.periods.iter().flatten().enumerate().filter(|(_, period)| !known.contains(period)) {
        let near = suggestion(period.as_str(), known.iter().map(|id| id.as_str()));
        faults.add(format!("{pointer}/periods/{i}"), format!("there is no period `{period}`{near}"));
    }
}

/// Two rules of one subject that name the same period (or both name all) leave open which of them counts, unless they
/// come into force one after the other.
fn check_duplicates(rules: &[(String, RuleChange)], faults: &Faults) {
    type Claim<'a> = (Option<&'a Subject>, Option<&'a PeriodId>, Option<Millis>);
    let mut seen: HashMap<Claim<'_>, &str> = HashMap::new();
    for (pointer, RuleChange { rule, effective_at }) in rules {
        let subject = rule.subject.as_ref();
        let shown = subject.map_or("*", Subject::as_str);
        let named =
            rule.periods.iter().flatten().enumerate().map(|(i, period)| (Some(period), format!("/periods/{i}")));
        let all = rule.periods.is_none().then(|| (None, "/subject".to_owned()));
        for (period, place) in named.chain(all) {
            let Some(first) = seen.get(&(subject, period, *effective_at)) else {
                seen.insert((subject, period, *effective_at), pointer);
                continue;
            };
            let what = period.map_or("all periods".to_owned(), |period| format!("the period `{period}`"));
            faults.add(format!("{pointer}{place}"), format!("`{shown}` already has a rule for {what}, at {first}"));
        }
    }
}

fn read_rule_change(field: &Field<'_>, given: Option<Option<&Subject>>) -> Option<RuleChange> {
    let fields = field.table(RULE_CHANGE_KEYS)?;
    let effective_at = match fields.get("effective_at") {
        None => Some(None),
        Some(field) => field.parse(Millis::parse_rfc3339).map(Some),
    };
    let rule = read_rule(&fields, given);
    Some(RuleChange { rule: rule?, effective_at: effective_at? })
}

/// `given`: the subject that the rule is for by other means.
fn read_rule(fields: &Fields<'_>, given: Option<Option<&Subject>>) -> Option<Rule> {
    let subject = read_subject(fields, given);
    let periods = read_periods(fields);
    let weights = fields.need("weights").and_then(|field| read_weights(&field));
    let scale = read_scale(fields);
    let min_passing = match fields.get("min_passing") {
        Some(field) => field.decimal(),
        None => scale.map(default_min_passing),
    };
    if let (Some(scale), Some(min)) = (scale, min_passing)
        && !(scale.min..=scale.max).contains(&min)
    {
        fields.fault("min_passing", format!("must lie on the scale, {} to {}", scale.min, scale.max));
    }
    let rounding = read_rounding(fields);
    let absent_category = fields.get("absent_category").map_or(Some(AbsentCategory::Renormalise), |field| {
        field.choice(&[("renormalise", AbsentCategory::Renormalise), ("zero", AbsentCategory::Zero)])
    });
    let extra_credit = fields.get("extra_credit").map_or(Some(false), |field| field.bool());
    let categories = read_categories(fields, weights.as_ref());
    Some(Rule {
        subject: subject?,
        periods: periods?,
        weights: weights?,
        min_passing: min_passing?,
        scale: scale?,
        rounding: rounding?,
        absent_category: absent_category?,
        extra_credit: extra_credit?,
        categories: categories?,
    })
}

fn read_subject(fields: &Fields<'_>, given: Option<Option<&Subject>>) -> Option<Option<Subject>> {
    let field = match given {
        Some(subject) if !fields.has("subject") => return Some(subject.cloned()),
        Some(_) | None => fields.need("subject")?,
    };
    let subject = match field.string()? {
        "*" => None,
        _ => Some(field.parse(str::parse::<Subject>)?),
    };
    if let Some(given) = given.filter(|given| *given != subject.as_ref()) {
        field.fault(format!("this is the rule for `{}`", given.map_or("*", Subject::as_str)));
    }
    Some(subject)
}

/// `["*"]` (the default) is all periods.
fn read_periods(fields: &Fields<'_>) -> Option<Option<Vec<PeriodId>>> {
    let Some(field) = fields.get("periods") else {
        return Some(None);
    };
    let elements = field.array()?;
    if elements.is_empty() {
        field.fault("must name at least one period; `[\"*\"]` is all of them");
        return None;
    }
    if let [only] = elements.as_slice()
        && only.value() == "*"
    {
        return Some(None);
    }
    let count = elements.len();
    let mut periods: Vec<PeriodId> = Vec::with_capacity(count);
    for element in elements {
        if element.value() == "*" {
            element.fault("`*` is all periods and stands alone");
        } else if let Some(period) = element.parse(str::parse::<PeriodId>) {
            if periods.contains(&period) {
                element.fault(format!("the period `{period}` is named twice"));
            } else {
                periods.push(period);
            }
        }
    }
    (periods.len() == count).then_some(Some(periods))
}

fn read_weights(field: &Field<'_>) -> Option<Weights> {
    match field.value() {
        Value::String(text) if text == "items" => return Some(Weights::Items),
        Value::Object(_) => {}
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            field.expected("a table of weights or \"items\"");
            return None;
        }
    }
    let entries = field.entries()?;
    if entries.is_empty() {
        field.fault("must name at least one type with its weight");
        return None;
    }
    let count = entries.len();
    let mut weights = BTreeMap::new();
    for (key, entry) in entries {
        if let (Some(category), Some(weight)) = (read_category_name(key, &entry), entry.decimal()) {
            if weight < Decimal::ZERO {
                entry.fault("must not be negative");
            }
            weights.insert(category, weight);
        }
    }
    (weights.len() == count).then_some(Weights::Categories(weights))
}

fn read_category_name(key: &str, entry: &Field<'_>) -> Option<EvaluationType> {
    EvaluationType::new(key).map_err(|error| entry.fault(format!("the name of the type {error}"))).ok()
}

fn read_scale(fields: &Fields<'_>) -> Option<Scale> {
    let default = Scale { min: Decimal::ZERO, max: Decimal::from_int(100) };
    let Some(field) = fields.get("scale") else {
        return Some(default);
    };
    let table = field.table(&["min", "max"])?;
    let min = table.get("min").map_or(Some(default.min), |field| field.decimal());
    let max = table.get("max").map_or(Some(default.max), |field| field.decimal());
    let scale = Scale { min: min?, max: max? };
    if scale.min >= scale.max {
        field.fault(format!("`min` ({}) must be below `max` ({})", scale.min, scale.max));
        return None;
    }
    Some(scale)
}

/// 60 % of the scale, to the nearest millionth.
fn default_min_passing(scale: Scale) -> Decimal {
    let width = scale.max.micros() - scale.min.micros();
    Decimal::from_micros(scale.min.micros() + (width * 6 + 5) / 10)
}

fn read_rounding(fields: &Fields<'_>) -> Option<Rounding> {
    let default = Rounding { mode: RoundingMode::HalfUp, decimals: 2 };
    let Some(field) = fields.get("rounding") else {
        return Some(default);
    };
    let table = field.table(&["mode", "decimals"])?;
    let modes =
        [("half_up", RoundingMode::HalfUp), ("half_even", RoundingMode::HalfEven), ("down", RoundingMode::Down)];
    let mode = table.get("mode").map_or(Some(default.mode), |field| field.choice(&modes));
    let decimals = table.get("decimals").map_or(Some(i64::from(default.decimals)), |f| f.integer(0..=DECIMALS_MAX));
    Some(Rounding { mode: mode?, decimals: u8::try_from(decimals?).ok()? })
}

fn read_categories(fields: &Fields<'_>, weights: Option<&Weights>) -> Option<BTreeMap<EvaluationType, Category>> {
    let Some(field) = fields.get("category") else {
        return Some(BTreeMap::new());
    };
    let entries = field.entries()?;
    if matches!(weights, Some(Weights::Items)) && !entries.is_empty() {
        field.fault("has no meaning with `weights = \"items\"`, which combines everything `weighted`");
    }
    let count = entries.len();
    let mut categories = BTreeMap::new();
    for (key, entry) in entries {
        if let Some(Weights::Categories(weights)) = weights
            && !weights.contains_key(key)
        {
            let near = suggestion(key, weights.keys().map(EvaluationType::as_str));
            entry.fault(format!("the type has no weight in `weights`{near}"));
        }
        if let (Some(name), Some(category)) = (read_category_name(key, &entry), read_category(&entry)) {
            categories.insert(name, category);
        }
    }
    (categories.len() == count).then_some(categories)
}

fn read_category(field: &Field<'_>) -> Option<Category> {
    let table = field.table(&["combine", "drop_lowest"])?;
    let combinations = [("mean", Combine::Mean), ("weighted", Combine::Weighted), ("points", Combine::Points)];
    let combine = table.get("combine").map_or(Some(Category::DEFAULT.combine), |field| field.choice(&combinations));
    let drop = table.get("drop_lowest").map_or(Some(0), |field| field.integer(0..=DROP_LOWEST_MAX));
    Some(Category { combine: combine?, drop_lowest: u32::try_from(drop?).ok()? })
}

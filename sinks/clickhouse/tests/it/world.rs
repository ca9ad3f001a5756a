//! A made-up dataflow: what it shows after each epoch follows from a seed. It can be stopped, killed, and gone on with from an
//! earlier epoch, as an engine is from its checkpoint.

use crate::proxy::Random;
use aulaflow_clickhouse::PseudonymKeys;
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow};
use aulaflow_model::decimal::MICROS;
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_sink::update::{ChangeBatch, FeatureChange, GradeChange, StudentChange};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// 2026-02-27 12:00 UTC: some epochs later it is another month.
const T0: i64 = 1_772_193_600_000;
const PERIOD: &str = "2026-Q1";
const STUDENTS: u64 = 24;
pub const WORKERS: usize = 2;

/// A student's rows.
#[derive(Debug, Clone, Default, PartialEq)]
struct Shown {
    grades: BTreeMap<String, GradeRow>,
    features: [Option<FeatureRow>; 2],
}

type Key = (TenantId, StudentId);
pub type State = BTreeMap<Key, ShownRows>;
/// What is shown of a student.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShownRows(Shown);

/// The epochs' times, and what is shown after each.
pub struct World {
    pub times: Vec<ClockTime>,
    pub states: Vec<State>,
}

impl World {
    pub fn new(random: &mut Random, epochs: usize) -> Self {
        let (mut times, mut states) = (vec![ClockTime::at(Millis(T0))], vec![State::new()]);
        let mut clock = T0;
        for _ in 0..epochs {
            clock += 1 + random.below(2_400_000) as i64;
            let mut state = states.last().unwrap().clone();
            for _ in 0..random.below(9) {
                change(random, &mut state, Millis(clock));
            }
            times.push(ClockTime::at(Millis(clock)));
            states.push(state);
        }
        // What is compared a day later is recorded another day later.
        for day in 1..=2 {
            times.push(ClockTime::at(Millis(clock + day * 86_400_000)));
            states.push(states.last().unwrap().clone());
        }
        Self { times, states }
    }

    pub fn last(&self) -> usize {
        self.times.len() - 1
    }

    /// What changes from one epoch to a later one, by worker.
    pub fn batches(&self, from: &State, to: usize) -> Vec<ChangeBatch> {
        let (now, time) = (&self.states[to], self.times[to]);
        let mut batches: Vec<_> = (0..WORKERS).map(|_| ChangeBatch { time, changes: Vec::new() }).collect();
        let keys: BTreeSet<_> = from.keys().chain(now.keys()).collect();
        let nothing = ShownRows::default();
        for key in keys {
            let (old, new) = (&from.get(key).unwrap_or(&nothing).0, &now.get(key).unwrap_or(&nothing).0);
            let change = difference(key, old, new);
            if !change.grades.is_empty() || !change.features.is_empty() {
                batches[key.1.as_str().len() % WORKERS].changes.push(change);
            }
        }
        batches
    }
}

fn difference(key: &Key, old: &Shown, new: &Shown) -> StudentChange {
    let subjects: BTreeSet<_> = old.grades.keys().chain(new.grades.keys()).collect();
    let changed = subjects.into_iter().filter(|subject| old.grades.get(*subject) != new.grades.get(*subject));
    let grades = changed.map(|subject| GradeChange {
        subject: subject.parse().unwrap(),
        period: PERIOD.parse().unwrap(),
        before: None,
        after: new.grades.get(subject).cloned(),
    });
    let views = (0..2_u16).filter(|view| old.features[usize::from(*view)] != new.features[usize::from(*view)]);
    let features =
        views.map(|view| FeatureChange { view, before: None, after: new.features[usize::from(view)].clone() });
    StudentChange {
        tenant: key.0.clone(),
        student: key.1.clone(),
        grades: grades.collect(),
        features: features.collect(),
    }
}

fn change(random: &mut Random, state: &mut State, clock: Millis) {
    let tenant: TenantId = if random.below(3) == 0 { "norte" } else { "sur" }.parse().unwrap();
    // Names of two lengths: that is what divides them between the workers.
    let student: StudentId = format!("s{}", random.below(STUDENTS)).parse().unwrap();
    let Shown { grades, features } = &mut state.entry((tenant, student)).or_default().0;
    match random.below(4) {
        0 | 1 => {
            let subject = if random.below(2) == 0 { "matemáticas" } else { "lengua" };
            let before = grades.remove(subject);
            if random.below(6) > 0 {
                let version = before.map_or(1, |row| row.version + 1);
                grades.insert(subject.to_owned(), GradeRow { grade: grade(random), version, updated_at: clock });
            }
        }
        2 => {
            let values = [
                FeatureValue::Int(random.below(3) as i128),
                FeatureValue::Micros(i128::from(random.below(100)) * i128::from(MICROS) / 4),
                if random.below(3) == 0 { FeatureValue::Null } else { FeatureValue::Text("añ|o".into()) },
            ];
            features[0] = row(random, values.into(), clock);
        }
        _ => {
            let n = FeatureValue::Int(random.below(3) as i128);
            features[1] = row(random, [n].into(), clock);
        }
    }
}

fn row(random: &mut Random, values: Arc<[FeatureValue]>, updated_at: Millis) -> Option<FeatureRow> {
    (random.below(5) > 0).then_some(FeatureRow { values, session: None, updated_at })
}

fn grade(random: &mut Random) -> Arc<Grade> {
    let score = (random.below(5) > 0).then(|| format!("{}.5", random.below(100)).into());
    let mut by_category = BTreeMap::new();
    for name in ["exam", "quiz"].iter().take(random.below(3) as usize) {
        let value = (random.below(3) > 0).then(|| "0.25".into());
        let result = CategoryResult { value, weight: "0.7".into(), counted: random.below(9) as u32, dropped: 1 };
        by_category.insert(name.parse().unwrap(), result);
    }
    Arc::new(Grade {
        passing: score.is_some() && random.below(2) == 0,
        score,
        complete: random.below(2) == 0,
        evaluations_count: random.below(5) as u32,
        by_category,
        rule_version: "r-1f0c".into(),
    })
}

/// The columns of each table as one text, and the same of a state: what is compared.
pub const TABLES: [(&str, &str); 3] = [
    (
        "grades",
        "toString(tenant), toString(student), toString(subject), toString(period), ifNull(toString(score), '-'), \
         toString(passing), toString(complete), toString(evaluations_count), toString(by_category), toString(rule_version), \
         toString(row_version), toString(toUnixTimestamp64Milli(updated_at))",
    ),
    (
        "often",
        "toString(tenant), toString(student), ifNull(toString(n), '-'), ifNull(toString(points), '-'), ifNull(latest, '-'), \
         toString(toUnixTimestamp64Milli(updated_at))",
    ),
    (
        "daily",
        "toString(tenant), toString(student), ifNull(toString(n), '-'), toString(toUnixTimestamp64Milli(updated_at))",
    ),
];

/// A state's rows of each table of [`TABLES`], in order.
pub fn texts(state: &State, keys: &PseudonymKeys) -> [Vec<String>; 3] {
    let mut found: [Vec<String>; 3] = Default::default();
    for ((tenant, student), ShownRows(shown)) in state {
        let pseudonym = keys.pseudonym(tenant, student).unwrap();
        for (subject, GradeRow { grade, version, updated_at }) in &shown.grades {
            let categories: Vec<_> = grade
                .by_category
                .iter()
                .map(|(name, one)| {
                    let value = one.value.as_deref().unwrap_or("NULL");
                    format!("'{name}':({value},{},{},{})", one.weight, one.counted, one.dropped)
                })
                .collect();
            let Grade { score, passing, complete, evaluations_count, rule_version, .. } = &**grade;
            found[0].push(format!(
                "{tenant}|{pseudonym}|{subject}|{PERIOD}|{}|{passing}|{complete}|{evaluations_count}|{{{}}}|{rule_version}|\
                 {version}|{}",
                score.as_deref().unwrap_or("-"),
                categories.join(","),
                updated_at.0
            ));
        }
        for (place, row) in shown.features.iter().enumerate() {
            let Some(row) = row else { continue };
            let values: Vec<_> = row.values.iter().map(value).collect();
            found[1 + place].push(format!("{tenant}|{pseudonym}|{}|{}", values.join("|"), row.updated_at.0));
        }
    }
    found.iter_mut().for_each(|rows| rows.sort());
    found
}

fn value(value: &FeatureValue) -> String {
    match value {
        FeatureValue::Null => "-".to_owned(),
        FeatureValue::Int(n) => n.to_string(),
        FeatureValue::Micros(micros) => {
            let mut text = String::new();
            aulaflow_model::decimal::write_micros(&mut text, *micros).unwrap();
            text
        }
        FeatureValue::Bool(flag) => flag.to_string(),
        FeatureValue::Text(text) => text.to_string(),
    }
}

//! One student's rows, immutable: a change makes the next profile and shares what stayed the same.

use crate::render::Rendered;
use aulaflow_model::change::{FeatureRow, GradeRow, ViewIndex};
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::instant::Millis;
use aulaflow_sink::update::{FeatureChange, GradeChange, StudentChange};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// A grade with its key.
#[derive(Debug, Clone, PartialEq)]
pub struct GradeEntry {
    /// The subject.
    pub subject: Subject,
    /// The period.
    pub period: PeriodId,
    /// The row.
    pub row: GradeRow,
}

/// A feature with its key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeatureEntry {
    pub(crate) view: ViewIndex,
    pub(crate) row: FeatureRow,
}

/// A period of which grades were let go. They are there, but not in memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PastGrades {
    pub(crate) period: PeriodId,
    /// Hashes of their subjects: whether one is among them is all that is asked. None in a copy, which is told periods only.
    subjects: Vec<u64>,
}

/// A student's rows as of their last change.
pub(crate) struct Profile {
    /// The worker that writes this student.
    pub(crate) worker: usize,
    /// The clock at the last change.
    pub(crate) changed_at: Millis,
    /// In order of (subject, period).
    pub(crate) grades: Arc<[GradeEntry]>,
    /// In order of the view.
    pub(crate) features: Arc<[FeatureEntry]>,
    /// In order of the period.
    pub(crate) past: Arc<[PastGrades]>,
    /// The JSON, made by the first reader: most changes are overtaken by the next before anybody reads.
    pub(crate) json: OnceLock<Rendered>,
}

impl Profile {
    /// The profile after a change; `None` where no row is left.
    pub(crate) fn after(before: Option<&Self>, change: &StudentChange, worker: usize, clock: Millis) -> Option<Self> {
        let (grades, features, past) = match before {
            Some(Self { grades, features, past, .. }) => (Arc::clone(grades), Arc::clone(features), Arc::clone(past)),
            None => (Arc::default(), Arc::default(), Arc::default()),
        };
        let past = if past.is_empty() { past } else { without_told(&past, &change.grades) };
        let grades = if change.grades.is_empty() { grades } else { merge_grades(&grades, &change.grades) };
        let features = if change.features.is_empty() { features } else { merge_features(&features, &change.features) };
        let changed_at = before.map_or(clock, |profile| profile.changed_at.max(clock));
        Self { worker, changed_at, grades, features, past, json: OnceLock::new() }.unless_empty()
    }

    /// The profile that a copy is told: these rows, and of which periods there are others.
    pub(crate) fn copied(whole: &StudentChange, past: &[PeriodId], worker: usize, clock: Millis) -> Option<Self> {
        let period = |period: &PeriodId| PastGrades { period: period.clone(), subjects: Vec::new() };
        let (grades, features) = (merge_grades(&[], &whole.grades), merge_features(&[], &whole.features));
        let past = past.iter().map(period).collect();
        Self { worker, changed_at: clock, grades, features, past, json: OnceLock::new() }.unless_empty()
    }

    /// The profile after grades were let go; `None` where none was.
    pub(crate) fn letting_go(&self, goes: impl Fn(&GradeEntry) -> bool) -> Option<Self> {
        let (gone, kept): (Vec<_>, Vec<_>) = self.grades.iter().cloned().partition(|entry| goes(entry));
        if gone.is_empty() {
            return None;
        }
        let mut past = self.past.to_vec();
        for GradeEntry { subject, period, .. } in gone {
            let at = past.binary_search_by(|known| known.period.cmp(&period)).unwrap_or_else(|at| {
                past.insert(at, PastGrades { period, subjects: Vec::new() });
                at
            });
            past[at].subjects.push(hash(subject.as_str()));
        }
        let features = Arc::clone(&self.features);
        let Self { worker, changed_at, .. } = *self;
        Some(Self { worker, changed_at, grades: kept.into(), features, past: past.into(), json: OnceLock::new() })
    }

    fn unless_empty(self) -> Option<Self> {
        (!self.grades.is_empty() || !self.features.is_empty() || !self.past.is_empty()).then_some(self)
    }
}

/// What is told of a grade that was let go brings it back, or says that it is no more.
fn without_told(past: &[PastGrades], changes: &[GradeChange]) -> Arc<[PastGrades]> {
    let told = |period: &PeriodId, subject: u64| {
        changes.iter().any(|change| change.period == *period && hash(change.subject.as_str()) == subject)
    };
    let left = past.iter().cloned().filter_map(|mut of| {
        of.subjects.retain(|subject| !told(&of.period, *subject));
        (!of.subjects.is_empty()).then_some(of)
    });
    left.collect()
}

impl PastGrades {
    /// Whether the grade of a subject was let go.
    pub(crate) fn has(&self, subject: &str) -> bool {
        self.subjects.contains(&hash(subject))
    }
}

fn hash(subject: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish()
}

fn merge_grades(before: &[GradeEntry], changes: &[GradeChange]) -> Arc<[GradeEntry]> {
    let mut entries = before.to_vec();
    for change in changes {
        let place = entries.binary_search_by(|e| (&e.subject, &e.period).cmp(&(&change.subject, &change.period)));
        overwrite(&mut entries, place, change.after.as_ref(), |row| GradeEntry {
            subject: change.subject.clone(),
            period: change.period.clone(),
            row: row.clone(),
        });
    }
    entries.into()
}

fn merge_features(before: &[FeatureEntry], changes: &[FeatureChange]) -> Arc<[FeatureEntry]> {
    let mut entries = before.to_vec();
    for change in changes {
        let place = entries.binary_search_by_key(&change.view, |e| e.view);
        overwrite(&mut entries, place, change.after.as_ref(), |row| FeatureEntry {
            view: change.view,
            row: row.clone(),
        });
    }
    entries.into()
}

/// Puts, replaces or removes the entry at a place found by binary search.
fn overwrite<E, R>(entries: &mut Vec<E>, place: Result<usize, usize>, row: Option<&R>, make: impl Fn(&R) -> E) {
    match (place, row) {
        (Ok(at), Some(row)) => entries[at] = make(row),
        (Err(at), Some(row)) => entries.insert(at, make(row)),
        (Ok(at), None) => drop(entries.remove(at)),
        (Err(_), None) => {}
    }
}

//! One student's rows, immutable: a change makes the next profile and shares what stayed the same.

use crate::render::Rendered;
use aulaflow_model::change::{FeatureChange, FeatureRow, GradeChange, GradeRow, StudentChange, ViewIndex};
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::instant::Millis;
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
    /// The JSON, made by the first reader: most changes are overtaken by the next before anybody reads.
    pub(crate) json: OnceLock<Rendered>,
}

impl Profile {
    /// The profile after a change; `None` where no row is left.
    pub(crate) fn after(before: Option<&Self>, change: &StudentChange, worker: usize, clock: Millis) -> Option<Self> {
        let (grades, features) = match before {
            Some(profile) => (Arc::clone(&profile.grades), Arc::clone(&profile.features)),
            None => (Arc::default(), Arc::default()),
        };
        let grades = if change.grades.is_empty() { grades } else { merge_grades(&grades, &change.grades) };
        let features = if change.features.is_empty() { features } else { merge_features(&features, &change.features) };
        if grades.is_empty() && features.is_empty() {
            return None;
        }
        let changed_at = before.map_or(clock, |profile| profile.changed_at.max(clock));
        Some(Self { worker, changed_at, grades, features, json: OnceLock::new() })
    }
}

fn merge_grades(before: &[GradeEntry], changes: &[GradeChange]) -> Arc<[GradeEntry]> {
    let mut entries = before.to_vec();
    for change in changes {
        let place = entries.binary_search_by(|e| (&e.subject, &e.period).cmp(&(&change.subject, &change.period)));
        overwrite(&mut entries, place, change.row.as_ref(), |row| GradeEntry {
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
        overwrite(&mut entries, place, change.row.as_ref(), |row| FeatureEntry { view: change.view, row: row.clone() });
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

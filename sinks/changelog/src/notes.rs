//! Which students and cohorts changed: keys only, so that memory does not grow with how often they do.

use crate::record::Key;
use aulaflow_model::change::{ChangeBatch, CohortBatch, CohortChange, GradeChange, StudentChange};
use aulaflow_model::instant::ClockTime;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What one worker's changes leave for the writer.
///
/// Whoever applies a batch to the store does it through here, and before the store's frontier passes the batch's time. That
/// order is what makes a watermark true: a batch's time is known before anything of it is in the store, and whom it is about
/// is noted when all of it is.
#[derive(Clone)]
pub struct Notes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    changed: Mutex<HashSet<Key>>,
    /// The latest time of which anything may be in the store.
    newest: AtomicU64,
    /// Whether rows that did not change are to be written as well.
    everything: AtomicBool,
}

impl Notes {
    /// Nothing has changed.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Applies a batch of changes. A grade that changed changed its cohort: the two may come from different workers, and
    /// while the state is loaded nothing else tells that a cohort is not as it was.
    pub fn changes(&self, batch: ChangeBatch, apply: impl FnOnce(ChangeBatch)) {
        let mut keys = Vec::with_capacity(batch.changes.len());
        for StudentChange { tenant, student, grades, .. } in &batch.changes {
            keys.push(Key::Student(tenant.clone(), student.clone()));
            let cohort = |grade: &GradeChange| Key::Cohort(tenant.clone(), grade.subject.clone(), grade.period.clone());
            keys.extend(grades.iter().map(cohort));
        }
        self.applying(batch.time, || apply(batch), keys);
    }

    /// Applies a batch of rows that are as they were before this process started.
    pub fn shown_again(&self, batch: ChangeBatch, apply: impl FnOnce(ChangeBatch)) {
        if self.wants_everything() {
            self.changes(batch, apply);
        } else {
            self.applying(batch.time, || apply(batch), Vec::new());
        }
    }

    /// Applies a batch of cohorts.
    pub fn cohorts(&self, batch: CohortBatch, apply: impl FnOnce(CohortBatch)) {
        let key = |CohortChange { tenant, subject, period, .. }: &CohortChange| {
            Key::Cohort(tenant.clone(), subject.clone(), period.clone())
        };
        let keys = batch.changes.iter().map(key).collect();
        self.applying(batch.time, || apply(batch), keys);
    }

    /// Applies a batch of cohorts while the state is loaded.
    pub fn cohorts_loaded(&self, batch: CohortBatch, apply: impl FnOnce(CohortBatch)) {
        if self.wants_everything() {
            self.cohorts(batch, apply);
        } else {
            self.applying(batch.time, || apply(batch), Vec::new());
        }
    }

    fn applying(&self, time: ClockTime, apply: impl FnOnce(), keys: Vec<Key>) {
        self.0.newest.fetch_max(time.0, Ordering::AcqRel);
        apply();
        if !keys.is_empty() {
            self.0.changed.lock().extend(keys);
        }
    }

    fn wants_everything(&self) -> bool {
        self.0.everything.load(Ordering::Acquire)
    }

    /// From now on rows count that did not change.
    pub(crate) fn want_everything(&self) {
        self.0.everything.store(true, Ordering::Release);
    }

    /// What changed since the last call.
    pub(crate) fn take(&self) -> HashSet<Key> {
        std::mem::take(&mut *self.0.changed.lock())
    }

    /// Nothing of a later time is in the store.
    pub(crate) fn newest(&self) -> u64 {
        self.0.newest.load(Ordering::Acquire)
    }
}

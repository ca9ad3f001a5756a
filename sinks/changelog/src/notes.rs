//! Which students and cohorts changed: keys only, so that memory does not grow with how often they do.

use crate::record::Key;
use aulaflow_model::instant::ClockTime;
use aulaflow_sink::update::{ChangeBatch, CohortBatch, CohortChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What one worker's changes leave for the writer.
///
/// The sink of a worker that stands behind its serving store. That order is what makes a watermark true: a batch's time is
/// known (`begin`) before anything of it is in the store, whom it is about is noted when all of it is, and both before the
/// store's frontier passes the batch's time.
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

    fn note(&self, keys: Vec<Key>) -> Outcome {
        self.0.changed.lock().extend(keys);
        Outcome::Applied
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

impl IdempotentSink for Notes {
    fn begin(&mut self, time: ClockTime) {
        self.0.newest.fetch_max(time.0, Ordering::AcqRel);
    }

    /// A grade that changed changed its cohort: the two may come from different workers, and while the state is loaded nothing
    /// else tells that a cohort is not as it was.
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        let mut keys = Vec::with_capacity(batch.changes.len());
        for StudentChange { tenant, student, grades, .. } in &batch.changes {
            keys.push(Key::Student(tenant.clone(), student.clone()));
            let cohort = |grade: &GradeChange| Key::Cohort(tenant.clone(), grade.subject.clone(), grade.period.clone());
            keys.extend(grades.iter().map(cohort));
        }
        self.note(keys)
    }

    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        let key = |CohortChange { tenant, subject, period, .. }: &CohortChange| {
            Key::Cohort(tenant.clone(), subject.clone(), period.clone())
        };
        self.note(batch.changes.iter().map(key).collect())
    }

    /// Rows that are as they were before this process started are on the changelog already, unless all are written again.
    fn snapshot(&mut self, batch: &ChangeBatch) -> Outcome {
        if self.wants_everything() { self.apply(batch) } else { Outcome::Applied }
    }

    fn snapshot_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        if self.wants_everything() { self.apply_cohorts(batch) } else { Outcome::Applied }
    }

    fn advance(&mut self, _frontier: ClockTime) {}
}

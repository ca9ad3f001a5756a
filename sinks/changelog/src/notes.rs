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
/// The order of calls is what makes a watermark true: one of the `begin`s before a batch is in the store, [`Notes::done`]
/// with its answer after it is, and both before the store's frontier passes the batch's time.
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

/// Whom a batch that is being applied is about.
#[must_use = "what is not noted is never written"]
pub struct Applying(Vec<Key>);

impl Notes {
    /// Nothing has changed.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// A batch of changes is about to be applied. A grade that changed changed its cohort: the two may come from different
    /// workers, and while the state is loaded nothing else tells that a cohort is not as it was.
    pub fn begin(&self, batch: &ChangeBatch) -> Applying {
        self.applies(batch.time);
        let mut keys = Vec::with_capacity(batch.changes.len());
        for StudentChange { tenant, student, grades, .. } in &batch.changes {
            keys.push(Key::Student(tenant.clone(), student.clone()));
            let cohort = |grade: &GradeChange| Key::Cohort(tenant.clone(), grade.subject.clone(), grade.period.clone());
            keys.extend(grades.iter().map(cohort));
        }
        Applying(keys)
    }

    /// A batch is about to be applied of rows that are as they were before this process started.
    pub fn begin_again(&self, batch: &ChangeBatch) -> Applying {
        self.applies(batch.time);
        if self.wants_everything() { self.begin(batch) } else { Applying(Vec::new()) }
    }

    /// A batch of cohorts is about to be applied.
    pub fn begin_cohorts(&self, batch: &CohortBatch) -> Applying {
        self.applies(batch.time);
        let key = |CohortChange { tenant, subject, period, .. }: &CohortChange| {
            Key::Cohort(tenant.clone(), subject.clone(), period.clone())
        };
        Applying(batch.changes.iter().map(key).collect())
    }

    /// A batch of cohorts is about to be applied while the state is loaded.
    pub fn begin_cohorts_loaded(&self, batch: &CohortBatch) -> Applying {
        self.applies(batch.time);
        if self.wants_everything() { self.begin_cohorts(batch) } else { Applying(Vec::new()) }
    }

    /// The batch was applied.
    pub fn done(&self, Applying(keys): Applying) {
        if !keys.is_empty() {
            self.0.changed.lock().extend(keys);
        }
    }

    fn applies(&self, time: ClockTime) {
        self.0.newest.fetch_max(time.0, Ordering::AcqRel);
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

//! Which students and cohorts changed: keys only, so that memory does not grow with how often they do.

use crate::record::Key;
use aulaflow_model::change::{ChangeBatch, CohortBatch, CohortChange, StudentChange};
use aulaflow_model::instant::ClockTime;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What one worker's changes leave for the writer.
///
/// The order of calls is what makes a watermark true: [`Notes::begin`] before a batch is in the store, then one of the
/// others after it is, and all of that before the store's frontier passes the batch's time.
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

    /// A batch is about to be applied to the store.
    pub fn begin(&self, time: ClockTime) {
        self.0.newest.fetch_max(time.0, Ordering::AcqRel);
    }

    /// A batch was applied. A grade that changed changed its cohort: the two may come from different workers, and while
    /// the state is loaded nothing else tells that a cohort is not as it was.
    pub fn changed(&self, batch: &ChangeBatch) {
        let mut changed = self.0.changed.lock();
        for change in &batch.changes {
            let StudentChange { tenant, student, grades, .. } = change;
            changed.insert(Key::Student(tenant.clone(), student.clone()));
            let cohort =
                |subject: &_, period: &_| Key::Cohort(tenant.clone(), Clone::clone(subject), Clone::clone(period));
            changed.extend(grades.iter().map(|grade| cohort(&grade.subject, &grade.period)));
        }
    }

    /// A batch of rows was applied that are as they were before this process started.
    pub fn shown_again(&self, batch: &ChangeBatch) {
        if self.0.everything.load(Ordering::Acquire) {
            self.changed(batch);
        }
    }

    /// A batch of cohorts was applied.
    pub fn cohorts(&self, batch: &CohortBatch) {
        let mut changed = self.0.changed.lock();
        for CohortChange { tenant, subject, period, .. } in &batch.changes {
            changed.insert(Key::Cohort(tenant.clone(), subject.clone(), period.clone()));
        }
    }

    /// A batch of cohorts was applied while the state is loaded.
    pub fn cohorts_loaded(&self, batch: &CohortBatch) {
        if self.0.everything.load(Ordering::Acquire) {
            self.cohorts(batch);
        }
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

//! The write half: a sink that turns a worker's changes into profiles.

use crate::Shared;
use crate::key::{KeyRef, KeyTexts, StudentKey};
use crate::letting_go::STEP;
use crate::profile::Profile;
use aulaflow_model::ids::{PeriodId, StudentId, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::window::WindowKind;
use aulaflow_sink::update::{ChangeBatch, CohortBatch, FeatureChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One worker's end of the store. A student always comes through the same one: that is what lets it read a profile,
/// make the next one and put it back without holding a lock in between.
pub struct WriteHalf {
    shared: Arc<Shared>,
    worker: usize,
}

impl WriteHalf {
    pub(crate) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Self { shared, worker }
    }

    /// Makes a student's profile exactly these rows, as of a clock; without a row there is none. For a store that is a copy:
    /// it is told whole profiles, and not what changed of them. `past` are the periods that have grades besides.
    pub fn replace(&mut self, whole: &StudentChange, past: &[PeriodId], clock: Millis) -> Outcome {
        if let Some(reason) = whole.features.iter().find_map(|feature| self.refusal(feature)) {
            return Outcome::Stop(reason);
        }
        let key: &dyn KeyTexts = &KeyRef { tenant: &whole.tenant, student: &whole.student };
        let there = self.shared.profiles.contains_key(key);
        let copied = Profile::copied(whole, past, self.worker, clock);
        self.put((&whole.tenant, &whole.student), there, copied);
        Outcome::Applied
    }

    /// Why a feature's row is none that the store was started for.
    fn refusal(&self, feature: &FeatureChange) -> Option<String> {
        let view = feature.view;
        let Some(schema) = self.shared.schemas.get(usize::from(view)) else {
            let views = self.shared.schemas.len();
            return Some(format!("a row of view {view}; the store was started with {views} views"));
        };
        let row = feature.after.as_ref()?;
        let (values, outputs) = (row.values.len(), schema.outputs.len());
        if values != outputs {
            return Some(format!("a row of view {view} has {values} values; the view has {outputs} outputs"));
        }
        match (schema.window.kind, row.session) {
            (WindowKind::Hop | WindowKind::Tumble, None) | (WindowKind::Session, Some(_)) => None,
            (WindowKind::Hop | WindowKind::Tumble, Some(_)) => {
                Some(format!("a row of view {view} is a session; the view has another window"))
            }
            (WindowKind::Session, None) => Some(format!("a row of view {view}, a session, has no bounds")),
            (WindowKind::Present, _) => {
                Some(format!("a row of view {view}, whose rows are computed when they are read"))
            }
        }
    }

    fn apply_student(&self, change: &StudentChange, clock: Millis) {
        if change.grades.is_empty() && change.features.is_empty() {
            return;
        }
        let profiles = &self.shared.profiles;
        let key: &dyn KeyTexts = &KeyRef { tenant: &change.tenant, student: &change.student };
        let before = profiles.get(key).map(|entry| Arc::clone(entry.value()));
        let after = Profile::after(before.as_deref(), change, self.worker, clock);
        self.put((&change.tenant, &change.student), before.is_some(), after);
    }

    /// Lets go of some of what it was asked to.
    fn let_go(&self) {
        let Some(inbox) = self.shared.letting_go.get(self.worker) else { return };
        for (wanted, tenant, student) in inbox.take(STEP) {
            let key: &dyn KeyTexts = &KeyRef { tenant: &tenant, student: &student };
            let before = self.shared.profiles.get(key).map(|entry| Arc::clone(entry.value()));
            let Some(before) = before else { continue };
            if let Some(after) = before.letting_go(|entry| wanted.is(&tenant, entry)) {
                let count = before.grades.len() - after.grades.len();
                self.shared.let_go.fetch_add(count as u64, Ordering::Relaxed);
                self.put((&tenant, &student), true, Some(after));
            }
        }
    }

    /// Puts a student's next profile in the place of the one that is there.
    fn put(&self, (tenant, student): (&TenantId, &StudentId), there: bool, after: Option<Profile>) {
        let profiles = &self.shared.profiles;
        let key: &dyn KeyTexts = &KeyRef { tenant, student };
        match (after.map(Arc::new), there) {
            (Some(after), true) => {
                // Only the pointer is swapped under the lock; the old profile is freed after it.
                let old = profiles.get_mut(key).map(|mut entry| std::mem::replace(entry.value_mut(), after));
                drop(old);
            }
            (Some(after), false) => {
                let key = StudentKey { tenant: tenant.clone(), student: student.clone() };
                profiles.insert(key, after);
                self.shared.students.fetch_add(1, Ordering::Relaxed);
            }
            (None, true) => {
                profiles.remove(key);
                self.shared.students.fetch_sub(1, Ordering::Relaxed);
            }
            (None, false) => {}
        }
    }
}

impl IdempotentSink for WriteHalf {
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        // Looked at before anything is applied, so that a refused batch leaves nothing behind.
        let mut features = batch.changes.iter().flat_map(|change| &change.features);
        if let Some(reason) = features.find_map(|feature| self.refusal(feature)) {
            return Outcome::Stop(reason);
        }
        for change in &batch.changes {
            self.apply_student(change, batch.time.clock());
        }
        Outcome::Applied
    }

    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        for change in &batch.changes {
            self.shared.cohorts.apply(change);
        }
        Outcome::Applied
    }

    /// Panes that leave their windows at `boundary` are released in chunks: while it is set, a profile that has not changed
    /// since the boundary says that it is true as of one millisecond before it.
    ///
    /// Set *before* [`IdempotentSink::advance`] passes the boundary; cleared (`None`) after the last change of the expiry
    /// was applied. If a second boundary is reached meanwhile, the first one stays until both are through.
    fn expiring(&mut self, boundary: Option<Millis>) {
        if let Some(clock) = self.shared.workers.get(self.worker) {
            clock.set_expiring(boundary);
        }
    }

    fn advance(&mut self, frontier: ClockTime) {
        if let Some(clock) = self.shared.workers.get(self.worker) {
            clock.advance(frontier);
        }
        self.let_go();
    }
}

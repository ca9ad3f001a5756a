//! Grades of past periods that leave the memory. Whoever decides that they may goes over the store and asks; the worker that a
//! student belongs to does it between two of its changes, some at a time. That they are kept elsewhere is not known here.

use crate::profile::{GradeEntry, Profile};
use aulaflow_model::ids::{PeriodId, StudentId, TenantId};
use aulaflow_model::instant::Millis;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Students that a worker does at once: less than a millisecond of its time.
pub(crate) const STEP: usize = 512;
/// Students that wait for a worker, at most. The next round finds the others.
const WAITING_MAX: usize = 65_536;

/// What may be let go.
pub struct LettingGo {
    /// Periods, by tenant.
    pub past: HashMap<TenantId, HashSet<PeriodId>>,
    /// Grades that changed later than this stay.
    pub until: Millis,
}

impl LettingGo {
    /// Whether a grade is one of them.
    pub(crate) fn is(&self, tenant: &TenantId, entry: &GradeEntry) -> bool {
        self.past.get(tenant).is_some_and(|past| self.is_among(past, entry))
    }

    fn is_among(&self, past: &HashSet<PeriodId>, entry: &GradeEntry) -> bool {
        entry.row.updated_at <= self.until && past.contains(&entry.period)
    }

    /// Whether a profile has any.
    pub(crate) fn finds(&self, tenant: &TenantId, profile: &Profile) -> bool {
        let past = self.past.get(tenant);
        past.is_some_and(|past| profile.grades.iter().any(|entry| self.is_among(past, entry)))
    }
}

type Asked = (Arc<LettingGo>, TenantId, StudentId);

/// What a worker is asked to let go.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<VecDeque<Asked>>);

impl Inbox {
    /// Asks for a student; false where too many wait.
    pub(crate) fn ask(&self, asked: Asked) -> bool {
        let mut waiting = self.0.lock();
        let room = waiting.len() < WAITING_MAX;
        if room {
            waiting.push_back(asked);
        }
        room
    }

    /// The next ones, at most so many.
    pub(crate) fn take(&self, most: usize) -> Vec<Asked> {
        let mut waiting = self.0.lock();
        let count = waiting.len().min(most);
        waiting.drain(..count).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

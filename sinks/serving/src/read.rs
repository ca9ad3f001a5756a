//! The read half: looks profiles up and writes them as JSON.

use crate::Shared;
use crate::clock::{self, Instant};
use crate::cohorts::{CohortEntry, CohortQuery, Kept};
use crate::key::{KeyRef, KeyTexts, StudentKey};
use crate::letting_go::LettingGo;
use crate::profile::{GradeEntry, Profile};
use crate::render::{Fresh, Rendered};
use aulaflow_model::change::{FeatureRow, FeatureValue, ViewIndex, ViewSchema};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A handle to the store for readers; cheap to clone.
#[derive(Clone)]
pub struct ReadHalf {
    shared: Arc<Shared>,
}

/// A student's profile at one instant. Holds no lock.
pub struct ProfileRead<'a> {
    shared: Arc<Shared>,
    tenant: &'a TenantId,
    student: &'a StudentId,
    profile: Arc<Profile>,
    as_of: Millis,
}

/// The cohort of each grade of a profile.
type GradeCohorts = SmallVec<[Option<Arc<Kept>>; 8]>;

impl ReadHalf {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A student's profile; `None` where there is no row of such a student.
    pub fn profile<'a>(&self, tenant: &'a TenantId, student: &'a StudentId) -> Option<ProfileRead<'a>> {
        // The order matters: what is known of time first, the profile after it (see `clock`).
        let instant = Instant::load(&self.shared.workers, &self.shared.hold);
        let key: &dyn KeyTexts = &KeyRef { tenant, student };
        let profile = Arc::clone(self.shared.profiles.get(key)?.value());
        let as_of = instant.as_of(profile.worker, profile.changed_at);
        Some(ProfileRead { shared: Arc::clone(&self.shared), tenant, student, profile, as_of })
    }

    /// A tenant's cohorts, in order of (subject, period).
    pub fn cohorts(&self, tenant: &TenantId, query: CohortQuery<'_>) -> Vec<CohortEntry> {
        self.shared.cohorts.of(tenant).map(|cohorts| cohorts.list(query)).unwrap_or_default()
    }

    /// One cohort of a tenant.
    pub fn cohort(&self, tenant: &TenantId, subject: &Subject, period: &PeriodId) -> Option<Arc<Cohort>> {
        Some(Arc::clone(&self.shared.cohorts.of(tenant)?.get(subject, period)?.cohort))
    }

    /// The least of the workers' frontiers: everything before it is visible. [`ClockTime::ZERO`] until every worker
    /// has published one.
    pub fn frontier(&self) -> ClockTime {
        clock::frontier(&self.shared.workers)
    }

    /// As of when every profile is true; one that changed later says a later instant.
    pub fn as_of(&self) -> Millis {
        Instant::load(&self.shared.workers, &self.shared.hold).of_all()
    }

    /// Lets nothing be claimed to be true as of a later instant; `None` lifts that. To be set before the store is read, and
    /// lifted when everything that was accepted before it was filled is in it, and its frontier past that.
    pub fn hold(&self, until: Option<Millis>) {
        self.shared.hold.set(until);
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.shared.hold.is_set()
    }

    /// A part of the students that have a profile, for whoever looks at all of them in steps: every student is in exactly one of
    /// `parts` parts. Each call goes over the whole map, without holding a writer up for longer than a shard takes; a student
    /// that comes or goes meanwhile may be missed.
    pub fn part_of_students(&self, part: u64, parts: u64) -> Vec<(TenantId, StudentId)> {
        let profiles = &self.shared.profiles;
        // The map's own places follow from the same hash: taking another one keeps parts even within its shards.
        let hash = |key: &StudentKey| profiles.hasher().hash_one((key.tenant.as_str(), key.student.as_str()));
        let own = profiles.iter().filter(|entry| hash(entry.key()) % parts.max(1) == part);
        own.map(|entry| (entry.key().tenant.clone(), entry.key().student.clone())).collect()
    }

    /// Asks the workers to let go of grades. Goes over the whole map, unless they are not through with what was asked before. How
    /// many students have such grades, as far as the workers can be asked at once.
    pub fn let_go(&self, wanted: LettingGo) -> usize {
        let inboxes = &self.shared.letting_go;
        if wanted.past.is_empty() || !inboxes.iter().all(|inbox| inbox.is_empty()) {
            return 0;
        }
        let wanted = Arc::new(wanted);
        let mut asked = 0;
        for entry in &self.shared.profiles {
            let (StudentKey { tenant, student }, profile) = entry.pair();
            if wanted.finds(tenant, profile)
                && let Some(inbox) = inboxes.get(profile.worker)
            {
                asked += usize::from(inbox.ask((Arc::clone(&wanted), tenant.clone(), student.clone())));
            }
        }
        asked
    }

    /// How many grades were let go.
    pub fn grades_let_go(&self) -> u64 {
        self.shared.let_go.load(Ordering::Relaxed)
    }

    /// The tenants that have, or had, cohorts.
    pub fn cohort_tenants(&self) -> Vec<TenantId> {
        self.shared.cohorts.tenants()
    }

    /// How many students have a profile.
    pub fn students(&self) -> usize {
        self.shared.students.load(Ordering::Relaxed)
    }

    /// The views whose rows the store holds; a view's place is its `ViewIndex`.
    pub fn schemas(&self) -> &Arc<[ViewSchema]> {
        &self.shared.schemas
    }
}

impl ProfileRead<'_> {
    /// The instant as of which the profile is true.
    pub fn as_of(&self) -> Millis {
        self.as_of
    }

    /// The clock at the profile's last change.
    pub fn changed_at(&self) -> Millis {
        self.profile.changed_at
    }

    /// Grades in order of (subject, period).
    pub fn grades(&self) -> &[GradeEntry] {
        &self.profile.grades
    }

    /// Periods that have grades which are not in memory, in their order.
    pub fn past_periods(&self) -> impl Iterator<Item = &PeriodId> {
        self.profile.past.iter().map(|past| &past.period)
    }

    /// Whether a grade was let go: it is as it was, and not in memory.
    pub fn was_let_go(&self, subject: &str, period: &str) -> bool {
        self.profile.past.iter().any(|past| past.period.as_str() == period && past.has(subject))
    }

    /// Stored features in the order of the plan's views.
    pub fn features(&self) -> impl Iterator<Item = (&ViewSchema, &FeatureRow)> {
        let schema = |view: u16| self.shared.schemas.get(usize::from(view));
        self.profile.features.iter().filter_map(move |entry| Some((schema(entry.view)?, &entry.row)))
    }

    /// The same by the views' numbers.
    pub fn rows(&self) -> impl Iterator<Item = (ViewIndex, &FeatureRow)> {
        self.profile.features.iter().map(|entry| (entry.view, &entry.row))
    }

    /// Rows of the views without a window, computed now.
    pub fn derived(&self) -> Vec<(ViewIndex, Arc<[FeatureValue]>)> {
        self.derived_with(&self.cohorts())
    }

    /// Appends the profile's JSON. The first read after a change renders it; every other copies bytes and adds what is
    /// not the profile's own: instants, cohorts and rows of views over it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let views = &self.shared.views;
        let json = self.profile.json.get_or_init(|| Rendered::new(self.tenant, self.student, &self.profile, views));
        let cohorts = self.cohorts();
        let derived = self.derived_with(&cohorts);
        json.write(out, &Fresh { as_of: self.as_of, cohorts: &cohorts, derived: &derived }, views);
    }

    /// The cohort of each grade.
    fn cohorts(&self) -> GradeCohorts {
        let grades = &self.profile.grades;
        let tenant = if grades.is_empty() { None } else { self.shared.cohorts.of(self.tenant) };
        grades.iter().map(|entry| tenant.as_ref()?.get(&entry.subject, &entry.period)).collect()
    }

    fn derived_with(&self, cohorts: &GradeCohorts) -> Vec<(ViewIndex, Arc<[FeatureValue]>)> {
        let grades = &*self.profile.grades;
        let cohort = |subject: &Subject, period: &PeriodId| {
            let at = grades.binary_search_by(|entry| (&entry.subject, &entry.period).cmp(&(subject, period))).ok()?;
            Some(Arc::clone(&cohorts.get(at)?.as_ref()?.cohort))
        };
        let row = |view: &crate::DerivedView| Some((view.index, (view.row)(grades, &cohort)?));
        self.shared.views.derived.iter().filter_map(row).collect()
    }
}

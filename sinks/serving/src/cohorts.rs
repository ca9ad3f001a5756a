//! Cohorts beside the profiles. They change far more often than any one profile, so a profile does not hold theirs:
//! a read looks them up, once per grade.

use aulaflow_model::cohort::Cohort;
use aulaflow_model::decimal::write_micros;
use aulaflow_model::ids::{PeriodId, Subject, TenantId};
use aulaflow_sink::update::CohortChange;
use dashmap::DashMap;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

/// A cohort with its key.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortEntry {
    /// The subject.
    pub subject: Subject,
    /// The period.
    pub period: PeriodId,
    /// Its numbers.
    pub cohort: Arc<Cohort>,
}

/// Which of a tenant's cohorts are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct CohortQuery<'a> {
    /// Of this subject only.
    pub subject: Option<&'a Subject>,
    /// Of this period only.
    pub period: Option<&'a PeriodId>,
    /// After this one, in order of (subject, period).
    pub after: Option<(&'a Subject, &'a PeriodId)>,
    /// At most this many.
    pub limit: usize,
}

/// A cohort as it is kept: its text is made by the first reader, since most changes are overtaken before anybody reads.
pub(crate) struct Kept {
    pub(crate) cohort: Arc<Cohort>,
    text: OnceLock<Box<[u8]>>,
}

type BySubject = BTreeMap<Subject, BTreeMap<PeriodId, Arc<Kept>>>;

/// All cohorts. Locks are held for a look-up or an insertion; only `Arc`s leave.
pub(crate) struct Cohorts {
    tenants: DashMap<TenantId, Arc<RwLock<BySubject>>, foldhash::fast::RandomState>,
}

impl Cohorts {
    pub(crate) fn new() -> Self {
        // The hash is seeded, as the profiles' one.
        Self { tenants: DashMap::with_hasher(foldhash::fast::RandomState::default()) }
    }

    /// A tenant's cohorts; `None` where there has never been one.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<TenantCohorts> {
        Some(TenantCohorts(Arc::clone(self.tenants.get(tenant)?.value())))
    }

    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.tenants.iter().map(|entry| entry.key().clone()).collect()
    }

    pub(crate) fn apply(&self, change: &CohortChange) {
        let tenant = match self.tenants.get(&change.tenant).map(|entry| Arc::clone(entry.value())) {
            Some(tenant) => tenant,
            None if change.after.is_none() => return,
            None => Arc::clone(self.tenants.entry(change.tenant.clone()).or_default().value()),
        };
        let new = change.after.as_ref().map(|cohort| Kept { cohort: Arc::clone(cohort), text: OnceLock::new() });
        let mut subjects = tenant.write();
        // What is replaced is freed after the lock.
        let old = match new {
            Some(new) => {
                subjects.entry(change.subject.clone()).or_default().insert(change.period.clone(), Arc::new(new))
            }
            None => {
                let periods = subjects.get_mut(&change.subject);
                let old = periods.and_then(|periods| periods.remove(&change.period));
                if subjects.get(&change.subject).is_some_and(BTreeMap::is_empty) {
                    subjects.remove(&change.subject);
                }
                old
            }
        };
        drop(subjects);
        drop(old);
    }
}

/// One tenant's cohorts.
pub(crate) struct TenantCohorts(Arc<RwLock<BySubject>>);

impl TenantCohorts {
    pub(crate) fn get(&self, subject: &Subject, period: &PeriodId) -> Option<Arc<Kept>> {
        self.0.read().get(subject)?.get(period).cloned()
    }

    /// In order of (subject, period).
    pub(crate) fn list(&self, query: CohortQuery<'_>) -> Vec<CohortEntry> {
        let from = match (query.subject, query.after) {
            (Some(subject), _) | (None, Some((subject, _))) => Bound::Included(subject),
            (None, None) => Bound::Unbounded,
        };
        let subjects = self.0.read();
        let wanted = |subject: &Subject, period: &PeriodId| {
            query.subject.is_none_or(|only| only == subject)
                && query.period.is_none_or(|only| only == period)
                && query.after.is_none_or(|after| (subject, period) > after)
        };
        subjects
            .range::<Subject, _>((from, Bound::Unbounded))
            .take_while(|(subject, _)| query.subject.is_none_or(|only| only == *subject))
            .flat_map(|(subject, periods)| periods.iter().map(move |(period, kept)| (subject, period, kept)))
            .filter(|(subject, period, _)| wanted(subject, period))
            .take(query.limit)
            .map(|(subject, period, kept)| CohortEntry {
                subject: subject.clone(),
                period: period.clone(),
                cohort: Arc::clone(&kept.cohort),
            })
            .collect()
    }
}

impl Kept {
    /// Appends the cohort as a grade with this score shows it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, score: Option<i128>) {
        out.extend_from_slice(self.text.get_or_init(|| text(&self.cohort)));
        match score.and_then(|score| self.cohort.percentile_hundredths(score)) {
            Some(hundredths) => {
                out.push(b'"');
                out.extend_from_slice((hundredths / 100).to_string().as_bytes());
                let digit = |n: u64| b'0' + (n % 10) as u8;
                out.extend_from_slice(&[b'.', digit(hundredths / 10), digit(hundredths), b'"', b'}']);
            }
            None => out.extend_from_slice(b"null}"),
        }
    }
}

/// `{"count":4,"mean":"71.25","stddev":"12.3","pass_rate":"0.75","percentile":`
fn text(cohort: &Cohort) -> Box<[u8]> {
    let mut text = format!("{{\"count\":{}", cohort.sums.count);
    for (name, value) in [("mean", cohort.mean()), ("stddev", cohort.stddev()), ("pass_rate", cohort.pass_rate())] {
        text.push_str(",\"");
        text.push_str(name);
        text.push_str("\":");
        match value {
            Some(micros) => {
                text.push('"');
                // Writing to a String cannot fail.
                let _ = write_micros(&mut text, micros);
                text.push('"');
            }
            None => text.push_str("null"),
        }
    }
    text.push_str(",\"percentile\":");
    text.into_bytes().into()
}

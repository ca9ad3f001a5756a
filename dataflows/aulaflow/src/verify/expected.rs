//! What a recomputation says, as profiles: written by the code that writes those of an instance, so that the two are
//! compared as readers see them.

use super::shown;
use crate::derived::derived_views;
use anyhow::{Context, Result, bail};
use aulaflow_engine::batch::{Batch, Recomputed};
use aulaflow_model::change::{FeatureRow, GradeRow, ViewSchema};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_plan::Plan;
use aulaflow_serving::DerivedView;
use aulaflow_sink::update::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Cohorts by subject and period.
pub type Cohorts = BTreeMap<(Subject, PeriodId), Cohort>;

/// What a profile says besides, which only history knows.
const HISTORY: [&str; 2] = ["version", "updated_at"];

/// One thing to compare.
#[derive(Debug, PartialEq)]
pub struct Part {
    /// `grade`, `feature`, `cohort`.
    pub kind: &'static str,
    /// Which.
    pub name: String,
    /// What is shown, if anything.
    pub shown: Option<Value>,
    /// What the log says, if anything.
    pub recomputed: Option<Value>,
}

/// Makes profiles.
pub struct Expected {
    derived: Vec<DerivedView>,
    schemas: Arc<[ViewSchema]>,
    /// A tenant's cohorts as of a clock, while its grades do not change.
    cohorts: Option<(TenantId, u64, Millis, Arc<Cohorts>)>,
}

/// A tenant's cohorts at a clock.
pub fn cohorts_of(batch: &Batch, tenant: &TenantId, clock: Millis, expected: &mut Expected) -> Arc<Cohorts> {
    let changed = batch.grades_changed(tenant);
    match &expected.cohorts {
        Some((of, at, when, cohorts)) if of == tenant && *at == changed && *when == clock => Arc::clone(cohorts),
        Some(_) | None => {
            let cohorts = Arc::new(batch.cohorts(tenant, clock));
            expected.cohorts = Some((tenant.clone(), changed, clock, Arc::clone(&cohorts)));
            cohorts
        }
    }
}

impl Expected {
    /// For the views of a plan.
    pub fn new(plan: &Plan) -> Self {
        let schemas = plan.views.iter().map(|view| view.schema.clone()).collect();
        Self { derived: derived_views(plan, &mut Registry::default()), schemas, cohorts: None }
    }

    /// A student's profile. Grades changed when `shown` says, since views over grades may read that.
    pub fn profile(
        &self,
        (tenant, student): (&TenantId, &StudentId),
        clock: Millis,
        recomputed: &Recomputed,
        cohorts: &Cohorts,
        shown: Option<&Value>,
    ) -> Result<Value> {
        let derived = self.derived.clone();
        let (mut writers, store) = aulaflow_serving::store(Arc::clone(&self.schemas), derived, 1, 1);
        let writer = writers.first_mut().context("a store has a write half")?;
        let time = ClockTime::at(clock);
        let own = cohorts.iter().filter(|(key, _)| recomputed.grades.contains_key(key));
        let changes = own.map(|((subject, period), cohort)| CohortChange {
            tenant: tenant.clone(),
            subject: subject.clone(),
            period: period.clone(),
            before: None,
            after: Some(Arc::new(*cohort)),
        });
        taken(writer.apply_cohorts(&CohortBatch { time, changes: changes.collect() }))?;
        let changed = |subject: &Subject, period: &PeriodId| updated_at(shown?, subject, period);
        let grades = recomputed.grades.iter().map(|((subject, period), grade)| GradeChange {
            subject: subject.clone(),
            period: period.clone(),
            before: None,
            after: Some(GradeRow {
                grade: Arc::clone(grade),
                version: 1,
                updated_at: changed(subject, period).unwrap_or(clock),
            }),
        });
        let features = recomputed.features.iter().map(|(view, (values, session))| FeatureChange {
            view: *view,
            before: None,
            after: Some(FeatureRow { values: Arc::clone(values), session: *session, updated_at: clock }),
        });
        let (grades, features) = (grades.collect(), features.collect());
        let change = StudentChange { tenant: tenant.clone(), student: student.clone(), grades, features };
        taken(writer.apply(&ChangeBatch { time, changes: vec![change] }))?;
        // The first time that is not complete.
        writer.advance(ClockTime(time.0.saturating_add(1)));
        let none = json!({ "tenant_id": tenant, "student_id": student, "as_of": clock.to_string(), "grades": [], "features": {} });
        let Some(profile) = store.profile(tenant, student) else { return Ok(none) };
        let mut json = Vec::new();
        profile.write_json(&mut json);
        Ok(without_history(serde_json::from_slice(&json).context("a profile is no JSON")?))
    }
}

fn taken(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Applied => Ok(()),
        Outcome::Hold(_) => bail!("a store in memory is never busy"),
        Outcome::Stop(reason) => bail!("the serving store refuses the recomputed rows: {reason}"),
    }
}

/// When a grade changed last, as a profile shows it.
fn updated_at(profile: &Value, subject: &Subject, period: &PeriodId) -> Option<Millis> {
    let is = |grade: &&Value, name: &str, id: &str| grade.get(name).and_then(Value::as_str) == Some(id);
    let mut grades = profile.get("grades")?.as_array()?.iter();
    let grade = grades.find(|grade| is(grade, "subject", subject.as_str()) && is(grade, "period", period.as_str()))?;
    Millis::parse_rfc3339(grade.get("updated_at")?.as_str()?).ok()
}

/// A profile without what only history knows.
pub fn without_history(mut profile: Value) -> Value {
    let forget = |row: &mut Value| {
        if let Some(row) = row.as_object_mut() {
            HISTORY.iter().for_each(|name| drop(row.remove(*name)));
        }
    };
    if let Some(grades) = profile.get_mut("grades").and_then(Value::as_array_mut) {
        grades.iter_mut().for_each(forget);
    }
    if let Some(features) = profile.get_mut("features").and_then(Value::as_object_mut) {
        features.values_mut().for_each(forget);
    }
    profile
}

/// What there is to compare of two profiles.
pub fn parts(recomputed: &Value, shown: &Value) -> Vec<Part> {
    let mut parts = Vec::new();
    for (kind, of) in [("grade", grades as fn(&Value) -> Map<String, Value>), ("feature", features)] {
        let (mut recomputed, mut shown) = (of(recomputed), of(shown));
        let names: BTreeSet<String> = recomputed.keys().chain(shown.keys()).cloned().collect();
        parts.extend(names.into_iter().map(|name| {
            let (shown, recomputed) = (shown.remove(&name), recomputed.remove(&name));
            Part { kind, name, shown, recomputed }
        }));
    }
    parts
}

fn grades(profile: &Value) -> Map<String, Value> {
    let text = |grade: &Value, name: &str| grade.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let grades = profile.get("grades").and_then(Value::as_array).cloned().unwrap_or_default();
    grades.into_iter().map(|grade| (format!("{}/{}", text(&grade, "subject"), text(&grade, "period")), grade)).collect()
}

fn features(profile: &Value) -> Map<String, Value> {
    profile.get("features").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// What there is to compare of a tenant's cohorts.
pub fn cohort_parts(recomputed: &Cohorts, shown: &BTreeMap<(String, String), Value>) -> Vec<Part> {
    let own = |((subject, period), cohort): (&(Subject, PeriodId), &Cohort)| {
        ((subject.to_string(), period.to_string()), shown::cohort(cohort))
    };
    let recomputed: BTreeMap<_, _> = recomputed.iter().map(own).collect();
    let places: BTreeSet<_> = recomputed.keys().chain(shown.keys()).collect();
    let part = |place: &(String, String)| Part {
        kind: "cohort",
        name: format!("{}/{}", place.0, place.1),
        shown: shown.get(place).cloned(),
        recomputed: recomputed.get(place).cloned(),
    };
    places.into_iter().map(part).collect()
}

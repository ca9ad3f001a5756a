//! A tenant's grades: the present evaluations, grouped by student, subject and period, through the grade function.

use super::Grades;
use crate::dead_letters::Class;
use aulaflow_log::{Offset, RecordRef};
use aulaflow_model::cohort::{Cohort, Sums};
use aulaflow_model::event::{Evaluation, Origin, tenant_of_key};
use aulaflow_model::grade::{Grade, Item, grade};
use aulaflow_model::ids::{EvaluationId, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::{Scale, TenantConfig};
use aulaflow_model::updated_at::UpdatedAt;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One tenant's configuration and evaluations.
#[derive(Default)]
pub struct TenantGrades {
    config: Option<(TenantConfig, Offset)>,
    present: FxHashMap<EvaluationId, Evaluation>,
    /// Of present evaluations: the newest `updated_at` since the last deletion.
    given: FxHashMap<EvaluationId, UpdatedAt>,
    of_student: FxHashMap<StudentId, BTreeSet<EvaluationId>>,
    last: Option<Offset>,
    changes: u64,
    /// What is in force as of a clock, as it was asked for last.
    in_force: RefCell<Option<(Millis, Arc<TenantConfig>)>>,
}

/// A record of `aula.tenants.v1`.
pub fn decode_tenant(record: &RecordRef<'_>) -> Result<(TenantId, TenantConfig), Class> {
    let tenant = tenant_of_key(record.key).ok_or(Class::Key)?;
    let config = TenantConfig::from_json_slice(record.value.ok_or(Class::Schema)?).map_err(|_| Class::Schema)?;
    if config.tenant == tenant { Ok((tenant, config)) } else { Err(Class::Schema) }
}

/// A record of `aula.evaluations.v1`: whose, which, and its value (`None`: it is deleted).
pub fn decode_evaluation(record: &RecordRef<'_>) -> Result<(TenantId, String, Option<Evaluation>), Class> {
    let tenant = tenant_of_key(record.key).ok_or(Class::Key)?;
    let key = std::str::from_utf8(record.key).map_err(|_| Class::Key)?;
    let (_, id) = key.split_once('/').ok_or(Class::Key)?;
    let value = record.value.map(|json| aulaflow_model::event::decode_evaluation(json, Origin::Log(&tenant)));
    let value = value.transpose().map_err(|_| Class::Schema)?;
    if value.as_ref().is_some_and(|value| value.evaluation_id.as_str() != id) {
        return Err(Class::Schema);
    }
    Ok((tenant, id.to_owned(), value))
}

impl TenantGrades {
    /// The newest record is in force.
    pub fn configure(&mut self, config: TenantConfig, offset: Offset) {
        self.config = Some((config, offset));
        self.in_force.replace(None);
        self.changes += 1;
    }

    /// The first instant after a period, by the newest calendar.
    pub fn period_end(&self, period: &PeriodId) -> Option<Millis> {
        let (config, _) = self.config.as_ref()?;
        config.period_bounds(period).map(|(_, end)| end)
    }

    /// Replaces the present value unless a newer `updated_at` was given; without a value, removes it and what was given.
    /// Returns the students that may have changed.
    pub fn apply(&mut self, id: String, value: Option<Evaluation>, offset: Offset) -> Vec<StudentId> {
        self.last = Some(offset);
        self.changes += 1;
        // A tombstone of what could never be there.
        let Ok(id) = EvaluationId::new(id) else { return Vec::new() };
        match value.as_ref().map(|new| &new.updated_at) {
            None => {
                self.given.remove(&id);
            }
            Some(None) => {}
            Some(Some(own)) => {
                if self.given.get(&id).is_some_and(|newest| own < newest) {
                    return Vec::new();
                }
                self.given.insert(id.clone(), own.clone());
            }
        }
        let mut students = Vec::new();
        if let Some(old) = self.present.remove(&id) {
            if let Some(ids) = self.of_student.get_mut(&old.student_id) {
                ids.remove(&id);
            }
            students.push(old.student_id);
        }
        if let Some(value) = value {
            self.of_student.entry(value.student_id.clone()).or_default().insert(id.clone());
            students.push(value.student_id.clone());
            self.present.insert(id, value);
        }
        students
    }

    /// A student's grades at a clock.
    pub fn of_student(&self, student: &StudentId, clock: Millis) -> Grades {
        let Some(config) = self.in_force(clock) else { return Grades::new() };
        let graded = self.graded(student, &config);
        graded.into_iter().map(|(key, (grade, _))| (key, grade)).collect()
    }

    /// All cohorts at a clock.
    pub fn cohorts(&self, clock: Millis) -> BTreeMap<(Subject, PeriodId), Cohort> {
        let Some(config) = self.in_force(clock) else { return BTreeMap::new() };
        let mut cohorts: BTreeMap<(Subject, PeriodId), Cohort> = BTreeMap::new();
        for student in self.of_student.keys() {
            for (key, (grade, scale)) in self.graded(student, &config) {
                let Some(part) = Sums::of(&grade, scale) else { continue };
                cohorts.entry(key).or_insert(Cohort { scale, sums: Sums::default() }).sums.add(&part);
            }
        }
        cohorts
    }

    fn graded(&self, student: &StudentId, config: &TenantConfig) -> BTreeMap<(Subject, PeriodId), (Arc<Grade>, Scale)> {
        let mut groups: BTreeMap<(Subject, PeriodId), Vec<Item>> = BTreeMap::new();
        let own = self.of_student.get(student).into_iter().flatten();
        for evaluation in own.filter_map(|id| self.present.get(id)) {
            let period = evaluation.period.as_ref().or_else(|| config.period_at(evaluation.graded_at));
            if let Some(period) = period {
                groups.entry((evaluation.subject.clone(), period.clone())).or_default().push(evaluation.item());
            }
        }
        let grade_of = |((subject, period), items): ((Subject, PeriodId), Vec<Item>)| {
            let rule = config.rule_for(&subject, &period)?;
            let grade = grade(&items, rule, &rule.version())?;
            Some(((subject, period), (grade, rule.scale)))
        };
        groups.into_iter().filter_map(grade_of).collect()
    }

    fn in_force(&self, clock: Millis) -> Option<Arc<TenantConfig>> {
        let mut known = self.in_force.borrow_mut();
        match &*known {
            Some((at, config)) if *at == clock => Some(Arc::clone(config)),
            Some(_) | None => {
                let config = Arc::new(self.config.as_ref()?.0.in_force(clock).0);
                *known = Some((clock, Arc::clone(&config)));
                Some(config)
            }
        }
    }

    /// How often anything was read.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Where the last evaluation stands.
    pub fn last_evaluation(&self) -> Option<Offset> {
        self.last
    }

    /// Where the configuration stands.
    pub fn last_config(&self) -> Option<Offset> {
        self.config.as_ref().map(|(_, offset)| *offset)
    }
}

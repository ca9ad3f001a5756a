//! What every sink must do, as functions that its tests call: replay, retraction, atomicity per student and cohort,
//! restart.
//! [`transactional`] has the suite of transactional sinks.
//! A failed check panics with what was seen and what was expected.

#![expect(clippy::expect_used, reason = "for tests: a failed check panics, and the ids here are plain names")]

use crate::update::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, GradeChange, StudentChange};
pub mod transactional;

use crate::{IdempotentSink, Outcome};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow, ViewIndex, ViewSchema};
use aulaflow_model::cohort::{BINS, Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Scale;
use aulaflow_model::window::WindowSpec;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A student's rows as a reader sees them; a student without rows is not there at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Grades by subject and period.
    pub grades: BTreeMap<(Subject, PeriodId), GradeRow>,
    /// Features by view.
    pub features: BTreeMap<ViewIndex, FeatureRow>,
}

/// Reads one student from the sink's store.
pub type Reader = Box<dyn Fn(&TenantId, &StudentId) -> Option<Rows> + Send + Sync>;

/// Reads one cohort from the sink's store.
pub type CohortReader = Box<dyn Fn(&TenantId, &Subject, &PeriodId) -> Option<Cohort> + Send + Sync>;

/// The state that a sequence of batches ends in: the slow, plain reference.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reference {
    students: BTreeMap<(TenantId, StudentId), Rows>,
}

impl Reference {
    /// Applies a batch.
    pub fn apply(&mut self, batch: &ChangeBatch) {
        for change in &batch.changes {
            let key = (change.tenant.clone(), change.student.clone());
            let rows = self.students.entry(key.clone()).or_default();
            for grade in &change.grades {
                let at = (grade.subject.clone(), grade.period.clone());
                match &grade.after {
                    Some(row) => rows.grades.insert(at, row.clone()),
                    None => rows.grades.remove(&at),
                };
            }
            for feature in &change.features {
                match &feature.after {
                    Some(row) => rows.features.insert(feature.view, row.clone()),
                    None => rows.features.remove(&feature.view),
                };
            }
            if rows.grades.is_empty() && rows.features.is_empty() {
                self.students.remove(&key);
            }
        }
    }

    /// A student's rows.
    pub fn rows(&self, tenant: &TenantId, student: &StudentId) -> Option<&Rows> {
        self.students.get(&(tenant.clone(), student.clone()))
    }

    /// Everybody there.
    pub fn students(&self) -> impl Iterator<Item = (&(TenantId, StudentId), &Rows)> {
        self.students.iter()
    }

    /// The whole state as one batch: what a restart hands to a sink first.
    pub fn snapshot(&self, time: ClockTime) -> ChangeBatch {
        let changes = self.students.iter().map(|((tenant, student), rows)| StudentChange {
            tenant: tenant.clone(),
            student: student.clone(),
            grades: rows
                .grades
                .iter()
                .map(|((subject, period), row)| GradeChange {
                    subject: subject.clone(),
                    period: period.clone(),
                    before: None,
                    after: Some(row.clone()),
                })
                .collect(),
            features: rows
                .features
                .iter()
                .map(|(view, row)| FeatureChange { view: *view, before: None, after: Some(row.clone()) })
                .collect(),
        });
        ChangeBatch { time, changes: changes.collect() }
    }
}

/// The views that the suite's batches write: two, with one BIGINT output each.
pub fn schemas() -> Arc<[ViewSchema]> {
    ["left", "right"]
        .map(|name| ViewSchema {
            name: name.to_owned(),
            window: WindowSpec::hop(3_600_000, 604_800_000),
            outputs: vec!["n".to_owned()],
        })
        .into()
}

/// Runs the whole suite of idempotent sinks. `open` makes an empty sink for [`schemas`] and a reader of what it has made visible.
pub fn check<S: IdempotentSink>(open: impl Fn() -> (S, Reader)) {
    replay_changes_nothing(open());
    retraction_removes(open());
    students_are_atomic(open());
    restart_converges(&open);
}

/// The suite for cohorts. `open` makes an empty sink and a reader of the cohorts that it has made visible.
pub fn check_cohorts<S: IdempotentSink>(open: impl Fn() -> (S, CohortReader)) {
    cohorts_are_overwritten_and_leave(open());
    cohorts_are_whole(open());
}

/// A cohort is what it was told last, by any repetition of the story; one that leaves is gone, and tenants are apart.
pub fn cohorts_are_overwritten_and_leave<S: IdempotentSink>((mut sink, read): (S, CohortReader)) {
    let story: [&[(&str, Option<i64>)]; 4] = [
        &[("maths", Some(1)), ("history", Some(2))],
        &[("maths", Some(3))],
        &[("history", None), ("never", None)],
        &[("maths", None), ("history", Some(4))],
    ];
    for round in 0..2 {
        let mut expected: BTreeMap<&str, Option<Cohort>> = BTreeMap::new();
        for (i, step) in story.iter().enumerate() {
            let time = at(round * 10 + i as i64 + 1);
            let changes: Vec<_> = step.iter().map(|(subject, n)| cohort_change(subject, *n)).collect();
            for _ in 0..2 {
                put_cohorts(&mut sink, &CohortBatch { time, changes: changes.clone() });
            }
            expected.extend(step.iter().map(|(subject, n)| (*subject, n.map(cohort))));
            for (name, cohort) in &expected {
                assert_eq!(read(&tenant(), &subject(name), &period()), *cohort, "the cohort of {name}");
            }
        }
    }
    let other = TenantId::new("other").expect("a plain name is a tenant id");
    assert_eq!(read(&other, &subject("history"), &period()), None, "another tenant sees the cohort");
    let later = PeriodId::new("2026-Q2").expect("a plain name is a period");
    assert_eq!(read(&tenant(), &subject("history"), &later), None, "the cohort is in another period");
}

/// While a cohort changes, no reader sees some of its numbers changed and others not.
pub fn cohorts_are_whole<S: IdempotentSink>((mut sink, read): (S, CohortReader)) {
    const ROUNDS: i64 = 20_000;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                let Some(seen) = read(&tenant(), &subject("maths"), &period()) else { continue };
                assert_eq!(seen, cohort(seen.sums.count), "half of a change is visible");
                assert!(seen.sums.count >= last, "a reader went back");
                last = seen.sums.count;
            }
        });
        for n in 1..=ROUNDS {
            put_cohorts(&mut sink, &CohortBatch { time: at(n), changes: vec![cohort_change("maths", Some(n))] });
        }
        done.store(true, Ordering::Release);
        reader.join().expect("a reader saw half of a change");
    });
    assert_eq!(read(&tenant(), &subject("maths"), &period()), Some(cohort(ROUNDS)));
}

/// Applying any batch once more, or all of them, leaves the state as it was.
pub fn replay_changes_nothing<S: IdempotentSink>((mut sink, read): (S, Reader)) {
    let batches = history();
    let mut reference = Reference::default();
    for batch in &batches {
        reference.apply(batch);
        put(&mut sink, batch);
        put(&mut sink, batch);
        expect(&read, &reference);
    }
    for batch in &batches {
        put(&mut sink, batch);
    }
    expect(&read, &reference);
}

/// A row that is retracted is gone, and a student without rows is not there.
pub fn retraction_removes<S: IdempotentSink>((mut sink, read): (S, Reader)) {
    put(&mut sink, &ChangeBatch { time: at(1), changes: vec![change("ana", Some(1)), change("bo", Some(2))] });
    put(&mut sink, &ChangeBatch { time: at(2), changes: vec![change("ana", None)] });
    assert_eq!(read(&tenant(), &student("ana")), None, "a student without rows is still there");
    assert!(read(&tenant(), &student("bo")).is_some(), "a retraction took another student along");
    // Retracting what is not there is nothing.
    put(&mut sink, &ChangeBatch { time: at(3), changes: vec![change("ana", None), change("never", None)] });
    assert_eq!(read(&tenant(), &student("ana")), None);
    assert_eq!(read(&tenant(), &student("never")), None);
    let other = TenantId::new("other").expect("a plain name is a tenant id");
    assert_eq!(read(&other, &student("bo")), None, "another tenant sees the student");
}

/// While rows of a student change together, no reader sees some of them changed and others not.
pub fn students_are_atomic<S: IdempotentSink>((mut sink, read): (S, Reader)) {
    const ROUNDS: i64 = 20_000;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::Acquire) {
                        let Some(rows) = read(&tenant(), &student("ana")) else {
                            continue;
                        };
                        let seen = whole(&rows);
                        assert!(seen >= last, "a reader went back from {last} to {seen}");
                        last = seen;
                    }
                })
            })
            .collect();
        for n in 1..=ROUNDS {
            put(&mut sink, &ChangeBatch { time: at(n), changes: vec![change("ana", Some(n))] });
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().expect("a reader saw half of a change");
        }
    });
    assert_eq!(read(&tenant(), &student("ana")).as_ref().map(whole), Some(ROUNDS));
}

/// A snapshot of an earlier state followed by the batches after it ends where the uninterrupted run ends, both in an
/// empty store and in one that already held later state.
pub fn restart_converges<S: IdempotentSink>(open: impl Fn() -> (S, Reader)) {
    let batches = history();
    let mut last = Reference::default();
    batches.iter().for_each(|batch| last.apply(batch));
    for cut in 0..=batches.len() {
        let (before, after) = batches.split_at(cut);
        let mut earlier = Reference::default();
        before.iter().for_each(|batch| earlier.apply(batch));
        let snapshot = earlier.snapshot(at(cut as i64));

        let (mut empty, read) = open();
        put(&mut empty, &snapshot);
        expect(&read, &earlier);
        after.iter().for_each(|batch| put(&mut empty, batch));
        expect(&read, &last);

        let (mut kept, read) = open();
        batches.iter().for_each(|batch| put(&mut kept, batch));
        put(&mut kept, &snapshot);
        after.iter().for_each(|batch| put(&mut kept, batch));
        expect(&read, &last);
    }
}

/// Some students' lives: rows come, change, go, and come back.
fn history() -> Vec<ChangeBatch> {
    let steps: [&[(&str, Option<i64>)]; 6] = [
        &[("ana", Some(1)), ("bo", Some(1)), ("cy", Some(1))],
        &[("ana", Some(2)), ("bo", None)],
        &[("dee", Some(3))],
        &[("bo", Some(4)), ("cy", None)],
        &[("ana", None), ("dee", Some(5))],
        &[("ana", Some(6))],
    ];
    let batch = |(i, step): (usize, &&[(&str, Option<i64>)])| ChangeBatch {
        time: at(i as i64 + 1),
        changes: step.iter().map(|(who, n)| change(who, *n)).collect(),
    };
    steps.iter().enumerate().map(batch).collect()
}

fn put(sink: &mut impl IdempotentSink, batch: &ChangeBatch) {
    assert_eq!(sink.apply(batch), Outcome::Applied, "an available sink refused a batch");
    sink.advance(batch.time.next(batch.time.clock()));
}

fn put_cohorts(sink: &mut impl IdempotentSink, batch: &CohortBatch) {
    assert_eq!(sink.apply_cohorts(batch), Outcome::Applied, "an available sink refused a batch");
    sink.advance(batch.time.next(batch.time.clock()));
}

/// A cohort whose every number says `n`.
fn cohort(n: i64) -> Cohort {
    let sums = Sums { count: n, passing: n, sum: n.into(), squares: n.into(), bins: [n; BINS] };
    Cohort { scale: Scale { min: Decimal::ZERO, max: Decimal::from_int(100) }, sums }
}

fn cohort_change(name: &str, n: Option<i64>) -> CohortChange {
    CohortChange {
        tenant: tenant(),
        subject: subject(name),
        period: period(),
        before: None,
        after: n.map(|n| Arc::new(cohort(n))),
    }
}

fn expect(read: &Reader, reference: &Reference) {
    for who in ["ana", "bo", "cy", "dee", "never"] {
        let (tenant, student) = (tenant(), student(who));
        assert_eq!(read(&tenant, &student).as_ref(), reference.rows(&tenant, &student), "rows of {who}");
    }
}

/// The one number that all rows of a student carry.
fn whole(rows: &Rows) -> i64 {
    let mut numbers: Vec<i64> = rows.grades.values().map(|row| i64::from(row.version)).collect();
    for row in rows.features.values() {
        match row.values.first() {
            Some(FeatureValue::Int(n)) => numbers.push(*n as i64),
            other => panic!("a feature's value became {other:?}"),
        }
    }
    assert_eq!(numbers.len(), 3, "rows are missing: {rows:?}");
    assert!(numbers.windows(2).all(|pair| pair.first() == pair.last()), "half of a change is visible: {numbers:?}");
    numbers.first().copied().unwrap_or_default()
}

/// A student whose grade and both features say `n`, or are gone.
fn change(who: &str, n: Option<i64>) -> StudentChange {
    let feature = |view, n| FeatureChange {
        view,
        before: None,
        after: Option::map(n, |n| FeatureRow {
            values: [FeatureValue::Int(i128::from(n))].into(),
            session: None,
            updated_at: Millis(n),
        }),
    };
    StudentChange {
        tenant: tenant(),
        student: student(who),
        grades: vec![GradeChange {
            subject: subject("maths"),
            period: period(),
            before: None,
            after: n.map(|n| GradeRow { grade: grade(), version: n as u32, updated_at: Millis(n) }),
        }],
        features: vec![feature(0, n), feature(1, n)],
    }
}

fn grade() -> Arc<Grade> {
    Arc::new(Grade {
        score: Some("84.30".into()),
        passing: true,
        complete: true,
        evaluations_count: 1,
        by_category: BTreeMap::new(),
        rule_version: "r-1".into(),
    })
}

fn tenant() -> TenantId {
    TenantId::new("school_1").expect("a plain name is a tenant id")
}

fn subject(name: &str) -> Subject {
    Subject::new(name).expect("a plain name is a subject")
}

fn period() -> PeriodId {
    PeriodId::new("2026-Q1").expect("a plain name is a period")
}

fn student(name: &str) -> StudentId {
    StudentId::new(name).expect("a plain name is a student id")
}

fn at(ms: i64) -> ClockTime {
    ClockTime::at(Millis(ms))
}

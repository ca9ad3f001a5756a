//! Measures what a read costs: `cargo run --release -p aulaflow-serving --example read_cost [students] [readers]`.
//! Profiles of about 2 KB with three grades and their cohorts; once with warm JSON, once while a writer changes students,
//! and cohorts with them, as fast as it can.

use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow, ViewSchema};
use aulaflow_model::cohort::{Cohort, Sums};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::{EvaluationType, IdError, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Scale;
use aulaflow_model::window::WindowSpec;
use aulaflow_serving::{ReadHalf, store};
use aulaflow_sink::update::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const NOW: i64 = 1_772_463_845_120;
const SUBJECTS: [&str; 3] = ["matematicas", "historia", "fisica"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let students: usize = args.next().map_or(Ok(100_000), |a| a.parse())?;
    let readers: usize = args.next().map_or(Ok(1), |a| a.parse())?;
    let schemas: Arc<[ViewSchema]> = (0..5)
        .map(|i| ViewSchema {
            name: format!("feature_{i}_7d"),
            window: WindowSpec::hop(3_600_000, 604_800_000),
            outputs: vec!["participations".into(), "points".into()],
        })
        .collect();
    let (mut writers, read) = store(schemas, Vec::new(), students, 1);
    let Some(mut write) = writers.pop() else {
        return Err("a store has a writer".into());
    };
    let tenant = TenantId::new("school_123")?;
    let ids: Vec<StudentId> =
        (0..students).map(|i| StudentId::new(format!("student_{i:08}"))).collect::<Result<_, _>>()?;

    let started = Instant::now();
    for id in &ids {
        let batch = ChangeBatch { time: ClockTime::at(Millis(NOW)), changes: vec![first(&tenant, id)?] };
        if write.apply(&batch) != Outcome::Applied {
            return Err("the store refused a batch".into());
        }
    }
    println!("fill: {} ns per student", started.elapsed().as_nanos() / students as u128);

    let (without_ns, _) = reads(&read, &tenant, &ids, students);
    println!("first read, without cohorts (renders): {without_ns} ns");
    let (warm_ns, _) = reads(&read, &tenant, &ids, 10 * students);
    println!("warm read, without cohorts: {warm_ns} ns");
    let batch = CohortBatch { time: ClockTime::at(Millis(NOW)), changes: cohorts(&tenant, 0)? };
    if write.apply_cohorts(&batch) != Outcome::Applied {
        return Err("the store refused cohorts".into());
    }
    write.advance(ClockTime::at(Millis(NOW + 10)));
    let (warm_ns, bytes) = reads(&read, &tenant, &ids, 10 * students);
    println!("warm read: {warm_ns} ns, {bytes} bytes per profile");

    let done = AtomicBool::new(false);
    let (writes, write_s) = std::thread::scope(|scope| -> Result<_, Box<dyn std::error::Error>> {
        let handles: Vec<_> =
            (0..readers).map(|_| scope.spawn(|| reads(&read, &tenant, &ids, 10 * students).0)).collect();
        let writer = scope.spawn(|| {
            let started = Instant::now();
            let mut n = 0_usize;
            while !done.load(Ordering::Acquire) {
                let clock = Millis(NOW + 20 + n as i64 / 100);
                let changes = (n..n + 100).map(|i| touch(&tenant, &ids[i * 7919 % ids.len()], i as i64)).collect();
                let outcome = write.apply(&ChangeBatch { time: ClockTime::at(clock), changes });
                assert_eq!(outcome, Outcome::Applied, "the store refused a batch");
                if let Ok(changes) = cohorts(&tenant, n as i64) {
                    let outcome = write.apply_cohorts(&CohortBatch { time: ClockTime::at(clock), changes });
                    assert_eq!(outcome, Outcome::Applied, "the store refused cohorts");
                }
                write.advance(ClockTime::at(Millis(clock.0 + 1)));
                n += 100;
            }
            (n, started.elapsed().as_secs_f64())
        });
        for handle in handles {
            println!("read beside a writer: {} ns", handle.join().map_err(|_| "a reader failed")?);
        }
        done.store(true, Ordering::Release);
        Ok(writer.join().map_err(|_| "the writer failed")?)
    })?;
    println!("writer beside {readers} readers: {:.0} students/s", writes as f64 / write_s);
    Ok(())
}

/// Nanoseconds per read and bytes per profile over `n` reads of scattered students.
fn reads(read: &ReadHalf, tenant: &TenantId, ids: &[StudentId], n: usize) -> (u128, usize) {
    let mut out = Vec::with_capacity(8192);
    let mut bytes = 0;
    let started = Instant::now();
    for i in 0..n {
        out.clear();
        if let Some(profile) = read.profile(tenant, &ids[i * 7919 % ids.len()]) {
            profile.write_json(&mut out);
        }
        bytes += black_box(&out).len();
    }
    (started.elapsed().as_nanos() / n as u128, bytes / n)
}

fn first(tenant: &TenantId, student: &StudentId) -> Result<StudentChange, IdError> {
    let category = |name: &str| -> Result<_, IdError> {
        let result = CategoryResult { value: Some("0.85".into()), weight: "0.7".into(), counted: 2, dropped: 0 };
        Ok((EvaluationType::new(name)?, result))
    };
    let grade = Arc::new(Grade {
        score: Some("84.30".into()),
        passing: true,
        complete: true,
        evaluations_count: 5,
        by_category: [category("exam")?, category("homework")?].into(),
        rule_version: "r-1f0c88aa".into(),
    });
    let mut change = touch(tenant, student, 1);
    for subject in SUBJECTS {
        change.grades.push(GradeChange {
            subject: Subject::new(subject)?,
            period: PeriodId::new("2026-Q1")?,
            before: None,
            after: Some(GradeRow { grade: Arc::clone(&grade), version: 3, updated_at: Millis(NOW) }),
        });
    }
    Ok(change)
}

/// The three subjects' cohorts, which say something else for each `n`.
fn cohorts(tenant: &TenantId, n: i64) -> Result<Vec<CohortChange>, IdError> {
    let change = |subject: &str| -> Result<_, IdError> {
        let mut sums = Sums { passing: 8_000, sum: 700_000_000_000 + i128::from(n), ..Sums::default() };
        sums.bins = [500; 20];
        sums.count = 10_000;
        sums.squares = 52_000_000_000_000_000_000;
        let scale = Scale { min: Decimal::ZERO, max: Decimal::from_int(100) };
        let row = Some(Arc::new(Cohort { scale, sums }));
        Ok(CohortChange {
            tenant: tenant.clone(),
            subject: Subject::new(subject)?,
            period: PeriodId::new("2026-Q1")?,
            before: None,
            after: row,
        })
    };
    SUBJECTS.into_iter().map(change).collect()
}

fn touch(tenant: &TenantId, student: &StudentId, n: i64) -> StudentChange {
    let feature = |view| FeatureChange {
        view,
        before: None,
        after: Some(FeatureRow {
            session: None,
            values: [FeatureValue::Int(i128::from(n)), FeatureValue::Micros(12_500_000)].into(),
            updated_at: Millis(NOW),
        }),
    };
    StudentChange {
        tenant: tenant.clone(),
        student: student.clone(),
        grades: Vec::new(),
        features: (0..5).map(feature).collect(),
    }
}

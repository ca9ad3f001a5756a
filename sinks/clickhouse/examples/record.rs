//! Measures the recorder: grades that are new, that change, and that are compared after a crash. What is recorded is thrown away.
//!
//! `cargo run --release -p aulaflow-clickhouse --example record -- [STUDENTS]`; under `taskset -c 0` all of it shares one core.

use aulaflow_clickhouse::{Limits, PseudonymKeys, Queue, Recorder, RecorderMetrics, RecorderStart, Tables};
use aulaflow_model::change::GradeRow;
use aulaflow_model::grade::{CategoryResult, Grade};
use aulaflow_model::ids::{EvaluationType, PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_plan::{Source, compile, parse_runtime};
use aulaflow_serving::{ReadHalf, WriteHalf};
use aulaflow_sink::update::{ChangeBatch, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome, Participant};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SUBJECTS: usize = 5;
const BATCH_STUDENTS: usize = 500;
const T0: i64 = 1_770_000_000_000;
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> Result<(), Box<dyn Error>> {
    let students = std::env::args().nth(1).map_or(Ok(40_000), |n| n.parse::<usize>())?;
    let rows = students * SUBJECTS;
    let dir = tempfile::tempdir()?;
    let (mut writers, store) = aulaflow_serving::store([].into(), vec![], students, 1);
    let mut writer = writers.remove(0);
    let (recorder, mut queues) = start(dir.path(), &store)?;
    recorder.handle().caught_up();
    let mut time = ClockTime::at(Millis(T0));
    let outbox = recorder.outbox();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                while let Ok(Some(block)) = outbox.first() {
                    if outbox.done(block.number).is_err() {
                        return;
                    }
                }
                outbox.wait(Duration::from_millis(20));
            }
        });
        let mut measured = || -> Result<(), Box<dyn Error>> {
            for (what, n) in [("new rows", 1), ("changed rows", 2), ("changed again", 3), ("unchanged rows", 3)] {
                let begun = Instant::now();
                tell(&mut writer, &mut queues[0], students, n, &mut time)?;
                recorder.handle().prepare(time, PATIENCE)?;
                report(what, rows, begun);
            }
            Ok(())
        };
        let outcome = measured();
        ended.store(true, Ordering::Relaxed);
        outcome
    })?;
    recorder.abandon();
    // Handles keep the folder open.
    drop((outbox, queues));
    let (recorder, mut queues) = start(dir.path(), &store)?;
    let begun = Instant::now();
    recorder.handle().caught_up();
    queues[0].advance(time.next(time.clock()));
    while !recorder.handle().is_whole() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    report("rows compared", rows, begun);
    recorder.close();
    Ok(())
}

fn report(what: &str, rows: usize, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    println!("{what}: {rows} in {seconds:.2} s, {:.0} rows/s", rows as f64 / seconds);
}

fn start(dir: &Path, store: &ReadHalf) -> Result<(Recorder, Vec<Queue>), Box<dyn Error>> {
    let (file, _) = parse_runtime(&Source::new("record.toml", ""));
    let plan = compile(file.ok_or("the configuration is not accepted")?, &[], &[]).map_err(|d| format!("{d:?}"))?;
    let (recorder, queues) = Recorder::start(RecorderStart {
        share: Share::All,
        dir: dir.join("analytics"),
        tables: Arc::new(Tables::of(&plan)?),
        store: store.clone(),
        workers: 1,
        keys: Arc::new(PseudonymKeys::open(&dir.join("keys"))?),
        limits: Limits::default(),
        metrics: RecorderMetrics::default(),
        at: |_| {},
    })?;
    recorder.based();
    recorder.handle().restore(None);
    Ok((recorder, queues))
}

/// Every student's grades, made of a number.
fn tell(
    writer: &mut WriteHalf,
    queue: &mut Queue,
    students: usize,
    n: u32,
    time: &mut ClockTime,
) -> Result<(), Box<dyn Error>> {
    let tenant = TenantId::new("school_1")?;
    let period = PeriodId::new("2026-Q1")?;
    let category = CategoryResult { value: Some("0.85".into()), weight: "0.5".into(), counted: n, dropped: 0 };
    let categories = ["exam", "homework"].map(EvaluationType::new);
    let mut by_category = BTreeMap::new();
    for name in categories {
        by_category.insert(name?, category.clone());
    }
    let grade = Arc::new(Grade {
        score: Some("84.30".into()),
        passing: true,
        complete: true,
        evaluations_count: n,
        by_category,
        rule_version: "r-1f0c".into(),
    });
    let subjects = (0..SUBJECTS).map(|n| Subject::new(format!("subject-{n}"))).collect::<Result<Vec<_>, _>>()?;
    for first in (0..students).step_by(BATCH_STUDENTS) {
        *time = time.next(Millis(T0));
        let mut changes = Vec::with_capacity(BATCH_STUDENTS);
        for student in first..(first + BATCH_STUDENTS).min(students) {
            let row =
                || Some(GradeRow { grade: Arc::clone(&grade), version: n, updated_at: Millis(T0 + i64::from(n)) });
            let change = |subject: &Subject| GradeChange {
                subject: subject.clone(),
                period: period.clone(),
                before: None,
                after: row(),
            };
            changes.push(StudentChange {
                tenant: tenant.clone(),
                student: StudentId::new(format!("student-{student}"))?,
                grades: subjects.iter().map(change).collect(),
                features: vec![],
            });
        }
        let batch = ChangeBatch { time: *time, changes };
        queue.begin(batch.time);
        let applied = writer.apply(&batch);
        if applied != Outcome::Applied {
            return Err(format!("the store answers {applied:?}").into());
        }
        while queue.apply(&batch) != Outcome::Applied {}
        queue.advance(time.next(time.clock()));
    }
    Ok(())
}

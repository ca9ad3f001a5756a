//! Restarts one by one: what a store that was closed in order is spared, and what is found after something else has changed.

use crate::harness::{self, ClickHouse, DAILY, VISIT, after, hand_over};
use aulaflow_clickhouse::{
    Limits, Outbox, PseudonymKeys, Queue, Recorder, RecorderMetrics, RecorderStart, StoreError, Tables, TablesError,
};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_serving::WriteHalf;
use aulaflow_sink::update::{ChangeBatch, FeatureChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome, Participant};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const T0: i64 = 1_770_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

struct Process {
    writer: WriteHalf,
    recorder: Recorder,
    queue: Queue,
    time: ClockTime,
}

/// Starts a process whose plan is this SQL.
fn start(dir: &Path, sql: &str, limits: Limits, mark: Option<&[u8]>, time: ClockTime) -> Process {
    let plan = harness::plan_of(sql);
    let schemas: Arc<[ViewSchema]> = plan.views.iter().map(|view| view.schema.clone()).collect();
    let (mut writers, store) = aulaflow_serving::store(schemas, vec![], 10, 1);
    let (recorder, mut queues) = Recorder::start(RecorderStart {
        share: Share::All,
        dir: dir.join("analytics"),
        tables: Arc::new(Tables::of(&plan).unwrap()),
        store,
        workers: 1,
        keys: Arc::new(PseudonymKeys::open(&dir.join("keys")).unwrap()),
        limits,
        metrics: RecorderMetrics::default(),
        at: |_| {},
    })
    .unwrap();
    recorder.based();
    recorder.handle().restore(mark);
    Process { writer: writers.remove(0), recorder, queue: queues.remove(0), time }
}

impl Process {
    /// A student's row of a view is made of this number.
    fn batch(&mut self, view: u16, n: u32) -> ChangeBatch {
        self.time = self.time.next(Millis(T0));
        let change = StudentChange {
            tenant: TenantId::new("t").unwrap(),
            student: StudentId::new("s").unwrap(),
            grades: vec![],
            features: vec![FeatureChange { view, before: None, after: Some(harness::feature(view, n, Millis(T0))) }],
        };
        ChangeBatch { time: self.time, changes: vec![change] }
    }

    /// A student's visit is made of this number; `told`: as a change, and not as what it was before.
    fn show(&mut self, n: u32, told: bool) {
        let batch = self.batch(VISIT, n);
        self.queue.begin(batch.time);
        assert_eq!(self.writer.apply(&batch), Outcome::Applied);
        if told {
            hand_over(&mut self.queue, &batch);
        }
        self.queue.advance(after(self.time));
    }

    /// Catches up, and waits until everything is compared. Its mark.
    fn settle(&mut self) -> Vec<u8> {
        self.recorder.handle().caught_up();
        let begun = Instant::now();
        while !self.recorder.handle().is_whole() {
            assert!(begun.elapsed() < PATIENCE);
            self.time = self.time.next(Millis(T0));
            self.queue.advance(after(self.time));
            std::thread::yield_now();
        }
        self.recorder.handle().prepare(self.time, PATIENCE).unwrap()
    }

    fn visits(&self, outbox: &Outbox, clickhouse: &mut ClickHouse) -> Vec<Vec<String>> {
        clickhouse.take(outbox, usize::MAX, true);
        assert_eq!(clickhouse.present("visit"), clickhouse.as_of("visit", i64::MAX));
        clickhouse.present("visit").into_values().collect()
    }
}

fn clickhouse(sql: &str) -> ClickHouse {
    ClickHouse::new(Arc::new(Tables::of(&harness::plan_of(sql)).unwrap()))
}

#[test]
fn a_store_that_was_closed_in_order_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let mut clickhouse = clickhouse(harness::SQL);
    let mut process = start(dir.path(), harness::SQL, Limits::default(), None, ClockTime::at(Millis(T0)));
    process.show(1, true);
    let mark = process.settle();
    let text = |n| harness::feature_text(VISIT, n, Millis(T0));
    assert_eq!(process.visits(&process.recorder.outbox(), &mut clickhouse), [text(1)]);
    process.recorder.close();

    // What is shown again is not looked at: another row there is not found, a change is.
    let mut process = start(dir.path(), harness::SQL, Limits::default(), Some(&mark), process.time);
    process.show(5, false);
    let mark = process.settle();
    assert_eq!(process.visits(&process.recorder.outbox(), &mut clickhouse), [text(1)]);
    process.show(2, true);
    let later = process.recorder.handle().prepare(process.time, PATIENCE).unwrap();
    assert_eq!(process.visits(&process.recorder.outbox(), &mut clickhouse), [text(2)]);
    process.recorder.close();

    // The mark of an earlier checkpoint: all is looked at.
    let mut process = start(dir.path(), harness::SQL, Limits::default(), Some(&mark), process.time);
    process.show(5, false);
    process.settle();
    assert_eq!(process.visits(&process.recorder.outbox(), &mut clickhouse), [text(5)]);
    // As after a crash.
    process.recorder.abandon();
    let mut process = start(dir.path(), harness::SQL, Limits::default(), Some(&later), process.time);
    process.show(6, false);
    process.settle();
    assert_eq!(process.visits(&process.recorder.outbox(), &mut clickhouse), [text(6)]);
    process.recorder.close();
}

#[test]
fn an_old_copy_of_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start(dir.path(), harness::SQL, Limits::default(), None, ClockTime::at(Millis(T0)));
    process.show(1, true);
    let mut mark = process.settle();
    process.recorder.close();
    // A mark of a later time, as a checkpoint has it that was made after the copy.
    let text = String::from_utf8(mark).unwrap();
    let time = format!("\"time\":{}", process.time.0);
    assert!(text.contains(&time), "{text}");
    mark = text.replace(&time, &format!("\"time\":{}", process.time.0 + 1)).into_bytes();
    let process = start(dir.path(), harness::SQL, Limits::default(), Some(&mark), process.time);
    process.recorder.handle().caught_up();
    let error = process.recorder.handle().prepare(ClockTime(u64::MAX), PATIENCE).unwrap_err();
    assert!(error.contains("older than the checkpoint"), "{error}");
    process.recorder.close();
}

#[test]
fn a_batch_that_was_not_wanted_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start(dir.path(), harness::SQL, Limits::default(), None, ClockTime::at(Millis(T0)));
    let mut clickhouse = clickhouse(harness::SQL);
    process.queue.advance(after(process.time));
    let batch = process.batch(VISIT, 1);
    process.queue.begin(batch.time);
    process.recorder.handle().caught_up();
    // However long the worker takes, nothing is compared before the batch is shown.
    std::thread::park_timeout(Duration::from_millis(30));
    assert!(!process.recorder.handle().is_whole());
    assert_eq!(process.writer.apply(&batch), Outcome::Applied);
    hand_over(&mut process.queue, &batch);
    process.queue.advance(after(process.time));
    process.settle();
    let expected = [harness::feature_text(VISIT, 1, Millis(T0))];
    assert_eq!(process.visits(&process.recorder.outbox(), &mut clickhouse), expected);
    process.recorder.close();
}

#[test]
fn what_waits_for_the_end_of_its_day_and_is_not_shown_any_more_is_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let mut clickhouse = clickhouse(harness::SQL);
    let mut process = start(dir.path(), harness::SQL, Limits::default(), None, ClockTime::at(Millis(T0)));
    process.settle();
    let batch = process.batch(DAILY, 1);
    process.queue.begin(batch.time);
    assert_eq!(process.writer.apply(&batch), Outcome::Applied);
    hand_over(&mut process.queue, &batch);
    process.queue.advance(after(process.time));
    process.recorder.handle().prepare(process.time, PATIENCE).unwrap();
    process.recorder.abandon();
    for again in [false, true] {
        // Without a checkpoint, and the second time with the row.
        let mut process = start(dir.path(), harness::SQL, Limits::default(), None, process.time);
        if again {
            let batch = process.batch(DAILY, 2);
            assert_eq!(process.writer.apply(&batch), Outcome::Applied);
        }
        process.settle();
        let days = if again { 2 } else { 1 };
        let midnight = ClockTime::at(Millis((T0 / 86_400_000 + days) * 86_400_000));
        process.queue.advance(after(midnight));
        process.recorder.handle().prepare(midnight, PATIENCE).unwrap();
        clickhouse.take(&process.recorder.outbox(), usize::MAX, true);
        let expected: Vec<_> = again.then(|| harness::feature_text(DAILY, 2, Millis(T0))).into_iter().collect();
        assert_eq!(clickhouse.as_of("daily", i64::MAX).into_values().collect::<Vec<_>>(), expected);
        assert_eq!(
            clickhouse.rows.len(),
            if again { 2 } else { 0 },
            "nothing was recorded that was not shown at midnight"
        );
        process.recorder.abandon();
    }
}

#[test]
fn other_keys_and_other_columns_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = clickhouse(harness::SQL);
    let mut process = start(dir.path(), harness::SQL, Limits::default(), None, ClockTime::at(Millis(T0)));
    process.show(1, true);
    let mark = process.settle();
    process.visits(&process.recorder.outbox(), &mut before);
    let old: Vec<_> = before.present("visit").into_keys().collect();
    process.recorder.close();

    // A tenant that gets another key has no history any more: its rows are other students'.
    std::fs::remove_file(dir.path().join("keys/t.key")).unwrap();
    let mut process = start(dir.path(), harness::SQL, Limits::default(), Some(&mark), process.time);
    process.show(1, false);
    let mark = process.settle();
    process.visits(&process.recorder.outbox(), &mut before);
    let new: Vec<_> = before.present("visit").into_keys().collect();
    assert_eq!((old.len(), new.len()), (1, 1));
    assert_ne!(old, new);
    process.recorder.close();

    // A view that gets a column: the rows that are there have a null in it, which the first difference takes back.
    let wider = harness::SQL.replace("AS busy FROM", "AS busy, sum(value) AS points FROM");
    let plan = harness::plan_of(&wider);
    let schemas: Vec<_> = plan.views.iter().map(|view| view.schema.outputs.len()).collect();
    assert_eq!(schemas, [1, 3, 4]);
    let store = |sql: &str| {
        let plan = harness::plan_of(sql);
        let schemas: Arc<[ViewSchema]> = plan.views.iter().map(|view| view.schema.clone()).collect();
        let (_, store) = aulaflow_serving::store(schemas, vec![], 10, 1);
        Recorder::start(RecorderStart {
            share: Share::All,
            dir: dir.path().join("analytics"),
            tables: Arc::new(Tables::of(&plan).unwrap()),
            store,
            workers: 1,
            keys: Arc::new(PseudonymKeys::open(&dir.path().join("keys")).unwrap()),
            limits: Limits::default(),
            metrics: RecorderMetrics::default(),
            at: |_| {},
        })
    };
    let (recorder, mut queues) = store(&wider).unwrap();
    recorder.based();
    recorder.handle().restore(Some(&mark));
    recorder.handle().caught_up();
    // Nobody is shown any more: the row is taken back as it is there.
    let mut time = process.time;
    while !recorder.handle().is_whole() {
        time = time.next(Millis(T0));
        queues[0].advance(after(time));
        std::thread::yield_now();
    }
    recorder.handle().prepare(time, PATIENCE).unwrap();
    let mut after = clickhouse(&wider);
    after.take(&recorder.outbox(), usize::MAX, true);
    let rows = &after.rows["visit_changes"];
    let mut expected = harness::feature_text(VISIT, 1, Millis(T0));
    expected.insert(3, "NULL".to_owned());
    assert_eq!(rows.iter().map(|row| (row.diff, &row.values)).collect::<Vec<_>>(), [(-1, &expected)]);
    recorder.close();
}

#[test]
fn a_full_outbox_holds_the_dataflow_back_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        outbox_bytes_max: 1,
        block_rows_max: 1,
        queue_rows_max: 2,
        block_age_max: Duration::ZERO,
        ..Limits::default()
    };
    let mut clickhouse = clickhouse(harness::SQL);
    let mut process = start(dir.path(), harness::SQL, limits, None, ClockTime::at(Millis(T0)));
    process.settle();
    let (handle, outbox) = (process.recorder.handle(), process.recorder.outbox());
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let worker = std::thread::spawn(move || {
        (1..50).for_each(|n| process.show(n, true));
        told.store(true, Ordering::SeqCst);
        process
    });
    // Nothing is taken: the outbox fills with one commit, and the worker waits.
    assert!(outbox.wait(PATIENCE));
    let error = handle.prepare(ClockTime(u64::MAX), Duration::from_millis(50)).unwrap_err();
    assert!(handle.is_full() && !done.load(Ordering::SeqCst), "{error}");
    assert_eq!(outbox.blocks(), 2);
    while !done.load(Ordering::SeqCst) || outbox.wait(Duration::from_millis(100)) {
        clickhouse.take(&outbox, 1, true);
        outbox.wait(Duration::from_millis(5));
    }
    let process = worker.join().unwrap();
    assert_eq!(process.visits(&outbox, &mut clickhouse), [harness::feature_text(VISIT, 49, Millis(T0))]);
    // An engine that has to end while nothing is sent is let go.
    let mut process = process;
    process.show(60, true);
    assert!(outbox.wait(PATIENCE));
    handle.release();
    (61..100).for_each(|n| process.show(n, true));
    process.recorder.close();
}

#[test]
fn a_block_that_is_damaged_or_missing_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start(dir.path(), harness::SQL, Limits::default(), None, ClockTime::at(Millis(T0)));
    process.show(1, true);
    process.settle();
    let outbox = process.recorder.outbox();
    let first = outbox.first().unwrap().unwrap();
    assert_eq!((first.number, outbox.blocks(), outbox.next_block()), (1, 2, 3));
    let file = dir.path().join("analytics/outbox/00000000000000000001.block");
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert!(matches!(outbox.first(), Err(StoreError::Damaged { .. })));
    std::fs::write(&file, whole).unwrap();
    assert_eq!(outbox.first().unwrap().unwrap(), first);
    outbox.done(7).unwrap();
    assert_eq!(outbox.blocks(), 2, "only the first can be done");
    process.recorder.abandon();
    drop(outbox);
    std::fs::remove_file(dir.path().join("analytics/outbox/00000000000000000002.block")).unwrap();
    let plan = harness::plan();
    let (_, store) = aulaflow_serving::store([].into(), vec![], 10, 1);
    let again = Recorder::start(RecorderStart {
        share: Share::All,
        dir: dir.path().join("analytics"),
        tables: Arc::new(Tables::of(&plan).unwrap()),
        store,
        workers: 1,
        keys: Arc::new(PseudonymKeys::open(&dir.path().join("keys")).unwrap()),
        limits: Limits::default(),
        metrics: RecorderMetrics::default(),
        at: |_| {},
    });
    let error = again.err().unwrap().to_string();
    assert!(error.contains("blocks are missing"), "{error}");
}

#[test]
fn names_that_two_tables_or_columns_would_have_are_refused() {
    let view = |name: &str, output: &str| {
        let sql =
            harness::SQL.replace("VIEW visit", &format!("VIEW {name}")).replace("AS busy", &format!("AS {output}"));
        Tables::of(&harness::plan_of(&sql))
    };
    let table = |view: &str, table: &str| TablesError::Name { view: view.to_owned(), table: table.to_owned() };
    assert_eq!(view("behavior_", "busy").err(), None);
    assert_eq!(view("writers", "busy").err(), Some(table("writers", "writers")));
    assert_eq!(view("daily_changes", "busy").err(), Some(table("daily_changes", "daily_changes")));
    for column in ["clock", "diff", "tenant", "session_end"] {
        let error = TablesError::Column { view: "visit".to_owned(), column: column.to_owned() };
        assert_eq!(view("visit", column).err(), Some(error));
    }
    let tables = view("visit", "busy").unwrap();
    let names: Vec<_> = tables.tables.iter().map(|table| table.name.as_str()).collect();
    let expected =
        ["grades_changes", "grades", "cohorts_changes", "cohorts", "daily_changes", "daily", "visit_changes", "visit"];
    assert_eq!(names, expected);
    let visit = tables.table("visit_changes").unwrap();
    assert_eq!(visit.order_by, ["tenant", "student", "version", "diff"]);
    let columns: Vec<_> = visit.columns.iter().map(|c| format!("{} {}", c.name, c.r#type)).collect();
    assert_eq!(
        columns,
        [
            "tenant LowCardinality(String)",
            "student UUID",
            "events Nullable(Int64)",
            "latest Nullable(DateTime64(3, 'UTC'))",
            "busy Nullable(Bool)",
            "session_start Nullable(DateTime64(3, 'UTC'))",
            "session_end Nullable(DateTime64(3, 'UTC'))",
            "updated_at DateTime64(3, 'UTC')",
            "clock DateTime64(3, 'UTC')",
            "diff Int8",
            "version UInt64",
            "writer UUID",
            "block UInt64"
        ]
    );
}

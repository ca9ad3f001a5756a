//! Random runs against a model: an engine that goes back to checkpoints and comes forward again, ends in order or is killed, days that
//! pass, folders that are lost. Whatever happened, what ClickHouse adds up to is what is shown, and was at every instant.

use crate::harness::{self, ClickHouse, DAILY, Present, Random, UNKEPT, VISIT, after, hand_over};
use aulaflow_clickhouse::{Limits, PseudonymKeys, Queue, Recorder, RecorderMetrics, RecorderStart, Tables};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_plan::Plan;
use aulaflow_serving::WriteHalf;
use aulaflow_sink::update::{ChangeBatch, CohortBatch, CohortChange, FeatureChange, GradeChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome, Participant};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DAY: i64 = 86_400_000;
const STUDENTS: u64 = 5;
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);

/// What is shown, by a key in words: the number it is made of, its version, and when it changed.
type Shown = BTreeMap<Key, (u32, u32, Millis)>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Grade(u64, u64),
    Feature(u64, u16),
    Cohort(u64),
}

impl Key {
    fn table(&self) -> Option<&'static str> {
        match self {
            Self::Grade(..) => Some("grades"),
            Self::Feature(_, DAILY) => Some("daily"),
            Self::Feature(_, VISIT) => Some("visit"),
            Self::Feature(..) => None,
            Self::Cohort(_) => Some("cohorts"),
        }
    }
}

fn tenant(student: u64) -> TenantId {
    TenantId::new(format!("t{}", student % 2)).unwrap()
}

fn student(student: u64) -> StudentId {
    StudentId::new(format!("s{}", student / 2)).unwrap()
}

fn subject() -> Subject {
    Subject::new("álgebra").unwrap()
}

fn period(n: u64) -> PeriodId {
    PeriodId::new(format!("2026-Q{n}")).unwrap()
}

/// A change of the same rows to something else.
fn other(change: &StudentChange) -> StudentChange {
    let mut change = change.clone();
    for grade in &mut change.grades {
        grade.after = grade.after.is_none().then(|| harness::grade(77, 1, Millis(7)));
    }
    change
}

/// One thing that the log says: a row is made of this number now, or goes.
#[derive(Debug, Clone)]
struct Said {
    key: Key,
    n: Option<u32>,
    clock: i64,
}

#[derive(Clone)]
struct Checkpoint {
    /// How much of the log it covers.
    said: usize,
    shown: Shown,
    time: ClockTime,
    mark: Option<Vec<u8>>,
}

/// Lets the dataflow go on for a moment, so that it meets the recorder everywhere.
fn pause(_: &'static str) {
    static PAUSES: AtomicU64 = AtomicU64::new(0);
    let micros = PAUSES.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9) % 7 * 60;
    std::thread::park_timeout(Duration::from_micros(micros));
}

/// A process.
struct Process {
    writers: Vec<WriteHalf>,
    recorder: Recorder,
    queues: Vec<Queue>,
}

struct World {
    random: Random,
    plan: Plan,
    tables: Arc<Tables>,
    dir: tempfile::TempDir,
    clickhouse: ClickHouse,
    keys: Arc<PseudonymKeys>,
    said: Vec<Said>,
    shown: Shown,
    clock: i64,
    time: ClockTime,
    checkpoints: Vec<Checkpoint>,
    /// What was shown at the end of each clock at which everything was recorded.
    history: BTreeMap<i64, Shown>,
    /// Clocks, from and to, of which nobody knows what was recorded.
    lost: Vec<(i64, i64)>,
    /// The first clock since the last checkpoint, and since everything was sent.
    unsure: i64,
    unsent: i64,
    /// After a restart clocks come again as they were.
    events: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let plan = harness::plan();
        let tables = Arc::new(Tables::of(&plan).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let clock = 1_770_000_000_000;
        let none = Checkpoint { said: 0, shown: Shown::new(), time: ClockTime::at(Millis(clock)), mark: None };
        let mut random = Random(seed);
        Self {
            events: random.below(2) == 0,
            random,
            plan,
            clickhouse: ClickHouse::new(Arc::clone(&tables)),
            keys: Arc::new(PseudonymKeys::open(&dir.path().join("keys")).unwrap()),
            tables,
            dir,
            said: Vec::new(),
            shown: Shown::new(),
            clock,
            time: none.time,
            checkpoints: vec![none],
            history: BTreeMap::new(),
            lost: Vec::new(),
            unsure: clock,
            unsent: clock,
        }
    }

    /// Starts a process from a checkpoint, and lets it catch up.
    fn start(&mut self, from: &Checkpoint) -> Process {
        let schemas: Arc<[ViewSchema]> = self.plan.views.iter().map(|view| view.schema.clone()).collect();
        let (writers, store) = aulaflow_serving::store(schemas, vec![], 10, WORKERS);
        let limits = Limits {
            block_rows_max: 1 + self.random.below(40) as usize,
            block_age_max: Duration::from_millis(self.random.below(4)),
            queue_rows_max: 20 + self.random.below(400) as usize,
            ..Limits::default()
        };
        let (recorder, queues) = Recorder::start(RecorderStart {
            share: Share::All,
            dir: self.dir.path().join("analytics"),
            tables: Arc::clone(&self.tables),
            store,
            workers: WORKERS,
            keys: Arc::clone(&self.keys),
            limits,
            metrics: RecorderMetrics::default(),
            at: pause,
        })
        .unwrap();
        let mut process = Process { writers, recorder, queues };
        let is_new = process.recorder.is_new();
        if is_new && self.clickhouse.blocks() > 0 {
            self.rebuild(&process);
        }
        let late = is_new && self.random.below(2) == 0;
        if !late {
            process.recorder.based();
        }
        process.recorder.handle().restore(from.mark.as_deref());
        // The state is loaded: rows as they were, of which the recorder is told nothing.
        self.shown = from.shown.clone();
        self.time = from.time;
        let clock = if self.events { from.time.clock() } else { Millis(self.clock) };
        self.show(&mut process, from.shown.keys().cloned().collect(), clock, false);
        // What views show follows from the clock as well: some of it does not come again.
        let mut again = self.said.split_off(from.said);
        again.retain(|said| !matches!(said.key, Key::Feature(..)) || self.random.below(2) == 0);
        self.said.extend(again.iter().cloned());
        for said in again.chunks(3) {
            let clock = if self.events { said[said.len() - 1].clock } else { self.clock };
            self.apply(&mut process, said, clock);
        }
        // Time goes by though nothing is said.
        self.apply(&mut process, &[], self.clock);
        let (handle, recorder) = (process.recorder.handle(), process.recorder.handle());
        let caught_up = std::thread::spawn(move || {
            pause("");
            handle.caught_up();
        });
        // Meanwhile the dataflow goes on.
        self.say(&mut process);
        caught_up.join().unwrap();
        assert_eq!(recorder.failure(), None);
        if late {
            process.recorder.based();
        }
        process
    }

    /// The local store is made again from what was sent.
    fn rebuild(&mut self, process: &Process) {
        self.clickhouse.mend();
        let mut rebuild = process.recorder.rebuild().unwrap();
        for relation in self.tables.relations.clone() {
            let bytes = self.clickhouse.rebuilt(&relation.name);
            // In pieces that end anywhere.
            let (mut from, mut to) = (0, 0);
            while from < bytes.len() {
                to = (to + 1 + self.random.below(300) as usize).min(bytes.len());
                from += rebuild.put(&relation.name, &bytes[from..to]).unwrap();
            }
        }
        let (version, clock) = self.clickhouse.last();
        rebuild.finish(version, Millis(clock)).unwrap();
        assert!(!process.recorder.is_new());
    }

    /// Shows rows as they are, at a clock.
    fn show(&mut self, process: &mut Process, keys: Vec<Key>, clock: Millis, told: bool) {
        self.time = self.time.next(clock);
        let time = self.time;
        let mut students: BTreeMap<u64, StudentChange> = BTreeMap::new();
        let mut cohorts = Vec::new();
        for key in keys {
            let row = self.shown.get(&key).copied();
            let of = |own: u64| StudentChange {
                tenant: tenant(own),
                student: student(own),
                grades: vec![],
                features: vec![],
            };
            match key {
                Key::Grade(own, n) => {
                    let row = row.map(|(n, version, at)| harness::grade(n, version, at));
                    let change = GradeChange { subject: subject(), period: period(n), before: None, after: row };
                    students.entry(own).or_insert_with(|| of(own)).grades.push(change);
                }
                Key::Feature(own, view) => {
                    let row = row.map(|(n, _, at)| harness::feature(view, n, at));
                    students.entry(own).or_insert_with(|| of(own)).features.push(FeatureChange {
                        view,
                        before: None,
                        after: row,
                    });
                }
                Key::Cohort(n) => {
                    let row = row.map(|(n, ..)| Arc::new(harness::cohort(n)));
                    cohorts.push(CohortChange {
                        tenant: tenant(n),
                        subject: subject(),
                        period: period(n),
                        before: None,
                        after: row,
                    });
                }
            }
        }
        for worker in 0..WORKERS {
            let (writer, queue) = (&mut process.writers[worker], &mut process.queues[worker]);
            let own = students.iter().filter(|(student, _)| **student as usize % WORKERS == worker);
            let batch = ChangeBatch { time, changes: own.map(|(_, change)| change.clone()).collect() };
            // Now and then an operator says in two batches what it could have said in one.
            let twice = told && self.random.below(4) == 0;
            let first = ChangeBatch { time, changes: batch.changes.iter().map(other).collect() };
            let batches = [&first, &batch].into_iter().skip(usize::from(!twice));
            for batch in batches.filter(|batch| !batch.changes.is_empty()) {
                if told {
                    queue.begin(batch.time);
                }
                pause("");
                assert_eq!(writer.apply(batch), Outcome::Applied);
                if told {
                    hand_over(queue, batch);
                }
                pause("");
            }
            if worker == 0 && !cohorts.is_empty() {
                let batch = CohortBatch { time, changes: std::mem::take(&mut cohorts) };
                if told {
                    queue.begin(batch.time);
                }
                assert_eq!(writer.apply_cohorts(&batch), Outcome::Applied);
                while told && queue.apply_cohorts(&batch) != Outcome::Applied {}
            }
        }
        if told && self.random.below(8) == 0 {
            // A long epoch: what is shown of it stays incomplete for a while.
            (0..12).for_each(|_| pause(""));
        }
        process.queues.iter_mut().for_each(|queue| queue.advance(after(time)));
    }

    /// An epoch.
    fn apply(&mut self, process: &mut Process, said: &[Said], clock: i64) {
        let is_whole = process.recorder.handle().is_whole();
        for said in said {
            match said.n {
                Some(n) => {
                    let version = self.shown.get(&said.key).map_or(1, |(_, version, _)| version + 1);
                    self.shown.insert(said.key.clone(), (n, version, Millis(clock)));
                }
                None => drop(self.shown.remove(&said.key)),
            }
        }
        let mut keys: Vec<Key> = said.iter().map(|said| said.key.clone()).collect();
        keys.sort();
        keys.dedup();
        self.show(process, keys, Millis(clock), true);
        self.unsure = self.unsure.min(clock);
        self.unsent = self.unsent.min(clock);
        if is_whole {
            self.history.insert(clock, self.shown.clone());
        } else {
            self.lose(clock, clock);
        }
    }

    /// Nobody knows what was recorded at these clocks.
    fn lose(&mut self, from: i64, to: i64) {
        self.history.retain(|clock, _| *clock < from || *clock > to);
        self.lost.push((from, to));
    }

    /// Something new is said.
    fn say(&mut self, process: &mut Process) {
        self.clock += [0, 0, 1, 50, 3_600_000][self.random.below(5) as usize];
        let mut said = Vec::new();
        for _ in 0..self.random.below(5) {
            let key = match self.random.below(6) {
                0..3 => Key::Grade(self.random.below(STUDENTS), self.random.below(3)),
                3 | 4 => {
                    let view = [UNKEPT, DAILY, VISIT][self.random.below(3) as usize];
                    Key::Feature(self.random.below(STUDENTS + 4), view)
                }
                _ => Key::Cohort(self.random.below(3)),
            };
            let n = (self.random.below(4) != 0).then(|| self.random.below(9) as u32);
            if n.is_some() || self.shown.contains_key(&key) {
                said.push(Said { key, n, clock: self.clock });
            }
        }
        self.said.extend(said.iter().cloned());
        self.apply(process, &said, self.clock);
    }

    fn checkpoint(&mut self, process: &Process) {
        let mark = process.recorder.handle().prepare(self.time, PATIENCE).unwrap();
        let (said, shown, time) = (self.said.len(), self.shown.clone(), self.time);
        self.checkpoints.push(Checkpoint { said, shown, time, mark: Some(mark) });
        if self.checkpoints.len() > 3 {
            self.checkpoints.remove(0);
        }
        self.unsure = i64::MAX;
    }

    /// Ends the process, in some way, and starts another one, from some checkpoint.
    fn restart(&mut self, process: Process) -> Process {
        let in_order = self.random.below(2) == 0;
        if in_order {
            self.checkpoint(&process);
            process.recorder.close();
            drop((process.writers, process.queues));
        } else {
            process.recorder.abandon();
        }
        if self.unsure <= self.clock {
            self.lose(self.unsure, self.clock);
        }
        if self.random.below(6) == 0 {
            std::fs::remove_dir_all(self.dir.path().join("analytics")).unwrap();
            if self.unsent <= self.clock {
                self.lose(self.unsent, self.clock);
            }
            // What waited for the end of a day is lost as well, and so is what was recorded as of the midnights since.
            let sent = self.history.range(..self.unsent.min(self.clock)).next_back();
            self.lost.push((sent.map_or(0, |(clock, _)| *clock), self.clock));
        }
        // What the comparison finds is recorded at the clock of now.
        self.lose(self.clock, self.clock);
        let older = self.random.below(4) == 0;
        let from =
            if older { self.random.below(self.checkpoints.len() as u64) as usize } else { self.checkpoints.len() - 1 };
        self.checkpoints.truncate(from + 1);
        let from = self.checkpoints[from].clone();
        self.start(&from)
    }

    /// What is shown, as a table must have it.
    fn expected(&self, table: &str, shown: &Shown) -> Present {
        let pseudonym = |own: u64| self.keys.known(&tenant(own), &student(own)).unwrap().to_string();
        let mut present = Present::new();
        for (key, (n, version, at)) in shown.iter().filter(|(key, _)| key.table() == Some(table)) {
            let (key, values) = match key {
                Key::Grade(own, q) => (
                    vec![tenant(*own).to_string(), pseudonym(*own), subject().to_string(), period(*q).to_string()],
                    harness::grade_text(*n, *version, *at),
                ),
                Key::Feature(own, view) => {
                    (vec![tenant(*own).to_string(), pseudonym(*own)], harness::feature_text(*view, *n, *at))
                }
                Key::Cohort(q) => (
                    vec![tenant(*q).to_string(), subject().to_string(), period(*q).to_string()],
                    harness::cohort_text(*n),
                ),
            };
            present.insert(key, values);
        }
        present
    }

    /// Waits until everything is recorded, sends it, and compares.
    fn verify(&mut self, process: &mut Process) {
        let begun = Instant::now();
        while !process.recorder.handle().is_whole() {
            assert!(begun.elapsed() < PATIENCE, "the comparison does not end");
            self.apply(process, &[], self.clock);
            std::thread::yield_now();
        }
        // One epoch after it, so that there is a clock of which all is known.
        self.apply(process, &[], self.clock);
        self.checkpoint(process);
        self.clickhouse.take(&process.recorder.outbox(), usize::MAX, true);
        self.unsent = i64::MAX;
        self.verify_instants();
        for table in ["grades", "visit"] {
            let expected = self.expected(table, &self.shown);
            assert_eq!(self.clickhouse.as_of(table, i64::MAX), expected, "{table}: the sum of differences");
            assert_eq!(self.clickhouse.present(table), expected, "{table}: the present");
            for (clock, shown) in &self.history {
                assert_eq!(self.clickhouse.as_of(table, *clock), self.expected(table, shown), "{table} as of {clock}");
            }
        }
    }

    /// Nothing is recorded before it was so: at an instant no row says that it changed later.
    fn verify_instants(&self) {
        let last_value = |row: &harness::Row| row.values.last().unwrap().parse::<i64>().unwrap();
        for (table, before) in [("grades", 0), ("visit", 0), ("daily", 1)] {
            for row in self.clickhouse.rows.get(&format!("{table}_changes")).into_iter().flatten() {
                assert!(row.diff < 0 || last_value(row) + before <= row.clock, "{table}: {row:?} is too early");
            }
        }
        for (table, rows) in self.clickhouse.rows.iter().filter(|(table, _)| table.ends_with("_changes")) {
            let mut differences: Vec<_> = rows.iter().map(|row| (&row.key, row.version, row.diff)).collect();
            differences.sort();
            let twice = differences.windows(2).find(|pair| pair[0] == pair[1]);
            assert_eq!(twice, None, "{table}: a version has two changes of a key");
        }
    }

    /// Lets a day pass, and compares what is recorded once a day.
    fn verify_days(&mut self, process: &mut Process) {
        self.verify(process);
        self.clock += DAY;
        self.apply(process, &[], self.clock);
        self.checkpoint(process);
        self.clickhouse.take(&process.recorder.outbox(), usize::MAX, true);
        self.unsent = i64::MAX;
        self.verify_instants();
        for table in ["daily", "cohorts"] {
            let expected = self.expected(table, &self.shown);
            assert_eq!(self.clickhouse.as_of(table, i64::MAX), expected, "{table}: the sum of differences");
            assert_eq!(self.clickhouse.present(table), expected, "{table}: the present");
        }
        let first = self.history.keys().next().copied().unwrap_or(self.clock);
        let mut checked = 0;
        for midnight in (first / DAY + 1..=self.clock / DAY).map(|day| day * DAY) {
            let Some((clock, shown)) = self.history.range(..midnight).next_back() else { continue };
            if self.lost.iter().any(|(from, to)| *to > *clock && *from < midnight) {
                continue;
            }
            checked += 1;
            for table in ["daily", "cohorts"] {
                let found = self.clickhouse.as_of(table, midnight);
                assert_eq!(found, self.expected(table, shown), "{table} at {}", Millis(midnight));
            }
        }
        assert!(checked > 0);
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let from = world.checkpoints[0].clone();
    let mut process = world.start(&from);
    for _ in 0..60 {
        match world.random.below(20) {
            0..12 => world.say(&mut process),
            12 => {
                world.clock += DAY * [1, 1, 2][world.random.below(3) as usize];
                world.say(&mut process);
            }
            13 | 14 => {
                let (blocks, done) = (world.random.below(9) as usize, world.random.below(2) == 0);
                world.clickhouse.take(&process.recorder.outbox(), blocks, done);
            }
            15 => world.checkpoint(&process),
            16 | 17 => process = world.restart(process),
            18 => world.verify(&mut process),
            _ => world.verify_days(&mut process),
        }
    }
    world.verify_days(&mut process);
    process.recorder.close();
}

#[test]
fn what_is_recorded_adds_up_to_what_is_shown() {
    let runs = std::env::var("AULAFLOW_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    for seed in 1..=runs {
        let ran = std::panic::catch_unwind(|| run(seed));
        assert!(ran.is_ok(), "seed {seed}");
    }
}

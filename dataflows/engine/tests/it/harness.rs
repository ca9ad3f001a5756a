//! An engine over a real embedded log in a temporary folder, with sinks that remember.

use aulaflow_engine::{Engine, Metrics, Start, Status, Wall, start};
use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Fsync, Log, RecordSetBuilder, TopicPartition};
use aulaflow_model::change::{FeatureRow, GradeRow};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use aulaflow_sink::update::{ChangeBatch, CohortBatch};
use aulaflow_sink::{Fanout, IdempotentSink, Outcome};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a student shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    pub grades: BTreeMap<(String, String), GradeRow>,
    pub features: BTreeMap<u16, FeatureRow>,
}

/// What all sinks were given.
#[derive(Debug, Default)]
pub struct Seen {
    pub students: BTreeMap<(String, String), Shown>,
    /// By tenant, subject and period.
    pub cohorts: BTreeMap<(String, String, String), Cohort>,
    pub changed: BTreeMap<(String, String), ClockTime>,
    pub complete: BTreeMap<usize, ClockTime>,
    pub expiring: BTreeMap<usize, Option<Millis>>,
}

struct Remember {
    worker: usize,
    seen: Arc<Mutex<Seen>>,
}

impl IdempotentSink for Remember {
    /// What was before is what was shown: updates of a row are a chain.
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        let seen = self.seen.lock();
        for change in &batch.changes {
            let shown = seen.students.get(&(change.tenant.to_string(), change.student.to_string()));
            for grade in &change.grades {
                let key = (grade.subject.to_string(), grade.period.to_string());
                assert_eq!(grade.before.as_ref(), shown.and_then(|shown| shown.grades.get(&key)), "{key:?}");
            }
            for feature in &change.features {
                let key = feature.view;
                assert_eq!(feature.before.as_ref(), shown.and_then(|shown| shown.features.get(&key)), "view {key}");
            }
        }
        drop(seen);
        self.snapshot(batch)
    }

    fn snapshot(&mut self, batch: &ChangeBatch) -> Outcome {
        let mut seen = self.seen.lock();
        for change in &batch.changes {
            let student = (change.tenant.to_string(), change.student.to_string());
            seen.changed.insert(student.clone(), batch.time);
            let shown = seen.students.entry(student).or_default();
            for grade in &change.grades {
                let key = (grade.subject.to_string(), grade.period.to_string());
                match grade.after.clone() {
                    Some(row) => shown.grades.insert(key, row),
                    None => shown.grades.remove(&key),
                };
            }
            for feature in &change.features {
                match feature.after.clone() {
                    Some(row) => shown.features.insert(feature.view, row),
                    None => shown.features.remove(&feature.view),
                };
            }
        }
        Outcome::Applied
    }

    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        let mut seen = self.seen.lock();
        assert!(
            seen.complete.get(&self.worker).is_none_or(|complete| *complete < batch.time),
            "a change after its time"
        );
        for change in &batch.changes {
            let key = (change.tenant.to_string(), change.subject.to_string(), change.period.to_string());
            assert_eq!(change.before.as_deref(), seen.cohorts.get(&key), "before a change of the cohort {key:?}");
            match &change.after {
                Some(row) => drop(seen.cohorts.insert(key, **row)),
                None => assert!(seen.cohorts.remove(&key).is_some(), "a cohort left that was not there"),
            }
        }
        Outcome::Applied
    }

    fn expiring(&mut self, boundary: Option<Millis>) {
        self.seen.lock().expiring.insert(self.worker, boundary);
    }

    fn advance(&mut self, frontier: ClockTime) {
        let complete = ClockTime(frontier.0 - 1);
        let before = self.seen.lock().complete.insert(self.worker, complete);
        assert!(before.is_none_or(|before| before < complete), "completion goes forward");
    }
}

pub struct Running {
    pub engine: Engine,
    pub seen: Arc<Mutex<Seen>>,
    registry: Registry,
}

impl Running {
    /// The text that `/metrics` would show.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

pub struct Harness {
    pub dir: tempfile::TempDir,
    pub log: Arc<EmbeddedLog>,
    pub plan: Arc<Plan>,
}

pub fn plan(runtime: &str, sql: &str) -> Plan {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", runtime));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let sql = [Source::new("test.sql", sql)];
    let mut plan = compile(file, &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)));
    // More often than a user may ask for, so that crashes fall before, between and after checkpoints.
    plan.runtime.engine.checkpoint_interval = Duration::from_millis(15);
    plan.runtime.engine.idle_timeout = Duration::from_millis(20);
    plan
}

impl Harness {
    pub fn new(plan: Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(open_log(dir.path()));
        Self { dir, log, plan: Arc::new(plan) }
    }

    pub fn start(&self, workers: usize) -> Running {
        self.start_on(workers, self.log.clone())
    }

    /// Over the same log behind another door.
    pub fn start_on(&self, workers: usize, log: Arc<dyn Log>) -> Running {
        self.start_share(workers, log, Share::All)
    }

    /// The same, with another clock on the wall.
    pub fn start_at(&self, workers: usize, log: Arc<dyn Log>, wall: Wall) -> Running {
        self.start_with(workers, log, |parts| parts.wall = wall)
    }

    /// An engine over a part of the partitions, with a state of its own.
    pub fn start_share(&self, workers: usize, log: Arc<dyn Log>, share: Share) -> Running {
        self.start_with(workers, log, |parts| {
            parts.share = share;
            if share != Share::All {
                parts.state_dir = parts.state_dir.join(share.to_string());
            }
        })
    }

    fn start_with(&self, workers: usize, log: Arc<dyn Log>, change: impl FnOnce(&mut Start)) -> Running {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sinks = |worker| Fanout::new().with(Remember { worker, seen: seen.clone() });
        let sinks = (0..workers).map(sinks).collect();
        let mut registry = Registry::with_prefix("aulaflow");
        let mut parts = self.parts(sinks, log, &mut registry);
        change(&mut parts);
        let engine = start(parts).unwrap();
        Running { engine, seen, registry }
    }

    /// What an engine over all partitions is started with.
    pub fn parts(&self, sinks: Vec<Fanout>, log: Arc<dyn Log>, registry: &mut Registry) -> Start {
        Start {
            plan: self.plan.clone(),
            log,
            share: Share::All,
            state_dir: self.dir.path().join("state"),
            sinks,
            participants: Vec::new(),
            metrics: Metrics::new(registry),
            wall: Wall::System,
        }
    }

    /// Appends records, all to the partition of their tenant.
    pub fn append(&self, topic: &str, tenant: &str, records: &[(Vec<u8>, Option<Vec<u8>>)], timestamp: Millis) {
        let mut set = RecordSetBuilder::default();
        for (key, value) in records {
            set.push(timestamp, key, value.as_deref(), &[]);
        }
        let partition = self.log.partition_of(topic, tenant).unwrap();
        let place = TopicPartition { topic: topic.to_owned(), partition };
        self.log.append_wait(&place, set.finish(), Duration::from_secs(10)).unwrap();
    }

    pub fn dead_letters(&self, topic: &str) -> Vec<(String, String)> {
        let name = topic::dead_letters(topic);
        let mut letters = Vec::new();
        for partition in 0..self.log.partitions(&name).unwrap() {
            let place = TopicPartition { topic: name.clone(), partition };
            let mut offset = 0;
            loop {
                let fetched = self.log.read(&place, offset, 1 << 20).unwrap();
                if fetched.records.is_empty() {
                    break;
                }
                for record in fetched.records.iter() {
                    let header = |name| {
                        let value = record.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_vec());
                        String::from_utf8(value.unwrap()).unwrap()
                    };
                    letters.push((
                        header("error-class"),
                        String::from_utf8_lossy(record.value.unwrap_or(b"-")).into_owned(),
                    ));
                }
                offset = fetched.next_offset;
            }
        }
        letters
    }
}

pub fn open_log(dir: &std::path::Path) -> EmbeddedLog {
    let topics = topic::SOURCES.iter().flat_map(|t| [(*t).to_owned(), topic::dead_letters(t)]);
    let mut config = EmbeddedConfig::new(dir.join("log"), topics);
    config.partitions = 2;
    config.fsync = Fsync::Never;
    EmbeddedLog::open(config).unwrap()
}

/// Waits until a condition on the status holds. Bounded; waits on the engine's own progress, not on a guess.
pub fn until(running: &Running, what: &str, mut condition: impl FnMut(&Status) -> bool) -> Status {
    let begun = Instant::now();
    loop {
        let status = running.engine.monitor().status();
        if condition(&status) {
            return status;
        }
        assert!(status.failure.is_none(), "{:?}", status.failure);
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come: {status:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until everything on the log is visible and the clock stands at `clock`, or has passed it on the live clock.
pub fn settled(harness: &Harness, running: &Running, clock: Option<Millis>) {
    let ends: Vec<_> =
        running.engine.monitor().status().positions.iter().map(|p| harness.log.end_offset(&p.place).unwrap()).collect();
    until(running, "everything visible", |s| {
        s.caught_up
            && s.positions.iter().zip(&ends).all(|(p, end)| p.visible >= *end)
            && clock.is_none_or(|clock| s.clock == Some(clock))
    });
    let begun = Instant::now();
    while running.seen.lock().expiring.values().any(Option::is_some) {
        assert!(begun.elapsed() < Duration::from_secs(60), "panes are never released");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

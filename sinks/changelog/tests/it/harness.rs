//! An engine with its store, its changelog and a replica of it, over an embedded log in a temporary folder.

use aulaflow_changelog::{Changelog, ChangelogStart, Replica, ReplicaMetrics, ReplicaStart, WriterMetrics, record};
use aulaflow_engine::{Engine, Metrics, Start, Status, Wall, start};
use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Fsync, Log, RecordSetBuilder, TopicPartition};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use aulaflow_serving::{CohortQuery, ReadHalf, Stores};
use aulaflow_sink::{Fanout, Participant};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const TABLE: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id', dedupe_horizon = '30 days');
";

pub const HOUR: i64 = 3_600_000;
pub const T0: i64 = 1_770_000_000_000;

pub fn plan(clock: &str, views: &str) -> Arc<Plan> {
    let runtime = format!("[engine]\nclock = \"{clock}\"\ntick = \"1 ms\"\n");
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", runtime));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let sql = [Source::new("test.sql", format!("{TABLE}{views}"))];
    let mut plan = compile(file, &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)));
    plan.runtime.engine.checkpoint_interval = Duration::from_millis(15);
    plan.runtime.engine.idle_timeout = Duration::from_millis(20);
    Arc::new(plan)
}

/// How long two stores may differ.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Harness {
    pub dir: tempfile::TempDir,
    pub log: Arc<EmbeddedLog>,
}

/// A dataflow process.
pub struct Process {
    pub engine: Engine,
    pub store: ReadHalf,
    changelog: Changelog,
}

pub fn schemas(plan: &Plan) -> Arc<[ViewSchema]> {
    plan.views.iter().map(|view| view.schema.clone()).collect()
}

impl Harness {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = topic::SOURCES.iter().flat_map(|t| [(*t).to_owned(), topic::dead_letters(t)]);
        let mut config = EmbeddedConfig::new(dir.path().join("log"), sources.chain([topic::PROFILES.to_owned()]));
        config.partitions = 2;
        config.fsync = Fsync::Never;
        let log = Arc::new(EmbeddedLog::open(config).unwrap());
        Self { dir, log }
    }

    pub fn start(&self, plan: &Arc<Plan>, workers: usize) -> Process {
        self.start_on(plan, workers, self.log.clone(), Wall::System)
    }

    /// A process whose changelog goes through another door of the log.
    pub fn start_on(&self, plan: &Arc<Plan>, workers: usize, door: Arc<dyn Log>, wall: Wall) -> Process {
        let (halves, store) = aulaflow_serving::store(schemas(plan), Vec::new(), 100, workers);
        let mut views = DefaultHasher::new();
        plan.views.iter().for_each(|view| view.text.hash(&mut views));
        let (changelog, notes) = Changelog::start(ChangelogStart {
            log: door,
            share: Share::All,
            store: store.clone(),
            workers,
            views: views.finish(),
            interval: Duration::from_millis(2),
            metrics: WriterMetrics::default(),
            at: |_| {},
        })
        .unwrap();
        let sinks = |(store, notes)| Fanout::new().with(store).with(notes);
        let writer: Arc<dyn Participant> = Arc::new(changelog.writer());
        let engine = start(Start {
            plan: plan.clone(),
            log: self.log.clone(),
            share: Share::All,
            state_dir: self.dir.path().join("state"),
            sinks: halves.into_iter().zip(notes).map(sinks).collect(),
            participants: vec![("changelog".to_owned(), writer)],
            metrics: Metrics::new(&mut Registry::default()),
            wall,
        })
        .unwrap();
        Process { engine, store, changelog }
    }

    pub fn replica(&self, plan: &Plan) -> Replica {
        let live = plan.runtime.engine.clock == aulaflow_plan::runtime::ClockMode::Live;
        Replica::start(ReplicaStart {
            log: self.log.clone(),
            shown: Stores::new(schemas(plan)),
            derived: Vec::new(),
            students_expected: 100,
            live,
            metrics: ReplicaMetrics::default(),
        })
        .unwrap()
    }

    /// Appends records, all to the partition of their tenant.
    pub fn append(&self, topic: &str, tenant: &str, records: &[(String, Option<String>)]) {
        self.append_at(topic, tenant, records, Millis(T0));
    }

    fn append_at(&self, topic: &str, tenant: &str, records: &[(String, Option<String>)], at: Millis) {
        let mut set = RecordSetBuilder::default();
        for (key, value) in records {
            set.push(at, key.as_bytes(), value.as_ref().map(String::as_bytes), &[]);
        }
        let partition = self.log.partition_of(topic, tenant).unwrap();
        let place = TopicPartition { topic: topic.to_owned(), partition };
        self.log.append_wait(&place, set.finish(), Duration::from_secs(10)).unwrap();
    }

    /// Events of a tenant: student, number, instant.
    pub fn behavior(&self, tenant: &str, events: impl IntoIterator<Item = (u32, u32, i64)>) {
        let record = |(student, n, at): (u32, u32, i64)| {
            let value = format!(
                r#"{{"tenant_id":"{tenant}","event_id":"e{n}","student_id":"s{student}","event_type":"answer","value":{},"occurred_at":"{}"}}"#,
                n % 7,
                Millis(at)
            );
            (format!("{tenant}/s{student}"), Some(value))
        };
        let events: Vec<_> = events.into_iter().collect();
        let newest = Millis(events.iter().map(|(.., at)| *at).max().unwrap_or(T0));
        self.append_at(topic::BEHAVIOR, tenant, &events.into_iter().map(record).collect::<Vec<_>>(), newest);
    }

    /// An evaluation; `None` as score deletes it.
    pub fn evaluation(&self, tenant: &str, id: u32, student: u32, score: Option<u32>, updated: i64) {
        let value = score.map(|score| {
            format!(
                r#"{{"tenant_id":"{tenant}","evaluation_id":"v{id}","student_id":"s{student}","subject":"s{}","type":"exam","score":{score},"graded_at":"{}","updated_at":"{}"}}"#,
                id % 2,
                Millis(T0),
                Millis(T0 + updated)
            )
        });
        self.append(topic::EVALUATIONS, tenant, &[(format!("{tenant}/v{id}"), value)]);
    }

    pub fn config(&self, tenant: &str, min_passing: u32) {
        let json = format!(
            r#"{{"tenant":"{tenant}","timezone":"UTC","period":[{{"id":"p1","start":"2026-01-01","end":"2026-06-30"}}],"rule":[{{"subject":"*","weights":"items","min_passing":{min_passing}}}]}}"#
        );
        self.append(topic::TENANTS, tenant, &[(tenant.to_owned(), Some(json))]);
    }

    /// Waits until everything on the log is visible at the process.
    pub fn settled(&self, process: &Process) {
        until("everything visible", || {
            let status = process.status();
            let end = |p: &aulaflow_engine::Position| self.log.end_offset(&p.place).unwrap();
            status.caught_up && status.positions.iter().all(|p| p.visible >= end(p))
        });
    }

    /// Waits until everything on the log is visible, and on the changelog.
    pub fn told(&self, process: &Process) {
        self.settled(process);
        let writer = process.changelog.writer();
        until("the writer has caught up", || writer.is_current());
        let visible = process.store.frontier();
        writer.prepare(ClockTime(visible.0 - 1), Duration::from_secs(30)).unwrap();
    }

    /// How many records of a kind are on the changelog.
    pub fn count(&self, kind: &str) -> usize {
        self.changelog_records().filter(|(k, ..)| k == kind).count()
    }

    /// Kind, key and whether there is a value.
    pub fn changelog_records(&self) -> impl Iterator<Item = (String, String, bool)> + use<> {
        let mut found = Vec::new();
        for partition in 0..self.log.partitions(topic::PROFILES).unwrap() {
            let place = TopicPartition { topic: topic::PROFILES.to_owned(), partition };
            let mut offset = 0;
            loop {
                let fetched = self.log.read(&place, offset, 1 << 20).unwrap();
                if fetched.records.is_empty() {
                    break;
                }
                offset = fetched.next_offset;
                for record in &fetched.records {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let kind = text(record.headers.get(record::KIND_HEADER).unwrap());
                    found.push((kind, text(record.key), record.value.is_some()));
                }
            }
        }
        found.into_iter()
    }

    /// Waits until the replica shows what the process shows. While the clock moves the two may differ for a moment.
    pub fn same(&self, process: &Process, replica: &Replica, students: u32) {
        let begun = Instant::now();
        loop {
            self.told(process);
            self.followed(replica);
            let copied = shown(replica.stores().iter().map(|(_, store)| store), students);
            let original = shown([&process.store], students);
            // After a crash an event clock catches up with what it was, once partitions are idle again.
            let as_of = process.store.as_of();
            let even = replica.stores().iter().all(|(_, store)| store.as_of() == as_of);
            if even && copied == original {
                return;
            }
            if begun.elapsed() > PATIENCE {
                for (ids, profile) in &original.0 {
                    assert_eq!(copied.0.get(ids), Some(profile), "{ids:?}");
                }
                assert_eq!(copied, original);
                let stands: Vec<_> = replica.stores().iter().map(|(_, store)| store.as_of()).collect();
                panic!("the process is true as of {as_of}, the replica as of {stands:?}");
            }
        }
    }

    /// Waits until the replica has read what is on the changelog now.
    fn followed(&self, replica: &Replica) {
        let end = |partition| {
            let place = TopicPartition { topic: topic::PROFILES.to_owned(), partition };
            self.log.end_offset(&place).unwrap()
        };
        let ends: Vec<_> = replica.stores().iter().map(|(partition, _)| end(*partition)).collect();
        until("the replica has read", || {
            let status = replica.status();
            assert_eq!(status.failure, None);
            status.partitions.iter().zip(&ends).all(|(p, end)| p.visible >= *end)
        });
    }
}

/// Profiles as JSON, cohorts, and how many students there are.
type Shown = (BTreeMap<(String, String), serde_json::Value>, Vec<String>, usize);

fn shown<'a>(stores: impl IntoIterator<Item = &'a ReadHalf>, students: u32) -> Shown {
    let mut shown = Shown::default();
    for store in stores {
        for tenant in ["t0", "t1"].map(|name| TenantId::new(name).unwrap()) {
            for student in (0..students).map(|n| StudentId::new(format!("s{n}")).unwrap()) {
                let ids = (tenant.clone(), student);
                let profile = json(store, &ids);
                shown.0.extend(profile.map(|profile| ((ids.0.to_string(), ids.1.to_string()), profile)));
            }
            let cohorts = store.cohorts(&tenant, CohortQuery { limit: 1_000, ..CohortQuery::default() });
            shown.1.extend(cohorts.iter().map(|cohort| format!("{tenant} {cohort:?}")));
        }
        shown.2 += store.students();
    }
    shown.1.sort();
    shown
}

impl Process {
    pub fn status(&self) -> Status {
        let status = self.engine.monitor().status();
        assert!(status.failure.is_none(), "{:?}", status.failure);
        status
    }

    /// As kill -9 does.
    pub fn crash(self) {
        self.engine.abandon().unwrap();
        self.changelog.stop();
    }

    pub fn stop(self) {
        self.engine.stop().unwrap();
        self.changelog.stop();
    }
}

/// A profile without the instants that say as of when it is true: two stores are never asked at the same one.
pub fn json(store: &ReadHalf, (tenant, student): &(TenantId, StudentId)) -> Option<serde_json::Value> {
    let profile = store.profile(tenant, student)?;
    let mut out = Vec::new();
    profile.write_json(&mut out);
    let mut value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    value.as_object_mut().unwrap().remove("as_of").unwrap();
    Some(value)
}

/// Versions of all grades that a replica shows.
pub fn versions(replica: &Replica, students: u32) -> BTreeMap<(String, String), u32> {
    let mut versions = BTreeMap::new();
    for (_, store) in replica.stores() {
        for student in 0..students {
            let (tenant, student) = (TenantId::new("t0").unwrap(), StudentId::new(format!("s{student}")).unwrap());
            for grade in store.profile(&tenant, &student).iter().flat_map(|profile| profile.grades().to_vec()) {
                versions.insert((student.to_string(), grade.subject.to_string()), grade.row.version);
            }
        }
    }
    versions
}

/// Waits for a condition, a bounded time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

//! Random traffic with everything in it, on a real log and real dataflows that are killed now and then: what is shown is
//! what the log says, while it goes on and after. And faults that were put there are found.
#![allow(clippy::unwrap_used)]

use super::offline::parts;
use super::{InProcess, Report, Scope, Whose, compare, offline, recompute};
use crate::derived::derived_views;
use crate::log_store;
use crate::node::sinks::serving;
use crate::node::state_dir;
use crate::random::Random;
use crate::tenant_records::now;
use aulaflow_engine::{Engine, Metrics, Start, Wall, start};
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{Log, TopicPartition};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::{PeriodId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::{Plan, Source, parse_runtime};
use aulaflow_serving::{LettingGo, ReadHalf};
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '10 minutes',
      dedupe = 'event_id', dedupe_horizon = '24 hours');
CREATE MATERIALIZED VIEW week WITH (serve = true) AS
SELECT student_id, count(*) AS n, sum(value) AS points, stddev_pop(value) AS spread, count(distinct event_type) AS kinds,
       last(event_type) AS latest
FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '7 days');
CREATE MATERIALIZED VIEW inverse WITH (serve = true) AS
SELECT student_id, sum(10 / value) AS inverse FROM behavior WHERE event_type <> 'view'
GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_City');
CREATE MATERIALIZED VIEW sittings WITH (serve = true) AS
SELECT student_id, count(*) AS n FROM behavior GROUP BY student_id, session(interval '20 minutes');
CREATE MATERIALIZED VIEW sittings_per_day WITH (serve = true) AS
SELECT student_id, count(*) AS sittings, max(n) AS longest FROM sittings GROUP BY student_id, tumble(interval '1 day');
CREATE MATERIALIZED VIEW standing WITH (serve = true) AS
SELECT student_id, count(*) AS grades, avg(score - cohort.mean) AS above, last(subject) AS newest FROM grades
GROUP BY student_id;
";
const STUDENTS: u64 = 30;
const TENANTS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    plan: Arc<Plan>,
    log: Arc<dyn Log>,
    random: Random,
    sent: u64,
}

fn plan(dir: &Path, clock: &str) -> Arc<Plan> {
    let runtime = format!(
        "data_dir = \"{}\"\n[log]\npartitions = 2\nfsync = \"never\"\n[engine]\nclock = \"{clock}\"\nworkers = 2\n\
         idle_timeout = \"100 milliseconds\"\ncheckpoint_interval = \"200 milliseconds\"\n[serving]\nstudents_expected = 100\n",
        dir.display()
    );
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", &runtime));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let compiled = aulaflow_plan::compile(file, &[], &[Source::new("test.sql", SQL)]);
    Arc::new(compiled.unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d))))
}

impl Stage {
    fn new(dir: &Path, clock: &str, seed: u64) -> Self {
        let plan = plan(dir, clock);
        let log = log_store::open(&plan.runtime).unwrap().log;
        Self { plan, log, random: Random::new(seed), sent: 0 }
    }

    fn start(&self) -> (Engine, ReadHalf) {
        self.start_share(Share::All)
    }

    fn start_share(&self, share: Share) -> (Engine, ReadHalf) {
        let mut registry = Registry::default();
        let schemas: Arc<[ViewSchema]> = self.plan.views.iter().map(|view| view.schema.clone()).collect();
        let (writers, store) = aulaflow_serving::store(schemas, derived_views(&self.plan, &mut registry), 100, 2);
        let engine = start(Start {
            plan: Arc::clone(&self.plan),
            log: Arc::clone(&self.log),
            share,
            state_dir: state_dir(&self.plan.runtime, share),
            sinks: serving(writers),
            participants: Vec::new(),
            metrics: Metrics::new(&mut registry),
            wall: Wall::System,
        });
        (engine.unwrap(), store)
    }

    fn append(&self, topic: &str, tenant: &str, key: &str, value: Option<&[u8]>, headers: &[(&str, &[u8])]) {
        let mut set = RecordSetBuilder::default();
        set.push(now(), key.as_bytes(), value, headers);
        let partition = self.log.partition_of(topic, tenant).unwrap();
        self.append_set(topic, partition, set);
    }

    fn append_set(&self, topic: &str, partition: u32, set: RecordSetBuilder) {
        let place = TopicPartition { topic: topic.to_owned(), partition };
        self.log.append_wait(&place, set.finish(), PATIENCE).unwrap();
    }

    /// Records of every kind, good and bad.
    fn traffic(&mut self, records: u64) {
        for _ in 0..records {
            self.sent += 1;
            let tenant = format!("t{}", self.random.below(TENANTS));
            match self.random.below(100) {
                0 => self.rule(&tenant),
                1..=4 => self.poison(&tenant),
                5..=29 => self.evaluation(&tenant),
                _ => self.event(&tenant),
            }
        }
    }

    fn event(&mut self, tenant: &str) {
        let student = self.random.below(STUDENTS);
        // Some ids come again, saying the same or something else; some are late or early for anybody.
        let id = if self.random.per_mille(150) { self.random.below(50) } else { self.sent };
        let ago = match self.random.below(20) {
            0 => self.random.between(8 * 86_400_000, 9 * 86_400_000),
            1 => self.random.between(-3_600_000, -400_000),
            2 => 0,
            3..=9 => self.random.between(0, 7_200_000),
            _ => self.random.between(0, 6 * 86_400_000),
        };
        let kind = ["answer", "view", "post"][self.random.below(3) as usize];
        let json = format!(
            r#"{{"tenant_id":"{tenant}","event_id":"e{id}","student_id":"s{student}","event_type":"{kind}","value":{},"occurred_at":"{}"}}"#,
            self.random.below(4),
            Millis(now().0 - ago)
        );
        self.append(topic::BEHAVIOR, tenant, &format!("{tenant}/s{student}"), Some(json.as_bytes()), &[]);
    }

    fn evaluation(&mut self, tenant: &str) {
        let id = self.random.below(80);
        let key = format!("{tenant}/v{id}");
        if self.random.per_mille(80) {
            return self.append(topic::EVALUATIONS, tenant, &key, None, &[]);
        }
        let status = ["graded", "graded", "missing", "excused"][self.random.below(4) as usize];
        // Some give no update, some differ after the milliseconds only, and some are from a clock that is wrong.
        let at = match self.random.below(20) {
            0..=5 => None,
            6 => Some(now().0 + 3_600_000),
            _ => Some(1_780_000_000_000 + self.random.between(0, 1_000)),
        };
        let digits = ["", "1", "0009"][self.random.below(3) as usize];
        let updated =
            at.map(|at| format!(r#","updated_at":"{}""#, Millis(at).to_string().replace('Z', &format!("{digits}Z"))));
        let updated = updated.unwrap_or_default();
        let json = format!(
            r#"{{"tenant_id":"{tenant}","evaluation_id":"v{id}","student_id":"s{}","subject":"m{}","type":"{}","score":{},"status":"{status}","graded_at":"2026-0{}-10T00:00:00Z"{updated}}}"#,
            self.random.below(STUDENTS),
            self.random.below(3),
            ["exam", "quiz", "other"][self.random.below(3) as usize],
            self.random.below(101),
            1 + self.random.below(6),
        );
        self.append(topic::EVALUATIONS, tenant, &key, Some(json.as_bytes()), &[]);
    }

    fn rule(&mut self, tenant: &str) {
        let rules = [
            r#"[{"subject": "*", "weights": "items", "min_passing": 40}]"#,
            r#"[{"subject": "*", "weights": {"exam": "0.7", "quiz": "0.3"}, "absent_category": "zero"}]"#,
            r#"[{"subject": "m1", "weights": {"exam": 1, "quiz": 1}}, {"subject": "*", "weights": {"exam": 2, "quiz": 1}}]"#,
        ];
        let json = format!(
            r#"{{"tenant": "{tenant}", "timezone": "UTC", "period": [{{"id": "p1", "start": "2026-01-01", "end": "2026-0{}-28"}}, {{"id": "p2", "start": "2026-05-01", "end": "2026-06-30"}}], "rule": {}}}"#,
            2 + self.random.below(3),
            rules[self.random.below(3) as usize]
        );
        self.append(topic::TENANTS, tenant, tenant, Some(json.as_bytes()), &[]);
    }

    /// Something that nobody can use, on any topic.
    fn poison(&mut self, tenant: &str) {
        let topic = [topic::BEHAVIOR, topic::EVALUATIONS, topic::TENANTS][self.random.below(3) as usize];
        let deep = "[".repeat(100_000);
        let values: [&[u8]; 7] =
            [b"{", b"\xff\xfe", b"[]", b"{\"student_id\": 7}", b"1e999999999", deep.as_bytes(), b""];
        let value = values[self.random.below(7) as usize];
        let keys = [format!("{tenant}/x"), String::new(), "\u{7f}/x".to_owned(), "/".to_owned()];
        let key = &keys[self.random.below(4) as usize];
        let none = self.random.per_mille(100) && topic != topic::EVALUATIONS;
        self.append(topic, tenant, key, (!none).then_some(value), &[]);
    }

    fn offline(&self) -> Report {
        offline(&self.plan, &self.log, Scope::default(), None).unwrap()
    }
}

/// Waits until everything on the log is visible.
fn settle(stage: &Stage, engine: &Engine) {
    let begun = Instant::now();
    loop {
        let status = engine.monitor().status();
        let behind = |p: &aulaflow_engine::Position| p.visible < stage.log.end_offset(&p.place).unwrap();
        if status.caught_up && !status.positions.iter().any(behind) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_clean(report: &Report, what: &str) {
    assert_eq!(report.differences, 0, "{what}: {report}");
    for kind in ["student", "grade", "feature", "cohort"] {
        assert!(report.compared.get(kind).is_some_and(|count| *count > 0), "{what}: no {kind}: {report}");
    }
}

#[test]
fn random_traffic_and_kills_leave_no_difference() {
    for (seed, clock) in [(1, "live"), (2, "event"), (3, "live")] {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Stage::new(dir.path(), clock, seed);
        for tenant in 0..TENANTS {
            stage.rule(&format!("t{tenant}"));
        }
        for round in 0..3 {
            let (engine, _store) = stage.start();
            stage.traffic(400);
            if round == 1 {
                settle(&stage, &engine);
            }
            engine.abandon().unwrap();
        }
        is_clean(&stage.offline(), "after a kill");
        is_clean(&stage.offline(), "after having been looked at");
        let (engine, _store) = stage.start();
        settle(&stage, &engine);
        engine.stop().unwrap();
        let report = stage.offline();
        is_clean(&report, "after a clean end");
        assert!(report.compared["dead letter"] > 30, "{report}");
    }
}

/// An engine for each partition, as with `scale_out`: an embedded log is never read so, and can be.
#[test]
fn the_state_of_each_partition_is_compared_with_its_part_of_the_log() {
    for (seed, clock) in [(4, "live"), (5, "event")] {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Stage::new(dir.path(), clock, seed);
        let (plan, log) = (stage.plan.clone(), stage.log.clone());
        let verify = || parts(&plan, &log, Scope::default(), None).unwrap();
        assert!(parts(&plan, &log, Scope::default(), None).is_err(), "there is no state yet");
        for tenant in 0..TENANTS {
            stage.rule(&format!("t{tenant}"));
        }
        for round in 0..2 {
            let engines = [0, 1].map(|partition| stage.start_share(Share::Partition(partition)).0);
            stage.traffic(300);
            // A good record where its tenant's others are not.
            let mut set = RecordSetBuilder::default();
            set.push(now(), b"t0/v1", None, &[]);
            stage.append_set(topic::EVALUATIONS, 1 - log.partition_of(topic::EVALUATIONS, "t0").unwrap(), set);
            engines.iter().filter(|_| round == 1).for_each(|engine| settle(&stage, engine));
            for (partition, engine) in engines.into_iter().enumerate() {
                if partition == round { engine.abandon().unwrap() } else { engine.stop().unwrap() }
            }
        }
        let report = verify();
        is_clean(&report, "after each was killed once and ended once");
        let read = |partition| report.log.iter().any(|read| read.holds_events_of(partition));
        assert!(read(0) && read(1), "all tenants in one partition: choose others");
        assert!(report.compared["dead letter"] > 10, "{report}");
        if clock == "event" {
            continue;
        }
        let state = |partition| state_dir(&plan.runtime, Share::Partition(partition));
        let aside = dir.path().join("aside");
        std::fs::rename(state(0), &aside).unwrap();
        let report = verify();
        is_clean(&report, "of the partition that is there");
        assert!(report.to_string().contains("partitions whose state is not here: 0."), "{report}");
        // The other one's state is found out.
        std::fs::rename(state(1), state(0)).unwrap();
        std::fs::rename(&aside, state(1)).unwrap();
        assert!(verify().differences > 0);
    }
}

#[test]
fn what_moves_is_compared_while_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(dir.path(), "live", 7);
    for tenant in 0..TENANTS {
        stage.rule(&format!("t{tenant}"));
    }
    stage.traffic(500);
    let (engine, store) = stage.start();
    settle(&stage, &engine);
    let (plan, log) = (stage.plan.clone(), stage.log.clone());
    let shown = InProcess { monitor: engine.monitor(), store, moves: true };
    let done = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                stage.traffic(5);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let batch = recompute(&plan, &log, Whose::One, now()).unwrap();
        let report = compare(&plan, log.as_ref(), batch, &shown, (None, Scope::default()), None);
        done.store(true, Ordering::Release);
        report.unwrap()
    });
    is_clean(&report, "while it moves");
    engine.stop().unwrap();
}

/// What has left the memory is known to be elsewhere, by the setting and the calendar; without them it is missing.
#[test]
fn grades_of_past_periods_are_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(dir.path(), "live", 9);
    for tenant in 0..TENANTS {
        stage.rule(&format!("t{tenant}"));
    }
    stage.traffic(600);
    let (engine, store) = stage.start();
    settle(&stage, &engine);
    let past = |tenant: u64| {
        let period = HashSet::from([PeriodId::new("p1").unwrap()]);
        (TenantId::new(format!("t{tenant}")).unwrap(), period)
    };
    assert!(store.let_go(LettingGo { past: (0..TENANTS).map(past).collect(), until: Millis(i64::MAX) }) > 0);
    let begun = Instant::now();
    while store.grades_let_go() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing is let go");
        std::thread::sleep(Duration::from_millis(5));
    }
    let shown = InProcess { monitor: engine.monitor(), store, moves: true };
    let verify = |keep: Option<Duration>| {
        let mut plan = Plan::clone(&stage.plan);
        plan.runtime.serving.grades_keep = keep;
        let (plan, log) = (Arc::new(plan), &stage.log);
        let batch = recompute(&plan, log, Whose::One, now()).unwrap();
        compare(&plan, log.as_ref(), batch, &shown, (None, Scope::default()), None).unwrap()
    };
    let report = verify(Some(Duration::from_hours(24)));
    is_clean(&report, "by the setting");
    assert!(report.to_string().contains("in ClickHouse alone"), "{report}");
    assert!(verify(None).differences > 0, "nothing may have left the memory");
    assert!(verify(Some(Duration::from_hours(24 * 36_500))).differences > 0, "the period is not past");
    engine.stop().unwrap();
}

/// A state that was made from another log of the same length.
#[test]
fn a_wrong_state_is_found() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let at = now();
    for (dir, score) in dirs.iter().zip([80, 90]) {
        let mut stage = Stage::new(dir.path(), "live", 1);
        stage.rule("t0");
        let exam = format!(
            r#"{{"tenant_id":"t0","evaluation_id":"v","student_id":"s1","subject":"m0","type":"exam","score":{score},"graded_at":"2026-01-10T00:00:00Z"}}"#
        );
        stage.append(topic::EVALUATIONS, "t0", "t0/v", Some(exam.as_bytes()), &[]);
        let event = format!(
            r#"{{"tenant_id":"t0","event_id":"e","student_id":"s1","event_type":"answer","value":{},"occurred_at":"{}"}}"#,
            score / 10,
            at
        );
        stage.append(topic::BEHAVIOR, "t0", "t0/s1", Some(event.as_bytes()), &[]);
        let (engine, _store) = stage.start();
        settle(&stage, &engine);
        engine.stop().unwrap();
    }
    let state = dirs[0].path().join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(dirs[1].path().join("state"), &state).unwrap();
    let report = Stage::new(dirs[0].path(), "live", 1).offline();
    let differ: Vec<&str> = report.first.iter().map(|d| d.what.as_str()).collect();
    let expected = ["grade m0/p1", "feature inverse", "feature week", "cohort m0/p1"];
    assert_eq!(differ, expected, "{report}");
    assert_eq!((report.first[0].tenant.as_str(), report.first[0].student.as_deref()), ("t0", Some("s1")));
    assert!(report.to_string().contains("differences: 4"), "{report}");
}

#[test]
fn letters_that_are_missing_double_or_of_nothing_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::new(dir.path(), "live", 1);
    for value in ["{", "[]"] {
        stage.append(topic::BEHAVIOR, "t0", "t0/s1", Some(value.as_bytes()), &[]);
    }
    let partition = stage.log.partition_of(topic::BEHAVIOR, "t0").unwrap().to_string();
    let letter = |offset: &str| {
        let headers: [(&str, &[u8]); 4] = [
            ("error-class", b"schema"),
            ("source-topic", topic::BEHAVIOR.as_bytes()),
            ("source-partition", partition.as_bytes()),
            ("source-offset", offset.as_bytes()),
        ];
        stage.append(&topic::dead_letters(topic::BEHAVIOR), "t0", "t0/s1", Some(b"{"), &headers);
    };
    // No engine has run: both letters are due at the next start, so neither is missing.
    assert_eq!(stage.offline().differences, 0);
    let (engine, _store) = stage.start();
    settle(&stage, &engine);
    engine.stop().unwrap();
    assert_eq!(stage.offline().compared.get("dead letter"), Some(&2));
    letter("1");
    let event = format!(
        r#"{{"tenant_id":"t0","event_id":"e","student_id":"s1","event_type":"answer","occurred_at":"{}"}}"#,
        now()
    );
    stage.append(topic::BEHAVIOR, "t0", "t0/s1", Some(event.as_bytes()), &[]);
    letter("2");
    let report = stage.offline();
    let differ: Vec<_> =
        report.first.iter().map(|d| (d.what.rsplit('/').next().unwrap(), d.recomputed.clone())).collect();
    assert_eq!(differ, [("1", "once only".into()), ("2", serde_json::Value::Null)], "{report}");
}

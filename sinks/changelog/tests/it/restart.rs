//! What a restart writes again, and what a checkpoint waits for.

use crate::harness::{HOUR, Harness, Process, T0, json, plan, schemas, until};
use aulaflow_engine::{HandClock, Wall};
use aulaflow_log::{Appended, Forward, Log, LogError, RecordSet, TopicPartition, Writer};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const COUNTS: &str = "
CREATE MATERIALIZED VIEW counts WITH (serve = true) AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '6 hours');
";
/// The same names, another meaning.
const OTHER_COUNTS: &str = "
CREATE MATERIALIZED VIEW counts WITH (serve = true) AS
SELECT student_id, count(*) AS events FROM behavior WHERE value > 3 GROUP BY student_id, hop(interval '1 hour', interval '6 hours');
";

/// What the log refuses, while it does.
struct Door {
    log: Arc<dyn Log>,
    refuses: Arc<AtomicBool>,
}

struct DoorWriter {
    writer: Box<dyn Writer>,
    refuses: Arc<AtomicBool>,
}

impl Writer for DoorWriter {
    fn write(&mut self, parts: &[(TopicPartition, RecordSet)], timeout: Duration) -> Result<Vec<Appended>, LogError> {
        if self.refuses.load(Ordering::Acquire) {
            return Err(LogError::Unavailable("the door is shut".to_owned()));
        }
        self.writer.write(parts, timeout)
    }
}

impl Forward for Door {
    fn behind(&self) -> &Arc<dyn Log> {
        &self.log
    }

    fn writer(self: Arc<Self>, name: &str) -> Result<Box<dyn Writer>, LogError> {
        let writer = self.log.clone().writer(name)?;
        Ok(Box::new(DoorWriter { writer, refuses: self.refuses.clone() }))
    }
}

/// Many students, some with a grade.
fn fill(harness: &Harness, students: u32) {
    harness.config("t0", 50);
    harness.behavior("t0", (0..students).map(|s| (s, s, T0 + HOUR)));
    for id in 0..20 {
        harness.evaluation("t0", id, id, Some(id * 5), 1);
    }
}

fn records(harness: &Harness) -> (usize, usize) {
    (harness.count("profile"), harness.count("cohort"))
}

#[test]
fn a_restart_writes_nothing_that_did_not_change() {
    let plan = plan("event", COUNTS);
    let harness = Harness::new();
    let replica = harness.replica(&plan);
    let process = harness.start(&plan, 2);
    fill(&harness, 2_000);
    harness.same(&process, &replica, 2_000);
    process.stop();
    let written = records(&harness);
    assert!(written.0 >= 2_000 && written.1 >= 2, "{written:?}");
    // After a clean stop.
    let process = harness.start(&plan, 2);
    harness.same(&process, &replica, 2_000);
    harness.told(&process);
    assert_eq!(records(&harness), written);
    // After a crash, with a change that comes after it.
    process.crash();
    harness.evaluation("t0", 3, 3, Some(99), 2);
    let process = harness.start(&plan, 2);
    harness.same(&process, &replica, 2_000);
    let again = records(&harness);
    assert!(again.0 - written.0 <= 40 && again.1 - written.1 <= 4, "{written:?} {again:?}");
    process.stop();
    replica.stop();
}

#[test]
fn other_views_are_written_again_and_what_they_leave_out_goes() {
    let harness = Harness::new();
    let before = plan("event", COUNTS);
    let process = harness.start(&before, 1);
    // Values 0 to 6 by the event's number: those above 3 stay.
    harness.behavior("t0", (0..100).map(|s| (s, s, T0 + HOUR)));
    harness.told(&process);
    process.stop();
    let after = plan("event", OTHER_COUNTS);
    let replica = harness.replica(&after);
    let process = harness.start(&after, 1);
    harness.same(&process, &replica, 100);
    let left = (0..100).filter(|s| s % 7 > 3).count();
    assert_eq!(process.store.students(), left);
    let gone = harness.changelog_records().filter(|(kind, _, value)| kind == "profile" && !value).count();
    assert_eq!(gone, 100 - left);
    process.stop();
    replica.stop();
}

#[test]
fn what_left_while_no_process_ran_is_removed() {
    let plan = plan("live", COUNTS);
    let harness = Harness::new();
    let clock = Arc::new(HandClock::new(Millis(T0 + HOUR)));
    let start = || harness.start_on(&plan, 2, harness.log.clone(), Wall::Hand(clock.clone()));
    let replica = harness.replica(&plan);
    let process = start();
    harness.behavior("t0", (0..50).map(|s| (s, s, T0)));
    harness.same(&process, &replica, 50);
    assert_eq!(process.store.students(), 50);
    process.stop();
    clock.set(Millis(T0 + 20 * HOUR));
    let process = start();
    harness.same(&process, &replica, 50);
    assert_eq!(process.store.students(), 0);
    assert_eq!(replica.stores().iter().map(|(_, store)| store.students()).sum::<usize>(), 0);
    process.stop();
    replica.stop();
}

#[test]
fn a_checkpoint_waits_for_the_changelog() {
    let plan = plan("event", COUNTS);
    let harness = Harness::new();
    let refuses = Arc::new(AtomicBool::new(false));
    let door = Arc::new(Door { log: harness.log.clone(), refuses: refuses.clone() });
    let process = harness.start_on(&plan, 1, door, Wall::System);
    fill(&harness, 10);
    harness.told(&process);
    let age = |process: &Process| process.status().checkpoint_age_ms;
    // Epochs, and with them checkpoints, come while something is read.
    let mut n = 1_000;
    until("a first checkpoint", || {
        n += 1;
        harness.behavior("t0", [(1, n, T0 + 2 * HOUR)]);
        age(&process).is_some()
    });
    refuses.store(true, Ordering::Release);
    until("the refusal is told", || {
        n += 1;
        harness.behavior("t0", [(1, n, T0 + 2 * HOUR)]);
        let failing = process.status().checkpoint_failing;
        failing.is_some_and(|why| why.contains("changelog") && why.contains("the door is shut"))
    });
    // What was shown and not told is computed again after a crash, and told then.
    process.crash();
    refuses.store(false, Ordering::Release);
    let process = harness.start(&plan, 1);
    let replica = harness.replica(&plan);
    harness.same(&process, &replica, 10);
    let student = (TenantId::new("t0").unwrap(), StudentId::new("s1").unwrap());
    assert!(json(&process.store, &student).is_some());
    process.stop();
    replica.stop();
}

#[test]
fn a_replica_serves_on_while_nobody_writes_and_says_how_old_it_is() {
    let plan = plan("live", COUNTS);
    let harness = Harness::new();
    let now = aulaflow_engine::Wall::System.now();
    let replica = harness.replica(&plan);
    assert!(replica.status().caught_up, "an empty changelog is read at once");
    let process = harness.start(&plan, 1);
    harness.behavior("t0", [(1, 1, now.0)]);
    harness.same(&process, &replica, 3);
    process.crash();
    let stale = |seconds: f64| {
        let partitions = replica.status().partitions;
        partitions.iter().all(|p| p.staleness_seconds.is_some_and(|stale| stale >= seconds))
    };
    until("staleness to rise", || stale(1.0));
    let student = (TenantId::new("t0").unwrap(), StudentId::new("s1").unwrap());
    let partition = harness.log.partition_of(topic::PROFILES, "t0").unwrap();
    let (_, store) = &replica.stores()[partition as usize];
    assert!(json(store, &student).is_some());
    let as_of = store.as_of();
    assert_eq!(replica.status().partitions[partition as usize].as_of, Some(as_of));
    let process = harness.start(&plan, 1);
    until("staleness to fall", || !stale(1.0) && store.as_of() > as_of);
    process.stop();
    replica.stop();
    assert_eq!(schemas(&plan).len(), 1);
}

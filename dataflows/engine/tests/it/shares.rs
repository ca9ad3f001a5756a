//! Engines over parts of the partitions: together they show what one over all shows, each with a state of its own.

use crate::harness::{Harness, Running, Shown, plan, settled, until};
use aulaflow_log::{Forward, Log, LogError, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const RUNTIME: &str = "[engine]\nclock = \"event\"\ntick = \"1 ms\"\n";
const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id', dedupe_horizon = '30 days');
CREATE MATERIALIZED VIEW week WITH (serve = true) AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, hop(interval '1 day', interval '7 days');
";
const T0: i64 = 1_770_000_000_000;
const TENANTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn event(tenant: &str, student: u32, n: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    let json = format!(
        r#"{{"tenant_id":"{tenant}","event_id":"{student}-{n}","student_id":"s{student}","event_type":"x","occurred_at":"{}"}}"#,
        Millis(T0 + i64::from(n) * 60_000)
    );
    (format!("{tenant}/s{student}").into_bytes(), Some(json.into_bytes()))
}

fn evaluation(tenant: &str, student: u32, score: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    let json = format!(
        r#"{{"tenant_id":"{tenant}","evaluation_id":"e{student}","student_id":"s{student}","subject":"maths","type":"exam","score":{score},"graded_at":"{}"}}"#,
        Millis(T0)
    );
    (format!("{tenant}/e{student}").into_bytes(), Some(json.into_bytes()))
}

fn config(tenant: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let json = format!(
        r#"{{"tenant":"{tenant}","period":[{{"id":"p","start":"2020-01-01","end":"2030-01-01"}}],"rule":[{{"subject":"*","weights":{{"exam":1}},"min_passing":50}}]}}"#
    );
    (tenant.as_bytes().to_vec(), Some(json.into_bytes()))
}

fn fill(harness: &Harness, round: u32) {
    for tenant in TENANTS {
        harness.append(topic::TENANTS, tenant, &[config(tenant)], Millis(T0));
        for student in 0..3 {
            harness.append(topic::BEHAVIOR, tenant, &[event(tenant, student, round)], Millis(T0));
            harness.append(topic::EVALUATIONS, tenant, &[evaluation(tenant, student, 40 + 5 * round)], Millis(T0));
        }
    }
}

/// The clock after all events of a round: less the lateness.
fn clock(round: i64) -> Option<Millis> {
    Some(Millis(T0 + (round - 1) * 60_000))
}

/// Without versions and times of change, which are history.
fn content(students: &BTreeMap<(String, String), Shown>) -> BTreeMap<(String, String), String> {
    let of = |shown: &Shown| {
        let grades: Vec<_> = shown.grades.iter().map(|(key, row)| (key, &row.grade)).collect();
        let features: Vec<_> = shown.features.iter().map(|(view, row)| (view, &row.values)).collect();
        format!("{grades:?} {features:?}")
    };
    students.iter().map(|(key, shown)| (key.clone(), of(shown))).collect()
}

fn seen(running: &Running) -> BTreeMap<(String, String), String> {
    content(&running.seen.lock().students)
}

#[test]
fn two_halves_make_the_whole_also_when_one_moves() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let start = |partition| harness.start_share(2, harness.log.clone(), Share::Partition(partition));
    fill(&harness, 0);
    let (first, second) = (start(0), start(1));
    settled(&harness, &first, clock(0));
    settled(&harness, &second, clock(0));
    // The second one moves, with its state; the first one goes on.
    second.engine.stop().unwrap();
    fill(&harness, 1);
    let second = start(1);
    fill(&harness, 2);
    settled(&harness, &first, clock(2));
    settled(&harness, &second, clock(2));
    let (mut halves, other) = (seen(&first), seen(&second));
    let tenants = |shown: &BTreeMap<(String, String), String>| -> BTreeSet<String> {
        shown.keys().map(|(tenant, _)| tenant.clone()).collect()
    };
    assert!(tenants(&halves).is_disjoint(&tenants(&other)), "a tenant in both halves");
    assert!(!halves.is_empty() && !other.is_empty(), "a half without tenants shows nothing");
    halves.extend(other);
    first.engine.stop().unwrap();
    second.engine.stop().unwrap();

    let whole = harness.start(2);
    settled(&harness, &whole, clock(2));
    let differs = seen(&whole).into_iter().find(|(key, content)| halves.get(key) != Some(content));
    assert_eq!(differs, None);
    assert_eq!(halves.len(), TENANTS.len() * 3);
    whole.engine.stop().unwrap();
}

#[test]
fn a_record_in_the_wrong_partition_is_dead_for_a_part_and_good_for_the_whole() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let home = harness.log.partition_of(topic::BEHAVIOR, "a").unwrap();
    let mut set = RecordSetBuilder::default();
    let (key, value) = event("a", 1, 0);
    set.push(Millis(T0), &key, value.as_deref(), &[]);
    let place = TopicPartition { topic: topic::BEHAVIOR.to_owned(), partition: 1 - home };
    harness.log.append_wait(&place, set.finish(), Duration::from_secs(10)).unwrap();

    let part = harness.start_share(1, harness.log.clone(), Share::Partition(1 - home));
    settled(&harness, &part, None);
    assert!(part.seen.lock().students.is_empty());
    part.engine.stop().unwrap();
    let letters = harness.dead_letters(topic::BEHAVIOR);
    assert_eq!(letters.iter().map(|(class, _)| class.as_str()).collect::<Vec<_>>(), ["partition"]);

    let whole = harness.start(1);
    settled(&harness, &whole, clock(0));
    assert_eq!(whole.seen.lock().students.len(), 1);
    whole.engine.stop().unwrap();
}

/// A log whose topics have fewer partitions than there are, for a while.
struct Growing {
    log: Arc<dyn Log>,
    shown: AtomicU32,
}

impl Forward for Growing {
    fn behind(&self) -> &Arc<dyn Log> {
        &self.log
    }

    fn partitions(&self, _: &str) -> Result<u32, LogError> {
        Ok(self.shown.load(Ordering::Relaxed))
    }
}

#[test]
fn partitions_that_are_added_are_read() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let log = Arc::new(Growing { log: harness.log.clone(), shown: AtomicU32::new(1) });
    fill(&harness, 0);
    let running = harness.start_on(1, log.clone());
    settled(&harness, &running, clock(0));
    let before = running.seen.lock().students.len();
    assert!(before < TENANTS.len() * 3, "everything is in the first partition: choose other tenants");
    log.shown.store(2, Ordering::Relaxed);
    until(&running, "the added partitions", |status| status.positions.len() == 6);
    settled(&harness, &running, None);
    assert_eq!(running.seen.lock().students.len(), TENANTS.len() * 3);
    // The checkpoint covers them too: a restart reads nothing twice.
    running.engine.stop().unwrap();
    let again = harness.start_on(1, log);
    let status = until(&again, "loaded", |status| status.caught_up);
    assert!(status.positions.iter().all(|position| position.visible == position.end));
    assert_eq!(again.seen.lock().students.len(), TENANTS.len() * 3);
    again.engine.stop().unwrap();
}

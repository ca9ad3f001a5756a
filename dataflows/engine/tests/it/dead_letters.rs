//! Records that cannot be used: in every topic, of every kind, never stopping anything; a source that has too many of them.

use crate::harness::{Harness, Running, plan, settled, until};
use aulaflow_log::letters::{self, Letter};
use aulaflow_log::{
    Appended, Appending, EmbeddedLog, Fetched, Forward, Log, LogError, Offset, RecordSet, RecordSetBuilder,
    SourceState, TopicPartition, Writer,
};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');
CREATE MATERIALIZED VIEW week WITH (serve = true) AS
SELECT student_id, count(*) AS n FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '7 days');
";
const RUNTIME: &str = "[engine]\nclock = \"live\"\ntick = \"1 ms\"\nrecord_bytes_max = \"200 KiB\"\nerror_budget_records = 200\n\
                       error_budget_records_min = 100\n";

fn now() -> Millis {
    Millis(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64)
}

fn place(log: &EmbeddedLog, topic: &str, tenant: &str) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition: log.partition_of(topic, tenant).unwrap() }
}

fn event(tenant: &str, id: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let json = format!(
        r#"{{"tenant_id":"{tenant}","event_id":"e{id}","student_id":"s","event_type":"answer","occurred_at":"{}"}}"#,
        now()
    );
    (format!("{tenant}/s").into_bytes(), Some(json.into_bytes()))
}

fn shown(running: &Running, tenant: &str) -> usize {
    let seen = running.seen.lock();
    let student = seen.students.get(&(tenant.to_owned(), "s".to_owned()));
    match student.and_then(|s| s.features.get(&0)).map(|row| row.values[0].clone()) {
        Some(aulaflow_model::change::FeatureValue::Int(n)) => usize::try_from(n).unwrap(),
        Some(other) => panic!("no number: {other:?}"),
        None => 0,
    }
}

/// Letters of a topic by source offset: class, value, and the record's own headers.
type Found = BTreeMap<Offset, (String, Vec<u8>, Option<u64>, Vec<(String, Vec<u8>)>)>;

fn found(log: &dyn Log, topic: &str, partition: u32) -> Found {
    let mut found = Found::new();
    let mut offset = 0;
    loop {
        let mut take = |letter: &Letter<'_>| {
            let (of, source) = letter.source().unwrap();
            assert_eq!(of, partition);
            assert!(letter.source_timestamp().is_some() && !letter.error().is_empty());
            let own = letter.own_headers().into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            let value = letter.value.unwrap_or_default().to_vec();
            let entry = (letter.class().to_owned(), value, letter.truncated_from(), own);
            assert!(found.insert(source, entry).is_none(), "a letter is there twice");
        };
        let next = letters::read(log, topic, partition, offset, 1 << 20, &mut take).unwrap();
        if next == offset {
            return found;
        }
        offset = next;
    }
}

#[test]
fn nothing_that_comes_stops_anything() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let deep = "[".repeat(150_000).into_bytes();
    let large = vec![b' '; 300 << 10];
    let poison: Vec<(&[u8], Option<&[u8]>)> = vec![
        (b"t/x", Some(b"{")),
        (b"t/x", Some(b"\xff\xfe\x00")),
        (b"t/x", Some(b"[]")),
        (b"t/x", Some(b"null")),
        (b"t/x", Some(br#"{"tenant_id":"other","student_id":7}"#)),
        (b"t/x", Some(br#"{"tenant_id":"t","event_id":"e","student_id":"s","event_type":"a","value":1e999999,"occurred_at":"x"}"#)),
        (b"t/x", Some(br#"{"tenant_id":"t","score":99999999999999999999999999999999999999}"#)),
        (b"t/x", Some(&deep)),
        (b"t/x", Some(b"")),
        (b"t/x", Some(&large)),
        (b"", Some(b"{}")),
        (b"\xc3\x28/x", Some(b"{}")),
        (b"/", None),
    ];
    let running = harness.start(2);
    for topic in [topic::BEHAVIOR, topic::EVALUATIONS, topic::TENANTS] {
        let mut set = RecordSetBuilder::default();
        for (key, value) in &poison {
            set.push(now(), key, *value, &[("trace", b"abc"), ("error", b"the record's own")]);
        }
        harness.log.append_wait(&place(&harness.log, topic, "t"), set.finish(), Duration::from_secs(10)).unwrap();
    }
    harness.append(topic::BEHAVIOR, "t", &[event("t", 1)], now());
    settled(&harness, &running, None);
    assert_eq!(shown(&running, "t"), 1);
    running.engine.stop().unwrap();
    for topic in [topic::BEHAVIOR, topic::EVALUATIONS, topic::TENANTS] {
        let found = found(harness.log.as_ref(), topic, place(&harness.log, topic, "t").partition);
        assert_eq!(found.len(), poison.len(), "{topic}");
        for (offset, (class, value, truncated, own)) in &found {
            let (key, expected) = poison[usize::try_from(*offset).unwrap()];
            assert_eq!((value.as_slice(), *truncated), (expected.unwrap_or_default(), None), "{topic} {offset}");
            assert_eq!(
                *own,
                [("trace", "abc"), ("error", "the record's own")].map(|(n, v)| (n.to_owned(), v.as_bytes().to_vec()))
            );
            let of_key = key.is_empty() || key[0] == 0xc3 || key == b"/";
            let class_expected = match () {
                () if value.len() > 200 << 10 => "size",
                // A null value is looked at before the key where nothing can be deleted.
                () if of_key && !(topic == topic::BEHAVIOR && key == b"/") => "key",
                () => "schema",
            };
            assert_eq!(class, class_expected, "{topic} {offset}");
        }
    }
}

/// An update from the future would win over every later correction: it is judged by when the log took it, so that a
/// restart, and a recomputation, judge it alike.
#[test]
fn an_update_from_the_future_is_a_dead_letter_on_the_live_clock_alone() {
    let hour_ms = 3_600_000;
    let (received, late) = (Millis(now().0 - 2 * hour_ms), Millis(now().0 - hour_ms));
    for (clock, dead) in [("live", &[0_u64, 2][..]), ("event", &[])] {
        let harness = Harness::new(plan(&RUNTIME.replace("live", clock), SQL));
        let record = |id: &str, updated: String| {
            let json = format!(
                r#"{{"tenant_id":"t","evaluation_id":"{id}","student_id":"s","subject":"m","type":"exam","score":1,"graded_at":"2026-01-01T00:00:00Z","updated_at":"{updated}"}}"#
            );
            (format!("t/{id}").into_bytes(), Some(json.into_bytes()))
        };
        let limit = Millis(received.0 + 300_000);
        let records = [
            // Long past by now, and ahead when it was received.
            record("a", late.to_string()),
            record("b", limit.to_string()),
            record("c", limit.to_string().replace('Z', "0001Z")),
            record("d", "0001-01-01T00:00:00Z".to_owned()),
        ];
        harness.append(topic::EVALUATIONS, "t", &records, received);
        let running = harness.start(2);
        settled(&harness, &running, None);
        running.engine.stop().unwrap();
        let place = place(&harness.log, topic::EVALUATIONS, "t");
        let found = found(harness.log.as_ref(), topic::EVALUATIONS, place.partition);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), dead, "{clock}");
        assert!(found.values().all(|(class, ..)| class == "future"), "{found:?}");
        let mut batch = aulaflow_engine::batch::Batch::new(harness.plan.clone(), Millis(0));
        batch.read(harness.log.as_ref(), None, &mut |_| ()).unwrap();
        let expected = batch.letters().get(&(topic::EVALUATIONS, place.partition)).cloned().unwrap_or_default();
        assert_eq!(expected.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), dead, "{clock}");
    }
}

/// A log whose records are small, one of whose partitions does not answer, and whose writers may have come to their end.
pub struct Limited {
    pub log: Arc<dyn Log>,
    pub silent: AtomicU32,
    pub ended: bool,
}

/// A writer that never writes.
struct Ended(String);

impl Writer for Ended {
    fn write(&mut self, _: &[(TopicPartition, RecordSet)], _: Duration) -> Result<Vec<Appended>, LogError> {
        Err(LogError::Ended { name: self.0.clone(), why: "an invalid state".to_owned() })
    }
}

impl Forward for Limited {
    fn behind(&self) -> &Arc<dyn Log> {
        &self.log
    }

    fn append_wait(&self, place: &TopicPartition, records: RecordSet, timeout: Duration) -> Result<Appended, LogError> {
        let largest = records.iter().map(|r| r.value.map_or(0, <[u8]>::len)).max();
        assert!(largest <= Some(100 << 10), "a record that the log does not take");
        self.log.append_wait(place, records, timeout)
    }

    fn read(&self, place: &TopicPartition, offset: Offset, bytes_max: usize) -> Result<Fetched, LogError> {
        let fetched = self.log.read(place, offset, bytes_max)?;
        if place.topic == topic::BEHAVIOR && place.partition == self.silent.load(Ordering::Acquire) {
            return Ok(Fetched { records: RecordSet::default(), next_offset: offset, ..fetched });
        }
        Ok(fetched)
    }

    fn writer(self: Arc<Self>, name: &str) -> Result<Box<dyn Writer>, LogError> {
        Ok(if self.ended { Box::new(Ended(name.to_owned())) } else { Box::new(Appending(self)) })
    }

    fn record_bytes_max(&self) -> usize {
        100 << 10
    }

    fn source_state(&self, place: &TopicPartition) -> SourceState {
        let silent = place.topic == topic::BEHAVIOR && place.partition == self.silent.load(Ordering::Acquire);
        if silent { SourceState::Stalled("the leader is away".to_owned()) } else { SourceState::Live }
    }
}

/// Two tenants whose records are in different partitions.
fn tenants(log: &EmbeddedLog) -> (String, String) {
    let other = |n: &u32| {
        log.partition_of(topic::BEHAVIOR, &format!("t{n}")).unwrap() != log.partition_of(topic::BEHAVIOR, "t0").unwrap()
    };
    ("t0".to_owned(), format!("t{}", (1..).find(other).unwrap()))
}

#[test]
fn what_the_dead_letter_topic_does_not_take_whole_is_cut() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let log = Arc::new(Limited { log: harness.log.clone(), silent: AtomicU32::new(u32::MAX), ended: false });
    let running = harness.start_on(1, log);
    let large = vec![b'x'; 300 << 10];
    harness.append(topic::BEHAVIOR, "t", &[(b"t/s".to_vec(), Some(large.clone())), event("t", 1)], now());
    settled(&harness, &running, None);
    running.engine.stop().unwrap();
    let found = found(harness.log.as_ref(), topic::BEHAVIOR, place(&harness.log, topic::BEHAVIOR, "t").partition);
    let (class, value, truncated, _) = &found[&0];
    assert_eq!((class.as_str(), value.len(), *truncated), ("size", 64 << 10, Some(300 << 10)));
}

#[test]
fn a_writer_that_will_never_write_again_is_the_end() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let log = Arc::new(Limited { log: harness.log.clone(), silent: AtomicU32::new(u32::MAX), ended: true });
    let running = harness.start_on(1, log);
    harness.append(topic::BEHAVIOR, "t", &[(b"t/s".to_vec(), Some(b"{".to_vec()))], now());
    let begun = std::time::Instant::now();
    let failure = loop {
        if let Some(failure) = running.engine.monitor().status().failure {
            break failure;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it tries for ever");
        std::thread::park_timeout(Duration::from_millis(1));
    };
    let failure = failure.to_string();
    assert!(failure.contains("dead-letters") && failure.contains("an invalid state"), "{failure}");
    // It can still be ended in order, though without a checkpoint.
    running.engine.stop().unwrap();
}

#[test]
fn a_partition_that_gives_nothing_holds_up_nobody_else() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let (silent, other) = tenants(&harness.log);
    let partition = place(&harness.log, topic::BEHAVIOR, &silent).partition;
    let limited = Limited { log: harness.log.clone(), silent: AtomicU32::new(partition), ended: false };
    let running = harness.start_on(1, Arc::new(limited));
    until(&running, "a first epoch", |s| s.clock.is_some());
    harness.append(topic::BEHAVIOR, &silent, &[event(&silent, 1)], now());
    harness.append(topic::BEHAVIOR, &other, &[event(&other, 1)], now());
    let status = until(&running, "the other one's event", |_| shown(&running, &other) == 1);
    assert_eq!(shown(&running, &silent), 0);
    let position = |status: &aulaflow_engine::Status, n: u32| {
        status.positions.iter().find(|p| p.place.topic == topic::BEHAVIOR && p.place.partition == n).cloned().unwrap()
    };
    let stalled = SourceState::Stalled("the leader is away".to_owned());
    assert_eq!(position(&status, partition).state, stalled);
    let idle = until(&running, "the other one is idle", |s| {
        position(s, partition).end == 1 && position(s, 1 - partition).visible == 1 && position(s, 1 - partition).idle
    });
    let (behind, there) = (position(&idle, partition), position(&idle, 1 - partition));
    assert_eq!((behind.end - behind.visible, behind.idle), (1, false));
    assert_eq!((there.state, there.lag_seconds), (SourceState::Live, Some(0.0)));
    let metric = format!("source_state{{topic=\"{}\",partition=\"{partition}\",state=\"stalled\"}} 1", topic::BEHAVIOR);
    assert!(running.metrics().contains(&metric), "{}", running.metrics());
    running.engine.stop().unwrap();
}

fn bad(tenant: &str, count: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    (0..count).map(|_| (format!("{tenant}/s").into_bytes(), Some(b"{".to_vec()))).collect()
}

#[test]
fn a_broken_producer_stops_its_partition_until_somebody_resumes_it() {
    let harness = Harness::new(plan(RUNTIME, SQL));
    let (broken, other) = tenants(&harness.log);
    let partition = place(&harness.log, topic::BEHAVIOR, &broken).partition;
    let running = harness.start(2);
    let stalled = |s: &aulaflow_engine::Status| {
        s.positions.iter().find_map(|p| match &p.state {
            SourceState::Stalled(reason) => Some((p.place.clone(), reason.clone())),
            SourceState::Connecting | SourceState::Live => None,
        })
    };
    harness.append(topic::BEHAVIOR, &broken, &bad(&broken, 99), now());
    settled(&harness, &running, None);
    assert_eq!(stalled(&running.engine.monitor().status()), None, "too few to judge");
    harness.append(topic::BEHAVIOR, &broken, &bad(&broken, 30), now());
    let status = until(&running, "the source stops", |s| stalled(s).is_some());
    let (stopped, reason) = stalled(&status).unwrap();
    assert_eq!((stopped.topic.as_str(), stopped.partition), (topic::BEHAVIOR, partition));
    assert!(reason.starts_with("error budget: 129 of the last 129 records of aula.behavior.v1"), "{reason}");
    // Its records wait; the others' do not.
    harness.append(topic::BEHAVIOR, &broken, &[event(&broken, 1)], now());
    harness.append(topic::BEHAVIOR, &other, &[event(&other, 1)], now());
    until(&running, "the other one's event", |_| shown(&running, &other) == 1);
    assert_eq!(shown(&running, &broken), 0);
    let stalls = format!("source_stalls_total{{topic=\"{}\",partition=\"{partition}\"}} 1", topic::BEHAVIOR);
    assert!(running.metrics().contains(&stalls), "{}", running.metrics());
    assert_eq!(running.engine.monitor().resume(topic::EVALUATIONS), [0; 0]);
    assert_eq!(running.engine.monitor().resume(topic::BEHAVIOR), [partition]);
    until(&running, "the event that waited", |_| shown(&running, &broken) == 1);
    // A fresh budget: the same again stops it again, and a restart lets it go on.
    harness.append(topic::BEHAVIOR, &broken, &bad(&broken, 150), now());
    until(&running, "the source stops again", |s| stalled(s).is_some());
    harness.append(topic::BEHAVIOR, &broken, &[event(&broken, 2)], now());
    running.engine.stop().unwrap();
    let running = harness.start(1);
    settled(&harness, &running, None);
    until(&running, "both events", |_| shown(&running, &broken) == 2);
    running.engine.stop().unwrap();
    assert_eq!(found(harness.log.as_ref(), topic::BEHAVIOR, partition).len(), 279);
}

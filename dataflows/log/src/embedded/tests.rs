//! Tests of the embedded log as its callers see it. Crashes and full disks are in `tests/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::RecordSetBuilder;
use std::sync::mpsc;
use tempfile::TempDir;

const TOPIC: &str = "aula.behavior.v1";
const WAIT: Duration = Duration::from_secs(60);

fn config(dir: &TempDir) -> EmbeddedConfig {
    let topics = [TOPIC.to_owned(), aulaflow_model::topic::dead_letters(TOPIC)];
    EmbeddedConfig { partitions: 2, free_bytes_min: 0, ..EmbeddedConfig::new(dir.path(), topics) }
}

fn open(dir: &TempDir) -> EmbeddedLog {
    EmbeddedLog::open(config(dir)).unwrap()
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

/// Records numbered `from..to`; the number is the key, the timestamp and, in words, the value.
fn numbered(from: u64, to: u64) -> RecordSet {
    let mut set = RecordSetBuilder::default();
    for n in from..to {
        let value = format!("value {n}");
        set.push(Millis(n as i64), &n.to_be_bytes(), Some(value.as_bytes()), &[("n", b"x")]);
    }
    set.finish()
}

/// All that is read from an offset on, with reads of `bytes_max`: offset and number of each record.
fn read_all(log: &EmbeddedLog, place: &TopicPartition, from: Offset, bytes_max: usize) -> Vec<(Offset, u64)> {
    let mut all = Vec::new();
    let mut offset = from;
    loop {
        let fetched = log.read(place, offset, bytes_max).unwrap();
        assert_eq!(fetched.base_offset, offset);
        assert_eq!(fetched.next_offset, offset + u64::from(fetched.records.len()));
        if fetched.records.is_empty() {
            assert_eq!(fetched.next_offset, fetched.end_offset);
            return all;
        }
        let before = all.len();
        for record in &fetched.records {
            let number = u64::from_be_bytes(record.key.try_into().unwrap());
            assert_eq!(record.value, Some(format!("value {number}").as_bytes()));
            assert_eq!(record.timestamp, Millis(number as i64));
            assert_eq!(record.headers.get("n"), Some(b"x".as_slice()));
            all.push((fetched.base_offset + u64::from(record.index), number));
        }
        assert_eq!(all.len() - before, fetched.records.len() as usize);
        offset = fetched.next_offset;
    }
}

fn pairs(from: u64, to: u64) -> Vec<(Offset, u64)> {
    (from..to).map(|n| (n, n)).collect()
}

#[test]
fn appends_and_reads() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    assert!(log.read(&at(0), 0, 1 << 20).unwrap().records.is_empty());
    for from in (0..100).step_by(10) {
        let appended = log.append_wait(&at(1), numbered(from, from + 10), WAIT).unwrap();
        assert_eq!(appended, Appended { place: at(1), base_offset: from, last_offset: from + 9, count: 10 });
    }
    assert_eq!((log.end_offset(&at(0)).unwrap(), log.end_offset(&at(1)).unwrap()), (0, 100));
    for bytes_max in [0, 500, 1 << 20] {
        assert_eq!(read_all(&log, &at(1), 0, bytes_max), pairs(0, 100), "{bytes_max}");
    }
    // Every place within a batch.
    for from in 0..=100 {
        assert_eq!(read_all(&log, &at(1), from, 700), pairs(from, 100));
    }
    // Small batches are joined, up to the bytes asked for.
    assert_eq!(log.read(&at(1), 0, 1 << 20).unwrap().records.len(), 100);
    assert_eq!(log.read(&at(1), 3, 0).unwrap().records.len(), 7);
    assert_eq!(LogStats::get(&log.stats().appended_records), 100);
    assert_eq!(LogStats::get(&log.stats().commits), 10);
}

#[test]
fn reading_past_the_end_goes_on_at_the_end() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    log.append_wait(&at(0), numbered(0, 5), WAIT).unwrap();
    let fetched = log.read(&at(0), 9, 100).unwrap();
    assert!(fetched.records.is_empty());
    assert_eq!((fetched.next_offset, fetched.end_offset), (5, 5));
}

#[test]
fn an_empty_set_is_acknowledged() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    log.append_wait(&at(0), numbered(0, 5), WAIT).unwrap();
    let appended = log.append_wait(&at(0), RecordSet::default(), WAIT).unwrap();
    assert_eq!((appended.base_offset, appended.count), (5, 0));
    assert_eq!(log.end_offset(&at(0)).unwrap(), 5);
}

#[test]
fn unknown_places() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    let elsewhere = TopicPartition { topic: "no.such".to_owned(), partition: 0 };
    assert!(matches!(log.read(&elsewhere, 0, 1), Err(LogError::Unknown(t, 0)) if t == "no.such"));
    assert!(matches!(log.append_wait(&at(2), numbered(0, 1), WAIT), Err(LogError::Unknown(_, 2))));
    assert!(matches!(log.partitions("no.such"), Err(LogError::Unknown(..))));
    assert_eq!(log.partitions(TOPIC).unwrap(), 2);
    assert_eq!(log.topics(), [TOPIC.to_owned(), format!("{TOPIC}.dlq")]);
}

#[test]
fn tenants_keep_their_partition() {
    let dir = TempDir::new().unwrap();
    let log = EmbeddedLog::open(EmbeddedConfig { partitions: 8, ..config(&dir) }).unwrap();
    let of = |tenant| log.partition_of(TOPIC, tenant).unwrap();
    // Stored data depends on these.
    assert_eq!([of(""), of("school_123"), of("school_124"), of("ñandú")], TENANT_PARTITIONS);
}

const TENANT_PARTITIONS: [u32; 4] = [2, 5, 3, 5];

#[test]
fn offsets_go_on_after_reopening_and_topics_can_be_added() {
    let dir = TempDir::new().unwrap();
    for round in 0..3 {
        let log = open(&dir);
        assert_eq!(log.end_offset(&at(0)).unwrap(), round * 7);
        log.append_wait(&at(0), numbered(round * 7, round * 7 + 7), WAIT).unwrap();
    }
    let mut config = config(&dir);
    config.topics = vec!["a.new.one".to_owned()];
    let log = EmbeddedLog::open(config).unwrap();
    assert_eq!(read_all(&log, &at(0), 0, 100), pairs(0, 21));
    let new = TopicPartition { topic: "a.new.one".to_owned(), partition: 1 };
    assert_eq!(log.append_wait(&new, numbered(0, 3), WAIT).unwrap().base_offset, 0);
    assert_eq!(read_all(&log, &new, 0, 100), pairs(0, 3));
}

#[test]
fn dropping_writes_what_waits() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    let (sender, receiver) = mpsc::channel();
    for n in 0..200 {
        let sender = sender.clone();
        log.append(&at(0), numbered(n, n + 1), Box::new(move |r| sender.send(r.unwrap().base_offset).unwrap()))
            .unwrap();
    }
    drop((log, sender));
    // In order, too.
    assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    assert_eq!(read_all(&open(&dir), &at(0), 0, 1 << 20), pairs(0, 200));
}

#[test]
fn another_partition_count_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir));
    let error = EmbeddedLog::open(EmbeddedConfig { partitions: 3, ..config(&dir) }).err().unwrap();
    assert!(matches!(error, OpenError::Partitions { stored: 2, asked: 3, .. }));
    assert!(error.to_string().contains("has 2 partitions per topic, the configuration says 3"), "{error}");
}

#[test]
fn wrong_configurations_are_refused() {
    let dir = TempDir::new().unwrap();
    let config = config(&dir);
    for (partitions, topics) in
        [(0, vec!["a"]), (1 << 20, vec!["a"]), (1, vec!["a b"]), (1, vec![""]), (1, vec!["a", "a"])]
    {
        let topics = topics.into_iter().map(str::to_owned).collect();
        let error = EmbeddedLog::open(EmbeddedConfig { partitions, topics, ..config.clone() }).err().unwrap();
        assert!(matches!(error, OpenError::Config(_)), "{error}");
    }
}

#[test]
fn a_log_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    let error = EmbeddedLog::open(config(&dir)).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"));
    drop(log);
    open(&dir);
}

/// A log whose writer is held in an acknowledgement until the sender is dropped.
fn held(config: EmbeddedConfig) -> (EmbeddedLog, mpsc::Sender<()>) {
    let log = EmbeddedLog::open(config).unwrap();
    let (hold, held) = mpsc::channel::<()>();
    let (entered, entrance) = mpsc::channel();
    let ack: Ack = Box::new(move |_| {
        entered.send(()).unwrap();
        let _ = held.recv();
    });
    log.append(&at(1), numbered(0, 1), ack).unwrap();
    entrance.recv().unwrap();
    (log, hold)
}

#[test]
fn a_full_buffer_refuses_and_takes_nothing() {
    let dir = TempDir::new().unwrap();
    let (log, hold) = held(EmbeddedConfig { buffer_bytes_max: 10_000, ..config(&dir) });
    let (sender, acks) = mpsc::channel();
    let append = |n: u64| {
        let sender = sender.clone();
        log.append(&at(0), numbered(n, n + 1), Box::new(move |r| sender.send(r.unwrap().base_offset).unwrap()))
    };
    let mut taken = 0;
    let refused = loop {
        match append(taken) {
            Ok(()) => taken += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, LogError::Full { retry_after } if retry_after >= Duration::from_millis(10)), "{refused}");
    assert!((20..100).contains(&taken), "{taken}");
    assert!(LogStats::get(&log.stats().queue_bytes) <= 10_000);
    // Waiting for room ends with the timeout, and the records are not written.
    let late = log.append_wait(&at(0), numbered(999, 1000), Duration::ZERO).unwrap_err();
    assert!(matches!(&late, LogError::Unavailable(why) if why.contains("no room")), "{late}");
    // Room comes when the writer goes on.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.append_wait(&at(0), numbered(taken, taken + 1), WAIT).unwrap());
        drop(hold);
        assert_eq!(waits.join().unwrap().base_offset, taken);
    });
    drop(sender);
    assert_eq!(acks.iter().collect::<Vec<_>>(), (0..taken).collect::<Vec<_>>());
    assert_eq!(read_all(&log, &at(0), 0, 1 << 20), pairs(0, taken + 1));
    assert_eq!(LogStats::get(&log.stats().queue_bytes), 0);
}

#[test]
fn an_append_that_nobody_waits_for_is_not_written() {
    let dir = TempDir::new().unwrap();
    let (log, hold) = held(config(&dir));
    let late = log.append_wait(&at(0), numbered(7, 8), Duration::ZERO).unwrap_err();
    assert!(matches!(late, LogError::Unavailable(_)), "{late}");
    drop(hold);
    assert_eq!(log.append_wait(&at(0), numbered(0, 1), WAIT).unwrap().base_offset, 0);
    assert_eq!(read_all(&log, &at(0), 0, 1 << 20), pairs(0, 1));
}

#[test]
fn appends_that_wait_are_stored_together() {
    let dir = TempDir::new().unwrap();
    let (log, hold) = held(config(&dir));
    for n in 0..50 {
        log.append(&at(0), numbered(n, n + 1), Box::new(|r| drop(r.unwrap()))).unwrap();
    }
    drop(hold);
    log.append_wait(&at(0), numbered(50, 51), WAIT).unwrap();
    assert!(log.read(&at(0), 0, 0).unwrap().records.len() >= 50);
    assert_eq!(read_all(&log, &at(0), 0, 0), pairs(0, 51));
}

#[test]
fn a_set_larger_than_the_buffer_is_taken_alone_and_stored_in_parts() {
    let dir = TempDir::new().unwrap();
    let log = EmbeddedLog::open(EmbeddedConfig { buffer_bytes_max: 1000, ..config(&dir) }).unwrap();
    let count = 300_000;
    let set = numbered(0, count);
    assert!(set.len_bytes() > 8 << 20);
    assert_eq!(
        log.append_wait(&at(0), set, WAIT).unwrap(),
        Appended { place: at(0), base_offset: 0, last_offset: count - 1, count: count as u32 }
    );
    let first = log.read(&at(0), 0, 0).unwrap().records;
    assert!((1 << 20..=4 << 20).contains(&first.len_bytes()), "{}", first.len_bytes());
    assert_eq!(read_all(&log, &at(0), 0, 1 << 20), pairs(0, count));
}

#[test]
fn an_acknowledgement_that_panics_does_not_stop_the_log() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    log.append(&at(0), numbered(0, 1), Box::new(|_| panic!("on purpose"))).unwrap();
    assert_eq!(log.append_wait(&at(0), numbered(1, 2), WAIT).unwrap().base_offset, 1);
}

#[test]
fn retention_removes_whole_batches_from_the_start() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    for from in (0..100).step_by(10) {
        log.append_wait(&at(0), numbered(from, from + 10), WAIT).unwrap();
    }
    // An old record behind a young one stays: no holes.
    log.append_wait(&at(0), numbered(0, 1), WAIT).unwrap();
    assert_eq!(log.retain(TOPIC, Millis(0)).unwrap(), 0);
    assert_eq!(log.retain(TOPIC, Millis(35)).unwrap(), 30);
    assert_eq!(log.retain(TOPIC, Millis(39)).unwrap(), 0);
    assert_eq!(log.retain(TOPIC, Millis(40)).unwrap(), 10);
    assert_eq!((log.start_offset(&at(0)).unwrap(), log.end_offset(&at(0)).unwrap()), (40, 101));
    let gone = log.read(&at(0), 39, 100).unwrap_err();
    assert!(matches!(&gone, LogError::Gone { partition: 0, offset: 39, start: 40, .. }), "{gone}");
    assert_eq!(read_all(&log, &at(0), 40, 100)[..60], pairs(40, 100));
    drop(log);
    let log = open(&dir);
    assert_eq!((log.start_offset(&at(0)).unwrap(), log.end_offset(&at(0)).unwrap()), (40, 101));
    assert!(matches!(log.read(&at(0), 0, 100), Err(LogError::Gone { start: 40, .. })));
}

#[test]
fn offsets_never_go_back_when_everything_is_removed() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    // More batches than are removed in one step.
    for n in 0..1500 {
        log.append(&at(0), numbered(n, n + 1), Box::new(|r| drop(r.unwrap()))).unwrap();
    }
    log.append_wait(&at(0), numbered(1500, 1501), WAIT).unwrap();
    assert_eq!(log.retain(TOPIC, Millis(i64::MAX)).unwrap(), 1501);
    for _ in 0..2 {
        assert!(log.read(&at(0), 1501, 100).unwrap().records.is_empty());
    }
    drop(log);
    let log = open(&dir);
    assert_eq!((log.start_offset(&at(0)).unwrap(), log.end_offset(&at(0)).unwrap()), (1501, 1501));
    assert_eq!(log.append_wait(&at(0), numbered(1501, 1502), WAIT).unwrap().base_offset, 1501);
    assert_eq!(read_all(&log, &at(0), 1501, 100), pairs(1501, 1502));
}

#[test]
fn a_damaged_batch_is_named() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    log.append_wait(&at(0), numbered(0, 10), WAIT).unwrap();
    drop(log);
    for (what, change) in [
        ("checksum", (|v| v[20] ^= 1) as fn(&mut Vec<u8>)),
        ("checksum", |v| v.truncate(9)),
        ("cut short", |v| v.truncate(3)),
        ("cut short", Vec::clear),
    ] {
        let log = open(&dir);
        let place = log.shared.partitions[0].place.clone();
        log.shared.store.read().as_ref().unwrap().damage(&place, change);
        let error = log.read(&at(0), 4, 100).unwrap_err();
        assert!(matches!(error, LogError::Corrupt(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("aula.behavior.v1/0 offset 0") && text.contains(what), "{text}");
    }
    // The rest of the log goes on.
    let log = open(&dir);
    log.append_wait(&at(0), numbered(10, 20), WAIT).unwrap();
    assert_eq!(read_all(&log, &at(0), 10, 100), pairs(10, 20));
}

#[test]
fn waiting_ends_with_an_append_or_a_wake() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    assert_eq!(log.wait(0, Duration::ZERO), 0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.wait(0, WAIT));
        log.append_wait(&at(0), numbered(0, 1), WAIT).unwrap();
        assert_eq!(waits.join().unwrap(), 1);
        // Nothing is missed between two waits.
        assert_eq!(log.wait(0, WAIT), 1);
        let waits = scope.spawn(|| log.wait(1, WAIT));
        log.wake();
        assert_eq!(waits.join().unwrap(), 2);
    });
}

#[test]
fn many_threads_share_partitions() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    let first = thread * 1000 + n * 3;
                    let place = at((thread % 2) as u32);
                    let appended = log.append_wait(&place, numbered(first, first + 3), WAIT).unwrap();
                    let read = log.read(&place, appended.base_offset, 0).unwrap();
                    let keys: Vec<_> = read.records.iter().take(3).map(|r| r.timestamp.0 as u64).collect();
                    assert_eq!(keys, [first, first + 1, first + 2]);
                }
            });
        }
    });
    for partition in 0..2 {
        let all = read_all(&log, &at(partition), 0, 1 << 20);
        assert!(all.iter().map(|(offset, _)| *offset).eq(0..300));
        for thread in [u64::from(partition), u64::from(partition) + 2] {
            let own = all.iter().map(|(_, n)| *n).filter(|n| n / 1000 == thread);
            assert!(own.eq(thread * 1000..thread * 1000 + 150));
        }
    }
}

#[test]
fn reading_needs_no_sync() {
    let dir = TempDir::new().unwrap();
    let log = EmbeddedLog::open(EmbeddedConfig { fsync: Fsync::Never, ..config(&dir) }).unwrap();
    log.append_wait(&at(0), numbered(0, 10), WAIT).unwrap();
    assert_eq!(read_all(&log, &at(0), 0, 1 << 20), pairs(0, 10));
}

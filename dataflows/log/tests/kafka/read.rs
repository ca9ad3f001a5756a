//! What is read is what was written, with its offsets.

use crate::support::*;
use aulaflow_log::kafka::topics;
use aulaflow_log::kafka::{KafkaLog, Membership};
use aulaflow_log::{Log, LogError, RecordSetBuilder, SourceState};
use aulaflow_model::instant::Millis;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn keys_values_headers_times_and_tombstones_come_back() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "round-trip", 2);
    let place = at(&topic, 1);
    let mut builder = RecordSetBuilder::default();
    let at_first = now();
    builder.push(at_first, b"key", Some(b"value"), &[("error", b"bad"), ("empty", b"")]);
    builder.push(Millis(at_first.0 + 1), b"gone", None, &[]);
    builder.push(Millis(at_first.0 - 1), b"", Some(b""), &[]);
    let set = builder.finish();
    let appended = log.append_wait(&place, set.clone(), WAIT).unwrap();
    assert_eq!((appended.base_offset, appended.last_offset, appended.count), (0, 2, 3));
    let fetched = read_some(log.as_ref(), &place, 0);
    assert!(fetched.records.iter().eq(set.iter()), "{:?}", fetched.records.iter().collect::<Vec<_>>());
    assert_eq!((fetched.base_offset, fetched.next_offset, fetched.end_offset), (0, 3, 3));
    let aside = log.read_aside(&place, 1, 1 << 20).unwrap();
    assert!(aside.records.iter().map(|r| (r.index, r.key)).eq([(0, b"gone".as_slice()), (1, b"")]));
    assert_eq!((aside.base_offset, aside.next_offset), (1, 3));
    assert_eq!((log.start_offset(&place).unwrap(), log.end_offset(&place).unwrap()), (0, 3));
    assert_eq!(log.source_state(&place), SourceState::Live);
}

#[test]
fn partitions_are_read_side_by_side_and_again_from_anywhere() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "places", 3);
    for partition in 0..3 {
        for from in (0..3000).step_by(1000) {
            log.append_wait(&at(&topic, partition), numbered(from, from + 1000), WAIT).unwrap();
        }
    }
    for partition in 0..3 {
        assert_eq!(read_to(log.as_ref(), &at(&topic, partition), 0, 3000), pairs(0, 3000));
    }
    // Back, forth, and where the end is.
    let place = at(&topic, 1);
    for from in [1500, 10, 2999, 0, 3000] {
        assert_eq!(read_to(log.as_ref(), &place, from, 3000), pairs(from, 3000), "{from}");
        let aside = log.read_aside(&place, from, 1).unwrap();
        assert_eq!(values(&aside).first(), pairs(from, 3000).first(), "{from}");
    }
    log.append_wait(&place, numbered(3000, 3001), WAIT).unwrap();
    assert_eq!(read_to(log.as_ref(), &place, 3000, 3001), pairs(3000, 3001));
    // After it was released it can be followed anew.
    log.release(&place);
    assert_eq!(log.source_state(&place), SourceState::Connecting);
    assert_eq!(read_to(log.as_ref(), &place, 2000, 3001), pairs(2000, 3001));
}

/// What another process appended a moment ago is before an end that is asked for, whatever was last heard.
#[test]
fn bounds_that_are_asked_for_are_those_of_now() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "bounds", 1);
    let other = KafkaLog::open(config(&broker, &[topic.as_str()])).unwrap();
    let place = at(&topic, 0);
    assert_eq!(log.end_offset(&place).unwrap(), 0);
    for end in 1..=20 {
        other.append_wait(&place, numbered(end - 1, end), WAIT).unwrap();
        assert_eq!(log.ask_bounds(&place).unwrap(), (0, end));
    }
}

#[test]
fn waiting_ends_when_records_come() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "wait", 1);
    let place = at(&topic, 0);
    assert!(log.read(&place, 0, 1 << 20).unwrap().records.is_empty());
    let mut seen = log.wait(0, Duration::ZERO);
    let writer = Arc::clone(&log);
    let to = place.clone();
    let thread = std::thread::spawn(move || writer.append_wait(&to, numbered(0, 1), WAIT).unwrap());
    let fetched = until("a record", || {
        let fetched = log.read(&place, 0, 1 << 20).unwrap();
        seen = log.wait(seen, Duration::from_secs(1));
        (!fetched.records.is_empty()).then_some(fetched)
    });
    assert_eq!(values(&fetched), pairs(0, 1));
    thread.join().unwrap();
}

#[test]
fn markers_of_transactions_are_passed_over() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "markers", 1);
    let place = at(&topic, 0);
    let mut writer = Arc::clone(&log).writer("markers").unwrap();
    for from in [0, 10, 20] {
        let appended = writer.write(&[(place.clone(), numbered(from, from + 10))], WAIT).unwrap();
        // Each write is followed by a marker.
        let base = from + from / 10;
        assert_eq!((appended[0].base_offset, appended[0].last_offset), (base, base + 9));
    }
    let expected: Vec<_> = (0..30).map(|n| (n + n / 10, n.to_string())).collect();
    // The position passes the last marker too.
    assert_eq!(read_to(log.as_ref(), &place, 0, 33), expected);
    assert_eq!(log.end_offset(&place).unwrap(), 33);
    // From within, and from a marker.
    assert_eq!(read_to(log.as_ref(), &place, 5, 33), expected[5..]);
    assert_eq!(read_to(log.as_ref(), &place, 10, 33), expected[10..]);
    assert_eq!(read_to(log.as_ref(), &place, 32, 33), []);
    let aside = log.read_aside(&place, 32, 1 << 20).unwrap();
    assert_eq!((aside.records.len(), aside.next_offset), (0, 33));
    log.append_wait(&place, numbered(30, 31), WAIT).unwrap();
    assert_eq!(read_to(log.as_ref(), &place, 33, 34), [(33, "30".to_owned())]);
}

#[test]
fn an_offset_that_is_gone_is_an_error_and_never_a_jump() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "gone", 1);
    let place = at(&topic, 0);
    log.append_wait(&place, numbered(0, 100), WAIT).unwrap();
    assert_eq!(read_to(log.as_ref(), &place, 0, 100), pairs(0, 100));
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(r#"{{"partitions":[{{"topic":"{topic}","partition":0,"offset":40}}],"version":1}}"#);
    std::fs::write(file.path(), text).unwrap();
    let tool = "org.apache.kafka.tools.DeleteRecordsCommand";
    script(&["tools", tool, "--bootstrap-server", &broker, "--offset-json-file", file.path().to_str().unwrap()]);
    let error = until("an error", || log.read(&place, 10, 1 << 20).err());
    assert!(matches!(error, LogError::Gone { offset: 10, start: 40, .. }), "{error}");
    assert!(matches!(log.source_state(&place), SourceState::Stalled(why) if why.contains("offset 10")));
    assert!(matches!(log.read_aside(&place, 39, 1), Err(LogError::Gone { offset: 39, start: 40, .. })));
    // Beyond the end is no better.
    let error = until("an error", || log.read(&place, 5000, 1 << 20).err());
    assert!(matches!(&error, LogError::Corrupt(why) if why.contains("beyond its end 100")), "{error}");
    // Whoever decides to go on from the start can.
    assert_eq!(read_to(log.as_ref(), &place, 40, 100), pairs(40, 100));
    until("the start", || (log.start_offset(&place).unwrap() == 40).then_some(()));
}

#[test]
fn compaction_leaves_gaps() {
    let Some(broker) = broker() else { return };
    let topic = fresh("compacted");
    let config = config(&broker, &[&topic]);
    topics::ensure(&config, &[topics::TopicSpec { compacted: true, ..spec(&topic, 1) }]).unwrap();
    let settings = "segment.ms=200,min.cleanable.dirty.ratio=0.01,delete.retention.ms=100,max.compaction.lag.ms=200";
    let tool = "kafka.admin.ConfigCommand";
    let who = ["--entity-type", "topics", "--entity-name", &topic];
    script(&[&["tools", tool, "--bootstrap-server", &broker, "--alter", "--add-config", settings], &who[..]].concat());
    let log = KafkaLog::open(config).unwrap();
    let place = at(&topic, 0);
    let one = |key: &str, value: Option<&str>| {
        let mut builder = RecordSetBuilder::default();
        builder.push(now(), key.as_bytes(), value.map(str::as_bytes), &[]);
        log.append_wait(&place, builder.finish(), WAIT).unwrap()
    };
    one("a", Some("first"));
    one("b", Some("kept"));
    for n in 0..20 {
        one("a", Some(&n.to_string()));
    }
    // A segment is closed, and so cleaned, when a later record comes.
    let found = until("compaction", || {
        let end = one("tick", Some("tick")).last_offset + 1;
        let found = read_aside_all(&log, &topic, end);
        (found.iter().filter(|(_, value)| value != "tick").count() == 2).then_some(found)
    });
    assert_eq!(found[..2], [(1, "kept".to_owned()), (21, "19".to_owned())], "{found:?}");
    let end = log.read_aside(&place, 0, 1).unwrap().end_offset;
    let followed = read_to(&log, &place, 0, end);
    assert_eq!(followed[..2], found[..2]);
}

fn read_aside_all(log: &dyn Log, topic: &str, end: u64) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut next = 0;
    while next < end {
        let fetched = log.read_aside(&at(topic, 0), next, 1 << 20).unwrap();
        found.extend(values(&fetched));
        next = fetched.next_offset;
    }
    found
}

#[test]
fn a_large_record_arrives_and_what_follows_too() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "large", 1);
    let who = ["--entity-type", "topics", "--entity-name", &topic];
    let settings = "max.message.bytes=30000000";
    let tool = "kafka.admin.ConfigCommand";
    let place = at(&topic, 0);
    let mut builder = RecordSetBuilder::default();
    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    builder.push(now(), b"large", Some(&large), &[]);
    let large_set = builder.finish();
    // Until the topic takes it, it is refused for good.
    let refused = log.append_wait(&place, large_set.clone(), WAIT).unwrap_err();
    assert!(matches!(&refused, LogError::Refused(why) if why.contains("max.message.bytes")), "{refused}");
    script(&[&["tools", tool, "--bootstrap-server", &broker, "--alter", "--add-config", settings], &who[..]].concat());
    log.append_wait(&place, numbered(0, 10), WAIT).unwrap();
    log.append_wait(&place, large_set.clone(), WAIT).unwrap();
    log.append_wait(&place, numbered(11, 20), WAIT).unwrap();
    let mut next = 0;
    let mut seen = Vec::new();
    until("all records", || {
        let fetched = log.read(&place, next, 1 << 20).unwrap();
        seen.extend(fetched.records.iter().map(|r| r.value.map_or(0, <[u8]>::len)));
        next = fetched.next_offset;
        (next == 20).then_some(())
    });
    assert_eq!(seen.len(), 20);
    assert_eq!(seen[10], large.len());
    assert!(log.read_aside(&place, 10, 1).unwrap().records.iter().next().unwrap().value == Some(&large));
}

#[test]
fn what_is_read_ahead_is_bounded() {
    let Some(broker) = broker() else { return };
    let topic = fresh("budget");
    let mut config = config(&broker, &[&topic]);
    topics::ensure(&config, &[spec(&topic, 4)]).unwrap();
    config.read_ahead_bytes_max = 2 << 20;
    let log = KafkaLog::open(config).unwrap();
    let mut builder = RecordSetBuilder::default();
    for n in 0..4000u32 {
        builder.push(now(), &n.to_be_bytes(), Some(&[7; 1000]), &[]);
    }
    let set = builder.finish();
    for partition in 0..4 {
        log.append_wait(&at(&topic, partition), set.clone(), WAIT).unwrap();
    }
    for partition in 0..4 {
        assert!(log.read(&at(&topic, partition), 0, 1).unwrap().records.is_empty());
    }
    // 16 MB wait; half of the budget is ours, and a record more.
    until("a full buffer", || (log.buffered_bytes() >= 1 << 20).then_some(()));
    let mut next = [0; 4];
    let mut most = 0;
    until("all records", || {
        for (partition, next) in next.iter_mut().enumerate() {
            let fetched = log.read(&at(&topic, partition as u32), *next, 1).unwrap();
            assert!(
                fetched.records.iter().map(|r| fetched.base_offset + u64::from(r.index)).eq(*next..fetched.next_offset)
            );
            *next = fetched.next_offset;
            most = most.max(log.buffered_bytes());
        }
        next.iter().all(|next| *next == 4000).then_some(())
    });
    assert!(most <= (1 << 20) + 8 * 1100, "{most}");
    assert_eq!(log.buffered_bytes(), 0);
}

#[test]
fn new_partitions_are_found_and_missing_ones_are_said() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "more", 1);
    assert_eq!(log.partitions(&topic).unwrap(), 1);
    let missing = fresh("missing");
    assert!(matches!(log.partitions(&missing), Err(LogError::Unknown(..))));
    assert!(matches!(log.end_offset(&at(&topic, 9)), Err(LogError::Unknown(_, 9))));
    assert!(log.read(&at(&missing, 0), 0, 1).unwrap().records.is_empty());
    let config = log.config().clone();
    topics::ensure(&config, &[spec(&topic, 3)]).unwrap();
    until("3 partitions", || (log.partitions(&topic).unwrap() == 3).then_some(()));
    log.append_wait(&at(&topic, 2), numbered(0, 5), WAIT).unwrap();
    assert_eq!(read_to(log.as_ref(), &at(&topic, 2), 0, 5), pairs(0, 5));
    let why = until("a stalled source", || match log.source_state(&at(&missing, 0)) {
        SourceState::Stalled(why) => Some(why),
        SourceState::Connecting | SourceState::Live => None,
    });
    assert!(why.contains(&missing) && why.contains("topics ensure"), "{why}");
    // It heals when the topic is made.
    topics::ensure(&config, &[spec(&missing, 1)]).unwrap();
    log.append_wait(&at(&missing, 0), numbered(0, 5), WAIT).unwrap();
    assert_eq!(read_to(log.as_ref(), &at(&missing, 0), 0, 5), pairs(0, 5));
    assert_eq!(log.source_state(&at(&missing, 0)), SourceState::Live);
}

#[test]
fn covered_offsets_are_committed_to_the_group() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "covered", 2);
    let group = log.config().group.clone();
    let committed = |partition: &str| {
        let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let text = script(&["tools", tool, "--bootstrap-server", &broker, "--describe", "--group", &group]);
        let row = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row.get(1) == Some(&topic.as_str()) && row.get(2) == Some(&partition));
        row.and_then(|row| row.get(3).and_then(|offset| offset.parse::<u64>().ok()))
    };
    log.append_wait(&at(&topic, 0), numbered(0, 10), WAIT).unwrap();
    log.note_covered(&[(at(&topic, 0), 7)]);
    until("a commit", || (committed("0") == Some(7)).then_some(()));
    // As a member of the group too, and for partitions that it was not given by it.
    let member = Membership::join(&log, &topic).unwrap();
    until("membership", || member.next(Duration::from_millis(100)));
    log.note_covered(&[(at(&topic, 0), 9)]);
    until("a commit", || (committed("0") == Some(9)).then_some(()));
}

//! Appends and writers.

use crate::support::*;
use aulaflow_log::kafka::{KafkaLog, topics};
use aulaflow_log::{Log, LogError, RecordSet};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn appends_are_acknowledged_in_order() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "acks", 2);
    let (send, receive) = crossbeam_channel::bounded(1000);
    for n in 0..200u64 {
        let send = send.clone();
        let ack = Box::new(move |outcome| drop(send.send(outcome)));
        log.append(&at(&topic, (n % 2) as u32), numbered(n * 5, n * 5 + 5), ack).unwrap();
    }
    let mut ends = [0, 0];
    for _ in 0..200 {
        let appended = receive.recv_timeout(WAIT).unwrap().unwrap();
        let end = &mut ends[appended.place.partition as usize];
        assert_eq!((appended.base_offset, appended.last_offset, appended.count), (*end, *end + 4, 5));
        *end += 5;
    }
    let empty = log.append_wait(&at(&topic, 0), RecordSet::default(), WAIT).unwrap();
    assert_eq!(empty.count, 0);
    assert!(matches!(log.append_wait(&at(&topic, 7), numbered(0, 1), WAIT), Err(LogError::Unavailable(_))));
}

#[test]
fn a_full_buffer_refuses_and_frees() {
    let Some(broker) = broker() else { return };
    let topic = fresh("full");
    let mut config = config(&broker, &[&topic]);
    topics::ensure(&config, &[spec(&topic, 1)]).unwrap();
    config.buffer_bytes_max = 100_000;
    // Long enough that nothing leaves while the buffer is filled.
    config.properties.insert("linger.ms".to_owned(), "1000".to_owned());
    let log = KafkaLog::open(config).unwrap();
    let place = at(&topic, 0);
    let (send, receive) = crossbeam_channel::bounded(1000);
    let mut taken = 0;
    let refused = loop {
        let send = send.clone();
        match log.append(&place, numbered(taken * 10, taken * 10 + 10), Box::new(move |o| drop(send.send(o)))) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 1000);
    };
    assert!(matches!(refused, LogError::Full { retry_after } if !retry_after.is_zero()), "{refused}");
    assert!(taken > 5, "{taken}");
    // One that waits gets its turn; one that is larger than the buffer goes alone.
    log.append_wait(&place, numbered(0, 5000), WAIT).unwrap();
    for _ in 0..taken {
        receive.recv_timeout(WAIT).unwrap().unwrap();
    }
}

#[test]
fn nobody_answers() {
    if broker().is_none() {
        return;
    }
    // A port where nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut config = config(&address, &["nobody"]);
    config.append_timeout = Duration::from_millis(500);
    config.request_timeout = Duration::from_millis(1000);
    let log = Arc::new(KafkaLog::open(config.clone()).unwrap());
    let place = at("nobody", 0);
    assert!(matches!(log.append_wait(&place, numbered(0, 1), WAIT), Err(LogError::Unavailable(_))));
    assert!(matches!(log.partitions("nobody"), Err(LogError::Unavailable(_))));
    assert!(matches!(log.read_aside(&place, 0, 1), Err(LogError::Unavailable(_))));
    assert!(matches!(Arc::clone(&log).writer("w"), Err(LogError::Unavailable(_))));
    assert!(log.read(&place, 0, 1).unwrap().records.is_empty());
    until("a stalled source", || match log.source_state(&place) {
        aulaflow_log::SourceState::Stalled(why) => Some(why).filter(|why| why.contains("127.0.0.1")).map(drop),
        aulaflow_log::SourceState::Connecting => None,
        aulaflow_log::SourceState::Live => panic!("nobody is there"),
    });
    let error = topics::check(&config, &[spec("nobody", 1)]).unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
}

#[test]
fn a_later_writer_of_the_name_fences_the_earlier_one() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "fenced", 2);
    let parts = |n: u64| [(at(&topic, 0), numbered(n, n + 1)), (at(&topic, 1), numbered(n, n + 1))];
    let mut first = Arc::clone(&log).writer("share").unwrap();
    first.write(&parts(0), WAIT).unwrap();
    let mut second = Arc::clone(&log).writer("share").unwrap();
    let mut other = Arc::clone(&log).writer("another-share").unwrap();
    second.write(&parts(1), WAIT).unwrap();
    for _ in 0..3 {
        let refused = first.write(&parts(99), WAIT).unwrap_err();
        assert!(matches!(&refused, LogError::Fenced(name) if name == "share"), "{refused}");
    }
    second.write(&parts(2), WAIT).unwrap();
    other.write(&parts(3), WAIT).unwrap();
    for partition in 0..2 {
        let values: Vec<_> = read_to(log.as_ref(), &at(&topic, partition), 0, 8).into_iter().map(|(_, v)| v).collect();
        assert_eq!(values, ["0", "1", "2", "3"]);
    }
}

#[test]
fn a_write_that_fails_is_taken_back_whole() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "whole", 1);
    let mut writer = Arc::clone(&log).writer("w").unwrap();
    writer.write(&[(at(&topic, 0), numbered(0, 1))], WAIT).unwrap();
    let missing = (at(&topic, 9), numbered(0, 1));
    let refused = writer.write(&[(at(&topic, 0), numbered(100, 101)), missing], Duration::from_secs(15)).unwrap_err();
    assert!(!matches!(refused, LogError::Fenced(_)), "{refused}");
    // The next one goes through, and nothing of the failed one is seen.
    until("a write", || writer.write(&[(at(&topic, 0), numbered(1, 2))], WAIT).ok());
    log.append_wait(&at(&topic, 0), numbered(2, 3), WAIT).unwrap();
    let mut found = Vec::new();
    let mut next = 0;
    until("the last record", || {
        let fetched = log.read(&at(&topic, 0), next, 1).unwrap();
        next = fetched.next_offset;
        found.extend(values(&fetched).into_iter().map(|(_, value)| value));
        (found.last().map(String::as_str) == Some("2")).then_some(())
    });
    assert_eq!(found, ["0", "1", "2"]);
}

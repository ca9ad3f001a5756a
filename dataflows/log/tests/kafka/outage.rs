//! A broker that goes away, hangs and comes back.

use crate::support::*;
use aulaflow_log::kafka::{KafkaLog, Membership, Ownership, topics};
use aulaflow_log::{Log, LogError, SourceState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A broker of the test's own, a topic there with one partition, and a log whose appends fail soon.
fn own(what: &str) -> Option<(Broker, String, Arc<KafkaLog>)> {
    broker()?;
    let broker = Broker::start(&[]);
    let topic = fresh(what);
    let mut config = config(&broker.address(), &[&topic]);
    topics::ensure(&config, &[spec(&topic, 1)]).unwrap();
    config.append_timeout = Duration::from_secs(3);
    let log = Arc::new(KafkaLog::open(config).unwrap());
    Some((broker, topic, log))
}

#[test]
fn a_broker_restarts_hangs_and_is_killed() {
    let Some((broker, topic, log)) = own("outage") else { return };
    let place = at(&topic, 0);
    let member = Membership::join(&log, &topic).unwrap();
    assert_eq!(until("a partition", || member.next(Duration::from_millis(50))), Ownership::Gained(vec![0]));
    let mut writer = Arc::clone(&log).writer("w").unwrap();
    log.append_wait(&place, numbered(0, 10), WAIT).unwrap();
    assert_eq!(read_to(log.as_ref(), &place, 0, 10), pairs(0, 10));

    broker.script(&["restart"]);
    until("an append", || log.append_wait(&place, numbered(10, 20), WAIT).ok());
    let end = log.read_aside(&place, 0, 1).unwrap().end_offset;
    // An append that was not acknowledged may be there all the same: all from 10 on are the same ten.
    let found = read_to(log.as_ref(), &place, 10, end);
    assert!(found.len() >= 10 && found.iter().all(|(offset, v)| *v == (10 + offset % 10).to_string()), "{found:?}");
    until("live", || (log.source_state(&place) == SourceState::Live).then_some(()));

    // It hangs: connections stay, and nothing is answered.
    broker.script(&["pause"]);
    let why = until("stalled", || match log.source_state(&place) {
        SourceState::Stalled(why) => Some(why),
        SourceState::Live | SourceState::Connecting => None,
    });
    assert!(!why.is_empty());
    assert!(matches!(log.append_wait(&place, numbered(50, 51), WAIT), Err(LogError::Unavailable(_))));
    assert!(writer.write(&[(place.clone(), numbered(60, 61))], Duration::from_secs(2)).is_err());
    // Positions stay where they were, and what was read ahead stays readable.
    assert!(log.read(&place, end, 1).unwrap().records.is_empty());
    // The group has not heard of us for longer than the session: what was ours may be another's.
    let gone = until("loss", || member.next(Duration::from_millis(100)));
    assert_eq!(gone, Ownership::Gone(vec![0]));
    broker.script(&["resume"]);
    until("live again", || (log.source_state(&place) == SourceState::Live).then_some(()));
    assert_eq!(until("again", || member.next(Duration::from_millis(100))), Ownership::Gained(vec![0]));
    until("a write", || writer.write(&[(place.clone(), numbered(70, 71))], WAIT).ok());
    // A lone broker that is killed between the commit and its marker may forget the marker (seen with Kafka 4.3.1: the
    // coordinator notes the transaction as complete, and its records hold the partition back for ever).
    until("the marker", || {
        let aside = log.read_aside(&place, end, 1 << 20).unwrap();
        values(&aside).iter().any(|(_, value)| value == "70").then_some(())
    });

    broker.script(&["kill"]);
    until("stalled", || matches!(log.source_state(&place), SourceState::Stalled(_)).then_some(()));
    broker.script(&["start", "--port", &broker.port.to_string()]);
    until("an append", || log.append_wait(&place, numbered(80, 90), WAIT).ok());
    until("live at last", || (log.source_state(&place) == SourceState::Live).then_some(()));
    let (mut next, mut found) = (end, Vec::new());
    let begun = std::time::Instant::now();
    while found.last().map(String::as_str) != Some("89") {
        let fetched = log.read(&place, next, 1).unwrap();
        next = fetched.next_offset;
        found.extend(values(&fetched).into_iter().map(|(_, value)| value));
        let aside = || log.read_aside(&place, end, 1 << 20).map(|aside| (aside.end_offset, values(&aside)));
        assert!(begun.elapsed() < 2 * WAIT, "at {next} with {found:?}; beside: {:?}", aside());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(found.iter().filter(|value| *value == "70").count(), 1, "{found:?}");
}

/// A broker that is killed takes what it knew of a transaction with it: the writer goes on, or says that it never will, and
/// then another one of its name goes on. Nothing waits for ever. What readers see of it is Kafka's: see the test above.
#[test]
fn a_writer_goes_on_after_a_broker_was_killed_or_ends() {
    let Some((broker, topic, log)) = own("killed") else { return };
    let parts = [(at(&topic, 0), numbered(0, 10))];
    for _ in 0..2 {
        let mut writer = until("a writer", || Arc::clone(&log).writer("w").ok());
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, to) = (Arc::clone(&stop), Arc::clone(&written), parts.clone());
        let writing = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                match writer.write(&to, Duration::from_secs(2)) {
                    Ok(_) => drop(count.fetch_add(1, Ordering::AcqRel)),
                    Err(error) if error.ends_writer() => return None,
                    Err(_) => {}
                }
            }
            Some(writer)
        });
        until("writes", || (writing.is_finished() || written.load(Ordering::Acquire) > 20).then_some(()));
        broker.script(&["kill"]);
        broker.script(&["start", "--port", &broker.port.to_string()]);
        let before = written.load(Ordering::Acquire);
        until("more writes, or the end", || {
            (writing.is_finished() || written.load(Ordering::Acquire) > before).then_some(())
        });
        stop.store(true, Ordering::Release);
        if let Some(mut writer) = writing.join().unwrap() {
            until("a write, or the end", || match writer.write(&parts, WAIT) {
                Ok(_) => Some(()),
                Err(error) => error.ends_writer().then_some(()),
            });
        }
    }
    let mut last = until("another writer", || Arc::clone(&log).writer("w").ok());
    until("its write", || last.write(&parts, WAIT).ok());
}

//! The child process: what happens to data and requests when it dies, hangs, and is stopped.

use crate::raw::{post, query};
use crate::{UP_MAX, can_run, launch, start};
use aulaflow_embedded_clickhouse::{State, Supervisor};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").arg(name).arg(process.to_string()).status().unwrap();
    assert!(status.success());
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let supervisor = start(folder.path());
    let url = supervisor.url.as_str();
    query(url, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a");
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    for round in 1..=3 {
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // One block each, of its number; the first that fails ends it.
                    let next = acknowledged.load(Ordering::Relaxed);
                    let insert = format!("INSERT INTO t SELECT {next} FROM numbers(1000)");
                    let sent =
                        ureq::post(crate::raw::url_with(url, &[("user", crate::USER), ("password", crate::PASSWORD)]));
                    if sent.send(insert).is_err() {
                        return;
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
            let begun = Instant::now();
            while acknowledged.load(Ordering::Relaxed) < round * 20 {
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(1));
            }
            signal(supervisor.process().unwrap(), "-9");
            stop.store(true, Ordering::Relaxed);
        });
        while supervisor.starts() < 1 + round {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(supervisor.wait_until_up(UP_MAX), State::Up);
        // The block in flight may be there or not, and only whole: then its number counts as acknowledged.
        let rows = query(url, "SELECT count(), uniqExact(a), max(a) FROM t");
        let numbers: Vec<u64> = rows.trim().split('\t').map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers[0], numbers[1] * 1000, "a block is there as a whole or not");
        assert!(numbers[1] >= acknowledged.load(Ordering::Relaxed), "{rows}: acknowledged blocks are missing");
        acknowledged.store(numbers[2] + 1, Ordering::Relaxed);
    }
    supervisor.stop();
}

#[test]
fn a_child_that_hangs_is_killed_and_started_again() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch(folder.path());
    launch.silence_max = Some(Duration::from_secs(2));
    let supervisor = Supervisor::start(launch).unwrap();
    assert_eq!(supervisor.wait_until_up(UP_MAX), State::Up);
    let first = supervisor.process().unwrap();
    signal(first, "-STOP");
    let begun = Instant::now();
    while supervisor.starts() < 2 {
        assert!(begun.elapsed() < UP_MAX);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(supervisor.wait_until_up(UP_MAX), State::Up);
    assert_ne!(supervisor.process().unwrap(), first);
    assert_eq!(query(&supervisor.url, "SELECT 1"), "1\n");
}

#[test]
fn it_stops_in_order_and_says_so() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let supervisor = start(folder.path());
    let url = supervisor.url.clone();
    query(&url, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a");
    assert_eq!(post(&url, &[("query", "INSERT INTO t FORMAT CSV")], b"1\n").status, 200);
    supervisor.stop();
    assert!(ureq::get(format!("{url}/ping")).call().is_err());
    let again = start(folder.path());
    assert_eq!(query(&again.url, "SELECT a FROM t"), "1\n");
}

#[test]
fn what_cannot_start_is_down_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch(folder.path());
    launch.program = "/no/such/program".into();
    let supervisor = Supervisor::start(launch).unwrap();
    let begun = Instant::now();
    let reason = loop {
        if let State::Down { reason } = supervisor.state() {
            break reason;
        }
        assert!(begun.elapsed() < UP_MAX);
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(reason.contains("/no/such/program does not start"), "{reason}");
}

//! What happens on a full disk: a small tmpfs. Needs the right to mount; without it the tests say so and check nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_log::{
    EmbeddedConfig, EmbeddedLog, Log, LogError, LogStats, Offset, RecordSet, RecordSetBuilder, TopicPartition,
};
use aulaflow_model::instant::Millis;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TOPIC: &str = "full.v1";
const WAIT: Duration = Duration::from_secs(30);
const SET_RECORDS: u64 = 100;

/// A small file system.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn mount_at(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self { at: at.to_owned() }),
            failed => {
                eprintln!("SKIPPED: the full-disk test needs to mount a tmpfs, and may not: {failed:?}");
                None
            }
        }
    }

    fn resize(&self, size: &str) {
        let resized = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.at).status();
        assert!(resized.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.at).status();
        if !unmounted.is_ok_and(|s| s.success()) {
            eprintln!("could not unmount {}", self.at.display());
        }
    }
}

fn place() -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition: 0 }
}

/// Some 100 KB that do not compress; the key is the set's number.
fn set(number: u64) -> RecordSet {
    let mut set = RecordSetBuilder::default();
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..SET_RECORDS {
        let random = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        let value: Vec<u8> = random.take(1000).collect();
        set.push(Millis(number as i64), &number.to_be_bytes(), Some(&value), &[]);
    }
    set.finish()
}

/// Appends until the log refuses; returns the numbers that were acknowledged and why the last was not.
fn fill(log: &EmbeddedLog, from: u64) -> (Vec<(u64, Offset)>, LogError) {
    let mut acknowledged = Vec::new();
    for number in from..from + 10_000 {
        match log.append_wait(&place(), set(number), WAIT) {
            Ok(appended) => acknowledged.push((number, appended.base_offset)),
            Err(e) => return (acknowledged, e),
        }
    }
    panic!("the disk never filled up");
}

/// Reads everything and checks that what was acknowledged is there, each set once, without gaps.
fn check(log: &EmbeddedLog, acknowledged: &[(u64, Offset)]) {
    let mut at = Vec::new();
    let mut offset = 0;
    loop {
        let fetched = log.read(&place(), offset, 1 << 20).unwrap();
        if fetched.records.is_empty() {
            break;
        }
        for record in &fetched.records {
            let number = u64::from_be_bytes(record.key.try_into().unwrap());
            if offset % SET_RECORDS == 0 {
                at.push((number, offset));
            }
            assert_eq!(at.last().unwrap().0, number);
            offset += 1;
        }
        assert_eq!(offset, fetched.next_offset);
    }
    assert_eq!(offset, log.end_offset(&place()).unwrap());
    let mut numbers: Vec<_> = at.iter().map(|(n, _)| *n).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), at.len(), "a set is there twice");
    for one in acknowledged {
        assert!(at.contains(one), "{one:?} is missing");
    }
}

#[test]
fn appends_stop_before_the_disk_is_full_and_go_on_when_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount_at(home.path(), "40m") else {
        return;
    };
    let config = EmbeddedConfig::new(home.path().join("log"), [TOPIC]);
    let open =
        || EmbeddedLog::open(EmbeddedConfig { partitions: 1, free_bytes_min: 8 << 20, ..config.clone() }).unwrap();
    let log = open();
    let (mut acknowledged, refused) = fill(&log, 0);
    assert!(matches!(&refused, LogError::Unavailable(why) if why.contains("disk nearly full")), "{refused}");
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    check(&log, &acknowledged);
    // Still refused, still read.
    assert!(log.append_wait(&place(), set(20_000), WAIT).is_err());
    check(&log, &acknowledged);
    disk.resize("100m");
    let (more, _) = fill(&log, 30_000);
    assert!(more.len() > 50, "{}", more.len());
    acknowledged.extend(more);
    check(&log, &acknowledged);
    // The store never met the full disk.
    assert_eq!(LogStats::get(&log.stats().reopened), 0);
    // Retention makes room, too.
    let removed = log.retain(TOPIC, Millis(30_000)).unwrap();
    assert!(removed >= 20 * SET_RECORDS);
    // The files go when the store has merged them, which a busy machine does a little later.
    let begun = std::time::Instant::now();
    let mut more = Vec::new();
    while more.len() <= 20 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "retention made no room: {}", more.len());
        more.extend(fill(&log, 50_000 + 1_000 * more.len() as u64).0);
    }
    drop(log);
    let log = open();
    let last = more.last().unwrap();
    assert_eq!(log.end_offset(&place()).unwrap(), last.1 + SET_RECORDS);
    drop(log);
}

/// The floor is of no use where the store's tables are on another file system, and that one is full: the store fails.
#[test]
fn a_store_that_failed_is_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("log");
    let Some(disk) = SmallDisk::mount_at(&dir.join("keyspaces"), "8m") else {
        return;
    };
    let open = || EmbeddedLog::open(EmbeddedConfig { partitions: 1, ..EmbeddedConfig::new(&dir, [TOPIC]) }).unwrap();
    let log = open();
    let (mut acknowledged, refused) = fill(&log, 0);
    assert!(matches!(refused, LogError::Unavailable(_)), "{refused}");
    assert!(acknowledged.len() > 100);
    check(&log, &acknowledged);
    disk.resize("512m");
    let deadline = Instant::now() + WAIT;
    let (number, appended) = (20_000..)
        .find_map(|number| match log.append_wait(&place(), set(number), WAIT) {
            Ok(appended) => Some((number, appended)),
            Err(e) => {
                assert!(Instant::now() < deadline, "{e}");
                std::thread::yield_now();
                None
            }
        })
        .unwrap();
    assert!(LogStats::get(&log.stats().reopened) >= 1);
    acknowledged.push((number, appended.base_offset));
    check(&log, &acknowledged);
    drop(log);
    let log = open();
    check(&log, &acknowledged);
    drop(log);
}

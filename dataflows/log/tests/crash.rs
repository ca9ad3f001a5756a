//! Kills a process that appends, again and again, and checks after each time that what was acknowledged is there:
//! once, in order, unchanged, without gaps. The process is this test binary, started again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_log::{
    EmbeddedConfig, EmbeddedLog, Fsync, Log, Offset, OpenError, RecordSet, RecordSetBuilder, TopicPartition,
};
use aulaflow_model::instant::Millis;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const TOPIC: &str = "crash.v1";
const PARTITIONS: u32 = 3;
const THREADS: u64 = 4;
const WAIT: Duration = Duration::from_secs(60);
const DIR: &str = "AULAFLOW_LOG_CRASH_DIR";
const ROUND: &str = "AULAFLOW_LOG_CRASH_ROUND";

fn open(dir: &Path, round: u64) -> Result<EmbeddedLog, OpenError> {
    let fsync = if round.is_multiple_of(2) { Fsync::Group } else { Fsync::Never };
    EmbeddedLog::open(EmbeddedConfig {
        partitions: PARTITIONS,
        fsync,
        free_bytes_min: 0,
        ..EmbeddedConfig::new(dir, [TOPIC])
    })
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

/// The value of a writer's record: between 0 and some 300 bytes that depend on both.
fn value(writer: u64, number: u64) -> Vec<u8> {
    let seed = (writer << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    seed.to_le_bytes().into_iter().cycle().take((seed >> 40) as usize % 300).collect()
}

fn records(writer: u64, from: u64, count: u64) -> RecordSet {
    let mut set = RecordSetBuilder::default();
    for number in from..from + count {
        let key = [writer.to_be_bytes(), number.to_be_bytes()].concat();
        set.push(Millis(number as i64), &key, Some(&value(writer, number)), &[]);
    }
    set.finish()
}

/// The process that is killed: appends from several threads until its end comes, and says what was acknowledged.
/// Does nothing when run as a test.
#[test]
fn appends_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let log = &open(Path::new(&dir), round).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let writer = round * THREADS + thread;
                let place = at((writer % u64::from(PARTITIONS)) as u32);
                let (mut number, mut step) = (0, 1);
                loop {
                    step = step * 5 % 97;
                    let said = move |base: Offset, count: u64| {
                        let line = format!("\nack {writer} {number} {count} {base}\n");
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    };
                    if thread % 2 == 0 {
                        let appended = log.append_wait(&place, records(writer, number, step), WAIT).unwrap();
                        said(appended.base_offset, step);
                        number += step;
                    } else {
                        // Refused while the buffer is full, and then tried again.
                        let ack =
                            Box::new(move |r: Result<aulaflow_log::Appended, _>| said(r.unwrap().base_offset, step));
                        match log.append(&place, records(writer, number, step), ack) {
                            Ok(()) => number += step,
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                }
            });
        }
    });
}

/// Starts a round, kills it after `acks` acknowledgements, and returns all that were said:
/// writer, first number, count, base offset.
fn kill_after(dir: &Path, round: u64, acks: usize) -> Vec<[u64; 4]> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "appends_until_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if out.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // A line without its end was cut by the kill.
        let Some(ack) = line.strip_prefix("ack ").and_then(|l| l.strip_suffix('\n')) else {
            continue;
        };
        let numbers: Vec<u64> = ack.split(' ').map(|n| n.parse().unwrap()).collect();
        said.push(<[u64; 4]>::try_from(numbers).unwrap());
        if said.len() == acks {
            // Another process has it: this one is told so.
            let refused = open(dir, round).err().unwrap();
            assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
            assert!(refused.to_string().contains("is in use by another process"), "{refused}");
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && said.len() >= acks, "the process ended by itself: {status}, {} acks", said.len());
    said
}

#[test]
fn acknowledged_records_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<[u64; 4]> = Vec::new();
    for (round, acks) in [1, 40, 333, 7, 1200, 90, 2500, 150].into_iter().enumerate() {
        acknowledged.extend(kill_after(dir.path(), round as u64, acks));
        let log = open(dir.path(), round as u64).unwrap();
        // By writer: its partition, and the offset of each of its numbers.
        let mut stored: HashMap<u64, (u32, Vec<Offset>)> = HashMap::new();
        for partition in 0..PARTITIONS {
            check_partition(&log, partition, &mut stored);
        }
        for &[writer, first, count, base] in &acknowledged {
            let (partition, offsets) = &stored[&writer];
            assert_eq!(u64::from(*partition), writer % u64::from(PARTITIONS));
            let range = first as usize..(first + count) as usize;
            assert!(offsets[range].iter().copied().eq(base..base + count), "round {round}, writer {writer}, {first}");
        }
    }
    assert!(acknowledged.len() > 4000);
}

/// Reads a whole partition: offsets without gaps, contents right, and each writer's numbers once and in order.
fn check_partition(log: &EmbeddedLog, partition: u32, stored: &mut HashMap<u64, (u32, Vec<Offset>)>) {
    let place = at(partition);
    let mut offset = log.start_offset(&place).unwrap();
    assert_eq!(offset, 0);
    loop {
        let fetched = log.read(&place, offset, 1 << 20).unwrap();
        assert_eq!(fetched.base_offset, offset);
        if fetched.records.is_empty() {
            assert_eq!(offset, log.end_offset(&place).unwrap());
            return;
        }
        for record in &fetched.records {
            let (writer, number) = record.key.split_at(8);
            let writer = u64::from_be_bytes(writer.try_into().unwrap());
            let number = u64::from_be_bytes(number.try_into().unwrap());
            assert_eq!(record.value, Some(value(writer, number).as_slice()));
            assert_eq!(fetched.base_offset + u64::from(record.index), offset);
            let (_, offsets) = stored.entry(writer).or_insert((partition, Vec::new()));
            assert_eq!(number, offsets.len() as u64, "writer {writer}");
            offsets.push(offset);
            offset += 1;
        }
        assert_eq!(offset, fetched.next_offset);
    }
}

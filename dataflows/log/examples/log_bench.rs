//! Measures the embedded log on this machine: appends sets of records from several threads and reads them back,
//! beside a plain file that gets the same bytes with as many fsyncs.
//!
//! `cargo run --release -p aulaflow-log --example log_bench -- [dir] [sets] [records per set] [threads] [group|never]`
#![allow(clippy::expect_used)]

use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Fsync, Log, LogStats, RecordSet, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TOPIC: &str = "bench.v1";
const PARTITIONS: u32 = 4;
const WAIT: Duration = Duration::from_secs(60);

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "log-bench-data".to_owned()));
    let mut number = |default: u64| args.next().map_or(default, |a| a.parse().expect("an argument is a number"));
    let (sets, records, threads) = (number(400), number(5000), number(2));
    let fsync = if args.next().as_deref() == Some("never") { Fsync::Never } else { Fsync::Group };
    assert!(!dir.exists(), "{} exists: the measurement wants a new directory", dir.display());
    std::fs::create_dir_all(&dir).expect("the directory can be made");

    // A few different sets, made before the clock starts.
    let made: Vec<RecordSet> = (0..8).map(|seed| set(seed, records)).collect();
    let bytes: u64 = (0..sets).map(|n| made[n as usize % made.len()].len_bytes() as u64).sum();
    println!(
        "{sets} sets of {records} records from {threads} threads, {fsync:?}, {} bytes a record",
        bytes / (sets * records)
    );

    let start = Instant::now();
    let syncs = plain_file(&dir.join("plain"), &made, sets, fsync);
    report(&format!("plain file, {syncs} fsyncs"), bytes, sets * records, start.elapsed());

    let config = EmbeddedConfig { partitions: PARTITIONS, fsync, ..EmbeddedConfig::new(dir.join("log"), [TOPIC]) };
    let log = EmbeddedLog::open(config.clone()).expect("the log opens");
    let written_before = written_bytes();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (log, made) = (&log, &made);
            scope.spawn(move || {
                for n in (thread..sets).step_by(threads as usize) {
                    log.append_wait(&at(n as u32 % PARTITIONS), made[n as usize % made.len()].clone(), WAIT)
                        .expect("appended");
                }
            });
        }
    });
    let commits = LogStats::get(&log.stats().commits);
    report(&format!("log, append, {commits} commits"), bytes, sets * records, start.elapsed());
    read_back(&log, "log, read", bytes, sets * records);
    drop(log);
    let written = written_bytes() - written_before;
    let stored = disk_bytes(&dir.join("log"));
    println!(
        "written {:.2} bytes and stored {:.2} bytes per byte of records",
        ratio(written, bytes),
        ratio(stored, bytes)
    );

    let start = Instant::now();
    let log = EmbeddedLog::open(config).expect("the log opens again");
    println!("open again: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    read_back(&log, "log, read after opening", bytes, sets * records);
    let start = Instant::now();
    let removed = log.retain(TOPIC, Millis(i64::MAX)).expect("retention runs");
    println!("retention removed {removed} records in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    drop(log);
    println!("stored then: {:.2} MB", disk_bytes(&dir.join("log")) as f64 / 1e6);
    std::fs::remove_dir_all(&dir).expect("the directory can be removed");
}

/// JSON like a behaviour event's, about 200 bytes with its key.
fn set(seed: u64, records: u64) -> RecordSet {
    let mut set = RecordSetBuilder::default();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for n in 0..records {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let student = state % 30_000;
        let value = format!(
            "{{\"tenant_id\":\"school_{:03}\",\"event_id\":\"{state:016x}\",\"student_id\":\"student_{student}\",\
             \"event_type\":\"participation\",\"value\":{},\"occurred_at\":\"2026-03-02T15:{:02}:{:02}.120Z\"}}",
            student % 50,
            n % 17,
            n % 60,
            state % 60
        );
        let key = format!("school_{:03}/student_{student}", student % 50);
        set.push(Millis(1_772_463_845_120 + n as i64), key.as_bytes(), Some(value.as_bytes()), &[]);
    }
    set.finish()
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

/// Writes the same bytes to a file, synced after every set as the log would be without groups.
fn plain_file(path: &Path, made: &[RecordSet], sets: u64, fsync: Fsync) -> u64 {
    let mut file = std::fs::File::create(path).expect("the file can be made");
    let mut syncs = 0;
    for n in 0..sets {
        file.write_all(made[n as usize % made.len()].encoded()).expect("the file takes the bytes");
        if fsync == Fsync::Group {
            file.sync_data().expect("the file is synced");
            syncs += 1;
        }
    }
    syncs
}

fn read_back(log: &EmbeddedLog, what: &str, bytes: u64, records: u64) {
    let start = Instant::now();
    let mut read = 0;
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        loop {
            let fetched = log.read(&at(partition), offset, 4 << 20).expect("the log reads");
            if fetched.records.is_empty() {
                break;
            }
            read += fetched.records.iter().filter(|r| r.value.is_some()).count() as u64;
            offset = fetched.next_offset;
        }
    }
    assert_eq!(read, records);
    report(what, bytes, records, start.elapsed());
}

fn report(what: &str, bytes: u64, records: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("{what}: {:.0} MB/s, {:.0} records/s", bytes as f64 / 1e6 / seconds, records as f64 / seconds);
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// Bytes that this process caused to be written to disks; 0 where the system does not say.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|l| l.strip_prefix("write_bytes: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let size = |e: std::fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() => disk_bytes(&e.path()),
        Ok(m) => m.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

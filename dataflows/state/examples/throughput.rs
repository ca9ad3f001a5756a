//! Bytes per second written as checkpoints, merged and loaded, beside a plain sequential write and read of the same bytes:
//! `cargo run --release -p aulaflow-state --example throughput -- FOLDER [ROWS]`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use aulaflow_state::{CheckpointStore, Options, never};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

const OPTIONS: Options = Options { kept: 3, format: 1, oldest: 1 };
const COMMITS: u64 = 40;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "throughput-data".to_owned());
    let rows: u64 = arguments.next().map_or(10_000_000, |rows| rows.parse().unwrap());
    let dir = Path::new(&dir);
    let mut raw = 0;
    {
        let (store, _) = CheckpointStore::open(dir, OPTIONS).unwrap();
        let (mut merged, mut stored) = (0, 0);
        let all = Clock::start();
        for commit in 0..COMMITS {
            let mut changes: Vec<_> = (0..rows / COMMITS).map(|n| row(n * COMMITS + commit)).collect();
            raw += changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
            let done = store.commit(&mut changes, b"note", &never()).unwrap();
            (merged, stored) = (merged + done.compacted_bytes, stored + done.bytes);
        }
        say("committed (rows made, sorted, lz4, synced, read back; merges beside it)", raw as u64, &all);
        println!("{stored} bytes written, {merged} merged so far");
        let begun = Clock::start();
        store.wait_for_merges();
        store.commit(&mut [], b"note", &never()).unwrap();
        println!("waited {:.1} s for the last merges", begun.wall.elapsed().as_secs_f64());
    }
    let begun = Clock::start();
    let (store, _) = CheckpointStore::open(dir, OPTIONS).unwrap();
    let newest = store.checkpoints().pop().unwrap();
    println!("{} rows in {} segments of {} bytes", newest.rows, newest.segments, newest.bytes);
    say("opened: every stored byte compared with its checksum", newest.bytes, &begun);
    let begun = Clock::start();
    let mut loaded = store.rows(b"", &never()).unwrap();
    let (mut count, mut bytes) = (0u64, 0);
    while let Some((key, value)) = loaded.next_row().unwrap() {
        count += 1;
        bytes += (key.len() + value.len()) as u64;
    }
    say(&format!("loaded: {count} rows, uncompressed"), bytes, &begun);
    let begun = Clock::start();
    let mut plain = 0;
    let mut buffer = vec![0; 1 << 20];
    for file in store.files(newest.number).unwrap() {
        let mut file = File::open(dir.join(file.name)).unwrap();
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => break,
                read => plain += read as u64,
            }
        }
    }
    say("plain sequential read of the same files", plain, &begun);
    let path = dir.join("plain");
    let begun = Clock::start();
    let mut file = File::create(&path).unwrap();
    for _ in 0..plain.div_ceil(buffer.len() as u64) {
        file.write_all(&buffer).unwrap();
    }
    file.sync_all().unwrap();
    say("plain sequential write of as much, synced once", plain, &begun);
    fs::remove_file(path).unwrap();
}

/// A row like a student's pane: 10 a student.
fn row(n: u64) -> (Vec<u8>, Option<Vec<u8>>) {
    let student = n / 10;
    let mut key = format!("Pschool-{:03}\0student-{student:08}\0", student % 100).into_bytes();
    key.extend(0x7c3a_91f2_55d0_e8b1_u64.to_be_bytes());
    key.extend((490_000 + n % 10).to_be_bytes());
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut value = vec![3, 1, 0, 0, 2, 0, (random >> 60) as u8, 4];
    value.extend_from_slice(&random.to_le_bytes()[..5]);
    (key, Some(value))
}

fn say(what: &str, bytes: u64, begun: &Clock) {
    let (wall, own) = (begun.wall.elapsed().as_secs_f64(), Clock::own() - begun.own);
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    println!("{what}: {wall:.2} s ({:.0} MB/s), on a processor {own:.2} s ({:.0} MB/s)", rate(wall), rate(own));
}

/// The wall's clock, and this thread's time on a processor: a busy machine makes them differ.
struct Clock {
    wall: Instant,
    own: f64,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), own: Self::own() }
    }

    fn own() -> f64 {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e9)
    }
}

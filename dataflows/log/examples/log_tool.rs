//! Reads and writes the embedded log of a data directory that no process has open, for tests written in other languages:
//!
//!     log_tool dump DIR N           every record of every topic, a line each
//!     log_tool append DIR N < FILE  appends records, a line each; N is its number of partitions
//!
//! A line's fields are separated by tabs: topic, partition, offset, timestamp in milliseconds, key, value, headers. Keys
//! and values are in hexadecimal, `-` is no value; headers are `name=value` with commas between. What is appended has
//! topic, partition (`-`: that of the tenant before the key's first `/`), timestamp, key and value.
#![allow(clippy::expect_used)]

use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Log, RecordRef, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use std::io::{BufRead, BufWriter, Write};
use std::time::Duration;

const FETCH_BYTES: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(30);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["dump", dir, partitions] => dump(&open(dir, partitions)),
        ["append", dir, partitions] => append(&open(dir, partitions)),
        _ => {
            eprintln!("usage: log_tool dump DIR PARTITIONS | log_tool append DIR PARTITIONS < FILE");
            std::process::exit(2);
        }
    }
}

/// No topics are named: those that the log has are enough.
fn open(dir: &str, partitions: &str) -> EmbeddedLog {
    let partitions = partitions.parse().expect("the number of partitions is a number");
    let config = EmbeddedConfig { partitions, free_bytes_min: 0, ..EmbeddedConfig::new(dir, Vec::<String>::new()) };
    EmbeddedLog::open(config).expect("the log can be opened")
}

fn dump(log: &EmbeddedLog) {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for topic in log.topics() {
        for partition in 0..log.partitions(&topic).expect("the topic was listed") {
            let place = TopicPartition { topic: topic.clone(), partition };
            let mut offset = log.start_offset(&place).expect("the partition exists");
            loop {
                let fetched = log.read_aside(&place, offset, FETCH_BYTES).expect("the log can be read");
                if fetched.records.is_empty() {
                    break;
                }
                for record in fetched.records.iter() {
                    let at = fetched.base_offset + u64::from(record.index);
                    line(&mut out, &place, at, &record).expect("the output can be written");
                }
                offset = fetched.next_offset;
            }
        }
    }
    out.flush().expect("the output can be written");
}

fn line(out: &mut impl Write, place: &TopicPartition, offset: u64, record: &RecordRef<'_>) -> std::io::Result<()> {
    let value = record.value.map_or_else(|| "-".to_owned(), hex);
    let headers: Vec<String> = record.headers.iter().map(|(name, value)| format!("{name}={}", hex(value))).collect();
    let TopicPartition { topic, partition } = place;
    let (timestamp, key, headers) = (record.timestamp.0, hex(record.key), headers.join(","));
    writeln!(out, "{topic}\t{partition}\t{offset}\t{timestamp}\t{key}\t{value}\t{headers}")
}

fn append(log: &EmbeddedLog) {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the input can be read");
        let fields: Vec<&str> = line.split('\t').collect();
        let [topic, partition, timestamp, key, value] = fields[..] else { panic!("a line has five fields: {line}") };
        let key = unhex(key);
        let partition = match partition {
            "-" => {
                let tenant = key.split(|byte| *byte == b'/').next().unwrap_or_default();
                log.partition_of(topic, &String::from_utf8_lossy(tenant)).expect("the topic exists")
            }
            number => number.parse().expect("a partition is a number"),
        };
        let mut set = RecordSetBuilder::default();
        let value = (value != "-").then(|| unhex(value));
        set.push(Millis(timestamp.parse().expect("a time is a number")), &key, value.as_deref(), &[]);
        let place = TopicPartition { topic: topic.to_owned(), partition };
        log.append_wait(&place, set.finish(), WAIT).expect("the log takes the record");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map(|at| digit(at).expect("two hexadecimal digits")).collect()
}

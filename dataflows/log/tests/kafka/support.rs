//! A broker, topics with names of their own, and waiting.

use aulaflow_log::kafka::topics::{self, TopicSpec};
use aulaflow_log::kafka::{KafkaConfig, KafkaLog};
use aulaflow_log::{Fetched, Log, Offset, RecordSet, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take.
pub const WAIT: Duration = Duration::from_secs(30);

/// The broker's address; `None`, said loudly, where there is no broker.
pub fn broker() -> Option<String> {
    let address = std::env::var("AULAFLOW_KAFKA").ok().filter(|address| !address.is_empty());
    if address.is_none() {
        eprintln!("!!! SKIPPED: AULAFLOW_KAFKA names no broker; `make test-kafka` starts one");
    }
    address
}

/// A name that no other test and no earlier run has.
pub fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test.{what}.{}.{}", now().0, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What a topic should be, for a single broker.
pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        together: false,
        compacted: false,
        retention: None,
        retention_min: None,
        replication: 1,
        min_isr: 1,
    }
}

/// A configuration with short times and a group of its own.
pub fn config(bootstrap: &str, topics: &[&str]) -> KafkaConfig {
    KafkaConfig {
        stalled_after: Duration::from_secs(4),
        session_timeout: Duration::from_secs(6),
        ..KafkaConfig::new(bootstrap, &fresh("group"), topics.iter().copied())
    }
}

/// A topic and a log that reads it.
pub fn open(bootstrap: &str, what: &str, partitions: u32) -> (String, Arc<KafkaLog>) {
    let topic = fresh(what);
    let config = config(bootstrap, &[&topic]);
    topics::ensure(&config, &[spec(&topic, partitions)]).unwrap();
    (topic, Arc::new(KafkaLog::open(config).unwrap()))
}

pub fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

/// The time. Kafka removes at once what is older than the topic's retention.
pub fn now() -> Millis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Millis(now.as_millis() as i64)
}

/// Records with the numbers as keys and values.
pub fn numbered(from: u64, to: u64) -> RecordSet {
    let mut builder = RecordSetBuilder::default();
    let now = now();
    for n in from..to {
        let text = n.to_string();
        builder.push(now, text.as_bytes(), Some(text.as_bytes()), &[]);
    }
    builder.finish()
}

/// Waits until something is so.
pub fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = is_so() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads on until something comes.
pub fn read_some(log: &dyn Log, place: &TopicPartition, offset: Offset) -> Fetched {
    let mut next = offset;
    until("records", || {
        let fetched = log.read(place, next, 1 << 20).unwrap();
        next = fetched.next_offset;
        (!fetched.records.is_empty()).then_some(fetched)
    })
}

/// Offset and value of every record from `offset` until the position is `end`.
pub fn read_to(log: &dyn Log, place: &TopicPartition, offset: Offset, end: Offset) -> Vec<(Offset, String)> {
    let mut found = Vec::new();
    let mut next = offset;
    until(&format!("position {end}"), || {
        let fetched = log.read(place, next, 1 << 20).unwrap();
        assert!(fetched.next_offset >= next && fetched.end_offset >= fetched.next_offset);
        next = fetched.next_offset;
        found.extend(values(&fetched));
        (next >= end).then_some(())
    });
    assert_eq!(next, end);
    found
}

/// Offset and value of each record.
pub fn values(fetched: &Fetched) -> Vec<(Offset, String)> {
    let value = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or(b"-").to_vec()).unwrap();
    let records = fetched.records.iter();
    records.map(|r| (fetched.base_offset + u64::from(r.index), value(r.value))).collect()
}

pub fn pairs(from: u64, to: u64) -> Vec<(Offset, String)> {
    (from..to).map(|n| (n, n.to_string())).collect()
}

static STARTED: AtomicU16 = AtomicU16::new(0);

/// A broker of one test's own, which may do with it what it likes.
pub struct Broker {
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Broker {
    pub fn start(arguments: &[&str]) -> Self {
        // Three ports in a row, below those that connections take.
        let free = |port: &u16| (0..3).all(|n| std::net::TcpListener::bind(("127.0.0.1", port + n)).is_ok());
        let first = 20_000 + (std::process::id() % 1_000) as u16 * 10 + STARTED.fetch_add(3, Ordering::Relaxed);
        let port = (first..32_000).step_by(3).find(free).unwrap();
        let broker = Self { dir: tempfile::tempdir().unwrap(), port };
        broker.script(&[&["start", "--port", &port.to_string()], arguments].concat());
        broker
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn script(&self, arguments: &[&str]) {
        let dir = self.dir.path().to_str().unwrap();
        script(&[&arguments[..1], &["--dir", dir], &arguments[1..]].concat());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.script(&["kill"]);
    }
}

/// Runs `docker/kafka.sh` with these arguments; its standard output.
pub fn script(arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker/kafka.sh");
    let output = Command::new(script).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

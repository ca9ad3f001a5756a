//! A log with records of every kind, made from a seed, and which of them belong into which table.

use crate::proxy::Random;
use aulaflow_clickhouse::{
    Access, Bridge, BridgeLimits, BridgeMetrics, BridgeStart, Clocks, Connection, KeptDays, Making, PseudonymKeys, Raw,
    RetentionPolicy, SinkState, Uuid,
};
use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog, Fsync};
use aulaflow_log::{Log, RecordSetBuilder, TopicPartition, letters};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

pub const DAY_MS: i64 = 86_400_000;
const WAIT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
pub const TENANTS: [&str; 2] = ["norte", "sur"];

/// Table, partition, offset.
pub type Rows = BTreeSet<(&'static str, u32, u64)>;

/// What the bridges of a test have in common.
pub struct Said {
    pub log: Arc<EmbeddedLog>,
    /// What belongs into the tables, but for retention.
    pub rows: Rows,
    /// The wall clock.
    pub wall: Arc<AtomicI64>,
    pub making: Making,
    pub metrics: BridgeMetrics,
    pub server: Arc<aulaflow_clickhouse::Server>,
    events: u64,
}

pub fn days(behavior: u16, service_events: u16, dead_letters: u16) -> KeptDays {
    KeptDays { behavior, service_events, dead_letters }
}

/// Today, so that ClickHouse's own clock agrees.
pub fn today() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap() / DAY_MS
}

pub fn open(dir: &Path) -> Arc<EmbeddedLog> {
    let topics: Vec<String> = topic::SOURCES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(topic::SOURCES.iter().map(|name| topic::dead_letters(name)))
        .collect();
    let config = EmbeddedConfig { partitions: 2, fsync: Fsync::Never, ..EmbeddedConfig::new(dir, topics) };
    Arc::new(EmbeddedLog::open(config).unwrap())
}

impl Said {
    pub fn new(folder: &Path, access: &Access) -> Self {
        let wall = Arc::new(AtomicI64::new(today() * DAY_MS + 1_000));
        let now = Arc::clone(&wall);
        let clocks = Clocks { wall: Arc::new(move || Millis(now.load(Ordering::Relaxed))), events: None };
        let retention = RetentionPolicy { default: days(30, 30, 90), tenants: [].into() };
        Self {
            log: open(&folder.join("log")),
            rows: Rows::new(),
            wall,
            making: Making {
                keys: Arc::new(PseudonymKeys::open(&folder.join("keys")).unwrap()),
                retention: Arc::new(retention),
                clocks,
                record_bytes_max: 10_000,
                free_text: true,
            },
            metrics: BridgeMetrics::default(),
            server: crate::process::Setting::server(access, aulaflow_clickhouse::TablesBy::Us),
            events: 0,
        }
    }

    pub fn now(&self) -> Millis {
        Millis(self.wall.load(Ordering::Relaxed))
    }

    /// Appends records of one kind; those that are rows are noted.
    fn append(&mut self, raw: Raw, topic: &str, tenant: &str, records: Vec<Made>) {
        let partition = self.log.partition_of(topic::BEHAVIOR, tenant).unwrap();
        let place = TopicPartition { topic: topic.to_owned(), partition };
        let mut set = RecordSetBuilder::default();
        let now = self.now();
        for made in &records {
            let headers: Vec<(&str, &[u8])> =
                made.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            set.push(now, made.key.as_bytes(), Some(made.value.as_bytes()), &headers);
        }
        let done = self.log.append_wait(&place, set.finish(), WAIT).unwrap();
        for (offset, made) in (done.base_offset..).zip(&records) {
            if made.is_row {
                self.rows.insert((raw.name(), partition, offset));
            }
        }
    }

    /// A few records of some kind.
    pub fn grow(&mut self, random: &mut Random) {
        let tenant = TENANTS[random.below(2) as usize];
        let count = 1 + random.below(40);
        let made: Vec<_> = match random.below(5) {
            0 => (0..count).map(|_| self.service_event(tenant)).collect(),
            1 => (0..count).map(|_| self.letter(tenant)).collect(),
            _ => (0..count).map(|_| self.event(tenant, random)).collect(),
        };
        let raw = if made.iter().any(|made| !made.headers.is_empty()) {
            Raw::DeadLetters
        } else if made[0].key.ends_with("/web") {
            Raw::ServiceEvents
        } else {
            Raw::Behavior
        };
        let topic = match raw {
            Raw::Behavior => topic::BEHAVIOR.to_owned(),
            Raw::ServiceEvents => topic::EVENTS.to_owned(),
            Raw::DeadLetters => topic::dead_letters([topic::BEHAVIOR, topic::EVALUATIONS][random.below(2) as usize]),
        };
        // Letters of several topics share the table: rows are told apart by their topic there.
        if raw == Raw::DeadLetters {
            self.append_letters(&topic, tenant, made);
        } else {
            self.append(raw, &topic, tenant, made);
        }
    }

    fn append_letters(&mut self, topic: &str, tenant: &str, records: Vec<Made>) {
        let before: Rows = std::mem::take(&mut self.rows);
        self.append(Raw::DeadLetters, topic, tenant, records);
        let name = if topic.contains("behavior") { "letters of behavior" } else { "letters of evaluations" };
        let named = std::mem::take(&mut self.rows).into_iter().map(|(_, partition, offset)| (name, partition, offset));
        self.rows = named.chain(before).collect();
    }

    /// Events of students of a tenant, all sound.
    pub fn sound(&mut self, tenant: &str, count: u64) {
        let records = (0..count)
            .map(|_| {
                self.events += 1;
                let (n, at) = (self.events, self.now());
                behavior(tenant, &format!("student_{}", n % 97), n, at)
            })
            .collect();
        self.append(Raw::Behavior, topic::BEHAVIOR, tenant, records);
    }

    /// An event that happened some time.
    pub fn happened(&mut self, tenant: &str, student: &str, at: Millis) {
        self.events += 1;
        let made = behavior(tenant, student, self.events, at);
        self.append(Raw::Behavior, topic::BEHAVIOR, tenant, vec![made]);
    }

    fn event(&mut self, tenant: &str, random: &mut Random) -> Made {
        self.events += 1;
        let student = format!("student_{}", random.below(50));
        let sound = behavior(tenant, &student, self.events, self.now());
        match random.below(12) {
            0 => Made { value: sound.value.replace("\"event_type\"", "\"kind\""), is_row: false, ..sound },
            1 => Made { value: "{".to_owned(), is_row: false, ..sound },
            2 => Made { key: "no tenant".to_owned(), is_row: false, ..sound },
            3 => Made {
                value: sound.value.replace("\"page\":", &format!("\"page\":\"{}\",\"x\":", "y".repeat(11_000))),
                is_row: false,
                ..sound
            },
            _ => sound,
        }
    }

    fn service_event(&mut self, tenant: &str) -> Made {
        self.events += 1;
        let value = format!(
            r#"{{"tenant_id":"{tenant}","timestamp":"{}","service":"web","message":"started {}","metadata":{{"host":"a"}},"zone":1}}"#,
            self.now(),
            self.events
        );
        Made { key: format!("{tenant}/web"), value, headers: Vec::new(), is_row: true }
    }

    fn letter(&mut self, tenant: &str) -> Made {
        self.events += 1;
        let headers = vec![
            (letters::ERROR, "/student_id: `student_3` is too long".to_owned()),
            (letters::ERROR_CLASS, "schema".to_owned()),
            (letters::SOURCE_PARTITION, "1".to_owned()),
            (letters::SOURCE_OFFSET, self.events.to_string()),
            (letters::FAILED_AT, self.now().to_string()),
        ];
        Made { key: format!("{tenant}/student_3"), value: "student_3 {".to_owned(), headers, is_row: true }
    }

    pub fn bridge(&self, at: fn(&'static str)) -> Bridge {
        self.bridge_over(Arc::clone(&self.log) as Arc<dyn Log>, at)
    }

    fn bridge_over(&self, log: Arc<dyn Log>, at: fn(&'static str)) -> Bridge {
        Bridge::start(self.start(log, at)).unwrap()
    }

    /// A process that is not alone, with a log handle of its own.
    pub fn process(&self, number: u8) -> Bridge {
        let start = self.start(Arc::clone(&self.log) as Arc<dyn Log>, |_| {});
        Bridge::start(BridgeStart { writer: Uuid::custom([number; 16]), alone: false, ..start }).unwrap()
    }

    fn start(&self, log: Arc<dyn Log>, at: fn(&'static str)) -> BridgeStart {
        let limits = BridgeLimits { rows_max: 60, bytes_max: 1 << 20, every: Duration::from_millis(10) };
        BridgeStart {
            share: Share::All,
            log,
            server: Arc::clone(&self.server),
            making: self.making.clone(),
            writer: Uuid::custom([7; 16]),
            alone: true,
            limits,
            metrics: self.metrics.clone(),
            at,
        }
    }

    /// Waits until a bridge has copied everything that is there.
    pub fn until_level(&self, bridge: &Bridge) {
        let mut end = 0;
        for topic in [topic::BEHAVIOR, topic::EVENTS]
            .map(str::to_owned)
            .into_iter()
            .chain(topic::SOURCES.map(topic::dead_letters))
        {
            end += (0..2)
                .map(|partition| self.log.end_offset(&TopicPartition { topic: topic.clone(), partition }).unwrap())
                .sum::<u64>();
        }
        let started = Instant::now();
        loop {
            let status = bridge.status();
            if status.passed == end && status.records == 0 && status.state == SinkState::Live {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "not level after {PATIENCE:?}: {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What ClickHouse has; panics where something is there twice.
    pub fn found(&self, connection: &Connection) -> Rows {
        #[derive(clickhouse::Row, serde::Deserialize)]
        struct Place {
            topic: String,
            log_partition: u32,
            log_offset: u64,
        }
        let mut found = Rows::new();
        for raw in Raw::ALL {
            let topic = if raw == Raw::DeadLetters { "toString(source_topic)" } else { "''" };
            let sql = format!(
                "SELECT {topic} AS topic, log_partition, log_offset FROM {} ORDER BY ALL",
                connection.table(raw.name())
            );
            for Place { topic, log_partition, log_offset } in connection.rows::<Place>(&sql).unwrap() {
                let name = match topic.as_str() {
                    "" => raw.name(),
                    topic::BEHAVIOR => "letters of behavior",
                    _ => "letters of evaluations",
                };
                assert!(found.insert((name, log_partition, log_offset)), "twice: {name} {log_partition} {log_offset}");
            }
        }
        found
    }
}

/// A record, and whether it is a row.
pub struct Made {
    key: String,
    value: String,
    headers: Vec<(&'static str, String)>,
    is_row: bool,
}

fn behavior(tenant: &str, student: &str, n: u64, at: Millis) -> Made {
    let value = format!(
        r#"{{"tenant_id":"{tenant}","event_id":"e{n}-{student}","student_id":"{student}","event_type":"click","value":1.5,"occurred_at":"{at}","context":{{"page":"/u/{student}/home"}},"by":"{student}"}}"#
    );
    Made { key: format!("{tenant}/{student}"), value, headers: Vec::new(), is_row: true }
}

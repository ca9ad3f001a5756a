//! The bridge against the engine: each record that is a row is there once, whatever breaks and whenever we are killed; no
//! student's id gets there; and what is not as it should be is said.

use crate::engine::{access, connect};
use crate::faults::seeds;
use crate::proxy::{Proxy, Random};
use crate::said::{DAY_MS, Said, TENANTS, open, today};
use aulaflow_clickhouse::{
    Access, BRIDGE_CRASH_POINTS, Bridge, Clocks, Connection, Keeper, KeeperStart, Raw, RetentionMetrics, SinkState,
    TableLabels, remove_expired,
};
use aulaflow_log::Log;
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn never(_: &'static str) {}

/// A bridge's thread ends at the n-th point from now on; 0: not at all.
static UNTIL_CRASH: AtomicU32 = AtomicU32::new(0);

fn crash(point: &'static str) {
    assert!(BRIDGE_CRASH_POINTS.contains(&point), "{point}");
    let counted = UNTIL_CRASH.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    assert!(counted != Ok(1), "killed by the test at {point}");
}

#[test]
fn every_record_is_there_once() {
    let mut lost = 0;
    // On a busy machine it may take more of them until an answer is lost at the right moment.
    let usual = seeds(4);
    for (runs, seed) in usual.iter().copied().chain(101..=112).enumerate() {
        if runs >= usual.len() && lost > 0 {
            break;
        }
        let Some(access) = access() else { return };
        let started = Instant::now();
        lost += run(seed, &access);
        println!("seed {seed}: {:?}", started.elapsed());
    }
    assert!(lost > 0, "no answer was lost: nothing was tried");
}

/// A run; how many answers were lost after ClickHouse had done what was asked.
fn run(seed: u64, access: &Access) -> u32 {
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let address = access.url.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start(address, seed, access.timeout + Duration::from_millis(700)).unwrap();
    let mut said = Said::new(folder.path(), &Access { url: proxy.url.clone(), ..access.clone() });
    let mut bridge = said.bridge(crash);
    for _ in 0..60 {
        said.grow(&mut random);
        match random.below(12) {
            0 => proxy.down(true),
            1 | 2 => proxy.down(false),
            // In order, or as a crash would, in the middle of something.
            3 => {
                bridge.stop(Duration::from_millis(random.below(100)));
                bridge = said.bridge(crash);
            }
            4..=6 => {
                proxy.down(false);
                UNTIL_CRASH.store(1 + random.below(6) as u32, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(random.below(80)));
                bridge.stop(Duration::ZERO);
                bridge = said.bridge(crash);
            }
            // Another folding into days: other tokens for the same rows.
            7 => {
                let mut retention = (*said.making.retention).clone();
                retention.default.behavior = 30 + random.below(3) as u16;
                said.making.retention = Arc::new(retention);
                bridge.stop(Duration::ZERO);
                bridge = said.bridge(crash);
            }
            _ => {}
        }
    }
    UNTIL_CRASH.store(0, Ordering::Relaxed);
    proxy.heal();
    bridge.stop(Duration::ZERO);
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    let connection = connect(access);
    let found = said.found(&connection);
    assert!(found.len() > 200);
    assert_eq!(found, said.rows, "seed {seed}");
    proxy.done_and_lost()
}

#[derive(clickhouse::Row, serde::Deserialize)]
struct Text {
    text: String,
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    connection.rows::<Text>(sql).unwrap().into_iter().map(|row| row.text).collect()
}

#[test]
fn students_are_pseudonyms_wherever_a_record_names_its_own() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    let mut random = Random(3);
    (0..40).for_each(|_| said.grow(&mut random));
    said.sound("norte", 1);
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    let connection = connect(&access);
    for raw in Raw::ALL {
        let rows =
            texts(&connection, &format!("SELECT toString(tuple(*)) AS text FROM {}", connection.table(raw.name())));
        assert!(!rows.is_empty());
        for row in rows {
            assert!(!row.replace("student_id", "").contains("student_"), "{row}");
        }
    }
    let sql = format!(
        "SELECT arrayStringConcat([toString(tenant), replaceAll(event_id, toString(student), 'P'), toString(event_type), \
         toString(value), replaceAll(context, toString(student), 'P')], '|') AS text FROM {} WHERE log_offset = (SELECT \
         max(log_offset) FROM {table} WHERE tenant = 'norte') AND tenant = 'norte'",
        connection.table("behavior"),
        table = connection.table("behavior"),
    );
    let [row] = texts(&connection, &sql).try_into().unwrap();
    assert!(row.starts_with("norte|e") && row.ends_with(r#"-P|click|1.5|{"page":"/u/P/home","by":"P"}"#), "{row}");
    let sql =
        format!("SELECT DISTINCT concat(error_class, '|', error) AS text FROM {}", connection.table("dead_letters"));
    assert_eq!(texts(&connection, &sql), ["schema|/student_id: … is too long"]);
}

#[test]
fn what_the_log_has_removed_is_counted_and_another_log_is_refused() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    said.sound("norte", 50);
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    // While nothing is copied, the log's retention goes past.
    said.sound("norte", 30);
    said.wall.fetch_add(2 * DAY_MS, Ordering::Relaxed);
    let before = Millis(said.now().0 - DAY_MS);
    assert_eq!(said.log.retain(topic::BEHAVIOR, before).unwrap(), 80);
    said.sound("norte", 20);
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    assert_eq!(said.metrics.counted(Raw::Behavior, "lost"), 30);
    let connection = connect(&access);
    assert_eq!(said.found(&connection).len(), 70);
    // A log that was made anew begins at 0 again.
    said.log = open(&folder.path().join("another"));
    let bridge = said.bridge(never);
    let started = Instant::now();
    while bridge.status().state != SinkState::Stalled {
        assert!(started.elapsed() < PATIENCE, "{:?}", bridge.status());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(bridge.status().reason.unwrap().contains("it is another log"));
    bridge.stop(PATIENCE);
    assert_eq!(said.found(&connection).len(), 70);
}

/// Bytes of the rows of a table, once parts are merged.
fn disk_bytes(connection: &Connection, raw: Raw) -> u64 {
    connection.execute(&format!("OPTIMIZE TABLE {} FINAL", raw.name())).unwrap();
    connection
        .number(&format!(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = '{}' AND table = '{}' AND active",
            connection.database(),
            raw.name()
        ))
        .unwrap()
}

#[test]
fn after_sixty_days_the_last_thirty_are_there_and_the_disk_stays_flat() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    let mut retention = (*said.making.retention).clone();
    retention.tenants.insert("sur".to_owned(), crate::said::days(7, 30, 90));
    said.making.retention = Arc::new(retention.clone());
    let connection = connect(&access);
    let bridge = said.bridge(never);
    let first = today();
    let (mut removed, mut sizes) = (0, Vec::new());
    let count = |condition: &str| {
        connection.number(&format!("SELECT count() FROM {} WHERE {condition}", connection.table("behavior"))).unwrap()
    };
    for day in 0..60 {
        said.wall.store((first + day) * DAY_MS + 1_000, Ordering::Relaxed);
        for tenant in TENANTS {
            said.sound(tenant, 200);
        }
        said.until_level(&bridge);
        let now = u16::try_from(first + day).unwrap();
        for one in remove_expired(&connection, Raw::Behavior, now, &retention).unwrap() {
            assert!(one.expires.is_some() && one.bytes > 0);
            removed += one.rows;
        }
        let kept = 200 * ((day + 1).min(30) + (day + 1).min(7)) as u64;
        assert_eq!(count("1"), kept, "day {day}");
        if day % 6 == 5 {
            sizes.push(disk_bytes(&connection, Raw::Behavior));
        }
    }
    assert_eq!(removed + count("1"), 60 * 400);
    let of_log = format!(
        "SELECT sum(rows) FROM {} FINAL WHERE of_table = 'behavior' AND gone = 1",
        connection.table("retention_log")
    );
    assert_eq!(connection.number(&of_log).unwrap(), removed);
    let (least, most) = (sizes[5..].iter().min().unwrap(), sizes[5..].iter().max().unwrap());
    println!("bytes on the disk after each sixth day: {sizes:?}");
    assert!(most * 100 < least * 110, "{least} to {most} bytes");

    // A shorter retention is for rows that are there, too.
    retention.tenants.insert("norte".to_owned(), crate::said::days(3, 30, 90));
    let now = u16::try_from(first + 59).unwrap();
    let gone = remove_expired(&connection, Raw::Behavior, now, &retention).unwrap();
    assert_eq!(gone.iter().map(|one| (one.expires, one.rows)).collect::<Vec<_>>(), [(None, 27 * 200)]);
    assert_eq!((count("tenant = 'norte'"), count("tenant = 'sur'")), (600, 1_400));
    assert!(remove_expired(&connection, Raw::Behavior, now, &retention).unwrap().is_empty());
    bridge.stop(PATIENCE);
}

#[test]
fn on_the_event_clock_days_are_those_of_the_events() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    // 2013-10-01.
    let first = 15_979;
    let clock = Arc::new(AtomicI64::new(i64::MIN));
    let at = Arc::clone(&clock);
    let events = move || Some(at.load(Ordering::Relaxed)).filter(|at| *at > i64::MIN).map(Millis);
    said.making.clocks = Clocks { events: Some(Arc::new(events)), ..said.making.clocks.clone() };
    for day in 0..60 {
        said.happened("norte", "s1", Millis((first + day) * DAY_MS));
    }
    // Nothing is known to be over before the clock stands somewhere.
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    let connection = connect(&access);
    let behavior = connection.table("behavior");
    let count = || connection.number(&format!("SELECT count() FROM {behavior}")).unwrap();
    assert_eq!(count(), 60);
    clock.store((first + 59) * DAY_MS, Ordering::Relaxed);
    let now = u16::try_from(first + 59).unwrap();
    let removed = remove_expired(&connection, Raw::Behavior, now, &said.making.retention).unwrap();
    assert_eq!((removed.len(), count()), (30, 30));
    // ClickHouse's own clock, which is years later, takes nothing away.
    disk_bytes(&connection, Raw::Behavior);
    assert_eq!(count(), 30);
    // What comes too late is not copied.
    for day in 0..60 {
        said.happened("norte", "s1", Millis((first + day) * DAY_MS));
    }
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    assert_eq!((count(), said.metrics.counted(Raw::Behavior, "expired")), (60, 30));
}

/// Where no instance runs, ClickHouse removes rows by itself, some days later.
#[test]
fn rows_that_nobody_removes_go_by_themselves() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    let real = said.wall.load(Ordering::Relaxed);
    for days in [100, 36, 20, 0] {
        said.wall.store(real - days * DAY_MS, Ordering::Relaxed);
        said.sound("norte", 10);
        let bridge = said.bridge(never);
        said.until_level(&bridge);
        bridge.stop(PATIENCE);
    }
    let connection = connect(&access);
    disk_bytes(&connection, Raw::Behavior);
    let count = format!("SELECT count() FROM {}", connection.table("behavior"));
    // Of 36 days ago: the retention is over, ClickHouse's own limit is not.
    assert_eq!(connection.number(&count).unwrap(), 30);
}

/// As a server leaves it that crashed between remembering a token and having the rows.
#[test]
fn a_token_that_is_remembered_without_its_rows_swallows_nothing() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    said.sound("norte", 40);
    // Killed when everything was inserted and nothing was said.
    fn at_the_end(point: &'static str) {
        assert!(point != "clickhouse.bridge.done", "killed by the test");
    }
    let bridge = said.bridge(at_the_end);
    let connection = connect(&access);
    let started = Instant::now();
    let count = format!("SELECT count() FROM {}", connection.table("behavior"));
    while connection.number(&count).unwrap_or(0) < 40 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    bridge.stop(PATIENCE);
    connection.execute("ALTER TABLE behavior DELETE WHERE log_offset < 30 SETTINGS mutations_sync = 2").unwrap();
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    assert_eq!(said.found(&connection), said.rows);
}

#[test]
fn a_keeper_removes_what_is_over_with_each_new_day() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &access);
    said.sound("norte", 40);
    let bridge = said.bridge(never);
    said.until_level(&bridge);
    bridge.stop(PATIENCE);
    let metrics = RetentionMetrics::default();
    let keeper = Keeper::start(KeeperStart {
        server: Arc::clone(&said.server),
        retention: Arc::clone(&said.making.retention),
        clocks: said.making.clocks.clone(),
        metrics: metrics.clone(),
        look_every: Duration::from_millis(10),
    })
    .unwrap();
    let connection = connect(&access);
    let count = format!("SELECT count() FROM {}", connection.table("behavior"));
    for (days, left) in [(29, 40), (1, 0)] {
        said.wall.fetch_add(days * DAY_MS, Ordering::Relaxed);
        let started = Instant::now();
        while connection.number(&count).unwrap() != left {
            assert!(started.elapsed() < PATIENCE, "after {days} days");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let labels = TableLabels { table: Raw::Behavior.name() };
    let started = Instant::now();
    while metrics.rows.get_or_create(&labels).get() != 40 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    keeper.stop();
    assert_eq!(metrics.failures.get(), 0);
}

#[test]
fn a_process_that_takes_over_waits_until_the_other_one_has_noticed() {
    let Some(access) = access() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new(folder.path(), &Access { timeout: Duration::from_secs(1), ..access.clone() });
    said.sound("norte", 100);
    let first = said.process(1);
    said.until_level(&first);
    let second = said.process(2);
    let until = |bridge: &Bridge, state: SinkState| {
        let started = Instant::now();
        while bridge.status().state != state {
            assert!(started.elapsed() < PATIENCE, "{:?}", bridge.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // Both may write until the first one has looked.
    let mut n = 0;
    while first.status().state != SinkState::Ousted {
        said.sound("sur", 1);
        n += 1;
        assert!(n < 60_000, "{:?}", first.status());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(first.status().reason.unwrap().contains("another process copies partition"));
    until(&second, SinkState::Live);
    said.until_level(&second);
    let connection = connect(&access);
    assert_eq!(said.found(&connection), said.rows);
    first.stop(Duration::ZERO);
    second.stop(PATIENCE);
    // The next one goes on where it ended.
    said.sound("norte", 10);
    let third = said.process(3);
    until(&third, SinkState::Live);
    said.until_level(&third);
    third.stop(PATIENCE);
    assert_eq!(said.found(&connection), said.rows);
}

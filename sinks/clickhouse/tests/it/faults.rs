//! Whatever breaks between us and ClickHouse, and whenever we are killed: each difference is there once.

use crate::engine::{access, connect};
use crate::process::{Checkpoint, Process, Setting};
use crate::proxy::{Proxy, Random};
use crate::world::{TABLES, World, texts};
use aulaflow_clickhouse::{Access, Connection, PseudonymKeys};
use aulaflow_model::instant::Millis;
use std::time::{Duration, Instant};

const EPOCHS: usize = 70;
const PATIENCE: Duration = Duration::from_secs(60);

/// How many seeds: `AULAFLOW_SEEDS=100` for more, `AULAFLOW_SEED=7` for that one.
pub fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("AULAFLOW_SEED"), number("AULAFLOW_SEEDS")) {
        (Some(one), _) => vec![one],
        (None, many) => (1..=many.unwrap_or(usual)).collect(),
    }
}

#[test]
fn every_difference_is_there_once() {
    let mut lost = 0;
    for seed in seeds(10) {
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
    let world = World::new(&mut random, EPOCHS);
    let folder = tempfile::tempdir().unwrap();
    let address = access.url.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start(address, seed, access.timeout + Duration::from_millis(700)).unwrap();
    let through = Access { url: proxy.url.clone(), ..access.clone() };
    let setting = Setting::new(&through, &folder.path().join("keys"));
    let connection = connect(access);
    let snapshots = live(&mut random, &world, &setting, &folder, (&proxy, &connection));
    check(&connection, &world, &setting.keys, &snapshots);
    proxy.done_and_lost()
}

/// Plays the world; epochs of which everything was recorded when they were the last.
fn live(
    random: &mut Random,
    world: &World,
    setting: &Setting,
    folder: &tempfile::TempDir,
    (proxy, connection): (&Proxy, &Connection),
) -> Vec<usize> {
    let mut generation = 0;
    let dir = |generation: u32| folder.path().join(format!("store{generation}"));
    let mut checkpoints = vec![Checkpoint { epoch: 0, mark: None }];
    let mut snapshots = Vec::new();
    let mut process = Process::start(setting, &dir(0), world, &checkpoints[0]);
    process.caught_up();
    let mut epoch = 0;
    while epoch < world.last() - 2 {
        process.go(world, epoch, epoch + 1);
        epoch += 1;
        match random.below(24) {
            0..=4 => {
                let (checkpoint, whole) = process.checkpoint(world, epoch, PATIENCE);
                checkpoints.push(checkpoint);
                if whole {
                    snapshots.push(epoch);
                }
            }
            5 => proxy.down(true),
            6 | 7 => proxy.down(false),
            8 => {
                checkpoints.push(process.checkpoint(world, epoch, PATIENCE).0);
                process.stop(Duration::from_millis(random.below(300)));
                process = Process::start(setting, &dir(generation), world, checkpoints.last().unwrap());
                process.caught_up();
            }
            9 | 10 => {
                let all_sent = process.kill();
                // Now and then the folder is gone, as on another machine, with what was not sent: it is recorded later then.
                if random.below(3) == 0 {
                    generation += 1;
                    if !all_sent {
                        snapshots.clear();
                    }
                }
                let back = random.below(2) as usize;
                let from = checkpoints[checkpoints.len().saturating_sub(1 + back)].clone();
                checkpoints.truncate(checkpoints.len().saturating_sub(back).max(1));
                process = Process::start(setting, &dir(generation), world, &from);
                replay(random, world, &mut process, from.epoch, epoch);
            }
            _ => {}
        }
    }
    proxy.heal();
    process.go(world, epoch, world.last() - 1);
    process.until_whole(PATIENCE);
    process.go(world, world.last() - 1, world.last());
    process.checkpoint(world, world.last(), PATIENCE);
    until_days_are_over(connection, world, &setting.keys);
    assert!(process.stop(PATIENCE), "something was not sent");
    snapshots
}

/// What the log has after the checkpoint is read again, cut into other epochs.
fn replay(random: &mut Random, world: &World, process: &mut Process, mut from: usize, to: usize) {
    while from < to {
        let next = to.min(from + 1 + random.below(3) as usize);
        process.go(world, from, next);
        from = next;
    }
    process.caught_up();
}

#[derive(clickhouse::Row, serde::Deserialize)]
struct Text {
    text: String,
}

fn select(connection: &Connection, sql: &str) -> Vec<String> {
    connection.rows::<Text>(sql).unwrap().into_iter().map(|row| row.text).collect()
}

fn present(connection: &Connection, (table, columns): (&str, &str)) -> Vec<String> {
    let from = connection.table(table);
    select(connection, &format!("SELECT arrayStringConcat([{columns}], '|') AS text FROM {from} FINAL ORDER BY text"))
}

/// What is recorded by day is recorded some time after its day.
pub fn until_days_are_over(connection: &Connection, world: &World, keys: &PseudonymKeys) {
    let [.., expected] = texts(world.states.last().unwrap(), keys);
    let started = Instant::now();
    while started.elapsed() < PATIENCE && present(connection, TABLES[2]) != expected {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What ClickHouse holds is what the world shows, now and as of earlier epochs; nothing is there twice.
pub fn check(connection: &Connection, world: &World, keys: &PseudonymKeys, snapshots: &[usize]) {
    let select = |sql: &str| select(connection, sql);
    let expected = texts(world.states.last().unwrap(), keys);
    for ((table, columns), expected) in TABLES.iter().zip(&expected) {
        let text = format!("arrayStringConcat([{columns}], '|') AS text");
        let changes = connection.table(&format!("{table}_changes"));
        assert_eq!(&present(connection, (table, columns)), expected, "{table}");
        let sum = |until: &str| {
            format!(
                "SELECT text FROM (SELECT {text}, diff FROM {changes} {until}) GROUP BY text HAVING sum(diff) > 0 ORDER BY text"
            )
        };
        assert_eq!(&select(&sum("")), expected, "{table}_changes");
        let key = if *table == "grades" { "tenant, student, subject, period" } else { "tenant, student" };
        let twice = format!("SELECT toUInt64(count() - uniqExact({key}, version, diff)) FROM {changes}");
        assert_eq!(connection.number(&twice).unwrap(), 0, "{table}: a difference is there twice");
        let newest = connection.number(&format!("SELECT max(version) FROM {changes}")).unwrap();
        let oldest = connection.number(&format!("SELECT min(version) FROM {changes}")).unwrap();
        for part in 1..10 {
            let until = oldest + (newest - oldest) / 10 * part;
            let wrong = format!(
                "SELECT count() FROM (SELECT {key}, sum(diff) AS n FROM {changes} WHERE version <= {until} GROUP BY {key} HAVING \
                 n NOT IN (0, 1))"
            );
            assert_eq!(connection.number(&wrong).unwrap(), 0, "{table}: as of version {until}");
        }
        if *table != "daily" {
            for epoch in snapshots.iter().rev().take(10) {
                let Millis(clock) = world.times[*epoch].clock();
                let as_of = sum(&format!("WHERE clock <= fromUnixTimestamp64Milli({clock}, 'UTC')"));
                let place = TABLES.iter().position(|(name, _)| name == table).unwrap();
                assert_eq!(select(&as_of), texts(&world.states[*epoch], keys)[place], "{table} as of epoch {epoch}");
            }
        }
    }
}

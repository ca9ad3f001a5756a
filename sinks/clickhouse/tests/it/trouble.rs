//! One trouble at a time: what the sender says of it, and that everything is there once it is over.

use crate::engine::{VIEWS, access, connect, tables};
use crate::faults::{check, until_days_are_over};
use crate::process::{Checkpoint, Process, Setting};
use crate::proxy::{Proxy, Random};
use crate::world::World;
use aulaflow_clickhouse::{Access, Block, Outbox, SinkState, TablesBy, migrate};
use aulaflow_model::ids::{PeriodId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_serving::LettingGo;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const START: Checkpoint = Checkpoint { epoch: 0, mark: None };

fn world(seed: u64) -> World {
    World::new(&mut Random(seed), 30)
}

fn begin(setting: &Setting, dir: &Path, world: &World) -> Process {
    let process = Process::start(setting, dir, world, &START);
    process.caught_up();
    process
}

/// Waits until ClickHouse has everything that was told.
fn until_sent(process: &Process) {
    let started = Instant::now();
    while process.status().blocks > 0 {
        assert!(started.elapsed() < PATIENCE, "{:?}", process.status());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Plays the rest of a world, ends the process in order, and compares.
fn end(mut process: Process, world: &World, from: usize, setting: &Setting, access: &Access) {
    process.go(world, from, world.last() - 1);
    process.until_whole(PATIENCE);
    process.go(world, world.last() - 1, world.last());
    process.checkpoint(world, world.last(), PATIENCE);
    until_days_are_over(&connect(access), world, &setting.keys);
    assert!(process.stop(PATIENCE), "something was not sent");
    check(&connect(access), world, &setting.keys, &[]);
}

#[test]
fn tables_that_nobody_has_made_are_waited_for() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(1));
    let mut setting = Setting::new(&access, folder.path());
    setting.server = Setting::server(&access, TablesBy::Somebody);
    let process = begin(&setting, &folder.path().join("store"), &world);
    let status = process.until(SinkState::Stalled, PATIENCE);
    assert!(status.reason.unwrap().contains("run `aulaflow clickhouse migrate`"));
    migrate(&connect(&access), &tables(VIEWS), &[], "").unwrap();
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 0, &setting, &access);
}

#[test]
fn a_column_that_somebody_has_dropped_stalls_the_sink_until_it_is_back() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(2));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    let connection = connect(&access);
    connection.execute("ALTER TABLE grades_changes DROP COLUMN complete").unwrap();
    process.go(&world, 0, 20);
    let status = process.until(SinkState::Stalled, PATIENCE);
    assert!(status.reason.unwrap().contains("complete"));
    assert!(status.blocks > 0);
    connection.execute("ALTER TABLE grades_changes ADD COLUMN complete Bool AFTER passing").unwrap();
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 20, &setting, &access);
}

/// Bytes of one type are never taken for those of another.
#[test]
fn a_column_whose_type_somebody_has_changed_stalls_the_sink_until_it_is_back() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(15));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    let connection = connect(&access);
    let retype = |r#type: &str| {
        let sql = format!("ALTER TABLE grades_changes MODIFY COLUMN evaluations_count {type}");
        connection.execute(&sql).unwrap();
    };
    // As long as the right one: nothing else would notice.
    retype("Int32");
    process.go(&world, 0, 20);
    let status = process.until(SinkState::Stalled, PATIENCE);
    assert!(status.reason.as_ref().unwrap().contains("evaluations_count"), "{status:?}");
    retype("UInt32");
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 20, &setting, &access);
}

#[test]
fn a_wrong_password_is_said_and_a_server_that_is_away_is_waited_for() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(3));
    let wrong = Access { password: Some("wrong".to_owned()), ..access.clone() };
    let process = begin(&Setting::new(&wrong, folder.path()), &folder.path().join("store"), &world);
    assert!(process.until(SinkState::Stalled, PATIENCE).reason.unwrap().contains("Authentication failed"));
    process.kill();
    let away = Access { url: "http://127.0.0.1:9".to_owned(), ..access.clone() };
    let process = begin(&Setting::new(&away, folder.path()), &folder.path().join("store"), &world);
    assert!(process.until(SinkState::Retrying, PATIENCE).reason.unwrap().contains("refused"));
    process.kill();
    let setting = Setting::new(&access, folder.path());
    end(begin(&setting, &folder.path().join("store"), &world), &world, 0, &setting, &access);
}

#[test]
fn an_outage_holds_the_dataflow_back_and_loses_nothing() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(4));
    let address = access.url.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start(address, 4, Duration::ZERO).unwrap();
    proxy.heal();
    let mut setting = Setting::new(&Access { url: proxy.url.clone(), ..access.clone() }, folder.path());
    setting.limits.outbox_bytes_max = 2_000;
    setting.limits.queue_rows_max = 4;
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    proxy.down(true);
    let recorder = process.recorder();
    let (told, telling) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (process, world) = (&mut process, &world);
        scope.spawn(move || {
            process.go_each(world, 0, 25);
            told.send(()).unwrap();
        });
        // The outbox is full, and whoever tells waits.
        assert!(telling.recv_timeout(Duration::from_millis(500)).is_err());
        assert!(recorder.is_full());
        proxy.down(false);
        telling.recv_timeout(PATIENCE).unwrap();
    });
    end(process, &world, 25, &setting, &access);
}

/// As a server leaves it that crashed between remembering a token and having the rows.
#[test]
fn a_token_that_is_remembered_without_its_rows_swallows_nothing() {
    remembered_without_rows(5, |table| table.ends_with("_changes"));
}

#[test]
fn nor_does_it_swallow_the_present() {
    remembered_without_rows(7, |table| !table.ends_with("_changes"));
}

/// The server has the token of the first block that waits of such a table, and none of its rows.
fn remembered_without_rows(seed: u64, of: fn(&str) -> bool) {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(seed));
    let address = access.url.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start(address, seed, Duration::ZERO).unwrap();
    proxy.heal();
    let setting = Setting::new(&Access { url: proxy.url.clone(), ..access.clone() }, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    proxy.down(true);
    process.go(&world, 0, 20);
    process.checkpoint(&world, 20, PATIENCE);
    let outbox: Outbox = process.recorder().outbox();
    let connection = connect(&access);
    let insert = |block: &Block| {
        connection.insert(&block.table, &block.columns, &block.token, &Bytes::from(block.body.clone())).unwrap();
    };
    let mut block = outbox.first().unwrap().unwrap();
    while !of(&block.table) {
        insert(&block);
        outbox.done(block.number).unwrap();
        block = outbox.first().unwrap().unwrap();
    }
    insert(&block);
    // The only one of its table so far.
    let table = connection.table(&block.table);
    connection.execute(&format!("ALTER TABLE {table} DELETE WHERE true SETTINGS mutations_sync = 2")).unwrap();
    // The token works: the same again does nothing.
    insert(&block);
    assert_eq!(connection.number(&format!("SELECT count() FROM {table}")).unwrap(), 0);
    proxy.down(false);
    end(process, &world, 20, &setting, &access);
}

#[test]
fn a_process_that_does_not_know_that_it_is_ousted_writes_nothing_more() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(6));
    let access = Access { timeout: Duration::from_secs(1), ..access };
    let setting = || {
        let setting = Setting::new(&access, &folder.path().join("keys"));
        Setting { share: Share::Partition(3), alone: false, ..setting }
    };
    let (first_setting, second_setting) = (setting(), setting());
    let mut first = begin(&first_setting, &folder.path().join("first"), &world);
    first.until(SinkState::Live, PATIENCE);
    first.go(&world, 0, 10);
    first.checkpoint(&world, 10, PATIENCE);
    // Another process gets the partition, and the first goes on as if nothing were.
    let mut second = begin(&second_setting, &folder.path().join("second"), &world);
    first.go(&world, 10, 12);
    second.until(SinkState::Rebuilding, PATIENCE);
    second.until(SinkState::Live, PATIENCE);
    first.go(&world, 12, 20);
    let status = first.until(SinkState::Ousted, PATIENCE);
    assert!(status.reason.unwrap().contains("another process has these partitions"));
    second.go(&world, 0, 15);
    first.kill();
    end(second, &world, 15, &second_setting, &access);
}

/// The local store went to work since nobody answered, and was not the one that wrote last: it is made again meanwhile.
#[test]
fn a_store_that_is_not_the_last_writers_is_made_again_at_work() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(7));
    let address = access.url.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start(address, 7, Duration::ZERO).unwrap();
    proxy.heal();
    let setting = Setting::new(&access, folder.path());
    let far = Setting::new(&Access { url: proxy.url.clone(), ..access.clone() }, folder.path());
    let store = folder.path().join("store");
    let mut first = begin(&far, &store, &world);
    first.until(SinkState::Live, PATIENCE);
    first.go(&world, 0, 8);
    first.until_whole(PATIENCE);
    let (checkpoint, _) = first.checkpoint(&world, 8, PATIENCE);
    assert!(first.stop(PATIENCE));
    // Somebody has put the folder aside, and back again later.
    let mut other = begin(&setting, &folder.path().join("other"), &world);
    other.go(&world, 0, 12);
    other.until_whole(PATIENCE);
    other.checkpoint(&world, 12, PATIENCE);
    assert!(other.stop(PATIENCE));

    proxy.down(true);
    let mut first = Process::start(&far, &store, &world, &checkpoint);
    first.caught_up();
    first.go_each(&world, 8, 14);
    first.until_whole(PATIENCE);
    assert!(first.recorder().outbox().blocks() > 0, "it goes on by itself");
    proxy.down(false);
    first.go_each(&world, 14, 18);
    first.until(SinkState::Live, PATIENCE);
    end(first, &world, 18, &far, &access);
}

/// Grades that are in ClickHouse alone are not taken for gone by the comparison after that.
#[test]
fn grades_that_left_the_memory_stay_when_the_store_is_made_again() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(9));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.go(&world, 0, 12);
    process.until_whole(PATIENCE);
    process.checkpoint(&world, 12, PATIENCE);
    until_sent(&process);
    let students = process.store.part_of_students(0, 1);
    let profiles = students.iter().filter_map(|(tenant, student)| process.store.profile(tenant, student));
    let mut past: HashMap<TenantId, HashSet<PeriodId>> = HashMap::new();
    for (profile, (tenant, _)) in profiles.zip(&students) {
        past.entry(tenant.clone()).or_default().extend(profile.grades().iter().map(|grade| grade.period.clone()));
    }
    assert!(process.store.let_go(LettingGo { past, until: Millis(i64::MAX) }) > 0);
    // Workers let go between two changes.
    process.go(&world, 12, 12);
    assert!(process.store.grades_let_go() > 0);
    let connection = connect(&access);
    let other = format!("INSERT INTO {} SELECT 'all', generateUUIDv4(), false, now64(6)", connection.table("writers"));
    connection.execute(&other).unwrap();
    process.until(SinkState::Rebuilding, PATIENCE);
    process.until(SinkState::Live, PATIENCE);
    process.until_whole(PATIENCE);
    end(process, &world, 12, &setting, &access);
}

#[test]
fn tables_that_were_replaced_are_filled_again() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(8));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.go(&world, 0, 10);
    process.until_whole(PATIENCE);
    process.until(SinkState::Live, PATIENCE);
    // What comes into the new table is then from the comparison alone.
    process.checkpoint(&world, 10, PATIENCE);
    until_sent(&process);
    let replaced = migrate(&connect(&access), &tables(VIEWS), &["grades".to_owned()], "1").unwrap();
    assert!(replaced.steps.iter().any(|step| step == "renamed the table grades to grades_old_1"), "{replaced:?}");
    // The process's own two writers, and the one that says that tables were replaced.
    let writers = format!("SELECT uniqExact(writer) FROM {}", connect(&access).table("writers"));
    let started = Instant::now();
    while connect(&access).number(&writers).unwrap() < 3 {
        assert!(started.elapsed() < PATIENCE, "it is not noticed: {:?}", process.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    process.until(SinkState::Live, PATIENCE);
    process.go(&world, 10, 20);
    end(process, &world, 20, &setting, &access);
}

/// As a disk that is full says it, whose room comes back.
#[test]
fn a_full_disk_of_the_server_is_waited_for() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(9));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    let connection = connect(&access);
    let free = |bytes: u64| {
        let setting = format!("min_free_disk_bytes_to_perform_insert = {bytes}");
        connection.execute(&format!("ALTER TABLE grades_changes MODIFY SETTING {setting}")).unwrap();
    };
    free(1 << 60);
    process.go(&world, 0, 20);
    let status = process.until(SinkState::Retrying, PATIENCE);
    assert!(status.reason.as_ref().unwrap().contains("NOT_ENOUGH_SPACE"), "{status:?}");
    assert!(status.blocks > 0);
    free(0);
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 20, &setting, &access);
}

/// A server's clock that was an hour ahead, and was set right: what was said then is not the last word.
#[test]
fn a_clock_that_goes_back_does_not_oust_anybody() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(10));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    process.go(&world, 0, 10);
    process.until_whole(PATIENCE);
    process.checkpoint(&world, 10, PATIENCE);
    assert!(process.stop(PATIENCE));
    let ahead = "INSERT INTO writers SELECT share, writer, closed, now64(6) + INTERVAL 1 HOUR FROM writers ORDER BY at DESC LIMIT 1";
    connect(&access).execute(ahead).unwrap();
    // Another one comes, and is the last from then on.
    let mut other = begin(&setting, &folder.path().join("other"), &world);
    other.until(SinkState::Live, PATIENCE);
    other.go(&world, 0, 20);
    let writers = format!("SELECT uniqExact(writer) FROM {}", connect(&access).table("writers"));
    let before = connect(&access).number(&writers).unwrap();
    assert_eq!(before, 2);
    let last = "SELECT count() FROM (SELECT argMax(writer, at) AS last, argMin(writer, at) AS first FROM T) WHERE last != first";
    assert_eq!(
        connect(&access)
            .number(&last.replace("FROM T", &format!("FROM {}", connect(&access).table("writers"))))
            .unwrap(),
        1
    );
    end(other, &world, 20, &setting, &access);
    assert_eq!(connect(&access).number(&writers).unwrap(), before);
}

/// A writer that had the share before says that it has closed, long after ours has begun: ours goes on.
#[test]
fn a_late_close_of_a_former_writer_ousts_nobody() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(11));
    let setting = Setting { alone: false, ..Setting::new(&access, folder.path()) };
    let mut former = begin(&setting, &folder.path().join("former"), &world);
    former.until(SinkState::Live, PATIENCE);
    former.go(&world, 0, 10);
    former.until_whole(PATIENCE);
    former.checkpoint(&world, 10, PATIENCE);
    assert!(former.stop(PATIENCE));
    let connection = connect(&access);
    let writers = connection.table("writers");
    let mut present = begin(&setting, &folder.path().join("present"), &world);
    present.until(SinkState::Live, PATIENCE);
    let late = format!(
        "INSERT INTO {writers} SELECT share, writer, true, now64(6) + INTERVAL 1 SECOND FROM {writers} \
         WHERE closed ORDER BY at LIMIT 1"
    );
    connection.execute(&late).unwrap();
    present.go(&world, 0, 20);
    // It looks again before it is done: an end says so of what it has begun.
    end(present, &world, 20, &setting, &access);
    let closed = format!("SELECT uniqExactIf(writer, closed) FROM {writers}");
    assert_eq!(connection.number(&closed).unwrap(), 2, "the present one has closed as well");
}

/// The same content after its rows were deleted, as an erasure does: tokens are of blocks, not of contents.
#[test]
fn rows_that_were_deleted_can_be_inserted_again() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(11));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    process.go(&world, 0, 20);
    process.until_whole(PATIENCE);
    process.checkpoint(&world, 20, PATIENCE);
    assert!(process.stop(PATIENCE));
    let connection = connect(&access);
    for table in ["grades", "grades_changes", "often", "often_changes", "daily", "daily_changes"] {
        connection.execute(&format!("ALTER TABLE {table} DELETE WHERE true SETTINGS mutations_sync = 2")).unwrap();
    }
    connection.execute("TRUNCATE TABLE writers").unwrap();
    // The store finds that ClickHouse has nothing of it, and everything is sent again.
    let process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 0, &setting, &access);
}

/// Tables of an earlier version, with rows, that a newer one migrates and goes on with.
#[test]
fn tables_of_an_earlier_version_are_migrated_and_gone_on_with() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(12));
    let connection = connect(&access);
    let mut setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    process.go(&world, 0, 12);
    process.until_whole(PATIENCE);
    process.checkpoint(&world, 12, PATIENCE);
    assert!(process.stop(PATIENCE));
    // As they were before this column, and before the numbered files that came after the first.
    for table in ["grades", "grades_changes"] {
        connection.execute(&format!("ALTER TABLE {table} DROP COLUMN score_decimals")).unwrap();
    }
    connection.execute("ALTER TABLE migrations DELETE WHERE number > 1 SETTINGS mutations_sync = 2").unwrap();
    let rows = |table: &str| connection.number(&format!("SELECT count() FROM {}", connection.table(table))).unwrap();
    let before = rows("grades_changes");
    assert!(before > 0);

    setting.server = Setting::server(&access, TablesBy::Somebody);
    let process = begin(&setting, &folder.path().join("new"), &world);
    let stalled = process.until(SinkState::Stalled, PATIENCE).reason.unwrap();
    assert!(
        stalled.contains("grades_changes: it has no column score_decimals: run `aulaflow clickhouse migrate`"),
        "{stalled}"
    );
    let steps = migrate(&connection, &tables(VIEWS), &[], "").unwrap().steps;
    assert!(steps.contains(&"changed the table grades_changes".to_owned()), "{steps:?}");
    assert_eq!(migrate(&connection, &tables(VIEWS), &[], "").unwrap().steps, Vec::<String>::new());
    assert_eq!(rows("grades_changes"), before, "rows stay");
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 0, &setting, &access);
    assert!(rows("grades_changes") > before);
}

/// A server that refuses everything in the same words.
fn refusing(words: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It ends with the tests.
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let answer = format!(
                "HTTP/1.1 500 Internal Server Error\r\nX-ClickHouse-Exception-Code: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{words}",
                words.len()
            );
            let mut request = [0; 65_536];
            // Whoever hangs up is refused, too.
            let _ = (&client).read(&mut request).and_then(|_| (&client).write_all(answer.as_bytes()));
        }
    });
    url
}

#[test]
fn what_a_server_refuses_is_waited_for_or_told_to_somebody() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(13);
    let refusals = [
        ("Code: 164. DB::Exception: aula: Cannot execute query in readonly mode. (READONLY)", SinkState::Stalled),
        ("Code: 497. DB::Exception: aula: Not enough privileges. (ACCESS_DENIED)", SinkState::Stalled),
        (
            "Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)",
            SinkState::Retrying,
        ),
        ("Code: 252. DB::Exception: Too many parts. (TOO_MANY_PARTS)", SinkState::Retrying),
        ("<html>502 Bad Gateway</html>", SinkState::Retrying),
    ];
    for (place, (words, state)) in refusals.into_iter().enumerate() {
        let access = Access {
            url: refusing(words),
            database: "aula".to_owned(),
            user: None,
            password: None,
            timeout: Duration::from_secs(5),
        };
        let process = begin(&Setting::new(&access, folder.path()), &folder.path().join(place.to_string()), &world);
        let status = process.until(state, PATIENCE);
        assert!(status.reason.as_ref().unwrap().contains(words), "{status:?}");
        process.kill();
    }
}

/// Tables that are replaced just before a process ends: the next start knows.
#[test]
fn tables_that_were_replaced_before_an_end_are_filled_by_the_next_start() {
    let Some(access) = access() else { return };
    let (folder, world) = (tempfile::tempdir().unwrap(), world(14));
    let setting = Setting::new(&access, folder.path());
    let mut process = begin(&setting, &folder.path().join("store"), &world);
    process.until(SinkState::Live, PATIENCE);
    process.go(&world, 0, 10);
    process.until_whole(PATIENCE);
    let (checkpoint, _) = process.checkpoint(&world, 10, PATIENCE);
    migrate(&connect(&access), &tables(VIEWS), &["grades".to_owned()], "1").unwrap();
    process.stop(Duration::from_secs(1));
    let process = Process::start(&setting, &folder.path().join("store"), &world, &checkpoint);
    process.caught_up();
    process.until(SinkState::Live, PATIENCE);
    end(process, &world, 10, &setting, &access);
}

//! What is made for analysts from the command line. `aulaflow lake export` from the embedded ClickHouse into a folder: what is written, read back
//! with ClickHouse itself and, where there is one, with DuckDB; and what is written when it is repeated. The views of a server, and who
//! may read them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use aulaflow_clickhouse::{Access, Connection, Stop, Tables, migrate};
use aulaflow_embedded_clickhouse::locate;
use aulaflow_plan::{Source, compile, parse_runtime};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const DAY: u64 = 86_400_000;
/// 30 January 2026.
const START: u64 = 1_769_731_200_000;

/// A ClickHouse by itself, which ends with the test.
struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Path) -> Serving {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aulaflow"))
        .current_dir(folder)
        .args(["clickhouse", "serve", "--data-dir", "data/clickhouse"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.contains("http://")).expect("it says its URL");
    let url = line[line.find("http://").unwrap()..].chars();
    Serving { child, url: url.take_while(|c| c.is_ascii_alphanumeric() || ":/.".contains(*c)).collect() }
}

struct World {
    connection: Connection,
    serving: Serving,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Option<Self> {
        if let Err(reason) = locate::library(None) {
            println!("SKIPPED: {reason}");
            eprintln!("SKIPPED: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let runtime = "[server]\nlisten = \"127.0.0.1:0\"\n[[auth.key]]\nid = \"test\"\nalgorithm = \"HS256\"\n\
                       secret = \"a-secret-of-these-tests-that-is-long-enough\"\ndevelopment = true\n\
                       [clickhouse]\nkind = \"embedded\"\n";
        std::fs::write(folder.path().join("aulaflow.toml"), runtime).unwrap();
        let serving = serve(folder.path());
        let password = std::fs::read_to_string(folder.path().join("data/clickhouse/password")).unwrap();
        let access = Access {
            url: serving.url.clone(),
            database: "aula".to_owned(),
            user: Some("aula".to_owned()),
            password: Some(password.trim().to_owned()),
            timeout: Duration::from_secs(60),
        };
        let connection = Connection::new(&access, &Stop::default()).unwrap();
        let (file, _) = parse_runtime(&Source::new("test.toml", ""));
        let plan = compile(file.unwrap(), &[], &[]).unwrap();
        migrate(&connection, &Tables::of(&plan).unwrap(), &[], "").unwrap();
        Some(Self { connection, serving, folder })
    }

    /// `rows` grades of a tenant on a day.
    fn grades(&self, tenant: &str, clock: u64, rows: u64) {
        let sql = format!(
            "INSERT INTO aula.grades_changes SELECT '{tenant}', generateUUIDv4(number), concat('s', toString(number % 3)), 'p', number \
             % 100, 0, number % 2, true, 3, map('exam', tuple(0.5, 1, 2, 0)), 'r', 1, fromUnixTimestamp64Milli({clock}), \
             fromUnixTimestamp64Milli({clock} + number % 1000), if(number % 5 = 0, -1, 1), number, generateUUIDv4(), 1 FROM \
             numbers({rows})"
        );
        self.connection.execute_within(&sql, Duration::from_secs(60)).unwrap();
    }

    /// `rows` behaviour events of a tenant, whose retention counts from a day.
    fn behavior(&self, tenant: &str, day: &str, rows: u64) {
        let sql = format!(
            "INSERT INTO aula.behavior SELECT '{tenant}', generateUUIDv4(number), toDateTime64('{day}', 3, 'UTC'), toString(number), \
             'answer', 1, '{{}}', toDateTime64('{day}', 3, 'UTC'), 0, number, '{day}', '2099-01-01', '2100-01-01' FROM numbers({rows})"
        );
        self.connection.execute(&sql).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
        command.current_dir(self.folder.path()).env_remove("RUST_LOG");
        command.args(arguments).args(["--config", "aulaflow.toml"]).output().unwrap()
    }

    fn export(&self, to: &str, more: &[&str]) -> Output {
        self.run(&[&["lake", "export", "--url", &self.serving.url, "--to", to], more].concat())
    }

    fn said(&self, to: &str, more: &[&str]) -> String {
        let output = self.export(to, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self, of: &str) -> PathBuf {
        self.folder.path().join(of)
    }

    /// The Parquet files of a folder, by their paths in it.
    fn files(&self, of: &str) -> Vec<String> {
        let pattern = self.path(of).join("**/*.parquet");
        let found = glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap);
        let name = |file: PathBuf| file.strip_prefix(self.path(of)).unwrap().to_str().unwrap().to_owned();
        found.map(name).collect()
    }

    fn number(&self, sql: &str) -> u64 {
        self.connection.number(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// Of texts, since a file's columns can all be null.
const SUMS: &str = "assumeNotNull(toUInt64(count() + 3 * sum(diff) + sum(cityHash64(assumeNotNull(concat(toString(student), toString(subject), \
                    toString(score), toString(clock), toString(version))))) % 1000000007))";

#[test]
fn closed_days_are_files_that_say_the_same() {
    let Some(world) = World::new() else { return };
    for (tenant, first, days, rows) in [("a", 0, 4, 50), ("b", 2, 1, 70), ("large", 3, 1, 1_200_000)] {
        (first..first + days).for_each(|day| world.grades(tenant, START + day * DAY, rows));
    }
    // Today is not over.
    world
        .connection
        .execute("INSERT INTO aula.grades_changes (tenant, clock, diff) VALUES ('a', now64(3), 1)")
        .unwrap();
    assert!(world.said("lake", &[]).starts_with("6 days in 7 files were written (1200270 rows, "));
    let expected = [
        "grades_changes/year=2026/month=01/tenant=a/2026-01-30.parquet",
        "grades_changes/year=2026/month=01/tenant=a/2026-01-31.parquet",
        "grades_changes/year=2026/month=02/tenant=a/2026-02-01.parquet",
        "grades_changes/year=2026/month=02/tenant=a/2026-02-02.parquet",
        "grades_changes/year=2026/month=02/tenant=b/2026-02-01.parquet",
        "grades_changes/year=2026/month=02/tenant=large/2026-02-02-000.parquet",
        "grades_changes/year=2026/month=02/tenant=large/2026-02-02-001.parquet",
    ];
    assert_eq!(world.files("lake"), expected);

    for tenant in ["a", "b", "large"] {
        let files = world.path("lake").join(format!("grades_changes/year=*/month=*/tenant={tenant}/*.parquet"));
        let there = format!("SELECT {SUMS} FROM file('{}', Parquet)", files.display());
        let here = format!("SELECT {SUMS} FROM aula.grades_changes WHERE tenant = '{tenant}' AND clock < '2026-06-01'");
        assert_eq!(world.number(&there), world.number(&here), "{tenant}");
    }
    read_with_duckdb(&world.path("lake"));

    // The manifest names each file with its length.
    let manifest = std::fs::read(world.path("lake/grades_changes/year=2026/month=01/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let day = &manifest["days"]["tenant=a"]["2026-01-31"];
    let bytes = std::fs::metadata(world.path("lake").join(expected[1])).unwrap().len();
    assert_eq!((&day["rows"], &day["files"][0]["bytes"]), (&serde_json::json!(50), &serde_json::json!(bytes)));
    assert_eq!(day["files"][0]["sha256"].as_str().unwrap().len(), 64);

    repeated(&world, expected[0]);

    // Behaviour events, by the day that their retention counts from.
    world.behavior("a", "2026-02-01", 40);
    world.behavior("b", "2026-02-01", 2);
    world.behavior("b", "2026-02-28", 3);
    assert!(world.said("lake", &[]).starts_with("3 days in 3 files were written (45 rows, "));
    let files = world.path("lake").join("behavior/year=2026/month=02/tenant=b/2026-02-28.parquet");
    let there = format!(
        "SELECT assumeNotNull(count() + uniqExact(student) + sum(log_offset)) FROM file('{}', Parquet)",
        files.display()
    );
    assert_eq!(world.number(&there), 9);
}

/// The same in an S3 store: `AULAFLOW_S3` is a folder there that nobody else uses (`.ci/test` starts a server).
#[test]
fn closed_days_are_kept_in_s3() {
    let Ok(url) = std::env::var("AULAFLOW_S3") else {
        println!("SKIPPED: AULAFLOW_S3 names no S3 store");
        return;
    };
    let Some(world) = World::new() else { return };
    let to = format!("{url}-lake");
    world.grades("a", START, 30);
    world.behavior("a", "2026-02-01", 40);
    assert!(world.said(&to, &[]).starts_with("2 days in 2 files were written (70 rows, "));
    assert!(world.said(&to, &[]).ends_with("2 days were there already\n"));
}

/// Only what is missing or has changed is written again.
fn repeated(world: &World, first: &str) {
    assert_eq!(
        world.said("lake", &[]),
        "0 days in 0 files were written (0 rows, 0 bytes); 6 days were there already\n"
    );
    std::fs::remove_file(world.path("lake").join(first)).unwrap();
    assert!(world.said("lake", &[]).starts_with("1 days in 1 files were written (50 rows, "));
    // A row that came late.
    world.grades("b", START + 2 * DAY + 5_000, 1);
    assert!(world.said("lake", &[]).starts_with("1 days in 1 files were written (71 rows, "));
    // A day that has become smaller has one file, and the second is gone.
    let sql =
        "ALTER TABLE aula.grades_changes DELETE WHERE tenant = 'large' AND version > 10 SETTINGS mutations_sync = 2";
    world.connection.execute_within(sql, Duration::from_secs(60)).unwrap();
    assert!(world.said("lake", &[]).starts_with("1 days in 1 files were written (11 rows, "));
    let left: Vec<_> = world.files("lake").into_iter().filter(|file| file.contains("tenant=large")).collect();
    assert_eq!(left, ["grades_changes/year=2026/month=02/tenant=large/2026-02-02.parquet"]);

    let some = ["--tenant", "a", "--from", "2026-01-31", "--until", "2026-02-01"];
    assert!(world.said("some", &some).starts_with("2 days in 2 files were written (100 rows, "));
    assert!(world.files("some").iter().all(|file| file.contains("tenant=a")));
}

#[test]
fn what_cannot_be_exported_is_said() {
    let Some(world) = World::new() else { return };
    let wrong = |to: &str, more: &[&str]| {
        let output = world.export(to, more);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = wrong("lake", &["--until", "2999-01-01"]);
    assert!(code == 2 && said.contains("once it is over"), "{code} {said}");
    let (code, said) = wrong("lake", &["--from", "yesterday"]);
    assert!(code == 2 && said.contains("--from"), "{code} {said}");
    let (code, said) = wrong("gopher://x/y", &[]);
    assert!(code != 0 && said.contains("gopher"), "{code} {said}");
    // What is in the way is not replaced.
    std::fs::write(world.path("file"), "x").unwrap();
    assert_ne!(wrong("file", &[]).0, 0);
    world.grades("a", START, 1);
    std::fs::create_dir_all(world.path("lake/grades_changes/year=2026/month=01")).unwrap();
    std::fs::write(world.path("lake/grades_changes/year=2026/month=01/manifest.json"), "{").unwrap();
    let (code, said) = wrong("lake", &[]);
    assert!(code == 1 && said.contains("move it away"), "{code} {said}");
}

/// The folders as columns, as most readers take them.
fn read_with_duckdb(lake: &Path) {
    let python = std::env::home_dir().map(|home| home.join(".cache/aulaflow/venv/bin/python"));
    let has_it = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import duckdb"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(python) = python.filter(has_it) else {
        println!("SKIPPED: there is no DuckDB");
        eprintln!("SKIPPED: there is no DuckDB");
        return;
    };
    let program = format!(
        "import duckdb\nprint(duckdb.sql(\"SELECT tenant, month, count(*), sum(diff), sum(score), min(length(student)) FROM \
         read_parquet('{}/grades_changes/**/*.parquet', hive_partitioning = true) WHERE tenant != 'large' GROUP BY ALL ORDER BY \
         ALL\").fetchall())",
        lake.display()
    );
    let output = Command::new(python).args(["-c", &program]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = "[('a', '01', 100, 60, Decimal('2450.000000'), 36), ('a', '02', 100, 60, Decimal('2450.000000'), 36), ('b', '02', 70, \
                    42, Decimal('2415.000000'), 36)]";
    let months_as_numbers = expected.replace("'01'", "1").replace("'02'", "2");
    assert!(
        [expected, &months_as_numbers].contains(&said.trim()),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn views_are_made_and_grants_are_said() {
    let Some(world) = World::new() else { return };
    let run = |arguments: &[&str]| {
        let output = world.run(arguments);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        (output.status.code().unwrap(), out, err)
    };
    let url = world.serving.url.as_str();
    let (code, out, _) = run(&["clickhouse", "check", "--url", url]);
    assert!(code == 1 && out.contains("aula_analysts.grades_weekly: there is no such view"), "{out}");
    let (code, out, _) = run(&["clickhouse", "migrate", "--url", url]);
    assert!(code == 0 && out.contains("made the view aula_analysts.grades_as_of"), "{out}");
    assert_eq!(run(&["clickhouse", "check", "--url", url]).1, "everything is as it should be\n");

    let grants = ["clickhouse", "grants", "--tenant", "school_123"];
    let (code, out, _) = run(&[&grants[..], &["--user", "alice"]].concat());
    assert!(code == 0 && out.starts_with("CREATE ROLE IF NOT EXISTS `aulaflow_school_123`;\n"), "{out}");
    assert!(out.ends_with("ALTER USER `alice` DEFAULT ROLE `aulaflow_school_123`;\n"), "{out}");
    let (code, _, err) = run(&[&grants[..], &["--user", "aula"]].concat());
    assert!(code == 2 && err.contains("the user that writes"), "{err}");
    let (code, _, err) = run(&[&grants[..], &["--apply", "--url", url]].concat());
    assert!(code == 1 && err.contains("The embedded ClickHouse keeps no users"), "{err}");
    let (code, _, err) = run(&["clickhouse", "grants", "--tenant", "a b"]);
    assert!(code == 2 && err.contains("--tenant"), "{err}");
}

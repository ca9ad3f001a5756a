//! A ClickHouse for the tests, and a plan.

use aulaflow_clickhouse::{Access, Connection, Stop, Tables};
use aulaflow_embedded_clickhouse::{Account, Launch, Options, PASSWORD_VARIABLE, State, Supervisor, locate, serve};
use aulaflow_plan::{Plan, Source, compile, parse_runtime};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const TABLE: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '1 minute', dedupe = 'event_id', dedupe_horizon = '30 days');
";

/// Two views: one recorded with every change, one by day.
pub const VIEWS: &str = "
CREATE MATERIALIZED VIEW often WITH (analytics = 'changes') AS SELECT student_id, count(*) AS n, sum(value) AS points,
  last(event_type) AS latest FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day');
CREATE MATERIALIZED VIEW daily WITH (analytics = 'daily') AS SELECT student_id, count(*) AS n
  FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day');
";

pub fn plan(views: &str) -> Plan {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", ""));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let sql = [Source::new("test.sql", format!("{TABLE}{views}"))];
    compile(file, &[], &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)))
}

pub fn tables(views: &str) -> Arc<Tables> {
    Arc::new(Tables::of(&plan(views)).unwrap())
}

const USER: &str = "aula";
const PASSWORD: &str = "secret";
/// Set in a child: this program is then the server.
const FOLDER: &str = "AULAFLOW_TEST_CLICKHOUSE_FOLDER";
const LISTEN: &str = "AULAFLOW_TEST_CLICKHOUSE_LISTEN";
/// A start is much faster; a busy machine is not.
const UP_MAX: Duration = Duration::from_secs(60);

/// The child process. As a test it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let account = Account { user: USER.to_owned(), password: std::env::var(PASSWORD_VARIABLE).unwrap() };
    let listen = std::env::var(LISTEN).unwrap().parse().unwrap();
    let library = locate::library(None).unwrap();
    let error =
        serve(Options { data_dir: folder.into(), listen, library, account, stdin_is_lifeline: true }).unwrap_err();
    eprintln!("{error}");
    std::process::exit(1);
}

/// The server of all tests, which ends with this process; `None`: there is no library.
fn server() -> Option<&'static str> {
    static SERVER: OnceLock<Option<Supervisor>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        if let Err(reason) = locate::library(None) {
            println!("SKIPPED: {reason}");
            eprintln!("SKIPPED: {reason}");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clickhouse-sink");
        // Nothing of an earlier run.
        let _ = std::fs::remove_dir_all(&folder);
        Some(launch(&folder))
    });
    server.as_ref().map(|server| server.url.as_str())
}

/// A server of its own on a folder, which the test ends.
pub fn launch(folder: &Path) -> Supervisor {
    // This program does not know `--listen ADDR`, which the supervisor adds, so a shell makes a variable of it.
    let script =
        format!(r#"{LISTEN}="$2" {FOLDER}="{}" exec "$0" engine::child --exact --nocapture"#, folder.display());
    let supervisor = Supervisor::start(Launch {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), std::env::current_exe().unwrap().into()],
        listen: "127.0.0.1:0".parse().unwrap(),
        password: PASSWORD.to_owned(),
        silence_max: None,
    });
    let supervisor = supervisor.unwrap();
    assert_eq!(supervisor.wait_until_up(UP_MAX), State::Up);
    supervisor
}

/// How to reach one, with a database's name.
pub fn access_to(server: &Supervisor, database: &str) -> Access {
    let (user, password) = (Some(USER.to_owned()), Some(PASSWORD.to_owned()));
    Access { url: server.url.clone(), database: database.to_owned(), user, password, timeout: Duration::from_secs(5) }
}

/// A database of its own on the tests' ClickHouse; `None`: there is none.
pub fn access() -> Option<Access> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let url = server()?.to_owned();
    let database = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let (user, password) = (Some(USER.to_owned()), Some(PASSWORD.to_owned()));
    Some(Access { url, database, user, password, timeout: Duration::from_secs(5) })
}

pub fn connect(access: &Access) -> Connection {
    Connection::new(access, &Stop::default()).unwrap()
}

//! The embedded ClickHouse with the real library, in a child process, as the product runs it. Without the library these
//! tests say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod http;
mod python;
mod raw;
mod supervise;

use aulaflow_embedded_clickhouse::{Account, Launch, Options, PASSWORD_VARIABLE, State, Supervisor, locate, serve};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Set in a child: this program is then the server.
const FOLDER: &str = "AULAFLOW_TEST_CLICKHOUSE";
const LISTEN: &str = "AULAFLOW_TEST_CLICKHOUSE_LISTEN";

const USER: &str = "aula";
const PASSWORD: &str = "a secret: 'quoted' \\ und ñ";

/// A start is much faster; a busy machine is not.
const UP_MAX: Duration = Duration::from_secs(60);

/// The child process. As a test it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let error = serve(Options {
        data_dir: folder.into(),
        listen: std::env::var(LISTEN).unwrap().parse().unwrap(),
        library: locate::library(None).unwrap(),
        account: Account { user: USER.to_owned(), password: std::env::var(PASSWORD_VARIABLE).unwrap() },
        stdin_is_lifeline: true,
    })
    .unwrap_err();
    eprintln!("{error}");
    std::process::exit(1);
}

/// Whether the library is there.
fn can_run() -> bool {
    match locate::library(None) {
        Ok(_) => true,
        Err(reason) => {
            println!("SKIPPED: libchdb is missing: make libchdb ({reason})");
            eprintln!("SKIPPED: libchdb is missing: make libchdb");
            false
        }
    }
}

/// How a child on this folder is started: this test program, running `child` alone. It does not know `--listen ADDR`, which
/// the supervisor adds, so a shell makes a variable of it.
fn launch(folder: &Path) -> Launch {
    let script = format!(r#"{LISTEN}="$2" {FOLDER}="{}" exec "$0" child --exact --nocapture"#, folder.display());
    Launch {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), std::env::current_exe().unwrap().into()],
        listen: "127.0.0.1:0".parse().unwrap(),
        password: PASSWORD.to_owned(),
        silence_max: None,
    }
}

/// A server of its own.
fn start(folder: &Path) -> Supervisor {
    let supervisor = Supervisor::start(launch(folder)).unwrap();
    assert_eq!(supervisor.wait_until_up(UP_MAX), State::Up);
    supervisor
}

/// The server that most tests share. It ends with this process.
fn shared() -> &'static str {
    static SERVER: OnceLock<Supervisor> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded-clickhouse");
        // Nothing of an earlier run.
        let _ = std::fs::remove_dir_all(&folder);
        start(&folder)
    });
    &server.url
}

//! An instance with its embedded ClickHouse, as users start it: that it answers, that its child ends with it however it
//! ends, and what is said where the library is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use aulaflow_embedded_clickhouse::locate;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No wait of these tests is longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = "[server]\nlisten = \"127.0.0.1:0\"\n[[auth.key]]\nid = \"test\"\nalgorithm = \"HS256\"\n\
                   secret = \"a-secret-of-these-tests-that-is-long-enough\"\ndevelopment = true\n\
                   [clickhouse]\nkind = \"embedded\"\n";
    std::fs::write(folder.path().join("aulaflow.toml"), runtime).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG");
    command
}

/// A program that says on a line of stdout or stderr what is waited for.
struct Running {
    child: Child,
    line: String,
}

impl Running {
    fn start(mut command: Command, wanted: &str) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // From here on it is killed when a wait fails.
        let mut running = Self { child, line: String::new() };
        let (lines, read) = std::sync::mpsc::channel();
        let (out, err) = (running.child.stdout.take().unwrap(), running.child.stderr.take().unwrap());
        let also = lines.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).try_for_each(|line| also.send(line))
        });
        let begun = Instant::now();
        loop {
            let line = read.recv_timeout(WAIT_MAX.saturating_sub(begun.elapsed())).expect("it says what is waited for");
            if line.contains(wanted) {
                // What it says later must go somewhere.
                std::thread::spawn(move || read.into_iter().for_each(drop));
                running.line = line;
                return running;
            }
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `http://…` in a line, which may be coloured.
fn url(line: &str) -> String {
    let from = line.find("http://").expect("a URL");
    line[from..].chars().take_while(|c| c.is_ascii_alphanumeric() || ":/.".contains(*c)).collect()
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < WAIT_MAX, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ask(url: &str, password: &str, text: &str) -> Option<String> {
    let request = ureq::post(url).header("X-ClickHouse-User", "aula").header("X-ClickHouse-Key", password);
    request.send(text).ok()?.body_mut().read_to_string().ok()
}

fn can_run() -> bool {
    let found = locate::library(None).is_ok();
    if !found {
        println!("SKIPPED: libchdb is missing: make libchdb");
        eprintln!("SKIPPED: libchdb is missing: make libchdb");
    }
    found
}

#[test]
fn it_runs_with_an_instance_and_ends_with_it() {
    if !can_run() {
        return;
    }
    let folder = folder();
    for (round, end) in ["-TERM", "-KILL"].into_iter().enumerate() {
        let instance =
            Running::start(command(folder.path(), &["run", "--config", "aulaflow.toml"]), "ClickHouse is embedded");
        let clickhouse = url(&instance.line);
        let password = std::fs::read_to_string(folder.path().join("data/clickhouse/password")).unwrap();
        let password = password.trim();
        until(|| ask(&clickhouse, password, "SELECT 1").is_some());
        let made = "CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = MergeTree ORDER BY a";
        assert_eq!(ask(&clickhouse, password, made).as_deref(), Some(""));
        assert_eq!(ask(&clickhouse, password, "INSERT INTO t VALUES (1)").as_deref(), Some(""));
        assert_eq!(ask(&clickhouse, password, "SELECT count() FROM t"), Some(format!("{}\n", round + 1)));
        assert_eq!(ask(&clickhouse, "wrong", "SELECT 1"), None);
        instance.signal(end);
        until(|| ureq::get(format!("{clickhouse}/ping")).call().is_err());
    }
}

#[test]
fn without_the_library_everything_else_runs() {
    let folder = folder();
    let mut command = command(folder.path(), &["run", "--config", "aulaflow.toml"]);
    command.env("AULAFLOW_LIBCHDB", "").env("AULAFLOW_CACHE", folder.path().join("no-cache"));
    let instance = Running::start(command, "analytics are off");
    assert!(instance.line.contains("make libchdb"), "{}", instance.line);
}

#[test]
fn it_serves_by_itself() {
    if !can_run() {
        return;
    }
    let folder = folder();
    let mut command = command(folder.path(), &["clickhouse", "serve", "--data-dir", "ch"]);
    command.env("AULAFLOW_CLICKHOUSE_PASSWORD", "p");
    let mut served = Running::start(command, "http://127.0.0.1:");
    assert_eq!(ask(&served.line, "p", "SELECT 'a'").as_deref(), Some("a\n"));
    served.signal("-TERM");
    assert!(served.child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_served_is_said() {
    let folder = folder();
    let run = |arguments: &[&str]| -> (Option<i32>, String) {
        let Output { status, stderr, .. } = command(folder.path(), arguments).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let (code, said) = run(&["clickhouse", "serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("not a loopback address"), "{said}");
    let (code, said) = run(&["clickhouse", "serve", "--library", "none.so"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("none.so"), "{said}");
    let (code, said) = run(&["clickhouse", "serve", "--library", "aulaflow.toml", "--data-dir", "ch"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("aulaflow.toml cannot be loaded"), "{said}");
}

#[test]
fn who_looks_up_a_pseudonym_is_written_down() {
    let folder = folder();
    let keys = folder.path().join("data/pseudonym-keys");
    let ask = |arguments: &[&str], ids: &str| -> Output {
        let all = [&["pseudonym", "--config", "aulaflow.toml", "--tenant"], arguments].concat();
        let mut child = command(folder.path(), &all);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        // One that answers without reading has closed its end.
        let _ = child.stdin.take().unwrap().write_all(ids.as_bytes());
        child.wait_with_output().unwrap()
    };
    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(ask(&["t", "--student", "Ñandú"], "").status.code(), Some(2), "there are no keys");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::write(keys.join("t.key"), format!("{}\n", "0b".repeat(32))).unwrap();
    // Computed with Python's hmac module.
    let pseudonym = "b84d1b66-eabe-8dcd-9ec4-840ec728dd51";
    assert_eq!(said(&ask(&["t", "--student", "Ñandú"], "")), format!("{pseudonym}\n"));
    assert_eq!(said(&ask(&["t", "--find", pseudonym], "Ana\nÑandú\nZoe\n")), "Ñandú\n");
    let output = ask(&["t", "--find", pseudonym], "Ana\n");
    assert_eq!((output.status.code(), said(&output)), (Some(1), String::new()));
    assert_eq!(ask(&["u", "--student", "Ana"], "").status.code(), Some(2), "a tenant without a key");
    let lookups = std::fs::read_to_string(keys.join("lookups.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lookups.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let written: Vec<_> = lines.iter().map(|line| (line["what"].as_str(), line["outcome"].as_str())).collect();
    let (of_student, of_pseudonym) = (Some("pseudonym of a student"), Some("student of a pseudonym"));
    assert_eq!(
        written,
        [(of_student, Some("found")), (of_pseudonym, Some("found")), (of_pseudonym, Some("not found"))]
    );
    assert!(lines.iter().all(|line| line["tenant"] == "t" && line["pseudonym"] == pseudonym && line["uid"].is_u64()));
    assert!(!lookups.contains("Ñandú"), "{lookups}");

    // What cannot be written down is not answered.
    std::fs::remove_file(keys.join("lookups.jsonl")).unwrap();
    std::fs::create_dir(keys.join("lookups.jsonl")).unwrap();
    let output = ask(&["t", "--student", "Ñandú"], "");
    assert_eq!((output.status.code(), said(&output)), (Some(1), String::new()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a lookup is not answered without it"));
}

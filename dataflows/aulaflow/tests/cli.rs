//! The program as its users meet it: exit codes, what is on stdout and what on stderr, and what it says when something
//! is in the way. Each test works in a folder of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const FEATURES: &str = "\
CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '10 minutes',
        dedupe = 'event_id', dedupe_horizon = '24 hours');
CREATE MATERIALIZED VIEW points_7d WITH (serve = true) AS
SELECT student_id, count(*) AS events, sum(value) AS points
FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '7 days');
";

const TENANT: &str = "\
tenant = \"school_1\"
timezone = \"UTC\"
[[rule]]
subject = \"*\"
weights = \"items\"
min_passing = 40
";

const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough";

/// A folder with a configuration that listens on a free port.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = format!(
        "data_dir = \"{}\"\ndataflows = [\"*.sql\"]\ntenants = [\"tenants/*.toml\"]\n[server]\nlisten = \"127.0.0.1:0\"\n\
         [[auth.key]]\nid = \"test\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\ndevelopment = true\n",
        folder.path().join("data").display()
    );
    std::fs::create_dir(folder.path().join("tenants")).unwrap();
    write(&folder, "aulaflow.toml", &runtime);
    write(&folder, "features.sql", FEATURES);
    write(&folder, "tenants/school_1.toml", TENANT);
    folder
}

fn write(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running instance; killed when dropped.
struct Instance {
    child: Child,
    url: String,
}

impl Instance {
    fn start(folder: &Path) -> Self {
        let arguments = ["run", "--config", "aulaflow.toml", "--workers", "1"];
        let mut child = command(folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        Self { url: url.unwrap_or_else(|| panic!("no URL in {line:?}")).to_owned(), child }
    }

    /// Asks it to stop as a supervisor does; its exit code.
    fn stop(mut self) -> i32 {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET with a token over a fresh connection: status line and body.
fn get(url: &str, path: &str, token: &str) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn help_is_everywhere_and_bad_command_lines_are_2() {
    let folder = folder();
    let help: [&[&str]; 13] = [
        &["--help"],
        &["run", "--help"],
        &["check", "--help"],
        &["plan", "--help"],
        &["token", "--help"],
        &["import", "--help"],
        &["import", "oulad", "--help"],
        &["import", "jsonl", "--help"],
        &["lag", "--help"],
        &["demo", "--help"],
        &["topics", "--help"],
        &["topics", "ensure", "--help"],
        &["topics", "check", "--help"],
    ];
    for arguments in help {
        let output = run(folder.path(), arguments);
        assert_eq!(code(&output), 0, "{arguments:?}");
        assert!(stdout(&output).contains("Usage: aulaflow"), "{arguments:?}");
    }
    let wrong: [&[&str]; 8] = [
        &[],
        &["fly"],
        &["run", "--clock", "sundial"],
        &["run", "--config", "aulaflow.toml", "--roles", "edge"],
        &["run", "--workers", "0"],
        &["token", "--role", "headmaster", "--tenant", "school_1"],
        &["import", "jsonl", "--topic", "behavior", "file.jsonl"],
        &["import", "oulad", "--dir", ".", "--tenant", "no/such"],
    ];
    for arguments in wrong {
        let output = run(folder.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_says_ok_or_names_every_fault() {
    let folder = folder();
    let arguments = ["check", "--config", "aulaflow.toml"];
    let output = run(folder.path(), &arguments);
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (0, "ok: 1 table, 1 view, 1 tenant\n"),
        "{}",
        stderr(&output)
    );

    write(&folder, "tenants/school_1.toml", &TENANT.replace("min_passing", "min_pasing"));
    write(&folder, "features.sql", &FEATURES.replace("sum(value)", "sum(vale)"));
    let output = run(folder.path(), &arguments);
    assert_eq!((code(&output), stdout(&output).as_str()), (2, ""));
    let said = stderr(&output);
    assert!(said.contains("tenants/school_1.toml:6:1: error: "), "{said}");
    assert!(said.contains("features.sql:6:") && said.contains("vale"), "{said}");
    assert!(said.ends_with("errors\n"), "{said}");
}

#[test]
fn check_names_missing_files() {
    let folder = folder();
    let output = run(folder.path(), &["check", "--config", "no.toml"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("cannot read the configuration no.toml"), "{}", stderr(&output));

    std::fs::remove_file(folder.path().join("features.sql")).unwrap();
    let output = run(folder.path(), &["check", "--config", "aulaflow.toml"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("aulaflow.toml:2:"), "{}", stderr(&output));
}

#[test]
fn a_token_is_all_that_token_prints() {
    let folder = folder();
    let arguments = ["token", "--config", "aulaflow.toml", "--tenant", "school_1", "--role", "teacher"];
    let output = run(folder.path(), &arguments);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let token = stdout(&output);
    let parts: Vec<&str> = token.trim_end().split('.').collect();
    assert!(token.ends_with('\n') && parts.len() == 3 && parts.iter().all(|part| !part.is_empty()), "{token}");

    let no_tenant = run(folder.path(), &["token", "--config", "aulaflow.toml", "--role", "teacher"]);
    assert_eq!(code(&no_tenant), 2);
    let platform = ["token", "--config", "aulaflow.toml", "--role", "platform", "--tenant", "school_1"];
    assert_eq!(code(&run(folder.path(), &platform)), 2);
}

#[test]
fn a_secret_may_come_from_the_environment() {
    let folder = folder();
    let runtime = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    let runtime = runtime.replace(&format!("secret = \"{SECRET}\""), "secret_env = \"AULAFLOW_TEST_SECRET\"");
    write(&folder, "aulaflow.toml", &runtime);
    let arguments = ["token", "--config", "aulaflow.toml", "--tenant", "school_1", "--role", "admin"];
    let output = run(folder.path(), &arguments);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("AULAFLOW_TEST_SECRET is not set"), "{}", stderr(&output));
    let output = command(folder.path(), &arguments).env("AULAFLOW_TEST_SECRET", SECRET).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["run", "--config", "aulaflow.toml", "--listen", &address]);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(said.contains(&format!("{address} is in use")) && said.contains("--listen"), "{said}");
}

#[test]
fn a_development_key_stays_on_loopback() {
    let folder = folder();
    let output = run(folder.path(), &["run", "--config", "aulaflow.toml", "--listen", "0.0.0.0:0"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("development key"), "{}", stderr(&output));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_said() {
    let folder = folder();
    write(&folder, "data", "a file, not a folder");
    let output = run(folder.path(), &["run", "--config", "aulaflow.toml"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("--data-dir"), "{}", stderr(&output));
}

#[test]
fn waiting_needs_a_running_instance() {
    let folder = folder();
    write(&folder, "events.jsonl", "");
    let arguments = [
        "import",
        "jsonl",
        "--config",
        "aulaflow.toml",
        "--topic",
        "behavior",
        "--tenant",
        "school_1",
        "--wait",
        "events.jsonl",
    ];
    let output = run(folder.path(), &arguments);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("aulaflow run"), "{}", stderr(&output));
}

/// Into the log, then through the running instance; a second process is refused; bad lines are counted; SIGTERM ends
/// it in order, and what was imported is there after a restart.
#[test]
fn imports_are_visible_whichever_way_they_came() {
    let folder = folder();
    let mark = |id: &str, student: &str, score: u32| {
        format!(
            "{{\"evaluation_id\":\"{id}\",\"student_id\":\"{student}\",\"subject\":\"art\",\"type\":\"exam\",\
             \"score\":{score},\"period\":\"P1\",\"graded_at\":\"2026-03-02T15:04:05Z\"}}\n"
        )
    };
    write(&folder, "first.jsonl", &format!("{}not json\n\n{}", mark("e1", "s1", 80), mark("e2", "s2", 250)));
    write(&folder, "second.jsonl", &format!("{}{{}}\n", mark("e3", "s1", 60)));
    let import = |file: &str, more: &[&str]| {
        let arguments =
            ["import", "jsonl", "--config", "aulaflow.toml", "--topic", "evaluations", "--tenant", "school_1"];
        run(folder.path(), &[&arguments, more, &[file]].concat())
    };

    let output = import("first.jsonl", &[]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("2 of 3 events were refused"), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("imported 1 events") && said.contains("refused 2"), "{said}");
    assert!(said.contains("line 2: ") && said.contains("line 4: "), "{said}");

    let instance = Instance::start(folder.path());
    let second = run(folder.path(), &["run", "--config", "aulaflow.toml"]);
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains("in use by another process"), "{}", stderr(&second));

    let output = import("second.jsonl", &["--url", &instance.url, "--wait", "--allow-bad", "1"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).contains("imported 1 events") && stdout(&output).contains("line 2: "),
        "{}",
        stdout(&output)
    );

    let token = ["token", "--config", "aulaflow.toml", "--tenant", "school_1", "--role", "admin"];
    let token = stdout(&run(folder.path(), &token)).trim().to_owned();
    let score = |instance: &Instance| {
        let (status, body) = get(&instance.url, "/v1/students/s1/profile", &token);
        assert_eq!(status, 200, "{body}");
        let profile: serde_json::Value = serde_json::from_str(&body).unwrap();
        profile["grades"][0]["score"].as_str().unwrap().to_owned()
    };
    assert_eq!(score(&instance), "70.00");
    assert_eq!(get(&instance.url, "/v1/students/s2/profile", &token).0, 404);

    let lag = run(folder.path(), &["lag", "--config", "aulaflow.toml", "--url", &instance.url]);
    assert_eq!(code(&lag), 0, "{}", stderr(&lag));
    assert!(stdout(&lag).contains("aula.evaluations.v1"), "{}", stdout(&lag));
    assert_eq!(instance.stop(), 0);

    let again = Instance::start(folder.path());
    let output = import("second.jsonl", &["--url", &again.url, "--wait", "--allow-bad", "1"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(score(&again), "70.00");
    assert_eq!(again.stop(), 0);
}

#[test]
fn a_demo_ends_by_itself_with_a_summary() {
    let folder = folder();
    let arguments = ["demo", "--config", "aulaflow.toml", "--duration", "3s", "--students", "50", "--workers", "1"];
    let output = run(folder.path(), &arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = stdout(&output);
    for expected in ["/docs", "/metrics", "export TOKEN=", "/v1/students/s-000000/profile", "ran 3"] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert!(!folder.path().join("data").exists(), "the demo keeps its data elsewhere");
}

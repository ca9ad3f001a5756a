//! `aulaflow plan` as its users meet it. `UPDATE_EXPECT=1` rewrites what is expected in `tests/plan/`; read the
//! difference before keeping it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const SQL: &str = "\
CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '10 minutes',
        dedupe = 'event_id', dedupe_horizon = '24 hours');
CREATE MATERIALIZED VIEW points_7d WITH (serve = true, explain = 5) AS
SELECT student_id, count(*) AS events, sum(value) AS points
FROM behavior WHERE event_type IN ('answer', 'post') GROUP BY student_id, hop(interval '1 day', interval '7 days');
CREATE MATERIALIZED VIEW days WITH (serve = false) AS
SELECT student_id, count(*) AS events, max(value) AS top, window_start AS day
FROM behavior WHERE event_type IN ('answer', 'post') GROUP BY student_id, tumble(interval '1 day');
CREATE MATERIALIZED VIEW best_day AS
SELECT student_id, max(events) AS most FROM days GROUP BY student_id, hop(interval '1 day', interval '28 days');
CREATE MATERIALIZED VIEW visit AS
SELECT student_id, count(distinct context->>'page') AS pages FROM behavior GROUP BY student_id, session(interval '30 minutes');
CREATE MATERIALIZED VIEW top_grade AS SELECT student_id, max(score) AS top FROM grades GROUP BY student_id;
";

/// A folder with a configuration.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = "data_dir = \"data\"\ndataflows = [\"*.sql\"]\n[server]\nlisten = \"127.0.0.1:0\"\n[[auth.key]]\n\
                   id = \"test\"\nalgorithm = \"HS256\"\nsecret_env = \"AULAFLOW_PLAN_TEST_SECRET\"\ndevelopment = true\n";
    std::fs::write(folder.path().join("aulaflow.toml"), runtime).unwrap();
    std::fs::write(folder.path().join("features.sql"), SQL).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
    command.current_dir(folder).args(arguments).args(["--config", "aulaflow.toml"]).env_remove("RUST_LOG");
    command
}

fn plan(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, &[&["plan"], arguments].concat()).output().unwrap()
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn each_format_is_as_expected() {
    let folder = folder();
    for (format, name) in [("text", "small.txt"), ("mermaid", "small.mmd"), ("dot", "small.dot")] {
        let (code, drawn, wrong) = said(&plan(folder.path(), &["--format", format]));
        assert_eq!((code, wrong.as_str()), (0, ""));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan").join(name);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &drawn).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(drawn, expected, "{format}");
    }
    assert!(!folder.path().join("data").exists(), "nothing is made");
}

#[test]
fn lines_fit_into_a_terminal() {
    let folder = folder();
    let name = "n".repeat(60);
    let outputs: Vec<_> = (0..20).map(|n| format!("sum(value + {n}) AS {name}_{n}")).collect();
    let view = format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT student_id, {} FROM behavior WHERE event_type = '{}'
         GROUP BY student_id, hop(interval '1 hour', interval '2 hours');",
        outputs.join(", "),
        "x".repeat(300)
    );
    std::fs::write(folder.path().join("long.sql"), view).unwrap();
    let (code, text, wrong) = said(&plan(folder.path(), &["--against"]));
    assert_eq!((code, wrong.as_str()), (0, ""));
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
    assert!(text.lines().all(|line| line == line.trim_end()), "no spaces at ends");
}

#[test]
fn assumptions_change_sizes_and_json_has_everything() {
    let folder = folder();
    let bytes = |arguments: &[&str]| {
        let (code, json, wrong) = said(&plan(folder.path(), &[&["--format", "json"], arguments].concat()));
        assert_eq!(code, 0, "{wrong}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let nodes = json["nodes"].as_array().unwrap();
        let keeps = nodes.iter().flat_map(|node| node["keeps"].as_array().unwrap());
        assert!(json["process_bytes"].as_u64().unwrap() > 50 << 20, "the process itself");
        keeps.filter_map(|kept| kept["size"]["bytes"].as_u64()).sum::<u64>()
    };
    let default = bytes(&[]);
    assert!(default > 1_000_000_000, "{default}");
    assert!(bytes(&["--students", "1000"]) < default / 500);
    for option in ["--active-panes", "--events-per-day", "--evaluations", "--grades", "--distinct-values"] {
        assert!(bytes(&[option, "1"]) < default, "{option}");
    }
}

#[test]
fn what_is_wrong_is_said_with_exit_code_2() {
    let folder = folder();
    let wrong: [&[&str]; 4] =
        [&["--format", "png"], &["--against", "nowhere"], &["--active-panes", "1000000"], &["--grades", "-1"]];
    for arguments in wrong {
        let (code, out, error) = said(&plan(folder.path(), arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(!error.is_empty(), "{arguments:?}");
    }
    std::fs::write(folder.path().join("features.sql"), SQL.replace("sum(value)", "sum(vale)")).unwrap();
    let (code, out, error) = said(&plan(folder.path(), &[]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.contains("features.sql:6:") && error.ends_with("error: the configuration has 1 error\n"), "{error}");
}

/// First a start without a state, then over one; while an instance runs nobody else can look.
#[test]
fn against_says_what_a_restart_makes() {
    let folder = folder();
    let (code, text, _) = said(&plan(folder.path(), &["--against"]));
    assert!(code == 0 && text.contains("START without a state"), "{text}");

    let event = r#"{"event_id":"e1","student_id":"s1","event_type":"post","occurred_at":"2026-03-02T15:04:05Z"}"#;
    std::fs::write(folder.path().join("events.jsonl"), format!("{event}\n")).unwrap();
    let import = ["import", "jsonl", "--topic", "behavior", "--tenant", "school_1", "--create", "events.jsonl"];
    let secret = ("AULAFLOW_PLAN_TEST_SECRET", "a-secret-of-these-tests-that-is-long-enough");
    let output = command(folder.path(), &import).env(secret.0, secret.1).output().unwrap();
    assert!(output.status.success(), "{:?}", said(&output));
    let mut run = command(folder.path(), &["run", "--workers", "1", "--clock", "event"]);
    let mut instance = run.env(secret.0, secret.1).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(instance.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let (code, out, error) = said(&plan(folder.path(), &["--against"]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("data is in use by a running instance: stop that one"), "{error}");
    assert!(Command::new("kill").args(["-TERM", &instance.id().to_string()]).status().unwrap().success());
    assert!(instance.wait().unwrap().success());

    let changed = SQL.replace("AS most", "AS max_a_day").replace("sum(value) AS points", "min(value) AS least");
    std::fs::write(folder.path().join("features.sql"), changed.replace("visit", "stay")).unwrap();
    let (code, text, error) = said(&plan(folder.path(), &["--against"]));
    assert_eq!((code, error.as_str()), (0, ""));
    let restart = &text[text.find("RESTART over the state as of 2026-03-02T14:54:05.000Z").expect(&text)..];
    for expected in [
        "  points_7d: made from the log\n",
        "      the state lacks min(\"value\")\n",
        "  days: kept\n",
        "  best_day: made anew from the state\n",
        "  stay: made anew from the state\n",
        "  top_grade: nothing to make: computed when a profile is read\n",
        "  visit: removed\n",
        "  Read from the log once more, while what is there is shown: 1 record\n",
    ] {
        assert!(restart.contains(expected), "{expected} is not in {restart}");
    }
    std::fs::remove_dir_all(folder.path().join("data/log")).unwrap();
    let (code, _, error) = said(&plan(folder.path(), &["--against"]));
    assert!(code == 1 && error.contains("there is no log"), "{error}");
}

/// Resident memory in MiB, as the case `memory` of the benchmarks measured it: the table in `bench/README.md`.
const MEASURED: [(Features, u64, f64); 3] =
    [(Features::Five, 1_000_000, 3_867.0), (Features::One, 200_000, 502.0), (Features::Explained, 200_000, 976.0)];

#[derive(Debug, Clone, Copy)]
enum Features {
    Five,
    One,
    Explained,
}

impl Features {
    fn sql(self) -> String {
        let all = include_str!("../../../bench/src/features.sql");
        match self {
            Self::Five => all.to_owned(),
            Self::One => {
                let statements: Vec<_> = all.split("\n\n").collect();
                format!("{}\n\n{}", statements[0], statements[2])
            }
            Self::Explained => all.replace("serve = true", "serve = true, explain = 20"),
        }
    }
}

/// An estimate is for deciding on a machine: a quarter off is what is promised.
#[test]
fn estimates_are_near_what_was_measured() {
    for (features, students, measured) in MEASURED {
        let folder = folder();
        std::fs::write(folder.path().join("features.sql"), features.sql()).unwrap();
        let config = folder.path().join("aulaflow.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}\n[serving]\nstudents_expected = {students}\n")).unwrap();
        let students = students.to_string();
        let one_event = ["--active-panes", "1", "--events-per-day", "1", "--evaluations", "0", "--grades", "0"];
        let arguments = [&["--format", "json", "--students", &students], one_event.as_slice()].concat();
        let (code, json, wrong) = said(&plan(folder.path(), &arguments));
        assert_eq!(code, 0, "{wrong}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let nodes = json["nodes"].as_array().unwrap();
        let keeps = nodes.iter().flat_map(|node| node["keeps"].as_array().unwrap());
        let kept = keeps.filter_map(|kept| kept["size"]["bytes"].as_u64()).sum::<u64>();
        let mib = (kept + json["process_bytes"].as_u64().unwrap()) as f64 / f64::from(1 << 20);
        println!(
            "{features:?}, {students} students: estimated {mib:.0} MiB, measured {measured:.0}: {:.2}",
            mib / measured
        );
        assert!((0.75..=1.25).contains(&(mib / measured)), "{features:?}, {students}: {mib:.0} MiB of {measured:.0}");
    }
}

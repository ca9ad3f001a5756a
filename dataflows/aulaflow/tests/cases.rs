//! The cases in `configs/dataflows/*/cases`, and `aulaflow test`, which plays them, as its users meet it.
//! `UPDATE_EXPECT=1` writes what came out into the cases' expected files.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn aulaflow(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

/// What the program said, and its exit code.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").canonicalize().unwrap()
}

#[test]
fn the_cases_of_this_repository() {
    let (code, out, err) = said(&aulaflow(&configs(), &["test", "--dataflows", "dataflows"]));
    assert_eq!(code, 0, "{out}{err}");
    print!("{out}");
    // A dataflow without a case is not tested, and one that the guide does not name is not found.
    let guide = std::fs::read_to_string(configs().join("../docs/guides/features.md")).unwrap();
    for entry in std::fs::read_dir(configs().join("dataflows")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // The dataset has a test of its own, which compares it with an independent program.
            assert!(name == "oulad" || out.contains(&format!(" {name}/")), "{name} has no case");
            assert!(guide.contains(&format!("| `{name}` |")), "{name} is not in docs/guides/features.md");
        }
    }
}

/// Aggregates where numbers are large, texts long, or arguments have no value: their expected rows are by hand or by
/// rational arithmetic, and are not rewritten.
#[test]
fn aggregates_are_exact_and_leave_out_no_more_than_they_must() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aggregates");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 7);
    for name in names {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
        let command = command.current_dir(&folder).args(["test", "--dataflows"]).arg(&name);
        let (code, out, err) = said(&command.env_remove("RUST_LOG").env_remove("UPDATE_EXPECT").output().unwrap());
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("ok "), "{out}");
    }
}

const FEATURES: &str = "\
CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '10 minutes',
        dedupe = 'event_id', dedupe_horizon = '24 hours');
";
const VIEW: &str = "\
CREATE MATERIALIZED VIEW answers AS
SELECT student_id, count(*) AS answers FROM behavior WHERE event_type = 'answer'
GROUP BY student_id, tumble(interval '1 hour');
";
const INPUT: &str = r#"{"clock": "2026-03-02T10:30:00Z"}
{"behavior": {"event_id": "1", "student_id": "ana", "event_type": "answer", "occurred_at": "2026-03-02T10:00:00Z"}}
{"behavior": {"event_id": "2", "student_id": "ana", "event_type": "answer", "occurred_at": "2026-03-02T10:15:00Z"}}
{"clock": "2026-03-02T11:00:00Z"}
"#;

/// A folder with one table, one view beside it in a folder of its own, and one case without expectations.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "sql/behavior.sql", FEATURES);
    write(&folder, "sql/answers/answers.sql", VIEW);
    write(&folder, "sql/answers/cases/usual/input.ndjson", INPUT);
    write(&folder, "aulaflow.toml", "dataflows = [\"sql/**/*.sql\"]\n");
    folder
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn expectations_are_written_once_and_held_against_what_comes_out() {
    let folder = folder();
    let run = |more: &[&str]| said(&aulaflow(folder.path(), &[&["test", "--config", "aulaflow.toml"], more].concat()));

    let (code, out, err) = run(&[]);
    let missing = "FAILED   answers/usual\nwith 1 worker:\nsql/answers/cases/usual/expected.ndjson: is missing; `--update` \
                   writes it\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, missing, "error: 1 of 1 cases failed\n"));

    assert_eq!(run(&["--update"]), (0, "updated  answers/usual\n".to_owned(), String::new()));
    let file = folder.path().join("sql/answers/cases/usual/expected.ndjson");
    let row = r#"{"at":"2026-03-02T10:30:00Z","tenant":"school","student":"ana","view":"answers","values":{"answers":2},"window":{"start":"2026-03-02T10:00:00Z","end":"2026-03-02T11:00:00Z"}}"#;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{row}\n"));
    assert_eq!(run(&["answers"]), (0, "ok       answers/usual (1 rows)\n".to_owned(), String::new()));

    let wrong = row.replace("\"answers\":2", "\"answers\":3");
    let vanished = row.replace("10:30:00Z", "11:00:00Z");
    std::fs::write(&file, format!("{wrong}\n\n{vanished}\n")).unwrap();
    let (code, out, _) = run(&["answers/usual"]);
    let window = "from 2026-03-02T10:00:00Z to 2026-03-02T11:00:00Z";
    let expected = format!(
        "FAILED   answers/usual\nwith 1 worker:\n\
         sql/answers/cases/usual/expected.ndjson:1: ana's answers at 2026-03-02T10:30:00Z\n  \
         expected {{\"answers\":3}} {window}\n  got      {{\"answers\":2}} {window}\n\
         sql/answers/cases/usual/expected.ndjson:3: ana's answers at 2026-03-02T11:00:00Z\n  \
         expected {{\"answers\":2}} {window}\n  got      nothing\n"
    );
    assert_eq!((code, out), (1, expected));
}

#[test]
fn what_is_wrong_with_a_case_or_the_sql_is_said_at_its_place() {
    let folder = folder();
    let run = |more: &[&str]| said(&aulaflow(folder.path(), &[&["test", "--dataflows", "sql"], more].concat()));

    write(
        &folder,
        "sql/answers/cases/odd/input.ndjson",
        "{\"clock\": \"2026-03-02T10:30:00Z\"}\n{\"behaviors\": []}\n",
    );
    let (code, out, _) = run(&["answers/odd"]);
    assert_eq!(code, 1);
    assert!(out.contains("sql/answers/cases/odd/input.ndjson:2: unknown field `behaviors`"), "{out}");

    let absent = "{\"replace\": \"2 hours\", \"with\": \"3 hours\"}\n{\"clock\": \"2026-03-02T10:30:00Z\"}\n";
    write(&folder, "sql/answers/cases/odd/input.ndjson", absent);
    let (code, out, _) = run(&["answers/odd"]);
    assert!(code == 1 && out.contains("the SQL has no \"2 hours\" to replace"), "{out}");

    let (code, _, err) = run(&["answrs"]);
    assert_eq!((code, err.as_str()), (2, "error: there is no case \"answrs\"; did you mean `answers`?\n"));

    write(&folder, "sql/answers/answers.sql", &VIEW.replace("event_type", "event_typ"));
    let (code, _, err) = run(&[]);
    assert!(code == 2 && err.starts_with("sql/answers/answers.sql:2:60: error: column \"event_typ\""), "{code} {err}");

    std::fs::remove_dir_all(folder.path().join("sql/answers")).unwrap();
    let (code, _, err) = run(&[]);
    assert!(code == 2 && err.contains("no folder of SQL files has cases"), "{err}");
}

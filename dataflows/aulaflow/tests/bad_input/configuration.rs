//! `aulaflow check` and `aulaflow run` over files with faults: file, line, column, the line with a caret, what is near.

use crate::support::{FEATURES, Folder, TENANT};

/// The folder's diagnostics with one file changed, as `check` prints them; `run` refuses with the same words.
fn check_with(file: &str, text: &str) -> String {
    let folder = Folder::new();
    folder.write(file, text);
    let checked = folder.run(&["check", "--config", "aulaflow.toml"]);
    checked.failed(2, &[]);
    assert_eq!(checked.stdout, "");
    let run = folder.run(&["run", "--config", "aulaflow.toml"]);
    run.failed(2, &[&checked.stderr]);
    assert!(!folder.path().join("data").exists(), "nothing may start with a faulty configuration");
    checked.stderr
}

#[test]
fn an_unknown_column_is_shown_with_the_nearest_one() {
    let said = check_with("features.sql", &FEATURES.replace("sum(value)", "sum(vale)"));
    let expected = "\
features.sql:6:44: error: column \"vale\" does not exist
SELECT student_id, count(*) AS events, sum(vale) AS points
                                           ^~~~
help: did you mean \"value\"? known columns: event_id, student_id, event_type, value, occurred_at, context
error: the configuration has 1 error
";
    assert_eq!(said, expected);
}

#[test]
fn a_window_that_its_slide_does_not_divide_is_shown() {
    let said = check_with("features.sql", &FEATURES.replace("interval '1 hour'", "interval '5 hours'"));
    let expected = "\
features.sql:7:36: error: the window's size must be a multiple of its slide
FROM behavior GROUP BY student_id, hop(interval '5 hours', interval '7 days');
                                   ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn misspelt_keys_and_negative_weights_are_shown() {
    let said = check_with("tenants/school_1.toml", &TENANT.replace("min_passing", "min_pasing"));
    let expected = "\
tenants/school_1.toml:10:1: error: unknown key `min_pasing` in `[[rule]]`
min_pasing = 60
^~~~~~~~~~
help: did you mean `min_passing`?
error: the configuration has 1 error
";
    assert_eq!(said, expected);
    let said = check_with("tenants/school_1.toml", &TENANT.replace("0.7", "-0.7"));
    let expected = "\
tenants/school_1.toml:9:20: error: `exam` must not be negative
weights = { exam = -0.7, homework = 0.3 }
                   ^~~~
error: the configuration has 1 error
";
    assert_eq!(said, expected);
    let said = check_with("tenants/school_1.toml", "tenant = \"school_1\"\n[[rule]\n");
    assert!(said.starts_with("tenants/school_1.toml:2:"), "{said}");
}

#[test]
fn every_fault_of_every_file_is_shown_at_once() {
    let folder = Folder::new();
    let runtime = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    folder.write("aulaflow.toml", &runtime.replace("workers = 2", "wokers = 2\ntick = \"10 parsecs\""));
    folder.write("features.sql", &FEATURES.replace("count(*)", "coutn(*)"));
    folder.write("tenants/school_1.toml", &TENANT.replace("2026-06-30", "2025-06-30"));
    folder.write("tenants/school_2.toml", "tenant = \"school 2\"\n");
    let done = folder.run(&["check", "--config", "aulaflow.toml"]);
    let says = [
        "unknown key `wokers` in `[engine]`",
        "did you mean `workers`?",
        "10 parsecs",
        "coutn",
        "before its start",
        "tenants/school_2.toml:1:10: error: ",
        "error: the configuration has 5 errors",
    ];
    done.failed(2, &says);
    let again = folder.run(&["run", "--config", "aulaflow.toml"]);
    again.failed(2, &says);
}

#[test]
fn files_that_are_missing_or_no_text_are_named() {
    let folder = Folder::new();
    for command in ["check", "run"] {
        let done = folder.run(&[command, "--config", "nothing.toml"]);
        done.failed(2, &["cannot read the configuration nothing.toml", "--config"]);
        folder.run(&[command, "--config", "tenants"]).failed(2, &["cannot read the configuration tenants"]);
    }
    std::fs::write(folder.path().join("features.sql"), [0xff, 0xfe, 0x00]).unwrap();
    folder.run(&["check", "--config", "aulaflow.toml"]).failed(2, &["features.sql"]);
    std::fs::remove_file(folder.path().join("features.sql")).unwrap();
    folder.run(&["check", "--config", "aulaflow.toml"]).failed(2, &["aulaflow.toml:2:", "no file in . matches this"]);
}

/// `check` knows what the history would lose, from what an instance has left, and says it with the place.
#[test]
fn a_renamed_output_is_warned_of_before_anything_starts() {
    let folder = Folder::new();
    let check = |more: &[&str]| folder.run(&[&["check", "--config", "aulaflow.toml"], more].concat());
    folder.write("features.sql", &FEATURES.replace("serve = true", "analytics = 'daily'"));
    assert_eq!(check(&[]).stderr, "");
    let data = folder.path().join("data/analytics");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("columns.json"), r#"{"points_7d": ["clicks", "points", "updated_at"]}"#).unwrap();
    let done = check(&[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let says = [
        "features.sql:5:1: warning: the history of points_7d has columns that are no outputs any more: clicks\n",
        "(new outputs: events)",
        "`aulaflow clickhouse migrate --replace points_7d --config aulaflow.toml --data-dir data --url URL`",
    ];
    assert!(says.iter().all(|text| done.stderr.contains(text)), "{}", done.stderr);
    check(&["--deny-warnings"]).failed(2, &["1 warning"]);
    assert_eq!(check(&["--against", "elsewhere"]).stderr, "");
}

//! `aulaflow import jsonl` over bad lines and bad files, into the log and through a running instance.

use crate::support::{Done, Folder, event, events, exam, grade, with};
use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Log, TopicPartition};
use serde_json::json;
use std::collections::BTreeMap;

/// A record of a dead-letter topic.
pub struct Letter {
    pub value: Vec<u8>,
    headers: BTreeMap<String, String>,
}

impl Letter {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).cloned().unwrap_or_default()
    }
}

/// The dead letters of a topic, from the log of an instance that has stopped.
pub fn dead_letters(folder: &Folder, topic: &str) -> Vec<Letter> {
    let none: [&str; 0] = [];
    let log = EmbeddedLog::open(EmbeddedConfig::new(folder.path().join("data/log"), none)).unwrap();
    let topic = format!("{topic}.dlq");
    let mut letters = Vec::new();
    for partition in 0..log.partitions(&topic).unwrap() {
        let fetched = log.read(&TopicPartition { topic: topic.clone(), partition }, 0, 16 << 20).unwrap();
        for record in fetched.records.iter() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
            letters.push(Letter { value: record.value.unwrap().to_vec(), headers });
        }
    }
    letters
}

fn import(folder: &Folder, topic: &str, more: &[&str]) -> Done {
    let arguments = ["import", "jsonl", "--config", "aulaflow.toml", "--tenant", "school_1", "--topic", topic];
    folder.run(&[&arguments, more].concat())
}

const BAD: [&str; 3] = ["not json", "{\"event_id\": \"x\"}", "[1, 2]"];

/// Five good events and three bad lines among them.
fn mixed(prefix: &str) -> String {
    let good = |i: u32| event(&format!("{prefix}{i}"), "s1");
    format!("{}\n{}\n{}\n{}\n\n{}\n{}\n{}\n{}", good(1), BAD[0], good(2), BAD[1], good(3), BAD[2], good(4), good(5))
}

/// What was said of the mixed lines; it is no success, unless they are allowed for.
fn counted(done: &Done, code: i32) {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    let says = [
        "imported 5 events",
        "refused 3: they are on the dead-letter topic",
        "line 2: is not JSON",
        "line 4: ",
        "/student_id: is required",
        "line 7: ",
    ];
    for text in says {
        assert!(done.stdout.contains(text), "{text:?} is not in {}", done.stdout);
    }
}

#[test]
fn bad_lines_are_counted_and_kept_and_good_ones_are_visible() {
    let folder = Folder::new();
    folder.write("first.jsonl", &mixed("a"));
    folder.write("second.jsonl", &mixed("b"));
    // Straight into the log, then through an instance; what is imported twice counts once.
    let done = import(&folder, "behavior", &["first.jsonl"]);
    counted(&done, 1);
    done.failed(1, &["3 of 8 events were refused", "--allow-bad 3"]);
    let instance = folder.start();
    for (code, allowed) in [(1, "2"), (0, "3")] {
        let more = ["--url", &instance.url, "--wait", "--allow-bad", allowed, "second.jsonl"];
        counted(&import(&folder, "behavior", &more), code);
    }
    let service = instance.caller("service");
    assert_eq!(events(&service.profile("s1").unwrap()), 10);
    instance.finish();

    let letters = dead_letters(&folder, "aula.behavior.v1");
    let texts: Vec<_> = letters.iter().map(|letter| String::from_utf8(letter.value.clone()).unwrap()).collect();
    assert_eq!(texts, [BAD; 3].concat(), "the original bytes");
    for letter in &letters {
        assert_eq!(letter.header("source-topic"), "aula.behavior.v1");
        for name in ["error", "error-class", "failed-at"] {
            assert!(!letter.header(name).is_empty(), "{name}");
        }
    }
}

#[test]
fn a_file_of_nothing_good_is_a_failure_of_the_import() {
    let folder = Folder::new();
    folder.write("empty.jsonl", "");
    folder.write("blank.jsonl", "\n  \n\r\n");
    folder.write("bad.jsonl", "oops\n");
    let instance = folder.start();
    // The running instance holds the log.
    import(&folder, "behavior", &["empty.jsonl"]).failed(1, &["in use by another process"]);
    let nothing = "nothing was imported: the input has no events";
    let files = [("empty.jsonl", nothing), ("blank.jsonl", nothing), ("bad.jsonl", "1 of 1 events were refused")];
    for (file, says) in files {
        import(&folder, "behavior", &["--url", &instance.url, "--wait", file]).failed(1, &[says]);
    }
    instance.finish();
    import(&folder, "behavior", &["empty.jsonl"]).failed(1, &[nothing]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = Folder::new();
    import(&folder, "behavior", &["missing.jsonl"]).failed(1, &["cannot read missing.jsonl", "No such file"]);
    import(&folder, "behavior", &["tenants"]).failed(1, &["tenants", "directory"]);
    assert!(!folder.path().join("data").exists(), "there was nothing to write");
    folder.write("ok.jsonl", &event("e1", "s1").to_string());
    import(&folder, "behaviour", &["ok.jsonl"]).failed(2, &["'behavior'"]);
    // Nobody listens on this port, and no test can be given it.
    let url = "http://127.0.0.1:1";
    import(&folder, "behavior", &["--url", url, "ok.jsonl"]).failed(1, &["nothing answers at", "check --url"]);
    import(&folder, "behavior", &["--wait", "ok.jsonl"])
        .failed(1, &["--wait needs a running instance", "aulaflow run"]);
}

/// A line that is larger than a record may be is a dead letter; one larger than a request may be is counted. The others
/// are on the log.
#[test]
fn long_lines_keep_nothing_else_from_the_log() {
    let folder = Folder::new();
    let long = |id: &str, bytes: usize| with(event(id, "s1"), json!({ "context": { "t": "x".repeat(bytes) } }));
    let lines = [event("1", "s1"), long("2", 5_000_000), event("3", "s1"), long("4", 9 << 20), event("5", "s1")];
    let lines = lines.map(|line| line.to_string()).join("\n");
    folder.write("long.jsonl", &lines);
    let says = ["imported 3 events", "refused 1: they are on the dead-letter topic", "left out 1, too long"];
    let taken = |done: &Done| {
        done.failed(1, &["2 of 5 events were refused"]);
        assert!(says.iter().all(|text| done.stdout.contains(text)), "{}", done.stdout);
        assert!(done.stdout.contains("line 2: ") && done.stdout.contains("line 4: "), "{}", done.stdout);
    };
    taken(&import(&folder, "behavior", &["long.jsonl"]));
    let instance = folder.start();
    assert_eq!(events(&instance.caller("service").events_of("s1", 3)), 3);
    taken(&import(&folder, "behavior", &["--url", &instance.url, "--wait", "long.jsonl"]));
    assert_eq!(events(&instance.caller("service").profile("s1").unwrap()), 3);
    instance.finish();
    let letters = dead_letters(&folder, "aula.behavior.v1");
    assert_eq!(letters.iter().map(|letter| letter.value.len() > 5_000_000).collect::<Vec<_>>(), [true, true]);
}

/// A misspelt tenant takes nothing, unless that is said; nothing is made on the disk for it.
#[test]
fn a_tenant_that_nobody_knows_is_refused() {
    let folder = Folder::new();
    folder.write("ok.jsonl", &event("e1", "s1").to_string());
    let of = |tenant: &str, more: &[&str]| {
        let arguments =
            ["import", "jsonl", "--config", "aulaflow.toml", "--topic", "behavior", "--tenant", tenant, "ok.jsonl"];
        folder.run(&[&arguments, more].concat())
    };
    of("shool_1", &[]).failed(2, &["there is no tenant shool_1", "did you mean school_1?", "--create"]);
    assert!(!folder.path().join("data").exists());
    let instance = folder.start();
    of("shool_1", &["--url", &instance.url]).failed(2, &["did you mean school_1?"]);
    assert_eq!(of("school_2", &["--url", &instance.url, "--create", "--wait"]).code, Some(0));
    instance.finish();
}

/// The rules of a tenant's file hold for an import into a log that no instance has opened yet.
#[test]
fn the_rules_of_a_tenants_file_hold_for_the_first_import() {
    let folder = Folder::new();
    let bonus = with(exam("b1", "s1", 110), json!({ "subject": "bonus" }));
    let lines = format!("{bonus}\n{}\n", exam("e1", "s1", 110));
    folder.write("exams.jsonl", &lines);
    let done = import(&folder, "evaluations", &["--allow-bad", "1", "exams.jsonl"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let says = ["imported 1 events", "refused 1", "line 2: /score: is above `max_score`, 100"];
    assert!(says.iter().all(|text| done.stdout.contains(text)), "{}", done.stdout);
    let instance = folder.start();
    let profile = instance.caller("teacher").profile_when("s1", |_| true);
    assert_eq!(grade(&profile, "bonus", "P1").unwrap()["score"], "110.00");
    instance.finish();
}

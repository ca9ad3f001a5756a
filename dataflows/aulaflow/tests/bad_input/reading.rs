//! Commands that only read: where there is nothing to read they make nothing, say so, and do not succeed.

use crate::support::Folder;
use std::path::{Path, PathBuf};

/// Every command of the program, and the arguments with which it would read; `None`: it writes, or needs no data.
const COMMANDS: &[(&str, &[&[&str]])] = &[
    ("run", &[]),
    ("check", &[]),
    ("plan", &[&["plan", "--against", "data/state"]]),
    ("test", &[&["test", "--dataflows", "nothing"]]),
    ("import", &[]),
    ("token", &[]),
    ("lag", &[&["lag"]]),
    ("verify", &[&["verify"], &["verify", "--url", "http://127.0.0.1:1"], &["verify", "--dump", "-"]]),
    (
        "dlq",
        &[
            &["dlq", "list"],
            &["dlq", "list", "--summary"],
            &["dlq", "show", "aula.behavior.v1/0/0"],
            &["dlq", "replay", "--yes"],
        ],
    ),
    ("resume", &[&["resume", "aula.behavior.v1"]]),
    ("demo", &[]),
    ("topics", &[&["topics", "check"]]),
    ("clickhouse", &[&["clickhouse", "check"]]),
    ("pseudonym", &[&["pseudonym", "--tenant", "school_1", "--student", "s1"]]),
    ("lake", &[&["lake", "export", "--to", "lake"]]),
];

fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn what_only_reads_makes_nothing_and_does_not_succeed_over_nothing() {
    let folder = Folder::new();
    let before = tree(folder.path());
    for arguments in COMMANDS.iter().flat_map(|(_, calls)| calls.iter()) {
        let mut all = arguments.to_vec();
        if arguments[0] != "test" {
            all.extend(["--config", "aulaflow.toml"]);
        }
        let done = folder.run(&all);
        assert!(matches!(done.code, Some(1 | 2)), "{arguments:?} ends with {:?}: {}", done.code, done.stdout);
        assert!(done.stderr.contains("error"), "{arguments:?} says {:?}", done.stderr);
        assert_eq!(tree(folder.path()), before, "{arguments:?}");
    }
}

/// A new command has to say here whether it only reads.
#[test]
fn every_command_is_in_the_list() {
    let help = Folder::new().run(&["--help"]).stdout;
    let listed = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> =
        names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert_eq!(names, COMMANDS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

/// An instance's own log cannot be read beside it, and the answer to that is no "0 differences".
#[test]
fn verify_beside_an_embedded_instance_says_what_to_do() {
    let folder = Folder::new();
    let instance = folder.start();
    let verify = |more: &[&str]| folder.run(&[&["verify", "--config", "aulaflow.toml"], more].concat());
    for more in [&[][..], &["--url", &instance.url]] {
        verify(more).failed(1, &["an embedded log belongs to one process at a time", "Stop it"]);
    }
    verify(&["--data-dir", "elsewhere"]).failed(1, &["there is no log in elsewhere", "--data-dir"]);
    assert!(!folder.path().join("elsewhere").exists());
    instance.finish();
    // The log is there, and nothing is on it but the tenant.
    verify(&[]).failed(1, &["nothing was compared"]);
}

/// A folder that cannot be looked into is not one without a log.
#[test]
fn a_log_that_cannot_be_read_is_not_said_to_be_missing() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("elsewhere")).unwrap();
    // Also root cannot list a file.
    std::fs::write(folder.path().join("elsewhere/log"), "no folder").unwrap();
    let verify = folder.run(&["verify", "--config", "aulaflow.toml", "--data-dir", "elsewhere"]);
    assert!(!verify.stderr.contains("there is no log"), "{}", verify.stderr);
    verify.failed(1, &["the log in elsewhere/log cannot be read"]);
}

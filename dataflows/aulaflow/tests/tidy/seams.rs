//! Rules that keep the seams of the repository what its documents say: sinks and their suites, topics and their table, paths that
//! are named and are there.

use super::{files, is_test, none};
use std::collections::BTreeSet;
use std::path::Path;

/// Written apart, so that this file does not find itself.
const KINDS: &[(&str, &[&str])] = &[
    (concat!("impl Idempotent", "Sink for "), &["conformance::check(", "conformance::replay_changes_nothing("]),
    (concat!("impl Transaction", "Writer for "), &["check_transactional("]),
];

/// Ends of sinks that no suite can judge by what readers see, and what judges them.
const JUDGED_OTHERWISE: &[(&str, &str)] = &[
    ("dataflows/engine/src/proof/stepper.rs", "the proof's own: it asserts `before` of every update"),
    ("dataflows/engine/src/sampler.rs", "it shows nothing: `tests/it/ask.rs` looks at what it compares"),
    ("sinks/clickhouse/src/queue.rs", "its recorder answers to `tests/it/model.rs`, with crashes and lost answers"),
    ("sinks/sink/src/fanout.rs", "the sinks of its own tests note their calls"),
];

#[test]
fn every_sink_runs_the_suite_of_its_kind() {
    let all = files("rs");
    let mut faults = Vec::new();
    let mut excused = BTreeSet::new();
    for (path, text) in all.iter().filter(|(path, _)| !is_test(path)) {
        for (kind, suites) in KINDS.iter().filter(|(kind, _)| text.contains(kind)) {
            if let Some((excuse, _)) = JUDGED_OTHERWISE.iter().find(|(excuse, _)| Path::new(excuse) == path) {
                excused.insert(*excuse);
                continue;
            }
            let krate = path.iter().take_while(|part| *part != "src").collect::<std::path::PathBuf>();
            let runs = |(other, text): &(std::path::PathBuf, String)| {
                other.starts_with(krate.join("tests")) && suites.iter().any(|suite| text.contains(suite))
            };
            if !all.iter().any(runs) {
                faults.push(format!(
                    "{}: `{kind}…`, and no test of {} calls {}",
                    path.display(),
                    krate.display(),
                    suites[0]
                ));
            }
        }
    }
    let idle = JUDGED_OTHERWISE.iter().filter(|(excuse, _)| !excused.contains(excuse));
    faults.extend(idle.map(|(excuse, _)| format!("{excuse} needs no excuse")));
    none(faults);
}

#[test]
fn a_topic_s_name_stands_in_the_table_alone() {
    let table = Path::new("dataflows/model/src/topic.rs");
    let mut faults = Vec::new();
    for (path, text) in files("rs").into_iter().filter(|(path, _)| !is_test(path) && path != table) {
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
        for (number, line) in code.enumerate() {
            let is_name = |literal: &&str| literal.starts_with("aula.") && literal.ends_with(".v1");
            if let Some(name) = line.split('"').skip(1).step_by(2).find(is_name) {
                faults.push(format!(
                    "{}:{}: {name:?} is a constant of {}",
                    path.display(),
                    number + 1,
                    table.display()
                ));
            }
        }
    }
    none(faults);
}

#[test]
fn paths_that_documents_name_are_there() {
    let there: Vec<_> = ["rs", "md", "sql", "py"].into_iter().flat_map(files).collect();
    let is_there = |name: &str| {
        let name = Path::new(name.trim_end_matches('/'));
        there.iter().any(|(path, _)| path.ancestors().any(|part| part.ends_with(name) && !name.as_os_str().is_empty()))
    };
    let mut faults = Vec::new();
    for (path, text) in files("md") {
        if !["ARCHITECTURE.md", "CONTRIBUTING.md"].iter().any(|document| path == Path::new(document)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            // Every second part is between backticks.
            for name in line.split('`').skip(1).step_by(2).filter(|name| is_path(name)) {
                if !is_there(name) {
                    faults.push(format!("{}:{}: there is no {name}", path.display(), number + 1));
                }
            }
        }
    }
    none(faults);
}

/// Whether a text between backticks names a file in a folder, or by its last slash a folder in another.
fn is_path(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let is_file = ["rs", "py", "sql"].iter().any(|e| Path::new(text).extension().is_some_and(|x| x == *e));
    let is_ours = !text.starts_with(['/', '.']) && !text.contains("..");
    plain && is_ours && text.trim_end_matches('/').contains('/') && (is_file || text.ends_with('/'))
}

#[test]
fn paths_are_told_from_other_texts() {
    for path in ["dataflows/plan/src/sql/functions/", "tests/tidy.rs", "engine/src/fold.rs", "views/views.sql"] {
        assert!(is_path(path), "{path}");
    }
    for other in ["a/b", "/v1/rules/", "make demo", "*.rs", "tidy.rs", "data/", "http://a/b.rs", "../shared/a.rs"] {
        assert!(!is_path(other), "{other}");
    }
}

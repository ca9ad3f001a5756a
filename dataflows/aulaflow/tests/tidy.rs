//! Rules of the repository that no compiler checks: who may depend on whom, which licences come with the product, and
//! the house style where a machine can see it. What the programs do is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "tidy/seams.rs"]
mod seams;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Our crates and what each may know of the others, in its own code (tests may know more). `ARCHITECTURE.md` tells the
/// same; a crate that is not here fails the test.
const MAY_KNOW: &[(&str, &[&str], &str)] = &[
    ("aulaflow-model", &[], "the language that everybody speaks; it must not know who speaks it"),
    ("aulaflow-plan", &["model"], "checking a configuration needs no log, no dataflow and no server"),
    ("aulaflow-log", &["model"], "it stores records; what they mean is not its business"),
    ("aulaflow-state", &[], "it keeps rows of bytes; what they mean is not its business"),
    (
        "aulaflow-engine",
        &["model", "plan", "log", "state", "sink"],
        "updates leave through the traits of sinks; it knows no concrete one",
    ),
    ("aulaflow-sink", &["model"], "the traits are written against updates, not against who makes them"),
    ("aulaflow-serving", &["model", "sink"], "readers must be able to have it without the dataflows"),
    (
        "aulaflow-changelog",
        &["model", "log", "sink", "serving"],
        "it copies a store to the log and back; who fills the store is not its business",
    ),
    ("aulaflow-json-lines", &["model", "sink"], "an example: it has what every sink needs, and nothing else"),
    (
        "aulaflow-clickhouse",
        &["model", "plan", "log", "sink", "serving"],
        "it records what is shown and copies the log; who shows it is not its business",
    ),
    (
        "aulaflow-embedded-clickhouse",
        &[],
        "it runs ClickHouse behind ClickHouse's own interface; who writes to it and what is not its business",
    ),
    ("aulaflow-query-api", &["model", "log", "serving"], "the edge writes to the log and reads the store, no more"),
    (
        "aulaflow",
        &[
            "model",
            "plan",
            "log",
            "state",
            "engine",
            "sink",
            "serving",
            "changelog",
            "clickhouse",
            "embedded-clickhouse",
            "query-api",
        ],
        "the only one that sees all",
    ),
    (
        "aulaflow-bench",
        &["model", "plan", "log", "engine", "sink", "serving", "clickhouse", "embedded-clickhouse", "query-api"],
        "it measures all",
    ),
];

/// Libraries that must not come near a crate, by any way.
const MUST_NOT_REACH: &[(&str, &[&str], &str)] = &[
    (
        "aulaflow-model",
        &["timely", "tokio", "fjall", "axum", "sqlparser", "toml_edit"],
        "pure: no I/O, no SQL, no files",
    ),
    ("aulaflow-plan", &["timely", "tokio", "fjall", "axum"], "pure: `aulaflow check` starts nothing"),
    ("aulaflow-log", &["timely", "tokio", "axum"], "a library of threads: any runtime can call it"),
    ("aulaflow-state", &["timely", "tokio", "fjall", "axum"], "files and threads, nothing else"),
    ("aulaflow-engine", &["tokio", "axum"], "workers park and never await"),
    ("aulaflow-sink", &["timely", "tokio", "fjall", "axum"], "a sink chooses its own runtime and storage"),
    ("aulaflow-serving", &["timely", "tokio", "fjall", "axum"], "memory only; a read must not wait for anything"),
    ("aulaflow-changelog", &["timely", "tokio", "axum"], "a replica runs no dataflow"),
    (
        "aulaflow-clickhouse",
        &["timely", "differential-dataflow", "axum"],
        "it records what is shown, and runs no dataflow",
    ),
    ("aulaflow-embedded-clickhouse", &["timely", "fjall"], "another process than the dataflows'"),
    ("aulaflow-query-api", &["timely", "differential-dataflow"], "the edge never sees the dataflows"),
];

/// Licences that a distribution of the program may carry. `A OR B` needs one of them, `A AND B` both.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// About 500 is the aim; this is where a file must be split.
const LINES_MAX: usize = 600;

/// Written apart, so that this file does not find itself.
const NOT_IN_CODE: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[", "ignore]"),
    concat!("#[", "ignore ="),
];

#[test]
fn crates_know_only_what_they_may() {
    let metadata = Metadata::read();
    let mut faults = Vec::new();
    for name in &metadata.members {
        if !MAY_KNOW.iter().any(|(known, ..)| known == name) {
            faults.push(format!("{name} is not in MAY_KNOW"));
        }
    }
    for (name, allowed, why) in MAY_KNOW {
        for other in metadata.direct(name).intersection(&metadata.members) {
            let short = other.strip_prefix("aulaflow-").unwrap_or(other);
            if !allowed.contains(&short) {
                faults.push(format!("{name} depends on {other}: {why}"));
            }
        }
    }
    for (name, libraries, why) in MUST_NOT_REACH {
        let reached = metadata.reached(name);
        for library in libraries.iter().filter(|library| reached.contains(**library)) {
            faults.push(format!("{name} reaches {library}: {why}"));
        }
    }
    none(faults);
}

#[test]
fn dependencies_have_licences_that_may_be_shipped() {
    let metadata = Metadata::read();
    let mut faults = Vec::new();
    for (name, licence) in &metadata.licences {
        match licence {
            Some(text) if licence_is_allowed(text) => {}
            Some(text) => faults.push(format!("{name}: the licence {text:?} is not allowed")),
            None => faults.push(format!("{name} names no licence")),
        }
    }
    none(faults);
}

#[test]
fn licence_expressions_are_read() {
    for allowed in ["MIT", "MIT/Apache-2.0", "GPL-2.0-only OR MIT", "(MIT OR GPL-2.0) AND Unicode-3.0"] {
        assert!(licence_is_allowed(allowed), "{allowed}");
    }
    assert!(licence_is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only"));
    for refused in ["GPL-3.0-only", "MIT AND GPL-2.0-only", "(MIT OR Apache-2.0) AND SSPL-1.0", "MIT OR", "(MIT", ""] {
        assert!(!licence_is_allowed(refused), "{refused}");
    }
}

#[test]
fn files_open_with_what_lives_in_them() {
    let without = files("rs").into_iter().filter(|(_, text)| !text.starts_with("//!"));
    none(without.map(|(path, _)| format!("{}: does not open with `//!`", path.display())));
}

#[test]
fn files_are_not_too_long() {
    let mut faults = Vec::new();
    for (path, text) in files("rs").into_iter().filter(|(path, _)| !is_test(path)) {
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines without its tests, at most {LINES_MAX}", path.display()));
        }
    }
    none(faults);
}

#[test]
fn nothing_is_left_for_later() {
    let mut faults = Vec::new();
    for (path, text) in files("rs") {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = NOT_IN_CODE.iter().find(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn unsafe_code_is_in_one_file() {
    // Written apart, so that this file does not find itself.
    let words = [
        concat!("un", "safe {"),
        concat!("un", "safe fn"),
        concat!("un", "safe impl"),
        concat!("allow(un", "safe_code"),
    ];
    let allowed = Path::new("sinks/embedded-clickhouse/src/library.rs");
    let with =
        files("rs").into_iter().filter(|(path, text)| path != allowed && words.iter().any(|word| text.contains(word)));
    none(with.map(|(path, _)| format!("{}: only {} may have such code", path.display(), allowed.display())));
}

#[test]
fn the_code_map_has_every_crate_once() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut faults = Vec::new();
    for folder in Metadata::read().folders {
        let title = format!("`{folder}/`");
        let titles = text.lines().filter(|line| line.starts_with("### ") && line.contains(&title)).count();
        if titles != 1 {
            faults.push(format!("ARCHITECTURE.md has {titles} titles with {title}"));
        }
    }
    none(faults);
}

#[test]
fn decisions_have_their_four_parts() {
    let mut faults = Vec::new();
    let index = std::fs::read_to_string(root().join("docs/decisions/README.md")).unwrap();
    for (path, text) in files("md").into_iter().filter(|(path, _)| path.starts_with("docs/decisions")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let titles: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
        if titles != ["## Context", "## Choice", "## Rejected alternatives", "## What would change it"] {
            faults.push(format!("{}: its parts are {titles:?}", path.display()));
        }
        if !index.contains(&format!("({name})")) {
            faults.push(format!("docs/decisions/README.md does not list {name}"));
        }
    }
    none(faults);
}

#[test]
fn links_between_pages_resolve() {
    let mut faults = Vec::new();
    for (path, text) in files("md") {
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let folder = root().join(&path).parent().unwrap().to_owned();
            if !file.is_empty() && !folder.join(file).exists() {
                faults.push(format!("{}: there is no {target}", path.display()));
            }
        }
    }
    none(faults);
}

/// The relative targets of `[text](target)`, outside of code.
fn links(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        // Every second part is between backticks.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in prose.split("](").skip(1).filter(|_| !in_code) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// What `cargo metadata` says of this platform.
struct Metadata {
    /// Our crates' names.
    members: BTreeSet<String>,
    /// Their folders, relative to the root.
    folders: Vec<String>,
    /// Every package's licence.
    licences: BTreeMap<String, Option<String>>,
    /// Names of packages that a package's own code depends on.
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Metadata {
    fn read() -> Self {
        let host = run(&["-vV"]).lines().find_map(|l| l.strip_prefix("host: ").map(str::to_owned)).unwrap();
        // Only of this platform: other platforms' packages need not be on this machine.
        let json = run(&["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &host]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let packages = list(&json["packages"]);
        let name_of: BTreeMap<_, _> = packages.iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let member_ids: BTreeSet<_> = list(&json["workspace_members"]).iter().map(text).collect();
        let workspace = text(&json["workspace_root"]);
        let folder = |p: &Value| {
            let manifest = PathBuf::from(text(&p["manifest_path"]));
            manifest.parent().unwrap().strip_prefix(&workspace).unwrap().to_string_lossy().into_owned()
        };
        let ours = packages.iter().filter(|p| member_ids.contains(&text(&p["id"])));
        let mut dependencies: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for node in list(&json["resolve"]["nodes"]) {
            // A kind of null is a normal dependency: neither of the tests nor of a build script.
            let normal = |d: &&Value| d["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            let names = list(&node["deps"]).iter().filter(normal).map(|d| name_of[&text(&d["pkg"])].clone()).collect();
            // Two versions of a package count as one.
            let of: BTreeSet<String> = names;
            dependencies.entry(name_of[&text(&node["id"])].clone()).or_default().extend(of);
        }
        Self {
            members: ours.clone().map(|p| text(&p["name"])).collect(),
            folders: ours.map(folder).collect(),
            licences: packages.iter().map(|p| (text(&p["name"]), p["license"].as_str().map(str::to_owned))).collect(),
            dependencies,
        }
    }

    fn direct(&self, name: &str) -> &BTreeSet<String> {
        self.dependencies.get(name).unwrap_or_else(|| panic!("{name} is not in the workspace"))
    }

    fn reached(&self, name: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![name];
        while let Some(name) = waiting.pop() {
            for next in self.dependencies.get(name).into_iter().flatten() {
                if reached.insert(next.as_str()) {
                    waiting.push(next);
                }
            }
        }
        reached
    }
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether an SPDX expression can be met with the licences above. An old `A/B` means `A OR B`.
fn licence_is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    alternatives(&mut words) == Some(true) && words.is_empty()
}

/// `a OR b OR …`; `None` where the expression is not one.
fn alternatives(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = requirements(words)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        allowed |= requirements(words)?;
    }
    Some(allowed)
}

/// `a AND b AND …`, which binds closer.
fn requirements(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = licence(words)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        allowed &= licence(words)?;
    }
    Some(allowed)
}

fn licence(words: &mut &[&str]) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let inner = alternatives(words)?;
            *words = words.strip_prefix(&[")"])?;
            Some(inner)
        }
        [id, "WITH", exception, rest @ ..] => {
            *words = rest;
            Some(LICENCES.contains(&format!("{id} WITH {exception}").as_str()))
        }
        [id, rest @ ..] if !["OR", "AND", "WITH", ")"].contains(id) => {
            *words = rest;
            Some(LICENCES.contains(id))
        }
        _ => None,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

/// The repository's files of a kind, with paths relative to the root, in order.
fn files(extension: &str) -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "data", "node_modules"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// All faults at once.
fn none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

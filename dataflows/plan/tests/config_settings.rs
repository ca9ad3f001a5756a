//! The reference page of the settings and the commented-out defaults of `configs/local.toml` against the code that
//! reads them. `UPDATE_EXPECT=1` rewrites the page.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_plan::{Setting, Severity, Source, compile, parse_runtime, settings};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const INTRODUCTION: &str = "\
# Settings

Every setting of the runtime file, the one that `--config` names. An empty file runs. Unknown keys, wrong types and
values out of range are errors, reported all at once with file, line and column by `aulaflow check`.

Durations are texts of a whole number and a unit: milliseconds (ms), seconds (s), minutes (min), hours (h), days (d)
or weeks (w). Sizes are texts with bytes, KiB, MiB, GiB, kB, MB or GB. Paths are relative to the working directory;
the patterns of `dataflows` and `tenants` are relative to the folder of the runtime file.

`configs/local.toml` shows each setting in its place. Tenants' files are described in `configs/tenants/`.

This page is made from the code: `UPDATE_EXPECT=1 cargo test -p aulaflow-plan --test config_settings`.
";

/// The table that a setting stands in, and its name there.
fn table_and_name(setting: &Setting) -> (String, &str) {
    match setting.key.rsplit_once('.') {
        None => (String::new(), &setting.key),
        Some((table, name)) => match table.strip_suffix("[]") {
            Some(table) => (format!("[[{table}]]"), name),
            None => (format!("[{table}]"), name),
        },
    }
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut current = None;
    for setting in settings() {
        let (table, name) = table_and_name(&setting);
        if current.as_ref() != Some(&table) {
            let title = if table.is_empty() { "Top level".to_owned() } else { format!("`{table}`") };
            write!(page, "\n## {title}\n\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n")
                .unwrap();
            current = Some(table);
        }
        let default = match setting.default.as_str() {
            words @ ("none" | "required") => words.to_owned(),
            words if words.starts_with("half") => words.to_owned(),
            value => format!("`{value}`"),
        };
        let Setting { kind, range, meaning, .. } = &setting;
        writeln!(page, "| `{name}` | {kind} | {default} | {range} | {meaning} |").unwrap();
    }
    page
}

#[test]
fn the_reference_page_is_fresh() {
    let path = workspace().join("docs/reference/settings.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/reference/settings.md is stale: run this test with UPDATE_EXPECT=1");
}

/// `key = value` lines of a file with the table they stand in; commented-out ones too.
fn lines_of(text: &str) -> Vec<(String, String)> {
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') {
            table = line.split_inclusive(']').collect::<String>();
        } else {
            lines.push((table.clone(), line.to_owned()));
        }
    }
    lines
}

#[test]
fn local_toml_shows_every_setting_with_its_default() {
    let text = fs::read_to_string(workspace().join("configs/local.toml")).unwrap();
    let lines = lines_of(&text);
    for setting in settings() {
        let (table, name) = table_and_name(&setting);
        let start = format!("{name} = ");
        let shown = lines.iter().find(|(t, line)| *t == table && line.starts_with(&start));
        let (_, line) = shown.unwrap_or_else(|| panic!("configs/local.toml does not show `{}`", setting.key));
        // Patterns, keys and what has no default are examples there.
        let example = ["[[auth.key]]", "[[clickhouse.retention.tenant]]"].contains(&table.as_str())
            || ["none", "[]"].contains(&setting.default.as_str());
        if !example && setting.key != "engine.workers" {
            assert_eq!(*line, format!("{start}{}", setting.default), "{}", setting.key);
        }
    }
}

/// Uncommenting the defaults changes nothing: they are what the reader says they are.
#[test]
fn written_defaults_are_the_defaults() {
    let mut text = String::new();
    for setting in settings().iter().filter(|s| !s.key.contains("[]") && s.key != "engine.workers") {
        if setting.default != "none" {
            writeln!(text, "{} = {}", setting.key, setting.default).unwrap();
        }
    }
    let plan = |text: &str| {
        let (file, diagnostics) = parse_runtime(&Source::new("runtime.toml", text));
        assert!(diagnostics.iter().all(|d| d.severity == Severity::Warning), "{diagnostics:?}");
        format!("{:?}", compile(file.unwrap(), &[], &[]).unwrap().runtime)
    };
    assert_eq!(plan(&text), plan(""));
}

#[test]
fn settings_have_one_place_and_say_what_they_do() {
    let settings = settings();
    let mut keys: Vec<&str> = settings.iter().map(|s| s.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), settings.len());
    assert!(settings.iter().all(|s| !s.meaning.is_empty() && !s.meaning.contains('|')));
}

/// The files that a pattern of ours matches: a folder, and a name in which one `*` may stand.
fn sources(pattern: &str) -> Vec<Source> {
    let (folder, name) = pattern.rsplit_once('/').unwrap();
    let (start, ending) = name.split_once('*').unwrap_or((name, ""));
    let entries = fs::read_dir(workspace().join("configs").join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(start) && name.ends_with(ending)).collect();
    names.sort();
    assert!(!names.is_empty(), "{pattern} matches nothing");
    let path = |name: &String| workspace().join("configs").join(folder).join(name);
    names.iter().map(|name| Source::new(name.as_str(), fs::read_to_string(path(name)).unwrap())).collect()
}

/// The configurations that we ship, with the files that their patterns match.
#[test]
fn shipped_configurations_compile_without_warnings() {
    for name in ["local.toml", "oulad.toml", "demo.toml"] {
        let text = fs::read_to_string(workspace().join("configs").join(name)).unwrap();
        let (file, diagnostics) = parse_runtime(&Source::new(name, text));
        assert_eq!(diagnostics, [], "{name}");
        let file = file.unwrap();
        let tenants: Vec<Source> = file.tenants.iter().flat_map(|pattern| sources(&pattern.text)).collect();
        let sql: Vec<Source> = file.dataflows.iter().flat_map(|pattern| sources(&pattern.text)).collect();
        let plan = compile(file, &tenants, &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)));
        assert_eq!(plan.warnings, [], "{name}");
        assert_eq!(plan.tenants.len(), tenants.len());
        assert!(!plan.views.is_empty(), "{name}");
    }
}

/// Every feature that we ship is in some configuration that we ship.
#[test]
fn no_dataflow_is_forgotten() {
    let texts =
        ["local.toml", "oulad.toml"].map(|name| fs::read_to_string(workspace().join("configs").join(name)).unwrap());
    for entry in fs::read_dir(workspace().join("configs/dataflows")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            texts.iter().any(|text| text.contains(&format!("\"dataflows/{name}"))),
            "{name} is in no configuration"
        );
    }
}

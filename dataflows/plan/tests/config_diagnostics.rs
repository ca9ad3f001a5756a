//! Wrong configurations and everything that is printed about them: `tests/bad/**` beside their `.expected` files.
//! `UPDATE_EXPECT=1 cargo test -p aulaflow-plan` rewrites those; read the difference before keeping it.
//!
//! `bad/runtime/*.toml`, `bad/tenant/*.toml` and `bad/sql/*.sql` are one file each, checked beside files that are
//! right. A folder in `bad/together` or `ok` is a whole configuration: `runtime.toml`, `*.tenant.toml`, `*.sql`.
//! What is in `ok` compiles; its `.expected` file holds the warnings, if there are any.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_plan::diagnostic::sort;
use aulaflow_plan::{Diagnostic, Plan, Source, compile, parse_runtime, render};
use std::fs;
use std::path::{Path, PathBuf};

const RUNTIME: &str = "[[auth.key]]\nid = 'test'\nalgorithm = 'HS256'\nsecret = '0123456789abcdef0123456789abcdef'\n";

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The entries of a folder with this ending, in the order of their names.
fn entries(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut listed: Vec<PathBuf> = listed.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    listed.sort();
    listed
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder, "").into_iter().filter(|path| path.is_dir()).collect()
}

fn source(path: &Path) -> Result<Source, Box<Diagnostic>> {
    Source::from_bytes(path.file_name().unwrap().to_str().unwrap(), fs::read(path).unwrap())
}

/// What `aulaflow check` does with a configuration's texts.
fn check(runtime: &Source, tenants: &[PathBuf], sql: &[PathBuf]) -> Result<Plan, Vec<Diagnostic>> {
    let (file, mut diagnostics) = parse_runtime(runtime);
    let mut read = |paths: &[PathBuf]| -> Vec<Source> {
        let keep = |path: &PathBuf| source(path).map_err(|diagnostic| diagnostics.push(*diagnostic)).ok();
        paths.iter().filter_map(keep).collect()
    };
    let (tenants, sql) = (read(tenants), read(sql));
    let Some(file) = file else { return Err(diagnostics) };
    match compile(file, &tenants, &sql) {
        Ok(plan) if diagnostics.iter().all(|d| plan.warnings.contains(d)) => Ok(plan),
        Ok(_) => Err(diagnostics),
        Err(all) => {
            diagnostics.extend(all);
            sort(&mut diagnostics);
            Err(diagnostics)
        }
    }
}

/// Compares with `case.expected`, or writes it. Nothing printed and no file is fine.
fn compare(case: &Path, printed: &str, failures: &mut Vec<String>) {
    let expected_path = case.with_extension("expected");
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    if expected == printed {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&expected_path, printed).unwrap();
    } else {
        failures.push(format!("--- {}\nexpected:\n{expected}\nprinted:\n{printed}", case.display()));
    }
}

fn expect_faults(case: &Path, outcome: Result<Plan, Vec<Diagnostic>>, failures: &mut Vec<String>) {
    match outcome {
        Ok(_) => failures.push(format!("--- {} compiles", case.display())),
        Err(diagnostics) => compare(case, &render(&diagnostics), failures),
    }
}

fn report(cases: usize, least: usize, failures: &[String]) {
    assert!(cases >= least, "only {cases} cases were found");
    assert!(failures.is_empty(), "{}\n{} of {cases} cases differ", failures.join("\n"), failures.len());
}

#[test]
fn wrong_runtime_files() {
    let (mut failures, cases) = (Vec::new(), entries(&tests().join("bad/runtime"), ".toml"));
    for case in &cases {
        let outcome = match source(case) {
            Ok(runtime) => check(&runtime, &[], &[]),
            Err(diagnostic) => Err(vec![*diagnostic]),
        };
        expect_faults(case, outcome, &mut failures);
    }
    report(cases.len(), 50, &failures);
}

#[test]
fn wrong_tenant_files() {
    let (mut failures, cases) = (Vec::new(), entries(&tests().join("bad/tenant"), ".toml"));
    for case in &cases {
        let outcome = check(&Source::new("runtime.toml", RUNTIME), std::slice::from_ref(case), &[]);
        expect_faults(case, outcome, &mut failures);
    }
    report(cases.len(), 45, &failures);
}

#[test]
fn wrong_sql_files() {
    let (mut failures, cases) = (Vec::new(), entries(&tests().join("bad/sql"), ".sql"));
    for case in &cases {
        let outcome = check(&Source::new("runtime.toml", RUNTIME), &[], std::slice::from_ref(case));
        expect_faults(case, outcome, &mut failures);
    }
    report(cases.len(), 140, &failures);
}

fn check_folder(folder: &Path) -> Result<Plan, Vec<Diagnostic>> {
    let runtime = source(&folder.join("runtime.toml")).unwrap();
    check(&runtime, &entries(folder, ".tenant.toml"), &entries(folder, ".sql"))
}

#[test]
fn wrong_together() {
    let (mut failures, cases) = (Vec::new(), folders(&tests().join("bad/together")));
    for case in &cases {
        expect_faults(case, check_folder(case), &mut failures);
    }
    report(cases.len(), 2, &failures);
}

#[test]
fn right_configurations() {
    let (mut failures, cases) = (Vec::new(), folders(&tests().join("ok")));
    for case in &cases {
        match check_folder(case) {
            Ok(plan) => compare(case, &render(&plan.warnings), &mut failures),
            Err(diagnostics) => failures.push(format!("--- {}\n{}", case.display(), render(&diagnostics))),
        }
    }
    report(cases.len(), 3, &failures);
}

/// A view with so many counts, each under a condition of its own.
fn counts(name: &str, outputs: usize) -> String {
    let outputs: Vec<String> = (0..outputs).map(|n| format!("count(*) FILTER (WHERE value > {n}) AS o{n}")).collect();
    format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT student_id,\n{}\nFROM behavior GROUP BY student_id, tumble(interval '1 day');",
        outputs.join(",\n")
    )
}

/// A part's number has 16 bits: the view that is one too many is named, and nothing starts.
#[test]
fn too_many_parts_of_aggregates_are_a_fault() {
    let table = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, value DOUBLE, occurred_at TIMESTAMP)
        WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');";
    // 200 files of one view with 327 parts each: a file has 20,000 tokens at most.
    let mut files = vec![Source::new("000.sql", table)];
    files.extend((1..=200).map(|n| Source::new(format!("{n:03}.sql"), counts(&format!("v{n}"), 326))));
    let compiled = |files: &[Source]| {
        let (file, _) = parse_runtime(&Source::new("runtime.toml", RUNTIME));
        compile(file.unwrap(), &[], files)
    };
    assert!(compiled(&files).is_ok(), "200 * 327 parts have numbers");
    files.push(Source::new("201.sql", counts("one_more", 326)));
    let faults = compiled(&files).unwrap_err();
    assert_eq!(
        render(&faults),
        "201.sql:1:26: error: with `one_more` the views have more than 65535 parts of aggregates: 65727, counting each view's own\n\
         CREATE MATERIALIZED VIEW one_more AS SELECT student_id,\n                         ^~~~~~~~\n\
         help: a count is one part, a sum or an average two, a slope five: leave outputs or views out, or share the tenants \
         among instances with other views\n"
    );
}

//! `clickhouse-connect`, the official client for Python, against it. It comes from PyPI into the cache's `venv`.

use crate::{PASSWORD, USER, can_run, shared};
use std::path::PathBuf;
use std::process::Command;

const VERSION: &str = "1.12.0";

/// A Python that has the client; it is installed where it is not.
fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("AULAFLOW_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/aulaflow")))?;
    let python = cache.join("venv/bin/python");
    let works = |python: &PathBuf| {
        let import = format!("import clickhouse_connect as c; assert c.common.version() == '{VERSION}'");
        Command::new(python).args(["-c", &import]).output().is_ok_and(|output| output.status.success())
    };
    if works(&python) {
        return Some(python);
    }
    if !python.exists() {
        Command::new("python3").args(["-m", "venv"]).arg(cache.join("venv")).status().ok()?;
    }
    let package = format!("clickhouse-connect=={VERSION}");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package];
    Command::new(&python).args(install).status().ok()?;
    works(&python).then_some(python)
}

#[test]
fn the_python_client_works() {
    if !can_run() {
        return;
    }
    let Some(python) = python() else {
        println!(
            "SKIPPED: clickhouse-connect {VERSION} could not be installed from PyPI (python3 with venv is needed)"
        );
        eprintln!(
            "SKIPPED: clickhouse-connect {VERSION} could not be installed from PyPI (python3 with venv is needed)"
        );
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/client.py");
    let port = shared().rsplit(':').next().unwrap();
    let output = Command::new(python).args([script, port, USER]).env("CLICKHOUSE_PASSWORD", PASSWORD).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim_end().ends_with("all good"), "{out}\n{err}");
}

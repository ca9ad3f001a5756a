//! From a path on the command line to a checked plan: reads the files that the runtime file names, applies what the
//! command line overrides, and fetches secrets from where they are kept. What the files mean is `aulaflow-plan`'s.

use crate::failure::Misuse;
use crate::history_columns;
use anyhow::Result;
use aulaflow_plan::diagnostic::any_error;
use aulaflow_plan::runtime::{ClockMode, KeyMaterial, SecretSource};
use aulaflow_plan::{Diagnostic, Pattern, Plan, RuntimeFile, Severity, Source, compile, parse_runtime, render};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// `--config`, for every command that needs it.
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// The runtime's configuration file
    #[arg(long, value_name = "FILE", default_value = "configs/local.toml")]
    pub config: PathBuf,
}

/// What the command line may say instead of the runtime file.
#[derive(Debug, Clone, Default, Args)]
pub struct Overrides {
    /// Where the log and the state are kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address and port of the HTTP server
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Number of dataflow worker threads
    #[arg(long, value_name = "N")]
    pub workers: Option<NonZeroUsize>,
    /// The clock that drives the views: the wall clock, or the events' own times (for replays)
    #[arg(long)]
    pub clock: Option<Clock>,
}

/// `--clock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// The wall clock.
    Live,
    /// The highest event time seen.
    Event,
}

/// Every file of a configuration, read and checked.
pub struct Checked {
    /// The plan, where there is no error.
    pub plan: Option<Plan>,
    /// What is wrong or doubtful, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads a configuration to work with. Errors are printed and end in exit code 2; warnings are in the plan, for the
/// commands whose users want to read them.
pub fn load(config: &Path, overrides: &Overrides) -> Result<Plan> {
    let checked = check(config)?;
    let Some(mut plan) = checked.plan else {
        eprint!("{}", render(&checked.diagnostics));
        return Err(faulty(&checked.diagnostics));
    };
    overrides.apply(&mut plan)?;
    resolve_secrets(&mut plan)?;
    Ok(plan)
}

/// Reads and checks every file. An `Err` is a runtime file that cannot be read at all.
pub fn check(config: &Path) -> Result<Checked> {
    check_against(config, None)
}

/// The same, beside what an instance has left in its data directory (the configuration's, or another one).
pub fn check_with_history(config: &Path, data_dir: Option<&Path>) -> Result<Checked> {
    check_against(config, Some(data_dir))
}

fn check_against(config: &Path, history: Option<Option<&Path>>) -> Result<Checked> {
    let mut diagnostics = Vec::new();
    let Some(files) = read(config, &mut diagnostics)? else {
        return Ok(Checked { plan: None, diagnostics });
    };
    let plan = match compile(files.runtime.clone(), &files.tenants, &files.dataflows) {
        Ok(mut plan) => {
            diagnostics.extend(plan.warnings.iter().cloned());
            if let Some(data_dir) = history {
                if let Some(dir) = data_dir {
                    dir.clone_into(&mut plan.runtime.data_dir);
                }
                diagnostics.extend(history_columns::warnings(config, &plan, &files));
            }
            Some(plan)
        }
        Err(faults) => {
            diagnostics.extend(faults);
            None
        }
    };
    diagnostics.sort();
    diagnostics.dedup();
    let plan = plan.filter(|_| !any_error(&diagnostics));
    Ok(Checked { plan, diagnostics })
}

/// The files of a configuration, read and not yet checked.
pub struct Files {
    /// The runtime's.
    pub runtime: RuntimeFile,
    /// The tenants', in the order of their names.
    pub tenants: Vec<Source>,
    /// SQL, likewise.
    pub dataflows: Vec<Source>,
}

/// Reads the files of a configuration. `None`: the runtime file is none. An `Err`: it cannot be read at all.
pub fn read(config: &Path, diagnostics: &mut Vec<Diagnostic>) -> Result<Option<Files>> {
    let bytes = std::fs::read(config).map_err(|error| {
        Misuse::error(format!("cannot read the configuration {}: {error}; name one with --config", config.display()))
    })?;
    let folder = config.parent().unwrap_or(Path::new(""));
    Ok(source(config, bytes, diagnostics).and_then(|source| files(&source, folder, diagnostics)))
}

/// The files that a runtime file's text names, relative to a folder.
pub fn files(source: &Source, folder: &Path, diagnostics: &mut Vec<Diagnostic>) -> Option<Files> {
    let runtime = runtime(source, diagnostics)?;
    let tenants = expand(folder, &runtime.tenants, diagnostics);
    let dataflows = expand(folder, &runtime.dataflows, diagnostics);
    Some(Files { runtime, tenants, dataflows })
}

/// The summary of a faulty configuration.
pub fn faulty(diagnostics: &[Diagnostic]) -> anyhow::Error {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    Misuse::error(format!("the configuration has {errors} {}", if errors == 1 { "error" } else { "errors" }))
}

fn runtime(source: &Source, diagnostics: &mut Vec<Diagnostic>) -> Option<RuntimeFile> {
    let (runtime, faults) = parse_runtime(source);
    // With the other files' faults they come again.
    if runtime.is_none() {
        diagnostics.extend(faults);
    }
    runtime
}

fn source(path: &Path, bytes: Vec<u8>, diagnostics: &mut Vec<Diagnostic>) -> Option<Source> {
    match Source::from_bytes(path.display().to_string(), bytes) {
        Ok(source) => Some(source),
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            None
        }
    }
}

/// The files that the patterns match, in the order of their names, each once.
fn expand(folder: &Path, patterns: &[Pattern], diagnostics: &mut Vec<Diagnostic>) -> Vec<Source> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        match matches(folder, &pattern.text) {
            Ok(found) if found.is_empty() => {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                diagnostics.push(pattern.error(format!("no file in {} matches this", folder.display())));
            }
            Ok(found) => paths.extend(found),
            Err(reason) => diagnostics.push(pattern.error(reason)),
        }
    }
    paths.sort();
    paths.dedup();
    let mut sources = Vec::new();
    for path in paths {
        match std::fs::read(&path) {
            Ok(bytes) => sources.extend(source(&path, bytes, diagnostics)),
            Err(error) => {
                let unreadable = Source::new(path.display().to_string(), "");
                diagnostics.push(unreadable.error(0..0, format!("cannot be read: {error}")));
            }
        }
    }
    sources
}

fn matches(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    // The folder's own name is no pattern.
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let alone = folder.is_empty() || Path::new(pattern).is_absolute();
    let whole = if alone { pattern.to_owned() } else { format!("{folder}/{pattern}") };
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let found = glob::glob_with(&whole, options).map_err(|error| format!("is not a pattern: {}", error.msg))?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| format!("cannot look for it: {error}"))?;
        if path.is_file() {
            paths.push(path);
        }
    }
    Ok(paths)
}

impl Overrides {
    fn apply(&self, plan: &mut Plan) -> Result<()> {
        let runtime = &mut plan.runtime;
        if let Some(dir) = &self.data_dir {
            runtime.data_dir.clone_from(dir);
        }
        if let Some(listen) = self.listen {
            runtime.server.listen = listen;
            if let Some(key) = runtime.auth.exposed_development_keys(listen).first() {
                return Err(Misuse::error(format!(
                    "--listen {listen} is not a loopback address, and the key {key:?} is a development key that \
                     everybody knows: listen on 127.0.0.1, or configure a key of your own (`secret_env` or EdDSA)"
                )));
            }
        }
        if let Some(workers) = self.workers {
            runtime.engine.workers = workers.get();
        }
        match self.clock {
            Some(Clock::Live) => runtime.engine.clock = ClockMode::Live,
            Some(Clock::Event) => runtime.engine.clock = ClockMode::Event,
            None => {}
        }
        Ok(())
    }
}

/// Reads the secrets that the configuration keeps elsewhere.
fn resolve_secrets(plan: &mut Plan) -> Result<()> {
    for key in &mut plan.runtime.auth.keys {
        let KeyMaterial::Hs256From(place) = &key.material else { continue };
        let secret = read_secret(place)
            .map_err(|reason| Misuse::error(format!("the secret of the key {:?} cannot be read: {reason}", key.id)))?;
        key.material = KeyMaterial::hs256(secret)
            .map_err(|short| Misuse::error(format!("the key {:?} cannot be used: {short}", key.id)))?;
    }
    Ok(())
}

/// Reads a secret from where it is kept.
pub fn read_secret(place: &SecretSource) -> Result<Vec<u8>, String> {
    match place {
        SecretSource::Env(name) => match std::env::var_os(name) {
            Some(value) => Ok(value.into_encoded_bytes()),
            None => Err(format!("the environment variable {name} is not set")),
        },
        SecretSource::File(path) => {
            let mut secret = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            if secret.last() == Some(&b'\n') {
                secret.pop();
            }
            Ok(secret)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_are_relative_to_the_runtime_file() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a[b]");
        std::fs::create_dir_all(odd.join("tenants")).unwrap();
        for name in ["b.toml", "a.toml", "c.txt"] {
            std::fs::write(odd.join("tenants").join(name), "").unwrap();
        }
        let found = matches(&odd, "tenants/*.toml").unwrap();
        assert_eq!(found, [odd.join("tenants/a.toml"), odd.join("tenants/b.toml")]);
        assert_eq!(matches(&odd, "*.toml").unwrap(), Vec::<PathBuf>::new());
        assert!(matches(&odd, "tenants/***").is_err());
        let elsewhere = folder.path().join("elsewhere.toml");
        std::fs::write(&elsewhere, "").unwrap();
        assert_eq!(matches(&odd, &elsewhere.to_string_lossy()).unwrap(), [elsewhere]);
    }

    #[test]
    fn secrets_come_from_files_without_their_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        assert_eq!(read_secret(&SecretSource::File(path)), Ok(b"s3cret".to_vec()));
        let missing = read_secret(&SecretSource::Env("AULAFLOW_NO_SUCH_VARIABLE".to_owned()));
        assert_eq!(missing, Err("the environment variable AULAFLOW_NO_SUCH_VARIABLE is not set".to_owned()));
    }
}

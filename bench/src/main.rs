//! `aulaflow-bench`: measures the product as its users see it. It starts the release binary as a child process with a
//! data folder of its own, and talks to it over HTTP. What is measured is in `cases`; here are the command line and
//! what is made of the results.

mod acknowledge;
mod cases;
mod client;
mod constant;
mod counting;
mod disk;
mod engine;
mod http;
mod interrupt;
mod latencies;
mod pace;
mod pairs;
mod procfs;
mod read_load;
mod readme;
mod report;
mod school;
mod server;
mod setting;
mod write_load;

use anyhow::{Context, Result, bail};
use cases::{ALL, Case};
use clap::{Parser, Subcommand};
use pairs::Pair;
use report::{Origin, Outcome};
use setting::Setting;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

// As in the product: the constant server answers with the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Aulaflow as its users see it, and prints Markdown tables
#[derive(Debug, Parser)]
#[command(name = "aulaflow-bench", args_conflicts_with_subcommands = true)]
struct CommandLine {
    /// The cases to run [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// List the cases
    #[arg(long)]
    list: bool,
    /// Small sizes, short times and one run, to see that everything works; its numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// How often each measurement is repeated [default: 3; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: Option<u16>,
    /// Write every value to a JSON file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the results into bench/README.md
    #[arg(long, conflicts_with = "quick")]
    write_readme: bool,
    /// The product [default: aulaflow beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Another build of the product: each run measures both, and their ratio is shown
    #[arg(long, value_name = "FILE", conflicts_with = "write_readme")]
    against: Option<PathBuf>,
    /// Where temporary data folders are made: on a disk [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The folder with the Open University dataset
    #[arg(long, value_name = "DIR", env = "OULAD_DIR", default_value = "../shared/oulad")]
    oulad: PathBuf,
    #[command(subcommand)]
    helper: Option<Helper>,
}

/// What the cases start this program for.
#[derive(Debug, Subcommand)]
enum Helper {
    /// Answers every request with the same bytes
    #[command(hide = true)]
    ServeConstant {
        /// How many bytes
        #[arg(long)]
        bytes: usize,
    },
    /// Takes everything and does nothing
    #[command(hide = true)]
    Acknowledge {
        /// Keeps what it takes in this folder
        #[arg(long)]
        keep: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not as `main` would show it, which may be with a backtrace.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: CommandLine) -> Result<()> {
    match line.helper {
        Some(Helper::ServeConstant { bytes }) => constant::serve(bytes),
        Some(Helper::Acknowledge { keep }) => acknowledge::serve(keep),
        None if line.list => {
            ALL.iter().for_each(|case| println!("{:<18} {}", case.name, case.about));
            Ok(())
        }
        None => measure(line),
    }
}

fn measure(line: CommandLine) -> Result<()> {
    let cases = chosen(&line.cases)?;
    let setting = Setting {
        binary: line.binary.unwrap_or_else(setting::default_binary),
        dir: line.dir.unwrap_or_else(std::env::temp_dir),
        oulad: line.oulad,
        quick: line.quick,
        runs: line.runs.map_or(if line.quick { 1 } else { 3 }, usize::from),
    };
    setting.check()?;
    if let Some(other) = &line.against {
        Setting { binary: other.clone(), ..setting.clone() }.check()?;
    }
    interrupt::listen()?;
    let origin = origin(&setting);
    println!("{}\n", origin.line());
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for case in cases {
        match found(case, &setting, line.against.as_deref()) {
            Ok(found) => {
                println!("{}", found.text(&origin));
                outcomes.extend(found.into_outcomes());
            }
            // The others' numbers are worth having.
            Err(error) => {
                eprintln!("[{}] failed: {error:#}", case.name);
                failed.push(case.name);
            }
        }
    }
    if let Some(path) = line.json {
        let json = serde_json::json!({ "origin": origin, "outcomes": outcomes });
        std::fs::write(&path, format!("{json:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if line.write_readme {
        readme::write(&outcomes, &origin)?;
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// What a case found of one build or of two.
enum Found {
    One(Outcome),
    Two(Pair),
}

fn found(case: &Case, setting: &Setting, against: Option<&Path>) -> Result<Found> {
    match against {
        None => (case.run)(setting).map(Found::One),
        Some(other) => pairs::measure(case, setting, other).map(Found::Two),
    }
}

impl Found {
    fn text(&self, origin: &Origin) -> String {
        match self {
            Self::One(outcome) => readme::section(outcome, origin),
            Self::Two(pair) => format!("### {}\n\n{}\n\n{}", pair.new.case, origin.line(), pair.table()),
        }
    }

    fn into_outcomes(self) -> Vec<Outcome> {
        match self {
            Self::One(outcome) => vec![outcome],
            Self::Two(Pair { new, old }) => vec![new, old],
        }
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    let find = |name: &String| {
        let known = || ALL.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        ALL.iter()
            .find(|case| case.name == name)
            .with_context(|| format!("there is no case {name}; cases: {}", known()))
    };
    if names.is_empty() { Ok(ALL.iter().collect()) } else { names.iter().map(find).collect() }
}

fn origin(setting: &Setting) -> Origin {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    // The page of the results is not part of what was measured.
    let changed = git(&["status", "--porcelain", "--", ":/", ":!README.md"]).is_some_and(|files| !files.is_empty());
    let arguments = std::env::args().skip(1).map(|argument| format!(" {argument}")).collect::<String>();
    Origin {
        date: school::now().split('T').next().unwrap_or_default().to_owned(),
        commit: if changed { commit + "+" } else { commit },
        machine: procfs::machine(&setting.dir),
        command: format!("aulaflow-bench{arguments}"),
        runs: setting.runs,
        quick: setting.quick,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cases_are_chosen_by_name() {
        let names = |chosen: Vec<&Case>| chosen.iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names(chosen(&["idle".into(), "reads".into()]).unwrap()), ["idle", "reads"]);
        assert_eq!(chosen(&[]).unwrap().len(), ALL.len());
        assert!(chosen(&["idel".into()]).is_err());
    }
}

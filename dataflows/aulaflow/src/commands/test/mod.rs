//! `aulaflow test`: plays the cases that lie beside the SQL files and compares what the profiles show with what is
//! expected. A case is a folder, `NAME/cases/CASE` with `input.ndjson` and `expected.ndjson`; nothing names it elsewhere.

mod case;
mod play;

use crate::config::{self, ConfigArg, Files};
use crate::failure::Misuse;
use anyhow::{Context, Result, bail};
use aulaflow_model::fault::suggestion;
use aulaflow_plan::diagnostic::any_error;
use aulaflow_plan::{Diagnostic, Plan, RuntimeFile, Severity, Source, compile, render};
use case::Case;
use parking_lot::Mutex;
use play::{Way, play};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Differences of a case that are printed.
const DIFFERENCES_MAX: usize = 10;

/// Plays the cases beside the SQL files (NAME/cases/CASE/input.ndjson), each with 1, 2 and 3 workers, straight and killed
#[derive(Debug, clap::Args)]
pub struct Test {
    #[command(flatten)]
    config: ConfigArg,
    /// A folder of SQL files instead of a configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dataflows: Option<PathBuf>,
    /// Write expected.ndjson as it came out (so does UPDATE_EXPECT=1); read the difference before you commit it
    #[arg(long)]
    update: bool,
    /// Dataflows (`attendance`) or cases (`attendance/usual`); all where none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A folder of SQL files that has cases.
struct Dataflow {
    runtime: RuntimeFile,
    /// Its own SQL, and that of the folders around it.
    sources: Vec<Source>,
    /// Folders and names.
    cases: Vec<(PathBuf, String)>,
}

/// A case: its dataflow, its folder and its name.
type Chosen<'d> = (&'d Dataflow, &'d Path, &'d str);

/// What became of a case.
enum Outcome {
    /// Rows compared.
    Same(usize),
    /// The expected file was written.
    Updated,
    /// What is wrong, for people.
    Failed(Vec<String>),
}

impl Test {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let update =
            self.update || std::env::var_os("UPDATE_EXPECT").is_some_and(|value| !value.is_empty() && value != "0");
        let found = dataflows(&self.files()?)?;
        let chosen = self.chosen(&found)?;
        let outcomes = play_all(&chosen, update);
        let mut failed = 0;
        for ((_, _, name), outcome) in chosen.iter().zip(&outcomes) {
            match outcome {
                Outcome::Same(rows) => println!("ok       {name} ({rows} rows)"),
                Outcome::Updated => println!("updated  {name}"),
                Outcome::Failed(differences) => {
                    failed += 1;
                    println!("FAILED   {name}");
                    differences.iter().take(DIFFERENCES_MAX).for_each(|difference| println!("{difference}"));
                    if differences.len() > DIFFERENCES_MAX {
                        println!("… and {} more", differences.len() - DIFFERENCES_MAX);
                    }
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of {} cases failed", outcomes.len());
        }
        Ok(())
    }

    fn files(&self) -> Result<Files> {
        let mut diagnostics = Vec::new();
        let files = match &self.dataflows {
            None => config::read(&self.config.config, &mut diagnostics)?,
            Some(folder) => {
                let all = Source::new(folder.join("**/*.sql").display().to_string(), "dataflows = [\"**/*.sql\"]");
                config::files(&all, folder, &mut diagnostics)
            }
        };
        match files {
            Some(files) if !any_error(&diagnostics) => Ok(files),
            Some(_) | None => Err(refuse(&diagnostics)),
        }
    }

    /// The cases that are named, or all.
    fn chosen<'d>(&self, dataflows: &'d [Dataflow]) -> Result<Vec<Chosen<'d>>> {
        let all = dataflows.iter().flat_map(|dataflow| {
            dataflow.cases.iter().map(move |(folder, name)| (dataflow, folder.as_path(), name.as_str()))
        });
        let all: Vec<_> = all.collect();
        let is = |case: &str, name: &str| case == name || case.split_once('/').is_some_and(|(flow, _)| flow == name);
        for name in &self.names {
            if !all.iter().any(|(_, _, case)| is(case, name)) {
                let near = suggestion(
                    name,
                    all.iter().flat_map(|(_, _, case)| [*case, case.split('/').next().unwrap_or(case)]),
                );
                return Err(Misuse::error(format!("there is no case {name:?}{near}")));
            }
        }
        if all.is_empty() {
            return Err(Misuse::error("no folder of SQL files has cases: NAME/cases/CASE/input.ndjson"));
        }
        let chosen = |case: &str| self.names.is_empty() || self.names.iter().any(|name| is(case, name));
        Ok(all.into_iter().filter(|(_, _, case)| chosen(case)).collect())
    }
}

impl Dataflow {
    /// Its plan, with some texts of the SQL replaced. Tenants are the cases' own.
    fn plan(&self, replaced: &[(String, String)]) -> Result<Plan, Vec<Diagnostic>> {
        let replace = |source: &Source| {
            let text = replaced.iter().fold(source.text().to_owned(), |text, (from, to)| text.replace(from, to));
            Source::new(source.name(), text)
        };
        compile(self.runtime.clone(), &[], &self.sources.iter().map(replace).collect::<Vec<_>>())
    }
}

/// Prints what is wrong with a configuration. What is only doubtful is no matter of cases: nothing of it runs for long.
fn refuse(diagnostics: &[Diagnostic]) -> anyhow::Error {
    let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
    eprint!("{}", render(&errors));
    config::faulty(&errors)
}

/// The folders of SQL files that have cases. A case sees the SQL of its folder and of the folders around it.
fn dataflows(files: &Files) -> Result<Vec<Dataflow>> {
    let folder = |source: &Source| Path::new(source.name()).parent().map(Path::to_owned).unwrap_or_default();
    let folders: BTreeSet<PathBuf> = files.dataflows.iter().map(folder).collect();
    let mut found = Vec::new();
    for at in folders {
        let cases = cases(&at)?;
        if cases.is_empty() {
            continue;
        }
        let sources: Vec<Source> = files.dataflows.iter().filter(|s| at.starts_with(folder(s))).cloned().collect();
        let dataflow = Dataflow { runtime: files.runtime.clone(), sources, cases };
        dataflow.plan(&[]).map_err(|faults| refuse(&faults))?;
        found.push(dataflow);
    }
    Ok(found)
}

/// The cases of a folder, in the order of their names.
fn cases(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let place = folder.join("cases");
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let flow = folder.file_name().unwrap_or_default().to_string_lossy();
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            let name = format!("{flow}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            cases.push((path, name));
        }
    }
    cases.sort();
    Ok(cases)
}

/// Plays cases on as many threads as there are processors; outcomes are in the order of the cases.
fn play_all(chosen: &[Chosen<'_>], update: bool) -> Vec<Outcome> {
    let outcomes: Vec<Mutex<Option<Outcome>>> = chosen.iter().map(|_| Mutex::new(None)).collect();
    let next = Mutex::new(chosen.iter().zip(&outcomes));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(((dataflow, folder, _), outcome)) = next.lock().next() else { break };
                    let played = play_one(dataflow, folder, update);
                    *outcome.lock() = Some(played.unwrap_or_else(|error| Outcome::Failed(vec![format!("{error:#}")])));
                }
            });
        }
    });
    let missing = || Outcome::Failed(vec!["it was not played".to_owned()]);
    outcomes.into_iter().map(|outcome| outcome.into_inner().unwrap_or_else(missing)).collect()
}

fn play_one(dataflow: &Dataflow, folder: &Path, update: bool) -> Result<Outcome> {
    let mut case = match case::read(folder) {
        Ok(case) => case,
        Err(faults) => return Ok(Outcome::Failed(faults)),
    };
    let absent = case.replaced.iter().find(|(text, _)| !dataflow.sources.iter().any(|s| s.text().contains(text)));
    if let Some((text, _)) = absent {
        return Ok(Outcome::Failed(vec![format!("{}: the SQL has no {text:?} to replace", folder.display())]));
    }
    let plan = match dataflow.plan(&case.replaced) {
        Ok(plan) => plan,
        Err(faults) => return Ok(Outcome::Failed(vec![render(&faults)])),
    };
    let mut updated = false;
    let mut rows = 0;
    for way in Way::ALL {
        let got = play(&plan, &case, way).with_context(|| way.to_string())?;
        rows = got.len();
        let mut differences = case::differences(&case, &got);
        if !differences.is_empty() && update && !updated {
            std::fs::write(&case.expected_file, case::written(&got)?)
                .with_context(|| format!("cannot write {}", case.expected_file.display()))?;
            expect(&mut case, got);
            (updated, differences) = (true, Vec::new());
        }
        if !differences.is_empty() {
            differences.insert(0, format!("{way}:"));
            return Ok(Outcome::Failed(differences));
        }
    }
    Ok(if updated { Outcome::Updated } else { Outcome::Same(rows) })
}

/// What came out is what the other ways must come out with.
fn expect(case: &mut Case, rows: Vec<case::Row>) {
    case.expected = Some(rows.into_iter().enumerate().map(|(index, row)| (index + 1, row)).collect());
}

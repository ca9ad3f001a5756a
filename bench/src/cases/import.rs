//! Goal: how fast a history gets in, beside how fast its bytes can be read at all.
//!
//! Load: the Open University dataset, 753,564 clicks and 46,181 assessment results, in order of time, by
//! `aulaflow import oulad`: through a running instance with `--wait`, with one and two workers; and straight into the
//! log, which an instance then reads from its beginning. Rates are the importer's own: from its first event until all
//! are accepted, and until all are visible. (Reading the dataset's CSV files comes before that and is not counted.)
//!
//! Configuration: `configs/oulad.toml` as it stands, five features, event clock, every write synced; a new data folder
//! for each. Limits, measured in turns with it: reading the same JSON lines from a file and decoding them with the
//! product's decoder on one thread; and the importer alone, against a server that takes everything and does nothing.

use super::Case;
use crate::acknowledge::{self, BEHAVIOR, EVALUATIONS};
use crate::report::{Outcome, workers_named};
use crate::server::Server;
use crate::setting::Setting;
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_model::event::{Origin, decode_behavior, decode_evaluation};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const CASE: Case =
    Case { name: "import", about: "the Open University dataset, beside decoding the same JSON", run };

pub(super) const TENANT: &str = "oulad";
/// Clicks of a quick run.
const QUICK_CLICKS: usize = 50_000;
pub(super) const READY_WITHIN: Duration = Duration::from_secs(600);
pub(super) const DECODE: &str = "limit: decode only";
const WORKERS: [usize; 2] = [1, 2];

/// What the importer said of itself.
pub(super) struct Import {
    /// How many.
    pub(super) events: u64,
    accepted_rate: f64,
    /// With `--wait`.
    pub(super) overall_rate: Option<f64>,
}

fn run(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new(CASE.name);
    let lines = setting.folder()?;
    let dataset = dataset(setting, lines.path())?;
    setting.progress(CASE.name, "keeping what the importer sends");
    let kept = keep(setting, &dataset, lines.path())?;
    outcome.say(format!("{} events, {} of JSON; 5 features, event clock", kept.events, megabytes(lines.path())?));
    for run in 1..=setting.runs {
        let progress = |what: &str| setting.progress(CASE.name, &format!("run {run} of {}: {what}", setting.runs));
        progress("limits");
        outcome.add(DECODE, "events/s", decode(lines.path(), kept.events)?);
        importer_alone(setting, &dataset, &mut outcome)?;
        for workers in WORKERS {
            progress(&format!("over HTTP, {}", workers_named(workers)));
            over_http(setting, &dataset, workers, &mut outcome)?;
            outcome.add(DECODE, "events/s", decode(lines.path(), kept.events)?);
        }
        progress("straight into the log, and from there");
        into_log(setting, &dataset, &mut outcome)?;
    }
    Ok(outcome)
}

/// Keeps what the importer sends in a folder.
pub(super) fn keep(setting: &Setting, dataset: &Path, lines: &Path) -> Result<Import> {
    let place = Place::make(setting)?;
    let taker = acknowledge::start(Some(lines), place.folder.path())?;
    let import = place.import(setting, dataset, Some(taker.address), false)?;
    taker.kill()?;
    Ok(import)
}

/// Reads and decodes the kept lines; events in each second.
pub(super) fn decode(folder: &Path, expected: u64) -> Result<f64> {
    let started = Instant::now();
    let mut decoded = 0_u64;
    for (name, behavior) in [(BEHAVIOR, true), (EVALUATIONS, false)] {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(folder.join(name))?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let json = line.trim_ascii_end();
            let good = if behavior {
                decode_behavior(json, Origin::Edge)
                    .is_ok_and(|event| !std::hint::black_box(event).student_id.is_empty())
            } else {
                decode_evaluation(json, Origin::Edge).map(std::hint::black_box).is_ok()
            };
            decoded += u64::from(good);
            line.clear();
        }
    }
    if decoded != expected {
        bail!("{decoded} of {expected} kept events can be decoded");
    }
    Ok(decoded as f64 / started.elapsed().as_secs_f64())
}

fn importer_alone(setting: &Setting, dataset: &Path, outcome: &mut Outcome) -> Result<()> {
    let place = Place::make(setting)?;
    let taker = acknowledge::start(None, place.folder.path())?;
    let import = place.import(setting, dataset, Some(taker.address), false)?;
    outcome.add_against("limit: importer only", "events/s", import.accepted_rate, DECODE);
    taker.kill()
}

fn over_http(setting: &Setting, dataset: &Path, workers: usize, outcome: &mut Outcome) -> Result<()> {
    let place = Place::make(setting)?;
    let server = place.start(setting, workers)?;
    server.until_ready(READY_WITHIN)?;
    let before = server.cpu_seconds()?;
    let import = place.import(setting, dataset, Some(server.address), true)?;
    let cpu = server.cpu_seconds()? - before;
    let named = |what: &str| format!("over HTTP, {}: {what}", workers_named(workers));
    let overall = import.overall_rate.context("the importer does not say when all was visible")?;
    outcome.add_against(&named("accepted"), "events/s", import.accepted_rate, DECODE);
    outcome.add_against(&named("visible"), "events/s", overall, DECODE);
    outcome.add(&named("CPU of the instance"), "s", cpu);
    outcome.add(&named("memory, peak"), "MiB", server.memory()?.peak as f64 / f64::from(1 << 20));
    server.stop()
}

fn into_log(setting: &Setting, dataset: &Path, outcome: &mut Outcome) -> Result<()> {
    let place = Place::make(setting)?;
    let import = place.import(setting, dataset, None, false)?;
    outcome.add_against("straight into the log", "events/s", import.accepted_rate, DECODE);
    for workers in WORKERS {
        let state = place.data().join("state");
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        let server = place.start(setting, workers)?;
        let ready = server.until_ready(READY_WITHIN)?;
        let rate = import.events as f64 / ready.as_secs_f64();
        let named = |what: &str| format!("from the log, {}: {what}", workers_named(workers));
        outcome.add_against(&named("start to visible"), "events/s", rate, DECODE);
        outcome.add(&named("CPU of the instance"), "s", server.cpu_seconds()?);
        outcome.add(&named("memory, peak"), "MiB", server.memory()?.peak as f64 / f64::from(1 << 20));
        server.kill()?;
    }
    Ok(())
}

/// A temporary folder with the configuration of the repository and a data folder.
pub(super) struct Place {
    folder: TempDir,
}

impl Place {
    pub(super) fn make(setting: &Setting) -> Result<Self> {
        let folder = setting.folder()?;
        let place = Self { folder };
        // Only where data is kept and where the importer looks for an instance differ: nothing listens at port 1.
        let config = include_str!("../../../configs/oulad.toml").lines().map(|line| match line.split('=').next() {
            Some("data_dir ") => format!("data_dir = {:?}\n", place.data().display().to_string()),
            Some("listen ") => "listen = \"127.0.0.1:1\"\n".to_owned(),
            Some(_) | None => format!("{line}\n"),
        });
        fs::write(place.config(), config.collect::<String>())?;
        let dataflows = place.folder.path().join("dataflows/oulad");
        fs::create_dir_all(&dataflows)?;
        fs::write(dataflows.join("oulad.sql"), include_str!("../../../configs/dataflows/oulad/oulad.sql"))?;
        Ok(place)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("oulad.toml")
    }

    /// Other views than those of the repository.
    pub(super) fn write_views(&self, sql: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join("dataflows/oulad/oulad.sql"), sql)?)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command of the product to its end.
    pub(super) fn product(&self, setting: &Setting, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&setting.binary).args(arguments).arg("--config").arg(self.config()).output()?;
        if !output.status.success() {
            bail!("`aulaflow {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    pub(super) fn start(&self, setting: &Setting, workers: usize) -> Result<Server> {
        let mut command = Command::new(&setting.binary);
        command.args(["run", "--listen", "127.0.0.1:0", "--workers", &workers.to_string(), "--config"]);
        command.arg(self.config());
        Server::start(command, self.folder.path())
    }

    pub(super) fn import(
        &self,
        setting: &Setting,
        dataset: &Path,
        to: Option<SocketAddr>,
        wait: bool,
    ) -> Result<Import> {
        let mut command = Command::new(&setting.binary);
        command.args(["import", "oulad", "--tenant", TENANT, "--dir"]).arg(dataset).arg("--config").arg(self.config());
        if let Some(address) = to {
            command.args(["--url", &format!("http://{address}")]);
        }
        if wait {
            command.arg("--wait");
        }
        let output = command.output().context("cannot start the importer")?;
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("the importer failed: {errors}");
        }
        read_import(&said).ok_or_else(|| anyhow!("the importer says no rates: {said}{errors}"))
    }
}

/// `imported 799745 events, 123456 events/s`, and with `--wait` `visible … later, 120000 events/s overall`.
fn read_import(said: &str) -> Option<Import> {
    if said.contains("refused") {
        return None;
    }
    let rate = |line: &str| line.rsplit_once(", ")?.1.split(' ').next()?.parse::<f64>().ok();
    let imported = said.lines().find_map(|line| Some((line.strip_prefix("imported ")?, rate(line)?)))?;
    Some(Import {
        events: imported.0.split(' ').next()?.parse().ok()?,
        accepted_rate: imported.1,
        overall_rate: said.lines().find(|line| line.ends_with(" overall")).and_then(rate),
    })
}

/// The dataset; a small part of it in a folder of ours for a quick run.
pub(super) fn dataset(setting: &Setting, folder: &Path) -> Result<PathBuf> {
    if !setting.oulad.join("studentVle.csv").exists() {
        bail!("the Open University dataset is not in {}: name its folder with --oulad", setting.oulad.display());
    }
    if !setting.quick {
        return Ok(setting.oulad.clone());
    }
    for name in ["assessments.csv", "vle.csv", "studentAssessment.csv"] {
        fs::copy(setting.oulad.join(name), folder.join(name))?;
    }
    let reader = BufReader::new(File::open(setting.oulad.join("studentVle.csv"))?);
    let lines = reader.lines().take(QUICK_CLICKS + 1).collect::<Result<Vec<_>, _>>()?;
    fs::write(folder.join("studentVle.csv"), lines.join("\n") + "\n")?;
    Ok(folder.to_owned())
}

fn megabytes(folder: &Path) -> Result<String> {
    let size = |name: &str| fs::metadata(folder.join(name)).map(|metadata| metadata.len());
    Ok(format!("{:.0} MB", (size(BEHAVIOR)? + size(EVALUATIONS)?) as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_the_importer_says() {
        let said = "imported 799745 events, 123456 events/s\n\
                    visible in the profiles 0.5 s later, 120000 events/s overall\n";
        let import = read_import(said).unwrap();
        assert_eq!((import.events, import.accepted_rate, import.overall_rate), (799_745, 123_456.0, Some(120_000.0)));
        assert!(read_import("nothing").is_none());
    }
}

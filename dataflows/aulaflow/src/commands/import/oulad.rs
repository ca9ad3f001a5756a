//! `aulaflow import oulad`: the Open University dataset.

use super::target::{Target, TargetArgs};
use crate::ingest::Kind;
use crate::oulad::json::LineWriter;
use crate::oulad::{Row, read};
use crate::progress::Progress;
use anyhow::Result;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Imports the Open University dataset: assessment results and clicks, in order of their instants
#[derive(Debug, clap::Args)]
pub struct Oulad {
    /// The folder with assessments.csv, vle.csv, studentAssessment.csv and studentVle.csv
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// At most so many events a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Leave the tenant's rule for all subjects ("*") as it is; otherwise it becomes
    /// `weights = "items"`, `min_passing = 40`
    #[arg(long)]
    keep_rule: bool,
    #[command(flatten)]
    target: TargetArgs,
}

impl Oulad {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let mut target = Target::open(self.target, !self.keep_rule)?;
        eprintln!("reading {}", self.dir.display());
        let dataset = read::read(&self.dir)?;
        let rows = dataset.in_order();
        if !self.keep_rule {
            target.install_default_rule()?;
        }
        let progress = Progress::start("import", Some(dataset.len()));
        let mut writer = LineWriter::new(&dataset);
        let tally = target.pump(self.rate, &progress, |feeder| {
            for row in rows {
                // Lines are numbered as in their file, whose first line is the header.
                let (kind, number) = match row {
                    Row::Result(index) => (Kind::Evaluations, index),
                    Row::Click(index) => (Kind::Behavior, index),
                };
                feeder.add(kind, u64::from(number) + 2, |lines| writer.write(row, lines))?;
            }
            Ok(())
        })?;
        target.finish(tally, &progress)
    }
}

//! `aulaflow import`: puts files on the log, through a running instance or, where none runs, straight into it.

mod batch;
mod into_log;
mod jsonl;
mod oulad;
mod over_http;
mod pump;
mod target;

use anyhow::Result;
pub use into_log::{describe, record};

/// Puts data on the log
#[derive(Debug, clap::Args)]
pub struct Import {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Format {
    Oulad(oulad::Oulad),
    Jsonl(jsonl::Jsonl),
}

impl Import {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.format {
            Format::Oulad(oulad) => oulad.run(),
            Format::Jsonl(jsonl) => jsonl.run(),
        }
    }
}

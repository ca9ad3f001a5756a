//! `aulaflow verify`: every view recomputed from the log, and compared with what is shown.

use crate::client::Client;
use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::log_store;
use crate::verify::{Http, Report, Scope, Shown, Whose, compare, offline, recompute};
use anyhow::{Context, Result, bail};
use aulaflow_log::Log;
use aulaflow_model::instant::Millis;
use aulaflow_plan::Plan;
use clap::ValueEnum;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Recomputes every view from the log with plain batch code and compares it with what is shown
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Compare with the running instance at this URL, whose log can be read beside it [default: with a log in Kafka the
    /// configuration's address, if something runs there]. Otherwise the dataflows are started on the data directory
    /// itself, which no instance may use meanwhile; nothing is written to it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How the report is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Write the recomputed profiles here too, one JSON object a line; `-` is the standard output
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Since when views and settings are as they are now: dead letters that follow from them are compared only of records
    /// accepted after it
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    configured_since: Option<Millis>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn instant(text: &str) -> Result<Millis, String> {
    Millis::parse_rfc3339(text).map_err(|_| "is no time such as 2026-03-02T15:04:05Z".to_owned())
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = Arc::new(config::load(&self.config.config, &self.overrides)?);
        let scope = Scope { configured_since: self.configured_since };
        let log = self.open(&plan)?;
        let dump = self.dump.as_deref().map(writer).transpose()?;
        let report = match self.instance(&plan) {
            Some(url) => {
                let shown = Http::new(&url, &plan.runtime.auth)?;
                let from = shown.clock()?;
                let batch = recompute(&plan, &log, Whose::all(&plan), from)?;
                compare(&plan, log.as_ref(), batch, &shown, (None, scope), dump)?
            }
            None => offline(&plan, &log, scope, dump)?,
        };
        self.print(&report)?;
        if report.compared_nothing() {
            bail!(
                "nothing was compared: {} shows no student, no cohort and no dead letter, and neither does what is shown",
                log_store::place(&plan.runtime)
            );
        }
        match report.differences {
            0 => Ok(()),
            1 => bail!("1 difference between what is shown and what the log says"),
            many => bail!("{many} differences between what is shown and what the log says"),
        }
    }

    /// The instance to compare with. A log that several can read is read beside the one of the configuration, if that runs.
    fn instance(&self, plan: &Plan) -> Option<String> {
        let address = || format!("http://{}", plan.runtime.server.listen);
        let runs = |address: &String| matches!(Client::new(address, "").is_running(), Ok(true));
        self.url
            .clone()
            .or_else(|| Some(address()).filter(|address| log_store::is_shared(&plan.runtime) && runs(address)))
    }

    /// Opens the log. An instance that runs on an embedded log has it to itself.
    fn open(&self, plan: &Plan) -> Result<Arc<dyn Log>> {
        let address = format!("http://{}", plan.runtime.server.listen);
        let log = log_store::open_existing(&plan.runtime);
        let busy = || {
            let running = matches!(Client::new(&address, "").is_running(), Ok(true));
            let who = if running { format!("the instance at {address}") } else { "another process".to_owned() };
            format!(
                "{who} uses the data directory {}: an embedded log belongs to one process at a time. Stop it, run \
                 `aulaflow verify` again, and start it after that",
                plan.runtime.data_dir.display()
            )
        };
        match log {
            Ok(opened) => Ok(opened.log),
            Err(error) if log_store::is_in_use(&error) => Err(error).with_context(busy),
            Err(error) => Err(error),
        }
    }

    fn print(&self, report: &Report) -> Result<()> {
        let text = match self.format {
            Format::Text => report.to_string(),
            Format::Json => serde_json::to_string_pretty(report)?,
        };
        // The dump has the standard output where it asked for it.
        if self.dump.as_deref() == Some(Path::new("-")) {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
        Ok(())
    }
}

fn writer(path: &Path) -> Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(std::io::stdout())));
    }
    let file = std::fs::File::create(path)
        .map_err(|error| Misuse::error(format!("cannot write to {}: {error}", path.display())))?;
    Ok(Box::new(BufWriter::new(file)))
}

//! `aulaflow check`: every fault of a configuration, without starting anything.

use crate::config::{self, ConfigArg};
use crate::failure::Misuse;
use anyhow::Result;
use aulaflow_plan::{Diagnostic, Severity, render};
use clap::ValueEnum;
use std::path::PathBuf;

/// Checks every configuration file and prints each fault with its place
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArg,
    /// For people, or a JSON list on standard output for editors and pipelines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Where the log and the state are kept, to be compared with [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// End with code 2 where there are warnings
    #[arg(long)]
    deny_warnings: bool,
}

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the line and a caret.
    Text,
    /// Place, severity, message and help of each.
    Json,
}

impl Check {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let checked = config::check_with_history(&self.config.config, self.data_dir.as_deref())?;
        match self.format {
            Format::Text => eprint!("{}", render(&checked.diagnostics)),
            Format::Json => println!("{:#}", checked.diagnostics.iter().map(as_json).collect::<serde_json::Value>()),
        }
        let Some(plan) = checked.plan else {
            return Err(config::faulty(&checked.diagnostics));
        };
        let warnings = checked.diagnostics.len();
        if self.deny_warnings && warnings > 0 {
            let plural = if warnings == 1 { "" } else { "s" };
            return Err(Misuse::error(format!("the configuration has {warnings} warning{plural}, which are denied")));
        }
        if self.format == Format::Json {
            return Ok(());
        }
        let counts = [(plan.tables.len(), "table"), (plan.views.len(), "view"), (plan.tenants.len(), "tenant")];
        let counts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}{}", if n == 1 { "" } else { "s" })).into();
        println!("ok: {}", counts.join(", "));
        Ok(())
    }
}

/// Lines and columns are counted from 1, columns in characters; `end_column` is behind the last one.
fn as_json(diagnostic: &Diagnostic) -> serde_json::Value {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    serde_json::json!({
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "end_column": diagnostic.end_column,
        "severity": severity,
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}

//! `aulaflow check`: every fault of a configuration, without starting anything.

use super::plan;
use crate::config::{self, ConfigArg};
use crate::failure::Misuse;
use crate::tenant_records::Shown;
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
    /// End with code 2 where there are warnings
    #[arg(long)]
    deny_warnings: bool,
    /// Also say what a start over this data directory would change in the tenants' settings [default: that of the configuration]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    against: Option<Option<PathBuf>>,
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
        let data = self.against.as_ref().and_then(Option::as_deref);
        let checked = config::check_with_history(&self.config.config, data)?;
        match self.format {
            Format::Text => eprint!("{}", render(&checked.diagnostics)),
            Format::Json => println!("{:#}", checked.diagnostics.iter().map(as_json).collect::<serde_json::Value>()),
        }
        let Some(mut plan) = checked.plan else {
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
        let counts = counts.join(", ");
        let Some(data) = self.against else {
            println!("ok: {counts}");
            return Ok(());
        };
        if let Some(dir) = data {
            plan.runtime.data_dir = dir;
        }
        let log = plan::open_log(&plan)?;
        let tenants = log.map_or_else(|| Ok(Vec::new()), |log| plan::tenants(log.log.as_ref(), &plan))?;
        for line in tenants.iter().flat_map(Shown::lines) {
            println!("{line}");
        }
        if tenants.iter().any(Shown::is_refused) {
            return Err(Misuse::error("a tenant's file does not go together with what was set over HTTP"));
        }
        println!("ok: {counts}");
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

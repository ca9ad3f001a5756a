//! `aulaflow check`: every fault of a configuration, without starting anything.

use super::plan;
use crate::config::{self, ConfigArg};
use crate::failure::Misuse;
use crate::tenant_records::Shown;
use anyhow::Result;
use aulaflow_plan::render;
use std::path::PathBuf;

/// Checks every configuration file and prints each fault with its place
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArg,
    /// Also say what a start over this data directory would change in the tenants' settings [default: that of the configuration]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    against: Option<Option<PathBuf>>,
}

impl Check {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let checked = config::check(&self.config.config)?;
        eprint!("{}", render(&checked.diagnostics));
        let Some(mut plan) = checked.plan else {
            return Err(config::faulty(&checked.diagnostics));
        };
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

//! `aulaflow check`: every fault of a configuration, without starting anything.

use crate::config::{self, ConfigArg};
use anyhow::Result;
use aulaflow_plan::render;

/// Checks every configuration file and prints each fault with its place
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArg,
}

impl Check {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let checked = config::check(&self.config.config)?;
        eprint!("{}", render(&checked.diagnostics));
        let Some(plan) = checked.plan else {
            return Err(config::faulty(&checked.diagnostics));
        };
        let counts = [(plan.tables.len(), "table"), (plan.views.len(), "view"), (plan.tenants.len(), "tenant")];
        let counts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}{}", if n == 1 { "" } else { "s" })).into();
        println!("ok: {}", counts.join(", "));
        Ok(())
    }
}

//! `aulaflow clickhouse migrate` and `check`: the tables of a ClickHouse server. Those of the embedded one make themselves.

use crate::clickhouse::server_endpoint;
use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::node::clickhouse::access;
use crate::tenant_records::now;
use anyhow::{Context, Result, bail};
use aulaflow_clickhouse::{Connection, Stop, Tables, check, check_views, migrate, migrate_views};
use aulaflow_plan::Plan;

/// What `migrate` takes.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Keep the tables of this view (or of `grades` or `cohorts`) under another name, and make new ones; can be repeated
    #[arg(long, value_name = "NAME")]
    replace: Vec<String>,
    /// A server at another URL than the configuration's, such as http://127.0.0.1:8123
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
}

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// A server at another URL than the configuration's
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
}

impl Migrate {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &self.overrides)?;
        let (connection, tables) = open(&plan, self.url)?;
        let today = now().to_string();
        // `2026-03-02T…`
        let day: String = today.chars().take_while(|c| *c != 'T').filter(char::is_ascii_digit).collect();
        let mut steps = migrate(&connection, &tables, &self.replace, &day)?.steps;
        steps.extend(migrate_views(&connection, &tables)?);
        steps.iter().for_each(|step| println!("{step}"));
        if steps.is_empty() {
            println!("everything is as it should be");
        }
        Ok(())
    }
}

impl Check {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &self.overrides)?;
        let (connection, tables) = open(&plan, self.url)?;
        let mut faults = check(&connection, &tables)?;
        faults.extend(check_views(&connection, &tables)?);
        if faults.is_empty() {
            println!("everything is as it should be");
            return Ok(());
        }
        faults.iter().for_each(|fault| println!("{fault}"));
        bail!("the tables in ClickHouse are not as they should be")
    }
}

/// A connection to the configured server, or to the one at `url`, and the plan's tables.
pub fn open(plan: &Plan, url: Option<String>) -> Result<(Connection, Tables)> {
    let tables = Tables::of(plan).map_err(|error| Misuse::error(error.to_string()))?;
    let endpoint = server_endpoint(&plan.runtime, url)?;
    let access = access(&endpoint, plan.runtime.clickhouse_sink.insert_timeout);
    let connection = Connection::new(&access, &Stop::default()).context("no connection can be made")?;
    Ok((connection, tables))
}

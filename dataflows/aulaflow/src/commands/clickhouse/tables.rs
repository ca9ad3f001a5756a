//! `aulaflow clickhouse migrate` and `check`: the tables of a ClickHouse server. Those of the embedded one make themselves.

use crate::clickhouse::server_endpoint;
use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::node::clickhouse::access;
use crate::tenant_records::now;
use anyhow::{Context, Result, bail};
use aulaflow_clickhouse::{Connection, Stop, Tables, check, migrate};

/// What `migrate` takes.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Keep the tables of this view (or of `grades` or `cohorts`) under another name, and make new ones; can be repeated
    #[arg(long, value_name = "NAME")]
    replace: Vec<String>,
    /// Whether to do this to a server of another URL than the configuration's, such as http://127.0.0.1:8123
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// A server of another URL than the configuration's
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Migrate {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let (connection, tables) = open(&self.config, self.url)?;
        let today = now().to_string();
        // `2026-03-02T…`
        let day: String = today.chars().take_while(|c| *c != 'T').filter(char::is_ascii_digit).collect();
        let done = migrate(&connection, &tables, &self.replace, &day)?;
        done.steps.iter().for_each(|step| println!("{step}"));
        if done.steps.is_empty() {
            println!("everything is as it should be");
        }
        Ok(())
    }
}

impl Check {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let (connection, tables) = open(&self.config, self.url)?;
        let faults = check(&connection, &tables)?;
        if faults.is_empty() {
            println!("everything is as it should be");
            return Ok(());
        }
        faults.iter().for_each(|fault| println!("{fault}"));
        bail!("the tables in ClickHouse are not as they should be")
    }
}

fn open(config: &ConfigArg, url: Option<String>) -> Result<(Connection, Tables)> {
    let plan = config::load(&config.config, &Overrides::default())?;
    let tables = Tables::of(&plan).map_err(|error| Misuse::error(error.to_string()))?;
    let endpoint = server_endpoint(&plan.runtime, url)?;
    let access = access(&endpoint, plan.runtime.clickhouse_sink.insert_timeout);
    let connection = Connection::new(&access, &Stop::default()).context("no connection can be made")?;
    Ok((connection, tables))
}

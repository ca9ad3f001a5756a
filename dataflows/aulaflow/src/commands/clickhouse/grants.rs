//! `aulaflow clickhouse grants`: the statements that let users of a ClickHouse server see one tenant, printed or executed. What they
//! say is `aulaflow_clickhouse`'s business.

use super::tables::open;
use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use anyhow::{Result, bail};
use aulaflow_clickhouse::{Connection, Grant, Tables, check, check_views};
use aulaflow_model::ids::TenantId;

/// What `grants` takes.
#[derive(Debug, clap::Args)]
pub struct Grants {
    /// Whose rows are shown
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// A user that the server has already, who gets the tenant's role
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Execute the statements on the configured server instead of printing them
    #[arg(long)]
    apply: bool,
    /// A server at another URL than the configuration's; with --apply
    #[arg(long, value_name = "URL", requires = "apply")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
}

impl Grants {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &self.overrides)?;
        let settings = &plan.runtime.clickhouse;
        if self.user.as_deref() == Some(settings.user.as_str()) {
            return Err(Misuse::error(format!(
                "{:?} is the user that writes the tables, who must see everything: name another one with --user",
                settings.user
            )));
        }
        let statements = |tables: &Tables| {
            let (database, writer) = (settings.database.as_str(), settings.user.as_str());
            Grant { tables, database, writer, tenant: &self.tenant, user: self.user.as_deref() }.statements()
        };
        if !self.apply {
            let tables = Tables::of(&plan).map_err(|error| Misuse::error(error.to_string()))?;
            statements(&tables).iter().for_each(|statement| println!("{statement};"));
            return Ok(());
        }
        let (connection, tables) = open(&plan, self.url.clone())?;
        ready(&connection, &tables)?;
        let statements = statements(&tables);
        for statement in &statements {
            connection.execute(statement).map_err(|error| {
                anyhow::anyhow!("{statement}: {error}. The embedded ClickHouse keeps no users; on a server the configured user needs \
                                 ACCESS MANAGEMENT, or print the statements and have an administrator execute them")
            })?;
        }
        println!("{} statements were executed", statements.len());
        Ok(())
    }
}

/// Policies are for tables that are there.
fn ready(connection: &Connection, tables: &Tables) -> Result<()> {
    let mut faults = check(connection, tables)?;
    faults.extend(check_views(connection, tables)?);
    match faults.as_slice() {
        [] => Ok(()),
        faults => bail!("run `aulaflow clickhouse migrate` first: {}", faults.join("; ")),
    }
}

//! `aulaflow token`: a development token, and nothing else, on stdout.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::token::{Bearer, sign};
use anyhow::Result;
use aulaflow_model::ids::TenantId;
use aulaflow_plan::quantity::parse_duration;
use aulaflow_query_api::Role;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::time::Duration;

/// Prints a development token signed with the configured key
#[derive(Debug, clap::Args)]
pub struct Token {
    /// Whose data it opens; every role but `platform` has one
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// What its bearer may do
    #[arg(long, value_name = "ROLE", value_parser = role_parser())]
    role: Role,
    /// Who the bearer is: a student's own id for the role `student`
    #[arg(long, value_name = "ID", default_value = "developer")]
    subject: String,
    /// How long it is good for, such as 8h or 30 minutes
    #[arg(long, value_name = "TIME", default_value = "8h", value_parser = parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    config: ConfigArg,
}

impl Token {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match (self.role == Role::Platform, &self.tenant) {
            (true, Some(_)) => return Err(Misuse::error("the role platform belongs to no tenant: leave --tenant out")),
            (false, None) => return Err(Misuse::error(format!("the role {} needs a --tenant", self.role))),
            (true, None) | (false, Some(_)) => {}
        }
        if self.ttl.is_zero() {
            return Err(Misuse::error("--ttl must be longer than nothing"));
        }
        let plan = config::load(&self.config.config, &Overrides::default())?;
        let bearer = Bearer { tenant: self.tenant, role: self.role, subject: self.subject };
        println!("{}", sign(&plan.runtime.auth, &bearer, self.ttl)?);
        Ok(())
    }
}

/// The roles by their names, all of them in the help text.
fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name))
        .try_map(|name| Role::parse(&name).ok_or_else(|| format!("there is no role {name}")))
}

//! `aulaflow pseudonym`: what stands for a student in ClickHouse, and the other way round for a list of students. Only who can
//! read the tenant's key can tell.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::node::clickhouse::keys_dir;
use anyhow::{Context, Result, bail};
use aulaflow_clickhouse::{PseudonymKeys, Uuid};
use aulaflow_model::ids::{StudentId, TenantId};
use std::io::BufRead;

/// Prints a student's pseudonym, or finds the student of one in a list
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub struct Pseudonym {
    /// The tenant
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// The student whose pseudonym is printed
    #[arg(long, value_name = "STUDENT", group = "what")]
    student: Option<StudentId>,
    /// The pseudonym whose student is looked for among the ids on the standard input, one a line
    #[arg(long, value_name = "UUID", group = "what")]
    find: Option<Uuid>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Pseudonym {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &Overrides::default())?;
        let dir = keys_dir(&plan.runtime);
        let actor = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
        // Who asked for whose: never for whom.
        tracing::warn!(actor, tenant = %self.tenant, finds = self.find.is_some(), "a pseudonym was looked up");
        if !dir.is_dir() {
            return Err(no_key(&self.tenant, &dir));
        }
        let keys = PseudonymKeys::open(&dir)?;
        let known = |student: &StudentId| keys.known(&self.tenant, student).ok_or_else(|| no_key(&self.tenant, &dir));
        if let Some(student) = &self.student {
            println!("{}", known(student)?);
            return Ok(());
        }
        for line in std::io::stdin().lock().lines() {
            let line = line.context("the standard input cannot be read")?;
            let Ok(student) = line.trim().parse::<StudentId>() else { continue };
            if Some(known(&student)?) == self.find {
                println!("{student}");
                return Ok(());
            }
        }
        bail!("none of the ids has this pseudonym")
    }
}

fn no_key(tenant: &TenantId, dir: &std::path::Path) -> anyhow::Error {
    Misuse::error(format!(
        "there is no key of {tenant} in {}: nothing of it was recorded here, or `pseudonym_keys` in `[clickhouse]` names \
         another folder",
        dir.display()
    ))
}

//! `aulaflow pseudonym`: what stands for a student in ClickHouse, and the other way round for a list of students. Only who can
//! read the tenant's key can tell, and each time is written down beside the keys.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::node::clickhouse::keys_dir;
use anyhow::{Context, Result, bail};
use aulaflow_clickhouse::{PseudonymKeys, Uuid};
use aulaflow_model::ids::{StudentId, TenantId};
use aulaflow_model::instant::Millis;
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Beside the keys: who looked up whom, a JSON object per line.
const LOOKUPS: &str = "lookups.jsonl";

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
    #[command(flatten)]
    overrides: Overrides,
}

impl Pseudonym {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &self.overrides)?;
        let dir = keys_dir(&plan.runtime);
        if !dir.is_dir() {
            return Err(no_key(&self.tenant, &dir));
        }
        let keys = PseudonymKeys::open(&dir)?;
        let known = |student: &StudentId| keys.known(&self.tenant, student).ok_or_else(|| no_key(&self.tenant, &dir));
        if let Some(student) = &self.student {
            let pseudonym = known(student)?;
            self.record(&dir, pseudonym, "found")?;
            println!("{pseudonym}");
            return Ok(());
        }
        let Some(wanted) = self.find else { return Ok(()) };
        for line in std::io::stdin().lock().lines() {
            let line = line.context("the standard input cannot be read")?;
            let Ok(student) = line.trim().parse::<StudentId>() else { continue };
            if known(&student)? == wanted {
                self.record(&dir, wanted, "found")?;
                println!("{student}");
                return Ok(());
            }
        }
        self.record(&dir, wanted, "not found")?;
        bail!("none of the ids has this pseudonym")
    }

    /// Writes down who asked for whose, by the pseudonym. What cannot be written down is not answered.
    fn record(&self, dir: &Path, pseudonym: Uuid, outcome: &str) -> Result<()> {
        let path = dir.join(LOOKUPS);
        let what = if self.find.is_some() { "student of a pseudonym" } else { "pseudonym of a student" };
        let line = serde_json::json!({
            "at": Millis(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?).to_string(),
            // The kernel's word for who it is, and the environment's.
            "uid": std::fs::metadata("/proc/self").ok().map(|own| own.uid()),
            "user": std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok(),
            "tenant": self.tenant.as_str(),
            "what": what,
            "pseudonym": pseudonym.to_string(),
            "outcome": outcome,
        });
        let mut options = OpenOptions::new();
        let written = options.create(true).append(true).mode(0o600).open(&path).and_then(|mut file| {
            // One write: lines of two processes do not mix.
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_all()
        });
        written
            .with_context(|| format!("{} cannot be written, and a lookup is not answered without it", path.display()))
    }
}

fn no_key(tenant: &TenantId, dir: &std::path::Path) -> anyhow::Error {
    Misuse::error(format!(
        "there is no key of {tenant} in {}: nothing of it was recorded here, or `pseudonym_keys` in `[clickhouse]` names \
         another folder",
        dir.display()
    ))
}

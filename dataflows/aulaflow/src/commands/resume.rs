//! `aulaflow resume`: reads a source on whose error budget was spent.

use crate::client::Client;
use crate::config::{self, ConfigArg, Overrides};
use crate::token::{Bearer, sign};
use anyhow::{Context, Result, bail};
use aulaflow_query_api::Role;
use serde_json::Value;
use std::time::Duration;

/// How long the token is good for.
const TOKEN_FOR: Duration = Duration::from_secs(300);

/// Reads a topic on that a running instance has stopped reading, because most of its records could not be used
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The topic, such as aula.behavior.v1
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// The running instance [default: the configuration's address]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

impl Resume {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &Overrides::default())?;
        let url = self.url.unwrap_or_else(|| format!("http://{}", plan.runtime.server.listen));
        let bearer = Bearer { tenant: None, role: Role::Platform, subject: "aulaflow".to_owned() };
        let client = Client::new(&url, &sign(&plan.runtime.auth, &bearer, TOKEN_FOR)?);
        if !client.is_running()? {
            bail!("nothing answers at {url}: name a running instance with --url");
        }
        let answer = client.post(&format!("/v1/sources/{}:resume", self.topic), "application/json", b"{}")?;
        let answer: Value = serde_json::from_slice(&answer.body).context("the answer makes no sense")?;
        let partitions = answer.get("partitions").and_then(Value::as_array).cloned().unwrap_or_default();
        if partitions.is_empty() {
            bail!("no partition of {} was stopped: there is nothing to resume", self.topic);
        }
        for partition in partitions {
            println!("{}/{partition} is read on", self.topic);
        }
        Ok(())
    }
}

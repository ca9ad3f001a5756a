//! `aulaflow dlq`: records that could not be used. Through the instance that answers at the URL, or else straight from the
//! log, which an embedded log allows while no instance runs.

mod list;
mod replay;
mod show;

use crate::client::Client;
use crate::config::{self, ConfigArg, Overrides};
use crate::log_store;
use crate::tenant_records::now;
use crate::token::{Bearer, sign};
use anyhow::{Context, Result};
use aulaflow_log::Log;
use aulaflow_log::letters::{LetterId, Query};
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::Millis;
use aulaflow_query_api::Role;
use aulaflow_query_api::dead_letters::{self, Page, Replay, Replayed, Whole};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long the token is good for.
const TOKEN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Letters asked for at once.
const PAGE: usize = 1_000;

/// Shows records that could not be used, and writes them once more
#[derive(Debug, clap::Args)]
pub struct Dlq {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::List),
    Show(show::Show),
    Replay(replay::Replay),
}

impl Dlq {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Replay(replay) => replay.run(),
        }
    }
}

/// Where the letters are.
#[derive(Debug, clap::Args)]
struct Where {
    /// The running instance [default: the configuration's address]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
}

/// Which letters.
#[derive(Debug, Clone, clap::Args)]
struct Filters {
    /// Of this topic only, such as aula.behavior.v1
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    topic: Option<String>,
    /// Of this class only: key, schema, size, late, future, expression, limit
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Of this tenant only
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Found to be dead at this time or later, such as 2026-03-02T15:04:05Z
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    since: Option<Millis>,
    /// Found to be dead before this time
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<Millis>,
}

fn topic(text: &str) -> Result<String, String> {
    let source = text.strip_suffix(".dlq").unwrap_or(text);
    LetterId::new(source, 0, 0).map(|_| source.to_owned()).ok_or_else(|| "is a topic without dead letters".to_owned())
}

fn instant(text: &str) -> Result<Millis, String> {
    Millis::parse_rfc3339(text).map_err(|_| "is no time such as 2026-03-02T15:04:05Z".to_owned())
}

impl Filters {
    fn query(&self) -> Query {
        let tenant = self.tenant.as_ref().map(ToString::to_string);
        Query { source: self.topic.clone(), class: self.class.clone(), tenant, since: self.since, until: self.until }
    }

    /// Whether they leave out any dead letter, besides those that come from now on.
    fn narrow(&self) -> bool {
        self.topic.is_some() || self.class.is_some() || self.tenant.is_some() || self.since.is_some()
    }

    /// As parameters of the API.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let instant = |at: Option<Millis>| at.map(|at| at.to_string());
        let all = [
            ("topic", self.topic.clone()),
            ("class", self.class.clone()),
            ("tenant", self.tenant.as_ref().map(ToString::to_string)),
            ("since", instant(self.since)),
            ("until", instant(self.until)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The way to the letters.
enum Door {
    Instance(Client),
    Log(Arc<dyn Log>),
}

impl Where {
    fn open(&self) -> Result<Door> {
        let plan = config::load(&self.config.config, &self.overrides)?;
        let url = self.url.clone().unwrap_or_else(|| format!("http://{}", plan.runtime.server.listen));
        let bearer = Bearer { tenant: None, role: Role::Platform, subject: "aulaflow".to_owned() };
        let client = Client::new(&url, &sign(&plan.runtime.auth, &bearer, TOKEN_FOR)?);
        if self.url.is_some() || client.is_running()? {
            return Ok(Door::Instance(client));
        }
        Ok(Door::Log(log_store::open_existing(&plan.runtime)?.log))
    }
}

impl Door {
    fn page(&self, filters: &Filters, cursor: Option<&str>, limit: usize) -> Result<Page> {
        match self {
            Self::Instance(client) => {
                let mut path = format!("/v1/dead-letters?limit={limit}");
                let cursor = cursor.map(|cursor| ("cursor", cursor.to_owned()));
                for (name, value) in filters.parameters().into_iter().chain(cursor) {
                    path.push_str(&format!("&{name}={}", escaped(&value)));
                }
                serde_json::from_slice(&client.get_once(&path)?.body).context("the answer makes no sense")
            }
            Self::Log(log) => Ok(dead_letters::page(log.as_ref(), &filters.query(), place(cursor)?, limit)?),
        }
    }

    fn letter(&self, id: LetterId) -> Result<Whole> {
        match self {
            Self::Instance(client) => {
                let answer = client.get_once(&format!("/v1/dead-letters/{id}"))?;
                serde_json::from_slice(&answer.body).context("the answer makes no sense")
            }
            Self::Log(log) => {
                dead_letters::whole(log.as_ref(), id, None)?.with_context(|| format!("there is no dead letter {id}"))
            }
        }
    }

    fn replay(&self, filters: &Filters, cursor: Option<&str>, dry_run: bool) -> Result<Replayed> {
        match self {
            Self::Instance(client) => {
                let mut body = json!({ "limit": PAGE, "dry_run": dry_run });
                for (name, value) in filters.parameters() {
                    body[name] = value.into();
                }
                if let Some(cursor) = cursor {
                    body["cursor"] = cursor.into();
                }
                let body = serde_json::to_vec(&body)?;
                let answer = client.post("/v1/dead-letters:replay", "application/json", &body)?;
                serde_json::from_slice(&answer.body).context("the answer makes no sense")
            }
            Self::Log(log) => {
                let how = Replay { limit: PAGE, dry_run, timeout: Duration::from_secs(10) };
                Ok(dead_letters::replay(log.as_ref(), &filters.query(), place(cursor)?, how)?)
            }
        }
    }
}

fn place(cursor: Option<&str>) -> Result<Option<LetterId>> {
    cursor.map(str::parse).transpose().context("a page's end")
}

/// As a part of a URL's query: only what needs no escaping stays.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Until now, unless something else was asked: what a replay makes dead again is not replayed with the rest.
fn until_now(filters: Filters) -> Filters {
    Filters { until: filters.until.or_else(|| Some(now())), ..filters }
}

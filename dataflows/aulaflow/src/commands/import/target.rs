//! Where an import goes, decided once at its start: through the instance that answers at the URL, or straight into
//! the log where nothing answers.

use super::batch::{Destination, Tally};
use super::into_log::IntoLog;
use super::over_http::OverHttp;
use super::pump::{Feeder, pump};
use crate::client::{Client, Positions};
use crate::config::{self, ConfigArg, Overrides};
use crate::progress::Progress;
use crate::token::{Bearer, sign};
use crate::{log_store, tenant_records, wait};
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_model::ids::TenantId;
use aulaflow_model::tenant::Rule;
use aulaflow_plan::runtime::{LogKind, Runtime};
use aulaflow_query_api::Role;
use serde_json::json;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long the tokens of an import are good for: longer than an import takes.
const TOKEN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Options of every import.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// Whose data it is
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// The running instance [default: the configuration's address]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Return when all of it is visible in the profiles
    #[arg(long)]
    wait: bool,
    /// How long to wait for that, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait_timeout: u64,
    #[command(flatten)]
    config: ConfigArg,
}

/// An open target.
pub struct Target {
    route: Route,
    wait: Option<Duration>,
    /// Where the rule is on the log, if it was installed over HTTP.
    positions: Positions,
}

enum Route {
    Http(Box<OverHttp>),
    Log(Box<IntoLog>),
}

/// Where the log is, in words.
fn place(runtime: &Runtime) -> String {
    match &runtime.log.kind {
        LogKind::Embedded => format!("the log in {}", runtime.data_dir.display()),
        LogKind::Kafka(kafka) => format!("the log in Kafka at {}", kafka.bootstrap),
    }
}

impl Target {
    /// Looks for a running instance, or else opens the log.
    pub fn open(args: TargetArgs) -> Result<Self> {
        let plan = config::load(&args.config.config, &Overrides::default())?;
        let runtime = &plan.runtime;
        let own = format!("http://{}", runtime.server.listen);
        let url = args.url.as_deref().unwrap_or(&own).trim_end_matches('/');
        let client = |role| -> Result<Client> {
            let token = sign(&runtime.auth, &Bearer::program(&args.tenant, role), TOKEN_FOR)?;
            Ok(Client::new(url, &token))
        };
        let (admin, service) = (client(Role::Admin)?, client(Role::Service)?);
        let wait = args.wait.then(|| Duration::from_secs(args.wait_timeout));
        if admin.is_running().with_context(|| format!("{url} is no running instance of Aulaflow"))? {
            eprintln!("importing through {url}");
            let route = Route::Http(Box::new(OverHttp::new(admin, service)));
            return Ok(Self { route, wait, positions: Positions::default() });
        }
        if url != own {
            bail!("nothing answers at {url}: check --url, or leave it out to write to {}", place(runtime));
        }
        if wait.is_some() {
            bail!(
                "--wait needs a running instance, and nothing answers at {url}: start one with `aulaflow run --config \
                 {}`, or leave --wait out",
                args.config.config.display()
            );
        }
        let log = log_store::open(runtime).with_context(|| format!("nothing answers at {url}, and"))?.log;
        // Events are checked against what the tenants' files say, also where no instance has started yet.
        tenant_records::record_files(log.as_ref(), &plan)?;
        eprintln!("nothing runs at {url}: importing straight into {}", place(runtime));
        Ok(Self {
            route: Route::Log(Box::new(IntoLog::new(log, &args.tenant)?)),
            wait: None,
            positions: Positions::default(),
        })
    }

    /// Puts the rule of the Open University dataset in force for all subjects without their own.
    pub fn install_default_rule(&mut self) -> Result<()> {
        let rule = json!({ "weights": "items", "min_passing": 40 });
        match &mut self.route {
            Route::Http(http) => {
                self.positions = http.put_default_rule(&rule)?;
                Ok(())
            }
            Route::Log(log) => {
                let checked = Rule::from_json_for(None, &rule, "");
                log.install_rule(checked.map_err(|faults| anyhow!("the default rule is wrong: {faults:?}"))?)
            }
        }
    }

    /// Sends what `produce` feeds.
    pub fn pump(
        &mut self,
        rate: Option<NonZeroU32>,
        progress: &Progress,
        produce: impl FnOnce(&mut Feeder<'_>) -> Result<()>,
    ) -> Result<Tally> {
        let destination: &mut dyn Destination = match &mut self.route {
            Route::Http(http) => http.as_mut(),
            Route::Log(log) => log.as_mut(),
        };
        pump(destination, rate.map(NonZeroU32::get), progress, produce)
    }

    /// Reports what was done and, if asked for, waits until it is visible.
    pub fn finish(self, mut tally: Tally, progress: &Progress) -> Result<()> {
        progress.finish();
        println!("imported {} events, {} events/s", tally.accepted, progress.rate());
        if tally.refused > 0 {
            println!("refused {}: they are on the dead-letter topic", tally.refused);
            for example in &tally.examples {
                println!("  {example}");
            }
        }
        if let (Route::Http(http), Some(timeout)) = (&self.route, self.wait) {
            tally.positions.merge(self.positions);
            let waited = wait::until_visible(http.service(), &tally.positions, timeout)?;
            println!(
                "visible in the profiles {:.1} s later, {} events/s overall",
                waited.as_secs_f64(),
                progress.rate()
            );
        }
        Ok(())
    }
}

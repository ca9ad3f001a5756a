//! Where an import goes, decided once at its start: through the instance that answers at the URL, or straight into
//! the log where nothing answers.

use super::batch::{Destination, Tally};
use super::into_log::IntoLog;
use super::over_http::OverHttp;
use super::pump::{Feeder, pump};
use crate::client::{Client, Positions};
use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::progress::Progress;
use crate::token::{Bearer, sign};
use crate::{log_store, tenant_records, wait};
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_model::fault::nearest;
use aulaflow_model::ids::TenantId;
use aulaflow_model::tenant::Rule;
use aulaflow_query_api::Role;
use serde_json::json;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long the tokens of an import are good for: longer than an import takes.
const TOKEN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Known tenants that a message names.
const TENANTS_NAMED: usize = 10;

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
    /// Import for a tenant that neither the configuration nor the log knows: it has no periods and no rules yet
    #[arg(long)]
    create: bool,
    /// Refused events, such as lines that are not JSON, that are no failure of the import
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow_bad: u64,
    #[command(flatten)]
    config: ConfigArg,
}

/// An open target.
pub struct Target {
    route: Route,
    wait: Option<Duration>,
    allow_bad: u64,
    /// Where the rule is on the log, if it was installed over HTTP.
    positions: Positions,
}

enum Route {
    Http(Box<OverHttp>),
    Log(Box<IntoLog>),
}

impl Target {
    /// Looks for a running instance, or else opens the log. `makes_tenant`: the import gives its tenant a rule, so that the
    /// tenant need not be known.
    pub fn open(args: TargetArgs, makes_tenant: bool) -> Result<Self> {
        let plan = config::load(&args.config.config, &Overrides::default())?;
        let runtime = &plan.runtime;
        let own = format!("http://{}", runtime.server.listen);
        let url = args.url.as_deref().unwrap_or(&own).trim_end_matches('/');
        let client = |role| -> Result<Client> {
            let token = sign(&runtime.auth, &Bearer::program(&args.tenant, role), TOKEN_FOR)?;
            Ok(Client::new(url, &token))
        };
        let (admin, service) = (client(Role::Admin)?, client(Role::Service)?);
        let allow_bad = args.allow_bad;
        let may_be_new =
            args.create || makes_tenant || plan.tenants.iter().any(|(known, _)| known.tenant == args.tenant);
        let wait = args.wait.then(|| Duration::from_secs(args.wait_timeout));
        if admin.is_running().with_context(|| format!("{url} is no running instance of Aulaflow"))? {
            let http = OverHttp::new(admin, service);
            if !may_be_new && !http.knows_tenant()? {
                return Err(unknown(&args.tenant, plan.tenants.iter().map(|(known, _)| &known.tenant)));
            }
            eprintln!("importing through {url}");
            let route = Route::Http(Box::new(http));
            return Ok(Self { route, wait, allow_bad, positions: Positions::default() });
        }
        if url != own {
            bail!("nothing answers at {url}: check --url, or leave it out to write to {}", log_store::place(runtime));
        }
        if wait.is_some() {
            bail!(
                "--wait needs a running instance, and nothing answers at {url}: start one with `aulaflow run --config \
                 {}`, or leave --wait out",
                args.config.config.display()
            );
        }
        // Where nothing was written yet nothing but the configuration can know the tenant, and nothing is made.
        if !may_be_new && !log_store::is_there(runtime)? {
            return Err(unknown(&args.tenant, plan.tenants.iter().map(|(known, _)| &known.tenant)));
        }
        let log = log_store::open(runtime).with_context(|| format!("nothing answers at {url}, and"))?.log;
        // Events are checked against what the tenants' files say, also where no instance has started yet.
        tenant_records::record_files(log.as_ref(), &plan)?;
        let recorded = tenant_records::read(log.as_ref())?;
        if !may_be_new && recorded.get(&args.tenant).is_none_or(|recorded| recorded.config.is_none()) {
            return Err(unknown(&args.tenant, recorded.keys()));
        }
        eprintln!("nothing runs at {url}: importing straight into {}", log_store::place(runtime));
        Ok(Self {
            route: Route::Log(Box::new(IntoLog::new(log, &args.tenant, runtime.engine.record_bytes_max)?)),
            wait: None,
            allow_bad,
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

    /// Reports what was done and, if asked for, waits until it is visible. An error where nothing came, or where more was
    /// refused than is allowed.
    pub fn finish(self, mut tally: Tally, progress: &Progress) -> Result<()> {
        progress.finish();
        println!("imported {} events, {} events/s", tally.accepted, progress.rate());
        let lost = tally.skipped;
        if tally.refused > lost {
            println!("refused {}: they are on the dead-letter topic", tally.refused - lost);
        }
        if lost > 0 {
            println!("left out {lost}, too long to be kept as dead letters");
        }
        if tally.refused > 0 {
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
        outcome(&tally, self.allow_bad)
    }
}

/// Whether what was asked for has happened.
fn outcome(tally: &Tally, allow_bad: u64) -> Result<()> {
    if tally.accepted == 0 && tally.refused == 0 {
        bail!("nothing was imported: the input has no events");
    }
    if tally.refused > allow_bad {
        bail!(
            "{} of {} events were refused: mend them and import the file once more, since what is on the log already counts \
             once; or allow for them with --allow-bad {}",
            tally.refused,
            tally.accepted + tally.refused,
            tally.refused
        );
    }
    Ok(())
}

/// Nobody knows the tenant.
fn unknown<'a>(tenant: &TenantId, known: impl Iterator<Item = &'a TenantId> + Clone) -> anyhow::Error {
    let near = nearest(tenant.as_str(), known.clone().map(TenantId::as_str));
    let names = known.map(TenantId::as_str).take(TENANTS_NAMED).collect::<Vec<_>>().join(", ");
    let hint = match (near, names.is_empty()) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, false) => format!("known here: {names}."),
        (None, true) => "no tenant is known here.".to_owned(),
    };
    Misuse::error(format!("--tenant: there is no tenant {tenant}; {hint} To import for a new tenant say --create"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_import_has_succeeded_if_something_came_and_no_more_was_refused_than_is_allowed() {
        let tally = |accepted, refused| Tally { accepted, refused, ..Tally::default() };
        let cases = [((5, 0), 0, true), ((5, 1), 0, false), ((5, 1), 1, true), ((0, 0), 9, false), ((0, 3), 3, true)];
        for ((accepted, refused), allowed, succeeds) in cases {
            assert_eq!(outcome(&tally(accepted, refused), allowed).is_ok(), succeeds, "{accepted} {refused} {allowed}");
        }
    }

    #[test]
    fn an_unknown_tenant_is_named_with_the_nearest() {
        let known = ["school_123", "school_456"].map(|name| TenantId::new(name).unwrap());
        let says = |tenant: &str| unknown(&TenantId::new(tenant).unwrap(), known.iter()).to_string();
        assert!(says("schol_123").contains("did you mean school_123?"), "{}", says("schol_123"));
        assert!(says("zz").contains("known here: school_123, school_456."), "{}", says("zz"));
    }
}

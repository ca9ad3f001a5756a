//! `aulaflow demo`: an instance of its own with a school's traffic, to look at and to play with.

mod freshness;
mod intro;
mod school;
mod screen;

use crate::client::Client;
use crate::config::{self, Overrides};
use crate::failure::Misuse;
use crate::node::{End, Node, Roles};
use crate::stdio;
use crate::stop_signal::StopSignal;
use crate::tenant_records::now;
use crate::token::{Bearer, sign};
use crate::traffic::{self, Settings, Traffic};
use anyhow::{Context, Result, anyhow};
use aulaflow_model::tenant::TenantConfig;
use aulaflow_plan::quantity::parse_duration;
use aulaflow_plan::{Plan, render};
use aulaflow_query_api::Role;
use freshness::Freshness;
use school::{Counters, School};
use screen::Screen;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the tokens of a demo are good for.
const TOKEN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// How long the last events may take to become visible before the summary.
const SETTLE: Duration = Duration::from_secs(5);

/// Starts everything embedded with generated school traffic, and shows what happens
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// The runtime's configuration file
    #[arg(long, value_name = "FILE", default_value = "configs/demo.toml")]
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// How many students the school has
    #[arg(long, value_name = "N", default_value = "2000")]
    students: NonZeroU32,
    /// End after this long, such as 20s [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Equal seeds generate equal traffic
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// School seconds in each second: 300 makes a school day of three minutes
    #[arg(long, value_name = "N", default_value = "300")]
    speed: NonZeroU32,
}

/// What the demo needs to know of the tenant that it plays.
struct Cast {
    tenant: TenantConfig,
    service: String,
    teacher: String,
    admin: String,
}

impl Demo {
    /// Runs the command.
    pub fn run(mut self) -> Result<()> {
        stdio::outlive_readers();
        // Before anything is made: a signal during the start leaves nothing behind.
        let stop_signal = StopSignal::listen()?;
        println!("Aulaflow demo: starting the log, the dataflows and ClickHouse's engine ...");
        // Kept until the end; removed with everything in it.
        let temporary = match &self.overrides.data_dir {
            Some(_) => None,
            None => {
                let folder = tempfile::Builder::new().prefix("aulaflow-demo-").tempdir();
                Some(folder.context("no temporary folder can be made: name one with --data-dir")?)
            }
        };
        if let Some(folder) = &temporary {
            stop_signal.remove_at_forced_end(folder.path());
            self.overrides.data_dir = Some(folder.path().to_owned());
        }
        let plan = config::load(&self.config, &self.overrides)?;
        eprint!("{}", render(&plan.warnings));
        let cast = Cast::of(&plan)?;
        let settings = self.traffic(&cast.tenant);
        let mut node = Node::start(plan, Roles::ALL, stop_signal.clone())?;
        let ended = if stop_signal.is_asked() {
            Ok(())
        } else {
            intro::print(&node, &cast, &settings);
            self.play(&mut node, &cast, settings)
        };
        println!("stopping ...");
        let stopped = node.stop();
        if let Some(folder) = temporary {
            let path = folder.path().to_owned();
            folder.close().with_context(|| format!("{} cannot be removed", path.display()))?;
            println!("ended; the data in {} is deleted", path.display());
        }
        ended.and(stopped)
    }

    fn traffic(&self, tenant: &TenantConfig) -> Settings {
        let start = now();
        let period = match tenant.period_at(start) {
            Some(_) => None,
            None => Some("demo".to_owned()),
        };
        Settings {
            seed: self.seed,
            students: self.students.get(),
            speed: self.speed.get(),
            start,
            lessons: traffic::lessons_of(tenant),
            period,
        }
    }

    fn play(&self, node: &mut Node, cast: &Cast, settings: Settings) -> Result<()> {
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let freshness = Freshness::start(Arc::clone(&node.shares))?;
        let school = School {
            service: Client::new(&node.url, &cast.service),
            teacher: Client::new(&node.url, &cast.teacher),
            freshness: freshness.clone(),
        };
        let sending = start_school(school, Traffic::new(settings), &counters, &stop)?;
        let mut screen = Screen::new(Arc::clone(&counters), freshness);
        let started = Instant::now();
        let over = |started: Instant| self.duration.is_some_and(|duration| started.elapsed() >= duration);
        let end = loop {
            if over(started) || sending.is_finished() {
                break End::Asked;
            }
            let left = self.duration.map_or(screen.every(), |duration| duration.saturating_sub(started.elapsed()));
            match node.until_end_or(screen.every().min(left)) {
                Some(end) => break end,
                None => screen.show(node),
            }
        };
        stop.store(true, Ordering::Relaxed);
        let sent = sending.join().unwrap_or_else(|_| Err(anyhow!("the school's thread panicked")));
        match end {
            End::Asked => {}
            End::Failed(reason) => return Err(reason),
        }
        sent?;
        settle(node, &counters);
        screen.summary(node, started.elapsed());
        Ok(())
    }
}

fn start_school(
    school: School,
    traffic: Traffic,
    counters: &Arc<Counters>,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<Result<()>>> {
    let (counters, stop) = (Arc::clone(counters), Arc::clone(stop));
    let thread = std::thread::Builder::new().name("demo-school".to_owned());
    Ok(thread.spawn(move || school.run(traffic, &counters, &stop))?)
}

/// Waits until what was sent is visible, so that the summary is of all of it.
fn settle(node: &Node, counters: &Counters) {
    let positions = counters.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let started = Instant::now();
    while !freshness::is_visible(&node.shares, &positions) && started.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Cast {
    fn of(plan: &Plan) -> Result<Self> {
        let tenant = plan.tenants.first().map(|(tenant, _)| tenant.clone());
        let tenant = tenant.ok_or_else(|| Misuse::error("the demo's configuration names no tenant"))?;
        let token = |role, subject: &str| {
            let bearer = Bearer { tenant: Some(tenant.tenant.clone()), role, subject: subject.to_owned() };
            sign(&plan.runtime.auth, &bearer, TOKEN_FOR)
        };
        Ok(Self {
            service: token(Role::Service, "learning-platform")?,
            teacher: token(Role::Teacher, "grade-book")?,
            admin: token(Role::Admin, "you")?,
            tenant,
        })
    }
}

//! `aulaflow run`: a running instance, until somebody stops it.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::log_store;
use crate::node::{End, Node, Roles};
use crate::progress::Progress;
use crate::stdio;
use crate::stop_signal::StopSignal;
use anyhow::Result;
use aulaflow_plan::render;
use clap::ValueEnum;
use std::time::Duration;

/// Time between two looks at how far the state is loaded.
const LOADING_LOOK: Duration = Duration::from_millis(100);

/// How long an instance with its log in Kafka may take to stop.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Runs an instance: HTTP server, log, dataflows and profiles
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
    /// The roles to play; on the embedded log one process must play dataflow with the others
    #[arg(long, value_delimiter = ',', value_name = "ROLES", default_value = "edge,dataflow,serve")]
    roles: Vec<Role>,
}

/// What a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Role {
    /// Takes events over HTTP.
    Edge,
    /// Maintains the views.
    Dataflow,
    /// Answers reads.
    Serve,
    /// Delivers to the government.
    Gov,
}

impl Run {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        stdio::outlive_readers();
        let stop_signal = StopSignal::listen()?;
        let roles = roles(&self.roles)?;
        let plan = config::load(&self.config.config, &self.overrides)?;
        let shared = log_store::is_shared(&plan.runtime);
        check_log(roles, shared)?;
        eprint!("{}", render(&plan.warnings));
        let mut node = Node::start(plan, roles, stop_signal)?;
        println!("aulaflow is running at {0} (API: {0}/docs, metrics: {0}/metrics); Ctrl-C stops it", node.url);
        let end = while_loading(&mut node).unwrap_or_else(|| node.until_end());
        if shared {
            end_at_last();
        }
        match end {
            End::Asked => {
                tracing::info!("stopping");
                node.stop()?;
                tracing::info!("stopped");
                Ok(())
            }
            // What is left of it is in no state to be stopped in order; the log and the last checkpoint are safe.
            End::Failed(reason) => Err(reason),
        }
    }
}

/// Ends the process if it does not end by itself: brokers that answer nothing can hold up each of many steps for a while, and
/// whoever stops a process kills it soon. Everything that was acknowledged is on the log, and a restart goes on from the
/// last checkpoint, as after a crash.
fn end_at_last() {
    let wait = || {
        std::thread::sleep(STOP_MAX);
        let seconds = STOP_MAX.as_secs();
        tracing::error!(seconds, "stopping takes too long: the process ends as it is");
        eprintln!("error: not stopped in order within {seconds} seconds: a restart goes on from the last checkpoint");
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("aulaflow-end".to_owned()).spawn(wait) {
        tracing::warn!(%error, "stopping may take as long as Kafka is silent");
    }
}

/// What the command line asks for.
fn roles(asked: &[Role]) -> Result<Roles> {
    let plays = |role| asked.contains(&role);
    if plays(Role::Gov) {
        return Err(Misuse::error("--roles: the role gov is not supported yet"));
    }
    let roles = Roles { edge: plays(Role::Edge), dataflow: plays(Role::Dataflow), serve: plays(Role::Serve) };
    if !roles.edge && !roles.dataflow && !roles.serve {
        return Err(Misuse::error("--roles: name at least one of edge, dataflow and serve"));
    }
    Ok(roles)
}

/// Whoever has the embedded log open is the only one: nobody else could maintain the views.
fn check_log(roles: Roles, shared: bool) -> Result<()> {
    if roles.dataflow || shared {
        return Ok(());
    }
    Err(Misuse::error(format!(
        "--roles {roles}: the embedded log belongs to one process, and this one would maintain no views; add the role \
         dataflow, or keep the log in Apache Kafka"
    )))
}

/// Shows how far the state is loaded. `None`: it is, and the instance runs on.
fn while_loading(node: &mut Node) -> Option<End> {
    let (mut progress, mut before) = (None, 0);
    let end = loop {
        // Of how many rows it is not known at once.
        let Some((done, of)) = node.shares.status().loading.filter(|(_, of)| *of > 0) else { break None };
        let bar = progress.get_or_insert_with(|| Progress::start("loading the state", Some(of)).of("rows"));
        bar.advance(done.saturating_sub(before));
        before = before.max(done);
        if let Some(end) = node.until_end_or(LOADING_LOOK) {
            break Some(end);
        }
    };
    if let Some(bar) = progress {
        bar.finish();
    }
    end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn roles_are_what_the_command_line_says() {
        let all = [Role::Serve, Role::Edge, Role::Dataflow];
        assert_eq!(roles(&all).unwrap(), Roles::ALL);
        let serve = roles(&[Role::Serve, Role::Serve]).unwrap();
        assert_eq!((serve.edge, serve.dataflow, serve.serve, serve.is_replica()), (false, false, true, true));
        assert_eq!(roles(&[Role::Serve, Role::Edge]).unwrap().to_string(), "edge,serve");
        assert!(!roles(&[Role::Dataflow, Role::Serve]).unwrap().is_replica());
        for asked in [&[][..], &[Role::Gov], &[Role::Edge, Role::Dataflow, Role::Serve, Role::Gov]] {
            assert_eq!(crate::failure::exit_code(&roles(asked).unwrap_err()), 2);
        }
    }

    #[test]
    fn the_embedded_log_needs_its_dataflows() {
        let serve = roles(&[Role::Serve]).unwrap();
        assert!(check_log(serve, true).is_ok());
        let refused = check_log(serve, false).unwrap_err();
        assert_eq!(crate::failure::exit_code(&refused), 2);
        assert!(refused.to_string().starts_with("--roles serve: "), "{refused}");
        assert!(check_log(roles(&[Role::Dataflow]).unwrap(), false).is_ok());
    }
}

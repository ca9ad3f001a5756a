//! `aulaflow run`: a running instance, until somebody stops it.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::node::{End, Node};
use anyhow::Result;
use aulaflow_plan::render;
use clap::ValueEnum;
use std::collections::BTreeSet;

/// Runs an instance: HTTP server, log, dataflows and profiles
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    overrides: Overrides,
    /// The roles to play; in this version one process plays edge, dataflow and serve together
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
        check_roles(&self.roles)?;
        let plan = config::load(&self.config.config, &self.overrides)?;
        eprint!("{}", render(&plan.warnings));
        let mut node = Node::start(plan)?;
        println!("aulaflow is running at {0} (API: {0}/docs, metrics: {0}/metrics); Ctrl-C stops it", node.url);
        match node.until_end() {
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

fn check_roles(roles: &[Role]) -> Result<()> {
    let asked: BTreeSet<Role> = roles.iter().copied().collect();
    let not_supported = |what: &str| Err(Misuse::error(format!("--roles: {what} is not supported yet")));
    if asked.contains(&Role::Gov) {
        return not_supported("the role gov");
    }
    if asked != BTreeSet::from([Role::Edge, Role::Dataflow, Role::Serve]) {
        return not_supported("playing only some of edge, dataflow and serve");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_all_roles_together_are_supported() {
        assert!(check_roles(&[Role::Serve, Role::Edge, Role::Dataflow]).is_ok());
        for roles in [&[Role::Edge][..], &[], &[Role::Edge, Role::Dataflow, Role::Serve, Role::Gov]] {
            let error = check_roles(roles).unwrap_err();
            assert_eq!(crate::failure::exit_code(&error), 2);
        }
    }
}

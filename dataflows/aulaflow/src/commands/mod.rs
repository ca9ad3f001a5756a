//! The commands, one file each.

mod check;
mod clickhouse;
mod demo;
mod dlq;
mod import;
mod lag;
mod lake;
mod plan;
mod pseudonym;
mod resume;
mod run;
mod test;
mod token;
pub mod topics;
mod verify;

use anyhow::Result;

/// What to do; each command's own documentation is its help text.
#[derive(Debug, clap::Subcommand)]
#[allow(missing_docs, reason = "a comment here would replace the help text")]
pub enum Command {
    Run(run::Run),
    Check(check::Check),
    Plan(plan::PlanCommand),
    Test(test::Test),
    Import(import::Import),
    Token(token::Token),
    Lag(lag::LagCommand),
    Verify(verify::Verify),
    Dlq(dlq::Dlq),
    Resume(resume::Resume),
    Demo(demo::Demo),
    Topics(topics::Topics),
    #[command(name = "clickhouse")]
    ClickHouse(clickhouse::ClickHouseCommand),
    Pseudonym(pseudonym::Pseudonym),
    Lake(lake::LakeCommand),
}

impl Command {
    /// What is logged where `RUST_LOG` does not say: an instance tells what it does, other commands only what is wrong.
    pub fn log_level(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            // An engine that is killed complains of it; what went wrong is in the command's output.
            Self::Test(_) => "warn,aulaflow_engine=off",
            Self::Check(_)
            | Self::Plan(_)
            | Self::Import(_)
            | Self::Token(_)
            | Self::Lag(_)
            | Self::Verify(_)
            | Self::Dlq(_)
            | Self::Resume(_)
            | Self::Demo(_)
            | Self::Topics(_)
            | Self::ClickHouse(_)
            | Self::Pseudonym(_)
            | Self::Lake(_) => "warn",
        }
    }

    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Run(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Plan(command) => command.run(),
            Self::Test(command) => command.run(),
            Self::Import(command) => command.run(),
            Self::Token(command) => command.run(),
            Self::Lag(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Dlq(command) => command.run(),
            Self::Resume(command) => command.run(),
            Self::Demo(command) => command.run(),
            Self::Topics(command) => command.run(),
            Self::ClickHouse(command) => command.run(),
            Self::Pseudonym(command) => command.run(),
            Self::Lake(command) => command.run(),
        }
    }
}

//! The `aulaflow` program: reads the command line, starts logging, runs the command, and ends with its exit code.
//! The only crate that knows all others; what they do is not here.

// First: its macros are those that all modules after it print with.
#[macro_use]
mod stdio;

mod archive;
mod clickhouse;
mod client;
mod commands;
mod config;
mod crash;
mod derived;
mod failure;
mod history_columns;
mod ingest;
mod kafka_settings;
mod lag;
mod lake;
mod log_store;
mod logging;
mod node;
mod oulad;
mod progress;
mod random;
mod stop_signal;
mod tenant_records;
mod token;
mod traffic;
mod verify;
mod wait;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps every student's grades and behaviour features correct, all the time, from a stream of events
#[derive(Debug, Parser)]
#[command(name = "aulaflow", version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: commands::Command,
    #[command(flatten)]
    logging: logging::Logging,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    line.logging.start(line.command.log_level());
    match line.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

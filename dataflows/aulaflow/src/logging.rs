//! What the process says about itself: lines on stderr, as text on a terminal and as JSON elsewhere.

use crate::stdio::LogLines;
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of every command. What is logged follows `RUST_LOG`, such as `aulaflow=debug`.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// How log lines on stderr look [default: text on a terminal, json elsewhere]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Logging {
    /// Starts logging. `level` is used where `RUST_LOG` is not set.
    pub fn start(&self, level: &str) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let terminal = std::io::stderr().is_terminal();
        let format = self.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        // A line that cannot be written is lost: saying so would be written to the same place.
        let lines =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogLines).log_internal_errors(false);
        // A second start is refused, and then the first one goes on.
        let _ = match format {
            LogFormat::Text => lines.try_init(),
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
        };
    }
}

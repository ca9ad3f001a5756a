//! `aulaflow lag`: how far a running instance is behind its log.

use crate::client::Client;
use crate::config::{self, ConfigArg, Overrides};
use crate::lag::Lag;
use crate::token::{Bearer, sign};
use anyhow::Result;
use aulaflow_query_api::Role;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

/// How long the token is good for.
const TOKEN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Time between two looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Shows the lag of a running instance by topic and partition, its clock, and the age of its checkpoint
#[derive(Debug, clap::Args)]
pub struct LagCommand {
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// The running instance [default: the configuration's address]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

impl LagCommand {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let plan = config::load(&self.config.config, &Overrides::default())?;
        let url = self.url.unwrap_or_else(|| format!("http://{}", plan.runtime.server.listen));
        let bearer = Bearer { tenant: None, role: Role::Platform, subject: "aulaflow".to_owned() };
        let client = Client::new(&url, &sign(&plan.runtime.auth, &bearer, TOKEN_FOR)?);
        loop {
            let table = table(&Lag::get(&client)?);
            if self.watch && std::io::stdout().is_terminal() {
                // From the top, so that the numbers stay in their places.
                print!("\x1b[2J\x1b[H");
            }
            print!("{table}");
            if !self.watch {
                return Ok(());
            }
            std::thread::sleep(WATCH_EVERY);
        }
    }
}

fn table(lag: &Lag) -> String {
    let mut out = String::new();
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |s| format!("{s:.3} s"));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "clock {}   behind {}   checkpoint {} old\n\n{:<24} {:>9} {:<10} {:>12} {:>12} {:>10} {:>10}",
        lag.clock,
        seconds(lag.frontier_lag_seconds),
        seconds(lag.checkpoint_age_seconds),
        "TOPIC",
        "PARTITION",
        "STATE",
        "VISIBLE",
        "END",
        "LAG",
        "SECONDS"
    );
    for place in &lag.partitions {
        let behind = place.end_offset.saturating_sub(place.visible_offset);
        let _ = writeln!(
            out,
            "{:<24} {:>9} {:<10} {:>12} {:>12} {:>10} {:>10}",
            place.topic,
            place.partition,
            if place.idle && place.state == "live" { "idle" } else { &place.state },
            place.visible_offset,
            place.end_offset,
            behind,
            place.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"))
        );
    }
    for sink in &lag.sinks {
        let (name, kib) = (format!("-> {}", sink.sink), sink.waiting_bytes.div_ceil(1_024));
        let waiting = match sink.waiting_records {
            0 => format!("{kib} KiB wait"),
            records => format!("{records} records wait"),
        };
        let _ = writeln!(
            out,
            "{name:<24} {:>9} {:<10} {waiting:>25} {:>10} {:>10.1}",
            sink.share, sink.state, "", sink.lag_seconds
        );
    }
    for place in &lag.partitions {
        if let Some(reason) = &place.reason {
            let _ = writeln!(out, "\n{}/{} is stalled: {reason}", place.topic, place.partition);
        }
    }
    for sink in &lag.sinks {
        if let Some(reason) = &sink.reason {
            let _ = writeln!(out, "\n{}/{} is {}: {reason}", sink.sink, sink.share, sink.state);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::{Place, SinkPlace};

    #[test]
    fn shows_each_partition_on_a_line() {
        let place = Place {
            topic: "aula.behavior.v1".into(),
            partition: 3,
            visible_offset: 90,
            end_offset: 100,
            lag_seconds: Some(2.25),
            state: "stalled".into(),
            reason: Some("error budget".into()),
            idle: false,
        };
        let idle = Place {
            visible_offset: 100,
            lag_seconds: Some(0.0),
            state: "live".into(),
            reason: None,
            idle: true,
            ..place.clone()
        };
        let lag = Lag {
            clock: "2026-03-02T15:04:05.120Z".into(),
            frontier_lag_seconds: None,
            checkpoint_age_seconds: Some(1.5),
            partitions: vec![place, idle],
            sinks: vec![SinkPlace {
                sink: "clickhouse".into(),
                share: "all".into(),
                state: "retrying".into(),
                reason: Some("cannot be reached".into()),
                lag_seconds: 61.25,
                waiting_bytes: 2_049,
                waiting_records: 0,
            }],
        };
        let text = table(&lag);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "clock 2026-03-02T15:04:05.120Z behind - checkpoint 1.500 s old");
        assert_eq!(lines[3], ["aula.behavior.v1", "3", "stalled", "90", "100", "10", "2.2"]);
        assert_eq!(lines[4], ["aula.behavior.v1", "3", "idle", "100", "100", "0", "0.0"]);
        assert_eq!(lines[5].join(" "), "-> clickhouse all retrying 3 KiB wait 61.2");
        assert_eq!(lines[7].join(" "), "aula.behavior.v1/3 is stalled: error budget");
        assert_eq!(lines[9].join(" "), "clickhouse/all is retrying: cannot be reached");
    }
}

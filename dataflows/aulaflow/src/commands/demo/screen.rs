//! The demo's live counters: one line that is rewritten on a terminal, plain lines every 2 s elsewhere.

use super::freshness::Freshness;
use super::school::Counters;
use crate::node::Node;
use aulaflow_log::TopicPartition;
use aulaflow_model::topic;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Shows what happens.
pub struct Screen {
    counters: Arc<Counters>,
    freshness: Freshness,
    terminal: bool,
    last: (Instant, u64),
}

impl Screen {
    /// A screen; nothing is shown yet.
    pub fn new(counters: Arc<Counters>, freshness: Freshness) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { counters, freshness, terminal, last: (Instant::now(), 0) }
    }

    /// Time between two looks.
    pub fn every(&self) -> Duration {
        Duration::from_millis(if self.terminal { 500 } else { 2_000 })
    }

    /// Shows the counters now.
    pub fn show(&mut self, node: &Node) {
        let accepted = self.accepted();
        let (since, before) = self.last;
        let rate = (accepted - before) as f64 / since.elapsed().as_secs_f64().max(0.001);
        self.last = (Instant::now(), accepted);
        let minute = self.counters.minute.load(Ordering::Relaxed);
        let line = format!(
            "school {:02}:{:02} | {rate:.0} events/s | {}",
            minute / 60,
            minute % 60,
            self.state(node, accepted)
        );
        let mut out = std::io::stdout().lock();
        // Nobody reads a closed stdout; the demo goes on for those who read its API.
        let _ = if self.terminal { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Shows the end.
    pub fn summary(&self, node: &Node, ran: Duration) {
        let accepted = self.accepted();
        let rate = accepted as f64 / ran.as_secs_f64().max(0.001);
        let newline = if self.terminal { "\n" } else { "" };
        println!(
            "{newline}ran {:.1} s: {rate:.0} events/s on average | {}",
            ran.as_secs_f64(),
            self.state(node, accepted)
        );
    }

    fn accepted(&self) -> u64 {
        self.counters.behavior.load(Ordering::Relaxed) + self.counters.evaluations.load(Ordering::Relaxed)
    }

    fn state(&self, node: &Node, accepted: u64) -> String {
        let refused = match self.counters.refused.load(Ordering::Relaxed) {
            0 => String::new(),
            refused => format!(", refused {refused}"),
        };
        let millis =
            |per_mille| self.freshness.quantile_ms(per_mille).map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        let clock = node.shares.status().clock.map_or("-".to_owned(), |clock| clock.to_string());
        format!(
            "accepted {accepted} ({} evaluations){refused} | dead letters {} | students {} | fresh p50 {} p99 {} | clock {clock}",
            self.counters.evaluations.load(Ordering::Relaxed),
            dead_letters(node),
            node.shares.stores().students(),
            millis(500),
            millis(990),
        )
    }
}

/// Records on the dead-letter topics: late ones and those from wrong clocks among them.
fn dead_letters(node: &Node) -> u64 {
    let of_topic = |source: &str| {
        let topic = topic::dead_letters(source);
        let partitions = node.log.partitions(&topic).unwrap_or(0);
        let count = |partition| {
            let place = TopicPartition { topic: topic.clone(), partition };
            let (start, end) = (node.log.start_offset(&place), node.log.end_offset(&place));
            end.unwrap_or(0).saturating_sub(start.unwrap_or(0))
        };
        (0..partitions).map(count).sum::<u64>()
    };
    topic::SOURCES.iter().map(|source| of_topic(source)).sum()
}

//! A checked plan to timely and differential dataflows: sources, clock, operators, checkpoint.
//! Knows the log's trait and the traits of sinks, and no concrete one of either.

mod ask;
mod backfill;
pub mod batch;
mod budget;
mod cells;
mod checkpoint;
mod checkpoints;
mod clock;
mod configs;
mod coordinator;
mod dead_letters;
mod decode;
mod dedupe;
pub mod describe;
mod evaluations;
mod fold;
mod grade_views;
mod layout;
mod measure;
mod memory;
mod metrics;
mod operators;
mod panes;
#[cfg(test)]
mod proof;
mod restore;
mod sampler;
mod shared;
mod start;
mod state;
mod sum;
mod symbols;
mod wall;
mod worker;

pub use ask::{AskError, Asker};
use aulaflow_log::{Log, LogError, Offset, SourceState, TopicPartition};
use aulaflow_model::instant::Millis;
pub use checkpoints::{Checkpoint, CheckpointFile, Checkpoints, note_moved, progress};
pub use dead_letters::{CRASH_POINTS, Class};
pub use describe::{Assumptions, Description, StateSummary, describe};
pub use grade_views::{GradeView, ShownGrade};
pub use metrics::{Metrics, state_name};
use parking_lot::Mutex;
pub use shared::Home;
pub use start::{Engine, Start, examine, home, start};
use std::collections::BTreeSet;
use std::sync::Arc;
pub use wall::{HandClock, Wall};

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state cannot be opened or read.
    #[error("{0}")]
    State(String),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The workers cannot be started.
    #[error("the workers cannot be started: {0}")]
    Workers(String),
}

/// Why an engine has stopped. One that is started again goes on from the last checkpoint.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// A writer of its name is at its end ([`LogError::ends_writer`]): another one, of an engine that is started again, may
    /// go on.
    #[error("{what} cannot be written any more: {error}")]
    Writer {
        /// What it wrote.
        what: &'static str,
        /// What ended it.
        error: LogError,
    },
    /// Nothing in this process can go on.
    #[error("{0}")]
    Engine(String),
}

/// How far the views are.
#[derive(Debug, Clone)]
pub struct Status {
    /// The clock as of which the views are true; `None` until the first epoch is complete. Until the log was read to where it
    /// ended at the start, that of the checkpoint at most: `None` where there is none.
    pub clock: Option<Millis>,
    /// Whether the state is loaded and the log was read to where it ended at the start.
    pub caught_up: bool,
    /// Rows of the state loaded so far, and how many there are, roughly; `None` once all are.
    pub loading: Option<(u64, u64)>,
    /// Per source partition.
    pub positions: Vec<Position>,
    /// Milliseconds since the last checkpoint was written; `None` before the first.
    pub checkpoint_age_ms: Option<u64>,
    /// Why checkpoints cannot be written, while they cannot.
    pub checkpoint_failing: Option<String>,
    /// Why the engine stopped, if it failed.
    pub failure: Option<Failure>,
}

impl Status {
    /// Several engines' as one: the clock of the one that is furthest behind, everybody's partitions. Without an engine
    /// there is no clock.
    pub fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self { loading: None, caught_up: true, ..Self::at_start(0, Vec::new()) };
        for (index, one) in all.into_iter().enumerate() {
            merged.clock = if index == 0 { one.clock } else { merged.clock.min(one.clock) };
            merged.caught_up &= one.caught_up;
            merged.loading = match (merged.loading, one.loading) {
                (Some((done, of)), Some((more, of_more))) => Some((done + more, of + of_more)),
                (one, other) => one.or(other),
            };
            merged.positions.extend(one.positions);
            merged.checkpoint_age_ms = merged.checkpoint_age_ms.max(one.checkpoint_age_ms);
            merged.checkpoint_failing = merged.checkpoint_failing.or(one.checkpoint_failing);
            merged.failure = merged.failure.or(one.failure);
        }
        merged
    }

    /// Before anything is loaded.
    fn at_start(rows: u64, positions: Vec<Position>) -> Self {
        Self {
            clock: None,
            caught_up: false,
            loading: Some((0, rows)),
            positions,
            checkpoint_age_ms: None,
            checkpoint_failing: None,
            failure: None,
        }
    }
}

/// How far a partition's records are in the views.
#[derive(Debug, Clone)]
pub struct Position {
    /// The partition.
    pub place: TopicPartition,
    /// Records before this offset are visible in the views.
    pub visible: Offset,
    /// Records before this offset are on the log.
    pub end: Offset,
    /// How reading it goes.
    pub state: SourceState,
    /// How long ago the log took the oldest record that is not visible, estimated from its neighbours; `None`: not known.
    pub lag_seconds: Option<f64>,
    /// Nothing has come for a while and nothing waits: the event clock goes on without it.
    pub idle: bool,
}

/// Asks a running engine how far it is.
#[derive(Clone)]
pub struct Monitor {
    status: Arc<Mutex<Status>>,
    durable: Arc<Mutex<checkpoint::Durable>>,
    resumes: Arc<Mutex<BTreeSet<String>>>,
    log: Arc<dyn Log>,
}

impl Monitor {
    /// How far the views are.
    pub fn status(&self) -> Status {
        let mut status = self.status.lock().clone();
        let durable = self.durable.lock();
        status.checkpoint_age_ms = durable.at.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        status.checkpoint_failing.clone_from(&durable.failing);
        status
    }

    /// Reads a topic on whose error budget was spent, with a fresh one. Returns the partitions that were stopped.
    pub fn resume(&self, topic: &str) -> Vec<u32> {
        let stalled = |p: &&Position| p.place.topic == topic && matches!(p.state, SourceState::Stalled(_));
        let partitions = self.status.lock().positions.iter().filter(stalled).map(|p| p.place.partition).collect();
        self.resumes.lock().insert(topic.to_owned());
        self.log.wake();
        partitions
    }
}

//! What a sender says of itself: its state, why it does not go on, and what waits.

use crate::ages::Ages;
use crate::sender_metrics::{SenderMetrics, SinkLabels, StateLabels};
use aulaflow_model::share::Share;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// What a sender does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkState {
    /// It looks whether the tables are as they should be, and who wrote last.
    Starting,
    /// It waits until whoever had the share before can write no more, or makes the local store again from ClickHouse.
    Rebuilding,
    /// It sends what there is.
    Live,
    /// Something failed that may pass: it tries again.
    Retrying,
    /// Somebody must do something; it tries again now and then.
    Stalled,
    /// Another process has the share: nothing is sent any more.
    Ousted,
    /// It has ended.
    Ended,
}

impl SinkState {
    const ALL: [Self; 7] =
        [Self::Starting, Self::Rebuilding, Self::Live, Self::Retrying, Self::Stalled, Self::Ousted, Self::Ended];

    /// Its name in metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Rebuilding => "rebuilding",
            Self::Live => "live",
            Self::Retrying => "retrying",
            Self::Stalled => "stalled",
            Self::Ousted => "ousted",
            Self::Ended => "ended",
        }
    }
}

/// How far a sender is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// Whose rows.
    pub share: Share,
    /// What it does.
    pub state: SinkState,
    /// Why it does not go on.
    pub reason: Option<String>,
    /// Blocks that wait.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest waits.
    pub lag: Duration,
}

/// The place where a sender writes how far it is.
pub(crate) struct Board {
    share: Share,
    metrics: SenderMetrics,
    inner: Mutex<Inner>,
}

struct Inner {
    state: SinkState,
    reason: Option<String>,
    blocks: u64,
    bytes: u64,
    ages: Ages,
}

impl Board {
    pub(crate) fn new(share: Share, metrics: SenderMetrics) -> Self {
        let inner = Inner { state: SinkState::Starting, reason: None, blocks: 0, bytes: 0, ages: Ages::default() };
        let board = Self { share, metrics, inner: Mutex::new(inner) };
        board.state(SinkState::Starting, None);
        board
    }

    /// What it does now, and why. A change is logged once.
    pub(crate) fn state(&self, state: SinkState, reason: Option<&str>) {
        let mut inner = self.inner.lock();
        if inner.state != state || inner.reason.as_deref() != reason {
            let share = self.share;
            match (state, reason) {
                (SinkState::Stalled | SinkState::Ousted, Some(reason)) => {
                    tracing::error!(%share, reason, "nothing goes to ClickHouse ({}): what is recorded waits on the disk", state.name());
                }
                (SinkState::Retrying, Some(reason)) if inner.state != state => {
                    tracing::warn!(%share, reason, "ClickHouse does not take what is sent: trying again");
                }
                (SinkState::Live, _) if inner.state != state => tracing::info!(%share, "rows go to ClickHouse"),
                _ => tracing::debug!(%share, reason, "the ClickHouse sink is {}", state.name()),
            }
        }
        inner.state = state;
        inner.reason = reason.map(str::to_owned);
        for known in SinkState::ALL {
            let labels = StateLabels { share: self.share.to_string(), state: known.name() };
            self.metrics.state.get_or_create(&labels).set(i64::from(known == state));
        }
    }

    /// What waits: the first block's number, how many, and their bytes.
    pub(crate) fn outbox(&self, first: Option<u64>, blocks: u64, bytes: u64) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        (inner.blocks, inner.bytes) = (blocks, bytes);
        match first {
            Some(first) => {
                inner.ages.sent(first.saturating_sub(1));
                inner.ages.newest((first + blocks).saturating_sub(1), now);
            }
            None => inner.ages.sent(u64::MAX),
        }
        let lag = inner.ages.oldest(now).as_secs_f64();
        self.metrics.lag.get_or_create(&SinkLabels { sink: "clickhouse", share: self.share.to_string() }).set(lag);
    }

    pub(crate) fn status(&self) -> SinkStatus {
        let inner = self.inner.lock();
        SinkStatus {
            share: self.share,
            state: inner.state,
            reason: inner.reason.clone(),
            blocks: inner.blocks,
            bytes: inner.bytes,
            lag: inner.ages.oldest(Instant::now()),
        }
    }
}

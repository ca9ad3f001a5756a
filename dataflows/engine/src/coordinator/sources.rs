//! The source partitions: how far each was read, whether it is read on, and what is told of it.

use super::{Coordinator, UnderWay};
use crate::Position;
use crate::budget::{Budget, Limits};
use crate::metrics::PartitionLabels;
use aulaflow_log::{LogError, Offset, SourceState, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic::{self, Input};
use std::collections::VecDeque;
use std::time::Instant;

/// How often one record of a tenant's configuration can change a grade: now, and at each instant that it schedules a rule
/// of the grade's subject for. More are allowed and not expected.
const CONFIG_CHANGES: u64 = 16;

/// What bounds the versions of grades (see `Versions`): as many changes as the records can have made that are read, and those
/// that were on the log at the start.
pub fn versions_bound(sources: &[Source]) -> u32 {
    let changes = sources.iter().map(|source| source.changes(source.next.max(source.end_at_start)));
    u32::try_from(changes.fold(0, u64::saturating_add)).unwrap_or(u32::MAX)
}

/// A source partition and how far it was read.
pub struct Source {
    /// The topic.
    pub topic: &'static str,
    /// As what it is read.
    pub input: Input,
    /// The place on the log.
    pub place: TopicPartition,
    /// Where to read on.
    pub next: Offset,
    /// Where it ended when the engine started.
    pub end_at_start: Offset,
    /// When it last had records.
    pub last_data: Option<Instant>,
    /// When the log took the last one that was read.
    pub last_timestamp: Option<Millis>,
    /// What was dead of it lately.
    pub budget: Budget,
    /// Why it is not read on, while it is not.
    pub stalled: Option<String>,
}

impl Source {
    /// From an offset on.
    pub fn new((input, topic): (Input, &'static str), place: TopicPartition, next: Offset, end: Offset) -> Self {
        let (budget, stalled) = (Budget::default(), None);
        Self { topic, input, place, next, end_at_start: end, last_data: None, last_timestamp: None, budget, stalled }
    }

    /// What its records before an offset can change of one grade, counted generously.
    fn changes(&self, before: Offset) -> u64 {
        match self.input {
            Input::Evaluations => before,
            Input::Tenants => before.saturating_mul(CONFIG_CHANGES),
            Input::Behavior => 0,
        }
    }

    fn labels(&self) -> PartitionLabels {
        PartitionLabels { topic: self.topic, partition: self.place.partition }
    }
}

impl Coordinator {
    /// Reads partitions that were added to a topic from their start on: there, for each. Where a share is one partition,
    /// others are somebody else's.
    pub(super) fn find_partitions(&mut self) -> Result<Vec<Offset>, LogError> {
        let mut added = Vec::new();
        if self.shared.share != Share::All {
            return Ok(added);
        }
        for (input, topic) in topic::inputs() {
            let known = self.sources.iter().filter(|source| source.input == input).count() as u32;
            for partition in known..self.log.partitions(topic)? {
                let place = TopicPartition { topic: topic.to_owned(), partition };
                let next = self.log.start_offset(&place)?;
                tracing::info!(topic, partition, "a partition was added: it is read from its start");
                let source = Source::new((input, topic), place, next, next);
                self.status.lock().positions.extend(positions(std::slice::from_ref(&source)));
                self.sources.push(source);
                added.push(next);
            }
        }
        Ok(added)
    }

    /// Stops reading the sources that had too many dead records in a complete epoch.
    pub(super) fn spend(&mut self, epoch: &UnderWay) {
        let engine = &self.shared.plan.runtime.engine;
        let (records, records_min) = (engine.error_budget_records.into(), engine.error_budget_records_min.into());
        let limits = Limits { percent: engine.error_budget_percent, records, records_min };
        let mut dead = self.shared.take_dead(epoch.time.0);
        for (source, (records, _)) in self.sources.iter_mut().zip(&epoch.read) {
            let dead = dead.remove(&(source.topic, source.place.partition)).unwrap_or_default();
            let Some(reason) = source.budget.spend(limits, source.topic, *records, dead) else { continue };
            if source.stalled.is_none() {
                tracing::error!(
                    topic = source.topic,
                    partition = source.place.partition,
                    reason,
                    "a source is not read on"
                );
                self.shared.metrics.source_stalls.get_or_create(&source.labels()).inc();
                source.stalled = Some(reason);
            }
        }
    }

    /// Reads on what somebody asked for, with a fresh budget.
    pub(super) fn resume(&mut self) {
        let asked = std::mem::take(&mut *self.resumes.lock());
        for source in self.sources.iter_mut().filter(|source| asked.contains(source.topic)) {
            source.budget = Budget::default();
            if source.stalled.take().is_some() {
                tracing::warn!(topic = source.topic, partition = source.place.partition, "a source is read on");
            }
        }
    }

    /// Tells how reading goes; after an epoch also its clock, and what is visible.
    pub(super) fn observe(&self, under_way: &VecDeque<UnderWay>, complete: Option<(Millis, &[Offset])>) {
        let (metrics, wall) = (&self.shared.metrics, self.wall.now());
        let idle_timeout = self.shared.plan.runtime.engine.idle_timeout;
        let mut status = self.status.lock();
        if let Some((clock, _)) = complete {
            status.clock = if status.caught_up { Some(clock) } else { self.claim.map(|claim| claim.min(clock)) };
        }
        // Before, rows of what was read may wait to be told.
        let told = status.caught_up;
        for (at, (source, position)) in self.sources.iter().zip(&mut status.positions).enumerate() {
            let read = complete.filter(|_| told).and_then(|(_, offsets)| offsets.get(at)).copied();
            position.visible = read.unwrap_or(position.visible);
            position.end = self.log.end_offset(&source.place).unwrap_or(position.end);
            let lag = position.end.saturating_sub(position.visible);
            // The oldest record that is not visible is the first of the epochs under way; of what is not even read, it is
            // not much younger than the last one that was.
            let oldest = under_way.iter().find_map(|epoch| epoch.read.get(at)?.1).or(source.last_timestamp);
            position.lag_seconds = match (lag, oldest) {
                (0, _) => Some(0.0),
                (_, Some(oldest)) => Some(wall.0.saturating_sub(oldest.0).max(0) as f64 / 1e3),
                (_, None) => None,
            };
            position.idle = lag == 0 && source.last_data.is_none_or(|last| last.elapsed() >= idle_timeout);
            let state = match &source.stalled {
                Some(reason) => SourceState::Stalled(reason.clone()),
                None if self.memory.is_full() && position.end > source.next => {
                    SourceState::Stalled(self.memory.reason())
                }
                None => self.log.source_state(&source.place),
            };
            let labels = source.labels();
            if position.state != state {
                metrics.source_state(&labels, &state);
                position.state = state;
            }
            metrics.lag_records.get_or_create(&labels).set(lag as i64);
            metrics.lag_seconds.get_or_create(&labels).set(position.lag_seconds.unwrap_or(0.0));
        }
    }
}

/// Positions of sources before anything was read.
pub fn positions(sources: &[Source]) -> Vec<Position> {
    let position = |s: &Source| Position {
        place: s.place.clone(),
        visible: s.next,
        end: s.end_at_start,
        state: SourceState::Connecting,
        lag_seconds: if s.next >= s.end_at_start { Some(0.0) } else { None },
        idle: false,
    };
    sources.iter().map(position).collect()
}

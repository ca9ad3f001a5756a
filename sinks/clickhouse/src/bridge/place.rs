//! One partition of the log on its way to ClickHouse: reading a range, writing it, making sure that it is there once.

use super::range::{Group, Range};
use super::records::{Made, Making, Standing};
use super::{BridgeLimits, BridgeMetrics, of_log, positions};
use crate::Uuid;
use crate::backoff;
use crate::connection::Connection;
use crate::error::ServerError;
use crate::raw::Raw;
use crate::reading;
use aulaflow_log::{Fetched, Log, LogError, Offset, TopicPartition};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are asked of the log at a time.
const READ_BYTES: usize = 1 << 20;
/// Days in one range at most, about: each is an insert of its own. History from elsewhere has many.
const DAYS_MAX: usize = 32;
/// How long records are waited for that are there and were not read ahead yet.
const READ_WAIT: Duration = Duration::from_millis(500);
/// The same for a range that must be read as a whole.
const READ_WHOLE_WAIT: Duration = Duration::from_secs(10);
const READ_LOOK: Duration = Duration::from_millis(10);
/// How often a range is taken away and sent anew before somebody has to look.
const MENDS_MAX: u32 = 5;

/// What a partition is copied with.
pub struct Tools<'a> {
    pub connection: &'a Connection,
    pub log: Arc<dyn Log>,
    pub making: Making,
    pub limits: BridgeLimits,
    pub metrics: BridgeMetrics,
    pub writer: Uuid,
    pub at: fn(&'static str),
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    Full,
    /// The partition ends here for now.
    End,
}

/// A partition.
pub struct Place {
    pub at: TopicPartition,
    raw: Raw,
    source: &'static str,
    /// Everything before it is in the table, or belongs nowhere.
    pub next: Offset,
    /// Where the partition ends, as last heard.
    pub end: Offset,
    /// When it is looked at again.
    pub due: Instant,
    /// ClickHouse knows how far it is.
    is_known: bool,
    /// The end of a range that may be written, as ClickHouse was told.
    upto: Option<Offset>,
    /// Whether `next` is what ClickHouse knows.
    is_said: bool,
    /// Rows before it may be there already; none: it is not known.
    doubtful_to: Option<Offset>,
    /// The next range may have been written.
    uncertain: bool,
}

impl Place {
    pub fn new(raw: Raw, source: &'static str, at: TopicPartition) -> Self {
        Self {
            at,
            raw,
            source,
            next: 0,
            end: 0,
            due: Instant::now(),
            is_known: false,
            upto: None,
            is_said: false,
            doubtful_to: None,
            uncertain: true,
        }
    }

    /// Where it was left, and the end of what may have been written since.
    pub fn was_left(&mut self, (next, upto): (Offset, Offset)) {
        (self.next, self.is_known, self.is_said) = (next, true, true);
        self.upto = (upto > next).then_some(upto);
    }

    /// Rows may be there that we do not know of.
    pub fn doubt(&mut self) {
        (self.doubtful_to, self.uncertain) = (None, true);
    }

    /// Takes the partition over.
    pub fn begin(&mut self, tools: &Tools<'_>) -> Result<(), ServerError> {
        let (start, end) = tools.log.ask_bounds(&self.at).map_err(|error| of_log(&error))?;
        self.end = end;
        let TopicPartition { topic, partition } = &self.at;
        if !self.is_known {
            (self.next, self.is_known) = (start, true);
        } else if self.next > end {
            return Err(ServerError::somebody(format!(
                "ClickHouse has {topic} partition {partition} up to offset {}, and this log's ends at {end}: it is another log. Use \
                 another database, or empty the tables behavior, service_events, dead_letters and bridge_positions",
                self.next
            )));
        }
        self.skip_to(tools, start);
        self.say(tools.connection, tools.writer, false)
    }

    /// What retention has removed from the log before it was copied is lost.
    fn skip_to(&mut self, tools: &Tools<'_>, start: Offset) {
        if start <= self.next {
            return;
        }
        let TopicPartition { topic, partition } = &self.at;
        let lost = start - self.next;
        tracing::error!(
            topic,
            partition,
            lost,
            "the log has removed records that ClickHouse does not have: they are lost to it"
        );
        tools.metrics.count(self.raw, "lost", lost);
        (self.next, self.is_said) = (start, false);
        self.upto = self.upto.filter(|upto| *upto > start);
    }

    /// Tells ClickHouse how far it is.
    pub fn say(&mut self, connection: &Connection, writer: Uuid, closed: bool) -> Result<(), ServerError> {
        positions::say(connection, &self.at, (self.next, self.upto.unwrap_or(self.next)), writer, closed)?;
        self.is_said = true;
        Ok(())
    }

    /// Copies the next range.
    pub fn step(&mut self, tools: &Tools<'_>) -> Result<Step, ServerError> {
        let doubtful_to = match self.doubtful_to {
            Some(doubtful_to) => doubtful_to,
            None => {
                let to = positions::behind_last(tools.connection, self.raw, self.source, &self.at, self.next)?;
                *self.doubtful_to.insert(to)
            }
        };
        let (range, step) = self.read(tools)?;
        if range.from == range.to {
            if !self.is_said {
                self.say(tools.connection, tools.writer, false)?;
            }
            return Ok(step);
        }
        if range.rows > 0 {
            if self.upto != Some(range.to) {
                self.upto = Some(range.to);
                self.say(tools.connection, tools.writer, false)?;
                (tools.at)("clickhouse.bridge.said");
            }
            let doubtful = std::mem::replace(&mut self.uncertain, true) || range.from < doubtful_to;
            self.doubtful_to = None;
            if doubtful {
                self.make_exact(tools, &range)?;
            } else {
                for group in range.groups.values() {
                    self.insert(
                        tools,
                        group.body(),
                        &group.token(&self.at.topic, self.at.partition, (range.from, range.to)),
                    )?;
                }
            }
            (tools.at)("clickhouse.bridge.done");
            self.doubtful_to = Some(doubtful_to);
            tools.metrics.count(self.raw, "written", range.rows);
        }
        (self.next, self.upto, self.is_said, self.uncertain) = (range.to, None, false, false);
        Ok(step)
    }

    fn insert(&self, tools: &Tools<'_>, body: &[u8], token: &str) -> Result<(), ServerError> {
        let columns: Vec<_> = self.raw.columns().iter().map(|column| column.name.clone()).collect();
        (tools.at)("clickhouse.bridge.insert.before");
        tools.connection.insert(self.raw.name(), &columns, token, &Bytes::copy_from_slice(body))?;
        (tools.at)("clickhouse.bridge.insert.after");
        Ok(())
    }

    /// Sees to it that a range's rows are there once, some of which may be there already, or be on their way.
    fn make_exact(&self, tools: &Tools<'_>, range: &Range) -> Result<(), ServerError> {
        let bounds = (range.from, range.to);
        let there = || positions::there(tools.connection, self.raw, self.source, &self.at, bounds);
        for attempt in 0..=MENDS_MAX {
            let found = there()?;
            let mut offsets: HashSet<Offset> = found.iter().map(|(offset, _)| *offset).collect();
            let twice = found.iter().any(|(_, n)| *n > 1);
            let missing: u64 = range.groups.values().map(|group| group.without(&offsets).1).sum();
            if missing == 0 && !twice {
                return Ok(());
            }
            if attempt > 0 && reading::is_replicated(tools.connection, self.raw.name())? {
                return Err(ServerError::again(format!("{} of these rows are not in every copy yet", self.raw.name())));
            }
            if twice {
                tracing::warn!(
                    table = self.raw.name(),
                    from = range.from,
                    to = range.to,
                    "rows are there twice: sending them anew"
                );
                positions::take_away(tools.connection, self.raw, self.source, &self.at, bounds)?;
                offsets.clear();
            }
            for group in range.groups.values() {
                self.send_missing(tools, group, bounds, &offsets, attempt > 0 || twice)?;
            }
        }
        Err(ServerError::somebody(format!(
            "{} does not hold the rows of {} partition {} from offset {} to {}, though it says that it took them",
            self.raw.name(),
            self.at.topic,
            self.at.partition,
            range.from,
            range.to
        )))
    }

    /// Sends those of a group's rows that are not there. `forgotten`: the token is known, and the rows are not.
    fn send_missing(
        &self,
        tools: &Tools<'_>,
        group: &Group,
        bounds: (Offset, Offset),
        there: &HashSet<Offset>,
        forgotten: bool,
    ) -> Result<(), ServerError> {
        let (body, count) = group.without(there);
        if count == 0 {
            return Ok(());
        }
        let token = group.token(&self.at.topic, self.at.partition, bounds);
        // All of them, and perhaps on their way: by the same token whichever comes second is passed over.
        if count == group.len() && !forgotten {
            return self.insert(tools, &body, &token);
        }
        tools.metrics.count(self.raw, "mended", count);
        self.insert(tools, &body, &format!("{token}-{:x}", backoff::random()))
    }

    /// Reads the next range: exactly the one that may have been written, or what there is, up to the limits.
    fn read(&mut self, tools: &Tools<'_>) -> Result<(Range, Step), ServerError> {
        let mut range = Range::at(self.next);
        let (mut empty_since, mut skipped) = (None, Skipped::default());
        let wait = if self.upto.is_some() { READ_WHOLE_WAIT } else { READ_WAIT };
        let step = loop {
            let full = range.rows >= tools.limits.rows_max
                || range.bytes >= tools.limits.bytes_max
                || range.groups.len() >= DAYS_MAX;
            if match self.upto {
                Some(upto) => range.to >= upto,
                None => full,
            } {
                break Step::Full;
            }
            let fetched = match tools.log.read(&self.at, range.to, READ_BYTES) {
                Ok(fetched) => fetched,
                Err(LogError::Gone { start, .. }) if range.from == range.to => {
                    self.skip_to(tools, start);
                    range = Range::at(self.next);
                    continue;
                }
                Err(error) => return Err(of_log(&error)),
            };
            self.end = self.end.max(fetched.end_offset);
            let before = range.to;
            self.take(tools, &fetched, &mut range, &mut skipped)?;
            if range.to > before {
                empty_since = None;
            } else if range.to >= fetched.end_offset {
                break Step::End;
            } else if empty_since.get_or_insert_with(Instant::now).elapsed() > wait {
                if self.upto.is_some() {
                    return Err(ServerError::again(format!(
                        "the log does not give more of {} at the moment",
                        self.at.topic
                    )));
                }
                break Step::End;
            } else {
                std::thread::sleep(READ_LOOK);
            }
        };
        if let Some(upto) = self.upto.filter(|upto| *upto > range.to) {
            return Err(ServerError::somebody(format!(
                "ClickHouse may have {} partition {} up to offset {upto}, and this log's ends at {}: it is another log",
                self.at.topic, self.at.partition, range.to
            )));
        }
        tools.metrics.count(self.raw, "unusable", skipped.unusable);
        tools.metrics.count(self.raw, "expired", skipped.expired);
        Ok((range, step))
    }

    /// Adds the rows of what was read.
    fn take(
        &self,
        tools: &Tools<'_>,
        fetched: &Fetched,
        range: &mut Range,
        skipped: &mut Skipped,
    ) -> Result<(), ServerError> {
        let today = tools.making.clocks.today(self.raw);
        let partition = self.at.partition;
        let is_home = |tenant: &str| tools.log.partition_of(&self.at.topic, tenant).is_ok_and(|its| its == partition);
        let to = self.upto.map_or(fetched.next_offset, |upto| fetched.next_offset.min(upto));
        for record in fetched.records.iter() {
            let offset = fetched.base_offset + u64::from(record.index);
            if offset < range.to || offset >= to {
                continue;
            }
            let standing = Standing { raw: self.raw, source: self.source, partition, offset, today };
            let made = tools.making.add(standing, &record, &is_home, range);
            match made.map_err(|error| ServerError::somebody(error.to_string()))? {
                Made::Row => {}
                Made::Unusable => skipped.unusable += 1,
                Made::Expired => skipped.expired += 1,
            }
        }
        range.to = range.to.max(to);
        Ok(())
    }
}

/// Records of a range that have no row.
#[derive(Default)]
struct Skipped {
    unusable: u64,
    expired: u64,
}

//! The bridge: a share's thread that copies what the log said (behaviour events, service events, that there are dead letters)
//! to ClickHouse, each record once. What a row is, is in `records`; how far it is, in ClickHouse itself (`positions`).
//!
//! The log keeps the records, so that nothing waits on a disk of ours, and an outage holds nobody back: the bridge stops and
//! goes on later. Before a range of offsets is written, its end is said in ClickHouse. Whoever starts after a crash copies the
//! very same range again: the same rows under the same tokens, which a server that has them passes over; and asks which offsets
//! have rows, in case it has forgotten the tokens or the settings have changed.

mod place;
mod positions;
mod range;
mod records;
mod scrub;
mod status;

pub use records::Making;
pub use status::{BridgeMetrics, BridgeStatus};

use crate::Uuid;
use crate::connection::Connection;
use crate::error::ServerError;
use crate::server::Server;
use crate::session::{self, Link};
use crate::status::SinkState;
use crate::stop::{Stop, Thread};
use crate::writers::LOOK_EVERY;
use aulaflow_log::{Log, LogError, TopicPartition};
use aulaflow_model::share::Share;
use place::{Place, Step, Tools};
use records::{sources, topic_of};
use status::Board;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a bridge without partitions waits.
const IDLE: Duration = Duration::from_millis(20);

/// The names of the places that [`BridgeStart::at`] is called with, for a driver that tries each.
pub const BRIDGE_CRASH_POINTS: &[&str] = &[
    "clickhouse.bridge.said",
    "clickhouse.bridge.insert.before",
    "clickhouse.bridge.insert.after",
    "clickhouse.bridge.done",
];

/// The limits of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeLimits {
    /// Rows that are copied at once, about.
    pub rows_max: u64,
    /// Their bytes, about.
    pub bytes_max: usize,
    /// How often it is looked whether a partition has more; ClickHouse is behind by that much.
    pub every: Duration,
}

impl Default for BridgeLimits {
    fn default() -> Self {
        Self { rows_max: 100_000, bytes_max: 16 << 20, every: Duration::from_secs(5) }
    }
}

/// What a bridge is started with.
pub struct BridgeStart {
    /// Whose records.
    pub share: Share,
    /// Where they are. Nobody else may follow the same partitions with this handle.
    pub log: Arc<dyn Log>,
    /// Where they go.
    pub server: Arc<Server>,
    /// What rows are made with.
    pub making: Making,
    /// Who copies: the same after a restart, and never two at once. Another one's inserts are waited for.
    pub writer: Uuid,
    /// No other process can have this share.
    pub alone: bool,
    /// How much at once.
    pub limits: BridgeLimits,
    /// What it counts.
    pub metrics: BridgeMetrics,
    /// Called around every durable step with its name: where a test ends the process.
    pub at: fn(&'static str),
}

/// A running bridge. Dropping it does not stop it: call [`Bridge::stop`].
pub struct Bridge {
    board: Arc<Board>,
    thread: Thread,
}

impl Bridge {
    /// Starts it; waits for nothing.
    pub fn start(start: BridgeStart) -> std::io::Result<Self> {
        let board = Arc::new(Board::new(start.share, start.metrics.clone()));
        let stop = Stop::default();
        let name = format!("aulaflow-bridge-{}", start.share);
        let mut work = Work {
            board: Arc::clone(&board),
            link: Link::new(&start.server, &stop),
            writer: start.writer,
            places: Vec::new(),
            start,
        };
        let thread = Thread::start(name, &stop, move || {
            session::run(&mut work);
            for place in &work.places {
                work.start.log.release(&place.at);
            }
            work.board.state(SinkState::Ended, None);
        })?;
        Ok(Self { board, thread })
    }

    /// How far it is.
    pub fn status(&self) -> BridgeStatus {
        self.board.status()
    }

    /// Ends it after the range under way, or after `patience`. What is not copied is on the log.
    pub fn stop(self, patience: Duration) {
        if !self.thread.end(patience) {
            tracing::error!("a thread that copies the log to ClickHouse has panicked");
        }
    }
}

struct Work {
    start: BridgeStart,
    board: Arc<Board>,
    link: Link,
    /// Who we are in the table of positions.
    writer: Uuid,
    /// None before the positions are known.
    places: Vec<Place>,
}

impl session::Work for Work {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Copies until something fails, or until it is to end.
    fn session(&mut self, connection: &Connection) -> Result<(), ServerError> {
        self.link.prepare(connection)?;
        if self.places.is_empty() {
            self.places = self.claim(connection)?;
        }
        loop {
            self.still_ours(connection)?;
            for place in &mut self.places {
                // What cannot be asked is heard when it is read.
                place.end = self.start.log.end_offset(&place.at).unwrap_or(place.end);
            }
            self.show_waiting();
            let tools = self.tools(connection);
            let mut places = std::mem::take(&mut self.places);
            let mut stepped = Ok(());
            for place in &mut places {
                if self.link.stop.is_draining() {
                    break;
                }
                stepped = step(&tools, place);
                if stepped.is_err() {
                    break;
                }
            }
            self.places = places;
            self.show_waiting();
            stepped?;
            self.board.state(SinkState::Live, None);
            if self.link.stop.is_draining() {
                return self.close(connection);
            }
            let due = self.places.iter().map(|place| place.due).min();
            let wait =
                due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now())).min(self.start.limits.every);
            if !self.link.stop.pause_until_draining(wait) {
                return Err(ServerError::stopped());
            }
        }
    }

    /// All offsets that were passed.
    fn progress(&self) -> u64 {
        self.places.iter().map(|place| place.next).sum()
    }

    fn failed(&mut self, state: SinkState, error: &ServerError) {
        self.board.state(state, Some(&error.reason));
    }
}

impl Work {
    fn tools<'a>(&self, connection: &'a Connection) -> Tools<'a> {
        Tools {
            connection,
            log: Arc::clone(&self.start.log),
            making: self.start.making.clone(),
            limits: self.start.limits,
            metrics: self.start.metrics.clone(),
            writer: self.writer,
            at: self.start.at,
        }
    }

    /// Finds the share's partitions, and where each was left.
    fn claim(&mut self, connection: &Connection) -> Result<Vec<Place>, ServerError> {
        let mut places = Vec::new();
        for (raw, source) in sources() {
            let topic = topic_of(raw, source);
            let partitions = match self.start.log.partitions(&topic) {
                Ok(partitions) => partitions,
                Err(LogError::Unknown(..)) => {
                    tracing::warn!(topic, "the log has no such topic: nothing of it is copied to ClickHouse");
                    continue;
                }
                Err(error) => return Err(of_log(&error)),
            };
            for partition in (0..partitions).filter(|partition| self.start.share.has(*partition)) {
                places.push(Place::new(raw, source, TopicPartition { topic: topic.clone(), partition }));
            }
        }
        let known = positions::load(connection)?;
        let own = self.writer.to_string();
        let mut others = false;
        for place in &mut places {
            let is_it =
                |known: &&positions::Position| known.topic == place.at.topic && known.partition == place.at.partition;
            if let Some(known) = known.iter().find(is_it) {
                others |= known.writer != own && !known.closed;
                place.was_left((known.next, known.upto));
            }
        }
        for place in &mut places {
            place.begin(&self.tools(connection))?;
        }
        if others && !self.start.alone {
            // Whoever wrote before notices that it is not his turn any more, and an insert of his has come to an end.
            let pause = LOOK_EVERY + connection.access().timeout * 2;
            tracing::info!(share = %self.start.share, seconds = pause.as_secs(), "waiting until an earlier bridge has noticed");
            self.board.state(
                SinkState::Starting,
                Some("waiting until an earlier bridge has noticed that another one has begun"),
            );
            connection.pause(pause)?;
            // What he wrote in the meantime.
            places.iter_mut().for_each(Place::doubt);
        }
        self.link.looked();
        Ok(places)
    }

    /// Looks now and then whether another process has begun to copy.
    fn still_ours(&mut self, connection: &Connection) -> Result<(), ServerError> {
        if self.start.alone || !self.link.is_look_due(LOOK_EVERY) {
            return Ok(());
        }
        let own = self.writer.to_string();
        for known in positions::load(connection)? {
            let ours =
                self.places.iter().any(|place| place.at.topic == known.topic && place.at.partition == known.partition);
            if ours && known.writer != own {
                return Err(ServerError::ousted(format!(
                    "another process copies partition {} of {}: restart this process if the partition is its own",
                    known.partition, known.topic
                )));
            }
        }
        self.link.looked();
        Ok(())
    }

    /// Says how far it is, and that it has ended.
    fn close(&mut self, connection: &Connection) -> Result<(), ServerError> {
        for place in &mut self.places {
            place.say(connection, self.writer, true)?;
        }
        Ok(())
    }

    /// Shows how far it is.
    fn show_waiting(&self) {
        let one = |place: &Place| place.end.saturating_sub(place.next);
        self.board.waiting(self.places.iter().map(|place| (&place.at, place.next, one(place))));
    }
}

/// Copies the next range of a partition, if it is time.
fn step(tools: &Tools<'_>, place: &mut Place) -> Result<(), ServerError> {
    if place.due > Instant::now() {
        return Ok(());
    }
    match place.step(tools)? {
        // There is more.
        Step::Full => {}
        Step::End => place.due = Instant::now() + tools.limits.every,
    }
    Ok(())
}

/// What an error of the log means for a bridge.
fn of_log(error: &LogError) -> ServerError {
    match error {
        LogError::Corrupt(_) => ServerError::somebody(error.to_string()),
        LogError::Full { .. }
        | LogError::Unavailable(_)
        | LogError::Unknown(..)
        | LogError::Gone { .. }
        | LogError::Fenced(_)
        | LogError::Ended { .. }
        | LogError::Refused(_) => ServerError::again(error.to_string()),
    }
}

//! Work over a connection that may be lost at any time: connecting, preparing the tables, trying again with a growing pause, and
//! when to look whether another process has taken the work over. The sender, the copier of the log and the removal of expired
//! rows are such work.

use crate::connection::Connection;
use crate::error::ServerError;
use crate::server::Server;
use crate::status::SinkState;
use crate::stop::Stop;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often work that waits before it is tried again shows how far it is.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What is done over connections.
pub(crate) trait Work {
    /// Where it is done.
    fn link(&mut self) -> &mut Link;

    /// Works until something fails, or until it is to end (`Ok`).
    fn session(&mut self, connection: &Connection) -> Result<(), ServerError>;

    /// Grows with what was done: after progress a failure is the first one.
    fn progress(&self) -> u64;

    /// It is tried again later.
    fn failed(&mut self, state: SinkState, error: &ServerError);

    /// Shows how far it is.
    fn show(&mut self) {}
}

/// Works, over one connection after the other, until it is to end.
pub(crate) fn run(work: &mut impl Work) {
    let mut failures = 0;
    loop {
        let before = work.progress();
        let error = match work.link().connect().and_then(|connection| work.session(&connection)) {
            Ok(()) => return,
            Err(error) => error,
        };
        failures = if work.progress() > before { 1 } else { failures + 1 };
        let Some((state, pause)) = work.link().server.pace.after(error.next, failures) else { return };
        work.failed(state, &error);
        let due = Instant::now() + pause;
        loop {
            work.show();
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if !work.link().stop.pause(left.min(SHOW_EVERY)) {
                return;
            }
        }
    }
}

/// The way to the server.
pub(crate) struct Link {
    /// Where it is.
    pub server: Arc<Server>,
    /// What ends the work.
    pub stop: Stop,
    /// The tables are as they should be.
    prepared: bool,
    /// When it was looked who works.
    looked: Instant,
}

impl Link {
    pub fn new(server: &Arc<Server>, stop: &Stop) -> Self {
        Self { server: Arc::clone(server), stop: stop.clone(), prepared: false, looked: Instant::now() }
    }

    fn connect(&self) -> Result<Connection, ServerError> {
        self.server.connect(&self.stop)
    }

    /// Makes sure, once, that the tables are as they should be.
    pub fn prepare(&mut self, connection: &Connection) -> Result<(), ServerError> {
        if !self.prepared {
            self.server.prepare(connection)?;
            self.prepared = true;
        }
        Ok(())
    }

    /// The tables may not be what they were.
    pub fn unprepare(&mut self) {
        self.prepared = false;
    }

    /// Whether it is time to look whether another process has taken the work over.
    pub fn is_look_due(&self, every: Duration) -> bool {
        self.looked.elapsed() >= every
    }

    /// It was looked: the work is ours.
    pub fn looked(&mut self) {
        self.looked = Instant::now();
    }
}

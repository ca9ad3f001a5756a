//! Sessions of the HTTP interface (`session_id`): connections that keep their temporary tables, `SET` and `USE` between
//! requests. One request at a time has a session, and one without requests ends after its timeout.

use crate::engine::{Engine, run};
use crate::exception::{Exception, code};
use crate::library::Connection;
use crate::request::SessionName;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions at once, with and without a request.
const SESSIONS_MAX: usize = 256;

/// `SET` and `USE` that a session remembers.
const REPLAYED_MAX: usize = 1_000;

/// A connection between requests.
struct Session {
    connection: Connection,
    /// `SET` and `USE` statements of its user: what a request's own settings are taken back to.
    replay: Vec<String>,
}

/// A session's place.
enum Place {
    /// A request has it.
    Taken,
    /// Until this instant.
    Waits(Box<Session>, Instant),
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    places: Mutex<HashMap<String, Place>>,
}

/// A connection for one request: a session's, or one that ends with it.
pub struct Held {
    session: Option<Session>,
    back: Option<(Arc<Sessions>, SessionName)>,
}

impl Sessions {
    /// The request's connection; `None`: it belongs to no session.
    pub fn take(self: &Arc<Self>, engine: &Engine, name: Option<&SessionName>) -> Result<Held, Exception> {
        let Some(name) = name else {
            let session = Session { connection: engine.connect()?, replay: Vec::new() };
            return Ok(Held { session: Some(session), back: None });
        };
        let found = self.find(name)?;
        // From here on `Held` gives the place back, whatever happens.
        let mut held = Held { session: found, back: Some((Arc::clone(self), name.clone())) };
        if held.session.is_none() {
            held.session = Some(Session { connection: engine.connect()?, replay: Vec::new() });
        }
        Ok(held)
    }

    /// Takes the place; `None`: the session is new.
    fn find(&self, name: &SessionName) -> Result<Option<Session>, Exception> {
        let mut places = self.places.lock();
        let now = Instant::now();
        places.retain(|_, place| {
            matches!(place, Place::Taken) || matches!(place, Place::Waits(_, until) if *until > now)
        });
        match places.remove(&name.id) {
            Some(Place::Waits(session, _)) => {
                places.insert(name.id.clone(), Place::Taken);
                Ok(Some(*session))
            }
            Some(Place::Taken) => {
                places.insert(name.id.clone(), Place::Taken);
                let message = format!("Session {} is locked by a concurrent client", name.id);
                Err(Exception::new(code::SESSION_IS_LOCKED, "SESSION_IS_LOCKED", message))
            }
            None if name.must_exist => {
                let message = format!("Session {} not found", name.id);
                Err(Exception::new(code::SESSION_NOT_FOUND, "SESSION_NOT_FOUND", message))
            }
            None if places.len() >= SESSIONS_MAX => {
                let message =
                    format!("Too many sessions: {SESSIONS_MAX} at most, and each ends after its session_timeout");
                Err(Exception::new(code::TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", message))
            }
            None => {
                places.insert(name.id.clone(), Place::Taken);
                Ok(None)
            }
        }
    }
}

impl Held {
    /// The connection.
    pub fn connection(&mut self) -> Result<&mut Connection, Exception> {
        let session = self.session.as_mut();
        session.map(|session| &mut session.connection).ok_or_else(|| Exception::from_engine("the session is gone"))
    }

    /// Remembers a `SET` or `USE` that succeeded.
    pub fn remember(&mut self, statement: &[u8]) {
        if let (Some(session), Some(_)) = (&mut self.session, &self.back)
            && session.replay.len() < REPLAYED_MAX
        {
            session.replay.push(String::from_utf8_lossy(statement).into_owned());
        }
    }

    /// Takes back what one request had set (`names`) or chosen as its database. A session for which that fails ends.
    pub fn restore(&mut self, names: &[&str], database: bool) {
        let (Some(session), Some((_, name))) = (&mut self.session, &self.back) else { return };
        let defaults: Vec<_> = names.iter().map(|name| format!("{name} = DEFAULT")).collect();
        let mut statements = vec![format!("SET {}", defaults.join(", "))];
        if database {
            statements.push("USE default".to_owned());
        }
        statements.extend(session.replay.iter().cloned());
        for statement in statements {
            if let Err(error) = run(&mut session.connection, &statement) {
                tracing::warn!(%error, session = name.id, "the session ends: its settings could not be taken back");
                self.session = None;
                return;
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some((sessions, SessionName { id, timeout, .. })) = self.back.take() else { return };
        let mut places = sessions.places.lock();
        match self.session.take() {
            Some(session) if !timeout.is_zero() && !std::thread::panicking() => {
                places.insert(id, Place::Waits(Box::new(session), until(timeout)));
            }
            Some(_) | None => drop(places.remove(&id)),
        }
    }
}

fn until(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now)
}

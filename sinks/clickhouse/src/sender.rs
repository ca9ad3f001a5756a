//! A share's thread that takes finished blocks from the disk to ClickHouse, in their order, each exactly once.
//!
//! Sending a block again does nothing, since it is the same bytes under the same token. What may have been sent before (a
//! try whose answer never came, and the first block after a start) is counted afterwards: were it there in another number
//! than sent, it would be taken away and sent anew.

use crate::connection::{Connection, literal};
use crate::error::ServerError;
use crate::reading;
use crate::sender_metrics::OutcomeLabels;
use crate::server::Server;
use crate::session::{self, Link};
use crate::status::{Board, SinkState, SinkStatus};
use crate::stop::{Stop, Thread};
use crate::tables::{TableKind, Tables};
use crate::writers::{self, Claim, LOOK_EVERY, StoreIs};
use crate::{Block, Outbox, Rebuild, RebuildError, RecorderHandle, Uuid, backoff};
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// How often a block is taken away and sent anew before somebody has to look.
const MENDS_MAX: u32 = 5;

/// The names of the places that [`SenderStart::at`] is called with, for a driver that tries each.
pub const SENDER_CRASH_POINTS: &[&str] = &["clickhouse.claimed", "clickhouse.send.before", "clickhouse.send.after"];

/// What a sender is started with.
pub struct SenderStart {
    /// Whose rows.
    pub share: Share,
    /// Who records them.
    pub recorder: RecorderHandle,
    /// Where they go.
    pub server: Arc<Server>,
    /// Whether a tenant is of this share.
    pub is_ours: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// No other process can have this share: nobody else's inserts are waited for, and recording can go on before ClickHouse
    /// was asked.
    pub alone: bool,
    /// How long a start waits to hear whether the local store is the one that wrote last. If that is not heard by then, all rows
    /// are compared once it is.
    pub claim_wait: Duration,
    /// Called around every durable step with its name: where a test ends the process.
    pub at: fn(&'static str),
}

/// A running sender. Dropping it does not stop it: call [`Sender::stop`].
pub struct Sender {
    board: Arc<Board>,
    outbox: Outbox,
    stop: Stop,
    thread: Thread,
}

impl Sender {
    /// Starts it. Returns when the recorder can be told where to go on, which takes `claim_wait` where ClickHouse is away.
    pub fn start(start: SenderStart) -> std::io::Result<Self> {
        let recorder = start.recorder.clone();
        let SenderStart { alone, claim_wait, .. } = start;
        let board = Arc::new(Board::new(start.share, start.server.metrics.clone()));
        let (stop, outbox) = (Stop::default(), recorder.outbox());
        let (first_claim, claimed) = sync_channel(1);
        let name = format!("aulaflow-clickhouse-{}", start.share);
        let mut work = Work {
            board: Arc::clone(&board),
            link: Link::new(&start.server, &stop),
            outbox: outbox.clone(),
            claimed: false,
            first_claim,
            torn: false,
            doubtful: true,
            start,
        };
        let thread = Thread::start(name, &stop, move || {
            session::run(&mut work);
            work.show_waiting();
            work.board.state(SinkState::Ended, None);
        })?;
        let is_claimed = claimed.recv_timeout(claim_wait).is_ok();
        if alone && !recorder.is_new() && !is_claimed {
            // Nobody else can have written: what is recorded now will be sent later.
            recorder.based();
        }
        Ok(Self { board, outbox, stop, thread })
    }

    /// How far it is.
    pub fn status(&self) -> SinkStatus {
        self.board.status()
    }

    /// Lets it send what waits, for `patience` at most, and ends it. Whether nothing waits any more.
    pub fn stop(self, patience: Duration) -> bool {
        self.stop.drain();
        self.outbox.wake();
        if !self.thread.end(patience) {
            tracing::error!("a thread that sends to ClickHouse has panicked");
        }
        self.board.status().blocks == 0
    }
}

struct Work {
    start: SenderStart,
    outbox: Outbox,
    board: Arc<Board>,
    link: Link,
    /// It is known that our store is the one that wrote last.
    claimed: bool,
    /// Hears that it is, the first time.
    first_claim: SyncSender<()>,
    /// A rebuild has failed halfway.
    torn: bool,
    /// The first block that waits may have been sent already.
    doubtful: bool,
}

impl session::Work for Work {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Sends until something fails, or until nothing waits and that is wanted.
    fn session(&mut self, connection: &Connection) -> Result<(), ServerError> {
        if !self.claimed {
            self.board.state(SinkState::Starting, None);
            self.link.prepare(connection)?;
            self.claim(connection)?;
        }
        loop {
            self.show_waiting();
            match self.outbox.first().map_err(local)? {
                Some(block) => {
                    self.send(connection, block)?;
                    self.board.state(SinkState::Live, None);
                }
                None if self.link.stop.is_asked() => return Err(ServerError::stopped()),
                None if self.link.stop.is_draining() => {
                    // What somebody else has begun is not ours to close.
                    self.look(connection)?;
                    return writers::say(connection, self.start.share, self.outbox.writer(), true);
                }
                None => {
                    self.board.state(SinkState::Live, None);
                    self.outbox.wait_or_wake(LOOK_EVERY);
                    self.still_ours(connection)?;
                }
            }
        }
    }

    /// Blocks that were sent.
    fn progress(&self) -> u64 {
        self.outbox.next_block().saturating_sub(self.outbox.blocks())
    }

    fn failed(&mut self, state: SinkState, error: &ServerError) {
        self.board.state(state, Some(&error.reason));
        self.start.server.metrics.retries.inc();
    }

    fn show(&mut self) {
        self.show_waiting();
    }
}

impl Work {
    /// Makes sure that our store is the one that wrote last, or makes it so.
    fn claim(&mut self, connection: &Connection) -> Result<(), ServerError> {
        let share = self.start.share;
        let last = writers::last(connection, share)?;
        let own = self.outbox.writer();
        let is_new = self.start.recorder.is_new();
        let wrote_last = last.first().is_some_and(|last| last.writer == own);
        let store = StoreIs { own, is_new, is_torn: self.torn || self.is_old_copy(connection)? };
        let has_rows = !wrote_last && !self.tenants(connection)?.is_empty();
        match writers::decide(&last, store, has_rows) {
            Claim::GoOn | Claim::Begin => writers::say(connection, share, own, false)?,
            Claim::Rebuild { wait } => self.rebuild(connection, wait && !self.start.alone)?,
        }
        (self.start.at)("clickhouse.claimed");
        self.start.recorder.based();
        self.link.looked();
        self.claimed = true;
        // Nobody waits for a later one.
        let _ = self.first_claim.try_send(());
        Ok(())
    }

    /// Whether ClickHouse has blocks of our writer that our store does not know: somebody has put an old copy of it back.
    fn is_old_copy(&self, connection: &Connection) -> Result<bool, ServerError> {
        let own = literal(&self.outbox.writer().to_string());
        let newest = reading::newest_block(connection, self.start.server.tables(), &own)?;
        Ok(newest >= self.outbox.next_block())
    }

    /// Makes the local store again from what ClickHouse has.
    fn rebuild(&mut self, connection: &Connection, wait: bool) -> Result<(), ServerError> {
        let SenderStart { share, recorder, server, .. } = &self.start;
        let reason = "the local store is made again from ClickHouse";
        self.board.state(SinkState::Rebuilding, Some(reason));
        let mut rebuild = recorder.rebuild().map_err(|error| match error {
            RebuildError::AtWork => {
                ServerError::again(format!("the local store has to be made again from ClickHouse: {error}"))
            }
            error @ (RebuildError::Table(_) | RebuildError::Store(_)) => local(error),
        })?;
        self.torn = true;
        // From here on whoever wrote before finds that it is not his turn any more.
        writers::say(connection, *share, self.outbox.writer(), false)?;
        if wait {
            let pause = LOOK_EVERY + connection.access().timeout * 2;
            tracing::info!(share = %share, seconds = pause.as_secs(), "waiting until earlier writers have noticed");
            connection.pause(pause)?;
        }
        let tables = Arc::clone(server.tables());
        let tenants = self.tenants(connection)?;
        let (newest, clock) = reading::newest(connection, &tables, &tenants)?;
        // What is mended now is newer than anything else.
        let version = newest + 1;
        for tenant in &tenants {
            for relation in 0..tables.relations.len() {
                reading::mend(connection, &tables, relation, tenant, version)?;
                load(connection, &tables, relation, tenant, &mut rebuild)?;
            }
        }
        rebuild.finish(version, Millis(clock)).map_err(local)?;
        self.torn = false;
        Ok(())
    }

    /// This share's tenants that have rows.
    fn tenants(&self, connection: &Connection) -> Result<Vec<String>, ServerError> {
        let all = reading::tenants(connection, self.start.server.tables())?;
        Ok(all.into_iter().filter(|tenant| (self.start.is_ours)(tenant)).collect())
    }

    /// Sends a block and forgets it.
    fn send(&mut self, connection: &Connection, block: Block) -> Result<(), ServerError> {
        self.still_ours(connection)?;
        let Block { number, table, columns, rows, body, token } = block;
        let body = Bytes::from(body);
        let doubtful = std::mem::replace(&mut self.doubtful, true);
        let kind = self.start.server.tables().table(&table).map(|table| table.kind);
        let token = match kind {
            // The present need not be counted: rows that are there twice are one. But a server that crashed may remember the token
            // and not have the rows, so what may have been sent is sent under another one.
            Some(TableKind::Present) if doubtful => anew(&token),
            Some(TableKind::Present | TableKind::Changes) | None => token,
        };
        (self.start.at)("clickhouse.send.before");
        self.insert(connection, &table, &columns, &token, &body)?;
        (self.start.at)("clickhouse.send.after");
        if doubtful && kind == Some(TableKind::Changes) {
            let sent = Sent { table: &table, columns: &columns, rows, body: &body, token: &token, number };
            self.make_exact(connection, &sent)?;
        }
        self.outbox.done(number).map_err(local)?;
        self.doubtful = false;
        self.count("written", rows);
        Ok(())
    }

    fn insert(
        &self,
        connection: &Connection,
        table: &str,
        columns: &[String],
        token: &str,
        body: &Bytes,
    ) -> Result<(), ServerError> {
        let known = self.start.server.tables().table(table);
        let r#type = |name: &String| {
            known?.columns.iter().find(|column| column.name == *name).map(|column| column.r#type.as_str())
        };
        let types: Option<Vec<&str>> = columns.iter().map(r#type).collect();
        match types {
            Some(types) => connection.insert_typed(table, columns, &types, token, body),
            // A block of an earlier configuration.
            None => connection.insert(table, columns, token, body),
        }
    }

    /// Sees to it that a block's rows are there once. They are not where a server crashed between remembering the token and
    /// having the rows, or has forgotten the token.
    fn make_exact(&self, connection: &Connection, sent: &Sent<'_>) -> Result<(), ServerError> {
        let table = connection.table(sent.table);
        let writer = self.outbox.writer();
        let these = format!("writer = {} AND block = {}", literal(&writer.to_string()), sent.number);
        let there = || connection.number(&format!("SELECT count() FROM {table} WHERE {these}"));
        for _ in 0..MENDS_MAX {
            let found = there()?;
            if found == sent.rows {
                return Ok(());
            }
            if reading::is_replicated(connection, sent.table)? {
                // The copy that answers may be behind.
                return Err(self.differs(sent, found));
            }
            tracing::warn!(table = sent.table, block = sent.number, found, rows = sent.rows, "mending a block");
            if found > 0 {
                let sql = format!("ALTER TABLE {table} DELETE WHERE {these} SETTINGS mutations_sync = 2");
                connection.execute_within(&sql, reading::LONG)?;
            }
            self.insert(connection, sent.table, sent.columns, &anew(sent.token), sent.body)?;
            self.count("mended", sent.rows);
        }
        match there()? {
            found if found == sent.rows => Ok(()),
            found => Err(self.differs(sent, found)),
        }
    }

    fn differs(&self, sent: &Sent<'_>, found: u64) -> ServerError {
        ServerError::somebody(format!(
            "{} has {found} rows of block {} of writer {} and should have {}",
            sent.table,
            sent.number,
            self.outbox.writer(),
            sent.rows
        ))
    }

    /// Looks now and then whether another process has begun to write.
    fn still_ours(&mut self, connection: &Connection) -> Result<(), ServerError> {
        if !self.link.is_look_due(LOOK_EVERY) {
            return Ok(());
        }
        self.look(connection)
    }

    fn look(&mut self, connection: &Connection) -> Result<(), ServerError> {
        let own = self.outbox.writer();
        let last = writers::last(connection, self.start.share)?;
        match last.first() {
            Some(last) if last.writer == own => {
                self.link.looked();
                Ok(())
            }
            // Nobody else can have the share, or nobody has it: tables were made anew. What to do then, a claim finds out.
            Some(last) if self.start.alone || last.writer == Uuid::default() => Err(self.claim_anew()),
            None => Err(self.claim_anew()),
            Some(last) => Err(ServerError::ousted(format!(
                "writer {} has begun after ours ({own}): another process has these partitions. Restart this one if they are its own",
                last.writer
            ))),
        }
    }

    /// What ClickHouse holds is not what our store says that it does.
    fn claim_anew(&mut self) -> ServerError {
        self.claimed = false;
        self.link.unprepare();
        ServerError::again("the tables are not those that were written: they are looked at again")
    }

    fn count(&self, outcome: &'static str, rows: u64) {
        self.start.server.metrics.rows.get_or_create(&OutcomeLabels { outcome }).inc_by(rows);
    }

    /// Shows what waits.
    fn show_waiting(&self) {
        let (next, blocks) = (self.outbox.next_block(), self.outbox.blocks());
        let first = (blocks > 0).then(|| next.saturating_sub(blocks));
        self.board.outbox(first, blocks, self.outbox.bytes());
    }
}

/// A block that ClickHouse has acknowledged.
struct Sent<'a> {
    table: &'a str,
    columns: &'a [String],
    rows: u64,
    body: &'a Bytes,
    token: &'a str,
    number: u64,
}

/// A token that was never used.
fn anew(token: &str) -> String {
    format!("{token}-{:x}", backoff::random())
}

/// Puts a tenant's present rows of one relation into the store that is being made.
fn load(
    connection: &Connection,
    tables: &Tables,
    relation: usize,
    tenant: &str,
    rebuild: &mut Rebuild,
) -> Result<(), ServerError> {
    let name = &tables.of_relation(relation, TableKind::Present).name;
    // The end of a chunk may be the beginning of a row.
    let mut rest: Vec<u8> = Vec::new();
    connection.stream(&reading::present_sql(connection, tables, relation, tenant), "RowBinary", |bytes| {
        rest.extend_from_slice(bytes);
        let used = rebuild.put(name, &rest).map_err(local)?;
        rest.drain(..used);
        Ok(())
    })?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(ServerError::again(format!("the answer with the rows of {name} was cut off")))
    }
}

/// The local disk has failed.
fn local(error: impl std::fmt::Display) -> ServerError {
    ServerError::somebody(format!("the local store of the sink has failed: {error}"))
}

//! The server that all shares of a process write to: where it is now, and whether its tables are as they should be.

use crate::accepted;
use crate::backoff::Pace;
use crate::connection::{Access, Connection};
use crate::error::ServerError;
use crate::schema;
use crate::sender_metrics::SenderMetrics;
use crate::stop::Stop;
use crate::tables::Tables;
use crate::views;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Says where the server is. It may not be there yet, or somewhere else after a while: the error says why.
pub type Whereabouts = Arc<dyn Fn() -> Result<Access, String> + Send + Sync>;

/// Who makes the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesBy {
    /// We do, whenever something is missing.
    Us,
    /// Somebody does, by `aulaflow clickhouse migrate`: until then nothing is sent.
    Somebody,
}

/// What senders have in common.
pub struct Server {
    at: Whereabouts,
    tables: Arc<Tables>,
    by: TablesBy,
    pub(crate) pace: Pace,
    pub(crate) metrics: SenderMetrics,
    /// One for all connections; made with the first.
    runtime: Mutex<Option<Arc<Runtime>>>,
    /// One share at a time makes tables.
    making: Mutex<()>,
    /// Where it is remembered which columns the history has.
    remember: Option<PathBuf>,
}

impl Server {
    /// Reaches for nothing yet.
    pub fn new(at: Whereabouts, tables: Arc<Tables>, by: TablesBy, pace: Pace, metrics: SenderMetrics) -> Arc<Self> {
        Self::remembering(at, tables, by, (pace, metrics), None)
    }

    /// The same; once the tables are as they should be their columns are written to a file (see [`accepted`]).
    pub fn remembering(
        at: Whereabouts,
        tables: Arc<Tables>,
        by: TablesBy,
        (pace, metrics): (Pace, SenderMetrics),
        remember: Option<PathBuf>,
    ) -> Arc<Self> {
        Arc::new(Self { at, tables, by, pace, metrics, runtime: Mutex::new(None), making: Mutex::new(()), remember })
    }

    /// The tables that are written.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Says where the server is.
    pub fn at(&self) -> Whereabouts {
        Arc::clone(&self.at)
    }

    /// A connection to where the server is now.
    pub fn connect(&self, stop: &Stop) -> Result<Connection, ServerError> {
        let access = (self.at)().map_err(ServerError::again)?;
        Ok(Connection::on(&self.runtime()?, &access, stop))
    }

    /// The runtime of all connections: one thread waits for all their sockets.
    fn runtime(&self) -> Result<Arc<Runtime>, ServerError> {
        let mut runtime = self.runtime.lock();
        if let Some(runtime) = &*runtime {
            return Ok(Arc::clone(runtime));
        }
        let mut builder = Builder::new_multi_thread();
        let made = builder.worker_threads(1).enable_all().thread_name("aulaflow-clickhouse-io").build();
        let made = made.map_err(|error| ServerError::again(format!("no connection can be made: {error}")))?;
        Ok(Arc::clone(runtime.insert(Arc::new(made))))
    }

    /// Makes sure that the tables can be written.
    pub(crate) fn prepare(&self, connection: &Connection) -> Result<(), ServerError> {
        let _making = self.making.lock();
        self.make_or_check(connection)?;
        if let Some(file) = &self.remember
            && let Err(error) = accepted::write(file, &self.tables)
        {
            tracing::warn!(%error, file = %file.display(), "`aulaflow check` will not know the history's columns");
        }
        Ok(())
    }

    fn make_or_check(&self, connection: &Connection) -> Result<(), ServerError> {
        match self.by {
            TablesBy::Us => {
                let done = schema::migrate(connection, &self.tables, &[], "")?;
                // Nothing is written through the views: what is wrong with them holds nobody up.
                let views = views::migrate_views(connection, &self.tables).unwrap_or_else(|error| {
                    tracing::warn!(%error, "the analysts' views in ClickHouse cannot be made");
                    Vec::new()
                });
                for step in done.steps.into_iter().chain(views) {
                    tracing::info!(step, "ClickHouse");
                }
                Ok(())
            }
            TablesBy::Somebody => match schema::check(connection, &self.tables)?.as_slice() {
                [] => Ok(()),
                faults => {
                    Err(ServerError::somebody(format!("the tables are not as they should be: {}", faults.join("; "))))
                }
            },
        }
    }
}

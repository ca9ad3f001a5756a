//! A connection to ClickHouse over HTTP, for one thread: statements, questions, streams of rows, and blocks. Every call has
//! a time limit and ends when the process is asked to stop. What is sent is not decided here, nor when it is tried again.

use crate::error::ServerError;
use crate::rows;
use crate::stop::Stop;
use bytes::Bytes;
use clickhouse::{Client, Compression, RowOwned, RowRead};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout_at;

/// Bytes of a block that are handed to the network in one go.
const CHUNK: usize = 1 << 20;

/// We wait so much longer than the server works, so that its own words arrive.
const AFTER: Duration = Duration::from_millis(500);

/// How to reach a server.
#[derive(Clone)]
pub struct Access {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// The database of all tables.
    pub database: String,
    /// The user, where it is not ClickHouse's default.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// How long one call may take; the server is told to stop then too.
    pub timeout: Duration,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, database, user, password: _, timeout } = self;
        f.debug_struct("Access")
            .field("url", url)
            .field("database", database)
            .field("user", user)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// A connection. It reconnects by itself.
pub struct Connection {
    client: Client,
    /// Without a database: it may have to be made first.
    anywhere: Client,
    runtime: Arc<Runtime>,
    access: Access,
    stop: Stop,
}

impl Connection {
    /// A connection with a runtime of its own, for a command. Reaches for nothing yet.
    pub fn new(access: &Access, stop: &Stop) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self::on(&Arc::new(runtime), access, stop))
    }

    /// A connection that shares a runtime with others.
    pub(crate) fn on(runtime: &Arc<Runtime>, access: &Access, stop: &Stop) -> Self {
        let mut client = Client::default()
            .with_url(&access.url)
            .with_product_info("aulaflow", env!("CARGO_PKG_VERSION"))
            .with_compression(if is_local(&access.url) { Compression::None } else { Compression::Lz4 })
            .with_setting("max_execution_time", seconds(access.timeout));
        if let Some(user) = &access.user {
            client = client.with_user(user);
        }
        if let Some(password) = &access.password {
            client = client.with_password(password);
        }
        let anywhere = client.clone();
        let client = client.with_database(&access.database);
        Self { client, anywhere, runtime: Arc::clone(runtime), access: access.clone(), stop: stop.clone() }
    }

    /// The database of all tables.
    pub fn database(&self) -> &str {
        &self.access.database
    }

    /// A table's name with its database's.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.access.database), quoted(name))
    }

    /// How to reach the server.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Runs a statement.
    pub fn execute(&self, sql: &str) -> Result<(), ServerError> {
        self.execute_within(sql, self.access.timeout)
    }

    /// Runs a statement that may take longer than others.
    pub fn execute_within(&self, sql: &str, limit: Duration) -> Result<(), ServerError> {
        let query = self.client.query_raw(sql).with_setting("max_execution_time", seconds(limit));
        self.within(limit, async { Ok(query.execute().await?) })
    }

    /// Makes the database where there is none.
    pub fn make_database(&self) -> Result<(), ServerError> {
        let sql = format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&self.access.database));
        self.within(self.access.timeout, async { Ok(self.anywhere.query_raw(&sql).execute().await?) })
    }

    /// All rows of an answer that is known to be small.
    pub fn rows<T: RowOwned + RowRead>(&self, sql: &str) -> Result<Vec<T>, ServerError> {
        self.within(self.access.timeout, async { Ok(self.anywhere.query_raw(sql).fetch_all::<T>().await?) })
    }

    /// One number.
    pub fn number(&self, sql: &str) -> Result<u64, ServerError> {
        self.within(self.access.timeout, async { Ok(self.anywhere.query_raw(sql).fetch_one::<u64>().await?) })
    }

    /// The bytes of an answer as they come. The time limit is each chunk's; the server's own is taken away, since a large
    /// answer takes its time.
    pub fn stream(
        &self,
        sql: &str,
        format: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), ServerError>,
    ) -> Result<(), ServerError> {
        let query = self.anywhere.query_raw(sql).with_setting("max_execution_time", "0");
        let mut cursor = query.fetch_bytes(format)?;
        while let Some(bytes) = self.within(self.access.timeout, async { Ok(cursor.next().await?) })? {
            each(&bytes)?;
        }
        Ok(())
    }

    /// Inserts RowBinary as one block. The token makes a repetition of the same insert do nothing.
    pub fn insert(&self, table: &str, columns: &[String], token: &str, body: &Bytes) -> Result<(), ServerError> {
        self.insert_as((table, columns), "RowBinary", token, [Bytes::new(), body.clone()])
    }

    /// The same with the columns' types, which the server compares with its own: bytes of another type would be taken for something
    /// else.
    pub fn insert_typed(
        &self,
        table: &str,
        columns: &[String],
        types: &[&str],
        token: &str,
        body: &Bytes,
    ) -> Result<(), ServerError> {
        let head = rows::header(columns, types).into();
        self.insert_as((table, columns), "RowBinaryWithNamesAndTypes", token, [head, body.clone()])
    }

    fn insert_as(
        &self,
        (table, columns): (&str, &[String]),
        format: &str,
        token: &str,
        parts: [Bytes; 2],
    ) -> Result<(), ServerError> {
        let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
        let sql = format!("INSERT INTO {} ({}) FORMAT {format}", quoted(table), columns.join(", "));
        let limit = self.access.timeout;
        self.within(self.access.timeout, async move {
            let started = Instant::now();
            let mut insert = self
                .client
                .insert_formatted_with(sql)
                .with_setting("insert_deduplication_token", token)
                .with_setting("insert_deduplicate", "1")
                // A server may gather inserts by default: then the answer would not mean that the rows are there.
                .with_setting("async_insert", "0");
            for mut rest in parts {
                while !rest.is_empty() {
                    let chunk = rest.split_to(rest.len().min(CHUNK));
                    insert.send(chunk).await?;
                }
            }
            // The crate ends its own task only at its own time limit.
            let left = limit.saturating_sub(started.elapsed());
            Ok(insert.with_timeouts(None, Some(left)).end().await?)
        })
    }

    /// Waits, unless somebody asks to stop first.
    pub fn pause(&self, pause: Duration) -> Result<(), ServerError> {
        self.runtime.block_on(async {
            match tokio::time::timeout(pause, self.stop.asked()).await {
                Ok(()) => Err(ServerError::stopped()),
                Err(_) => Ok(()),
            }
        })
    }

    fn within<T>(&self, limit: Duration, what: impl Future<Output = Result<T, ServerError>>) -> Result<T, ServerError> {
        if self.stop.is_asked() {
            return Err(ServerError::stopped());
        }
        let deadline = limit + AFTER;
        self.runtime.block_on(async {
            tokio::select! {
                done = timeout_at(tokio::time::Instant::now() + deadline, what) => {
                    done.unwrap_or_else(|_| Err(ServerError::again("no answer in time")))
                }
                () = self.stop.asked() => Err(ServerError::stopped()),
            }
        })
    }
}

fn seconds(limit: Duration) -> String {
    limit.as_secs().max(1).to_string()
}

/// A name as SQL takes it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A text as SQL takes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Whether it is this machine: then compression costs more than it saves.
fn is_local(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_end_themselves() {
        assert_eq!(quoted("a`b\\"), "`a\\`b\\\\`");
        assert_eq!(literal("it's \\"), "'it\\'s \\\\'");
    }

    #[test]
    fn loopback_is_not_compressed() {
        assert!(is_local("http://127.0.0.1:8123") && is_local("http://[::1]:8123"));
        assert!(!is_local("https://clickhouse.example.org"));
    }

    #[test]
    fn nothing_is_sent_after_a_stop() {
        let stop = Stop::default();
        let access = Access {
            url: "http://127.0.0.1:9".to_owned(),
            database: "aula".to_owned(),
            user: None,
            password: Some("secret".to_owned()),
            timeout: Duration::from_secs(5),
        };
        assert!(!format!("{access:?}").contains("secret"));
        let connection = Connection::new(&access, &stop).unwrap();
        assert_eq!(connection.execute("SELECT 1").unwrap_err().next, crate::error::Next::Again);
        stop.ask();
        assert_eq!(connection.execute("SELECT 1").unwrap_err(), ServerError::stopped());
        assert_eq!(connection.pause(Duration::from_secs(60)).unwrap_err(), ServerError::stopped());
    }
}

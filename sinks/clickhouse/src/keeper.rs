//! Retention, done: what the log said is removed from ClickHouse when its days are over, counted before and after. For how many
//! days what is kept, is `retention`'s business.
//!
//! Whole partitions go: a partition is a day on which rows go. Where a tenant's retention was made shorter, its rows lie in
//! partitions that go later: those are deleted one by one, which is slower and happens once. A longer retention counts for rows
//! that come from then on.

use crate::Uuid;
use crate::connection::{Connection, literal, quoted};
use crate::error::ServerError;
use crate::raw::{REMOVED, Raw};
use crate::reading::LONG;
use crate::retention::{Clocks, Day, RetentionPolicy};
use crate::server::Server;
use crate::session::{self, Link};
use crate::status::SinkState;
use crate::stop::{Stop, Thread};
use clickhouse::Row;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Rows that were removed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The table.
    pub raw: Raw,
    /// The partition that went; none: rows of tenants whose retention was made shorter.
    pub expires: Option<Day>,
    /// How many.
    pub rows: u64,
    /// Their bytes on the disk; 0 where that is not known.
    pub bytes: u64,
}

/// `table`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabels {
    /// The table.
    pub table: &'static str,
}

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct RetentionMetrics {
    /// Rows that were removed.
    pub rows: Family<TableLabels, Counter>,
    /// Rounds that failed.
    pub failures: Counter,
}

impl RetentionMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Rows that were removed from ClickHouse since their retention was over";
        registry.register("clickhouse_retention_rows", help, metrics.rows.clone());
        let help = "Rounds of retention in ClickHouse that failed and are tried again";
        registry.register("clickhouse_retention_failures", help, metrics.failures.clone());
        metrics
    }
}

/// What a keeper is started with.
pub struct KeeperStart {
    /// Where the tables are.
    pub server: Arc<Server>,
    /// What is kept for how long.
    pub retention: Arc<RetentionPolicy>,
    /// What today is.
    pub clocks: Clocks,
    /// What it counts.
    pub metrics: RetentionMetrics,
    /// How often it looks whether another day has begun.
    pub look_every: Duration,
}

/// A thread that removes what has expired, at its start and with each new day. Several processes may have one: whoever is first
/// removes.
pub struct Keeper(Thread);

impl Keeper {
    /// Starts it.
    pub fn start(start: KeeperStart) -> std::io::Result<Self> {
        let stop = Stop::default();
        let mut work = Rounds { link: Link::new(&start.server, &stop), start, done: None, rounds: 0 };
        Ok(Self(Thread::start("aulaflow-keeper".to_owned(), &stop, move || session::run(&mut work))?))
    }

    /// Ends it. What is under way is given up; the next start does it again.
    pub fn stop(self) {
        if !self.0.end(Duration::ZERO) {
            tracing::error!("the thread that removes expired rows from ClickHouse has panicked");
        }
    }
}

/// Today, of each table in the order of [`Raw::ALL`].
type Today = [Option<Day>; 3];

struct Rounds {
    start: KeeperStart,
    link: Link,
    /// The days of the last round that succeeded.
    done: Option<Today>,
    /// How many succeeded.
    rounds: u64,
}

impl session::Work for Rounds {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn session(&mut self, connection: &Connection) -> Result<(), ServerError> {
        loop {
            let today = Raw::ALL.map(|raw| self.start.clocks.today(raw));
            if self.done != Some(today) {
                self.link.prepare(connection)?;
                self.round(connection, today)?;
                self.done = Some(today);
                self.rounds += 1;
            }
            if !self.link.stop.pause_until_draining(self.start.look_every) || self.link.stop.is_draining() {
                return Ok(());
            }
        }
    }

    fn progress(&self) -> u64 {
        self.rounds
    }

    fn failed(&mut self, _state: SinkState, error: &ServerError) {
        // What was prepared may be what failed.
        self.link.unprepare();
        self.start.metrics.failures.inc();
        tracing::warn!(reason = error.reason, "expired rows could not be removed from ClickHouse: trying again");
    }
}

impl Rounds {
    fn round(&self, connection: &Connection, today: Today) -> Result<(), ServerError> {
        for (raw, today) in Raw::ALL.into_iter().zip(today) {
            let Some(today) = today else { continue };
            for removed in remove_expired(connection, raw, today, &self.start.retention)? {
                let Removed { rows, bytes, expires, .. } = removed;
                tracing::info!(table = raw.name(), rows, bytes, expires, "rows whose retention was over were removed");
                self.start.metrics.rows.get_or_create(&TableLabels { table: raw.name() }).inc_by(rows);
            }
        }
        Ok(())
    }
}

/// Removes the rows of a table whose days are over, makes sure that they are gone, and records what went in the table
/// `retention_log`.
pub fn remove_expired(
    connection: &Connection,
    raw: Raw,
    today: Day,
    retention: &RetentionPolicy,
) -> Result<Vec<Removed>, ServerError> {
    let mut removed = Vec::new();
    for part in partitions(connection, raw)?.into_iter().filter(|part| part.expires <= today) {
        let Partition { expires, bytes } = part;
        let of_it = format!("expires = toDate({expires})");
        let rows = count(connection, raw, &of_it)?;
        // The value as ClickHouse writes it: partitions of a date have no other name.
        let drop =
            format!("ALTER TABLE {} DROP PARTITION {}", quoted(raw.name()), literal(&date(connection, expires)?));
        let one = Removed { raw, expires: Some(expires), rows, bytes };
        removed.extend(remove(connection, today, one, (&drop, &of_it))?);
    }
    let over = over(raw, today, retention);
    let rows = count(connection, raw, &over)?;
    if rows > 0 {
        let delete = format!("ALTER TABLE {} DELETE WHERE {over} SETTINGS mutations_sync = 2", quoted(raw.name()));
        let one = Removed { raw, expires: None, rows, bytes: 0 };
        removed.extend(remove(connection, today, one, (&delete, &over))?);
    }
    Ok(removed)
}

/// Removes rows by a statement, after which no row may meet the condition. What is about to go is recorded before, and that it is
/// gone afterwards: a crash in between leaves the first.
fn remove(
    connection: &Connection,
    today: Day,
    removed: Removed,
    (statement, condition): (&str, &str),
) -> Result<Option<Removed>, ServerError> {
    let id = Uuid::random().map_err(|error| ServerError::again(format!("no random number can be made: {error}")))?;
    // Emptied by somebody else at the same time.
    if removed.rows == 0 {
        connection.execute_within(statement, LONG)?;
        return Ok(None);
    }
    note(connection, today, &removed, (id, false))?;
    connection.execute_within(statement, LONG)?;
    gone(connection, removed.raw, condition)?;
    note(connection, today, &removed, (id, true))?;
    Ok(Some(removed))
}

#[derive(Row, Deserialize)]
struct Partition {
    expires: Day,
    bytes: u64,
}

fn partitions(connection: &Connection, raw: Raw) -> Result<Vec<Partition>, ServerError> {
    connection.rows(&format!(
        "SELECT toUInt16(toDate(partition)) AS expires, sum(bytes_on_disk) AS bytes FROM system.parts WHERE database = {} AND table \
         = {} AND active GROUP BY expires ORDER BY expires",
        literal(connection.database()),
        literal(raw.name())
    ))
}

/// A day as ClickHouse writes it.
fn date(connection: &Connection, day: Day) -> Result<String, ServerError> {
    #[derive(Row, Deserialize)]
    struct Text {
        text: String,
    }
    let rows = connection.rows::<Text>(&format!("SELECT toString(toDate({day})) AS text"))?;
    rows.into_iter().next().map(|row| row.text).ok_or_else(|| ServerError::again("the answer has no row"))
}

fn count(connection: &Connection, raw: Raw, condition: &str) -> Result<u64, ServerError> {
    connection.number(&format!("SELECT count() FROM {} WHERE {condition}", connection.table(raw.name())))
}

fn gone(connection: &Connection, raw: Raw, condition: &str) -> Result<(), ServerError> {
    match count(connection, raw, condition)? {
        0 => Ok(()),
        left => Err(ServerError::again(format!(
            "{} still has {left} rows that were removed, or that came in the meantime",
            raw.name()
        ))),
    }
}

/// Rows that are over by what is kept now, though their partition goes later.
fn over(raw: Raw, today: Day, retention: &RetentionPolicy) -> String {
    let before = |days: u16| format!("kept_from <= toDate({})", today.saturating_sub(days));
    let own: Vec<_> = retention.tenants.iter().map(|(tenant, days)| (literal(tenant), days.of(raw))).collect();
    let default = before(retention.default.of(raw));
    let mut conditions: Vec<_> =
        own.iter().map(|(tenant, days)| format!("(tenant = {tenant} AND {})", before(*days))).collect();
    let named: Vec<_> = own.iter().map(|(tenant, _)| tenant.as_str()).collect();
    conditions.push(match named.is_empty() {
        true => default,
        false => format!("(tenant NOT IN ({}) AND {default})", named.join(", ")),
    });
    // A row of the first day there is has no day before it.
    format!("expires > toDate({today}) AND kept_from > toDate(0) AND ({})", conditions.join(" OR "))
}

/// Records what goes, or has gone.
fn note(
    connection: &Connection,
    today: Day,
    removed: &Removed,
    (id, is_gone): (Uuid, bool),
) -> Result<(), ServerError> {
    let Removed { raw, expires, rows, bytes } = removed;
    let expires = expires.map_or("NULL".to_owned(), |day| format!("toDate({day})"));
    connection.execute(&format!(
        "INSERT INTO {} (at, today, of_table, expires, rows, bytes, id, gone) SELECT now64(3), toDate({today}), {}, {expires}, {rows}, \
         {bytes}, {}, {}",
        connection.table(REMOVED),
        literal(raw.name()),
        literal(&id.to_string()),
        u8::from(is_gone)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeptDays;

    #[test]
    fn what_is_over_goes_by_each_tenants_days() {
        let default = KeptDays { behavior: 30, service_events: 30, dead_letters: 90 };
        let own = KeptDays { behavior: 7, ..default };
        let mut retention = RetentionPolicy { default, tenants: [("it's".to_owned(), own)].into() };
        assert_eq!(
            over(Raw::Behavior, 100, &retention),
            "expires > toDate(100) AND kept_from > toDate(0) AND ((tenant = 'it\\'s' AND kept_from <= toDate(93)) OR (tenant NOT IN \
             ('it\\'s') AND kept_from <= toDate(70)))"
        );
        retention.tenants.clear();
        assert!(over(Raw::DeadLetters, 100, &retention).ends_with("AND (kept_from <= toDate(10))"));
    }
}

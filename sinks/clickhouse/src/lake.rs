//! What a lake gets: the rows of closed days (UTC), a file per table, tenant and day. Which days there are, whether they are still what
//! they were, and the SELECT of each file; pure, but for reading the days. Where files go is not known here.
//!
//! ClickHouse writes the files. An embedded one makes a Parquet file as a whole in memory, up to a limit, so that a large day becomes
//! several files, by a hash of the student or the subject.

use crate::connection::{Connection, literal, quoted};
use crate::error::ServerError;
use crate::form::Form;
use crate::raw::Raw;
use crate::sql::TENANT;
use crate::tables::{Column, Role, TableKind, Tables};
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::{InstantError, Millis};
use clickhouse::Row;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// Rows of one file at most, about. Compressed they are far below what an embedded ClickHouse makes in one piece.
pub const FILE_ROWS: u64 = 1_000_000;

const DAY_MS: i64 = 86_400_000;

/// A day in UTC, counted from 1 January 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of an instant.
    pub fn of(instant: Millis) -> Self {
        Self(instant.0.div_euclid(DAY_MS))
    }

    /// The day before.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0 - 1)
    }

    fn start(self) -> Millis {
        Millis(self.0 * DAY_MS)
    }

    /// Year and month, as `year=YYYY/month=MM` has them.
    pub fn month(self) -> (String, String) {
        let text = self.to_string();
        (text.chars().take(4).collect(), text.chars().skip(5).take(2).collect())
    }
}

impl FromStr for Day {
    type Err = InstantError;

    fn from_str(text: &str) -> Result<Self, InstantError> {
        Millis::parse_rfc3339(&format!("{text}T00:00:00Z")).map(Self::of)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.start().to_string();
        f.write_str(text.split('T').next().unwrap_or(&text))
    }
}

/// A tenant's rows of one table and day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The table.
    pub table: String,
    /// The tenant.
    pub tenant: String,
    /// Their day.
    pub day: Day,
    /// How many.
    pub rows: u64,
    /// What tells them from others: it changes when a row comes late, or goes.
    pub digest: u64,
}

/// A table that is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its name.
    pub name: String,
    /// What a file has: columns and what they are shown as.
    columns: Vec<String>,
    /// A row is known by these; the tenant first.
    identity: Vec<String>,
    /// What its day follows from.
    time: Time,
}

/// What a row's day follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// The instant at which it came or went.
    Clock,
    /// The day that its retention counts from: all rows of a tenant's day go together.
    KeptFrom,
}

impl Time {
    fn column(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::KeptFrom => "kept_from",
        }
    }

    /// The beginning of a day, to compare the column with.
    fn start(self, day: Day) -> String {
        match self {
            Self::Clock => format!("fromUnixTimestamp64Milli({}, 'UTC')", day.start().0),
            Self::KeptFrom => format!("toDate({})", day.0),
        }
    }
}

/// What is exported: each relation's differences, from which the present can be had, and the behaviour events.
pub fn exported(tables: &Tables) -> Vec<Exported> {
    let changes = tables.tables.iter().filter(|table| table.kind == TableKind::Changes);
    let changes = changes.map(|table| Exported {
        name: table.name.clone(),
        columns: table.columns.iter().filter(|column| is_written(column)).map(shown).collect(),
        identity: table.order_by.iter().map(|name| quoted(name)).collect(),
        time: Time::Clock,
    });
    let raw = Raw::Behavior;
    let behavior = Exported {
        name: raw.name().to_owned(),
        columns: raw.columns().iter().filter(|column| is_written(column)).map(shown).collect(),
        identity: ["tenant", "student", "log_partition", "log_offset"].map(quoted).to_vec(),
        time: Time::KeptFrom,
    };
    changes.chain([behavior]).collect()
}

/// Which days.
#[derive(Debug, Clone, Copy)]
pub struct Range<'a> {
    /// The first, if there is one.
    pub from: Option<Day>,
    /// The last.
    pub until: Day,
    /// One tenant alone.
    pub tenant: Option<&'a TenantId>,
}

#[derive(Row, Deserialize)]
struct Found {
    tenant: String,
    day: i64,
    rows: u64,
    digest: u64,
}

/// The closed days of a table, by day and tenant.
pub fn closed(connection: &Connection, table: &Exported, range: Range<'_>) -> Result<Vec<Closed>, ServerError> {
    let column = table.time.column();
    let mut conditions = vec![format!("{column} < {}", table.time.start(Day(range.until.0 + 1)))];
    conditions.extend(range.from.map(|from| format!("{column} >= {}", table.time.start(from))));
    conditions.extend(range.tenant.map(|tenant| format!("{TENANT} = {}", literal(tenant.as_str()))));
    // What a row says never changes.
    let sql = format!(
        "SELECT toString({TENANT}) AS tenant, toInt64(toRelativeDayNum({column})) AS day, count() AS rows, \
         groupBitXor(cityHash64({})) AS digest FROM {} WHERE {} GROUP BY tenant, day ORDER BY day, tenant",
        table.identity.join(", "),
        connection.table(&table.name),
        conditions.join(" AND "),
    );
    let found = connection.rows::<Found>(&sql)?;
    let of =
        |Found { tenant, day, rows, digest }| Closed { table: table.name.clone(), tenant, day: Day(day), rows, digest };
    Ok(found.into_iter().map(of).collect())
}

/// The SELECT of each file of a day; its columns are the table's without the tenant, which is in the file's path, and without what
/// only the sink needs.
pub fn files(connection: &Connection, table: &Exported, day: &Closed) -> Vec<String> {
    let files = day.rows.div_ceil(FILE_ROWS).max(1);
    let (column, time) = (table.time.column(), table.time);
    // The second of what rows are known by: the student, or the subject of a cohort. The first is the tenant.
    let by = table.identity.get(1).map_or(TENANT, String::as_str);
    let one = |file: u64| {
        let part = if files > 1 { format!(" AND cityHash64({by}) % {files} = {file}") } else { String::new() };
        format!(
            "SELECT {} FROM {} WHERE {TENANT} = {} AND {column} >= {} AND {column} < {}{part} ORDER BY {}",
            table.columns.join(", "),
            connection.table(&table.name),
            literal(&day.tenant),
            time.start(day.day),
            time.start(Day(day.day.0 + 1)),
            table.identity.join(", "),
        )
    };
    (0..files).map(one).collect()
}

fn is_written(column: &Column) -> bool {
    match column.role {
        Role::Key | Role::Value => column.name != TENANT,
        Role::Machinery => ["clock", "diff", "version"].contains(&column.name.as_str()),
    }
}

/// Parquet has no UUID that every reader knows.
fn shown(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.form {
        Form::Uuid => format!("toString({name}) AS {name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_are_utcs() {
        let day: Day = "2026-03-01".parse().unwrap();
        assert_eq!(day, Day::of(Millis::parse_rfc3339("2026-03-01T23:59:59.999Z").unwrap()));
        assert_eq!(day, Day::of(Millis::parse_rfc3339("2026-03-01T23:00:00-00:59").unwrap()));
        assert_eq!((day.to_string(), day.before().to_string()), ("2026-03-01".to_owned(), "2026-02-28".to_owned()));
        assert_eq!(day.month(), ("2026".to_owned(), "03".to_owned()));
        assert_eq!(Day::of(Millis(-1)).to_string(), "1969-12-31");
        for wrong in ["2026-3-1", "2026-02-30", "yesterday", ""] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
    }
}

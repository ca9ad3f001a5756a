//! What ClickHouse knows of how far a share was copied: the table of positions, and which offsets have rows.

use crate::Uuid;
use crate::connection::{Connection, literal, quoted};
use crate::error::ServerError;
use crate::raw::{POSITIONS, Raw};
use crate::reading::LONG;
use aulaflow_log::{Offset, TopicPartition};
use clickhouse::Row;
use serde::Deserialize;

/// The newest row of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Everything before it is in its table, or belongs nowhere.
    pub next: Offset,
    /// Rows before it may be there too.
    pub upto: Offset,
    /// Who wrote it.
    pub writer: String,
    /// He has ended.
    pub closed: bool,
}

/// All positions. Of rows of one offset the newest.
pub fn load(connection: &Connection) -> Result<Vec<Position>, ServerError> {
    connection.rows(&format!(
        "SELECT toString(topic) AS topic, partition, next, upto, toString(writer) AS writer, closed FROM (SELECT * FROM {} ORDER \
         BY next DESC, at DESC LIMIT 1 BY topic, partition)",
        connection.table(POSITIONS)
    ))
}

/// Says how far a partition is, and up to where rows are written next.
pub fn say(
    connection: &Connection,
    place: &TopicPartition,
    (next, upto): (Offset, Offset),
    writer: Uuid,
    closed: bool,
) -> Result<(), ServerError> {
    connection.execute(&format!(
        "INSERT INTO {} (topic, partition, next, upto, writer, closed, at) SELECT {}, {}, {next}, {upto}, {}, {closed}, now64(3)",
        connection.table(POSITIONS),
        literal(&place.topic),
        place.partition,
        literal(&writer.to_string()),
    ))
}

/// The rows of a partition in a table.
fn of(raw: Raw, source: &str, place: &TopicPartition) -> String {
    let topic = match raw {
        Raw::Behavior | Raw::ServiceEvents => String::new(),
        // Those of several topics are in one table.
        Raw::DeadLetters => format!("source_topic = {} AND ", literal(source)),
    };
    format!("{topic}log_partition = {}", place.partition)
}

/// The offset behind the last one that has a row, if that is after `from`.
pub fn behind_last(
    connection: &Connection,
    raw: Raw,
    source: &str,
    place: &TopicPartition,
    from: Offset,
) -> Result<Offset, ServerError> {
    connection.number(&format!(
        "SELECT if(count() = 0, toUInt64(0), max(log_offset) + 1) FROM {} WHERE {} AND log_offset >= {from}",
        connection.table(raw.name()),
        of(raw, source, place)
    ))
}

/// Each offset of a range that has rows, and how many.
pub fn there(
    connection: &Connection,
    raw: Raw,
    source: &str,
    place: &TopicPartition,
    (from, to): (Offset, Offset),
) -> Result<Vec<(Offset, u64)>, ServerError> {
    #[derive(Row, Deserialize)]
    struct There {
        log_offset: Offset,
        n: u64,
    }
    let sql = format!(
        "SELECT log_offset, count() AS n FROM {} WHERE {} AND log_offset >= {from} AND log_offset < {to} GROUP BY log_offset",
        connection.table(raw.name()),
        of(raw, source, place)
    );
    Ok(connection.rows::<There>(&sql)?.into_iter().map(|row| (row.log_offset, row.n)).collect())
}

/// Takes the rows of a range away.
pub fn take_away(
    connection: &Connection,
    raw: Raw,
    source: &str,
    place: &TopicPartition,
    (from, to): (Offset, Offset),
) -> Result<(), ServerError> {
    let sql = format!(
        "ALTER TABLE {} DELETE WHERE {} AND log_offset >= {from} AND log_offset < {to} SETTINGS mutations_sync = 2",
        quoted(raw.name()),
        of(raw, source, place)
    );
    connection.execute_within(&sql, LONG)
}

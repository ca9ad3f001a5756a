//! The table `writers`: which store wrote a share's rows last. A store that did not is thrown away and made again from
//! ClickHouse, since another process has recorded differences that it does not know. Deciding is pure.

use crate::Uuid;
use crate::connection::{Connection, literal};
use crate::error::ServerError;
use aulaflow_model::share::Share;
use clickhouse::Row;
use serde::Deserialize;
use std::time::Duration;

/// A writer that sends makes sure at least this often that no other has begun: so long, and for one insert more, an ousted
/// writer may go on.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

const TABLE: &str = "writers";

/// The newest row of a share that has partitions in common with ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// Who.
    pub writer: Uuid,
    /// It has sent all that it had.
    pub closed: bool,
}

/// What a starting recorder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Goes on with its store: it wrote last.
    GoOn,
    /// Begins: nobody has written anything.
    Begin,
    /// Makes its store again from ClickHouse. `wait`: somebody who wrote may not have noticed yet that he is ousted.
    Rebuild {
        /// Wait for as long as an insert of his may still come.
        wait: bool,
    },
}

/// What our store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreIs {
    /// Its writer.
    pub own: Uuid,
    /// Nothing was ever recorded in it.
    pub is_new: bool,
    /// Rows are missing in it.
    pub is_torn: bool,
}

/// What to do, by the newest rows (the newest first), our store, and whether ClickHouse has rows of the share.
pub fn decide(last: &[Last], store: StoreIs, has_rows: bool) -> Claim {
    let StoreIs { own, is_new, is_torn } = store;
    match last.first() {
        Some(newest) if newest.writer == own && !is_torn => Claim::GoOn,
        // A store that holds something, and a server that has nothing of it: another server, or an emptied one.
        None if !has_rows && is_new => Claim::Begin,
        None | Some(_) => Claim::Rebuild { wait: last.iter().any(|last| last.writer != own && !last.closed) },
    }
}

#[derive(Row, Deserialize)]
struct LastRow {
    writer: String,
    closed: bool,
}

/// The newest row of each share that has partitions in common with this one, the newest first.
pub fn last(connection: &Connection, share: Share) -> Result<Vec<Last>, ServerError> {
    let shares = match share {
        Share::All => String::new(),
        Share::Partition(_) => {
            format!("WHERE share IN ({}, {})", literal(&Share::All.to_string()), literal(&share.to_string()))
        }
    };
    let sql = format!(
        "SELECT toString(argMax(writer, at)) AS writer, argMax(closed, at) AS closed FROM {} {shares} GROUP BY share ORDER BY \
         max(at) DESC",
        connection.table(TABLE)
    );
    let rows = connection.rows::<LastRow>(&sql)?;
    let read = |LastRow { writer, closed }: LastRow| match writer.parse() {
        Ok(writer) => Ok(Last { writer, closed }),
        Err(_) => Err(ServerError::somebody(format!("the table {TABLE} holds {writer:?}, which is no UUID"))),
    };
    rows.into_iter().map(read).collect()
}

/// Says that this writer writes from now on, or, `closed`, that it has sent all that it had. By the server's clock, or just after the
/// newest that was said, if that clock was set back since: whoever says it last is the last.
pub fn say(connection: &Connection, share: Share, writer: Uuid, closed: bool) -> Result<(), ServerError> {
    let table = connection.table(TABLE);
    connection.execute(&format!(
        "INSERT INTO {table} SELECT {}, {}, {closed}, greatest(now64(6), (SELECT max(at) FROM {table}) + toIntervalMicrosecond(1))",
        literal(&share.to_string()),
        literal(&writer.to_string())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wrote_last_goes_on() {
        let (own, other) = (Uuid::custom([1; 16]), Uuid::custom([2; 16]));
        let last = |writer, closed| Last { writer, closed };
        let full = StoreIs { own, is_new: false, is_torn: false };
        let new = StoreIs { is_new: true, ..full };
        let torn = StoreIs { is_torn: true, ..full };
        let rebuild = |wait| Claim::Rebuild { wait };
        let table = [
            (vec![], new, false, Claim::Begin),
            (vec![], full, false, rebuild(false)),
            // Rows of a time before there were writers, or whose writers' table is lost.
            (vec![], new, true, rebuild(false)),
            (vec![last(own, false)], full, true, Claim::GoOn),
            (vec![last(own, false)], new, true, Claim::GoOn),
            (vec![last(own, false)], torn, true, rebuild(false)),
            (vec![last(own, true), last(other, false)], full, true, Claim::GoOn),
            (vec![last(other, true)], full, true, rebuild(false)),
            (vec![last(other, false)], new, true, rebuild(true)),
            (vec![last(other, false)], full, false, rebuild(true)),
            (vec![last(other, true), last(own, false)], full, true, rebuild(false)),
            (vec![last(other, true), last(Uuid::custom([3; 16]), false)], full, true, rebuild(true)),
        ];
        for (last, store, has_rows, claim) in table {
            assert_eq!(decide(&last, store, has_rows), claim, "{last:?}");
        }
    }
}

//! The table `writers`: which store wrote a share's rows last. A store that did not is thrown away and made again from
//! ClickHouse, since another process has recorded differences that it does not know. Deciding is pure.

use crate::Uuid;
use crate::connection::{Connection, literal};
use crate::error::ServerError;
use aulaflow_model::share::Share;
use clickhouse::Row;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A writer that sends makes sure at least this often that no other has begun: so long, and for one insert more, an ousted
/// writer may go on.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

const TABLE: &str = "writers";

/// The writer that began last on a share that has partitions in common with ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// Who.
    pub writer: Uuid,
    /// It has sent all that it had.
    pub closed: bool,
}

/// What one writer has said of one share.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    share: String,
    writer: Uuid,
    /// When it last began, in microseconds since 1970; `None`: it only ever closed, as whoever makes tables anew does.
    began: Option<i64>,
    /// When it last closed.
    closed: Option<i64>,
}

impl Said {
    /// When it came to have the share.
    fn since(&self) -> Option<i64> {
        self.began.or(self.closed)
    }
}

/// The last writer of each share, the newest first. A close ends what its own writer began before it, and nothing else: one
/// that arrives late, after another writer has begun, makes nobody the last.
fn newest(said: Vec<Said>) -> Vec<Last> {
    let mut by_share: BTreeMap<String, Said> = BTreeMap::new();
    for one in said {
        let later = by_share.get(&one.share).is_none_or(|known| known.since() < one.since());
        if later {
            by_share.insert(one.share.clone(), one);
        }
    }
    let mut last: Vec<_> = by_share.into_values().collect();
    last.sort_by_key(|one| std::cmp::Reverse(one.since()));
    last.into_iter().map(|one| Last { writer: one.writer, closed: one.closed > one.began }).collect()
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

/// What to do, by the last writers (the newest first), our store, and whether ClickHouse has rows of the share.
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
struct SaidRow {
    share: String,
    writer: String,
    /// 0: never.
    began: i64,
    ended: i64,
}

/// The last writer of each share that has partitions in common with this one, the newest first.
pub fn last(connection: &Connection, share: Share) -> Result<Vec<Last>, ServerError> {
    let shares = match share {
        Share::All => String::new(),
        Share::Partition(_) => {
            format!("WHERE share IN ({}, {})", literal(&Share::All.to_string()), literal(&share.to_string()))
        }
    };
    let sql = format!(
        "SELECT toString(share) AS share, toString(writer) AS writer, toUnixTimestamp64Micro(maxIf(at, NOT closed)) AS began, \
         toUnixTimestamp64Micro(maxIf(at, closed)) AS ended FROM {} {shares} GROUP BY share, writer",
        connection.table(TABLE)
    );
    let known = |at: i64| (at > 0).then_some(at);
    let read = |SaidRow { share, writer, began, ended }: SaidRow| match writer.parse() {
        Ok(writer) => Ok(Said { share, writer, began: known(began), closed: known(ended) }),
        Err(_) => Err(ServerError::somebody(format!("the table {TABLE} holds {writer:?}, which is no UUID"))),
    };
    let said = connection.rows::<SaidRow>(&sql)?.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(newest(said))
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
    fn a_close_ends_what_its_writer_began() {
        let [own, other, third] = [1, 2, 3].map(|n| Uuid::custom([n; 16]));
        let said = |share: &str, writer, began: i64, closed: i64| Said {
            share: share.to_owned(),
            writer,
            began: (began > 0).then_some(began),
            closed: (closed > 0).then_some(closed),
        };
        let last = |writer, closed| Last { writer, closed };
        let all = |writer, began, closed| said("all", writer, began, closed);
        let table = [
            ("nothing", vec![], vec![]),
            ("one began", vec![all(own, 1, 0)], vec![last(own, false)]),
            ("and closed", vec![all(own, 1, 2)], vec![last(own, true)]),
            ("and began again", vec![all(own, 3, 2)], vec![last(own, false)]),
            ("another began", vec![all(own, 1, 0), all(other, 2, 0)], vec![last(other, false)]),
            ("the former one's close was late", vec![all(own, 2, 0), all(other, 1, 3)], vec![last(own, false)]),
            ("and the present one has closed", vec![all(own, 2, 4), all(other, 1, 3)], vec![last(own, true)]),
            ("before that", vec![all(own, 2, 3), all(other, 1, 4)], vec![last(own, true)]),
            // Tables were made anew: whoever says so begins nothing.
            ("nobody has it", vec![all(own, 1, 0), all(Uuid::default(), 0, 2)], vec![last(Uuid::default(), true)]),
            ("until one begins", vec![all(own, 3, 0), all(Uuid::default(), 0, 2)], vec![last(own, false)]),
            (
                "shares are each their own",
                vec![all(own, 1, 5), said("0", other, 2, 0), said("0", third, 1, 6)],
                vec![last(other, false), last(own, true)],
            ),
        ];
        for (what, mut rows, expected) in table {
            assert_eq!(newest(rows.clone()), expected, "{what}");
            rows.reverse();
            assert_eq!(newest(rows), expected, "{what}, in another order");
        }
    }

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

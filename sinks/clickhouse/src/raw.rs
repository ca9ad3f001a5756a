//! The tables that do not follow from the plan: what the log said (behaviour events, service events, dead letters), how far the
//! bridge has copied it, and what retention has removed. What their rows are, not how they get there.
//!
//! A row of the log has the day that its retention counts from (`kept_from`), the day on which it goes (`expires`), and the day
//! on which ClickHouse removes it by itself (`ttl`), where nobody did. Partitions are days of `expires`: whatever a tenant's
//! retention is, what goes on one day goes with whole partitions.

use crate::Form;
use crate::tables::{Column, Role};
use std::sync::OnceLock;

/// What the log said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Raw {
    /// `behavior`: behaviour events.
    Behavior,
    /// `service_events`: service events.
    ServiceEvents,
    /// `dead_letters`: that a record could not be used, and why; never the record.
    DeadLetters,
}

impl Raw {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Behavior, Self::ServiceEvents, Self::DeadLetters];

    /// The table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Behavior => "behavior",
            Self::ServiceEvents => "service_events",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Behavior => &tables()[0].columns,
            Self::ServiceEvents => &tables()[1].columns,
            Self::DeadLetters => &tables()[2].columns,
        }
    }

    /// The columns that analysts see: not the tenant, which is theirs, and not what retention works with.
    pub fn shown(self) -> Vec<String> {
        let shown = self.columns().iter().filter(|column| match column.role {
            Role::Key | Role::Value => column.name != "tenant",
            Role::Machinery => false,
        });
        shown.map(|column| column.name.clone()).collect()
    }
}

/// A table that does not follow from the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTable {
    /// Its name, without the database.
    pub name: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The engine with its arguments.
    pub engine: &'static str,
    /// The sorting key.
    pub order_by: &'static [&'static str],
    /// The partition key's expression.
    pub partition_by: Option<&'static str>,
    /// An index beside it.
    pub index: Option<&'static str>,
    /// When rows go by themselves.
    pub ttl: Option<&'static str>,
}

/// How far the bridge is.
pub(crate) const POSITIONS: &str = "bridge_positions";
/// What retention has removed.
pub(crate) const REMOVED: &str = "retention_log";

/// All of them; the first are those of [`Raw::ALL`], in its order.
pub fn tables() -> &'static [OwnTable] {
    static TABLES: OnceLock<Vec<OwnTable>> = OnceLock::new();
    TABLES.get_or_init(|| vec![behavior(), service_events(), dead_letters(), positions(), removed()])
}

fn columns<const N: usize>(role: Role, columns: [(&str, Form); N]) -> impl Iterator<Item = Column> {
    columns.into_iter().map(move |(name, form)| Column::new(name, form, role))
}

/// A table of the log's rows: what it says, and where and when the log took it.
fn of_log<const N: usize>(name: &'static str, own: [(&str, Form); N], order_by: &'static [&'static str]) -> OwnTable {
    let place = [("received_at", Form::Instant), ("log_partition", Form::UInt32), ("log_offset", Form::UInt64)];
    let days = [("kept_from", Form::Date), ("expires", Form::Date), ("ttl", Form::Date)];
    let own = columns(Role::Value, own);
    OwnTable {
        name,
        columns: own.chain(columns(Role::Value, place)).chain(columns(Role::Machinery, days)).collect(),
        engine: "MergeTree",
        order_by,
        partition_by: Some("expires"),
        // Where the bridge looks for what is there from an offset on, most of the table is older.
        index: Some("INDEX offsets log_offset TYPE minmax GRANULARITY 16"),
        ttl: Some("ttl"),
    }
}

fn behavior() -> OwnTable {
    let own = [
        ("tenant", Form::Name),
        ("student", Form::Uuid),
        ("occurred_at", Form::Instant),
        ("event_id", Form::Text),
        ("event_type", Form::Name),
        ("value", Form::Decimal18),
        ("context", Form::Text),
    ];
    of_log(Raw::Behavior.name(), own, &["tenant", "student", "occurred_at", "log_partition", "log_offset"])
}

fn service_events() -> OwnTable {
    let own = [
        ("tenant", Form::Name),
        ("service", Form::Name),
        ("timestamp", Form::Instant),
        ("message", Form::Text),
        ("metadata", Form::Text),
    ];
    of_log(Raw::ServiceEvents.name(), own, &["tenant", "service", "timestamp", "log_partition", "log_offset"])
}

fn dead_letters() -> OwnTable {
    let own = [
        ("tenant", Form::Name),
        ("source_topic", Form::Name),
        ("source_partition", Form::UInt32.nullable()),
        ("source_offset", Form::UInt64.nullable()),
        ("error_class", Form::Name),
        ("error", Form::Text),
        ("bytes", Form::UInt64),
        ("failed_at", Form::Instant),
    ];
    of_log(Raw::DeadLetters.name(), own, &["tenant", "source_topic", "failed_at", "log_partition", "log_offset"])
}

fn machinery<const N: usize>(
    name: &'static str,
    own: [(&str, Form); N],
    engine: &'static str,
    order_by: &'static [&'static str],
) -> OwnTable {
    let columns = columns(Role::Machinery, own).collect();
    OwnTable { name, columns, engine, order_by, partition_by: None, index: None, ttl: None }
}

fn positions() -> OwnTable {
    let own = [
        ("topic", Form::Name),
        ("partition", Form::UInt32),
        ("next", Form::UInt64),
        ("upto", Form::UInt64),
        ("writer", Form::Uuid),
        ("closed", Form::Bool),
        ("at", Form::Instant),
    ];
    machinery(POSITIONS, own, "ReplacingMergeTree(next)", &["topic", "partition"])
}

fn removed() -> OwnTable {
    let own = [
        ("at", Form::Instant),
        ("today", Form::Date),
        ("of_table", Form::Name),
        ("expires", Form::Date.nullable()),
        ("rows", Form::UInt64),
        ("bytes", Form::UInt64),
        ("id", Form::Uuid),
        ("gone", Form::UInt8),
    ];
    machinery(REMOVED, own, "ReplacingMergeTree(gone)", &["today", "of_table", "id"])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_kinds() {
        for (table, raw) in tables().iter().zip(Raw::ALL) {
            assert_eq!(table.name, raw.name());
            assert_eq!(table.order_by[0], "tenant");
            assert!(table.order_by.iter().all(|name| table.columns.iter().any(|column| column.name == *name)));
        }
        let shown = Raw::Behavior.shown();
        assert!(shown.contains(&"student".to_owned()) && shown.contains(&"log_offset".to_owned()));
        assert!(!shown.contains(&"tenant".to_owned()) && !shown.contains(&"ttl".to_owned()));
    }
}

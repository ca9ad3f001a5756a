//! The ClickHouse sink: what the dataflows show, as exact differences in ClickHouse's tables, each exactly once.
//!
//! A [`Recorder`] per share of partitions turns what workers tell into differences, in a local store, and forms blocks of them;
//! a [`Sender`] takes the blocks to ClickHouse. [`Tables`] says what the tables look like; [`migrate`] makes them and [`check`]
//! compares them. Knows nothing of dataflows and of the configuration's files: who tells, who waits before a checkpoint, and where
//! the server is, is wired together elsewhere.

mod ages;
mod backoff;
mod block;
mod check;
mod compare;
mod connection;
mod ddl;
mod error;
mod form;
mod metrics;
mod migrations;
mod outbox;
mod pseudonym;
mod queue;
mod reading;
mod rebuild;
mod recorder;
mod rows;
mod schema;
mod sender;
mod sender_metrics;
mod server;
pub mod sql;
mod status;
mod store;
mod tables;
mod unit;
mod uuid;
mod work;
mod writers;

pub use backoff::Pace;
pub use block::Block;
pub use connection::{Access, Connection, Stop, literal, quoted};
pub use error::{Next, ServerError};
pub use form::Form;
pub use metrics::{RecorderMetrics, ShareLabels};
pub use migrations::{MIGRATIONS, Migration};
pub use outbox::Outbox;
pub use pseudonym::{KeyError, PseudonymKeys};
pub use queue::{Queue, Telling};
pub use rebuild::{Rebuild, RebuildError};
pub use recorder::{CRASH_POINTS, Limits, Recorder, RecorderHandle, RecorderStart};
pub use rows::Unfit;
pub use schema::{Migrated, check, migrate};
pub use sender::{SENDER_CRASH_POINTS, Sender, SenderStart};
pub use sender_metrics::SenderMetrics;
pub use server::{Server, TablesBy, Whereabouts};
pub use status::{SinkState, SinkStatus};
pub use store::StoreError;
pub use tables::{Cadence, Column, Relation, Role, Source, Table, TableKind, Tables, TablesError};
pub use uuid::Uuid;

//! The ClickHouse sink: what the dataflows show becomes exact differences, in blocks that wait on the disk until ClickHouse has
//! them, each exactly once.
//!
//! [`Tables`] says what is kept of a plan, and what its tables look like. A [`Recorder`] per share of the partitions takes what
//! workers hand to their [`Queue`]s, and knows what it recorded last; what differs goes into [`Block`]s. The [`Outbox`] is where a
//! [`Sender`] finds them. Students have [pseudonyms](PseudonymKeys). [`migrate`] makes the tables, [`check`] compares them with the
//! plan's. A [`Bridge`] copies what the log said, and a [`Keeper`] removes it when its [retention](RetentionPolicy) is over. Knows nothing of dataflows and of the configuration's files: who hands changes over, who asks before a checkpoint is made,
//! and where the server is, is wired together elsewhere.
//!
//! # What it promises
//!
//! - What the differences of a table up to a clock add up to is what was shown at that clock: each row once. Of what is recorded
//!   once a day that holds at midnights (UTC).
//! - The newest row per key in the table of the present is the same, as of the last difference.
//! - Both hold whatever ends the process, and whatever it starts again from, if each block is inserted once, in order. A block
//!   never changes, and its number is never given to another one.
//! - A difference is never recorded at an earlier clock than the change was shown at. What a restart finds is recorded at the clock
//!   at which it is found.
//!
//! # How it is used
//!
//! [`Recorder::start`], then perhaps [`Recorder::rebuild`], then [`Recorder::based`]. The engine is given the handle as a
//! `Participant` of its checkpoints, and each worker's [`Queue`] as a sink behind the serving store.
//!
//! At the end: the engine with its last checkpoint, then [`Recorder::close`]. Where [`RecorderHandle::is_full`], the engine would
//! wait for ClickHouse: [`RecorderHandle::release`] lets it go, and the next start compares.

pub mod accepted;
mod ages;
mod answers;
mod backoff;
mod block;
mod bridge;
mod check;
mod compare;
mod connection;
mod ddl;
mod error;
mod form;
mod grants;
mod keeper;
pub mod lake;
mod metrics;
mod migrations;
mod outbox;
mod pseudonym;
mod queue;
mod raw;
mod reader;
mod reading;
mod rebuild;
mod recorder;
mod retention;
mod rows;
mod schema;
mod sender;
mod sender_metrics;
mod server;
mod session;
pub mod sql;
mod status;
mod stop;
mod store;
mod tables;
mod unit;
mod uuid;
mod views;
mod work;
mod writers;

pub use answers::Answered;
pub use backoff::Pace;
pub use block::Block;
pub use bridge::{BRIDGE_CRASH_POINTS, Bridge, BridgeLimits, BridgeMetrics, BridgeStart, BridgeStatus, Making};
pub use connection::{Access, Connection, literal, quoted};
pub use error::{Next, ServerError};
pub use form::Form;
pub use grants::{Grant, role};
pub use keeper::{Keeper, KeeperStart, Removed, RetentionMetrics, TableLabels, remove_expired};
pub use metrics::{RecorderMetrics, ShareLabels};
pub use migrations::{MIGRATIONS, Migration};
pub use outbox::Outbox;
pub use pseudonym::{KeyError, PseudonymKeys};
pub use queue::Queue;
pub use raw::{OwnTable, Raw};
pub use reader::{ReadError, ReadLimits, Reader, Rows};
pub use rebuild::{Rebuild, RebuildError};
pub use recorder::{CRASH_POINTS, Limits, Recorder, RecorderHandle, RecorderStart};
pub use retention::{Clocks, Day, Kept, KeptDays, MaybeNow, Now, RetentionPolicy, day_of};
pub use rows::Unfit;
pub use schema::{Migrated, check, migrate};
pub use sender::{SENDER_CRASH_POINTS, Sender, SenderStart};
pub use sender_metrics::SenderMetrics;
pub use server::{Server, TablesBy, Whereabouts};
pub use status::{SinkState, SinkStatus};
pub use stop::Stop;
pub use store::StoreError;
pub use tables::{Cadence, Column, Relation, Role, Source, Table, TableKind, Tables, TablesError};
pub use uuid::Uuid;
pub use views::{Parameter, View, analysts, check_views, migrate_views, views};

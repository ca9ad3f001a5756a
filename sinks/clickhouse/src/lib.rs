//! The ClickHouse sink, as far as it needs no network: what the dataflows show becomes exact differences, in blocks that wait on
//! the disk to be sent.
//!
//! [`Tables`] says what is kept of a plan, and what its tables look like. A [`Recorder`] per share of the partitions takes what
//! workers hand to their [`Queue`]s, and knows what it recorded last; what differs goes into [`Block`]s. The [`Outbox`] is where a
//! sender finds them. Students have [pseudonyms](PseudonymKeys). Knows nothing of HTTP and SQL, nor of dataflows: who hands changes
//! over, and who asks before a checkpoint is made, is wired together elsewhere.
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
//! [`Recorder::start`], then perhaps [`Recorder::rebuild`], then [`Recorder::based`]. The engine's gate calls
//! [`RecorderHandle::resume`], [`RecorderHandle::caught_up`] and [`RecorderHandle::reach`]. A worker's outlet, around one that
//! shows batches in the serving store:
//!
//! ```text
//! apply(batch):        let telling = queue.begin(&batch); outlet.apply(batch); queue.done(telling)
//! cohorts(batch):      let telling = queue.begin_cohorts(&batch); outlet.cohorts(batch); queue.done(telling)
//! shown_again(batch):  outlet.shown_again(batch)            cohorts_loaded(batch): outlet.cohorts_loaded(batch)
//! advance(complete):   outlet.advance(complete); queue.advance(complete)
//! ```
//!
//! At the end: the engine with its last checkpoint, then [`Recorder::close`]. Where [`RecorderHandle::is_full`], the engine would
//! wait for ClickHouse: [`RecorderHandle::release`] lets it go, and the next start compares.

mod block;
mod compare;
mod form;
mod metrics;
mod outbox;
mod pseudonym;
mod queue;
mod rebuild;
mod recorder;
mod rows;
mod store;
mod tables;
mod unit;
mod uuid;
mod work;

pub use block::Block;
pub use form::Form;
pub use metrics::{RecorderMetrics, ShareLabels};
pub use outbox::Outbox;
pub use pseudonym::{KeyError, PseudonymKeys};
pub use queue::{Queue, Telling};
pub use rebuild::{Rebuild, RebuildError};
pub use recorder::{CRASH_POINTS, Limits, Recorder, RecorderHandle, RecorderStart};
pub use rows::Unfit;
pub use store::StoreError;
pub use tables::{Cadence, Column, Relation, Role, Source, Table, TableKind, Tables, TablesError};
pub use uuid::Uuid;

//! Everything of the ClickHouse sink that needs no network.
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

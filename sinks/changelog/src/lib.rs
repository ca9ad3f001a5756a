//! The changelog `aula.profiles.v1`: what the serving store shows, on the log, for whoever keeps a copy of it.
//!
//! [`Changelog`] writes it: a [`Notes`] per worker remembers which students and cohorts changed, and a thread writes what
//! they are now, and then how far that goes. [`Replica`] is the other end: it follows the changelog into stores of its own
//! and serves reads from them. What a record looks like is in [`record`]. Knows nothing of dataflows and of HTTP: who notes
//! changes, and who asks before a checkpoint is made, is wired together elsewhere.
//!
//! # What it promises
//!
//! - A record holds a whole profile. A student without a row has a record without a value, which removes the earlier ones.
//! - A record of kind `watermark` says: everything up to this clock is before here, in this partition.
//! - A mark (the token of [`Writer`] in a checkpoint) is where a writer that goes on from it must look again: what lies behind
//!   it may be newer than what the writer knows.

mod metrics;
mod notes;
mod position;
pub mod record;
mod replica;
mod writer;

pub use metrics::{ReplicaMetrics, WriterMetrics};
pub use notes::Notes;
pub use replica::{Replica, ReplicaPartition, ReplicaStart, ReplicaStatus};
pub use writer::{CRASH_POINTS, Changelog, ChangelogStart, Writer};

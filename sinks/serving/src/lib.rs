//! The serving store: every student's profile in memory, for readers on any thread while the dataflow's workers write.
//!
//! [`store`] gives one [`WriteHalf`] per worker, which is a sink, and a [`ReadHalf`], a handle that is cheap to clone.
//! No guard of the map ever leaves this crate: a reader gets an `Arc` of a profile that never changes, so that nothing
//! it does with it, not even an `.await`, holds a writer up. Knows nothing of HTTP, tokens or dataflows.
//!
//! # As of when
//!
//! Each worker publishes its frontier; `F` is the least of them. A read takes `F` *first* and the profile after it, so
//! the profile holds at least everything before `F`, whole per student: it is true as of `max(F, changed_at)`.
//!
//! One exception: after a pane boundary a worker may release a big expiry in chunks. Until it is through, a profile
//! that has not changed since the boundary may still hold panes that have left its window. It is true as of just
//! before the boundary, and says so (see `IdempotentSink::expiring`).
//!
//! Another one: a store that is filled from a checkpoint is behind what was accepted since. While it is held
//! ([`ReadHalf::hold`]), no profile claims to be true as of a later instant than the checkpoint, whatever else it holds already.
//!
//! # Cohorts
//!
//! The cohorts of a profile's grades are looked up when it is read, after the profile: they too hold at least
//! everything before `F`, and within one read a cohort is the same wherever it shows. A change of the student's own that
//! is newer than `F` may be visible a moment before its cohort says so, or after.

//!
//! # Past periods
//!
//! Grades may be let go ([`ReadHalf::let_go`]): they are not shown any more, and the profile says of which periods it has others.
//! A change that is told of one brings it back. That is no change of the row: nobody else is told.

mod clock;
mod cohorts;
mod derived;
mod key;
mod letting_go;
mod metrics;
mod profile;
mod read;
mod render;
pub mod sizes;
mod stamp;
mod stores;
mod view;
mod write;

pub use cohorts::{CohortEntry, CohortQuery};
pub use derived::{CohortLookup, DerivedRow, DerivedView};
pub use letting_go::LettingGo;
pub use profile::GradeEntry;
pub use read::{ProfileRead, ReadHalf};
pub use stores::Stores;
pub use write::WriteHalf;

use aulaflow_model::change::ViewSchema;
use clock::{Hold, WorkerClock};
use cohorts::Cohorts;
use dashmap::DashMap;
use key::StudentKey;
use letting_go::Inbox;
use profile::Profile;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use view::Views;

/// Locks that the map is cut into. Many more than threads, so that two of them seldom meet in one.
const SHARDS: usize = 1024;

/// What both halves share.
pub(crate) struct Shared {
    profiles: DashMap<StudentKey, Arc<Profile>, foldhash::fast::RandomState>,
    /// Kept beside the map, whose own `len` takes every lock.
    students: AtomicUsize,
    workers: Box<[WorkerClock]>,
    hold: Hold,
    schemas: Arc<[ViewSchema]>,
    views: Views,
    cohorts: Cohorts,
    /// By worker.
    letting_go: Box<[Inbox]>,
    /// Grades that were let go.
    let_go: AtomicU64,
}

/// The room that is made. Shards fill unevenly, as a binomial distribution does: four deviations above the mean, hardly one
/// has to grow.
fn capacity(students_expected: usize) -> usize {
    let mean = students_expected / SHARDS + 1;
    (mean + 4 * mean.isqrt()).saturating_mul(SHARDS)
}

/// Makes a store for the plan's served views (a view's place is its `ViewIndex`) and `workers` writers. `derived` are
/// the views without a window: their rows are computed when a profile is read, after those of the others.
///
/// Room for `students_expected` is made at once: growing a shard's table later stops the readers of that shard for as
/// long as it takes to move its entries.
pub fn store(
    schemas: Arc<[ViewSchema]>,
    derived: Vec<DerivedView>,
    students_expected: usize,
    workers: usize,
) -> (Vec<WriteHalf>, ReadHalf) {
    // The hash is seeded: ids come from outside, and nobody may choose them so that they collide.
    let hasher = foldhash::fast::RandomState::default();
    let capacity = capacity(students_expected);
    let shared = Arc::new(Shared {
        profiles: DashMap::with_capacity_and_hasher_and_shard_amount(capacity, hasher, SHARDS),
        students: AtomicUsize::new(0),
        workers: (0..workers.max(1)).map(|_| WorkerClock::default()).collect(),
        hold: Hold::default(),
        views: Views::new(&schemas, derived),
        cohorts: Cohorts::new(),
        letting_go: (0..workers.max(1)).map(|_| Inbox::default()).collect(),
        let_go: AtomicU64::new(0),
        schemas,
    });
    let writers = (0..workers.max(1)).map(|worker| WriteHalf::new(Arc::clone(&shared), worker)).collect();
    (writers, ReadHalf::new(shared))
}

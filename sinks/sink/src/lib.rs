//! Where differences go. A [`Sink`] takes the changes that one dataflow worker emits and makes them visible outside;
//! [`conformance`] is the suite that every sink's tests run. Knows nothing of any store, protocol or dataflow.

pub mod conformance;

use aulaflow_model::change::{ChangeBatch, CohortBatch};
use aulaflow_model::instant::ClockTime;
use std::time::Duration;

/// A worker's end of a sink. There is one per worker; a student's changes always come through the same one, in the
/// order of their times.
///
/// A batch holds the *final* state of every changed row, so applying is overwriting by key, and `None` is removal.
pub trait Sink: Send {
    /// What applying a batch again does. The caller decides by it where to resume after a crash.
    fn guarantee(&self) -> Guarantee;

    /// Applies a batch: each student's changes become visible whole or not at all.
    ///
    /// The caller passes batches in the order of their times and does what the outcome says. The implementer may
    /// buffer, but must not block for longer than a bounded time: it answers [`Outcome::Hold`] instead.
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome;

    /// Applies changed cohorts: each becomes visible whole. Otherwise as [`Sink::apply`].
    ///
    /// A cohort's changes always come through the same sink, in the order of their times, and all of a time before the
    /// frontier passes it. Batches of students and of cohorts at one time come in any order.
    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome;

    /// Says that everything of this worker before `frontier` has been applied. It only grows; it is called as well
    /// when nothing changed, since the passing of time alone makes the views true as of a later instant.
    fn advance(&mut self, frontier: ClockTime);
}

/// What applying the same batches again does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Rows are overwritten by key. Replaying batches in order, from any earlier one on, ends in the same state.
    IdempotentByKey,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an outcome that is not looked at loses a batch"]
pub enum Outcome {
    /// Go on with the next batch: this one is applied.
    Applied,
    /// Pass the same batch again, not before this long: nothing of it was taken. Hold the dataflow back meanwhile.
    Hold(Duration),
    /// End the process: the batch contradicts what the sink was started with. Trying again cannot help.
    Stop(String),
}

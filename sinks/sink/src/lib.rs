//! Where updates go. The dataflow emits exact updates ([`update`]); a [`Fanout`] hands each worker's to all sinks of that
//! worker, of which there are two kinds:
//!
//! - an [`IdempotentSink`] makes a row visible at once and overwrites by key: emitting again changes nothing;
//! - a transactional sink is committed with the checkpoint: its [`TransactionWriter`]s collect what each worker emits, and
//!   its [`Participant`] seals, commits or discards it.
//!
//! Any sink may also hold a checkpoint up until it has what the checkpoint covers: it is a [`Participant`], too.
//! [`conformance`] holds the suites that the tests of every sink run. Knows nothing of any store, protocol or dataflow.

pub mod conformance;
mod fanout;
mod participant;
pub mod update;

use aulaflow_model::instant::{ClockTime, Millis};
pub use fanout::{Fanout, Part};
pub use participant::{Participant, Participants, Token};
use std::time::Duration;
use update::{ChangeBatch, CohortBatch};

/// A worker's end of a sink that overwrites by key. There is one per worker; a student's updates always come through the
/// same one, in the order of their times.
///
/// Replaying batches in order, from any earlier one on, ends in the same state: only `after` counts, and `None` is removal.
/// So a restart may emit again what was emitted before.
pub trait IdempotentSink: Send {
    /// A batch of `time` is about to be handed to the sinks of this worker, one after the other. What a sink must know before
    /// readers of another one can see the batch, it learns here.
    fn begin(&mut self, _time: ClockTime) {}

    /// Applies a batch: each student's updates become visible whole or not at all.
    ///
    /// The caller passes batches in the order of their times and does what the outcome says. The implementer may
    /// buffer, but must not block for longer than a bounded time: it answers [`Outcome::Hold`] instead.
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome;

    /// Applies changed cohorts: each becomes visible whole. Otherwise as [`IdempotentSink::apply`].
    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome;

    /// Rows that are as the checkpoint remembers them, while it is loaded. Nothing changed: they come since a sink in memory
    /// starts empty. One whose readers outlive the process may leave them out.
    fn snapshot(&mut self, batch: &ChangeBatch) -> Outcome {
        self.apply(batch)
    }

    /// Cohorts while the checkpoint is loaded, as they add up: intermediate sums come as well. A cohort that differs from what
    /// was emitted before has a grade that does, and that comes by [`IdempotentSink::apply`].
    fn snapshot_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        self.apply_cohorts(batch)
    }

    /// While `Some(boundary)`: students that have not changed since the clock passed `boundary` may still hold panes that left
    /// their window at it; what is emitted of them is true as of just before it. Called before [`IdempotentSink::advance`].
    fn expiring(&mut self, _boundary: Option<Millis>) {}

    /// Everything of this worker before `frontier` has been applied. It only grows; it is called as well when nothing
    /// changed, since the passing of time alone makes the views true as of a later instant.
    fn advance(&mut self, frontier: ClockTime);
}

/// A worker's end of a transactional sink. There is one per worker; a student's updates always come through the same one, in
/// the order of their times. What becomes of them is decided by the sink's [`Participant`].
///
/// The updates of a key are a chain: `before` is the `after` of the update before it. After a restart the chain goes on from
/// the checkpoint. There is one exception: where a changed configuration or newer code computes a row otherwise, the row of
/// the earlier process is not known to the dataflow, and its `before` is `None`.
pub trait TransactionWriter: Send {
    /// Takes a batch into the open transaction. The outcome is as of [`IdempotentSink::apply`]: nothing of a batch is taken
    /// where it says [`Outcome::Hold`].
    fn write(&mut self, batch: &ChangeBatch) -> Outcome;

    /// Takes changed cohorts into the open transaction.
    fn write_cohorts(&mut self, batch: &CohortBatch) -> Outcome;

    /// Rows that are as the checkpoint remembers them, while it is loaded. A sink that continues what it committed leaves them
    /// out; one that has to begin anew finds here what there is.
    fn snapshot(&mut self, _batch: &ChangeBatch) -> Outcome {
        Outcome::Applied
    }

    /// As [`IdempotentSink::snapshot_cohorts`].
    fn snapshot_cohorts(&mut self, _batch: &CohortBatch) -> Outcome {
        Outcome::Applied
    }

    /// Everything of this worker before `frontier` has been written.
    fn advance(&mut self, frontier: ClockTime);
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

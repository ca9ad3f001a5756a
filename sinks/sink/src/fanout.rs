//! One worker's sinks, shared by the operators that emit: their frontier is that of the slowest operator.

use crate::update::{ChangeBatch, CohortBatch};
use crate::{IdempotentSink, Outcome, TransactionWriter};
use aulaflow_model::instant::{ClockTime, Millis};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest pause that a sink may ask for at once; it can ask again.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The sinks of one worker, in the order in which they are called.
///
/// The order matters to whoever looks from one sink at another: the changelog reads the serving store when it is told what
/// changed, and stands behind it.
#[derive(Default)]
pub struct Fanout {
    sinks: Vec<WorkerSink>,
}

/// A worker's end of a sink.
enum WorkerSink {
    Idempotent(Box<dyn IdempotentSink>),
    Transactional(Box<dyn TransactionWriter>),
}

impl Fanout {
    /// A worker without sinks.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more sink, behind the others.
    #[must_use]
    pub fn with(mut self, sink: impl IdempotentSink + 'static) -> Self {
        self.sinks.push(WorkerSink::Idempotent(Box::new(sink)));
        self
    }

    /// With one more transactional sink, behind the others.
    #[must_use]
    pub fn with_transactional(mut self, writer: impl TransactionWriter + 'static) -> Self {
        self.sinks.push(WorkerSink::Transactional(Box::new(writer)));
        self
    }

    /// These sinks, and then the others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.sinks.extend(others.sinks);
        self
    }

    /// A share for each of the worker's operators that emit.
    pub fn split<const OPERATORS: usize>(self) -> [Part; OPERATORS] {
        let inner = Inner { sinks: self.sinks, frontiers: vec![None; OPERATORS], reported: None };
        let inner = Arc::new(Mutex::new(inner));
        std::array::from_fn(|place| Part { inner: Arc::clone(&inner), place })
    }
}

/// The sinks and how far the operators are.
struct Inner {
    sinks: Vec<WorkerSink>,
    frontiers: Vec<Option<ClockTime>>,
    reported: Option<ClockTime>,
}

/// One operator's share of a worker's sinks.
///
/// The operators of a worker run on one thread, so the lock is never waited for: it is there because a sink is `Send`.
pub struct Part {
    inner: Arc<Mutex<Inner>>,
    place: usize,
}

impl Part {
    /// Emits students' updates to every sink.
    pub fn apply(&self, batch: &ChangeBatch) {
        self.each(batch.time, |sink| sink.apply(batch), |writer| writer.write(batch));
    }

    /// Emits rows that are as the checkpoint remembers them.
    pub fn snapshot(&self, batch: &ChangeBatch) {
        self.each(batch.time, |sink| sink.snapshot(batch), |writer| writer.snapshot(batch));
    }

    /// Emits cohorts' updates.
    pub fn apply_cohorts(&self, batch: &CohortBatch) {
        self.each(batch.time, |sink| sink.apply_cohorts(batch), |writer| writer.write_cohorts(batch));
    }

    /// Emits cohorts while the checkpoint is loaded.
    pub fn snapshot_cohorts(&self, batch: &CohortBatch) {
        self.each(batch.time, |sink| sink.snapshot_cohorts(batch), |writer| writer.snapshot_cohorts(batch));
    }

    /// Passed on at once: a boundary that is known early only makes readers more careful.
    pub fn expiring(&self, boundary: Option<Millis>) {
        for sink in &mut self.lock().sinks {
            match sink {
                WorkerSink::Idempotent(sink) => sink.expiring(boundary),
                WorkerSink::Transactional(_) => {}
            }
        }
    }

    /// This operator has emitted everything before `frontier`. The sinks hear of it once all operators have.
    pub fn advance(&self, frontier: ClockTime) {
        let mut inner = self.lock();
        inner.frontiers[self.place] = Some(frontier);
        let all = inner.frontiers.iter().min().copied().flatten();
        if let Some(all) = all.filter(|_| all > inner.reported) {
            inner.reported = Some(all);
            for sink in &mut inner.sinks {
                match sink {
                    WorkerSink::Idempotent(sink) => sink.advance(all),
                    WorkerSink::Transactional(writer) => writer.advance(all),
                }
            }
        }
    }

    fn each(
        &self,
        time: ClockTime,
        mut idempotent: impl FnMut(&mut dyn IdempotentSink) -> Outcome,
        mut transactional: impl FnMut(&mut dyn TransactionWriter) -> Outcome,
    ) {
        let mut inner = self.lock();
        for sink in &mut inner.sinks {
            if let WorkerSink::Idempotent(sink) = sink {
                sink.begin(time);
            }
        }
        for sink in &mut inner.sinks {
            match sink {
                WorkerSink::Idempotent(sink) => until_applied(|| idempotent(sink.as_mut())),
                WorkerSink::Transactional(writer) => until_applied(|| transactional(writer.as_mut())),
            }
        }
    }

    /// A sink that panicked ends the process, and with it the worker whose lock this is.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands a batch over until the sink has taken it: that holds the dataflow back.
fn until_applied(mut apply: impl FnMut() -> Outcome) {
    loop {
        match apply() {
            Outcome::Applied => return,
            Outcome::Hold(pause) => std::thread::sleep(pause.min(HOLD_MAX)),
            // Going on without the batch would show wrong rows. The worker's panic ends the process.
            Outcome::Stop(reason) => panic!("a sink refuses a batch: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sink was called with, in order.
    type Calls = Arc<Mutex<Vec<String>>>;

    struct Noted {
        name: &'static str,
        calls: Calls,
        /// How often a batch is held before it is taken.
        holds: usize,
    }

    impl Noted {
        fn note(&self, call: &str) {
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{} {call}", self.name));
        }
    }

    impl IdempotentSink for Noted {
        fn begin(&mut self, time: ClockTime) {
            self.note(&format!("begins {}", time.0));
        }
        fn apply(&mut self, _: &ChangeBatch) -> Outcome {
            self.note("applies");
            if self.holds > 0 {
                self.holds -= 1;
                return Outcome::Hold(Duration::ZERO);
            }
            Outcome::Applied
        }
        fn apply_cohorts(&mut self, _: &CohortBatch) -> Outcome {
            Outcome::Applied
        }
        fn advance(&mut self, frontier: ClockTime) {
            self.note(&format!("advances to {}", frontier.0));
        }
    }

    fn calls(all: &Calls) -> Vec<String> {
        std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[test]
    fn the_frontier_is_that_of_the_slowest_operator() {
        let all = Calls::default();
        let parts = Fanout::new().with(Noted { name: "store", calls: Arc::clone(&all), holds: 0 }).split::<3>();
        parts[0].advance(ClockTime(1));
        parts[0].advance(ClockTime(2));
        parts[1].advance(ClockTime(1));
        assert!(calls(&all).is_empty());
        parts[2].advance(ClockTime(1));
        parts[1].advance(ClockTime(3));
        parts[2].advance(ClockTime(2));
        assert_eq!(calls(&all), ["store advances to 1", "store advances to 2"]);
        parts[2].advance(ClockTime(4));
        assert!(calls(&all).is_empty());
        parts[0].advance(ClockTime(3));
        assert_eq!(calls(&all), ["store advances to 3"]);
    }

    #[test]
    fn every_sink_learns_of_a_batch_before_any_sees_it_and_one_that_holds_gets_it_again() {
        let all = Calls::default();
        let sink = |name, holds| Noted { name, calls: Arc::clone(&all), holds };
        let parts = Fanout::new().with(sink("store", 0)).with(sink("changelog", 1)).split::<1>();
        parts[0].apply(&ChangeBatch { time: ClockTime(7), changes: Vec::new() });
        let seen = calls(&all);
        let expected =
            ["store begins 7", "changelog begins 7", "store applies", "changelog applies", "changelog applies"];
        assert_eq!(seen, expected);
    }
}

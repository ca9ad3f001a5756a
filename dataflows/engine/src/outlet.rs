//! One worker's outlet, shared by the operators that hand changes to it: profiles and cohorts. An epoch is reported as
//! complete once both have handed over theirs, whichever comes last.

use crate::Outlet;
use aulaflow_model::change::{ChangeBatch, CohortBatch};
use aulaflow_model::instant::{ClockTime, Millis};
use parking_lot::Mutex;
use std::sync::Arc;

/// The outlet and how far its operators are.
struct Inner {
    outlet: Box<dyn Outlet>,
    complete: [Option<ClockTime>; 2],
    reported: Option<ClockTime>,
}

/// One operator's share of an outlet.
///
/// The operators of a worker run on one thread, so the lock is never waited for: it is there because an outlet is `Send`.
pub struct Share {
    inner: Arc<Mutex<Inner>>,
    place: usize,
}

/// An outlet for two operators.
pub fn share(outlet: Box<dyn Outlet>) -> (Share, Share) {
    let inner = Arc::new(Mutex::new(Inner { outlet, complete: [None; 2], reported: None }));
    (Share { inner: Arc::clone(&inner), place: 0 }, Share { inner, place: 1 })
}

impl Outlet for Share {
    fn apply(&mut self, batch: ChangeBatch) {
        self.inner.lock().outlet.apply(batch);
    }

    fn cohorts(&mut self, batch: CohortBatch) {
        self.inner.lock().outlet.cohorts(batch);
    }

    fn shown_again(&mut self, batch: ChangeBatch) {
        self.inner.lock().outlet.shown_again(batch);
    }

    fn cohorts_loaded(&mut self, batch: CohortBatch) {
        self.inner.lock().outlet.cohorts_loaded(batch);
    }

    /// Passed on at once: a boundary that is known early only makes readers more careful.
    fn expiring(&mut self, boundary: Option<Millis>) {
        self.inner.lock().outlet.expiring(boundary);
    }

    fn advance(&mut self, complete: ClockTime) {
        let mut inner = self.inner.lock();
        inner.complete[self.place] = Some(complete);
        let both = inner.complete.iter().min().copied().flatten();
        if both > inner.reported {
            inner.reported = both;
            if let Some(both) = both {
                inner.outlet.advance(both);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Arc<Mutex<Vec<u64>>>);

    impl Outlet for Told {
        fn apply(&mut self, _: ChangeBatch) {}
        fn cohorts(&mut self, _: CohortBatch) {}
        fn expiring(&mut self, _: Option<Millis>) {}
        fn advance(&mut self, complete: ClockTime) {
            self.0.lock().push(complete.0);
        }
    }

    #[test]
    fn an_epoch_is_complete_when_both_are_through() {
        let told = Told::default();
        let seen = Arc::clone(&told.0);
        let (mut profiles, mut cohorts) = share(Box::new(told));
        profiles.advance(ClockTime(1));
        profiles.advance(ClockTime(2));
        assert!(seen.lock().is_empty());
        cohorts.advance(ClockTime(1));
        cohorts.advance(ClockTime(2));
        cohorts.advance(ClockTime(3));
        assert_eq!(*seen.lock(), [1, 2]);
        profiles.advance(ClockTime(3));
        assert_eq!(*seen.lock(), [1, 2, 3]);
    }
}

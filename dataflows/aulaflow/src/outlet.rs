//! The bridge from the dataflows to the serving store: one worker's outlet is one write half.

use aulaflow_engine::Outlet;
use aulaflow_model::change::{ChangeBatch, CohortBatch};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_serving::WriteHalf;
use aulaflow_sink::{Outcome, Sink};

/// The longest pause that a sink may ask for at once; it can ask again.
const HOLD_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// A worker's changes into the serving store.
pub struct ServingOutlet(WriteHalf);

impl ServingOutlet {
    /// An outlet for each write half.
    pub fn all(halves: Vec<WriteHalf>) -> Vec<Box<dyn Outlet>> {
        halves.into_iter().map(|half| Box::new(Self(half)) as Box<dyn Outlet>).collect()
    }
}

/// Hands a batch over until the sink has taken it.
fn until_applied(mut apply: impl FnMut() -> Outcome) {
    loop {
        match apply() {
            Outcome::Applied => return,
            Outcome::Hold(pause) => std::thread::sleep(pause.min(HOLD_MAX)),
            // The store cannot show what the dataflows say: going on would serve wrong profiles. The worker's
            // panic ends the process (see `crash`).
            Outcome::Stop(reason) => panic!("the serving store refuses a batch: {reason}"),
        }
    }
}

impl Outlet for ServingOutlet {
    fn apply(&mut self, batch: ChangeBatch) {
        until_applied(|| self.0.apply(&batch));
    }

    fn cohorts(&mut self, batch: CohortBatch) {
        until_applied(|| self.0.apply_cohorts(&batch));
    }

    fn expiring(&mut self, boundary: Option<Millis>) {
        self.0.expiring(boundary);
    }

    fn advance(&mut self, complete: ClockTime) {
        // A sink's frontier is the first time that is not complete.
        self.0.advance(ClockTime(complete.0.saturating_add(1)));
    }
}

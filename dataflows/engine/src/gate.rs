//! What a checkpoint waits for: sinks outside the process. What such a sink does not hold when a checkpoint is made is
//! never sent again, since a restart goes on from there.

use aulaflow_model::instant::ClockTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A sink outside the process, as checkpoints see it. Calls come from threads of the engine.
pub trait Gate: Send + Sync {
    /// At the start, before anything is loaded: the mark that the checkpoint keeps, if it has one. Must not block.
    fn resume(&self, mark: Option<&[u8]>);

    /// The state is loaded: what is shown is whole, as of the checkpoint.
    fn loaded(&self);

    /// The log was read to where it ended at the start: what is shown is at least as new as what a crashed engine showed.
    fn caught_up(&self);

    /// Waits until the sink durably holds everything up to `time`, for `timeout` at most. The answer is a mark that
    /// [`Gate::resume`] gets where a restart goes on from this checkpoint; the error says why not, and is tried again.
    fn reach(&self, time: ClockTime, timeout: Duration) -> Result<Vec<u8>, String>;
}

/// How long one try waits for a sink.
const REACH_WAIT: Duration = Duration::from_secs(5);

/// All gates, by name.
#[derive(Clone, Default)]
pub struct Gates(Arc<[(String, Arc<dyn Gate>)]>);

impl Gates {
    /// Gates with their names, which their marks are kept under.
    pub fn new(gates: Vec<(String, Arc<dyn Gate>)>) -> Self {
        Self(gates.into())
    }

    /// Gives every gate its mark.
    pub fn resume(&self, marks: &BTreeMap<String, Vec<u8>>) {
        self.0.iter().for_each(|(name, gate)| gate.resume(marks.get(name).map(Vec::as_slice)));
    }

    /// The state is loaded.
    pub fn loaded(&self) {
        self.0.iter().for_each(|(_, gate)| gate.loaded());
    }

    /// The log was read to where it ended at the start.
    pub fn caught_up(&self) {
        self.0.iter().for_each(|(_, gate)| gate.caught_up());
    }

    /// Waits for all of them; their marks.
    pub fn reach(&self, time: u64) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let one = |(name, gate): &(String, Arc<dyn Gate>)| {
            let mark = gate.reach(ClockTime(time), REACH_WAIT).map_err(|error| format!("{name}: {error}"))?;
            Ok((name.clone(), mark))
        };
        self.0.iter().map(one).collect()
    }
}

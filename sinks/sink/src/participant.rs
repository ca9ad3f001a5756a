//! What takes part in a checkpoint: sinks whose readers outlive the process.

use aulaflow_model::instant::ClockTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a participant needs in order to go on from a checkpoint: bytes that it alone understands. The checkpoint keeps them.
pub type Token = Vec<u8>;

/// A sink as checkpoints see it. Calls come from threads of the engine, one at a time, in this order:
/// `restore`, `loaded`, `caught_up`, and then `prepare` and `commit` for each checkpoint.
///
/// A checkpoint counts once its manifest is durable; from then on a restart goes on from it, and nothing that it covers is
/// emitted again. So what `prepare` has accepted must survive a crash, and what a transactional sink has prepared without
/// a commit must be discarded by `restore` where its token does not cover it: it will be emitted again.
pub trait Participant: Send + Sync {
    /// At the start, before anything is loaded: the token of the checkpoint that the engine goes on from, if it has one.
    /// Must not block.
    fn restore(&self, token: Option<&[u8]>);

    /// The checkpoint is loaded: what was emitted is whole, as of the checkpoint.
    fn loaded(&self) {}

    /// The log was read to where it ended at the start: what was emitted is at least as new as what a crashed engine emitted.
    fn caught_up(&self) {}

    /// Makes everything up to `barrier` durable, and no more than `timeout` is waited for it. All workers have written what
    /// belongs to it before. The error says why it cannot be; then it is tried again, with the same barrier or a later one.
    fn prepare(&self, barrier: ClockTime, timeout: Duration) -> Result<Token, String>;

    /// The checkpoint that keeps `token` counts. It may be called again for the token that `restore` got: the process
    /// may have ended before the first call. Must not block.
    fn commit(&self, _token: &[u8]) {}
}

/// How long one try waits for a participant.
const PREPARE_WAIT: Duration = Duration::from_secs(5);

/// All participants, by the names under which a checkpoint keeps their tokens.
#[derive(Clone, Default)]
pub struct Participants(Arc<[(String, Arc<dyn Participant>)]>);

impl Participants {
    /// Participants with their names.
    pub fn new(participants: Vec<(String, Arc<dyn Participant>)>) -> Self {
        Self(participants.into())
    }

    /// Gives every participant its token, and commits it: the checkpoint that holds it counts.
    pub fn restore(&self, tokens: &BTreeMap<String, Token>) {
        self.0.iter().for_each(|(name, participant)| participant.restore(tokens.get(name).map(Vec::as_slice)));
        self.commit(tokens);
    }

    /// The checkpoint is loaded.
    pub fn loaded(&self) {
        self.0.iter().for_each(|(_, participant)| participant.loaded());
    }

    /// The log was read to where it ended at the start.
    pub fn caught_up(&self) {
        self.0.iter().for_each(|(_, participant)| participant.caught_up());
    }

    /// Prepares all of them; their tokens.
    pub fn prepare(&self, barrier: ClockTime) -> Result<BTreeMap<String, Token>, String> {
        let one = |(name, participant): &(String, Arc<dyn Participant>)| {
            let token = participant.prepare(barrier, PREPARE_WAIT).map_err(|error| format!("{name}: {error}"))?;
            Ok((name.clone(), token))
        };
        self.0.iter().map(one).collect()
    }

    /// The checkpoint that holds these tokens counts.
    pub fn commit(&self, tokens: &BTreeMap<String, Token>) {
        for (name, participant) in self.0.iter() {
            if let Some(token) = tokens.get(name) {
                participant.commit(token);
            }
        }
    }
}

//! Removes old behaviour and service events from the log, once an hour. Evaluations and tenants stay: the
//! views are made from all of them.

use crate::tenant_records::now;
use anyhow::Result;
use aulaflow_log::Log;
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(3_600);

/// The running task; it ends when this is dropped, after the round under way.
pub struct Retention(#[allow(dead_code, reason = "dropping it is the sign to end")] Sender<()>);

impl Retention {
    /// Starts on a thread of its own: removing files can take the disk a while.
    pub fn start(log: Arc<dyn Log>, keep: Duration) -> Result<Self> {
        let (ends, end) = channel();
        let thread = std::thread::Builder::new().name("aulaflow-retention".to_owned());
        thread.spawn(move || {
            while end.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                round(log.as_ref(), keep);
            }
        })?;
        Ok(Self(ends))
    }
}

fn round(log: &dyn Log, keep: Duration) {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let before = Millis(now().0.saturating_sub(keep_ms));
    for source in topic::TOPICS.iter().filter(|topic| topic.expires) {
        let letters = source.has_dead_letters.then(|| topic::dead_letters(source.name));
        for topic in [source.name.to_owned()].into_iter().chain(letters) {
            match log.retain(&topic, before) {
                Ok(0) => {}
                Ok(records) => tracing::info!(topic, records, "records older than the retention were removed"),
                Err(error) => {
                    tracing::warn!(topic, %error, "old records could not be removed; trying again in an hour")
                }
            }
        }
    }
}

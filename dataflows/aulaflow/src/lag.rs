//! What `GET /v1/lag` says, as a client reads it.

use crate::client::Client;
use anyhow::{Context, Result};
use serde::Deserialize;

/// How far an instance is.
#[derive(Debug, Clone, Deserialize)]
pub struct Lag {
    /// The clock as of which the views are true, RFC 3339.
    pub clock: String,
    /// By how much the views are behind the wall clock; none on the event clock.
    pub frontier_lag_seconds: Option<f64>,
    /// Since the last checkpoint; none before the first.
    pub checkpoint_age_seconds: Option<f64>,
    /// Per source partition.
    pub partitions: Vec<Place>,
    /// Sinks outside the process.
    #[serde(default)]
    pub sinks: Vec<SinkPlace>,
}

/// How far a sink is with a share of the partitions.
#[derive(Debug, Clone, Deserialize)]
pub struct SinkPlace {
    /// Its name.
    pub sink: String,
    /// Which partitions.
    pub share: String,
    /// What it does.
    pub state: String,
    /// Why it does not go on.
    pub reason: Option<String>,
    /// How long the oldest rows wait.
    pub lag_seconds: f64,
    /// Bytes that wait on the disk.
    pub waiting_bytes: u64,
    /// Records that wait on the log.
    #[serde(default)]
    pub waiting_records: u64,
}

/// How far a partition's records are in the views.
#[derive(Debug, Clone, Deserialize)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Records before this offset are visible.
    pub visible_offset: u64,
    /// Records before this offset are on the log.
    pub end_offset: u64,
    /// How long the oldest record that is not visible has been there, about.
    pub lag_seconds: Option<f64>,
    /// `connecting`, `live` or `stalled`.
    pub state: String,
    /// Why it is stalled.
    pub reason: Option<String>,
    /// Nothing has come for a while and nothing waits.
    pub idle: bool,
}

impl Lag {
    /// Asks an instance.
    pub fn get(client: &Client) -> Result<Self> {
        let answer = client.get_once("/v1/lag")?;
        serde_json::from_slice(&answer.body).context("the answer to /v1/lag makes no sense")
    }
}

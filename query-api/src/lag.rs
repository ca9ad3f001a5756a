//! `GET /v1/lag`: how far the views are behind the log.

use crate::body::json;
use crate::error::ApiError;
use crate::openapi::{Api, answer, operation};
use crate::scope::{AnyCaller, Role};
use crate::state::ApiState;
use aulaflow_model::instant::Millis;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::{Serialize, Serializer};

const READERS: &[Role] = &[Role::Ops, Role::Admin, Role::Service, Role::Platform];

/// What the binary tells of the dataflow.
#[derive(Debug, Clone, Serialize)]
pub struct LagReport {
    /// The dataflow's clock.
    #[serde(serialize_with = "instant")]
    pub clock: Millis,
    /// Seconds by which the served frontier is behind the wall clock; none on the event clock.
    pub frontier_lag_seconds: Option<f64>,
    /// Seconds since the last checkpoint; none before the first.
    pub checkpoint_age_seconds: Option<f64>,
    /// By topic and partition.
    pub partitions: Vec<PartitionLag>,
    /// Of a replica: by partition of the changelog.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replica: Vec<ReplicaLag>,
    /// Of sinks outside the process: by share of the partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkLag>,
}

/// How far a sink outside the process is with one share of the partitions.
#[derive(Debug, Clone, Serialize)]
pub struct SinkLag {
    /// `clickhouse`: what is shown. `clickhouse-log`: what the log said.
    pub sink: &'static str,
    /// `all`, or the partition's number.
    pub share: String,
    /// `starting`, `rebuilding`, `live`, `retrying`, `stalled`, `ousted`, `failed` or `ended`.
    pub state: &'static str,
    /// Why it does not go on.
    pub reason: Option<String>,
    /// How long the oldest rows wait, about.
    pub lag_seconds: f64,
    /// Blocks of rows that wait on the disk.
    pub waiting_blocks: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Of `clickhouse-log`: the log's records that are not there yet, by their offsets.
    pub waiting_records: u64,
}

/// As of when a replica's profiles of one partition are true.
#[derive(Debug, Clone, Serialize)]
pub struct ReplicaLag {
    /// Partition.
    pub partition: u32,
    /// The instant, by the last watermark; none before the first.
    #[serde(serialize_with = "optional_instant")]
    pub as_of: Option<Millis>,
    /// Seconds by which that is behind the wall clock.
    pub staleness_seconds: Option<f64>,
}

impl LagReport {
    /// How stale the stalest partition of a replica is; none where there is no replica, or nothing is known yet.
    pub(crate) fn staleness_seconds(&self) -> Option<f64> {
        self.replica.iter().filter_map(|replica| replica.staleness_seconds).reduce(f64::max)
    }
}

/// One partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionLag {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Records before this offset are visible in profiles (or dead letters).
    pub visible_offset: u64,
    /// The offset that the next append gets.
    pub end_offset: u64,
    /// The difference.
    pub lag_records: u64,
    /// How long ago the log took the oldest record that is not visible, about; none where that is not known.
    pub lag_seconds: Option<f64>,
    /// `connecting`, `live` or `stalled`.
    pub state: &'static str,
    /// Why it is stalled.
    pub reason: Option<String>,
    /// Nothing has come for a while and nothing waits.
    pub idle: bool,
}

pub(crate) fn routes(api: Api) -> Api {
    let read = operation("How far the views are behind the log", READERS).tag("operations")
        .describe(
            "By topic and partition; `replica` says as of when a serve-only process is true, `sinks` how far sinks outside the process are. A write is visible once `visible_offset` is past the offset of its `X-Log-Position`.",
        )
        .answer("200", answer("The lag").schema("Lag"));
    api.route("get", "/v1/lag", get(lag), read)
}

async fn lag(State(state): State<ApiState>, AnyCaller(caller): AnyCaller) -> Result<Response, ApiError> {
    caller.require(READERS)?;
    // Numbers and names always serialise.
    Ok(json(serde_json::to_vec(&(state.lag)()).unwrap_or_default()))
}

fn optional_instant<S: Serializer>(at: &Option<Millis>, s: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => s.collect_str(at),
        None => s.serialize_none(),
    }
}

fn instant<S: Serializer>(at: &Millis, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(at)
}

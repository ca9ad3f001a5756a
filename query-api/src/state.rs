//! What handlers share.

use crate::access::Access;
use crate::ask::{ASKS_MAX, Ask};
use crate::auth::Verifier;
use crate::config::{ApiConfig, ConfigError};
use crate::history::{History, Past};
use crate::lag::LagReport;
use crate::metrics::ApiMetrics;
use crate::request_id::RequestIds;
use crate::sql::QUERIES_MAX;
use aulaflow_log::Log;
use aulaflow_model::instant::Millis;
use aulaflow_serving::Stores;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The things that the edge talks to.
pub struct Parts {
    /// Where writes go.
    pub log: Arc<dyn Log>,
    /// Where reads come from.
    pub stores: Stores,
    /// The process's metrics, whose prefix is `aulaflow`; the edge adds its own.
    pub registry: Arc<Mutex<Registry>>,
    /// Says why the process is not ready to serve, or nothing. Asked on every `/readyz`: it must not block.
    pub not_ready: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// What `GET /v1/lag` answers. It must not block.
    pub lag: Box<dyn Fn() -> LagReport + Send + Sync>,
    /// The clock that rules come into force by: the wall clock, or that of the views on the event clock. It must not
    /// block.
    pub clock: Box<dyn Fn() -> Millis + Send + Sync>,
    /// The running dataflows, to be asked.
    pub dataflow: Box<dyn Ask>,
    /// What is no longer in memory, and analysts' tables.
    pub history: Box<dyn History>,
}

/// What handlers share; cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

/// The state itself; its parts are the crate's own.
pub struct Inner {
    pub(crate) config: ApiConfig,
    pub(crate) access: Access,
    pub(crate) verifier: Verifier,
    pub(crate) metrics: ApiMetrics,
    pub(crate) request_ids: RequestIds,
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) not_ready: Box<dyn Fn() -> Option<String> + Send + Sync>,
    pub(crate) lag: Box<dyn Fn() -> LagReport + Send + Sync>,
    pub(crate) dataflow: Box<dyn Ask>,
    pub(crate) history: Box<dyn History>,
    /// What was read of it.
    pub(crate) past: Past,
    /// Queries that may be under way.
    pub(crate) queries: Semaphore,
    /// Questions that may be under way.
    pub(crate) asks: Arc<Semaphore>,
    pub(crate) document: bytes::Bytes,
    pub(crate) docs_page: bytes::Bytes,
}

impl ApiState {
    /// Checks the settings, reads the keys, and reads the tenants' topic to its end.
    ///
    /// It reads the log's disk: call it before the async runtime starts, or from `spawn_blocking`.
    pub fn new(config: ApiConfig, parts: Parts) -> Result<Self, ConfigError> {
        config.check()?;
        let verifier = Verifier::new(&config)?;
        let Parts { log, stores, registry, not_ready, lag, clock, dataflow, history } = parts;
        let access = Access::open(log, stores, clock, &config)?;
        let metrics = ApiMetrics::register(&mut registry.lock());
        let past = Past::register(&mut registry.lock());
        let document = crate::openapi_document();
        Ok(Self(Arc::new(Inner {
            config,
            access,
            verifier,
            metrics,
            request_ids: RequestIds::default(),
            registry,
            not_ready,
            lag,
            dataflow,
            history,
            past,
            queries: Semaphore::new(QUERIES_MAX),
            asks: Arc::new(Semaphore::new(ASKS_MAX)),
            docs_page: crate::docs::page(&document).into(),
            document: serde_json::to_vec(&document).unwrap_or_default().into(),
        })))
    }
}

impl std::ops::Deref for ApiState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

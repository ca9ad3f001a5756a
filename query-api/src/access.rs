//! The only way to a tenant's data: every method asks for a [`Scope`], so that forgetting the tenant does not compile.

use crate::config::ApiConfig;
use crate::error::{ApiError, Kind};
use crate::scope::Scope;
use crate::tenants::Tenants;
use aulaflow_log::{Appended, Log, LogError, Offset, RecordSet, TopicPartition};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::ids::StudentId;
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_serving::{CohortEntry, CohortQuery, ProfileRead, ReadHalf, Stores};
use axum::http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Where a write went: `topic/partition/offset` of its last record. What is visible is at `GET /v1/lag`.
pub(crate) const X_LOG_POSITION: HeaderName = HeaderName::from_static("x-log-position");

pub(crate) struct Access {
    log: Arc<dyn Log>,
    stores: Stores,
    tenants: Tenants,
    clock: Box<dyn Fn() -> Millis + Send + Sync>,
    append_timeout: Duration,
    writes: bool,
    reads: bool,
    record_bytes_max: usize,
}

impl Access {
    /// Reads the tenants' topic to its end. Blocks.
    pub(crate) fn open(
        log: Arc<dyn Log>,
        stores: Stores,
        clock: Box<dyn Fn() -> Millis + Send + Sync>,
        config: &ApiConfig,
    ) -> Result<Self, LogError> {
        let tenants = Tenants::default();
        tenants.catch_up(log.as_ref())?;
        let ApiConfig { append_timeout, record_bytes_max, writes, reads, .. } = *config;
        Ok(Self { log, stores, tenants, clock, append_timeout, record_bytes_max, writes, reads })
    }

    /// A student of the scope's tenant whom the caller may see. Another tenant's student is looked up like any other
    /// and is not there, and a student who asks for another one gets the same answer after the same work.
    pub(crate) fn profile<'a>(
        &self,
        scope: &'a Scope,
        student: &'a StudentId,
    ) -> Result<Option<ProfileRead<'a>>, ApiError> {
        Ok(self.store(scope)?.profile(scope.tenant(), student).filter(|_| scope.may_see(student)))
    }

    /// Cohorts of the scope's tenant.
    pub(crate) fn cohorts(&self, scope: &Scope, query: CohortQuery<'_>) -> Result<Vec<CohortEntry>, ApiError> {
        Ok(self.store(scope)?.cohorts(scope.tenant(), query))
    }

    /// The store that has the scope's tenant.
    fn store(&self, scope: &Scope) -> Result<ReadHalf, ApiError> {
        if !self.reads {
            return Err(ApiError::new(Kind::OtherRole, "this process answers no reads: ask one with the role serve"));
        }
        // Every topic has a tenant in a partition of the same number.
        let partition = self.log.partition_of(aulaflow_model::topic::BEHAVIOR, scope.tenant().as_str())?;
        self.stores.of(partition).ok_or_else(|| {
            let detail = format!("the tenant's partition, {partition}, is not served by this process now");
            ApiError::new(Kind::NotServedHere, detail).retry_after(Duration::from_secs(1))
        })
    }

    /// Whether there is a store, and every worker has published a frontier; or whether nothing is read here.
    pub(crate) fn has_frontier(&self) -> bool {
        !self.reads || self.stores.frontier() > aulaflow_model::instant::ClockTime::ZERO
    }

    /// The views that there are; a view's place is its `ViewIndex`. They are the same for all tenants.
    pub(crate) fn views(&self) -> &[ViewSchema] {
        self.stores.schemas()
    }

    /// The clock that rules come into force by.
    pub(crate) fn clock(&self) -> Millis {
        (self.clock)()
    }

    /// The configuration of the scope's tenant as of the clock; an empty one where there is none yet.
    pub(crate) fn tenant_config(&self, scope: &Scope) -> Arc<TenantConfig> {
        let config = self.tenants.config(scope.tenant());
        if config.scheduled.is_empty() { config } else { Arc::new(config.in_force(self.clock()).0) }
    }

    /// Changes the configuration of the scope's tenant: `change` gets the present one, and its answer is durable and
    /// in force when this returns. Changes of one tenant wait for each other, so that none is lost.
    pub(crate) async fn change_config(
        &self,
        scope: &Scope,
        change: impl FnOnce(&TenantConfig) -> Result<TenantConfig, ApiError>,
    ) -> Result<(Arc<TenantConfig>, Appended), ApiError> {
        let turn = self.tenants.turn(scope.tenant());
        let _turn = turn.lock().await;
        let next = Arc::new(change(&self.tenant_config(scope))?);
        let json = serde_json::to_vec(&*next)
            .map_err(|error| ApiError::new(Kind::Internal, format!("cannot write the record: {error}")))?;
        let key = scope.tenant().as_str().as_bytes();
        crate::batch::fits(key, &json, self.record_bytes_max).map_err(|fault| ApiError::invalid(vec![fault]))?;
        let mut records = aulaflow_log::record::RecordSetBuilder::default();
        records.push(now(), scope.tenant().as_str().as_bytes(), Some(&json), &[]);
        let appended = self.append(scope, aulaflow_model::topic::TENANTS, records.finish()).await?;
        self.tenants.put(Arc::clone(&next), appended.base_offset);
        Ok((next, appended))
    }

    /// The partition of the scope's tenant in a topic.
    pub(crate) fn place(&self, scope: &Scope, topic: &str) -> Result<TopicPartition, ApiError> {
        let partition = self.log.partition_of(topic, scope.tenant().as_str())?;
        Ok(TopicPartition { topic: topic.to_owned(), partition })
    }

    /// Appends records of the scope's tenant, whose keys the caller made from the scope; returns once they are
    /// durable.
    pub(crate) async fn append(&self, scope: &Scope, topic: &str, records: RecordSet) -> Result<Appended, ApiError> {
        if !self.writes {
            return Err(ApiError::new(Kind::OtherRole, "this process takes no writes: ask one with the role edge"));
        }
        let place = self.place(scope, topic)?;
        let (acked, ack) = oneshot::channel();
        self.log.append(
            &place,
            records,
            Box::new(move |outcome| {
                // Nobody listens any more where the request has timed out or its connection is gone.
                let _ = acked.send(outcome);
            }),
        )?;
        match tokio::time::timeout(self.append_timeout, ack).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(LogError::Unavailable("the log dropped an append".to_owned()).into()),
            Err(_) => Err(LogError::Unavailable(format!("no answer in {:?}", self.append_timeout)).into()),
        }
    }

    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    pub(crate) fn tenants(&self) -> &Tenants {
        &self.tenants
    }
}

/// The header of an append.
pub(crate) fn position(appended: &Appended) -> (HeaderName, HeaderValue) {
    let text = position_of(&appended.place, appended.last_offset);
    // A topic's name is letters, digits, dots and hyphens.
    (X_LOG_POSITION, HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown")))
}

/// A place on the log as text.
pub(crate) fn position_of(place: &TopicPartition, offset: Offset) -> String {
    format!("{}/{}/{offset}", place.topic, place.partition)
}

/// The wall clock, as records carry it.
pub(crate) fn now() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}

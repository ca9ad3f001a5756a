//! The only way to a tenant's data: every method asks for a [`Scope`], so that forgetting the tenant does not compile.

use crate::config::ApiConfig;
use crate::error::{ApiError, Kind};
use crate::scope::Scope;
use crate::state::ApiState;
use crate::tenants::{Tenants, last_between};
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

/// How often a change of settings is made anew where another process changes them at the same time.
const CHANGE_TRIES_MAX: usize = 5;

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
    /// in force when this returns. Changes of one tenant wait for each other, so that none is lost. What another process
    /// wrote before is read first; where it wrote in between, the change is made once more, to what that one says.
    pub(crate) async fn change_config(
        state: &ApiState,
        scope: &Scope,
        change: impl Fn(&TenantConfig) -> Result<TenantConfig, ApiError>,
    ) -> Result<(Arc<TenantConfig>, Appended), ApiError> {
        let access = &state.access;
        if !access.writes {
            return Err(other_role());
        }
        let turn = access.tenants.turn(scope.tenant());
        let _turn = turn.lock().await;
        on_log(state, |access| access.tenants.catch_up(access.log.as_ref())).await?;
        let place = access.place(scope, aulaflow_model::topic::TENANTS)?;
        // Before what is present: a record that is followed meanwhile counts as one in between.
        let mut from = access.tenants.read_to(place.partition);
        let mut present = access.tenant_config(scope);
        for _ in 0..CHANGE_TRIES_MAX {
            let next = Arc::new(change(&present)?);
            let appended = access.append_config(scope, &next).await?;
            let (tenant, place, to) = (scope.tenant().clone(), place.clone(), appended.base_offset);
            let between = move |access: &Self| last_between(access.log.as_ref(), &place, (from, to), &tenant);
            match on_log(state, between).await? {
                None => return Ok((next, appended)),
                Some(other) => present = Arc::new(other.in_force(access.clock()).0),
            }
            from = to + 1;
        }
        let detail = "other processes change the tenant's settings all the time; look at them, and try again";
        Err(ApiError::new(Kind::LogUnavailable, detail).retry_after(Duration::from_secs(1)))
    }

    /// Appends a configuration with what its file said last.
    async fn append_config(&self, scope: &Scope, next: &Arc<TenantConfig>) -> Result<Appended, ApiError> {
        let topic = aulaflow_model::topic::TENANTS;
        let json = serde_json::to_vec(&**next)
            .map_err(|error| ApiError::new(Kind::Internal, format!("cannot write the record: {error}")))?;
        let key = scope.tenant().as_str().as_bytes();
        crate::batch::fits(key, &json, self.record_bytes_max).map_err(|fault| ApiError::invalid(vec![fault]))?;
        let applied = self.tenants.applied(scope.tenant());
        let headers = applied.as_ref().map(|applied| applied.headers());
        let mut records = aulaflow_log::record::RecordSetBuilder::default();
        records.push(now(), key, Some(&json), headers.as_ref().map_or(&[][..], |headers| headers));
        let appended = self.append(scope, topic, records.finish()).await?;
        self.tenants.put(Arc::clone(next), appended.base_offset);
        Ok(appended)
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
            return Err(other_role());
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

fn other_role() -> ApiError {
    ApiError::new(Kind::OtherRole, "this process takes no writes: ask one with the role edge")
}

/// Reads the log on a thread that may block.
async fn on_log<T: Send + 'static>(
    state: &ApiState,
    read: impl FnOnce(&Access) -> Result<T, LogError> + Send + 'static,
) -> Result<T, ApiError> {
    let state = state.clone();
    let outcome = tokio::task::spawn_blocking(move || read(&state.access)).await;
    Ok(outcome.map_err(|error| ApiError::new(Kind::Internal, format!("the log could not be read: {error}")))??)
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

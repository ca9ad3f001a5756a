//! Batches of items, of which the good ones are taken and the bad ones are named: shared by evaluations and behaviour.

use crate::access::{now, position};
use crate::body::{Item, json};
use crate::error::{ApiError, Kind};
use crate::scope::{Role, Scope};
use crate::state::ApiState;
use aulaflow_log::RecordSet;
use aulaflow_log::letters;
use aulaflow_log::record::RecordSetBuilder;
use aulaflow_model::fault::Fault;
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Items taken at once.
pub(crate) const ITEMS_MAX: usize = 5_000;
/// A body above this is worked on outside the threads that answer requests: a millisecond of work delays every read
/// that waits for the same thread.
pub(crate) const OFFLOAD_BYTES: usize = 64 << 10;

/// A class of what is refused here: the name that the dataflow gives to the same fault of a record on the log.
pub(crate) const SCHEMA: &str = "schema";
/// Likewise, of what is too far ahead of the clock.
pub(crate) const FUTURE: &str = "future";

/// What a batch's query may say.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BatchQuery {
    /// Keeps the bad items' bytes in the topic's dead letters as well: for importers, who have nobody to mend them.
    dead_letters: bool,
}

impl BatchQuery {
    /// Reads the query and checks that the caller may ask for what it says.
    pub(crate) fn read(query: Result<Query<Self>, QueryRejection>, scope: &Scope) -> Result<Self, ApiError> {
        let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
        if query.dead_letters {
            scope.require(&[Role::Service, Role::Admin])?;
        }
        Ok(query)
    }
}

/// What is wrong with one item.
#[derive(Debug, Serialize)]
struct ItemErrors {
    index: usize,
    errors: Vec<Fault>,
}

/// What is worth knowing of an item that was taken.
#[derive(Debug, Serialize)]
struct ItemWarnings {
    index: usize,
    warnings: Vec<Fault>,
}

/// The answer.
#[derive(Serialize)]
struct BatchAnswer {
    accepted: u32,
    errors: Vec<ItemErrors>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<ItemWarnings>,
}

/// A batch that is being read.
pub(crate) struct Batch {
    tenant: TenantId,
    topic: &'static str,
    now: Millis,
    record_bytes_max: usize,
    records: RecordSetBuilder,
    dead: Option<RecordSetBuilder>,
    dead_by_class: BTreeMap<&'static str, usize>,
    errors: Vec<ItemErrors>,
    warnings: Vec<ItemWarnings>,
}

/// A batch that was read.
pub(crate) struct Prepared {
    records: RecordSet,
    dead: RecordSet,
    dead_by_class: BTreeMap<&'static str, usize>,
    answer: BatchAnswer,
}

impl Batch {
    pub(crate) fn new(tenant: TenantId, topic: &'static str, query: BatchQuery, record_bytes_max: usize) -> Self {
        Self {
            tenant,
            topic,
            now: now(),
            record_bytes_max,
            records: RecordSetBuilder::default(),
            dead: query.dead_letters.then(RecordSetBuilder::default),
            dead_by_class: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// When its records are received.
    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Takes an item as a record, unless that is too large for anybody to look at.
    pub(crate) fn accept(&mut self, item: &Item<'_>, key: &[u8], value: &[u8]) {
        match fits(key, value, self.record_bytes_max) {
            Ok(()) => self.records.push(self.now, key, Some(value), &[]),
            Err(fault) => self.refuse(item, SCHEMA, vec![fault]),
        }
    }

    /// Says something of an item that was taken.
    pub(crate) fn warn(&mut self, index: usize, warnings: Vec<Fault>) {
        if !warnings.is_empty() {
            self.warnings.push(ItemWarnings { index, warnings });
        }
    }

    /// Refuses an item.
    pub(crate) fn refuse(&mut self, item: &Item<'_>, class: &'static str, errors: Vec<Fault>) {
        if let Some(dead) = &mut self.dead {
            let error = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let failed_at = self.now.to_string();
            // It was never on the source topic, so it has no partition and offset there.
            let headers: [(&str, &[u8]); 4] = [
                (letters::ERROR, error.as_bytes()),
                (letters::ERROR_CLASS, class.as_bytes()),
                (letters::SOURCE_TOPIC, self.topic.as_bytes()),
                (letters::FAILED_AT, failed_at.as_bytes()),
            ];
            dead.push(self.now, self.tenant.as_str().as_bytes(), Some(item.json), &headers);
            *self.dead_by_class.entry(class).or_default() += 1;
        }
        self.errors.push(ItemErrors { index: item.index, errors });
    }

    pub(crate) fn finish(self) -> Prepared {
        let accepted = self.records.count();
        Prepared {
            records: self.records.finish(),
            dead: self.dead.unwrap_or_default().finish(),
            dead_by_class: self.dead_by_class,
            answer: BatchAnswer { accepted, errors: self.errors, warnings: self.warnings },
        }
    }
}

impl Prepared {
    /// Appends what was taken (and the dead letters) and answers once all of it is durable.
    pub(crate) async fn commit(
        self,
        state: &ApiState,
        scope: &Scope,
        topic: &'static str,
        status: StatusCode,
    ) -> Result<Response, ApiError> {
        let (accepted, refused) = (self.answer.accepted as usize, self.answer.errors.len());
        if !self.dead.is_empty() {
            state.access.append(scope, &topic::dead_letters(topic), self.dead).await?;
            for (class, kept) in self.dead_by_class {
                state.dataflow.refused(topic, class, kept);
            }
        }
        state.metrics.count_records(topic, "refused", refused);
        if self.records.is_empty() && refused > 0 {
            return Err(ApiError::invalid(self.answer.errors.into_iter().flat_map(rooted).collect()));
        }
        let appended = if self.records.is_empty() {
            None
        } else {
            let outcome = state.access.append(scope, topic, self.records).await;
            state.metrics.count_records(topic, if outcome.is_ok() { "accepted" } else { "failed" }, accepted);
            Some(outcome?)
        };
        // A struct of numbers and strings always serialises.
        let body = json(serde_json::to_vec(&self.answer).unwrap_or_default());
        Ok((status, appended.as_ref().map(|appended| [position(appended)]), body).into_response())
    }
}

/// Whether a record is small enough for the dataflows to look at it.
pub(crate) fn fits(key: &[u8], value: &[u8], bytes_max: usize) -> Result<(), Fault> {
    let bytes = key.len() + value.len();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Fault::new("", format!("takes {bytes} bytes as a record; engine.record_bytes_max allows {bytes_max}")))
}

/// An item's faults, with pointers from the body's root.
fn rooted(item: ItemErrors) -> impl Iterator<Item = Fault> {
    item.errors.into_iter().map(move |fault| Fault::new(format!("/{}{}", item.index, fault.pointer), fault.detail))
}

/// Runs the reading of a body: at once where it is small, on a thread for such work where it is not.
pub(crate) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= OFFLOAD_BYTES {
        return work();
    }
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|_| Err(ApiError::new(Kind::Internal, "the body could not be worked on")))
}

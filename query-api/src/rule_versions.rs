//! `GET /v1/rules/{subject}/versions`: what a subject's rules were before, from the tenants' topic, which keeps every
//! record.

use crate::access::position_of;
use crate::body::json;
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::rules::{READERS, SUBJECT, shown, subject};
use crate::scope::Scope;
use crate::state::ApiState;
use aulaflow_log::{LogError, Offset, TopicPartition};
use aulaflow_model::ids::Subject;
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::topic::TENANTS;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Versions in an answer, where the caller does not say, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// The newest records of the partition that are looked through, and bytes read at once.
const RECORDS_MAX: u64 = 20_000;
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VersionsQuery {
    limit: Option<usize>,
}

pub(crate) fn routes(api: Api) -> Api {
    let read = operation("What a subject's grading rules were", READERS)
        .tag("rules")
        .describe(
            "Each time they were set, newest first: the rules in force from then on and those scheduled. A scheduled \
             rule makes no version of its own when its time comes. `complete` is false where there may be older \
             versions.",
        )
        .path_parameter("subject", SUBJECT)
        .query("limit", "integer", "Versions in the answer: 1 to 1,000, 100 if not given")
        .answer("200", answer("The versions").schema("RuleVersions"));
    api.route("get", "/v1/rules/{subject}/versions", get(versions), read)
}

async fn versions(
    State(state): State<ApiState>,
    scope: Scope,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<VersionsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    scope.require(READERS)?;
    let subject = path.ok().and_then(|Path(name)| subject(&name)).ok_or_else(|| ApiError::not_found("subject"))?;
    let Query(query) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::new(Kind::BadRequest, format!("`limit` must be between 1 and {LIMIT_MAX}")));
    }
    let reader = Reader { place: state.access.place(&scope, TENANTS)?, scope, subject, limit };
    let read = tokio::task::spawn_blocking(move || reader.read(&state)).await;
    read.map_err(|error| ApiError::new(Kind::Internal, format!("the log could not be read: {error}")))?
}

/// What is looked for, and where.
struct Reader {
    place: TopicPartition,
    scope: Scope,
    subject: Option<Subject>,
    limit: usize,
}

impl Reader {
    /// Blocks on the disk.
    fn read(&self, state: &ApiState) -> Result<Response, ApiError> {
        let log = state.access.log();
        let (start, end) = (log.start_offset(&self.place)?, log.end_offset(&self.place)?);
        let first = start.max(end.saturating_sub(RECORDS_MAX));
        let mut offset = first;
        let mut versions = VecDeque::new();
        let mut dropped = false;
        let mut last = None;
        while offset < end {
            let fetched = match log.read(&self.place, offset, READ_BYTES) {
                Err(LogError::Gone { start, .. }) if start > offset => {
                    offset = start;
                    continue;
                }
                other => other?,
            };
            let own = fetched.records.iter().filter(|record| record.key == self.scope.tenant().as_str().as_bytes());
            for record in own {
                let Some(config) = record.value.and_then(|value| TenantConfig::from_json_slice(value).ok()) else {
                    continue;
                };
                let now = self.of_subject(&config, record.timestamp)?;
                // A record of another subject's change says the same of this one.
                if last.as_ref() != Some(&now) {
                    let at = fetched.base_offset + u64::from(record.index);
                    versions.push_front(self.version(&now, at, record.timestamp));
                    last = Some(now);
                }
                dropped |= versions.len() > self.limit;
                versions.truncate(self.limit);
            }
            if fetched.next_offset <= offset {
                break;
            }
            offset = fetched.next_offset;
        }
        // Before its first rule a subject had none: that is no version.
        let complete = first == 0 && !dropped;
        let empty = |version: &Value| version["rules"] == json!([]) && version["scheduled"] == json!([]);
        if complete && versions.back().is_some_and(empty) {
            versions.pop_back();
        }
        let answer = json!({ "versions": versions, "complete": complete });
        Ok(json(serde_json::to_vec(&answer).unwrap_or_default()))
    }

    /// The subject's rules in force, and those scheduled, as of when they were recorded.
    fn of_subject(&self, config: &TenantConfig, at: Millis) -> Result<(Vec<Value>, Vec<Value>), ApiError> {
        let cannot = |error| ApiError::new(Kind::Internal, format!("cannot show the rule: {error}"));
        let (config, _) = config.in_force(at);
        let rules = config.rules.iter().filter(|rule| rule.subject == self.subject).map(|rule| shown(rule, rule));
        let scheduled = config.scheduled.iter().filter(|scheduled| scheduled.rule.subject == self.subject);
        let scheduled = scheduled.map(|scheduled| shown(scheduled, &scheduled.rule));
        Ok((rules.collect::<Result<_, _>>().map_err(cannot)?, scheduled.collect::<Result<_, _>>().map_err(cannot)?))
    }

    fn version(&self, (rules, scheduled): &(Vec<Value>, Vec<Value>), offset: Offset, at: Millis) -> Value {
        json!({
            "at": at.to_string(),
            "log_position": position_of(&self.place, offset),
            "rules": rules,
            "scheduled": scheduled,
        })
    }
}

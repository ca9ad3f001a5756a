//! Dead letters: `GET /v1/dead-letters`, one of them, and `POST /v1/dead-letters:replay`. What they are made of is in the
//! log's crate; what is shown of one is here, and public, so that a command without a server shows the same.

use crate::body::{self, RequestBody, json};
use crate::error::{ApiError, Kind};
use crate::openapi::{Api, answer, operation};
use crate::scope::{AnyCaller, Caller, Role};
use crate::state::ApiState;
use aulaflow_log::letters::{Letter, LetterId, Query as Letters, Replayer, find, search, tenant_of};
use aulaflow_log::{Log, LogError};
use aulaflow_model::fields::{Faults, Field};
use aulaflow_model::instant::Millis;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Duration;

const READERS: &[Role] = &[Role::Ops, Role::Admin, Role::Platform];

/// Letters on a page, where the caller doesn't say, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// Bytes of letters that one request looks at: a page may end early, and says where to go on.
const SCAN_BYTES_MAX: usize = 32 << 20;

/// A letter as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Where it lies: `topic.dlq/partition/offset`.
    pub id: String,
    /// The topic that the record was on.
    pub topic: String,
    /// Whose, if the key says.
    pub tenant: Option<String>,
    /// The kind of fault.
    pub class: String,
    /// What is wrong.
    pub error: String,
    /// When it was found to be dead.
    pub failed_at: String,
    /// When the log took the record.
    pub accepted_at: Option<String>,
    /// Where the record is on its topic: `topic/partition/offset`; none where it was refused before.
    pub source: Option<String>,
    /// How long its value is.
    pub value_bytes: usize,
    /// How long it was, where only its start was kept.
    pub truncated_from: Option<u64>,
}

/// Bytes, as text where they are UTF-8.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// `text` or `hex`.
    pub encoding: String,
    /// The bytes.
    pub bytes: String,
}

/// A letter with everything that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// As listed.
    #[serde(flatten)]
    pub summary: Summary,
    /// The record's key.
    pub key: Shown,
    /// The record's headers.
    pub headers: Vec<(String, Shown)>,
    /// The record's value; none where it had none.
    pub value: Option<Shown>,
}

/// Some letters.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// By topic, partition and offset.
    pub dead_letters: Vec<Summary>,
    /// Where to go on; none at the end. A page may be empty and go on.
    pub next_cursor: Option<String>,
}

/// What became of letters that were to be written once more.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Replayed {
    /// How many records were written, or would have been.
    pub replayed: u64,
    /// Those that cannot be.
    pub skipped: Vec<Skipped>,
    /// Where to go on; none at the end.
    pub next_cursor: Option<String>,
}

/// A letter that cannot be written once more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// How letters are written once more.
#[derive(Debug, Clone, Copy)]
pub struct Replay {
    /// Letters looked at, at most.
    pub limit: usize,
    /// Only says what would be done.
    pub dry_run: bool,
    /// How long a write may take.
    pub timeout: Duration,
}

impl Shown {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { encoding: "text".to_owned(), bytes: text.to_owned() },
            Err(_) => {
                let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Self { encoding: "hex".to_owned(), bytes: hex }
            }
        }
    }
}

impl Summary {
    fn new(id: LetterId, letter: &Letter<'_>) -> Self {
        let source = letter.source();
        Self {
            id: id.to_string(),
            topic: id.source().to_owned(),
            tenant: tenant_of(letter.key).map(str::to_owned),
            class: letter.class().to_owned(),
            error: letter.error().to_owned(),
            failed_at: letter.failed_at().to_string(),
            accepted_at: letter.source_timestamp().map(|at| at.to_string()),
            source: source.map(|(partition, offset)| format!("{}/{partition}/{offset}", id.source())),
            value_bytes: letter.value.map_or(0, <[u8]>::len),
            truncated_from: letter.truncated_from(),
        }
    }
}

/// A page of letters. Blocks.
pub fn page(log: &dyn Log, query: &Letters, from: Option<LetterId>, limit: usize) -> Result<Page, LogError> {
    let mut page = Page::default();
    let next = search(log, query, from, SCAN_BYTES_MAX, &mut |id, letter| {
        page.dead_letters.push(Summary::new(id, letter));
        if page.dead_letters.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    page.next_cursor = next.map(|id| id.to_string());
    Ok(page)
}

/// One letter, of this tenant where one is named. Blocks.
pub fn whole(log: &dyn Log, id: LetterId, tenant: Option<&str>) -> Result<Option<Whole>, LogError> {
    let show = |letter: &Letter<'_>| {
        let own = tenant.is_none() || tenant_of(letter.key) == tenant;
        let headers = || letter.own_headers().into_iter().map(|(name, value)| (name.to_owned(), Shown::new(value)));
        own.then(|| Whole {
            summary: Summary::new(id, letter),
            key: Shown::new(letter.key),
            headers: headers().collect(),
            value: letter.value.map(Shown::new),
        })
    };
    find(log, id, show).map(Option::flatten)
}

/// Writes records once more. Blocks. After an error some may have been written: doing it again changes nothing.
pub fn replay(log: &dyn Log, query: &Letters, from: Option<LetterId>, how: Replay) -> Result<Replayed, LogError> {
    let mut outcome = Replayed::default();
    let mut replayer = Replayer::new(log, crate::access::now(), how.timeout);
    let (mut looked_at, mut failed) = (0, None);
    let next = search(log, query, from, SCAN_BYTES_MAX, &mut |id, letter| {
        let pushed = if how.dry_run { Ok(Replayer::check(letter).map(|_| ())) } else { replayer.push(id, letter) };
        match pushed {
            Ok(Ok(())) => outcome.replayed += 1,
            Ok(Err(why)) => outcome.skipped.push(Skipped { id: id.to_string(), reason: why.to_string() }),
            Err(error) => failed = Some(error),
        }
        looked_at += 1;
        if failed.is_some() || looked_at >= how.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    replayer.flush()?;
    outcome.next_cursor = next.map(|id| id.to_string());
    Ok(outcome)
}

/// What a query may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    topic: Option<String>,
    class: Option<String>,
    tenant: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The members of a replay's body.
const REPLAY_MEMBERS: [&str; 9] =
    ["topic", "class", "tenant", "since", "until", "limit", "cursor", "letters", "dry_run"];

/// What is looked for, from where on, and how many.
type Search = (Letters, Option<LetterId>, usize);

impl Asked {
    fn check(self, caller: &Caller) -> Result<Search, ApiError> {
        let bad = |detail: String| ApiError::new(Kind::BadRequest, detail);
        let instant = |name: &str, text: Option<String>| match text {
            Some(text) => Millis::parse_rfc3339(&text).map(Some).map_err(|_| bad(format!("`{name}` is no time"))),
            None => Ok(None),
        };
        let source = self.topic.map(|topic| topic.strip_suffix(".dlq").unwrap_or(&topic).to_owned());
        if let Some(source) = source.as_ref().filter(|source| LetterId::new(source, 0, 0).is_none()) {
            return Err(bad(format!("`topic` is {source:?}, which has no dead letters")));
        }
        // Only who has no tenant may choose one: everybody else sees its own.
        let tenant = match (caller.tenant(), self.tenant) {
            (Some(own), Some(asked)) if asked != own.as_str() => {
                return Err(ApiError::new(Kind::Forbidden, "`tenant` is not the token's"));
            }
            (Some(own), _) => Some(own.to_string()),
            (None, asked) => asked,
        };
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(bad(format!("`limit` is {limit}; it must be from 1 to {LIMIT_MAX}")));
        }
        let cursor =
            self.cursor.map(|text| text.parse().map_err(|_| bad("`cursor` is none that was given out".to_owned())));
        let (since, until) = (instant("since", self.since)?, instant("until", self.until)?);
        Ok((Letters { source, class: self.class, tenant, since, until }, cursor.transpose()?, limit))
    }
}

pub(crate) fn routes(api: Api) -> Api {
    let filters = |operation: crate::openapi::Operation| {
        operation
            .query("topic", "string", "Of this source topic only")
            .query(
                "class",
                "string",
                "Of this class only: `key`, `schema`, `size`, `late`, `future`, `expression`, `limit`",
            )
            .query("tenant", "string", "Of this tenant only (platform)")
            .query("since", "string", "Found to be dead at this time or later, RFC 3339")
            .query("until", "string", "Found to be dead before this time")
            .query("limit", "integer", "At most this many: 1 to 1000, else 100")
            .query("cursor", "string", "Go on after a page: its `next_cursor`")
    };
    let list = filters(operation("Records that cannot be used", READERS).tag("operations"))
        .describe(
            "In order of topic, partition and offset. Everybody sees those of the own tenant; a letter whose key names no \
             tenant is seen by the platform only. A page may end early: `next_cursor` says where to go on.",
        )
        .answer("200", answer("The letters").schema("DeadLetters"));
    let one = operation("A record that cannot be used", READERS)
        .tag("operations")
        .path_parameter("topic", "The dead-letter topic")
        .path_parameter("partition", "The partition")
        .path_parameter("offset", "The letter's offset")
        .answer("200", answer("The letter, with the record's bytes").schema("DeadLetter"));
    let again = operation("Write records once more", READERS).tag("operations")
        .describe(
            "The original bytes go to the topic and partition that they were on, with the header `replayed-from`. What is \
             written twice counts once. `letters` names some; without it all that the other members describe, up to `limit`.",
        )
        .body("DeadLettersAsked")
        .example(serde_json::json!({ "topic": aulaflow_model::topic::BEHAVIOR, "class": "schema", "dry_run": true }))
        .answer("200", answer("What became of them").schema("Replayed"));
    api.route("get", "/v1/dead-letters", get(list_letters), list)
        .route("get", "/v1/dead-letters/{topic}/{partition}/{offset}", get(one_letter), one)
        .route("post", "/v1/dead-letters:replay", post(replay_letters), again)
}

async fn list_letters(
    State(state): State<ApiState>,
    AnyCaller(caller): AnyCaller,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.require(READERS)?;
    let Query(asked) = query.map_err(|error| ApiError::new(Kind::BadRequest, error.body_text()))?;
    let (letters, from, limit) = asked.check(&caller)?;
    let page = blocking(&state, move |log| page(log, &letters, from, limit)).await?;
    Ok(json(serde_json::to_vec(&page).unwrap_or_default()))
}

async fn one_letter(
    State(state): State<ApiState>,
    AnyCaller(caller): AnyCaller,
    Path((topic, partition, offset)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    caller.require(READERS)?;
    let none = || ApiError::not_found("dead letter");
    let id: LetterId = format!("{topic}/{partition}/{offset}").parse().map_err(|_| none())?;
    let tenant = caller.tenant().map(ToString::to_string);
    let letter = blocking(&state, move |log| whole(log, id, tenant.as_deref())).await?.ok_or_else(none)?;
    Ok(json(serde_json::to_vec(&letter).unwrap_or_default()))
}

async fn replay_letters(
    State(state): State<ApiState>,
    AnyCaller(caller): AnyCaller,
    body: RequestBody,
) -> Result<Response, ApiError> {
    caller.require(READERS)?;
    let (asked, ids, dry_run) = replay_asked(&body::value(&body.json()?)?)?;
    let (letters, from, limit) = asked.check(&caller)?;
    let how = Replay { limit, dry_run, timeout: state.config.append_timeout };
    let outcome = blocking(&state, move |log| match ids {
        None => replay(log, &letters, from, how),
        Some(ids) => replay_some(log, &letters, &ids, how),
    });
    Ok(json(serde_json::to_vec(&outcome.await?).unwrap_or_default()))
}

/// The same for letters that were named.
pub fn replay_some(log: &dyn Log, query: &Letters, ids: &[LetterId], how: Replay) -> Result<Replayed, LogError> {
    let mut outcome = Replayed::default();
    for id in ids {
        let one = Letters { source: Some(id.source().to_owned()), ..query.clone() };
        let there = find(log, *id, |letter| one.takes(letter))?.unwrap_or(false);
        if !there {
            let reason = "there is no such letter".to_owned();
            outcome.skipped.push(Skipped { id: id.to_string(), reason });
            continue;
        }
        let of_one = replay(log, &one, Some(*id), Replay { limit: 1, ..how })?;
        outcome.replayed += of_one.replayed;
        outcome.skipped.extend(of_one.skipped);
    }
    Ok(outcome)
}

fn replay_asked(value: &serde_json::Value) -> Result<(Asked, Option<Vec<LetterId>>, bool), ApiError> {
    let faults = Faults::default();
    let body = Field::root(value, "", &faults).table(&REPLAY_MEMBERS);
    let list = body.as_ref().and_then(|body| body.get("letters")).and_then(|letters| letters.array());
    let ids = list.map(|list| list.iter().filter_map(|id| id.parse(str::parse::<LetterId>)).collect::<Vec<_>>());
    let faults = faults.into_vec();
    if !faults.is_empty() {
        return Err(ApiError::invalid(faults));
    }
    if ids.as_ref().is_some_and(|ids| ids.len() > LIMIT_MAX) {
        return Err(ApiError::new(Kind::TooManyItems, format!("at most {LIMIT_MAX} letters are named at once")));
    }
    let mut rest = value.clone();
    let object = rest.as_object_mut();
    let dry_run = object.as_ref().and_then(|body| body.get("dry_run")).and_then(serde_json::Value::as_bool);
    if let Some(object) = object {
        object.remove("letters");
        object.remove("dry_run");
    }
    let asked = serde_json::from_value(rest).map_err(|error| ApiError::new(Kind::BadRequest, error.to_string()))?;
    Ok((asked, ids, dry_run.unwrap_or(false)))
}

/// Reads or writes off the async threads.
async fn blocking<T: Send + 'static>(
    state: &ApiState,
    work: impl FnOnce(&dyn Log) -> Result<T, LogError> + Send + 'static,
) -> Result<T, ApiError> {
    let log = state.access.log().clone();
    match tokio::task::spawn_blocking(move || work(log.as_ref())).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ApiError::new(Kind::Internal, "the dead letters could not be looked through")),
    }
}

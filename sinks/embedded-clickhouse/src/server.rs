//! The HTTP interface: who may ask, how many at once, and the headers of answers. What a statement is and how it runs is
//! in `work`.

use crate::body::{self, Answer, BodyReader};
use crate::codec::Encoder;
use crate::engine::Engine;
use crate::exception::{Exception, code};
use crate::format::media_type;
use crate::random;
use crate::reply::{Head, Reply};
use crate::request::{self, Credentials, Request};
use crate::sessions::Sessions;
use crate::work::{STATEMENT_BYTES_MAX, Work};
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Statements that run at once; the engine shares the processors among them.
const RUNNING_MAX: usize = 16;

/// Statements that wait for their turn, and for how long.
const WAITING_MAX: usize = 128;
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Who may ask.
#[derive(Clone)]
pub struct Account {
    /// The only user. `default` is taken for it too, since clients say that where they are told nothing.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Account {
    fn check(&self, credentials: &Credentials) -> Result<(), Exception> {
        let password = credentials.password.as_deref().unwrap_or_default();
        if password.is_empty() {
            let message = "the embedded ClickHouse has a password: send it as basic authentication or X-ClickHouse-Key";
            return Err(Exception::new(code::REQUIRED_PASSWORD, "REQUIRED_PASSWORD", message));
        }
        let user = credentials.user.as_deref().unwrap_or(&self.user);
        let known = user == self.user || user == "default";
        if known && bool::from(password.as_bytes().ct_eq(self.password.as_bytes())) {
            return Ok(());
        }
        let message =
            format!("{user}: Authentication failed: password is incorrect, or there is no user with such name.");
        Err(Exception::new(code::AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", message))
    }
}

/// What requests share.
pub struct Shared {
    engine: Arc<Engine>,
    sessions: Arc<Sessions>,
    account: Account,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The interface over an engine.
pub fn router(engine: Arc<Engine>, account: Account) -> Router {
    let running = Arc::new(Semaphore::new(RUNNING_MAX));
    let shared = Shared { engine, sessions: Arc::default(), account, running, waiting: AtomicUsize::new(0) };
    Router::new()
        .route("/", any(statement))
        .route("/query", any(statement))
        .route("/ping", get(|| async { "Ok.\n" }))
        .route("/replicas_status", get(|| async { "Ok.\n" }))
        .route("/health", get(health))
        .with_state(Arc::new(shared))
}

/// Whether the engine answers; the statements of others do not keep it waiting.
async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let version = shared.engine.version.clone();
    match tokio::task::spawn_blocking(move || shared.engine.health()).await {
        Ok(Ok(())) => "Ok.\n".into_response(),
        Ok(Err(exception)) => refusal(&exception, &version, None),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn statement(
    State(shared): State<Arc<Shared>>,
    method: Method,
    RawQuery(url_query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let url_query = url_query.unwrap_or_default();
    if url_query.is_empty() && matches!(method, Method::GET | Method::HEAD) {
        return "Ok.\n".into_response();
    }
    let version = shared.engine.version.clone();
    match answer(&shared, &method, &url_query, &headers, body).await {
        Ok(response) => response,
        Err((exception, query_id)) => refusal(&exception, &version, query_id.as_deref()),
    }
}

type Failed = (Exception, Option<String>);

async fn answer(
    shared: &Arc<Shared>,
    method: &Method,
    url_query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let nameless = |exception| (exception, None);
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
        let message = format!("{method} is not understood: use GET or POST");
        return Err(nameless(Exception::new(code::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)));
    }
    let (mut request, credentials) = request::read(method, url_query, headers).map_err(nameless)?;
    shared.account.check(&credentials).map_err(nameless)?;
    let query_id = request.query_id.clone().filter(|id| !id.is_empty()).unwrap_or_else(random::uuid);
    let failed = |exception| (exception, Some(query_id.clone()));
    let body = form(&mut request, headers, body).await.map_err(failed)?;
    let permit = turn(shared).await.map_err(failed)?;

    let (head_sender, head) = oneshot::channel();
    let (pieces_sender, pieces) = body::answer();
    let tag = random::tag();
    let coding = request.answer_coding;
    let encoder = Encoder::new(coding, request.answer_in_frames);
    let encoder = encoder.map_err(|error| failed(Exception::from_engine(&error.to_string())))?;
    let reply = Reply::new(head_sender, pieces_sender, (encoder, request.buffer_bytes), &shared.engine.version, &tag);
    let mark = format!("aulaflow-{}", random::uuid());
    let guard = Waiting::new(shared, &mark);
    let (engine, sessions) = (Arc::clone(&shared.engine), Arc::clone(&shared.sessions));
    let work = Work { engine, sessions, request, mark };
    let reader = BodyReader::spawn(body);
    let ended = Arc::clone(&guard.ended);
    tokio::task::spawn_blocking(move || run(work, reader, reply, ended, permit));

    let head = head.await.unwrap_or_else(|_| Err(Exception::from_engine("the statement ended without an answer")));
    let head = head.map_err(failed)?;
    let mut response = Response::new(Body::from_stream(Answer::new(pieces, guard)));
    describe(response.headers_mut(), shared, &head, &query_id);
    let headers = response.headers_mut();
    set(headers, "x-clickhouse-exception-tag", &tag);
    if let Some(coding) = coding {
        set(headers, "content-encoding", coding.name());
    }
    Ok(response)
}

fn run(
    work: Work,
    reader: BodyReader,
    reply: Reply,
    ended: Arc<std::sync::atomic::AtomicBool>,
    permit: OwnedSemaphorePermit,
) {
    work.run(reader, reply);
    ended.store(true, Ordering::Release);
    // The next one's turn.
    drop(permit);
}

/// A statement's turn.
async fn turn(shared: &Shared) -> Result<OwnedSemaphorePermit, Exception> {
    if let Ok(permit) = Arc::clone(&shared.running).try_acquire_owned() {
        return Ok(permit);
    }
    let too_many = || {
        let message = format!("Too many simultaneous queries: {RUNNING_MAX} run and others wait; try again");
        Exception::new(code::TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", message)
    };
    let _place = Place::take(&shared.waiting).ok_or_else(too_many)?;
    let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&shared.running).acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or_else(too_many)
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody waits for a statement. Dropped before it has ended, it stops the statement.
struct Waiting {
    engine: Arc<Engine>,
    mark: String,
    ended: Arc<std::sync::atomic::AtomicBool>,
}

impl Waiting {
    fn new(shared: &Shared, mark: &str) -> Self {
        Self { engine: Arc::clone(&shared.engine), mark: mark.to_owned(), ended: Arc::default() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let (engine, mark) = (Arc::clone(&self.engine), std::mem::take(&mut self.mark));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || engine.stop(&mark));
        }
    }
}

/// A body of `multipart/form-data`: the statement and its parameters come as fields, and nothing is left of it.
async fn form(request: &mut Request, headers: &HeaderMap, body: Body) -> Result<Body, Exception> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Ok(boundary) = multer::parse_boundary(kind) else { return Ok(body) };
    let limits = multer::SizeLimit::new().whole_stream(STATEMENT_BYTES_MAX as u64);
    let constraints = multer::Constraints::new().size_limit(limits);
    let stream = body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other));
    let mut form = multer::Multipart::with_constraints(stream, boundary, constraints);
    let wrong = |error: multer::Error| {
        Exception::new(code::INCORRECT_DATA, "INCORRECT_DATA", format!("the body is no multipart/form-data: {error}"))
    };
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "query" {
            request.query.push_str(&field.text().await.map_err(wrong)?);
        } else if let Some(parameter) = name.strip_prefix("param_").map(str::to_owned) {
            request.parameters.push((parameter, field.text().await.map_err(wrong)?));
        } else {
            let message = format!("{name}: external tables are not understood; make a temporary table in a session");
            return Err(Exception::new(code::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message));
        }
    }
    Ok(Body::empty())
}

fn describe(headers: &mut HeaderMap, shared: &Shared, head: &Head, query_id: &str) {
    set(headers, "content-type", media_type(&head.format));
    set(headers, "x-clickhouse-format", &head.format);
    set(headers, "x-clickhouse-query-id", query_id);
    set(headers, "x-clickhouse-server-display-name", "aulaflow");
    set(headers, "x-clickhouse-summary", &head.summary);
    set(headers, "x-clickhouse-timezone", &shared.engine.timezone);
}

fn refusal(exception: &Exception, version: &str, query_id: Option<&str>) -> Response {
    let mut response = (exception.status(), exception.body(version)).into_response();
    let headers = response.headers_mut();
    set(headers, "x-clickhouse-exception-code", &exception.code.to_string());
    set(headers, "x-clickhouse-server-display-name", "aulaflow");
    if let Some(query_id) = query_id {
        set(headers, "x-clickhouse-query-id", query_id);
    }
    if exception.status() == StatusCode::UNAUTHORIZED {
        set(headers, "www-authenticate", "Basic realm=\"ClickHouse server HTTP API\"");
    }
    response
}

/// A value that is none for a header, such as a query id with an end of line, is left out.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

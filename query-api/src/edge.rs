//! What surrounds every request, in one middleware so that a read pays for it once: ids, the limit of requests in
//! flight, the timeout, metrics, the access log, and the rendering of problems.
//!
//! The log names the route's pattern, never the path: paths hold student ids.

use crate::error::{ApiError, Kind};
use crate::request_id::{self, TRACEPARENT, X_REQUEST_ID};
use crate::scope::Caller;
use crate::state::ApiState;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing::Instrument;

/// The middleware's own state.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Inner>);

struct Inner {
    state: ApiState,
    /// Patterns of all routes, as label values that need no allocation.
    patterns: Vec<&'static str>,
    in_flight: AtomicUsize,
}

/// What handlers tell the edge about a request, for its log.
#[derive(Clone, Default)]
pub(crate) struct Trail(Arc<OnceLock<Arc<Caller>>>);

impl Trail {
    pub(crate) fn caller(&self, caller: &Arc<Caller>) {
        // Only the first extractor of a request gets here first; a second one would say the same.
        let _ = self.0.set(Arc::clone(caller));
    }
}

impl Edge {
    pub(crate) fn new(state: ApiState, patterns: impl Iterator<Item = &'static str>) -> Self {
        let mut patterns: Vec<_> = patterns.collect();
        patterns.dedup();
        Self(Arc::new(Inner { state, patterns, in_flight: AtomicUsize::new(0) }))
    }

    fn pattern(&self, request: &Request) -> &'static str {
        let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        matched.and_then(|path| self.0.patterns.iter().find(|known| **known == path)).copied().unwrap_or("none")
    }
}

/// A request's place among those in flight; given back when it ends, however it ends.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(in_flight: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(in_flight);
        (place.0.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The middleware.
pub(crate) async fn around(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let state = &edge.0.state;
    let id = state.request_ids.take(request.headers());
    let traceparent = request_id::traceparent(request.headers());
    let trace = traceparent.as_ref().and_then(request_id::trace_id);
    let route = edge.pattern(&request);
    let method = method_name(request.method());
    let uri = request.uri().clone();
    let trail = Trail::default();
    request.extensions_mut().insert(trail.clone());

    // Reads are many and tell little: their span exists only where somebody debugs.
    let span = if request.method() == Method::GET {
        tracing::debug_span!("request", request_id = request_id::text(&id), trace_id = trace, method, route)
    } else {
        tracing::info_span!("request", request_id = request_id::text(&id), trace_id = trace, method, route)
    };
    let mut response = match Place::take(&edge.0.in_flight, state.config.requests_max) {
        None => rejected(Kind::Overloaded, "too many requests are in flight"),
        Some(_place) => {
            let answer = next.run(request).instrument(span);
            match tokio::time::timeout(state.config.request_timeout, answer).await {
                Ok(response) => response,
                Err(_) => rejected(Kind::Timeout, "the request was not answered in time"),
            }
        }
    };

    let error = response.extensions_mut().remove::<Arc<ApiError>>();
    if let Some(error) = &error {
        let problem = error.render(uri.path(), request_id::text(&id));
        // Headers that the router set, such as `Allow` of a 405, stay.
        let kept = std::mem::replace(&mut response, problem);
        for (name, value) in kept.headers() {
            if !response.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    state.metrics.observe_request(route, method, status, seconds);
    log(&Answered { id: &id, trace, method, route, status, seconds, error: error.as_deref() }, &trail);
    response.headers_mut().insert(X_REQUEST_ID, id);
    if let Some(traceparent) = traceparent {
        response.headers_mut().insert(TRACEPARENT, traceparent);
    }
    response
}

struct Answered<'a> {
    id: &'a HeaderValue,
    trace: Option<&'a str>,
    method: &'static str,
    route: &'static str,
    status: u16,
    seconds: f64,
    error: Option<&'a ApiError>,
}

/// One line per request: reads that succeed only where somebody debugs.
fn log(answered: &Answered<'_>, trail: &Trail) {
    let Answered { id, trace, method, route, status, seconds, error } = *answered;
    let problem = error.map(|error| error.kind.about().slug);
    let caller = trail.0.get();
    let tenant = caller.and_then(|caller| caller.tenant()).map(tracing::field::display);
    let role = caller.map(|caller| tracing::field::display(caller.role()));
    let request_id = request_id::text(id);
    if method == "GET" && status < 400 {
        tracing::debug!(request_id, trace_id = trace, tenant, role, method, route, status, seconds, "answered");
    } else {
        tracing::info!(request_id, trace_id = trace, tenant, role, method, route, status, seconds, problem, "answered");
    }
}

fn rejected(kind: Kind, detail: &str) -> Response {
    use axum::response::IntoResponse;
    ApiError::new(kind, detail).retry_after(Duration::from_secs(1)).into_response()
}

/// The standard methods; others share one label, or a caller could make as many as it likes.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 6] = [
        (&Method::GET, "GET"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::DELETE, "DELETE"),
        (&Method::HEAD, "HEAD"),
        (&Method::OPTIONS, "OPTIONS"),
    ];
    KNOWN.iter().find(|(known, _)| *known == method).map_or("other", |(_, name)| name)
}

/// Answers paths that no route has.
pub(crate) async fn no_such_route() -> ApiError {
    ApiError::new(Kind::NoSuchRoute, "no route has this path; /docs lists all of them")
}

/// Answers methods that a route does not know.
pub(crate) async fn no_such_method() -> ApiError {
    ApiError::new(Kind::MethodNotAllowed, "this route does not know the method; the Allow header names those it knows")
}

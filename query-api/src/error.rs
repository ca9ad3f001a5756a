//! Every answer that is not a success: RFC 9457 `application/problem+json`.
//!
//! A handler returns an [`ApiError`]; the edge (`edge.rs`) writes it as a problem, since only there the request's path
//! and id are known. Adding a kind of problem is one variant and one row of the table.

use aulaflow_log::LogError;
use aulaflow_model::fault::Fault;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Kinds of problems. Their table is [`Kind::about`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    MissingToken,
    InvalidToken,
    Forbidden,
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    BrokenJson,
    BadRequest,
    Invalid,
    BodyTooLarge,
    TooManyItems,
    UnsupportedMediaType,
    NotAcceptable,
    UnsupportedEncoding,
    Overloaded,
    Timeout,
    LogFull,
    LogUnavailable,
    NotReady,
    NotServedHere,
    OtherRole,
    AnalyticsOff,
    AnalyticsUnavailable,
    SqlRefused,
    SqlFailed,
    SqlLimit,
    Internal,
}

/// What a kind of problem means: `slug` is its place on the `/docs` page.
pub(crate) struct About {
    pub(crate) slug: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    /// What the caller should do.
    pub(crate) advice: &'static str,
}

impl Kind {
    pub(crate) const ALL: [Self; 27] = [
        Self::MissingToken,
        Self::InvalidToken,
        Self::Forbidden,
        Self::NotFound,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::BrokenJson,
        Self::BadRequest,
        Self::Invalid,
        Self::BodyTooLarge,
        Self::TooManyItems,
        Self::UnsupportedMediaType,
        Self::NotAcceptable,
        Self::UnsupportedEncoding,
        Self::Overloaded,
        Self::Timeout,
        Self::LogFull,
        Self::LogUnavailable,
        Self::NotReady,
        Self::NotServedHere,
        Self::OtherRole,
        Self::AnalyticsOff,
        Self::AnalyticsUnavailable,
        Self::SqlRefused,
        Self::SqlFailed,
        Self::SqlLimit,
        Self::Internal,
    ];

    #[expect(clippy::too_many_lines, reason = "a table: one row per kind")]
    pub(crate) fn about(self) -> About {
        let row = |slug, status, title, advice| About { slug, status, title, advice };
        match self {
            Self::MissingToken => row(
                "missing-token",
                StatusCode::UNAUTHORIZED,
                "A token is needed",
                "Send `Authorization: Bearer <token>`.",
            ),
            Self::InvalidToken => row(
                "invalid-token",
                StatusCode::UNAUTHORIZED,
                "The token is not accepted",
                "Get a new token; the detail says what is wrong with this one.",
            ),
            Self::Forbidden => row(
                "forbidden",
                StatusCode::FORBIDDEN,
                "The role may not do this",
                "Use a token of a role that may; the detail names them.",
            ),
            Self::NotFound => row(
                "not-found",
                StatusCode::NOT_FOUND,
                "There is no such thing",
                "Check the id. What the token may not see is not there either.",
            ),
            Self::NoSuchRoute => row(
                "no-such-route",
                StatusCode::NOT_FOUND,
                "There is no such route",
                "Check the path; `/docs` lists all of them.",
            ),
            Self::MethodNotAllowed => row(
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The route does not know this method",
                "The `Allow` header names the methods that it knows.",
            ),
            Self::BrokenJson => row(
                "broken-json",
                StatusCode::BAD_REQUEST,
                "The body is not JSON",
                "Mend the body at the line and column that the detail names.",
            ),
            Self::BadRequest => {
                row("bad-request", StatusCode::BAD_REQUEST, "The request cannot be read", "Mend what the detail names.")
            }
            Self::Invalid => row(
                "invalid",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The body is JSON, but not what is expected",
                "Mend every place that `errors` points to.",
            ),
            Self::BodyTooLarge => {
                row("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large", "Send less at once.")
            }
            Self::TooManyItems => row(
                "too-many-items",
                StatusCode::PAYLOAD_TOO_LARGE,
                "There are too many items in the body",
                "Split the batch; the detail names the limit. Nothing of it was taken.",
            ),
            Self::UnsupportedMediaType => row(
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body's media type is not accepted here",
                "Set `Content-Type` to one that the detail names.",
            ),
            Self::NotAcceptable => row(
                "not-acceptable",
                StatusCode::NOT_ACCEPTABLE,
                "There is no such form of the answer",
                "Set `Accept` to a media type that the detail names, or leave it out.",
            ),
            Self::UnsupportedEncoding => row(
                "unsupported-encoding",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body's encoding is not accepted here",
                "Send the body as it is: packed bodies (gzip, br, ...) are not unpacked.",
            ),
            Self::Overloaded => row(
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests are in flight",
                "Try again after `Retry-After`. Nothing was done.",
            ),
            Self::Timeout => row(
                "timeout",
                StatusCode::SERVICE_UNAVAILABLE,
                "The request took too long",
                "Try again. Whether a write was taken is unknown; writes may be repeated, since ids make them count once.",
            ),
            Self::LogFull => row(
                "log-full",
                StatusCode::SERVICE_UNAVAILABLE,
                "The log takes no more at the moment",
                "Try again after `Retry-After`. Nothing was taken.",
            ),
            Self::LogUnavailable => row(
                "log-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The log does not answer",
                "Try again. Whether the write was taken is unknown; it may be repeated, since ids make it count once.",
            ),
            Self::NotReady => row(
                "not-ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is not ready",
                "Wait; the detail says for what.",
            ),
            Self::NotServedHere => row(
                "not-served-here",
                StatusCode::SERVICE_UNAVAILABLE,
                "Another process has this tenant",
                "Try again: partitions move when processes come and go. A serve-only replica has all tenants.",
            ),
            Self::OtherRole => row(
                "other-role",
                StatusCode::SERVICE_UNAVAILABLE,
                "This process has another role",
                "Ask a process with the role that the detail names.",
            ),
            Self::AnalyticsOff => row(
                "analytics-off",
                StatusCode::SERVICE_UNAVAILABLE,
                "Analytics are off",
                "Turn them on, as the detail says.",
            ),
            Self::AnalyticsUnavailable => row(
                "analytics-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The history does not answer",
                "Try again after `Retry-After`. What is in memory is answered all the while.",
            ),
            Self::SqlRefused => row(
                "sql-refused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The query may not be asked",
                "Write what the detail says instead; docs/guides/sql-api.md lists what may be used.",
            ),
            Self::SqlFailed => row(
                "sql-failed",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The query cannot be answered",
                "Mend what the detail names.",
            ),
            Self::SqlLimit => row(
                "sql-limit",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The query needs more than it may have",
                "Ask for less: fewer rows, a shorter time, an aggregate.",
            ),
            Self::Internal => row(
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something is wrong on our side",
                "Report it with the request's id.",
            ),
        }
    }
}

/// A problem on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    pub(crate) faults: Vec<Fault>,
    retry_after: Option<Duration>,
}

/// The body (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl ApiError {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), faults: Vec::new(), retry_after: None }
    }

    /// A body that is JSON but not what is expected.
    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [one] if one.pointer.is_empty() => one.detail.clone(),
            [one] => format!("{}: {}", one.pointer, one.detail),
            more => format!("{} places are wrong", more.len()),
        };
        Self { faults, ..Self::new(Kind::Invalid, detail) }
    }

    /// Something that the token may not see, or that is not there: the same answer.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no such {what}"))
    }

    pub(crate) fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The whole answer.
    pub(crate) fn render(&self, path: &str, request_id: &str) -> Response {
        let about = self.kind.about();
        let problem = Problem {
            r#type: format!("/docs#{}", about.slug),
            title: about.title,
            status: about.status.as_u16(),
            detail: &self.detail,
            instance: format!("{path}#{request_id}"),
            errors: &self.faults,
        };
        // A struct of strings and numbers always serialises.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.kind == Kind::UnsupportedEncoding {
            // RFC 9110 §12.5.3: in a 415 it names what would have been accepted.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(after) = self.retry_after {
            // Whole seconds, at least one: 0 would invite a busy loop.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        (about.status, headers, body).into_response()
    }

    /// RFC 6750 §3.
    fn challenge(&self) -> Option<HeaderValue> {
        match self.kind {
            Kind::MissingToken => Some(HeaderValue::from_static("Bearer")),
            Kind::InvalidToken => Some(HeaderValue::from_static("Bearer error=\"invalid_token\"")),
            Kind::Forbidden
            | Kind::NotFound
            | Kind::NoSuchRoute
            | Kind::MethodNotAllowed
            | Kind::BrokenJson
            | Kind::BadRequest
            | Kind::Invalid
            | Kind::BodyTooLarge
            | Kind::TooManyItems
            | Kind::UnsupportedMediaType
            | Kind::NotAcceptable
            | Kind::UnsupportedEncoding
            | Kind::Overloaded
            | Kind::Timeout
            | Kind::LogFull
            | Kind::LogUnavailable
            | Kind::NotReady
            | Kind::NotServedHere
            | Kind::OtherRole
            | Kind::AnalyticsOff
            | Kind::AnalyticsUnavailable
            | Kind::SqlRefused
            | Kind::SqlFailed
            | Kind::SqlLimit
            | Kind::Internal => None,
        }
    }
}

impl IntoResponse for ApiError {
    /// Carries the error to the edge, which renders it.
    fn into_response(self) -> Response {
        let mut response = self.kind.about().status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full { retry_after } => {
                Self::new(Kind::LogFull, "the log's buffer is full").retry_after(retry_after)
            }
            LogError::Unavailable(why) => {
                // The reason may name files and devices: it is for the operator's log, not for the caller.
                tracing::warn!(%why, "the log does not answer");
                Self::new(Kind::LogUnavailable, "the log did not confirm the write in time")
                    .retry_after(Duration::from_secs(1))
            }
            error @ (LogError::Unknown(..)
            | LogError::Gone { .. }
            | LogError::Fenced(_)
            | LogError::Ended { .. }
            | LogError::Refused(_)
            | LogError::Corrupt(_)) => {
                tracing::error!(%error, "the log refused an append");
                Self::new(Kind::Internal, "the log refused the write")
            }
        }
    }
}

//! Reading bodies: their size, their media type, and their items as slices of the body, unparsed.

use crate::error::{ApiError, Kind};
use crate::state::ApiState;
use aulaflow_model::fault::Fault;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::value::RawValue;

/// Bytes of a body that is too large that are still read and thrown away, so that a caller who writes all of it before
/// it reads gets the answer and not a broken connection.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// How a body's items are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON document.
    Json,
    /// One JSON document per line.
    JsonLines,
}

/// A body, read whole.
pub(crate) struct RequestBody {
    pub(crate) bytes: Bytes,
    pub(crate) format: Format,
}

/// An item of a body and its place: its index in the array, or its line.
pub(crate) struct Item<'a> {
    pub(crate) index: usize,
    pub(crate) json: &'a [u8],
}

impl FromRequest<ApiState> for RequestBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let format = format(request.headers())?;
        let bytes = whole(request, state.config.body_bytes_max).await?;
        Ok(Self { bytes, format })
    }
}

/// A body of any media type, read whole.
pub(crate) async fn whole(request: Request, max: usize) -> Result<Bytes, ApiError> {
    refuse_encoding(request.headers())?;
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
    read(request.into_body(), announced.unwrap_or(0), max).await
}

impl RequestBody {
    /// The body, where only one JSON document will do.
    pub(crate) fn json(self) -> Result<Bytes, ApiError> {
        match self.format {
            Format::Json => Ok(self.bytes),
            Format::JsonLines => {
                Err(ApiError::new(Kind::UnsupportedMediaType, "send `Content-Type: application/json`"))
            }
        }
    }
}

fn format(headers: &HeaderMap) -> Result<Format, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Format::Json);
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Format::Json),
        "application/x-ndjson" | "application/jsonl" | "application/json-lines" => Ok(Format::JsonLines),
        _ => Err(ApiError::new(
            Kind::UnsupportedMediaType,
            "send `Content-Type: application/json`, or `application/x-ndjson` where JSON lines are accepted",
        )),
    }
}

/// A packed body would have to be unpacked within a limit of its own; read as it is, it would be called broken JSON.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let plain = |value: &HeaderValue| value.to_str().is_ok_and(|coding| coding.trim().eq_ignore_ascii_case("identity"));
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        return Ok(());
    }
    Err(ApiError::new(Kind::UnsupportedEncoding, "send the body as it is, without `Content-Encoding`"))
}

async fn read(mut body: Body, announced: usize, max: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        let detail = format!("the body is larger than {max} bytes; the limit is `server.body_bytes_max`");
        ApiError::new(Kind::BodyTooLarge, detail)
    };
    if announced > max.saturating_add(DRAIN_BYTES_MAX) {
        return Err(too_large());
    }
    let mut whole: Option<BytesMut> = None;
    let mut first: Option<Bytes> = None;
    let mut total = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(Kind::BadRequest, "the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total = total.saturating_add(data.len());
        if total > max.saturating_add(DRAIN_BYTES_MAX) {
            return Err(too_large());
        }
        if total > max {
            continue;
        }
        match (&mut whole, first.take()) {
            (Some(whole), _) => whole.extend_from_slice(&data),
            // Most bodies come in one piece, which is then not copied.
            (None, None) => first = Some(data),
            (None, Some(one)) => {
                let mut joined = BytesMut::with_capacity(announced.clamp(one.len() + data.len(), max));
                joined.extend_from_slice(&one);
                joined.extend_from_slice(&data);
                whole = Some(joined);
            }
        }
    }
    if total > max {
        return Err(too_large());
    }
    Ok(whole.map(BytesMut::freeze).or(first).unwrap_or_default())
}

/// Whether the bytes are one JSON document at all.
pub(crate) fn check_json(bytes: &[u8]) -> Result<(), ApiError> {
    serde_json::from_slice::<&RawValue>(bytes).map(drop).map_err(|error| broken(&error))
}

/// One JSON document as a value, in which no key stands twice.
pub(crate) fn value(bytes: &[u8]) -> Result<serde_json::Value, ApiError> {
    let (value, repeated) = aulaflow_model::json::value(bytes).map_err(|error| broken(&error))?;
    if repeated.is_empty() { Ok(value) } else { Err(ApiError::invalid(repeated)) }
}

/// The items of a body, at most `max`.
pub(crate) fn items<'a>(bytes: &'a [u8], format: Format, max: usize, of: &str) -> Result<Vec<Item<'a>>, ApiError> {
    let items: Vec<Item<'_>> = match format {
        Format::Json => {
            let array: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => {
                    ApiError::invalid(vec![Fault::new("", format!("expected an array of {of}"))])
                }
                serde_json::error::Category::Io
                | serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof => broken(&error),
            })?;
            array.into_iter().enumerate().map(|(index, raw)| Item { index, json: raw.get().as_bytes() }).collect()
        }
        Format::JsonLines => bytes
            .split(|b| *b == b'\n')
            .enumerate()
            .map(|(index, line)| Item { index, json: line.trim_ascii() })
            .filter(|item| !item.json.is_empty())
            .collect(),
    };
    if items.len() > max {
        let n = items.len();
        return Err(ApiError::new(Kind::TooManyItems, format!("{n} {of} were sent, at most {max} are taken at once")));
    }
    Ok(items)
}

/// The problem of a body that is not JSON. serde_json names line and column, and no content.
pub(crate) fn broken(error: &serde_json::Error) -> ApiError {
    ApiError::new(Kind::BrokenJson, format!("the body is not JSON: {error}"))
}

/// A JSON answer from bytes. Answers hold personal data: no cache keeps them.
pub(crate) fn json(bytes: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (axum::http::header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, bytes).into_response()
}

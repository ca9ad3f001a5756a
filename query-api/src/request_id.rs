//! Ids of requests and traces: taken from the caller where they are sound, made otherwise.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest request id taken from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// `X-Request-Id`.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C `traceparent`.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes request ids that no other process makes: a random number of this process and a counter.
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // The standard hasher's keys come from the operating system's randomness.
        Self { process: RandomState::new().build_hasher().finish(), next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The caller's id if it is 1 to 128 printable ASCII characters, else a new one.
    pub(crate) fn take(&self, headers: &HeaderMap) -> HeaderValue {
        headers.get(X_REQUEST_ID).filter(|id| is_sound(id.as_bytes())).cloned().unwrap_or_else(|| self.make())
    }

    fn make(&self) -> HeaderValue {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [b'-'; 25];
        hex(&mut id[..16], self.process);
        hex(&mut id[17..], n);
        // Hexadecimal digits and a hyphen are always a header's value.
        HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// The low digits of a number; formatting it costs ten times as much, and every read pays for it.
fn hex(out: &mut [u8], mut n: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(n & 15) as usize];
        n >>= 4;
    }
}

fn is_sound(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(u8::is_ascii_graphic)
}

/// The request's id as text.
pub(crate) fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// The caller's `traceparent`, if it is one (W3C Trace Context, version 00).
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(TRACEPARENT)?;
    trace_id(value).map(|_| value.clone())
}

/// The trace id within a `traceparent`.
pub(crate) fn trace_id(value: &HeaderValue) -> Option<&str> {
    let mut parts = value.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let sound = version == "00"
        && hex(trace, 32)
        && !zero(trace)
        && hex(parent, 16)
        && !zero(parent)
        && hex(flags, 2)
        && parts.next().is_none();
    sound.then_some(trace)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn request_ids_are_taken_or_made() {
        let ids = RequestIds::default();
        let take = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            text(&ids.take(&headers)).to_owned()
        };
        assert_eq!(take(b"abc-123"), "abc-123");
        assert_eq!(take(&[b'x'; 128]), "x".repeat(128));
        for bad in [&b""[..], b"two words", "ñ".as_bytes(), &[b'x'; 129]] {
            let made = take(bad);
            assert_eq!(made.len(), 25, "{bad:?} gave {made}");
        }
        assert_ne!(ids.make(), ids.make());
    }

    #[test]
    fn traceparents_are_checked() {
        let id = |text: &'static str| trace_id(&HeaderValue::from_static(text)).map(str::to_owned);
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(id(good).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}

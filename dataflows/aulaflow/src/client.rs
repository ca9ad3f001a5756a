//! The HTTP client of the commands that talk to a running instance: one token, keep-alive connections, and bounded
//! retries. Everything that is sent more than once here is safe to repeat: evaluations are upserts, behaviour events
//! count once per id.

use aulaflow_model::fault::Fault;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a request goes on being retried while it is refused with 429 or 503, or not answered.
const RETRY_FOR: Duration = Duration::from_secs(120);

/// The longest wait that a `Retry-After` is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The shortest wait.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// How long to wait where a refusal does not say.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The largest answer read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Talks to one instance with one token.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// An answer below 400.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// Where the records went, if the answer says so.
    pub positions: Positions,
}

/// Per topic and partition, the offset behind the last record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(pub BTreeMap<(String, u32), u64>);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nothing answers at {0}")]
    Absent(String),
    /// It answered with an error.
    #[error("{url} answered {status}: {detail}")]
    Refused {
        /// What was called.
        url: String,
        /// The status.
        status: u16,
        /// The problem's detail and first errors, or the body's start.
        detail: String,
        /// All of the problem's errors.
        errors: Vec<Fault>,
    },
    /// The connection failed or the answer made no sense.
    #[error("{url}: {reason}")]
    Broken {
        /// What was called.
        url: String,
        /// Why.
        reason: String,
    },
}

/// What a caller should do about a failed try.
enum Verdict {
    Retry(Duration, ClientError),
    GiveUp(ClientError),
}

impl Client {
    /// A client of the instance at `base` (such as `http://127.0.0.1:8080`).
    pub fn new(base: &str, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(60)))
            .user_agent(concat!("aulaflow/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {token}"),
        }
    }

    /// Whether an instance answers there. An error means that somebody does who is no instance.
    pub fn is_running(&self) -> Result<bool, ClientError> {
        match self.get_once("/healthz") {
            Ok(_) => Ok(true),
            Err(ClientError::Absent(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// GET, once.
    pub fn get_once(&self, path: &str) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.base);
        let sent = self.agent.get(&url).header("Authorization", &self.authorization).call();
        answer(&url, sent).map_err(|verdict| match verdict {
            Verdict::Retry(_, error) | Verdict::GiveUp(error) => error,
        })
    }

    /// POST, again while the instance is busy or away for a moment.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, ClientError> {
        self.retrying(path, |url| self.agent.post(url), content_type, body)
    }

    /// PUT, likewise.
    pub fn put(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, ClientError> {
        self.retrying(path, |url| self.agent.put(url), content_type, body)
    }

    fn retrying(
        &self,
        path: &str,
        request: impl Fn(&str) -> ureq::RequestBuilder<ureq::typestate::WithBody>,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.base);
        let started = Instant::now();
        loop {
            let call = request(&url).header("Authorization", &self.authorization).header("Content-Type", content_type);
            match answer(&url, call.send(body)) {
                Ok(answer) => return Ok(answer),
                Err(Verdict::GiveUp(error)) => return Err(error),
                Err(Verdict::Retry(_, error)) if started.elapsed() >= RETRY_FOR => return Err(error),
                Err(Verdict::Retry(pause, error)) => {
                    tracing::warn!(%error, seconds = pause.as_secs_f64(), "trying again");
                    std::thread::sleep(pause);
                }
            }
        }
    }
}

fn answer(url: &str, sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Verdict> {
    let mut response = sent.map_err(|error| not_answered(url, error))?;
    let status = response.status().as_u16();
    let pause = retry_after(response.headers());
    let positions = Positions::from_headers(response.headers());
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| not_answered(url, error))?;
    if status < 400 {
        return Ok(Answer { body, positions });
    }
    let (detail, errors) = problem(&body);
    let refused = ClientError::Refused { url: url.to_owned(), status, detail, errors };
    match status {
        429 | 503 => Err(Verdict::Retry(pause, refused)),
        _ => Err(Verdict::GiveUp(refused)),
    }
}

fn not_answered(url: &str, error: ureq::Error) -> Verdict {
    let broken = |error: ureq::Error| ClientError::Broken { url: url.to_owned(), reason: error.to_string() };
    match error {
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
            Verdict::Retry(RETRY_AFTER_DEFAULT, ClientError::Absent(url.to_owned()))
        }
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            Verdict::Retry(RETRY_AFTER_DEFAULT, ClientError::Absent(url.to_owned()))
        }
        error @ (ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_)) => {
            Verdict::Retry(RETRY_AFTER_DEFAULT, broken(error))
        }
        error => Verdict::GiveUp(broken(error)),
    }
}

fn retry_after(headers: &ureq::http::HeaderMap) -> Duration {
    let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

/// A problem's detail with its first errors, or the start of whatever came; and all of its errors.
fn problem(body: &[u8]) -> (String, Vec<Fault>) {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
        #[serde(default)]
        errors: Vec<ProblemError>,
    }
    #[derive(Deserialize)]
    struct ProblemError {
        pointer: String,
        detail: String,
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return (String::from_utf8_lossy(body).chars().take(200).collect(), Vec::new());
    };
    let errors: Vec<Fault> = problem.errors.into_iter().map(|e| Fault::new(e.pointer, e.detail)).collect();
    let detail = errors.iter().take(3).fold(problem.detail, |text, error| format!("{text}; {error}"));
    (detail, errors)
}

impl Positions {
    /// Keeps the furthest of both.
    pub fn merge(&mut self, other: Positions) {
        for (place, end) in other.0 {
            let known = self.0.entry(place).or_default();
            *known = (*known).max(end);
        }
    }

    /// Reads `X-Log-Position`.
    fn from_headers(headers: &ureq::http::HeaderMap) -> Self {
        let values = headers.get_all("x-log-position").iter().filter_map(|value| value.to_str().ok());
        Self(values.flat_map(|value| value.split(',')).filter_map(position).collect())
    }
}

/// `topic/partition/offset` of a last record: its place and the offset behind it.
fn position(text: &str) -> Option<((String, u32), u64)> {
    let mut parts = text.trim().split('/');
    let (topic, partition, offset) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse::<u64>().ok()?);
    parts.next().is_none().then(|| ((topic.to_owned(), partition), offset + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ureq::http::HeaderMap;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn positions_are_behind_the_last_record() {
        let read = Positions::from_headers(&headers(&[("x-log-position", "aula.behavior.v1/2/41")]));
        assert_eq!(read.0, BTreeMap::from([(("aula.behavior.v1".to_owned(), 2), 42)]));
        let mut merged = read.clone();
        merged.merge(Positions::from_headers(&headers(&[("x-log-position", "aula.behavior.v1/2/7")])));
        assert_eq!(merged, read);
        assert_eq!(Positions::from_headers(&headers(&[("x-log-position", "nonsense")])), Positions::default());
    }

    #[test]
    fn waits_as_long_as_it_is_told_within_reason() {
        for (header, seconds) in [("3", 3), ("100000", 30), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("1", 1)] {
            assert_eq!(retry_after(&headers(&[("retry-after", header)])), Duration::from_secs(seconds), "{header}");
        }
        assert_eq!(retry_after(&headers(&[])), RETRY_AFTER_DEFAULT);
    }

    #[test]
    fn a_problem_is_shown_by_its_detail_and_first_errors() {
        let body =
            br#"{"title":"Invalid","detail":"2 places are wrong","errors":[{"pointer":"/a","detail":"is no date"}]}"#;
        assert_eq!(problem(body).0, "2 places are wrong; /a: is no date");
        assert_eq!(problem(b"<html>"), ("<html>".to_owned(), Vec::new()));
    }
}

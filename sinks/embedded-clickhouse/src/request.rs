//! What a request asks for: parameters of the URL and headers, as ClickHouse's HTTP interface has them. Nothing here does
//! I/O.

use crate::codec::Coding;
use crate::exception::{Exception, code};
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

/// How long a session is kept without requests, if it does not say so itself, and at most.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// So much of a result is held back before the status is sent, so that errors until then have one of their own.
const BUFFER_BYTES: usize = 1 << 20;

/// Parameters that mean something to ClickHouse's server and nothing here.
const IGNORED: &[&str] =
    &["stacktrace", "quota_key", "client_protocol_version", "http_write_exception_in_output_format"];

/// A request, but for its body.
#[derive(Debug, Default)]
pub struct Request {
    /// `query`: comes before what the body says.
    pub query: String,
    /// `database`
    pub database: Option<String>,
    /// `default_format`
    pub default_format: Option<String>,
    /// `query_id`
    pub query_id: Option<String>,
    /// Everything that is no parameter of the interface: a setting, for this statement alone.
    pub settings: Vec<(String, String)>,
    /// `param_NAME`: values of the statement's placeholders.
    pub parameters: Vec<(String, String)>,
    /// `session_id` and what belongs to it.
    pub session: Option<SessionName>,
    /// `compress=1`: the answer in ClickHouse's frames.
    pub answer_in_frames: bool,
    /// `decompress=1`: so is the body.
    pub body_in_frames: bool,
    /// How the body is encoded.
    pub content_coding: Option<Coding>,
    /// How the answer shall be.
    pub answer_coding: Option<Coding>,
    /// `buffer_size`: how much of the result is held back before the status is sent; `None`, as `wait_end_of_query=1`
    /// means: all of it.
    pub buffer_bytes: Option<usize>,
    /// GET: changes nothing.
    pub read_only: bool,
}

/// A session that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName {
    /// `session_id`
    pub id: String,
    /// `session_timeout`
    pub timeout: Duration,
    /// `session_check=1`: it must be there already.
    pub must_exist: bool,
}

/// Who asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The name, if one is said.
    pub user: Option<String>,
    /// The password, if one is said.
    pub password: Option<String>,
}

/// Reads the URL's parameters and the headers.
pub fn read(method: &Method, url_query: &str, headers: &HeaderMap) -> Result<(Request, Credentials), Exception> {
    let mut request = Request { read_only: *method != Method::POST, ..Request::default() };
    let mut url = Credentials::default();
    let mut wait = false;
    let mut buffer_bytes = BUFFER_BYTES;
    let mut accept = true;
    let mut session = (None, SESSION_TIMEOUT, false);
    for (name, value) in form_urlencoded::parse(url_query.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            "query" => request.query = value,
            "database" => request.database = Some(value),
            "default_format" => request.default_format = Some(value),
            "query_id" => request.query_id = Some(value),
            "user" => url.user = Some(value),
            "password" => url.password = Some(value),
            "session_id" => session.0 = Some(value),
            "session_timeout" => session.1 = session_timeout(&value)?,
            "session_check" => session.2 = flag(&value),
            "compress" => request.answer_in_frames = flag(&value),
            "decompress" => request.body_in_frames = flag(&value),
            "wait_end_of_query" => wait = flag(&value),
            "buffer_size" => buffer_bytes = number("buffer_size", &value)?,
            "role" => return Err(refused("roles: the embedded ClickHouse has none")),
            "enable_http_compression" => {
                accept = flag(&value);
                request.settings.push((name.into_owned(), value));
            }
            other if IGNORED.contains(&other) => {}
            other => match other.strip_prefix("param_") {
                Some(parameter) => request.parameters.push((parameter.to_owned(), value)),
                None => request.settings.push((other.to_owned(), value)),
            },
        }
    }
    request.session = session.0.map(|id| SessionName { id, timeout: session.1, must_exist: session.2 });
    request.buffer_bytes = if wait { None } else { Some(buffer_bytes) };
    // Clients send passwords as UTF-8, which a header's own text excludes.
    let header =
        |name: &str| headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).map(str::to_owned);
    request.database = request.database.or_else(|| header("x-clickhouse-database"));
    request.default_format = request.default_format.or_else(|| header("x-clickhouse-format"));
    request.content_coding = Coding::of_content(&header("content-encoding").unwrap_or_default())?;
    if accept && !request.answer_in_frames {
        request.answer_coding = Coding::accepted(&header("accept-encoding").unwrap_or_default());
    }
    let credentials = credentials(url, header)?;
    Ok((request, credentials))
}

/// A header wins over the URL, ClickHouse's own headers over `Authorization`.
fn credentials(url: Credentials, header: impl Fn(&str) -> Option<String>) -> Result<Credentials, Exception> {
    let own = Credentials { user: header("x-clickhouse-user"), password: header("x-clickhouse-key") };
    if own != Credentials::default() {
        return Ok(own);
    }
    let Some(authorization) = header("authorization") else { return Ok(url) };
    let invalid = || {
        let message = "Invalid authentication: 'Basic' HTTP authentication with user and password is understood";
        Exception::new(code::AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", message)
    };
    let (scheme, value) = authorization.split_once(' ').ok_or_else(invalid)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(invalid());
    }
    let decoded =
        STANDARD.decode(value.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let (user, password) = decoded.split_once(':').ok_or_else(invalid)?;
    Ok(Credentials { user: Some(user.to_owned()), password: Some(password.to_owned()) })
}

fn flag(value: &str) -> bool {
    matches!(value, "1" | "true" | "True" | "TRUE")
}

fn number(name: &str, value: &str) -> Result<usize, Exception> {
    value.parse().map_err(|_| {
        Exception::new(code::BAD_ARGUMENTS, "BAD_ARGUMENTS", format!("{name}: {value:?} is not a number of bytes"))
    })
}

fn session_timeout(value: &str) -> Result<Duration, Exception> {
    let seconds = value.parse().ok().map(Duration::from_secs).filter(|timeout| *timeout <= SESSION_TIMEOUT_MAX);
    seconds.ok_or_else(|| {
        let message =
            format!("session_timeout: {value:?} is not a number of seconds up to {}", SESSION_TIMEOUT_MAX.as_secs());
        Exception::new(code::BAD_ARGUMENTS, "BAD_ARGUMENTS", message)
    })
}

fn refused(what: &str) -> Exception {
    Exception::new(code::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn parse(url: &str, pairs: &[(&'static str, &'static str)]) -> Result<(Request, Credentials), Exception> {
        read(&Method::POST, url, &headers(pairs))
    }

    #[test]
    fn what_is_no_parameter_is_a_setting() {
        let url = "query=SELECT+1%2B1&database=aula&param_x=a%27b&max_threads=2&stacktrace=1&wait_end_of_query=1";
        let (request, _) = parse(url, &[]).unwrap();
        assert_eq!(request.query, "SELECT 1+1");
        assert_eq!(request.database.as_deref(), Some("aula"));
        assert_eq!(request.parameters, [("x".to_owned(), "a'b".to_owned())]);
        assert_eq!(request.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!(request.buffer_bytes, None);
        assert!(!request.read_only);
    }

    #[test]
    fn headers_say_it_too() {
        let (request, credentials) = parse(
            "user=a&password=b",
            &[
                ("x-clickhouse-user", "u"),
                ("x-clickhouse-key", "k"),
                ("x-clickhouse-database", "d"),
                ("x-clickhouse-format", "JSON"),
                ("accept-encoding", "gzip, zstd"),
            ],
        )
        .unwrap();
        assert_eq!((credentials.user.as_deref(), credentials.password.as_deref()), (Some("u"), Some("k")));
        assert_eq!((request.database.as_deref(), request.default_format.as_deref()), (Some("d"), Some("JSON")));
        assert_eq!(request.answer_coding, Some(Coding::Gzip));
        let (request, _) = parse("enable_http_compression=0", &[("accept-encoding", "gzip")]).unwrap();
        assert_eq!(request.answer_coding, None);
    }

    #[test]
    fn basic_authentication_is_read() {
        let (_, credentials) = parse("", &[("authorization", "Basic YXVsYTpzOmVjcmV0")]).unwrap();
        assert_eq!((credentials.user.as_deref(), credentials.password.as_deref()), (Some("aula"), Some("s:ecret")));
        for bad in ["Bearer x", "Basic", "Basic !!!", "Basic YQ=="] {
            assert_eq!(parse("", &[("authorization", bad)]).unwrap_err().code, 516, "{bad}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(parse("session_id=a&session_timeout=9999", &[]).unwrap_err().code, 36);
        assert_eq!(parse("buffer_size=x", &[]).unwrap_err().code, 36);
        assert_eq!(parse("role=x", &[]).unwrap_err().code, 48);
        assert_eq!(parse("", &[("content-encoding", "br")]).unwrap_err().code, 48);
    }
}

//! Plain HTTP requests, as curl makes them.

use crate::{PASSWORD, USER};
use std::time::Duration;

/// An answer.
pub struct Answer {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// ClickHouse's number of the exception; 0: there is none.
    pub fn code(&self) -> u32 {
        self.header("x-clickhouse-exception-code").parse().unwrap_or(0)
    }
}

/// A request; `parameters` are the URL's.
pub struct Ask<'a> {
    pub url: &'a str,
    pub parameters: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<&'a [u8]>,
}

pub fn url_with(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("{url}/?{}", query.finish())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

impl Ask<'_> {
    pub fn send(&self) -> Answer {
        let url = url_with(self.url, self.parameters);
        let answer = match self.body {
            Some(body) => {
                let request =
                    self.headers.iter().fold(agent().post(url), |request, (name, value)| request.header(*name, *value));
                request.send(body).unwrap()
            }
            None => {
                let request =
                    self.headers.iter().fold(agent().get(url), |request, (name, value)| request.header(*name, *value));
                request.call().unwrap()
            }
        };
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(1 << 30).read_to_vec().unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// With the right user and password.
pub fn post(url: &str, parameters: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut parameters = parameters.to_vec();
    parameters.extend([("user", USER), ("password", PASSWORD)]);
    Ask { url, parameters: &parameters, headers: &[], body: Some(body) }.send()
}

/// The text of an answer that must be good.
pub fn query(url: &str, text: &str) -> String {
    let answer = post(url, &[], text.as_bytes());
    assert_eq!(answer.status, 200, "{text}: {}", answer.text());
    answer.text()
}

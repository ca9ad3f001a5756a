//! The smallest HTTP/1.1 client that measures: one keep-alive connection, one request at a time, no retries.
//! What is sent and what an answer means is not known here.

use anyhow::{Context, Result, anyhow, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer of a working instance takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The value of `X-Log-Position`, where there is one.
    pub position: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Where an answer's parts are in the bytes received so far.
pub struct Layout {
    /// The status.
    pub status: u16,
    /// Length of the head with its empty line.
    pub head: usize,
    /// Length of head and body.
    pub total: usize,
}

/// A request's bytes.
pub fn request(method: &str, path: &str, token: &str, body: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n").into_bytes();
    if !token.is_empty() {
        bytes.extend_from_slice(format!("Authorization: Bearer {token}\r\n").as_bytes());
    }
    let (content_type, body) = body.unwrap_or_default();
    if !content_type.is_empty() {
        let described = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        bytes.extend_from_slice(described.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Reads an answer's head; `None` while it is not whole.
pub fn layout(received: &[u8]) -> Result<Option<Layout>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&received[..end]).context("an answer's head is no text")?;
    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).context("an answer has no status")?;
    let length = match header(head, "content-length") {
        Some(length) => length.parse::<usize>().context("an answer's content-length is no number")?,
        // No body: 204.
        None if header(head, "transfer-encoding").is_none() => 0,
        None => bail!("an answer comes in chunks, which this client does not read"),
    };
    Ok(Some(Layout { status, head: end + 4, total: end + 4 + length }))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("nothing answers at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request's bytes and reads the answer.
    pub fn call(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).context("the connection does not take the request")?;
        self.buffer.clear();
        let mut chunk = [0; 64 << 10];
        loop {
            let n = match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the connection was closed instead of an answer"),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(anyhow!(error).context("no answer")),
            };
            self.buffer.extend_from_slice(&chunk[..n]);
            let Some(layout) = layout(&self.buffer)? else { continue };
            if self.buffer.len() >= layout.total {
                let head = std::str::from_utf8(&self.buffer[..layout.head])?;
                let position = header(head, "x-log-position").map(str::to_owned);
                let body = self.buffer[layout.head..layout.total].to_vec();
                return Ok(Answer { status: layout.status, position, body });
            }
        }
    }
}

impl Answer {
    /// The answer, if it is a success.
    pub fn success(self, of: &str) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        bail!("{of} was answered {}: {body}", self.status)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_laid_out() {
        let bytes = b"HTTP/1.1 202 Accepted\r\ncontent-length: 3\r\nX-Log-Position: a/0/4\r\n\r\nabcHTTP";
        let found = layout(bytes).unwrap().unwrap();
        assert_eq!((found.status, &bytes[found.head..found.total]), (202, &b"abc"[..]));
        assert!(layout(&bytes[..40]).unwrap().is_none());
        assert_eq!(layout(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().total, 27);
        assert!(layout(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_says_its_length() {
        let bytes = request("POST", "/v1/behavior", "t", Some(("application/json", b"[]")));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("POST /v1/behavior HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer t\r\n"));
        assert!(text.ends_with("Content-Length: 2\r\n\r\n[]"), "{text}");
    }
}

//! The calls of the product that the cases make, on one keep-alive connection.

use crate::http::{Answer, Connection, request};
use crate::school::Tokens;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Items that the instance takes in one request.
pub const BATCH_MAX: usize = 5_000;

/// Profiles that it answers to one request.
const PROFILES_MAX: usize = 500;

/// How long records may take to be visible.
const VISIBLE_WITHIN: Duration = Duration::from_secs(600);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";

/// Calls of one instance.
pub struct Client {
    connection: Connection,
    tokens: Tokens,
    ask_lag: Vec<u8>,
}

/// Per topic and partition, the offset of the last record that was written.
pub type Positions = BTreeMap<(String, u32), u64>;

/// What `GET /v1/lag` says, as far as it is needed.
#[derive(Deserialize)]
struct Lag {
    checkpoint_age_seconds: Option<f64>,
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    topic: String,
    partition: u32,
    visible_offset: u64,
}

impl Client {
    /// Connects.
    pub fn open(address: SocketAddr, tokens: &Tokens) -> Result<Self> {
        let ask_lag = request("GET", "/v1/lag", &tokens.service, None);
        Ok(Self { connection: Connection::open(address)?, tokens: tokens.clone(), ask_lag })
    }

    /// Posts behaviour events, as JSON lines.
    pub fn post_events(&mut self, lines: &[u8], positions: &mut Positions) -> Result<()> {
        let call = request("POST", "/v1/behavior", &self.tokens.service, Some((JSON_LINES, lines)));
        let answer = self.connection.call(&call)?.success("POST /v1/behavior")?;
        note(&answer, positions)
    }

    /// Posts evaluations, as JSON lines.
    pub fn post_evaluations(&mut self, lines: &[u8], positions: &mut Positions) -> Result<()> {
        let call = request("POST", "/v1/evaluations:batch", &self.tokens.admin, Some((JSON_LINES, lines)));
        let answer = self.connection.call(&call)?.success("POST /v1/evaluations:batch")?;
        note(&answer, positions)
    }

    /// Posts `count` items that `write` appends as lines, in full batches, and waits until they are visible.
    pub fn load(&mut self, kind: Kind, count: usize, mut write: impl FnMut(&mut Vec<u8>, usize)) -> Result<()> {
        let (mut lines, mut positions) = (Vec::new(), Positions::new());
        for first in (0..count).step_by(BATCH_MAX) {
            lines.clear();
            (first..count.min(first + BATCH_MAX)).for_each(|n| write(&mut lines, n));
            match kind {
                Kind::Events => self.post_events(&lines, &mut positions)?,
                Kind::Evaluations => self.post_evaluations(&lines, &mut positions)?,
            }
        }
        self.until_visible(&positions)
    }

    /// Puts a subject's rule; returns its version and where it is on the log.
    pub fn put_rule(&mut self, subject: &str, rule: &serde_json::Value) -> Result<(String, Positions)> {
        #[derive(Deserialize)]
        struct Rule {
            rule_version: String,
        }
        let body = rule.to_string();
        let path = format!("/v1/rules/{subject}");
        let call = request("PUT", &path, &self.tokens.admin, Some((JSON, body.as_bytes())));
        let answer = self.connection.call(&call)?.success("PUT /v1/rules")?;
        let mut positions = Positions::new();
        note(&answer, &mut positions)?;
        Ok((serde_json::from_slice::<Rule>(&answer.body)?.rule_version, positions))
    }

    /// A student's profile; `None` where there is none.
    pub fn profile(&mut self, student: &str) -> Result<Option<Vec<u8>>> {
        let answer = self.connection.call(&self.ask_profile(student))?;
        if answer.status == 404 {
            return Ok(None);
        }
        Ok(Some(answer.success("GET profile")?.body))
    }

    /// The bytes that ask for a student's profile.
    pub fn ask_profile(&self, student: &str) -> Vec<u8> {
        request("GET", &format!("/v1/students/{student}/profile"), &self.tokens.service, None)
    }

    /// Reads every student's profile, and returns how many there were and how often a text occurs in them.
    pub fn count_in_profiles(&mut self, students: &[String], text: &str) -> Result<(usize, usize)> {
        #[derive(Deserialize)]
        struct Profiles<'a> {
            #[serde(borrow)]
            profiles: Vec<&'a serde_json::value::RawValue>,
        }
        let (mut read, mut found) = (0, 0);
        for students in students.chunks(PROFILES_MAX) {
            let body = serde_json::json!({ "student_ids": students }).to_string();
            let path = "/v1/profiles:batchGet";
            let call = request("POST", path, &self.tokens.service, Some((JSON, body.as_bytes())));
            let answer = self.connection.call(&call)?.success("POST /v1/profiles:batchGet")?;
            let profiles: Profiles<'_> = serde_json::from_slice(&answer.body)?;
            read += profiles.profiles.len();
            found += profiles.profiles.iter().map(|profile| profile.get().matches(text).count()).sum::<usize>();
        }
        Ok((read, found))
    }

    /// Waits until everything at the positions is visible.
    pub fn until_visible(&mut self, positions: &Positions) -> Result<()> {
        let started = Instant::now();
        loop {
            let lag = self.lag()?;
            let visible = |(topic, partition): &(String, u32), last: u64| {
                let place = lag.partitions.iter().find(|p| p.topic == *topic && p.partition == *partition);
                place.is_some_and(|place| place.visible_offset > last)
            };
            if positions.iter().all(|(place, last)| visible(place, *last)) {
                return Ok(());
            }
            if started.elapsed() > VISIBLE_WITHIN {
                bail!("records are not visible after {} s", VISIBLE_WITHIN.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until a checkpoint covers everything that was written before: until for longer than the interval between
    /// two (5 seconds by default, and some for writing it) no other one was written.
    pub fn until_checkpointed(&mut self) -> Result<()> {
        const QUIET: Duration = Duration::from_secs(8);
        let started = Instant::now();
        loop {
            let age = self.lag()?.checkpoint_age_seconds;
            if started.elapsed() >= QUIET && age.is_some_and(|age| age >= QUIET.as_secs_f64()) {
                return Ok(());
            }
            if started.elapsed() > VISIBLE_WITHIN {
                bail!("checkpoints did not end within {} s", VISIBLE_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The text of `/metrics`.
    pub fn metrics(&mut self) -> Result<String> {
        let answer = self.connection.call(&request("GET", "/metrics", "", None))?.success("GET /metrics")?;
        Ok(String::from_utf8(answer.body)?)
    }

    fn lag(&mut self) -> Result<Lag> {
        let answer = self.connection.call(&self.ask_lag)?.success("GET /v1/lag")?;
        serde_json::from_slice(&answer.body).context("the answer to /v1/lag makes no sense")
    }
}

/// What is loaded in bulk.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Behaviour events.
    Events,
    /// Evaluations.
    Evaluations,
}

/// Remembers where an answer's records went.
fn note(answer: &Answer, positions: &mut Positions) -> Result<()> {
    let text = answer.position.as_deref().context("an answer has no X-Log-Position")?;
    let mut parts = text.split('/');
    let (topic, partition, offset) = (parts.next(), parts.next(), parts.next());
    let place = (topic.unwrap_or_default().to_owned(), partition.unwrap_or_default().parse()?);
    let last = positions.entry(place).or_default();
    *last = (*last).max(offset.unwrap_or_default().parse()?);
    Ok(())
}

/// The number behind a JSON key, such as `"version":`, the first time that it occurs.
pub fn number(json: &[u8], key: &str) -> Option<u64> {
    let at = json.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let digits: Vec<u8> = json[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_number() {
        assert_eq!(number(br#"{"a":{"version":12,"b":3}}"#, "\"version\":"), Some(12));
        assert_eq!(number(b"{}", "\"version\":"), None);
    }
}

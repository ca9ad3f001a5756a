//! The edge's settings, as the binary takes them from the plan.

use crate::auth::{AuthError, AuthKey};
use std::net::SocketAddr;
use std::time::Duration;

/// The edge's settings.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where it listens; decides whether a development key is accepted.
    pub listen: SocketAddr,
    /// Larger bodies are refused with 413.
    pub body_bytes_max: usize,
    /// A request that takes longer is answered 503.
    pub request_timeout: Duration,
    /// How long a write waits until the log says that it is durable; then 503.
    pub append_timeout: Duration,
    /// How long a preview or an explanation waits for the dataflows; then 503.
    pub ask_timeout: Duration,
    /// Larger records are refused: the dataflows would not look at them.
    pub record_bytes_max: usize,
    /// Requests in flight; beyond it they are answered 503 at once.
    pub requests_max: usize,
    /// Who signs tokens.
    pub keys: Vec<AuthKey>,
    /// The `iss` that tokens must have, if set.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have, if set.
    pub audience: Option<String>,
    /// How far in the future an evaluation's `updated_at` may be; without a limit where the views' clock is the events'.
    pub max_skew: Option<Duration>,
    /// Whether it takes writes; else they are answered 503.
    pub writes: bool,
    /// Whether it answers reads of students' data; likewise.
    pub reads: bool,
}

impl ApiConfig {
    /// Defaults for everything but the address and the keys: 8 MiB bodies, 1 MiB records, 30 s per request, 10 s per append,
    /// 10 s per question to the dataflows, 1,024 requests in flight, 5 minutes of skew, writes and reads.
    pub fn new(listen: SocketAddr, keys: Vec<AuthKey>) -> Self {
        Self {
            listen,
            body_bytes_max: 8 << 20,
            record_bytes_max: 1 << 20,
            request_timeout: Duration::from_secs(30),
            append_timeout: Duration::from_secs(10),
            ask_timeout: Duration::from_secs(10),
            requests_max: 1024,
            keys,
            issuer: None,
            audience: None,
            max_skew: Some(Duration::from_secs(300)),
            writes: true,
            reads: true,
        }
    }

    /// What makes no sense, or is not safe.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.keys.is_empty() {
            return Err(ConfigError::NoKey);
        }
        for (i, key) in self.keys.iter().enumerate() {
            if self.keys.iter().skip(i + 1).any(|other| other.id == key.id) {
                return Err(ConfigError::DuplicateKey(key.id.clone()));
            }
            if key.development && !self.listen.ip().is_loopback() {
                return Err(ConfigError::DevelopmentKey { key: key.id.clone(), listen: self.listen });
            }
        }
        Ok(())
    }
}

/// Why the edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could sign a token.
    #[error("no key is configured: nobody could call this service; add an [[auth.key]]")]
    NoKey,
    /// `kid` would name two keys.
    #[error("two keys have the id {0:?}")]
    DuplicateKey(String),
    /// Everybody knows a development key.
    #[error("the key {key:?} is a development key, which is accepted on loopback only, not on {listen}")]
    DevelopmentKey {
        /// Its id.
        key: String,
        /// Where it would be accepted.
        listen: SocketAddr,
    },
    /// A key cannot be read.
    #[error("the key {key:?} cannot be used: {source}")]
    Key {
        /// Its id.
        key: String,
        /// Why.
        source: AuthError,
    },
    /// The tenants' topic cannot be read.
    #[error("the tenants' configurations cannot be read from the log: {0}")]
    Log(#[from] aulaflow_log::LogError),
}

//! What all clients of librdkafka share: where their logs and errors go, whether the brokers were heard, how an error of
//! theirs becomes ours, and tokens. What each client does is in the files beside.

use super::append::Batch;
use super::membership::Commits;
use super::oauth::TokenSource;
use crate::{LogError, SourceState};
use parking_lot::Mutex;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The same error is logged again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Whether the brokers answer, and what they or the way to them last complained of.
pub(super) struct Health {
    inner: Mutex<Heard>,
    started: Instant,
    stalled_after: Duration,
}

#[derive(Default)]
struct Heard {
    last: Option<Instant>,
    /// What the client library said since.
    complaint: Option<String>,
    /// Waiting does not help: a wrong password, a certificate that nobody vouches for.
    refused: Option<String>,
    /// When a complaint of each kind was last logged: the texts of one kind differ in counts and times.
    logged: BTreeMap<Option<RDKafkaErrorCode>, Instant>,
}

impl Health {
    pub fn new(stalled_after: Duration) -> Self {
        Self { inner: Mutex::default(), started: Instant::now(), stalled_after }
    }

    /// The brokers have answered.
    pub fn heard(&self) {
        let mut inner = self.inner.lock();
        if inner.complaint.take().is_some() | inner.refused.take().is_some() && !inner.logged.is_empty() {
            inner.logged.clear();
            tracing::info!("Kafka answers");
        }
        inner.last = Some(Instant::now());
    }

    /// The client library complains.
    pub fn complain(&self, code: Option<RDKafkaErrorCode>, why: &str) {
        let text = match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                format!("Kafka refuses who we say we are: {why}; see the user, the password or the token")
            }
            Some(RDKafkaErrorCode::SSL) => format!("TLS to Kafka fails: {why}; see the certificates"),
            Some(RDKafkaErrorCode::Resolve) => format!("a broker's name is not known: {why}; see `bootstrap`"),
            Some(RDKafkaErrorCode::AllBrokersDown) => format!("no broker can be reached: {why}"),
            _ => why.to_owned(),
        };
        let mut inner = self.inner.lock();
        let refused = matches!(
            code,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL)
        );
        if inner.logged.get(&code).is_none_or(|at| at.elapsed() >= REPEAT_AFTER) {
            tracing::warn!(why = %text, "Kafka");
            inner.logged.insert(code, Instant::now());
        }
        // That all are down is said after why each is.
        if refused {
            inner.refused = Some(text);
        } else if inner.complaint.is_none() || code != Some(RDKafkaErrorCode::AllBrokersDown) {
            inner.complaint = Some(text);
        }
    }

    /// How it goes with the brokers as a whole.
    pub fn state(&self) -> SourceState {
        let inner = self.inner.lock();
        if let Some(why) = &inner.refused {
            return SourceState::Stalled(why.clone());
        }
        let silent = inner.last.unwrap_or(self.started).elapsed();
        if silent >= self.stalled_after {
            let default = || format!("the brokers have not answered for {} seconds", silent.as_secs());
            return SourceState::Stalled(inner.complaint.clone().unwrap_or_else(default));
        }
        if inner.last.is_some() { SourceState::Live } else { SourceState::Connecting }
    }

    /// Whether trying again is useless until something is changed.
    pub fn is_refused(&self) -> bool {
        self.inner.lock().refused.is_some()
    }

    /// What an error says of the brokers, for whoever waited in vain.
    pub fn reason(&self, otherwise: &str) -> String {
        let inner = self.inner.lock();
        inner.refused.clone().or_else(|| inner.complaint.clone()).unwrap_or_else(|| otherwise.to_owned())
    }
}

/// What a client of librdkafka calls back.
#[derive(Clone)]
pub(super) struct Context {
    pub health: Arc<Health>,
    pub tokens: Option<Arc<TokenSource>>,
    /// Where statistics go, for the client that has them.
    pub statistics: Option<Arc<Mutex<Option<Statistics>>>>,
    pub commits: Arc<Commits>,
    /// Events that were served: the client library does not tell an empty queue from a served one.
    pub served: Arc<AtomicU64>,
}

/// Serves a consumer's main queue (logs, errors, statistics, tokens) until it is empty; gives records to `astray`.
pub(super) fn serve(consumer: &BaseConsumer<Context>, mut astray: impl FnMut(&BorrowedMessage<'_>)) {
    let served = &consumer.context().served;
    loop {
        let before = served.load(Ordering::Acquire);
        match consumer.poll(Duration::ZERO) {
            Some(Ok(message)) => astray(&message),
            // The context has heard of it.
            Some(Err(_)) => {}
            None if served.load(Ordering::Acquire) != before => {}
            None => return,
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.served.fetch_add(1, Ordering::AcqRel);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::debug!(target: "librdkafka", fac, "{log_message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(target: "librdkafka", fac, "{log_message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.served.fetch_add(1, Ordering::AcqRel);
        if let Some(slot) = &self.statistics {
            *slot.lock() = Some(statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // These belong to one partition; whoever follows it sees them.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {}
            code => self.health.complain(code, reason),
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.served.fetch_add(1, Ordering::AcqRel);
        match &self.tokens {
            Some(tokens) => Ok(tokens.fetch()?),
            None => Err("no token server is configured".into()),
        }
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.served.fetch_add(1, Ordering::AcqRel);
        self.commits.outcome(result);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        batch.delivered(result);
    }
}

/// Why records were not appended. `name` is the writer's, where there is one.
pub(super) fn append_error(error: &KafkaError, name: Option<&str>, health: &Health) -> LogError {
    use RDKafkaErrorCode as Code;
    let text = error.to_string();
    match (error.rdkafka_error_code(), name) {
        (
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced),
            Some(name),
        ) => LogError::Fenced(name.to_owned()),
        (Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge), _) => LogError::Refused(
            "a record is larger than the topic takes: raise the topic's `max.message.bytes`".to_owned(),
        ),
        (Some(Code::InvalidRecord), _) => LogError::Refused(
            "the topic is compacted and a record has no key, or its time is out of the topic's range".to_owned(),
        ),
        (Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed), _) => {
            LogError::Unavailable(format!("{text}: allow this user to write to the topic"))
        }
        (Some(Code::TransactionalIdAuthorizationFailed), _) => LogError::Unavailable(format!(
            "{text}: allow this user to write with transactional ids of the group's name"
        )),
        _ => LogError::Unavailable(health.reason(&text)),
    }
}

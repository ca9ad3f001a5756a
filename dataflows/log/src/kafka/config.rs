//! What the Kafka log is told at its start, and the librdkafka properties that follow from it. Reads no files and no
//! environment: secrets come as values, and are never printed.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach Kafka and how to behave there.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Brokers to ask first, as `host:port`, separated by commas.
    pub bootstrap: String,
    /// The consumer group. Positions never come from it; it shows lag, and shares partitions where processes do.
    pub group: String,
    /// This process's name among those of the group; the same after a restart, and no other's.
    pub instance: String,
    /// The topics that are read or written.
    pub topics: Vec<String>,
    /// Encryption and who we are.
    pub security: Security,
    /// Other librdkafka properties, by their names; see [`KafkaConfig::check`] for those that are not free.
    pub properties: BTreeMap<String, String>,
    /// How many partitions a topic has, about: they share what is read ahead.
    pub partitions: u32,
    /// How many of the topics are followed at a time, likewise.
    pub followed: usize,
    /// Bytes of records that are read ahead, over all partitions: half of it lies in our buffers, half in librdkafka's.
    pub read_ahead_bytes_max: usize,
    /// Bytes of appends that may wait for the brokers. A set larger than that is taken when nothing else waits.
    pub buffer_bytes_max: usize,
    /// How long an append may wait for the brokers; afterwards it has failed.
    pub append_timeout: Duration,
    /// How long a question to the brokers may take: metadata, offsets, a read beside.
    pub request_timeout: Duration,
    /// After it without a word from the brokers a source is stalled.
    pub stalled_after: Duration,
    /// After it without a heartbeat the group gives our partitions to others. The brokers allow 6 seconds to 30 minutes.
    pub session_timeout: Duration,
    /// How long a partition that goes to another process may still be worked on here.
    pub release_timeout: Duration,
}

/// Encryption and authentication.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Encrypted where given.
    pub tls: Option<Tls>,
    /// Authenticated by user and password, or by a token.
    pub sasl: Option<Sasl>,
}

/// Files for TLS, all PEM.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities that may vouch for the brokers; the system's where it is missing.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, where the brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// The key's password.
    pub key_password: Option<Secret>,
}

/// How we say who we are.
#[derive(Debug, Clone)]
pub enum Sasl {
    /// User and password as they are: only over TLS.
    Plain(String, Secret),
    /// SCRAM-SHA-256.
    ScramSha256(String, Secret),
    /// SCRAM-SHA-512.
    ScramSha512(String, Secret),
    /// OAUTHBEARER: a token from a server, by client credentials.
    OAuth(OAuth),
}

/// Where tokens come from.
#[derive(Debug, Clone)]
pub struct OAuth {
    /// The server's token endpoint.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What for, where the server wants to know.
    pub scope: Option<String>,
    /// Authorities that may vouch for that server (PEM); the system's where it is missing.
    pub ca_file: Option<PathBuf>,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why the Kafka log does not open. Brokers that do not answer are no reason: that is a source's state.
#[derive(Debug, thiserror::Error)]
pub enum KafkaOpenError {
    /// The configuration makes no sense.
    #[error("the configuration of Kafka is wrong: {0}")]
    Config(String),
    /// The client library refuses a property or cannot start.
    #[error("the Kafka client cannot start: {0}")]
    Client(String),
}

/// Properties that are set here, and what would break if somebody else set them.
const NOT_FREE: &[(&str, &str)] = &[
    ("acks", "an acknowledged write must survive a broker"),
    ("auto.offset.reset", "a position that is gone must be an error, never a jump"),
    ("bootstrap.servers", "say `bootstrap`"),
    ("client.id", "it is made of `instance`"),
    ("delivery.timeout.ms", "say `append_timeout`"),
    ("enable.auto.commit", "offsets are committed after checkpoints"),
    ("enable.auto.offset.store", "offsets are committed after checkpoints"),
    ("enable.idempotence", "a retried write must not appear twice"),
    ("enable.partition.eof", "the end of a partition must be known"),
    ("fetch.message.max.bytes", "say `read_ahead_bytes_max`"),
    ("group.id", "say `group`"),
    ("group.instance.id", "say `instance`"),
    ("heartbeat.interval.ms", "it follows from `session_timeout`"),
    ("isolation.level", "only what is committed may be read"),
    ("log.queue", "the client's log goes to ours"),
    ("max.partition.fetch.bytes", "say `read_ahead_bytes_max`"),
    ("max.poll.interval.ms", "it follows from `release_timeout` and `session_timeout`"),
    ("message.timeout.ms", "say `append_timeout`"),
    ("metadata.broker.list", "say `bootstrap`"),
    ("partition.assignment.strategy", "partitions must move one by one"),
    ("queue.buffering.max.kbytes", "say `buffer_bytes_max`"),
    ("queue.buffering.max.messages", "say `buffer_bytes_max`"),
    ("queued.max.messages.kbytes", "say `read_ahead_bytes_max`"),
    ("request.required.acks", "an acknowledged write must survive a broker"),
    ("session.timeout.ms", "say `session_timeout`"),
    ("socket.timeout.ms", "say `request_timeout`"),
    ("statistics.interval.ms", "positions behind the last record are known by it"),
    ("transaction.timeout.ms", "the brokers must end what a writer left before anybody waits for it"),
    ("transactional.id", "writers are named by what they write"),
];

/// Beginnings of properties that say who we are: `security` says that, so that secrets are kept out of the logs.
const SECURITY: &[&str] = &["sasl.", "ssl.", "security.protocol", "oauthbearer", "enable.sasl.", "enable.ssl."];

/// Bytes that librdkafka asks for of one partition at once, where only single places are looked at.
const FETCH_BYTES: usize = 512 << 10;
/// What librdkafka's queue of one partition holds at least, in KiB: less would make a request of every few records. As much
/// again is asked for at once, since a request on a busy machine takes as long as many records.
const QUEUE_KIB_MIN: usize = 64;
/// The same, at most.
const QUEUE_KIB_MAX: usize = 8 << 10;

impl KafkaConfig {
    /// The defaults: no encryption, 128 MiB read ahead, 64 MiB of waiting appends, 10 seconds.
    pub fn new(bootstrap: &str, group: &str, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            group: group.to_owned(),
            instance: "aulaflow".to_owned(),
            topics: topics.into_iter().map(Into::into).collect(),
            security: Security::default(),
            properties: BTreeMap::new(),
            partitions: 4,
            followed: 3,
            read_ahead_bytes_max: 128 << 20,
            buffer_bytes_max: 64 << 20,
            append_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            stalled_after: Duration::from_secs(10),
            session_timeout: Duration::from_secs(45),
            release_timeout: Duration::from_secs(30),
        }
    }

    /// Whether it can work; what is wrong otherwise.
    pub fn check(&self) -> Result<(), KafkaOpenError> {
        let wrong = |what: String| Err(KafkaOpenError::Config(what));
        for (name, value) in [("bootstrap", &self.bootstrap), ("group", &self.group), ("instance", &self.instance)] {
            if value.trim().is_empty() {
                return wrong(format!("`{name}` is empty"));
            }
        }
        for name in self.properties.keys() {
            if let Some((_, why)) = NOT_FREE.iter().find(|(fixed, _)| fixed == name) {
                return wrong(format!("the property `{name}` cannot be set: {why}"));
            }
            if SECURITY.iter().any(|start| name.starts_with(start)) {
                return wrong(format!("the property `{name}` cannot be set here: say it under `security`"));
            }
        }
        let tls = self.security.tls.is_some();
        if matches!(self.security.sasl, Some(Sasl::Plain(..))) && !tls {
            return wrong("SASL PLAIN without TLS would send the password as it is: add TLS, or use SCRAM".to_owned());
        }
        Ok(())
    }

    /// What every client has.
    fn client(&self, role: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Warning);
        client.set("bootstrap.servers", &self.bootstrap);
        client.set("client.id", format!("aulaflow-{}-{role}", self.instance));
        client.set("socket.keepalive.enable", "true");
        // A broker that comes back is found within two seconds.
        client.set("reconnect.backoff.ms", "100");
        client.set("reconnect.backoff.max.ms", "2000");
        client.set("socket.timeout.ms", millis(self.request_timeout.max(Duration::from_secs(1))));
        client.set("allow.auto.create.topics", "false");
        self.secure(&mut client);
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        client
    }

    fn secure(&self, client: &mut ClientConfig) {
        let Security { tls, sasl } = &self.security;
        let protocol = match (tls, sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(tls) = tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    client.set(name, file.to_string_lossy());
                }
            }
            if let Some(Secret(password)) = &tls.key_password {
                client.set("ssl.key.password", password);
            }
        }
        let mut user = |mechanism: &str, user: &str, Secret(password): &Secret| {
            client.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
        };
        match sasl {
            None => {}
            Some(Sasl::Plain(name, password)) => user("PLAIN", name, password),
            Some(Sasl::ScramSha256(name, password)) => user("SCRAM-SHA-256", name, password),
            Some(Sasl::ScramSha512(name, password)) => user("SCRAM-SHA-512", name, password),
            Some(Sasl::OAuth(_)) => {
                client.set("sasl.mechanism", "OAUTHBEARER");
            }
        }
    }

    fn consumer(&self, role: &str) -> ClientConfig {
        let mut client = self.client(role);
        client.set("group.id", &self.group);
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("auto.offset.reset", "error");
        client.set("enable.partition.eof", "true");
        client.set("isolation.level", "read_committed");
        // A full queue asks again after a moment, not after a second.
        client.set("fetch.queue.backoff.ms", "5");
        client.set("fetch.wait.max.ms", "100");
        // A topic that is missing is said to be missing before anybody wonders.
        client.set("topic.metadata.propagation.max.ms", "3000");
        client
    }

    /// The one that follows partitions.
    pub(super) fn follower(&self) -> ClientConfig {
        let mut client = self.consumer("read");
        // librdkafka counts per partition where each has its queue. A request is made while the queue is not full, so that
        // a partition has its queue and one answer at most.
        let partitions = self.followed.max(1) * self.partitions.max(1) as usize;
        let share = (self.read_ahead_bytes_max / 2 / 1024 / partitions / 2).clamp(QUEUE_KIB_MIN, QUEUE_KIB_MAX);
        client.set("queued.max.messages.kbytes", share.to_string());
        client.set("fetch.message.max.bytes", (share * 1024).to_string());
        client.set("statistics.interval.ms", millis(super::follow::STATISTICS_EVERY));
        client
    }

    /// The one that looks at places beside.
    pub(super) fn aside(&self) -> ClientConfig {
        let mut client = self.consumer("aside");
        client.set("fetch.message.max.bytes", FETCH_BYTES.to_string());
        client.set("queued.max.messages.kbytes", (QUEUE_KIB_MIN * 16).to_string());
        client
    }

    /// The one that asks for metadata and offsets.
    pub(super) fn asker(&self) -> ClientConfig {
        let mut client = self.client("ask");
        client.set("isolation.level", "read_committed");
        client
    }

    /// The member of the group. It is given partitions and reads nothing.
    pub(super) fn member(&self) -> ClientConfig {
        let mut client = self.in_group("group");
        client.set("group.instance.id", &self.instance);
        client
    }

    /// What the group calls that member: a name that all members of this instance share, whoever made them.
    pub(super) fn member_id(&self) -> String {
        format!("aulaflow-{}-group", self.instance)
    }

    /// A member without a name of its own, that comes and goes. It reads nothing either.
    pub(super) fn passing(&self) -> ClientConfig {
        self.in_group("passing")
    }

    fn in_group(&self, role: &str) -> ClientConfig {
        let mut client = self.consumer(role);
        client.set("partition.assignment.strategy", "cooperative-sticky");
        client.set("session.timeout.ms", millis(self.session_timeout));
        client.set("heartbeat.interval.ms", millis((self.session_timeout / 10).max(Duration::from_millis(200))));
        // A revocation may take its time.
        let poll = (self.release_timeout + self.session_timeout).max(Duration::from_secs(300));
        client.set("max.poll.interval.ms", millis(poll));
        client.set("fetch.message.max.bytes", "1024");
        client.set("queued.max.messages.kbytes", "1");
        client
    }

    /// The one that appends.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.client("append");
        client.set("enable.idempotence", "true");
        client.set("acks", "all");
        client.set("message.timeout.ms", millis(self.append_timeout));
        // Long enough to gather what comes together, short enough for whoever waits for the acknowledgement.
        set_default(&mut client, "linger.ms", "2");
        set_default(&mut client, "compression.codec", "lz4");
        // The brokers and topics say what is too large; our own budget says what is too much.
        set_default(&mut client, "message.max.bytes", "104857600");
        client.set("queue.buffering.max.messages", "0");
        client.set("queue.buffering.max.kbytes", "2097151");
        client
    }

    /// The one that writes transactions.
    pub(super) fn writer(&self, name: &str) -> ClientConfig {
        let mut client = self.producer();
        client.set("client.id", format!("aulaflow-{}-{name}", self.instance));
        client.set("transactional.id", format!("{}-{name}", self.group));
        client.set("transaction.timeout.ms", millis(TRANSACTION_TIMEOUT));
        client.set("message.timeout.ms", millis(self.append_timeout.min(TRANSACTION_TIMEOUT)));
        client
    }

    /// The one that makes and describes topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client("topics")
    }
}

/// After it the brokers abort a transaction whose writer is silent. Until then its records, and those behind them, wait.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

fn set_default(client: &mut ClientConfig, name: &str, value: &str) {
    if client.get(name).is_none() {
        client.set(name, value);
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// What the client library says of a configuration, without the value: it may be a secret.
pub(super) fn refused(error: KafkaError) -> KafkaOpenError {
    KafkaOpenError::Client(match error {
        KafkaError::ClientConfig(_, why, name, _) => format!("it refuses the property `{name}`: {why}"),
        other => other.to_string(),
    })
}

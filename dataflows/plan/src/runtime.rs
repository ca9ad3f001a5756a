//! The runtime's settings, as the rest of the program sees them. How they are read is in `runtime_file`.

use aulaflow_model::ids::TenantId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The runtime's settings, checked; every field has a default except none: an empty file runs.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// `data_dir`: where the log and the state live; relative to the working directory. Default `data`.
    pub data_dir: PathBuf,
    /// `[server]`
    pub server: Server,
    /// `[auth]`
    pub auth: Auth,
    /// `[log]`
    pub log: LogSettings,
    /// `[engine]`
    pub engine: Engine,
    /// `[serving]`
    pub serving: Serving,
    /// `[changelog]`
    pub changelog: Changelog,
    /// `[archive]`; `None`: checkpoints are not copied.
    pub archive: Option<Archive>,
    /// `[clickhouse]`
    pub clickhouse: ClickHouse,
    /// `[clickhouse]`
    pub clickhouse_sink: ClickHouseSink,
    /// `[clickhouse]`
    pub clickhouse_reads: ClickHouseReads,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// `listen`: address and port. Default `127.0.0.1:8080`.
    pub listen: std::net::SocketAddr,
    /// `body_bytes_max`: larger bodies are refused with 413. Default `"8 MiB"`.
    pub body_bytes_max: usize,
    /// `request_timeout`: a request that takes longer is answered 503. Default `"30 seconds"`.
    pub request_timeout: Duration,
}

/// `[auth]`: who signs tokens. At least one key is needed to serve.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// `issuer`: required `iss`, if set.
    pub issuer: Option<String>,
    /// `audience`: required `aud`, if set.
    pub audience: Option<String>,
    /// `[[auth.key]]`
    pub keys: Vec<AuthKey>,
}

/// `[[auth.key]]`
#[derive(Debug, Clone)]
pub struct AuthKey {
    /// `id`: the token's `kid`.
    pub id: String,
    /// `algorithm` and its key: `"HS256"` with `secret`, `secret_env` or `secret_file`, or `"EdDSA"` with
    /// `public_key_file` and `private_key_file` (PEM).
    pub material: KeyMaterial,
    /// `development = true`: for `aulaflow token` and demos; refused on any listener but loopback.
    pub development: bool,
}

/// What a key is made of.
#[derive(Clone)]
pub enum KeyMaterial {
    /// A shared secret of at least [`SECRET_BYTES_MIN`] bytes; [`KeyMaterial::hs256`] checks it.
    Hs256(Vec<u8>),
    /// A shared secret that is kept elsewhere. Whoever starts the process reads it and puts [`Self::Hs256`] here.
    Hs256From(SecretSource),
    /// Ed25519; the private key only where tokens are made.
    EdDsa {
        /// PEM file of the public key (SubjectPublicKeyInfo).
        public_key_file: PathBuf,
        /// PEM file of the private key (PKCS#8).
        private_key_file: Option<PathBuf>,
    },
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hs256(_) => f.write_str("Hs256(..)"),
            Self::Hs256From(source) => write!(f, "Hs256From({source:?})"),
            Self::EdDsa { .. } => f.write_str("EdDsa(..)"),
        }
    }
}

/// The shortest secret accepted for HS256: the length of the hash (RFC 7518, section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `secret_env`: an environment variable, taken as it is.
    Env(String),
    /// `secret_file`: a file, relative to the working directory; one newline at its end is not part of it.
    File(PathBuf),
}

/// A secret that is too short to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret has {0} bytes; HS256 needs at least {SECRET_BYTES_MIN}")]
pub struct SecretTooShort(pub usize);

impl KeyMaterial {
    /// An HS256 key from a secret that was read from its [`SecretSource`].
    pub fn hs256(secret: Vec<u8>) -> Result<Self, SecretTooShort> {
        if secret.len() < SECRET_BYTES_MIN { Err(SecretTooShort(secret.len())) } else { Ok(Self::Hs256(secret)) }
    }
}

impl Auth {
    /// The ids of the development keys that a listener would expose: none on loopback. Ask again when the command
    /// line changes the address.
    pub fn exposed_development_keys(&self, listen: std::net::SocketAddr) -> Vec<&str> {
        let development = self.keys.iter().filter(|key| key.development && !listen.ip().is_loopback());
        development.map(|key| key.id.as_str()).collect()
    }
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// `kind = "embedded"` (default) or `"kafka"`.
    pub kind: LogKind,
    /// `partitions` per topic. Default 4. Fixed when the log is first made.
    pub partitions: u32,
    /// `fsync = "group"` (default: every acknowledged append is on the disk; appends that wait share one fsync)
    /// or `"never"` (the operating system decides; an acknowledged append survives a crash of the process, not of the machine).
    pub fsync: Fsync,
    /// `buffer_bytes_max`: appends waiting to be written; beyond it they are refused (503). Default `"64 MiB"`.
    pub buffer_bytes_max: usize,
    /// `append_timeout`: how long a write may wait for the disk. Default `"10 seconds"`.
    pub append_timeout: Duration,
    /// `retention`: how long behaviour and service events stay on the log. Default `"30 days"`; evaluations and tenants stay.
    pub retention: Duration,
}

/// Where the log is.
#[derive(Debug, Clone)]
pub enum LogKind {
    /// In the data directory.
    Embedded,
    /// In Apache Kafka.
    Kafka(Kafka),
}

/// `[log.kafka]`
#[derive(Debug, Clone, Default)]
pub struct Kafka {
    /// `bootstrap`: brokers to ask first.
    pub bootstrap: String,
    /// `group`: the consumer group. Default `aulaflow`.
    pub group: String,
    /// `instance`: this process's name in the group. Default: the host's name.
    pub instance: Option<String>,
    /// `scale_out`: several processes share the partitions. Default: no.
    pub scale_out: bool,
    /// `replication` of topics that are made. Default 3.
    pub replication: u32,
    /// `min_isr` of topics that are made. Default 2.
    pub min_isr: u32,
    /// `read_ahead_bytes_max`: over all partitions. Default `"128 MiB"`.
    pub read_ahead_bytes_max: usize,
    /// `request_timeout`: of a question to the brokers. Default `"10 seconds"`.
    pub request_timeout: Duration,
    /// `stalled_after`: silence after which a source is stalled. Default `"10 seconds"`.
    pub stalled_after: Duration,
    /// `session_timeout`: silence after which others get our partitions. Default `"45 seconds"`.
    pub session_timeout: Duration,
    /// `release_timeout`: how long a handover may take. Default `"30 seconds"`.
    pub release_timeout: Duration,
    /// `properties`: other librdkafka properties.
    pub properties: BTreeMap<String, String>,
    /// `[log.kafka.tls]`: encrypted where the section is there.
    pub tls: Option<KafkaTls>,
    /// `[log.kafka.sasl]`: who we are, where the section is there.
    pub sasl: Option<KafkaSasl>,
}

/// `[log.kafka.tls]`; files are PEM.
#[derive(Debug, Clone, Default)]
pub struct KafkaTls {
    /// `ca_file`: who may vouch for the brokers.
    pub ca_file: Option<PathBuf>,
    /// `certificate_file`: ours.
    pub certificate_file: Option<PathBuf>,
    /// `key_file`: its key.
    pub key_file: Option<PathBuf>,
    /// `key_password_env` or `key_password_file`.
    pub key_password: Option<SecretSource>,
}

/// `[log.kafka.sasl]`, by `mechanism`.
#[derive(Debug, Clone)]
pub enum KafkaSasl {
    /// `PLAIN`
    Plain {
        /// `user`
        user: String,
        /// `password_env` or `password_file`
        password: SecretSource,
    },
    /// `SCRAM-SHA-256`
    ScramSha256 {
        /// `user`
        user: String,
        /// `password_env` or `password_file`
        password: SecretSource,
    },
    /// `SCRAM-SHA-512`
    ScramSha512 {
        /// `user`
        user: String,
        /// `password_env` or `password_file`
        password: SecretSource,
    },
    /// `OAUTHBEARER`
    OAuth {
        /// `token_url`
        token_url: String,
        /// `client_id`
        client_id: String,
        /// `client_secret_env` or `client_secret_file`
        client_secret: SecretSource,
        /// `scope`
        scope: Option<String>,
        /// `token_ca_file`
        ca_file: Option<PathBuf>,
    },
}

/// When appends reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before the acknowledgement, several appends at once.
    Group,
    /// When the operating system likes.
    Never,
}

/// `[engine]`
#[derive(Debug, Clone)]
pub struct Engine {
    /// `workers`: timely worker threads. Default: half the processors, at least 1.
    pub workers: usize,
    /// `clock = "live"` (default) or `"event"`.
    pub clock: ClockMode,
    /// `tick`: an epoch's length while events arrive. Default `"10 milliseconds"`.
    pub tick: Duration,
    /// `max_skew`: how far in the future an event may be, on the live clock. Default `"5 minutes"`.
    pub max_skew: Duration,
    /// `idle_timeout`: after it a silent partition no longer holds the event clock back. Default `"2 seconds"`.
    pub idle_timeout: Duration,
    /// `batch_records_max`: records in one epoch. Default 65,536.
    pub batch_records_max: usize,
    /// `batch_bytes_max`: bytes in one epoch, about. Default `"32 MiB"`.
    pub batch_bytes_max: usize,
    /// `memory_max`: resident memory of the process from which on less is read, and then nothing. Default: no limit.
    pub memory_max: Option<u64>,
    /// `checkpoint_interval`. Default `"5 seconds"`.
    pub checkpoint_interval: Duration,
    /// `checkpoints_kept`: how many checkpoints are kept. Default 3.
    pub checkpoints_kept: usize,
    /// `record_bytes_max`: larger records go to the dead letters unread. Default `"1 MiB"`.
    pub record_bytes_max: usize,
    /// `error_budget_percent`: a source partition of whose last records more than this many of a hundred cannot be used is
    /// not read on; 100: never. Default 50.
    pub error_budget_percent: u32,
    /// `error_budget_records`: how many records are looked back. Default 10,000.
    pub error_budget_records: u32,
    /// `error_budget_records_min`: fewer records than this are not judged. Default 1,000.
    pub error_budget_records_min: u32,
}

/// Which clock drives the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockMode {
    /// The wall clock.
    Live,
    /// The highest event time seen, less the lateness.
    Event,
}

/// `[changelog]`: what the profiles show, on the log, for replicas.
#[derive(Debug, Clone)]
pub struct Changelog {
    /// `write = "auto"` (default: where other processes can read the log), `"always"` or `"never"`.
    pub write: WriteChangelog,
    /// `interval`: time between two writes. Default `"100 milliseconds"`.
    pub interval: Duration,
}

/// Whether the changelog is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteChangelog {
    /// Where other processes can read the log.
    Auto,
    /// In any case.
    Always,
    /// Not at all: there can be no replicas.
    Never,
}

/// `[archive]`: copies of checkpoints in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// `url`: `file:///folder` or `s3://bucket/folder`.
    pub url: String,
    /// `interval`: time between copies. Default `"1 minute"`.
    pub interval: Duration,
}

/// `[clickhouse]`: where analysts' tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouse {
    /// `kind`. Default: off.
    pub kind: ClickHouseKind,
    /// `database`. Default `aula`.
    pub database: String,
    /// `user`. Default `aula`.
    pub user: String,
    /// `password_env` or `password_file`. The embedded one makes a password of its own if it is not said.
    pub password: Option<SecretSource>,
}

/// Which ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClickHouseKind {
    /// None.
    Off,
    /// One in a child process, in the data directory.
    Embedded {
        /// `library`: where libchdb is; `None`: it is looked for.
        library: Option<PathBuf>,
        /// `listen`: a loopback address. Default: a free port.
        listen: std::net::SocketAddr,
    },
    /// One of its own.
    Server {
        /// `url`: its HTTP interface.
        url: String,
    },
}

/// `[clickhouse]`: what an analyst's query may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouseReads {
    /// `sql_timeout`: how long it may take. Default `"20 s"`.
    pub sql_timeout: Duration,
    /// `sql_rows_max`: rows of its answer; more are cut off. Default 10,000.
    pub sql_rows_max: u32,
    /// `sql_memory_max`: memory of ClickHouse. Default `"1 GiB"`.
    pub sql_memory_max: u64,
}

/// `[clickhouse]`: what is written, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouseSink {
    /// `block_rows`: rows of one insert at most. Default 100,000.
    pub block_rows: usize,
    /// `block_bytes`: bytes of one insert, about. Default `"16 MiB"`.
    pub block_bytes: usize,
    /// `block_age`: how long rows wait for others. Default `"1 s"`.
    pub block_age: Duration,
    /// `outbox_bytes_max`: rows that wait on the disk; beyond it the dataflows are held back. Default `"4 GiB"`.
    pub outbox_bytes_max: u64,
    /// `insert_timeout`: how long one try of an insert may take. Default `"60 s"`.
    pub insert_timeout: Duration,
    /// `drain_timeout`: how long what waits may take to be sent at a stop. Default `"10 s"`.
    pub drain_timeout: Duration,
    /// `pseudonym_keys`: the folder of the tenants' keys; `None`: `pseudonym-keys` in the data directory.
    pub pseudonym_keys: Option<PathBuf>,
    /// `leave_out_free_text`: contexts, metadata and messages of events stay out of ClickHouse.
    pub leave_out_free_text: bool,
    /// `[clickhouse.retention]`
    pub retention: ClickHouseRetention,
}

/// `[clickhouse.retention]`: for how many days what the log said is kept in ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouseRetention {
    /// Where nothing else is said. Defaults: 30 days of events, 90 of dead letters.
    pub default: KeptDays,
    /// `[[clickhouse.retention.tenant]]`: single tenants' days, by `id`.
    pub tenants: Vec<(TenantId, KeptDays)>,
}

/// Days by what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptDays {
    /// `behavior`
    pub behavior: u16,
    /// `service_events`
    pub service_events: u16,
    /// `dead_letters`
    pub dead_letters: u16,
}

/// `[serving]`
#[derive(Debug, Clone)]
pub struct Serving {
    /// `students_expected`: sizes the store at start, so that it need not grow under readers. Default 100,000.
    pub students_expected: usize,
    /// `stale_after`: `/readyz` fails when the views are older than this, on the live clock. Default `"10 seconds"`.
    pub stale_after: Duration,
    /// `grades_keep`: how long after its end a period's grades stay in memory; `None` (`"all"`, the default): always.
    pub grades_keep: Option<Duration>,
}

/// A tenant's name in settings; kept for tools.
pub type Tenant = TenantId;

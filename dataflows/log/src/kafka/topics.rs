//! Topics: makes those that are missing, and says in plain words what is wrong with those that are there. What they are
//! for, and so what is right, comes from outside as [`TopicSpec`]s.

use super::client::{Context, serve};
use super::config::{KafkaConfig, KafkaOpenError, Sasl, refused};
use super::context;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// What a topic should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it gets when it is made.
    pub partitions: u32,
    /// Whether its partition numbers must mean the same as those of other topics: then the counts must be equal.
    pub together: bool,
    /// Whether only the newest record of each key is kept, for ever.
    pub compacted: bool,
    /// How long records are kept when it is made; without it, as long as the brokers say. Not for compacted ones.
    pub retention: Option<Duration>,
    /// How long they must be kept for results to be right after a loss of the state, and why.
    pub retention_min: Option<(Duration, String)>,
    /// Copies, when it is made.
    pub replication: u32,
    /// Copies that must have a write before it is acknowledged, when it is made.
    pub min_isr: u32,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Results would be wrong, or nothing would work.
    Error,
    /// It works, with less safety than production needs.
    Warning,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Which topic.
    pub topic: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.topic, self.what, self.remedy)
    }
}

/// A topic as the brokers have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicState {
    /// Partitions.
    pub partitions: u32,
    /// Copies of the partition that has the fewest.
    pub replication: u32,
    /// `cleanup.policy`, `retention.ms`, `retention.bytes`, `min.insync.replicas` and the others; empty where they cannot be
    /// asked for.
    pub settings: BTreeMap<String, String>,
}

/// Why topics cannot be looked at or made.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// No client.
    #[error(transparent)]
    Open(#[from] KafkaOpenError),
    /// The brokers do not answer, or refuse.
    #[error("Kafka does not answer: {0}")]
    Unavailable(String),
    /// The brokers refuse to make or change a topic.
    #[error("Kafka does not make the topic {topic}: {why}")]
    Refused {
        /// Which one.
        topic: String,
        /// What they say, and what to do.
        why: String,
    },
    /// librdkafka's administration client cannot fetch tokens.
    #[error(
        "topics cannot be made over OAUTHBEARER: make them with Kafka's own tools; `aulaflow topics check` says which"
    )]
    Tokens,
}

/// What was made, and what is still wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Topics made, and topics that got more partitions.
    pub made: Vec<String>,
    /// What [`check`] finds afterwards.
    pub findings: Vec<Finding>,
}

/// Makes topics that are missing, and gives empty ones more partitions where they have too few. Nothing else is changed:
/// settings of existing topics belong to whoever made them, and more partitions would move the tenants of a topic with
/// records.
pub fn ensure(config: &KafkaConfig, specs: &[TopicSpec]) -> Result<Ensured, TopicsError> {
    if matches!(config.security.sasl, Some(Sasl::OAuth(_))) {
        return Err(TopicsError::Tokens);
    }
    let cluster = Cluster::open(config)?;
    let states = cluster.states(specs)?;
    let mut made = Vec::new();
    for spec in specs {
        match states.get(&spec.name) {
            None => {
                cluster.make(spec)?;
                made.push(spec.name.clone());
            }
            Some(state) if state.partitions < spec.partitions && cluster.is_empty(&spec.name, state.partitions)? => {
                cluster.grow(spec)?;
                made.push(spec.name.clone());
            }
            Some(_) => {}
        }
    }
    if !made.is_empty() {
        cluster.wait_for(&made, specs)?;
    }
    Ok(Ensured { made, findings: judge(specs, &cluster.states(specs)?) })
}

/// What is wrong with the topics, the worst first.
pub fn check(config: &KafkaConfig, specs: &[TopicSpec]) -> Result<Vec<Finding>, TopicsError> {
    Ok(judge(specs, &Cluster::open(config)?.states(specs)?))
}

/// The topics as they are, by name; missing ones are missing.
pub fn describe(config: &KafkaConfig, specs: &[TopicSpec]) -> Result<BTreeMap<String, TopicState>, TopicsError> {
    Cluster::open(config)?.states(specs)
}

/// What is wrong with the topics, the worst first; no I/O.
pub fn judge(specs: &[TopicSpec], states: &BTreeMap<String, TopicState>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let together: Vec<_> = specs.iter().filter(|spec| spec.together).collect();
    let counts: BTreeMap<&str, u32> =
        together.iter().filter_map(|spec| Some((spec.name.as_str(), states.get(&spec.name)?.partitions))).collect();
    let most = counts.values().copied().max().unwrap_or(0);
    for spec in specs {
        let mut find = |level, what: String, remedy: &str| {
            findings.push(Finding { level, topic: spec.name.clone(), what, remedy: remedy.to_owned() });
        };
        let Some(state) = states.get(&spec.name) else {
            find(Level::Error, "the topic is missing".to_owned(), "`aulaflow topics ensure` makes it");
            continue;
        };
        if spec.together && state.partitions != most {
            find(
                Level::Error,
                format!("it has {}, another source topic has {most}", count(state.partitions, "partition")),
                "a tenant's records must have one partition number in all of them: make it anew with as many, or add \
                 partitions while it is empty",
            );
        } else if state.partitions < spec.partitions {
            find(
                Level::Error,
                format!("it has {}, the configuration says {}", count(state.partitions, "partition"), spec.partitions),
                "set `partitions` to what it has; more partitions would move tenants away from their records",
            );
        } else if state.partitions > spec.partitions {
            find(
                Level::Warning,
                format!("it has {}, the configuration says {}", count(state.partitions, "partition"), spec.partitions),
                "set `partitions` to what it has",
            );
        }
        judge_copies(state, &mut find);
        judge_cleanup(spec, state, &mut find);
    }
    findings.sort_by(|a, b| (a.level, &a.topic).cmp(&(b.level, &b.topic)));
    findings
}

fn judge_copies(state: &TopicState, find: &mut impl FnMut(Level, String, &str)) {
    let copies = state.replication;
    if copies < 3 {
        let what = if copies == 1 { "there is 1 copy".to_owned() } else { format!("there are {copies} copies") };
        find(Level::Warning, what, "production needs 3: give the topic more replicas");
    }
    let Some(min) = number(state, "min.insync.replicas") else { return };
    if min > i64::from(copies) {
        find(
            Level::Error,
            format!("`min.insync.replicas` is {min}, and there are {copies} copies: no write is taken"),
            "lower `min.insync.replicas`, or give the topic more replicas",
        );
    } else if min < 2 {
        find(
            Level::Warning,
            format!("`min.insync.replicas` is {min}: an acknowledged write may be on one broker only"),
            "production needs 2: raise `min.insync.replicas`",
        );
    }
}

fn judge_cleanup(spec: &TopicSpec, state: &TopicState, find: &mut impl FnMut(Level, String, &str)) {
    let Some(policy) = state.settings.get("cleanup.policy") else {
        find(
            Level::Warning,
            "its compaction and retention cannot be looked at with this login".to_owned(),
            "look at them with Kafka's own tools (kafka-configs)",
        );
        return;
    };
    let has = |wanted: &str| policy.split(',').any(|word| word.trim() == wanted);
    let says = format!("`cleanup.policy` is {policy:?}");
    if spec.compacted {
        if !has("compact") {
            find(
                Level::Error,
                format!("{says}: present values would be lost with time"),
                "set `cleanup.policy=compact`",
            );
        } else if has("delete") {
            find(
                Level::Error,
                format!("{says}: present values would be lost with time"),
                "set `cleanup.policy=compact`, without delete",
            );
        }
        return;
    }
    if has("compact") {
        find(
            Level::Error,
            format!("{says}: all but the newest event of a key would be lost"),
            "set `cleanup.policy=delete`",
        );
    }
    if let Some((least, why)) = &spec.retention_min
        && let Some(kept) = number(state, "retention.ms").filter(|ms| *ms >= 0)
        && (kept as u128) < least.as_millis()
    {
        find(
            Level::Error,
            format!("records are kept for {}, and {why} needs {}", hours(kept as u128), hours(least.as_millis())),
            "raise `retention.ms`",
        );
    }
    if let Some(bytes) = number(state, "retention.bytes").filter(|bytes| *bytes >= 0) {
        find(
            Level::Warning,
            format!("`retention.bytes` is {bytes}: under load records go before their time"),
            "set `retention.bytes=-1`, or be sure that it is enough",
        );
    }
}

fn number(state: &TopicState, name: &str) -> Option<i64> {
    state.settings.get(name)?.parse().ok()
}

fn hours(ms: u128) -> String {
    match ms / 3_600_000 {
        0 => count(ms / 1000, "second"),
        hours if hours % 24 == 0 => count(hours / 24, "day"),
        hours => count(hours, "hour"),
    }
}

/// A number with its noun.
fn count(number: impl Into<u128>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

struct Cluster {
    asker: BaseConsumer<Context>,
    /// Missing where the login is by token: this client cannot fetch one.
    admin: Option<AdminClient<Context>>,
    context: Context,
    timeout: Duration,
}

impl Cluster {
    fn open(config: &KafkaConfig) -> Result<Self, TopicsError> {
        config.check()?;
        let context = context(config)?;
        let asker: BaseConsumer<Context> = config.asker().create_with_context(context.clone()).map_err(refused)?;
        let by_token = context.tokens.is_some();
        let admin = if by_token {
            // The first token is asked for at the first poll.
            asker.poll(Duration::from_millis(500));
            None
        } else {
            Some(config.admin().create_with_context(context.clone()).map_err(refused)?)
        };
        Ok(Self { asker, admin, context, timeout: config.request_timeout })
    }

    fn unavailable(&self, error: &KafkaError) -> TopicsError {
        // Why it is so came as an event.
        serve(&self.asker, |_| {});
        TopicsError::Unavailable(self.context.health.reason(&error.to_string()))
    }

    fn states(&self, specs: &[TopicSpec]) -> Result<BTreeMap<String, TopicState>, TopicsError> {
        let mut states = BTreeMap::new();
        for spec in specs {
            let asked = self.asker.fetch_metadata(Some(&spec.name), self.timeout);
            let metadata = asked.map_err(|error| self.unavailable(&error))?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == spec.name) else { continue };
            match topic.error() {
                None if topic.partitions().is_empty() => {}
                None => {
                    let replication = topic.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0) as u32;
                    let partitions = topic.partitions().len() as u32;
                    let state = TopicState { partitions, replication, settings: BTreeMap::new() };
                    states.insert(spec.name.clone(), state);
                }
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {}
                Some(error) => {
                    let why = RDKafkaErrorCode::from(error).to_string();
                    return Err(TopicsError::Unavailable(format!("{}: {why}", spec.name)));
                }
            }
        }
        self.settings(&mut states)?;
        Ok(states)
    }

    fn settings(&self, states: &mut BTreeMap<String, TopicState>) -> Result<(), TopicsError> {
        let Some(admin) = self.admin.as_ref().filter(|_| !states.is_empty()) else { return Ok(()) };
        let names: Vec<String> = states.keys().cloned().collect();
        let wanted: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let answers = wait(admin.describe_configs(&wanted, &self.options()), self.timeout);
        for (name, answer) in names.iter().zip(answers.map_err(|error| self.unavailable(&error))?) {
            // Not everybody may look at settings: that is a finding.
            if let (Ok(resource), Some(state)) = (answer, states.get_mut(name)) {
                state.settings =
                    resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
            }
        }
        Ok(())
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout))
    }

    fn is_empty(&self, topic: &str, partitions: u32) -> Result<bool, TopicsError> {
        for partition in 0..partitions {
            let asked = self.asker.fetch_watermarks(topic, partition as i32, self.timeout);
            if asked.map_err(|error| self.unavailable(&error))?.1 > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn make(&self, spec: &TopicSpec) -> Result<(), TopicsError> {
        let Some(admin) = &self.admin else { return Err(TopicsError::Tokens) };
        let retention = spec.retention.filter(|_| !spec.compacted).map(|kept| kept.as_millis().to_string());
        let min_isr = spec.min_isr.to_string();
        let copies = TopicReplication::Fixed(spec.replication as i32);
        let mut topic = NewTopic::new(&spec.name, spec.partitions as i32, copies)
            .set("cleanup.policy", if spec.compacted { "compact" } else { "delete" })
            .set("min.insync.replicas", &min_isr);
        if let Some(retention) = &retention {
            topic = topic.set("retention.ms", retention);
        }
        let made = wait(admin.create_topics([&topic], &self.options()), self.timeout);
        self.made(&spec.name, made)
    }

    fn grow(&self, spec: &TopicSpec) -> Result<(), TopicsError> {
        let Some(admin) = &self.admin else { return Err(TopicsError::Tokens) };
        let more = NewPartitions::new(&spec.name, spec.partitions as usize);
        let made = wait(admin.create_partitions([&more], &self.options()), self.timeout);
        self.made(&spec.name, made)
    }

    fn made(
        &self,
        name: &str,
        outcome: KafkaResult<Vec<Result<String, (String, RDKafkaErrorCode)>>>,
    ) -> Result<(), TopicsError> {
        let answers = outcome.map_err(|error| self.unavailable(&error))?;
        for answer in answers {
            match answer {
                // Somebody else was faster.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    let what_next = match code {
                        RDKafkaErrorCode::InvalidReplicationFactor => {
                            "; set `replication` to the number of brokers, such as 1, or start more of them"
                        }
                        RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed => {
                            "; allow this user to create topics, or create it with Kafka's own tools"
                        }
                        _ => "",
                    };
                    return Err(TopicsError::Refused { topic: name.to_owned(), why: format!("{code}{what_next}") });
                }
            }
        }
        Ok(())
    }

    /// Waits until the brokers know what was made: they tell each other a moment later.
    fn wait_for(&self, made: &[String], specs: &[TopicSpec]) -> Result<(), TopicsError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let states = self.states(specs)?;
            let there = |spec: &TopicSpec| states.get(&spec.name).is_some_and(|s| s.partitions >= spec.partitions);
            if specs.iter().filter(|spec| made.contains(&spec.name)).all(there) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(TopicsError::Unavailable("it does not show the topics that it has made".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Wakes a thread that waits for a future.
struct Parked(std::thread::Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the answer of the administration client, whose futures need no runtime.
fn wait<T>(future: impl Future<Output = KafkaResult<T>>, timeout: Duration) -> KafkaResult<T> {
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut future = pin!(future);
    // The client's own timeout comes first.
    let deadline = Instant::now() + timeout + Duration::from_secs(1);
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return answer;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
        }
        std::thread::park_timeout(left);
    }
}

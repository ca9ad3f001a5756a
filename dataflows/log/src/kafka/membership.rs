//! Membership of the consumer group: which partition numbers are ours. The member subscribes to one topic and reads
//! nothing: its partitions are paused. A number is meant for all topics, so that they stay together whatever the brokers'
//! assignor does. A partition that goes elsewhere is handed over when whoever works on it says so, or after a bounded time.

use super::client::Context;
use super::config::{KafkaConfig, KafkaOpenError, refused};
use super::orphans::Orphans;
use super::rejoin::{self, Name};
use super::signal::join;
use super::watch::Watch;
use super::{KafkaLog, context};
use crate::{Offset, TopicPartition};
use parking_lot::{Condvar, Mutex};
use rdkafka::Offset as Position;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the member looks for what its users say.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time between two commits of offsets, at least.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// Time between two looks at who has our name, while the group has put us out.
const NAME_EVERY: Duration = Duration::from_millis(500);
/// A member that was in the group for so long was in it: the next time that it is put out is the first one again.
const STAYED: Duration = Duration::from_secs(600);

/// A change of what is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// These partitions are ours from now on.
    Gained(Vec<u32>),
    /// These go to another process: stop working on them, then call [`Membership::release`]. Until then, and a bounded
    /// time at most, they are still ours.
    Lost(Vec<u32>),
    /// These are ours no more, and another process may work on them already: the group has not heard of us for too long.
    /// Or it has put us out, and we join again when nobody has our name. They may come back.
    Gone(Vec<u32>),
    /// Nothing is ours any more and nothing will be: another process has our instance's name, say.
    Ended(String),
}

/// Membership of the group. Dropping it keeps the place in the group for as long as the session lasts, so that a restart
/// finds its partitions again.
pub struct Membership {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Where it can look at the group.
    orphans: Option<Orphans>,
}

struct Shared {
    events: Mutex<VecDeque<Ownership>>,
    event: Condvar,
    owned: Mutex<BTreeSet<u32>>,
    /// What users have let go.
    released: Mutex<Vec<u32>>,
    stop: AtomicBool,
    commits: Arc<Commits>,
    topic: String,
    release_timeout: Duration,
}

impl Membership {
    /// Joins the log's group, for the partitions of a topic. The brokers need not answer yet.
    pub fn join(log: &KafkaLog, topic: &str) -> Result<Self, KafkaOpenError> {
        let config = log.config();
        let base = Context { commits: Arc::clone(&log.commits), ..context(config)? };
        let group = Group { config: config.clone(), context: base, watch: Arc::clone(&log.watch) };
        let consumer = group.join(topic)?;
        let shared = Arc::new(Shared {
            events: Mutex::default(),
            event: Condvar::new(),
            owned: Mutex::default(),
            released: Mutex::default(),
            stop: AtomicBool::new(false),
            commits: Arc::clone(&log.commits),
            topic: topic.to_owned(),
            release_timeout: config.release_timeout,
        });
        shared.commits.by_member.store(true, Ordering::Release);
        let joined = Instant::now();
        let member = Member { shared: Arc::clone(&shared), group, consumer, handover: None, joined, rejoins: 0 };
        let thread = std::thread::Builder::new().name("aulaflow-kafka-group".to_owned()).spawn(move || member.run());
        let thread = thread.map_err(|e| KafkaOpenError::Client(format!("no thread for the group: {e}")))?;
        Ok(Self { shared, thread: Some(thread), orphans: Orphans::start(log, topic)? })
    }

    /// The next change, if there is one in time. Every change must be taken.
    pub fn next(&self, timeout: Duration) -> Option<Ownership> {
        let mut events = self.shared.events.lock();
        self.shared.event.wait_while_for(&mut events, |events| events.is_empty(), timeout);
        events.pop_front()
    }

    /// Nobody here works on these partitions any more: they can go to where they were asked for.
    pub fn release(&self, partitions: &[u32]) {
        self.shared.released.lock().extend_from_slice(partitions);
    }

    /// What is ours now.
    pub fn partitions(&self) -> Vec<u32> {
        self.shared.owned.lock().iter().copied().collect()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.orphans = None;
        self.shared.stop.store(true, Ordering::Release);
        join(&mut self.thread, "is the member of the consumer group");
        self.shared.commits.by_member.store(false, Ordering::Release);
    }
}

/// What the group's protocol wants of us.
enum Move {
    Assign(Vec<u32>),
    Revoke { partitions: Vec<u32>, lost: bool },
}

struct MemberContext {
    base: Context,
    moves: Mutex<VecDeque<Move>>,
    /// Nobody waits any more.
    leaving: AtomicBool,
}

impl ClientContext for MemberContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.base.log(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.base.generate_oauth_token(config)
    }
}

impl ConsumerContext for MemberContext {
    /// Only remembers what is wanted: the protocol waits until it is done, and a handover takes its time.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| element.partition() as u32).collect();
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.moves.lock().push_back(Move::Assign(partitions));
        } else if self.leaving.load(Ordering::Acquire) {
            if let Err(error) = consumer.incremental_unassign(list) {
                tracing::debug!(%error, "leaving the consumer group");
            }
        } else {
            self.moves.lock().push_back(Move::Revoke { partitions, lost: consumer.assignment_lost() });
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.base.commit_callback(result, offsets);
    }
}

/// Partitions on their way to another process.
struct Handover {
    all: Vec<u32>,
    waiting: BTreeSet<u32>,
    deadline: Instant,
}

/// How to join, and to look at who has.
struct Group {
    config: KafkaConfig,
    context: Context,
    watch: Arc<Watch>,
}

impl Group {
    fn join(&self, topic: &str) -> Result<BaseConsumer<MemberContext>, KafkaOpenError> {
        let context =
            MemberContext { base: self.context.clone(), moves: Mutex::default(), leaving: AtomicBool::new(false) };
        let member: BaseConsumer<MemberContext> = self.config.member().create_with_context(context).map_err(refused)?;
        member.subscribe(&[topic]).map_err(|e| KafkaOpenError::Client(e.to_string()))?;
        Ok(member)
    }

    /// Who has our name. Our own member is not in the group any more.
    fn name(&self) -> Name {
        let Ok(groups) = self.watch.group(&self.config.group) else { return Name::Unknown };
        let Some(group) = groups.groups().iter().find(|group| group.name() == self.config.group) else {
            return Name::Unknown;
        };
        let own = self.config.member_id();
        if group.members().iter().any(|member| member.client_id() == own) { Name::Taken } else { Name::Free }
    }
}

struct Member {
    shared: Arc<Shared>,
    group: Group,
    consumer: BaseConsumer<MemberContext>,
    handover: Option<Handover>,
    /// When it last joined.
    joined: Instant,
    /// How often it joined again, being put out, without having stayed.
    rejoins: u32,
}

impl Member {
    fn run(mut self) {
        let mut committed = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.consumer.poll(LOOK_EVERY) {
                Some(Err(error)) if self.consumer.client().fatal_error().is_some() => {
                    if !self.is_back(&error) {
                        return;
                    }
                }
                // Health has heard of it. A record may come before its partition is paused: it is read elsewhere.
                Some(Err(_) | Ok(_)) | None => {}
            }
            self.hand_over();
            while self.handover.is_none() {
                let next = self.consumer.context().moves.lock().pop_front();
                match next {
                    Some(Move::Assign(partitions)) => self.gain(partitions),
                    Some(Move::Revoke { partitions, lost }) => self.lose(partitions, lost),
                    None => break,
                }
                self.hand_over();
            }
            if committed.elapsed() >= COMMIT_EVERY {
                self.shared.commits.commit(&self.consumer);
                committed = Instant::now();
            }
        }
        self.shared.commits.commit(&self.consumer);
        self.consumer.context().leaving.store(true, Ordering::Release);
        if let Some(handover) = self.handover.take() {
            self.unassign(&handover.all);
        }
    }

    fn list(&self, partitions: &[u32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            // The only error is an offset that cannot be said, and this can. At the end there is nothing to fetch.
            let _ = list.add_partition_offset(&self.shared.topic, *partition as i32, Position::End);
        }
        list
    }

    fn gain(&mut self, partitions: Vec<u32>) {
        let list = self.list(&partitions);
        let done = self.consumer.incremental_assign(&list).and_then(|()| self.consumer.pause(&list));
        if let Err(error) = done {
            tracing::error!(%error, ?partitions, "the consumer group's partitions cannot be taken");
        }
        self.shared.owned.lock().extend(&partitions);
        self.tell(Ownership::Gained, partitions);
    }

    fn lose(&mut self, partitions: Vec<u32>, lost: bool) {
        if lost || partitions.is_empty() {
            self.unassign(&partitions);
            self.tell(Ownership::Gone, partitions);
            return;
        }
        let deadline = Instant::now() + self.shared.release_timeout;
        self.shared.released.lock().clear();
        self.handover =
            Some(Handover { waiting: partitions.iter().copied().collect(), all: partitions.clone(), deadline });
        self.tell(Ownership::Lost, partitions);
    }

    /// Completes a handover when all was let go, or when it took too long.
    fn hand_over(&mut self) {
        let Some(handover) = &mut self.handover else { return };
        for partition in self.shared.released.lock().drain(..) {
            handover.waiting.remove(&partition);
        }
        let late = Instant::now() >= handover.deadline;
        if late && !handover.waiting.is_empty() {
            let waiting = &handover.waiting;
            tracing::error!(?waiting, "partitions were not let go in time: they go to another process all the same");
        }
        if late || handover.waiting.is_empty() {
            let all = std::mem::take(&mut handover.all);
            self.handover = None;
            self.unassign(&all);
        }
    }

    fn unassign(&self, partitions: &[u32]) {
        self.shared.owned.lock().retain(|owned| !partitions.contains(owned));
        if let Err(error) = self.consumer.incremental_unassign(&self.list(partitions)) {
            tracing::error!(%error, ?partitions, "the consumer group's partitions cannot be given back");
        }
    }

    fn tell(&self, what: impl FnOnce(Vec<u32>) -> Ownership, partitions: Vec<u32>) {
        if !partitions.is_empty() {
            // No more than the group's protocol has rounds.
            self.shared.events.lock().push_back(what(partitions));
            self.shared.event.notify_all();
        }
    }

    /// The client library has come to an end. Whether we are in the group again; where not, it was said that this is the end,
    /// or nobody needs us any more.
    fn is_back(&mut self, error: &KafkaError) -> bool {
        let (code, why) = match self.consumer.client().fatal_error() {
            Some((code, why)) => (Some(code), why),
            None => (None, error.to_string()),
        };
        self.consumer.context().leaving.store(true, Ordering::Release);
        self.handover = None;
        let owned = std::mem::take(&mut *self.shared.owned.lock());
        if code != Some(RDKafkaErrorCode::FencedInstanceId) {
            self.end(format!("the consumer group has put this process out: {why}"));
            return false;
        }
        tracing::warn!(why, "the consumer group has put this process out: it joins again when nobody has its name");
        self.tell(Ownership::Gone, owned.into_iter().collect());
        if self.joined.elapsed() >= STAYED {
            self.rejoins = 0;
        }
        let since = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            let session = self.group.config.session_timeout;
            match rejoin::next(self.group.name(), since.elapsed(), self.rejoins, session) {
                rejoin::Next::Wait => std::thread::sleep(NAME_EVERY),
                rejoin::Next::GiveUp(reason) => {
                    let instance = &self.group.config.instance;
                    self.end(format!(
                        "the consumer group has put this process out ({why}), and {reason}: is `instance` \
                         ({instance}) another process's name too? Each process of a group needs its own"
                    ));
                    return false;
                }
                rejoin::Next::Join => match self.group.join(&self.shared.topic) {
                    Ok(consumer) => {
                        self.consumer = consumer;
                        (self.joined, self.rejoins) = (Instant::now(), self.rejoins + 1);
                        return true;
                    }
                    Err(error) => {
                        self.end(format!("the consumer group cannot be joined again: {error}"));
                        return false;
                    }
                },
            }
        }
        false
    }

    fn end(&self, why: String) {
        self.shared.events.lock().push_back(Ownership::Ended(why));
        self.shared.event.notify_all();
    }
}

/// Offsets for the group, for everybody's tools that show lag. Nothing is read by them.
#[derive(Default)]
pub(super) struct Commits {
    pending: Mutex<BTreeMap<TopicPartition, Offset>>,
    /// A member's commits are the only ones that the group takes while it has members.
    pub by_member: AtomicBool,
    /// The error that was told last.
    told: Mutex<Option<String>>,
}

impl Commits {
    /// Remembers what is covered; a later call takes over what an earlier one said.
    pub fn note(&self, offsets: &[(TopicPartition, Offset)]) {
        self.pending.lock().extend(offsets.iter().cloned());
    }

    /// Commits what was noted; does not wait.
    pub fn commit<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        let pending = std::mem::take(&mut *self.pending.lock());
        if pending.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(pending.len());
        for (place, offset) in pending {
            // The only error is an offset that cannot be said, and these can.
            let _ = list.add_partition_offset(&place.topic, place.partition as i32, Position::Offset(offset as i64));
        }
        self.outcome(consumer.commit(&list, CommitMode::Async));
    }

    /// How a commit went. It is told when it changes: the next one makes up for it.
    pub fn outcome(&self, outcome: KafkaResult<()>) {
        let error = outcome.err().map(|error| error.to_string());
        let mut told = self.told.lock();
        if let Some(error) = error.as_ref().filter(|error| told.as_ref() != Some(error)) {
            tracing::warn!(error, "offsets were not committed to the consumer group: tools show an old lag");
        }
        *told = error;
    }
}

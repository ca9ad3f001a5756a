//! The follower: one consumer with assigned partitions, polled by a thread of ours that copies records at once into sets
//! per partition. What is read ahead is bounded by a budget of bytes over all partitions: a partition that has its share
//! is not polled, and librdkafka's own queue of it stops fetching when it is full.
//!
//! **The end of a partition.** Offsets without records (markers of transactions, what compaction took away) are passed
//! over silently by librdkafka, so that after the last record only its statistics tell how far it is. Their position
//! is taken over when they are surely of the present assignment and the partition's queue is empty after them.

use super::client::{Context, Health, serve};
use super::config::{KafkaConfig, KafkaOpenError, refused};
use super::headers::with_headers;
use super::membership::Commits;
use super::signal::{Changes, Wake, join};
use super::slot::{Fault, Heard, Incoming, Inner, Slot};
use super::watch::Watch;
use crate::{Fetched, LogError, Offset, SourceState, TopicPartition};
use aulaflow_model::instant::Millis;
use parking_lot::{Mutex, RwLock};
use rdkafka::Offset as Position;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often librdkafka says how far it is: how long a reader may wait to pass the offsets behind the last record.
pub(super) const STATISTICS_EVERY: Duration = Duration::from_millis(250);
/// Records taken from one partition in a row.
const TURN_RECORDS: usize = 4096;
/// The longest sleep: errors, statistics and logs are looked for this often.
const SLEEP: Duration = Duration::from_millis(50);

/// Follows partitions.
pub(super) struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    slots: RwLock<HashMap<TopicPartition, Arc<Slot>>>,
    /// Partitions to go to, or to leave.
    orders: Mutex<Vec<TopicPartition>>,
    wake: Arc<Wake>,
    changes: Arc<Changes>,
    watch: Arc<Watch>,
    health: Arc<Health>,
    /// Bytes received and not read.
    buffered: AtomicUsize,
    /// The most of them.
    budget: usize,
    stop: AtomicBool,
    statistics: Arc<Mutex<Option<Statistics>>>,
    commits: Arc<Commits>,
}

impl Follower {
    pub fn start(
        config: &KafkaConfig,
        context: Context,
        watch: Arc<Watch>,
        changes: Arc<Changes>,
    ) -> Result<Self, KafkaOpenError> {
        let statistics = Arc::new(Mutex::new(None));
        let health = Arc::clone(&context.health);
        let commits = Arc::clone(&context.commits);
        let context = Context { statistics: Some(Arc::clone(&statistics)), ..context };
        let consumer: BaseConsumer<Context> = config.follower().create_with_context(context).map_err(refused)?;
        let shared = Arc::new(Shared {
            slots: RwLock::default(),
            orders: Mutex::default(),
            wake: Arc::default(),
            changes,
            watch,
            health,
            buffered: AtomicUsize::new(0),
            budget: (config.read_ahead_bytes_max / 2).max(1),
            stop: AtomicBool::new(false),
            statistics,
            commits,
        });
        let worker =
            Worker { shared: Arc::clone(&shared), consumer: Arc::new(consumer), followed: Vec::new(), turn: 0 };
        let thread = std::thread::Builder::new().name("aulaflow-kafka".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(|e| KafkaOpenError::Client(format!("no thread to read with: {e}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was read ahead of a partition from `offset` on. Never waits.
    pub fn read(&self, place: &TopicPartition, offset: Offset) -> Result<Fetched, LogError> {
        let slot = self.slot(place, offset);
        let mut inner = slot.inner.lock();
        if !inner.goes_on_at(offset) {
            self.go(&slot, &mut inner, offset);
        }
        if let Some(fault) = inner.fault.clone().filter(|fault| fault.out_of_range) {
            // Nobody jumps: whoever reads decides where to go on.
            if let Some(bounds) = self.shared.watch.known_since(place, fault.at) {
                if offset < bounds.start {
                    return Err(gone(place, offset, bounds.start));
                }
                if offset > bounds.end {
                    return Err(beyond(place, offset, bounds.end));
                }
                self.go(&slot, &mut inner, offset);
            }
        }
        let end = self.shared.watch.known(place).map_or(0, |bounds| bounds.end);
        let fetched = inner.take(offset, end);
        drop(inner);
        if !fetched.records.is_empty() {
            self.shared.buffered.fetch_sub(fetched.records.len_bytes(), Ordering::AcqRel);
            // There is room again.
            self.shared.wake.wake();
        }
        Ok(fetched)
    }

    fn slot(&self, place: &TopicPartition, offset: Offset) -> Arc<Slot> {
        if let Some(slot) = self.shared.slots.read().get(place) {
            return Arc::clone(slot);
        }
        let mut slots = self.shared.slots.write();
        let slot = slots.entry(place.clone()).or_insert_with(|| {
            self.shared.watch.follow(place, true);
            self.shared.order(place);
            Arc::new(Slot::new(place.clone(), offset))
        });
        Arc::clone(slot)
    }

    fn go(&self, slot: &Slot, inner: &mut Inner, offset: Offset) {
        let dropped = inner.move_to(offset);
        self.shared.buffered.fetch_sub(dropped, Ordering::AcqRel);
        self.shared.order(&slot.place);
    }

    /// Nobody reads the partition any more.
    pub fn release(&self, place: &TopicPartition) {
        let Some(slot) = self.shared.slots.write().remove(place) else { return };
        let dropped = slot.inner.lock().move_to(0);
        self.shared.buffered.fetch_sub(dropped, Ordering::AcqRel);
        self.shared.watch.follow(place, false);
        self.shared.order(place);
    }

    /// How it goes with a partition.
    pub fn state(&self, place: &TopicPartition) -> SourceState {
        let slot = self.shared.slots.read().get(place).map(Arc::clone);
        let (fault, heard) = slot.map_or((None, Heard::Nothing), |slot| {
            let inner = slot.inner.lock();
            (inner.fault.clone(), inner.heard)
        });
        match (self.shared.health.state(), fault) {
            (SourceState::Stalled(why), _) => SourceState::Stalled(why),
            (_, Some(fault)) => SourceState::Stalled(fault.why),
            (SourceState::Live, None) if heard != Heard::Nothing => SourceState::Live,
            (SourceState::Live | SourceState::Connecting, None) => SourceState::Connecting,
        }
    }

    /// Bytes read ahead and not yet read.
    pub fn buffered(&self) -> usize {
        self.shared.buffered.load(Ordering::Acquire)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.wake();
        join(&mut self.thread, "reads from Kafka");
    }
}

pub(super) fn gone(place: &TopicPartition, offset: Offset, start: Offset) -> LogError {
    LogError::Gone { topic: place.topic.clone(), partition: place.partition, offset, start }
}

pub(super) fn beyond(place: &TopicPartition, offset: Offset, end: Offset) -> LogError {
    LogError::Corrupt(format!(
        "offset {offset} of {}/{} is beyond its end {end}: the topic was made anew, or its brokers lost records",
        place.topic, place.partition
    ))
}

impl Shared {
    fn order(&self, place: &TopicPartition) {
        self.orders.lock().push(place.clone());
        self.wake.wake();
    }

    /// Whether a partition has its share of the budget. One without anything may always take a record.
    fn is_full(&self, inner: &Inner, partitions: usize) -> bool {
        let all = self.buffered.load(Ordering::Acquire);
        let share = self.budget / partitions.max(1);
        inner.bytes > 0 && (all >= self.budget || (inner.bytes >= share && all >= self.budget / 2))
    }
}

/// A partition with librdkafka's queue of it.
struct Followed {
    slot: Arc<Slot>,
    queue: PartitionQueue<Context>,
}

/// How a turn at a partition ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The queue is empty.
    Empty,
    /// There is more.
    More,
    /// The partition has its share of the budget.
    Full,
}

struct Worker {
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<Context>>,
    followed: Vec<Followed>,
    /// Which partition is first.
    turn: usize,
}

impl Worker {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.obey();
            let statistics = self.events();
            // As often as statistics come.
            if statistics.is_some() && !self.shared.commits.by_member.load(Ordering::Acquire) {
                self.shared.commits.commit(&self.consumer);
            }
            // What comes from now on was said after these partitions were heard: of their present position.
            let heard = if statistics.is_some() { self.newly_heard() } else { Vec::new() };
            let (news, more) = self.turns();
            let passed = statistics.is_some_and(|statistics| self.pass(&statistics));
            for slot in heard {
                let mut inner = slot.inner.lock();
                if inner.heard == Heard::Something {
                    inner.heard = Heard::Surely;
                }
            }
            if news || passed {
                self.shared.changes.bump();
            }
            if !more {
                self.shared.wake.sleep(SLEEP);
            }
        }
        if !self.shared.commits.by_member.load(Ordering::Acquire) {
            self.shared.commits.commit(&self.consumer);
        }
        // Their callbacks end before the consumer does.
        self.followed.clear();
    }

    /// Goes where readers want to go, and leaves what nobody reads.
    fn obey(&mut self) {
        let mut orders = std::mem::take(&mut *self.shared.orders.lock());
        orders.sort();
        orders.dedup();
        for place in orders {
            if let Some(at) = self.followed.iter().position(|followed| followed.slot.place == place) {
                self.followed.swap_remove(at);
                let left = self.consumer.incremental_unassign(&list(&place, Position::Invalid));
                complain(&place, "leave", left);
            }
            let slot = self.shared.slots.read().get(&place).map(Arc::clone);
            if let Some(slot) = slot {
                self.follow(slot);
            }
        }
    }

    fn follow(&mut self, slot: Arc<Slot>) {
        let place = &slot.place;
        // Before it is assigned, so that nothing goes another way.
        let Some(mut queue) = self.consumer.split_partition_queue(&place.topic, place.partition as i32) else {
            tracing::error!(topic = place.topic, "no such topic name in Kafka");
            return;
        };
        let (wake, dirty) = (Arc::clone(&self.shared.wake), Arc::downgrade(&slot));
        queue.set_nonempty_callback(move || {
            if let Some(slot) = dirty.upgrade() {
                slot.dirty.store(true, Ordering::Release);
                wake.wake();
            }
        });
        {
            // Together: a reader who goes elsewhere from here on orders it again.
            let mut inner = slot.inner.lock();
            inner.moved = false;
            inner.heard = Heard::Nothing;
            let offset = Position::Offset(inner.received as i64);
            complain(place, "follow", self.consumer.incremental_assign(&list(place, offset)));
        }
        slot.dirty.store(true, Ordering::Release);
        self.followed.push(Followed { slot, queue });
    }

    /// Serves logs, errors and statistics until there are none; the newest statistics are returned.
    fn events(&self) -> Option<Statistics> {
        serve(&self.consumer, |message| {
            // Cannot be: every partition has its queue. If it was, it would be missing there.
            let place = TopicPartition { topic: message.topic().to_owned(), partition: message.partition() as u32 };
            tracing::error!(topic = place.topic, partition = place.partition, "a record came astray");
            if let Some(followed) = self.followed.iter().find(|followed| followed.slot.place == place) {
                followed.slot.inner.lock().moved = true;
            }
            self.shared.order(&place);
        });
        self.shared.statistics.lock().take()
    }

    /// Gives every partition its turn. Whether something came, and whether there is more.
    fn turns(&mut self) -> (bool, bool) {
        let (mut news, mut more) = (false, false);
        let count = self.followed.len();
        self.turn = self.turn.wrapping_add(1);
        for at in 0..count {
            let followed = &self.followed[(self.turn + at) % count];
            if !followed.slot.take_dirty() {
                continue;
            }
            let before = self.shared.buffered.load(Ordering::Acquire);
            match self.drain(followed) {
                Turn::Empty => {}
                Turn::More => {
                    followed.slot.dirty.store(true, Ordering::Release);
                    more = true;
                }
                // Readers wake us when they make room.
                Turn::Full => followed.slot.dirty.store(true, Ordering::Release),
            }
            news |= self.shared.buffered.load(Ordering::Acquire) != before;
        }
        (news, more)
    }

    fn drain(&self, followed: &Followed) -> Turn {
        let mut inner = followed.slot.inner.lock();
        for _ in 0..TURN_RECORDS {
            if inner.moved {
                return Turn::Empty;
            }
            if self.shared.is_full(&inner, self.followed.len()) {
                return Turn::Full;
            }
            match followed.queue.poll(Duration::ZERO) {
                None => return Turn::Empty,
                Some(Ok(message)) => {
                    let added = push(&mut inner, &message);
                    self.shared.buffered.fetch_add(added, Ordering::AcqRel);
                    hear(&mut inner);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => hear(&mut inner),
                Some(Err(error)) => {
                    let out_of_range = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset);
                    let why = fault(&followed.slot.place, &error, inner.received);
                    tracing::warn!(why, "reading from Kafka");
                    inner.fault = Some(Fault { at: Instant::now(), out_of_range, why });
                    self.shared.watch.hurry();
                }
            }
        }
        Turn::More
    }

    /// Takes over how far librdkafka is, where all that it has received is here. Whether a position moved.
    fn pass(&self, statistics: &Statistics) -> bool {
        let mut moved = false;
        for followed in &self.followed {
            let place = &followed.slot.place;
            let topic = statistics.topics.get(&place.topic);
            let Some(partition) = topic.and_then(|t| t.partitions.get(&(place.partition as i32))) else { continue };
            if followed.slot.inner.lock().heard != Heard::Surely {
                continue;
            }
            if partition.ls_offset > 0 {
                self.shared.watch.note_end(place, partition.ls_offset as Offset);
            }
            if self.drain(followed) != Turn::Empty {
                followed.slot.dirty.store(true, Ordering::Release);
                continue;
            }
            let mut inner = followed.slot.inner.lock();
            let next = Offset::try_from(partition.next_offset).unwrap_or(0);
            if !inner.moved && inner.heard == Heard::Surely && next > inner.received {
                inner.received = next;
                moved = true;
            }
        }
        moved
    }

    /// Partitions of which something has come since they were assigned, and no statistics yet that must be later.
    fn newly_heard(&self) -> Vec<Arc<Slot>> {
        let slots = self.followed.iter().map(|followed| &followed.slot);
        slots.filter(|slot| slot.inner.lock().heard == Heard::Something).map(Arc::clone).collect()
    }
}

fn hear(inner: &mut Inner) {
    inner.fault = None;
    if inner.heard == Heard::Nothing {
        inner.heard = Heard::Something;
    }
}

fn fault(place: &TopicPartition, error: &KafkaError, offset: Offset) -> String {
    use RDKafkaErrorCode as Code;
    let TopicPartition { topic, partition } = place;
    match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset) => format!("offset {offset} of {topic}/{partition} is not on the log any more"),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            format!("Kafka has no {topic} partition {partition}: `aulaflow topics ensure` makes what is missing")
        }
        Some(Code::TopicAuthorizationFailed) => format!("Kafka does not let this user read {topic}: allow it"),
        _ => format!("{topic}/{partition}: {error}"),
    }
}

fn complain(place: &TopicPartition, what: &str, outcome: Result<(), KafkaError>) {
    if let Err(error) = outcome {
        tracing::error!(topic = place.topic, partition = place.partition, %error, "cannot {what} a partition");
    }
}

/// A list of one place.
pub(super) fn list(place: &TopicPartition, offset: Position) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    // The only error is an offset that cannot be said, and these can.
    let _ = list.add_partition_offset(&place.topic, place.partition as i32, offset);
    list
}

/// Adds a message to a partition; returns its encoded bytes.
fn push(inner: &mut Inner, message: &BorrowedMessage<'_>) -> usize {
    let Ok(offset) = Offset::try_from(message.offset()) else { return 0 };
    with_headers(message, |headers| {
        inner.push(&Incoming {
            offset,
            timestamp: Millis(message.timestamp().to_millis().unwrap_or(0)),
            key: message.key().unwrap_or_default(),
            value: message.payload(),
            headers,
        })
    })
}

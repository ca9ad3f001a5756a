//! What is known of topics and partitions: their number, their first and last offsets. A thread asks the brokers in the
//! background, at least once a second, and so also knows whether they answer; a first question waits for its answer.

use super::client::{Context, Health, serve};
use super::config::{KafkaConfig, KafkaOpenError, refused};
use super::signal::{Changes, Wake};
use crate::{LogError, Offset, TopicPartition};
use parking_lot::Mutex;
use rdkafka::Offset as Position;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::groups::GroupList;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at the ends of partitions.
const ENDS_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at the starts of partitions, and at topics.
const TOPICS_EVERY: Duration = Duration::from_secs(5);
/// Time between two attempts at a question.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A place that nobody follows and nobody asked for is forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A partition's first and last offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub start: Offset,
    pub end: Offset,
}

/// A partition, as last heard.
struct Known {
    bounds: Bounds,
    /// When both bounds were asked for.
    at: Instant,
    asked: Instant,
}

/// What is known.
pub(super) struct Watch {
    consumer: BaseConsumer<Context>,
    health: Arc<Health>,
    inner: Mutex<Inner>,
    wake: Wake,
    hurry: AtomicBool,
    stop: AtomicBool,
    request_timeout: Duration,
    /// So that a broker which holds its answers back is noticed in time.
    ask_timeout: Duration,
    changes: Arc<Changes>,
}

#[derive(Default)]
struct Inner {
    topics: HashMap<String, u32>,
    places: HashMap<TopicPartition, Known>,
    followed: HashMap<TopicPartition, ()>,
}

impl Watch {
    pub fn new(config: &KafkaConfig, context: Context, changes: Arc<Changes>) -> Result<Arc<Self>, KafkaOpenError> {
        let health = Arc::clone(&context.health);
        let consumer = config.asker().create_with_context(context).map_err(refused)?;
        Ok(Arc::new(Self {
            consumer,
            health,
            inner: Mutex::default(),
            wake: Wake::default(),
            hurry: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            request_timeout: config.request_timeout,
            ask_timeout: (config.stalled_after / 2).min(config.request_timeout),
            changes,
        }))
    }

    /// Starts the thread; it ends when [`Watch::stop`] was called or nobody has the watch any more.
    pub fn start(self: &Arc<Self>, topics: Vec<String>) -> Result<JoinHandle<()>, KafkaOpenError> {
        let watch = Arc::downgrade(self);
        let run = move || run(&watch, &topics);
        let thread = std::thread::Builder::new().name("aulaflow-kafka-watch".to_owned()).spawn(run);
        thread.map_err(|e| KafkaOpenError::Client(format!("no thread to watch with: {e}")))
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// Asks the brokers soon.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// Whether somebody follows a partition: it is asked for without being asked.
    pub fn follow(&self, place: &TopicPartition, yes: bool) {
        let mut inner = self.inner.lock();
        if yes {
            inner.followed.insert(place.clone(), ());
            drop(inner);
            self.hurry();
        } else {
            inner.followed.remove(place);
        }
    }

    /// How many partitions a topic has.
    pub fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        if let Some(count) = self.inner.lock().topics.get(topic) {
            return Ok(*count);
        }
        match self.patiently(|left| self.ask_topic(topic, left)) {
            Ok(Some(count)) => Ok(count),
            Ok(None) => Err(LogError::Unknown(topic.to_owned(), 0)),
            Err(error) => Err(LogError::Unavailable(self.health.reason(&error.to_string()))),
        }
    }

    /// What the brokers say of a consumer group.
    pub fn group(&self, name: &str) -> KafkaResult<GroupList> {
        self.consumer.fetch_group_list(Some(name), self.ask_timeout)
    }

    /// A partition's bounds; asks the brokers if they are not known.
    pub fn bounds(&self, place: &TopicPartition) -> Result<Bounds, LogError> {
        if let Some(known) = self.inner.lock().places.get_mut(place) {
            known.asked = Instant::now();
            return Ok(known.bounds);
        }
        self.ask_bounds(place)
    }

    /// A partition's bounds as they are now.
    pub fn ask_bounds(&self, place: &TopicPartition) -> Result<Bounds, LogError> {
        if place.partition >= self.partitions(&place.topic)? {
            return Err(LogError::Unknown(place.topic.clone(), place.partition));
        }
        let places = [place.clone()];
        let nobody_leads = RDKafkaErrorCode::LeaderNotAvailable;
        let ask = |left| {
            let found = self.ask(&places, left)?;
            // A topic that was made a moment ago has no leader yet.
            found.first().map(|(_, bounds)| *bounds).ok_or(KafkaError::MetadataFetch(nobody_leads))
        };
        self.patiently(ask).map_err(|error| {
            LogError::Unavailable(match error.rdkafka_error_code() {
                Some(code) if code == nobody_leads => {
                    format!("no broker leads {}/{} now", place.topic, place.partition)
                }
                _ => self.health.reason(&error.to_string()),
            })
        })
    }

    /// What is known, without asking.
    pub fn known(&self, place: &TopicPartition) -> Option<Bounds> {
        self.inner.lock().places.get(place).map(|known| known.bounds)
    }

    /// What was asked for after an instant.
    pub fn known_since(&self, place: &TopicPartition, since: Instant) -> Option<Bounds> {
        let inner = self.inner.lock();
        inner.places.get(place).filter(|known| known.at > since).map(|known| known.bounds)
    }

    /// The end was seen by the way.
    pub fn note_end(&self, place: &TopicPartition, end: Offset) {
        if let Some(known) = self.inner.lock().places.get_mut(place) {
            known.bounds.end = known.bounds.end.max(end);
        }
    }

    /// Asks until there is an answer, for as long as a request may take: a broker that restarts is worth waiting for.
    fn patiently<T>(&self, ask: impl Fn(Duration) -> KafkaResult<T>) -> KafkaResult<T> {
        use RDKafkaErrorCode as Code;
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = ask(left);
            let code = outcome.as_ref().err().and_then(KafkaError::rdkafka_error_code);
            let passing = matches!(
                code,
                Some(
                    Code::BrokerTransportFailure
                        | Code::AllBrokersDown
                        | Code::NetworkException
                        | Code::LeaderNotAvailable
                        | Code::NotLeaderForPartition
                        | Code::FencedLeaderEpoch
                        | Code::UnknownLeaderEpoch
                        | Code::RequestTimedOut
                )
            );
            if !passing || left <= RETRY_PAUSE || self.health.is_refused() {
                return outcome;
            }
            // Who leads is asked anew meanwhile.
            self.hurry();
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn ask_topic(&self, topic: &str, timeout: Duration) -> KafkaResult<Option<u32>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), timeout)?;
        self.health.heard();
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = match found.map(|found| (found.error(), found.partitions().len())) {
            None | Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), _) | (None, 0)) => None,
            Some((None, count)) => Some(count as u32),
            Some((Some(error), _)) => return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error))),
        };
        let mut inner = self.inner.lock();
        match count {
            Some(count) if inner.topics.insert(topic.to_owned(), count) != Some(count) => {
                drop(inner);
                self.changes.bump();
            }
            Some(_) => {}
            None => drop(inner.topics.remove(topic)),
        }
        Ok(count)
    }

    /// Asks for both bounds of places and keeps them. Places without a leader are missing in the answer.
    fn ask(&self, places: &[TopicPartition], timeout: Duration) -> KafkaResult<Vec<(TopicPartition, Bounds)>> {
        let at = Instant::now();
        let starts = self.offsets(places, Position::Beginning, timeout)?;
        let ends = self.offsets(places, Position::End, timeout)?;
        let mut found = Vec::with_capacity(places.len());
        let mut inner = self.inner.lock();
        for place in places {
            let (Some(start), Some(end)) = (starts.get(place), ends.get(place)) else { continue };
            let bounds = Bounds { start: *start, end: *end };
            let asked = inner.places.get(place).map_or(at, |known| known.asked);
            inner.places.insert(place.clone(), Known { bounds, at, asked });
            found.push((place.clone(), bounds));
        }
        Ok(found)
    }

    fn offsets(
        &self,
        places: &[TopicPartition],
        which: Position,
        timeout: Duration,
    ) -> KafkaResult<HashMap<TopicPartition, Offset>> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for place in places {
            list.add_partition_offset(&place.topic, place.partition as i32, which)?;
        }
        let answer = self.consumer.offsets_for_times(list, timeout)?;
        self.health.heard();
        let mut found = HashMap::with_capacity(places.len());
        for element in answer.elements() {
            if let (Ok(()), Position::Offset(offset)) = (element.error(), element.offset()) {
                let place = TopicPartition { topic: element.topic().to_owned(), partition: element.partition() as u32 };
                found.insert(place, Offset::try_from(offset).unwrap_or(0));
            }
        }
        Ok(found)
    }

    /// The places to ask for: those that exist, of those that are followed or were asked for not long ago.
    fn places(&self) -> Vec<TopicPartition> {
        let mut inner = self.inner.lock();
        let Inner { topics, places, followed } = &mut *inner;
        places.retain(|place, known| followed.contains_key(place) || known.asked.elapsed() < FORGET_AFTER);
        let mut wanted: Vec<_> = places.keys().chain(followed.keys()).cloned().collect();
        wanted.retain(|place| topics.get(&place.topic).is_some_and(|count| place.partition < *count));
        wanted.sort();
        wanted.dedup();
        wanted
    }

    /// One look at the topics.
    fn look_at_topics(&self, expected: &[String]) -> KafkaResult<()> {
        let mut topics: Vec<String> = self.inner.lock().topics.keys().cloned().collect();
        topics.extend(self.inner.lock().followed.keys().map(|place| place.topic.clone()));
        topics.extend(expected.iter().cloned());
        topics.sort();
        topics.dedup();
        topics.iter().try_for_each(|topic| self.ask_topic(topic, self.ask_timeout).map(drop))
    }

    /// One look at the ends; at everything where it is due.
    fn look(&self, expected: &[String], everything: bool) -> KafkaResult<()> {
        if everything {
            self.look_at_topics(expected)?;
        }
        let places = self.places();
        if places.is_empty() {
            // Only whether anybody answers.
            let any = expected.first().map_or("aulaflow", String::as_str);
            self.ask_topic(any, self.ask_timeout)?;
            return Ok(());
        }
        if everything {
            return self.ask(&places, self.ask_timeout).map(drop);
        }
        let ends = self.offsets(&places, Position::End, self.ask_timeout)?;
        let mut inner = self.inner.lock();
        let mut unknown = false;
        for (place, end) in ends {
            match inner.places.get_mut(&place) {
                Some(known) => known.bounds.end = end,
                None => unknown = true,
            }
        }
        drop(inner);
        if unknown { self.ask(&places, self.ask_timeout).map(drop) } else { Ok(()) }
    }
}

fn run(watch: &Weak<Watch>, expected: &[String]) {
    let mut everything_at: Option<Instant> = None;
    loop {
        let Some(watch) = watch.upgrade().filter(|watch| !watch.stop.load(Ordering::Acquire)) else { return };
        // Logs, errors and tokens.
        serve(&watch.consumer, |_| {});
        let hurried = watch.hurry.swap(false, Ordering::AcqRel);
        let everything = hurried || everything_at.is_none_or(|at| at.elapsed() >= TOPICS_EVERY);
        match watch.look(expected, everything) {
            Ok(()) if everything => everything_at = Some(Instant::now()),
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, "Kafka does not answer a question");
                everything_at = None;
            }
        }
        watch.wake.sleep(ENDS_EVERY);
    }
}

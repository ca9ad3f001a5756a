//! A writer: a transactional producer that fences earlier ones of its name. A write is one transaction; what it could not
//! finish it finishes, or takes back, before the next.

use super::append::Batch;
use super::client::{Context, Health, append_error};
use super::config::{KafkaConfig, refused};
use crate::{Appended, LogError, RecordSet, SourceState, TopicPartition, Writer};
use crossbeam_channel::{Receiver, bounded};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The least time for one step: a step that is cut off has to be finished later.
const STEP_MIN: Duration = Duration::from_millis(100);

/// How long the answers of a committed transaction may take to go from one thread to another.
const ANSWERS_WAIT: Duration = Duration::from_secs(5);

/// How long brokers that answer may refuse to bring a transaction to its end. After it they never will: they abort a silent
/// writer's transaction themselves long before.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Writes transactions.
///
/// librdkafka ends a producer for good at errors after which nobody knows what the brokers have. No other producer takes
/// its place here: it would end a later writer of another process that has the name by right, and at a fatal error nothing
/// says whether there is one. Whoever makes another one asks the consumer group first.
pub(super) struct TransactionalWriter {
    name: String,
    producer: ThreadedProducer<Context>,
    health: Arc<Health>,
    left: Left,
    /// The write whose commit was cut off, and where its records are if it happened: trying it again must not do it twice.
    cut_off: Option<(Vec<(TopicPartition, RecordSet)>, Vec<Appended>)>,
    /// Since when brokers that answer have refused to settle what is left.
    unsettled: Option<Instant>,
}

/// What the write before has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Its commit was cut off; it may or may not have happened.
    Commit,
    /// It must be taken back.
    Abort,
}

type Answer = Receiver<Result<Appended, LogError>>;

impl TransactionalWriter {
    /// Makes a writer, which ends every earlier one of its name.
    pub fn new(config: &KafkaConfig, context: Context, name: &str) -> Result<Self, LogError> {
        let health = Arc::clone(&context.health);
        let producer: Result<ThreadedProducer<Context>, _> = config.writer(name).create_with_context(context);
        let producer = producer.map_err(|e| LogError::Unavailable(refused(e).to_string()))?;
        let writer =
            Self { name: name.to_owned(), producer, health, left: Left::Nothing, cut_off: None, unsettled: None };
        let begun = writer.producer.init_transactions(config.request_timeout);
        // Whatever it is: the next try has a producer of its own.
        begun.map_err(|error| append_error(&error, Some(name), &writer.health))?;
        Ok(writer)
    }

    /// What an error means for the writer: another took over, it is at its end, or the write can be tried again.
    fn error(&self, error: &KafkaError) -> LogError {
        let of_code = |error: &KafkaError| append_error(error, Some(&self.name), &self.health);
        let ended = |why: String| LogError::Ended { name: self.name.clone(), why };
        if let Some((code, why)) = self.producer.client().fatal_error() {
            return match of_code(&KafkaError::Global(code)) {
                fenced @ LogError::Fenced(_) => fenced,
                _ if code == RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
                    ended(format!("{why}: allow this user to write with transactional ids of the group's name"))
                }
                _ => ended(why),
            };
        }
        match (of_code(error), error) {
            (fenced @ LogError::Fenced(_), _) => fenced,
            // Neither to be tried again nor to be taken back: the client library's state is not ours any more.
            (_, KafkaError::Transaction(inner)) if !inner.is_retriable() && !inner.txn_requires_abort() => {
                ended(error.to_string())
            }
            (other, _) => other,
        }
    }

    /// Brings what the write before has left to an end; gives up where the brokers answer and never do it.
    fn settle(&mut self, deadline: Instant) -> Result<(), LogError> {
        let error = match self.try_settle(deadline) {
            Ok(()) => {
                self.unsettled = None;
                return Ok(());
            }
            Err(error) => error,
        };
        if self.health.state() != SourceState::Live {
            self.unsettled = None;
        } else if !error.ends_writer() && self.unsettled.get_or_insert_with(Instant::now).elapsed() >= SETTLE_MAX {
            let why = format!(
                "its transaction could not be ended for {} seconds ({error}): see the brokers' transaction coordinator",
                SETTLE_MAX.as_secs()
            );
            return Err(LogError::Ended { name: self.name.clone(), why });
        }
        Err(error)
    }

    fn try_settle(&mut self, deadline: Instant) -> Result<(), LogError> {
        if self.left == Left::Commit {
            match self.producer.commit_transaction(rest(deadline)) {
                Ok(()) => self.left = Left::Nothing,
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    self.left = Left::Abort;
                    self.cut_off = None;
                }
                Err(error) => return Err(self.error(&error)),
            }
        }
        if self.left == Left::Abort {
            self.producer.abort_transaction(rest(deadline)).map_err(|error| self.error(&error))?;
            self.left = Left::Nothing;
        }
        Ok(())
    }

    fn send(&self, parts: &[(TopicPartition, RecordSet)]) -> (Vec<Answer>, Result<(), KafkaError>) {
        let mut answers = Vec::with_capacity(parts.len());
        for (place, records) in parts {
            let (done, answer) = bounded(1);
            // Nobody listens to a write that has failed.
            let done = Box::new(move |outcome| drop(done.send(outcome)));
            let batch = Batch::new(place, records.len(), Some(&self.name), &self.health, done);
            answers.push(answer);
            if let Err(error) = batch.send(&self.producer, records) {
                return (answers, Err(error));
            }
        }
        (answers, Ok(()))
    }

    /// Takes the transaction back after an error; what could not be taken back is left for the next write.
    fn back(&mut self, error: LogError, deadline: Instant) -> LogError {
        self.left = Left::Abort;
        if error.ends_writer() {
            return error;
        }
        match self.settle(deadline) {
            Err(also) if also.ends_writer() => also,
            Ok(()) | Err(_) => error,
        }
    }
}

impl Writer for TransactionalWriter {
    fn write(&mut self, parts: &[(TopicPartition, RecordSet)], timeout: Duration) -> Result<Vec<Appended>, LogError> {
        let deadline = Instant::now() + timeout;
        self.settle(deadline)?;
        // The commit that was cut off has happened after all. Readers may see it a moment later, when its marker is there.
        if let Some((before, appended)) = self.cut_off.take()
            && same(&before, parts)
        {
            return Ok(appended);
        }
        self.producer.begin_transaction().map_err(|error| self.error(&error))?;
        let (answers, sent) = self.send(parts);
        if let Err(error) = sent {
            let error = self.error(&error);
            return Err(self.back(error, deadline));
        }
        let committed = self.producer.commit_transaction(rest(deadline));
        // The first record's error says more than the transaction's.
        // A flush waits until all are on their way to the callback, not until it was called.
        let wait = if committed.is_ok() { ANSWERS_WAIT } else { Duration::ZERO };
        let outcomes: Vec<_> = answers.iter().map(|answer| answer.recv_timeout(wait).ok()).collect();
        let first = outcomes.iter().flatten().find_map(|outcome| outcome.as_ref().err()).cloned();
        match committed {
            Ok(()) => {
                let all: Option<Vec<_>> = outcomes.into_iter().map(|outcome| outcome.and_then(Result::ok)).collect();
                all.ok_or_else(|| LogError::Unavailable("a transaction is committed without all answers".to_owned()))
            }
            Err(error) => {
                let why = match self.error(&error) {
                    end if end.ends_writer() => end,
                    other => first.unwrap_or(other),
                };
                if matches!(&error, KafkaError::Transaction(e) if e.txn_requires_abort())
                    || matches!(error, KafkaError::Flush(_))
                {
                    return Err(self.back(why, deadline));
                }
                self.left = Left::Commit;
                let all: Option<Vec<_>> = outcomes.into_iter().map(|outcome| outcome.and_then(Result::ok)).collect();
                self.cut_off = all.map(|appended| (parts.to_vec(), appended));
                Err(why)
            }
        }
    }
}

/// Whether two writes are the same, byte for byte.
fn same(one: &[(TopicPartition, RecordSet)], other: &[(TopicPartition, RecordSet)]) -> bool {
    let equal = |((a, records), (b, others)): (&(TopicPartition, RecordSet), &(TopicPartition, RecordSet))| {
        a == b && records.len() == others.len() && records.encoded() == others.encoded()
    };
    one.len() == other.len() && one.iter().zip(other).all(equal)
}

fn rest(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(STEP_MIN)
}

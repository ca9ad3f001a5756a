//! Looking through dead letters, and writing records once more.

use super::{Letter, REPLAYED_FROM, read};
use crate::{Appended, Log, LogError, Offset, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Bytes that are written once more at a time.
const REPLAY_BYTES: usize = 1 << 20;

/// Where a letter lies: written `topic.dlq/partition/offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// Its source topic's place among [`topic::SOURCES`].
    source: usize,
    /// The partition.
    pub partition: u32,
    /// Its own offset, on the dead-letter topic.
    pub offset: Offset,
}

impl LetterId {
    /// Of a source topic's letter; `None` where there is no such source.
    pub fn new(source: &str, partition: u32, offset: Offset) -> Option<Self> {
        let source = topic::SOURCES.iter().position(|known| *known == source)?;
        Some(Self { source, partition, offset })
    }

    /// The topic that the record was on.
    pub fn source(&self) -> &'static str {
        topic::SOURCES[self.source]
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", topic::dead_letters(self.source()), self.partition, self.offset)
    }
}

/// A text that is no letter's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no dead letter's place such as aula.behavior.v1.dlq/0/12")]
pub struct NoLetter;

impl FromStr for LetterId {
    type Err = NoLetter;

    /// Topic, partition, offset; the source topic's name will do.
    fn from_str(text: &str) -> Result<Self, NoLetter> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(NoLetter);
        let (name, partition, offset) = (next()?, next()?, next()?);
        let source = name.strip_suffix(".dlq").unwrap_or(name);
        let number = |text: &str| text.parse::<u64>().map_err(|_| NoLetter);
        let partition = u32::try_from(number(partition)?).map_err(|_| NoLetter)?;
        let id = Self::new(source, partition, number(offset)?).ok_or(NoLetter)?;
        if parts.next().is_some() { Err(NoLetter) } else { Ok(id) }
    }
}

/// Which letters are asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of this source topic only.
    pub source: Option<String>,
    /// Of this class only.
    pub class: Option<String>,
    /// Of this tenant only: letters whose key names none are nobody's.
    pub tenant: Option<String>,
    /// Found to be dead from here on.
    pub since: Option<Millis>,
    /// Found to be dead before.
    pub until: Option<Millis>,
}

impl Query {
    /// Whether a letter is among them, its topic aside.
    pub fn takes(&self, letter: &Letter<'_>) -> bool {
        let failed_at = letter.failed_at();
        self.class.as_ref().is_none_or(|class| letter.class() == class)
            && self.tenant.as_ref().is_none_or(|tenant| tenant_of(letter.key) == Some(tenant.as_str()))
            && self.since.is_none_or(|since| failed_at >= since)
            && self.until.is_none_or(|until| failed_at < until)
    }
}

/// What stands before the first `/` of a key, if it is text.
pub fn tenant_of(key: &[u8]) -> Option<&str> {
    let tenant = key.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(tenant).ok().filter(|tenant| !tenant.is_empty())
}

/// Looks through letters by source topic, partition and offset, from a place on, until `each` has enough or about
/// `bytes_max` bytes were looked at. Returns where to go on; `None` at the end.
pub fn search(
    log: &dyn Log,
    query: &Query,
    from: Option<LetterId>,
    bytes_max: usize,
    each: &mut dyn FnMut(LetterId, &Letter<'_>) -> ControlFlow<()>,
) -> Result<Option<LetterId>, LogError> {
    let mut bytes = 0;
    let first = from.unwrap_or(LetterId { source: 0, partition: 0, offset: 0 });
    for (at, source) in topic::SOURCES.iter().enumerate().skip(first.source) {
        if query.source.as_ref().is_some_and(|asked| asked != source) {
            continue;
        }
        let start = if at == first.source { first.partition } else { 0 };
        for partition in start..log.partitions(&topic::dead_letters(source))? {
            let here = at == first.source && partition == first.partition;
            let mut offset = if here { first.offset } else { 0 };
            loop {
                let mut enough = None;
                let next = read(log, source, partition, offset, READ_BYTES, &mut |letter| {
                    if enough.is_some() {
                        return;
                    }
                    bytes += letter.value.map_or(0, <[u8]>::len) + letter.key.len();
                    let id = LetterId { source: at, partition, offset: letter.offset };
                    if query.takes(letter) && each(id, letter).is_break() {
                        enough = Some(LetterId { offset: letter.offset + 1, ..id });
                    }
                })?;
                if enough.is_some() {
                    return Ok(enough);
                }
                if next == offset || log.end_offset(&place(source, partition))? <= next {
                    break;
                }
                offset = next;
                if bytes >= bytes_max {
                    return Ok(Some(LetterId { source: at, partition, offset }));
                }
            }
        }
    }
    Ok(None)
}

/// One letter, if it is there.
pub fn find<T>(log: &dyn Log, id: LetterId, take: impl FnOnce(&Letter<'_>) -> T) -> Result<Option<T>, LogError> {
    let (mut found, mut take) = (None, Some(take));
    if id.partition >= log.partitions(&topic::dead_letters(id.source()))? {
        return Ok(None);
    }
    read(log, id.source(), id.partition, id.offset, 1, &mut |letter| {
        if letter.offset == id.offset {
            found = take.take().map(|take| take(letter));
        }
    })?;
    Ok(found)
}

fn place(source: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic::dead_letters(source), partition }
}

/// Why a letter is not written once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreplayable {
    /// Only the start of its value is kept.
    #[error("only the start of its value was kept")]
    Truncated,
    /// It was refused at the edge.
    #[error("it was refused before it was on the log: mend it and send it again")]
    NeverOnTheLog,
}

/// Writes records once more: the original bytes, to the partition that they were on, with a header that says from where.
/// Sources are idempotent: what is written twice counts once.
pub struct Replayer<'a> {
    log: &'a dyn Log,
    now: Millis,
    timeout: Duration,
    waiting: Option<(TopicPartition, RecordSetBuilder)>,
}

impl<'a> Replayer<'a> {
    /// Writes to a log; records carry the time `now`.
    pub fn new(log: &'a dyn Log, now: Millis, timeout: Duration) -> Self {
        Self { log, now, timeout, waiting: None }
    }

    /// Whether a letter can be written once more.
    pub fn check(letter: &Letter<'_>) -> Result<u32, Unreplayable> {
        if letter.truncated_from().is_some() {
            return Err(Unreplayable::Truncated);
        }
        letter.source().map(|(partition, _)| partition).ok_or(Unreplayable::NeverOnTheLog)
    }

    /// Takes a letter; it is on the log after [`Replayer::flush`] at the latest.
    pub fn push(&mut self, id: LetterId, letter: &Letter<'_>) -> Result<Result<(), Unreplayable>, LogError> {
        let partition = match Self::check(letter) {
            Ok(partition) => partition,
            Err(why) => return Ok(Err(why)),
        };
        let place = TopicPartition { topic: id.source().to_owned(), partition };
        let full =
            |(waits, set): &(TopicPartition, RecordSetBuilder)| *waits != place || set.len_bytes() > REPLAY_BYTES;
        if self.waiting.as_ref().is_some_and(full) {
            self.flush()?;
        }
        let from = id.to_string();
        let mut headers = letter.own_headers();
        headers.retain(|(name, _)| *name != REPLAYED_FROM);
        headers.push((REPLAYED_FROM, from.as_bytes()));
        let (_, set) = self.waiting.get_or_insert_with(|| (place, RecordSetBuilder::default()));
        set.push(self.now, letter.key, letter.value, &headers);
        Ok(Ok(()))
    }

    /// Waits until all that was taken is durable.
    pub fn flush(&mut self) -> Result<Option<Appended>, LogError> {
        let Some((place, set)) = self.waiting.take() else { return Ok(None) };
        self.log.append_wait(&place, set.finish(), self.timeout).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::{ERROR_CLASS, FAILED_AT, SOURCE_OFFSET, SOURCE_PARTITION, TRUNCATED_FROM};
    use crate::{EmbeddedConfig, EmbeddedLog, Fsync};

    const PATIENCE: Duration = Duration::from_secs(10);
    const BEHAVIOR: &str = topic::BEHAVIOR;

    fn log(dir: &std::path::Path) -> EmbeddedLog {
        let topics = topic::SOURCES.iter().flat_map(|source| [(*source).to_owned(), topic::dead_letters(source)]);
        let mut config = EmbeddedConfig::new(dir.to_owned(), topics);
        (config.partitions, config.fsync) = (2, Fsync::Never);
        EmbeddedLog::open(config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Letter n of a partition: of tenant t or u in turn, of two classes, found at n seconds.
    fn letters(log: &EmbeddedLog, source: &str, partition: u32, count: usize) {
        for n in 0..count {
            let (offset, failed_at) = (n.to_string(), Millis(n as i64 * 1_000).to_string());
            let class: &[u8] = if n % 3 == 0 { b"key" } else { b"schema" };
            let mut headers: Vec<(&str, &[u8])> = vec![
                (ERROR_CLASS, class),
                (SOURCE_PARTITION, if partition == 0 { b"0" } else { b"1" }),
                (SOURCE_OFFSET, offset.as_bytes()),
                (FAILED_AT, failed_at.as_bytes()),
            ];
            if n == 4 {
                headers.push((TRUNCATED_FROM, b"99"));
            }
            headers.push(("trace", b"abc"));
            let mut set = RecordSetBuilder::default();
            set.push(Millis(0), if n % 2 == 0 { b"t/s" } else { b"u/s" }, Some(b"{"), &headers);
            let appended = log.append_wait(&place(source, partition), set.finish(), PATIENCE);
            appended.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn all(log: &dyn Log, query: &Query, page: usize, bytes_max: usize) -> Vec<String> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let mut left = page;
            let next = search(log, query, from, bytes_max, &mut |id, _| {
                found.push(id.to_string());
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            from = next.unwrap_or_else(|error| panic!("{error}"));
            if from.is_none() {
                return found;
            }
        }
    }

    #[test]
    fn filters_and_pages_give_every_letter_once() {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let log = log(dir.path());
        letters(&log, topic::EVALUATIONS, 1, 5);
        letters(&log, BEHAVIOR, 0, 10);
        let whole = all(&log, &Query::default(), 100, usize::MAX);
        assert_eq!(whole.len(), 15);
        assert_eq!(
            (whole[0].as_str(), whole[14].as_str()),
            ("aula.evaluations.v1.dlq/1/0", "aula.behavior.v1.dlq/0/9")
        );
        for (page, bytes_max) in [(1, usize::MAX), (4, usize::MAX), (100, 1), (15, 1)] {
            assert_eq!(all(&log, &Query::default(), page, bytes_max), whole, "{page} {bytes_max}");
        }
        let offsets = |query: Query| -> Vec<u64> {
            let query = Query { source: Some(BEHAVIOR.to_owned()), ..query };
            let ids = all(&log, &query, 3, usize::MAX);
            ids.iter().map(|id| id.parse::<LetterId>().map_or(u64::MAX, |id| id.offset)).collect()
        };
        assert_eq!(offsets(Query { class: Some("key".to_owned()), ..Query::default() }), [0, 3, 6, 9]);
        assert_eq!(offsets(Query { tenant: Some("u".to_owned()), ..Query::default() }), [1, 3, 5, 7, 9]);
        let (since, until) = (Some(Millis(3_000)), Some(Millis(6_000)));
        assert_eq!(offsets(Query { since, until, ..Query::default() }), [3, 4, 5]);
    }

    #[test]
    fn what_is_replayed_has_its_bytes_and_says_where_it_was() {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let log = log(dir.path());
        letters(&log, BEHAVIOR, 1, 6);
        let mut replayer = Replayer::new(&log, Millis(77), PATIENCE);
        let mut refused = Vec::new();
        let searched = search(&log, &Query::default(), None, usize::MAX, &mut |id, letter| {
            match replayer.push(id, letter) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => refused.push((id.offset, why)),
                Err(error) => panic!("{error}"),
            }
            ControlFlow::Continue(())
        });
        assert!(matches!(searched, Ok(None)));
        assert!(matches!(replayer.flush(), Ok(Some(_))));
        assert_eq!(refused, [(4, Unreplayable::Truncated)]);
        let source = TopicPartition { topic: BEHAVIOR.to_owned(), partition: 1 };
        let fetched = log.read(&source, 0, 1 << 20).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(fetched.records.len(), 5);
        for (record, offset) in fetched.records.iter().zip([0, 1, 2, 3, 5]) {
            assert_eq!((record.timestamp, record.value), (Millis(77), Some(&b"{"[..])));
            let from = format!("aula.behavior.v1.dlq/1/{offset}");
            let headers: Vec<_> = record.headers.iter().collect();
            assert_eq!(headers, [("trace", &b"abc"[..]), (REPLAYED_FROM, from.as_bytes())]);
        }
    }

    #[test]
    fn a_letter_is_found_by_its_place() {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let log = log(dir.path());
        letters(&log, BEHAVIOR, 0, 3);
        let get = |text: &str| {
            let id = text.parse::<LetterId>().ok()?;
            find(&log, id, |letter| letter.class().to_owned()).unwrap_or_else(|error| panic!("{error}"))
        };
        assert_eq!(get("aula.behavior.v1/0/0").as_deref(), Some("key"));
        assert_eq!(get("aula.behavior.v1.dlq/0/1").as_deref(), Some("schema"));
        for absent in [
            "aula.behavior.v1.dlq/0/3",
            "aula.behavior.v1.dlq/9/0",
            "aula.nothing/0/0",
            "aula.behavior.v1/0",
            "a/b/c/d",
        ] {
            assert_eq!(get(absent), None, "{absent}");
        }
    }
}

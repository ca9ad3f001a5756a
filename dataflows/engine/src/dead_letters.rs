//! Records that cannot be used: kept with their original bytes and the reason (`<topic>.dlq`).

use aulaflow_log::{
    Appended, Log, LogError, Offset, RecordRef, RecordSet, TopicPartition, letters, record::RecordSetBuilder,
};
use aulaflow_model::fault::Fault;
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_state::crash_point;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why a record is dead: the header `error-class` and the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The key names no tenant.
    Key,
    /// Not JSON, or not the topic's shape.
    Schema,
    /// Older than the longest window of every view that reads it.
    Late,
    /// Further in the future than the allowed skew.
    Future,
    /// An expression of a view has no value for it: an aggregate's argument, whose aggregate alone leaves it out, or a
    /// WHERE, whose view leaves it out. Everything else counts it.
    Expression,
    /// The tenant's records belong in another partition, which another engine may read.
    Partition,
    /// Larger than a record may be.
    Size,
    /// The student has too many distinct values in a window: their count leaves it out, everything else counts it.
    Limit,
}

impl Class {
    /// The name in headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Schema => "schema",
            Self::Late => "late",
            Self::Future => "future",
            Self::Expression => "expression",
            Self::Partition => "partition",
            Self::Size => "size",
            Self::Limit => "limit",
        }
    }
}

/// What is kept of an error's text.
const ERROR_BYTES_MAX: usize = 2_048;
/// What is kept of a value that the dead-letter topic does not take whole.
const TRUNCATED_BYTES: usize = 64 << 10;
/// What a header takes besides its name and value, at most.
const HEADER_BYTES: usize = 16;
/// What the headers that a letter adds take, without the error's text.
const ADDED_BYTES: usize = 512;

/// Places where a test ends the process: before and after letters are durable. For a driver that tries each.
pub const CRASH_POINTS: &[&str] = &["dead-letters.write.before", "dead-letters.write.after"];

/// How long one write may take.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// Letters in one write at most, and how many bytes of them before another write begins.
const LETTERS_MAX: usize = 5_000;
const APPEND_BYTES: usize = 4 << 20;

/// A dead record.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The epoch that met it.
    pub time: u64,
    /// Where it stands.
    pub topic: &'static str,
    /// Its partition, which is also its partition in the dead-letter topic.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// Its key, unchanged.
    pub key: Vec<u8>,
    /// Its value, unchanged, or its start where the dead-letter topic does not take all of it.
    pub value: Option<Vec<u8>>,
    /// How long its value was, if only its start is here.
    pub truncated_from: Option<usize>,
    /// Its headers, unchanged.
    pub headers: Vec<(String, Vec<u8>)>,
    /// When the log took it.
    pub timestamp: Millis,
    /// Why.
    pub class: Class,
    /// For people: what is wrong and where.
    pub error: String,
}

impl DeadLetter {
    /// Keeps a record of an epoch.
    pub fn new(
        time: u64,
        place: (&'static str, u32, Offset),
        record: &RecordRef<'_>,
        class: Class,
        error: impl Into<String>,
    ) -> Self {
        let (topic, partition, offset) = place;
        let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let mut error: String = error.into();
        if error.len() > ERROR_BYTES_MAX {
            error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
            error.push('…');
        }
        Self {
            time,
            topic,
            partition,
            offset,
            key: record.key.to_vec(),
            value: record.value.map(<[u8]>::to_vec),
            truncated_from: None,
            headers,
            timestamp: record.timestamp,
            class,
            error,
        }
    }

    /// Which record it is.
    fn place(&self) -> (&'static str, u32, Offset) {
        (self.topic, self.partition, self.offset)
    }

    /// Adds the reason of another letter of the same record.
    fn takes(&mut self, other: &Self) -> bool {
        if !self.error.contains(&other.error) && self.error.len() + other.error.len() < ERROR_BYTES_MAX {
            self.error.push_str("; ");
            self.error.push_str(&other.error);
        }
        true
    }

    /// What it takes on the log, roughly.
    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_BYTES).sum();
        self.key.len() + self.value.as_ref().map_or(0, Vec::len) + headers + self.error.len() + ADDED_BYTES
    }

    /// Keeps only the start of the value where a log does not take all of it.
    fn fitted(mut self, bytes_max: usize) -> Self {
        if self.bytes() > bytes_max
            && let Some(value) = &mut self.value
        {
            self.truncated_from = Some(value.len());
            value.truncate(TRUNCATED_BYTES);
        }
        self
    }
}

/// Why a record is too large to be looked at.
pub fn oversized(record: &RecordRef<'_>, bytes_max: usize) -> Result<(), (Class, String)> {
    let bytes = record.key.len() + record.value.map_or(0, <[u8]>::len);
    if bytes <= bytes_max {
        return Ok(());
    }
    Err((Class::Size, format!("the record has {bytes} bytes, more than engine.record_bytes_max ({bytes_max})")))
}

/// Faults in one line.
pub fn describe(faults: &[Fault]) -> String {
    let one = |f: &Fault| if f.pointer.is_empty() { f.detail.clone() } else { format!("{}: {}", f.pointer, f.detail) };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Dead-letter partitions: topic and partition of the source.
pub type Source = (String, u32);

/// A write whose outcome is not known.
struct Uncertain {
    source: Source,
    place: TopicPartition,
    set: RecordSet,
    /// Source offsets below this are on the topic once it has succeeded.
    written: Offset,
}

/// Writes dead letters, each once: what a crash made us meet again is skipped. Of several writers of a share, the one that
/// was opened last writes: another process that has lost the share without knowing is refused.
pub struct Writer {
    log: Arc<dyn Log>,
    to: Box<dyn aulaflow_log::Writer>,
    /// Per source partition: source offsets below this are on the dead-letter topic already.
    written: BTreeMap<Source, Offset>,
    /// Per source partition: up to where its dead-letter topic was read, or written by us.
    read_to: BTreeMap<Source, Offset>,
    waiting: Vec<DeadLetter>,
    /// A write that has failed, so that its letters may be on their topic or not: it is tried again as it was.
    uncertain: Option<Uncertain>,
    /// The largest record that the log takes.
    bytes_max: usize,
}

impl Writer {
    /// Starts from what the last checkpoint knew (where the dead-letter topics ended, and what was written by then),
    /// and reads on from there to learn what was written since.
    pub fn open(
        log: &Arc<dyn Log>,
        share: Share,
        sources: &[&'static str],
        seen: &BTreeMap<Source, Offset>,
        written: BTreeMap<Source, Offset>,
    ) -> Result<Self, LogError> {
        // Before reading: whoever wrote until now writes no more.
        let to = Arc::clone(log).writer(&format!("dead-letters-{share}"))?;
        let mut read_to = BTreeMap::new();
        for source in sources {
            let name = topic::dead_letters(source);
            for partition in (0..log.partitions(&name)?).filter(|partition| share.has(*partition)) {
                let start = log.start_offset(&TopicPartition { topic: name.clone(), partition })?;
                let key = ((*source).to_owned(), partition);
                let from = seen.get(&key).copied().unwrap_or(start).max(start);
                read_to.insert(key, from);
            }
        }
        let bytes_max = log.record_bytes_max();
        let mut writer =
            Self { log: Arc::clone(log), to, written, read_to, waiting: Vec::new(), uncertain: None, bytes_max };
        writer.read_on()?;
        Ok(writer)
    }

    /// Learns what was written to the dead-letter topics since they were last read.
    fn read_on(&mut self) -> Result<(), LogError> {
        for (source, read_to) in &mut self.read_to {
            let place = TopicPartition { topic: topic::dead_letters(&source.0), partition: source.1 };
            loop {
                let fetched = self.log.read_aside(&place, *read_to, 1 << 20)?;
                let high = fetched.records.iter().filter_map(|record| source_offset(&record)).max();
                if let Some(high) = high {
                    let written = self.written.entry(source.clone()).or_default();
                    *written = (*written).max(high + 1);
                }
                *read_to = fetched.next_offset.max(*read_to);
                if fetched.records.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a letter; it is written once its epoch is complete.
    pub fn push(&mut self, letter: DeadLetter) {
        if !self.is_written(&letter) {
            self.waiting.push(letter.fitted(self.bytes_max));
        }
    }

    fn is_written(&self, letter: &DeadLetter) -> bool {
        let source = (letter.topic.to_owned(), letter.partition);
        self.written.get(&source).is_some_and(|written| letter.offset < *written)
    }

    /// A write has succeeded.
    fn wrote(&mut self, source: Source, written: Offset, appended: &[Appended]) {
        let end = appended.iter().map(|appended| appended.last_offset + 1).max();
        self.read_to.extend(end.map(|end| (source.clone(), end)));
        self.written.insert(source, written);
    }

    /// After a failed write: brings it to an end, and finds out which letters are there.
    fn make_certain(&mut self) -> Result<(), LogError> {
        let Some(Uncertain { source, written, .. }) = &self.uncertain else { return Ok(()) };
        let (source, written) = (source.clone(), *written);
        // A log without transactions shows at once what it has taken; the other one knows the write again.
        self.read_on()?;
        if self.written.get(&source).is_none_or(|known| *known < written)
            && let Some(Uncertain { place, set, .. }) = &self.uncertain
        {
            let appended = self.to.write(&[(place.clone(), set.clone())], WRITE_WAIT)?;
            self.wrote(source, written, &appended);
        }
        self.uncertain = None;
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().filter(|letter| !self.is_written(letter)).collect();
        Ok(())
    }

    /// Writes the letters of all epochs up to `complete`, durably. What could not be written stays for the next call.
    pub fn flush(&mut self, complete: u64, now: Millis) -> Result<(), LogError> {
        self.make_certain()?;
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|l| l.time <= complete);
        self.waiting = later;
        // By source offset, so that the highest one written tells all that were.
        due.sort_by(|a, b| (a.place(), a.class).cmp(&(b.place(), b.class)));
        // Several views may have no place for one record, each for a reason of its own.
        due.dedup_by(|more, letter| more.place() == letter.place() && letter.takes(more));
        let mut rest = due.as_slice();
        while let Some(first) = rest.first() {
            let mut bytes = 0;
            let same = rest.iter().take(LETTERS_MAX).take_while(|l| {
                let fits = bytes < APPEND_BYTES;
                bytes += l.bytes();
                fits && l.topic == first.topic && l.partition == first.partition
            });
            let (group, others) = rest.split_at(same.count());
            let source = (first.topic.to_owned(), first.partition);
            let place = TopicPartition { topic: topic::dead_letters(first.topic), partition: first.partition };
            let Some(last) = group.last() else { break };
            let (set, written) = (encode(group, now), last.offset + 1);
            crash_point("dead-letters.write.before");
            match self.to.write(&[(place.clone(), set.clone())], WRITE_WAIT) {
                Ok(appended) => {
                    crash_point("dead-letters.write.after");
                    self.wrote(source, written, &appended);
                }
                Err(error) => {
                    self.uncertain = Some(Uncertain { source, place, set, written });
                    self.waiting.extend_from_slice(rest);
                    return Err(error);
                }
            }
            rest = others;
        }
        Ok(())
    }

    /// Up to where the dead-letter topics are known: what a checkpoint keeps for [`Writer::open`].
    pub fn read_to(&self) -> &BTreeMap<Source, Offset> {
        &self.read_to
    }

    /// Per source partition, the offset below which every letter is on its topic.
    pub fn written(&self) -> &BTreeMap<Source, Offset> {
        &self.written
    }
}

fn source_offset(record: &RecordRef<'_>) -> Option<Offset> {
    std::str::from_utf8(record.headers.get(letters::SOURCE_OFFSET)?).ok()?.parse().ok()
}

/// Letters as records.
fn encode(letters: &[DeadLetter], now: Millis) -> RecordSet {
    let mut set = RecordSetBuilder::default();
    let failed_at = now.to_string();
    for letter in letters {
        let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
        let (taken_at, truncated_from) = (letter.timestamp.to_string(), letter.truncated_from.map(|n| n.to_string()));
        let mut headers: Vec<(&str, &[u8])> = vec![
            (letters::ERROR, letter.error.as_bytes()),
            (letters::ERROR_CLASS, letter.class.name().as_bytes()),
            (letters::SOURCE_TOPIC, letter.topic.as_bytes()),
            (letters::SOURCE_PARTITION, partition.as_bytes()),
            (letters::SOURCE_OFFSET, offset.as_bytes()),
            (letters::SOURCE_TIMESTAMP, taken_at.as_bytes()),
            (letters::FAILED_AT, failed_at.as_bytes()),
        ];
        headers.extend(truncated_from.as_ref().map(|n| (letters::TRUNCATED_FROM, n.as_bytes())));
        // The record's own come last: where a name is there twice, the first is the letter's.
        headers.extend(letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        set.push(now, &letter.key, letter.value.as_deref(), &headers);
    }
    set.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aulaflow_log::letters::Letter;
    use aulaflow_log::{EmbeddedConfig, EmbeddedLog};

    #[test]
    fn a_record_that_is_dead_for_two_reasons_is_one_letter() {
        let dir = tempfile::tempdir().unwrap();
        let topics = [topic::BEHAVIOR.to_owned(), topic::dead_letters(topic::BEHAVIOR)];
        let config = EmbeddedConfig::new(dir.path(), topics);
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(config).unwrap());
        let mut set = RecordSetBuilder::default();
        set.push(Millis(1), b"t/s", Some(b"{}"), &[]);
        let set = set.finish();
        let record = set.iter().next().unwrap();
        let letter = |offset, class, error| DeadLetter::new(1, (topic::BEHAVIOR, 0, offset), &record, class, error);
        let mut writer = Writer::open(&log, Share::All, &[topic::BEHAVIOR], &BTreeMap::new(), BTreeMap::new()).unwrap();
        for letter in [
            letter(8, Class::Limit, "week: full"),
            letter(7, Class::Schema, "no"),
            letter(8, Class::Expression, "often: none"),
            letter(8, Class::Limit, "month: full"),
            letter(8, Class::Limit, "week: full"),
        ] {
            writer.push(letter);
        }
        writer.flush(1, Millis(2)).unwrap();
        writer.push(letter(8, Class::Limit, "again"));
        writer.flush(1, Millis(3)).unwrap();
        let mut found = Vec::new();
        let mut take = |letter: &Letter<'_>| {
            found.push((letter.source().unwrap().1, letter.class().to_owned(), letter.error().to_owned()));
        };
        letters::read(log.as_ref(), topic::BEHAVIOR, 0, 0, 1 << 20, &mut take).unwrap();
        let expected = [(7, "schema", "no"), (8, "expression", "often: none; week: full; month: full")];
        assert_eq!(found, expected.map(|(offset, class, error)| (offset, class.to_owned(), error.to_owned())));
    }
}

//! Records that cannot be used: kept with their original bytes and the reason (`<topic>.dlq`).

use aulaflow_log::{Log, LogError, Offset, RecordRef, TopicPartition, record::RecordSetBuilder};
use aulaflow_model::fault::Fault;
use aulaflow_model::instant::Millis;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use std::collections::BTreeMap;
use std::time::Duration;

/// Why a record is dead: the header `error-class` and the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The key names no tenant.
    Key,
    /// Not JSON, or not the topic's shape.
    Schema,
    /// Older than the longest window of every view that reads it.
    Late,
    /// Further in the future than the allowed skew.
    Future,
    /// An expression of a view has no value for it; the other views count it.
    Expression,
    /// The tenant's records belong in another partition, which another engine may read.
    Partition,
    /// The student has too many distinct values in a window; the other views count it.
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
            Self::Limit => "limit",
        }
    }
}

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
    /// Its value, unchanged.
    pub value: Option<Vec<u8>>,
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
        let value = record.value.map(<[u8]>::to_vec);
        Self { time, topic, partition, offset, key: record.key.to_vec(), value, class, error: error.into() }
    }
}

/// Faults in one line.
pub fn describe(faults: &[Fault]) -> String {
    let one = |f: &Fault| if f.pointer.is_empty() { f.detail.clone() } else { format!("{}: {}", f.pointer, f.detail) };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Dead-letter partitions: topic and partition of the source.
pub type Source = (String, u32);

/// Writes dead letters, each once: what a crash made us meet again is skipped.
pub struct Writer {
    /// Per source partition: source offsets below this are on the dead-letter topic already.
    written: BTreeMap<Source, Offset>,
    waiting: Vec<DeadLetter>,
    share: Share,
}

impl Writer {
    /// Starts from what the last checkpoint knew (where the dead-letter topics ended, and what was written by then),
    /// and reads on from there to learn what was written since.
    pub fn open(
        log: &dyn Log,
        share: Share,
        sources: &[&'static str],
        seen: &BTreeMap<Source, Offset>,
        mut written: BTreeMap<Source, Offset>,
    ) -> Result<Self, LogError> {
        for source in sources {
            let name = topic::dead_letters(source);
            for partition in (0..log.partitions(&name)?).filter(|partition| share.has(*partition)) {
                let place = TopicPartition { topic: name.clone(), partition };
                let start = log.start_offset(&place)?;
                let mut offset = seen.get(&((*source).to_owned(), partition)).copied().unwrap_or(start).max(start);
                let mut high = None;
                loop {
                    let fetched = log.read_aside(&place, offset, 1 << 20)?;
                    if fetched.records.is_empty() {
                        break;
                    }
                    for record in fetched.records.iter() {
                        high = high.max(source_offset(&record));
                    }
                    offset = fetched.next_offset;
                }
                if let Some(high) = high {
                    let before = written.entry(((*source).to_owned(), partition)).or_default();
                    *before = (*before).max(high + 1);
                }
            }
        }
        Ok(Self { written, waiting: Vec::new(), share })
    }

    /// Takes a letter; it is written once its epoch is complete.
    pub fn push(&mut self, letter: DeadLetter) {
        let source = (letter.topic.to_owned(), letter.partition);
        if self.written.get(&source).is_none_or(|written| letter.offset >= *written) {
            self.waiting.push(letter);
        }
    }

    /// Writes the letters of all epochs up to `complete`, durably. What could not be written stays for the next call.
    pub fn flush(&mut self, log: &dyn Log, complete: u64, now: Millis) -> Result<(), LogError> {
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|l| l.time <= complete);
        self.waiting = later;
        // By source offset, so that the highest one written tells all that were.
        due.sort_by(|a, b| (a.topic, a.partition, a.offset).cmp(&(b.topic, b.partition, b.offset)));
        let mut rest = due.as_slice();
        while let Some(first) = rest.first() {
            let same = rest.iter().take(5_000).take_while(|l| l.topic == first.topic && l.partition == first.partition);
            let (group, others) = rest.split_at(same.count());
            if let Err(error) = append(log, group, now) {
                self.waiting.extend_from_slice(rest);
                return Err(error);
            }
            if let Some(last) = group.last() {
                self.written.insert((last.topic.to_owned(), last.partition), last.offset + 1);
            }
            rest = others;
        }
        Ok(())
    }

    /// Where the dead-letter topics end now: what a checkpoint keeps for [`Writer::open`].
    pub fn ends(&self, log: &dyn Log, sources: &[&'static str]) -> Result<BTreeMap<Source, Offset>, LogError> {
        let mut ends = BTreeMap::new();
        for source in sources {
            let topic = topic::dead_letters(source);
            for partition in (0..log.partitions(&topic)?).filter(|partition| self.share.has(*partition)) {
                let end = log.end_offset(&TopicPartition { topic: topic.clone(), partition })?;
                ends.insert(((*source).to_owned(), partition), end);
            }
        }
        Ok(ends)
    }

    /// Per source partition, the offset below which every letter is on its topic.
    pub fn written(&self) -> &BTreeMap<Source, Offset> {
        &self.written
    }
}

fn source_offset(record: &RecordRef<'_>) -> Option<Offset> {
    let value = record.headers.iter().find(|(name, _)| *name == "source-offset")?.1;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn append(log: &dyn Log, letters: &[DeadLetter], now: Millis) -> Result<(), LogError> {
    let Some(first) = letters.first() else { return Ok(()) };
    let mut set = RecordSetBuilder::default();
    let failed_at = now.to_string();
    for letter in letters {
        let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
        let headers: [(&str, &[u8]); 6] = [
            ("error", letter.error.as_bytes()),
            ("error-class", letter.class.name().as_bytes()),
            ("source-topic", letter.topic.as_bytes()),
            ("source-partition", partition.as_bytes()),
            ("source-offset", offset.as_bytes()),
            ("failed-at", failed_at.as_bytes()),
        ];
        set.push(now, &letter.key, letter.value.as_deref(), &headers);
    }
    let place = TopicPartition { topic: topic::dead_letters(first.topic), partition: first.partition };
    log.append_wait(&place, set.finish(), Duration::from_secs(10)).map(|_| ())
}

//! Dead letters as they lie on the log: a record that could not be used, on `<topic>.dlq` in the partition that it had, with
//! its key, value and headers unchanged behind the headers that say why. Who decides what is dead is not known here.

mod search;

pub use search::{LetterId, NoLetter, Query, Replayer, Unreplayable, find, search, tenant_of};

use crate::{Headers, Log, LogError, Offset, RecordRef, TopicPartition};
use aulaflow_model::instant::Millis;
use aulaflow_model::topic;

/// What is wrong, for people.
pub const ERROR: &str = "error";
/// What kind of fault it is, for programs.
pub const ERROR_CLASS: &str = "error-class";
/// The topic that the record was on, or was meant for.
pub const SOURCE_TOPIC: &str = "source-topic";
/// Its partition there.
pub const SOURCE_PARTITION: &str = "source-partition";
/// Its offset there.
pub const SOURCE_OFFSET: &str = "source-offset";
/// When the log took it.
pub const SOURCE_TIMESTAMP: &str = "source-timestamp";
/// When it was found to be dead, RFC 3339.
pub const FAILED_AT: &str = "failed-at";
/// How many bytes the value had, where only its start was kept.
pub const TRUNCATED_FROM: &str = "truncated-from";
/// On a record that was written once more: the letter that it was, `topic/partition/offset`.
pub const REPLAYED_FROM: &str = "replayed-from";

/// The headers that a letter adds in front of the record's own.
const ADDED: [&str; 8] =
    [ERROR, ERROR_CLASS, SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET, SOURCE_TIMESTAMP, FAILED_AT, TRUNCATED_FROM];

/// A dead letter, borrowed from the log's records.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Its own offset on the dead-letter topic.
    pub offset: Offset,
    /// When it was written.
    pub timestamp: Millis,
    /// The record's key, unchanged.
    pub key: &'a [u8],
    /// The record's value, unchanged, or its start where [`TRUNCATED_FROM`] says so.
    pub value: Option<&'a [u8]>,
    /// What the letter adds, then the record's own.
    pub headers: Headers<'a>,
}

impl<'a> Letter<'a> {
    /// Of a record that was read from a dead-letter topic.
    pub fn of(record: &RecordRef<'a>, base_offset: Offset) -> Self {
        Self {
            offset: base_offset + u64::from(record.index),
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.headers.get(name)?).ok()
    }

    /// What is wrong.
    pub fn error(&self) -> &'a str {
        self.text(ERROR).unwrap_or_default()
    }

    /// The kind of fault.
    pub fn class(&self) -> &'a str {
        self.text(ERROR_CLASS).unwrap_or_default()
    }

    /// Partition and offset on the source topic; `None` where the record was refused before it got there.
    pub fn source(&self) -> Option<(u32, Offset)> {
        Some((self.text(SOURCE_PARTITION)?.parse().ok()?, self.text(SOURCE_OFFSET)?.parse().ok()?))
    }

    /// When the log took the record.
    pub fn source_timestamp(&self) -> Option<Millis> {
        Millis::parse_rfc3339(self.text(SOURCE_TIMESTAMP)?).ok()
    }

    /// When it was found to be dead.
    pub fn failed_at(&self) -> Millis {
        self.text(FAILED_AT).and_then(|text| Millis::parse_rfc3339(text).ok()).unwrap_or(self.timestamp)
    }

    /// How long the value was, where only its start is here.
    pub fn truncated_from(&self) -> Option<u64> {
        self.text(TRUNCATED_FROM)?.parse().ok()
    }

    /// The record's own headers: those behind the first of each that the letter adds.
    pub fn own_headers(&self) -> Vec<(&'a str, &'a [u8])> {
        let mut seen = [false; ADDED.len()];
        let own = |(name, _): &(&str, &[u8])| match ADDED.iter().position(|added| added == name) {
            Some(at) => std::mem::replace(&mut seen[at], true),
            None => true,
        };
        self.headers.iter().filter(own).collect()
    }
}

/// Reads the letters of one partition of a source's dead-letter topic from an offset on, at most about `bytes_max` bytes of
/// them, and says where to read on: there again, where it ends.
pub fn read(
    log: &dyn Log,
    source: &str,
    partition: u32,
    offset: Offset,
    bytes_max: usize,
    each: &mut dyn FnMut(&Letter<'_>),
) -> Result<Offset, LogError> {
    let place = TopicPartition { topic: topic::dead_letters(source), partition };
    let from = offset.max(log.start_offset(&place)?);
    if from >= log.end_offset(&place)? {
        return Ok(from);
    }
    let fetched = log.read_aside(&place, from, bytes_max)?;
    let letters = fetched.records.iter().map(|record| Letter::of(&record, fetched.base_offset));
    letters.filter(|letter| letter.offset >= from).for_each(|letter| each(&letter));
    Ok(fetched.next_offset.max(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordSetBuilder;

    #[test]
    fn what_a_letter_adds_is_told_from_what_the_record_had() {
        let headers: [(&str, &[u8]); 6] = [
            (ERROR, b"no JSON"),
            (SOURCE_PARTITION, b"2"),
            (SOURCE_OFFSET, b"77"),
            ("trace", b"abc"),
            (ERROR, b"the record's own"),
            (REPLAYED_FROM, b"a.dlq/0/1"),
        ];
        let mut set = RecordSetBuilder::default();
        set.push(Millis(5), b"t/s", Some(b"{"), &headers);
        let set = set.finish();
        let record = set.iter().next().unwrap_or_else(|| panic!("a record"));
        let letter = Letter::of(&record, 40);
        assert_eq!((letter.offset, letter.error(), letter.source()), (40, "no JSON", Some((2, 77))));
        let own: [(&str, &[u8]); 3] = [("trace", b"abc"), (ERROR, b"the record's own"), (REPLAYED_FROM, b"a.dlq/0/1")];
        assert_eq!(letter.own_headers(), own);
        assert_eq!(letter.failed_at(), Millis(5));
    }
}

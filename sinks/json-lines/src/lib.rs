//! Updates as lines of JSON, in files that appear with the checkpoint: the example of a transactional sink. It has what every
//! one needs (rows that wait for their barrier, sealed transactions, a token, what a restart discards) and nothing else.
//!
//! In its folder, `part-N.ndjson` is a committed transaction: readers take these, in the order of their numbers, and each row
//! is in one of them. `sealed-N.ndjson` is one whose checkpoint may not count yet, and `open.ndjson` holds rows that no
//! checkpoint covers.

use aulaflow_model::change::{FeatureRow, GradeRow};
use aulaflow_model::cohort::Cohort;
use aulaflow_model::instant::ClockTime;
use aulaflow_sink::update::{ChangeBatch, CohortBatch};
use aulaflow_sink::{Outcome, Participant, Token, TransactionWriter};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a worker waits before it tries again to write to a disk that is full.
const RETRY: Duration = Duration::from_millis(500);

/// Opens the sink in a folder, which is made if it is missing: a writer for each worker, and the participant.
pub fn open(dir: &Path, workers: usize) -> io::Result<(Vec<JsonLinesWriter>, Arc<JsonLines>)> {
    std::fs::create_dir_all(dir)?;
    let mut options = OpenOptions::new();
    let rows = options.read(true).write(true).create(true).truncate(true).open(dir.join("open.ndjson"))?;
    let open = Open { rows, end: 0, batches: Vec::new(), sealed: 0, discarded: false };
    let sink = Arc::new(JsonLines { dir: dir.to_owned(), open: Mutex::new(open) });
    Ok(((0..workers).map(|_| JsonLinesWriter(Arc::clone(&sink))).collect(), sink))
}

/// The committed transactions in a folder, oldest first.
pub fn parts(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(dir, "part")?.into_iter().map(|n| transaction(dir, "part", n)).collect())
}

/// The sink, as checkpoints see it.
pub struct JsonLines {
    dir: PathBuf,
    open: Mutex<Open>,
}

/// Rows that no checkpoint covers.
struct Open {
    rows: File,
    /// How many bytes of the file are rows.
    end: u64,
    /// Where each batch lies that no transaction has.
    batches: Vec<(ClockTime, Range<u64>)>,
    /// The number of the newest transaction: the token.
    sealed: u64,
    /// No transaction is there that was prepared for a checkpoint which does not count.
    discarded: bool,
}

/// A worker's end.
pub struct JsonLinesWriter(Arc<JsonLines>);

impl TransactionWriter for JsonLinesWriter {
    fn write(&mut self, batch: &ChangeBatch) -> Outcome {
        let time = batch.time.clock().to_string();
        let mut lines = Vec::new();
        for change in &batch.changes {
            for grade in &change.grades {
                let line = json!({
                    "clock": time, "tenant": change.tenant, "student": change.student, "subject": grade.subject,
                    "period": grade.period, "before": grade.before.as_ref().map(of_grade),
                    "after": grade.after.as_ref().map(of_grade),
                });
                lines.push(line);
            }
            for feature in &change.features {
                let line = json!({
                    "clock": time, "tenant": change.tenant, "student": change.student, "view": feature.view,
                    "before": feature.before.as_ref().map(of_feature), "after": feature.after.as_ref().map(of_feature),
                });
                lines.push(line);
            }
        }
        self.0.append(batch.time, &lines)
    }

    fn write_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        let time = batch.time.clock().to_string();
        let of_cohort = |cohort: &Arc<Cohort>| json!({ "count": cohort.sums.count, "passing": cohort.sums.passing });
        let line = |change: &aulaflow_sink::update::CohortChange| {
            json!({
                "clock": time, "tenant": change.tenant, "subject": change.subject, "period": change.period,
                "before": change.before.as_ref().map(of_cohort), "after": change.after.as_ref().map(of_cohort),
            })
        };
        self.0.append(batch.time, &batch.changes.iter().map(line).collect::<Vec<_>>())
    }

    /// Rows are on the disk when a checkpoint needs them.
    fn advance(&mut self, _frontier: ClockTime) {}
}

fn of_grade(row: &GradeRow) -> Value {
    json!({ "score": row.grade.score, "passing": row.grade.passing, "version": row.version })
}

fn of_feature(row: &FeatureRow) -> Value {
    Value::from(row.values.iter().map(|value| value.to_json()).collect::<Vec<_>>())
}

impl JsonLines {
    fn append(&self, time: ClockTime, lines: &[Value]) -> Outcome {
        let mut bytes = String::new();
        for line in lines {
            bytes.push_str(&line.to_string());
            bytes.push('\n');
        }
        let mut open = self.open.lock();
        let begin = open.end;
        // What a failed try has written lies behind the end, and is overwritten.
        let written = open.rows.seek(SeekFrom::Start(begin)).and_then(|_| open.rows.write_all(bytes.as_bytes()));
        match written {
            Ok(()) => {
                open.end += bytes.len() as u64;
                let end = open.end;
                open.batches.push((time, begin..end));
                Outcome::Applied
            }
            Err(_) => Outcome::Hold(RETRY),
        }
    }

    /// The batches up to the barrier become one file, durable under its number.
    fn seal(&self, open: &mut Open, barrier: ClockTime) -> io::Result<()> {
        let (covered, later): (Vec<_>, Vec<_>) = open.batches.iter().cloned().partition(|(time, _)| *time <= barrier);
        if covered.is_empty() {
            return Ok(());
        }
        let number = open.sealed + 1;
        let path = transaction(&self.dir, "sealed", number);
        let mut file = File::create(&path)?;
        for (_, range) in &covered {
            open.rows.seek(SeekFrom::Start(range.start))?;
            io::copy(&mut (&mut open.rows).take(range.end - range.start), &mut file)?;
        }
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        (open.sealed, open.batches) = (number, later);
        // What cannot be made shorter now holds the same rows, and is made shorter with the next transaction.
        let _ = self.shorten(open);
        Ok(())
    }

    /// The rows that no transaction has, in a file of their own.
    fn shorten(&self, open: &mut Open) -> io::Result<()> {
        let path = self.dir.join("open-next.ndjson");
        let mut next = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let (mut batches, mut end) = (Vec::with_capacity(open.batches.len()), 0);
        for (time, range) in &open.batches {
            open.rows.seek(SeekFrom::Start(range.start))?;
            let bytes = io::copy(&mut (&mut open.rows).take(range.end - range.start), &mut next)?;
            batches.push((*time, end..end + bytes));
            end += bytes;
        }
        std::fs::rename(&path, self.dir.join("open.ndjson"))?;
        *open = Open { rows: next, end, batches, ..*open };
        Ok(())
    }

    /// Removes, once, the transactions behind the token that was restored.
    fn discard(&self, open: &mut Open) -> io::Result<()> {
        if open.discarded {
            return Ok(());
        }
        for kind in ["sealed", "part"] {
            for behind in numbered(&self.dir, kind)?.into_iter().filter(|number| *number > open.sealed) {
                std::fs::remove_file(transaction(&self.dir, kind, behind))?;
            }
        }
        open.discarded = true;
        Ok(())
    }

    /// Transactions up to a number are what readers see. Renaming is atomic, and doing it again changes nothing.
    fn publish(&self, upto: u64) -> io::Result<()> {
        for number in numbered(&self.dir, "sealed")?.into_iter().filter(|number| *number <= upto) {
            std::fs::rename(transaction(&self.dir, "sealed", number), transaction(&self.dir, "part", number))?;
        }
        File::open(&self.dir)?.sync_all()
    }
}

impl Participant for JsonLines {
    /// Transactions behind the token were prepared for a checkpoint that does not count: their rows come again.
    fn restore(&self, token: Option<&[u8]>) {
        let number = token.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))).unwrap_or(0);
        let mut open = self.open.lock();
        (open.sealed, open.discarded) = (number, false);
        // What cannot be done now is done before the next transaction, and is an error of that.
        let _ = self.discard(&mut open);
    }

    fn prepare(&self, barrier: ClockTime, _timeout: Duration) -> Result<Token, String> {
        let mut open = self.open.lock();
        let sealed = self.discard(&mut open).and_then(|()| self.seal(&mut open, barrier));
        sealed.map_err(|error| format!("{} cannot be written: {error}", self.dir.display()))?;
        Ok(open.sealed.to_be_bytes().to_vec())
    }

    fn commit(&self, token: &[u8]) {
        // What cannot be renamed now stays sealed, and is published with the next checkpoint or by the next start.
        if let Ok(number) = token.try_into().map(u64::from_be_bytes) {
            let _ = self.publish(number);
        }
    }
}

fn transaction(dir: &Path, kind: &str, number: u64) -> PathBuf {
    dir.join(format!("{kind}-{number:08}.ndjson"))
}

/// The numbers of the transactions of a kind, in order.
fn numbered(dir: &Path, kind: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(kind)?.strip_prefix('-')?.strip_suffix(".ndjson"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

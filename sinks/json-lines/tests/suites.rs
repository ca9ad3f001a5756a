//! The sink under the suites that every sink runs.
#![allow(clippy::unwrap_used)]

use aulaflow_json_lines::{JsonLines, JsonLinesWriter, open, parts};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow};
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, Subject};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_sink::conformance::transactional::{Delivered, Storage, check_transactional};
use aulaflow_sink::conformance::{self, Reader, Rows};
use aulaflow_sink::update::{ChangeBatch, CohortBatch};
use aulaflow_sink::{IdempotentSink, Outcome, Participant, TransactionWriter};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct Folder(tempfile::TempDir);

fn lines(dir: &Path) -> Vec<Value> {
    let texts = parts(dir).unwrap().into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

impl Storage for Folder {
    fn open(&self) -> (Box<dyn TransactionWriter>, Arc<dyn Participant>) {
        let (mut writers, sink) = open(self.0.path(), 1).unwrap();
        (Box::new(writers.remove(0)), sink)
    }

    fn delivered(&self) -> Vec<Delivered> {
        let grades = lines(self.0.path()).into_iter().filter(|line| line.get("view").is_none());
        let version = |row: &Value| row.get("version").map(|n| n.as_u64().unwrap() as u32);
        let one = |line: Value| Delivered {
            student: line["student"].as_str().unwrap().to_owned(),
            before: version(&line["before"]),
            after: version(&line["after"]),
        };
        grades.map(one).collect()
    }
}

#[test]
fn it_is_a_transactional_sink() {
    check_transactional(|| Folder(tempfile::tempdir().unwrap()));
}

/// Each batch a transaction of its own: whoever takes the newest row of each key from the lines has an idempotent sink.
struct Committed {
    writer: JsonLinesWriter,
    sink: Arc<JsonLines>,
}

impl Committed {
    fn commit(&mut self) -> Outcome {
        let token = self.sink.prepare(ClockTime(u64::MAX), Duration::ZERO).unwrap();
        self.sink.commit(&token);
        Outcome::Applied
    }
}

impl IdempotentSink for Committed {
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        assert_eq!(self.writer.write(batch), Outcome::Applied);
        self.commit()
    }

    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        assert_eq!(self.writer.write_cohorts(batch), Outcome::Applied);
        self.commit()
    }

    fn advance(&mut self, frontier: ClockTime) {
        self.writer.advance(frontier);
    }
}

/// The newest row of each key of a student, as the suite's batches make them: every number of a row says the same.
fn newest(dir: &Path, student: &str) -> Option<Rows> {
    let mut rows = Rows::default();
    for line in lines(dir).into_iter().filter(|line| line["student"] == student) {
        let after = &line["after"];
        match line.get("view").and_then(Value::as_u64) {
            Some(view) => {
                let row = after.get(0).and_then(Value::as_i64).map(|n| FeatureRow {
                    values: [FeatureValue::Int(i128::from(n))].into(),
                    session: None,
                    updated_at: Millis(n),
                });
                set(&mut rows.features, view as u16, row);
            }
            None => {
                let key = (
                    Subject::new(line["subject"].as_str().unwrap()).unwrap(),
                    PeriodId::new(line["period"].as_str().unwrap()).unwrap(),
                );
                let row = after.get("version").and_then(Value::as_u64).map(|n| GradeRow {
                    grade: Arc::new(Grade {
                        score: after["score"].as_str().map(Into::into),
                        passing: after["passing"] == true,
                        complete: true,
                        evaluations_count: 1,
                        by_category: BTreeMap::new(),
                        rule_version: "r-1".into(),
                    }),
                    version: n as u32,
                    updated_at: Millis(n as i64),
                });
                set(&mut rows.grades, key, row);
            }
        }
    }
    (rows != Rows::default()).then_some(rows)
}

fn set<K: Ord, R>(rows: &mut BTreeMap<K, R>, key: K, row: Option<R>) {
    match row {
        Some(row) => drop(rows.insert(key, row)),
        None => drop(rows.remove(&key)),
    }
}

#[test]
fn its_newest_rows_are_an_idempotent_sink() {
    let open = || {
        let dir = tempfile::tempdir().unwrap();
        let (mut writers, sink) = open(dir.path(), 1).unwrap();
        sink.restore(None);
        let read: Reader = Box::new(move |tenant, student| {
            (tenant.as_str() == "school_1").then(|| newest(dir.path(), student.as_str())).flatten()
        });
        (Committed { writer: writers.remove(0), sink }, read)
    };
    conformance::replay_changes_nothing(open());
    conformance::retraction_removes(open());
    conformance::restart_converges(open);
}

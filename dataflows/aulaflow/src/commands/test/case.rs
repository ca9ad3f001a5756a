//! The files of a case: what goes in, line by line, and what is expected to be shown. `docs/guides/features.md` tells
//! their format. Runs nothing.

use crate::commands::import::{describe, record};
use crate::ingest::Kind;
use aulaflow_model::event::{Origin, decode_behavior, decode_evaluation, tombstone_key};
use aulaflow_model::ids::{EvaluationId, StudentId, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::TenantConfig;
use aulaflow_model::topic;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The tenant of events whose line names none.
const TENANT: &str = "school";

/// A case, read and checked.
#[derive(Debug)]
pub struct Case {
    /// Where it is expected.
    pub expected_file: PathBuf,
    /// What goes in. The first step is a clock.
    pub steps: Vec<Step>,
    /// Whose profiles are looked at.
    pub students: BTreeSet<(TenantId, StudentId)>,
    /// What is replaced in the SQL, by what.
    pub replaced: Vec<(String, String)>,
    /// What is expected, with line numbers; `None`: there is no such file yet.
    pub expected: Option<Vec<(usize, Row)>>,
}

/// One line of the input.
#[derive(Debug)]
pub enum Step {
    /// The clock moves on.
    Clock(Millis),
    /// A record is put on the log.
    Record {
        /// Its topic.
        topic: &'static str,
        /// Its tenant, which decides on the partition.
        tenant: TenantId,
        /// Its key.
        key: Vec<u8>,
        /// Its value; `None` deletes.
        value: Option<Vec<u8>>,
    },
}

/// A line of the input as it is written: one of the first seven.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    clock: Option<String>,
    #[serde(borrow)]
    behavior: Option<&'a RawValue>,
    #[serde(borrow)]
    evaluation: Option<&'a RawValue>,
    deleted_evaluation: Option<String>,
    #[serde(borrow)]
    tenant: Option<&'a RawValue>,
    note: Option<String>,
    replace: Option<String>,
    /// What it is replaced by.
    with: Option<String>,
    /// Whose event it is.
    of: Option<String>,
}

/// A row that a profile shows, or should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The clock.
    #[serde(serialize_with = "instant", deserialize_with = "parsed_instant")]
    pub at: Millis,
    /// The tenant.
    pub tenant: String,
    /// The student.
    pub student: String,
    /// The view.
    pub view: String,
    /// Its outputs, as in a profile.
    pub values: Map<String, Value>,
    /// Its window; none for a view over what is true now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Bounds>,
}

/// A window's bounds: from `start` until just before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The first instant.
    #[serde(serialize_with = "instant", deserialize_with = "parsed_instant")]
    pub start: Millis,
    /// The first instant after it.
    #[serde(serialize_with = "instant", deserialize_with = "parsed_instant")]
    pub end: Millis,
}

/// Which row it is.
type Key<'r> = (Millis, &'r str, &'r str, &'r str);

impl Row {
    fn key(&self) -> Key<'_> {
        (self.at, &self.tenant, &self.student, &self.view)
    }

    fn content(&self) -> String {
        let values = Value::Object(self.values.clone());
        match self.window {
            Some(window) => format!("{values} from {} to {}", shown(window.start), shown(window.end)),
            None => values.to_string(),
        }
    }
}

/// Without milliseconds where there are none.
pub fn shown(at: Millis) -> String {
    at.to_string().replace(".000Z", "Z")
}

fn instant<S: serde::Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(*at))
}

fn parsed_instant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_instant(&text).map_err(serde::de::Error::custom)
}

fn parse_instant(text: &str) -> Result<Millis, String> {
    Millis::parse_rfc3339(text).map_err(|_| format!("{text:?} is no instant: write it as 2026-03-02T15:04:05Z"))
}

/// Reads a case's folder. Faults are `file:line: what is wrong`.
pub fn read(folder: &Path) -> Result<Case, Vec<String>> {
    let (input_file, expected_file) = (folder.join("input.ndjson"), folder.join("expected.ndjson"));
    let unreadable = |file: &Path, error: std::io::Error| vec![format!("{}: cannot be read: {error}", file.display())];
    let text = std::fs::read_to_string(&input_file).map_err(|error| unreadable(&input_file, error))?;
    let mut input = Input::default();
    for (number, line) in lines(&text) {
        if let Err(fault) = input.line(line) {
            input.faults.push(format!("{}:{number}: {fault}", input_file.display()));
        }
    }
    if input.clock.is_none() && input.faults.is_empty() {
        input.faults.push(format!("{}: there is no clock line", input_file.display()));
    }
    let expected = match std::fs::read_to_string(&expected_file) {
        Ok(text) => Some(expected(&text, &expected_file, &mut input.faults)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&expected_file, error)),
    };
    if input.faults.is_empty() {
        let Input { steps, students, replaced, .. } = input;
        Ok(Case { expected_file, steps, students, replaced, expected })
    } else {
        Err(input.faults)
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.is_empty())
}

fn expected(text: &str, file: &Path, faults: &mut Vec<String>) -> Vec<(usize, Row)> {
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (number, line) in lines(text) {
        match serde_json::from_str::<Row>(line) {
            Ok(row) => match rows.iter().find(|(_, other)| other.key() == row.key()) {
                Some((first, _)) => {
                    faults.push(format!("{}:{number}: line {first} is of the same row", file.display()));
                }
                None => rows.push((number, row)),
            },
            Err(error) => faults.push(format!("{}:{number}: {}", file.display(), json_fault(&error))),
        }
    }
    rows
}

/// A JSON error without its place, which is in a line of its own.
fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((fault, _)) => format!("{fault} (column {})", error.column()),
        None => text,
    }
}

/// The input so far.
#[derive(Default)]
struct Input {
    steps: Vec<Step>,
    students: BTreeSet<(TenantId, StudentId)>,
    replaced: Vec<(String, String)>,
    tenants: BTreeMap<TenantId, TenantConfig>,
    clock: Option<Millis>,
    faults: Vec<String>,
}

impl Input {
    fn line(&mut self, text: &str) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| json_fault(&error))?;
        let given = [
            line.clock.is_some(),
            line.behavior.is_some(),
            line.evaluation.is_some(),
            line.deleted_evaluation.is_some(),
            line.tenant.is_some(),
            line.note.is_some(),
            line.replace.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            let one = "`clock`, `behavior`, `evaluation`, `deleted_evaluation`, `tenant`, `replace` or `note`";
            return Err(format!("a line has one of {one}; `of` stands beside an event, `with` beside `replace`"));
        }
        if let Some(clock) = line.clock {
            return self.clock(parse_instant(&clock)?);
        }
        if line.note.is_some() {
            return Ok(());
        }
        match (line.replace, line.with) {
            (Some(text), Some(with)) => {
                self.replaced.push((text, with));
                return Ok(());
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err("`replace` and `with` stand together: a text of the SQL, and another".to_owned());
            }
        }
        if self.clock.is_none() {
            return Err("the first line must be a clock: events are accepted at an instant".to_owned());
        }
        if let Some(config) = line.tenant {
            return self.tenant(config.get());
        }
        let tenant = TenantId::new(line.of.as_deref().unwrap_or(TENANT)).map_err(|error| format!("`of`: {error}"))?;
        match (line.behavior, line.evaluation, line.deleted_evaluation) {
            (Some(event), ..) => self.event(Kind::Behavior, event.get(), tenant),
            (_, Some(event), _) => self.event(Kind::Evaluations, event.get(), tenant),
            (.., Some(id)) => {
                let id: EvaluationId = id.parse().map_err(|error| format!("`deleted_evaluation`: {error}"))?;
                let key = tombstone_key(&tenant, &id).into_bytes();
                self.steps.push(Step::Record { topic: topic::EVALUATIONS, tenant, key, value: None });
                Ok(())
            }
            (None, None, None) => Ok(()),
        }
    }

    fn clock(&mut self, at: Millis) -> Result<(), String> {
        if let Some(before) = self.clock.filter(|before| *before >= at) {
            return Err(format!("the clock goes forward only: it stands at {}", shown(before)));
        }
        self.clock = Some(at);
        self.steps.push(Step::Clock(at));
        Ok(())
    }

    fn tenant(&mut self, json: &str) -> Result<(), String> {
        let config = TenantConfig::from_json_slice(json.as_bytes()).map_err(|faults| describe(&faults))?;
        let tenant = config.tenant.clone();
        let (key, value) = (tenant.as_str().as_bytes().to_vec(), config.to_json().to_string().into_bytes());
        self.tenants.insert(tenant.clone(), config);
        self.steps.push(Step::Record { topic: topic::TENANTS, tenant, key, value: Some(value) });
        Ok(())
    }

    /// As the HTTP edge takes it: the same checks, the same record.
    fn event(&mut self, kind: Kind, json: &str, tenant: TenantId) -> Result<(), String> {
        let config = self.tenants.entry(tenant.clone()).or_insert_with(|| TenantConfig::empty(tenant.clone()));
        let (mut key, mut value) = (Vec::new(), Vec::new());
        record((kind, json.as_bytes()), config, &mut key, &mut value).map_err(|faults| describe(&faults))?;
        let student = match kind {
            Kind::Behavior => {
                let event = decode_behavior(json.as_bytes(), Origin::Edge).map_err(|faults| describe(&faults))?;
                StudentId::new(&event.student_id).map_err(|error| error.to_string())?
            }
            Kind::Evaluations => {
                decode_evaluation(json.as_bytes(), Origin::Edge).map_err(|faults| describe(&faults))?.student_id
            }
            Kind::Events => return Err("service events make no rows".to_owned()),
        };
        self.students.insert((tenant.clone(), student));
        self.steps.push(Step::Record { topic: kind.topic(), tenant, key, value: Some(value) });
        Ok(())
    }
}

/// What differs, for people; empty where nothing does.
pub fn differences(case: &Case, got: &[Row]) -> Vec<String> {
    let file = case.expected_file.display();
    let Some(expected) = &case.expected else {
        return vec![format!("{file}: is missing; `--update` writes it")];
    };
    let mut differences = Vec::new();
    let mut rest: BTreeMap<Key<'_>, &Row> = got.iter().map(|row| (row.key(), row)).collect();
    for (number, row) in expected {
        let found = rest.remove(&row.key());
        if found != Some(row) {
            let what = format!("{}'s {} at {}", row.student, row.view, shown(row.at));
            let found = found.map_or_else(|| "nothing".to_owned(), Row::content);
            differences.push(format!("{file}:{number}: {what}\n  expected {}\n  got      {found}", row.content()));
        }
    }
    for row in rest.values() {
        let what = format!("{}'s {} at {}", row.student, row.view, shown(row.at));
        differences.push(format!("{file}: {what}\n  expected nothing\n  got      {}", row.content()));
    }
    differences
}

/// The text of an expected file.
pub fn written(rows: &[Row]) -> serde_json::Result<String> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn faults(input: &str, expected: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("input.ndjson"), input).unwrap();
        std::fs::write(folder.path().join("expected.ndjson"), expected).unwrap();
        let place = format!("{}/", folder.path().display());
        let faults = read(folder.path()).unwrap_err();
        faults.into_iter().map(|fault| fault.replace(&place, "")).collect()
    }

    #[test]
    fn every_fault_has_its_line() {
        let input = r#"{"clock": "2026-03-02T15:04:05Z"}
            {"behaviour": {}}

            {"clock": "2026-03-02T15:04:05Z"}
            {"clock": "yesterday"}
            {"note": "n", "clock": "2026-03-02T15:04:06Z"}
            {"behavior": {"event_id": "e", "student_id": "s", "event_type": "x"}}
            {"tenant": {"tenant": "t", "rules": []}}"#;
        let row = r#"{"at": "2026-03-02T15:04:05Z", "tenant": "t", "student": "s", "view": "v", "values": {}}"#;
        let found = faults(input, &format!("{row}\n{row}\n{{\"when\": 1}}"));
        let expected = [
            "input.ndjson:2: unknown field `behaviour`, expected one of `clock`, `behavior`, `evaluation`, \
             `deleted_evaluation`, `tenant`, `note`, `replace`, `with`, `of` (column 12)",
            "input.ndjson:4: the clock goes forward only: it stands at 2026-03-02T15:04:05Z",
            "input.ndjson:5: \"yesterday\" is no instant: write it as 2026-03-02T15:04:05Z",
            "input.ndjson:6: a line has one of `clock`, `behavior`, `evaluation`, `deleted_evaluation`, `tenant`, `replace` \
             or `note`; `of` stands beside an event, `with` beside `replace`",
            "input.ndjson:7: /occurred_at: is required",
            "input.ndjson:8: /rules: unknown key `rules`; did you mean `rule`?",
            "expected.ndjson:2: line 1 is of the same row",
            "expected.ndjson:3: unknown field `when`, expected one of `at`, `tenant`, `student`, `view`, `values`, \
             `window` (column 7)",
        ];
        assert_eq!(found, expected);
        assert_eq!(faults("", ""), ["input.ndjson: there is no clock line"]);
        let early = r#"{"deleted_evaluation": "e"}"#;
        assert_eq!(
            faults(early, ""),
            ["input.ndjson:1: the first line must be a clock: events are accepted at an instant"]
        );
    }

    #[test]
    fn differences_name_line_expected_and_got() {
        let row = |view: &str, n: i64| {
            let json = format!(
                r#"{{"at": "2026-03-02T15:04:05Z", "tenant": "t", "student": "s", "view": "{view}", "values": {{"n": {n}}},
                    "window": {{"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}}}}"#
            );
            serde_json::from_str::<Row>(&json).unwrap()
        };
        let expected = Some(vec![(1, row("a", 1)), (2, row("b", 2)), (4, row("c", 3))]);
        let (steps, students, replaced) = (Vec::new(), BTreeSet::new(), Vec::new());
        let case = Case { expected_file: "e.ndjson".into(), steps, students, replaced, expected };
        let window = "from 2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z";
        let at = "at 2026-03-02T15:04:05Z\n";
        assert_eq!(
            differences(&case, &[row("a", 1), row("b", 9), row("d", 4)]),
            [
                format!("e.ndjson:2: s's b {at}  expected {{\"n\":2}} {window}\n  got      {{\"n\":9}} {window}"),
                format!("e.ndjson:4: s's c {at}  expected {{\"n\":3}} {window}\n  got      nothing"),
                format!("e.ndjson: s's d {at}  expected nothing\n  got      {{\"n\":4}} {window}"),
            ]
        );
        let written = written(&[row("a", 1)]).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&written).unwrap(), row("a", 1));
    }
}

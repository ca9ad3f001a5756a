//! The records: keys, headers and values, written and read. What of them is on the log, and when, is elsewhere.
//!
//! | kind | key | value |
//! |---|---|---|
//! | `profile` | `tenant/student_id` | the profile as the API shows it, without cohorts and without what is computed on reading |
//! | `cohort` | `~cohort/tenant/N/subject/period`, `N`: bytes of the subject | sums over the grades, exact, and what follows from them |
//! | `watermark` | `~watermark` | up to which clock everything is there |
//!
//! No tenant's name has a `~`, and only the length tells where a subject with slashes ends. Two headers, `kind` and
//! `format`, are on every record, also on those without a value. A reader passes over formats and kinds that it does not
//! know, and over rows of views that it knows by another definition.

mod encode;
mod value;

use aulaflow_log::{RecordRef, RecordSetBuilder};
use aulaflow_model::change::ViewSchema;
use aulaflow_model::cohort::Cohort;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_serving::ProfileRead;
use aulaflow_sink::update::{CohortChange, StudentChange};
use encode::ProfileEncoder;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use value::{CohortValue, ProfileValue};

/// The version of the values.
pub const FORMAT: u32 = 1;
/// The header that says what a record is about.
pub const KIND_HEADER: &str = "kind";
/// The header with the version of its value.
pub const FORMAT_HEADER: &str = "format";

const PROFILE: &str = "profile";
const COHORT: &str = "cohort";
const WATERMARK: &str = "watermark";
const COHORT_PREFIX: &str = "~cohort/";
const WATERMARK_KEY: &str = "~watermark";

/// Whom a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A student.
    Student(TenantId, StudentId),
    /// A cohort.
    Cohort(TenantId, Subject, PeriodId),
}

impl Key {
    /// Its tenant.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Student(tenant, _) | Self::Cohort(tenant, ..) => tenant,
        }
    }

    /// What its records are called.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Student(..) => PROFILE,
            Self::Cohort(..) => COHORT,
        }
    }

    /// As a record has it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Student(tenant, student) => {
                let mut key = Vec::new();
                put_student(&mut key, tenant, student);
                key
            }
            Self::Cohort(tenant, subject, period) => {
                format!("{COHORT_PREFIX}{tenant}/{}/{subject}/{period}", subject.as_str().len()).into_bytes()
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let Some(rest) = text.strip_prefix(COHORT_PREFIX) else {
            let (tenant, student) = text.split_once('/')?;
            return Some(Self::Student(TenantId::new(tenant).ok()?, StudentId::new(student).ok()?));
        };
        let (tenant, rest) = rest.split_once('/')?;
        let (length, rest) = rest.split_once('/')?;
        let (subject, period) = rest.split_at_checked(length.parse().ok()?)?;
        let period = period.strip_prefix('/')?;
        Some(Self::Cohort(TenantId::new(tenant).ok()?, Subject::new(subject).ok()?, PeriodId::new(period).ok()?))
    }
}

fn put_student(key: &mut Vec<u8>, tenant: &TenantId, student: &StudentId) {
    key.extend_from_slice(tenant.as_str().as_bytes());
    key.push(b'/');
    key.extend_from_slice(student.as_str().as_bytes());
}

/// Up to when everything is on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The clock as of which every profile of the partition is true.
    pub as_of: Millis,
    /// When that was written, by the wall clock.
    pub written_at: Millis,
}

#[derive(Serialize, Deserialize)]
struct WatermarkValue {
    #[serde(with = "value::instant")]
    as_of: Millis,
    #[serde(with = "value::instant")]
    written_at: Millis,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A student's whole profile: every row there is, none where it is gone.
    Profile {
        /// The rows.
        whole: StudentChange,
        /// Periods of which there are grades that no reader has in memory.
        past: Vec<PeriodId>,
        /// As of when they are true.
        as_of: Millis,
        /// Rows of views that are not known, or by another definition: left out.
        unknown: usize,
    },
    /// A cohort.
    Cohort(CohortChange),
    /// How far the partition goes.
    Watermark(Watermark),
}

/// Why a record says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is of another version, or of a kind that there was not.
    Unknown(String),
    /// It is not what it says it is.
    Damaged(String),
}

/// Appends profiles.
pub struct Profiles {
    encoder: ProfileEncoder,
    key: Vec<u8>,
}

impl Profiles {
    /// Of these views; a view's place is its number.
    pub fn new(schemas: &[ViewSchema]) -> Self {
        Self { encoder: ProfileEncoder::new(schemas), key: Vec::new() }
    }

    /// Appends a student's profile as it is read; `None`: it is gone. `as_of` says less than the profile does where what it
    /// is made from is known to be behind.
    pub fn push(
        &mut self,
        set: &mut RecordSetBuilder,
        now: Millis,
        (tenant, student): (&TenantId, &StudentId),
        profile: Option<&ProfileRead<'_>>,
        as_of: Option<Millis>,
    ) {
        self.key.clear();
        put_student(&mut self.key, tenant, student);
        let value = profile.map(|profile| self.encoder.encode((tenant, student), profile, as_of));
        push(set, now, &self.key, value, PROFILE);
    }
}

/// Appends a cohort; `None`: it is gone.
pub fn push_cohort(
    set: &mut RecordSetBuilder,
    now: Millis,
    (tenant, subject, period): (&TenantId, &Subject, &PeriodId),
    cohort: Option<&Cohort>,
) {
    let value = cohort.map(|cohort| to_json(&CohortValue::new(tenant, subject, period, cohort)));
    let key = Key::Cohort(tenant.clone(), subject.clone(), period.clone()).encode();
    push(set, now, &key, value.as_deref(), COHORT);
}

/// Appends a watermark.
pub fn push_watermark(set: &mut RecordSetBuilder, watermark: Watermark) {
    let Watermark { as_of, written_at } = watermark;
    let value = to_json(&WatermarkValue { as_of, written_at });
    push(set, written_at, WATERMARK_KEY.as_bytes(), Some(&value), WATERMARK);
}

fn push(set: &mut RecordSetBuilder, now: Millis, key: &[u8], value: Option<&[u8]>, kind: &str) {
    let format = FORMAT.to_string();
    set.push(now, key, value, &[(KIND_HEADER, kind.as_bytes()), (FORMAT_HEADER, format.as_bytes())]);
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|e| panic!("a record of plain values can always be written: {e}"))
}

/// Whom a record is about, without its value; `None`: a watermark, or nothing that this version knows.
pub fn key(record: &RecordRef<'_>) -> Option<Key> {
    if record.key == WATERMARK_KEY.as_bytes() { None } else { Key::decode(record.key) }
}

/// The watermark that a record is, if it is one that this version can read.
pub fn watermark(record: &RecordRef<'_>) -> Option<Watermark> {
    let value = record.value.filter(|_| record.key == WATERMARK_KEY.as_bytes())?;
    let WatermarkValue { as_of, written_at } = serde_json::from_slice(value).ok()?;
    Some(Watermark { as_of, written_at })
}

/// The views that a reader knows, by name.
pub struct KnownViews {
    schemas: Arc<[ViewSchema]>,
    by_name: HashMap<String, (usize, serde_json::Value)>,
}

impl KnownViews {
    /// A view's place is its number.
    pub fn new(schemas: Arc<[ViewSchema]>) -> Self {
        let named = |(at, schema): (usize, &ViewSchema)| (schema.name.clone(), (at, value::window(&schema.window)));
        let by_name = schemas.iter().enumerate().map(named).collect();
        Self { schemas, by_name }
    }

    /// Reads a record.
    pub fn decode(&self, record: &RecordRef<'_>) -> Result<Entry, Refusal> {
        let header = |name| record.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let format = header(FORMAT_HEADER).unwrap_or("without a format");
        if format.parse() != Ok(FORMAT) {
            return Err(Refusal::Unknown(format!("format {format}")));
        }
        let damaged = |what: &dyn std::fmt::Display| Refusal::Damaged(what.to_string());
        let kind = header(KIND_HEADER).unwrap_or("none");
        if kind == WATERMARK {
            let value = record.value.ok_or_else(|| damaged(&"a watermark without a value"))?;
            let WatermarkValue { as_of, written_at } = serde_json::from_slice(value).map_err(|e| damaged(&e))?;
            return Ok(Entry::Watermark(Watermark { as_of, written_at }));
        }
        if kind != PROFILE && kind != COHORT {
            return Err(Refusal::Unknown(format!("kind {kind:?}")));
        }
        match Key::decode(record.key) {
            Some(Key::Student(tenant, student)) if kind == PROFILE => match record.value {
                None => {
                    let whole = StudentChange { tenant, student, grades: Vec::new(), features: Vec::new() };
                    Ok(Entry::Profile { whole, past: Vec::new(), as_of: record.timestamp, unknown: 0 })
                }
                Some(value) => {
                    let value: ProfileValue = serde_json::from_slice(value).map_err(|e| damaged(&e))?;
                    value.rows(self, tenant, student).map_err(|e| damaged(&e))
                }
            },
            Some(Key::Cohort(tenant, subject, period)) if kind == COHORT => {
                let value = record.value.map(serde_json::from_slice::<CohortValue>).transpose();
                let row = value.map_err(|e| damaged(&e))?.map(|v| v.cohort()).transpose().map_err(|e| damaged(&e))?;
                Ok(Entry::Cohort(CohortChange { tenant, subject, period, before: None, after: row.map(Arc::new) }))
            }
            Some(Key::Student(..) | Key::Cohort(..)) | None => Err(damaged(&format!("its key is no {kind}'s"))),
        }
    }
}

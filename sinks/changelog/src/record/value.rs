//! Values as JSON: everything that a row holds, exactly, in the shape in which the API shows it.
//!
//! Exact decimals are strings, as in the API. A text is a string too, so `decimals` names the outputs whose strings are
//! numbers.

use super::{Entry, KnownViews};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow, ViewIndex};
use aulaflow_model::cohort::{BINS, Cohort, Sums};
use aulaflow_model::decimal::{Decimal, write_micros};
use aulaflow_model::grade::Grade;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::Scale;
use aulaflow_model::window::{WindowKind, WindowSpec};
use aulaflow_sink::update::{FeatureChange, GradeChange, StudentChange};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Instants as RFC 3339.
pub mod instant {
    use aulaflow_model::instant::Millis;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Millis, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Millis, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Millis::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

/// A profile, as it is read; [`super::encode`] writes it.
#[derive(Deserialize)]
pub struct ProfileValue {
    tenant_id: TenantId,
    student_id: StudentId,
    #[serde(with = "instant")]
    as_of: Millis,
    grades: Vec<GradeValue>,
    #[serde(default)]
    past_periods: Vec<PeriodId>,
    /// By view: outputs, `window` and `updated_at`.
    features: BTreeMap<String, Members>,
    /// By view: the outputs whose strings are exact decimals.
    decimals: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct GradeValue {
    subject: Subject,
    period: PeriodId,
    #[serde(flatten)]
    grade: Arc<Grade>,
    version: u32,
    #[serde(with = "instant")]
    updated_at: Millis,
}

/// A feature's members as they are written: a sum of BIGINTs may have more digits than a [`Value`] keeps.
type Members = BTreeMap<String, Box<RawValue>>;

/// The member of a feature that is its window.
pub const WINDOW: &str = "window";
/// The member of a feature that says when it changed.
pub const UPDATED_AT: &str = "updated_at";

impl ProfileValue {
    /// The rows, as far as the views are known. The key's ids are those of the value.
    pub fn rows(self, known: &KnownViews, tenant: TenantId, student: StudentId) -> Result<Entry, String> {
        if self.tenant_id != tenant || self.student_id != student {
            return Err("its key is another student's".to_owned());
        }
        let grade = |value: GradeValue| GradeChange {
            subject: value.subject,
            period: value.period,
            before: None,
            after: Some(GradeRow { grade: value.grade, version: value.version, updated_at: value.updated_at }),
        };
        let grades = self.grades.into_iter().map(grade).collect();
        let (mut features, mut unknown) = (Vec::new(), 0);
        for (name, members) in &self.features {
            let decimals = self.decimals.get(name).map_or(&[][..], Vec::as_slice);
            match feature(known, name, members, decimals)? {
                Some(change) => features.push(change),
                None => unknown += 1,
            }
        }
        let whole = StudentChange { tenant, student, grades, features };
        Ok(Entry::Profile { whole, past: self.past_periods, as_of: self.as_of, unknown })
    }
}

/// A feature's row; `None`: its view is not known, or by another definition.
fn feature(
    known: &KnownViews,
    name: &str,
    members: &Members,
    decimals: &[String],
) -> Result<Option<FeatureChange>, String> {
    let Some((at, expected)) = known.by_name.get(name) else { return Ok(None) };
    let schema = &known.schemas[*at];
    let read = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).map_err(|error| error.to_string());
    let mut window = members.get(WINDOW).map_or(Ok(Value::Null), |raw| read(raw))?;
    let bounds = window.as_object_mut().map(|members| (members.remove("start"), members.remove("end")));
    // Two members are not outputs.
    if window != *expected || members.len() != schema.outputs.len() + 2 {
        return Ok(None);
    }
    let instant = |value: Option<&Value>, what: &str| {
        let parsed = value.and_then(Value::as_str).map(Millis::parse_rfc3339);
        parsed.and_then(Result::ok).ok_or_else(|| format!("{what} of {name} is no instant"))
    };
    let session = match (schema.window.kind, bounds) {
        (WindowKind::Session, Some((start, end))) => {
            Some((instant(start.as_ref(), "the start")?, instant(end.as_ref(), "the end")?))
        }
        (WindowKind::Present, _) => return Ok(None),
        (WindowKind::Hop | WindowKind::Tumble | WindowKind::Session, _) => None,
    };
    let mut values = Vec::with_capacity(schema.outputs.len());
    for output in &schema.outputs {
        let Some(value) = members.get(output) else { return Ok(None) };
        let wrong = || format!("{output} of {name} is no value");
        values.push(match read(value)? {
            Value::Null => FeatureValue::Null,
            Value::Bool(b) => FeatureValue::Bool(b),
            Value::Number(_) => FeatureValue::Int(value.get().parse().map_err(|_| wrong())?),
            Value::String(text) if decimals.contains(output) => {
                FeatureValue::Micros(parse_micros(&text).ok_or_else(wrong)?)
            }
            Value::String(text) => FeatureValue::Text(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => return Err(wrong()),
        });
    }
    let updated_at = members.get(UPDATED_AT).map(|raw| read(raw)).transpose()?;
    let updated_at = instant(updated_at.as_ref(), UPDATED_AT)?;
    // There are as many views as there are numbers for them.
    let view = *at as ViewIndex;
    Ok(Some(FeatureChange {
        view,
        before: None,
        after: Some(FeatureRow { values: values.into(), session, updated_at }),
    }))
}

/// A window as the API describes it, without bounds.
pub fn window(spec: &WindowSpec) -> Value {
    let seconds = |ms: i64| if ms % 1000 == 0 { Value::from(ms / 1000) } else { Value::from(ms as f64 / 1000.0) };
    let mut members = Map::new();
    let (kind, lengths): (_, &[(&str, i64)]) = match spec.kind {
        WindowKind::Hop => ("hop", &[("slide_s", spec.slide_ms), ("size_s", spec.size_ms)]),
        WindowKind::Tumble => ("tumble", &[("slide_s", spec.slide_ms), ("size_s", spec.size_ms)]),
        WindowKind::Session => ("session", &[("gap_s", spec.gap_ms)]),
        WindowKind::Present => ("present", &[]),
    };
    members.insert("kind".to_owned(), kind.into());
    members.extend(lengths.iter().map(|(name, ms)| ((*name).to_owned(), seconds(*ms))));
    if let Some(zone) = &spec.zone {
        members.insert("zone".to_owned(), zone.name().into());
    }
    Value::Object(members)
}

/// A cohort. The sums are what it is; the rest is for readers.
#[derive(Serialize, Deserialize)]
pub struct CohortValue {
    tenant_id: TenantId,
    subject: Subject,
    period: PeriodId,
    scale: ScaleValue,
    count: i64,
    passing: i64,
    /// Σ score, an exact decimal.
    sum: String,
    /// Σ score² · 10¹², an integer.
    squares_e12: String,
    histogram: [i64; BINS],
    #[serde(skip_deserializing)]
    mean: Option<String>,
    #[serde(skip_deserializing)]
    stddev: Option<String>,
    #[serde(skip_deserializing)]
    pass_rate: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ScaleValue {
    min: String,
    max: String,
}

impl CohortValue {
    /// A cohort as it is.
    pub fn new(tenant: &TenantId, subject: &Subject, period: &PeriodId, cohort: &Cohort) -> Self {
        let Cohort { scale, sums } = cohort;
        Self {
            tenant_id: tenant.clone(),
            subject: subject.clone(),
            period: period.clone(),
            scale: ScaleValue {
                min: decimal(i128::from(scale.min.micros())),
                max: decimal(i128::from(scale.max.micros())),
            },
            count: sums.count,
            passing: sums.passing,
            sum: decimal(sums.sum),
            squares_e12: sums.squares.to_string(),
            histogram: sums.bins,
            mean: cohort.mean().map(decimal),
            stddev: cohort.stddev().map(decimal),
            pass_rate: cohort.pass_rate().map(decimal),
        }
    }

    /// The cohort.
    pub fn cohort(self) -> Result<Cohort, String> {
        let end = |text: &str| parse_micros(text).and_then(|m| i64::try_from(m).ok()).map(Decimal::from_micros);
        let wrong = || "its sums are no numbers".to_owned();
        let scale =
            Scale { min: end(&self.scale.min).ok_or_else(wrong)?, max: end(&self.scale.max).ok_or_else(wrong)? };
        let sum = parse_micros(&self.sum).ok_or_else(wrong)?;
        let squares = self.squares_e12.parse().map_err(|_| wrong())?;
        let sums = Sums { count: self.count, passing: self.passing, sum, squares, bins: self.histogram };
        Ok(Cohort { scale, sums })
    }
}

fn decimal(micros: i128) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_micros(&mut text, micros);
    text
}

/// What [`write_micros`] wrote; `None` for any other text.
fn parse_micros(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 6 {
        return None;
    }
    let padding = std::iter::repeat_n(b'0', 6 - fraction.len());
    // Towards the sign, since the least number has no opposite.
    whole.bytes().chain(fraction.bytes()).chain(padding).try_fold(0_i128, |number, digit| {
        let digit = i128::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        number.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
    })
}

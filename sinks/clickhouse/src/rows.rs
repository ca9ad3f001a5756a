//! Rows in the format RowBinary: what a key and what values look like as bytes. Which rows there are is not known here.
//!
//! A key in the local store is the relation's number and then the key's columns as RowBinary, so that a row for ClickHouse
//! is the rest of the key, the values, and what is added to them.

use crate::tables::{Relation, Source};
use crate::{Form, Uuid};
use aulaflow_model::change::{FeatureRow, FeatureValue, GradeRow};
use aulaflow_model::cohort::{Cohort, score_micros};
use aulaflow_model::decimal::MICROS;
use aulaflow_model::instant::Millis;

/// Bytes before a key's columns: the relation's number.
pub(crate) const NUMBER_BYTES: usize = 2;
/// The largest magnitude of a `Decimal(38, 6)`, in millionths.
const DECIMAL38_MAX: i128 = 10_i128.pow(38) - 1;
/// In front of a `Nullable`.
const THERE: u8 = 0;
const NULL: u8 = 1;

/// A row that its table has no place for: what made the row and what made the table disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a row of \"{table}\" does not fit its table: {why}")]
pub struct Unfit {
    table: String,
    why: String,
}

/// A number in groups of seven bits, the lowest first.
pub(crate) fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A `String`.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// What goes before rows in RowBinaryWithNamesAndTypes.
pub(crate) fn header(names: &[String], types: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, names.len());
    names.iter().for_each(|name| text(&mut out, name));
    types.iter().for_each(|r#type| text(&mut out, r#type));
    out
}

pub(crate) fn nullable<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => {
            out.push(THERE);
            write(out, value);
        }
        None => out.push(NULL),
    }
}

pub(crate) fn instant(out: &mut Vec<u8>, at: Millis) {
    out.extend_from_slice(&at.0.to_le_bytes());
}

/// The text of a decimal as the grade function writes it; it stays far below what the column can hold.
fn decimal18(out: &mut Vec<u8>, micros: i128) {
    out.extend_from_slice(&(micros as i64).to_le_bytes());
}

fn decimal38(out: &mut Vec<u8>, micros: i128) {
    out.extend_from_slice(&micros.clamp(-DECIMAL38_MAX, DECIMAL38_MAX).to_le_bytes());
}

/// A key of a student's row: without a subject and a period it is a view's.
pub(crate) fn student_key(number: u16, tenant: &str, student: Uuid, of: Option<(&str, &str)>) -> Vec<u8> {
    let mut key = Vec::with_capacity(NUMBER_BYTES + 20 + tenant.len() + 32);
    key.extend_from_slice(&number.to_be_bytes());
    text(&mut key, tenant);
    key.extend_from_slice(&student.to_row_binary());
    if let Some((subject, period)) = of {
        text(&mut key, subject);
        text(&mut key, period);
    }
    key
}

/// A cohort's key.
pub(crate) fn cohort_key(number: u16, tenant: &str, subject: &str, period: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(NUMBER_BYTES + 8 + tenant.len() + subject.len() + period.len());
    key.extend_from_slice(&number.to_be_bytes());
    for part in [tenant, subject, period] {
        text(&mut key, part);
    }
    key
}

/// Whose row a key of a student's is: tenant and pseudonym, without the number.
pub(crate) fn owner(key: &[u8]) -> &[u8] {
    let columns = key.get(NUMBER_BYTES..).unwrap_or_default();
    let tenant = Form::Name.width(columns).unwrap_or(0);
    columns.get(..tenant + 16).unwrap_or(columns)
}

/// The subject and the period in the key of a grade.
pub(crate) fn subject_and_period(key: &[u8]) -> Option<(&str, &str)> {
    let rest = key.get(NUMBER_BYTES + owner(key).len()..)?;
    let (subject, rest) = rest.split_at_checked(Form::Name.width(rest)?)?;
    Some((text_in(subject)?, text_in(rest)?))
}

/// The text in a `String` that takes all of the bytes.
fn text_in(bytes: &[u8]) -> Option<&str> {
    let head = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    std::str::from_utf8(bytes.get(head..)?).ok()
}

/// A grade's values.
pub(crate) fn grade(row: &GradeRow) -> Vec<u8> {
    let grade = &row.grade;
    let mut out = Vec::with_capacity(96);
    nullable(&mut out, grade.score.as_deref().and_then(score_micros), decimal18);
    nullable(&mut out, grade.score.as_deref().map(fraction_digits), Vec::push);
    out.push(u8::from(grade.passing));
    out.push(u8::from(grade.complete));
    out.extend_from_slice(&grade.evaluations_count.to_le_bytes());
    varint(&mut out, grade.by_category.len());
    for (category, result) in &grade.by_category {
        text(&mut out, category.as_str());
        nullable(&mut out, result.value.as_deref().and_then(score_micros), decimal18);
        decimal18(&mut out, score_micros(&result.weight).unwrap_or(0));
        out.extend_from_slice(&result.counted.to_le_bytes());
        out.extend_from_slice(&result.dropped.to_le_bytes());
    }
    text(&mut out, &grade.rule_version);
    out.extend_from_slice(&row.version.to_le_bytes());
    instant(&mut out, row.updated_at);
    out
}

/// How many digits a decimal's text has behind its point.
fn fraction_digits(text: &str) -> u8 {
    let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    u8::try_from(digits).unwrap_or(u8::MAX)
}

/// A decimal's text with so many digits behind its point, from one without zeros at its end. `None`: as it is.
pub(crate) fn with_fraction_digits(mut text: String, digits: Option<u8>) -> String {
    let missing = digits.unwrap_or(0).saturating_sub(fraction_digits(&text));
    if missing > 0 && !text.contains('.') {
        text.push('.');
    }
    text.extend(std::iter::repeat_n('0', missing.into()));
    text
}

/// A cohort's values.
pub(crate) fn cohort(cohort: &Cohort) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&cohort.sums.count.to_le_bytes());
    for number in [cohort.mean(), cohort.stddev(), cohort.pass_rate()] {
        nullable(&mut out, number, decimal38);
    }
    varint(&mut out, cohort.sums.bins.len());
    for bin in cohort.sums.bins {
        out.extend_from_slice(&bin.to_le_bytes());
    }
    for bound in [cohort.scale.min, cohort.scale.max] {
        out.extend_from_slice(&bound.micros().to_le_bytes());
    }
    out
}

/// A view's values.
pub(crate) fn feature(relation: &Relation, row: &FeatureRow) -> Result<Vec<u8>, Unfit> {
    let unfit = |why: String| Unfit { table: relation.name.clone(), why };
    // Behind the outputs: a session's bounds, and when the row changed.
    let outputs = row.values.len();
    let bounds = match relation.values.len().checked_sub(outputs) {
        Some(1) => false,
        Some(3) => true,
        Some(_) | None => return Err(unfit(format!("it has {outputs} values for {} columns", relation.values.len()))),
    };
    let mut out = Vec::with_capacity(16 * relation.values.len());
    for (column, value) in relation.values.iter().zip(row.values.iter()) {
        let Form::Nullable(form) = &column.form else {
            return Err(unfit(format!("the column \"{}\" takes no null", column.name)));
        };
        if !output(&mut out, form, value) {
            return Err(unfit(format!("{value:?} is no value of the column \"{}\", {}", column.name, column.r#type)));
        }
    }
    if bounds {
        nullable(&mut out, row.session.map(|(start, _)| start), instant);
        nullable(&mut out, row.session.map(|(_, end)| end), instant);
    }
    instant(&mut out, row.updated_at);
    Ok(out)
}

/// A value of a nullable column; false where it is none.
fn output(out: &mut Vec<u8>, form: &Form, value: &FeatureValue) -> bool {
    match (form, value) {
        (_, FeatureValue::Null) => out.push(NULL),
        (Form::Int64, FeatureValue::Int(n)) => match i64::try_from(*n) {
            Ok(n) => nullable(out, Some(n), |out, n| out.extend_from_slice(&n.to_le_bytes())),
            Err(_) => return false,
        },
        (Form::Int128, FeatureValue::Int(n)) => {
            nullable(out, Some(n), |out, n| out.extend_from_slice(&n.to_le_bytes()))
        }
        (Form::Decimal38, FeatureValue::Int(n)) => nullable(out, Some(n.saturating_mul(i128::from(MICROS))), decimal38),
        (Form::Decimal38, FeatureValue::Micros(micros)) => nullable(out, Some(*micros), decimal38),
        (Form::Bool, FeatureValue::Bool(b)) => nullable(out, Some(*b), |out, b| out.push(u8::from(b))),
        (Form::Text, FeatureValue::Text(value)) => nullable(out, Some(value), |out, value| text(out, value)),
        // Profiles show instants as texts.
        (Form::Instant, FeatureValue::Text(value)) => match Millis::parse_shown(value) {
            Ok(at) => nullable(out, Some(at), instant),
            Err(_) => return false,
        },
        (_, FeatureValue::Int(_) | FeatureValue::Micros(_) | FeatureValue::Bool(_) | FeatureValue::Text(_)) => {
            return false;
        }
    }
    true
}

/// Where the values of a row in RowBinary begin and where they end; `None` where it is cut short.
pub(crate) fn split(relation: &Relation, bytes: &[u8]) -> Option<(usize, usize)> {
    let after = |from: usize, columns: &[crate::Column]| {
        columns.iter().try_fold(from, |at, column| Some(at + column.form.width(bytes.get(at..)?)?))
    };
    let values = after(0, &relation.key)?;
    Some((values, after(values, &relation.values)?))
}

/// Values under other columns: those that were there before, and null for new ones. `None`: the values are not of the columns.
pub(crate) fn with_columns(before: &[(String, Form)], relation: &Relation, values: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    let mut parts = Vec::with_capacity(before.len());
    for (name, form) in before {
        let width = form.width(values.get(at..)?)?;
        parts.push((name, values.get(at..at + width)?));
        at += width;
    }
    let mut out = Vec::with_capacity(values.len() + relation.values.len());
    for column in &relation.values {
        match parts.iter().find(|(name, _)| **name == column.name) {
            Some((_, part)) => out.extend_from_slice(part),
            None if matches!(column.form, Form::Nullable(_)) => out.push(NULL),
            None => return None,
        }
    }
    (at == values.len()).then_some(out)
}

impl Source {
    /// Whether its rows are a student's.
    pub(crate) fn is_of_students(self) -> bool {
        match self {
            Self::Grades | Self::View(_) => true,
            Self::Cohorts => false,
        }
    }
}

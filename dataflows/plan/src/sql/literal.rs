//! Values as texts: how PostgreSQL reads and prints booleans, numbers, timestamps and intervals. Used by literals,
//! by casts and by functions that make text. Each type is read in a file of its own; what all have in common is here.

mod fields;
mod interval;
mod iso8601;
mod number;
mod timestamp;
mod words;

use super::calendar::{self, Civil};
use super::expr::{EvalError, Type, Value};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::RoundingMode;
pub use interval::{millis, parse_interval, parse_interval_field};
pub use number::{double_text, parse_double};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;
pub use words::unit;

/// Characters that PostgreSQL skips around values.
const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// Why a text is no value of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// It is not of a form that the type has.
    Form(&'static str),
    /// It has the form, and a part of it is outside its bounds.
    Range(&'static str),
}

impl Unread {
    fn of(self, ty: Type) -> EvalError {
        match self {
            Self::Form(why) | Self::Range(why) => EvalError::InvalidText { ty, why },
        }
    }
}

/// The lower case of a character where that is one character, else itself: simple case mapping, as in PostgreSQL.
pub fn fold_case(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(l), None) => l,
        _ => c,
    }
}

/// Reads a text as a value of a type.
pub fn parse(text: &str, ty: Type) -> Result<Value<'static>, EvalError> {
    match ty {
        Type::Boolean => number::parse_boolean(text).map(Value::Boolean),
        Type::Bigint => number::parse_bigint(text).map(Value::Bigint),
        Type::Double => parse_double(text).map(Value::Double),
        Type::Text => Ok(Value::Text(Cow::Owned(text.to_owned()))),
        Type::Timestamp => timestamp::parse(text).map(|ms| Value::Timestamp(Millis(ms))),
        Type::Interval => parse_interval(text).map(|(months, days, millis)| Value::Interval { months, days, millis }),
        Type::Json => RawValue::from_string(text.trim_matches([' ', '\t', '\n', '\r']).to_owned())
            .map(|raw| Value::Json(Cow::Owned(raw)))
            .map_err(|_| Unread::Form("expected one JSON value").of(ty)),
    }
}

/// The value as `CAST(… AS TEXT)` gives it; NULL gives an empty text, which no caller asks for.
pub fn to_text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Boolean(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
        Value::Bigint(n) => Cow::Owned(n.to_string()),
        Value::Wide(n) => Cow::Owned(n.to_string()),
        Value::Double(x) => Cow::Owned(double_text(*x)),
        // As outputs show it.
        Value::Exact(x) => Cow::Owned(x.round(RoundingMode::HalfUp, 6).trimmed().into_string()),
        Value::Text(text) => Cow::Borrowed(text),
        Value::Timestamp(at) => Cow::Owned(timestamp_text(at.0)),
        Value::Interval { months, days, millis } => Cow::Owned(interval_text(*months, *days, *millis)),
        Value::Json(raw) => Cow::Borrowed(raw.get()),
    }
}

/// `2026-03-02 15:04:05.12`, in UTC.
fn timestamp_text(ms: i64) -> String {
    let Ok(Civil { year, month, day, millis }) = calendar::civil(ms) else { return format!("{ms} ms") };
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let mut text = format!("{shown:04}-{month:02}-{day:02} ");
    push_clock(&mut text, millis);
    text + era
}

/// Writes `HH:MM:SS[.fff]` without trailing zeros; not negative.
fn push_clock(out: &mut String, millis: i64) {
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    // Writing into a String does not fail.
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!("{fraction:03}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// `1 year 2 mons -3 days +04:05:06.789`
fn interval_text(months: i32, days: i32, millis: i64) -> String {
    let mut text = String::new();
    let mut after_negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let space = if text.is_empty() { "" } else { " " };
            let plus = if after_negative && count > 0 { "+" } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            let _ = write!(text, "{space}{plus}{count} {unit}{plural}");
            after_negative = count < 0;
        }
    }
    if text.is_empty() || millis != 0 {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(if millis < 0 {
            "-"
        } else if after_negative {
            "+"
        } else {
            ""
        });
        push_clock(&mut text, millis.saturating_abs());
    }
    text
}

//! Values as texts: how PostgreSQL reads and prints booleans, numbers, timestamps and intervals. Used by literals,
//! by casts and by functions that make text.

use super::calendar::{self, Civil, DAY_MS};
use super::expr::{EvalError, Type, Value};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::RoundingMode;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;

/// Characters that PostgreSQL skips around values.
const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

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
        Type::Boolean => parse_boolean(text).map(Value::Boolean),
        Type::Bigint => parse_bigint(text).map(Value::Bigint),
        Type::Double => parse_double(text).map(Value::Double),
        Type::Text => Ok(Value::Text(Cow::Owned(text.to_owned()))),
        Type::Timestamp => parse_timestamp(text).map(|ms| Value::Timestamp(Millis(ms))),
        Type::Interval => parse_interval(text).map(|(months, days, millis)| Value::Interval { months, days, millis }),
        Type::Json => RawValue::from_string(text.trim_matches([' ', '\t', '\n', '\r']).to_owned())
            .map(|raw| Value::Json(Cow::Owned(raw)))
            .map_err(|_| EvalError::InvalidCast("json")),
    }
}

/// `true`, `yes`, `on`, `1` and their opposites; unique prefixes too.
fn parse_boolean(text: &str) -> Result<bool, EvalError> {
    let word = text.trim_matches(SPACE).to_ascii_lowercase();
    let of = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if of("true", 1) || of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if of("false", 1) || of("no", 1) || of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(EvalError::InvalidCast("boolean"))
    }
}

fn parse_bigint(text: &str) -> Result<i64, EvalError> {
    let number = text.trim_matches(SPACE);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EvalError::InvalidCast("bigint"));
    }
    number.parse().map_err(|_| EvalError::OutOfRange("bigint"))
}

/// A finite double. Texts such as `NaN` are out of range: no value here is one.
pub fn parse_double(text: &str) -> Result<f64, EvalError> {
    let number = text.trim_matches(SPACE);
    let value: f64 = number.parse().map_err(|_| EvalError::InvalidCast("double precision"))?;
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let vanished = value == 0.0 && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    if value.is_finite() && !vanished { Ok(value) } else { Err(EvalError::OutOfRange("double precision")) }
}

/// `2026-03-02`, `2026-03-02 15:04:05.12`, with `T`, `Z` or an offset where given; UTC else.
fn parse_timestamp(text: &str) -> Result<i64, EvalError> {
    let bad = || EvalError::InvalidCast("timestamp");
    let text = text.trim_matches(SPACE);
    let (date, time) = match text.find([' ', 'T', 't']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim_matches(SPACE))),
        None => (text, None),
    };
    let mut fields = date.splitn(3, '-').map(|field| digits(field, 4));
    let mut next = || fields.next().flatten().ok_or_else(bad);
    let (year, month, day) = (next()?, next()?, next()?);
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
        return Err(bad());
    }
    if !(1..=calendar::days_in_month(year, month)).contains(&day) {
        return Err(bad());
    }
    let (millis, offset) = match time {
        Some(time) => time_and_offset(time).ok_or_else(bad)?,
        None => (0, 0),
    };
    calendar::checked(calendar::instant(Civil { year, month, day, millis })? - offset)
}

/// A field of only digits, at most `most` of them.
fn digits(text: &str, most: usize) -> Option<i64> {
    if text.is_empty() || text.len() > most || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Milliseconds since midnight, and the offset from UTC in milliseconds.
fn time_and_offset(text: &str) -> Option<(i64, i64)> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        Some(at) => (text[..at].trim_end_matches(SPACE), &text[at..]),
        None => (text, ""),
    };
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let seconds = digits(seconds, 2)?;
    if hours > 23 || minutes > 59 || seconds > 59 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3.3}").parse().ok()?;
    let offset = match offset {
        "" | "Z" | "z" => 0,
        _ => {
            let (h, m) = match offset[1..].split_once(':') {
                Some((h, m)) => (digits(h, 2)?, digits(m, 2)?),
                None if offset.len() == 5 => (digits(offset.get(1..3)?, 2)?, digits(offset.get(3..)?, 2)?),
                None => (digits(&offset[1..], 2)?, 0),
            };
            if h > 15 || m > 59 {
                return None;
            }
            (h * 60 + m) * if offset.starts_with('-') { -60_000 } else { 60_000 }
        }
    };
    Some((((hours * 60 + minutes) * 60 + seconds) * 1000 + millis, offset))
}

/// What a unit of an interval's text adds.
#[derive(Clone, Copy)]
enum IntervalUnit {
    Months(i64),
    Days(i64),
    Millis(f64),
}

/// The unit of a word in an interval.
fn interval_unit(word: &str) -> Option<IntervalUnit> {
    use IntervalUnit::{Days, Millis, Months};
    Some(match word.to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" => Millis(0.001),
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => Millis(1.0),
        "second" | "seconds" | "sec" | "secs" | "s" => Millis(1000.0),
        "minute" | "minutes" | "min" | "mins" | "m" => Millis(60_000.0),
        "hour" | "hours" | "hr" | "hrs" | "h" => Millis(3_600_000.0),
        "day" | "days" | "d" => Days(1),
        "week" | "weeks" | "w" => Days(7),
        "month" | "months" | "mon" | "mons" => Months(1),
        "year" | "years" | "yr" | "yrs" | "y" => Months(12),
        "decade" | "decades" => Months(120),
        "century" | "centuries" => Months(1200),
        _ => return None,
    })
}

/// `1 hour`, `7 days 02:03:04.5`, `-1 mon`, `1.5 hours`, `3 days ago`: months, days, milliseconds.
pub fn parse_interval(text: &str) -> Result<(i32, i32, i64), EvalError> {
    let bad = EvalError::InvalidCast("interval");
    let mut sum = IntervalSum::default();
    let mut words = text.split(SPACE).filter(|w| !w.is_empty()).peekable();
    let mut any = false;
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("ago") && any && words.peek().is_none() {
            return sum.finish(-1.0);
        }
        any = true;
        if word.contains(':') {
            sum.millis += clock_millis(word).ok_or_else(|| bad.clone())?;
            continue;
        }
        let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        let (number, unit) = word.split_at(end);
        let unit = match unit {
            "" => match words.peek().and_then(|w| interval_unit(w)) {
                Some(unit) => {
                    words.next();
                    unit
                }
                // A number alone is seconds, but only at the end: `1 2 days` means nothing.
                None if words.peek().is_none() => IntervalUnit::Millis(1000.0),
                None => return Err(bad),
            },
            unit => interval_unit(unit).ok_or_else(|| bad.clone())?,
        };
        sum.add(number, unit).ok_or_else(|| bad.clone())?;
    }
    if any { sum.finish(1.0) } else { Err(bad) }
}

/// The parts of an interval's text so far. Doubles are exact for everything that fits the result.
#[derive(Default)]
struct IntervalSum {
    months: f64,
    days: f64,
    millis: f64,
}

impl IntervalSum {
    /// Adds `number` units. A fraction of a month or day goes on into smaller units, as in PostgreSQL.
    fn add(&mut self, number: &str, unit: IntervalUnit) -> Option<()> {
        let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let numeric = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
        if unsigned.is_empty() || unsigned == "." || !numeric(whole) || !numeric(fraction) {
            return None;
        }
        let sign = if number.starts_with('-') { -1.0 } else { 1.0 };
        let whole = sign * format!("0{whole}").parse::<f64>().ok()?;
        let fraction = sign * format!("0.{fraction}0").parse::<f64>().ok()?;
        match unit {
            IntervalUnit::Months(1) => {
                self.months += whole;
                self.add_days(fraction * 30.0);
            }
            IntervalUnit::Months(n) => self.months += whole * n as f64 + (fraction * n as f64).round_ties_even(),
            IntervalUnit::Days(n) => {
                self.days += whole * n as f64;
                self.add_days(fraction * n as f64);
            }
            IntervalUnit::Millis(n) => self.millis += whole * n + fraction * n,
        }
        Some(())
    }

    fn add_days(&mut self, days: f64) {
        self.days += days.trunc();
        self.millis += (days.fract() * 1e9).round() / 1e9 * DAY_MS as f64;
    }

    fn finish(self, sign: f64) -> Result<(i32, i32, i64), EvalError> {
        let out = || EvalError::OutOfRange("interval");
        let small = |x: f64| if x.abs() <= f64::from(i32::MAX) { Ok((sign * x) as i32) } else { Err(out()) };
        let millis = (sign * self.millis).round_ties_even();
        // Below 2^53 every whole double is exact; more is half a million years.
        if millis.abs() > 9.0e15 {
            return Err(out());
        }
        Ok((small(self.months)?, small(self.days)?, millis as i64))
    }
}

/// `[-]HH:MM[:SS[.fff]]` in milliseconds.
fn clock_millis(word: &str) -> Option<f64> {
    let (sign, clock) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.strip_prefix('+').unwrap_or(word)),
    };
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let (hours, minutes, seconds) = (digits(hours, 9)?, digits(minutes, 2)?, digits(seconds, 2)?);
    if minutes > 59 || seconds > 59 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some(sign * (((hours * 60 + minutes) * 60 + seconds) as f64 * 1000.0 + fraction * 1000.0))
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

/// The shortest text that reads back as the same double, in PostgreSQL's form: an exponent below 1e-4 and from 1e15 on.
pub fn double_text(x: f64) -> String {
    let scientific = format!("{x:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let fraction_digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if (-4..15).contains(&exponent) {
        // Where two shortest texts are equally near, PostgreSQL takes the even one, as rounding to so many digits does.
        let decimals = i64::try_from(fraction_digits).unwrap_or(0) - i64::from(exponent);
        let even = format!("{x:.*}", usize::try_from(decimals).unwrap_or(0));
        return if even.parse() == Ok(x) { even } else { format!("{x}") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
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

//! How PostgreSQL reads booleans and numbers, and prints doubles.

use super::{SPACE, Unread};
use crate::sql::expr::{EvalError, Type};

/// `true`, `yes`, `on`, `1` and their opposites; unique prefixes too.
pub(super) fn parse_boolean(text: &str) -> Result<bool, EvalError> {
    let word = text.trim_matches(SPACE).to_ascii_lowercase();
    let of = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if of("true", 1) || of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if of("false", 1) || of("no", 1) || of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(Unread::Form("expected true, false, yes, no, on, off, 1 or 0").of(Type::Boolean))
    }
}

/// Decimal digits, with a sign perhaps.
pub(super) fn parse_bigint(text: &str) -> Result<i64, EvalError> {
    let number = text.trim_matches(SPACE);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Unread::Form("expected digits only, a sign before them perhaps").of(Type::Bigint));
    }
    number.parse().map_err(|_| EvalError::OutOfRange("bigint"))
}

/// A finite double. Texts such as `NaN` are out of range: no value here is one.
pub fn parse_double(text: &str) -> Result<f64, EvalError> {
    let number = text.trim_matches(SPACE);
    let form = Unread::Form("expected a decimal number");
    let value: f64 = number.parse().map_err(|_| form.of(Type::Double))?;
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let vanished = value == 0.0 && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    if value.is_finite() && !vanished { Ok(value) } else { Err(EvalError::OutOfRange("double precision")) }
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

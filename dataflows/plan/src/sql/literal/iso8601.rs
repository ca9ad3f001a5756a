//! Intervals in ISO 8601's forms: `P1Y2M3DT4H5M6.5S`, `P2W`, `P0001-02-03T04:05:06`, `P00010203T040506`. As
//! PostgreSQL reads them: units in any order, numbers with signs and exponents.

use super::Unread;
use super::interval::{HOUR_US, LARGE, MINUTE_US, Sum};

const FORM: Unread =
    Unread::Form("ISO 8601 writes an interval as P1Y2M3W4DT5H6M7S, in capitals, or as P0001-02-03T04:05:06");

/// A number, in whole and in part.
#[derive(Clone, Copy)]
struct Number<'t> {
    whole: i64,
    fraction: f64,
    text: &'t str,
}

impl Number<'_> {
    /// How many digits it begins with.
    fn width(&self) -> usize {
        let digits = self.text.strip_prefix('-').unwrap_or(self.text);
        digits.bytes().take_while(u8::is_ascii_digit).count()
    }
}

/// The number that a text begins with, and what follows.
fn number(text: &str) -> Result<(Number<'_>, &str), Unread> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = usize::from(text.starts_with('-'));
    let whole = digits(end);
    end += whole;
    let mut count = whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
            count += fraction;
        }
    }
    if count == 0 {
        return Err(FORM);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let (number, rest) = text.split_at(end);
    let value: f64 = number.parse().map_err(|_| FORM)?;
    if value.abs() > 1e15 {
        return Err(LARGE);
    }
    Ok((Number { whole: value.trunc() as i64, fraction: value - value.trunc(), text: number }, rest))
}

/// Reads an interval that begins with `P`.
pub(super) fn parse(text: &str) -> Result<Sum, Unread> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(FORM)?;
    let mut sum = Sum::default();
    let mut first = true;
    while !rest.is_empty() && !rest.starts_with('T') {
        let (n, after) = number(rest)?;
        match after.bytes().next() {
            Some(b'Y') => sum.add_years(n.whole, n.fraction, 1)?,
            Some(b'M') => sum.add_months(n.whole, n.fraction)?,
            Some(b'W') => sum.add_weeks(n.whole, n.fraction)?,
            Some(b'D') => sum.add_days(n.whole, n.fraction)?,
            None | Some(b'T' | b'-') if first => {
                rest = date(&mut sum, n, after)?;
                break;
            }
            _ => return Err(FORM),
        }
        rest = &after[1..];
        first = false;
    }
    match rest.strip_prefix('T') {
        Some(rest) => time(&mut sum, rest)?,
        None if rest.is_empty() => {}
        None => return Err(FORM),
    }
    Ok(sum)
}

/// `0001-02-03` or `00010203`, up to the time.
fn date<'t>(sum: &mut Sum, first: Number<'_>, after: &'t str) -> Result<&'t str, Unread> {
    if first.width() == 8 && !after.starts_with('-') {
        sum.add_years(first.whole / 10_000, 0.0, 1)?;
        sum.add_months(first.whole / 100 % 100, 0.0)?;
        sum.add_days(first.whole % 100, first.fraction)?;
        return Ok(after);
    }
    sum.add_years(first.whole, first.fraction, 1)?;
    let Some(after) = after.strip_prefix('-') else { return Ok(after) };
    let (months, after) = number(after)?;
    sum.add_months(months.whole, months.fraction)?;
    let Some(after) = after.strip_prefix('-') else { return Ok(after) };
    let (days, after) = number(after)?;
    sum.add_days(days.whole, days.fraction)?;
    Ok(after)
}

/// What stands behind `T`: `4H5M6S`, `04:05:06` or `040506`.
fn time(sum: &mut Sum, text: &str) -> Result<(), Unread> {
    const SECOND_US: i64 = 1_000_000;
    let mut rest = text;
    let mut first = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            (rest, first) = (after, true);
            continue;
        }
        let (n, after) = number(rest)?;
        match after.bytes().next() {
            Some(b'H') => sum.add_time(n.whole, n.fraction, HOUR_US)?,
            Some(b'M') => sum.add_time(n.whole, n.fraction, MINUTE_US)?,
            Some(b'S') => sum.add_time(n.whole, n.fraction, SECOND_US)?,
            None if first && n.width() == 6 => {
                sum.add_time(n.whole / 10_000, 0.0, HOUR_US)?;
                sum.add_time(n.whole / 100 % 100, 0.0, MINUTE_US)?;
                sum.add_time(n.whole % 100, 0.0, SECOND_US)?;
                return sum.add_fraction(n.fraction, 1);
            }
            None | Some(b':') if first => return clock(sum, n, after),
            _ => return Err(FORM),
        }
        rest = &after[1..];
        first = false;
    }
    Ok(())
}

/// `04`, `04:05` or `04:05:06`, to the end.
fn clock(sum: &mut Sum, hours: Number<'_>, after: &str) -> Result<(), Unread> {
    sum.add_time(hours.whole, hours.fraction, HOUR_US)?;
    let mut rest = after;
    for micros in [MINUTE_US, 1_000_000] {
        if rest.is_empty() {
            return Ok(());
        }
        let (n, after) = number(rest.strip_prefix(':').ok_or(FORM)?)?;
        sum.add_time(n.whole, n.fraction, micros)?;
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(FORM) }
}

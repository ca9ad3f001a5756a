//! Intervals in texts: `1 hour 30 minutes`, `1 day 02:03:04.5`, `1-2`, `@ 3 days ago`, and ISO 8601's `P1DT2H`.
//!
//! What is read, and as what, follows PostgreSQL's `interval` with `IntervalStyle` at `postgres`. Sums are kept in
//! microseconds, as there; the result is rounded to milliseconds, as `interval(3)` does it.

use super::fields::{self, Clock, Field, Kind, clock, leading_i32, leading_integer};
use super::{Unread, iso8601, words};
use crate::sql::calendar::Unit;
use crate::sql::expr::{EvalError, Type};

/// The bytes that PostgreSQL has for a text's fields.
const BYTES_MAX: usize = 256;

const FORM: Unread = Unread::Form(
    "expected numbers with units such as 7 days, a length such as 1 day 02:30:00, years-months such as 1-2, or ISO \
     8601 such as P1DT2H",
);
const UNIT: Unread = Unread::Form(
    "a unit is microseconds, milliseconds, seconds, minutes, hours, days, weeks, months, years, decades, centuries or \
     millennia",
);
const TWICE: Unread = Unread::Form("a unit stands twice in it; add the two up");
pub(super) const LARGE: Unread = Unread::Range("a part of it is too large");

/// Reads an interval: months, days, milliseconds. A last number without a unit is seconds.
pub fn parse_interval(text: &str) -> Result<(i32, i32, i64), EvalError> {
    read(text, Unit::Second).and_then(Sum::finish).map_err(|unread| unread.of(Type::Interval))
}

/// `INTERVAL '90' MINUTE`: the field is the unit of a last number that has none, and what is finer than it is cut off.
pub fn parse_interval_field(text: &str, field: Unit) -> Result<(i32, i32, i64), EvalError> {
    let sum = read(text, field).and_then(|sum| sum.cut(field)).and_then(Sum::finish);
    sum.map_err(|unread| unread.of(Type::Interval))
}

fn read(text: &str, unit: Unit) -> Result<Sum, Unread> {
    match words_and_numbers(text, unit) {
        Err(Unread::Form(why)) => iso8601::parse(text).map_err(|unread| match unread {
            Unread::Form(_) if !text.starts_with('P') => Unread::Form(why),
            unread => unread,
        }),
        read => read,
    }
}

fn words_and_numbers(text: &str, default: Unit) -> Result<Sum, Unread> {
    let fields = fields::split(text, BYTES_MAX)?;
    let mut sum = Sum::default();
    let mut said = Said::default();
    // From the end, so that the unit comes before its number.
    let mut unit = Some(default);
    let mut ago = false;
    for (index, field) in fields.iter().enumerate().rev() {
        match field.kind {
            Kind::Time => {
                sum.set_clock(&clock(&field.text)?, 1)?;
                said.add(Said::TIME)?;
                unit = Some(Unit::Day);
            }
            Kind::Signed if field.text.contains(':') && signed_clock(field, &mut sum).is_ok() => {
                said.add(Said::TIME)?;
                unit = Some(Unit::Day);
            }
            Kind::Signed | Kind::Date | Kind::Number => {
                let number = Number::parse(&field.text)?;
                let of = if number.is_months { Some(Unit::Month) } else { unit };
                said.add(sum.add(number, of.ok_or(FORM)?)?)?;
                // Before hours stand days: `1 2 hours`.
                unit = if of == Some(Unit::Hour) { Some(Unit::Day) } else { of };
            }
            Kind::Word if field.text == "ago" => {
                if index + 1 != fields.len() {
                    return Err(Unread::Form("ago stands at the end"));
                }
                ago = true;
                unit = None;
            }
            // A unit for no number, as there.
            Kind::Word if matches!(field.text.as_str(), "timezone" | "timezone_h" | "timezone_m") => unit = None,
            Kind::Word | Kind::SignedWord => unit = Some(words::unit(&field.text).ok_or(UNIT)?),
        }
    }
    if said == Said::default() {
        return Err(FORM);
    }
    if ago { sum.negated() } else { Ok(sum) }
}

fn signed_clock(field: &Field, sum: &mut Sum) -> Result<(), Unread> {
    let sign = if field.text.starts_with('-') { -1 } else { 1 };
    sum.set_clock(&clock(&field.text[1..])?, sign)
}

/// The units that a text has said something of.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
struct Said(u32);

impl Said {
    const SUBSECOND: Self = Self(1 | 1 << 1);
    const SECONDS: Self = Self(1 << 2);
    const TIME: Self = Self(1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);

    fn add(&mut self, other: Self) -> Result<(), Unread> {
        if self.0 & other.0 != 0 {
            return Err(TWICE);
        }
        self.0 |= other.0;
        Ok(())
    }
}

/// A number of an interval: `-1.5` is -1 and -0.5; `1-2` is 14 months.
struct Number {
    whole: i64,
    fraction: f64,
    is_months: bool,
}

impl Number {
    fn parse(text: &str) -> Result<Self, Unread> {
        let negative = text.starts_with('-');
        let (whole, rest) = leading_integer(text);
        let whole = whole.ok_or(LARGE)?;
        if let Some(months) = rest.strip_prefix('-') {
            let (months, rest) = leading_i32(months);
            let months = months.filter(|months| (0..12).contains(months));
            let months = months.ok_or(Unread::Range("in years-months the months are 0 to 11"))?;
            if !rest.is_empty() {
                return Err(FORM);
            }
            let months = if negative { -months } else { months };
            let whole = whole.checked_mul(12).and_then(|years| years.checked_add(months)).ok_or(LARGE)?;
            return Ok(Self { whole, fraction: 0.0, is_months: true });
        }
        let fraction = match rest.strip_prefix('.') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                format!("0.{digits}0").parse::<f64>().map_err(|_| FORM)?
            }
            None if rest.is_empty() => 0.0,
            Some(_) | None => return Err(FORM),
        };
        Ok(Self { whole, fraction: if negative { -fraction } else { fraction }, is_months: false })
    }
}

/// The parts of an interval's text so far.
#[derive(Default)]
pub(super) struct Sum {
    years: i32,
    months: i32,
    days: i32,
    micros: i64,
}

const SECOND_US: i64 = 1_000_000;
pub(super) const MINUTE_US: i64 = 60 * SECOND_US;
pub(super) const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;

/// `a * b + c` where it fits.
fn sum(number: i64, times: i32, sum: i32) -> Result<i32, Unread> {
    let number = i32::try_from(number).map_err(|_| LARGE)?;
    number.checked_mul(times).and_then(|product| product.checked_add(sum)).ok_or(LARGE)
}

impl Sum {
    /// Adds a number of units, and says which they are.
    fn add(&mut self, number: Number, unit: Unit) -> Result<Said, Unread> {
        let Number { whole, fraction, .. } = number;
        match unit {
            Unit::Microseconds => self.add_time(whole, fraction, 1)?,
            Unit::Milliseconds => self.add_time(whole, fraction, 1000)?,
            Unit::Second => {
                self.add_time(whole, fraction, SECOND_US)?;
                return Ok(if fraction == 0.0 { Said::SECONDS } else { Said(Said::SECONDS.0 | Said::SUBSECOND.0) });
            }
            Unit::Minute => self.add_time(whole, fraction, MINUTE_US)?,
            Unit::Hour => self.add_time(whole, fraction, HOUR_US)?,
            Unit::Day => self.add_days(whole, fraction)?,
            Unit::Week => self.add_weeks(whole, fraction)?,
            Unit::Month => self.add_months(whole, fraction)?,
            Unit::Year => self.add_years(whole, fraction, 1)?,
            Unit::Decade => self.add_years(whole, fraction, 10)?,
            Unit::Century => self.add_years(whole, fraction, 100)?,
            Unit::Millennium => self.add_years(whole, fraction, 1000)?,
            Unit::Quarter | Unit::Dow | Unit::Isodow | Unit::Doy | Unit::Isoyear | Unit::Julian | Unit::Epoch => {
                return Err(UNIT);
            }
        }
        Ok(match unit {
            Unit::Microseconds => Said(1),
            Unit::Milliseconds => Said(1 << 1),
            Unit::Minute => Said(1 << 3),
            Unit::Hour => Said(1 << 4),
            other => Said(1 << (5 + other as u32)),
        })
    }

    /// Adds units of `micros` microseconds; finer than those is rounded.
    pub(super) fn add_time(&mut self, whole: i64, fraction: f64, micros: i64) -> Result<(), Unread> {
        let product = whole.checked_mul(micros).and_then(|product| self.micros.checked_add(product));
        self.micros = product.ok_or(LARGE)?;
        self.add_fraction(fraction, micros)
    }

    /// Adds a fraction of `micros` microseconds: to the nearest, the one nearer to zero where two are as near.
    pub(super) fn add_fraction(&mut self, fraction: f64, micros: i64) -> Result<(), Unread> {
        let exact = fraction * micros as f64;
        let near = exact.trunc();
        let more = match exact - near {
            rest if rest > 0.5 => 1,
            rest if rest < -0.5 => -1,
            _ => 0,
        };
        self.micros = self.micros.checked_add(near as i64 + more).ok_or(LARGE)?;
        Ok(())
    }

    pub(super) fn add_days(&mut self, whole: i64, fraction: f64) -> Result<(), Unread> {
        self.days = sum(whole, 1, self.days)?;
        self.add_fraction(fraction, DAY_US)
    }

    pub(super) fn add_weeks(&mut self, whole: i64, fraction: f64) -> Result<(), Unread> {
        self.days = sum(whole, 7, self.days)?;
        self.add_part_of_days(fraction * 7.0)
    }

    /// Adds months; a month has 30 days where only a part of it is meant.
    pub(super) fn add_months(&mut self, whole: i64, fraction: f64) -> Result<(), Unread> {
        self.months = sum(whole, 1, self.months)?;
        self.add_part_of_days(fraction * 30.0)
    }

    /// Adds `each` years as often; a part of a year is whole months.
    pub(super) fn add_years(&mut self, whole: i64, fraction: f64, each: i32) -> Result<(), Unread> {
        self.years = sum(whole, each, self.years)?;
        let months = (fraction * f64::from(each) * 12.0).round_ties_even();
        self.months = sum(months as i64, 1, self.months)?;
        Ok(())
    }

    fn add_part_of_days(&mut self, days: f64) -> Result<(), Unread> {
        self.days = sum(days.trunc() as i64, 1, self.days)?;
        self.add_fraction(days - days.trunc(), DAY_US)
    }

    /// A length in hours, minutes and seconds. It takes the place of fractions of what stands behind it, as in
    /// PostgreSQL.
    fn set_clock(&mut self, clock: &Clock, sign: i64) -> Result<(), Unread> {
        let fraction: f64 = format!("0.{}0", clock.fraction).parse().map_err(|_| FORM)?;
        let parts = [(clock.hours, HOUR_US), (clock.minutes, MINUTE_US), (clock.seconds, SECOND_US)];
        let micros = parts.into_iter().try_fold((fraction * 1e6).round_ties_even() as i64, |sum, (number, micros)| {
            number.checked_mul(micros).and_then(|product| product.checked_add(sum))
        });
        self.micros = sign * micros.ok_or(LARGE)?;
        Ok(())
    }

    fn negated(self) -> Result<Self, Unread> {
        let negative = |n: i32| n.checked_neg().ok_or(LARGE);
        Ok(Self {
            years: negative(self.years)?,
            months: negative(self.months)?,
            days: negative(self.days)?,
            micros: self.micros.checked_neg().ok_or(LARGE)?,
        })
    }

    fn total_months(&self) -> Result<i32, Unread> {
        i32::try_from(i64::from(self.years) * 12 + i64::from(self.months)).map_err(|_| LARGE)
    }

    /// Without what is finer than a field of years to seconds. In microseconds, before anything is rounded.
    fn cut(self, field: Unit) -> Result<Self, Unread> {
        let micros = self.micros;
        Ok(match field {
            Unit::Year => Self { years: self.total_months()? / 12, ..Self::default() },
            Unit::Month => Self { days: 0, micros: 0, ..self },
            Unit::Day => Self { micros: 0, ..self },
            Unit::Hour => Self { micros: micros - micros % HOUR_US, ..self },
            Unit::Minute => Self { micros: micros - micros % MINUTE_US, ..self },
            Unit::Second
            | Unit::Microseconds
            | Unit::Milliseconds
            | Unit::Week
            | Unit::Quarter
            | Unit::Decade
            | Unit::Century
            | Unit::Millennium
            | Unit::Dow
            | Unit::Isodow
            | Unit::Doy
            | Unit::Isoyear
            | Unit::Julian
            | Unit::Epoch => self,
        })
    }

    fn finish(self) -> Result<(i32, i32, i64), Unread> {
        Ok((self.total_months()?, self.days, millis(self.micros).ok_or(LARGE)?))
    }
}

/// The nearest millisecond, away from zero where two are as near; `None` where an interval does not hold it.
pub fn millis(micros: i64) -> Option<i64> {
    let millis = micros / 1000 + micros % 1000 / 500;
    millis.checked_mul(1000).map(|_| millis)
}

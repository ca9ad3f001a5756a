//! The proleptic Gregorian calendar in UTC, over milliseconds since 1970: fields, truncation, months. Every function
//! is total: what falls outside the supported years is an error.
//!
//! Own arithmetic and not a calendar library's: these run per event, need no time zone, and must follow PostgreSQL's
//! rules for weeks, centuries and ends of months.

use super::expr::EvalError;
use super::literal;

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;
/// The supported instants, PostgreSQL's: from 4714-11-24 BC, which is Julian day 0, to the end of the year 294276.
const MIN_MS: i64 = -210_866_803_200_000;
const MAX_MS: i64 = 9_224_318_015_999_999;
/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;
/// The last Julian day that has a date in PostgreSQL.
pub const JULIAN_DAY_MAX: i64 = 2_147_483_493;

/// A calendar date and the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Astronomical year: 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// Milliseconds since midnight.
    pub millis: i64,
}

/// Checks that an instant is supported.
pub fn checked(ms: i64) -> Result<i64, EvalError> {
    if (MIN_MS..=MAX_MS).contains(&ms) { Ok(ms) } else { Err(EvalError::OutOfRange("timestamp")) }
}

/// Days since 1970-01-01 of a date; see Howard Hinnant, "chrono-compatible low-level date algorithms".
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date and time of an instant.
pub fn civil(ms: i64) -> Result<Civil, EvalError> {
    let ms = checked(ms)?;
    Ok(Civil { millis: ms.rem_euclid(DAY_MS), ..civil_of_day(ms.div_euclid(DAY_MS)) })
}

/// The date of a day since 1970-01-01.
pub fn civil_of_day(day: i64) -> Civil {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted + 2) / 5 + 1,
        millis: 0,
    }
}

/// The instant of a date and time.
pub fn instant(at: Civil) -> Result<i64, EvalError> {
    if !(-4_800..=294_300).contains(&at.year) {
        return Err(EvalError::OutOfRange("timestamp"));
    }
    checked(days_from_civil(at.year, at.month, at.day) * DAY_MS + at.millis)
}

/// How many days a month has.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// An instant plus months (a day past the month's end becomes its last), then days, then milliseconds.
pub fn add(ms: i64, months: i32, days: i32, millis: i64) -> Result<i64, EvalError> {
    let mut ms = checked(ms)?;
    if months != 0 {
        let at = civil(ms)?;
        let month0 = at.year * 12 + at.month - 1 + i64::from(months);
        let (year, month) = (month0.div_euclid(12), month0.rem_euclid(12) + 1);
        ms = instant(Civil { year, month, day: at.day.min(days_in_month(year, month)), ..at })?;
    }
    // Each step is checked, as there: what lies outside does not come back.
    let ms = checked(ms + i64::from(days) * DAY_MS)?;
    checked(ms.checked_add(millis).ok_or(EvalError::OutOfRange("timestamp"))?)
}

/// A unit of `date_trunc`, `date_part` and `extract`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 1/1,000,000 second
    Microseconds,
    /// 1/1,000 second
    Milliseconds,
    /// Second
    Second,
    /// Minute
    Minute,
    /// Hour
    Hour,
    /// Day of the month
    Day,
    /// ISO week
    Week,
    /// Month
    Month,
    /// Quarter
    Quarter,
    /// Year
    Year,
    /// Ten years
    Decade,
    /// A hundred years
    Century,
    /// A thousand years
    Millennium,
    /// Day of the week, Sunday is 0
    Dow,
    /// Day of the week, Monday is 1
    Isodow,
    /// Day of the year
    Doy,
    /// The year that the ISO week belongs to
    Isoyear,
    /// Days since 24 November 4714 BC, and the part of the day that has passed
    Julian,
    /// Seconds since 1970
    Epoch,
}

/// The names of units. PostgreSQL's short forms are known besides; see [`Unit::parse`].
pub const UNITS: &[(&str, Unit)] = &[
    ("microseconds", Unit::Microseconds),
    ("milliseconds", Unit::Milliseconds),
    ("second", Unit::Second),
    ("minute", Unit::Minute),
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("year", Unit::Year),
    ("decade", Unit::Decade),
    ("century", Unit::Century),
    ("millennium", Unit::Millennium),
    ("dow", Unit::Dow),
    ("isodow", Unit::Isodow),
    ("doy", Unit::Doy),
    ("isoyear", Unit::Isoyear),
    ("julian", Unit::Julian),
    ("epoch", Unit::Epoch),
];

impl Unit {
    /// The unit of a name: one of [`UNITS`], or a unit's name in an interval, such as `hours` or `min`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let named = UNITS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit);
        named.or_else(|| literal::unit(&name)).or_else(|| (name == "mm").then_some(Self::Minute))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        UNITS.iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
    }

    /// Whether `date_trunc` knows it.
    pub fn truncates(self) -> bool {
        !matches!(self, Self::Dow | Self::Isodow | Self::Doy | Self::Isoyear | Self::Julian | Self::Epoch)
    }

    /// Whether an interval has it.
    pub fn of_interval(self) -> bool {
        !matches!(self, Self::Dow | Self::Isodow | Self::Doy | Self::Isoyear | Self::Julian | Self::Week)
    }
}

/// `date_trunc`: the start of the unit that holds the instant.
pub fn truncate(unit: Unit, ms: i64) -> Result<i64, EvalError> {
    let width = match unit {
        Unit::Microseconds | Unit::Milliseconds => return checked(ms),
        Unit::Second => 1000,
        Unit::Minute => 60_000,
        Unit::Hour => 3_600_000,
        Unit::Day => DAY_MS,
        Unit::Week => {
            let day = ms.div_euclid(DAY_MS);
            return checked((day - (day + 3).rem_euclid(7)).saturating_mul(DAY_MS));
        }
        Unit::Month | Unit::Quarter | Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium => 0,
        Unit::Dow | Unit::Isodow | Unit::Doy | Unit::Isoyear | Unit::Julian | Unit::Epoch => {
            return Err(EvalError::InvalidCast("timestamp units"));
        }
    };
    if width > 0 {
        return checked(ms - checked(ms)?.rem_euclid(width));
    }
    let Civil { year, month, .. } = civil(ms)?;
    let (year, month) = match unit {
        Unit::Month => (year, month),
        Unit::Quarter => (year, month - (month - 1) % 3),
        Unit::Decade => (year.div_euclid(10) * 10, 1),
        // The first century and the first millennium start with the year 1.
        Unit::Century => ((year - 1).div_euclid(100) * 100 + 1, 1),
        Unit::Millennium => ((year - 1).div_euclid(1000) * 1000 + 1, 1),
        Unit::Year
        | Unit::Microseconds
        | Unit::Milliseconds
        | Unit::Second
        | Unit::Minute
        | Unit::Hour
        | Unit::Day
        | Unit::Week
        | Unit::Dow
        | Unit::Isodow
        | Unit::Doy
        | Unit::Isoyear
        | Unit::Julian
        | Unit::Epoch => (year, 1),
    };
    instant(Civil { year, month, day: 1, millis: 0 })
}

/// `date_part` of an instant.
pub fn part(unit: Unit, ms: i64) -> Result<f64, EvalError> {
    let at = civil(ms)?;
    let day = ms.div_euclid(DAY_MS);
    let in_minute = at.millis % 60_000;
    let whole = match unit {
        Unit::Microseconds => in_minute * 1000,
        Unit::Milliseconds => in_minute,
        Unit::Second => return Ok(in_minute as f64 / 1000.0),
        Unit::Epoch => return Ok(ms as f64 / 1000.0),
        Unit::Julian => return Ok((day + JULIAN_1970) as f64 + at.millis as f64 / DAY_MS as f64),
        Unit::Minute => at.millis / 60_000 % 60,
        Unit::Hour => at.millis / 3_600_000,
        Unit::Day => at.day,
        Unit::Week => iso_week(day, at.year).1,
        Unit::Isoyear => {
            let year = iso_week(day, at.year).0;
            if year <= 0 { year - 1 } else { year }
        }
        Unit::Month => at.month,
        Unit::Quarter => (at.month - 1) / 3 + 1,
        // There is no year 0: PostgreSQL counts 1 BC as -1.
        Unit::Year => at.year - i64::from(at.year <= 0),
        Unit::Decade => at.year.div_euclid(10),
        Unit::Century if at.year > 0 => (at.year + 99) / 100,
        Unit::Century => -((99 - (at.year - 1)) / 100),
        Unit::Millennium if at.year > 0 => (at.year + 999) / 1000,
        Unit::Millennium => -((999 - (at.year - 1)) / 1000),
        Unit::Dow => (day + 4).rem_euclid(7),
        Unit::Isodow => (day + 3).rem_euclid(7) + 1,
        Unit::Doy => day - days_from_civil(at.year, 1, 1) + 1,
    };
    Ok(whole as f64)
}

/// The ISO year and week of a day: week 1 holds the year's first Thursday.
fn iso_week(day: i64, year: i64) -> (i64, i64) {
    let first_monday = |y: i64| {
        let fourth = days_from_civil(y, 1, 4);
        fourth - (fourth + 3).rem_euclid(7)
    };
    let iso_year = if day < first_monday(year) {
        year - 1
    } else if day >= first_monday(year + 1) {
        year + 1
    } else {
        year
    };
    (iso_year, (day - first_monday(iso_year)) / 7 + 1)
}

/// `date_part` of an interval.
pub fn interval_part(unit: Unit, months: i32, days: i32, millis: i64) -> Result<f64, EvalError> {
    let (months, days) = (i64::from(months), i64::from(days));
    let in_minute = millis % 60_000;
    let whole = match unit {
        Unit::Microseconds => in_minute * 1000,
        Unit::Milliseconds => in_minute,
        Unit::Second => return Ok(in_minute as f64 / 1000.0),
        Unit::Epoch => {
            let years = (months / 12) as f64 * (365.25 * 86_400.0);
            return Ok(millis as f64 / 1000.0 + years + (months % 12 * 30 + days) as f64 * 86_400.0);
        }
        Unit::Minute => millis / 60_000 % 60,
        Unit::Hour => millis / 3_600_000,
        Unit::Day => days,
        Unit::Month => months % 12,
        Unit::Quarter => months % 12 / 3 + 1,
        Unit::Year => months / 12,
        Unit::Decade => months / 120,
        Unit::Century => months / 1200,
        Unit::Millennium => months / 12_000,
        Unit::Week | Unit::Dow | Unit::Isodow | Unit::Doy | Unit::Isoyear | Unit::Julian => {
            return Err(EvalError::InvalidCast("interval units"));
        }
    };
    Ok(whole as f64)
}

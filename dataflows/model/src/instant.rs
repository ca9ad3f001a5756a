//! Instants: milliseconds since the Unix epoch for what happened, and the dataflow's clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An instant in milliseconds since 1970-01-01T00:00:00Z; negative before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// Days in 400 years: then the calendar repeats, weekdays included.
pub(crate) const DAYS_IN_400_YEARS: i64 = 146_097;

/// Years of six digits or fewer, which [`Millis::parse_shown`] reads.
const YEAR_MAX: i64 = 999_999;

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not an RFC 3339 time with an offset, such as 2026-03-02T15:04:05.120Z")]
pub struct InstantError;

impl Millis {
    /// The earliest instant that has an RFC 3339 text: 0000-01-01T00:00:00Z.
    const EARLIEST: Self = Self(-62_167_219_200_000);
    /// The latest instant that has one: 9999-12-31T23:59:59.999Z.
    const LATEST: Self = Self(253_402_300_799_999);

    /// Parses an RFC 3339 time; digits past milliseconds are cut off, a leap second is the second before it.
    ///
    /// Written out here since every event has a time: a general parser is several times slower and takes what
    /// RFC 3339 does not (times without seconds, names of zones in brackets).
    pub fn parse_rfc3339(text: &str) -> Result<Self, InstantError> {
        let (date_time, rest) = text.as_bytes().split_first_chunk::<19>().ok_or(InstantError)?;
        parse_parts(date_time, rest).filter(|at| (Self::EARLIEST..=Self::LATEST).contains(at)).ok_or(InstantError)
    }

    /// Reads what `Display` wrote, instants beyond the years of RFC 3339 included.
    pub fn parse_shown(text: &str) -> Result<Self, InstantError> {
        let Some(rest) = text.strip_prefix(['+', '-']) else { return Self::parse_rfc3339(text) };
        let (year, rest) = rest.split_once('-').ok_or(InstantError)?;
        let year: i64 = year.parse().ok().filter(|year| *year <= YEAR_MAX).ok_or(InstantError)?;
        let year = if text.starts_with('-') { -year } else { year };
        // The calendar repeats every 400 years.
        let text = format!("{:04}-{}", year.rem_euclid(400), rest);
        let Self(ms) = Self::parse_rfc3339(&text)?;
        Ok(Self(ms + year.div_euclid(400) * DAYS_IN_400_YEARS * 86_400_000))
    }

    /// The pane (or any bucket) of `width_ms` that holds the instant: floor division, also before 1970.
    pub fn pane(self, width_ms: i64) -> i64 {
        self.0.div_euclid(width_ms)
    }
}

/// `YYYY-MM-DDTHH:MM:SS` and what follows it.
fn parse_parts(t: &[u8; 19], rest: &[u8]) -> Option<Millis> {
    let separators =
        t[4] == b'-' && t[7] == b'-' && matches!(t[10], b'T' | b't' | b' ') && t[13] == b':' && t[16] == b':';
    let (year, month, day) = (two(t[0], t[1])? * 100 + two(t[2], t[3])?, two(t[5], t[6])?, two(t[8], t[9])?);
    let (hour, minute, second) = (two(t[11], t[12])?, two(t[14], t[15])?, two(t[17], t[18])?);
    let in_range = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    if !separators || !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, offset) = match rest {
        [b'.', fraction @ ..] => fraction_millis(fraction)?,
        offset => (0, offset),
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59);
    Some(Millis((seconds - offset_seconds(offset)?) * 1000 + millis))
}

/// Two ASCII digits.
fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// The milliseconds of a fraction's digits (one at least), and what follows them.
fn fraction_millis(text: &[u8]) -> Option<(i64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let digit = |i: usize| digits.get(i).map_or(0, |b| i64::from(b - b'0'));
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), rest))
}

/// `Z` or `±HH:MM`, in seconds east of Greenwich.
fn offset_seconds(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            let seconds = hours * 3600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // The year starts in March, so that the leap day is its last.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_IN_400_YEARS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01 (`civil_from_days`, as above).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for Millis {
    /// RFC 3339 in UTC with exactly three fractional digits: always 24 characters for years 0 to 9999. Others have a sign
    /// and six digits, as ISO 8601 expands years: `+010000-01-01T00:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(86_400_000));
        if !(0..=9999).contains(&year) {
            let sign = if year < 0 { '-' } else { '+' };
            let within = Self(self.0 - year.div_euclid(400) * DAYS_IN_400_YEARS * 86_400_000).to_string();
            return write!(f, "{sign}{:06}{}", year.unsigned_abs(), &within[4..]);
        }
        let ms = self.0.rem_euclid(86_400_000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (place, width, number) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, ms / 3_600_000),
            (14, 2, ms / 60_000 % 60),
            (17, 2, ms / 1000 % 60),
            (20, 3, ms % 1000),
        ] {
            let mut rest = number;
            for digit in text[place..place + width].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The dataflow's timestamp: a clock reading in milliseconds and a step within that millisecond.
///
/// The clock is *the instant as of which the views are true*. The step lets several epochs share one
/// reading: on the event clock thousands of events carry the same instant, and they must become visible
/// without waiting for a later one (see `docs/decisions/`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockTime(pub u64);

/// Bits of a [`ClockTime`] below the milliseconds.
const STEP_BITS: u32 = 20;

impl ClockTime {
    /// The earliest time: 1970-01-01T00:00:00Z.
    pub const ZERO: Self = Self(0);

    /// The first step of a millisecond; readings before 1970 count as 1970, those after 2527 as the last one.
    pub fn at(clock: Millis) -> Self {
        Self((clock.0.max(0) as u64).min(u64::MAX >> STEP_BITS) << STEP_BITS)
    }

    /// The clock reading.
    pub fn clock(self) -> Millis {
        Millis((self.0 >> STEP_BITS) as i64)
    }

    /// The next time that is later than `self` and not before `clock`.
    pub fn next(self, clock: Millis) -> Self {
        Self::at(clock).max(Self(self.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// jiff ends 26 hours earlier, so that every zone can show its instants.
    const JIFF_LAST: i64 = 253_402_207_200_999;

    proptest! {
        #[test]
        fn agrees_with_jiff(ms in Millis::EARLIEST.0..=JIFF_LAST, offset in -1439_i64..=1439) {
            let at = jiff::Timestamp::from_millisecond(ms).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let text = Millis(ms).to_string();
            prop_assert_eq!(&text, &format!("{at:.3}"));
            prop_assert_eq!(Millis::parse_rfc3339(&text), Ok(Millis(ms)));
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            let shifted = text.replace('Z', &format!("{sign}{hours:02}:{minutes:02}"));
            let expected = Millis(ms - offset * 60_000);
            if (Millis::EARLIEST..=Millis::LATEST).contains(&expected) {
                prop_assert_eq!(Millis::parse_rfc3339(&shifted), Ok(expected));
            } else {
                prop_assert_eq!(Millis::parse_rfc3339(&shifted), Err(InstantError));
            }
        }

        #[test]
        fn takes_nothing_that_jiff_does_not(text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-5][0-9])") {
            if let Ok(Millis(ms)) = Millis::parse_rfc3339(&text) {
                let at: jiff::Timestamp = text.parse().map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
                prop_assert_eq!(at.as_nanosecond().div_euclid(1_000_000), i128::from(ms));
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,40}", ms in any::<i64>()) {
            let _ = Millis::parse_rfc3339(&text);
            let _ = Millis::parse_shown(&text);
            let _ = Millis(ms).to_string();
        }

        #[test]
        fn what_is_shown_is_read(ms in -200_000_000_000_000_i64..=9_224_318_015_999_999) {
            prop_assert_eq!(Millis::parse_shown(&Millis(ms).to_string()), Ok(Millis(ms)));
        }
    }

    #[test]
    fn the_bounds_are_the_calendars() {
        assert_eq!(JIFF_LAST, jiff::Timestamp::MAX.as_millisecond());
        assert_eq!(Millis::LATEST.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Millis(Millis::LATEST.0 + 1).to_string(), "+010000-01-01T00:00:00.000Z");
        assert_eq!(Millis(Millis::EARLIEST.0 - 1).to_string(), "-000001-12-31T23:59:59.999Z");
        assert_eq!(Millis::EARLIEST.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Millis::parse_rfc3339("0000-01-01T00:00:00+00:01"), Err(InstantError));
        assert_eq!(Millis::parse_rfc3339("9999-12-31T23:59:59.9999Z"), Ok(Millis::LATEST));
        assert_eq!(Millis::parse_rfc3339("9999-12-31T23:59:59-00:01"), Err(InstantError));
        assert_eq!(Millis::parse_rfc3339("2016-12-31T23:59:60Z"), Millis::parse_rfc3339("2016-12-31T23:59:59Z"));
        assert_eq!(ClockTime::at(Millis(i64::MAX)).clock(), Millis((1 << 44) - 1));
    }

    #[test]
    fn prints_and_parses() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-03-02T15:04:05.120Z", 1_772_463_845_120),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(Millis(ms).to_string(), text);
            assert_eq!(Millis::parse_rfc3339(text), Ok(Millis(ms)));
        }
        assert_eq!(Millis::parse_rfc3339("2026-03-02T09:04:05.1209-06:00"), Ok(Millis(1_772_463_845_120)));
        assert_eq!(Millis::parse_rfc3339("1969-12-31T23:59:59.9985Z"), Ok(Millis(-2)));
        for bad in [
            "",
            "2026-03-02",
            "2026-03-02T15:04:05",
            "yesterday",
            "2026-02-30T00:00:00Z",
            "2026-03-02T15:04:05.Z",
            "2026-03-02T15:04:05+24:00",
            "2026-03-02T15:04Z",
            "2026-03-02T24:00:00Z",
        ] {
            assert_eq!(Millis::parse_rfc3339(bad), Err(InstantError), "{bad}");
        }
    }

    #[test]
    fn panes_floor() {
        assert_eq!(Millis(-1).pane(1000), -1);
        assert_eq!(Millis(0).pane(1000), 0);
        assert_eq!(Millis(999).pane(1000), 0);
    }

    #[test]
    fn clock_times_step_within_a_millisecond() {
        let t = ClockTime::at(Millis(5));
        assert_eq!(t.next(Millis(5)).clock(), Millis(5));
        assert!(t.next(Millis(5)) > t);
        assert_eq!(t.next(Millis(9)), ClockTime::at(Millis(9)));
        assert_eq!(t.next(Millis(2)).clock(), Millis(5));
    }
}

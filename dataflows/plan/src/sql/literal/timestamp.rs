//! Timestamps in texts: `2026-03-02 15:04:05.12`, `20260302T150405Z`, `March 2, 2026 3:04 PM America/New_York`.
//!
//! What is read, and as what, follows PostgreSQL's `timestamptz` with the session's time zone at UTC and `DateStyle` at
//! `ISO, MDY`: fields from left to right, each of which says something that no field before it said. Left out on
//! purpose: what depends on when it is read (`now`, `today`), infinite times, abbreviations of time zones except those
//! of UTC, and zones written as rules (`UTC+3`).

use super::fields::{self, Field, Kind, clock, leading_i32};
use super::words::{self, Label, Word};
use super::{SPACE, Unread};
use crate::sql::calendar::{self, Civil, DAY_MS};
use crate::sql::expr::{EvalError, Type};
use crate::sql::zone;
use jiff::tz::TimeZone;

/// The bytes that PostgreSQL has for a text's fields.
const BYTES_MAX: usize = 153;

/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;

/// What fields have said so far, and what one says: a set of bits.
type Said = u32;
const YEAR: Said = 1;
const MONTH: Said = 1 << 1;
const DAY: Said = 1 << 2;
const DATE: Said = YEAR | MONTH | DAY;
const DAY_OF_YEAR: Said = 1 << 3;
const HOUR: Said = 1 << 4;
const MINUTE: Said = 1 << 5;
const SECOND: Said = 1 << 6;
const FRACTION: Said = 1 << 7;
const TIME: Said = HOUR | MINUTE | SECOND | FRACTION;
const ZONE: Said = 1 << 8;
const DAYLIGHT: Said = 1 << 9;
const HALF: Said = 1 << 10;
const ERA: Said = 1 << 11;
const WEEKDAY: Said = 1 << 12;
const SPECIAL: Said = 1 << 13;

const LARGE: Unread = Unread::Range("a number in it is too large");
const TWICE: Unread = Unread::Form("two parts of it say the same, such as two years or two times of day");
const MIXED: Unread = Unread::Form("a part of it is no date, time of day, time zone or name of a month");
const LABEL: Unread = Unread::Form("a letter before a number is y, m, d, h, mm, s or j");
const TIME_OF_DAY: Unread = Unread::Form("a time of day is 15:04, 15:04:05.12 or, without colons, 1504 or 150405");

/// Reads a timestamp; UTC where it names no zone. Digits past milliseconds are cut off, as in events' times.
pub(super) fn parse(text: &str) -> Result<i64, EvalError> {
    if let Some(ms) = common(text.as_bytes()) {
        return Ok(ms);
    }
    general(text).map_err(|unread| unread.of(Type::Timestamp))
}

/// The form that nearly all texts have, `2026-03-02T15:04:05.12Z`, with a space, an offset and without the time too;
/// `None` for every other text, right or wrong. Several times quicker than the general way.
fn common(text: &[u8]) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        text.get(range)?.iter().try_fold(0_i64, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    let is = |at: usize, wanted: u8| text.get(at) == Some(&wanted);
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let dated = is(4, b'-') && is(7, b'-') && year >= 1 && (1..=12).contains(&month);
    if !dated || !(1..=calendar::days_in_month(year, month)).contains(&day) {
        return None;
    }
    let days = calendar::days_from_civil(year, month, day);
    if text.len() == 10 {
        return Some(days * DAY_MS);
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let timed = matches!(text[10], b' ' | b'T' | b't') && is(13, b':') && is(16, b':');
    if !timed || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = text[19..].strip_prefix(b".");
    let digits = fraction.map_or(0, |rest| rest.iter().take_while(|c| c.is_ascii_digit()).count());
    let zone_at = 19 + fraction.map_or(0, |_| 1 + digits);
    let millis = (0..3).fold(0, |ms, i| ms * 10 + if i < digits { i64::from(text[20 + i] - b'0') } else { 0 });
    let east_minutes = match text.get(zone_at..)? {
        b"" | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(zone_at + 1..zone_at + 3)?, number(zone_at + 4..zone_at + 6)?);
            if hours > 15 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some(days * DAY_MS + ((hour * 60 + minute - east_minutes) * 60 + second) * 1000 + millis)
}

fn general(text: &str) -> Result<i64, Unread> {
    let fields = fields::split(text.trim_matches(SPACE), BYTES_MAX)?;
    let mut reader = Reader::default();
    for (index, field) in fields.iter().enumerate() {
        let said = reader.field(field, fields.get(index + 1))?;
        if said & reader.said != 0 {
            return Err(TWICE);
        }
        reader.said |= said;
    }
    reader.finish()
}

/// What the fields so far have said.
#[derive(Default)]
struct Reader {
    said: Said,
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
    /// Seconds east of Greenwich.
    east_s: i64,
    zone: Option<TimeZone>,
    /// The label that the next number stands under.
    label: Option<Label>,
    /// The month was a name.
    named_month: bool,
    /// The year had one or two digits.
    short_year: bool,
    julian: bool,
    before_christ: bool,
    /// Noon or after.
    afternoon: Option<bool>,
    epoch: bool,
}

/// The milliseconds of a fraction's digits; what is finer is cut off.
fn millis_of(digits: &str) -> i64 {
    digits.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit.saturating_sub(b'0')))
}

/// The milliseconds of `.123`, or of nothing.
fn fraction(text: &str) -> Result<i64, Unread> {
    match text.strip_prefix('.') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(millis_of(digits)),
        None if text.is_empty() => Ok(0),
        Some(_) | None => Err(MIXED),
    }
}

/// `+05:30`, `-0600`, `+5`, `+05:30:15`: seconds east of Greenwich.
fn offset(text: &str) -> Result<i64, Unread> {
    const RANGE: Unread = Unread::Range("an offset from UTC is below 16 hours, its minutes and seconds below 60");
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(MIXED),
    };
    let (hours, mut rest) = leading_i32(&text[1..]);
    let (mut hours, mut minutes, mut seconds) = (hours.ok_or(RANGE)?, 0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        let (found, after) = leading_i32(after);
        (minutes, rest) = (found.ok_or(RANGE)?, after);
        if let Some(after) = rest.strip_prefix(':') {
            let (found, after) = leading_i32(after);
            (seconds, rest) = (found.ok_or(RANGE)?, after);
        }
    } else if rest.is_empty() && text.len() > 3 {
        (hours, minutes) = (hours / 100, hours % 100);
    }
    if !(0..=15).contains(&hours) || !(0..60).contains(&minutes) || !(0..60).contains(&seconds) {
        return Err(RANGE);
    }
    if rest.is_empty() { Ok(sign * ((hours * 60 + minutes) * 60 + seconds)) } else { Err(MIXED) }
}

/// The zone of a name in the IANA database.
fn named_zone(name: &str) -> Result<TimeZone, Unread> {
    const UNKNOWN: Unread = Unread::Form(
        "a time zone is Z, UTC, an offset such as -06:00 or an IANA name such as America/Mexico_City; other \
         abbreviations and rules are not read",
    );
    if words::is_ambiguous_zone(name) {
        return Err(UNKNOWN);
    }
    TimeZone::get(name).map_err(|_| UNKNOWN)
}

impl Reader {
    fn has(&self, parts: Said) -> bool {
        self.said & parts == parts
    }

    /// What a field says.
    fn field(&mut self, field: &Field, next: Option<&Field>) -> Result<Said, Unread> {
        match field.kind {
            Kind::Date => self.date_or_zone(&field.text),
            Kind::Time => {
                if self.label.take().is_some_and(|label| label != Label::Time) {
                    return Err(LABEL);
                }
                self.time(&field.text)
            }
            Kind::Signed => {
                self.east_s = offset(&field.text)?;
                Ok(ZONE)
            }
            Kind::Number => match self.label.take() {
                Some(label) => self.labelled(label, &field.text),
                None => self.number(&field.text),
            },
            Kind::Word | Kind::SignedWord => self.word(&field.text, next),
        }
    }

    /// A date; after one, a zone's name or a time of day without colons and its offset: `150405-06`.
    fn date_or_zone(&mut self, text: &str) -> Result<Said, Unread> {
        if self.label == Some(Label::JulianDay) {
            self.label = None;
            let (day, zone) = leading_i32(text);
            self.julian_day(day.ok_or(LARGE)?)?;
            self.east_s = offset(zone)?;
            return Ok(DATE | TIME | ZONE);
        }
        if self.label.is_none() && !self.has(MONTH | DAY) {
            return self.date(text);
        }
        if self.label.is_none() && !text.starts_with(|c: char| c.is_ascii_digit()) {
            self.zone = Some(named_zone(text)?);
            return Ok(ZONE);
        }
        if self.label.take().is_some_and(|label| label != Label::Time) {
            return Err(LABEL);
        }
        let zone_at = text.find('-').filter(|_| !self.has(TIME)).ok_or(TWICE)?;
        self.east_s = offset(&text[zone_at..])?;
        Ok(self.run_together(&text[..zone_at], self.said)? | ZONE)
    }

    /// `2026-03-02`, `3/2/2026`, `2-Mar-26`, `2026.061`: parts between separators, a month's name perhaps.
    fn date(&mut self, text: &str) -> Result<Said, Unread> {
        let parts = date_parts(text)?;
        let mut said = self.said;
        let mut new = 0;
        let mut named = false;
        let mut add = |said: &mut Said, one: Said| {
            new |= one;
            let twice = *said & one != 0;
            *said |= one;
            if twice { Err(TWICE) } else { Ok(()) }
        };
        for part in parts.iter().filter(|part| part.starts_with(|c: char| c.is_ascii_alphabetic())) {
            match words::of_time(part) {
                Some(Word::Month(month)) => self.month = month,
                _ => return Err(MIXED),
            }
            named = true;
            add(&mut said, MONTH)?;
        }
        for part in parts.iter().filter(|part| !part.starts_with(|c: char| c.is_ascii_alphabetic())) {
            let one = self.date_number(part, named, said)?;
            add(&mut said, one)?;
        }
        if said & !(DAY_OF_YEAR | ZONE) == DATE {
            Ok(new)
        } else {
            Err(Unread::Form("a date is a year, a month and a day: 2026-03-02, 3/2/2026 or 2-Mar-2026"))
        }
    }

    /// A number of a date, by its place: month, day, year, or year, month, day where the first has three digits or more.
    fn date_number(&mut self, text: &str, named_month: bool, said: Said) -> Result<Said, Unread> {
        let (number, rest) = leading_i32(text);
        let number = number.ok_or(LARGE)?;
        let whole = text.len() - rest.len();
        if whole == 0 {
            return Err(MIXED);
        }
        if rest.starts_with('.') && whole > 2 {
            return self.run_together(text, said | DATE);
        }
        if rest.starts_with('.') {
            self.millis = fraction(rest)?;
        } else if !rest.is_empty() {
            return Err(MIXED);
        }
        let date = said & DATE;
        if text.len() == 3 && date == YEAR && (1..=366).contains(&number) {
            self.day_of_year = number;
            return Ok(DAY_OF_YEAR | MONTH | DAY);
        }
        let long = text.len() >= 3;
        let part = match date {
            0 if long => YEAR,
            0 | YEAR | DAY => MONTH,
            MONTH if named_month && long => YEAR,
            MONTH => DAY,
            _ if date == YEAR | MONTH => {
                // The number before was the day after all: 2-Mar-2026.
                if named_month && long && self.short_year {
                    self.day = self.year;
                    self.year = number;
                    self.short_year = false;
                    return Ok(DAY);
                }
                DAY
            }
            _ if date == MONTH | DAY => YEAR,
            DATE => return self.run_together(text, said),
            _ => return Err(MIXED),
        };
        match part {
            YEAR => {
                self.year = number;
                self.short_year = text.len() <= 2;
            }
            MONTH => self.month = number,
            _ => self.day = number,
        }
        Ok(part)
    }

    /// Digits without separators: a date, `20260302`, or a time of day, `150405.12`.
    fn run_together(&mut self, text: &str, said: Said) -> Result<Said, Unread> {
        let number = |digits: &str| if digits.is_empty() { Ok(0) } else { leading_i32(digits).0.ok_or(LARGE) };
        let (digits, after) = text.split_at(text.find('.').unwrap_or(text.len()));
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MIXED);
        }
        let length = digits.len();
        if !after.is_empty() {
            self.millis = fraction(after)?;
        } else if said & DATE != DATE && length >= 6 {
            self.day = number(&digits[length - 2..])?;
            self.month = number(&digits[length - 4..length - 2])?;
            self.year = number(&digits[..length - 4])?;
            self.short_year = length == 6 || self.short_year;
            return Ok(DATE);
        }
        if said & TIME == TIME || !matches!(length, 4 | 6) {
            return Err(TIME_OF_DAY);
        }
        self.hour = number(&digits[..2])?;
        self.minute = number(&digits[2..4])?;
        self.second = number(&digits[4..])?;
        Ok(TIME)
    }

    fn time(&mut self, text: &str) -> Result<Said, Unread> {
        let clock = clock(text)?;
        let fraction = clock.fraction.bytes().any(|b| b != b'0');
        let seconds = clock.hours.saturating_mul(3600).saturating_add(clock.minutes * 60 + clock.seconds);
        if seconds > 86_400 || seconds == 86_400 && fraction {
            return Err(Unread::Range("a day ends at 24:00:00"));
        }
        (self.hour, self.minute, self.second) = (clock.hours, clock.minutes, clock.seconds);
        self.millis = millis_of(&clock.fraction);
        Ok(TIME)
    }

    /// A number after a letter that says what it is: `y2026 m03 d02`, `J2461102`, `T150405`.
    fn labelled(&mut self, label: Label, text: &str) -> Result<Said, Unread> {
        let (number, rest) = leading_i32(text);
        let number = number.ok_or(LARGE)?;
        let fractional = matches!(label, Label::JulianDay | Label::Time | Label::Second);
        if !(rest.is_empty() || fractional && rest.starts_with('.')) {
            return Err(LABEL);
        }
        let (place, said) = match label {
            Label::Year => (&mut self.year, YEAR),
            Label::Month if self.said & (MONTH | HOUR) == MONTH | HOUR => (&mut self.minute, MINUTE),
            Label::Month => (&mut self.month, MONTH),
            Label::Day => (&mut self.day, DAY),
            Label::Hour => (&mut self.hour, HOUR),
            Label::Minute => (&mut self.minute, MINUTE),
            Label::Second => {
                if !rest.is_empty() {
                    self.millis = fraction(rest)?;
                }
                (&mut self.second, if rest.is_empty() { SECOND } else { SECOND | FRACTION })
            }
            Label::JulianDay => {
                self.julian_day(number)?;
                return if rest.is_empty() { Ok(DATE) } else { self.part_of_day(rest).map(|()| DATE | TIME) };
            }
            Label::Time => {
                let said = self.run_together(text, self.said | DATE)?;
                return if said == TIME { Ok(TIME) } else { Err(TIME_OF_DAY) };
            }
            Label::Other => return Err(LABEL),
        };
        *place = number;
        Ok(said)
    }

    fn julian_day(&mut self, day: i64) -> Result<(), Unread> {
        if !(0..=calendar::JULIAN_DAY_MAX).contains(&day) {
            return Err(LARGE);
        }
        let civil = calendar::civil_of_day(day - JULIAN_1970);
        (self.year, self.month, self.day) = (civil.year, civil.month, civil.day);
        self.julian = true;
        Ok(())
    }

    /// The fraction of a Julian day, from midnight.
    fn part_of_day(&mut self, fraction: &str) -> Result<(), Unread> {
        let digits = fraction.strip_prefix('.').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let part: f64 = format!("0.{}0", digits.ok_or(LABEL)?).parse().map_err(|_| LABEL)?;
        // Through microseconds, as PostgreSQL counts.
        let millis = (part * 86_400_000_000.0) as i64 / 1000;
        (self.hour, self.minute) = (millis / 3_600_000, millis / 60_000 % 60);
        (self.second, self.millis) = (millis / 1000 % 60, millis % 1000);
        Ok(())
    }

    /// A number that stands alone.
    fn number(&mut self, text: &str) -> Result<Said, Unread> {
        let point = text.find('.');
        match point {
            Some(_) if self.said & DATE == 0 => self.date(text),
            Some(at) if at > 2 => self.run_together(text, self.said),
            _ if text.len() >= 6 && (self.said & DATE == 0 || self.said & TIME == 0) => {
                self.run_together(text, self.said)
            }
            _ => self.date_number(text, self.named_month, self.said),
        }
    }

    fn word(&mut self, text: &str, next: Option<&Field>) -> Result<Said, Unread> {
        if words::is_utc(text) {
            self.east_s = 0;
            return Ok(ZONE);
        }
        let Some(word) = words::of_time(text) else {
            self.zone = Some(named_zone(text)?);
            return Ok(ZONE);
        };
        Ok(match word {
            Word::Month(month) => {
                let was_day = self.said & (MONTH | DAY) == MONTH && !self.named_month && (1..=31).contains(&self.month);
                if was_day {
                    self.day = self.month;
                }
                self.named_month = true;
                self.month = month;
                if was_day { DAY } else { MONTH }
            }
            Word::Weekday => WEEKDAY,
            Word::Filler => 0,
            Word::Am | Word::Pm => {
                self.afternoon = Some(word == Word::Pm);
                HALF
            }
            Word::Era { before } => {
                self.before_christ = before;
                ERA
            }
            Word::TimeFollows => {
                let follows = next.is_some_and(|next| matches!(next.kind, Kind::Number | Kind::Time | Kind::Date));
                if !self.has(DATE) || !follows {
                    return Err(Unread::Form("T stands between a date and a time of day"));
                }
                self.label = Some(Label::Time);
                0
            }
            Word::Label(label) => {
                self.label = Some(label);
                0
            }
            Word::Daylight => {
                self.east_s += 3600;
                DAYLIGHT
            }
            Word::Midnight => {
                (self.hour, self.minute, self.second, self.millis) = (0, 0, 0, 0);
                self.east_s = 0;
                TIME | ZONE
            }
            Word::Epoch => {
                self.epoch = true;
                SPECIAL
            }
            Word::Infinite => return Err(Unread::Range("infinite times are not read")),
            Word::Relative => {
                return Err(Unread::Form("now, today and the like mean another instant at every reading"));
            }
        })
    }

    /// The instant that the fields say together.
    fn finish(mut self) -> Result<i64, Unread> {
        if self.label.is_some() {
            return Err(LABEL);
        }
        self.settle_date()?;
        if let Some(afternoon) = self.afternoon {
            if self.hour > 12 {
                return Err(Unread::Range("with AM or PM the hour is at most 12"));
            }
            self.hour = self.hour % 12 + if afternoon { 12 } else { 0 };
        }
        if self.epoch {
            return Ok(0);
        }
        if !self.has(DATE) {
            return Err(Unread::Form("it has no year, month and day"));
        }
        let out = Unread::Range("a timestamp is from 4714-11-24 BC to the year 294276");
        if !(-4_713..=294_277).contains(&self.year) {
            return Err(out);
        }
        let seconds = (self.hour * 60 + self.minute) * 60 + self.second;
        let days = calendar::days_from_civil(self.year, self.month, self.day);
        let local = days * DAY_MS + seconds * 1000 + self.millis;
        if self.has(DAYLIGHT) && (self.zone.is_some() || !self.has(ZONE)) {
            return Err(Unread::Form("DST stands after UTC or an offset"));
        }
        let east_ms = match &self.zone {
            Some(zone) => zone::offset_ms(zone, local),
            None => self.east_s * 1000,
        };
        calendar::checked(local - east_ms).map_err(|_| out)
    }

    /// Completes the year, turns a day of the year into month and day, and checks them.
    fn settle_date(&mut self) -> Result<(), Unread> {
        if self.has(YEAR) && !self.julian {
            if self.before_christ || !self.short_year {
                if self.year <= 0 {
                    return Err(Unread::Range("there is no year 0"));
                }
                if self.before_christ {
                    self.year = 1 - self.year;
                }
            } else if self.year < 100 {
                self.year += if self.year < 70 { 2000 } else { 1900 };
            }
        }
        if self.has(DAY_OF_YEAR) {
            if self.year > 300_000 {
                return Err(LARGE);
            }
            let day = calendar::days_from_civil(self.year, 1, 1) + self.day_of_year - 1;
            let Civil { year, month, day, .. } = calendar::civil_of_day(day);
            (self.year, self.month, self.day) = (year, month, day);
        }
        if self.has(MONTH) && !(1..=12).contains(&self.month) {
            return Err(Unread::Range("a month is 1 to 12; a date such as 3/2/2026 begins with the month"));
        }
        let days = if self.has(DATE) { calendar::days_in_month(self.year, self.month) } else { 31 };
        if self.has(DAY) && !(1..=days).contains(&self.day) {
            return Err(Unread::Range("the month has no such day"));
        }
        Ok(())
    }
}

/// The parts of a date. One character after each is a separator, whatever it is, as in PostgreSQL.
fn date_parts(text: &str) -> Result<Vec<&str>, Unread> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let Some(first) = rest.bytes().next() else { return Err(MIXED) };
        let same = |b: &u8| if first.is_ascii_digit() { b.is_ascii_digit() } else { b.is_ascii_alphabetic() };
        let (part, after) = rest.split_at(rest.bytes().take_while(same).count());
        parts.push(part);
        rest = after.get(1..).unwrap_or_default();
    }
    Ok(parts)
}

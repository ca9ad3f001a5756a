//! Words in texts of times and intervals: months, days, units and what else PostgreSQL knows by name.

use crate::sql::calendar::Unit;

/// A word in a text of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// `march`
    Month(i64),
    /// `monday`: says nothing new.
    Weekday,
    /// `am`
    Am,
    /// `pm`
    Pm,
    /// `ad`, `bc`
    Era {
        /// Whether years count backwards.
        before: bool,
    },
    /// `at`, `on`
    Filler,
    /// `t`: the time of day follows.
    TimeFollows,
    /// `y`, `m`, `d`, `h`, `mm`, `s`, `j`: says what the next number is.
    Label(Label),
    /// `dst`: an hour more.
    Daylight,
    /// `allballs`: midnight in UTC.
    Midnight,
    /// `epoch`: 1970.
    Epoch,
    /// `infinity`, and `-infinity`
    Infinite,
    /// `now`, `today`, `tomorrow`, `yesterday`: another instant whenever it is read.
    Relative,
}

/// What a number after a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// Days since 24 November 4714 BC.
    JulianDay,
    /// A time of day without colons, after `t`.
    Time,
    /// Nothing that a number can be: `dow`, `doy`, …
    Other,
}

/// The word of a text in lower case.
pub(super) fn of_time(text: &str) -> Option<Word> {
    Some(match text {
        "jan" | "january" => Word::Month(1),
        "feb" | "february" => Word::Month(2),
        "mar" | "march" => Word::Month(3),
        "apr" | "april" => Word::Month(4),
        "may" => Word::Month(5),
        "jun" | "june" => Word::Month(6),
        "jul" | "july" => Word::Month(7),
        "aug" | "august" => Word::Month(8),
        "sep" | "sept" | "september" => Word::Month(9),
        "oct" | "october" => Word::Month(10),
        "nov" | "november" => Word::Month(11),
        "dec" | "december" => Word::Month(12),
        "mon" | "monday" | "tue" | "tues" | "tuesday" | "wed" | "weds" | "wednesday" | "thu" | "thur" | "thurs"
        | "thursday" | "fri" | "friday" | "sat" | "saturday" | "sun" | "sunday" => Word::Weekday,
        "am" => Word::Am,
        "pm" => Word::Pm,
        "ad" => Word::Era { before: false },
        "bc" => Word::Era { before: true },
        "at" | "on" => Word::Filler,
        "t" => Word::TimeFollows,
        "y" => Word::Label(Label::Year),
        "m" => Word::Label(Label::Month),
        "d" => Word::Label(Label::Day),
        "h" => Word::Label(Label::Hour),
        "mm" => Word::Label(Label::Minute),
        "s" => Word::Label(Label::Second),
        "j" | "jd" | "julian" => Word::Label(Label::JulianDay),
        "dow" | "doy" | "isodow" | "isoyear" => Word::Label(Label::Other),
        "dst" => Word::Daylight,
        "allballs" => Word::Midnight,
        "epoch" => Word::Epoch,
        "infinity" | "-infinity" => Word::Infinite,
        "now" | "today" | "tomorrow" | "yesterday" => Word::Relative,
        _ => return None,
    })
}

/// Whether a word is one of UTC's names, the only abbreviations of time zones that are read.
pub(super) fn is_utc(text: &str) -> bool {
    matches!(text, "z" | "zulu" | "utc" | "gmt" | "uct" | "ut")
}

/// Names of the IANA database that are abbreviations too: which of the two is meant depends on settings in PostgreSQL.
pub(super) fn is_ambiguous_zone(text: &str) -> bool {
    matches!(text, "cet" | "eet" | "est" | "hst" | "met" | "mst" | "wet")
}

/// The unit of a word in an interval. Of longer words the first ten letters count, as in PostgreSQL.
pub fn unit(text: &str) -> Option<Unit> {
    Some(match text.get(..10).unwrap_or(text) {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" => Unit::Microseconds,
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" => Unit::Milliseconds,
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "qtr" | "quarter" => Unit::Quarter,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        _ => return None,
    })
}

//! Texts that become values by a cast: what PostgreSQL 15 makes of them (as `timestamptz` with the session in UTC, and
//! `interval(3)`), and what is refused, in words that help.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aulaflow_plan::sql::compile_scalar;
use aulaflow_plan::sql::expr::{EvalError, Row, Type, Value};
use std::borrow::Cow;

/// A text, and what it is as a value.
type Case = (&'static str, &'static str);

/// A row with one text.
struct Text<'t>(&'t str);

impl Row for Text<'_> {
    fn column(&self, _: usize) -> Value<'_> {
        Value::Text(Cow::Borrowed(self.0))
    }
}

/// What an expression over the text `x` gives for a row.
fn evaluated(expression: &str, text: &str) -> Result<Option<String>, EvalError> {
    let compiled = compile_scalar(expression, &[("x".to_owned(), Type::Text)]).unwrap();
    compiled.eval(&Text(text)).map(|value| value.to_text())
}

/// The message and the help line for a constant that is refused.
fn refused(expression: &str) -> (String, String) {
    let faults = compile_scalar(expression, &[]).unwrap_err();
    (faults[0].message.clone(), faults[0].help.clone().unwrap_or_default())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// As a literal, by a cast when the expression is compiled, and by casts for each row.
fn check(ty: &str, cases: &[Case]) {
    for (text, expected) in cases {
        let expected = Ok(Some((*expected).to_owned()));
        assert_eq!(evaluated(&format!("CAST(x AS {ty})"), text), expected, "{text}");
        assert_eq!(evaluated(&format!("TRY_CAST(x AS {ty})"), text), expected, "{text}");
        assert_eq!(evaluated(&format!("{ty} {}", quoted(text)), text), expected, "{text}");
        assert_eq!(evaluated(&format!("{}::{ty}", quoted(text)), text), expected, "{text}");
    }
}

/// An error by CAST, NULL by TRY_CAST, a fault as a constant.
fn check_refused(ty: &str, texts: &[&str]) {
    for text in texts {
        let error = evaluated(&format!("CAST(x AS {ty})"), text).expect_err(text);
        assert!(matches!(error, EvalError::InvalidText { .. }), "{text}: {error}");
        assert_eq!(evaluated(&format!("TRY_CAST(x AS {ty})"), text), Ok(None), "{text}");
        let (message, _) = refused(&format!("{ty} {}", quoted(text)));
        assert_eq!(message, format!("invalid input syntax for type {ty}: \"{text}\""));
    }
}

const TIMESTAMPS: &[Case] = &[
    ("2026-03-02 15:04:05", "2026-03-02 15:04:05"),
    ("2026-03-02 24:00:00", "2026-03-03 00:00:00"),
    ("2026-03-02 23:59:60", "2026-03-03 00:00:00"),
    ("20260302", "2026-03-02 00:00:00"),
    ("20260302T150405", "2026-03-02 15:04:05"),
    ("2026/03/02", "2026-03-02 00:00:00"),
    ("March 2, 2026", "2026-03-02 00:00:00"),
    ("2026-03-02 3:04 PM", "2026-03-02 15:04:00"),
    ("2026-03-02T15:04:05.12Z", "2026-03-02 15:04:05.12"),
    ("2026-03-02t15:04:05z", "2026-03-02 15:04:05"),
    ("2026-03-02 15:04", "2026-03-02 15:04:00"),
    ("2026-3-2 5:04", "2026-03-02 05:04:00"),
    ("3/2/2026", "2026-03-02 00:00:00"),
    ("03-02-2026", "2026-03-02 00:00:00"),
    ("3/2/26", "2026-03-02 00:00:00"),
    ("2-Mar-2026", "2026-03-02 00:00:00"),
    ("Mar-02-2026", "2026-03-02 00:00:00"),
    ("2026-Mar-02", "2026-03-02 00:00:00"),
    ("2 March 2026 at 15:04", "2026-03-02 15:04:00"),
    ("Monday, March 2, 2026", "2026-03-02 00:00:00"),
    ("260302", "2026-03-02 00:00:00"),
    ("2026.061", "2026-03-02 00:00:00"),
    ("2026-061", "2026-03-02 00:00:00"),
    ("J2461102", "2026-03-02 00:00:00"),
    ("J2461102.5", "2026-03-02 12:00:00"),
    ("y2026m03d02", "2026-03-02 00:00:00"),
    ("20260302 150405.678", "2026-03-02 15:04:05.678"),
    ("2026-03-02 1504", "2026-03-02 15:04:00"),
    ("2026-03-02 12:00 AM", "2026-03-02 00:00:00"),
    ("2026-03-02 12:30 pm", "2026-03-02 12:30:00"),
    ("2026-03-02 04:05.5", "2026-03-02 00:04:05.5"),
    ("20260302T150405-0600", "2026-03-02 21:04:05"),
    ("2026-03-02 15:04:05 +05:30", "2026-03-02 09:34:05"),
    ("2026-03-02 15:04:05-06", "2026-03-02 21:04:05"),
    ("2026-03-02 15:04:05+05:30:15", "2026-03-02 09:33:50"),
    ("2026-03-02 15:04:05 America/New_York", "2026-03-02 20:04:05"),
    ("2026-07-02 15:04:05 america/new_york", "2026-07-02 19:04:05"),
    ("2026-03-08 02:30 America/New_York", "2026-03-08 07:30:00"),
    ("2026-11-01 01:30 America/New_York", "2026-11-01 06:30:00"),
    ("2026-03-02 15:04 UTC", "2026-03-02 15:04:00"),
    ("2026-03-02 15:04 gmt", "2026-03-02 15:04:00"),
    ("15:04 March 2 2026", "2026-03-02 15:04:00"),
    ("2026-03-02 allballs", "2026-03-02 00:00:00"),
    ("epoch", "1970-01-01 00:00:00"),
    ("9999-12-31 23:59:59.999", "9999-12-31 23:59:59.999"),
    ("10000-01-01", "10000-01-01 00:00:00"),
    ("294276-12-31 23:59:59.999", "294276-12-31 23:59:59.999"),
    ("0001-01-01 BC", "0001-01-01 00:00:00 BC"),
    ("4714-11-24 BC", "4714-11-24 00:00:00 BC"),
    ("March 2, 44 BC", "0044-03-02 00:00:00 BC"),
    ("  2026-03-02  ", "2026-03-02 00:00:00"),
    ("2026-03-02 15:04:05.9", "2026-03-02 15:04:05.9"),
    ("1969-12-31 23:59:59.9985", "1969-12-31 23:59:59.998"),
    ("12345-06-07 America/New_York", "12345-06-07 04:00:00"),
];

const NO_TIMESTAMPS: &[&str] = &[
    "",
    "2026-02-30",
    "2026-13-01",
    "15/01/2026",
    "2026-03-02 24:00:01",
    "2026-03-02 25:00",
    "2026-03-02 15:60",
    "2026-03-02 13:04 PM",
    "2026-03-02 15:04:05+16:00",
    "2026-03",
    "0000-01-01",
    "294277-01-01",
    "4714-11-23 BC",
    "2026-03-02 2026-03-03",
    "2026-03-02 15:04 15:05",
    "2026-03-02T",
    "March 2026",
    "2026-03-02 15:04:05 Mars/Olympus",
    "12:30",
    "20263002",
    "21-June-00mat 24:00:00",
    "21-Jun-26-at",
    "2026-03-02 -",
    "2026-03-02é",
    // Read there, not here: what is another instant at every reading, infinite times, zones that are not IANA's names.
    "now",
    "today",
    "tomorrow 12:00",
    "yesterday",
    "infinity",
    "-infinity",
    "2026-03-02 15:04:05 EST",
    "2026-03-02 15:04:05 CET",
    "2026-03-02 15:04:05 UTC+3",
    "2026-03-02 15:04 h",
];

const INTERVALS: &[Case] = &[
    ("1 hour 30 minutes", "01:30:00"),
    ("PT1H30M", "01:30:00"),
    ("P1D", "1 day"),
    ("P0001-02-03T04:05:06", "1 year 2 mons 3 days 04:05:06"),
    ("1-2", "1 year 2 mons"),
    ("1 12:30", "1 day 12:30:00"),
    ("@ 1 hour", "01:00:00"),
    ("7 days", "7 days"),
    ("1 day 02:03:04.5", "1 day 02:03:04.5"),
    ("-1 mon", "-1 mons"),
    ("+5 hours", "05:00:00"),
    ("1.5 hours", "01:30:00"),
    ("1.5 days", "1 day 12:00:00"),
    ("1.5 months", "1 mon 15 days"),
    ("1.5 years", "1 year 6 mons"),
    ("0.5 weeks", "3 days 12:00:00"),
    ("3 days ago", "-3 days"),
    ("1h30m", "01:30:00"),
    ("2 hours, 5 minutes", "02:05:00"),
    ("90", "00:01:30"),
    ("1.5", "00:00:01.5"),
    ("04:05.5", "00:04:05.5"),
    ("-25:00", "-25:00:00"),
    ("1 2 hours", "1 day 02:00:00"),
    ("1 -02:03", "1 day -02:03:00"),
    ("-1-2 3 -04:05:06", "-1 years -2 mons +3 days -04:05:06"),
    ("P1Y2M3W4DT5H6M7.8S", "1 year 2 mons 25 days 05:06:07.8"),
    ("P00010203T040506", "1 year 2 mons 3 days 04:05:06"),
    ("P0001-02", "1 year 2 mons"),
    ("PT04:05", "04:05:00"),
    ("P-1DT-2H", "-1 days -02:00:00"),
    ("P1e2D", "100 days"),
    ("1 century 2 decades 3 mils", "3120 years"),
    ("100 ms", "00:00:00.1"),
    ("1500 us", "00:00:00.002"),
    ("1 msecond 2000 useconds", "00:00:00.003"),
    ("0.0005 s", "00:00:00.001"),
    ("-0.0005 s", "-00:00:00.001"),
    ("1 microsecond 2 millisecond 3 second", "00:00:03.002"),
    ("1 us 2 s", "00:00:02"),
    ("178956970 years 7 mons", "178956970 years 7 mons"),
    ("2147483647 days", "2147483647 days"),
    ("2562047788:00:54.775", "2562047788:00:54.775"),
    ("1 day 1 month", "1 mon 1 day"),
    ("1 D", "1 day"),
    ("P1W", "7 days"),
    ("P1", "1 year"),
    ("PT", "00:00:00"),
];

const NO_INTERVALS: &[&str] = &[
    "",
    "1 hour 2 hour",
    "1 fortnight",
    "hour",
    "one hour",
    "1 quarter",
    "ago",
    "P",
    "p1d",
    "1-12",
    "1-2-3",
    "1:60",
    "1 2 3",
    "1 2 days",
    "2147483648 days",
    "178956971 years",
    "2562047788:00:55",
    "1.5.5 days",
    "1 hour 02:03",
    " P1D",
    "1e3 s",
    "5 -",
    // Read there, not here (nor by PostgreSQL 17).
    "1 day ago 2 hours",
];

#[test]
fn timestamps() {
    check("timestamp", TIMESTAMPS);
    check_refused("timestamp", NO_TIMESTAMPS);
}

#[test]
fn intervals() {
    check("interval", INTERVALS);
    check_refused("interval", NO_INTERVALS);
}

#[test]
fn milliseconds_of_timestamps_are_cut_off() {
    for text in ["2026-03-02T15:04:05.1239Z", "2026-03-02 15:04:05.1239 UTC", "20260302T150405.1239"] {
        let shown = evaluated("CAST(x AS timestamp)", text).unwrap().unwrap();
        assert_eq!(shown, "2026-03-02 15:04:05.123", "as in events' times: {text}");
    }
    assert_eq!(
        evaluated("CAST(x AS timestamp)", "2026-03-02 15:04:05.9999999"),
        Ok(Some("2026-03-02 15:04:05.999".to_owned()))
    );
}

#[test]
fn a_field_behind_an_interval_is_its_unit_and_its_precision() {
    for (expression, expected) in [
        ("interval '90' minute", "01:30:00"),
        ("interval '1.5' hour", "01:00:00"),
        ("interval '1 12:30' day", "1 day"),
        ("interval '14' month", "1 year 2 mons"),
        ("interval '14 months' year", "1 year"),
        ("interval '1-2' year", "1 year"),
        ("interval '1.5' second", "00:00:01.5"),
        ("interval '1:02:03' minute", "01:02:00"),
        // Cut off before it is rounded.
        ("interval '-0.1 ms 1 h' minute", "00:59:00"),
    ] {
        assert_eq!(evaluated(expression, ""), Ok(Some(expected.to_owned())), "{expression}");
    }
}

#[test]
fn units_have_their_short_names() {
    for (expression, expected) in [
        ("date_part('hr', timestamp '2026-03-02 15:04')", "15"),
        ("date_part('mins', timestamp '2026-03-02 15:04')", "4"),
        ("date_part('mm', timestamp '2026-03-02 15:04')", "4"),
        ("extract(days FROM interval '3 days')", "3"),
        ("date_trunc('mon', timestamp '2026-03-02 15:04')", "2026-03-01 00:00:00"),
        ("extract(julian FROM timestamp '2026-03-02 12:00')", "2461102.5"),
        ("extract(year FROM timestamp '0044-03-15 BC')", "-44"),
        ("extract(century FROM timestamp '10001-01-01')", "101"),
    ] {
        assert_eq!(evaluated(expression, ""), Ok(Some(expected.to_owned())), "{expression}");
    }
}

#[test]
fn arithmetic_ends_where_timestamps_and_intervals_end() {
    for (expression, expected) in [
        ("timestamp '294276-12-31 23:59:59.999' + interval '1 ms'", Err(EvalError::OutOfRange("timestamp"))),
        ("timestamp '4714-11-24 BC' - interval '1 ms'", Err(EvalError::OutOfRange("timestamp"))),
        // Months, days and time are added one after the other, and each sum is a timestamp.
        ("timestamp '294276-12-31' + interval '1 mon -40 days'", Err(EvalError::OutOfRange("timestamp"))),
        ("timestamp '9999-12-31 23:59:59.999' + interval '1 ms'", Ok("10000-01-01 00:00:00")),
        ("timestamp '294276-12-31' - timestamp '4713-01-01 BC'", Err(EvalError::OutOfRange("interval"))),
        ("interval '2147483647 days' + interval '1 day'", Err(EvalError::OutOfRange("interval"))),
        ("interval '2562047788:00:54.775' + interval '1 ms'", Err(EvalError::OutOfRange("interval"))),
        ("interval '2562047788:00:54.775' * 1.0", Ok("2562047788:00:54.775")),
        ("interval '1 ms' * 0.5", Ok("00:00:00.001")),
    ] {
        assert_eq!(evaluated(expression, ""), expected.map(|text| Some(text.to_owned())), "{expression}");
    }
}

#[test]
fn operators_end_before_a_sign() {
    let list = "'[1, 2, 3]'::json";
    for (expression, expected) in [
        (format!("{list}->>-1"), "3"),
        (format!("{list}->-3"), "1"),
        (format!("{list}->>+1"), "2"),
        ("7>-2".to_owned(), "t"),
        ("7<-2".to_owned(), "f"),
        ("7>=-2".to_owned(), "t"),
        ("7<=-2".to_owned(), "f"),
        ("7<>-2".to_owned(), "t"),
        ("7=-2".to_owned(), "f"),
        ("7*-2".to_owned(), "-14"),
        ("7/-2".to_owned(), "-3"),
        ("7+-2".to_owned(), "5"),
        ("7-+2".to_owned(), "5"),
        ("7>--a comment\n2".to_owned(), "t"),
    ] {
        assert_eq!(evaluated(&expression, ""), Ok(Some(expected.to_owned())), "{expression}");
    }
    let (message, help) = refused("7 %-2");
    assert_eq!(message, "operator %- is not supported");
    assert_eq!(help, "a space before the sign makes it the number's");
}

#[test]
fn what_is_refused_says_why() {
    for (text, why) in [
        ("interval '1 hour 2 hour'", "a unit stands twice in it; add the two up"),
        ("interval '1 quarter'", "a unit is microseconds, milliseconds, seconds,"),
        ("interval 'P1X'", "ISO 8601 writes an interval as P1Y2M3W4DT5H6M7S"),
        ("interval '1-13'", "in years-months the months are 0 to 11"),
        ("timestamp '2026-02-30'", "the month has no such day"),
        ("timestamp '15/01/2026'", "a date such as 3/2/2026 begins with the month"),
        ("timestamp '2026-03-02 25:00'", "a day ends at 24:00:00"),
        ("timestamp '2026-03-02 15:04 EST'", "a time zone is Z, UTC, an offset such as -06:00 or an IANA name"),
        ("timestamp 'now'", "now, today and the like mean another instant at every reading"),
        ("timestamp 'infinity'", "infinite times are not read"),
        ("timestamp '294277-01-01'", "a timestamp is from 4714-11-24 BC to the year 294276"),
        ("timestamp '12:30'", "it has no year, month and day"),
    ] {
        let (message, help) = refused(text);
        assert!(message.starts_with("invalid input syntax for type"), "{message}");
        assert!(help.contains(why) && help.contains("such as '"), "{text}: {help}");
    }
    let error = evaluated("CAST(x AS interval)", "1 hour 2 hour").unwrap_err();
    assert_eq!(error.to_string(), "invalid input for type interval: a unit stands twice in it; add the two up");
}

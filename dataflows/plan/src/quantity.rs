//! Durations and sizes in settings: a whole number and a unit, as text. Calendar units (months, years) are none:
//! their length depends on the date.

use std::time::Duration;

const MS_PER_SECOND: u64 = 1_000;
const MS_PER_MINUTE: u64 = 60 * MS_PER_SECOND;
const MS_PER_HOUR: u64 = 60 * MS_PER_MINUTE;
const MS_PER_DAY: u64 = 24 * MS_PER_HOUR;

/// One kibibyte.
pub const KIB: u64 = 1 << 10;
/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// Names of a unit (the first is written, with an `s` where there are several) and its length.
type Unit = (&'static [&'static str], u64);

const DURATIONS: [Unit; 6] = [
    (&["millisecond", "milliseconds", "ms"], 1),
    (&["second", "seconds", "sec", "secs", "s"], MS_PER_SECOND),
    (&["minute", "minutes", "min", "mins", "m"], MS_PER_MINUTE),
    (&["hour", "hours", "hr", "hrs", "h"], MS_PER_HOUR),
    (&["day", "days", "d"], MS_PER_DAY),
    (&["week", "weeks", "w"], 7 * MS_PER_DAY),
];

const SIZES: [Unit; 7] = [
    (&["b", "byte", "bytes"], 1),
    (&["kib"], KIB),
    (&["mib"], MIB),
    (&["gib"], GIB),
    (&["kb"], 1_000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
];

/// Parses `10 milliseconds`, `5 min`, `2s`, `30 days`. The error says what is wrong, in lower case.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a whole number and a unit, such as \"10 milliseconds\" or \"5 minutes\"";
    const UNITS: &str = "milliseconds, seconds, minutes, hours, days or weeks";
    parse(text, &DURATIONS, EXPECTED, UNITS).map(Duration::from_millis)
}

/// Parses `8 MiB`, `500 kB`, `1024 bytes`. The error says what is wrong, in lower case.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a whole number and a unit, such as \"8 MiB\" or \"500 kB\"";
    parse(text, &SIZES, EXPECTED, "bytes, KiB, MiB, GiB, kB, MB or GB")
}

fn parse(text: &str, units: &[Unit], expected: &str, names: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '_' | '-')) {
        return Err(expected.to_owned());
    }
    if unit.is_empty() {
        return Err(format!("a unit is missing: expected {names}"));
    }
    let lower = unit.to_lowercase();
    let Some((_, factor)) = units.iter().find(|(names, _)| names.contains(&lower.as_str())) else {
        return Err(format!("unknown unit `{unit}`: expected {names}"));
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|n| n.checked_mul(*factor)).ok_or_else(|| "the number is too large".to_owned())
}

/// The shortest exact text in one unit: `10 milliseconds`, `5 minutes`, `1 day`. Below a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // Weeks are read and not written: "30 days" beside "4 weeks" would be a riddle.
    let unit = DURATIONS[..5].iter().rev().find(|(_, factor)| ms != 0 && ms.is_multiple_of(*factor));
    let (names, factor) = unit.unwrap_or(&DURATIONS[0]);
    let number = ms / factor;
    format!("{number} {}{}", names[0], if number == 1 { "" } else { "s" })
}

/// The shortest exact text in binary units: `8 MiB`, `1500 bytes`.
pub fn format_bytes(bytes: u64) -> String {
    for (name, factor) in [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)] {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{} {name}", bytes / factor);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("10 milliseconds", 10),
            ("10ms", 10),
            ("1 second", 1_000),
            (" 2  S ", 2_000),
            ("5 minutes", 300_000),
            ("5m", 300_000),
            ("1 hour", 3_600_000),
            ("30 days", 2_592_000_000),
            ("2 weeks", 1_209_600_000),
            ("0 seconds", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in
            ["", "seconds", "10", "1.5 s", "-1 s", "1,5 s", "10 lightyears", "1 month", "1 h 30", "9999999999999 d"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("8 MiB", 8 * MIB), ("64kib", 65_536), ("1 GB", 1_000_000_000), ("10 bytes", 10)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "8", "8 M", "8 Mbit", "eight MiB", "0.5 GiB", "99999999999 GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in 0_u64..10_000_000_000, days in 0_u64..5_000) {
            for ms in [ms, days * MS_PER_DAY, days * MS_PER_SECOND] {
                let duration = Duration::from_millis(ms);
                prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
                prop_assert_eq!(parse_bytes(&format_bytes(ms)), Ok(ms));
            }
        }
    }
}

//! Exact decimals with up to six fractional digits: scores, weights, values. Never a float.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Millionths in one.
pub const MICROS: i64 = 1_000_000;

/// The largest magnitude accepted from outside: 999,999,999.999999.
const MAX_MICROS: i64 = 1_000_000_000 * MICROS - 1;

/// A decimal number in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i64);

/// The largest magnitude of an event's value: 999,999,999,999.999999, the most of ClickHouse's `Decimal(18, 6)`.
const VALUE_MAX_MICROS: i64 = 1_000_000_000_000 * MICROS - 1;

/// Why a text is not a decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a number in plain or scientific notation (NaN and infinities are none).
    #[error("is not a decimal number")]
    NotANumber,
    /// More than six fractional digits.
    #[error("has more than 6 fractional digits")]
    TooPrecise,
    /// A magnitude of 10^9 or more.
    #[error("is out of range; the magnitude must stay below 1000000000")]
    OutOfRange,
    /// A magnitude of 10^12 or more, of an event's value.
    #[error("is out of range; the magnitude of a value must stay below 1000000000000")]
    ValueOutOfRange,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(MICROS);

    /// From millionths.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From a whole number.
    pub const fn from_int(n: i32) -> Self {
        Self(n as i64 * MICROS)
    }

    /// In millionths.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The nearest double; for expressions over doubles only.
    pub fn to_f64(self) -> f64 {
        // Correctly rounded: the integer is exact in a double below 2^53, and one division rounds once.
        self.0 as f64 / MICROS as f64
    }

    /// Parses a JSON number or a plain decimal text, exactly.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        match Self::parse_short(text.as_bytes()) {
            Some(decimal) => Ok(decimal),
            None => Self::parse_any(text),
        }
    }

    /// Parses an event's value: a number of a DOUBLE column, kept to the nearest millionth (halves away from zero), so that
    /// what floats add to a number, such as 0.30000000000000004, is no fault.
    pub fn parse_value(text: &str) -> Result<Self, DecimalError> {
        if let Some(decimal) = Self::parse_short(text.as_bytes()) {
            return Ok(decimal);
        }
        let micros = match Self::parse_within(text, VALUE_MAX_MICROS) {
            Err(DecimalError::TooPrecise) => Self::parse_rounded(text)?,
            Err(DecimalError::OutOfRange) => return Err(DecimalError::ValueOutOfRange),
            other => return other,
        };
        if micros.0.abs() > VALUE_MAX_MICROS { Err(DecimalError::ValueOutOfRange) } else { Ok(micros) }
    }

    /// A text with too many fractional digits, to the nearest millionth: it is a number in form and in range.
    fn parse_rounded(text: &str) -> Result<Self, DecimalError> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().map_err(|_| DecimalError::OutOfRange)?;
        let negative = mantissa.starts_with('-');
        let (whole, fraction) =
            mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
        // The millionths are the first `kept` digits; the digit after them decides.
        let kept = whole.len() as i64 + i64::from(exponent) + 6;
        let mut micros: i64 = 0;
        for (i, digit) in whole.bytes().chain(fraction.bytes()).map(|b| i64::from(b - b'0')).enumerate() {
            match (i as i64).cmp(&kept) {
                std::cmp::Ordering::Less => {
                    let next = micros.checked_mul(10).and_then(|micros| micros.checked_add(digit));
                    micros = next.ok_or(DecimalError::ValueOutOfRange)?;
                }
                std::cmp::Ordering::Equal => micros += i64::from(digit >= 5),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(Self(if negative { -micros } else { micros }))
    }

    /// The usual case, quickly: up to 9 digits, and perhaps a point and up to 6 more. `None` says nothing of others.
    fn parse_short(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        let mut whole: i64 = 0;
        let mut rest = digits;
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            whole = whole * 10 + i64::from(digit - b'0');
            rest = after;
            if digits.len() - rest.len() > 9 {
                return None;
            }
        }
        if rest.len() == digits.len() {
            return None;
        }
        let mut micros = whole * MICROS;
        match rest {
            [] => {}
            [b'.', fraction @ ..] if (1..=6).contains(&fraction.len()) => {
                let mut unit = MICROS;
                for digit in fraction {
                    if !digit.is_ascii_digit() {
                        return None;
                    }
                    unit /= 10;
                    micros += i64::from(digit - b'0') * unit;
                }
            }
            _ => return None,
        }
        Some(Self(if negative { -micros } else { micros }))
    }

    /// Every case.
    fn parse_any(text: &str) -> Result<Self, DecimalError> {
        Self::parse_within(text, MAX_MICROS)
    }

    fn parse_within(text: &str, max_micros: i64) -> Result<Self, DecimalError> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            None => (rest, 0),
            Some((m, e)) => {
                let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(DecimalError::NotANumber);
                }
                (m, e.parse::<i32>().map_err(|_| DecimalError::OutOfRange)?)
            }
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return Err(DecimalError::NotANumber),
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(DecimalError::NotANumber);
        }
        let micros = Self::scale(whole, fraction, exponent, max_micros)?;
        Ok(Self(if negative { -micros } else { micros }))
    }

    /// `whole.fraction × 10^exponent` in millionths.
    fn scale(whole: &str, fraction: &str, exponent: i32, max_micros: i64) -> Result<i64, DecimalError> {
        // The digit at index i has the weight 10^(point - 1 - i); millionths keep weights down to 10^-6.
        let point = i64::try_from(whole.len()).map_err(|_| DecimalError::OutOfRange)? + i64::from(exponent);
        let mut micros: i64 = 0;
        for (i, digit) in whole.bytes().chain(fraction.bytes()).map(|b| i64::from(b - b'0')).enumerate() {
            if digit == 0 {
                continue;
            }
            let power = point - 1 - i as i64 + 6;
            if power < 0 {
                return Err(DecimalError::TooPrecise);
            }
            let unit = u32::try_from(power).ok().and_then(|p| 10_i64.checked_pow(p));
            let term = unit.and_then(|u| u.checked_mul(digit)).ok_or(DecimalError::OutOfRange)?;
            micros = micros.checked_add(term).ok_or(DecimalError::OutOfRange)?;
        }
        if micros > max_micros { Err(DecimalError::OutOfRange) } else { Ok(micros) }
    }
}

impl fmt::Display for Decimal {
    /// Without trailing zeros: `84.3`, `-0.000001`, `100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micros(f, i128::from(self.0))
    }
}

/// Writes millionths as a decimal without trailing zeros.
pub fn write_micros(out: &mut impl fmt::Write, micros: i128) -> fmt::Result {
    let magnitude = micros.unsigned_abs();
    let (whole, fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
    if micros < 0 {
        out.write_char('-')?;
    }
    write!(out, "{whole}")?;
    let (mut rest, mut unit) = (fraction, 100_000);
    if rest != 0 {
        out.write_char('.')?;
    }
    while rest != 0 {
        out.write_char(char::from(b'0' + (rest / unit) as u8))?;
        rest %= unit;
        unit /= 10;
    }
    Ok(())
}

impl std::str::FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(d)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(d).map(Self)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_exactly() {
        for (text, micros) in [
            ("0", 0),
            ("84.295", 84_295_000),
            ("-1.5", -1_500_000),
            ("0.000001", 1),
            ("1e2", 100_000_000),
            ("1.25E-1", 125_000),
            ("12.5000000000", 12_500_000),
            ("999999999.999999", MAX_MICROS),
            ("0e999999", 0),
        ] {
            assert_eq!(Decimal::parse(text).map(Decimal::micros), Ok(micros), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_decimal() {
        use DecimalError::*;
        for (text, error) in [
            ("", NotANumber),
            ("-", NotANumber),
            (".5", NotANumber),
            ("5.", NotANumber),
            ("1,5", NotANumber),
            ("NaN", NotANumber),
            ("inf", NotANumber),
            ("1e", NotANumber),
            ("+1", NotANumber),
            ("0.0000001", TooPrecise),
            ("1000000000", OutOfRange),
            ("1e400", OutOfRange),
            ("1e99999999999", OutOfRange),
        ] {
            assert_eq!(Decimal::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn values_are_kept_to_the_nearest_millionth() {
        use DecimalError::*;
        for (text, expected) in [
            ("0.30000000000000004", Ok(300_000)),
            ("-0.30000000000000004", Ok(-300_000)),
            ("0.1234565", Ok(123_457)),
            ("-0.1234565", Ok(-123_457)),
            ("0.1234564999999999999999", Ok(123_456)),
            ("1e-7", Ok(0)),
            ("5e-7", Ok(1)),
            ("123456789.12345678901e3", Ok(123_456_789_123_456_789)),
            ("999999999999.999999", Ok(VALUE_MAX_MICROS)),
            ("999999999999.9999995", Err(ValueOutOfRange)),
            ("1000000000000", Err(ValueOutOfRange)),
            ("1e300", Err(ValueOutOfRange)),
            ("0.1.2", Err(NotANumber)),
            ("1e", Err(NotANumber)),
            ("", Err(NotANumber)),
        ] {
            assert_eq!(Decimal::parse_value(text).map(Decimal::micros), expected, "{text:?}");
        }
    }

    #[test]
    fn prints_without_trailing_zeros() {
        for (micros, text) in [(0, "0"), (84_300_000, "84.3"), (-1, "-0.000001"), (100_000_000, "100")] {
            assert_eq!(Decimal::from_micros(micros).to_string(), text);
        }
        let mut text = String::new();
        assert_eq!(write_micros(&mut text, i128::MIN), Ok(()));
        assert_eq!(text, "-170141183460469231731687303715884.105728");
    }

    proptest! {
        #[test]
        fn both_parsers_agree(text in "-?[0-9]{0,11}(\\.[0-9.]{0,8})?") {
            let any = Decimal::parse_any(&text);
            prop_assert_eq!(&Decimal::parse(&text), &any);
            if let Some(short) = Decimal::parse_short(text.as_bytes()) {
                prop_assert_eq!(Ok(short), any);
            }
        }

        #[test]
        fn texts_come_back(micros in -MAX_MICROS..=MAX_MICROS) {
            let decimal = Decimal::from_micros(micros);
            prop_assert_eq!(Decimal::parse(&decimal.to_string()), Ok(decimal));
            let json = serde_json::to_string(&decimal).unwrap();
            prop_assert_eq!(serde_json::from_str::<Decimal>(&json).unwrap(), decimal);
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = (Decimal::parse(&text), Decimal::parse_value(&text));
        }
    }
}

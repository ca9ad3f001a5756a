//! The time of an evaluation's last update, as its sender gave it.

use crate::instant::{InstantError, Millis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The digits of a fraction that [`Millis`] has.
const MILLI_DIGITS: usize = 3;

/// An instant with every digit that was sent: of two that share a millisecond the later one is newer.
///
/// (Rejected: nanoseconds. RFC 3339 sets no limit to a fraction, and a cut makes unequal instants equal again.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UpdatedAt {
    /// To the millisecond.
    at: Millis,
    /// The digits after the milliseconds, without zeros at the end: their order as texts is that of the instants.
    finer: Box<str>,
}

impl UpdatedAt {
    /// Parses an RFC 3339 time.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InstantError> {
        let at = Millis::parse_rfc3339(text)?;
        let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
        let digits = fraction.find(|c: char| !c.is_ascii_digit()).map_or(fraction, |end| &fraction[..end]);
        let finer = digits.get(MILLI_DIGITS..).unwrap_or_default().trim_end_matches('0');
        Ok(Self { at, finer: finer.into() })
    }

    /// Whether it is later than a millisecond's beginning.
    pub fn is_after(&self, at: Millis) -> bool {
        (self.at, self.finer.as_ref()) > (at, "")
    }

    /// The millisecond that holds it.
    pub fn millis(&self) -> Millis {
        self.at
    }
}

impl From<Millis> for UpdatedAt {
    fn from(at: Millis) -> Self {
        Self { at, finer: Box::default() }
    }
}

impl fmt::Display for UpdatedAt {
    /// RFC 3339 in UTC with three fractional digits, or as many as were sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.at.to_string();
        match text.strip_suffix('Z') {
            Some(whole) => write!(f, "{whole}{}Z", self.finer),
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> UpdatedAt {
        UpdatedAt::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn digits_after_the_milliseconds_count() {
        let older = parsed("2026-03-02T10:00:00.123100Z");
        let newer = parsed("2026-03-02T10:00:00.123900Z");
        assert!(older < newer);
        assert!(newer < parsed("2026-03-02T10:00:00.124Z"));
        assert!(parsed("2026-03-02T10:00:00.1239000000000000000001Z") > newer);
        assert_eq!(parsed("2026-03-02T10:00:00.1239Z"), newer);
        assert_eq!(parsed("2026-03-02T11:00:00.1239+01:00"), newer);
        assert_eq!(newer.to_string(), "2026-03-02T10:00:00.1239Z");
        assert_eq!(parsed("2026-03-02T10:00:00Z"), UpdatedAt::from(Millis(1_772_445_600_000)));
        assert!(parsed("1969-12-31T23:59:59.9984Z") < parsed("1969-12-31T23:59:59.9985Z"));
        assert!(UpdatedAt::parse_rfc3339("yesterday").is_err());
    }

    #[test]
    fn it_is_after_an_instant_by_any_digit() {
        let at = Millis(1_772_445_600_123);
        assert!(parsed("2026-03-02T10:00:00.1230001Z").is_after(at));
        assert!(!parsed("2026-03-02T10:00:00.123000Z").is_after(at));
        assert!(!parsed("2026-03-02T10:00:00.1229999Z").is_after(at));
    }

    proptest! {
        /// The order and the text of nanoseconds, by jiff.
        #[test]
        fn agrees_with_jiff_to_the_nanosecond(a in -4_000_000_000_000_000_000..4_000_000_000_000_000_000_i128, step in -2_000_000..2_000_000_i128) {
            let at = |ns| jiff::Timestamp::from_nanosecond(ns).map_err(|e| TestCaseError::fail(e.to_string()));
            let (first, second) = (at(a)?, at(a + step)?);
            let (one, two) = (parsed(&first.to_string()), parsed(&second.to_string()));
            prop_assert_eq!(one.cmp(&two), first.cmp(&second));
            prop_assert_eq!(parsed(&one.to_string()), one.clone());
            prop_assert_eq!(one.to_string().parse::<jiff::Timestamp>().ok(), Some(first));
        }
    }
}

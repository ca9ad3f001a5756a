//! Identifiers as newtypes. Text becomes an id only here, where its limits are checked.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id accepted, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`ID_BYTES_MAX`].
    #[error("is {0} bytes long; at most {ID_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The text holds a character that this kind of id does not allow.
    #[error("holds the character {0:?}, which is not allowed here")]
    BadCharacter(char),
}

fn check(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(text.len()));
    }
    // Nearly every id is plain ASCII, and an event has four of them.
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Ok(());
    }
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(IdError::BadCharacter(c)),
        None => Ok(()),
    }
}

/// Tenants are names in keys, headers and folders: letters, digits, `_`, `-` and `.`.
fn name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Everything else comes from other systems: any character that prints.
fn printable(c: char) -> bool {
    !c.is_control()
}

/// Checks a name from another system that has no newtype, such as an event's type: by the rules of the ids here.
pub fn check_printable(text: &str) -> Result<(), IdError> {
    check(text, printable)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(CompactString);

        impl $name {
            /// Checks the text and makes the id.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                Self::check(text.as_ref())?;
                Ok(Self(CompactString::new(text)))
            }

            /// Checks the text without making anything.
            pub fn check(text: &str) -> Result<(), IdError> {
                check(text, $allowed)
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// A map keyed by this id can be asked with a text.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = CompactString::deserialize(d)?;
                Self::check(&text).map_err(serde::de::Error::custom)?;
                Ok(Self(text))
            }
        }
    };
}

id!(
    /// One school (or platform customer). Tenants never meet: every key starts with one.
    TenantId,
    name_character
);
id!(
    /// A student of one tenant. Personal data: it never appears in logs, metrics or traces.
    StudentId,
    printable
);
id!(
    /// One evaluation of one student; unique within a tenant.
    EvaluationId,
    printable
);
id!(
    /// One behaviour event; unique within a tenant's student.
    EventId,
    printable
);
id!(
    /// A subject (course, module).
    Subject,
    printable
);
id!(
    /// A grading period, such as `2026-Q1`.
    PeriodId,
    printable
);
id!(
    /// An evaluation's type, which is also the category its rule weighs: `exam`, `homework`, …
    EvaluationType,
    printable
);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert_eq!(StudentId::new(""), Err(IdError::Empty));
        assert_eq!(StudentId::new("x".repeat(129)), Err(IdError::TooLong(129)));
        assert_eq!(StudentId::new("a\nb"), Err(IdError::BadCharacter('\n')));
        assert_eq!(StudentId::new("a\u{85}b"), Err(IdError::BadCharacter('\u{85}')));
        assert_eq!(StudentId::new("Ñandú 7/b").unwrap().as_str(), "Ñandú 7/b");
        assert_eq!(TenantId::new("a/b"), Err(IdError::BadCharacter('/')));
        assert_eq!(TenantId::new("école"), Err(IdError::BadCharacter('é')));
        assert_eq!(TenantId::new("school_1.b-2").unwrap().to_string(), "school_1.b-2");
    }

    #[test]
    fn ids_are_checked_when_read_back() {
        assert_eq!(serde_json::from_str::<TenantId>("\"t-1\"").unwrap(), TenantId::new("t-1").unwrap());
        assert!(serde_json::from_str::<TenantId>("\"t/1\"").is_err());
        assert!(serde_json::from_str::<StudentId>("\"\"").is_err());
    }

    #[test]
    fn maps_can_be_asked_with_a_text() {
        let map = std::collections::HashMap::from([(StudentId::new("s").unwrap(), 1)]);
        assert_eq!(map.get("s"), Some(&1));
    }
}

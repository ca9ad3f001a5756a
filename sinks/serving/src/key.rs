//! The map's key, and how it is looked up by borrowed ids without making one.

use aulaflow_model::ids::{StudentId, TenantId};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

/// A student of a tenant.
pub(crate) struct StudentKey {
    pub(crate) tenant: TenantId,
    pub(crate) student: StudentId,
}

/// Both ids' texts, owned or borrowed: what a key is compared and hashed by.
pub(crate) trait KeyTexts {
    fn texts(&self) -> (&str, &str);
}

/// Borrowed ids.
pub(crate) struct KeyRef<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) student: &'a StudentId,
}

impl KeyTexts for StudentKey {
    fn texts(&self) -> (&str, &str) {
        (self.tenant.as_str(), self.student.as_str())
    }
}

impl KeyTexts for KeyRef<'_> {
    fn texts(&self) -> (&str, &str) {
        (self.tenant.as_str(), self.student.as_str())
    }
}

impl<'a> Borrow<dyn KeyTexts + 'a> for StudentKey {
    fn borrow(&self) -> &(dyn KeyTexts + 'a) {
        self
    }
}

// `Borrow` asks that owned and borrowed keys hash and compare alike: both go through `texts`.
impl Hash for dyn KeyTexts + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts().hash(state);
    }
}

impl PartialEq for dyn KeyTexts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for dyn KeyTexts + '_ {}

impl Hash for StudentKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts().hash(state);
    }
}

impl PartialEq for StudentKey {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for StudentKey {}

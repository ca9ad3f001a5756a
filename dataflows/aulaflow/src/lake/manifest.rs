//! What a month's folder holds: of each tenant and day how many rows, what tells them from others, and the files. Pure.

use aulaflow_clickhouse::lake::Closed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Its name.
pub const NAME: &str = "manifest.json";

/// Its version.
pub const FORMAT: u32 = 1;

/// The manifest of a table and month.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`]
    pub format: u32,
    /// By `tenant=T`, then by day.
    pub days: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// A tenant's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Rows in all files.
    pub rows: u64,
    /// What tells them from others, in hexadecimal: not all of JSON's readers know 64 bits.
    pub digest: String,
    /// The files.
    pub files: Vec<File>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name in the tenant's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { format: FORMAT, days: BTreeMap::new() }
    }
}

impl Entry {
    /// Without files yet.
    pub fn of(day: &Closed) -> Self {
        Self { rows: day.rows, digest: format!("{:016x}", day.digest), files: Vec::new() }
    }
}

/// The folder of a tenant.
pub fn tenant(day: &Closed) -> String {
    format!("tenant={}", day.tenant)
}

impl Manifest {
    /// Whether the day is there as it is now, with all its files (`there`: paths in the month's folder, and lengths).
    pub fn holds(&self, day: &Closed, there: &BTreeMap<String, u64>) -> bool {
        let tenant = tenant(day);
        let Some(entry) = self.days.get(&tenant).and_then(|days| days.get(&day.day.to_string())) else { return false };
        let is_there = |file: &File| there.get(&format!("{tenant}/{}", file.name)) == Some(&file.bytes);
        let Entry { rows, digest, files: _ } = Entry::of(day);
        entry.rows == rows && entry.digest == digest && entry.files.iter().all(is_there)
    }

    /// Puts a day in, and returns those of its old files that nothing names any more.
    pub fn put(&mut self, day: &Closed, entry: Entry) -> Vec<File> {
        let names: Vec<String> = entry.files.iter().map(|file| file.name.clone()).collect();
        let old = self.days.entry(tenant(day)).or_default().insert(day.day.to_string(), entry);
        let files = old.map(|old| old.files).unwrap_or_default();
        files.into_iter().filter(|file| !names.contains(&file.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_is_there_while_nothing_has_changed() {
        let day = Closed {
            table: "grades_changes".to_owned(),
            tenant: "t".to_owned(),
            day: "2026-03-01".parse().unwrap(),
            rows: 3,
            digest: u64::MAX,
        };
        let file = |name: &str| File { name: name.to_owned(), bytes: 9, sha256: "00".to_owned() };
        let there =
            |names: &[&str]| names.iter().map(|name| (format!("tenant=t/{name}"), 9)).collect::<BTreeMap<_, _>>();
        let mut manifest = Manifest::default();
        assert!(!manifest.holds(&day, &there(&["a"])));
        let entry = Entry { files: vec![file("a"), file("b")], ..Entry::of(&day) };
        assert_eq!(manifest.put(&day, entry.clone()), []);
        assert!(manifest.holds(&day, &there(&["a", "b"])));
        assert!(!manifest.holds(&day, &there(&["a"])));
        assert!(!manifest.holds(&Closed { rows: 4, ..day.clone() }, &there(&["a", "b"])));
        assert!(!manifest.holds(&Closed { digest: 1, ..day.clone() }, &there(&["a", "b"])));
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        assert_eq!(manifest.put(&day, Entry { files: vec![file("b")], ..entry }), [file("a")]);
    }
}

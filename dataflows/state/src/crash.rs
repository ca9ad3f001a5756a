//! Places where a test ends the process, before and after every step that makes something durable. In production nothing
//! happens there: the variable `AULAFLOW_CRASH_AT` is read once, and is not set.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The names of all places in this crate, for a driver that tries each.
pub const CRASH_POINTS: &[&str] = &[
    "checkpoint.begin",
    "checkpoint.segment.written",
    "checkpoint.segment.synced",
    "checkpoint.segment.durable",
    "checkpoint.manifest.written",
    "checkpoint.manifest.synced",
    "checkpoint.manifest.renamed",
    "checkpoint.manifest.durable",
    "checkpoint.remove",
    "checkpoint.removed",
    "compaction.begin",
    "compaction.written",
    "compaction.durable",
    "running.noted",
];

struct Wanted {
    name: String,
    left: AtomicU64,
}

impl Wanted {
    /// `name`, or `name:N` for the N-th time.
    fn parse(text: &str) -> Self {
        let (name, times) = text.rsplit_once(':').unwrap_or((text, "1"));
        Self { name: name.to_owned(), left: AtomicU64::new(times.parse().unwrap_or(1).max(1)) }
    }

    /// Whether this is the time.
    fn hit(&self, name: &str) -> bool {
        self.name == name && self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// A place where a test can end the process as `kill -9` does: it aborts if `AULAFLOW_CRASH_AT` names it.
pub fn crash_point(name: &'static str) {
    static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("AULAFLOW_CRASH_AT").ok().map(|text| Wanted::parse(&text)));
    if wanted.as_ref().is_some_and(|wanted| wanted.hit(name)) {
        tracing::error!(name, "the process ends here, as AULAFLOW_CRASH_AT asks");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_time_counts() {
        let wanted = Wanted::parse("a.b:3");
        let hits: Vec<_> = ["a.b", "x", "a.b", "a.b", "a.b"].iter().map(|name| wanted.hit(name)).collect();
        assert_eq!(hits, [false, false, false, true, false]);
        assert!(Wanted::parse("a").hit("a"));
        assert!(!Wanted::parse("a:1").hit("b"));
    }
}

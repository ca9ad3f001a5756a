//! The results in `bench/README.md`: a section per case between markers, replaced by what a run found, so that every
//! number on the page is a run's, with its date, commit and machine.

use crate::cases::ALL;
use crate::report::{Origin, Outcome};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

const OPEN: &str = "<!-- results -->";
const CLOSE: &str = "<!-- /results -->";

/// Puts the outcomes into the page. Sections of cases that did not run stay.
pub fn write(outcomes: &[Outcome], origin: &Origin) -> Result<()> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = replaced(&page, outcomes, origin).with_context(|| format!("{} has no {OPEN}", path.display()))?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// A case's section.
pub fn section(outcome: &Outcome, origin: &Origin) -> String {
    let mut text = format!("### {}\n\n{}\n\n", outcome.case, origin.line());
    for said in &outcome.setting {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {said}");
    }
    let _ = write!(text, "\n{}", outcome.table());
    text
}

fn replaced(page: &str, outcomes: &[Outcome], origin: &Origin) -> Option<String> {
    let (before, rest) = page.split_once(OPEN)?;
    let (present, after) = rest.split_once(CLOSE)?;
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for section in format!("\n{present}").split("\n### ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        if let Some(case) = ALL.iter().find(|case| case.name == name) {
            sections.insert(case.name, format!("### {}\n", section.trim_end()));
        }
    }
    for outcome in outcomes {
        if let Some(case) = ALL.iter().find(|case| case.name == outcome.case) {
            sections.insert(case.name, section(outcome, origin));
        }
    }
    let ordered: Vec<_> = ALL.iter().filter_map(|case| sections.remove(case.name)).collect();
    Some(format!("{before}{OPEN}\n\n{}\n{CLOSE}{after}", ordered.join("\n")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn replaces_only_what_ran() {
        let origin = Origin {
            date: "2026-01-01".into(),
            commit: "c".into(),
            machine: "m".into(),
            command: "bench".into(),
            runs: 1,
            quick: false,
        };
        let mut outcome = Outcome::new("idle");
        outcome.add("CPU", "%", 1.0);
        let page =
            format!("# Page\n\n{OPEN}\n\n### reads\n\nold reads\n\n### idle\n\nold idle\n\n{CLOSE}\n\n## Peers\n");
        let page = replaced(&page, &[outcome], &origin).unwrap();
        assert!(page.contains("old reads") && !page.contains("old idle") && page.ends_with("\n\n## Peers\n"), "{page}");
        assert_eq!(replaced(&page, &[], &origin).unwrap(), page);
        assert!(replaced("no markers", &[], &origin).is_none());
    }
}

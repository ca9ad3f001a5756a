//! Two builds of the product side by side: each run measures a case with both, one after the other, and what is reported
//! is the ratio within a run. So a machine that slows down for a while slows both, and the ratio stays.
//!
//! Which build is measured first changes with every run: a disk or a processor that is warmer for the second one would
//! else count for the same build each time.

use crate::cases::Case;
use crate::report::{Figure, Outcome, significant};
use crate::setting::Setting;
use anyhow::Result;
use std::fmt::Write;
use std::path::Path;

/// What a case found of both builds; figures have the same order in both, and a value per run.
#[derive(Debug)]
pub struct Pair {
    /// The build that `--binary` names.
    pub new: Outcome,
    /// The build that `--against` names.
    pub old: Outcome,
}

/// Measures a case with both builds, `setting.runs` times.
pub fn measure(case: &Case, setting: &Setting, against: &Path) -> Result<Pair> {
    let new = Setting { runs: 1, ..setting.clone() };
    let old = Setting { binary: against.to_owned(), ..new.clone() };
    let mut pair = Pair { new: Outcome::new(case.name), old: Outcome::new(case.name) };
    for run in 1..=setting.runs {
        setting.progress(case.name, &format!("pair {run} of {}", setting.runs));
        if run % 2 == 1 {
            pair.new.append((case.run)(&new)?);
            pair.old.append((case.run)(&old)?);
        } else {
            pair.old.append((case.run)(&old)?);
            pair.new.append((case.run)(&new)?);
        }
    }
    Ok(pair)
}

impl Pair {
    /// The medians of both and of their ratios as a Markdown table.
    pub fn table(&self) -> String {
        let mut text = String::from("| measure | new | old | unit | new / old |\n|---|---|---|---|---|\n");
        for new in &self.new.figures {
            let Some(old) = self.old.figures.iter().find(|old| old.name == new.name) else { continue };
            let ratio = ratios(new, old);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                new.name,
                significant(new.median()),
                significant(old.median()),
                new.unit,
                ratio.shown()
            );
        }
        text
    }
}

/// The ratio new / old of each run; a figure that is 0 has none.
fn ratios(new: &Figure, old: &Figure) -> Figure {
    let values = new.values.iter().zip(&old.values).map(|(new, old)| new / old).filter(|ratio| ratio.is_finite());
    Figure { name: new.name.clone(), unit: String::new(), values: values.collect(), limit: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rate(setting: &Setting) -> Result<Outcome> {
        let mut outcome = Outcome::new("rate");
        outcome.add("rate", "events/s", if setting.binary == Path::new("new") { 90.0 } else { 100.0 });
        Ok(outcome)
    }

    #[test]
    fn a_ratio_is_that_of_a_run_and_the_median_of_runs_is_shown() {
        let figure = |values: &[f64]| Figure {
            name: "rate".to_owned(),
            unit: "events/s".to_owned(),
            values: values.to_vec(),
            limit: None,
        };
        // The machine slowed to a half in the second run, for both.
        let ratio = ratios(&figure(&[99.0, 49.0, 100.0]), &figure(&[100.0, 50.0, 100.0]));
        assert_eq!(ratio.values, [0.99, 0.98, 1.0]);
        assert_eq!(ratio.shown(), "0.990 (0.980–1.00)");
    }

    #[test]
    fn each_run_measures_both_builds_once() {
        let case = Case { name: "rate", about: "", run: rate };
        let setting = Setting { binary: "new".into(), dir: "".into(), oulad: "".into(), quick: true, runs: 3 };
        let pair = measure(&case, &setting, Path::new("old")).unwrap();
        assert_eq!(pair.new.figures[0].values, [90.0; 3]);
        assert_eq!(pair.old.figures[0].values, [100.0; 3]);
        assert!(pair.table().contains("| rate | 90.0 | 100 | events/s | 0.900 (0.900–0.900) |"), "{}", pair.table());
    }
}

//! What cases found: figures with one value per run, shown as Markdown with medians, ranges, and ratios to a limit.

use crate::latencies::Latencies;
use serde::Serialize;
use std::fmt::Write;

/// What a case found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// What it says of its load and configuration.
    pub setting: Vec<String>,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// One quantity.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// One value per run (or per repetition), in order.
    pub values: Vec<f64>,
    /// The figure that bounds it, by its name.
    pub limit: Option<String>,
}

/// Where and when figures were made.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// Date, UTC.
    pub date: String,
    /// The commit, with `+` where the checkout differs from it.
    pub commit: String,
    /// The machine.
    pub machine: String,
    /// The command line.
    pub command: String,
    /// Runs.
    pub runs: usize,
    /// Whether sizes were small.
    pub quick: bool,
}

impl Outcome {
    /// An empty one.
    pub fn new(case: &str) -> Self {
        Self { case: case.to_owned(), setting: Vec::new(), figures: Vec::new() }
    }

    /// Says something of load or configuration; again is once.
    pub fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.setting.contains(&text) {
            self.setting.push(text);
        }
    }

    /// Adds what further runs of the case found.
    pub fn append(&mut self, runs: Self) {
        runs.setting.into_iter().for_each(|text| self.say(text));
        for figure in runs.figures {
            match self.figures.iter_mut().find(|known| known.name == figure.name) {
                Some(known) => known.values.extend(figure.values),
                None => self.figures.push(figure),
            }
        }
    }

    /// Adds a value of this run.
    pub fn add(&mut self, name: &str, unit: &str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure {
                name: name.to_owned(),
                unit: unit.to_owned(),
                values: vec![value],
                limit: None,
            }),
        }
    }

    /// Adds a value that another figure bounds.
    pub fn add_against(&mut self, name: &str, unit: &str, value: f64, limit: &str) {
        self.add(name, unit, value);
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.name == name) {
            figure.limit = Some(limit.to_owned());
        }
    }

    /// Adds quantiles in milliseconds: each is a figure, `NAME p99`. The limit's quantiles have its name likewise.
    pub fn add_latencies(&mut self, name: &str, times: &mut Latencies, shares: &[f64], limit: Option<&str>) {
        for share in shares {
            let quantile = quantile_name(*share);
            let (name, value) = (format!("{name}, {quantile}"), times.at(*share));
            match limit {
                Some(limit) => self.add_against(&name, "ms", value, &format!("{limit}, {quantile}")),
                None => self.add(&name, "ms", value),
            }
        }
    }

    /// The figures as a Markdown table.
    pub fn table(&self) -> String {
        let mut text = String::from("| measure | median (min–max) | unit | against |\n|---|---|---|---|\n");
        for figure in &self.figures {
            let against = figure.limit.as_deref().and_then(|name| self.ratio(figure, name)).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} | {} | {} | {against} |", figure.name, figure.shown(), figure.unit);
        }
        text
    }

    fn ratio(&self, figure: &Figure, limit: &str) -> Option<String> {
        let limit = self.figures.iter().find(|figure| figure.name == limit)?;
        let ratio = figure.median() / limit.median();
        if !ratio.is_finite() {
            return None;
        }
        let shown = if ratio < 2.0 { format!("{:.0} % of", ratio * 100.0) } else { format!("{ratio:.1} ×") };
        Some(format!("{shown} “{}”", limit.name))
    }
}

/// `1 worker`, `2 workers`.
pub fn workers_named(workers: usize) -> String {
    format!("{workers} worker{}", if workers == 1 { "" } else { "s" })
}

/// `p50`, `p99.9`, `max`.
fn quantile_name(share: f64) -> String {
    if share >= 1.0 { "max".to_owned() } else { format!("p{}", (share * 1_000.0).round() / 10.0) }
}

impl Figure {
    /// The median of the values.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.get(middle) {
            None => 0.0,
            Some(upper) if sorted.len() % 2 == 1 => *upper,
            Some(upper) => (sorted[middle - 1] + upper) / 2.0,
        }
    }

    /// The median, with the range where there are several values.
    pub fn shown(&self) -> String {
        let (low, high) = self
            .values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        match self.values.len() {
            0 => "–".to_owned(),
            1 => significant(self.median()),
            _ => format!("{} ({}–{})", significant(self.median()), significant(low), significant(high)),
        }
    }
}

/// Three digits that mean something, and thousands apart.
pub fn significant(value: f64) -> String {
    let digits = match value.abs() {
        size if !(1e-9..100.0).contains(&size) => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let whole = text.split('.').next().unwrap_or_default().len();
    if digits > 0 || whole <= 4 {
        return text;
    }
    let grouped = text.char_indices().map(|(i, digit)| {
        let comma = i > 0 && (whole - i) % 3 == 0 && digit.is_ascii_digit();
        if comma { format!(",{digit}") } else { digit.to_string() }
    });
    grouped.collect()
}

impl Origin {
    /// One line for people.
    pub fn line(&self) -> String {
        let quick = if self.quick { " **Quick: small sizes; its numbers mean nothing.**" } else { "" };
        let runs = if self.runs == 1 { "1 run".to_owned() } else { format!("{} runs", self.runs) };
        format!("{}, commit `{}`, {runs}: `{}` on {}.{quick}", self.date, self.commit, self.command, self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.1234, 1.234, 12.34, 123.4, 1234.0, 12_345.0, 1_234_567.0].map(significant);
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "123", "1234", "12,345", "1,234,567"]);
    }

    #[test]
    fn a_table_has_medians_and_ratios() {
        let mut outcome = Outcome::new("case");
        for value in [30.0, 10.0, 20.0] {
            outcome.add("limit", "events/s", 10.0 * value);
            outcome.add_against("ours", "events/s", value, "limit");
        }
        let table = outcome.table();
        assert!(table.contains("| ours | 20.0 (10.0–30.0) | events/s | 10 % of “limit” |"), "{table}");
    }

    #[test]
    fn quantiles_have_names() {
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(quantile_name), ["p50", "p99", "p99.9", "max"]);
    }
}

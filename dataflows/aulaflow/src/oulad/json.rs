//! Writes the dataset's rows as JSON lines, by hand into one buffer: a serializer would cost more than the rest of
//! the import. Names that come from the files are escaped once, when the writer is made.

use super::{Dataset, Row};
use std::io::Write;

/// Writes rows of one dataset.
pub struct LineWriter<'a> {
    dataset: &'a Dataset,
    modules: Vec<String>,
    codes: Vec<String>,
    categories: Vec<String>,
    activities: Vec<String>,
    /// The last instant written, since rows come in order of their instants.
    last_instant: (i64, String),
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'a> LineWriter<'a> {
    /// A writer of a dataset's rows.
    pub fn new(dataset: &'a Dataset) -> Self {
        Self {
            dataset,
            modules: dataset.presentations.iter().map(|p| quoted(&p.module)).collect(),
            codes: dataset.presentations.iter().map(|p| quoted(&p.code)).collect(),
            categories: dataset.assessments.iter().map(|a| quoted(&a.category)).collect(),
            activities: dataset.activities.iter().map(|name| quoted(name)).collect(),
            last_instant: (i64::MIN, String::new()),
        }
    }

    /// Appends a row's event and a line feed.
    pub fn write(&mut self, row: Row, out: &mut Vec<u8>) {
        let at = self.dataset.instant(row);
        if self.last_instant.0 != at.0 {
            self.last_instant = (at.0, at.to_string());
        }
        let written = match row {
            Row::Result(index) => self.result(index as usize, out),
            Row::Click(index) => self.click(index as usize, out),
        };
        // Writing to a vector cannot fail.
        debug_assert!(written.is_ok());
    }

    fn result(&self, index: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        let result = &self.dataset.results[index];
        let assessment = &self.dataset.assessments[usize::from(result.assessment)];
        let presentation = usize::from(assessment.presentation);
        write!(
            out,
            r#"{{"evaluation_id":"{}-{}","student_id":"{}","subject":{},"period":{},"type":{},"weight":"{}","max_score":100,"graded_at":"{}","updated_at":"{}","#,
            assessment.id,
            result.student,
            result.student,
            self.modules[presentation],
            self.codes[presentation],
            self.categories[usize::from(result.assessment)],
            assessment.weight,
            self.last_instant.1,
            // A history: repetitions of it, in any order, change nothing.
            self.last_instant.1,
        )?;
        match result.score {
            Some(score) => writeln!(out, r#""status":"graded","score":"{score}"}}"#),
            None => writeln!(out, r#""status":"missing"}}"#),
        }
    }

    fn click(&self, index: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        let click = &self.dataset.clicks[index];
        writeln!(
            out,
            r#"{{"event_id":"vle-{index}","student_id":"{}","event_type":{},"value":{},"occurred_at":"{}"}}"#,
            click.student,
            self.activities[usize::from(click.activity)],
            click.clicks,
            self.last_instant.1,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::read;
    use super::*;
    use std::path::Path;

    /// The real dataset, or `None` with a message where it is absent.
    fn dataset() -> Option<Dataset> {
        let folder = std::env::var("AULAFLOW_OULAD").unwrap_or_else(|_| "/work/shared/oulad".to_owned());
        if !Path::new(&folder).join("studentVle.csv").exists() {
            eprintln!("SKIPPED: the Open University dataset is not at {folder} (set AULAFLOW_OULAD)");
            return None;
        }
        Some(read::read(Path::new(&folder)).unwrap())
    }

    fn line(writer: &mut LineWriter<'_>, row: Row) -> String {
        let mut out = Vec::new();
        writer.write(row, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn maps_known_rows() {
        let Some(dataset) = dataset() else { return };
        assert_eq!((dataset.results.len(), dataset.clicks.len()), (46_181, 753_564));
        let mut writer = LineWriter::new(&dataset);
        assert_eq!(
            line(&mut writer, Row::Result(0)),
            "{\"evaluation_id\":\"1752-11391\",\"student_id\":\"11391\",\"subject\":\"AAA\",\"period\":\"2013J\",\
             \"type\":\"tma\",\"weight\":\"10\",\"max_score\":100,\"graded_at\":\"2013-10-19T12:00:00.000Z\",\
             \"updated_at\":\"2013-10-19T12:00:00.000Z\",\
             \"status\":\"graded\",\"score\":\"78\"}\n"
        );
        assert_eq!(
            line(&mut writer, Row::Click(0)),
            "{\"event_id\":\"vle-0\",\"student_id\":\"28400\",\"event_type\":\"forumng\",\"value\":4,\
             \"occurred_at\":\"2013-09-21T12:00:00.000Z\"}\n"
        );
        assert_eq!(dataset.results.iter().filter(|r| r.score.is_none()).count(), 56);
        let missing = dataset.results.iter().position(|r| r.score.is_none()).unwrap();
        let text = line(&mut writer, Row::Result(missing as u32));
        assert!(text.ends_with("\"status\":\"missing\"}\n"), "{text}");
    }

    #[test]
    fn orders_by_instant_then_by_row() {
        let Some(dataset) = dataset() else { return };
        let rows = dataset.in_order();
        assert_eq!(rows.len() as u64, dataset.len());
        for pair in rows.windows(2) {
            let (a, b) = (dataset.instant(pair[0]), dataset.instant(pair[1]));
            let in_order = match (pair[0], pair[1]) {
                (Row::Result(i), Row::Result(j)) | (Row::Click(i), Row::Click(j)) => i < j,
                (Row::Result(_), Row::Click(_)) => true,
                (Row::Click(_), Row::Result(_)) => false,
            };
            assert!(a < b || (a == b && in_order), "{pair:?}");
        }
    }

    #[test]
    fn every_line_is_json() {
        let Some(dataset) = dataset() else { return };
        let mut writer = LineWriter::new(&dataset);
        for row in dataset.in_order().into_iter().step_by(997) {
            let text = line(&mut writer, row);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}

//! Reads the dataset's CSV files row by row. Every fault names its file and line.

use super::{Assessment, AssessmentResult, Click, Dataset, Presentation};
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_model::decimal::Decimal;
use aulaflow_model::instant::Millis;
use csv::ByteRecord;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Reads the dataset in a folder: `assessments.csv`, `vle.csv`, `studentAssessment.csv` and `studentVle.csv`.
pub fn read(folder: &Path) -> Result<Dataset> {
    let mut reading = Reading::default();
    reading.dataset.activities.push("unknown".to_owned());
    reading.assessments(folder)?;
    reading.sites(folder)?;
    reading.results(folder)?;
    reading.clicks(folder)?;
    Ok(reading.dataset)
}

/// Day 0 of a presentation at 12:00 UTC: `YYYYB` starts on 1 February, `YYYYJ` on 1 October.
pub fn presentation_start(code: &str) -> Option<Millis> {
    let (year, month) = match (code.get(..4), code.get(4..)) {
        (Some(year), Some("B")) => (year, "02"),
        (Some(year), Some("J")) => (year, "10"),
        _ => return None,
    };
    Millis::parse_rfc3339(&format!("{year}-{month}-01T12:00:00Z")).ok()
}

/// What later tables need of the earlier ones.
#[derive(Default)]
struct Reading {
    dataset: Dataset,
    presentations: HashMap<(String, String), u16>,
    assessments: HashMap<u32, u16>,
    sites: HashMap<u32, u16>,
}

impl Reading {
    fn assessments(&mut self, folder: &Path) -> Result<()> {
        let names = ["code_module", "code_presentation", "id_assessment", "assessment_type", "weight"];
        let mut table = Table::open(folder, "assessments.csv", names)?;
        while let Some(row) = table.next()? {
            let presentation = self.presentation(row.text(0)?, row.text(1)?).map_err(|e| row.fault(e))?;
            let assessment = Assessment {
                id: row.number(2)?,
                presentation,
                category: row.text(3)?.to_lowercase(),
                weight: row.number(4)?,
            };
            let index = u16::try_from(self.dataset.assessments.len()).context("more than 65,536 assessments")?;
            self.assessments.insert(assessment.id, index);
            self.dataset.assessments.push(assessment);
        }
        Ok(())
    }

    fn sites(&mut self, folder: &Path) -> Result<()> {
        let mut table = Table::open(folder, "vle.csv", ["id_site", "activity_type"])?;
        while let Some(row) = table.next()? {
            let activity = row.text(1)?;
            let known = self.dataset.activities.iter().position(|name| name == activity);
            let index = known.unwrap_or_else(|| {
                self.dataset.activities.push(activity.to_owned());
                self.dataset.activities.len() - 1
            });
            let index = u16::try_from(index).context("more than 65,536 activity types")?;
            self.sites.insert(row.number(0)?, index);
        }
        Ok(())
    }

    fn results(&mut self, folder: &Path) -> Result<()> {
        let names = ["id_assessment", "id_student", "date_submitted", "score"];
        let mut table = Table::open(folder, "studentAssessment.csv", names)?;
        while let Some(row) = table.next()? {
            let id: u32 = row.number(0)?;
            let assessment = *self
                .assessments
                .get(&id)
                .ok_or_else(|| row.fault(anyhow!("assessment {id} is not in assessments.csv")))?;
            let score = match row.text(3)? {
                // Both spellings of "not submitted" are in circulation: the dataset's description says empty, the
                // published CSV writes a question mark.
                "" | "?" => None,
                _ => Some(row.number::<Decimal>(3)?),
            };
            let (student, day) = (row.number(1)?, row.number(2)?);
            self.dataset.results.push(AssessmentResult { assessment, student, day, score });
        }
        Ok(())
    }

    fn clicks(&mut self, folder: &Path) -> Result<()> {
        let names = ["code_module", "code_presentation", "id_student", "id_site", "date", "sum_click"];
        let mut table = Table::open(folder, "studentVle.csv", names)?;
        // Rows of one presentation stand together: its index is looked up when it changes.
        let mut last = (String::new(), String::new(), 0);
        while let Some(row) = table.next()? {
            let (module, code) = (row.text(0)?, row.text(1)?);
            if last.0 != module || last.1 != code {
                last = (module.to_owned(), code.to_owned(), self.presentation(module, code).map_err(|e| row.fault(e))?);
            }
            let site: u32 = row.number(3)?;
            self.dataset.clicks.push(Click {
                presentation: last.2,
                activity: self.sites.get(&site).copied().unwrap_or(0),
                student: row.number(2)?,
                day: row.number(4)?,
                clicks: row.number(5)?,
            });
        }
        Ok(())
    }

    fn presentation(&mut self, module: &str, code: &str) -> Result<u16> {
        let key = (module.to_owned(), code.to_owned());
        if let Some(index) = self.presentations.get(&key) {
            return Ok(*index);
        }
        let start = presentation_start(code)
            .ok_or_else(|| anyhow!("presentation {code:?} is not a year followed by B or J, such as 2013J"))?;
        let index = u16::try_from(self.dataset.presentations.len()).context("more than 65,536 presentations")?;
        self.dataset.presentations.push(Presentation { module: key.0.clone(), code: key.1.clone(), start });
        self.presentations.insert(key, index);
        Ok(index)
    }
}

/// An open CSV file with the places of the columns that are needed.
struct Table<const N: usize> {
    path: PathBuf,
    reader: csv::Reader<std::fs::File>,
    record: ByteRecord,
    names: [&'static str; N],
    columns: [usize; N],
}

/// The present row of a table.
struct TableRow<'a, const N: usize> {
    table: &'a Table<N>,
}

impl<const N: usize> Table<N> {
    fn open(folder: &Path, file: &str, names: [&'static str; N]) -> Result<Self> {
        let path = folder.join(file);
        let reader = csv::ReaderBuilder::new().buffer_capacity(1 << 18).from_path(&path);
        let mut reader = reader.with_context(|| format!("cannot read {}", path.display()))?;
        let header = reader.byte_headers().with_context(|| format!("cannot read {}", path.display()))?;
        let mut columns = [0; N];
        for (column, name) in columns.iter_mut().zip(names) {
            let place = header.iter().position(|field| field == name.as_bytes());
            *column = place.ok_or_else(|| anyhow!("{}:1: there is no column {name:?}", path.display()))?;
        }
        Ok(Self { path, reader, record: ByteRecord::new(), names, columns })
    }

    fn next(&mut self) -> Result<Option<TableRow<'_, N>>> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => Ok(Some(TableRow { table: self })),
            Ok(false) => Ok(None),
            Err(error) => bail!("{}: {error}", self.path.display()),
        }
    }
}

impl<'a, const N: usize> TableRow<'a, N> {
    fn text(&self, column: usize) -> Result<&'a str> {
        let field = self.table.record.get(self.table.columns[column]).unwrap_or_default();
        std::str::from_utf8(field).map_err(|_| self.fault(anyhow!("{} is not UTF-8", self.table.names[column])))
    }

    fn number<T: FromStr>(&self, column: usize) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.fault(anyhow!("{} is not such a number: {text:?}", self.table.names[column])))
    }

    fn fault(&self, error: anyhow::Error) -> anyhow::Error {
        let line = self.table.record.position().map_or(0, csv::Position::line);
        error.context(format!("{}:{line}", self.table.path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(folder: &Path, studentassessment: &str) {
        let assessments =
            "code_module,code_presentation,id_assessment,assessment_type,date,weight\nAAA,2013J,1752,TMA,19,10\n";
        std::fs::write(folder.join("assessments.csv"), assessments).unwrap();
        std::fs::write(folder.join("vle.csv"), "id_site,activity_type\n7,forumng\n").unwrap();
        let header = "id_assessment,id_student,date_submitted,is_banked,score\n";
        std::fs::write(folder.join("studentAssessment.csv"), format!("{header}{studentassessment}")).unwrap();
        let clicks = "code_module,code_presentation,id_student,id_site,date,sum_click\nAAA,2013J,28400,7,-10,4\nAAA,2013J,28400,8,0,1\n";
        std::fs::write(folder.join("studentVle.csv"), clicks).unwrap();
    }

    #[test]
    fn reads_rows_by_column_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "1752,11391,18,0,78\n1752,1,20,0,\n1752,2,20,0,?\n");
        let dataset = read(folder.path()).unwrap();
        assert_eq!(dataset.activities, ["unknown", "forumng"]);
        assert_eq!(dataset.results[0].score, Some(Decimal::from_int(78)));
        assert_eq!(dataset.results[1].score, None);
        assert_eq!(dataset.results[2].score, None);
        let first = Click { presentation: 0, activity: 1, student: 28400, day: -10, clicks: 4 };
        let second = Click { presentation: 0, activity: 0, student: 28400, day: 0, clicks: 1 };
        assert_eq!(dataset.clicks, [first, second]);
    }

    #[test]
    fn names_file_and_line_of_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "1752,11391,18,0,78\n99,11391,18,0,78\n");
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.ends_with("studentAssessment.csv:3: assessment 99 is not in assessments.csv"), "{error}");
        write(folder.path(), "1752,11391,18,0,n/a\n");
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.ends_with("studentAssessment.csv:2: score is not such a number: \"n/a\""), "{error}");
        write(folder.path(), "1752,x,18,0,78\n");
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.ends_with("studentAssessment.csv:2: id_student is not such a number: \"x\""), "{error}");
    }

    #[test]
    fn knows_where_presentations_start() {
        assert_eq!(presentation_start("2013J").unwrap().to_string(), "2013-10-01T12:00:00.000Z");
        assert_eq!(presentation_start("2014B").unwrap().to_string(), "2014-02-01T12:00:00.000Z");
        for wrong in ["", "2013", "2013X", "13J", "abcdJ", "2013JJ", "ñ013J"] {
            assert_eq!(presentation_start(wrong), None, "{wrong}");
        }
    }
}

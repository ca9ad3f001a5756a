//! Which columns the history has, as a file beside the data: what a server's tables last had when they were as they should
//! be. So a configuration can be compared with the history before anything starts, and without a server.

use crate::tables::{Role, Tables};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// By view (or `grades`, `cohorts`), the names of what a row says.
pub type AcceptedColumns = BTreeMap<String, BTreeSet<String>>;

/// What a start would leave behind of one view's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostColumns {
    /// The view.
    pub view: String,
    /// Columns that its tables have and its outputs have not.
    pub columns: Vec<String>,
    /// Outputs that its tables have no column for yet.
    pub new: Vec<String>,
}

fn columns(tables: &Tables) -> AcceptedColumns {
    let names = |values: &[crate::Column]| {
        values.iter().filter(|column| column.role == Role::Value).map(|column| column.name.clone()).collect()
    };
    tables.relations.iter().map(|relation| (relation.name.clone(), names(&relation.values))).collect()
}

/// Remembers that a server's tables are those of a plan. Views that the plan has not any more stay remembered: so do their
/// tables.
pub fn write(file: &Path, tables: &Tables) -> io::Result<()> {
    let mut accepted = read(file)?;
    let before = accepted.clone();
    accepted.extend(columns(tables));
    if accepted == before {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    std::fs::write(&new, serde_json::to_vec_pretty(&accepted)?)?;
    std::fs::rename(new, file)
}

/// What was remembered; nothing where there is no file.
pub fn read(file: &Path) -> io::Result<AcceptedColumns> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AcceptedColumns::new()),
        Err(error) => Err(error),
    }
}

/// The columns of kept views that a plan has no output for any more.
pub fn lost(accepted: &AcceptedColumns, tables: &Tables) -> Vec<LostColumns> {
    let now = columns(tables);
    let of = |(view, now): (&String, &BTreeSet<String>)| {
        let before = accepted.get(view)?;
        let names = |names: std::collections::btree_set::Difference<'_, String>| names.cloned().collect::<Vec<_>>();
        let (columns, new) = (names(before.difference(now)), names(now.difference(before)));
        (!columns.is_empty()).then(|| LostColumns { view: view.clone(), columns, new })
    };
    now.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tables(outputs: &str) -> Tables {
        let sql = format!(
            "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP)
             WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
             CREATE MATERIALIZED VIEW v WITH (analytics = 'daily') AS SELECT student_id, {outputs} FROM behavior
             GROUP BY student_id, tumble(interval '1 day');"
        );
        let (file, _) = aulaflow_plan::parse_runtime(&aulaflow_plan::Source::new("t.toml", ""));
        let sql = [aulaflow_plan::Source::new("t.sql", sql)];
        Tables::of(&aulaflow_plan::compile(file.unwrap(), &[], &sql).unwrap()).unwrap()
    }

    #[test]
    fn a_renamed_output_is_a_column_that_history_loses() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("analytics/columns.json");
        assert_eq!(lost(&read(&file).unwrap(), &tables("count(*) AS n")), []);
        write(&file, &tables("count(*) AS n, sum(value) AS points")).unwrap();
        let accepted = read(&file).unwrap();
        // A new output makes a column; one that went leaves its own.
        assert_eq!(lost(&accepted, &tables("count(*) AS n, sum(value) AS points, max(value) AS most")), []);
        let renamed = lost(&accepted, &tables("count(*) AS events, sum(value) AS points"));
        let expected = LostColumns { view: "v".into(), columns: vec!["n".into()], new: vec!["events".into()] };
        assert_eq!(renamed, [expected]);
        // Once the server's tables are those of the new plan, nothing is lost by it.
        write(&file, &tables("count(*) AS events, sum(value) AS points")).unwrap();
        assert_eq!(lost(&read(&file).unwrap(), &tables("count(*) AS events, sum(value) AS points")), []);
    }
}

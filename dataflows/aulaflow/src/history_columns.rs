//! What a configuration would take from the history in ClickHouse: outputs of views with `analytics` that went or have
//! another name. Reads the file that the last instance left beside its data, and asks nobody.

use crate::config::Files;
use crate::node::clickhouse::columns_file;
use aulaflow_clickhouse::Tables;
use aulaflow_clickhouse::accepted::{self, LostColumns};
use aulaflow_plan::{Diagnostic, Plan, Source};
use std::path::Path;

/// A warning for each view whose history has columns that its outputs have not.
pub fn warnings(config: &Path, plan: &Plan, files: &Files) -> Vec<Diagnostic> {
    // A plan that no tables can be made of is the business of the start.
    let Ok(tables) = Tables::of(plan) else { return Vec::new() };
    let file = columns_file(&plan.runtime);
    match accepted::read(&file) {
        Ok(known) => {
            let lost = accepted::lost(&known, &tables);
            lost.iter().filter_map(|lost| warning(config, plan, files, lost)).collect()
        }
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the history's columns are not known");
            Vec::new()
        }
    }
}

fn warning(config: &Path, plan: &Plan, files: &Files, lost: &LostColumns) -> Option<Diagnostic> {
    let view = plan.views.iter().find(|view| view.schema.name == lost.view)?;
    let place = |source: &Source| source.text().find(&view.text);
    let (source, start) = files.dataflows.iter().find_map(|source| Some((source, place(source)?)))?;
    let first_line = view.text.lines().next().unwrap_or_default().len();
    let LostColumns { view: name, columns, new } = lost;
    let columns = columns.join(", ");
    let message = format!("the history of {name} has columns that are no outputs any more: {columns}");
    let url = "--url URL";
    let migrate = format!(
        "aulaflow clickhouse migrate --replace {name} --config {} --data-dir {} {url}",
        config.display(),
        plan.runtime.data_dir.display()
    );
    let named = if new.is_empty() { String::new() } else { format!(" (new outputs: {})", new.join(", ")) };
    let help = format!(
        "nothing is recorded in ClickHouse until this is settled: keep the names{named}, or keep the old rows under another \
         name with `{migrate}`, where URL is that of ClickHouse"
    );
    Some(source.warning(start..start + first_line, message).with_help(help))
}

//! All files together to one plan, or every fault of every file. What one file means is in its own module; what
//! only shows between files is here.

use crate::diagnostic::{Diagnostic, Severity, Source, any_error, sort};
use crate::document::At;
use crate::quantity::format_duration;
use crate::runtime::ClockMode;
use crate::runtime_file::RuntimeFile;
use crate::{Plan, sql, tenant_file};
use std::time::Duration;

/// Makes the plan. Files are given in the order of their names; views are numbered in it. The faults of all files
/// come at once, sorted by file and place; warnings are among them where there is an error, and in the plan else.
pub fn compile(
    runtime: RuntimeFile,
    tenant_sources: &[Source],
    sql_sources: &[Source],
) -> Result<Plan, Vec<Diagnostic>> {
    let mut diagnostics = runtime.diagnostics.clone();
    let tenants = tenant_file::check(tenant_sources, &mut diagnostics);
    let (tables, views) = compile_sql(sql_sources, &mut diagnostics);
    diagnostics.extend(too_many_parts(&views, sql_sources));
    warn_of_short_horizons(&runtime, &tables, &views, sql_sources, &mut diagnostics);
    warn_of_short_retention(&runtime, &views, &mut diagnostics);
    sort(&mut diagnostics);
    if any_error(&diagnostics) {
        return Err(diagnostics);
    }
    Ok(Plan { runtime: runtime.runtime, tenants, tables, views, warnings: diagnostics })
}

fn compile_sql(sources: &[Source], diagnostics: &mut Vec<Diagnostic>) -> (Vec<sql::Table>, Vec<sql::View>) {
    let files: Vec<(String, String)> = sources.iter().map(|s| (s.name().to_owned(), s.text().to_owned())).collect();
    let mut add = |severity: Severity, found: Vec<sql::FileFault>| {
        for (file, fault) in found {
            if let Some(source) = sources.get(file) {
                let mut diagnostic = source.diagnostic(severity, fault.span, &[], fault.message);
                diagnostic.help = fault.help;
                diagnostics.push(diagnostic);
            }
        }
    };
    let checked = sql::check(&files);
    add(Severity::Warning, checked.warnings);
    checked.made.unwrap_or_else(|faults| {
        add(Severity::Error, faults);
        (Vec::new(), Vec::new())
    })
}

/// The most parts of aggregates in the panes of all views: each has a number of 16 bits, in memory and in checkpoints.
const PARTS_MAX: usize = 65_535;

/// The view with which the parts of aggregates become too many.
fn too_many_parts(views: &[sql::View], sources: &[Source]) -> Option<Diagnostic> {
    let mut parts = 0;
    let view = views.iter().find(|view| {
        parts += view.parts_max();
        parts > PARTS_MAX
    })?;
    let found = |source: &Source| Some((source.clone(), source.text().find(&view.text)?));
    let (source, start) = sources.iter().find_map(found)?;
    let name = view.text.find(&view.schema.name).unwrap_or(0);
    let at = start + name..start + name + view.schema.name.len();
    let message = format!(
        "with `{}` the views have more than {PARTS_MAX} parts of aggregates: {parts}, counting each view's own",
        view.schema.name
    );
    let help = "a count is one part, a sum or an average two, a slope five: leave outputs or views out, or share the \
                tenants among instances with other views";
    Some(source.error(at, message).with_help(help))
}

/// On the event clock a log can be read again years later, and a repetition may come as late as the
/// longest view looks back: if its id is forgotten by then, it counts twice.
fn warn_of_short_horizons(
    runtime: &RuntimeFile,
    tables: &[sql::Table],
    views: &[sql::View],
    sources: &[Source],
    diagnostics: &mut Vec<Diagnostic>,
) {
    if runtime.runtime.engine.clock != ClockMode::Event {
        return;
    }
    for (index, table) in tables.iter().enumerate() {
        let Some(horizon_ms) = table.dedupe_horizon_ms else { continue };
        let reaches = views.iter().filter_map(|view| Some((view, sql::reach(view, views)?)));
        let of_table = reaches.filter(|(_, (source, _))| *source == index);
        let Some((longest, (_, reach_ms))) = of_table.max_by_key(|(_, (_, reach_ms))| *reach_ms) else { continue };
        if horizon_ms < reach_ms {
            let message = format!(
                "`dedupe_horizon` of `{}` is shorter than the {} that `{}` looks back: on the event clock an event that \
                 is repeated later counts twice",
                table.name,
                format_duration(Duration::from_millis(reach_ms.unsigned_abs())),
                longest.schema.name
            );
            let help = "make the horizon as long as the longest view looks back";
            diagnostics.extend(horizon_place(sources, table, message).map(|d| d.with_help(help)));
        }
    }
}

/// The views themselves stay right, since the checkpoint holds the open panes; what needs the log is a proof of them.
fn warn_of_short_retention(runtime: &RuntimeFile, views: &[sql::View], diagnostics: &mut Vec<Diagnostic>) {
    let retention = runtime.runtime.log.retention;
    let reaches = views.iter().filter_map(|view| Some((view, sql::reach(view, views)?.1)));
    let Some((longest, reach_ms)) = reaches.max_by_key(|(_, reach_ms)| *reach_ms) else { return };
    let reach = Duration::from_millis(reach_ms.unsigned_abs());
    if reach > retention {
        let message = format!(
            "`log.retention` ({}) is shorter than the {} that `{}` looks back: its values cannot be recomputed from the log",
            format_duration(retention),
            format_duration(reach),
            longest.schema.name,
        );
        let warning = runtime.document.diagnostic(Severity::Warning, At::Value, "/log/retention", message);
        diagnostics
            .push(warning.with_help("set `retention` under `[log]` to at least what the longest view looks back"));
    }
}

/// The tables carry no places; the option's name, or else the table's, is searched in the text.
fn horizon_place(sources: &[Source], table: &sql::Table, message: String) -> Option<Diagnostic> {
    let found = |needle: &str| {
        sources.iter().find_map(|source| {
            let lower = source.text().to_ascii_lowercase();
            let statement = lower.find(&format!("create table {}", table.name))?;
            let at = statement + lower[statement..].find(needle)?;
            Some((source, at..at + needle.len()))
        })
    };
    let (source, span) = found("dedupe_horizon")
        .or_else(|| found(&table.name))
        .or_else(|| sources.first().map(|source| (source, 0..0)))?;
    Some(source.warning(span, message))
}

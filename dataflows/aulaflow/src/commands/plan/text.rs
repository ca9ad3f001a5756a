//! The plan for people in a terminal: sections with aligned columns, no line longer than [`WIDTH`].

use super::drawing::{bytes, cut, fate, ms, number, reads, window};
use aulaflow_engine::Description;
use aulaflow_engine::describe::{Changes, Fate, GridUse, Kept, Node, NodeKind, PartUse};
use std::fmt::Write;

/// Characters in a line at most.
const WIDTH: usize = 120;

/// Writes it.
pub fn render(description: &Description) -> String {
    let mut page = Page::default();
    page.title("SOURCES");
    for node in description.nodes.iter().filter(|node| node.kind == NodeKind::Topic) {
        page.row(&[(2, ""), (22, &node.name)], &node.does);
        for table in description.tables.iter().filter(|table| table.topic == node.name) {
            let ids = table.dedupe_horizon_ms.map_or_else(
                || "events are counted each time they come".to_owned(),
                |horizon| format!("an event id counts once within {}", ms(horizon)),
            );
            page.row(&[(24, "")], &format!("table {}: {ids}, lateness {}", table.name, ms(table.lateness_ms)));
        }
    }
    if !description.grids.is_empty() {
        page.title("PANES, shared by the views of a grid");
        for (at, grid) in description.grids.iter().enumerate() {
            of_grid(&mut page, at, grid);
        }
    }
    if !description.views.is_empty() {
        page.title("VIEWS");
        for view in &description.views {
            page.row(&[(2, "")], &view.name);
            page.row(&[(4, ""), (9, "window")], &window(&view.window));
            page.row(&[(4, ""), (9, "reads")], &reads(view));
            let shown = if view.serve { "" } else { " (not shown in profiles)" };
            page.row(&[(4, ""), (9, "outputs")], &format!("{}{shown}", view.outputs.join(", ")));
        }
    }
    page.title("DATAFLOW, by the names that timely sees");
    of_nodes(&mut page, description, NodeKind::Operator);
    page.title("STORES");
    of_nodes(&mut page, description, NodeKind::Store);
    total(&mut page, description);
    if let Some(changes) = &description.changes {
        restart(&mut page, changes);
    }
    page.0
}

fn of_grid(page: &mut Page, at: usize, grid: &GridUse) {
    page.row(&[(2, "")], &format!("grid {}  {}", at + 1, cut(grid)));
    for (panes, views) in &grid.windows {
        let panes = if *panes == 1 { "1 pane".to_owned() } else { format!("{} panes", number(panes.unsigned_abs())) };
        page.row(&[(4, ""), (20, &format!("window {panes}"))], &views.join(", "));
    }
    let by_filter = |a: &PartUse, b: &PartUse| a.filter == b.filter;
    for parts in grid.parts.chunk_by(by_filter) {
        let filter = parts[0].filter.as_deref();
        page.row(&[(4, "")], &filter.map_or_else(|| "of all events".to_owned(), |filter| format!("where {filter}")));
        for part in parts {
            let kept = format!("{} kept", number(part.panes.unsigned_abs()));
            let combined = if part.combined == "sum" { "added" } else { "combined" };
            page.row(&[(6, ""), (41, &part.label), (10, combined), (12, &kept)], &part.views.join(", "));
        }
    }
}

fn of_nodes(page: &mut Page, description: &Description, kind: NodeKind) {
    for node in description.nodes.iter().filter(|node| node.kind == kind) {
        let Node { name, reads, exchanged_by, does, keeps, .. } = node;
        let by = exchanged_by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
        page.row(&[(2, ""), (20, name)], does);
        page.row(&[(22, "")], &format!("reads {}{by}", reads.join(", ")));
        for kept in keeps {
            page.row(&[(22, "")], &keep(kept));
        }
    }
}

fn keep(kept: &Kept) -> String {
    let size = match &kept.size {
        Some(size) => format!(": {}, {}", number(size.entries), bytes(size.bytes)),
        None => ": few".to_owned(),
    };
    let row = kept.checkpoint.as_ref().map_or_else(String::new, |rows| format!("; in the checkpoint ({rows})"));
    format!("keeps {} per {}{size}{row}", kept.what, kept.per)
}

fn total(page: &mut Page, description: &Description) {
    let keeps = || description.nodes.iter().flat_map(|node| &node.keeps);
    let sum = |keeps: &mut dyn Iterator<Item = &Kept>| keeps.filter_map(|kept| kept.size).map(|size| size.bytes).sum();
    let all = description.memory_bytes();
    let inputs: u64 = sum(&mut keeps().filter(|kept| kept.checkpoint.is_some()));
    let a = &description.assumptions;
    page.title(&format!("MEMORY, about {} for {} students", bytes(all), number(a.students)));
    page.row(
        &[(2, "")],
        &format!("{} of it is in the checkpoint too; the rest is made again from that.", bytes(inputs)),
    );
    let process = description.process_bytes;
    let per_student = all.saturating_sub(process) / a.students.max(1);
    page.row(
        &[(2, "")],
        &format!(
            "{} per student; {} are the process itself and what it works on while it reads as fast as it can.",
            bytes(per_student),
            bytes(process)
        ),
    );
    let assumed = [
        ("--active-panes", a.active_panes, "panes with events on each grid that keeps as many (of sessions: sessions)"),
        ("--events-per-day", a.events_per_day, "behaviour events a day"),
        ("--evaluations", a.evaluations, "evaluations"),
        ("--grades", a.grades, "grades (subjects by periods)"),
        ("--distinct-values", a.distinct_values, "distinct values in a pane of a count(distinct x)"),
    ];
    page.row(&[(2, "")], "Assumed of a student, with the option that changes it:");
    for (option, n, what) in assumed {
        page.row(&[(4, ""), (20, option), (8, &number(n))], what);
    }
    page.row(
        &[(2, "")],
        "Sizes are those of the program's types, with what their containers reserve. Every student counts as active on every \
         grid, and every part as present in each pane. Names longer than 24 bytes, the log's caches and rendered JSON are not \
         in it.",
    );
}

fn restart(page: &mut Page, changes: &Changes) {
    match changes.as_of {
        Some(as_of) => page.title(&format!("RESTART over the state as of {as_of}")),
        None => page.title("START without a state: everything is made from the log"),
    }
    for view in &changes.views {
        page.row(&[(2, "")], &format!("{}: {}", view.name, fate(&view.fate)));
        let Fate::FromLog { parts, incomplete } = &view.fate else { continue };
        if changes.as_of.is_some() {
            page.row(&[(6, "")], &format!("the state lacks {}", parts.join(", ")));
        }
        if let Some(lost) = incomplete {
            let from = (lost.needed_from, lost.lost_before);
            page.row(
                &[(6, "")],
                &format!("its window starts at {}; what was accepted before {} is gone", from.0, from.1),
            );
            let complete = lost.complete_at.map(|at| format!("complete from {at} on"));
            page.row(&[(6, "")], &complete.unwrap_or_else(|| "what of that it needs cannot be told".to_owned()));
        }
    }
    for name in &changes.removed {
        page.row(&[(2, "")], &format!("{name}: removed"));
    }
    if changes.parts_left_out > 0 {
        let parts = if changes.parts_left_out == 1 { "part" } else { "parts" };
        let text = format!("{} {parts} of aggregates in the state that nobody needs: left out", changes.parts_left_out);
        page.row(&[(2, "")], &text);
    }
    if changes.reads.is_empty() {
        page.row(&[(2, "")], "Nothing is read from the log again.");
        return;
    }
    let records =
        if changes.records == 1 { "1 record".to_owned() } else { format!("{} records", number(changes.records)) };
    let again = if changes.as_of.is_some() { " once more, while what is there is shown" } else { "" };
    page.row(&[(2, "")], &format!("Read from the log{again}: {records}"));
    for read in changes.reads.iter().filter(|read| read.to > read.from) {
        let place = format!("{}/{}", read.topic, read.partition);
        let first = read.first_accepted_at.map_or_else(String::new, |at| format!(", the first accepted at {at}"));
        page.row(&[(4, ""), (24, &place)], &format!("offsets {} to {}{first}", number(read.from), number(read.to - 1)));
    }
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    fn title(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.row(&[], title);
    }

    /// Columns of a width each, and a text behind them that goes on below itself where the line is full. A column that
    /// is wider than it should be has a line of its own.
    fn row(&mut self, columns: &[(usize, &str)], text: &str) {
        let mut line = String::new();
        let mut at = 0;
        for (width, column) in columns {
            at += width;
            line.push_str(column);
            if line.chars().count() >= at && !column.is_empty() {
                self.wrapped(&line, at - width + 2);
                line.clear();
            }
            let used = line.chars().count();
            line.extend(std::iter::repeat_n(' ', at.saturating_sub(used)));
        }
        line.push_str(text);
        self.wrapped(&line, at);
    }

    /// A line, broken between words where it is too long, or within a word that is.
    fn wrapped(&mut self, line: &str, indent: usize) {
        let mut rest: Vec<char> = line.trim_end().chars().collect();
        while rest.len() > WIDTH {
            let space = rest[..=WIDTH].iter().rposition(|c| *c == ' ').filter(|at| *at > indent);
            let (end, next) = space.map_or((WIDTH, WIDTH), |at| (at, at + 1));
            let tail = rest.split_off(next);
            rest.truncate(end);
            let _ = writeln!(self.0, "{}", rest.iter().collect::<String>().trim_end());
            rest = std::iter::repeat_n(' ', indent).chain(tail).collect();
        }
        let _ = writeln!(self.0, "{}", rest.iter().collect::<String>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_go_on_below_themselves() {
        let mut page = Page::default();
        page.row(&[(2, ""), (6, "name")], &"word ".repeat(30));
        page.row(&[(2, ""), (6, "a_long_name")], &"x".repeat(130));
        let lines: Vec<_> = page.0.lines().collect();
        assert_eq!(lines[0], format!("  name  {}", "word ".repeat(22).trim_end()));
        assert_eq!(lines[1], format!("        {}", "word ".repeat(8).trim_end()));
        assert_eq!(lines[2], "  a_long_name");
        assert_eq!((lines[3].len(), lines[4].trim().len(), lines.len()), (120, 18, 5));
    }
}

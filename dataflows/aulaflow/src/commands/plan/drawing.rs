//! A description as nodes and edges, for formats that draw; and numbers for people.

use aulaflow_engine::Description;
use aulaflow_engine::describe::{Fate, GridUse, Kept, Node, NodeKind, Reads, ViewUse};
use aulaflow_model::window::{WindowKind, WindowSpec};
use aulaflow_plan::quantity::format_duration;
use std::time::Duration;

/// The operator that the grids and views are in.
const PANES: &str = "Panes";
/// The operator that takes the views' rows.
const PROFILES: &str = "Profiles";
/// Where views over grades are computed.
const STORE: &str = "serving store";

/// What a node looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Kept outside of the dataflow.
    Cylinder,
    /// An operator.
    Box,
    /// A grid of panes.
    Hexagon,
    /// A view.
    Round,
}

/// A node.
#[derive(Debug)]
pub struct Drawn {
    /// Unique, of letters, digits and `_`.
    pub id: String,
    /// Its shape.
    pub shape: Shape,
    /// What is written on it.
    pub lines: Vec<String>,
}

/// A drawing.
#[derive(Debug, Default)]
pub struct Drawing {
    /// Topics, operators and stores.
    pub nodes: Vec<Drawn>,
    /// Grids and views, inside of the pane operator.
    pub panes: Vec<Drawn>,
    /// From, to, and whether only when somebody reads.
    pub edges: Vec<(String, String, bool)>,
}

/// A description as a drawing.
pub fn draw(description: &Description) -> Drawing {
    let mut drawing = Drawing::default();
    let views = &description.views;
    let served = |view: &&ViewUse| view.serve && view.grid.is_some();
    let through_views =
        |node: &Node, read: &str| node.name == PROFILES && read == PANES && views.iter().any(|view| served(&view));
    let view_id = |name: &str| views.iter().position(|view| view.name == name).map(|at| format!("view{at}"));
    for (at, node) in description.nodes.iter().enumerate() {
        let shape = match node.kind {
            NodeKind::Topic | NodeKind::Store => Shape::Cylinder,
            NodeKind::Operator => Shape::Box,
        };
        drawing.nodes.push(Drawn { id: format!("node{at}"), shape, lines: node_lines(node) });
        for read in node.reads.iter().filter(|read| !through_views(node, read)) {
            let from = node_id(description, read);
            drawing.edges.extend(from.map(|from| (from, format!("node{at}"), false)));
        }
    }
    let (panes, profiles) = (node_id(description, PANES), node_id(description, PROFILES));
    for (at, grid) in description.grids.iter().enumerate() {
        drawing.panes.push(Drawn { id: format!("grid{at}"), shape: Shape::Hexagon, lines: grid_lines(at, grid) });
        drawing.edges.extend(panes.clone().map(|panes| (panes, format!("grid{at}"), false)));
    }
    for (at, view) in views.iter().enumerate() {
        let mut lines = vec![view.name.clone(), window(&view.window)];
        lines.push(view.outputs.join(", "));
        lines.extend(description.changes.as_ref().map(|changes| fate(&changes.views[at].fate).to_owned()));
        drawing.panes.push(Drawn { id: format!("view{at}"), shape: Shape::Round, lines });
        let from = match &view.reads {
            Reads::Table(_) => view.grid.map(|grid| format!("grid{grid}")),
            Reads::View(inner) => view_id(inner),
            Reads::Grades => node_id(description, STORE),
        };
        drawing.edges.extend(from.map(|from| (from, format!("view{at}"), view.reads == Reads::Grades)));
        let shown = profiles.clone().filter(|_| served(&view));
        drawing.edges.extend(shown.map(|profiles| (format!("view{at}"), profiles, false)));
    }
    drawing
}

fn node_id(description: &Description, name: &str) -> Option<String> {
    description.nodes.iter().position(|node| node.name == name).map(|at| format!("node{at}"))
}

fn node_lines(node: &Node) -> Vec<String> {
    let mut lines = vec![node.name.clone(), node.does.clone()];
    lines.extend(node.keeps.iter().map(|kept| match &kept.size {
        Some(size) => format!("{}: {}{}", kept.what, bytes(size.bytes), checkpoint(kept)),
        None => format!("{} per {}{}", kept.what, kept.per, checkpoint(kept)),
    }));
    lines
}

fn checkpoint(kept: &Kept) -> &'static str {
    if kept.checkpoint.is_some() { " (in the checkpoint)" } else { "" }
}

fn grid_lines(at: usize, grid: &GridUse) -> Vec<String> {
    let mut labels: Vec<_> = grid.parts.iter().map(|part| part.label.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    let parts = match grid.parts.len() {
        1 => "1 part".to_owned(),
        n => format!("{n} parts"),
    };
    let mut lines = vec![format!("grid {}: {}", at + 1, cut(grid)), parts];
    lines.extend(labels.into_iter().map(str::to_owned));
    lines
}

/// How a grid cuts its table: `behavior in panes of 1 hour, 168 kept`.
pub fn cut(grid: &GridUse) -> String {
    let zone = grid.zone.as_ref().map_or_else(String::new, |zone| format!(" in {zone}"));
    let what = match grid.gap_ms {
        Some(gap) => format!("sessions with a gap of {}, cut at", ms(gap)),
        None => "panes of".to_owned(),
    };
    format!("{}: {what} {}{zone}, {} kept", grid.table, ms(grid.slide_ms), number(grid.panes.unsigned_abs()))
}

/// A window as it is written in SQL.
pub fn window(window: &WindowSpec) -> String {
    let zone = window.zone.as_ref().map_or_else(String::new, |zone| format!(", {}", zone.name()));
    match window.kind {
        WindowKind::Tumble => format!("tumble({}{zone})", ms(window.size_ms)),
        WindowKind::Hop => format!("hop({}, {}{zone})", ms(window.slide_ms), ms(window.size_ms)),
        WindowKind::Session => format!("session({}), events of {}", ms(window.gap_ms), ms(window.size_ms)),
        WindowKind::Present => "no window".to_owned(),
    }
}

/// What a view reads: a table with its grid, a view, or grades.
pub fn reads(view: &ViewUse) -> String {
    match (&view.reads, view.grid) {
        (Reads::Table(table), Some(grid)) => format!("{table}, grid {}", grid + 1),
        (Reads::View(inner), Some(grid)) => format!("windows of {inner}, grid {}", grid + 1),
        (Reads::Table(name) | Reads::View(name), None) => name.clone(),
        (Reads::Grades, _) => "grades, when a profile is read".to_owned(),
    }
}

/// What a restart does with a view, in short.
pub fn fate(fate: &Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::FromState => "made anew from the state",
        Fate::FromLog { .. } => "made from the log",
        Fate::WhenRead => "nothing to make: computed when a profile is read",
    }
}

/// Milliseconds in the largest whole unit.
pub fn ms(ms: i64) -> String {
    format_duration(Duration::from_millis(ms.unsigned_abs()))
}

/// A number with separators of thousands.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes, to three digits: an estimate has no more.
pub fn bytes(n: u64) -> String {
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let Some((unit, of)) = units.into_iter().find(|(_, of)| n as f64 >= *of) else { return format!("{n} B") };
    let value = n as f64 / of;
    let decimals = if value >= 99.95 { 0 } else { 1 };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (n, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), expected);
        }
        for (n, expected) in [(7, "7 B"), (1_500, "1.5 kB"), (99_960_000, "100 MB"), (3_800_000_000, "3.8 GB")] {
            assert_eq!(bytes(n), expected);
        }
        assert_eq!(ms(5_400_000), "90 minutes");
    }
}

//! What a plan becomes, as plain data for people and tools: the operators by the names that timely sees, what they keep
//! and how much memory that takes, the panes that views share, and what a restart over a given state would do.
//!
//! Nothing is decided here. The layout is the one that the engine starts with, what a restart makes anew is asked of the
//! functions that start it, and sizes come from the types that are kept.

mod changes;
mod graph;
mod sizes;

pub use graph::SERVING_STORE;
pub use sizes::{block as allocated, table as table_bytes};

pub use changes::{Changes, Fate, Incomplete, Read, StateSummary, SummaryError, ViewChange};

use crate::layout::{Layout, ViewLayout};
use crate::sum::Slot;
use aulaflow_model::window::WindowSpec;
use aulaflow_plan::Plan;
use aulaflow_plan::sql::{Relation, View};
use serde::Serialize;

/// What sizes are estimated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Assumptions {
    /// Students. Default a million.
    pub students: u64,
    /// Panes of a grid that hold events of a student, if it keeps as many; of sessions, the sessions. Default 20: a month
    /// of school days, or a week of school hours.
    pub active_panes: u64,
    /// Behaviour events of a student in 24 hours. Default 40.
    pub events_per_day: u64,
    /// Evaluations of a student. Default 60.
    pub evaluations: u64,
    /// Grades of a student: subjects by periods. Default 6.
    pub grades: u64,
    /// Distinct values in a pane of a `count(distinct x)`. Default 5.
    pub distinct_values: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            students: 1_000_000,
            active_panes: 20,
            events_per_day: 40,
            evaluations: 60,
            grades: 6,
            distinct_values: 5,
        }
    }
}

/// What a plan becomes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// What sizes are estimated for.
    pub assumptions: Assumptions,
    /// Topics, operators and stores, each after what it reads.
    pub nodes: Vec<Node>,
    /// Source tables.
    pub tables: Vec<TableUse>,
    /// Grids of panes.
    pub grids: Vec<GridUse>,
    /// Views, in the plan's order.
    pub views: Vec<ViewUse>,
    /// What a restart would do, where that was asked.
    pub changes: Option<Changes>,
    /// Bytes that the process takes beside what nodes keep: itself, and what it works on while it reads as fast as it can.
    pub process_bytes: u64,
}

impl Description {
    /// All of it, in bytes of resident memory.
    pub fn memory_bytes(&self) -> u64 {
        let kept = self.nodes.iter().flat_map(|node| &node.keeps).filter_map(|kept| kept.size);
        self.process_bytes + kept.map(|size| size.bytes).sum::<u64>()
    }
}

/// What a node of the dataflow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A topic of the log.
    Topic,
    /// An operator or arrangement of the dataflow.
    Operator,
    /// What is outside of the dataflow and kept.
    Store,
}

/// A topic, an operator or a store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its name; of an operator the one that timely sees.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// The names of the nodes that it reads.
    pub reads: Vec<String>,
    /// What chooses the worker, where it is not the one that has the data already.
    pub exchanged_by: Option<String>,
    /// What it does.
    pub does: String,
    /// What it keeps.
    pub keeps: Vec<Kept>,
}

/// Something that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// What.
    pub what: String,
    /// One for each of these.
    pub per: String,
    /// How many and how many bytes in memory, under the assumptions; `None`: it does not grow with the students.
    pub size: Option<Size>,
    /// The rows of the checkpoint that hold it; `None`: it is made again from what the others hold.
    pub checkpoint: Option<String>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Entries.
    pub entries: u64,
    /// Bytes in memory.
    pub bytes: u64,
}

/// A source table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableUse {
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// How far the event clock stays behind.
    pub lateness_ms: i64,
    /// How long event ids are remembered.
    pub dedupe_horizon_ms: Option<i64>,
}

/// A way to cut a table's events into panes, which views share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GridUse {
    /// The table.
    pub table: String,
    /// The width of a pane.
    pub slide_ms: i64,
    /// The calendar that its days are of.
    pub zone: Option<String>,
    /// Of sessions: the pause that ends one.
    pub gap_ms: Option<i64>,
    /// How many panes are kept.
    pub panes: i64,
    /// How many panes each window covers, and the views with that window.
    pub windows: Vec<(i64, Vec<String>)>,
    /// The parts of aggregates in each pane.
    pub parts: Vec<PartUse>,
}

/// A part of an aggregate in the panes of a grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartUse {
    /// What it computes.
    pub label: String,
    /// How panes are combined: `sum`, `min`, …
    pub combined: String,
    /// How many panes of it are kept.
    pub panes: i64,
    /// The condition of the events that count, in its canonical form.
    pub filter: Option<String>,
    /// The views that read it.
    pub views: Vec<String>,
    /// Whether it must be made from the log.
    pub missing: bool,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ViewUse {
    /// Its name.
    pub name: String,
    /// Its window.
    pub window: WindowSpec,
    /// What it reads.
    pub reads: Reads,
    /// The place of its grid in [`Description::grids`]; `None` over grades.
    pub grid: Option<usize>,
    /// Its outputs.
    pub outputs: Vec<String>,
    /// Whether profiles show it.
    pub serve: bool,
}

/// What a view reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// The events of a table.
    Table(String),
    /// The windows of another view.
    View(String),
    /// The student's present grades.
    Grades,
}

/// Describes a plan, and what a start over a state would do.
pub fn describe(plan: &Plan, state: Option<&StateSummary>, assumptions: Assumptions) -> Description {
    let covered = state.and_then(StateSummary::covered);
    let (layout, _) = crate::start::layout(plan, covered);
    let table = |table: &aulaflow_plan::sql::Table| TableUse {
        name: table.name.clone(),
        topic: table.topic.clone(),
        lateness_ms: table.lateness_ms,
        dedupe_horizon_ms: table.dedupe_horizon_ms,
    };
    Description {
        assumptions,
        nodes: graph::nodes(plan, &layout, &assumptions),
        tables: plan.tables.iter().map(table).collect(),
        grids: (0..layout.grids.len()).map(|grid| grid_use(plan, &layout, grid)).collect(),
        views: plan.views.iter().enumerate().map(|(at, view)| view_use(plan, &layout, at, view)).collect(),
        changes: state.map(|state| changes::changes(plan, &layout, state)),
        process_bytes: sizes::process(plan, &layout, &assumptions),
    }
}

fn names<'a>(plan: &Plan, views: impl IntoIterator<Item = &'a u16>) -> Vec<String> {
    let name = |view: &u16| plan.views[usize::from(*view)].schema.name.clone();
    views.into_iter().map(name).collect()
}

fn grid_use(plan: &Plan, layout: &Layout, index: usize) -> GridUse {
    let grid = &layout.grids[index];
    let with_window = |window: usize| {
        let has = |placed: &ViewLayout| match placed {
            ViewLayout::Panes(placed) => placed.grid == index && placed.window == window,
            ViewLayout::Windows { .. } | ViewLayout::Present => false,
        };
        let views = layout.views.iter().zip(&plan.views).filter(|(placed, _)| has(placed));
        views.map(|(_, view)| view.schema.name.clone()).collect()
    };
    let mut windows: Vec<_> = grid.windows.iter().enumerate().map(|(at, panes)| (*panes, with_window(at))).collect();
    windows.sort();
    let parts = layout.slots.iter().flatten().filter(|info| usize::from(info.grid) == index);
    let part = |info: &crate::layout::SlotInfo| PartUse {
        label: info.label.clone(),
        combined: info.kind.name().to_owned(),
        panes: info.panes,
        filter: filter_of(plan, layout, info.number),
        views: names(plan, &info.views),
        missing: info.missing,
    };
    // Numbers depend on what was there before; the order shall not.
    let mut parts: Vec<_> = parts.map(part).collect();
    parts.sort_by(|a, b| (&a.filter, &a.label, &a.views).cmp(&(&b.filter, &b.label, &b.views)));
    GridUse {
        table: plan.tables[grid.table].name.clone(),
        slide_ms: grid.spec.slide_ms,
        zone: grid.spec.zone.as_ref().map(|zone| zone.name().to_owned()),
        gap_ms: grid.is_session().then_some(grid.spec.gap_ms),
        panes: grid.panes,
        windows,
        parts,
    }
}

/// The condition that a slot's events meet.
fn filter_of(plan: &Plan, layout: &Layout, slot: Slot) -> Option<String> {
    let holds = |filter: &crate::layout::FilterProgram| {
        let of_grid = |grid: &crate::layout::GridProgram| {
            grid.rows == slot || grid.adds.iter().any(|(add, ..)| *add == slot) || grid.tails.contains(&slot)
        };
        filter.grids.iter().any(of_grid)
    };
    let programs = layout.programs.iter().flat_map(|p| p.filters.iter().map(move |filter| (p.table, filter)));
    let (table, filter) = programs.into_iter().find(|(_, filter)| holds(filter))?;
    let columns = &plan.tables[table].columns;
    let name = |index: usize| columns.get(index).map_or_else(String::new, |column| column.name.clone());
    filter.filter.as_ref().map(|filter| filter.canonical(&name))
}

fn view_use(plan: &Plan, layout: &Layout, index: usize, view: &View) -> ViewUse {
    ViewUse {
        name: view.schema.name.clone(),
        window: view.schema.window.clone(),
        reads: match view.source {
            Relation::Table(table) => Reads::Table(plan.tables[table].name.clone()),
            Relation::View(inner) => Reads::View(plan.views[inner].schema.name.clone()),
            Relation::Grades => Reads::Grades,
        },
        grid: layout.grid_of(index),
        outputs: view.schema.outputs.clone(),
        serve: view.serve,
    }
}

#[cfg(test)]
mod tests;

//! What the views of a plan share: grids of panes, slots in them, and which events add to which slots. Pure; made once
//! at start from the plan and from what the state holds.
//!
//! - A *grid* is a way to cut a table's events into panes: views over one table with the same slide and calendar share one.
//! - A *slot* is one part of an aggregate under one filter: views that need the same part share it.
//! - A *filter*'s views see the same events, and evaluate each argument once. An argument that has no value for an event
//!   leaves it out of its own aggregates' slots alone: the rows, and everybody else, count it.
//!
//! A slot keeps its number from checkpoint to checkpoint by its identity, a hash of what it computes.

use crate::cells::Kind;
use crate::fold::{Fold, Op, Place, keeps_value, needs};
use crate::state::{KnownSlot, KnownSlots};
use crate::sum::Slot;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::Millis;
use aulaflow_model::window::{WindowKind, WindowSpec};
use aulaflow_plan::Plan;
use aulaflow_plan::sql::expr::Expr;
use aulaflow_plan::sql::{Output, Relation, View};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

/// Window widths on one grid at most: each is a bit. More make another grid.
const WINDOWS_MAX: usize = 64;

/// A way to cut a table's events into panes.
#[derive(Debug)]
pub struct Grid {
    /// The table.
    pub table: usize,
    /// Slide and calendar; of sessions the gap too.
    pub spec: WindowSpec,
    /// How many panes each window covers, without repetition.
    pub windows: Vec<i64>,
    /// How many panes are kept.
    pub panes: i64,
    /// Views over windows of a view on this grid.
    pub outers: Vec<ViewIndex>,
    /// Views whose row changes at every boundary.
    pub clocked: Vec<ViewIndex>,
    /// A hash of table, slide, calendar, and of sessions what they consist of.
    pub identity: u64,
    key: String,
}

impl Grid {
    /// Whether its panes hold sessions.
    pub fn is_session(&self) -> bool {
        self.spec.kind == WindowKind::Session
    }
}

/// A part of an aggregate.
#[derive(Debug)]
pub struct SlotInfo {
    /// Its number.
    pub number: Slot,
    /// Its grid.
    pub grid: u16,
    /// How its contents are combined.
    pub kind: Kind,
    /// How many panes of it are needed.
    pub panes: i64,
    /// The windows of its grid that keep a running sum of it, as bits.
    pub windows: u64,
    /// The views that read it.
    pub views: SmallVec<[ViewIndex; 4]>,
    /// What it computes, for people: `count(*)`, `sum(value)`.
    pub label: String,
    /// A hash of what it computes.
    pub identity: u64,
    /// Whether the state has nothing of it: it is made from the log.
    pub missing: bool,
}

/// Where a view's numbers come from.
pub enum ViewLayout {
    /// From the panes of a grid.
    Panes(PaneView),
    /// From the windows of another view, which is on a grid.
    Windows {
        /// That view.
        inner: usize,
        /// How many panes of that view's grid it looks back.
        panes: i64,
        /// Its aggregates.
        fold: Fold,
    },
    /// From what is true when somebody reads: not here.
    Present,
}

/// A view on a grid.
pub struct PaneView {
    /// The grid.
    pub grid: usize,
    /// Its window among the grid's.
    pub window: usize,
    /// Rows in the window: 0 means that the view has no row.
    pub rows: Slot,
    /// Its aggregates.
    pub places: Vec<Place>,
    /// Its slots that are no sums.
    pub parts: Vec<Slot>,
    /// The last events.
    pub tail: Option<Slot>,
}

/// What the events of a table go through.
pub struct Program {
    /// The table.
    pub table: usize,
    /// By filter.
    pub filters: Vec<FilterProgram>,
    /// All grids of the table.
    pub grids: Vec<usize>,
}

/// What an event adds under one filter, on every grid.
pub struct FilterProgram {
    /// The filter.
    pub filter: Option<Expr>,
    /// The arguments of aggregates, each list once.
    pub arguments: Vec<ArgumentProgram>,
    /// Per grid.
    pub grids: Vec<GridProgram>,
    /// The views and their grids, for messages.
    pub views: Vec<(String, usize)>,
    key: String,
}

/// The arguments of aggregates.
pub struct ArgumentProgram {
    /// The expressions.
    pub expressions: Vec<Expr>,
    /// Who needs them, for messages and metrics.
    pub readers: Vec<Reader>,
}

/// An output that reads an aggregate.
pub struct Reader {
    /// The view.
    pub view: String,
    /// The output.
    pub output: String,
    /// The view's grid.
    pub grid: usize,
    /// Whether the aggregate keeps its argument's value, so that a text must not be too long for it.
    pub keeps_value: bool,
}

/// What an event adds on one grid.
pub struct GridProgram {
    /// The grid.
    pub grid: usize,
    /// Rows.
    pub rows: Slot,
    /// What to add where, from which arguments.
    pub adds: Vec<(Slot, Op, Kind, usize)>,
    /// Where the last events are kept.
    pub tails: Vec<Slot>,
}

/// All of it.
pub struct Layout {
    /// Grids.
    pub grids: Vec<Grid>,
    /// By number; `None`: the number belonged to what no view needs any more.
    pub slots: Vec<Option<SlotInfo>>,
    /// By view.
    pub views: Vec<ViewLayout>,
    /// Per table with views.
    pub programs: Vec<Program>,
    /// Numbers of tables, by their place in the plan: the same in every checkpoint.
    pub tables: Vec<u16>,
    /// The tables' names by number.
    pub table_names: Vec<String>,
}

impl Layout {
    /// The layout of a plan. Slots and tables that a state knows keep their numbers.
    pub fn new(plan: &Plan, known: &KnownSlots) -> Self {
        let mut build = Build { plan, layout: Self::empty(plan, &known.tables) };
        for (index, view) in plan.views.iter().enumerate() {
            if let Relation::Table(table) = view.source {
                let placed = build.pane_view(index, view, table);
                build.layout.views[index] = ViewLayout::Panes(placed);
            }
        }
        for (index, view) in plan.views.iter().enumerate() {
            if let Relation::View(inner) = view.source {
                build.window_view(index, view, inner);
            }
        }
        let mut layout = build.layout;
        layout.number(known);
        layout
    }

    /// Whether there are numbers left for the slots of a plan that a state does not know. A plan's own slots always have
    /// one: `aulaflow check` counts them. But a number is never given twice, so that changes of views use them up.
    pub fn has_room(plan: &Plan, known: &KnownSlots) -> bool {
        let fresh = Self::new(plan, &KnownSlots::default());
        let is_known =
            |info: &SlotInfo| known.slots.iter().any(|k| k.identity == info.identity && k.panes >= info.panes);
        let new = fresh.slots.iter().flatten().filter(|info| !is_known(info)).count();
        usize::from(known.next) + new <= usize::from(Slot::MAX)
    }

    fn empty(plan: &Plan, known_tables: &[String]) -> Self {
        let mut table_names = known_tables.to_vec();
        let name_of = |table: &aulaflow_plan::sql::Table| format!("{} {}", table.topic, table.name);
        let tables = plan.tables.iter().map(|table| {
            let name = name_of(table);
            let at = table_names.iter().position(|known| *known == name).unwrap_or_else(|| {
                table_names.push(name);
                table_names.len() - 1
            });
            at as u16
        });
        let tables = tables.collect();
        let views = plan.views.iter().map(|_| ViewLayout::Present).collect();
        Self { grids: Vec::new(), slots: Vec::new(), views, programs: Vec::new(), tables, table_names }
    }

    /// A slot that a view needs.
    pub fn slot(&self, slot: Slot) -> Option<&SlotInfo> {
        self.slots.get(usize::from(slot)).and_then(Option::as_ref)
    }

    /// How a slot's contents are combined.
    pub fn kind(&self, slot: Slot) -> Kind {
        self.slot(slot).map_or(Kind::Sum, |info| info.kind)
    }

    /// What a state must know of it, to give the same numbers again.
    pub fn known(&self) -> KnownSlots {
        let known = |info: &SlotInfo| KnownSlot { identity: info.identity, number: info.number, panes: info.panes };
        let slots = self.slots.iter().flatten().map(known).collect();
        KnownSlots { slots, next: self.slots.len() as Slot, tables: self.table_names.clone() }
    }

    /// The first pane that is needed at a clock, by grid.
    pub fn panes_from(&self, clock: Millis) -> BTreeMap<u64, i64> {
        self.grids.iter().map(|grid| (grid.identity, grid.spec.pane(clock) - grid.panes + 1)).collect()
    }

    /// The views that need slots which the state has nothing of.
    pub fn missing_views(&self) -> BTreeSet<ViewIndex> {
        self.slots.iter().flatten().filter(|info| info.missing).flat_map(|info| info.views.iter().copied()).collect()
    }

    /// The grid that a view's numbers come from.
    pub fn grid_of(&self, view: usize) -> Option<usize> {
        match self.views.get(view)? {
            ViewLayout::Panes(placed) => Some(placed.grid),
            ViewLayout::Windows { inner, .. } => self.grid_of(*inner),
            ViewLayout::Present => None,
        }
    }

    /// Gives slots their final numbers: those that the state knows, with enough panes, keep theirs; the others get
    /// numbers that no row of the state uses.
    fn number(&mut self, known: &KnownSlots) {
        let mut next = known.next;
        let mut numbers = Vec::with_capacity(self.slots.len());
        for info in self.slots.iter_mut().flatten() {
            let kept = known.slots.iter().find(|k| k.identity == info.identity && k.panes >= info.panes);
            info.missing = kept.is_none();
            info.number = kept.map_or(next, |k| k.number);
            if kept.is_none() {
                next = next.checked_add(1).unwrap_or_else(|| unreachable!("who starts has asked `has_room`"));
            }
            numbers.push(info.number);
        }
        let of = |slot: &mut Slot| *slot = numbers[usize::from(*slot)];
        for view in &mut self.views {
            if let ViewLayout::Panes(view) = view {
                of(&mut view.rows);
                view.places.iter_mut().flat_map(|place| &mut place.slots).for_each(of);
                view.parts.iter_mut().chain(&mut view.tail).for_each(of);
            }
        }
        for program in self.programs.iter_mut().flat_map(|p| &mut p.filters) {
            for grid in &mut program.grids {
                of(&mut grid.rows);
                grid.adds.iter_mut().for_each(|(slot, ..)| of(slot));
                grid.tails.iter_mut().for_each(of);
            }
        }
        let infos = std::mem::take(&mut self.slots);
        self.slots.resize_with(usize::from(next), || None);
        for info in infos.into_iter().flatten() {
            let at = usize::from(info.number);
            self.slots[at] = Some(info);
        }
    }
}

struct Build<'p> {
    plan: &'p Plan,
    layout: Layout,
}

impl Build<'_> {
    fn pane_view(&mut self, index: usize, view: &View, table: usize) -> PaneView {
        let key = self.filter_key(view, table);
        let session = view.schema.window.kind == WindowKind::Session;
        let (grid, window) = self.grid(view, table, if session { &key } else { "" });
        let place = (index as ViewIndex, grid, window);
        let panes = view.schema.window.panes();
        let rows = self.slot(&key, place, panes, Kind::Sum, "count(*)");
        let filter = self.filter(&key, view, table, (grid, rows));
        let mut placed = PaneView { grid, window, rows, places: Vec::new(), parts: Vec::new(), tail: None };
        for (number, aggregate) in view.aggregates.iter().enumerate() {
            let text = self.texts(&aggregate.arguments, table);
            let readers = readers(view, number, grid);
            let argument = self.at(filter).argument(&aggregate.arguments, readers);
            let mut slots = SmallVec::new();
            for (op, kind) in needs(aggregate.function) {
                let slot = self.slot(&key, place, panes, *kind, &label(*op, *kind, &text));
                let grid = grid_of(self.at(filter), grid);
                if !grid.adds.iter().any(|(known, ..)| *known == slot) {
                    grid.adds.push((slot, *op, *kind, argument));
                }
                if *kind != Kind::Sum {
                    placed.parts.push(slot);
                }
                slots.push(slot);
            }
            placed.places.push(Place { function: aggregate.function, slots });
        }
        if view.explain_events > 0 {
            let most = view.explain_events;
            let slot = self.slot(&key, place, panes, Kind::Tail(most), &format!("last {most} events"));
            let grid = grid_of(self.at(filter), grid);
            if !grid.tails.contains(&slot) {
                grid.tails.push(slot);
            }
            placed.tail = Some(slot);
        }
        if view.reads_bounds {
            self.layout.grids[grid].clocked.push(index as ViewIndex);
        }
        placed
    }

    /// A view over the windows of another: what that one needs is kept for as long as this one's window.
    fn window_view(&mut self, index: usize, view: &View, inner: usize) {
        let ViewLayout::Panes(source) = &self.layout.views[inner] else { return };
        let (grid, window) = (source.grid, &view.schema.window);
        let spec = &self.plan.views[inner].schema.window;
        let session = if spec.kind == WindowKind::Session { spec.size_ms } else { 0 };
        let panes = (window.size_ms + session).div_euclid(spec.slide_ms) + if session > 0 { 2 } else { 0 };
        let slots = source.places.iter().flat_map(|place| place.slots.iter().copied());
        let slots: Vec<_> = std::iter::once(source.rows).chain(slots).collect();
        for slot in slots {
            let Some(info) = &mut self.layout.slots[usize::from(slot)] else { continue };
            info.panes = info.panes.max(panes);
            info.views.push(index as ViewIndex);
        }
        let grid = &mut self.layout.grids[grid];
        grid.panes = grid.panes.max(panes);
        grid.outers.push(index as ViewIndex);
        self.layout.views[index] = ViewLayout::Windows { inner, panes, fold: Fold::new(&view.aggregates) };
    }

    /// The grid of a view, and its window on it.
    fn grid(&mut self, view: &View, table: usize, sessions_of: &str) -> (usize, usize) {
        let window = &view.schema.window;
        let zone = window.zone.as_ref().map_or("", |zone| zone.name());
        let table_name = &self.layout.table_names[usize::from(self.layout.tables[table])];
        let panes = window.panes();
        let key_of = |serial: usize| {
            format!("{table_name}\0{}\0{zone}\0{}\0{sessions_of}\0{serial}", window.slide_ms, window.gap_ms)
        };
        // The first grid of its kind that has the window or room for it; grids of a kind are told apart by a number.
        let grids = &self.layout.grids;
        let full = |key: &String| {
            let grid = grids.iter().find(|grid| grid.key == *key);
            grid.is_some_and(|grid| !grid.windows.contains(&panes) && grid.windows.len() >= WINDOWS_MAX)
        };
        let key = (0..).map(key_of).find(|key| !full(key)).unwrap_or_default();
        let at = grids.iter().position(|grid| grid.key == key).unwrap_or_else(|| {
            let identity = xxh3_64(key.as_bytes());
            let spec = window.clone();
            let (windows, outers, clocked) = (Vec::new(), Vec::new(), Vec::new());
            self.layout.grids.push(Grid { table, spec, windows, panes, outers, clocked, identity, key });
            self.layout.grids.len() - 1
        });
        let grid = &mut self.layout.grids[at];
        grid.panes = grid.panes.max(panes);
        let window = grid.windows.iter().position(|known| *known == panes).unwrap_or_else(|| {
            grid.windows.push(panes);
            grid.windows.len() - 1
        });
        (at, window)
    }

    /// A slot, shared with whoever needs the same on the same grid.
    fn slot(
        &mut self,
        key: &str,
        (view, grid, window): (ViewIndex, usize, usize),
        panes: i64,
        kind: Kind,
        label: &str,
    ) -> Slot {
        let of_grid = &self.layout.grids[grid];
        let identity = xxh3_64(format!("{}\0{}\0{label}", of_grid.key, key).as_bytes());
        let bit = if of_grid.is_session() { 0 } else { 1 << window };
        let known =
            self.layout.slots.iter_mut().flatten().find(|s| s.identity == identity && usize::from(s.grid) == grid);
        if let Some(info) = known {
            info.panes = info.panes.max(panes);
            info.windows |= bit;
            if !info.views.contains(&view) {
                info.views.push(view);
            }
            return info.number;
        }
        let number = self.layout.slots.len() as Slot;
        self.layout.slots.push(Some(SlotInfo {
            number,
            grid: grid as u16,
            kind,
            panes,
            windows: bit,
            views: smallvec::smallvec![view],
            label: label.to_owned(),
            identity,
            missing: true,
        }));
        number
    }

    /// The program of a view's filter, with its grid in it.
    fn filter(&mut self, key: &str, view: &View, table: usize, (grid, rows): (usize, Slot)) -> [usize; 2] {
        let programs = &mut self.layout.programs;
        let program = programs.iter().position(|p| p.table == table).unwrap_or_else(|| {
            programs.push(Program { table, filters: Vec::new(), grids: Vec::new() });
            programs.len() - 1
        });
        if !programs[program].grids.contains(&grid) {
            programs[program].grids.push(grid);
        }
        let filters = &mut programs[program].filters;
        let filter = filters.iter().position(|f| f.key == *key).unwrap_or_else(|| {
            let (arguments, grids, views) = (Vec::new(), Vec::new(), Vec::new());
            filters.push(FilterProgram { filter: view.filter.clone(), arguments, grids, views, key: key.to_owned() });
            filters.len() - 1
        });
        let program_of = &mut filters[filter];
        program_of.views.push((view.schema.name.clone(), grid));
        if !program_of.grids.iter().any(|g| g.grid == grid) {
            program_of.grids.push(GridProgram { grid, rows, adds: Vec::new(), tails: Vec::new() });
        }
        [program, filter]
    }

    fn at(&mut self, [program, filter]: [usize; 2]) -> &mut FilterProgram {
        &mut self.layout.programs[program].filters[filter]
    }

    fn filter_key(&self, view: &View, table: usize) -> String {
        view.filter.iter().map(|f| self.text(f, table)).chain(["\0".to_owned()]).collect()
    }

    /// The canonical text of an expression over a table.
    fn text(&self, expression: &Expr, table: usize) -> String {
        let columns = &self.plan.tables[table].columns;
        expression.canonical(&|index| columns.get(index).map_or_else(String::new, |column| column.name.clone()))
    }

    fn texts(&self, expressions: &[Expr], table: usize) -> String {
        expressions.iter().map(|e| self.text(e, table)).collect::<Vec<_>>().join(", ")
    }
}

impl FilterProgram {
    /// The place of an argument list, with whoever needs it.
    fn argument(&mut self, expressions: &[Expr], readers: Vec<Reader>) -> usize {
        let at = self.arguments.iter().position(|known| known.expressions == expressions).unwrap_or_else(|| {
            self.arguments.push(ArgumentProgram { expressions: expressions.to_vec(), readers: Vec::new() });
            self.arguments.len() - 1
        });
        self.arguments[at].readers.extend(readers);
        at
    }
}

/// The outputs of a view that read one of its aggregates.
fn readers(view: &View, aggregate: usize, grid: usize) -> Vec<Reader> {
    let reads = |output: &Output| match output {
        Output::Aggregate(index) => *index == aggregate,
        Output::Expression(expression) => expression.reads(aggregate),
    };
    let named = view.schema.outputs.iter().zip(&view.outputs).filter(|(_, output)| reads(output));
    let keeps_value = keeps_value(view.aggregates[aggregate].function);
    let reader = |name: &String| Reader { view: view.schema.name.clone(), output: name.clone(), grid, keeps_value };
    named.map(|(name, _)| reader(name)).collect()
}

fn grid_of(filter: &mut FilterProgram, grid: usize) -> &mut GridProgram {
    let at = filter.grids.iter().position(|g| g.grid == grid);
    let at = at.unwrap_or_else(|| unreachable!("a filter has the grid that it was asked for with"));
    &mut filter.grids[at]
}

/// What a slot computes, for people and for its identity.
fn label(op: Op, kind: Kind, arguments: &str) -> String {
    match (op, kind) {
        (Op::One, _) => format!("count({arguments})"),
        (Op::Whole, _) => format!("sum({arguments})"),
        (Op::Micros, _) => format!("sum of millionths({arguments})"),
        (Op::Square, _) => format!("sum of squares({arguments})"),
        (Op::SquareHigh, _) => format!("sum of squares, high bits({arguments})"),
        (Op::PairOne, _) => format!("count of pairs({arguments})"),
        (Op::PairY, _) => format!("sum of y({arguments})"),
        (Op::PairX, _) => format!("sum of x({arguments})"),
        (Op::PairXy, _) => format!("sum of products({arguments})"),
        (Op::PairXyHigh, _) => format!("sum of products, high bits({arguments})"),
        (Op::PairXx, _) => format!("sum of squares of x({arguments})"),
        (Op::PairXxHigh, _) => format!("sum of squares of x, high bits({arguments})"),
        (Op::Value | Op::Any, kind) => format!("{}({arguments})", kind.name()),
    }
}

#[cfg(test)]
mod tests;

//! Behaviour events as views see them: which views one counts in, whether it repeats another, and how a student's list of
//! them is kept.

use super::Class;
use crate::cells::Scalar;
use crate::fold::{arguments, keeps_value};
use crate::layout::Layout;
use crate::operators::behavior::EventRow;
use crate::panes::PaneNumbers;
use aulaflow_log::RecordRef;
use aulaflow_model::event::{Behavior, Origin, decode_behavior};
use aulaflow_model::ids::TenantId;
use aulaflow_model::instant::Millis;
use aulaflow_plan::Plan;
use aulaflow_plan::sql::expr::{Expr, Row};
use aulaflow_plan::sql::{AggregateFunction, Column, Relation};
use compact_str::CompactString;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// For how many generations after its own an event's id counts as seen (see `docs/decisions/0010`).
const GENERATIONS: i64 = 3;
/// By how much records of a partition may be out of the order of their timestamps.
const DISORDER_MS: i64 = 60_000;

/// An event as it is kept of a student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When, in milliseconds.
    pub at: i64,
    /// Its id.
    pub id: CompactString,
    /// The table's place in the plan.
    pub table: u16,
    /// The views that it counts in.
    pub counts: Vec<u16>,
    /// The table's argument expressions; `None` where one has no value, or no view that counts it needs it.
    pub values: Vec<Option<Scalar>>,
}

/// What views say of an event.
pub struct Judged {
    /// Whether it is older than every window.
    pub late: bool,
    /// Whether an expression has no value.
    pub failed: bool,
    /// The views that it counts in.
    pub counts: Vec<u16>,
    /// As in [`Kept`].
    pub values: Vec<Option<Scalar>>,
}

/// What the views over one table need.
struct Program {
    table: usize,
    horizon_ms: Option<i64>,
    columns: Vec<Column>,
    expressions: Vec<Expr>,
    views: Vec<ViewProgram>,
}

struct ViewProgram {
    view: u16,
    filter: Option<Expr>,
    /// Functions, and their arguments by their places among the expressions.
    aggregates: Vec<(AggregateFunction, Vec<usize>)>,
    grid: usize,
}

/// How events become views' lists.
pub struct Events {
    programs: Vec<Program>,
    /// By view; of those that read no events 0.
    grid_of: Vec<usize>,
    /// By grid: how panes are numbered, and how many are looked back.
    grids: Vec<(PaneNumbers, i64)>,
    /// How far in the future an event may be, on the live clock.
    pub max_skew_ms: i64,
}

/// A record of `aula.behavior.v1`.
pub fn decode<'r>(record: &RecordRef<'r>) -> Result<(TenantId, Behavior<'r>), Class> {
    let json = record.value.ok_or(Class::Schema)?;
    let tenant = record.key.split(|byte| *byte == b'/').next().unwrap_or_default();
    let tenant = std::str::from_utf8(tenant).ok().and_then(|text| TenantId::new(text).ok()).ok_or(Class::Key)?;
    let event = decode_behavior(json, Origin::Log(&tenant)).map_err(|_| Class::Schema)?;
    Ok((tenant, event))
}

/// A student's list.
pub fn decode_kept(mut bytes: &[u8]) -> Vec<Kept> {
    let mut events = Vec::new();
    while let Ok((event, rest)) = postcard::take_from_bytes::<Kept>(bytes) {
        events.push(event);
        bytes = rest;
    }
    events
}

/// The arguments of aggregates over a table, each once: an event is kept with their values.
pub fn expressions(plan: &Plan, table: usize) -> Vec<Expr> {
    let mut expressions: Vec<Expr> = Vec::new();
    for view in plan.views.iter().filter(|view| view.source == Relation::Table(table)) {
        for argument in view.aggregates.iter().flat_map(|aggregate| &aggregate.arguments) {
            if !expressions.contains(argument) {
                expressions.push(argument.clone());
            }
        }
    }
    expressions
}

impl Events {
    /// For the views of a plan.
    pub fn new(plan: &Plan, layout: &Layout) -> Self {
        let grid_of: Vec<usize> = (0..plan.views.len()).map(|view| layout.grid_of(view).unwrap_or(0)).collect();
        let mut programs = Vec::new();
        for (table, definition) in plan.tables.iter().enumerate() {
            let expressions = expressions(plan, table);
            let own = plan.views.iter().enumerate().filter(|(_, view)| view.source == Relation::Table(table));
            let views: Vec<_> = own
                .map(|(index, view)| ViewProgram {
                    view: index as u16,
                    filter: view.filter.clone(),
                    aggregates: view
                        .aggregates
                        .iter()
                        .map(|a| {
                            let place = |e: &Expr| expressions.iter().position(|known| known == e).unwrap_or(0);
                            (a.function, a.arguments.iter().map(place).collect())
                        })
                        .collect(),
                    grid: grid_of[index],
                })
                .collect();
            if !views.is_empty() {
                let (horizon_ms, columns) = (definition.dedupe_horizon_ms, definition.columns.clone());
                programs.push(Program { table, horizon_ms, columns, expressions, views });
            }
        }
        let grids = layout.grids.iter().map(|grid| (PaneNumbers::new(grid.spec.clone()), grid.panes)).collect();
        let max_skew_ms = i64::try_from(plan.runtime.engine.max_skew.as_millis()).unwrap_or(i64::MAX);
        Self { programs, grid_of, grids, max_skew_ms }
    }

    /// Whether any view reads events.
    pub fn any(&self) -> bool {
        !self.programs.is_empty()
    }

    /// How long a table's event ids are remembered.
    pub fn horizon_ms(&self, program: usize) -> Option<i64> {
        self.programs[program].horizon_ms
    }

    /// How many tables are read.
    pub fn tables(&self) -> usize {
        self.programs.len()
    }

    fn in_time(&mut self, grid: usize, at: Millis, now: Millis) -> bool {
        let (numbers, panes) = &mut self.grids[grid];
        numbers.pane(at) + *panes > numbers.pane(now)
    }

    /// What the views over a table say of an event that was accepted at an instant.
    pub fn judge(&mut self, program: usize, event: &Behavior<'_>, accepted: Millis) -> Judged {
        let (at, views) = (event.occurred_at, self.programs[program].views.len());
        let in_time: Vec<bool> = (0..views)
            .map(|view| {
                let grid = self.programs[program].views[view].grid;
                self.in_time(grid, at, accepted)
            })
            .collect();
        let program = &self.programs[program];
        let row = EventRow { event, fields: &program.columns };
        let mut judged = Judged { late: true, failed: false, counts: Vec::new(), values: Vec::new() };
        let mut values: Vec<Option<Option<Scalar>>> = vec![None; program.expressions.len()];
        for (view, _) in program.views.iter().zip(&in_time).filter(|(_, in_time)| **in_time) {
            judged.late = false;
            match view.filter.as_ref().map_or(Ok(true), |filter| filter.holds(&row)) {
                Ok(true) => {
                    judged.counts.push(view.view);
                    judged.failed |= view.fails(&program.expressions, &row, &mut values);
                }
                Ok(false) => {}
                Err(_) => judged.failed = true,
            }
        }
        judged.values = values.into_iter().map(Option::flatten).collect();
        judged
    }

    /// Adds an event to a student's list, unless no window from a clock on needs it.
    pub fn keep(&mut self, program: usize, event: &Behavior<'_>, judged: &Judged, from: Millis, list: &mut Vec<u8>) {
        let mut counts = judged.counts.clone();
        counts.retain(|view| self.in_time(self.grid_of[usize::from(*view)], event.occurred_at, from));
        if counts.is_empty() {
            return;
        }
        let kept = Kept {
            at: event.occurred_at.0,
            id: CompactString::new(&event.event_id),
            table: self.programs[program].table as u16,
            counts,
            values: judged.values.clone(),
        };
        if let Ok(bytes) = postcard::to_extend(&kept, std::mem::take(list)) {
            *list = bytes;
        }
    }
}

impl ViewProgram {
    /// Whether an aggregate has no argument for an event. Each expression is evaluated once, into `values`.
    fn fails(&self, expressions: &[Expr], row: &dyn Row, values: &mut [Option<Option<Scalar>>]) -> bool {
        let mut failed = false;
        for (function, places) in &self.aggregates {
            for place in places {
                let value = values[*place].get_or_insert_with(|| {
                    arguments(&expressions[*place..=*place], row).ok().and_then(|mut one| one.pop())
                });
                failed |= value.as_ref().is_none_or(|value| value.is_long() && keeps_value(*function));
            }
        }
        failed
    }
}

/// When an event counted: its generation, and on the event clock the least and the most that it may have been, which
/// depends on when it was read.
#[derive(Debug, Clone, Copy)]
struct Counted {
    own: i64,
    least: i64,
    most: i64,
}

/// The event ids of one table in one partition.
pub struct Seen {
    width_ms: i64,
    ids: FxHashMap<u128, Counted>,
    /// Generations before this one are forgotten.
    oldest: i64,
}

impl Seen {
    /// Nothing yet.
    pub fn new(horizon_ms: i64) -> Self {
        Self { width_ms: (horizon_ms / GENERATIONS).max(1), ids: FxHashMap::default(), oldest: i64::MIN }
    }

    /// Whether an event does not repeat another one; and whether that may depend on when it was read. `high` is on the live
    /// clock the latest timestamp, and on the event clock, where `accepted` is only what one partition can tell of the clock,
    /// the highest time that it may have had.
    pub fn is_new(
        &mut self,
        id: u128,
        occurred_at: Millis,
        (accepted, high): (Millis, Millis),
        live: bool,
    ) -> (bool, bool) {
        let generation = |at: Millis| occurred_at.max(at).pane(self.width_ms);
        let own = generation(accepted);
        let now = match live {
            true => Counted { own, least: own, most: own },
            false => Counted { own, least: generation(occurred_at), most: generation(high) },
        };
        if live {
            self.forget(high);
        }
        let Some(before) = self.ids.get(&id).copied() else {
            self.ids.insert(id, now);
            return (true, false);
        };
        let new = now.own - before.own > GENERATIONS;
        let surely_old = now.most - before.least <= GENERATIONS;
        let surely_new = now.least - before.most > GENERATIONS;
        if new {
            self.ids.insert(id, now);
        }
        (new, !surely_old && !surely_new)
    }

    /// Forgets ids that nothing read from now on can repeat.
    fn forget(&mut self, high: Millis) {
        let oldest = Millis(high.0.saturating_sub(DISORDER_MS)).pane(self.width_ms) - GENERATIONS;
        if self.oldest < oldest {
            self.ids.retain(|_, counted| counted.own >= oldest);
            self.oldest = oldest;
        }
    }
}

/// What two events that repeat each other have in common.
pub fn identity(tenant: &TenantId, event: &Behavior<'_>) -> u128 {
    xxh3_128(format!("{tenant}\0{}\0{}", event.student_id, event.event_id).as_bytes())
}

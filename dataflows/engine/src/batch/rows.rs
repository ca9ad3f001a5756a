//! A student's list of events to the rows of views at a clock: those in the window, sorted by time, and added up.

use super::Row as ShownRow;
use super::events::{Kept, expressions};
use crate::cells::Scalar;
use crate::fold::{arguments_of as evaluated, keeps_value, outputs, shown};
use crate::layout::{Layout, ViewLayout};
use crate::measure::{Measure, Products};
use crate::panes::DISTINCT_MAX;
use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::Millis;
use aulaflow_model::window::WindowKind;
use aulaflow_plan::Plan;
use aulaflow_plan::sql::expr::{Row, Value};
use aulaflow_plan::sql::{Aggregate, AggregateFunction, Relation, View};
use num_bigint::BigInt;
use std::collections::{BTreeMap, BTreeSet};

/// The arguments of a view's aggregates for one event or window, by aggregate; `None`: one has no value.
type Item = Vec<Option<Vec<Scalar>>>;

/// A window or session, and what is in it.
struct Stretch<'e> {
    start: Millis,
    end: Millis,
    events: Vec<&'e Kept>,
}

/// A window of a view, as a row for views over it.
struct Inner {
    start: Millis,
    end: Millis,
    values: Vec<Scalar>,
}

impl Row for &Inner {
    fn column(&self, index: usize) -> Value<'_> {
        match self.values.get(index) {
            Some(scalar) => scalar.value(),
            None if index == self.values.len() => Value::Timestamp(self.start),
            None => Value::Timestamp(self.end),
        }
    }
}

/// By view and aggregate: the places of its arguments among the values kept of an event.
pub type Arguments = Vec<Vec<Vec<usize>>>;

/// The places of the arguments of a plan's views over tables.
pub fn arguments_of(plan: &Plan) -> Arguments {
    let of = |view: &View| {
        let Relation::Table(table) = view.source else { return Vec::new() };
        let expressions = expressions(plan, table);
        let places = |a: &Aggregate| {
            a.arguments.iter().filter_map(|e| expressions.iter().position(|known| known == e)).collect()
        };
        view.aggregates.iter().map(places).collect()
    };
    plan.views.iter().map(of).collect()
}

/// What rows are made by.
#[derive(Clone, Copy)]
pub struct Rows<'p> {
    /// The views.
    pub plan: &'p Plan,
    /// How far back views over views look.
    pub layout: &'p Layout,
    /// Where arguments are.
    pub arguments: &'p Arguments,
}

/// The events that a view counts, by time and id.
fn counted(events: &[Kept], view: usize) -> Vec<&Kept> {
    let mut counted: Vec<_> = events.iter().filter(|event| event.counts.contains(&(view as u16))).collect();
    counted.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    counted
}

/// Cut where nothing came for the gap.
fn sessions<'e>(events: &[&'e Kept], gap_ms: i64) -> Vec<Stretch<'e>> {
    let one = |run: &[&'e Kept]| {
        let (first, last) = (run.first()?.at, run.last()?.at);
        Some(Stretch { start: Millis(first), end: Millis(last + gap_ms), events: run.to_vec() })
    };
    events.chunk_by(|a, b| b.at - a.at < gap_ms).filter_map(one).collect()
}

/// The events of a session view that are considered at a clock: those in the last `panes` panes.
fn considered<'e>(view: &View, events: Vec<&'e Kept>, panes: i64, clock: Millis) -> Vec<&'e Kept> {
    let window = &view.schema.window;
    let now = window.pane(clock);
    let within = |event: &&Kept| (now - panes + 1..=now).contains(&window.pane(Millis(event.at)));
    events.into_iter().filter(within).collect()
}

type Outputs = (Vec<Scalar>, Option<(Millis, Millis)>);

impl Rows<'_> {
    /// The rows of the served views at a clock.
    pub fn at(&self, events: &[Kept], clock: Millis) -> BTreeMap<ViewIndex, ShownRow> {
        let mut rows = BTreeMap::new();
        for (index, view) in self.plan.views.iter().enumerate().filter(|(_, view)| view.serve) {
            let row = match view.source {
                Relation::Table(_) => self.base(events, index, clock),
                Relation::View(inner) => self.outer(events, index, inner, clock),
                // Made when somebody reads: see `GradeView`.
                Relation::Grades => None,
            };
            rows.extend(row.map(|(values, session)| (index as ViewIndex, (shown(&values), session))));
        }
        rows
    }

    fn base(&self, events: &[Kept], index: usize, clock: Millis) -> Option<Outputs> {
        let view = &self.plan.views[index];
        let window = &view.schema.window;
        let within = considered(view, counted(events, index), window.panes(), clock);
        if window.kind == WindowKind::Session {
            let open = sessions(&within, window.gap_ms).pop().filter(|session| session.end > clock)?;
            let bounds = (open.start, open.end);
            return Some((self.values(index, &open.events, bounds), Some(bounds)));
        }
        if within.is_empty() {
            return None;
        }
        Some((self.values(index, &within, window.bounds(clock)), None))
    }

    /// A view's outputs over events, sorted.
    fn values(&self, index: usize, events: &[&Kept], bounds: (Millis, Millis)) -> Vec<Scalar> {
        let view = &self.plan.views[index];
        let value = |event: &Kept, place: &usize| event.values.get(*place).cloned().flatten();
        let item = |event: &&Kept| -> Item {
            self.arguments[index].iter().map(|of| of.iter().map(|place| value(event, place)).collect()).collect()
        };
        let items: Vec<Item> = events.iter().map(item).collect();
        outputs(view, &aggregates(view, &items), bounds, &mut 0)
    }

    fn outer(&self, events: &[Kept], index: usize, inner: usize, clock: Millis) -> Option<Outputs> {
        let (view, source) = (&self.plan.views[index], &self.plan.views[inner]);
        let ViewLayout::Windows { panes, .. } = self.layout.views.get(index)? else { return None };
        let window = &view.schema.window;
        let session = window.kind == WindowKind::Session;
        let (from, to) = match session {
            true => (window.start_of(window.pane(clock) - window.panes() + 1), Millis(i64::MAX)),
            false => window.bounds(clock),
        };
        let stretches = stretches(source, counted(events, inner), *panes, clock);
        let row = |s: Stretch<'_>| Inner {
            start: s.start,
            end: s.end,
            values: self.values(inner, &s.events, (s.start, s.end)),
        };
        let mut rows: Vec<Inner> = stretches.into_iter().filter(|s| from <= s.start && s.start < to).map(row).collect();
        rows.retain(|row| view.filter.as_ref().is_none_or(|filter| filter.holds(&row).unwrap_or(false)));
        let mut bounds = window.bounds(clock);
        if session {
            bounds = keep_open(&mut rows, window.gap_ms).filter(|(_, end)| *end > clock)?;
        }
        let items: Vec<Item> = rows.iter().map(|row| item_of(view, row)).collect();
        if items.is_empty() {
            return None;
        }
        let values = outputs(view, &aggregates(view, &items), bounds, &mut 0);
        Some((values, session.then_some(bounds)))
    }

    /// From which instant on a view needs the events at a clock; `None` where it reads no events.
    pub fn needs_from(&self, index: usize, clock: Millis) -> Option<Millis> {
        let (view, panes) = match self.layout.views.get(index)? {
            ViewLayout::Panes(_) => (index, self.plan.views[index].schema.window.panes()),
            ViewLayout::Windows { inner, panes, .. } => (*inner, *panes),
            ViewLayout::Present => return None,
        };
        let window = &self.plan.views[view].schema.window;
        Some(window.start_of(window.pane(clock) - panes + 1))
    }

    /// Whether a view, or the one that it reads, counts distinct values.
    pub fn counts_distinct(&self, index: usize) -> bool {
        let counting = self.counting(index).map(|view| &self.plan.views[view].aggregates);
        counting.is_some_and(|all| all.iter().any(|a| a.function == AggregateFunction::CountDistinct))
    }

    /// Whether a student has so many events that a set of distinct values may have been full.
    pub fn may_be_full(&self, index: usize, events: &[Kept]) -> bool {
        let Some(counting) = self.counting(index) else { return false };
        events.iter().filter(|event| event.counts.contains(&(counting as u16))).count() >= DISTINCT_MAX
    }

    /// The view that reads the events.
    fn counting(&self, index: usize) -> Option<usize> {
        match self.plan.views[index].source {
            Relation::Table(_) => Some(index),
            Relation::View(inner) => Some(inner),
            Relation::Grades => None,
        }
    }
}

/// Keeps the windows since the last gap; their first start, and when the session that they make ends.
fn keep_open(rows: &mut Vec<Inner>, gap_ms: i64) -> Option<(Millis, Millis)> {
    let cut = rows.windows(2).rposition(|pair| pair[1].start.0 - pair[0].start.0 >= gap_ms);
    rows.drain(..cut.map_or(0, |at| at + 1));
    Some((rows.first()?.start, Millis(rows.last()?.start.0 + gap_ms)))
}

/// A window's arguments for the aggregates of a view over it.
fn item_of(view: &View, row: &Inner) -> Item {
    view.aggregates.iter().map(|aggregate| evaluated(aggregate, &row).ok().map(|values| values.into_vec())).collect()
}

/// Windows of the inner view that may be read at a clock, oldest first.
fn stretches<'e>(view: &View, events: Vec<&'e Kept>, panes: i64, clock: Millis) -> Vec<Stretch<'e>> {
    let window = &view.schema.window;
    let within = considered(view, events, panes, clock);
    if window.kind == WindowKind::Session {
        return sessions(&within, window.gap_ms);
    }
    let mut by_pane: BTreeMap<i64, Vec<&Kept>> = BTreeMap::new();
    for event in within {
        by_pane.entry(window.pane(Millis(event.at))).or_default().push(event);
    }
    let one = |(pane, events)| Stretch { start: window.start_of(pane), end: window.start_of(pane + 1), events };
    by_pane.into_iter().map(one).collect()
}

/// Every aggregate of a view, over items in the order of time. Those without a value are left out of it.
fn aggregates(view: &View, items: &[Item]) -> Vec<Measure> {
    let one = |(at, aggregate): (usize, &Aggregate)| {
        let fits = |values: &&[Scalar]| !(keeps_value(aggregate.function) && values.iter().any(Scalar::is_long));
        let arguments: Vec<&[Scalar]> = items.iter().filter_map(|item| item[at].as_deref()).filter(fits).collect();
        match aggregate.function {
            AggregateFunction::CountRows => Measure::Plain(Scalar::Int(items.len() as i128)),
            function => aggregate_of(function, &arguments),
        }
    };
    view.aggregates.iter().enumerate().map(one).collect()
}

fn aggregate_of(function: AggregateFunction, items: &[&[Scalar]]) -> Measure {
    let int = |n: usize| Measure::Plain(Scalar::Int(n as i128));
    let firsts = || items.iter().filter_map(|item| item.first());
    let present = || firsts().filter(|value| **value != Scalar::Null);
    let numbers = || present().filter_map(Scalar::micros).collect::<Vec<i128>>();
    let products = |of: &mut dyn Iterator<Item = (i128, i128)>| {
        Products::Big(of.map(|(a, b)| BigInt::from(a) * b).fold(BigInt::ZERO, |sum, product| sum + product))
    };
    let (count, sum) = (numbers().len() as i128, numbers().iter().sum());
    let plain = |value: Option<&Scalar>| Measure::Plain(value.cloned().unwrap_or(Scalar::Null));
    match function {
        AggregateFunction::CountRows => int(items.len()),
        AggregateFunction::Count => int(present().count()),
        AggregateFunction::SumInt if present().next().is_some() => {
            Measure::Plain(Scalar::Int(present().filter_map(Scalar::whole).sum()))
        }
        AggregateFunction::SumDecimal if count > 0 => Measure::Plain(Scalar::Micros(sum)),
        AggregateFunction::Avg if count > 0 => Measure::Average { count, sum },
        AggregateFunction::StddevPop if count > 0 => {
            Measure::deviation(count, sum, products(&mut numbers().iter().map(|n| (*n, *n))))
        }
        AggregateFunction::SumInt
        | AggregateFunction::SumDecimal
        | AggregateFunction::Avg
        | AggregateFunction::StddevPop => plain(None),
        AggregateFunction::CountDistinct => int(present().map(Scalar::distinct_key).collect::<BTreeSet<_>>().len()),
        AggregateFunction::Min => plain(present().min()),
        AggregateFunction::Max => plain(present().max()),
        AggregateFunction::First => plain(firsts().next()),
        AggregateFunction::Last => plain(firsts().next_back()),
        AggregateFunction::RegrSlope => {
            let pair = |item: &&[Scalar]| item.first()?.micros().zip(item.get(1)?.micros());
            let pairs: Vec<(i128, i128)> = items.iter().filter_map(pair).collect();
            let sum = |f: &dyn Fn(&(i128, i128)) -> i128| pairs.iter().map(f).sum::<i128>();
            let xy = products(&mut pairs.iter().copied());
            let xx = products(&mut pairs.iter().map(|(_, x)| (*x, *x)));
            Measure::slope([pairs.len() as i128, sum(&|(y, _)| *y), sum(&|(_, x)| *x)], xy, xx)
        }
    }
}

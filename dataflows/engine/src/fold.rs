//! Aggregate functions as slots: what a row adds to which slot, and what the slots say of the aggregate.
//!
//! A sum of squares, a count and so on are slots of their own, so that views share what they have in common.
//!
//! Squares and products of millionths exceed 128 bits where numbers are large. Each is summed in two slots, its lower 96
//! bits and the rest, which adds up like any other sum, and which is 0, and takes no room, of usual numbers.

use crate::cells::{Cells, Kind, Moment, Part, Scalar, TEXT_TOO_LONG};
use crate::measure::{Measure, Products};
use crate::sum::{Slot, Sums};
use aulaflow_model::change::FeatureValue;
use aulaflow_model::instant::Millis;
use aulaflow_plan::sql::expr::{EvalError, Expr, Row, Value};
use aulaflow_plan::sql::{Aggregate, AggregateFunction, Output, View};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a row gives to a slot, from an aggregate's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// 1 where the argument is not null.
    One,
    /// A BIGINT.
    Whole,
    /// A number, in millionths.
    Micros,
    /// The square of its millionths: the lower bits.
    Square,
    /// The rest of it.
    SquareHigh,
    /// 1 where both arguments are not null.
    PairOne,
    /// There, the first one's millionths.
    PairY,
    /// The second one's.
    PairX,
    /// Their product: the lower bits.
    PairXy,
    /// The rest of it.
    PairXyHigh,
    /// The second one's square: the lower bits.
    PairXx,
    /// The rest of it.
    PairXxHigh,
    /// The value where it is not null.
    Value,
    /// The value, null or not.
    Any,
}

/// What a row gives to a slot.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// An integer to add.
    Amount(i128),
    /// A value to combine.
    Value(Scalar),
}

impl Op {
    /// What a row with these arguments gives, if anything.
    pub fn apply(self, arguments: &[Scalar]) -> Option<Piece> {
        let null = Scalar::Null;
        let first = arguments.first().unwrap_or(&null);
        let amount = |n: Option<i128>| n.map(Piece::Amount);
        let low = |factors: Option<(i128, i128)>| amount(factors.map(|(a, b)| Products::limbs(a, b).0));
        let high =
            |factors: Option<(i128, i128)>| amount(factors.map(|(a, b)| Products::limbs(a, b).1).filter(|n| *n != 0));
        let pair = || first.micros().zip(arguments.get(1).and_then(Scalar::micros));
        let square = || first.micros().map(|m| (m, m));
        let square_of_x = || pair().map(|(_, x)| (x, x));
        match self {
            Self::One => (*first != Scalar::Null).then_some(Piece::Amount(1)),
            Self::Whole => amount(first.whole()),
            Self::Micros => amount(first.micros()),
            Self::Square => low(square()),
            Self::SquareHigh => high(square()),
            Self::PairOne => amount(pair().map(|_| 1)),
            Self::PairY => amount(pair().map(|(y, _)| y)),
            Self::PairX => amount(pair().map(|(_, x)| x)),
            Self::PairXy => low(pair()),
            Self::PairXyHigh => high(pair()),
            Self::PairXx => low(square_of_x()),
            Self::PairXxHigh => high(square_of_x()),
            Self::Value => (*first != Scalar::Null).then(|| Piece::Value(first.clone())),
            Self::Any => Some(Piece::Value(first.clone())),
        }
    }
}

/// The slots that an aggregate needs besides its view's rows: what a row gives, and how it is combined.
pub fn needs(function: AggregateFunction) -> &'static [(Op, Kind)] {
    use Kind::{Distinct, First, Last, Max, Min, Sum};
    match function {
        AggregateFunction::CountRows => &[],
        AggregateFunction::Count => &[(Op::One, Sum)],
        AggregateFunction::SumInt => &[(Op::One, Sum), (Op::Whole, Sum)],
        AggregateFunction::SumDecimal | AggregateFunction::Avg => &[(Op::One, Sum), (Op::Micros, Sum)],
        AggregateFunction::StddevPop => &[(Op::One, Sum), (Op::Micros, Sum), (Op::Square, Sum), (Op::SquareHigh, Sum)],
        AggregateFunction::RegrSlope => &[
            (Op::PairOne, Sum),
            (Op::PairY, Sum),
            (Op::PairX, Sum),
            (Op::PairXy, Sum),
            (Op::PairXyHigh, Sum),
            (Op::PairXx, Sum),
            (Op::PairXxHigh, Sum),
        ],
        AggregateFunction::CountDistinct => &[(Op::Value, Distinct)],
        AggregateFunction::Min => &[(Op::Value, Min)],
        AggregateFunction::Max => &[(Op::Value, Max)],
        AggregateFunction::First => &[(Op::Any, First)],
        AggregateFunction::Last => &[(Op::Any, Last)],
    }
}

/// Whether an aggregate keeps its argument's value, so that a text must not be too long for it.
pub fn keeps_value(function: AggregateFunction) -> bool {
    needs(function).iter().any(|(_, kind)| kind_keeps_value(*kind))
}

/// Whether a slot keeps a value.
pub fn kind_keeps_value(kind: Kind) -> bool {
    match kind {
        Kind::Min | Kind::Max | Kind::First | Kind::Last => true,
        Kind::Sum | Kind::Distinct | Kind::Tail(_) => false,
    }
}

/// Where an aggregate's slots are, in the order of [`needs`].
#[derive(Debug, Clone)]
pub struct Place {
    /// What is computed from them.
    pub function: AggregateFunction,
    /// The slots.
    pub slots: SmallVec<[Slot; 8]>,
}

/// The slots of a window, added up.
pub struct Window<'a> {
    /// What adds up.
    pub sums: &'a Sums,
    /// The rest.
    pub parts: &'a Cells,
}

impl Place {
    /// What the slots say. `rows`: the slot of the view's rows.
    pub fn result(&self, rows: Slot, window: &Window<'_>) -> Measure {
        let sum = |at: usize| self.slots.get(at).map_or(0, |slot| window.sums.get(*slot));
        let part = || self.slots.first().and_then(|slot| window.parts.part(*slot));
        let int = |n: i128| Measure::Plain(Scalar::Int(n));
        let products = |at: usize| Products::new(sum(at), sum(at + 1));
        match self.function {
            AggregateFunction::CountRows => int(window.sums.get(rows)),
            AggregateFunction::Count => int(sum(0)),
            AggregateFunction::SumInt if sum(0) > 0 => int(sum(1)),
            AggregateFunction::SumDecimal if sum(0) > 0 => Measure::Plain(Scalar::Micros(sum(1))),
            AggregateFunction::Avg if sum(0) > 0 => Measure::Average { count: sum(0), sum: sum(1) },
            AggregateFunction::StddevPop if sum(0) > 0 => Measure::deviation(sum(0), sum(1), products(2)),
            AggregateFunction::SumInt
            | AggregateFunction::SumDecimal
            | AggregateFunction::Avg
            | AggregateFunction::StddevPop => Measure::Plain(Scalar::Null),
            AggregateFunction::RegrSlope => Measure::slope([sum(0), sum(1), sum(2)], products(3), products(5)),
            AggregateFunction::CountDistinct => match part() {
                Some(Part::Distinct(keys)) => int(keys.len() as i128),
                Some(Part::Extreme(_) | Part::Edge(..) | Part::Tail(_)) | None => int(0),
            },
            AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::First | AggregateFunction::Last => {
                Measure::Plain(match part() {
                    Some(Part::Extreme(value) | Part::Edge(_, value)) => value.clone(),
                    Some(Part::Distinct(_) | Part::Tail(_)) | None => Scalar::Null,
                })
            }
        }
    }
}

/// Evaluates an aggregate's arguments for a row.
pub fn arguments(expressions: &[Expr], row: &dyn Row) -> Result<SmallVec<[Scalar; 2]>, EvalError> {
    expressions.iter().map(|e| Scalar::argument(&e.eval(row)?)).collect()
}

/// An aggregate's arguments for a row, where its function can take them.
pub fn arguments_of(aggregate: &Aggregate, row: &dyn Row) -> Result<SmallVec<[Scalar; 2]>, EvalError> {
    let values = arguments(&aggregate.arguments, row)?;
    if keeps_value(aggregate.function) && values.iter().any(Scalar::is_long) {
        return Err(TEXT_TOO_LONG);
    }
    Ok(values)
}

/// A view's aggregates over rows that are at hand: of windows of another view, or of grades. Its slots are its own.
pub struct Fold {
    places: Vec<Place>,
    /// Slot 0 counts rows; the others by number.
    kinds: Vec<Kind>,
    adds: Vec<(usize, Op, Slot)>,
}

/// One row of a [`Fold`].
pub struct Item<R> {
    /// Its place in time, for `first` and `last`.
    pub moment: Moment,
    /// Its columns.
    pub row: R,
}

impl Fold {
    /// For a view's aggregates.
    pub fn new(aggregates: &[Aggregate]) -> Self {
        let mut fold = Self { places: Vec::new(), kinds: vec![Kind::Sum], adds: Vec::new() };
        for (index, aggregate) in aggregates.iter().enumerate() {
            let mut slots = SmallVec::new();
            for (op, kind) in needs(aggregate.function) {
                let slot = fold.kinds.len() as Slot;
                fold.kinds.push(*kind);
                fold.adds.push((index, *op, slot));
                slots.push(slot);
            }
            fold.places.push(Place { function: aggregate.function, slots });
        }
        fold
    }

    /// The aggregates over rows; `None` where the filter leaves no row. An argument that has no value is left out of its
    /// own aggregate, and a row that the filter has no value for is left out; both are counted in `failed`.
    pub fn results<R: Row>(
        &self,
        view: &View,
        rows: impl Iterator<Item = Item<R>>,
        failed: &mut u64,
    ) -> Option<Vec<Measure>> {
        let mut cells = Cells::default();
        for item in rows {
            match view.filter.as_ref().map_or(Ok(true), |filter| filter.holds(&item.row)) {
                Ok(true) => self.add(view, &item, &mut cells, failed),
                Ok(false) => {}
                Err(_) => *failed += 1,
            }
        }
        if cells.sums.get(0) == 0 {
            return None;
        }
        let window = Window { sums: &cells.sums, parts: &cells };
        Some(self.places.iter().map(|place| place.result(0, &window)).collect())
    }

    fn add<R: Row>(&self, view: &View, item: &Item<R>, cells: &mut Cells, failed: &mut u64) {
        cells.sums.add(0, 1);
        let values: Vec<_> = view.aggregates.iter().map(|aggregate| arguments_of(aggregate, &item.row).ok()).collect();
        *failed += values.iter().filter(|values| values.is_none()).count() as u64;
        for (index, op, slot) in &self.adds {
            let Some(values) = &values[*index] else { continue };
            match op.apply(values) {
                Some(Piece::Amount(amount)) => cells.sums.add(*slot, amount),
                Some(Piece::Value(value)) => {
                    let kind = self.kinds[usize::from(*slot)];
                    cells.merge_part(*slot, kind, Part::of_event(kind, &item.moment, value));
                }
                None => {}
            }
        }
    }
}

/// Aggregates and the window's bounds as the columns of a row, for the expressions of outputs.
struct Results<'a> {
    results: &'a [Measure],
    bounds: (Millis, Millis),
}

impl Row for Results<'_> {
    fn column(&self, index: usize) -> Value<'_> {
        match self.results.get(index) {
            Some(result) => result.exact(),
            None if index == self.results.len() => Value::Timestamp(self.bounds.0),
            None => Value::Timestamp(self.bounds.1),
        }
    }
}

/// A view's outputs from its aggregates. An expression that has no value shows null, and is counted in `failed`.
pub fn outputs(view: &View, results: &[Measure], bounds: (Millis, Millis), failed: &mut u64) -> Vec<Scalar> {
    let row = Results { results, bounds };
    let mut one = |(at, output): (usize, &Output)| {
        let value = match output {
            Output::Aggregate(index) => Ok(results.get(*index).map_or(Scalar::Null, Measure::rounded)),
            Output::Expression(e) => e.eval(&row).and_then(|value| Scalar::output(&value)),
        };
        let fits =
            |scalar: &Scalar| !matches!(scalar, Scalar::Int(n) if i64::try_from(*n).is_err()) || view.is_wide(at);
        value.ok().filter(fits).unwrap_or_else(|| {
            *failed += 1;
            Scalar::Null
        })
    };
    view.outputs.iter().enumerate().map(&mut one).collect()
}

/// Outputs as they are shown.
pub fn shown(outputs: &[Scalar]) -> Arc<[FeatureValue]> {
    outputs.iter().map(Scalar::shown).collect()
}

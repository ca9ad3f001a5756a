//! Aggregate functions as slots: what a row adds to which slot, and what the slots say of the aggregate.
//!
//! A sum of squares, a count and so on are slots of their own, so that views share what they have in common.

use crate::cells::{Cells, Kind, Moment, Part, Scalar};
use crate::sum::{Slot, Sums};
use aulaflow_model::change::FeatureValue;
use aulaflow_model::exact::Exact;
use aulaflow_model::instant::Millis;
use aulaflow_model::statistics::{deviation, divide_half_up};
use aulaflow_model::tenant::RoundingMode;
use aulaflow_plan::sql::expr::{EvalError, Expr, Row, Value};
use aulaflow_plan::sql::{Aggregate, AggregateFunction, Output, View};
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
    /// The square of its millionths.
    Square,
    /// 1 where both arguments are not null.
    PairOne,
    /// There, the first one's millionths.
    PairY,
    /// The second one's.
    PairX,
    /// Their product.
    PairXy,
    /// The second one's square.
    PairXx,
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
    pub fn apply(self, arguments: &[Scalar]) -> Result<Option<Piece>, EvalError> {
        let null = Scalar::Null;
        let first = arguments.first().unwrap_or(&null);
        let amount = |n: Option<i128>| n.map(Piece::Amount);
        let pair = || -> Result<Option<(i128, i128)>, EvalError> {
            let second = arguments.get(1).unwrap_or(&null);
            Ok(first.factor()?.zip(second.factor()?))
        };
        Ok(match self {
            Self::One => (*first != Scalar::Null).then_some(Piece::Amount(1)),
            Self::Whole => amount(first.whole()),
            Self::Micros => amount(first.micros()),
            Self::Square => amount(first.factor()?.map(|m| m * m)),
            Self::PairOne => amount(pair()?.map(|_| 1)),
            Self::PairY => amount(pair()?.map(|(y, _)| y)),
            Self::PairX => amount(pair()?.map(|(_, x)| x)),
            Self::PairXy => amount(pair()?.map(|(y, x)| y * x)),
            Self::PairXx => amount(pair()?.map(|(_, x)| x * x)),
            Self::Value => (*first != Scalar::Null).then(|| Piece::Value(first.clone())),
            Self::Any => Some(Piece::Value(first.clone())),
        })
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
        AggregateFunction::StddevPop => &[(Op::One, Sum), (Op::Micros, Sum), (Op::Square, Sum)],
        AggregateFunction::RegrSlope => {
            &[(Op::PairOne, Sum), (Op::PairY, Sum), (Op::PairX, Sum), (Op::PairXy, Sum), (Op::PairXx, Sum)]
        }
        AggregateFunction::CountDistinct => &[(Op::Value, Distinct)],
        AggregateFunction::Min => &[(Op::Value, Min)],
        AggregateFunction::Max => &[(Op::Value, Max)],
        AggregateFunction::First => &[(Op::Any, First)],
        AggregateFunction::Last => &[(Op::Any, Last)],
    }
}

/// Where an aggregate's slots are, in the order of [`needs`].
#[derive(Debug, Clone)]
pub struct Place {
    /// What is computed from them.
    pub function: AggregateFunction,
    /// The slots.
    pub slots: smallvec::SmallVec<[Slot; 3]>,
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
    pub fn result(&self, rows: Slot, window: &Window<'_>) -> Scalar {
        let sum = |at: usize| self.slots.get(at).map_or(0, |slot| window.sums.get(*slot));
        let part = || self.slots.first().and_then(|slot| window.parts.part(*slot));
        let int = |n: i128| i64::try_from(n).map_or(Scalar::Null, Scalar::Int);
        match self.function {
            AggregateFunction::CountRows => int(window.sums.get(rows)),
            AggregateFunction::Count => int(sum(0)),
            AggregateFunction::SumInt if sum(0) > 0 => int(sum(1)),
            AggregateFunction::SumDecimal if sum(0) > 0 => Scalar::Micros(sum(1)),
            AggregateFunction::Avg if sum(0) > 0 => Scalar::Micros(divide_half_up(sum(1), sum(0))),
            AggregateFunction::StddevPop if sum(0) > 0 => Scalar::Micros(deviation(sum(0), sum(1), sum(2))),
            AggregateFunction::SumInt
            | AggregateFunction::SumDecimal
            | AggregateFunction::Avg
            | AggregateFunction::StddevPop => Scalar::Null,
            AggregateFunction::RegrSlope => slope(&[sum(0), sum(1), sum(2), sum(3), sum(4)]),
            AggregateFunction::CountDistinct => match part() {
                Some(Part::Distinct(keys)) => int(keys.len() as i128),
                Some(Part::Extreme(_) | Part::Edge(..) | Part::Tail(_)) | None => Scalar::Int(0),
            },
            AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::First | AggregateFunction::Last => {
                match part() {
                    Some(Part::Extreme(value) | Part::Edge(_, value)) => value.clone(),
                    Some(Part::Distinct(_) | Part::Tail(_)) | None => Scalar::Null,
                }
            }
        }
    }
}

/// A fraction in millionths, rounded half up.
fn micros_of(value: &Exact) -> i128 {
    let text = value.round(RoundingMode::HalfUp, 6).to_string();
    text.replace('.', "").parse().unwrap_or(i128::MAX)
}

/// The least-squares slope in millionths, from the count and the sums of y, x, x·y and x² (in millionths and their squares).
pub fn slope(&[n, y, x, xy, xx]: &[i128; 5]) -> Scalar {
    let product = |a: i128, b: i128| Exact::from_micros(a).mul(&Exact::from_micros(b));
    let over = product(n, xy).sub(&product(x, y));
    let under = product(n, xx).sub(&product(x, x));
    over.div(&under).map_or(Scalar::Null, |slope| Scalar::Micros(micros_of(&slope)))
}

/// Evaluates an aggregate's arguments for a row.
pub fn arguments(expressions: &[Expr], row: &dyn Row) -> Result<smallvec::SmallVec<[Scalar; 2]>, EvalError> {
    expressions.iter().map(|e| Scalar::new(&e.eval(row)?)).collect()
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
            let mut slots = smallvec::SmallVec::new();
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

    /// The aggregates over rows; `None` where the filter leaves no row. A row that an expression has no value for is left
    /// out, and counted in `failed`.
    pub fn results<R: Row>(
        &self,
        view: &View,
        rows: impl Iterator<Item = Item<R>>,
        failed: &mut u64,
    ) -> Option<Vec<Scalar>> {
        let mut cells = Cells::default();
        for item in rows {
            if self.add(view, &item, &mut cells).is_err() {
                *failed += 1;
            }
        }
        if cells.sums.get(0) == 0 {
            return None;
        }
        let window = Window { sums: &cells.sums, parts: &cells };
        Some(self.places.iter().map(|place| place.result(0, &window)).collect())
    }

    fn add<R: Row>(&self, view: &View, item: &Item<R>, cells: &mut Cells) -> Result<(), EvalError> {
        if let Some(filter) = &view.filter
            && !filter.holds(&item.row)?
        {
            return Ok(());
        }
        let mut values = Vec::with_capacity(view.aggregates.len());
        for aggregate in &view.aggregates {
            values.push(arguments(&aggregate.arguments, &item.row)?);
        }
        let mut pieces = Vec::with_capacity(self.adds.len());
        for (index, op, slot) in &self.adds {
            pieces.extend(op.apply(&values[*index])?.map(|piece| (*slot, piece)));
        }
        // Only now: a row whose evaluation fails halfway adds nothing.
        cells.sums.add(0, 1);
        for (slot, piece) in pieces {
            match piece {
                Piece::Amount(amount) => cells.sums.add(slot, amount),
                Piece::Value(value) => {
                    let kind = self.kinds[usize::from(slot)];
                    cells.merge_part(slot, kind, Part::of_event(kind, &item.moment, value));
                }
            }
        }
        Ok(())
    }
}

/// Aggregates and the window's bounds as the columns of a row, for the expressions of outputs.
struct Results<'a> {
    results: &'a [Scalar],
    bounds: (Millis, Millis),
}

impl Row for Results<'_> {
    fn column(&self, index: usize) -> Value<'_> {
        match self.results.get(index) {
            Some(scalar) => scalar.value(),
            None if index == self.results.len() => Value::Timestamp(self.bounds.0),
            None => Value::Timestamp(self.bounds.1),
        }
    }
}

/// A view's outputs from its aggregates. An expression that has no value shows null, and is counted in `failed`.
pub fn outputs(view: &View, results: &[Scalar], bounds: (Millis, Millis), failed: &mut u64) -> Vec<Scalar> {
    let row = Results { results, bounds };
    let mut one = |output: &Output| match output {
        Output::Aggregate(index) => results.get(*index).cloned().unwrap_or(Scalar::Null),
        Output::Expression(e) => {
            let value = e.eval(&row).and_then(|value| Scalar::new(&value));
            value.unwrap_or_else(|_| {
                *failed += 1;
                Scalar::Null
            })
        }
    };
    view.outputs.iter().map(&mut one).collect()
}

/// Outputs as they are shown.
pub fn shown(outputs: &[Scalar]) -> Arc<[FeatureValue]> {
    outputs.iter().map(Scalar::shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_round_half_away_from_zero() {
        for (a, b, expected) in [(7, 2, 4), (-7, 2, -4), (5, 3, 2), (4, 3, 1), (0, 9, 0), (1, 3, 0), (3, 1, 3)] {
            assert_eq!(divide_half_up(a, b), expected, "{a}/{b}");
        }
    }

    #[test]
    fn deviations_by_hand() {
        let of = |values: &[i128]| {
            let (sum, squares) = (values.iter().sum(), values.iter().map(|v| v * v).sum());
            deviation(values.len() as i128, sum, squares)
        };
        // 2, 4, 4, 4, 5, 5, 7, 9: the textbook's mean 5 and deviation 2.
        let textbook: Vec<i128> = [2, 4, 4, 4, 5, 5, 7, 9].iter().map(|v| v * 1_000_000).collect();
        assert_eq!(of(&textbook), 2_000_000);
        assert_eq!(of(&[3_500_000]), 0);
        assert_eq!(of(&[1_000_000, 2_000_000]), 500_000);
        // The root of 2/3 is 0.8164965…
        assert_eq!(of(&[1_000_000, 2_000_000, 3_000_000]), 816_497);
        // Products beyond 128 bits.
        let large = 1_000_000_000_000_000_i128;
        assert_eq!(deviation(20_000, 0, 20_000 * large * large), large);
    }

    #[test]
    fn slopes_by_hand() {
        let of = |points: &[(i128, i128)]| {
            let m = 1_000_000;
            let sum = |f: &dyn Fn(&(i128, i128)) -> i128| points.iter().map(f).sum::<i128>();
            slope(&[
                points.len() as i128,
                sum(&|(_, y)| y * m),
                sum(&|(x, _)| x * m),
                sum(&|(x, y)| x * m * y * m),
                sum(&|(x, _)| x * m * x * m),
            ])
        };
        assert_eq!(of(&[(0, 1), (1, 3), (2, 5)]), Scalar::Micros(2_000_000));
        // Points (1,2), (2,3), (3,5), (4,4): x̄ 2.5, ȳ 3.5, Sxy 4, Sxx 5.
        assert_eq!(of(&[(1, 2), (2, 3), (3, 5), (4, 4)]), Scalar::Micros(800_000));
        assert_eq!(of(&[(1, 1), (1, 5)]), Scalar::Null);
        assert_eq!(of(&[(7, 1)]), Scalar::Null);
        assert_eq!(of(&[]), Scalar::Null);
        assert_eq!(of(&[(0, 0), (3, -1)]), Scalar::Micros(-333_333));
    }
}

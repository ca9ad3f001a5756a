//! Aggregates as an abelian group: a student's windows as sparse vectors of exact integers.
//!
//! Law: `(FeatureSum, +)` is commutative and associative, zero is the empty vector, and every element has an
//! inverse. So a window is the sum of its panes, a pane that expires is subtracted, and the order of events,
//! workers and epochs cannot matter. Averages are derived on output only.

use aulaflow_model::change::FeatureValue;
use aulaflow_plan::sql::{AggregateFunction, Output, View, expr};
use compact_str::CompactString;
use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A place in a [`FeatureSum`]: one count or one sum of one view.
pub type Slot = u16;

/// A slot's integer, as two halves so that a cell takes 24 bytes and not 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Cell {
    slot: Slot,
    high: i64,
    low: u64,
}

impl Cell {
    fn new(slot: Slot, amount: i128) -> Self {
        Self { slot, high: (amount >> 64) as i64, low: amount as u64 }
    }

    fn amount(self) -> i128 {
        (i128::from(self.high) << 64) | i128::from(self.low)
    }
}

/// Exact integers by slot, sorted, without zeros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct FeatureSum(Vec<Cell>);

impl FeatureSum {
    /// Adds to one slot.
    pub fn add(&mut self, slot: Slot, amount: i128) {
        match self.0.binary_search_by_key(&slot, |c| c.slot) {
            Ok(at) => {
                let sum = self.0[at].amount() + amount;
                if sum == 0 {
                    self.0.remove(at);
                } else {
                    self.0[at] = Cell::new(slot, sum);
                }
            }
            Err(at) if amount != 0 => self.0.insert(at, Cell::new(slot, amount)),
            Err(_) => {}
        }
    }

    /// Adds `other`, or subtracts it.
    pub fn add_all(&mut self, other: &Self, subtract: bool) {
        for cell in &other.0 {
            self.add(cell.slot, if subtract { -cell.amount() } else { cell.amount() });
        }
    }

    /// A slot's integer.
    pub fn get(&self, slot: Slot) -> i128 {
        self.0.binary_search_by_key(&slot, |c| c.slot).map_or(0, |at| self.0[at].amount())
    }

    /// The slots that are not zero, with their integers, in order.
    pub fn cells(&self) -> impl Iterator<Item = (Slot, i128)> + '_ {
        self.0.iter().map(|c| (c.slot, c.amount()))
    }

    /// Whether all slots are zero.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IsZero for FeatureSum {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
}

impl Semigroup for FeatureSum {
    fn plus_equals(&mut self, other: &Self) {
        self.add_all(other, false);
    }
}

impl Monoid for FeatureSum {
    fn zero() -> Self {
        Self::default()
    }
}

impl Abelian for FeatureSum {
    fn negate(&mut self) {
        for cell in &mut self.0 {
            *cell = Cell::new(cell.slot, -cell.amount());
        }
    }
}

/// Where an aggregate's parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AggregateSlots {
    /// The view's rows.
    Rows,
    /// Arguments that are not null.
    Count(Slot),
    /// Those, and their sum.
    Sum { count: Slot, sum: Slot },
}

/// Where a view's parts are.
#[derive(Debug, Clone)]
pub struct ViewSlots {
    /// Rows in the window: 0 means that the row does not exist.
    pub rows: Slot,
    /// One past the view's last slot.
    pub end: Slot,
    aggregates: Vec<AggregateSlots>,
}

/// The slots of all views of a plan.
#[derive(Debug, Clone)]
pub struct Layout {
    /// By view.
    pub views: Vec<ViewSlots>,
}

impl Layout {
    /// Gives every view its slots.
    pub fn new(views: &[View]) -> Self {
        let mut next: Slot = 0;
        let mut take = || {
            let slot = next;
            next = next.checked_add(1).unwrap_or_else(|| panic!("more than 65,535 aggregate slots"));
            slot
        };
        let views = views
            .iter()
            .map(|view| {
                let rows = take();
                let aggregates = view
                    .aggregates
                    .iter()
                    .map(|a| match a.function {
                        AggregateFunction::CountRows => AggregateSlots::Rows,
                        AggregateFunction::Count
                        | AggregateFunction::CountDistinct
                        | AggregateFunction::Min
                        | AggregateFunction::Max
                        | AggregateFunction::StddevPop
                        | AggregateFunction::First
                        | AggregateFunction::Last
                        | AggregateFunction::RegrSlope => AggregateSlots::Count(take()),
                        AggregateFunction::SumInt | AggregateFunction::SumDecimal | AggregateFunction::Avg => {
                            AggregateSlots::Sum { count: take(), sum: take() }
                        }
                    })
                    .collect();
                ViewSlots { rows, end: take(), aggregates }
            })
            .collect();
        Self { views }
    }

    /// What one event adds to a view: `None` if the filter leaves it out.
    pub fn contribution(
        &self,
        index: usize,
        view: &View,
        row: &dyn expr::Row,
        add: &mut impl FnMut(Slot, i64),
    ) -> Result<(), expr::EvalError> {
        if let Some(filter) = &view.filter
            && !filter.holds(row)?
        {
            return Ok(());
        }
        let slots = &self.views[index];
        let mut parts: smallvec::SmallVec<[(Slot, i64); 8]> = smallvec::smallvec![(slots.rows, 1)];
        for (aggregate, place) in view.aggregates.iter().zip(&slots.aggregates) {
            let (AggregateSlots::Count(count) | AggregateSlots::Sum { count, .. }) = *place else { continue };
            let Some(argument) = aggregate.arguments.first() else { continue };
            let value = argument.eval(row)?;
            if matches!(value, expr::Value::Null) {
                continue;
            }
            parts.push((count, 1));
            if let AggregateSlots::Sum { sum, .. } = *place {
                let amount =
                    if aggregate.function == AggregateFunction::SumInt { whole(&value) } else { micros(&value) };
                parts.push((sum, amount.ok_or(expr::EvalError::OutOfRange("sum"))?));
            }
        }
        // Only now: an event whose evaluation fails halfway adds nothing.
        for (slot, amount) in parts {
            add(slot, amount);
        }
        Ok(())
    }

    /// A view's row for a window's sum; `None` if the window is empty.
    pub fn row(&self, index: usize, view: &View, sum: &FeatureSum) -> Option<Arc<[FeatureValue]>> {
        let slots = &self.views[index];
        if sum.get(slots.rows) == 0 {
            return None;
        }
        let aggregates = AggregateRow { view, slots, sum };
        Some(
            view.outputs
                .iter()
                .map(|output| match output {
                    Output::Aggregate(i) => aggregates.exact(*i),
                    Output::Expression(e) => e.eval(&aggregates).map_or(FeatureValue::Null, shown),
                })
                .collect(),
        )
    }
}

fn whole(value: &expr::Value<'_>) -> Option<i64> {
    match value {
        expr::Value::Bigint(n) => Some(*n),
        _ => None,
    }
}

/// Millionths, rounded once, half to even; `None` beyond what an event may add.
fn micros(value: &expr::Value<'_>) -> Option<i64> {
    match value {
        expr::Value::Bigint(n) => n.checked_mul(1_000_000),
        expr::Value::Double(d) => {
            let scaled = (d * 1e6).round_ties_even();
            // Exclusive, since i64::MAX itself is no double.
            (scaled.abs() < 9.2e18).then_some(scaled as i64)
        }
        _ => None,
    }
}

fn shown(value: expr::Value<'_>) -> FeatureValue {
    match value {
        expr::Value::Null | expr::Value::Interval { .. } | expr::Value::Json(_) => FeatureValue::Null,
        expr::Value::Boolean(b) => FeatureValue::Bool(b),
        expr::Value::Bigint(n) => FeatureValue::Int(n),
        expr::Value::Double(d) => {
            let scaled = (d * 1e6).round_ties_even();
            if scaled.abs() < 1e37 { FeatureValue::Micros(scaled as i128) } else { FeatureValue::Null }
        }
        expr::Value::Text(text) => FeatureValue::Text(text.as_ref().into()),
        expr::Value::Timestamp(at) => FeatureValue::Text(CompactString::new(at.to_string()).as_str().into()),
    }
}

/// Aggregates as the columns of a row, for expressions over them.
struct AggregateRow<'a> {
    view: &'a View,
    slots: &'a ViewSlots,
    sum: &'a FeatureSum,
}

impl AggregateRow<'_> {
    fn exact(&self, index: usize) -> FeatureValue {
        let int = |n: i128| i64::try_from(n).map_or(FeatureValue::Null, FeatureValue::Int);
        match self.slots.aggregates[index] {
            AggregateSlots::Rows => int(self.sum.get(self.slots.rows)),
            AggregateSlots::Count(count) => int(self.sum.get(count)),
            AggregateSlots::Sum { count, sum } => {
                let (count, sum) = (self.sum.get(count), self.sum.get(sum));
                if count == 0 {
                    return FeatureValue::Null;
                }
                match self.view.aggregates[index].function {
                    AggregateFunction::SumInt => int(sum),
                    AggregateFunction::Avg => FeatureValue::Micros(divide_half_up(sum, count)),
                    _ => FeatureValue::Micros(sum),
                }
            }
        }
    }
}

impl expr::Row for AggregateRow<'_> {
    fn column(&self, index: usize) -> expr::Value<'_> {
        match self.exact(index) {
            FeatureValue::Int(n) => expr::Value::Bigint(n),
            FeatureValue::Micros(m) => expr::Value::Double(m as f64 / 1e6),
            FeatureValue::Null | FeatureValue::Bool(_) | FeatureValue::Text(_) => expr::Value::Null,
        }
    }
}

/// `a / b` rounded to the nearest, ties away from zero; `b > 0`.
fn divide_half_up(a: i128, b: i128) -> i128 {
    let magnitude = a.unsigned_abs();
    let b = b.unsigned_abs();
    let rounded = (magnitude / b + u128::from(magnitude % b >= b.div_ceil(2))) as i128;
    if a < 0 { -rounded } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_sum() -> impl Strategy<Value = FeatureSum> {
        proptest::collection::vec((0u16..6, -3i128..4), 0..8).prop_map(|cells| {
            let mut sum = FeatureSum::default();
            for (slot, amount) in cells {
                sum.add(slot, amount);
            }
            sum
        })
    }

    fn plus(a: &FeatureSum, b: &FeatureSum) -> FeatureSum {
        let mut sum = a.clone();
        sum.plus_equals(b);
        sum
    }

    proptest! {
        #[test]
        fn is_an_abelian_group(a in any_sum(), b in any_sum(), c in any_sum()) {
            prop_assert_eq!(plus(&a, &b), plus(&b, &a));
            prop_assert_eq!(plus(&plus(&a, &b), &c), plus(&a, &plus(&b, &c)));
            prop_assert_eq!(plus(&a, &FeatureSum::zero()), a.clone());
            let mut inverse = a.clone();
            inverse.negate();
            prop_assert!(plus(&a, &inverse).is_zero());
        }

        #[test]
        fn cells_hold_any_integer(amount in any::<i128>()) {
            prop_assert_eq!(Cell::new(1, amount).amount(), amount);
        }
    }

    #[test]
    fn averages_round_half_away_from_zero() {
        for (a, b, expected) in [(7, 2, 4), (-7, 2, -4), (5, 3, 2), (4, 3, 1), (0, 9, 0), (1, 3, 0), (3, 1, 3)] {
            assert_eq!(divide_half_up(a, b), expected, "{a}/{b}");
        }
    }
}

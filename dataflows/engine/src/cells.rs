//! What a pane holds: sums, and the parts of aggregates that have no inverse (extremes, first and last, sets, the last
//! events), which are combined from panes and never subtracted.
//!
//! Law: combining is commutative, associative and, for parts, idempotent; so neither the order of events nor the way they
//! are cut into panes can matter.

use crate::sum::{Slot, Sums};
use aulaflow_model::change::FeatureValue;
use aulaflow_model::exact::Exact;
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::RoundingMode;
use aulaflow_plan::sql::expr::{EvalError, Value};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_128;

/// The longest text that a window keeps or an output shows, in bytes. Texts that are only counted may be longer.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// The largest magnitude of a number in an aggregate's argument, in millionths: 10^21. The sum of 10^11 such numbers can be
/// shown, and every BIGINT is one.
pub const ARGUMENT_MAX: i128 = 10_i128.pow(27);
/// The largest magnitude of a DOUBLE that is shown, in millionths: ClickHouse's `Decimal(38, 6)`.
const SHOWN_MAX: i128 = 10_i128.pow(38) - 1;
/// Up to here millionths of a double are nearly exact in doubles, in units.
const DOUBLE_MILLIONTHS_MAX: f64 = 10_000_000.0;

/// A value that can be compared, stored and shown. Numbers with a point are millionths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scalar {
    /// NULL
    Null,
    /// BOOLEAN
    Bool(bool),
    /// BIGINT, or a sum of BIGINTs.
    Int(i128),
    /// DOUBLE, in millionths.
    Micros(i128),
    /// TIMESTAMP, in milliseconds.
    Time(i64),
    /// TEXT
    Text(CompactString),
}

impl Scalar {
    /// An expression's value. A number is rounded to millionths once, half up.
    pub fn new(value: &Value<'_>) -> Result<Self, EvalError> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Boolean(b) => Self::Bool(*b),
            Value::Bigint(n) => Self::Int(i128::from(*n)),
            Value::Wide(n) => Self::Int(**n),
            Value::Double(d) => Self::Micros(millionths(*d)?),
            Value::Exact(x) => Self::Micros(shown_millionths(x.scaled(RoundingMode::HalfUp, 6))?),
            Value::Text(text) => Self::Text(CompactString::new(text)),
            Value::Timestamp(at) => Self::Time(at.0),
            Value::Interval { .. } | Value::Json(_) => return Err(EvalError::WrongType),
        })
    }

    /// As [`Scalar::new`], for an aggregate's argument: in the range whose sums are exact.
    pub fn argument(value: &Value<'_>) -> Result<Self, EvalError> {
        match Self::new(value)? {
            Self::Micros(m) if m.abs() > ARGUMENT_MAX => Err(EvalError::OutOfRange("a number beyond 10^21 is")),
            // Of windows of another view, whose sums may be wide.
            Self::Int(n) if n.abs() > ARGUMENT_MAX / 1_000_000 => {
                Err(EvalError::OutOfRange("a number beyond 10^21 is"))
            }
            scalar => Ok(scalar),
        }
    }

    /// As [`Scalar::new`], for what an expression over aggregates shows.
    pub fn output(value: &Value<'_>) -> Result<Self, EvalError> {
        let scalar = Self::new(value)?;
        if scalar.is_long() { Err(TEXT_TOO_LONG) } else { Ok(scalar) }
    }

    /// Whether it is a text that is too long to be kept.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Text(text) if text.len() > TEXT_BYTES_MAX)
    }

    /// As a value of an expression.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Boolean(*b),
            Self::Int(n) => i64::try_from(*n).map_or_else(|_| Value::Wide(Box::new(*n)), Value::Bigint),
            Self::Micros(m) => number(*m),
            Self::Time(at) => Value::Timestamp(Millis(*at)),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
        }
    }

    /// As it is shown.
    pub fn shown(&self) -> FeatureValue {
        match self {
            Self::Null => FeatureValue::Null,
            Self::Bool(b) => FeatureValue::Bool(*b),
            Self::Int(n) => FeatureValue::Int(*n),
            Self::Micros(m) => FeatureValue::Micros(*m),
            Self::Time(at) => FeatureValue::Text(Millis(*at).to_string().as_str().into()),
            Self::Text(text) => FeatureValue::Text(text.as_str().into()),
        }
    }

    /// A BIGINT's integer.
    pub fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Null | Self::Bool(_) | Self::Micros(_) | Self::Time(_) | Self::Text(_) => None,
        }
    }

    /// A number's millionths.
    pub fn micros(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(*n * 1_000_000),
            Self::Micros(m) => Some(*m),
            Self::Null | Self::Bool(_) | Self::Time(_) | Self::Text(_) => None,
        }
    }

    /// Tells it from every other value of its type: a 128-bit hash of texts, the value itself of others.
    pub fn distinct_key(&self) -> u128 {
        match self {
            Self::Null => 0,
            Self::Bool(b) => u128::from(*b),
            Self::Int(n) => *n as u128,
            Self::Time(n) => *n as u128,
            Self::Micros(m) => *m as u128,
            Self::Text(text) => xxh3_128(text.as_bytes()),
        }
    }
}

/// Why a text is not kept.
pub const TEXT_TOO_LONG: EvalError = EvalError::OutOfRange("a text longer than 64 KiB is");

/// A number of millionths as a value: a double where it shows them all, up to where its last bit is less than a millionth.
pub fn number(micros: i128) -> Value<'static> {
    if micros.unsigned_abs() <= 1 << 52 {
        Value::Double(micros as f64 / 1e6)
    } else {
        Value::Exact(Box::new(Exact::from_micros(micros)))
    }
}

/// A double in millionths: the nearest to the decimal number that it shows, halves away from zero, as PostgreSQL rounds a
/// double's numeric.
fn millionths(x: f64) -> Result<i128, EvalError> {
    let scaled = x * 1e6;
    let rounded = scaled.round();
    // The product is off by less than this where it is nearest to a half.
    let near_half = ((scaled - rounded).abs() - 0.5).abs() < 0.01;
    if x.abs() <= DOUBLE_MILLIONTHS_MAX && !near_half {
        return Ok(rounded as i128);
    }
    shown_millionths(Exact::from_shown(x).and_then(|x| x.scaled(RoundingMode::HalfUp, 6)))
}

fn shown_millionths(micros: Option<i128>) -> Result<i128, EvalError> {
    micros.filter(|m| m.abs() <= SHOWN_MAX).ok_or(EvalError::OutOfRange("double precision"))
}

/// How a slot's contents are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Integers, added.
    Sum,
    /// The smallest value.
    Min,
    /// The greatest value.
    Max,
    /// The value of the earliest event.
    First,
    /// The value of the latest event.
    Last,
    /// The distinct values.
    Distinct,
    /// The latest events, so many.
    Tail(u32),
}

impl Kind {
    /// What it is called in SQL, or for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
            Self::Distinct => "distinct values",
            Self::Tail(_) => "last events",
        }
    }
}

/// An event's place in time; ties of instants are broken by the event's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// The instant, in milliseconds.
    pub at: i64,
    /// The event.
    pub id: CompactString,
}

/// What a slot holds that is no sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Of `Min` and `Max`.
    Extreme(Scalar),
    /// Of `First` and `Last`: whose value it is, and the value.
    Edge(Moment, Scalar),
    /// Of `Distinct`: keys of values, ascending.
    Distinct(Vec<u128>),
    /// Of `Tail`: ascending.
    Tail(Vec<Moment>),
}

impl Part {
    /// One event's part.
    pub fn of_event(kind: Kind, moment: &Moment, value: Scalar) -> Self {
        match kind {
            Kind::Distinct => Self::Distinct(vec![value.distinct_key()]),
            Kind::First | Kind::Last => Self::Edge(moment.clone(), value),
            Kind::Tail(_) => Self::Tail(vec![moment.clone()]),
            Kind::Min | Kind::Max | Kind::Sum => Self::Extreme(value),
        }
    }

    /// Takes another part of the same slot in.
    fn merge(&mut self, kind: Kind, other: Self) {
        match (self, other) {
            (Self::Extreme(mine), Self::Extreme(theirs)) => {
                if (theirs < *mine) == (kind == Kind::Min) && theirs != *mine {
                    *mine = theirs;
                }
            }
            (Self::Edge(mine, value), Self::Edge(theirs, other)) => {
                if (theirs < *mine) == (kind == Kind::First) && theirs != *mine {
                    (*mine, *value) = (theirs, other);
                }
            }
            (Self::Distinct(mine), Self::Distinct(theirs)) => {
                if let [one] = theirs.as_slice() {
                    if let Err(at) = mine.binary_search(one) {
                        mine.insert(at, *one);
                    }
                } else {
                    mine.extend(theirs);
                    mine.sort_unstable();
                    mine.dedup();
                }
            }
            (Self::Tail(mine), Self::Tail(theirs)) => {
                mine.extend(theirs);
                mine.sort_unstable();
                mine.dedup();
                if let Kind::Tail(most) = kind {
                    mine.drain(..mine.len().saturating_sub(most as usize));
                }
            }
            (mine, theirs) => unreachable!("a slot has one kind: {mine:?} and {theirs:?}"),
        }
    }
}

/// What a pane holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cells {
    /// What adds up.
    pub sums: Sums,
    /// The rest, by slot, ascending.
    parts: Vec<(Slot, Part)>,
}

impl Cells {
    /// Combines a slot's part with another.
    pub fn merge_part(&mut self, slot: Slot, kind: Kind, part: Part) {
        let parts = &mut self.parts;
        match parts.binary_search_by_key(&slot, |(s, _)| *s) {
            Ok(at) => parts[at].1.merge(kind, part),
            Err(at) => {
                if parts.len() == parts.capacity() {
                    // One or two are the rule; room for four would be most of the pane.
                    parts.reserve_exact(1 + parts.len() / 2);
                }
                parts.insert(at, (slot, part));
            }
        }
    }

    /// Combines everything with another's.
    pub fn merge(&mut self, other: &Self, kind_of: &dyn Fn(Slot) -> Kind) {
        self.sums.add_all(&other.sums);
        for (slot, part) in other.parts() {
            self.merge_part(*slot, kind_of(*slot), part.clone());
        }
    }

    /// The parts, by slot.
    pub fn parts(&self) -> &[(Slot, Part)] {
        &self.parts
    }

    /// A slot's part.
    pub fn part(&self, slot: Slot) -> Option<&Part> {
        let parts = self.parts();
        parts.binary_search_by_key(&slot, |(s, _)| *s).ok().map(|at| &parts[at].1)
    }

    /// A slot's part, to change it.
    pub fn part_mut(&mut self, slot: Slot) -> Option<&mut Part> {
        let found = self.parts.binary_search_by_key(&slot, |(s, _)| *s);
        found.ok().map(|at| &mut self.parts[at].1)
    }

    /// Forgets the slots that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(Slot) -> bool) {
        self.sums.retain(&keep);
        self.parts.retain(|(slot, _)| keep(*slot));
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.parts().is_empty()
    }

    /// All slots that it holds.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.sums.iter().map(|(slot, _)| slot).chain(self.parts().iter().map(|(slot, _)| *slot))
    }
}

/// What a pane keeps of a value: wider numbers must not cost every window.
const _: () = assert!(std::mem::size_of::<Scalar>() <= 32 && std::mem::size_of::<(Slot, Part)>() <= 80);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [Kind; 6] = [Kind::Min, Kind::Max, Kind::First, Kind::Last, Kind::Distinct, Kind::Tail(3)];

    fn cells(events: &[(i64, u8, i64)]) -> Cells {
        let mut cells = Cells::default();
        for (at, id, value) in events {
            let moment = Moment { at: *at, id: CompactString::new(format!("{id}")) };
            cells.sums.add(100, i128::from(*value));
            for (slot, kind) in KINDS.iter().enumerate() {
                cells.merge_part(slot as Slot, *kind, Part::of_event(*kind, &moment, Scalar::Int(i128::from(*value))));
            }
        }
        cells
    }

    proptest! {
        #[test]
        fn the_order_and_the_cut_do_not_matter(
            events in proptest::collection::btree_map((0i64..5, 0u8..9), -4i64..5, 1..20), turn in 0usize..20, cut in 0usize..20,
        ) {
            let events: Vec<_> = events.into_iter().map(|((at, id), value)| (at, id, value)).collect();
            let whole = cells(&events);
            let mut turned = events.clone();
            turned.rotate_left(turn % events.len());
            let (left, right) = turned.split_at(cut % events.len());
            let mut merged = cells(right);
            merged.merge(&cells(left), &|slot| KINDS.get(usize::from(slot)).copied().unwrap_or(Kind::Sum));
            prop_assert_eq!(&merged, &whole);
            // By the definition.
            let values = || events.iter().map(|(_, _, v)| *v);
            prop_assert_eq!(whole.part(0), Some(&Part::Extreme(Scalar::Int(i128::from(values().min().unwrap())))));
            prop_assert_eq!(whole.part(1), Some(&Part::Extreme(Scalar::Int(i128::from(values().max().unwrap())))));
            let last = events.iter().max_by_key(|(at, id, _)| (*at, id.to_string())).unwrap();
            let Some(Part::Edge(moment, value)) = whole.part(3) else { panic!("no last") };
            prop_assert_eq!((moment.at, value), (last.0, &Scalar::Int(i128::from(last.2))));
            let distinct: std::collections::BTreeSet<_> = values().collect();
            let Some(Part::Distinct(keys)) = whole.part(4) else { panic!("no set") };
            prop_assert_eq!(keys.len(), distinct.len());
            let Some(Part::Tail(tail)) = whole.part(5) else { panic!("no tail") };
            prop_assert_eq!(tail.len(), events.len().min(3));
        }
    }

    #[test]
    fn what_cannot_be_kept_is_an_error() {
        assert!(Scalar::new(&Value::Double(f64::NAN)).is_err());
        assert!(Scalar::new(&Value::Double(1e33)).is_err());
        assert_eq!(Scalar::argument(&Value::Double(1e21)).unwrap(), Scalar::Micros(ARGUMENT_MAX));
        assert!(Scalar::argument(&Value::Double(-1.1e21)).is_err());
        assert!(Scalar::argument(&Value::Bigint(i64::MIN)).is_ok());
        let text = |bytes: usize| Scalar::output(&Value::Text(Cow::Owned("x".repeat(bytes))));
        assert!(text(TEXT_BYTES_MAX).is_ok() && text(TEXT_BYTES_MAX + 1).is_err());
        // Seven digits, the last of which is 5: the double is a little less or more.
        for (x, micros) in [(-40_191_652.011_461_5, -40_191_652_011_462), (0.000_000_5, 1), (1.000_001_5, 1_000_002)] {
            assert_eq!(Scalar::new(&Value::Double(x)).unwrap(), Scalar::Micros(micros), "{x}");
        }
        // Where a double has few digits left behind the point, those that it shows are kept.
        assert_eq!(Scalar::new(&Value::Double(1e15 + 0.125)).unwrap(), Scalar::Micros(10_i128.pow(21) + 100_000));
        assert_eq!(Scalar::new(&Value::Double(0.1)).unwrap(), Scalar::Micros(100_000));
    }
}

//! Evaluation of compiled expressions: one match per node and row, nothing parsed but JSON.
//!
//! Types were checked when the tree was made (`resolve.rs`); here a value of another type can only come from a
//! [`Row`] that breaks its word, and is [`EvalError::WrongType`].

use super::calendar;
use super::exact;
use super::expr::{EvalError, Row, Type, Value};
use super::json;
use super::like::Pattern;
use super::literal;
use super::node::{Comparison, Evaluated, Function, Node, Operation, Set};
use aulaflow_model::instant::Millis;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The node's value for a row.
pub fn eval<'r>(node: &'r Node, row: &'r dyn Row) -> Evaluated<'r> {
    match node {
        Node::Column(index) => Ok(row.column(*index)),
        Node::Constant(constant) => Ok(constant.value()),
        Node::Arithmetic(operation, sides) => {
            let (left, right) = (eval(&sides[0], row)?, eval(&sides[1], row)?);
            operation.apply(&left, &right)
        }
        Node::Cast { operand, to, attempt } => cast(eval(operand, row)?, *to, *attempt),
        Node::JsonGet { sides, as_text } => json::get(eval(&sides[0], row)?, &eval(&sides[1], row)?, *as_text),
        Node::Strict(function, arguments) => strict(function, arguments, row),
        Node::Case { operand, branches, otherwise } => case(operand.as_deref(), branches, otherwise, row),
        Node::Compare(..)
        | Node::And(_)
        | Node::Or(_)
        | Node::Not(_)
        | Node::IsNull { .. }
        | Node::InSet { .. }
        | Node::Like { .. }
        | Node::Distinct { .. }
        | Node::IsBoolean { .. }
        | Node::Between { .. }
        | Node::In { .. }
        | Node::LikeDynamic { .. } => Ok(condition(node, row)?.map_or(Value::Null, Value::Boolean)),
        // Values are large: what is rarer lives in functions of its own, so that this one's frame stays small.
        Node::Variadic(..)
        | Node::Coalesce(_)
        | Node::NullIf(_)
        | Node::DateTrunc(..)
        | Node::DatePart(..)
        | Node::Exact(_) => eval_rare(node, row),
    }
}

/// A boolean node's value for a row, `None` for NULL. Conditions are most of what is evaluated: they need no [`Value`].
pub fn condition(node: &Node, row: &dyn Row) -> Result<Option<bool>, EvalError> {
    match node {
        Node::Compare(comparison, sides) => {
            let left = eval(&sides[0], row)?;
            match &sides[1] {
                Node::Constant(constant) => comparison.holds(&left, &constant.value()),
                other => comparison.holds(&left, &eval(other, row)?),
            }
        }
        Node::InSet { operand, set, has_null, negated } => Ok(match eval(operand, row)? {
            Value::Null => None,
            value if set.holds(&value)? => Some(!negated),
            _ if *has_null => None,
            _ => Some(*negated),
        }),
        Node::And(nodes) => junction(nodes, row, false),
        Node::Or(nodes) => junction(nodes, row, true),
        Node::Not(operand) => Ok(condition(operand, row)?.map(|b| !b)),
        Node::Like { operand, pattern, negated } => match eval(operand, row)? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(pattern.matches(&text) != *negated)),
            _ => Err(EvalError::WrongType),
        },
        Node::IsNull { operand, negated } => Ok(Some(matches!(eval(operand, row)?, Value::Null) != *negated)),
        Node::IsBoolean { operand, value, negated } => Ok(Some((condition(operand, row)? == Some(*value)) != *negated)),
        Node::Between { nodes, negated } => between(nodes, *negated, row),
        Node::In { operand, list, negated } => in_list(operand, list, *negated, row),
        Node::Distinct { sides, negated } => distinct(sides, *negated, row),
        Node::LikeDynamic { sides, escape, insensitive, negated } => {
            match (eval(&sides[0], row)?, eval(&sides[1], row)?) {
                (Value::Null, _) | (_, Value::Null) => Ok(None),
                (Value::Text(text), Value::Text(pattern)) => {
                    let pattern = Pattern::new(&pattern, *escape, *insensitive)
                        .map_err(|_| EvalError::InvalidCast("LIKE pattern"))?;
                    Ok(Some(pattern.matches(&text) != *negated))
                }
                _ => Err(EvalError::WrongType),
            }
        }
        Node::Column(_)
        | Node::Constant(_)
        | Node::Arithmetic(..)
        | Node::Strict(..)
        | Node::Variadic(..)
        | Node::Case { .. }
        | Node::Coalesce(_)
        | Node::NullIf(_)
        | Node::Cast { .. }
        | Node::DateTrunc(..)
        | Node::DatePart(..)
        | Node::Exact(_)
        | Node::JsonGet { .. } => boolean(&eval(node, row)?),
    }
}

#[inline(never)]
fn eval_rare<'r>(node: &'r Node, row: &'r dyn Row) -> Evaluated<'r> {
    match node {
        Node::Variadic(function, arguments) => {
            let mut values = arguments.iter().map(|a| eval(a, row)).collect::<Result<Vec<_>, _>>()?;
            (function.call)(&mut values)
        }
        Node::Coalesce(nodes) => {
            for node in nodes {
                match eval(node, row)? {
                    Value::Null => {}
                    value => return Ok(value),
                }
            }
            Ok(Value::Null)
        }
        Node::NullIf(sides) => {
            let (left, right) = (eval(&sides[0], row)?, eval(&sides[1], row)?);
            if Comparison::Eq.holds(&left, &right)? == Some(true) { Ok(Value::Null) } else { Ok(left) }
        }
        Node::Exact(operand) => exact::exact(eval(operand, row)?),
        Node::DateTrunc(unit, operand) => match eval(operand, row)? {
            Value::Null => Ok(Value::Null),
            Value::Timestamp(at) => calendar::truncate(*unit, at.0).map(|ms| Value::Timestamp(Millis(ms))),
            _ => Err(EvalError::WrongType),
        },
        Node::DatePart(unit, operand) => match eval(operand, row)? {
            Value::Null => Ok(Value::Null),
            Value::Timestamp(at) => calendar::part(*unit, at.0).map(Value::Double),
            Value::Interval { months, days, millis } => {
                calendar::interval_part(*unit, months, days, millis).map(Value::Double)
            }
            _ => Err(EvalError::WrongType),
        },
        Node::Column(_)
        | Node::Constant(_)
        | Node::Compare(..)
        | Node::And(_)
        | Node::Or(_)
        | Node::Not(_)
        | Node::IsNull { .. }
        | Node::IsBoolean { .. }
        | Node::InSet { .. }
        | Node::In { .. }
        | Node::Like { .. }
        | Node::LikeDynamic { .. }
        | Node::Between { .. }
        | Node::Distinct { .. }
        | Node::Arithmetic(..)
        | Node::Strict(..)
        | Node::Case { .. }
        | Node::Cast { .. }
        | Node::JsonGet { .. } => eval(node, row),
    }
}

impl Set {
    fn holds(&self, value: &Value<'_>) -> Result<bool, EvalError> {
        match (self, value) {
            (Self::FewTexts(texts), Value::Text(text)) => Ok(texts.iter().any(|t| **t == **text)),
            (Self::Texts(texts), Value::Text(text)) => Ok(texts.contains(&**text)),
            (Self::FewBigints(numbers), Value::Bigint(n)) => Ok(numbers.contains(n)),
            (Self::Bigints(numbers), Value::Bigint(n)) => Ok(numbers.contains(n)),
            (Self::FewBigints(numbers), Value::Wide(n)) => Ok(i64::try_from(**n).is_ok_and(|n| numbers.contains(&n))),
            (Self::Bigints(numbers), Value::Wide(n)) => Ok(i64::try_from(**n).is_ok_and(|n| numbers.contains(&n))),
            _ => Err(EvalError::WrongType),
        }
    }
}

/// A value as a three-valued boolean.
fn boolean(value: &Value<'_>) -> Result<Option<bool>, EvalError> {
    match value {
        Value::Boolean(b) => Ok(Some(*b)),
        Value::Null => Ok(None),
        _ => Err(EvalError::WrongType),
    }
}

/// AND and OR: the first node with the deciding value ends it; else NULL if one was NULL.
fn junction(nodes: &[Node], row: &dyn Row, deciding: bool) -> Result<Option<bool>, EvalError> {
    let mut unknown = false;
    for node in nodes {
        match condition(node, row)? {
            Some(b) if b == deciding => return Ok(Some(deciding)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { None } else { Some(!deciding) })
}

fn strict<'r>(function: &Function, arguments: &'r [Node], row: &'r dyn Row) -> Evaluated<'r> {
    // Every argument is evaluated before NULL decides, as in PostgreSQL: an error is not hidden by a NULL beside it.
    let mut values = [const { Value::Null }; 3];
    let (mut null, mut wide) = (false, false);
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = eval(argument, row)?;
        wide |= matches!(value, Value::Wide(_) | Value::Exact(_));
        null |= matches!(value, Value::Null);
    }
    if null {
        return Ok(Value::Null);
    }
    let count = arguments.len().min(values.len());
    if wide {
        return exact::call(function, &mut values[..count]);
    }
    (function.call)(&mut values[..count])
}

/// `x >= low AND x <= high`, with x evaluated once.
fn between(nodes: &[Node; 3], negated: bool, row: &dyn Row) -> Result<Option<bool>, EvalError> {
    let value = eval(&nodes[0], row)?;
    let low = Comparison::Ge.holds(&value, &eval(&nodes[1], row)?)?;
    if low == Some(false) {
        return Ok(Some(negated));
    }
    let high = Comparison::Le.holds(&value, &eval(&nodes[2], row)?)?;
    Ok(match (low, high) {
        (_, Some(false)) => Some(negated),
        (Some(true), Some(true)) => Some(!negated),
        _ => None,
    })
}

fn in_list(operand: &Node, list: &[Node], negated: bool, row: &dyn Row) -> Result<Option<bool>, EvalError> {
    let value = eval(operand, row)?;
    let mut unknown = false;
    for node in list {
        match Comparison::Eq.holds(&value, &eval(node, row)?)? {
            Some(true) => return Ok(Some(!negated)),
            Some(false) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { None } else { Some(negated) })
}

fn distinct(sides: &[Node; 2], negated: bool, row: &dyn Row) -> Result<Option<bool>, EvalError> {
    let (left, right) = (eval(&sides[0], row)?, eval(&sides[1], row)?);
    let distinct = match (&left, &right) {
        (Value::Null, Value::Null) => false,
        (Value::Null, _) | (_, Value::Null) => true,
        _ => compare(&left, &right)? != Ordering::Equal,
    };
    Ok(Some(distinct != negated))
}

fn case<'r>(
    operand: Option<&'r Node>,
    branches: &'r [(Node, Node)],
    otherwise: &'r Node,
    row: &'r dyn Row,
) -> Evaluated<'r> {
    let operand = operand.map(|node| eval(node, row)).transpose()?;
    for (test, result) in branches {
        let chosen = match &operand {
            Some(value) => Comparison::Eq.holds(value, &eval(test, row)?)?,
            None => condition(test, row)?,
        };
        if chosen == Some(true) {
            return eval(result, row);
        }
    }
    eval(otherwise, row)
}

impl Comparison {
    /// Whether it holds; `None` where a side is NULL.
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Result<Option<bool>, EvalError> {
        let order = match (self, left, right) {
            (_, Value::Null, _) | (_, _, Value::Null) => return Ok(None),
            // Equality of texts needs no order: different lengths decide at once.
            (Self::Eq, Value::Text(a), Value::Text(b)) => return Ok(Some(a == b)),
            (Self::Ne, Value::Text(a), Value::Text(b)) => return Ok(Some(a != b)),
            _ => compare(left, right)?,
        };
        Ok(Some(match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }))
    }
}

/// The order of two values of one type, neither NULL. Texts compare by code points (the collation "C").
pub fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, EvalError> {
    match (left, right) {
        (Value::Double(a), Value::Double(b)) => {
            // Neither is NaN; should a row hold one, it is the greatest, as in PostgreSQL.
            Ok(a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())))
        }
        (Value::Bigint(a), Value::Bigint(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.as_bytes().cmp(b.as_bytes())),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(a.cmp(b)),
        (Value::Boolean(a), Value::Boolean(b)) => Ok(a.cmp(b)),
        (
            Value::Interval { months, days, millis },
            Value::Interval { months: months_b, days: days_b, millis: millis_b },
        ) => Ok(span(*months, *days, *millis).cmp(&span(*months_b, *days_b, *millis_b))),
        _ => exact::compare(left, right),
    }
}

/// An interval's length for comparisons: months of 30 days, days of 24 hours.
fn span(months: i32, days: i32, millis: i64) -> i128 {
    (i128::from(months) * 30 + i128::from(days)) * i128::from(calendar::DAY_MS) + i128::from(millis)
}

impl Operation {
    fn apply<'r>(self, left: &Value<'_>, right: &Value<'_>) -> Evaluated<'r> {
        match (left, right) {
            (Value::Double(a), Value::Double(b)) => self.doubles(*a, *b).map(Value::Double),
            (Value::Bigint(a), Value::Bigint(b)) => self.bigints(*a, *b).map(Value::Bigint),
            (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
            _ => exact::apply(self, left, right),
        }
    }

    fn bigints(self, a: i64, b: i64) -> Result<i64, EvalError> {
        let result = match self {
            Self::Add => a.checked_add(b),
            Self::Subtract => a.checked_sub(b),
            Self::Multiply => a.checked_mul(b),
            Self::Divide | Self::Modulo if b == 0 => return Err(EvalError::DivisionByZero),
            Self::Divide => a.checked_div(b),
            // The smallest integer modulo -1 overflows in hardware only: the answer is 0.
            Self::Modulo => Some(a.wrapping_rem(b)),
        };
        result.ok_or(EvalError::OutOfRange("bigint"))
    }

    fn doubles(self, a: f64, b: f64) -> Result<f64, EvalError> {
        match self {
            Self::Add => finite(a + b),
            Self::Subtract => finite(a - b),
            Self::Multiply => finite_or_underflow(a * b, a == 0.0 || b == 0.0),
            Self::Divide | Self::Modulo if b == 0.0 => Err(EvalError::DivisionByZero),
            Self::Divide => finite_or_underflow(a / b, a == 0.0),
            Self::Modulo => finite(a % b),
        }
    }
}

/// Results are finite, or an error.
pub fn finite(x: f64) -> Result<f64, EvalError> {
    if x.is_finite() { Ok(x) } else { Err(EvalError::OutOfRange("double precision")) }
}

/// A zero that no zero made is an underflow, which PostgreSQL raises as well.
fn finite_or_underflow(x: f64, zero_expected: bool) -> Result<f64, EvalError> {
    if x == 0.0 && !zero_expected { Err(EvalError::OutOfRange("double precision")) } else { finite(x) }
}

/// CAST; with `attempt`, TRY_CAST: NULL where CAST fails.
fn cast(value: Value<'_>, to: Type, attempt: bool) -> Evaluated<'_> {
    match (cast_value(value, to), attempt) {
        (Err(EvalError::InvalidCast(_) | EvalError::InvalidText { .. } | EvalError::OutOfRange(_)), true) => {
            Ok(Value::Null)
        }
        (result, _) => result,
    }
}

/// 2^63: the first double that BIGINT does not hold.
const BIGINT_END: f64 = 9_223_372_036_854_775_808.0;

fn cast_value(value: Value<'_>, to: Type) -> Evaluated<'_> {
    match (value, to) {
        (Value::Null, _) => Ok(Value::Null),
        (value @ (Value::Wide(_) | Value::Exact(_)), to) => exact::cast(value, to),
        (value @ Value::Boolean(_), Type::Boolean)
        | (value @ Value::Bigint(_), Type::Bigint)
        | (value @ Value::Double(_), Type::Double)
        | (value @ Value::Text(_), Type::Text)
        | (value @ Value::Timestamp(_), Type::Timestamp)
        | (value @ Value::Interval { .. }, Type::Interval)
        | (value @ Value::Json(_), Type::Json) => Ok(value),
        (Value::Text(text), to) => literal::parse(&text, to),
        (Value::Json(Cow::Borrowed(raw)), Type::Text) => Ok(Value::Text(Cow::Borrowed(raw.get()))),
        (value, Type::Text) => Ok(Value::Text(Cow::Owned(literal::to_text(&value).into_owned()))),
        (Value::Bigint(n), Type::Double) => Ok(Value::Double(n as f64)),
        (Value::Double(x), Type::Bigint) => {
            let whole = x.round_ties_even();
            if (-BIGINT_END..BIGINT_END).contains(&whole) {
                Ok(Value::Bigint(whole as i64))
            } else {
                Err(EvalError::OutOfRange("bigint"))
            }
        }
        (Value::Boolean(b), Type::Bigint) => Ok(Value::Bigint(i64::from(b))),
        (Value::Bigint(n), Type::Boolean) => Ok(Value::Boolean(n != 0)),
        _ => Err(EvalError::WrongType),
    }
}

/// Whether CAST turns one type into another.
pub fn castable(from: Type, to: Type) -> bool {
    from == to
        || from == Type::Text
        || to == Type::Text
        || matches!(
            (from, to),
            (Type::Bigint, Type::Double | Type::Boolean) | (Type::Double, Type::Bigint) | (Type::Boolean, Type::Bigint)
        )
}

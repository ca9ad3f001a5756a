//! Numbers of expressions over aggregates: whole numbers of 128 bits and exact fractions, so that what is shown is rounded
//! once, at the end. Expressions over events know doubles and 64 bits alone, and a few large values that a double does not
//! hold.
//!
//! A double that meets an exact number is the decimal number that it shows: `0.1` is one tenth.

use super::expr::{EvalError, Type, Value};
use super::node::{Evaluated, Function, Operation};
use super::{eval, literal};
use aulaflow_model::exact::Exact;
use aulaflow_model::tenant::RoundingMode;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The most decimals, either way, that `round(x, n)` of an exact number tells apart: more change no digit that is shown.
const DECIMALS_MAX: i64 = 100;

/// A BIGINT.
fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Bigint(n) => Some(i128::from(*n)),
        Value::Wide(n) => Some(**n),
        _ => None,
    }
}

/// A DOUBLE.
fn fraction<'v>(value: &'v Value<'_>) -> Option<Cow<'v, Exact>> {
    match value {
        Value::Double(x) => Exact::from_shown(*x).map(Cow::Owned),
        Value::Exact(x) => Some(Cow::Borrowed(x)),
        _ => None,
    }
}

fn of(x: Exact) -> Value<'static> {
    Value::Exact(Box::new(x))
}

/// A DOUBLE as an exact number, other values as they are.
pub fn exact(value: Value<'_>) -> Evaluated<'_> {
    match value {
        Value::Double(x) => Exact::from_shown(x).map(of).ok_or(EvalError::OutOfRange("double precision")),
        value => Ok(value),
    }
}

/// The order of two numbers of one type, of which at least one is wide or exact.
pub fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, EvalError> {
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        return Ok(a.cmp(&b));
    }
    match (fraction(left), fraction(right)) {
        (Some(a), Some(b)) => Ok(a.cmp(&b)),
        _ => Err(EvalError::WrongType),
    }
}

/// An operator between two numbers of one type, of which at least one is wide or exact.
pub fn apply(operation: Operation, left: &Value<'_>, right: &Value<'_>) -> Evaluated<'static> {
    if let (Some(a), Some(b)) = (whole(left), whole(right)) {
        return wholes(operation, a, b).map(|n| Value::Wide(Box::new(n)));
    }
    let (Some(a), Some(b)) = (fraction(left), fraction(right)) else { return Err(EvalError::WrongType) };
    let result = match operation {
        Operation::Add => Some(a.add(&b)),
        Operation::Subtract => Some(a.sub(&b)),
        Operation::Multiply => Some(a.mul(&b)),
        Operation::Divide => a.div(&b),
        Operation::Modulo => a.rem(&b),
    };
    result.map(of).ok_or(EvalError::DivisionByZero)
}

fn wholes(operation: Operation, a: i128, b: i128) -> Result<i128, EvalError> {
    let result = match operation {
        Operation::Add => a.checked_add(b),
        Operation::Subtract => a.checked_sub(b),
        Operation::Multiply => a.checked_mul(b),
        Operation::Divide | Operation::Modulo if b == 0 => return Err(EvalError::DivisionByZero),
        Operation::Divide => a.checked_div(b),
        Operation::Modulo => Some(a.wrapping_rem(b)),
    };
    result.ok_or(EvalError::OutOfRange("bigint"))
}

/// A function that has a wide or exact argument: those of numbers are exact, the others get what they know.
pub fn call<'r>(function: &Function, arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    if let [value, rest @ ..] = &*arguments
        && let Some(result) = number(function.name, value, rest)
    {
        return result;
    }
    for argument in arguments.iter_mut() {
        *argument = narrow(std::mem::replace(argument, Value::Null))?;
    }
    (function.call)(arguments)
}

/// The functions of numbers; `None` of others.
fn number(name: &str, value: &Value<'_>, rest: &[Value<'_>]) -> Option<Evaluated<'static>> {
    let checked = |n: Option<i128>| n.map(|n| Value::Wide(Box::new(n))).ok_or(EvalError::OutOfRange("bigint"));
    if let Some(n) = whole(value) {
        return match name {
            "-" => Some(checked(n.checked_neg())),
            "abs" => Some(checked(n.checked_abs())),
            _ => None,
        };
    }
    let x = fraction(value)?;
    let result = match (name, rest) {
        ("-", []) => x.neg(),
        ("abs", []) => x.abs(),
        ("floor", []) => x.floor(),
        ("ceil" | "ceiling", []) => x.ceil(),
        ("round", []) => x.rounded(RoundingMode::HalfEven, 0),
        ("round", [decimals]) => {
            let decimals = whole(decimals)?.clamp(-i128::from(DECIMALS_MAX), i128::from(DECIMALS_MAX));
            x.rounded(RoundingMode::HalfUp, i32::try_from(decimals).ok()?)
        }
        _ => return None,
    };
    Some(Ok(of(result)))
}

/// What other functions know of a number: a BIGINT of 64 bits, a double.
fn narrow(value: Value<'_>) -> Evaluated<'_> {
    match value {
        Value::Wide(n) => i64::try_from(*n).map(Value::Bigint).map_err(|_| EvalError::OutOfRange("bigint")),
        Value::Exact(x) => eval::finite(x.to_f64()).map(Value::Double),
        value => Ok(value),
    }
}

/// CAST of a wide or exact number.
pub fn cast(value: Value<'_>, to: Type) -> Evaluated<'_> {
    match (value, to) {
        (value @ Value::Wide(_), Type::Bigint) | (value @ Value::Exact(_), Type::Double) => Ok(value),
        (Value::Wide(n), Type::Double) => Ok(of(Exact::from_integer(*n))),
        (Value::Wide(n), Type::Boolean) => Ok(Value::Boolean(*n != 0)),
        (Value::Exact(x), Type::Bigint) => {
            let whole = x.scaled(RoundingMode::HalfEven, 0);
            whole.map(|n| Value::Wide(Box::new(n))).ok_or(EvalError::OutOfRange("bigint"))
        }
        (value, Type::Text) => Ok(Value::Text(Cow::Owned(literal::to_text(&value).into_owned()))),
        _ => Err(EvalError::WrongType),
    }
}

//! Functions of numbers.

use super::{Definition, Kind, Signature};
use crate::sql::eval::finite;
use crate::sql::expr::{EvalError, Type, Value};
use crate::sql::node::{Evaluated, Function};

/// `abs(x)`
pub static ABS: Definition = Definition {
    name: "abs",
    takes: "bigint or double precision",
    kind: Kind::Strict(&[
        Signature { arguments: &[Type::Bigint], result: Type::Bigint, call: abs },
        Signature { arguments: &[Type::Double], result: Type::Double, call: abs },
    ]),
};

/// `ceil(x)`: of a BIGINT too it is a DOUBLE, as in PostgreSQL.
pub static CEIL: Definition = Definition { name: "ceil", takes: "double precision", kind: Kind::Strict(CEIL_OF) };

/// `ceiling(x)`: the same.
pub static CEILING: Definition = Definition { name: "ceiling", takes: "double precision", kind: Kind::Strict(CEIL_OF) };

const CEIL_OF: &[Signature] =
    &[Signature { arguments: &[Type::Double], result: Type::Double, call: |a| map(a, f64::ceil) }];

/// `floor(x)`
pub static FLOOR: Definition = Definition {
    name: "floor",
    takes: "double precision",
    kind: Kind::Strict(&[Signature { arguments: &[Type::Double], result: Type::Double, call: |a| map(a, f64::floor) }]),
};

/// `round(x)`: ties to even, as PostgreSQL rounds doubles. `round(x, n)`: `n` decimals of the decimal number that `x`
/// shows, ties away from zero, as PostgreSQL's `round(x::numeric, n)`.
pub static ROUND: Definition = Definition {
    name: "round",
    takes: "double precision, and decimals (bigint) if wanted",
    kind: Kind::Strict(&[
        Signature { arguments: &[Type::Double], result: Type::Double, call: |a| map(a, f64::round_ties_even) },
        Signature { arguments: &[Type::Double, Type::Bigint], result: Type::Double, call: round_to },
    ]),
};

/// `- x`
pub const NEGATE: Function = Function { name: "-", call: negate };

fn negate<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Bigint(n)] => n.checked_neg().map(Value::Bigint).ok_or(EvalError::OutOfRange("bigint")),
        [Value::Double(x)] => Ok(Value::Double(-*x)),
        _ => Err(EvalError::WrongType),
    }
}

fn map<'r>(arguments: &[Value<'r>], f: fn(f64) -> f64) -> Evaluated<'r> {
    match arguments {
        [Value::Double(x)] => Ok(Value::Double(f(*x))),
        _ => Err(EvalError::WrongType),
    }
}

fn abs<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Bigint(n)] => n.checked_abs().map(Value::Bigint).ok_or(EvalError::OutOfRange("bigint")),
        [Value::Double(x)] => Ok(Value::Double(x.abs())),
        _ => Err(EvalError::WrongType),
    }
}

fn round_to<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Double(x), Value::Bigint(decimals)] => round_decimal(*x, *decimals).map(Value::Double),
        _ => Err(EvalError::WrongType),
    }
}

/// Rounds the decimal number of 15 significant digits that a double stands for: 2.675 gives 2.68, although the double
/// is a little less.
fn round_decimal(x: f64, decimals: i64) -> Result<f64, EvalError> {
    // `d.dddddddddddddde±x`: 15 digits, the first has the weight 10^exponent.
    let text = format!("{x:.14e}");
    let wrong = || EvalError::OutOfRange("double precision");
    let (mantissa, exponent) = text.split_once('e').ok_or_else(wrong)?;
    let exponent: i64 = exponent.parse().map_err(|_| wrong())?;
    let digits: i64 = mantissa.replace(['.', '-'], "").parse().map_err(|_| wrong())?;
    // How many of the digits stay; with less than none, nothing is left to round.
    let keep = decimals.saturating_add(exponent).saturating_add(1).clamp(-1, 15);
    let sign = if x < 0.0 { "-" } else { "" };
    let rounded = match u32::try_from(15 - keep) {
        Ok(dropped) if dropped <= 15 => {
            let unit = 10_i64.pow(dropped);
            (digits + unit / 2) / unit
        }
        _ => 0,
    };
    if rounded == 0 {
        return Ok(0.0);
    }
    finite(format!("{sign}{rounded}e{}", exponent.saturating_sub(keep - 1)).parse().map_err(|_| wrong())?)
}

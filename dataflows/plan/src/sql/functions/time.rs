//! Functions and operators of timestamps and intervals.

use super::{Definition, Kind};
use crate::sql::calendar::{self, DAY_MS, UNITS, Unit};
use crate::sql::expr::{EvalError, Type, Value};
use crate::sql::literal;
use crate::sql::node::{Evaluated, Function, Node};
use crate::sql::resolve::{Resolver, Typed};
use crate::sql::{SqlFault, nearest_help};
use aulaflow_model::instant::Millis;
use sqlparser::ast;

/// `date_trunc('unit', timestamp)`: in UTC.
pub static DATE_TRUNC: Definition =
    Definition { name: "date_trunc", takes: "a unit in quotes and a timestamp", kind: Kind::Custom(resolve_trunc) };

/// `date_part('unit', timestamp or interval)`: a DOUBLE. `EXTRACT(unit FROM x)` is the same.
pub static DATE_PART: Definition = Definition {
    name: "date_part",
    takes: "a unit in quotes and a timestamp or interval",
    kind: Kind::Custom(resolve_part),
};

fn resolve_trunc<'a>(resolver: &mut Resolver<'_>, arguments: Vec<Typed<'a>>, at: &'a ast::Expr) -> Option<Typed<'a>> {
    let [unit, operand]: [Typed<'a>; 2] = arguments.try_into().ok()?;
    let name = unit.as_text()?.to_owned();
    if !operand.coerces_to(Type::Timestamp) {
        return None;
    }
    let unit = find_unit(resolver, &name, unit.ast, "timestamp", Unit::truncates)?;
    let node = resolver.coerce(operand, Type::Timestamp)?;
    Some(Typed::new(Node::DateTrunc(unit, Box::new(node)), Type::Timestamp, at))
}

fn resolve_part<'a>(resolver: &mut Resolver<'_>, arguments: Vec<Typed<'a>>, at: &'a ast::Expr) -> Option<Typed<'a>> {
    let [unit, operand]: [Typed<'a>; 2] = arguments.try_into().ok()?;
    let name = unit.as_text()?.to_owned();
    resolve_field(resolver, &name, unit.ast, operand, at)
}

/// `date_part` and EXTRACT.
pub fn resolve_field<'a>(
    resolver: &mut Resolver<'_>,
    name: &str,
    name_at: &ast::Expr,
    operand: Typed<'a>,
    at: &'a ast::Expr,
) -> Option<Typed<'a>> {
    let (ty, known): (Type, fn(Unit) -> bool) = match operand.ty {
        Some(Type::Interval) => (Type::Interval, Unit::of_interval),
        Some(Type::Timestamp) | None => (Type::Timestamp, |_| true),
        Some(Type::Boolean | Type::Bigint | Type::Double | Type::Text | Type::Json) => return None,
    };
    let unit = find_unit(resolver, name, name_at, &ty.to_string(), known)?;
    let node = resolver.coerce(operand, ty)?;
    Some(Typed::new(Node::DatePart(unit, Box::new(node)), Type::Double, at))
}

fn find_unit(
    resolver: &mut Resolver<'_>,
    name: &str,
    at: &ast::Expr,
    of: &str,
    known: fn(Unit) -> bool,
) -> Option<Unit> {
    let unit = Unit::parse(name).filter(|unit| known(*unit));
    if unit.is_none() {
        let names: Vec<&str> = UNITS.iter().filter(|(_, unit)| known(*unit)).map(|(name, _)| *name).collect();
        resolver.fault(SqlFault {
            span: resolver.range(at),
            message: format!("{of} units \"{name}\" not recognized"),
            help: Some(nearest_help(name, &names, "units")),
        });
    }
    unit
}

/// The operator of two types, one of which is a timestamp or an interval: its function, the types it wants, its result.
pub fn operator(name: &str, left: Option<Type>, right: Option<Type>) -> Option<(Function, [Type; 2], Type)> {
    use Type::{Bigint, Double, Interval, Timestamp};
    Some(match (name, left, right) {
        ("+", Some(Timestamp), Some(Interval) | None) => {
            (Function { name: "+", call: timestamp_plus }, [Timestamp, Interval], Timestamp)
        }
        ("+", Some(Interval) | None, Some(Timestamp)) => {
            (Function { name: "+", call: interval_plus_timestamp }, [Interval, Timestamp], Timestamp)
        }
        ("-", Some(Timestamp), Some(Interval)) => {
            (Function { name: "-", call: timestamp_minus }, [Timestamp, Interval], Timestamp)
        }
        ("-", Some(Timestamp), Some(Timestamp) | None) | ("-", None, Some(Timestamp)) => {
            (Function { name: "-", call: timestamp_difference }, [Timestamp, Timestamp], Interval)
        }
        ("+", Some(Interval), Some(Interval) | None) | ("+", None, Some(Interval)) => (
            Function { name: "+", call: |a| intervals(a, i32::checked_add, i64::checked_add) },
            [Interval, Interval],
            Interval,
        ),
        ("-", Some(Interval), Some(Interval) | None) | ("-", None, Some(Interval)) => (
            Function { name: "-", call: |a| intervals(a, i32::checked_sub, i64::checked_sub) },
            [Interval, Interval],
            Interval,
        ),
        ("*", Some(Interval), Some(Double | Bigint) | None) => {
            (Function { name: "*", call: interval_times }, [Interval, Double], Interval)
        }
        ("*", Some(Double | Bigint) | None, Some(Interval)) => {
            (Function { name: "*", call: times_interval }, [Double, Interval], Interval)
        }
        ("/", Some(Interval), Some(Double | Bigint) | None) => {
            (Function { name: "/", call: interval_over }, [Interval, Double], Interval)
        }
        _ => return None,
    })
}

/// `- interval`
pub const NEGATE_INTERVAL: Function = Function { name: "-", call: negate };

const OUT: EvalError = EvalError::OutOfRange("interval");

/// 2^63: the first number of microseconds that an interval does not hold.
const MICROS_END: f64 = 9_223_372_036_854_775_808.0;

fn timestamp_plus<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Timestamp(at), Value::Interval { months, days, millis }] => {
            calendar::add(at.0, *months, *days, *millis).map(|ms| Value::Timestamp(Millis(ms)))
        }
        _ => Err(EvalError::WrongType),
    }
}

fn interval_plus_timestamp<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    arguments.reverse();
    timestamp_plus(arguments)
}

fn timestamp_minus<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Timestamp(at), Value::Interval { months, days, millis }] => {
            let (months, days) = (months.checked_neg().ok_or(OUT)?, days.checked_neg().ok_or(OUT)?);
            calendar::add(at.0, months, days, millis.checked_neg().ok_or(OUT)?).map(|ms| Value::Timestamp(Millis(ms)))
        }
        _ => Err(EvalError::WrongType),
    }
}

/// Days and the time of day, both with the sign of the whole; never months.
fn timestamp_difference<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Timestamp(left), Value::Timestamp(right)] => {
            let millis = held(left.0.checked_sub(right.0))?;
            let days = i32::try_from(millis / DAY_MS).map_err(|_| OUT)?;
            Ok(Value::Interval { months: 0, days, millis: millis % DAY_MS })
        }
        _ => Err(EvalError::WrongType),
    }
}

/// The sum or difference of two intervals, part by part.
fn intervals<'r>(
    arguments: &mut [Value<'r>],
    small: fn(i32, i32) -> Option<i32>,
    large: fn(i64, i64) -> Option<i64>,
) -> Evaluated<'r> {
    let [Value::Interval { months, days, millis }, Value::Interval { months: m, days: d, millis: ms }] = arguments
    else {
        return Err(EvalError::WrongType);
    };
    Ok(Value::Interval {
        months: small(*months, *m).ok_or(OUT)?,
        days: small(*days, *d).ok_or(OUT)?,
        millis: held(large(*millis, *ms))?,
    })
}

fn negate<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Interval { months, days, millis }] => Ok(Value::Interval {
            months: months.checked_neg().ok_or(OUT)?,
            days: days.checked_neg().ok_or(OUT)?,
            millis: millis.checked_neg().ok_or(OUT)?,
        }),
        _ => Err(EvalError::WrongType),
    }
}

fn interval_times<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Interval { months, days, millis }, Value::Double(factor)] => {
            scale(*months, *days, *millis, |x| x * *factor)
        }
        _ => Err(EvalError::WrongType),
    }
}

fn times_interval<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    arguments.reverse();
    interval_times(arguments)
}

fn interval_over<'r>(arguments: &mut [Value<'r>]) -> Evaluated<'r> {
    match arguments {
        [Value::Interval { .. }, Value::Double(0.0)] => Err(EvalError::DivisionByZero),
        [Value::Interval { months, days, millis }, Value::Double(divisor)] => {
            scale(*months, *days, *millis, |x| x / *divisor)
        }
        _ => Err(EvalError::WrongType),
    }
}

/// PostgreSQL's `interval_mul` and `interval_div`: what is left of a month becomes days, what is left of a day time.
fn scale<'r>(months: i32, days: i32, millis: i64, by: impl Fn(f64) -> f64) -> Evaluated<'r> {
    let small = |x: f64| if (-2_147_483_648.0..2_147_483_648.0).contains(&x) { Ok(x as i32) } else { Err(OUT) };
    // Six digits of a second, as there: what doubles add below it is noise.
    let round = |x: f64| (x * 1e6).round_ties_even() / 1e6;
    let day_s = DAY_MS as f64 / 1000.0;
    let (scaled_months, scaled_days) = (by(f64::from(months)), by(f64::from(days)));
    let (whole_months, mut whole_days) = (small(scaled_months)?, small(scaled_days)?);
    let month_days = round((scaled_months - f64::from(whole_months)) * 30.0);
    let mut seconds = round((scaled_days - f64::from(whole_days) + month_days - month_days.trunc()) * day_s);
    let add = |days: i32, more: f64| small(more).and_then(|more| days.checked_add(more).ok_or(OUT));
    if seconds.abs() >= day_s {
        whole_days = add(whole_days, (seconds / day_s).trunc())?;
        seconds -= (seconds / day_s).trunc() * day_s;
    }
    whole_days = add(whole_days, month_days.trunc())?;
    // In microseconds, as there.
    let total = (by(millis.saturating_mul(1000) as f64) + seconds * 1e6).round_ties_even();
    if !(-MICROS_END..MICROS_END).contains(&total) {
        return Err(OUT);
    }
    Ok(Value::Interval { months: whole_months, days: whole_days, millis: literal::millis(total as i64).ok_or(OUT)? })
}

/// An interval's milliseconds, if it holds them: PostgreSQL's holds as many microseconds as there are in 64 bits.
fn held(millis: Option<i64>) -> Result<i64, EvalError> {
    millis.filter(|millis| millis.checked_mul(1000).is_some()).ok_or(OUT)
}

//! Operators and units of time: what of the parser's is written, and how.

use sqlparser::ast::{BinaryOperator, DateTimeField, UnaryOperator};

/// An operator as it is written.
pub(super) fn binary(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::Gt => ">",
        BinaryOperator::Lt => "<",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "!=",
        BinaryOperator::And => "AND",
        BinaryOperator::Or => "OR",
        _ => return None,
    })
}

/// An operator before its operand.
pub(super) fn unary(op: &UnaryOperator) -> Option<&'static str> {
    match op {
        UnaryOperator::Minus => Some("-"),
        UnaryOperator::Plus => Some("+"),
        UnaryOperator::Not => Some("NOT "),
        _ => None,
    }
}

/// A unit of an interval.
pub(super) fn unit(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year | DateTimeField::Years => "YEAR",
        DateTimeField::Quarter => "QUARTER",
        DateTimeField::Month | DateTimeField::Months => "MONTH",
        DateTimeField::Week(None) | DateTimeField::Weeks => "WEEK",
        DateTimeField::Day | DateTimeField::Days => "DAY",
        DateTimeField::Hour | DateTimeField::Hours => "HOUR",
        DateTimeField::Minute | DateTimeField::Minutes => "MINUTE",
        DateTimeField::Second | DateTimeField::Seconds => "SECOND",
        DateTimeField::Millisecond | DateTimeField::Milliseconds => "MILLISECOND",
        DateTimeField::Microsecond | DateTimeField::Microseconds => "MICROSECOND",
        DateTimeField::Nanosecond | DateTimeField::Nanoseconds => "NANOSECOND",
        _ => return None,
    })
}

/// The parts of a time that ClickHouse's EXTRACT knows.
pub(super) const PARTS: &[&str] = &[
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "MILLISECOND",
    "MICROSECOND",
    "NANOSECOND",
    "DOW",
    "ISODOW",
    "DOY",
    "ISOYEAR",
    "EPOCH",
    "DECADE",
    "CENTURY",
    "MILLENNIUM",
];

/// The part of `EXTRACT(… FROM …)`.
pub(super) fn part(field: &DateTimeField) -> Option<&'static str> {
    let plain = match field {
        DateTimeField::Dow => "DOW",
        DateTimeField::Isodow => "ISODOW",
        DateTimeField::Doy => "DOY",
        DateTimeField::Isoyear => "ISOYEAR",
        DateTimeField::Epoch => "EPOCH",
        DateTimeField::Decade => "DECADE",
        DateTimeField::Century => "CENTURY",
        DateTimeField::Millennium => "MILLENNIUM",
        _ => return unit(field),
    };
    Some(plain)
}

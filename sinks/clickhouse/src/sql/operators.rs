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
        UnaryOperator::Plus => Some(""),
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
        _ => return None,
    })
}

/// The function of `EXTRACT(… FROM …)`.
pub(super) fn extract(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year | DateTimeField::Years => "toYear",
        DateTimeField::Quarter => "toQuarter",
        DateTimeField::Month | DateTimeField::Months => "toMonth",
        DateTimeField::Week(None) | DateTimeField::Weeks | DateTimeField::IsoWeek => "toISOWeek",
        DateTimeField::Day | DateTimeField::Days => "toDayOfMonth",
        DateTimeField::DayOfWeek | DateTimeField::Dow | DateTimeField::Isodow => "toDayOfWeek",
        DateTimeField::DayOfYear | DateTimeField::Doy => "toDayOfYear",
        DateTimeField::Hour | DateTimeField::Hours => "toHour",
        DateTimeField::Minute | DateTimeField::Minutes => "toMinute",
        DateTimeField::Second | DateTimeField::Seconds => "toSecond",
        DateTimeField::Epoch => "toUnixTimestamp",
        _ => return None,
    })
}

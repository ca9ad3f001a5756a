//! Typed scalar expressions, compiled once, evaluated per event. SQL's null rules; PostgreSQL's semantics.

use super::eval::{self};
use super::node::Node;
use aulaflow_model::exact::Exact;
use aulaflow_model::instant::Millis;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// SQL types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// BOOLEAN
    Boolean,
    /// BIGINT
    Bigint,
    /// DOUBLE
    Double,
    /// TEXT
    Text,
    /// TIMESTAMP (an instant; shown in UTC)
    Timestamp,
    /// INTERVAL
    Interval,
    /// JSON
    Json,
}

impl fmt::Display for Type {
    /// PostgreSQL's name for it, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Double => "double precision",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Interval => "interval",
            Self::Json => "json",
        })
    }
}

/// A value of an expression; NULL is `None` where an `Option` of this is used.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// SQL's NULL, of any type.
    Null,
    /// BOOLEAN
    Boolean(bool),
    /// BIGINT
    Bigint(i64),
    /// BIGINT of expressions over aggregates, which may exceed 64 bits.
    Wide(Box<i128>),
    /// DOUBLE
    Double(f64),
    /// DOUBLE of expressions over aggregates, and of what a double does not hold: not rounded yet.
    Exact(Box<Exact>),
    /// TEXT
    Text(Cow<'a, str>),
    /// TIMESTAMP
    Timestamp(Millis),
    /// INTERVAL: months, days and milliseconds are kept apart, as in PostgreSQL.
    Interval {
        /// Calendar months.
        months: i32,
        /// Calendar days.
        days: i32,
        /// The rest.
        millis: i64,
    },
    /// JSON, unparsed.
    Json(Cow<'a, RawValue>),
}

/// Gives an expression its columns. Columns are asked for only where an expression reads them.
pub trait Row {
    /// The value of column `index`, of the type that the expression was compiled with.
    fn column(&self, index: usize) -> Value<'_>;
}

/// Why an expression has no value for a row: PostgreSQL would raise an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A result that its type cannot hold.
    #[error("{0} out of range")]
    OutOfRange(&'static str),
    /// A value that the type cannot be made of.
    #[error("invalid input for type {0}")]
    InvalidCast(&'static str),
    /// A text that is no value of the type, and what is wrong with it.
    #[error("invalid input for type {ty}: {why}")]
    InvalidText {
        /// The type.
        ty: Type,
        /// What is wrong, or what is expected.
        why: &'static str,
    },
    /// The row gave a value of another type than the expression was compiled with: a fault of the caller's.
    #[error("a column does not have the type that the expression was compiled with")]
    WrongType,
}

/// A typed, compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    node: Node,
    ty: Type,
}

impl Expr {
    pub(super) fn new(node: Node, ty: Type) -> Self {
        Self { node, ty }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Its node and type.
    pub(super) fn into_parts(self) -> (Node, Type) {
        (self.node, self.ty)
    }

    /// The column's index, if the expression is just a column.
    pub fn as_column(&self) -> Option<usize> {
        match self.node {
            Node::Column(index) => Some(index),
            _ => None,
        }
    }

    /// Its type.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// Whether it reads a column.
    pub fn reads(&self, column: usize) -> bool {
        fn any(node: &Node, column: usize) -> bool {
            matches!(node, Node::Column(index) if *index == column)
                || node.parts().into_iter().any(|part| any(part, column))
        }
        any(&self.node, column)
    }

    /// Its value for a row.
    pub fn eval<'r>(&'r self, row: &'r dyn Row) -> Result<Value<'r>, EvalError> {
        eval::eval(&self.node, row)
    }

    /// Whether a BOOLEAN expression is true for a row, as WHERE asks: NULL is not. Quicker than [`Expr::eval`].
    pub fn holds(&self, row: &dyn Row) -> Result<bool, EvalError> {
        eval::condition(&self.node, row).map(|value| value == Some(true))
    }
}

impl Value<'_> {
    /// The value as PostgreSQL prints it (`12.5`, `t`, `2026-03-02 15:04:05.12`, `1 day 02:00:00`); `None` for NULL.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(b) => Some(if *b { "t" } else { "f" }.to_owned()),
            Self::Bigint(_)
            | Self::Wide(_)
            | Self::Double(_)
            | Self::Exact(_)
            | Self::Text(_)
            | Self::Timestamp(_)
            | Self::Interval { .. }
            | Self::Json(_) => Some(super::literal::to_text(self).into_owned()),
        }
    }
}

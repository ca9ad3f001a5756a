//! The compiled form of expressions: nodes, constants, functions. How they are evaluated is in `eval.rs`, how they are
//! made in `resolve.rs`.

use super::calendar::Unit;
use super::expr::{EvalError, Type, Value};
use super::like::Pattern;
use aulaflow_model::exact::Exact;
use aulaflow_model::instant::Millis;
use rustc_hash::FxHashSet;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What evaluations give.
pub type Evaluated<'r> = Result<Value<'r>, EvalError>;

/// An expression's node.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// The row's column.
    Column(usize),
    /// A value known when the expression was compiled.
    Constant(Constant),
    /// `=`, `<`, …; both sides have the same type.
    Compare(Comparison, Box<[Node; 2]>),
    /// `IS [NOT] DISTINCT FROM`
    Distinct { sides: Box<[Node; 2]>, negated: bool },
    /// From left to right, until one is false.
    And(Box<[Node]>),
    /// From left to right, until one is true.
    Or(Box<[Node]>),
    /// `NOT`
    Not(Box<Node>),
    /// `IS [NOT] NULL`, and `IS [NOT] UNKNOWN`
    IsNull { operand: Box<Node>, negated: bool },
    /// `IS [NOT] TRUE`, `IS [NOT] FALSE`
    IsBoolean { operand: Box<Node>, value: bool, negated: bool },
    /// `[NOT] BETWEEN`: operand, low, high.
    Between { nodes: Box<[Node; 3]>, negated: bool },
    /// `[NOT] IN` of constants that a hash or a short scan finds.
    InSet { operand: Box<Node>, set: Set, has_null: bool, negated: bool },
    /// `[NOT] IN` of anything else.
    In { operand: Box<Node>, list: Box<[Node]>, negated: bool },
    /// `[NOT] LIKE` a constant pattern.
    Like { operand: Box<Node>, pattern: Box<Pattern>, negated: bool },
    /// `[NOT] LIKE` a pattern that the row decides.
    LikeDynamic { sides: Box<[Node; 2]>, escape: Option<char>, insensitive: bool, negated: bool },
    /// Numbers; both sides have the same type.
    Arithmetic(Operation, Box<[Node; 2]>),
    /// A function that is NULL where an argument is.
    Strict(Function, Box<[Node]>),
    /// A function that sees NULLs.
    Variadic(Function, Box<[Node]>),
    /// `CASE`
    Case { operand: Option<Box<Node>>, branches: Box<[(Node, Node)]>, otherwise: Box<Node> },
    /// `COALESCE`
    Coalesce(Box<[Node]>),
    /// `NULLIF`
    NullIf(Box<[Node; 2]>),
    /// `CAST`, `TRY_CAST`
    Cast { operand: Box<Node>, to: Type, attempt: bool },
    /// `date_trunc`
    DateTrunc(Unit, Box<Node>),
    /// `date_part`, `extract`, of a timestamp or an interval
    DatePart(Unit, Box<Node>),
    /// In expressions over aggregates: a DOUBLE as the decimal number that it shows, to go on with exactly.
    Exact(Box<Node>),
    /// `->`, `->>`: the document and the key or index.
    JsonGet { sides: Box<[Node; 2]>, as_text: bool },
}

impl Node {
    /// Its parts, in the order of the text.
    pub fn parts(&self) -> Vec<&Node> {
        match self {
            Self::Column(_) | Self::Constant(_) => Vec::new(),
            Self::Compare(_, sides) | Self::Arithmetic(_, sides) | Self::NullIf(sides) => sides.iter().collect(),
            Self::Distinct { sides, .. } | Self::LikeDynamic { sides, .. } | Self::JsonGet { sides, .. } => {
                sides.iter().collect()
            }
            Self::And(nodes) | Self::Or(nodes) | Self::Coalesce(nodes) => nodes.iter().collect(),
            Self::Strict(_, nodes) | Self::Variadic(_, nodes) => nodes.iter().collect(),
            Self::Between { nodes, .. } => nodes.iter().collect(),
            Self::Not(operand) | Self::Exact(operand) | Self::DateTrunc(_, operand) | Self::DatePart(_, operand) => {
                vec![operand]
            }
            Self::IsNull { operand, .. }
            | Self::IsBoolean { operand, .. }
            | Self::InSet { operand, .. }
            | Self::Like { operand, .. }
            | Self::Cast { operand, .. } => vec![operand],
            Self::In { operand, list, .. } => std::iter::once(&**operand).chain(list).collect(),
            Self::Case { operand, branches, otherwise } => {
                let branches = branches.iter().flat_map(|(condition, result)| [condition, result]);
                operand.as_deref().into_iter().chain(branches).chain([&**otherwise]).collect()
            }
        }
    }
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// Operators on numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

/// A function over values. It may take its arguments' contents.
pub type Call = for<'r> fn(&mut [Value<'r>]) -> Evaluated<'r>;

/// A function and the name it goes by.
#[derive(Clone, Copy)]
pub struct Function {
    /// Its name in SQL, or its operator.
    pub name: &'static str,
    /// What it does.
    pub call: Call,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    /// By name: with equal arguments, and so equal types, the same name is the same function.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A constant.
#[derive(Debug, Clone)]
pub enum Constant {
    /// NULL
    Null,
    /// BOOLEAN
    Boolean(bool),
    /// BIGINT
    Bigint(i64),
    /// BIGINT beyond 64 bits
    Wide(Box<i128>),
    /// DOUBLE
    Double(f64),
    /// DOUBLE, not rounded to one
    Exact(Box<Exact>),
    /// TEXT
    Text(Box<str>),
    /// TIMESTAMP
    Timestamp(Millis),
    /// INTERVAL: months, days, milliseconds
    Interval(i32, i32, i64),
    /// JSON
    Json(Box<RawValue>),
}

impl Constant {
    /// As a value.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(b) => Value::Boolean(*b),
            Self::Bigint(n) => Value::Bigint(*n),
            Self::Wide(n) => Value::Wide(n.clone()),
            Self::Double(x) => Value::Double(*x),
            Self::Exact(x) => Value::Exact(x.clone()),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Timestamp(at) => Value::Timestamp(*at),
            Self::Interval(months, days, millis) => Value::Interval { months: *months, days: *days, millis: *millis },
            Self::Json(raw) => Value::Json(Cow::Borrowed(raw)),
        }
    }
}

impl From<Value<'_>> for Constant {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(b) => Self::Boolean(b),
            Value::Bigint(n) => Self::Bigint(n),
            Value::Wide(n) => Self::Wide(n),
            Value::Double(x) => Self::Double(x),
            Value::Exact(x) => Self::Exact(x),
            Value::Text(text) => Self::Text(text.into_owned().into_boxed_str()),
            Value::Timestamp(at) => Self::Timestamp(at),
            Value::Interval { months, days, millis } => Self::Interval(months, days, millis),
            Value::Json(raw) => Self::Json(raw.into_owned()),
        }
    }
}

impl PartialEq for Constant {
    /// The same constant, bit by bit: `0.0` and `-0.0` print differently, so they differ.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Bigint(a), Self::Bigint(b)) => a == b,
            (Self::Wide(a), Self::Wide(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Interval(a, b, c), Self::Interval(d, e, f)) => (a, b, c) == (d, e, f),
            (Self::Json(a), Self::Json(b)) => a.get() == b.get(),
            _ => false,
        }
    }
}

/// Constants to look a value up in.
#[derive(Debug, Clone, PartialEq)]
pub enum Set {
    /// A few texts: scanned.
    FewTexts(Box<[Box<str>]>),
    /// Many texts.
    Texts(FxHashSet<Box<str>>),
    /// A few integers: scanned.
    FewBigints(Box<[i64]>),
    /// Many integers.
    Bigints(FxHashSet<i64>),
}

//! Feature SQL: texts to source tables and feature views, resolved, typed and compiled by [`compile`].
//!
//! The grammar is `sqlparser`'s (`parse.rs`); what statements may say is checked in `table.rs` and `view.rs`; names and
//! types of expressions are resolved in `resolve.rs` and become the nodes of `node.rs`, which `eval.rs` evaluates. Reads no file and knows no event:
//! whoever evaluates an expression gives it a [`expr::Row`].

mod aggregate;
mod calendar;
mod compiler;
mod construct;
mod eval;
pub mod expr;
mod fold;
mod functions;
mod json;
mod like;
mod literal;
mod node;
mod operator;
mod options;
mod parse;
mod resolve;
mod table;
mod view;
mod window;

use aulaflow_model::change::{ViewSchema, WindowSpec};
pub use compiler::{FileFault, compile, compile_scalar};
use compiler::{check_name, nearest_help, object_name};
use expr::Expr;
use std::ops::Range;

/// A source table: `CREATE TABLE … WITH (connector = 'log', …)`.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in SQL.
    pub name: String,
    /// The log's topic.
    pub topic: String,
    /// Its columns, in the order declared.
    pub columns: Vec<Column>,
    /// `lateness`: how far the event clock stays behind the highest event time. Default 0.
    pub lateness_ms: i64,
    /// `dedupe_horizon`, where `dedupe` names the event id: how long ids are remembered. Default 24 hours.
    pub dedupe_horizon_ms: Option<i64>,
}

/// A column: its name in SQL, its type, and the event's field behind it (the same name).
#[derive(Debug, Clone)]
pub struct Column {
    /// Name, in lower case.
    pub name: String,
    /// Type.
    pub ty: expr::Type,
    /// The field of the event.
    pub field: BehaviorField,
}

/// Fields of a behaviour event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BehaviorField {
    /// `event_id TEXT`
    EventId,
    /// `student_id TEXT`
    StudentId,
    /// `event_type TEXT`
    EventType,
    /// `value DOUBLE`
    Value,
    /// `occurred_at TIMESTAMP`
    OccurredAt,
    /// `context JSON`
    Context,
}

/// A feature view: `CREATE MATERIALIZED VIEW … AS SELECT student_id, … GROUP BY student_id, window(…)`.
#[derive(Debug, Clone)]
pub struct View {
    /// Its table's place in the plan.
    pub table: usize,
    /// Name, window and outputs, as shown in profiles.
    pub schema: ViewSchema,
    /// `serve = true`, the default: shown in profiles.
    pub serve: bool,
    /// `analytics = 'off' | 'daily' | 'changes'`: what goes to ClickHouse.
    pub analytics: Analytics,
    /// `WHERE`, over the table's columns.
    pub filter: Option<Expr>,
    /// The aggregates that the outputs need, each once.
    pub aggregates: Vec<Aggregate>,
    /// The outputs, in the order of `schema.outputs`.
    pub outputs: Vec<Output>,
    /// `explain = N`: how many last events an explanation shows. Default 0.
    pub explain_events: u32,
    /// The statement's text, for hashes and for people.
    pub text: String,
}

/// What of a view goes to ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Analytics {
    /// `'off'`, the default: nothing.
    Off,
    /// `'daily'`: the rows once a day.
    Daily,
    /// `'changes'`: every change.
    Changes,
}

/// An aggregate over the events of a window.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// What it computes.
    pub function: AggregateFunction,
    /// Its argument over the table's columns; none for `count(*)`.
    pub argument: Option<Expr>,
}

/// Aggregate functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// `count(*)`: BIGINT.
    CountRows,
    /// `count(x)`: non-null arguments; BIGINT.
    Count,
    /// `sum(x)` of a BIGINT: BIGINT; null over nothing.
    SumInt,
    /// `sum(x)` of a DOUBLE: each argument is rounded to millionths once, then summed exactly; null over nothing.
    SumDecimal,
    /// `avg(x)` of a BIGINT or a DOUBLE: the exact sum over the count, rounded half up to millionths; null over nothing.
    Avg,
}

/// An output column.
#[derive(Debug, Clone)]
pub enum Output {
    /// An aggregate as it is (exact).
    Aggregate(usize),
    /// A scalar expression over the aggregates: column `i` is the view's aggregate `i`, a BIGINT for the counts and
    /// [`AggregateFunction::SumInt`], a DOUBLE for the others. Its type is BIGINT, DOUBLE, BOOLEAN or TEXT.
    Expression(Expr),
}

/// The window of a view.
pub type Window = WindowSpec;

/// What is wrong in a SQL text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlFault {
    /// Byte offsets in the file's text.
    pub span: Range<usize>,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead, or what is known.
    pub help: Option<String>,
}

impl SqlFault {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

//! Feature SQL: texts to source tables and feature views, resolved, typed and compiled by [`compile`].
//!
//! The grammar is `sqlparser`'s (`parse.rs`); what statements may say is checked in `table.rs` and `view.rs` (with
//! `from.rs`, `window.rs` and `output.rs` for its clauses); names and types of expressions are resolved in `resolve.rs`
//! and become the nodes of `node.rs`, which `eval.rs` evaluates. Reads no file and knows no event: whoever evaluates an
//! expression gives it a [`expr::Row`].

mod aggregate;
mod calendar;
mod canonical;
mod column;
mod compiler;
mod construct;
mod eval;
mod exact;
pub mod expr;
mod fold;
mod from;
mod functions;
mod json;
mod like;
mod lint;
mod literal;
mod node;
mod operator;
mod options;
mod output;
mod parse;
mod resolve;
mod syntax;
mod table;
mod tokenize;
mod view;
mod window;
mod zone;

use aulaflow_model::change::ViewSchema;
pub use compiler::{Checked, FileFault, check, compile, compile_scalar};
use compiler::{check_name, nearest_help, object_name};
use expr::Expr;
pub use from::{columns, reach};
use std::ops::Range;
pub use table::OPTIONS as TABLE_OPTIONS;
pub use view::OPTIONS as VIEW_OPTIONS;

/// A source table: `CREATE TABLE … WITH (connector = 'log', …)`.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in SQL.
    pub name: String,
    /// The log's topic.
    pub topic: String,
    /// `format`: how its records are written.
    pub format: Format,
    /// Its columns, in the order declared.
    pub columns: Vec<Column>,
    /// `lateness`: how far the event clock stays behind the highest event time. Default 0.
    pub lateness_ms: i64,
    /// `dedupe_horizon`, where `dedupe` names the event id: how long ids are remembered. Default 24 hours.
    pub dedupe_horizon_ms: Option<i64>,
}

/// How a topic's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON objects. The default, and the only one so far.
    #[default]
    Json,
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

/// What a view reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The events of a source table: its place in the plan. Columns are the table's.
    Table(usize),
    /// The windows of another view, one row for each: its place in the plan. That view reads a table and has a `tumble`
    /// or `session` window. Columns are its outputs, then `window_start` and `window_end`.
    View(usize),
    /// The student's grades as they are now, one row per subject and period. Columns are [`GRADE_COLUMNS`].
    Grades,
}

/// The columns of the built-in table `grades`, and those of its cohort (`cohort.mean`): the student's grades in the same
/// tenant, subject and period.
pub const GRADE_COLUMNS: [(&str, expr::Type); 12] = [
    ("subject", expr::Type::Text),
    ("period", expr::Type::Text),
    ("score", expr::Type::Double),
    ("passing", expr::Type::Boolean),
    ("complete", expr::Type::Boolean),
    ("evaluations_count", expr::Type::Bigint),
    ("updated_at", expr::Type::Timestamp),
    ("cohort.count", expr::Type::Bigint),
    ("cohort.mean", expr::Type::Double),
    ("cohort.stddev", expr::Type::Double),
    ("cohort.pass_rate", expr::Type::Double),
    ("cohort.percentile", expr::Type::Double),
];

/// A feature view: `CREATE MATERIALIZED VIEW … AS SELECT student_id, … GROUP BY student_id, window(…)`.
#[derive(Debug, Clone)]
pub struct View {
    /// What it reads.
    pub source: Relation,
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
    /// Their types.
    pub output_types: Vec<expr::Type>,
    /// Whether an output reads the window's bounds, so that it changes with the clock though no event comes or leaves.
    pub reads_bounds: bool,
    /// `explain = N`: how many last events an explanation shows. Default 0.
    pub explain_events: u32,
    /// The statement's text, for hashes and for people.
    pub text: String,
}

impl View {
    /// Whether a BIGINT output may exceed 64 bits: a sum of BIGINTs, or an expression over one.
    pub fn is_wide(&self, output: usize) -> bool {
        let sums = |index: usize| {
            self.aggregates.get(index).is_some_and(|aggregate| aggregate.function == AggregateFunction::SumInt)
        };
        match self.outputs.get(output) {
            Some(Output::Aggregate(index)) => sums(*index),
            Some(Output::Expression(expression)) => {
                (0..self.aggregates.len()).any(|at| sums(at) && expression.reads(at))
            }
            None => false,
        }
    }
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
    /// Its arguments over the columns of what the view reads: none for `count(*)`, two for `regr_slope`, else one.
    pub arguments: Vec<Expr>,
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
    /// `count(distinct x)`: distinct non-null arguments; BIGINT.
    CountDistinct,
    /// `min(x)` of a BIGINT, DOUBLE, TEXT or TIMESTAMP: of the same type; null over nothing. A DOUBLE is rounded to
    /// millionths; texts are compared by their bytes.
    Min,
    /// `max(x)`, likewise.
    Max,
    /// `stddev_pop(x)` of a BIGINT or a DOUBLE: DOUBLE, from the exact sums of arguments (rounded to millionths) and of
    /// their squares; null over nothing.
    StddevPop,
    /// `first(x)` of any type but INTERVAL and JSON: the argument of the earliest row, null or not; among rows of one
    /// instant that of the smallest event id.
    First,
    /// `last(x)`: the argument of the latest row; among rows of one instant that of the greatest event id.
    Last,
    /// `regr_slope(y, x)`: the slope of the least-squares line over the rows where neither is null; DOUBLE; null where
    /// `x` has fewer than two distinct values.
    RegrSlope,
}

impl AggregateFunction {
    /// How many parts an aggregate has in each pane: integers that are added, and values that are combined.
    pub fn parts(self) -> usize {
        match self {
            // It is the view's count of rows.
            Self::CountRows => 0,
            Self::Count | Self::CountDistinct | Self::Min | Self::Max | Self::First | Self::Last => 1,
            Self::SumInt | Self::SumDecimal | Self::Avg => 2,
            Self::StddevPop => 4,
            Self::RegrSlope => 7,
        }
    }
}

impl View {
    /// How many parts its aggregates have in each pane of a table's events at most: those that it shares with other views
    /// count too. One is the count of rows, one the last events.
    pub fn parts_max(&self) -> usize {
        let own: usize = self.aggregates.iter().map(|aggregate| aggregate.function.parts()).sum();
        match self.source {
            Relation::Table(_) => 1 + own + usize::from(self.explain_events > 0),
            Relation::View(_) | Relation::Grades => 0,
        }
    }
}

/// An output column.
#[derive(Debug, Clone)]
pub enum Output {
    /// An aggregate as it is (exact).
    Aggregate(usize),
    /// A scalar expression over the aggregates: column `i` is the view's aggregate `i`, of that function's type; the next
    /// two columns are `window_start` and `window_end`. Its type is BIGINT, DOUBLE, BOOLEAN, TEXT or TIMESTAMP.
    Expression(Expr),
}

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

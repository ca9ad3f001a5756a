//! Aggregate functions in SELECT: which there are, what they take, and each needed once per view.

use super::expr::{Expr, Type};
use super::fold::simplify;
use super::node::{Constant, Node};
use super::resolve::{Position, Resolver, Typed, expression_argument};
use super::{Aggregate, AggregateFunction};
use sqlparser::ast::{self, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArguments};

/// The names of all.
pub const SUPPORTED: [&str; 9] = ["avg", "count", "first", "last", "max", "min", "regr_slope", "stddev_pop", "sum"];

/// Whether a name in lower case is an aggregate's.
pub fn is_known(name: &str) -> bool {
    SUPPORTED.contains(&name)
}

/// How a call of an aggregate is written.
fn usage(name: &str) -> &'static str {
    match name {
        "avg" => "avg(x), such as avg(value)",
        "count" => "count(*), count(x) or count(distinct x)",
        "first" => "first(x), by event time, such as first(event_type)",
        "last" => "last(x), by event time, such as last(event_type)",
        "max" => "max(x), such as max(occurred_at)",
        "min" => "min(x), such as min(occurred_at)",
        "regr_slope" => "regr_slope(y, x), such as regr_slope(points, extract(epoch FROM window_start) / 86400)",
        "stddev_pop" => "stddev_pop(x), such as stddev_pop(value)",
        _ => "sum(x), such as sum(value)",
    }
}

/// The aggregates of a view, each once.
#[derive(Debug, Default)]
pub struct Aggregates {
    list: Vec<Aggregate>,
}

impl Aggregates {
    fn index(&mut self, aggregate: Aggregate) -> usize {
        let same = |other: &Aggregate| other.function == aggregate.function && other.arguments == aggregate.arguments;
        self.list.iter().position(same).unwrap_or_else(|| {
            self.list.push(aggregate);
            self.list.len() - 1
        })
    }

    /// How many there are so far.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// All of them, by index.
    pub fn finish(self) -> Vec<Aggregate> {
        self.list
    }
}

/// A call, taken apart.
struct Call<'a> {
    arguments: &'a [FunctionArg],
    distinct: bool,
    filter: Option<&'a ast::Expr>,
}

impl Resolver<'_> {
    /// An aggregate in an output: a column of the expressions over aggregates.
    pub(super) fn aggregate<'a>(
        &mut self,
        name: &str,
        function: &'a ast::Function,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        match self.position {
            Position::Output => {}
            Position::Where => {
                let help = "WHERE sees single events; compare aggregates where the feature is read";
                return self.refuse(e, "aggregate functions are not allowed in WHERE", Some(help));
            }
            Position::Argument => {
                let help = "a view can read another one: aggregate first there, then here, FROM that view";
                return self.refuse(e, "aggregate function calls cannot be nested", Some(help));
            }
            Position::Alone => return self.refuse(e, "aggregate functions are not allowed here", None),
        }
        let call = self.aggregate_call(name, function, e)?;
        self.position = Position::Argument;
        let compiled = self.aggregate_arguments(name, &call, e);
        let filter = call.filter.map(|filter| self.condition(filter, "FILTER"));
        self.position = Position::Output;
        let arguments = compiled?;
        let filter = match filter {
            None => None,
            Some(filter) => Some(filter?),
        };
        let (function, ty) = self.aggregate_of(name, call.distinct, &arguments, e)?;
        if let (AggregateFunction::Count, [argument], [given]) = (function, arguments.as_slice(), call.arguments)
            && let Some(given) = expression_argument(given)
        {
            self.lint_count(argument, given, e);
        }
        let aggregate = match filter {
            None => Aggregate { function, arguments },
            Some(_) if matches!(function, AggregateFunction::First | AggregateFunction::Last) => {
                let help = "write the condition into the view's WHERE, in a view of its own";
                return self.refuse(e, format!("FILTER is not supported for {name}"), Some(help));
            }
            Some(condition) => filtered(function, arguments, &condition),
        };
        let index = self.aggregates.index(aggregate);
        Some(Typed::new(Node::Column(index), ty, e))
    }

    /// The parts of a call that it can have, once everything else has been refused.
    fn aggregate_call<'a>(&mut self, name: &str, function: &'a ast::Function, e: &ast::Expr) -> Option<Call<'a>> {
        if function.over.is_some() {
            return self.refuse(e, "window functions (OVER) are not supported", Some("the window is in GROUP BY"));
        }
        let FunctionArguments::List(list) = &function.args else {
            return self.refuse(e, format!("{name} takes one expression"), Some(usage(name)));
        };
        let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
        if distinct && name != "count" {
            let help = match name {
                "min" | "max" => format!("{name}(x) is the same without distinct"),
                _ => "only count has it: count(distinct x)".to_owned(),
            };
            return self.refuse(e, format!("{name}(distinct …) is not supported"), Some(&help));
        }
        if !list.clauses.is_empty() {
            let help = match name {
                "first" | "last" => "first and last go by event time, ties by event id: first(x)",
                _ => usage(name),
            };
            return self.refuse(e, format!("{name} takes no ORDER BY, LIMIT or other clause"), Some(help));
        }
        let extras = !function.within_group.is_empty() || function.null_treatment.is_some();
        if extras || !matches!(function.parameters, FunctionArguments::None) {
            return self.refuse(e, format!("{name} takes its arguments and nothing else"), Some(usage(name)));
        }
        Some(Call { arguments: &list.args, distinct, filter: function.filter.as_deref() })
    }

    fn aggregate_arguments(&mut self, name: &str, call: &Call<'_>, e: &ast::Expr) -> Option<Vec<Expr>> {
        let takes = if name == "regr_slope" { 2 } else { 1 };
        match call.arguments {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if name == "count" && !call.distinct => Some(Vec::new()),
            [] if name == "count" => self.refuse(e, "count() of nothing: write count(*)", None),
            given if given.len() == takes => {
                let mut compiled = Vec::new();
                for argument in given {
                    match expression_argument(argument) {
                        Some(argument) => compiled.push(self.compile(argument)),
                        None => {
                            let what = if takes == 1 { "one expression" } else { "two expressions" };
                            return self.refuse(e, format!("{name} takes {what}"), Some(usage(name)));
                        }
                    }
                }
                compiled.into_iter().collect()
            }
            _ if takes == 2 => self.refuse(e, "regr_slope takes two expressions, y and x", Some(usage(name))),
            _ if call.distinct => {
                let help = "put them together: count(distinct a || ' ' || b)";
                self.refuse(e, "count(distinct …) takes one expression", Some(help))
            }
            _ => self.refuse(e, format!("{name} takes one expression"), Some(usage(name))),
        }
    }

    fn aggregate_of(
        &mut self,
        name: &str,
        distinct: bool,
        arguments: &[Expr],
        e: &ast::Expr,
    ) -> Option<(AggregateFunction, Type)> {
        use AggregateFunction as F;
        let types: Vec<Type> = arguments.iter().map(Expr::ty).collect();
        Some(match (name, types.as_slice()) {
            ("count", []) => (F::CountRows, Type::Bigint),
            ("count", [_]) if !distinct => (F::Count, Type::Bigint),
            ("count", [ty]) if is_plain(*ty) => (F::CountDistinct, Type::Bigint),
            ("sum", [Type::Bigint]) => (F::SumInt, Type::Bigint),
            ("sum", [Type::Double]) => (F::SumDecimal, Type::Double),
            ("avg", [Type::Bigint | Type::Double]) => (F::Avg, Type::Double),
            ("stddev_pop", [Type::Bigint | Type::Double]) => (F::StddevPop, Type::Double),
            ("min", [ty @ (Type::Bigint | Type::Double | Type::Text | Type::Timestamp)]) => (F::Min, *ty),
            ("max", [ty @ (Type::Bigint | Type::Double | Type::Text | Type::Timestamp)]) => (F::Max, *ty),
            ("first", [ty]) if is_plain(*ty) => (F::First, *ty),
            ("last", [ty]) if is_plain(*ty) => (F::Last, *ty),
            ("regr_slope", [Type::Bigint | Type::Double, Type::Bigint | Type::Double]) => (F::RegrSlope, Type::Double),
            (_, found) => {
                let shown: Vec<String> = found.iter().map(Type::to_string).collect();
                let word = if distinct { "distinct " } else { "" };
                let message = format!("function {name}({word}{}) does not exist", shown.join(", "));
                let help = type_help(name, found);
                return self.refuse(e, message, Some(&help));
            }
        })
    }
}

/// The types whose values can be told apart and shown.
fn is_plain(ty: Type) -> bool {
    !matches!(ty, Type::Interval | Type::Json)
}

/// What an aggregate takes, and how what was given becomes it.
fn type_help(name: &str, found: &[Type]) -> String {
    let (takes, numbers) = match name {
        "min" | "max" => ("a bigint, a double precision, a text or a timestamp", false),
        "count" | "first" | "last" => ("anything but an interval or a json", false),
        "regr_slope" => ("two numbers, y and x", true),
        _ => ("a bigint or a double precision", true),
    };
    let number = |ty: &&Type| matches!(ty, Type::Bigint | Type::Double);
    let convert = match found.iter().find(|ty| !number(ty)) {
        Some(Type::Json) if numbers => "CAST(context->>'key' AS DOUBLE) takes one out of the JSON",
        Some(Type::Json) => "context->>'key' takes a text out of the JSON",
        Some(Type::Interval | Type::Timestamp) => "extract(epoch FROM …) makes a number of seconds",
        Some(Type::Boolean) => "CASE WHEN … THEN 1 ELSE 0 END makes a number",
        Some(Type::Text | Type::Bigint | Type::Double) | None => "CAST(… AS DOUBLE) makes one",
    };
    format!("{name} takes {takes}; {convert}")
}

/// `f(x) FILTER (WHERE c)` as `f(CASE WHEN c THEN x END)`: rows without the condition give NULLs, which these functions
/// leave out, and their arguments are not evaluated, as in PostgreSQL.
fn filtered(function: AggregateFunction, arguments: Vec<Expr>, condition: &Node) -> Aggregate {
    let case = |(result, ty): (Node, Type)| {
        let branches = Box::new([(condition.clone(), result)]);
        let otherwise = Box::new(Node::Constant(Constant::Null));
        Expr::new(simplify(Node::Case { operand: None, branches, otherwise }), ty)
    };
    if function == AggregateFunction::CountRows {
        let one = Node::Constant(Constant::Bigint(1));
        return Aggregate { function: AggregateFunction::Count, arguments: vec![case((one, Type::Bigint))] };
    }
    Aggregate { function, arguments: arguments.into_iter().map(|argument| case(argument.into_parts())).collect() }
}

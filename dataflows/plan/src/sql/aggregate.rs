//! Aggregate functions in SELECT: which there are, what they take, and each needed once per view.

use super::expr::{Expr, Type};
use super::node::Node;
use super::resolve::{Position, Resolver, Typed, expression_argument};
use super::{Aggregate, AggregateFunction};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

/// The names of those that can be used.
pub const SUPPORTED: [&str; 3] = ["avg", "count", "sum"];

/// Those of the contract that come later.
const PLANNED: [&str; 5] = ["first", "last", "max", "min", "stddev_pop"];

const SUPPORTED_HELP: &str = "supported are count(*), count(x), sum(x) and avg(x)";

/// Whether a name in lower case is an aggregate's.
pub fn is_known(name: &str) -> bool {
    SUPPORTED.contains(&name) || PLANNED.contains(&name)
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

    /// All of them, by index.
    pub fn finish(self) -> Vec<Aggregate> {
        self.list
    }
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
            Position::Argument => return self.refuse(e, "aggregate function calls cannot be nested", None),
            Position::Alone => return self.refuse(e, "aggregate functions are not allowed here", None),
        }
        if PLANNED.contains(&name) {
            return self.refuse(e, format!("{name} is not supported yet"), Some(SUPPORTED_HELP));
        }
        let arguments = self.aggregate_arguments(name, function, e)?;
        let (kind, argument, ty) = match (name, arguments) {
            ("count", [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]) => {
                (AggregateFunction::CountRows, None, Type::Bigint)
            }
            (_, [argument]) => {
                let Some(argument) = expression_argument(argument) else {
                    let message = format!("{name} takes one expression");
                    return self.refuse(e, message, Some(SUPPORTED_HELP));
                };
                self.position = Position::Argument;
                let compiled = self.compile(argument);
                self.position = Position::Output;
                self.aggregate_of(name, compiled?, e)?
            }
            ("count", []) => return self.refuse(e, "count() of nothing: write count(*)", None),
            _ => return self.refuse(e, format!("{name} takes one expression"), Some(SUPPORTED_HELP)),
        };
        let index = self.aggregates.index(Aggregate { function: kind, arguments: argument.into_iter().collect() });
        Some(Typed::new(Node::Column(index), ty, e))
    }

    /// The arguments, once everything else about the call has been refused.
    fn aggregate_arguments<'a>(
        &mut self,
        name: &str,
        function: &'a ast::Function,
        e: &ast::Expr,
    ) -> Option<&'a [FunctionArg]> {
        if function.filter.is_some() {
            let help = "write the condition into the argument: count(CASE WHEN … THEN 1 END)";
            return self.refuse(e, "FILTER is not supported yet", Some(help));
        }
        if function.over.is_some() {
            return self.refuse(e, "window functions (OVER) are not supported", Some("the window is in GROUP BY"));
        }
        let FunctionArguments::List(list) = &function.args else {
            return self.refuse(e, format!("{name} takes one expression"), Some(SUPPORTED_HELP));
        };
        if matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)) {
            return self.refuse(e, format!("{name}(distinct …) is not supported yet"), Some(SUPPORTED_HELP));
        }
        let extras = !list.clauses.is_empty() || !function.within_group.is_empty();
        if extras || function.null_treatment.is_some() || !matches!(function.parameters, FunctionArguments::None) {
            return self.refuse(e, format!("{name} takes one expression and nothing else"), Some(SUPPORTED_HELP));
        }
        Some(&list.args)
    }

    fn aggregate_of(
        &mut self,
        name: &str,
        argument: Expr,
        e: &ast::Expr,
    ) -> Option<(AggregateFunction, Option<Expr>, Type)> {
        let (function, ty) = match (name, argument.ty()) {
            ("count", _) => (AggregateFunction::Count, Type::Bigint),
            ("sum", Type::Bigint) => (AggregateFunction::SumInt, Type::Bigint),
            ("sum", Type::Double) => (AggregateFunction::SumDecimal, Type::Double),
            ("avg", Type::Bigint | Type::Double) => (AggregateFunction::Avg, Type::Double),
            (_, found) => {
                let help = format!("{name} takes a bigint or a double precision; CAST(… AS DOUBLE) makes one");
                return self.refuse(e, format!("function {name}({found}) does not exist"), Some(&help));
            }
        };
        Some((function, Some(argument), ty))
    }
}

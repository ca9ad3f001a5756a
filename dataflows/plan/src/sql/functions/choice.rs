//! Functions that choose among their arguments, which get one common type.

use super::{Definition, Kind};
use crate::sql::eval::compare;
use crate::sql::expr::{EvalError, Type, Value};
use crate::sql::node::{Evaluated, Function, Node};
use crate::sql::resolve::{Resolver, Typed};
use sqlparser::ast;
use std::cmp::Ordering;

/// `coalesce(x, …)`: the first that is not NULL; what follows it is not evaluated.
pub static COALESCE: Definition =
    Definition { name: "coalesce", takes: "values of one type", kind: Kind::Custom(resolve_coalesce) };

/// `nullif(x, y)`: NULL where both are equal, else x.
pub static NULLIF: Definition =
    Definition { name: "nullif", takes: "two values of one type", kind: Kind::Custom(resolve_nullif) };

/// `greatest(x, …)`: NULLs are left out.
pub static GREATEST: Definition = Definition {
    name: "greatest",
    takes: "values of one type",
    kind: Kind::Custom(|resolver, arguments, at| {
        let function = Function { name: "greatest", call: |a| extreme(a, Ordering::Greater) };
        resolve_extreme(resolver, arguments, at, function)
    }),
};

/// `least(x, …)`: NULLs are left out.
pub static LEAST: Definition = Definition {
    name: "least",
    takes: "values of one type",
    kind: Kind::Custom(|resolver, arguments, at| {
        let function = Function { name: "least", call: |a| extreme(a, Ordering::Less) };
        resolve_extreme(resolver, arguments, at, function)
    }),
};

fn resolve_coalesce<'a>(
    resolver: &mut Resolver<'_>,
    arguments: Vec<Typed<'a>>,
    at: &'a ast::Expr,
) -> Option<Typed<'a>> {
    if arguments.is_empty() {
        return None;
    }
    let (nodes, ty) = resolver.unify("COALESCE", arguments)?;
    Some(Typed::new(Node::Coalesce(nodes.into()), ty, at))
}

fn resolve_nullif<'a>(resolver: &mut Resolver<'_>, arguments: Vec<Typed<'a>>, at: &'a ast::Expr) -> Option<Typed<'a>> {
    let [left, right]: [Typed<'a>; 2] = arguments.try_into().ok()?;
    let (sides, ty) = resolver.comparable("=", left, right, at)?;
    Some(Typed::new(Node::NullIf(Box::new(sides)), ty, at))
}

fn resolve_extreme<'a>(
    resolver: &mut Resolver<'_>,
    arguments: Vec<Typed<'a>>,
    at: &'a ast::Expr,
    function: Function,
) -> Option<Typed<'a>> {
    if arguments.is_empty() {
        return None;
    }
    let (nodes, ty) = resolver.unify(&function.name.to_uppercase(), arguments)?;
    if ty == Type::Json {
        return None;
    }
    Some(Typed::new(Node::Variadic(function, nodes.into()), ty, at))
}

fn extreme<'r>(arguments: &mut [Value<'r>], wanted: Ordering) -> Evaluated<'r> {
    let mut best = Value::Null;
    for argument in arguments {
        let argument = std::mem::replace(argument, Value::Null);
        match (&best, &argument) {
            (_, Value::Null) => {}
            (Value::Null, _) => best = argument,
            _ if compare(&argument, &best).map_err(|_| EvalError::WrongType)? == wanted => best = argument,
            _ => {}
        }
    }
    Ok(best)
}

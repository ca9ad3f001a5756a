//! Names and types: a parsed expression becomes a compiled node, or faults. Type rules and wordings are PostgreSQL's.
//!
//! What differs from it on purpose: integers are BIGINT, numbers with a point are DOUBLE (there is no NUMERIC).

use super::aggregate::Aggregates;
use super::expr::{EvalError, Expr, Type};
use super::fold::simplify;
use super::functions::{self, Kind};
use super::literal;
use super::node::{Constant, Node};
use super::parse::Source;
use super::{Aggregate, Relation, SqlFault, nearest_help};
use aulaflow_model::window::WindowSpec;
use sqlparser::ast;
use std::ops::Range;

/// How deep an expression may be nested. Evaluation recurses as deep.
const DEPTH_MAX: usize = 200;

/// Resolves the expressions of one statement, and collects the faults found.
pub struct Resolver<'s> {
    pub(super) source: &'s Source<'s>,
    /// The statement: where a fault is shown that has no better place.
    pub(super) within: Range<usize>,
    /// The columns in sight.
    pub(super) columns: &'s [(String, Type)],
    /// What a column may be qualified with.
    pub(super) qualifiers: &'s [String],
    /// What the statement reads; `None` for an expression alone.
    pub(super) relation: Option<Relation>,
    /// Where the expression stands.
    pub(super) position: Position,
    /// The aggregates of the outputs so far.
    pub(super) aggregates: Aggregates,
    /// The column of `window_start` in outputs.
    pub(super) bounds_at: usize,
    /// Whether an output reads a bound of the window.
    pub(super) reads_bounds: bool,
    /// The window of the view that is read, if one is.
    pub(super) inner: Option<WindowSpec>,
    /// Faults so far.
    pub(super) faults: Vec<SqlFault>,
    /// What is right and probably not meant, so far.
    pub(super) warnings: Vec<SqlFault>,
    depth: usize,
}

/// What resolving a statement's expressions has found.
pub struct Resolved {
    /// The faults.
    pub faults: Vec<SqlFault>,
    /// What is right and probably not meant.
    pub warnings: Vec<SqlFault>,
    /// The aggregates that outputs use.
    pub aggregates: Vec<Aggregate>,
}

/// Where an expression stands, which decides whether columns or aggregates may stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// An expression alone.
    Alone,
    /// In WHERE.
    Where,
    /// In the argument of an aggregate.
    Argument,
    /// In SELECT: over aggregates.
    Output,
}

/// A resolved expression. `ty` is `None` for a text literal or NULL, which take the type that they are used as.
#[derive(Debug)]
pub struct Typed<'a> {
    pub(super) node: Node,
    pub(super) ty: Option<Type>,
    pub(super) ast: &'a ast::Expr,
}

impl<'a> Typed<'a> {
    /// Of a known type.
    pub fn new(node: Node, ty: Type, ast: &'a ast::Expr) -> Self {
        Self { node: simplify(node), ty: Some(ty), ast }
    }

    /// The text of a text constant.
    pub fn as_text(&self) -> Option<&str> {
        match &self.node {
            Node::Constant(Constant::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it can be used as a type without a CAST.
    pub fn coerces_to(&self, ty: Type) -> bool {
        match self.ty {
            None => true,
            Some(own) => own == ty || (own == Type::Bigint && ty == Type::Double),
        }
    }

    /// The type's name in messages.
    pub fn type_name(&self) -> String {
        self.ty.map_or_else(|| "unknown".to_owned(), |ty| ty.to_string())
    }
}

impl<'s> Resolver<'s> {
    /// For the expressions of a statement.
    pub fn new(
        source: &'s Source<'s>,
        within: Range<usize>,
        columns: &'s [(String, Type)],
        names: &'s [String],
    ) -> Self {
        Self {
            source,
            within,
            columns,
            qualifiers: names,
            relation: None,
            position: Position::Alone,
            aggregates: Aggregates::default(),
            bounds_at: 0,
            reads_bounds: false,
            inner: None,
            faults: Vec::new(),
            warnings: Vec::new(),
            depth: 0,
        }
    }

    /// What was found.
    pub fn finish(self) -> Resolved {
        Resolved { faults: self.faults, warnings: self.warnings, aggregates: self.aggregates.finish() }
    }

    /// Compiles an expression. A text literal or NULL alone is a TEXT.
    pub fn compile(&mut self, expression: &ast::Expr) -> Option<Expr> {
        let typed = self.lower(expression)?;
        let ty = typed.ty.unwrap_or(Type::Text);
        Some(Expr::new(self.coerce(typed, ty)?, ty))
    }

    /// Compiles a condition.
    pub fn compile_condition(&mut self, expression: &ast::Expr, clause: &str) -> Option<Expr> {
        let node = self.condition(expression, clause)?;
        self.lint_condition(&node, clause, expression);
        Some(Expr::new(node, Type::Boolean))
    }

    pub(super) fn fault(&mut self, fault: SqlFault) {
        self.faults.push(fault);
    }

    pub(super) fn range(&self, expression: &ast::Expr) -> Range<usize> {
        self.source.range(expression, &self.within)
    }

    /// Notes a fault of an expression.
    pub(super) fn refuse<T>(&mut self, at: &ast::Expr, message: impl Into<String>, help: Option<&str>) -> Option<T> {
        let span = self.range(at);
        self.fault(SqlFault { span, message: message.into(), help: help.map(str::to_owned) });
        None
    }

    /// Resolves an expression; `None` where a fault was noted.
    pub(super) fn lower<'a>(&mut self, expression: &'a ast::Expr) -> Option<Typed<'a>> {
        if self.depth >= DEPTH_MAX {
            return self.refuse(expression, format!("the expression is nested more than {DEPTH_MAX} deep"), None);
        }
        self.depth += 1;
        let typed = self.lower_kind(expression);
        self.depth -= 1;
        typed.map(|typed| self.exact(typed))
    }

    /// Expressions over aggregates go on exactly with whatever gives a double.
    fn exact<'a>(&self, typed: Typed<'a>) -> Typed<'a> {
        match typed.node {
            Node::Constant(Constant::Double(_)) | Node::Cast { .. } | Node::DatePart(..) | Node::Strict(..)
                if self.position == Position::Output && typed.ty == Some(Type::Double) =>
            {
                Typed { node: simplify(Node::Exact(Box::new(typed.node))), ..typed }
            }
            _ => typed,
        }
    }

    fn lower_kind<'a>(&mut self, e: &'a ast::Expr) -> Option<Typed<'a>> {
        use ast::Expr as E;
        match e {
            E::Identifier(name) => self.column(name, false, e),
            E::CompoundIdentifier(parts) => self.compound_column(parts, e),
            E::Value(value) => self.literal(&value.value, e),
            E::Nested(inner) => self.lower(inner).map(|typed| Typed { ast: e, ..typed }),
            E::BinaryOp { left, op, right } => self.binary(left, op, right, e),
            E::UnaryOp { op, expr } => self.unary(*op, expr, e),
            E::IsNull(operand) => self.is_null(operand, false, e),
            E::IsNotNull(operand) => self.is_null(operand, true, e),
            E::IsTrue(operand) => self.is_boolean(operand, (true, false), "IS TRUE", e),
            E::IsNotTrue(operand) => self.is_boolean(operand, (true, true), "IS NOT TRUE", e),
            E::IsFalse(operand) => self.is_boolean(operand, (false, false), "IS FALSE", e),
            E::IsNotFalse(operand) => self.is_boolean(operand, (false, true), "IS NOT FALSE", e),
            E::IsUnknown(operand) => self.is_unknown(operand, false, e),
            E::IsNotUnknown(operand) => self.is_unknown(operand, true, e),
            E::IsDistinctFrom(left, right) => self.distinct(left, right, false, e),
            E::IsNotDistinctFrom(left, right) => self.distinct(left, right, true, e),
            E::InList { expr, list, negated } => self.in_list(expr, list, *negated, e),
            E::Between { expr, negated, low, high } => self.between([expr, low, high], *negated, e),
            E::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like([expr, pattern], escape_char.as_deref(), *negated, false, e)
            }
            E::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like([expr, pattern], escape_char.as_deref(), *negated, true, e)
            }
            E::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), e)
            }
            E::Cast { kind, expr, data_type, format: None } => self.cast(kind, expr, data_type, e),
            E::TypedString(typed) => self.typed_string(typed, e),
            E::Interval(interval) => self.interval(interval, e),
            E::Extract { field, expr, .. } => self.extract(field, expr, e),
            E::Ceil { expr, field } => self.ceil_floor("ceil", expr, field, e),
            E::Floor { expr, field } => self.ceil_floor("floor", expr, field, e),
            E::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let arguments: Vec<&ast::Expr> =
                    [Some(expr), Some(from), substring_for.as_ref()].into_iter().flatten().map(|e| &**e).collect();
                self.call("substring", &arguments, e)
            }
            E::Function(function) => self.function(function, e),
            E::Subquery(_) | E::InSubquery { .. } | E::Exists { .. } => {
                self.refuse(e, "subqueries are not supported", None)
            }
            E::RLike { .. } | E::SimilarTo { .. } => {
                let help = "LIKE and ILIKE compare with a pattern: event_type LIKE 'quiz%'";
                self.refuse(e, "regular expressions are not supported", Some(help))
            }
            E::AtTimeZone { .. } => {
                let help = "timestamps are in UTC; the days of a time zone are windows: \
                            tumble(INTERVAL '1 day', 'America/Mexico_City')";
                self.refuse(e, "AT TIME ZONE is not supported", Some(help))
            }
            _ => self.refuse(e, "this expression is not supported", None),
        }
    }

    fn literal<'a>(&mut self, value: &ast::Value, e: &'a ast::Expr) -> Option<Typed<'a>> {
        use ast::Value as V;
        match value {
            V::Number(digits, _) => self.number(digits, e),
            V::SingleQuotedString(text) | V::EscapedStringLiteral(text) | V::UnicodeStringLiteral(text) => {
                Some(Typed { node: Node::Constant(Constant::Text(text.as_str().into())), ty: None, ast: e })
            }
            V::Boolean(b) => Some(Typed::new(Node::Constant(Constant::Boolean(*b)), Type::Boolean, e)),
            V::Null => Some(Typed { node: Node::Constant(Constant::Null), ty: None, ast: e }),
            _ => self.refuse(e, "this kind of literal is not supported", None),
        }
    }

    pub(super) fn number<'a>(&mut self, digits: &str, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let digits = digits.replace('_', "");
        if let Ok(n) = digits.parse::<i64>() {
            return Some(Typed::new(Node::Constant(Constant::Bigint(n)), Type::Bigint, e));
        }
        if !digits.contains(['.', 'e', 'E']) {
            return self.refuse(e, "bigint out of range", Some("write a double with a point: 10000000000000000000.0"));
        }
        match literal::parse_double(&digits) {
            Ok(x) => Some(Typed::new(Node::Constant(Constant::Double(x)), Type::Double, e)),
            Err(error) => self.refuse(e, error.to_string(), None),
        }
    }

    fn function<'a>(&mut self, function: &'a ast::Function, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let [ast::ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
            return self.refuse(e, format!("function {} does not exist", function.name), None);
        };
        let name = fold_name(name);
        if super::aggregate::is_known(&name) {
            return self.aggregate(&name, function, e);
        }
        if super::view::is_window(&name) {
            return self.refuse(
                e,
                format!("{name} stands only in GROUP BY"),
                Some("the profile shows the window by itself; window_start and window_end can be selected"),
            );
        }
        let arguments = plain_arguments(function);
        if functions::find(&name).is_none() {
            // Columns in an aggregate that is misspelt are right where they are.
            if self.position != Position::Output {
                for argument in arguments.unwrap_or_default() {
                    self.lower(argument);
                }
            }
            let help = unknown_function_help(&name);
            return self.refuse(e, format!("function {name} does not exist"), Some(&help));
        }
        let Some(arguments) = arguments else {
            return self.refuse(e, format!("{name} takes plain arguments only"), None);
        };
        self.call(&name, &arguments, e)
    }

    pub(super) fn call<'a>(&mut self, name: &str, arguments: &[&'a ast::Expr], e: &'a ast::Expr) -> Option<Typed<'a>> {
        let lowered: Vec<Option<Typed<'a>>> = arguments.iter().map(|argument| self.lower(argument)).collect();
        let definition = functions::find(name)?;
        let arguments: Vec<Typed<'a>> = lowered.into_iter().collect::<Option<_>>()?;
        let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
        let faults = self.faults.len();
        let typed = match definition.kind {
            Kind::Strict(signatures) => self.strict(name, signatures, arguments, e),
            Kind::Custom(resolve) => resolve(self, arguments, e),
        };
        if typed.is_none() && self.faults.len() == faults {
            let help = format!("{name} takes {}", definition.takes);
            return self.refuse(e, format!("function {name}({}) does not exist", types.join(", ")), Some(&help));
        }
        typed
    }

    fn strict<'a>(
        &mut self,
        name: &str,
        signatures: &'static [functions::Signature],
        arguments: Vec<Typed<'a>>,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let fits = |signature: &&functions::Signature| {
            let wanted = signature.arguments;
            wanted.len() == arguments.len() && arguments.iter().zip(wanted).all(|(a, ty)| a.coerces_to(*ty))
        };
        // The fewest conversions; among equals the last, which is PostgreSQL's choice of DOUBLE for literals.
        let conversions = |signature: &&functions::Signature| {
            arguments.iter().zip(signature.arguments).filter(|(a, ty)| a.ty != Some(**ty)).count()
        };
        let signature = signatures.iter().rev().filter(fits).min_by_key(conversions)?;
        let definition = functions::find(name)?;
        let nodes: Vec<Option<Node>> =
            arguments.into_iter().zip(signature.arguments).map(|(argument, ty)| self.coerce(argument, *ty)).collect();
        let nodes = nodes.into_iter().collect::<Option<Box<[Node]>>>()?;
        let function = super::node::Function { name: definition.name, call: signature.call };
        Some(Typed::new(Node::Strict(function, nodes), signature.result, e))
    }

    /// Values as one type.
    pub(super) fn unify(&mut self, construct: &str, values: Vec<Typed<'_>>) -> Option<(Vec<Node>, Type)> {
        let mut ty = None;
        for value in &values {
            ty = match (ty, value.ty) {
                (known, None) => known,
                (None, known) => known,
                (Some(a), Some(b)) => match common(Some(a), Some(b)) {
                    Some(both) => Some(both),
                    None => {
                        return self.refuse(
                            value.ast,
                            format!("{construct} types {a} and {b} cannot be matched"),
                            None,
                        );
                    }
                },
            };
        }
        let ty = ty.unwrap_or(Type::Text);
        let nodes: Vec<Option<Node>> = values.into_iter().map(|value| self.coerce(value, ty)).collect();
        Some((nodes.into_iter().collect::<Option<_>>()?, ty))
    }

    /// A value as a type that it coerces to. A text literal is read as the type now.
    pub(super) fn coerce(&mut self, typed: Typed<'_>, ty: Type) -> Option<Node> {
        match (typed.ty, &typed.node) {
            (Some(own), _) if own == ty => Some(typed.node),
            (Some(Type::Bigint), _) if ty == Type::Double => {
                let cast = simplify(Node::Cast { operand: Box::new(typed.node), to: ty, attempt: false });
                Some(self.exact(Typed { node: cast, ty: Some(ty), ast: typed.ast }).node)
            }
            (None, Node::Constant(Constant::Text(text))) => match literal::parse(text, ty) {
                Ok(value) => Some(Node::Constant(Constant::from(value))),
                Err(error) => {
                    let (message, help) = invalid_literal(text, ty, &error);
                    self.refuse(typed.ast, message, Some(&help))
                }
            },
            (None, _) => Some(typed.node),
            (Some(own), _) => self.refuse(typed.ast, format!("expected type {ty}, found {own}"), None),
        }
    }
}

/// What is called so in other dialects, or near.
fn unknown_function_help(name: &str) -> String {
    if let Some((_, help)) = functions::HABITS.iter().find(|(names, _)| names.contains(&name)) {
        return (*help).to_owned();
    }
    let names = functions::REGISTRY.iter().map(|definition| definition.name);
    let known: Vec<&str> = names.chain(super::aggregate::SUPPORTED).collect();
    nearest_help(name, &known, "functions")
}

/// The type that both sides take; two literals are texts.
pub fn common(left: Option<Type>, right: Option<Type>) -> Option<Type> {
    match (left, right) {
        (None, None) => Some(Type::Text),
        (Some(ty), None) | (None, Some(ty)) => Some(ty),
        (Some(a), Some(b)) if a == b => Some(a),
        (Some(Type::Bigint), Some(Type::Double)) | (Some(Type::Double), Some(Type::Bigint)) => Some(Type::Double),
        (Some(_), Some(_)) => None,
    }
}

/// Any value as a text.
pub(super) fn to_text(typed: Typed<'_>) -> Node {
    match typed.ty {
        None | Some(Type::Text) => typed.node,
        Some(_) => simplify(Node::Cast { operand: Box::new(typed.node), to: Type::Text, attempt: false }),
    }
}

/// A name as SQL reads it: in lower case, unless it is quoted.
pub fn fold_name(name: &ast::Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// The arguments of a call that has only such.
pub(super) fn plain_arguments(function: &ast::Function) -> Option<Vec<&ast::Expr>> {
    let plain = function.over.is_none()
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty()
        && !function.uses_odbc_syntax
        && matches!(function.parameters, ast::FunctionArguments::None);
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    list.args.iter().map(expression_argument).collect()
}

/// An argument that is just an expression.
pub(super) fn expression_argument(argument: &ast::FunctionArg) -> Option<&ast::Expr> {
    match argument {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expression)) => Some(expression),
        _ => None,
    }
}

/// PostgreSQL's message for a text that is no value of a type, and what it would look like.
pub(super) fn invalid_literal(text: &str, ty: Type, error: &EvalError) -> (String, String) {
    let help = match ty {
        Type::Boolean => "such as 'true' or 'false'",
        Type::Bigint => "such as '42'",
        Type::Double => "such as '12.5'",
        Type::Text => "such as 'text'",
        Type::Timestamp => "such as '2026-03-02 15:04:05' (UTC) or '2026-03-02T15:04:05Z'",
        Type::Interval => "such as '7 days' or '1 day 02:30:00'",
        Type::Json => "such as '{\"key\": 1}'",
    };
    match error {
        EvalError::OutOfRange(_) => (format!("value \"{text}\" is out of range for type {ty}"), help.to_owned()),
        EvalError::InvalidText { why, .. } => {
            (format!("invalid input syntax for type {ty}: \"{text}\""), format!("{why}; {help}"))
        }
        EvalError::DivisionByZero | EvalError::InvalidCast(_) | EvalError::WrongType => {
            (format!("invalid input syntax for type {ty}: \"{text}\""), help.to_owned())
        }
    }
}

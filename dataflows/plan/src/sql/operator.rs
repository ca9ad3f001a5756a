//! Resolving operators: which there are for which types, and what the operands become.

use super::expr::Type;
use super::functions::{number, text, time};
use super::node::{Comparison, Node, Operation};
use super::resolve::{Resolver, Typed, common, to_text};
use sqlparser::ast::{self, BinaryOperator, UnaryOperator};

impl Resolver<'_> {
    pub(super) fn unary<'a>(
        &mut self,
        op: UnaryOperator,
        operand: &'a ast::Expr,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        if let (UnaryOperator::Minus, ast::Expr::Value(value)) = (op, operand)
            && let ast::Value::Number(digits, _) = &value.value
        {
            // The smallest BIGINT has no positive counterpart.
            return self.number(&format!("-{digits}"), e);
        }
        if op == UnaryOperator::Not {
            let node = self.condition(operand, "NOT")?;
            return Some(Typed::new(Node::Not(Box::new(node)), Type::Boolean, e));
        }
        let typed = self.lower(operand)?;
        let negate = |function, ty| Typed::new(Node::Strict(function, Box::new([typed.node.clone()])), ty, e);
        match (op, typed.ty) {
            (UnaryOperator::Plus, Some(Type::Bigint | Type::Double)) => Some(Typed { ast: e, ..typed }),
            (UnaryOperator::Minus, Some(ty @ (Type::Bigint | Type::Double))) => Some(negate(number::NEGATE, ty)),
            (UnaryOperator::Minus, Some(Type::Interval)) => Some(negate(time::NEGATE_INTERVAL, Type::Interval)),
            _ => self.refuse(e, format!("operator does not exist: {op} {}", typed.type_name()), None),
        }
    }

    pub(super) fn binary<'a>(
        &mut self,
        left: &'a ast::Expr,
        op: &BinaryOperator,
        right: &'a ast::Expr,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return self.junction(op, e);
        }
        let (left, right) = (self.lower(left), self.lower(right));
        let (left, right) = (left?, right?);
        let comparison = match op {
            BinaryOperator::Eq => Comparison::Eq,
            BinaryOperator::NotEq => Comparison::Ne,
            BinaryOperator::Lt => Comparison::Lt,
            BinaryOperator::LtEq => Comparison::Le,
            BinaryOperator::Gt => Comparison::Gt,
            BinaryOperator::GtEq => Comparison::Ge,
            BinaryOperator::Plus => return self.arithmetic("+", Operation::Add, left, right, e),
            BinaryOperator::Minus => return self.arithmetic("-", Operation::Subtract, left, right, e),
            BinaryOperator::Multiply => return self.arithmetic("*", Operation::Multiply, left, right, e),
            BinaryOperator::Divide => return self.arithmetic("/", Operation::Divide, left, right, e),
            BinaryOperator::Modulo => return self.arithmetic("%", Operation::Modulo, left, right, e),
            BinaryOperator::StringConcat => return self.concat(left, right, e),
            BinaryOperator::Arrow => return self.json(left, right, false, e),
            BinaryOperator::LongArrow => return self.json(left, right, true, e),
            _ => {
                let sign = matches!(op, BinaryOperator::Custom(name) if name.ends_with(['+', '-']));
                let help = sign.then_some("a space before the sign makes it the number's");
                return self.refuse(e, format!("operator {op} is not supported"), help);
            }
        };
        let (sides, _) = self.comparable(&op.to_string(), left, right, e)?;
        self.lint_comparison(comparison, &sides, e);
        Some(Typed::new(Node::Compare(comparison, Box::new(sides)), Type::Boolean, e))
    }

    /// A chain of ANDs or of ORs as one node: however long, it is one level deep.
    fn junction<'a>(&mut self, op: &BinaryOperator, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let mut operands = Vec::new();
        let mut rest = e;
        while let ast::Expr::BinaryOp { left, op: other, right } = rest
            && other == op
        {
            operands.push(&**right);
            rest = left;
        }
        operands.push(rest);
        let nodes: Vec<Option<Node>> =
            operands.into_iter().rev().map(|operand| self.condition(operand, &op.to_string())).collect();
        let nodes = nodes.into_iter().collect::<Option<Box<[Node]>>>()?;
        if *op == BinaryOperator::And {
            self.lint_conjunction(&nodes, e);
        }
        let node = if *op == BinaryOperator::And { Node::And(nodes) } else { Node::Or(nodes) };
        Some(Typed::new(node, Type::Boolean, e))
    }

    pub(super) fn condition(&mut self, expression: &ast::Expr, construct: &str) -> Option<Node> {
        let typed = self.lower(expression)?;
        if !typed.coerces_to(Type::Boolean) {
            let found = typed.type_name();
            let message = format!("argument of {construct} must be type boolean, not type {found}");
            return self.refuse(expression, message, None);
        }
        self.coerce(typed, Type::Boolean)
    }

    /// Both sides as one type that has an order.
    pub(super) fn comparable<'a>(
        &mut self,
        op: &str,
        left: Typed<'a>,
        right: Typed<'a>,
        at: &ast::Expr,
    ) -> Option<([Node; 2], Type)> {
        let ty = match common(left.ty, right.ty) {
            Some(Type::Json) | None => return self.no_operator(op, &left, &right, at),
            Some(ty) => ty,
        };
        let (left, right) = (self.coerce(left, ty), self.coerce(right, ty));
        Some(([left?, right?], ty))
    }

    fn no_operator<T>(&mut self, op: &str, left: &Typed<'_>, right: &Typed<'_>, at: &ast::Expr) -> Option<T> {
        let message = format!("operator does not exist: {} {op} {}", left.type_name(), right.type_name());
        let number = |ty: Option<Type>| matches!(ty, Some(Type::Bigint | Type::Double));
        let either = |ty: Type| left.ty == Some(ty) || right.ty == Some(ty);
        let help = if either(Type::Json) {
            "take a text out of the JSON with ->> and cast it if it is a number"
        } else if either(Type::Timestamp) && (number(left.ty) || number(right.ty)) {
            "add or subtract an interval: INTERVAL '7 days'; extract(epoch FROM …) makes seconds of a timestamp"
        } else if either(Type::Interval) && (number(left.ty) || number(right.ty)) {
            "extract(epoch FROM …) makes seconds of an interval"
        } else {
            "no operator takes these types; a CAST may help"
        };
        self.refuse(at, message, Some(help))
    }

    fn arithmetic<'a>(
        &mut self,
        op: &str,
        operation: Operation,
        left: Typed<'a>,
        right: Typed<'a>,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        if let Some((function, [left_type, right_type], result)) = time::operator(op, left.ty, right.ty) {
            let (left, right) = (self.coerce(left, left_type), self.coerce(right, right_type));
            return Some(Typed::new(Node::Strict(function, Box::new([left?, right?])), result, e));
        }
        // Two literals of no type have no operator, unlike in comparisons, where they are texts.
        let ty = match common(left.ty, right.ty).filter(|_| left.ty.is_some() || right.ty.is_some()) {
            Some(ty @ (Type::Bigint | Type::Double)) => ty,
            Some(Type::Boolean | Type::Text | Type::Timestamp | Type::Interval | Type::Json) | None => {
                return self.no_operator(op, &left, &right, e);
            }
        };
        if operation == Operation::Divide && ty == Type::Bigint {
            self.lint_division(&left, &right, e);
        }
        let (left, right) = (self.coerce(left, ty), self.coerce(right, ty));
        Some(Typed::new(Node::Arithmetic(operation, Box::new([left?, right?])), ty, e))
    }

    fn concat<'a>(&mut self, left: Typed<'a>, right: Typed<'a>, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let textual = |typed: &Typed<'_>| matches!(typed.ty, None | Some(Type::Text));
        if !textual(&left) && !textual(&right) {
            return self.no_operator("||", &left, &right, e);
        }
        let sides = [to_text(left), to_text(right)];
        Some(Typed::new(Node::Strict(text::CONCAT_OPERATOR, Box::new(sides)), Type::Text, e))
    }

    fn json<'a>(&mut self, left: Typed<'a>, right: Typed<'a>, as_text: bool, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let key = right.ty.unwrap_or(Type::Text);
        if left.ty != Some(Type::Json) || !matches!(key, Type::Text | Type::Bigint) {
            return self.no_operator(if as_text { "->>" } else { "->" }, &left, &right, e);
        }
        let sides = Box::new([left.node, self.coerce(right, key)?]);
        let ty = if as_text { Type::Text } else { Type::Json };
        Some(Typed::new(Node::JsonGet { sides, as_text }, ty, e))
    }
}

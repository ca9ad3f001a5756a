//! Resolving the constructs with a grammar of their own: IS, IN, BETWEEN, LIKE, CASE, CAST, intervals, EXTRACT.

use super::calendar::Unit;
use super::eval::castable;
use super::expr::{EvalError, Type};
use super::functions::time;
use super::like::Pattern;
use super::literal;
use super::node::{Constant, Node, Set};
use super::resolve::{Resolver, Typed, common};
use super::table::sql_type;
use sqlparser::ast;

/// Longer lists of constants are hashed; a scan of so few is quicker.
const SCAN_MAX: usize = 8;

impl Resolver<'_> {
    pub(super) fn is_null<'a>(&mut self, operand: &'a ast::Expr, negated: bool, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let operand = Box::new(self.lower(operand)?.node);
        Some(Typed::new(Node::IsNull { operand, negated }, Type::Boolean, e))
    }

    pub(super) fn is_boolean<'a>(
        &mut self,
        operand: &'a ast::Expr,
        (value, negated): (bool, bool),
        construct: &str,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let operand = Box::new(self.condition(operand, construct)?);
        Some(Typed::new(Node::IsBoolean { operand, value, negated }, Type::Boolean, e))
    }

    pub(super) fn is_unknown<'a>(
        &mut self,
        operand: &'a ast::Expr,
        negated: bool,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let operand = Box::new(self.condition(operand, if negated { "IS NOT UNKNOWN" } else { "IS UNKNOWN" })?);
        Some(Typed::new(Node::IsNull { operand, negated }, Type::Boolean, e))
    }

    pub(super) fn distinct<'a>(
        &mut self,
        left: &'a ast::Expr,
        right: &'a ast::Expr,
        negated: bool,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let (left, right) = (self.lower(left), self.lower(right));
        let (sides, _) = self.comparable("=", left?, right?, e)?;
        Some(Typed::new(Node::Distinct { sides: Box::new(sides), negated }, Type::Boolean, e))
    }

    pub(super) fn in_list<'a>(
        &mut self,
        operand: &'a ast::Expr,
        list: &'a [ast::Expr],
        negated: bool,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let operand = self.lower(operand);
        let items: Vec<Option<Typed<'a>>> = list.iter().map(|item| self.lower(item)).collect();
        let (operand, items) = (operand?, items.into_iter().collect::<Option<Vec<_>>>()?);
        let mut ty = operand.ty;
        for item in &items {
            let both = if ty.is_none() && item.ty.is_none() { None } else { common(ty, item.ty) };
            if (both.is_none() && (ty.is_some() || item.ty.is_some())) || both == Some(Type::Json) {
                let message = format!("operator does not exist: {} = {}", operand.type_name(), item.type_name());
                return self.refuse(
                    item.ast,
                    message,
                    Some("all values of IN must have the type of what is looked for"),
                );
            }
            ty = both;
        }
        let ty = ty.unwrap_or(Type::Text);
        let items: Vec<Option<Node>> = items.into_iter().map(|item| self.coerce(item, ty)).collect();
        let (operand, items) = (self.coerce(operand, ty), items.into_iter().collect::<Option<Vec<_>>>());
        let (operand, mut items) = (Box::new(operand?), items?);
        // Constants first, as PostgreSQL does it: cheaper, and found before another item may raise an error.
        items.sort_by_key(|item| !matches!(item, Node::Constant(_)));
        let node = match constant_set(&items) {
            Some((set, has_null)) => Node::InSet { operand, set, has_null, negated },
            None => Node::In { operand, list: items.into(), negated },
        };
        Some(Typed::new(node, Type::Boolean, e))
    }

    pub(super) fn between<'a>(
        &mut self,
        parts: [&'a ast::Expr; 3],
        negated: bool,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let [value, low, high] = parts.map(|part| self.lower(part));
        let (value, low, high) = (value?, low?, high?);
        let mut ty = value.ty;
        for (bound, op) in [(&low, ">="), (&high, "<=")] {
            match common(ty, bound.ty) {
                Some(Type::Json) | None => {
                    let message = format!("operator does not exist: {} {op} {}", value.type_name(), bound.type_name());
                    return self.refuse(bound.ast, message, Some("both bounds must have the type of what is compared"));
                }
                Some(both) if ty.is_some() || bound.ty.is_some() => ty = Some(both),
                Some(_) => {}
            }
        }
        let ty = ty.unwrap_or(Type::Text);
        let [value, low, high] = [value, low, high].map(|part| self.coerce(part, ty));
        let nodes = [value?, low?, high?];
        self.lint_between(&nodes, e);
        Some(Typed::new(Node::Between { nodes: Box::new(nodes), negated }, Type::Boolean, e))
    }

    pub(super) fn like<'a>(
        &mut self,
        sides: [&'a ast::Expr; 2],
        escape: Option<&'a ast::Expr>,
        negated: bool,
        insensitive: bool,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let [operand, pattern] = sides.map(|side| self.lower(side));
        let escape = match escape {
            None => Some('\\'),
            Some(given) => self.escape(given)?,
        };
        let (operand, pattern) = (operand?, pattern?);
        if !operand.coerces_to(Type::Text) || !pattern.coerces_to(Type::Text) {
            let word = if insensitive { "ILIKE" } else { "LIKE" };
            let message = format!("operator does not exist: {} {word} {}", operand.type_name(), pattern.type_name());
            return self.refuse(e, message, Some("LIKE compares texts; CAST(… AS TEXT) makes one"));
        }
        let pattern_at = pattern.ast;
        let (operand, pattern) = (self.coerce(operand, Type::Text), self.coerce(pattern, Type::Text));
        let (operand, pattern) = (operand?, pattern?);
        let node = match &pattern {
            Node::Constant(Constant::Null) => Node::Constant(Constant::Null),
            Node::Constant(Constant::Text(text)) => match Pattern::new(text, escape, insensitive) {
                Ok(pattern) => Node::Like { operand: Box::new(operand), pattern: Box::new(pattern), negated },
                Err(_) => return self.refuse(pattern_at, "LIKE pattern must not end with escape character", None),
            },
            _ => Node::LikeDynamic { sides: Box::new([operand, pattern]), escape, insensitive, negated },
        };
        Some(Typed::new(node, Type::Boolean, e))
    }

    /// ESCAPE: one character, or none.
    fn escape(&mut self, given: &ast::Expr) -> Option<Option<char>> {
        let typed = self.lower(given)?;
        let mut characters = typed.as_text().map(str::chars);
        let found = characters.as_mut().map(|c| (c.next(), c.next()));
        match found {
            Some((escape, None)) => Some(escape),
            _ => self.refuse(given, "ESCAPE must be a text of one character, or empty for no escape", None),
        }
    }

    pub(super) fn case<'a>(
        &mut self,
        operand: Option<&'a ast::Expr>,
        conditions: &'a [ast::CaseWhen],
        otherwise: Option<&'a ast::Expr>,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let has_operand = operand.is_some();
        let operand = operand.map(|operand| self.lower(operand));
        let mut tests = Vec::new();
        for when in conditions {
            tests.push(if has_operand {
                self.lower(&when.condition)
            } else {
                self.condition(&when.condition, "CASE/WHEN")
                    .map(|node| Typed::new(node, Type::Boolean, &when.condition))
            });
        }
        let results: Vec<Option<Typed<'a>>> =
            conditions.iter().map(|when| &when.result).chain(otherwise).map(|result| self.lower(result)).collect();
        let tests = tests.into_iter().collect::<Option<Vec<_>>>();
        let results = results.into_iter().collect::<Option<Vec<_>>>();
        let (mut tests, results) = (tests?, results?);
        let mut operand_node = None;
        if let Some(operand) = operand {
            tests.insert(0, operand?);
            let (mut nodes, ty) = self.unify("CASE/WHEN", tests)?;
            if ty == Type::Json {
                return self.refuse(e, "operator does not exist: json = json", Some("take texts with ->>"));
            }
            operand_node = Some(Box::new(nodes.remove(0)));
            tests = nodes.into_iter().map(|node| Typed { node, ty: Some(ty), ast: e }).collect();
        }
        let (mut results, ty) = self.unify("CASE", results)?;
        let otherwise =
            if otherwise.is_some() { results.pop() } else { None }.unwrap_or(Node::Constant(Constant::Null));
        let branches = tests.into_iter().map(|test| test.node).zip(results).collect();
        let node = Node::Case { operand: operand_node, branches, otherwise: Box::new(otherwise) };
        Some(Typed::new(node, ty, e))
    }

    pub(super) fn cast<'a>(
        &mut self,
        kind: &ast::CastKind,
        operand: &'a ast::Expr,
        data_type: &ast::DataType,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let typed = self.lower(operand);
        let Some(to) = sql_type(data_type) else {
            let message = format!("type {} is not supported", data_type.to_string().to_lowercase());
            return self.refuse(e, message, Some(super::table::type_help(data_type)));
        };
        let typed = typed?;
        if to == Type::Bigint {
            self.division_is_meant(operand);
        }
        let attempt = matches!(kind, ast::CastKind::TryCast | ast::CastKind::SafeCast);
        let node = match typed.ty {
            None if !attempt => self.coerce(typed, to)?,
            Some(from) if !castable(from, to) => {
                let help = (from == Type::Json).then_some("take a text out of the JSON with ->> first");
                return self.refuse(e, format!("cannot cast type {from} to {to}"), help);
            }
            None | Some(_) => Node::Cast { operand: Box::new(typed.node), to, attempt },
        };
        Some(Typed::new(node, to, e))
    }

    /// `TIMESTAMP '2026-03-02'`
    pub(super) fn typed_string<'a>(&mut self, typed: &ast::TypedString, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let Some(ty) = sql_type(&typed.data_type) else {
            let message = format!("type {} is not supported", typed.data_type.to_string().to_lowercase());
            return self.refuse(e, message, Some(super::table::type_help(&typed.data_type)));
        };
        let ast::Value::SingleQuotedString(text) = &typed.value.value else {
            return self.refuse(e, "this kind of literal is not supported", None);
        };
        let literal = Typed { node: Node::Constant(Constant::Text(text.as_str().into())), ty: None, ast: e };
        Some(Typed::new(self.coerce(literal, ty)?, ty, e))
    }

    /// `INTERVAL '1 hour'`, `INTERVAL '1' HOUR`
    pub(super) fn interval<'a>(&mut self, interval: &ast::Interval, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let text = match &*interval.value {
            ast::Expr::Value(value) => match &value.value {
                ast::Value::SingleQuotedString(text) => Some(text),
                _ => None,
            },
            _ => None,
        };
        let plain = interval.last_field.is_none()
            && interval.leading_precision.is_none()
            && interval.fractional_seconds_precision.is_none();
        let Some(text) = text.filter(|_| plain) else {
            let unit = interval.leading_field.as_ref().map(|field| format!(" {}", field.to_string().to_lowercase()));
            let help = match &*interval.value {
                ast::Expr::Value(_) => format!("INTERVAL '{}{}'", interval.value, unit.unwrap_or_default()),
                _ => "INTERVAL '1 hour'; a length that varies is multiplied: 7 * INTERVAL '1 day'".to_owned(),
            };
            return self.refuse(e, "an interval is a text in single quotes", Some(&help));
        };
        match interval_literal(text, interval.leading_field.as_ref()) {
            Ok((months, days, millis)) => {
                Some(Typed::new(Node::Constant(Constant::Interval(months, days, millis)), Type::Interval, e))
            }
            Err(error) => {
                let (message, help) = super::resolve::invalid_literal(text, Type::Interval, &error);
                self.refuse(e, message, Some(&help))
            }
        }
    }

    pub(super) fn extract<'a>(
        &mut self,
        field: &ast::DateTimeField,
        operand: &'a ast::Expr,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        let operand = self.lower(operand)?;
        let found = operand.type_name();
        let name = field.to_string().to_lowercase();
        let faults = self.faults.len();
        let typed = time::resolve_field(self, name.trim_matches('\''), e, operand, e);
        if typed.is_none() && self.faults.len() == faults {
            let help = "EXTRACT takes a timestamp or an interval";
            return self.refuse(e, format!("function extract({found}) does not exist"), Some(help));
        }
        typed
    }

    pub(super) fn ceil_floor<'a>(
        &mut self,
        name: &str,
        operand: &'a ast::Expr,
        field: &ast::CeilFloorKind,
        e: &'a ast::Expr,
    ) -> Option<Typed<'a>> {
        if !matches!(field, ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime)) {
            return self.refuse(e, format!("{name} takes one argument"), None);
        }
        let called = self.call(name, &[operand], e);
        if name == "floor" {
            self.division_is_meant(operand);
        }
        called
    }
}

/// The literal, with a field behind it perhaps: `INTERVAL '90' MINUTE`.
fn interval_literal(text: &str, field: Option<&ast::DateTimeField>) -> Result<(i32, i32, i64), EvalError> {
    let Some(field) = field else { return literal::parse_interval(text) };
    let Some(unit) = Unit::parse(&field.to_string()) else {
        return literal::parse_interval(&format!("{text} {field}"));
    };
    literal::parse_interval_field(text, unit)
}

/// A set for a list of constants, and whether it holds a NULL; `None` if there are other types or no constants.
fn constant_set(items: &[Node]) -> Option<(Set, bool)> {
    let mut texts: Vec<Box<str>> = Vec::new();
    let mut numbers: Vec<i64> = Vec::new();
    let mut has_null = false;
    for item in items {
        match item {
            Node::Constant(Constant::Text(text)) => texts.push(text.clone()),
            Node::Constant(Constant::Bigint(n)) => numbers.push(*n),
            Node::Constant(Constant::Null) => has_null = true,
            _ => return None,
        }
    }
    let set = match (texts.len(), numbers.len()) {
        (0, 0) => return None,
        (_, 0) if texts.len() <= SCAN_MAX => Set::FewTexts(texts.into()),
        (_, 0) => Set::Texts(texts.into_iter().collect()),
        (0, _) if numbers.len() <= SCAN_MAX => Set::FewBigints(numbers.into()),
        _ => Set::Bigints(numbers.into_iter().collect()),
    };
    Some((set, has_null))
}

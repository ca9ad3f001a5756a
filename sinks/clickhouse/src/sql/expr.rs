//! Expressions. Operators are written with parentheses around them, so that their order is the parser's.

use super::Refusal;
use super::functions::{self, Kind};
use super::operators;
use super::query::refuse;
use super::types;
use super::writer::Writer;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, Interval, LambdaFunction,
    LambdaSyntax, NullTreatment, ObjectNamePart, OneOrManyWithParens, Spanned, Subscript, TrimWhereField, Value,
    WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

type Written = Result<(), Refusal>;

impl Writer<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Written {
        // The place of a deep tree is sought once, where it is refused.
        self.within(sqlparser::tokenizer::Span::empty(), |w| w.form(expr))
    }

    fn form(&mut self, expr: &Expr) -> Written {
        match expr {
            Expr::Identifier(name) => self.name(name),
            Expr::CompoundIdentifier(names) => self.compound(names),
            Expr::Value(value) => self.value(&value.value, expr),
            Expr::Nested(inner) => self.expr(inner),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr: operand } => {
                let word = operators::unary(op).ok_or_else(|| not_allowed(expr, "this operator"))?;
                self.put("(");
                self.put(word);
                self.expr(operand)?;
                self.put(")");
                Ok(())
            }
            Expr::IsNull(inner) => self.with_suffix(inner, " IS NULL"),
            Expr::IsNotNull(inner) => self.with_suffix(inner, " IS NOT NULL"),
            Expr::IsTrue(inner) => self.with_suffix(inner, " = true"),
            Expr::IsFalse(inner) => self.with_suffix(inner, " = false"),
            Expr::Function(function) => self.function(function),
            Expr::Cast { kind, expr: value, data_type, format } => {
                self.cast(expr, (kind, value, data_type), format.is_some())
            }
            Expr::TypedString(typed) => {
                let Value::SingleQuotedString(text) = &typed.value.value else {
                    return Err(not_allowed(expr, "this kind of text"));
                };
                refuse(typed.uses_odbc_syntax, "ODBC's syntax is not allowed", || expr.span())?;
                self.put("CAST(");
                self.text(text);
                self.cast_to(expr, &typed.data_type)
            }
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.put("CASE");
                if let Some(operand) = operand {
                    self.put(" ");
                    self.expr(operand)?;
                }
                for when in conditions {
                    self.worded(" WHEN ", &when.condition)?;
                    self.worded(" THEN ", &when.result)?;
                }
                if let Some(other) = else_result {
                    self.worded(" ELSE ", other)?;
                }
                self.put(" END");
                Ok(())
            }
            Expr::Interval(interval) => self.interval(expr, interval),
            Expr::Tuple(items) => self.call("tuple", items),
            Expr::Array(array) => {
                self.put("[");
                self.list(&array.elem, Self::expr)?;
                self.put("]");
                Ok(())
            }
            Expr::Lambda(lambda) => self.lambda(expr, lambda),
            Expr::Subquery(query) => self.subquery("", query),
            Expr::Exists { subquery, negated } => {
                self.subquery(if *negated { "NOT EXISTS " } else { "EXISTS " }, subquery)
            }
            _ => self.rarer(expr),
        }
    }

    /// Forms with words of their own.
    fn rarer(&mut self, expr: &Expr) -> Written {
        match expr {
            Expr::InSubquery { expr: value, subquery, negated } => {
                self.put("(");
                self.expr(value)?;
                self.subquery(if *negated { " NOT IN " } else { " IN " }, subquery)?;
                self.put(")");
                Ok(())
            }
            Expr::InList { expr: value, list, negated } => self.in_list(value, list, *negated),
            Expr::Between { expr: value, negated, low, high } => {
                self.put("(");
                self.expr(value)?;
                self.worded(if *negated { " NOT BETWEEN " } else { " BETWEEN " }, low)?;
                self.worded(" AND ", high)?;
                self.put(")");
                Ok(())
            }
            Expr::Like { negated, any, expr: value, pattern, escape_char } => {
                refuse(*any || escape_char.is_some(), "LIKE takes one pattern, without ESCAPE", || expr.span())?;
                let name = if *negated { "notLike" } else { "like" };
                self.call(name, &[value.as_ref(), pattern.as_ref()])
            }
            Expr::ILike { negated, any, expr: value, pattern, escape_char } => {
                refuse(*any || escape_char.is_some(), "ILIKE takes one pattern, without ESCAPE", || expr.span())?;
                let name = if *negated { "notILike" } else { "ilike" };
                self.call(name, &[value.as_ref(), pattern.as_ref()])
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.access(expr, root, access_chain),
            Expr::Extract { field, syntax: _, expr: value } => {
                let name = operators::extract(field).ok_or_else(|| not_allowed(expr, "this part of a time"))?;
                self.call(name, &[value.as_ref()])
            }
            Expr::Ceil { expr: value, field } => self.rounded(expr, "ceil", value, field),
            Expr::Floor { expr: value, field } => self.rounded(expr, "floor", value, field),
            Expr::Position { expr: needle, r#in } => self.call("position", &[r#in.as_ref(), needle.as_ref()]),
            Expr::Substring { expr: value, substring_from, substring_for, special: _, shorthand: _ } => {
                let from =
                    substring_from.as_deref().ok_or_else(|| not_allowed(expr, "SUBSTRING without its beginning"))?;
                let all: Vec<&Expr> = [value.as_ref(), from].into_iter().chain(substring_for.as_deref()).collect();
                self.call("substring", &all)
            }
            Expr::Trim { trim_where, trim_what: None, expr: value, trim_characters: None } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "trimBoth",
                    Some(TrimWhereField::Leading) => "trimLeft",
                    Some(TrimWhereField::Trailing) => "trimRight",
                };
                self.call(name, &[value.as_ref()])
            }
            Expr::IsDistinctFrom(left, right) => self.call("isDistinctFrom", &[left.as_ref(), right.as_ref()]),
            Expr::IsNotDistinctFrom(left, right) => self.call("isNotDistinctFrom", &[left.as_ref(), right.as_ref()]),
            _ => Err(not_allowed(expr, "this expression")),
        }
    }

    /// A call of a function that this module names.
    fn call<E: std::borrow::Borrow<Expr>>(&mut self, name: &str, arguments: &[E]) -> Written {
        self.put(name);
        self.put("(");
        self.list(arguments, |w, argument| w.expr(argument.borrow()))?;
        self.put(")");
        Ok(())
    }

    fn worded(&mut self, word: &str, expr: &Expr) -> Written {
        self.put(word);
        self.expr(expr)
    }

    fn with_suffix(&mut self, expr: &Expr, suffix: &str) -> Written {
        self.put("(");
        self.expr(expr)?;
        self.put(suffix);
        self.put(")");
        Ok(())
    }

    fn subquery(&mut self, word: &str, query: &sqlparser::ast::Query) -> Written {
        self.put(word);
        self.put("(");
        self.query(query)?;
        self.put(")");
        Ok(())
    }

    /// `table.column`
    fn compound(&mut self, names: &[Ident]) -> Written {
        let [table, column] = names else {
            let span = Span::of(names);
            return Err(Refusal::at(
                "a column's name has at most one name before it, that of a table or its alias",
                span,
            ));
        };
        self.name(table)?;
        self.put(".");
        self.name(column)
    }

    fn value(&mut self, value: &Value, expr: &Expr) -> Written {
        match value {
            Value::SingleQuotedString(text) => self.text(text),
            Value::Boolean(true) => self.put("true"),
            Value::Boolean(false) => self.put("false"),
            Value::Null => self.put("NULL"),
            Value::Number(digits, false) => {
                let digits = digits.replace('_', "");
                // `1.`, `.5` and `1e10` are numbers as well; the parser has looked at their form.
                let known = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
                if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !digits.chars().all(known) {
                    return Err(not_allowed(expr, "this number"));
                }
                self.put(&digits);
            }
            Value::Placeholder(_) => return Err(not_allowed(expr, "a placeholder")),
            _ => return Err(not_allowed(expr, "this kind of value")),
        }
        Ok(())
    }

    /// Chains of AND and of OR are written flat: ClickHouse's parser has its own limit of depth.
    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Written {
        let word = operators::binary(op)
            .ok_or_else(|| Refusal::at(format!("the operator {op} is not allowed"), right.span()))?;
        let mut operands = vec![right];
        let mut first = left;
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            while let Expr::BinaryOp { left, op: other, right } = first
                && other == op
            {
                operands.push(right);
                first = left;
            }
        }
        self.put("(");
        self.expr(first)?;
        for operand in operands.into_iter().rev() {
            self.put(" ");
            self.put(word);
            self.put(" ");
            self.expr(operand)?;
        }
        self.put(")");
        Ok(())
    }

    /// What ClickHouse finds behind IN as a name alone is a table to it, also in parentheses: what is not a list of values is
    /// written as a tuple.
    fn in_list(&mut self, value: &Expr, list: &[Expr], negated: bool) -> Written {
        self.put("(");
        self.expr(value)?;
        self.put(if negated { " NOT IN " } else { " IN " });
        match list {
            [Expr::Array(_)] => self.expr(&list[0])?,
            _ => self.call("tuple", list)?,
        }
        self.put(")");
        Ok(())
    }

    fn cast(&mut self, whole: &Expr, (kind, value, to): (&CastKind, &Expr, &DataType), format: bool) -> Written {
        refuse(format, "CAST takes no FORMAT", || whole.span())?;
        let name = match kind {
            CastKind::Cast | CastKind::DoubleColon => "CAST(",
            CastKind::TryCast | CastKind::SafeCast => {
                return Err(Refusal::at("write CAST(… AS …), or a function such as toInt64OrNull", whole.span()));
            }
        };
        self.put(name);
        self.expr(value)?;
        self.cast_to(whole, to)
    }

    fn cast_to(&mut self, whole: &Expr, to: &DataType) -> Written {
        let Some(to) = types::spelling(to) else {
            return Err(Refusal::at("this type is not allowed in a CAST", whole.span()));
        };
        self.put(" AS ");
        self.put(&to);
        self.put(")");
        Ok(())
    }

    fn interval(&mut self, whole: &Expr, interval: &Interval) -> Written {
        let Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } = interval;
        let other = leading_precision.is_some() || last_field.is_some() || fractional_seconds_precision.is_some();
        refuse(other, "write INTERVAL 7 DAY", || whole.span())?;
        let unit = leading_field.as_ref().and_then(operators::unit);
        let unit = unit.ok_or_else(|| Refusal::at("write INTERVAL 7 DAY, with a unit up to YEAR", whole.span()))?;
        self.put("INTERVAL ");
        self.expr(value)?;
        self.put(" ");
        self.put(unit);
        Ok(())
    }

    fn lambda(&mut self, whole: &Expr, lambda: &LambdaFunction) -> Written {
        let LambdaFunction { params, body, syntax } = lambda;
        refuse(*syntax != LambdaSyntax::Arrow, "write x -> …", || whole.span())?;
        let params = match params {
            OneOrManyWithParens::One(one) => std::slice::from_ref(one),
            OneOrManyWithParens::Many(many) => many.as_slice(),
        };
        self.put("(");
        self.list(params, |w, param| {
            refuse(param.data_type.is_some(), "an argument of -> has no type", || param.name.span)?;
            w.name(&param.name)
        })?;
        self.put(") -> ");
        self.expr(body)
    }

    /// `a[1]`, `m['k']`, `t.name`, from the inside out.
    fn access(&mut self, whole: &Expr, root: &Expr, chain: &[AccessExpr]) -> Written {
        let Some((last, before)) = chain.split_last() else { return self.expr(root) };
        match last {
            AccessExpr::Subscript(Subscript::Index { index }) => {
                self.put("arrayElement(");
                self.within(sqlparser::tokenizer::Span::empty(), |w| w.access(whole, root, before))?;
                self.put(", ");
                self.expr(index)?;
            }
            AccessExpr::Dot(Expr::Identifier(name)) => {
                let name = super::writer::checked(name)?;
                self.put("tupleElement(");
                self.within(sqlparser::tokenizer::Span::empty(), |w| w.access(whole, root, before))?;
                self.put(", ");
                self.text(name);
            }
            AccessExpr::Dot(_) | AccessExpr::Subscript(Subscript::Slice { .. }) => {
                return Err(not_allowed(whole, "this access to a part"));
            }
        }
        self.put(")");
        Ok(())
    }

    fn rounded(&mut self, whole: &Expr, name: &str, value: &Expr, field: &CeilFloorKind) -> Written {
        self.put(name);
        self.put("(");
        self.expr(value)?;
        match field {
            CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime) => {}
            CeilFloorKind::Scale(scale) => {
                self.put(", ");
                self.value(&scale.value, whole)?;
            }
            CeilFloorKind::DateTimeField(_) => return Err(not_allowed(whole, "rounding to a unit of time")),
        }
        self.put(")");
        Ok(())
    }

    fn function(&mut self, function: &Function) -> Written {
        let Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment, over } =
            function;
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return Err(Refusal::at("a function's name is one word", name.span()));
        };
        let span = || ident.span;
        let found = functions::find(&ident.value).ok_or_else(|| unknown(ident))?;
        let (known, kind) = found;
        let other = *uses_odbc_syntax || !within_group.is_empty();
        refuse(other, "this form of a call is not allowed", span)?;
        refuse(filter.is_some(), "FILTER is not allowed: write a function with If, such as sumIf", span)?;
        let needs_over = kind == Kind::Window && over.is_none();
        refuse(needs_over, &format!("the function {known} needs OVER (…)"), span)?;
        let no_rows = kind == Kind::Plain
            && (over.is_some() || null_treatment.is_some() || *parameters != FunctionArguments::None);
        refuse(no_rows, &format!("the function {known} takes one pair of parentheses, without OVER"), span)?;
        self.put(&known);
        match parameters {
            FunctionArguments::None => {}
            FunctionArguments::List(list) => self.arguments(list, ident, &known)?,
            FunctionArguments::Subquery(_) => return Err(Refusal::at("a parameter is a value", ident.span)),
        }
        match args {
            FunctionArguments::List(list) => self.arguments(list, ident, &known)?,
            FunctionArguments::None => {
                return Err(Refusal::at(format!("the function {known} needs parentheses: {known}()"), ident.span));
            }
            FunctionArguments::Subquery(query) => self.subquery("(", query).map(|()| self.put(")"))?,
        }
        if let Some(treatment) = null_treatment {
            self.nulls(*treatment);
        }
        match over {
            None => Ok(()),
            Some(WindowType::NamedWindow(name)) => {
                self.put(" OVER ");
                self.name(name)
            }
            Some(WindowType::WindowSpec(spec)) => {
                self.put(" OVER ");
                self.window(spec)
            }
        }
    }

    fn nulls(&mut self, treatment: NullTreatment) {
        self.put(match treatment {
            NullTreatment::IgnoreNulls => " IGNORE NULLS",
            NullTreatment::RespectNulls => " RESPECT NULLS",
        });
    }

    fn arguments(&mut self, list: &FunctionArgumentList, of: &Ident, known: &str) -> Written {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        let mut treatment = None;
        for clause in clauses {
            match clause {
                FunctionArgumentClause::IgnoreOrRespectNulls(nulls) => treatment = Some(*nulls),
                _ => return Err(Refusal::at(format!("{known} takes its arguments alone"), of.span)),
            }
        }
        self.put("(");
        match duplicate_treatment {
            None | Some(DuplicateTreatment::All) => {}
            Some(DuplicateTreatment::Distinct) => self.put("DISTINCT "),
        }
        self.list(args, |w, arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => w.expr(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if known.starts_with("count") => {
                w.put("*");
                Ok(())
            }
            FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                Err(Refusal::at(format!("{known} takes values, without `*` and without names"), of.span))
            }
        })?;
        self.put(")");
        if let Some(treatment) = treatment {
            self.nulls(treatment);
        }
        Ok(())
    }

    /// `(PARTITION BY … ORDER BY … ROWS …)`
    pub(super) fn window(&mut self, spec: &WindowSpec) -> Written {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        self.put("(");
        if let Some(name) = window_name {
            self.name(name)?;
        }
        if !partition_by.is_empty() {
            self.put(" PARTITION BY ");
            self.list(partition_by, Self::expr)?;
        }
        if !order_by.is_empty() {
            self.sorted_by(order_by)?;
        }
        if let Some(WindowFrame { units, start_bound, end_bound }) = window_frame {
            self.put(match units {
                WindowFrameUnits::Rows => " ROWS ",
                WindowFrameUnits::Range => " RANGE ",
                WindowFrameUnits::Groups => return Err(Refusal::new("GROUPS is not allowed: write ROWS or RANGE")),
            });
            match end_bound {
                None => self.bound(start_bound)?,
                Some(end) => {
                    self.put("BETWEEN ");
                    self.bound(start_bound)?;
                    self.put(" AND ");
                    self.bound(end)?;
                }
            }
        }
        self.put(")");
        Ok(())
    }

    fn bound(&mut self, bound: &WindowFrameBound) -> Written {
        let (rows, word) = match bound {
            WindowFrameBound::CurrentRow => {
                self.put("CURRENT ROW");
                return Ok(());
            }
            WindowFrameBound::Preceding(rows) => (rows, " PRECEDING"),
            WindowFrameBound::Following(rows) => (rows, " FOLLOWING"),
        };
        match rows.as_deref() {
            None => self.put("UNBOUNDED"),
            Some(Expr::Value(value)) => self.value(&value.value, &Expr::Value(value.clone()))?,
            Some(other) => return Err(Refusal::at("a frame's bound is a number", other.span())),
        }
        self.put(word);
        Ok(())
    }
}

/// The place of several names.
struct Span;

impl Span {
    fn of(names: &[Ident]) -> sqlparser::tokenizer::Span {
        names.first().map_or_else(sqlparser::tokenizer::Span::empty, |name| name.span)
    }
}

fn not_allowed(expr: &Expr, what: &str) -> Refusal {
    Refusal::at(format!("{what} is not allowed here"), expr.span())
}

fn unknown(ident: &Ident) -> Refusal {
    let near = aulaflow_model::fault::nearest(&ident.value, functions::names());
    let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    Refusal::at(format!("the function {} is not allowed{near}", ident.value), ident.span)
}

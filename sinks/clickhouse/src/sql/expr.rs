//! Expressions. They are written in the order in which they stand in the query, with its own parentheses and no others: which operator
//! binds closer is then ClickHouse's affair, whatever the parser here thinks of it.

use super::Refusal;
use super::functions::{self, Kind};
use super::literals;
use super::operators;
use super::query::refuse;
use super::types;
use super::writer::Writer;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType, DuplicateTreatment, Expr, ExtractSyntax, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, Interval,
    LambdaFunction, LambdaSyntax, NullTreatment, ObjectNamePart, OneOrManyWithParens, Spanned, Subscript, TimezoneInfo,
    TrimWhereField, TypedString, UnaryOperator, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec,
    WindowType,
};

type Written = Result<(), Refusal>;

impl Writer<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Written {
        // The place of a deep tree is sought once, where it is refused.
        self.within(sqlparser::tokenizer::Span::empty(), |w| w.form(expr))
    }

    fn form(&mut self, expr: &Expr) -> Written {
        match expr {
            Expr::Identifier(name) => match literals::special_number(&name.value) {
                Some(number) if name.quote_style.is_none() => {
                    self.put(number);
                    Ok(())
                }
                _ => self.name(name),
            },
            Expr::CompoundIdentifier(names) => self.compound(names),
            Expr::Value(value) => self.value(&value.value, expr),
            Expr::Nested(inner) => self.parenthesised(inner),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr: operand } => {
                let word = operators::unary(op).ok_or_else(|| not_allowed(expr))?;
                // Two of them would begin a comment.
                if self.out.ends_with('-') {
                    self.put(" ");
                }
                self.put(word);
                self.expr(operand)
            }
            Expr::IsNull(inner) => self.with_suffix(inner, " IS NULL"),
            Expr::IsNotNull(inner) => self.with_suffix(inner, " IS NOT NULL"),
            Expr::IsTrue(inner) => self.with_suffix(inner, " IS TRUE"),
            Expr::IsNotTrue(inner) => self.with_suffix(inner, " IS NOT TRUE"),
            Expr::IsFalse(inner) => self.with_suffix(inner, " IS FALSE"),
            Expr::IsNotFalse(inner) => self.with_suffix(inner, " IS NOT FALSE"),
            Expr::IsUnknown(inner) => self.with_suffix(inner, " IS UNKNOWN"),
            Expr::IsNotUnknown(inner) => self.with_suffix(inner, " IS NOT UNKNOWN"),
            Expr::Function(function) => self.function(function),
            Expr::Cast { kind, expr: value, data_type, format } => {
                self.cast(expr, (kind, value, data_type), format.is_some())
            }
            Expr::TypedString(typed) => self.typed(expr, typed),
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
            Expr::Tuple(items) => match items.as_slice() {
                [] | [_] => self.call("tuple", items),
                _ => self.call("", items),
            },
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
                self.expr(value)?;
                self.subquery(if *negated { " NOT IN " } else { " IN " }, subquery)
            }
            Expr::InList { expr: value, list, negated } => self.in_list(value, list, *negated),
            Expr::Between { expr: value, negated, low, high } => {
                self.expr(value)?;
                self.worded(if *negated { " NOT BETWEEN " } else { " BETWEEN " }, low)?;
                self.worded(" AND ", high)
            }
            Expr::Like { negated, any, expr: value, pattern, escape_char } => {
                refuse(*any || escape_char.is_some(), "LIKE takes one pattern, without ANY and ESCAPE", || {
                    expr.span()
                })?;
                self.expr(value)?;
                self.worded(if *negated { " NOT LIKE " } else { " LIKE " }, pattern)
            }
            Expr::ILike { negated, any, expr: value, pattern, escape_char } => {
                refuse(*any || escape_char.is_some(), "ILIKE takes one pattern, without ANY and ESCAPE", || {
                    expr.span()
                })?;
                self.expr(value)?;
                self.worded(if *negated { " NOT ILIKE " } else { " ILIKE " }, pattern)
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.access(expr, root, access_chain),
            Expr::Extract { field, syntax, expr: value } => {
                refuse(*syntax != ExtractSyntax::From, "write EXTRACT(… FROM …)", || expr.span())?;
                let part = operators::part(field).ok_or_else(|| {
                    let message =
                        format!("EXTRACT does not know the part {field}: there are {}", operators::PARTS.join(", "));
                    Refusal::at(message, expr.span())
                })?;
                self.put("EXTRACT(");
                self.put(part);
                self.worded(" FROM ", value)?;
                self.put(")");
                Ok(())
            }
            Expr::Ceil { expr: value, field } => self.rounded(expr, "ceil", value, field),
            Expr::Floor { expr: value, field } => self.rounded(expr, "floor", value, field),
            Expr::Position { expr: needle, r#in } => self.call("position", &[r#in.as_ref(), needle.as_ref()]),
            Expr::Substring { expr: value, substring_from, substring_for, special: _, shorthand: _ } => {
                let from = substring_from.as_deref().ok_or_else(|| not_allowed(expr))?;
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
            Expr::IsDistinctFrom(left, right) => self.distinct(left, " IS DISTINCT FROM ", right),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, " IS NOT DISTINCT FROM ", right),
            _ => Err(not_allowed(expr)),
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
        self.expr(expr)?;
        self.put(suffix);
        Ok(())
    }

    fn parenthesised(&mut self, expr: &Expr) -> Written {
        self.put("(");
        self.expr(expr)?;
        self.put(")");
        Ok(())
    }

    fn distinct(&mut self, left: &Expr, word: &str, right: &Expr) -> Written {
        self.expr(left)?;
        self.worded(word, right)
    }

    /// `DATE '2026-03-01'`, with the functions that ClickHouse reads it as.
    fn typed(&mut self, whole: &Expr, typed: &TypedString) -> Written {
        let TypedString { data_type, value, uses_odbc_syntax } = typed;
        refuse(*uses_odbc_syntax, "ODBC's syntax is not allowed", || whole.span())?;
        let name = match data_type {
            DataType::Date => "toDate(",
            DataType::Timestamp(None, TimezoneInfo::None) => "toDateTime(",
            _ => return Err(not_allowed(whole)),
        };
        self.put(name);
        self.value(&value.value, whole)?;
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
        match literals::written(value).map_err(|message| Refusal::at(message, expr.span()))? {
            Some(written) => self.put(&written),
            None => return Err(not_allowed(expr)),
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
        self.expr(first)?;
        for operand in operands.into_iter().rev() {
            self.put(" ");
            self.put(word);
            self.put(" ");
            self.expr(operand)?;
        }
        Ok(())
    }

    /// What ClickHouse finds behind IN as a name alone is a table to it, also in parentheses: what is not a list of literals is
    /// written as a call of `tuple`, in which names are columns.
    fn in_list(&mut self, value: &Expr, list: &[Expr], negated: bool) -> Written {
        self.expr(value)?;
        self.put(if negated { " NOT IN " } else { " IN " });
        match list {
            [Expr::Array(_)] => self.expr(&list[0]),
            _ if list.iter().all(is_literal) => self.call("", list),
            _ => self.call("tuple", list),
        }
    }

    fn cast(&mut self, whole: &Expr, (kind, value, to): (&CastKind, &Expr, &DataType), format: bool) -> Written {
        refuse(format, "CAST takes no FORMAT", || whole.span())?;
        let to = types::spelling(to)
            .ok_or_else(|| Refusal::at(format!("the type {to} is not allowed in a CAST"), whole.span()))?;
        match kind {
            CastKind::Cast => {
                self.put("CAST(");
                self.worded("", value)?;
                self.put(" AS ");
                self.put(&to);
                self.put(")");
            }
            CastKind::DoubleColon => {
                self.expr(value)?;
                self.put("::");
                self.put(&to);
            }
            CastKind::TryCast | CastKind::SafeCast => {
                let message = "TRY_CAST is not allowed: write CAST(… AS …), or a function such as toInt64OrNull";
                return Err(Refusal::at(message, whole.span()));
            }
        }
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
                self.put(&literals::encode(name.as_bytes()));
            }
            AccessExpr::Dot(_) | AccessExpr::Subscript(Subscript::Slice { .. }) => {
                return Err(not_allowed(whole));
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
            CeilFloorKind::DateTimeField(_) => return Err(not_allowed(whole)),
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
        let filtered = filter.is_some() && kind != Kind::Aggregate;
        refuse(filtered, &format!("FILTER stands behind an aggregate, and {known} is none"), span)?;
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
        if let Some(filter) = filter {
            self.worded(" FILTER (WHERE ", filter)?;
            self.put(")");
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

/// Whether ClickHouse finds no name in it.
fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => matches!(**expr, Expr::Value(_)),
        Expr::Tuple(items) => items.len() > 1 && items.iter().all(is_literal),
        _ => false,
    }
}

/// Refuses an expression, with the beginning of its text.
fn not_allowed(expr: &Expr) -> Refusal {
    Refusal::at(format!("this is not allowed here: {}", super::excerpt(expr)), expr.span())
}

fn unknown(ident: &Ident) -> Refusal {
    let near = aulaflow_model::fault::nearest(&ident.value, functions::names());
    let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    Refusal::at(format!("the function {} is not allowed{near}", ident.value), ident.span)
}

//! Queries: WITH, SELECT and what joins several of them, ORDER BY and LIMIT.

use super::Refusal;
use super::writer::{Cte, Writer};
use sqlparser::ast::{
    Cte as CteAst, Expr, LimitClause, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Query, SetExpr,
    SetOperator, SetQuantifier, Spanned, TableAlias, With,
};
use sqlparser::tokenizer::Span;

impl Writer<'_> {
    /// The whole query.
    pub(super) fn whole(&mut self, query: &Query) -> Result<(), Refusal> {
        self.query(query)
    }

    /// A query, without parentheses around it.
    pub(super) fn query(&mut self, query: &Query) -> Result<(), Refusal> {
        let seen = self.ctes.len();
        let written = self.within(Span::empty(), |w| w.parts(query));
        // What it names is known within it only.
        self.ctes.truncate(seen);
        written
    }

    fn parts(&mut self, query: &Query) -> Result<(), Refusal> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let span = || body.span();
        refuse(settings.is_some(), "SETTINGS are not allowed", span)?;
        refuse(
            format_clause.is_some(),
            "FORMAT is not allowed: the header `Accept` says how the answer is written",
            span,
        )?;
        refuse(fetch.is_some(), "FETCH is not allowed: write LIMIT", span)?;
        refuse(!locks.is_empty() || for_clause.is_some(), "FOR is not allowed", span)?;
        refuse(!pipe_operators.is_empty(), "pipe operators are not allowed", span)?;
        if let Some(with) = with {
            self.with(with)?;
        }
        // To ClickHouse it would be the last SELECT's alone, to most databases that of all.
        let of_which = matches!(**body, SetExpr::SetOperation { .. }) && (order_by.is_some() || limit_clause.is_some());
        let message = "ORDER BY and LIMIT behind several SELECTs are the last one's in ClickHouse: write SELECT * FROM (… UNION ALL …) \
                       ORDER BY …, or put parentheses around the last one";
        refuse(of_which, message, span)?;
        self.body(body)?;
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        match limit_clause {
            Some(limit) => self.limit(limit),
            None => Ok(()),
        }
    }

    fn with(&mut self, with: &With) -> Result<(), Refusal> {
        let With { with_token, recursive, cte_tables } = with;
        refuse(*recursive, "WITH RECURSIVE is not allowed", || with_token.0.span)?;
        self.put("WITH ");
        for (place, cte) in cte_tables.iter().enumerate() {
            let CteAst { alias, query, from, materialized, closing_paren_token: _ } = cte;
            let at = || alias.name.span;
            refuse(from.is_some(), "FROM is not allowed there", at)?;
            refuse(materialized.is_some(), "MATERIALIZED is not allowed", at)?;
            let name = plain_alias(alias)?;
            if place > 0 {
                self.put(", ");
            }
            // Under a name of ours, it cannot be taken for anything else by ClickHouse, whatever the analyst calls it.
            self.ctes_made += 1;
            let ours = format!("__{}", self.ctes_made);
            self.put(&format!("`{ours}` AS ("));
            let before = self.tables;
            self.query(query)?;
            self.put(")");
            let tables = std::mem::replace(&mut self.tables, before) - before;
            // Only now: in its own text its name still means what it meant before.
            self.ctes.push(Cte { name: name.to_owned(), ours, tables });
        }
        self.put(" ");
        Ok(())
    }

    fn body(&mut self, body: &SetExpr) -> Result<(), Refusal> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => {
                self.put("SELECT * FROM (");
                self.query(query)?;
                self.put(")");
                Ok(())
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => self.within(body.span(), |w| {
                w.operand(left)?;
                w.put(match op {
                    SetOperator::Union => " UNION ",
                    SetOperator::Except => " EXCEPT ",
                    SetOperator::Intersect => " INTERSECT ",
                    SetOperator::Minus => return Err(Refusal::at("MINUS is not allowed: write EXCEPT", body.span())),
                });
                w.put(match (set_quantifier, op) {
                    (SetQuantifier::All, _) => "ALL ",
                    (SetQuantifier::Distinct, _) => "DISTINCT ",
                    // ClickHouse wants it to be said.
                    (SetQuantifier::None, SetOperator::Union) => "DISTINCT ",
                    // Rows that are there twice stay twice.
                    (SetQuantifier::None, _) => "",
                    (SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName, _) => {
                        return Err(Refusal::at("BY NAME is not allowed", body.span()));
                    }
                });
                w.operand(right)
            }),
            SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => Err(Refusal::at("only SELECT is answered here", body.span())),
        }
    }

    /// One side of a UNION, in parentheses where the query has them: which of several is first is ClickHouse's affair.
    fn operand(&mut self, side: &SetExpr) -> Result<(), Refusal> {
        let SetExpr::Query(query) = side else { return self.body(side) };
        self.put("(");
        self.query(query)?;
        self.put(")");
        Ok(())
    }

    fn order_by(&mut self, order_by: &OrderBy) -> Result<(), Refusal> {
        let OrderBy { kind, interpolate } = order_by;
        refuse(interpolate.is_some(), "INTERPOLATE is not allowed", || order_by.span())?;
        match kind {
            OrderByKind::Expressions(items) => self.sorted_by(items),
            OrderByKind::All(_) => Err(Refusal::at("ORDER BY ALL is not allowed: name the columns", order_by.span())),
        }
    }

    /// ` ORDER BY …`
    pub(super) fn sorted_by(&mut self, items: &[OrderByExpr]) -> Result<(), Refusal> {
        self.put(" ORDER BY ");
        self.list(items, |w, item| {
            let OrderByExpr { expr, options, with_fill } = item;
            refuse(with_fill.is_some(), "WITH FILL is not allowed", || expr.span())?;
            w.expr(expr)?;
            let OrderByOptions { sort, nulls_first } = options;
            match sort {
                None => {}
                Some(OrderBySort::Asc) => w.put(" ASC"),
                Some(OrderBySort::Desc) => w.put(" DESC"),
                Some(_) => return Err(Refusal::at("ORDER BY takes ASC and DESC, not USING", expr.span())),
            }
            match nulls_first {
                None => {}
                Some(true) => w.put(" NULLS FIRST"),
                Some(false) => w.put(" NULLS LAST"),
            }
            Ok(())
        })
    }

    fn limit(&mut self, limit: &LimitClause) -> Result<(), Refusal> {
        match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                if !limit_by.is_empty() {
                    let Some(limit) = limit else { return Err(Refusal::new("LIMIT BY needs a number of rows")) };
                    self.limited(" LIMIT ", limit)?;
                    if let Some(offset) = offset {
                        self.limited(" OFFSET ", &offset.value)?;
                    }
                    self.put(" BY ");
                    return self.list(limit_by, Self::expr);
                }
                if let Some(limit) = limit {
                    self.limited(" LIMIT ", limit)?;
                }
                match offset {
                    Some(offset) => self.limited(" OFFSET ", &offset.value),
                    None => Ok(()),
                }
            }
            LimitClause::OffsetCommaLimit { offset, limit } => {
                self.limited(" LIMIT ", limit)?;
                self.limited(" OFFSET ", offset)
            }
        }
    }

    fn limited(&mut self, word: &str, number: &Expr) -> Result<(), Refusal> {
        self.put(word);
        match number {
            Expr::Value(_) => self.expr(number),
            _ => Err(Refusal::at("LIMIT and OFFSET take a number", number.span())),
        }
    }
}

/// An alias that is a name alone.
pub(super) fn plain_alias(alias: &TableAlias) -> Result<&str, Refusal> {
    let TableAlias { explicit, name, columns, at } = alias;
    let span = || name.span;
    refuse(!columns.is_empty(), "names of columns behind an alias are not allowed: write AS in the SELECT", span)?;
    refuse(at.is_some(), "AT is not allowed", span)?;
    let is_final = !explicit && name.quote_style.is_none() && name.value.eq_ignore_ascii_case("final");
    refuse(is_final, "FINAL is not needed: tables show the newest rows already", span)?;
    super::writer::checked(name)
}

/// Refuses what is there.
pub(super) fn refuse(there: bool, message: &str, span: impl FnOnce() -> Span) -> Result<(), Refusal> {
    if there { Err(Refusal::at(message, span())) } else { Ok(()) }
}

/// Refuses the first that is there, by its name.
pub(super) fn refuse_each(others: &[(bool, &str)], behind: &str, span: impl FnOnce() -> Span) -> Result<(), Refusal> {
    match others.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(Refusal::at(format!("{what} is not allowed behind {behind}"), span())),
        None => Ok(()),
    }
}

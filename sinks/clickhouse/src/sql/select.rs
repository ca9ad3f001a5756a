//! One SELECT: what it shows, and where it reads.

use super::Refusal;
use super::literals;
use super::query::{plain_alias, refuse, refuse_each};
use super::writer::{Named, Writer};
use crate::views::Parameter;
use aulaflow_model::instant::Millis;
use sqlparser::ast::{
    BinaryOperator, Distinct, Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, GroupByExpr,
    GroupByWithModifier, Ident, Join, JoinConstraint, JoinOperator, NamedWindowDefinition, NamedWindowExpr, ObjectName,
    ObjectNamePart, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, Spanned, TableAlias,
    TableFactor, TableFunctionArgs, TableWithJoins, Value, WildcardAdditionalOptions,
};

impl Writer<'_> {
    pub(super) fn select(&mut self, select: &Select) -> Result<(), Refusal> {
        let Select {
            select_token,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let span = || select_token.0.span;
        let others = [
            (!optimizer_hints.is_empty(), "a hint"),
            (select_modifiers.is_some(), "a word behind SELECT"),
            (top.is_some(), "TOP"),
            (exclude.is_some(), "EXCLUDE"),
            (!lateral_views.is_empty(), "LATERAL VIEW"),
            (!connect_by.is_empty(), "CONNECT BY"),
            (!cluster_by.is_empty(), "CLUSTER BY"),
            (!distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!sort_by.is_empty(), "SORT BY"),
            (value_table_mode.is_some(), "AS STRUCT or AS VALUE"),
            (*flavor != SelectFlavor::Standard, "FROM before SELECT"),
        ];
        refuse_each(&others, "SELECT", span)?;
        refuse(into.is_some(), "INTO is not allowed: the answer goes to whoever asks", span)?;
        refuse(prewhere.is_some(), "PREWHERE is not allowed: write WHERE", span)?;
        self.put("SELECT ");
        match distinct {
            None | Some(Distinct::All) => {}
            Some(Distinct::Distinct) => self.put("DISTINCT "),
            Some(Distinct::On(_)) => return Err(Refusal::at("DISTINCT ON is not allowed: write LIMIT 1 BY", span())),
        }
        self.list(projection, Self::item)?;
        if !from.is_empty() {
            self.put(" FROM ");
            self.list(from, Self::joined)?;
        }
        self.condition(" WHERE ", selection.as_ref())?;
        self.group_by(group_by)?;
        self.condition(" HAVING ", having.as_ref())?;
        self.windows(named_window)?;
        self.condition(" QUALIFY ", qualify.as_ref())
    }

    fn condition(&mut self, word: &str, condition: Option<&Expr>) -> Result<(), Refusal> {
        let Some(condition) = condition else { return Ok(()) };
        self.put(word);
        self.expr(condition)
    }

    fn item(&mut self, item: &SelectItem) -> Result<(), Refusal> {
        match item {
            SelectItem::UnnamedExpr(expr) => self.expr(expr),
            SelectItem::ExprWithAlias { expr, alias } => {
                self.expr(expr)?;
                self.put(" AS ");
                self.name(alias)
            }
            SelectItem::ExprWithAliases { expr, .. } => Err(Refusal::at("one name is enough", expr.span())),
            SelectItem::Wildcard(options) => {
                self.put("*");
                self.except(options)
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let table = alone(name, "before `.*` there is one name, that of a table or its alias")?;
                self.name(table)?;
                self.put(".*");
                self.except(options)
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                Err(Refusal::at("before `.*` there is one name, that of a table or its alias", expr.span()))
            }
        }
    }

    fn except(&mut self, options: &WildcardAdditionalOptions) -> Result<(), Refusal> {
        let WildcardAdditionalOptions {
            wildcard_token,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        let others = [
            (opt_ilike.is_some(), "ILIKE"),
            (opt_exclude.is_some(), "EXCLUDE"),
            (opt_replace.is_some(), "REPLACE"),
            (opt_rename.is_some(), "RENAME"),
            (opt_alias.is_some(), "an alias"),
        ];
        refuse_each(&others, "`*`, where only EXCEPT (…) may be", || wildcard_token.0.span)?;
        let Some(except) = opt_except else { return Ok(()) };
        self.put(" EXCEPT (");
        self.name(&except.first_element)?;
        for more in &except.additional_elements {
            self.put(", ");
            self.name(more)?;
        }
        self.put(")");
        Ok(())
    }

    fn joined(&mut self, from: &TableWithJoins) -> Result<(), Refusal> {
        let TableWithJoins { relation, joins } = from;
        self.factor(relation)?;
        joins.iter().try_for_each(|join| self.join(join))
    }

    fn join(&mut self, join: &Join) -> Result<(), Refusal> {
        let Join { relation, global, join_operator } = join;
        refuse(*global, "GLOBAL is not allowed", || relation.span())?;
        let (word, constraint) = match join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (" INNER JOIN ", on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (" LEFT JOIN ", on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (" RIGHT JOIN ", on),
            JoinOperator::FullOuter(on) => (" FULL JOIN ", on),
            JoinOperator::CrossJoin(on) => (" CROSS JOIN ", on),
            JoinOperator::Semi(on) | JoinOperator::LeftSemi(on) => (" LEFT SEMI JOIN ", on),
            JoinOperator::RightSemi(on) => (" RIGHT SEMI JOIN ", on),
            JoinOperator::Anti(on) | JoinOperator::LeftAnti(on) => (" LEFT ANTI JOIN ", on),
            JoinOperator::RightAnti(on) => (" RIGHT ANTI JOIN ", on),
            JoinOperator::ArrayJoin | JoinOperator::InnerArrayJoin => return self.array_join(" ARRAY JOIN ", relation),
            JoinOperator::LeftArrayJoin => return self.array_join(" LEFT ARRAY JOIN ", relation),
            JoinOperator::CrossApply
            | JoinOperator::OuterApply
            | JoinOperator::AsOf { .. }
            | JoinOperator::StraightJoin(_) => {
                let message = format!("this kind of JOIN is not allowed: {}", super::excerpt(join));
                return Err(Refusal::at(message, relation.span()));
            }
        };
        self.put(word);
        self.factor(relation)?;
        match constraint {
            JoinConstraint::None => Ok(()),
            JoinConstraint::Natural => Err(Refusal::at("NATURAL is not allowed: write USING (…)", relation.span())),
            JoinConstraint::On(on) => {
                self.put(" ON ");
                self.expr(on)
            }
            JoinConstraint::Using(columns) => {
                self.put(" USING (");
                self.list(columns, |w, column| w.name(alone(column, "USING takes names of columns")?))?;
                self.put(")");
                Ok(())
            }
        }
    }

    /// What is joined is a column, which the parser takes for a table.
    fn array_join(&mut self, word: &str, column: &TableFactor) -> Result<(), Refusal> {
        let refused = || Refusal::at("ARRAY JOIN takes a column here; for others write arrayJoin(…)", column.span());
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } = column
        else {
            return Err(refused());
        };
        if !with_hints.is_empty() || !partitions.is_empty() || !index_hints.is_empty() || name.0.len() > 2 {
            return Err(refused());
        }
        self.put(word);
        for (place, part) in name.0.iter().enumerate() {
            let ObjectNamePart::Identifier(part) = part else { return Err(refused()) };
            if place > 0 {
                self.put(".");
            }
            self.name(part)?;
        }
        self.alias(alias.as_ref())
    }

    fn alias(&mut self, alias: Option<&TableAlias>) -> Result<(), Refusal> {
        let Some(alias) = alias else { return Ok(()) };
        plain_alias(alias)?;
        self.put(" AS ");
        self.name(&alias.name)
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), Refusal> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let others = [
                    (!with_hints.is_empty(), "WITH (…)"),
                    (version.is_some(), "a version"),
                    (*with_ordinality, "WITH ORDINALITY"),
                    (!partitions.is_empty(), "PARTITION"),
                    (json_path.is_some(), "a path"),
                    (sample.is_some(), "SAMPLE"),
                    (!index_hints.is_empty(), "a hint"),
                ];
                refuse_each(&others, "a table, where only an alias may be", || factor.span())?;
                self.named(name, args.as_ref(), alias.as_ref())
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                refuse(*lateral || sample.is_some(), "LATERAL and SAMPLE are not allowed", || factor.span())?;
                self.put("(");
                self.query(subquery)?;
                self.put(")");
                self.alias(alias.as_ref())
            }
            _ => Err(Refusal::at("FROM takes tables and subqueries; table functions are not allowed", factor.span())),
        }
    }

    /// A table by its name.
    fn named(
        &mut self,
        name: &ObjectName,
        args: Option<&TableFunctionArgs>,
        alias: Option<&TableAlias>,
    ) -> Result<(), Refusal> {
        let ident = alone(name, "write the table's name alone: there are no other databases here")?;
        if args.is_some() && self.catalog.get(&ident.value).is_none_or(|(_, shown)| shown.parameter.is_none()) {
            let message =
                format!("{:?} is no table that takes arguments; table functions are not allowed", ident.value);
            return Err(Refusal::at(message, ident.span));
        }
        match (self.table(ident)?, args) {
            (Named::Cte(ours), None) => self.put(&format!("`{ours}`")),
            (Named::Relation(shown), args) => match (shown.parameter, args) {
                (None, None) => self.put(&shown.subquery),
                (Some(parameter), Some(args)) => {
                    let literal = argument(args, parameter, ident)?;
                    self.put(&shown.subquery.replace(parameter.place(), &literal));
                }
                (Some(parameter), None) => return Err(Refusal::at(needs(ident, parameter), ident.span)),
                (None, Some(_)) => return Err(no_arguments(ident)),
            },
            (Named::Cte(_), Some(_)) => return Err(no_arguments(ident)),
        }
        if alias.is_some() {
            return self.alias(alias);
        }
        self.put(" AS ");
        self.name(ident)
    }

    fn group_by(&mut self, group_by: &GroupByExpr) -> Result<(), Refusal> {
        let modifiers = match group_by {
            GroupByExpr::All(modifiers) => {
                self.put(" GROUP BY ALL");
                modifiers
            }
            GroupByExpr::Expressions(items, modifiers) => {
                if !items.is_empty() {
                    self.put(" GROUP BY ");
                    self.list(items, Self::expr)?;
                }
                modifiers
            }
        };
        for modifier in modifiers {
            self.put(match modifier {
                GroupByWithModifier::Rollup => " WITH ROLLUP",
                GroupByWithModifier::Cube => " WITH CUBE",
                GroupByWithModifier::Totals | GroupByWithModifier::GroupingSets(_) => {
                    return Err(Refusal::at(
                        "WITH TOTALS and GROUPING SETS are not allowed: use WITH ROLLUP",
                        group_by.span(),
                    ));
                }
            });
        }
        Ok(())
    }

    fn windows(&mut self, windows: &[NamedWindowDefinition]) -> Result<(), Refusal> {
        if windows.is_empty() {
            return Ok(());
        }
        self.put(" WINDOW ");
        self.list(windows, |w, NamedWindowDefinition(name, what)| {
            w.name(name)?;
            w.put(" AS ");
            match what {
                NamedWindowExpr::WindowSpec(spec) => w.window(spec),
                NamedWindowExpr::NamedWindow(other) => Err(Refusal::at("write the window out", other.span)),
            }
        })
    }
}

fn needs(ident: &Ident, parameter: Parameter) -> String {
    let what = match parameter {
        Parameter::Instant => "an instant",
        Parameter::Days => "a number of days",
    };
    format!("{} needs {what}: `{}({})`", ident.value, ident.value, parameter.example())
}

fn no_arguments(ident: &Ident) -> Refusal {
    Refusal::at(format!("{:?} takes no arguments", ident.value), ident.span)
}

/// A name of one part.
fn alone<'a>(name: &'a ObjectName, message: &str) -> Result<&'a Ident, Refusal> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok(ident),
        _ => Err(Refusal::at(message, name.span())),
    }
}

/// The argument in `(t = '…')` or `(days = …)`, as it is written for ClickHouse.
fn argument(args: &TableFunctionArgs, parameter: Parameter, of: &Ident) -> Result<String, Refusal> {
    let TableFunctionArgs { args, settings } = args;
    refuse(settings.is_some(), "SETTINGS are not allowed", || of.span)?;
    let value = match args.as_slice() {
        [FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), operator: FunctionArgOperator::Equals }]
            if name.value == parameter.name() =>
        {
            Some(value)
        }
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }))] => {
            matches!(&**left, Expr::Identifier(name) if name.value == parameter.name()).then_some(&**right)
        }
        _ => None,
    };
    let value = match value {
        Some(Expr::Value(value)) => Some(&value.value),
        _ => None,
    };
    match (parameter, value) {
        (Parameter::Instant, Some(Value::SingleQuotedString(raw))) => {
            let decoded = literals::decode(raw).map_err(|message| Refusal::at(message, of.span))?;
            let instant = instant(&String::from_utf8_lossy(&decoded), of)?;
            Ok(format!("fromUnixTimestamp64Milli({}, 'UTC')", instant.0))
        }
        (Parameter::Days, Some(Value::Number(digits, false))) => {
            let days = digits.parse::<u16>().map_err(|_| Refusal::at(needs(of, parameter), of.span))?;
            Ok(days.to_string())
        }
        (Parameter::Instant | Parameter::Days, _) => Err(Refusal::at(needs(of, parameter), of.span)),
    }
}

/// A day, whose beginning (UTC) is meant, or an instant with its offset.
fn instant(text: &str, of: &Ident) -> Result<Millis, Refusal> {
    Millis::parse_rfc3339(text).or_else(|_| Millis::parse_rfc3339(&format!("{text}T00:00:00Z"))).map_err(|_| {
        let message =
            format!("{text:?} is not a day (2026-03-01) or an instant with its offset (2026-03-01T12:00:00Z)");
        Refusal::at(message, of.span)
    })
}

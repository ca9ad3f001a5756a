//! `CREATE MATERIALIZED VIEW … AS SELECT student_id, … GROUP BY student_id, window`: a feature.

use super::expr::{Expr as Compiled, Type};
use super::options::Options;
use super::parse::Source;
use super::resolve::{Position, Resolver, fold_name};
use super::window;
use super::{Analytics, Output, Relation, SqlFault, Table, View, check_name, nearest_help, object_name};
use aulaflow_model::change::ViewSchema;
use sqlparser::ast::{
    CreateView, Expr, Ident, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
};
use std::ops::Range;

pub use super::window::is_window;

const OPTIONS: [&str; 4] = ["serve", "analytics", "explain", "scope"];

/// The most events that an explanation shows.
const EXPLAIN_MAX: u32 = 1000;

/// Keys that the profile adds to a feature's outputs.
const TAKEN_OUTPUTS: [&str; 2] = ["window", "updated_at"];

/// Tables that views can read, and those that have faults of their own.
pub struct Tables<'t> {
    /// Those that are right.
    pub good: &'t [Table],
    /// The names of the others: nothing more is said about views that read them.
    pub broken: &'t [String],
}

/// Checks a view. `None` where it has faults.
pub fn check(
    source: &Source<'_>,
    create: &CreateView,
    within: &Range<usize>,
    tables: &Tables<'_>,
    faults: &mut Vec<SqlFault>,
) -> Option<View> {
    let before = faults.len();
    let name = object_name(source, &create.name, "view", within, faults);
    let options = Options::new(source, &create.options, &OPTIONS, within, faults);
    let serve = options.boolean("serve", faults).unwrap_or(true);
    let analytics = analytics_option(&options, faults);
    let explain_events = options.number("explain", EXPLAIN_MAX, faults).unwrap_or(0);
    scope_option(&options, faults);
    refuse_extras(source, create, within, faults);
    let select = plain_select(source, &create.query, within, faults)?;
    let (table, qualifiers) = from(source, select, within, tables, faults)?;
    let table_columns = &tables.good.get(table)?.columns;
    let columns: Vec<(String, Type)> = table_columns.iter().map(|c| (c.name.clone(), c.ty)).collect();

    let mut resolver = Resolver::new(source, within.clone(), &columns, &qualifiers);
    resolver.position = Position::Where;
    let filter = select.selection.as_ref().map(|condition| resolver.compile_condition(condition, "WHERE"));
    let window = window::group_by(&mut resolver, &select.group_by);
    let outputs = outputs(&mut resolver, select);
    let (mut found, aggregates) = resolver.finish();
    faults.append(&mut found);
    if faults.len() > before {
        return None;
    }
    let (names, outputs) = outputs.into_iter().unzip();
    let schema = ViewSchema { name: name?, window: window?, outputs: names };
    let text = source.text(within.clone()).to_owned();
    let filter = filter.flatten();
    let output_types = Vec::new();
    let (source, reads_bounds) = (Relation::Table(table), false);
    Some(View {
        source,
        schema,
        serve,
        analytics,
        filter,
        aggregates,
        outputs,
        output_types,
        reads_bounds,
        explain_events,
        text,
    })
}

fn analytics_option(options: &Options<'_>, faults: &mut Vec<SqlFault>) -> Analytics {
    let known = ["off", "daily", "changes"];
    match options.text("analytics", faults) {
        None => Analytics::Off,
        Some((text, place)) => match text.to_lowercase().as_str() {
            "off" => Analytics::Off,
            "daily" => Analytics::Daily,
            "changes" => Analytics::Changes,
            other => {
                let help = nearest_help(other, &known, "values");
                faults.push(SqlFault::new(place, format!("analytics cannot be '{other}'")).help(help));
                Analytics::Off
            }
        },
    }
}

fn scope_option(options: &Options<'_>, faults: &mut Vec<SqlFault>) {
    match options.text("scope", faults) {
        Some((scope, place)) if scope == "platform" => {
            faults.push(SqlFault::new(place, "scope = 'platform' is not supported yet").help("scope = 'tenant'"));
        }
        Some((scope, place)) if scope != "tenant" => {
            faults.push(SqlFault::new(place, format!("scope cannot be '{scope}'")).help("scope = 'tenant'"));
        }
        Some(_) | None => {}
    }
}

/// Everything around the query that a feature does not have.
fn refuse_extras(source: &Source<'_>, create: &CreateView, within: &Range<usize>, faults: &mut Vec<SqlFault>) {
    if !create.materialized {
        let fault = SqlFault::new(source.keyword("VIEW", within), "a feature is a materialized view");
        faults.push(fault.help("CREATE MATERIALIZED VIEW …"));
    }
    if let Some(column) = create.columns.first() {
        let fault = SqlFault::new(source.ident(&column.name), "a view's columns are named in its SELECT");
        faults.push(fault.help("SELECT …, expression AS name"));
    }
    let Some(Statement::CreateView(mut plain)) = template("CREATE MATERIALIZED VIEW v AS SELECT a FROM b") else {
        return;
    };
    plain.materialized = create.materialized;
    plain.columns.clone_from(&create.columns);
    plain.name.clone_from(&create.name);
    plain.options.clone_from(&create.options);
    plain.query.clone_from(&create.query);
    if plain != *create {
        let fault =
            SqlFault::new(source.keyword("CREATE", within), "only a plain CREATE MATERIALIZED VIEW is supported");
        faults.push(fault.help("CREATE MATERIALIZED VIEW name WITH (serve = true) AS SELECT …"));
    }
}

/// A statement to compare others with, so that no clause of theirs is overlooked.
fn template(text: &str) -> Option<Statement> {
    sqlparser::parser::Parser::parse_sql(&super::parse::DIALECT, text).ok()?.pop()
}

/// The SELECT of a query that is nothing else; clauses that a feature does not have are faults.
fn plain_select<'q>(
    source: &Source<'_>,
    query: &'q Query,
    within: &Range<usize>,
    faults: &mut Vec<SqlFault>,
) -> Option<&'q Select> {
    let before = faults.len();
    let mut refuse = |at: Range<usize>, what: &str, help: &str| {
        faults.push(SqlFault::new(at, format!("{what} is not supported in a view")).help(help));
    };
    if let Some(with) = &query.with {
        refuse(source.place(with, within), "WITH (a common table expression)", "write one SELECT over a table");
    }
    if let Some(order) = &query.order_by {
        refuse(source.place(order, within), "ORDER BY", "a view is a set of rows, one per student");
    }
    if let Some(limit) = &query.limit_clause {
        refuse(source.place(limit, within), "LIMIT", "a view has a row for every student");
    }
    let select = match &*query.body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { op, .. } => {
            let at = source.keyword(&op.to_string(), within);
            refuse(at, &op.to_string(), "write one view per SELECT");
            return None;
        }
        other => {
            let at = source.place(other, within);
            faults.push(SqlFault::new(at, "a view is one SELECT over a table"));
            return None;
        }
    };
    if let Some(distinct) = &select.distinct {
        let at = source.keyword("DISTINCT", within);
        let help = "GROUP BY student_id makes one row per student";
        if !matches!(distinct, sqlparser::ast::Distinct::All) {
            refuse(at, "SELECT DISTINCT", help);
        }
    }
    if let Some(having) = &select.having {
        refuse(source.place(having, within), "HAVING", "every student has a row; compare where the feature is read");
    }
    if faults.len() == before && !is_plain(query, select) {
        let at = source.keyword("SELECT", within);
        let fault = SqlFault::new(at, "the SELECT has a clause that is not supported in a view");
        faults.push(fault.help("SELECT student_id, … FROM table WHERE … GROUP BY student_id, window"));
    }
    Some(select)
}

/// Whether query and SELECT have only the clauses that a feature has, besides those refused by name.
fn is_plain(query: &Query, select: &Select) -> bool {
    let Some(Statement::Query(mut plain)) = template("SELECT a FROM b") else { return false };
    let SetExpr::Select(plain_select) = &mut *plain.body else { return false };
    plain_select.projection.clone_from(&select.projection);
    plain_select.from.clone_from(&select.from);
    plain_select.selection.clone_from(&select.selection);
    plain_select.group_by.clone_from(&select.group_by);
    plain_select.distinct.clone_from(&select.distinct);
    *plain == *query
}

/// The table in FROM, and the names that qualify its columns.
fn from(
    source: &Source<'_>,
    select: &Select,
    within: &Range<usize>,
    tables: &Tables<'_>,
    faults: &mut Vec<SqlFault>,
) -> Option<(usize, Vec<String>)> {
    let mut refuse = |at: Range<usize>, message: &str| {
        faults.push(SqlFault::new(at, message).help("FROM names one source table"));
        None
    };
    let relation = match select.from.as_slice() {
        [] => return refuse(source.keyword("SELECT", within), "FROM is missing"),
        [only] if only.joins.is_empty() => &only.relation,
        [only] => {
            let at = only.joins.first().map_or_else(|| within.clone(), |join| source.place(&join.relation, within));
            return refuse(at, "JOIN is not supported in a view");
        }
        [_, second, ..] => {
            return refuse(
                source.place(&second.relation, within),
                "several tables in FROM are not supported in a view",
            );
        }
    };
    let TableFactor::Table { name, alias, args: None, .. } = relation else {
        let at = source.place(relation, within);
        let message = match relation {
            TableFactor::Derived { .. } => "a subquery in FROM is not supported in a view",
            _ => "FROM must name a table",
        };
        return refuse(at, message);
    };
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
        return refuse(source.place(name, within), "a table is named without a schema");
    };
    let table_name = fold_name(ident);
    let qualifier = alias.as_ref().map_or_else(|| table_name.clone(), |alias| fold_name(&alias.name));
    match tables.good.iter().position(|table| table.name == table_name) {
        Some(table) => Some((table, vec![qualifier])),
        None if tables.broken.contains(&table_name) => None,
        None => {
            let known: Vec<&str> = tables.good.iter().map(|table| table.name.as_str()).collect();
            let help = if known.is_empty() {
                "declare it with CREATE TABLE".to_owned()
            } else {
                nearest_help(&table_name, &known, "tables")
            };
            let fault = SqlFault::new(source.ident(ident), format!("table \"{table_name}\" does not exist"));
            faults.push(fault.help(help));
            None
        }
    }
}

/// The outputs and their names; `student_id`, which every row has, is none.
fn outputs(resolver: &mut Resolver<'_>, select: &Select) -> Vec<(String, Output)> {
    resolver.position = Position::Output;
    let mut outputs: Vec<(String, Output)> = Vec::new();
    let mut has_student = false;
    let mut failed = false;
    for item in &select.projection {
        let (expression, alias) = match item {
            SelectItem::UnnamedExpr(expression) => (expression, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
                let at = resolver.source.place(item, &resolver.within);
                let fault = SqlFault::new(at, "SELECT * is not supported in a view");
                resolver.fault(fault.help("name the outputs: SELECT student_id, count(*) AS events"));
                (has_student, failed) = (true, true);
                continue;
            }
        };
        if is_student_id(resolver, expression) {
            student_id(resolver, expression, alias, &mut has_student);
            continue;
        }
        let output = output(resolver, expression);
        let name = output_name(resolver, expression, alias);
        match (name, output) {
            (Some((name, at)), Some(output)) => {
                if outputs.iter().any(|(other, _)| *other == name) {
                    resolver.fault(SqlFault::new(at, format!("output \"{name}\" is named twice")));
                }
                outputs.push((name, output));
            }
            _ => failed = true,
        }
    }
    let at = resolver.source.keyword("SELECT", &resolver.within);
    if !has_student {
        let fault = SqlFault::new(at, "SELECT must hold student_id");
        resolver.fault(fault.help("SELECT student_id, … GROUP BY student_id, …"));
    } else if outputs.is_empty() && !failed {
        resolver.fault(SqlFault::new(at, "the view has no outputs").help("for example count(*) AS events"));
    }
    outputs
}

/// Whether an expression is the column `student_id`.
pub(super) fn is_student_id(resolver: &Resolver<'_>, expression: &Expr) -> bool {
    let is = |name: &Ident| fold_name(name) == "student_id";
    match expression {
        Expr::Identifier(name) => is(name),
        Expr::CompoundIdentifier(parts) => {
            matches!(parts.as_slice(), [table, name] if is(name) && resolver.qualifiers.contains(&fold_name(table)))
        }
        _ => false,
    }
}

fn student_id(resolver: &mut Resolver<'_>, expression: &Expr, alias: Option<&Ident>, has_student: &mut bool) {
    let at = resolver.range(expression);
    if !resolver.columns.iter().any(|(name, _)| name == "student_id") {
        let fault = SqlFault::new(at.clone(), "column \"student_id\" does not exist");
        resolver.fault(fault.help("declare it in CREATE TABLE: student_id TEXT"));
    }
    if *has_student {
        resolver.fault(SqlFault::new(at, "student_id is selected twice"));
    }
    if let Some(alias) = alias.filter(|alias| fold_name(alias) != "student_id") {
        let at = resolver.source.ident(alias);
        resolver.fault(SqlFault::new(at, "student_id keeps its name: it is the profile's key"));
    }
    *has_student = true;
}

fn output(resolver: &mut Resolver<'_>, expression: &Expr) -> Option<Output> {
    let compiled: Compiled = resolver.compile(expression)?;
    if matches!(compiled.ty(), Type::Timestamp | Type::Interval | Type::Json) {
        let message = format!("an output cannot be {}", compiled.ty());
        return resolver.refuse(expression, message, Some("outputs are bigint, double precision, boolean or text"));
    }
    Some(match compiled.as_column() {
        Some(index) => Output::Aggregate(index),
        None => Output::Expression(compiled),
    })
}

/// The output's name: its alias, or a bare aggregate's own name, as in PostgreSQL.
fn output_name(resolver: &mut Resolver<'_>, e: &Expr, alias: Option<&Ident>) -> Option<(String, Range<usize>)> {
    let (name, at) = match (alias, e) {
        (Some(alias), _) => (fold_name(alias), resolver.source.ident(alias)),
        (None, Expr::Function(function)) if super::aggregate::is_known(&function.name.to_string().to_lowercase()) => {
            (function.name.to_string().to_lowercase(), resolver.range(e))
        }
        // A column that cannot stand here has its own fault.
        (None, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => return None,
        (None, _) => {
            return resolver.refuse(e, "this output needs a name", Some("expression AS name"));
        }
    };
    if TAKEN_OUTPUTS.contains(&name.as_str()) {
        let fault = SqlFault::new(at, format!("an output cannot be called \"{name}\""));
        resolver.fault(fault.help("the profile has a key of that name beside the outputs"));
        return None;
    }
    let mut faults = Vec::new();
    check_name(&name, "output", &at, &mut faults);
    resolver.faults.append(&mut faults);
    Some((name, at))
}

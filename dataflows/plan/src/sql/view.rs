//! `CREATE MATERIALIZED VIEW … AS SELECT student_id, … GROUP BY student_id, window`: a feature.

use super::expr::Type;
use super::from::{self, Relations, Scope};
use super::options::Options;
use super::output;
use super::parse::Source;
use super::resolve::{Position, Resolved, Resolver};
use super::window::{self, Horizon};
use super::{Analytics, Relation, SqlFault, View, nearest_help, object_name};
use aulaflow_model::change::ViewSchema;
use sqlparser::ast::{CreateView, Query, Select, SetExpr, Statement};
use std::ops::Range;

pub use super::window::is_window;

/// What may stand in its `WITH (…)`.
pub const OPTIONS: [&str; 5] = ["serve", "analytics", "explain", "scope", "horizon"];

/// The most events that an explanation shows.
const EXPLAIN_MAX: u32 = 1000;

/// The options of a view.
struct Settings {
    serve: bool,
    analytics: (Analytics, Option<Range<usize>>),
    explain: (u32, Option<Range<usize>>),
    horizon: Horizon,
}

/// Checks a view. `None` where it has faults; then there are no warnings of it.
pub fn check(
    source: &Source<'_>,
    create: &CreateView,
    within: &Range<usize>,
    relations: &Relations<'_>,
    (faults, warnings): (&mut Vec<SqlFault>, &mut Vec<SqlFault>),
) -> Option<View> {
    let before = faults.len();
    let name = object_name(source, &create.name, "view", within, faults);
    let settings = settings(source, create, within, faults);
    refuse_extras(source, create, within, faults);
    let select = plain_select(source, &create.query, within, faults)?;
    let scope = from::resolve(source, select, within, relations, name.as_deref().unwrap_or_default(), faults)?;
    settings_fit(&settings, &scope, faults);

    let mut resolver = Resolver::new(source, within.clone(), &scope.columns, &scope.qualifiers);
    resolver.relation = Some(scope.relation);
    resolver.inner.clone_from(&scope.inner);
    resolver.position = Position::Where;
    let filter = select.selection.as_ref().map(|condition| resolver.compile_condition(condition, "WHERE"));
    let window = window::group_by(&mut resolver, &select.group_by, &scope, &settings.horizon);
    let outputs = output::outputs(&mut resolver, select);
    let reads_bounds = resolver.reads_bounds;
    let Resolved { faults: mut found, warnings: mut doubts, aggregates } = resolver.finish();
    faults.append(&mut found);
    if faults.len() > before {
        return None;
    }
    warnings.append(&mut doubts);
    let names = outputs.iter().map(|output| output.name.clone()).collect();
    Some(View {
        source: scope.relation,
        schema: ViewSchema { name: name?, window: window?, outputs: names },
        serve: settings.serve,
        analytics: settings.analytics.0,
        filter: filter.flatten(),
        aggregates,
        output_types: outputs.iter().map(|output| output.ty).collect::<Vec<Type>>(),
        outputs: outputs.into_iter().map(|output| output.output).collect(),
        reads_bounds,
        explain_events: settings.explain.0,
        text: source.text(within.clone()).to_owned(),
    })
}

fn settings(source: &Source<'_>, create: &CreateView, within: &Range<usize>, faults: &mut Vec<SqlFault>) -> Settings {
    let options = Options::new(source, &create.options, &OPTIONS, within, faults);
    scope_option(&options, faults);
    let horizon_ms = options.duration_ms("horizon", faults);
    Settings {
        serve: options.boolean("serve", faults).unwrap_or(true),
        analytics: (analytics_option(&options, faults), options.place("analytics")),
        explain: (options.number("explain", EXPLAIN_MAX, faults).unwrap_or(0), options.place("explain")),
        horizon: horizon_ms.zip(options.place("horizon")),
    }
}

/// What the options say must be possible for what the view reads.
fn settings_fit(settings: &Settings, scope: &Scope, faults: &mut Vec<SqlFault>) {
    let explain = match (&settings.explain, scope.relation) {
        ((0, _) | (_, None), _) | (_, Relation::Table(_)) => None,
        ((_, Some(at)), Relation::View(_)) => Some((
            at,
            "a view over a view has no events to explain it with",
            "its explanation shows the windows that it read; set explain on the view that it reads",
        )),
        ((_, Some(at)), Relation::Grades) => Some((
            at,
            "a view over grades has no events to explain it with",
            "leave explain out: the grades that it reads have explanations of their own",
        )),
    };
    if let Some((at, message, help)) = explain {
        faults.push(SqlFault::new(at.clone(), message).help(help));
    }
    if let ((Analytics::Daily | Analytics::Changes, Some(at)), Relation::Grades) = (&settings.analytics, scope.relation)
    {
        let help = "leave analytics out: the grades themselves are kept there";
        faults.push(SqlFault::new(at.clone(), "a view over grades is not kept for analytics").help(help));
    }
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
            let help = "scope = 'tenant', the default: every view is per tenant";
            faults.push(SqlFault::new(place, "scope = 'platform' is not supported yet").help(help));
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
        refuse(
            source.place(with, within),
            "WITH (a common table expression)",
            "make it a view of its own, and read that: FROM its_name",
        );
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

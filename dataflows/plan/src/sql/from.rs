//! `FROM`: what a view reads, and the columns that its expressions see.

use super::column::BOUNDS;
use super::expr::Type;
use super::parse::Source;
use super::resolve::fold_name;
use super::{GRADE_COLUMNS, Output, Relation, SqlFault, Table, View, nearest_help};
use aulaflow_model::window::{WindowKind, WindowSpec};
use sqlparser::ast::{Ident, ObjectNamePart, Query, Select, SetExpr, TableFactor};
use std::ops::Range;

/// The built-in table of a student's present grades.
const GRADES: &str = "grades";
/// The built-in table of cohorts' numbers, which views see beside the grades.
const COHORTS: &str = "cohorts";

const ONE_HELP: &str = "FROM names one source table, one view or grades: write a view for each";

/// Everything that views can read.
pub struct Relations<'t> {
    /// The tables that are right.
    pub tables: &'t [Table],
    /// The names of tables and views that could not be parsed, and of tables with faults: nothing more is said about
    /// views that read them.
    pub broken: &'t [String],
    /// The views of all files, in their order.
    pub views: &'t [Declared],
}

/// A view of any file, as far as it is known.
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What FROM names.
    pub reads: Option<String>,
    /// The checked view, once it is; views over views come last.
    pub view: Option<View>,
}

/// What a view reads.
pub struct Scope {
    /// Which relation.
    pub relation: Relation,
    /// Its columns, as expressions number them.
    pub columns: Vec<(String, Type)>,
    /// What a column may be qualified with.
    pub qualifiers: Vec<String>,
    /// The window of the view that is read.
    pub inner: Option<WindowSpec>,
}

impl Relations<'_> {
    /// Whether a view's FROM names another view.
    pub fn reads_view(&self, declared: &Declared) -> bool {
        declared.reads.as_ref().is_some_and(|name| self.view(name).is_some())
    }

    fn is_table(&self, name: &str) -> bool {
        name == GRADES || self.tables.iter().any(|table| table.name == name) || self.broken.iter().any(|b| b == name)
    }

    fn view(&self, name: &str) -> Option<usize> {
        self.views.iter().position(|view| view.name == name).filter(|_| !self.is_table(name))
    }
}

/// The columns of a relation, as the expressions of a view that reads it number them.
pub fn columns(relation: Relation, tables: &[Table], views: &[View]) -> Vec<(String, Type)> {
    match relation {
        Relation::Table(index) => tables.get(index).map(table_columns).unwrap_or_default(),
        Relation::View(index) => views.get(index).map(view_columns).unwrap_or_default(),
        Relation::Grades => GRADE_COLUMNS.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect(),
    }
}

/// The table whose events a view is made of, and how far back it looks for them, in milliseconds; `None` for a view over
/// grades, which are no events. The windows of another view are read as far back as this one's; one of them starts
/// within this window (a tumble), or as much as its horizon before what is considered of it (a session).
pub fn reach(view: &View, views: &[View]) -> Option<(usize, i64)> {
    let own_ms = view.schema.window.size_ms;
    match view.source {
        Relation::Table(table) => Some((table, own_ms)),
        Relation::View(index) => {
            let inner = views.get(index)?;
            let Relation::Table(table) = inner.source else { return None };
            let session = inner.schema.window.kind == WindowKind::Session;
            Some((table, own_ms + if session { inner.schema.window.size_ms } else { 0 }))
        }
        Relation::Grades => None,
    }
}

fn table_columns(table: &Table) -> Vec<(String, Type)> {
    table.columns.iter().map(|column| (column.name.clone(), column.ty)).collect()
}

fn view_columns(view: &View) -> Vec<(String, Type)> {
    let outputs = view.schema.outputs.iter().cloned().zip(view.output_types.iter().copied());
    outputs.chain(BOUNDS.map(|bound| (bound.to_owned(), Type::Timestamp))).collect()
}

/// The name in FROM, where it is one.
pub fn name_in_from(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = &*query.body else { return None };
    match &select.from.first()?.relation {
        TableFactor::Table { name, .. } => match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)] => Some(fold_name(ident)),
            _ => None,
        },
        _ => None,
    }
}

/// Resolves FROM of the view called `own`.
pub fn resolve(
    source: &Source<'_>,
    select: &Select,
    within: &Range<usize>,
    relations: &Relations<'_>,
    own: &str,
    faults: &mut Vec<SqlFault>,
) -> Option<Scope> {
    let (ident, qualifier) = named(source, select, within, faults)?;
    let name = fold_name(ident);
    let scope = |relation, columns, inner| Some(Scope { relation, columns, qualifiers: vec![qualifier], inner });
    if let Some(index) = relations.tables.iter().position(|table| table.name == name) {
        return scope(Relation::Table(index), table_columns(&relations.tables[index]), None);
    }
    if name == GRADES {
        return scope(Relation::Grades, columns(Relation::Grades, &[], &[]), None);
    }
    if let Some(index) = relations.view(&name) {
        let view = view(source, ident, index, relations, own, faults)?;
        return scope(Relation::View(index), view_columns(view), Some(view.schema.window.clone()));
    }
    if !relations.broken.contains(&name) {
        faults.push(unknown(source.ident(ident), &name, relations, own));
    }
    None
}

fn unknown(at: Range<usize>, name: &str, relations: &Relations<'_>, own: &str) -> SqlFault {
    if name == COHORTS {
        let help = "FROM grades has the cohort of each grade beside it: cohort.mean, cohort.percentile, …";
        return SqlFault::new(at, "cohorts cannot be read by a view: they hold other students' numbers").help(help);
    }
    let tables = relations.tables.iter().map(|table| table.name.as_str());
    let views = relations.views.iter().map(|view| view.name.as_str()).filter(|view| *view != own);
    let known: Vec<&str> = tables.chain(views).chain([GRADES]).collect();
    let help = if relations.tables.is_empty() {
        "declare it with CREATE TABLE".to_owned()
    } else {
        nearest_help(name, &known, "tables and views")
    };
    SqlFault::new(at, format!("table \"{name}\" does not exist")).help(help)
}

/// The one name in FROM, and what qualifies its columns.
fn named<'q>(
    source: &Source<'_>,
    select: &'q Select,
    within: &Range<usize>,
    faults: &mut Vec<SqlFault>,
) -> Option<(&'q Ident, String)> {
    let mut refuse = |at: Range<usize>, message: &str, help: &str| {
        faults.push(SqlFault::new(at, message).help(help));
        None
    };
    let relation = match select.from.as_slice() {
        [] => return refuse(source.keyword("SELECT", within), "FROM is missing", ONE_HELP),
        [only] if only.joins.is_empty() => &only.relation,
        [only] => {
            let joined = only.joins.first().map(|join| &join.relation);
            let at = joined.map_or_else(|| within.clone(), |joined| source.place(joined, within));
            return refuse(at, "JOIN is not supported in a view", join_help(joined));
        }
        [_, second, ..] => {
            let at = source.place(&second.relation, within);
            return refuse(at, "several tables in FROM are not supported in a view", join_help(Some(&second.relation)));
        }
    };
    let (name, alias) = match relation {
        TableFactor::Table { name, alias, args: None, .. } => (name, alias),
        TableFactor::Derived { .. } => {
            let at = source.place(relation, within);
            let help = "make the subquery a view of its own, and read that: FROM its_name";
            return refuse(at, "a subquery in FROM is not supported in a view", help);
        }
        _ => {
            let help = "FROM names a table, a view or grades; the window is in GROUP BY";
            return refuse(source.place(relation, within), "FROM must name a table", help);
        }
    };
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
        return refuse(source.place(name, within), "a table is named without a schema", ONE_HELP);
    };
    let qualifier = alias.as_ref().map_or_else(|| fold_name(ident), |alias| fold_name(&alias.name));
    Some((ident, qualifier))
}

fn join_help(joined: Option<&TableFactor>) -> &'static str {
    let name = match joined {
        Some(TableFactor::Table { name, .. }) => name.to_string().to_lowercase(),
        _ => String::new(),
    };
    match name.as_str() {
        GRADES | COHORTS => {
            "write a view of its own FROM grades, which has the cohort's numbers too; a profile shows both views"
        }
        _ => ONE_HELP,
    }
}

/// A view that another one may read.
fn view<'t>(
    source: &Source<'_>,
    ident: &Ident,
    index: usize,
    relations: &Relations<'t>,
    own: &str,
    faults: &mut Vec<SqlFault>,
) -> Option<&'t View> {
    let declared = &relations.views[index];
    let name = &declared.name;
    let mut refuse = |message: String, help: &str| {
        faults.push(SqlFault::new(source.ident(ident), message).help(help));
        None
    };
    if name == own {
        return refuse(format!("view \"{own}\" reads itself"), "FROM names a table, another view or grades");
    }
    if let Some(path) = cycle(declared, relations, own) {
        return refuse(format!("views read each other in a circle: {path}"), "one of them must read a table");
    }
    if relations.reads_view(declared) {
        let message = format!("view \"{name}\" itself reads a view: views can be stacked two deep");
        return refuse(message, "read the table, or the view that this one reads");
    }
    let view = declared.view.as_ref()?;
    let grades = || format!("view \"{name}\" reads grades, which have no windows that another view could read");
    match (view.source, view.schema.window.kind) {
        (Relation::Grades, _) | (_, WindowKind::Present) => {
            return refuse(grades(), "read grades here too: FROM grades");
        }
        (_, WindowKind::Hop) => {
            let message =
                format!("view \"{name}\" has hop windows, which overlap: each event would count several times");
            return refuse(message, "read a view whose window is tumble(size) or session(gap)");
        }
        (_, WindowKind::Tumble | WindowKind::Session) => {}
    }
    if let Some(bound) = clash(view) {
        let message = format!("view \"{name}\" has an output \"{bound}\", the name of its window's own bound");
        return refuse(message, "give that output another name");
    }
    Some(view)
}

/// An output that is called like a bound and is not that bound.
fn clash(view: &View) -> Option<&'static str> {
    let outputs = || view.schema.outputs.iter().zip(&view.outputs);
    let is_bound = |output: &Output, bound: usize| match output {
        Output::Aggregate(_) => false,
        Output::Expression(e) => e.as_column() == Some(view.aggregates.len() + bound),
    };
    let clashes = |bound: usize| outputs().any(|(name, o)| name == BOUNDS[bound] && !is_bound(o, bound));
    (0..BOUNDS.len()).find(|bound| clashes(*bound)).map(|bound| BOUNDS[bound])
}

/// The way from a view back to `own`, if there is one: `a → b → a`.
fn cycle(from: &Declared, relations: &Relations<'_>, own: &str) -> Option<String> {
    let mut path = vec![own, from.name.as_str()];
    let mut at = from;
    // No way is longer than there are views.
    for _ in relations.views {
        let next = at.reads.as_ref().and_then(|name| relations.view(name))?;
        at = &relations.views[next];
        path.push(&at.name);
        if at.name == own {
            return Some(path.join(" → "));
        }
    }
    None
}

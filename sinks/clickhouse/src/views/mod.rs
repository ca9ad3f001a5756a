//! What analysts read, made from the plan's tables: each relation as it is, as it was at an instant, and its history; what the log
//! said; the grades' weeks; cohorts beside each other; training sets. Pure, but for `direct`, which makes the views of a server.
//!
//! A view has one text, in two [scopes](Scope): with the tenant's condition in every table that it reads, for queries that come
//! through [`crate::sql`]; and without it, for users of ClickHouse, whom the server's row policies tell apart. Rows of two tenants
//! never meet in a view, whoever reads it: the tenant is in every key.

mod analysis;
mod direct;
mod relation;
mod training;

pub use direct::{analysts, check_views, migrate_views};

use crate::connection::quoted;
use crate::sql::TENANT;
use crate::tables::Tables;

/// When a row of a table of differences came or went.
const CLOCK: &str = "clock";

/// Names of views that are not a relation's.
pub(crate) const NAMES: [&str; 4] = ["grades_weekly", "cohort_comparison", "training_set", "training_set_at"];

/// The suffix of a relation as it was at an instant: `grades_as_of(t = '2026-03-01')`.
pub(crate) const AS_OF: &str = "_as_of";

/// One thing that analysts read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its columns, without the tenant.
    pub columns: Vec<String>,
    /// What it takes in parentheses.
    pub parameter: Option<Parameter>,
    /// The tables that it reads.
    pub reads: Vec<String>,
    /// The tables that say how new it is, and their columns for it.
    pub newest: Vec<(String, &'static str)>,
    /// Its SELECT where the tenant is `{tenant:String}`, without the tenant's column. [`Parameter::place`] stands for the argument.
    pub(crate) fenced: String,
    /// Its SELECT for whoever reads, with the tenant's column.
    pub(crate) open: String,
}

/// What a view takes in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// `t = '2026-03-01'`
    Instant,
    /// `days = 28`
    Days,
}

impl Parameter {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "t",
            Self::Days => "days",
        }
    }

    /// What is written where it is needed.
    pub fn example(self) -> &'static str {
        match self {
            Self::Instant => "t = '2026-03-01'",
            Self::Days => "days = 28",
        }
    }

    /// Where the argument goes in a fenced text.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Instant => "{instant}",
            Self::Days => "{days}",
        }
    }

    /// What a server's view has there.
    fn placeholder(self) -> &'static str {
        match self {
            // As the fence reads it: a day is its beginning.
            Self::Instant => "parseDateTime64BestEffort({t:String}, 3, 'UTC')",
            Self::Days => "{days:UInt32}",
        }
    }
}

/// Whose rows a text is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// One tenant's, by a condition in every table.
    Fenced,
    /// Those that whoever asks may read.
    Open,
}

/// What texts are written with.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    database: &'a str,
    scope: Scope,
}

impl Text<'_> {
    /// A table behind FROM, under the name `__t`. **PREWHERE**: others' rows are gone before any other condition is looked at.
    fn table(self, name: &str, newest: bool) -> String {
        let newest = if newest { " FINAL" } else { "" };
        let table = format!("{}.{} AS `__t`{newest}", quoted(self.database), quoted(name));
        match self.scope {
            Scope::Fenced => format!("{table} PREWHERE `__t`.{} = {{{TENANT}:String}}", quoted(TENANT)),
            Scope::Open => table,
        }
    }

    /// An argument.
    fn argument(self, parameter: Parameter) -> &'static str {
        match self.scope {
            Scope::Fenced => parameter.place(),
            Scope::Open => parameter.placeholder(),
        }
    }

    /// The names that are shown, of columns in the order given: the tenant's only where there may be several.
    fn shown(self, columns: &[String], of: &str) -> String {
        let tenant = (self.scope == Scope::Open).then(|| TENANT.to_owned());
        let one = |name: &String| format!("{of}.{name} AS {name}", name = quoted(name));
        tenant.iter().chain(columns).map(one).collect::<Vec<_>>().join(", ")
    }
}

/// What a view is made of.
struct Made {
    name: String,
    columns: Vec<String>,
    parameter: Option<Parameter>,
    reads: Vec<String>,
    newest: Vec<(String, &'static str)>,
}

impl Made {
    /// Writes the text twice.
    fn view(self, database: &str, write: impl Fn(Text<'_>, &[String]) -> String) -> View {
        let Self { name, columns, parameter, reads, newest } = self;
        let fenced = write(Text { database, scope: Scope::Fenced }, &columns);
        let open = write(Text { database, scope: Scope::Open }, &columns);
        View { name, columns, parameter, reads, newest, fenced, open }
    }
}

/// All views of a plan's tables in a database.
pub fn views(tables: &Tables, database: &str) -> Vec<View> {
    let mut views = relation::views(tables, database);
    views.extend(relation::raw(database));
    views.push(analysis::grades_weekly(database));
    views.push(analysis::cohort_comparison(database));
    views.extend(training::views(tables, database));
    views
}

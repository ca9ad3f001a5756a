//! Names of columns in expressions: what they mean where, and what is said about those that mean nothing.

use super::expr::Type;
use super::node::Node;
use super::resolve::{Position, Resolver, Typed, fold_name};
use super::{Relation, SqlFault, nearest_help};
use sqlparser::ast::{self, Ident};

/// The bounds of a window: columns of a view that is read, and of every view's outputs.
pub const BOUNDS: [&str; 2] = ["window_start", "window_end"];

/// The prefix of the cohort's columns in `grades`.
const COHORT: &str = "cohort";

/// What people call the tenant.
const TENANT: [&str; 5] = ["tenant", "tenant_id", "school", "school_id", "organization_id"];

impl Resolver<'_> {
    /// `table.column`, `cohort.mean`, `grades.cohort.mean`
    pub(super) fn compound_column<'a>(&mut self, parts: &[Ident], e: &'a ast::Expr) -> Option<Typed<'a>> {
        let is_cohort = |name: &Ident| fold_name(name) == COHORT;
        match parts {
            [cohort, name] if is_cohort(cohort) => self.cohort(name, e),
            [table, cohort, name] if is_cohort(cohort) => {
                self.qualifier(table)?;
                self.cohort(name, e)
            }
            [table, name] => {
                self.qualifier(table)?;
                self.column(name, true, e)
            }
            _ => self.refuse(e, "a column is named column or table.column", None),
        }
    }

    fn cohort<'a>(&mut self, name: &Ident, e: &'a ast::Expr) -> Option<Typed<'a>> {
        if self.relation != Some(Relation::Grades) {
            let help = "a view that reads FROM grades has cohort.count, cohort.mean, cohort.stddev, cohort.pass_rate and \
                        cohort.percentile";
            return self.refuse(e, "only the built-in table grades has a cohort", Some(help));
        }
        self.named(&format!("{COHORT}.{}", fold_name(name)), name, e)
    }

    fn qualifier(&mut self, table: &Ident) -> Option<()> {
        let name = fold_name(table);
        if self.qualifiers.contains(&name) {
            return Some(());
        }
        let known: Vec<&str> = self.qualifiers.iter().map(String::as_str).collect();
        let help = nearest_help(&name, &known, "tables");
        let fault = SqlFault::new(self.source.ident(table), format!("there is no table \"{name}\" in FROM"));
        self.fault(fault.help(help));
        None
    }

    /// A column by its name alone, or by that after its table's.
    pub(super) fn column<'a>(&mut self, name: &Ident, qualified: bool, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let column = fold_name(name);
        if self.position == Position::Output
            && !qualified
            && let Some(bound) = BOUNDS.iter().position(|known| *known == column)
        {
            return self.bound(bound, e);
        }
        self.named(&column, name, e)
    }

    /// A bound of the view's own window: its column comes after those of the aggregates.
    fn bound<'a>(&mut self, bound: usize, e: &'a ast::Expr) -> Option<Typed<'a>> {
        if self.relation == Some(Relation::Grades) {
            let help = "it shows the grades as they are now; updated_at is when a grade last changed";
            return self.refuse(e, "a view over grades has no window", Some(help));
        }
        self.reads_bounds = true;
        Some(Typed::new(Node::Column(self.bounds_at + bound), Type::Timestamp, e))
    }

    fn named<'a>(&mut self, column: &str, name: &Ident, e: &'a ast::Expr) -> Option<Typed<'a>> {
        let Some(index) = self.columns.iter().position(|(known, _)| known == column) else {
            let fault = self.no_column(column, name);
            self.fault(fault);
            return None;
        };
        let ty = self.columns[index].1;
        if self.position == Position::Output {
            let message =
                format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function");
            let help = match (column, ty) {
                ("student_id", _) => "student_id is selected as it is: SELECT student_id, …",
                (_, Type::Bigint | Type::Double) => "for example sum, avg or count",
                _ => "for example last, max or count(distinct …)",
            };
            return self.refuse(e, message, Some(help));
        }
        Some(Typed::new(Node::Column(index), ty, e))
    }

    fn no_column(&self, column: &str, name: &Ident) -> SqlFault {
        let fault = |message: String| SqlFault::new(self.source.ident(name), message);
        let known: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        if TENANT.contains(&column) {
            let help = "leave it out: each tenant has rows of its own, and no view sees those of another tenant";
            return fault(format!("there is no column \"{column}\": every view is per tenant, and its key carries it"))
                .help(help);
        }
        if column == "student_id" && matches!(self.relation, Some(Relation::View(_) | Relation::Grades)) {
            let help = "a view's rows are of one student: SELECT student_id, … GROUP BY student_id, …";
            return fault("student_id can be selected and grouped here, and nothing else".to_owned()).help(help);
        }
        let fault = fault(format!("column \"{column}\" does not exist"));
        if BOUNDS.contains(&column) && matches!(self.relation, Some(Relation::Table(_))) {
            return fault
                .help("the bounds of the view's window stand in SELECT, outside of aggregates; events have none");
        }
        // Double quotes around a text are the usual slip.
        let quoted = name.quote_style.is_some() && aulaflow_model::fault::nearest(column, known.clone()).is_none();
        fault.help(if quoted {
            format!("texts stand in single quotes: '{column}'; names in double quotes")
        } else {
            nearest_help(column, &known, "columns")
        })
    }
}

//! SELECT: a view's outputs and their names.

use super::column::BOUNDS;
use super::expr::{Expr as Compiled, Type};
use super::resolve::{Position, Resolver, fold_name};
use super::{Output, Relation, SqlFault, check_name};
use sqlparser::ast::{Expr, Ident, Select, SelectItem};
use std::ops::Range;

/// Keys that the profile adds to a feature's outputs.
const TAKEN_OUTPUTS: [&str; 2] = ["window", "updated_at"];

/// An output, its name and its type.
pub struct Named {
    /// The key in profiles.
    pub name: String,
    /// What it is.
    pub output: Output,
    /// Its type.
    pub ty: Type,
}

/// The outputs; `student_id`, which every row has, is none.
pub fn outputs(resolver: &mut Resolver<'_>, select: &Select) -> Vec<Named> {
    resolver.position = Position::Output;
    let (before, warnings) = (resolver.faults.len(), resolver.warnings.len());
    let found = resolved(resolver, select);
    if !resolver.reads_bounds || resolver.faults.len() > before {
        return found;
    }
    // The window's bounds come after the aggregates, whose number is known only now.
    resolver.bounds_at = resolver.aggregates.len();
    resolver.warnings.truncate(warnings);
    resolved(resolver, select)
}

fn resolved(resolver: &mut Resolver<'_>, select: &Select) -> Vec<Named> {
    let mut outputs: Vec<Named> = Vec::new();
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
        let name = output_name(resolver, expression, alias, output.is_some());
        match (name, output) {
            (Some((name, at)), Some((output, ty))) => {
                if outputs.iter().any(|other| other.name == name) {
                    resolver.fault(SqlFault::new(at, format!("output \"{name}\" is named twice")));
                }
                outputs.push(Named { name, output, ty });
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
pub fn is_student_id(resolver: &Resolver<'_>, expression: &Expr) -> bool {
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
    let declared = resolver.columns.iter().any(|(name, _)| name == "student_id");
    if matches!(resolver.relation, Some(Relation::Table(_))) && !declared {
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

fn output(resolver: &mut Resolver<'_>, expression: &Expr) -> Option<(Output, Type)> {
    let compiled: Compiled = resolver.compile(expression)?;
    let ty = compiled.ty();
    let help = match ty {
        Type::Interval => "extract(epoch FROM …) makes a number of seconds of it",
        Type::Json => "take a text out of the JSON with ->>",
        Type::Boolean | Type::Bigint | Type::Double | Type::Text | Type::Timestamp => {
            return Some(match compiled.as_column().filter(|column| *column < resolver.aggregates.len()) {
                Some(index) => (Output::Aggregate(index), ty),
                None => (Output::Expression(compiled), ty),
            });
        }
    };
    resolver.refuse(expression, format!("an output cannot be {ty}"), Some(help))
}

/// The output's name: its alias, or a bare aggregate's own name, as in PostgreSQL.
fn output_name(
    resolver: &mut Resolver<'_>,
    e: &Expr,
    alias: Option<&Ident>,
    is_right: bool,
) -> Option<(String, Range<usize>)> {
    let (name, at) = match (alias, e) {
        (Some(alias), _) => (fold_name(alias), resolver.source.ident(alias)),
        (None, Expr::Function(function)) if super::aggregate::is_known(&function.name.to_string().to_lowercase()) => {
            (function.name.to_string().to_lowercase(), resolver.range(e))
        }
        (None, Expr::Identifier(name)) if BOUNDS.contains(&fold_name(name).as_str()) => {
            (fold_name(name), resolver.source.ident(name))
        }
        // A column that cannot stand here has its own fault.
        (None, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => return None,
        // What it is meant to be is not known, a misspelt aggregate perhaps, which has a name.
        (None, _) if !is_right => return None,
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

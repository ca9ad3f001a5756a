//! What is right SQL and gives a number that is probably not meant: warnings, each with what to write instead. An error is
//! none of them.

use super::calendar::Unit;
use super::column::BOUNDS;
use super::expr::{Expr, Type};
use super::node::{Comparison, Constant, Node};
use super::resolve::{Position, Resolver, Typed};
use super::{Relation, SqlFault};
use aulaflow_model::window::{WindowKind, WindowSpec};
use sqlparser::ast;

/// What is said of a division of whole numbers.
const DIVISION: &str = "whole numbers are divided: the fraction is dropped";

impl Resolver<'_> {
    fn warn(&mut self, at: &ast::Expr, message: impl Into<String>, help: String) {
        let warning = SqlFault::new(self.range(at), message).help(help);
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The text of an expression, on one line.
    fn text_of(&self, expression: &ast::Expr) -> String {
        let text = self.source.text(self.range(expression));
        if text.contains('\n') { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text.to_owned() }
    }

    /// `a / b` of two BIGINTs. A row's value by a constant makes buckets of it, as is meant; so do constants without a
    /// rest.
    pub(super) fn lint_division(&mut self, left: &Typed<'_>, right: &Typed<'_>, e: &ast::Expr) {
        let number = |typed: &Typed<'_>| match typed.node {
            Node::Constant(Constant::Bigint(n)) => Some(n),
            _ => None,
        };
        let meant = match (number(left), number(right)) {
            (_, Some(0)) => true,
            (Some(a), Some(b)) => a.wrapping_rem(b) == 0,
            (None, Some(_)) => self.position != Position::Output,
            (_, None) => false,
        };
        if meant {
            return;
        }
        let (left, right) = (self.text_of(left.ast), self.text_of(right.ast));
        let help = format!(
            "CAST({left} AS DOUBLE) / {right} keeps it; CAST({left} / {right} AS BIGINT) says that whole numbers are meant"
        );
        self.warn(e, DIVISION, help);
    }

    /// A division whose result is made a whole number on purpose.
    pub(super) fn division_is_meant(&mut self, mut operand: &ast::Expr) {
        while let ast::Expr::Nested(inner) = operand {
            operand = inner;
        }
        let at = self.range(operand);
        self.warnings.retain(|warning| warning.message != DIVISION || warning.span != at);
    }

    /// A comparison that is the same for every row.
    pub(super) fn lint_comparison(&mut self, comparison: Comparison, sides: &[Node; 2], e: &ast::Expr) {
        if sides.iter().any(|side| matches!(side, Node::Constant(Constant::Null))) {
            let (other, not) = match e {
                ast::Expr::BinaryOp { left, right, .. } => {
                    let other = if matches!(sides[0], Node::Constant(Constant::Null)) { right } else { left };
                    (self.text_of(other), if comparison == Comparison::Ne { "NOT " } else { "" })
                }
                _ => return,
            };
            self.warn(e, "a comparison with NULL is never true", format!("{other} IS {not}NULL"));
            return;
        }
        self.lint_own_bounds(&[&sides[0], &sides[1]], e);
        let (comparison, (part, operand), constant) = match sides {
            [Node::DatePart(unit, operand), Node::Constant(c)] => (comparison, (*unit, operand), c),
            [Node::Constant(c), Node::DatePart(unit, operand)] => (mirrored(comparison), (*unit, operand), c),
            _ => return,
        };
        // An interval has as many days as it has; a column is none.
        if !matches!(**operand, Node::Column(_)) {
            return;
        }
        let (Some((low, high)), Some(value)) = (range(part), double(constant)) else { return };
        if let Some(always) = decided(comparison, value, (low, high)) {
            let message =
                format!("this is {} true: the part is from {low} to {high}", if always { "always" } else { "never" });
            self.warn(e, message, range_help(part).to_owned());
        }
    }

    /// `BETWEEN` whose ends are the wrong way round.
    pub(super) fn lint_between(&mut self, nodes: &[Node; 3], e: &ast::Expr) {
        self.lint_own_bounds(&[&nodes[0], &nodes[1], &nodes[2]], e);
        let [_, Node::Constant(low), Node::Constant(high)] = nodes else { return };
        if let (Some(low), Some(high)) = (double(low), double(high))
            && low > high
        {
            self.warn(
                e,
                "this is never true: the first bound is above the second",
                "x BETWEEN low AND high".to_owned(),
            );
        }
    }

    /// Inside an aggregate over another view, `window_start` and `window_end` are both the row's. A session's differ by how
    /// long it is, which can be asked; a tumble's do not.
    fn lint_own_bounds(&mut self, sides: &[&Node], e: &ast::Expr) {
        let (Position::Argument | Position::Where, Some(Relation::View(_))) = (self.position, self.relation) else {
            return;
        };
        let Some(inner) = self.inner.clone().filter(|window| window.kind != WindowKind::Session) else { return };
        let mut columns = Vec::new();
        sides.iter().for_each(|side| columns_of(side, &mut columns));
        let is = |bound: &str| columns.iter().any(|c| self.columns.get(*c).is_some_and(|(name, _)| name == bound));
        let others =
            columns.iter().any(|c| self.columns.get(*c).is_none_or(|(name, _)| !BOUNDS.contains(&name.as_str())));
        if others || !BOUNDS.iter().all(|bound| is(bound)) {
            return;
        }
        let output = self.columns.first().map_or("x", |(name, _)| name.as_str());
        let help = format!(
            "the bounds of this view's own window stand outside of aggregates: CASE WHEN extract(epoch FROM window_end - \
             max(window_start)) <= {} THEN last({output}) END is the newest row, if its window is the last one",
            seconds(&inner)
        );
        let message = "both bounds are the row's own here: this compares each row's window with itself, and is the same for \
                       every row";
        self.warn(e, message, help);
    }

    /// `x = 'a' AND x = 'b'`.
    pub(super) fn lint_conjunction(&mut self, nodes: &[Node], e: &ast::Expr) {
        let equal = |node: &Node| match node {
            Node::Compare(Comparison::Eq, sides) => match &**sides {
                [operand, Node::Constant(c)] | [Node::Constant(c), operand] => Some((operand.clone(), c.clone())),
                _ => None,
            },
            _ => None,
        };
        let equals: Vec<_> = nodes.iter().filter_map(equal).collect();
        let contradicts = |(at, (operand, constant)): (usize, &(Node, Constant))| {
            equals[..at].iter().any(|(other, value)| other == operand && value != constant)
        };
        if equals.iter().enumerate().any(contradicts) {
            let help = "one value of several: x IN ('a', 'b'), or OR";
            self.warn(e, "this is never true: the same is to be equal to two different values", help.to_owned());
        }
    }

    /// `count` of what is never NULL though it looks like a condition.
    pub(super) fn lint_count(&mut self, argument: &Expr, given: &ast::Expr, e: &ast::Expr) {
        let text = self.text_of(given);
        if argument.ty() == Type::Boolean && argument.as_column().is_none() {
            let help = format!("count(*) FILTER (WHERE {text}) counts the rows for which it is true");
            self.warn(e, "count counts false as well as true: only NULL is left out", help);
            return;
        }
        let Node::Case { branches, otherwise, .. } = argument.node() else { return };
        let constant = |node: &Node| matches!(node, Node::Constant(c) if *c != Constant::Null);
        if constant(otherwise) && branches.iter().all(|(_, result)| constant(result)) {
            let help = "sum adds the ones; for count leave ELSE out".to_owned();
            self.warn(e, "every branch has a value, so this counts every row", help);
        }
    }

    /// A condition that no row can meet.
    pub(super) fn lint_condition(&mut self, node: &Node, clause: &str, e: &ast::Expr) {
        if matches!(node, Node::Constant(Constant::Boolean(false) | Constant::Null)) && self.warnings.is_empty() {
            self.warn(e, format!("no row meets this {clause}"), "leave it out, or compare a column".to_owned());
        }
    }
}

fn columns_of(node: &Node, found: &mut Vec<usize>) {
    if let Node::Column(index) = node {
        found.push(*index);
    }
    node.parts().into_iter().for_each(|part| columns_of(part, found));
}

/// The seconds of a window; of a calendar's, with the hour that a day can have more.
fn seconds(window: &WindowSpec) -> i64 {
    window.size_ms / 1_000 + if window.zone.is_some() { 3_600 } else { 0 }
}

fn double(constant: &Constant) -> Option<f64> {
    match constant {
        Constant::Bigint(n) => Some(*n as f64),
        Constant::Wide(n) => Some(**n as f64),
        Constant::Double(x) => Some(*x),
        Constant::Exact(x) => Some(x.to_f64()),
        Constant::Null
        | Constant::Boolean(_)
        | Constant::Text(_)
        | Constant::Timestamp(_)
        | Constant::Interval(..)
        | Constant::Json(_) => None,
    }
}

fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Eq => Comparison::Eq,
        Comparison::Ne => Comparison::Ne,
        Comparison::Lt => Comparison::Gt,
        Comparison::Le => Comparison::Ge,
        Comparison::Gt => Comparison::Lt,
        Comparison::Ge => Comparison::Le,
    }
}

/// What a comparison of something within a range gives, if that is known.
fn decided(comparison: Comparison, value: f64, (low, high): (f64, f64)) -> Option<bool> {
    let within = (low..=high).contains(&value);
    let (always, never) = match comparison {
        Comparison::Eq => (false, !within),
        Comparison::Ne => (!within, false),
        Comparison::Lt => (high < value, low >= value),
        Comparison::Le => (high <= value, low > value),
        Comparison::Gt => (low > value, high <= value),
        Comparison::Ge => (low >= value, high < value),
    };
    match (always, never) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        (false, false) => None,
    }
}

/// The values that a part of a date has, where they are few.
fn range(unit: Unit) -> Option<(f64, f64)> {
    match unit {
        Unit::Hour => Some((0.0, 23.0)),
        Unit::Minute => Some((0.0, 59.0)),
        Unit::Day => Some((1.0, 31.0)),
        Unit::Week => Some((1.0, 53.0)),
        Unit::Month => Some((1.0, 12.0)),
        Unit::Quarter => Some((1.0, 4.0)),
        Unit::Dow => Some((0.0, 6.0)),
        Unit::Isodow => Some((1.0, 7.0)),
        Unit::Doy => Some((1.0, 366.0)),
        Unit::Microseconds
        | Unit::Milliseconds
        | Unit::Second
        | Unit::Year
        | Unit::Decade
        | Unit::Century
        | Unit::Millennium
        | Unit::Isoyear
        | Unit::Julian
        | Unit::Epoch => None,
    }
}

fn range_help(unit: Unit) -> &'static str {
    match unit {
        Unit::Dow => "dow counts from Sunday, which is 0; isodow from Monday, which is 1, to Sunday, which is 7",
        Unit::Isodow => "isodow counts from Monday, which is 1, to Sunday, which is 7; dow from Sunday, which is 0",
        Unit::Microseconds
        | Unit::Milliseconds
        | Unit::Second
        | Unit::Minute
        | Unit::Hour
        | Unit::Day
        | Unit::Week
        | Unit::Month
        | Unit::Quarter
        | Unit::Year
        | Unit::Decade
        | Unit::Century
        | Unit::Millennium
        | Unit::Doy
        | Unit::Isoyear
        | Unit::Julian
        | Unit::Epoch => "compare with a value that the part can have",
    }
}

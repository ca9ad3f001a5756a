//! The canonical text of expressions and aggregates: it depends on their meaning alone (names of columns, constants,
//! functions, structure), not on white space, aliases, or the order of columns in CREATE TABLE. Whoever stores what an
//! expression made keeps a hash of it, to know whether the stored is still what the expression would make.
//!
//! So a change of these texts makes every feature with such an expression build again from the log, and the tests here
//! hold them still. A new kind of node gets a new label.

use super::expr::Expr;
use super::like::Pattern;
use super::node::{Comparison, Constant, Node, Operation, Set};
use super::{Aggregate, AggregateFunction};
use std::fmt::Write;

impl Expr {
    /// Its canonical text; `column` names the columns. Expressions of one text mean the same.
    pub fn canonical(&self, column: &dyn Fn(usize) -> String) -> String {
        let mut out = String::new();
        write(self.node(), column, &mut out);
        out
    }
}

impl Aggregate {
    /// Its canonical text; `column` names the columns of what the view reads.
    pub fn canonical(&self, column: &dyn Fn(usize) -> String) -> String {
        let mut out = format!("({}", self.function.label());
        for argument in &self.arguments {
            out.push(' ');
            write(argument.node(), column, &mut out);
        }
        out.push(')');
        out
    }
}

impl AggregateFunction {
    /// Its name in canonical texts.
    fn label(self) -> &'static str {
        match self {
            Self::CountRows => "count_rows",
            Self::Count => "count",
            Self::SumInt => "sum_int",
            Self::SumDecimal => "sum_decimal",
            Self::Avg => "avg",
            Self::CountDistinct => "count_distinct",
            Self::Min => "min",
            Self::Max => "max",
            Self::StddevPop => "stddev_pop",
            Self::First => "first",
            Self::Last => "last",
            Self::RegrSlope => "regr_slope",
        }
    }
}

/// Writes `(label part part …)`.
fn write(node: &Node, column: &dyn Fn(usize) -> String, out: &mut String) {
    match node {
        Node::Column(index) => quoted('"', &column(*index), out),
        Node::Constant(value) => constant(value, out),
        _ => {
            out.push('(');
            out.push_str(&label(node));
            for part in node.parts() {
                out.push(' ');
                write(part, column, out);
            }
            out.push(')');
        }
    }
}

/// What a node is, without its parts. With their number it says which part is which.
fn label(node: &Node) -> String {
    let negated = |word: &str, negated: bool| if negated { format!("not_{word}") } else { word.to_owned() };
    match node {
        Node::Column(_) | Node::Constant(_) => String::new(),
        Node::Compare(comparison, _) => comparison_label(*comparison).to_owned(),
        Node::Distinct { negated: not, .. } => negated("distinct", *not),
        Node::And(_) => "and".to_owned(),
        Node::Or(_) => "or".to_owned(),
        Node::Not(_) => "not".to_owned(),
        Node::IsNull { negated: not, .. } => negated("is_null", *not),
        Node::IsBoolean { value, negated: not, .. } => negated(if *value { "is_true" } else { "is_false" }, *not),
        Node::Between { negated: not, .. } => negated("between", *not),
        Node::InSet { set, has_null, negated: not, .. } => {
            let mut label = negated("in", *not);
            set_label(set, &mut label);
            label + if *has_null { "+null" } else { "" }
        }
        Node::In { negated: not, .. } => negated("in", *not),
        Node::Like { pattern, negated: not, .. } => negated("like", *not) + &pattern_label(pattern),
        Node::LikeDynamic { escape, insensitive, negated: not, .. } => {
            let word = negated(if *insensitive { "ilike" } else { "like" }, *not);
            escape.map_or_else(|| word.clone(), |escape| format!("{word}{{{}}}", u32::from(escape)))
        }
        Node::Arithmetic(operation, _) => operation_label(*operation).to_owned(),
        Node::Strict(function, _) | Node::Variadic(function, _) => function.name.to_owned(),
        Node::Case { operand, .. } => if operand.is_some() { "case_of" } else { "case" }.to_owned(),
        Node::Coalesce(_) => "coalesce".to_owned(),
        Node::NullIf(_) => "nullif".to_owned(),
        Node::Cast { to, attempt, .. } => {
            format!("{}{{{to}}}", if *attempt { "try_cast" } else { "cast" })
        }
        Node::DateTrunc(unit, _) => format!("date_trunc{{{}}}", unit.name()),
        Node::DatePart(unit, _) => format!("date_part{{{}}}", unit.name()),
        Node::Exact(_) => "exact".to_owned(),
        Node::JsonGet { as_text, .. } => if *as_text { "->>" } else { "->" }.to_owned(),
    }
}

fn comparison_label(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "=",
        Comparison::Ne => "<>",
        Comparison::Lt => "<",
        Comparison::Le => "<=",
        Comparison::Gt => ">",
        Comparison::Ge => ">=",
    }
}

fn operation_label(operation: Operation) -> &'static str {
    match operation {
        Operation::Add => "+",
        Operation::Subtract => "-",
        Operation::Multiply => "*",
        Operation::Divide => "/",
        Operation::Modulo => "%",
    }
}

/// In order: the order in the text, and whether the set is scanned or hashed, mean nothing.
fn set_label(set: &Set, out: &mut String) {
    let (mut texts, mut numbers): (Vec<&str>, Vec<i64>) = match set {
        Set::FewTexts(texts) => (texts.iter().map(|text| &**text).collect(), Vec::new()),
        Set::Texts(texts) => (texts.iter().map(|text| &**text).collect(), Vec::new()),
        Set::FewBigints(numbers) => (Vec::new(), numbers.to_vec()),
        Set::Bigints(numbers) => (Vec::new(), numbers.iter().copied().collect()),
    };
    texts.sort_unstable();
    texts.dedup();
    numbers.sort_unstable();
    numbers.dedup();
    out.push('{');
    for text in texts {
        quoted('\'', text, out);
    }
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    out.push_str(&numbers.join(" "));
    out.push('}');
}

fn pattern_label(pattern: &Pattern) -> String {
    let (insensitive, text) = pattern.canonical();
    let mut out = if insensitive { "{i" } else { "{" }.to_owned();
    quoted('\'', &text, &mut out);
    out.push('}');
    out
}

/// Constants of different types never look alike.
fn constant(value: &Constant, out: &mut String) {
    // A String takes everything that is written.
    let _ = match value {
        Constant::Null => write!(out, "null"),
        Constant::Boolean(b) => write!(out, "{b}"),
        Constant::Bigint(n) => write!(out, "{n}"),
        Constant::Wide(n) => write!(out, "{n}"),
        Constant::Double(x) => write!(out, "{x:?}d"),
        Constant::Exact(x) => write!(out, "{}x", x.to_fraction()),
        Constant::Text(text) => return quoted('\'', text, out),
        Constant::Timestamp(at) => write!(out, "@{}", at.0),
        Constant::Interval(months, days, millis) => write!(out, "~{months}/{days}/{millis}"),
        Constant::Json(raw) => {
            out.push('j');
            return quoted('\'', raw.get(), out);
        }
    };
}

/// In quotes, with the quotes in it doubled, so that no text ends early.
fn quoted(quote: char, text: &str, out: &mut String) {
    out.push(quote);
    for c in text.chars() {
        if c == quote {
            out.push(quote);
        }
        out.push(c);
    }
    out.push(quote);
}

//! The registry of scalar functions. A new function is one [`Definition`] in a file here and its line in [`REGISTRY`].
//!
//! Constructs with a grammar of their own (CASE, CAST, LIKE, EXTRACT, operators) are in `resolve.rs`.

mod choice;
pub mod number;
pub mod text;
pub mod time;

use super::expr::Type;
use super::node::Call;
use super::resolve::{Resolver, Typed};
use sqlparser::ast;

/// A scalar function: its name and how its arguments decide what is called.
pub struct Definition {
    /// The name, in lower case.
    pub name: &'static str,
    /// What it takes, for people: `text, bigint`.
    pub takes: &'static str,
    /// How it is resolved.
    pub kind: Kind,
}

/// How a function is resolved.
pub enum Kind {
    /// One of these, with at most three arguments; NULL where an argument is NULL.
    Strict(&'static [Signature]),
    /// By a function: polymorphic, lazy or variadic ones. `None` where the arguments do not fit; the caller says so,
    /// unless the function pushed a fault of its own.
    Custom(Custom),
}

/// Resolves a call; see [`Kind::Custom`].
pub type Custom = for<'a> fn(&mut Resolver<'_>, Vec<Typed<'a>>, &'a ast::Expr) -> Option<Typed<'a>>;

/// Argument types, the result's type, and the code.
pub struct Signature {
    /// What the arguments are.
    pub arguments: &'static [Type],
    /// What the result is.
    pub result: Type,
    /// The code.
    pub call: Call,
}

/// All scalar functions.
pub static REGISTRY: &[&Definition] = &[
    &choice::COALESCE,
    &choice::GREATEST,
    &choice::LEAST,
    &choice::NULLIF,
    &number::ABS,
    &number::CEIL,
    &number::CEILING,
    &number::FLOOR,
    &number::ROUND,
    &text::CONCAT,
    &text::LENGTH,
    &text::LOWER,
    &text::SUBSTR,
    &text::SUBSTRING,
    &text::UPPER,
    &time::DATE_PART,
    &time::DATE_TRUNC,
];

/// The function of a name in lower case.
pub fn find(name: &str) -> Option<&'static Definition> {
    REGISTRY.iter().find(|definition| definition.name == name).copied()
}

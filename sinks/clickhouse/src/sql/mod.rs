//! Analysts' SQL, made safe: one SELECT over the tenant's own relations becomes a text for ClickHouse in which every table is
//! the tenant's part of it. Pure: nothing here reaches for ClickHouse.
//!
//! The text that comes out is written anew, word by word, from the parsed tree: what is not known here has no way into it. Names
//! are always quoted, texts always escaped, functions and types written as this module spells them. What is known is written so
//! that ClickHouse reads what the query said to it: the same literals, and the same operators in the same order. Of a table only a subquery
//! is written, which begins with its own `PREWHERE tenant = {tenant:String}`: other conditions are looked at after it, so that
//! not even an error can depend on another tenant's row. At last `inspect` reads the written text with other eyes.

mod catalog;
mod dialect;
mod expr;
mod functions;
mod inspect;
mod literals;
mod operators;
mod parse;
mod query;
mod select;
mod types;
mod writer;

pub use catalog::{Catalog, Shown};

use parse::Read;
use sqlparser::tokenizer::Span;
use std::fmt;
use writer::Writer;

/// The name of the parameter that the tenant is bound to.
pub const TENANT: &str = "tenant";

/// Longer texts are not looked at.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Room for the recursion over a tree of that depth.
const STACK_BYTES: usize = 16 << 20;

/// How much of what is refused is quoted.
const EXCERPT_CHARS_MAX: usize = 80;

/// A query that may be sent, with the tenant as its parameter [`TENANT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// The text for ClickHouse.
    pub text: String,
    /// The relations that it reads, each once, in order of their names.
    pub relations: Vec<String>,
}

/// Why a query is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, and what to do instead.
    pub message: String,
    /// Line and column, from 1, where they are known.
    pub place: Option<(u64, u64)>,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }

    fn at(message: impl Into<String>, span: Span) -> Self {
        let place = (span.start.line > 0).then_some((span.start.line, span.start.column));
        Self { message: message.into(), place }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Refusal {}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A SELECT.
    Query(Fenced),
    /// `SHOW TABLES`: the names that may be read, which are known here.
    Tables(Vec<String>),
    /// `DESCRIBE TABLE`: the columns of the answer of this query, which has no rows.
    Columns(Fenced),
}

/// Makes a SELECT safe, or says why it is not.
pub fn fence(text: &str, catalog: &Catalog) -> Result<Fenced, Refusal> {
    match ask(text, catalog)? {
        Asked::Query(fenced) => Ok(fenced),
        Asked::Tables(_) | Asked::Columns(_) => Err(Refusal::new("only SELECT is answered here")),
    }
}

/// Makes what is asked safe, or says why it is not. Nothing of SHOW and DESCRIBE is passed on to ClickHouse, which would tell of other
/// tenants' tables too.
pub fn ask(text: &str, catalog: &Catalog) -> Result<Asked, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::new(format!("the query has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len())));
    }
    // Parsed, written and dropped on a stack that is large enough for all of it.
    stacker::grow(STACK_BYTES, || {
        match parse::read(text)? {
            Read::Query(query) => written(&query, catalog).map(Asked::Query),
            Read::Tables { like } => {
                let fits = |name: &&str| like.as_deref().is_none_or(|pattern| parse::is_like(name, pattern));
                Ok(Asked::Tables(catalog.names().map(|(name, _)| name).filter(fits).map(str::to_owned).collect()))
            }
            Read::Columns(table) => {
                let known = catalog.get(&table.value).ok_or_else(|| catalog.unknown(&table, []))?;
                // Its columns are the same whatever is put into the parentheses.
                let argument =
                    known.1.parameter.map_or(String::new(), |parameter| format!("({})", parameter.example()));
                let text = format!("SELECT * FROM {}{argument} LIMIT 0", crate::connection::quoted(known.0));
                match parse::read(&text)? {
                    Read::Query(query) => written(&query, catalog).map(Asked::Columns),
                    Read::Tables { .. } | Read::Columns(_) => Err(Refusal::new("only SELECT is answered here")),
                }
            }
        }
    })
}

/// The query's own text for ClickHouse.
fn written(query: &sqlparser::ast::Query, catalog: &Catalog) -> Result<Fenced, Refusal> {
    let mut writer = Writer::new(catalog);
    writer.whole(query)?;
    let (text, relations) = writer.finish();
    inspect::inspect(&text, catalog, &relations)?;
    Ok(Fenced { text, relations: relations.into_iter().map(str::to_owned).collect() })
}

/// What the parser finds, shortened, for a message that names what is refused.
fn excerpt(what: &impl fmt::Display) -> String {
    let text = what.to_string();
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests;

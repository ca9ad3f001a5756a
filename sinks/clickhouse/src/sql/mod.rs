//! Analysts' SQL, made safe: one SELECT over the tenant's own relations becomes a text for ClickHouse in which every table is
//! the tenant's part of it. Pure: nothing here reaches for ClickHouse.
//!
//! The text that comes out is written anew, word by word, from the parsed tree: what is not known here has no way into it. Names
//! are always quoted, texts always escaped, functions and types written as this module spells them. Of a table only a subquery
//! is written, which begins with its own `PREWHERE tenant = {tenant:String}`: other conditions are looked at after it, so that
//! not even an error can depend on another tenant's row. At last `inspect` reads the written text with other eyes.

mod catalog;
mod expr;
mod functions;
mod inspect;
mod operators;
mod query;
mod select;
mod types;
mod writer;

pub use catalog::{Catalog, Shown};

use sqlparser::ast::Statement;
use sqlparser::dialect::ClickHouseDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token, Tokenizer};
use std::fmt;
use writer::Writer;

/// The name of the parameter that the tenant is bound to.
pub const TENANT: &str = "tenant";

/// Longer texts are not looked at.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// The most tokens: a tree is as deep as a chain of operators is long, and is dropped recursively.
const TOKENS_MAX: usize = 5_000;

/// Room for the recursion over a tree of that depth.
const STACK_BYTES: usize = 16 << 20;

/// The dialect that is read.
const DIALECT: ClickHouseDialect = ClickHouseDialect {};

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

/// Makes a query safe, or says why it is not.
pub fn fence(text: &str, catalog: &Catalog) -> Result<Fenced, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::new(format!("the query has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len())));
    }
    // Parsed, written and dropped on a stack that is large enough for all of it.
    stacker::grow(STACK_BYTES, || {
        let query = parse(text)?;
        let mut writer = Writer::new(catalog);
        writer.whole(&query)?;
        let (text, relations) = writer.finish();
        inspect::inspect(&text, catalog, &relations)?;
        Ok(Fenced { text, relations: relations.into_iter().map(str::to_owned).collect() })
    })
}

/// Exactly one query.
fn parse(text: &str) -> Result<sqlparser::ast::Query, Refusal> {
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| {
        let (line, column) = (error.location.line, error.location.column);
        Refusal { message: error.message, place: (line > 0).then_some((line, column)) }
    })?;
    let mut last = None;
    let (mut count, mut statements) = (0, 0);
    let mut within = false;
    for token in &tokens {
        match &token.token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::SemiColon => within = false,
            _ => {
                statements += usize::from(!within);
                within = true;
            }
        }
        count += 1;
        last = Some(token.span);
        if count > TOKENS_MAX {
            return Err(Refusal::at(
                format!("the query is too long: more than {TOKENS_MAX} words and signs"),
                token.span,
            ));
        }
        if statements > 1 {
            return Err(Refusal::at("send one query at a time", token.span));
        }
    }
    if last.is_none() {
        return Err(Refusal::new("send a SELECT"));
    }
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    let parsed = parser.parse_statements().map_err(|error| match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
            Refusal::new(format!("the query cannot be read: {text}"))
        }
        ParserError::RecursionLimitExceeded => Refusal::new("the query is nested too deeply"),
    })?;
    match <[Statement; 1]>::try_from(parsed) {
        Ok([Statement::Query(query)]) => Ok(*query),
        Ok([_]) => Err(Refusal::new("only SELECT is answered here: nothing can be changed")),
        Err(_) => Err(Refusal::new("send one query at a time")),
    }
}

#[cfg(test)]
mod tests;

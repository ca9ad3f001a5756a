//! A second look at what was written, which trusts nothing of the writer: it knows the subqueries of the tables that were read,
//! and of everything else only its words.

use super::catalog::Catalog;
use super::dialect::ClickHouse;
use super::{Refusal, functions, operators};
use crate::views::Parameter;
use sqlparser::tokenizer::{Token, Tokenizer};
use std::collections::BTreeSet;

/// Every word that may be written without quotes, besides names of functions.
const WORDS: &[&str] = &[
    "ALL",
    "AND",
    "ANTI",
    "ARRAY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IGNORE",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "QUALIFY",
    "RANGE",
    "RESPECT",
    "RIGHT",
    "ROLLUP",
    "ROW",
    "ROWS",
    "SELECT",
    "SEMI",
    "THEN",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "UNKNOWN",
    "USING",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "false",
    "inf",
    "nan",
    "true",
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "MILLISECOND",
    "MICROSECOND",
    "NANOSECOND",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Int256",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "UInt256",
    "Float32",
    "Float64",
    "Bool",
    "String",
    "UUID",
    "Date",
    "Date32",
    "DateTime",
    "DateTime64",
    "Decimal",
    "Nullable",
    "LowCardinality",
    "Array",
    "Map",
];

/// What stands for a table while we look.
const TABLE: &str = " (`__table`) ";

/// Refuses a text that has anything in it which should not be there.
pub(super) fn inspect(text: &str, catalog: &Catalog, relations: &BTreeSet<&str>) -> Result<(), Refusal> {
    let fault = || {
        tracing::error!("a query was written that did not pass the second look");
        Refusal::new("the query cannot be made safe: write it more simply, and report it")
    };
    let mut rest = text.to_owned();
    let mut known: Vec<_> = relations.iter().filter_map(|name| catalog.get(name)).map(|(_, shown)| shown).collect();
    // The longest first: no text of one is then within what is left of another.
    known.sort_by_key(|shown| std::cmp::Reverse(shown.subquery.len()));
    for shown in known {
        rest = without(rest, &shown.subquery, shown.parameter);
    }
    let tokens = Tokenizer::new(&ClickHouse, &rest).tokenize().map_err(|_| fault())?;
    let tokens: Vec<_> = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    // Parentheses of a list behind IN that are open, in which there is no name.
    let mut of_list: usize = 0;
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let reads = reads_a_table(|back| before(back).and_then(plain));
        let known = match token {
            Token::Word(word) if word.quote_style.is_some() => word.value != catalog.database() || !reads,
            Token::Word(word) => is_word(&word.value),
            other => is_sign(other),
        };
        // Where a table may be there is a subquery, or a name of ours; behind IN there is no name.
        let in_place = match (before(1).and_then(plain), token) {
            _ if reads => match token {
                Token::LParen => true,
                Token::Word(word) => word.quote_style == Some('`') && word.value.starts_with("__"),
                _ => false,
            },
            _ if of_list > 0 => is_of_list(token),
            (Some("IN"), Token::Word(word)) => word.quote_style.is_none() && word.value == "tuple",
            (Some("IN"), token) => matches!(token, Token::LParen | Token::LBracket),
            (Some(_) | None, _) => true,
        };
        if !known || !in_place {
            return Err(fault());
        }
        let query_follows = || matches!(tokens.get(at + 1).and_then(plain), Some("SELECT" | "WITH"));
        let opens_list = before(1).and_then(plain) == Some("IN") && !query_follows();
        of_list = match token {
            Token::LParen if of_list > 0 || opens_list => of_list + 1,
            Token::RParen => of_list.saturating_sub(1),
            _ => of_list,
        };
    }
    Ok(())
}

/// A token's word, if it is not in quotes.
fn plain(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.as_str()),
        Token::LParen => Some("("),
        _ => None,
    }
}

/// Whether a table is read where we are, by the words that stand before it.
fn reads_a_table<'t>(before: impl Fn(usize) -> Option<&'t str>) -> bool {
    match before(1) {
        // What is joined with ARRAY JOIN is a column.
        Some("JOIN") => before(2) != Some("ARRAY"),
        Some("FROM") => match (before(4), before(3), before(2)) {
            (Some("EXTRACT"), Some("("), Some(part)) => !operators::PARTS.contains(&part),
            (_, Some("IS"), Some("DISTINCT")) | (Some("IS"), Some("NOT"), Some("DISTINCT")) => false,
            _ => true,
        },
        _ => false,
    }
}

/// Whether it may stand in a list of literals.
fn is_of_list(token: &Token) -> bool {
    match token {
        Token::Word(_) => matches!(plain(token), Some("NULL" | "true" | "false")),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::LParen
        | Token::RParen
        | Token::Comma
        | Token::Minus => true,
        other => matches!(other, Token::HexStringLiteral(_)),
    }
}

fn is_word(word: &str) -> bool {
    WORDS.contains(&word)
        || operators::PARTS.contains(&word)
        || functions::find(word).is_some_and(|(name, _)| name == word)
}

/// Everything but braces, semicolons, placeholders, and whatever else there is.
fn is_sign(token: &Token) -> bool {
    matches!(
        token,
        Token::Number(..)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedString(_)
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::Comma
            | Token::Period
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::DoubleColon
            | Token::Arrow
            | Token::EOF
    )
}

/// Takes a table's subquery out, whatever its argument is, if it is the same wherever it stands.
fn without(text: String, subquery: &str, parameter: Option<Parameter>) -> String {
    let Some(parameter) = parameter else { return text.replace(subquery, TABLE) };
    let parts: Vec<&str> = subquery.split(parameter.place()).collect();
    let (Some(head), Some(next)) = (parts.first(), parts.get(1)) else { return text.replace(subquery, TABLE) };
    let mut left = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once(head) {
        left.push_str(before);
        let argument = behind.find(next).and_then(|end| behind.get(..end)).filter(|text| is_argument(text, parameter));
        match argument.and_then(|argument| rest[before.len()..].strip_prefix(parts.join(argument).as_str())) {
            Some(behind) => {
                left.push_str(TABLE);
                rest = behind;
            }
            None => {
                left.push_str(head);
                rest = behind;
            }
        }
    }
    left.push_str(rest);
    left
}

fn is_argument(text: &str, parameter: Parameter) -> bool {
    match parameter {
        Parameter::Instant => {
            let number = text.strip_prefix("fromUnixTimestamp64Milli(").and_then(|text| text.strip_suffix(", 'UTC')"));
            number.is_some_and(|number| number.parse::<i64>().is_ok())
        }
        Parameter::Days => text.parse::<u16>().is_ok(),
    }
}

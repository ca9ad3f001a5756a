//! A second look at what was written, which trusts nothing of the writer: it knows the subqueries of the tables that were read,
//! and of everything else only its words.

use super::catalog::Catalog;
use super::{DIALECT, Refusal, functions};
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
    "FIRST",
    "FOLLOWING",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IGNORE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
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
    "UNBOUNDED",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "false",
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
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
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
    let tokens = Tokenizer::new(&DIALECT, &rest).tokenize().map_err(|_| fault())?;
    let mut before = None;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        let known = match token {
            Token::Word(word) if word.quote_style.is_some() => {
                word.value != catalog.database() || before != Some("FROM")
            }
            Token::Word(word) => {
                WORDS.contains(&word.value.as_str())
                    || functions::find(&word.value).is_some_and(|(name, _)| name == word.value)
            }
            Token::Number(..)
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
            | Token::Arrow
            | Token::EOF => true,
            // Braces, semicolons, placeholders, and whatever else there is.
            _ => false,
        };
        // Where a table may be there is a subquery, or a name of ours; behind IN there is no name.
        let in_place = match (before, token) {
            (Some("FROM" | "JOIN"), Token::LParen) => true,
            (Some("FROM" | "JOIN"), Token::Word(word)) => word.quote_style == Some('`') && word.value.starts_with("__"),
            (Some("FROM" | "JOIN"), _) => false,
            (Some("IN"), Token::Word(word)) => word.quote_style.is_none() && word.value == "tuple",
            (Some("IN"), token) => matches!(token, Token::LParen | Token::LBracket),
            (Some(_) | None, _) => true,
        };
        if !known || !in_place {
            return Err(fault());
        }
        let array_join = matches!((before, token), (Some("ARRAY"), Token::Word(word)) if word.value == "JOIN");
        before = match token {
            // What is joined there is a column.
            _ if array_join => None,
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.as_str()),
            _ => None,
        };
    }
    Ok(())
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

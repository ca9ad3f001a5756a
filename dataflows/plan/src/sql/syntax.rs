//! What to write instead of what does not parse, where it can be guessed: habits of other dialects and usual slips.

use super::parse::is_word;
use sqlparser::tokenizer::Token;

/// Words that a statement begins with.
const FIRST_WORDS: [&str; 6] = ["CREATE", "DROP", "INSERT", "SELECT", "ALTER", "WITH"];

/// A syntax error's surroundings.
pub struct Around<'t> {
    /// The parser's message.
    pub message: &'t str,
    /// What was found.
    pub found: Option<&'t Token>,
    /// What stands before it.
    pub before: Option<&'t Token>,
    /// The whole statement.
    pub statement: &'t [&'t Token],
}

/// A help line.
pub fn hint(around: &Around<'_>) -> Option<&'static str> {
    let found_text = around.found.map(ToString::to_string).unwrap_or_default();
    let found = |word: &str| around.found.is_some_and(|token| is_word(token, word));
    let before = |word: &str| around.before.is_some_and(|token| is_word(token, word));
    let has = |word: &str| around.statement.iter().any(|token| is_word(token, word));
    Some(match found_text.as_str() {
        "`" => "names stand bare or in double quotes, texts in single quotes",
        "#" => "comments begin with --",
        _ if has("WATERMARK") => "how late events may come is an option: WITH (…, lateness = '10 minutes')",
        _ if has("DESCRIPTOR") || has("TUMBLING") || has("HOPPING") => {
            "the window stands in GROUP BY: GROUP BY student_id, tumble(INTERVAL '1 day')"
        }
        _ if found("STREAM") => "sources are tables: CREATE TABLE name (column type, …) WITH (connector = 'log', …)",
        _ if found("EMIT") => "a view is always up to date: leave EMIT out",
        _ if before("IN") => "a list stands in parentheses: IN ('answer', 'question')",
        _ if around.message.contains("after IS") => "texts and numbers are compared with =, not with IS",
        _ if around.message.starts_with("expected: AND") && has("BETWEEN") => "value BETWEEN low AND high",
        _ if has("CASE") && !has("END") => "CASE WHEN condition THEN value ELSE value END",
        _ if matches!(around.before, Some(Token::Comma)) => "the comma before it is one too many",
        _ if around.message.starts_with("expected: AS") && has("VIEW") => "CREATE MATERIALIZED VIEW name AS SELECT …",
        _ if has("TABLE") && around.message.contains("column definition") => {
            "CREATE TABLE name (column type, …) WITH (connector = 'log', …)"
        }
        _ => return None,
    })
}

/// A help line for what stands behind the end of a statement.
pub fn hint_behind(around: &Around<'_>) -> &'static str {
    if around.found.is_some_and(|token| FIRST_WORDS.iter().any(|word| is_word(token, word))) {
        return "the statement before it does not end: write a semicolon";
    }
    hint(around).unwrap_or("a comma may be missing before it, or the semicolon that ends the statement")
}

/// The parser's message, without what says nothing here.
pub fn message(text: &str) -> &str {
    match text.split_once(" | ") {
        Some((_, rest)) if rest.contains(" after IS") => {
            "expected NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM after IS"
        }
        _ => text,
    }
}

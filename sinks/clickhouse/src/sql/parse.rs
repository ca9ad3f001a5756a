//! From a text to the one statement in it: a query, `SHOW TABLES` or `DESCRIBE TABLE`.

use super::Refusal;
use super::dialect::ClickHouse;
use sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementOptions,
    Spanned, Statement,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Whitespace};

/// The most tokens: a tree is as deep as a chain of operators is long, and is dropped recursively.
const TOKENS_MAX: usize = 5_000;

/// Characters before and behind the place of an error that its message quotes.
const NEAR_CHARS: usize = 24;

/// What was read. Texts in it are as they stand between their quotes.
pub(super) enum Read {
    Query(Box<Query>),
    /// `SHOW TABLES`
    Tables {
        /// Behind LIKE.
        like: Option<String>,
    },
    /// `DESCRIBE TABLE`, or `SHOW COLUMNS FROM`
    Columns(Ident),
}

/// Exactly one statement.
pub(super) fn read(text: &str) -> Result<Read, Refusal> {
    let tokens = tokens(text)?;
    let mut parser = Parser::new(&ClickHouse).with_tokens_with_locations(tokens);
    let parsed = parser.parse_statements().map_err(|error| match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => unreadable(text, &message),
        ParserError::RecursionLimitExceeded => Refusal::new("the query is nested too deeply"),
    })?;
    let [statement] = <[Statement; 1]>::try_from(parsed).map_err(|_| Refusal::new("send one query at a time"))?;
    match statement {
        Statement::Query(query) => Ok(Read::Query(query)),
        Statement::ShowTables {
            terse: false,
            history: false,
            extended: false,
            full: false,
            external: false,
            show_options,
        } => shown_tables(show_options),
        Statement::ExplainTable { table_name, .. } => alone(&table_name),
        Statement::ShowColumns { extended: false, full: false, show_options } => match show_options {
            ShowStatementOptions {
                show_in: Some(within),
                starts_with: None,
                limit: None,
                limit_from: None,
                filter_position: None,
            } => within.parent_name.as_ref().map_or_else(|| Err(only()), alone),
            _ => Err(Refusal::new("write SHOW COLUMNS FROM and the table's name, and nothing else")),
        },
        _ => Err(only()),
    }
}

fn only() -> Refusal {
    Refusal::new("only SELECT is answered here, and SHOW TABLES and DESCRIBE TABLE: nothing can be changed")
}

fn shown_tables(options: ShowStatementOptions) -> Result<Read, Refusal> {
    let ShowStatementOptions { show_in, starts_with, limit, limit_from, filter_position } = options;
    let other = show_in.is_some() || starts_with.is_some() || limit.is_some() || limit_from.is_some();
    let refused = || Refusal::new("write SHOW TABLES, or SHOW TABLES LIKE '…': there are no other databases here");
    if other {
        return Err(refused());
    }
    match filter_position {
        None => Ok(Read::Tables { like: None }),
        Some(
            ShowStatementFilterPosition::Infix(ShowStatementFilter::Like(raw))
            | ShowStatementFilterPosition::Suffix(ShowStatementFilter::Like(raw)),
        ) => {
            let decoded = super::literals::decode(&raw).map_err(Refusal::new)?;
            Ok(Read::Tables { like: Some(String::from_utf8_lossy(&decoded).into_owned()) })
        }
        Some(_) => Err(refused()),
    }
}

fn alone(name: &ObjectName) -> Result<Read, Refusal> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok(Read::Columns(ident.clone())),
        _ => Err(Refusal::at("write the table's name alone: there are no other databases here", name.span())),
    }
}

/// Whether a name fits a pattern of LIKE. Goes back to the last `%` alone, so that no pattern takes long.
pub(super) fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<Wanted>) = (name.chars().collect(), wanted(pattern));
    let (mut at, mut next) = (0, 0);
    // The last `%`, and up to where it reaches.
    let mut any: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(next) {
            Some(Wanted::Any) => {
                any = Some((next, at));
                next += 1;
            }
            Some(Wanted::One) => (at, next) = (at + 1, next + 1),
            Some(Wanted::Char(c)) if *c == name[at] => (at, next) = (at + 1, next + 1),
            Some(Wanted::Char(_)) | None => match any {
                None => return false,
                Some((percent, reached)) => {
                    any = Some((percent, reached + 1));
                    (at, next) = (reached + 1, percent + 1);
                }
            },
        }
    }
    pattern[next..].iter().all(|rest| *rest == Wanted::Any)
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `%`
    Any,
    /// `_`
    One,
    /// This character.
    Char(char),
}

fn wanted(pattern: &str) -> Vec<Wanted> {
    let mut chars = pattern.chars();
    let mut parts = Vec::new();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' => Wanted::Any,
            '_' => Wanted::One,
            // A backslash at the end is one.
            '\\' => Wanted::Char(chars.next().unwrap_or('\\')),
            other => Wanted::Char(other),
        });
    }
    parts
}

/// The tokens, with texts as they stand between their quotes: the parser's reading of escapes is not ClickHouse's.
fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, Refusal> {
    let tokens = Tokenizer::new(&ClickHouse, text).with_unescape(false).tokenize_with_location();
    let mut tokens = tokens.map_err(|error| {
        let (line, column) = (error.location.line, error.location.column);
        let message = format!("{}, near {}", error.message, near(text, line, column));
        Refusal { message, place: (line > 0).then_some((line, column)) }
    })?;
    let mut last = None;
    let (mut count, mut statements) = (0, 0);
    let mut within = false;
    for token in &mut tokens {
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
            let message = format!("the query is too long: more than {TOKENS_MAX} words and signs");
            return Err(Refusal::at(message, token.span));
        }
        if statements > 1 {
            return Err(Refusal::at("send one query at a time", token.span));
        }
        // `0x41` is a number and `x'41'` a text, which are one token to the parser: the text has a quote more.
        if let Token::HexStringLiteral(digits) = &token.token
            && width(token.span) == u64::try_from(digits.chars().count()).ok().and_then(|digits| digits.checked_add(2))
        {
            token.token = Token::Number(format!("0x{digits}"), false);
        }
    }
    adjacent(text, &tokens)?;
    if last.is_none() { Err(Refusal::new("send a SELECT")) } else { Ok(tokens) }
}

/// How many characters a token has that is on one line.
fn width(span: Span) -> Option<u64> {
    (span.start.line == span.end.line).then(|| span.end.column.checked_sub(span.start.column)).flatten()
}

/// Refuses what is one token to ClickHouse and two to the parser, which would take the second for an alias.
fn adjacent(text: &str, tokens: &[TokenWithSpan]) -> Result<(), Refusal> {
    for pair in tokens.windows(2) {
        let [first, second] = pair else { continue };
        if let Some(what) = other_reading(&first.token, &second.token) {
            return Err(Refusal::at(what, first.span));
        }
        let what = match (&first.token, &second.token) {
            (Token::Number(..), Token::Word(_)) => "a number does not end in letters",
            (Token::Word(word), Token::SingleQuotedString(_))
                if word.quote_style.is_none() && word.keyword != Keyword::DATE =>
            {
                "a text with a letter before it is not allowed here"
            }
            _ => continue,
        };
        // `WHEN'a'` is two words.
        let is_prefix = match &first.token {
            Token::Word(word) => word.value.len() == 1,
            _ => true,
        };
        if is_prefix {
            let (line, column) = (first.span.start.line, first.span.start.column);
            return Err(Refusal::at(format!("{what}: {}", near(text, line, column)), first.span));
        }
    }
    Ok(())
}

/// Signs that ClickHouse and the parser tell apart in other ways.
fn other_reading(first: &Token, second: &Token) -> Option<&'static str> {
    let comment = |w: &Whitespace| match w {
        Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_) => true,
        Whitespace::Space | Whitespace::Newline | Whitespace::Tab => false,
    };
    match (first, second) {
        (Token::Div, Token::Div) => Some(SLASHES),
        (Token::Div, Token::Whitespace(white)) if comment(white) => Some(SLASHES),
        (Token::PGCubeRoot, _) => Some("`||/` is not read here: write a space behind `||`"),
        _ => None,
    }
}

/// What is said of two of them.
const SLASHES: &str =
    "`//` begins a comment in ClickHouse: write `--` for a comment, or a space behind the `/` of a division";

/// A parser's message, with the query's own words around the place that it names at its end.
fn unreadable(text: &str, message: &str) -> Refusal {
    let place = message.rsplit_once(" at Line: ").and_then(|(before, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((before, line.parse().ok()?, column.trim().parse().ok()?))
    });
    match place {
        Some((before, line, column)) => Refusal {
            message: format!("the query cannot be read: {before}, near {}", near(text, line, column)),
            place: Some((line, column)),
        },
        None => Refusal::new(format!("the query cannot be read: {message}")),
    }
}

/// The query's words around a place.
fn near(text: &str, line: u64, column: u64) -> String {
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
    let chars: Vec<char> = text.split('\n').nth(index(line)).unwrap_or_default().chars().collect();
    let at = index(column).min(chars.len());
    let (from, to) = (at.saturating_sub(NEAR_CHARS), at.saturating_add(NEAR_CHARS).min(chars.len()));
    format!("`{}`", chars.get(from..to).unwrap_or_default().iter().collect::<String>().trim())
}

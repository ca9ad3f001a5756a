//! A file's text to statements, by `sqlparser`, and places in the text. Knows nothing of what the statements mean.
//!
//! `sqlparser` gives places as lines and columns, and for many expressions only those of a part (a CAST is placed where
//! its operand is). The tokens have exact places, so [`Source::range`] widens what the parser says with their help.

use super::SqlFault;
use super::syntax::{self, Around};
use super::tokenize::tokenize;
use sqlparser::ast::{Expr, FunctionArguments, Ident, Spanned, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};
use std::ops::Range;

/// The dialect: the only one of `sqlparser` whose precedences are PostgreSQL's, `->>` and `IS` among them.
pub const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// The most tokens in a file. The parser makes a tree as deep as a chain of operators is long, and drops it
/// recursively; this bounds the stack that it can need.
const TOKENS_MAX: usize = 20_000;

/// What a file with more is told.
const TOO_LONG: &str = "the file is too long: more than 20000 tokens";

/// A file's text and its tokens.
pub struct Source<'t> {
    text: &'t str,
    /// Where each line starts.
    lines: Vec<usize>,
    /// Without white space and comments.
    tokens: Vec<(Token, Range<usize>)>,
}

/// A parsed statement and the place of its text.
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// From its first to its last token.
    pub range: Range<usize>,
}

/// A statement that does not parse.
pub struct Unparsed {
    /// What is wrong.
    pub fault: SqlFault,
    /// The name of the table or view that it would have made.
    pub name: Option<String>,
}

impl<'t> Source<'t> {
    /// Cuts a text into tokens. A fault here (such as a text without its closing quote) leaves no statements to see.
    pub fn new(text: &'t str) -> Result<(Self, Vec<Vec<TokenWithSpan>>), SqlFault> {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut source = Self { text, lines, tokens: Vec::new() };
        let tokens = tokenize(text).map_err(|error| {
            let start = source.offset(error.location).min(source.text.len());
            SqlFault::new(source.character(start), lower_first(&error.message))
        })?;
        if let Some(token) = tokens.get(2 * TOKENS_MAX) {
            // White space counts as well here, so that no place is sought in what is far too long.
            let at = source.offset(token.span.start);
            return Err(SqlFault::new(source.character(at), TOO_LONG));
        }
        let mut statements = vec![Vec::new()];
        let mut cursor = Cursor::new(text);
        for token in tokens {
            let range = cursor.advance(token.span.start)..cursor.advance(token.span.end);
            match &token.token {
                Token::SemiColon => statements.push(Vec::new()),
                Token::Whitespace(_) | Token::EOF => continue,
                _ => {
                    if let Some(statement) = statements.last_mut() {
                        statement.push(token.clone());
                    }
                }
            }
            source.tokens.push((token.token, range));
        }
        if let Some((_, range)) = source.tokens.get(TOKENS_MAX) {
            return Err(SqlFault::new(range.clone(), TOO_LONG));
        }
        statements.retain(|tokens| !tokens.is_empty());
        Ok((source, statements))
    }

    /// Parses one statement's tokens.
    pub fn parse(&self, tokens: Vec<TokenWithSpan>) -> Result<Parsed, Unparsed> {
        let range = self.tokens_range(&tokens);
        let name = created_name(&tokens);
        let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
        match parser.parse_statement() {
            Ok(statement) => {
                let next = parser.peek_token();
                if next.token == Token::EOF {
                    return Ok(Parsed { statement, range });
                }
                let message = format!("syntax error: expected the end of the statement, found {}", next.token);
                let at = self.span(next.span).unwrap_or_else(|| range.clone());
                let help = self.around("", &at, &range, syntax::hint_behind);
                Err(Unparsed { fault: SqlFault::new(at, message).help(help), name })
            }
            Err(error) => {
                let next = parser.peek_token().span;
                Err(Unparsed { fault: self.syntax_fault(error, next, range), name })
            }
        }
    }

    /// Parses an expression alone.
    pub fn parse_expression(&self, tokens: Vec<TokenWithSpan>) -> Result<Expr, SqlFault> {
        let range = self.tokens_range(&tokens);
        let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
        let parsed = parser.parse_expr();
        let next = parser.peek_token();
        match parsed {
            Ok(expression) if next.token == Token::EOF => Ok(expression),
            Ok(_) => {
                let message = format!("syntax error: expected the end of the expression, found {}", next.token);
                Err(SqlFault::new(self.span(next.span).unwrap_or(range), message))
            }
            Err(error) => Err(self.syntax_fault(error, next.span, range)),
        }
    }

    fn tokens_range(&self, tokens: &[TokenWithSpan]) -> Range<usize> {
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => self.offset(first.span.start)..self.offset(last.span.end),
            _ => 0..self.text.len(),
        }
    }

    /// The parser's error; its place is in its text, where it has one.
    fn syntax_fault(&self, error: ParserError, next: Span, statement: Range<usize>) -> SqlFault {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
            ParserError::RecursionLimitExceeded => {
                let at = self.span(next).unwrap_or(statement);
                return SqlFault::new(at, "the statement is nested too deeply");
            }
        };
        let end = statement.end..statement.end;
        let (message, location) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => {
                let numbers = place.split_once(", Column: ");
                let location = numbers.and_then(|(line, column)| {
                    Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
                });
                (message, location)
            }
            None => (text.as_str(), Some(next.start)),
        };
        let at = location.filter(|l| l.line > 0).map(|l| self.found(self.offset(l), message));
        let at = at.unwrap_or(end);
        let message = lower_first(syntax::message(message));
        let help = self.around(&message, &at, &statement, syntax::hint).map(str::to_owned);
        SqlFault { span: at, message: format!("syntax error: {message}"), help }
    }

    /// Tells what stands around a syntax error.
    fn around<T>(
        &self,
        message: &str,
        at: &Range<usize>,
        statement: &Range<usize>,
        tell: impl FnOnce(&Around<'_>) -> T,
    ) -> T {
        let token = |index: usize| self.tokens.get(index).map(|(token, _)| token);
        let found = self.index_at(at.start);
        let inside = self.tokens.iter().filter(|(_, range)| statement.contains(&range.start));
        tell(&Around {
            message,
            found: found.and_then(token),
            before: found.and_then(|index| index.checked_sub(1)).and_then(token),
            statement: &inside.map(|(token, _)| token).collect::<Vec<_>>(),
        })
    }

    /// The text of a place.
    pub fn text(&self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    /// The byte offset of a line and column; columns count characters.
    fn offset(&self, at: Location) -> usize {
        let line = usize::try_from(at.line).unwrap_or(usize::MAX).saturating_sub(1);
        let column = usize::try_from(at.column).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(&start) = self.lines.get(line) else { return self.text.len() };
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset)
    }

    /// The character at an offset.
    fn character(&self, at: usize) -> Range<usize> {
        at..at + self.text[at..].chars().next().map_or(0, char::len_utf8)
    }

    /// The token that a syntax error means: the one at its place, or the one before it where the message ends with that
    /// one, `… found: FROM` (the parser has stepped over some that it complains about).
    fn found(&self, at: usize, message: &str) -> Range<usize> {
        let Some(index) = self.index_at(at) else { return self.character(at) };
        let named = message.rsplit_once("found: ").map(|(_, token)| token);
        let is_named = |index: &usize| Some(self.tokens[*index].0.to_string().as_str()) == named;
        let before = index.checked_sub(1).filter(|before| !is_named(&index) && is_named(before));
        self.tokens[before.unwrap_or(index)].1.clone()
    }

    fn index_at(&self, start: usize) -> Option<usize> {
        self.tokens.binary_search_by_key(&start, |(_, range)| range.start).ok()
    }

    /// The last token that ends at or before an offset.
    fn index_before(&self, end: usize) -> Option<usize> {
        self.tokens.partition_point(|(_, range)| range.end <= end).checked_sub(1)
    }

    fn span(&self, span: Span) -> Option<Range<usize>> {
        (span.start.line > 0).then(|| self.offset(span.start)..self.offset(span.end))
    }

    /// The place of a name.
    pub fn ident(&self, ident: &Ident) -> Range<usize> {
        self.span(ident.span).unwrap_or(0..0)
    }

    /// The place of a name that may be quoted as a text, which the parser does not place.
    pub fn quoted_ident(&self, ident: &Ident, within: &Range<usize>) -> Range<usize> {
        let named = |token: &Token| matches!(token, Token::SingleQuotedString(text) if *text == ident.value);
        let inside = self.tokens.iter().filter(|(_, range)| within.contains(&range.start));
        let quoted = || inside.map(|(token, range)| (token, range)).find(|(token, _)| named(token));
        self.span(ident.span).or_else(|| quoted().map(|(_, range)| range.clone())).unwrap_or_else(|| within.clone())
    }

    /// The place of anything that the parser places well, or what it stands in.
    pub fn place(&self, node: &impl Spanned, within: &Range<usize>) -> Range<usize> {
        self.span(node.span()).unwrap_or_else(|| within.clone())
    }

    /// The place of the first keyword in a place, such as a clause's; the place itself where it is not there.
    pub fn keyword(&self, word: &str, within: &Range<usize>) -> Range<usize> {
        let inside = |range: &Range<usize>| range.start >= within.start && range.end <= within.end;
        let tokens = self.tokens.iter().filter(|(_, range)| inside(range));
        let mut found = tokens.filter(|(token, _)| is_word(token, word));
        found.next().map_or_else(|| within.clone(), |(_, range)| range.clone())
    }

    /// The place of an expression, whole.
    pub fn range(&self, expression: &Expr, within: &Range<usize>) -> Range<usize> {
        self.expression(expression).unwrap_or_else(|| within.clone())
    }

    fn expression(&self, expression: &Expr) -> Option<Range<usize>> {
        let both = |left: &Expr, right: &Expr| Some(self.expression(left)?.start..self.expression(right)?.end);
        match expression {
            Expr::BinaryOp { left, right, .. }
            | Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right) => both(left, right),
            Expr::Between { expr, high, .. } => both(expr, high),
            Expr::RLike { expr, pattern, .. } | Expr::SimilarTo { expr, pattern, .. } => both(expr, pattern),
            Expr::Like { expr, pattern, escape_char, .. } | Expr::ILike { expr, pattern, escape_char, .. } => {
                both(expr, escape_char.as_ref().unwrap_or(pattern))
            }
            Expr::IsNull(e) | Expr::IsTrue(e) | Expr::IsFalse(e) | Expr::IsUnknown(e) => {
                let start = self.expression(e)?;
                let words = if self.next_is(start.end, "ISNULL") { 1 } else { 2 };
                self.widen(start, 0, words)
            }
            Expr::IsNotNull(e) | Expr::IsNotTrue(e) | Expr::IsNotFalse(e) | Expr::IsNotUnknown(e) => {
                let start = self.expression(e)?;
                let words = if self.next_is(start.end, "NOTNULL") { 1 } else { 3 };
                self.widen(start, 0, words)
            }
            Expr::InList { expr, list, .. } => {
                let start = self.expression(expr)?.start;
                let last = self.expression(list.last()?)?;
                Some(start..self.widen(last, 0, 1)?.end)
            }
            Expr::UnaryOp { expr, .. } => self.widen(self.expression(expr)?, 1, 0),
            Expr::Nested(e) => self.widen(self.expression(e)?, 1, 1),
            Expr::TypedString(_) => self.widen(self.span(expression.span())?, 1, 0),
            Expr::Interval(interval) => {
                let value = self.widen(self.expression(&interval.value)?, 1, 0)?;
                self.widen(value, 0, usize::from(interval.leading_field.is_some()))
            }
            Expr::Cast { expr, .. } => {
                let operand = self.expression(expr)?;
                let next = self.tokens.get(self.index_before(operand.end)? + 1);
                if next.is_some_and(|(token, _)| *token == Token::DoubleColon) {
                    self.widen(operand, 0, 2)
                } else {
                    self.call_around(operand)
                }
            }
            Expr::Extract { expr, .. }
            | Expr::Ceil { expr, .. }
            | Expr::Floor { expr, .. }
            | Expr::Substring { expr, .. }
            | Expr::Trim { expr, .. } => self.call_around(self.expression(expr)?),
            Expr::Function(function) => {
                let name = self.span(function.name.span())?;
                if matches!(function.args, FunctionArguments::None) {
                    return Some(name);
                }
                let open = self.index_before(name.end)? + 1;
                let arguments = self.closing(open)?;
                // Behind the arguments' parenthesis comes FILTER, and its own.
                let end = match function.filter {
                    Some(_) => self.closing(self.index_before(arguments)? + 2)?,
                    None => arguments,
                };
                Some(name.start..end)
            }
            Expr::Case { case_token, end_token, .. } => {
                Some(self.span(case_token.0.span)?.start..self.span(end_token.0.span)?.end)
            }
            _ => self.span(expression.span()),
        }
    }

    /// Whether the token after an offset is a word.
    fn next_is(&self, end: usize, word: &str) -> bool {
        let next = self.index_before(end).and_then(|index| self.tokens.get(index + 1));
        next.is_some_and(|(token, _)| is_word(token, word))
    }

    /// A place with some tokens more on either side.
    fn widen(&self, range: Range<usize>, before: usize, after: usize) -> Option<Range<usize>> {
        let first = self.index_at(range.start)?.checked_sub(before)?;
        let last = (self.index_before(range.end)? + after).min(self.tokens.len().checked_sub(1)?);
        Some(self.tokens[first].1.start..self.tokens[last].1.end)
    }

    /// The call whose parentheses hold a place: from its name to the closing parenthesis.
    fn call_around(&self, inner: Range<usize>) -> Option<Range<usize>> {
        let mut depth = 0;
        let mut open = self.index_at(inner.start)?;
        loop {
            open = open.checked_sub(1)?;
            match self.tokens[open].0 {
                Token::RParen => depth += 1,
                Token::LParen if depth == 0 => break,
                Token::LParen => depth -= 1,
                _ => {}
            }
        }
        Some(self.tokens[open.checked_sub(1)?].1.start..self.closing(open)?)
    }

    /// Where the parenthesis closes that opens at a token.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0;
        for (token, range) in self.tokens.get(open..)? {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth <= 0 {
                return Some(range.end);
            }
        }
        None
    }
}

/// Turns lines and columns that only grow into byte offsets, in one pass over the text.
struct Cursor<'t> {
    rest: std::iter::Peekable<std::str::CharIndices<'t>>,
    at: Location,
    end: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text.char_indices().peekable(), at: Location { line: 1, column: 1 }, end: text.len() }
    }

    fn advance(&mut self, to: Location) -> usize {
        while self.at < to
            && let Some((_, c)) = self.rest.next()
        {
            if c == '\n' {
                self.at = Location { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.rest.peek().map_or(self.end, |(at, _)| *at)
    }
}

/// Whether a token is this word, bare.
pub fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// The name in `CREATE TABLE [IF NOT EXISTS] name` and `CREATE MATERIALIZED VIEW name`.
fn created_name(tokens: &[TokenWithSpan]) -> Option<String> {
    let kind = |t: &TokenWithSpan| is_word(&t.token, "TABLE") || is_word(&t.token, "VIEW");
    let kind = tokens.iter().take(6).position(kind)?;
    let mut names = tokens[kind + 1..].iter().filter_map(|t| match &t.token {
        Token::Word(w) => Some(if w.quote_style.is_some() { w.value.clone() } else { w.value.to_lowercase() }),
        _ => None,
    });
    names.find(|name| !matches!(name.as_str(), "if" | "not" | "exists"))
}

/// The parser's messages start with a capital; ours do not.
fn lower_first(text: &str) -> String {
    let mut rest = text.chars();
    let starts_word = !text.chars().nth(1).is_some_and(char::is_uppercase);
    match rest.next() {
        Some(first) if starts_word => first.to_lowercase().chain(rest).collect(),
        _ => text.to_owned(),
    }
}

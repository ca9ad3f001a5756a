//! What kind of statement a request brings: an INSERT with data behind it, or anything else; and what a server must
//! not run. The engine parses it again: this decides only how it is handed over.

use crate::exception::{Exception, code};
use crate::lexer::{Kind, Lexer, Token};

/// A statement, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// An INSERT whose data comes behind it.
    Insert {
        /// It without `FORMAT` and data: so many bytes.
        head: usize,
        /// What `FORMAT` or `VALUES` says.
        format: Option<String>,
        /// Where the data begins.
        data: usize,
    },
    /// Anything else.
    Whole {
        /// What its `FORMAT` says.
        format: Option<String>,
        /// `SET` or `USE`: it changes the session.
        changes_session: bool,
    },
}

/// What a text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Known.
    Known(Statement),
    /// An INSERT of which it is not known yet what follows.
    NeedsMore,
}

/// Looks at the beginning of a request. With `complete` it is all of it.
pub fn read(text: &[u8], complete: bool) -> Result<Reading, Exception> {
    let mut lexer = Lexer::new(text);
    let Some(first) = lexer.next() else {
        return if complete { Err(syntax("Empty query")) } else { Ok(Reading::NeedsMore) };
    };
    if is(text, &first, "INSERT") {
        return insert(text, lexer, complete);
    }
    if !complete {
        return Ok(Reading::NeedsMore);
    }
    let changes_session = is(text, &first, "SET") || is(text, &first, "USE");
    Ok(Reading::Known(Statement::Whole { format: whole(text)?, changes_session }))
}

/// The rest of an INSERT, behind that word.
fn insert(text: &[u8], mut lexer: Lexer<'_>, complete: bool) -> Result<Reading, Exception> {
    let Some(mut end) = behind_the_name(text, &mut lexer) else {
        return if complete { whole_insert(text) } else { Ok(Reading::NeedsMore) };
    };
    let mut depth = 0_usize;
    while let Some(token) = lexer.next() {
        // It may go on in the part that is not here.
        if !complete && token.range.end == text.len() {
            return Ok(Reading::NeedsMore);
        }
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 => {
                if is(text, &token, "VALUES") {
                    let format = Some("Values".to_owned());
                    return Ok(Reading::Known(Statement::Insert { head: end, format, data: token.range.end }));
                }
                if is(text, &token, "FORMAT") {
                    return Ok(with_format(text, lexer, end, complete));
                }
                if is(text, &token, "FROM") {
                    return Err(not_implemented("INSERT … FROM INFILE would read a file of the server: send the data"));
                }
                if ["SELECT", "WITH", "WATCH"].iter().any(|word| is(text, &token, word)) {
                    return if complete { whole_insert(text) } else { Ok(Reading::NeedsMore) };
                }
            }
            Kind::Semicolon if depth == 0 => {
                return if complete { whole_insert(text) } else { Ok(Reading::NeedsMore) };
            }
            Kind::Word | Kind::Quoted | Kind::Semicolon | Kind::Other => {}
        }
        end = token.range.end;
    }
    if !complete {
        return Ok(Reading::NeedsMore);
    }
    // Without FORMAT and data: what there is, is the statement. `(SELECT …)` is one too.
    if Lexer::new(text).any(|token| is(text, &token, "SELECT")) {
        return whole_insert(text);
    }
    Ok(Reading::Known(Statement::Insert { head: end, format: None, data: text.len() }))
}

/// Behind `INTO [TABLE] [FUNCTION] name.name`, which may be words such as `values`. `None`: the text ends before.
fn behind_the_name(text: &[u8], lexer: &mut Lexer<'_>) -> Option<usize> {
    let mut token = lexer.next()?;
    for word in ["INTO", "TABLE", "FUNCTION"] {
        if is(text, &token, word) {
            token = lexer.next()?;
        }
    }
    loop {
        let end = token.range.end;
        let mut ahead = lexer.clone();
        if ahead.next().is_none_or(|dot| &text[dot.range] != b".") {
            return Some(end);
        }
        *lexer = ahead;
        token = lexer.next()?;
    }
}

/// Behind `FORMAT`: its name, then the data, which begins behind blanks and at most one end of line.
fn with_format(text: &[u8], mut lexer: Lexer<'_>, head: usize, complete: bool) -> Reading {
    let name = lexer.next().filter(|name| complete || name.range.end < text.len());
    let Some(name) = name else { return Reading::NeedsMore };
    let mut data = name.range.end;
    data += text[data..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0x0C)).count();
    if !complete && data + 2 > text.len() {
        return Reading::NeedsMore;
    }
    data += usize::from(text.get(data) == Some(&b'\r'));
    data += usize::from(text.get(data) == Some(&b'\n'));
    let format = Some(String::from_utf8_lossy(&text[name.range]).into_owned());
    Reading::Known(Statement::Insert { head, format, data })
}

/// An INSERT that is complete without data: `INSERT … SELECT`.
fn whole_insert(text: &[u8]) -> Result<Reading, Exception> {
    if whole(text)?.is_some() {
        // `INSERT … SELECT … FROM input(…) FORMAT …`: the library inserts nothing and says nothing.
        return Err(not_implemented(
            "INSERT … SELECT … FORMAT with data behind it: insert the data into a table first",
        ));
    }
    Ok(Reading::Known(Statement::Whole { format: None, changes_session: false }))
}

/// The `FORMAT` at the end of a statement. Refuses what is not one statement, or writes a file of the server.
fn whole(text: &[u8]) -> Result<Option<String>, Exception> {
    let (mut format, mut depth, mut ended) = (None, 0_usize, false);
    let mut lexer = Lexer::new(text);
    while let Some(token) = lexer.next() {
        if ended && token.kind != Kind::Semicolon {
            return Err(syntax("Multi-statements are not allowed"));
        }
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Semicolon => ended = true,
            Kind::Word if depth == 0 => {
                let mut ahead = lexer.clone();
                let next = ahead.next();
                let follows = |word| next.as_ref().is_some_and(|next| is(text, next, word));
                if is(text, &token, "INTO") && follows("OUTFILE") {
                    let message = "INTO OUTFILE is not allowed";
                    return Err(Exception::new(code::INTO_OUTFILE_NOT_ALLOWED, "INTO_OUTFILE_NOT_ALLOWED", message));
                }
                let last = ahead.next().is_none_or(|then| {
                    then.kind == Kind::Semicolon || is(text, &then, "SETTINGS") || is(text, &then, "INTO")
                });
                if let (true, Some(name), true) = (is(text, &token, "FORMAT"), &next, last)
                    && name.kind == Kind::Word
                {
                    format = Some(String::from_utf8_lossy(&text[name.range.clone()]).into_owned());
                }
            }
            Kind::Word | Kind::Quoted | Kind::Other => {}
        }
    }
    Ok(format)
}

/// Whether one of these words is in the statement, outside of texts and comments.
pub fn has_word(text: &[u8], words: &[&str]) -> bool {
    Lexer::new(text).any(|token| words.iter().any(|word| is(text, &token, word)))
}

fn is(text: &[u8], token: &Token, word: &str) -> bool {
    token.kind == Kind::Word && text[token.range.clone()].eq_ignore_ascii_case(word.as_bytes())
}

fn syntax(message: &str) -> Exception {
    Exception::new(code::SYNTAX_ERROR, "SYNTAX_ERROR", format!("Syntax error: {message}"))
}

fn not_implemented(message: &str) -> Exception {
    Exception::new(code::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn insert(text: &str) -> (&str, Option<String>, &str) {
        match read(text.as_bytes(), true).unwrap() {
            Reading::Known(Statement::Insert { head, format, data }) => (&text[..head], format, &text[data..]),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn inserts_are_cut_before_their_data() {
        let csv = Some("CSV".to_owned());
        let values = Some("Values".to_owned());
        assert_eq!(insert("INSERT INTO t FORMAT CSV\n1,2\n"), ("INSERT INTO t", csv.clone(), "1,2\n"));
        assert_eq!(insert("insert into t(a, b) format CSV  \r\n\n1"), ("insert into t(a, b)", csv.clone(), "\n1"));
        assert_eq!(
            insert("INSERT INTO db.t SETTINGS async_insert=1 FORMAT CSV 1"),
            ("INSERT INTO db.t SETTINGS async_insert=1", csv.clone(), "1")
        );
        assert_eq!(insert("INSERT INTO `values` VALUES (1)"), ("INSERT INTO `values`", values.clone(), " (1)"));
        assert_eq!(insert("INSERT INTO values VALUES (1)"), ("INSERT INTO values", values.clone(), " (1)"));
        assert_eq!(insert("INSERT INTO db.format (values) VALUES"), ("INSERT INTO db.format (values)", values, ""));
        assert_eq!(
            insert("/* VALUES */ INSERT INTO FUNCTION f('FORMAT') FORMAT CSV\n"),
            ("/* VALUES */ INSERT INTO FUNCTION f('FORMAT')", csv, "")
        );
        assert_eq!(insert("INSERT INTO t (a)"), ("INSERT INTO t (a)", None, ""));
    }

    #[test]
    fn data_is_never_read_as_sql() {
        let text = b"INSERT INTO t FORMAT RowBinary\n\xff\x00'; DROP TABLE t";
        let reading = read(text, true).unwrap();
        assert_eq!(
            reading,
            Reading::Known(Statement::Insert { head: 13, format: Some("RowBinary".to_owned()), data: 31 })
        );
        assert_eq!(read(text, false).unwrap(), reading);
    }

    #[test]
    fn a_beginning_may_not_be_enough() {
        for text in
            ["", "INS", "INSERT INTO", "INSERT INTO t (a", "INSERT INTO t FORMAT", "INSERT INTO t FORMAT CS", "SELECT"]
        {
            assert_eq!(read(text.as_bytes(), false).unwrap(), Reading::NeedsMore, "{text}");
        }
        // The end of the line may be in the next part.
        assert_eq!(read(b"INSERT INTO t FORMAT CSV ", false).unwrap(), Reading::NeedsMore);
        assert_eq!(read(b"INSERT INTO t FORMAT CSV\r", false).unwrap(), Reading::NeedsMore);
        assert!(matches!(read(b"INSERT INTO t FORMAT CSV\n1", false).unwrap(), Reading::Known(_)));
        assert!(read(b" -- nothing", true).is_err());
    }

    #[test]
    fn formats_of_other_statements_are_found() {
        let format = |text: &str| match read(text.as_bytes(), true).unwrap() {
            Reading::Known(Statement::Whole { format, .. }) => format,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(format("SELECT 1 FORMAT JSON").as_deref(), Some("JSON"));
        assert_eq!(format("SELECT 1 format CSV SETTINGS max_threads = 1;").as_deref(), Some("CSV"));
        assert_eq!(format("SELECT 1 AS format").as_deref(), None);
        assert_eq!(format("SELECT format FROM t").as_deref(), None);
        assert_eq!(format("SELECT ' FORMAT CSV'").as_deref(), None);
        assert_eq!(format("SELECT * FROM (SELECT 1 FORMAT x)").as_deref(), None);
        assert_eq!(format("INSERT INTO t SELECT 1").as_deref(), None);
        assert_eq!(format("INSERT INTO t (SELECT 1)").as_deref(), None);
    }

    #[test]
    fn what_a_server_must_not_run_is_refused() {
        for (text, number) in [
            ("SELECT 1; SELECT 2", 62),
            ("SELECT 1; DROP TABLE t;", 62),
            ("SELECT 1 INTO OUTFILE 'x'", 358),
            ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 48),
            ("INSERT INTO t SELECT * FROM input('a Int8') FORMAT CSV", 48),
            ("INSERT INTO t SELECT 1; DROP TABLE t", 62),
        ] {
            assert_eq!(read(text.as_bytes(), true).unwrap_err().code, number, "{text}");
        }
        assert!(read(b"SELECT 1;;  -- done", true).is_ok());
        assert!(read(b"SELECT ';' || ';'", true).is_ok());
    }

    #[test]
    fn statements_that_change_the_session_are_known() {
        let changes = |text: &str| match read(text.as_bytes(), true).unwrap() {
            Reading::Known(Statement::Whole { changes_session, .. }) => changes_session,
            other => panic!("{text}: {other:?}"),
        };
        assert!(changes("SET max_threads = 1"));
        assert!(changes("use aula"));
        assert!(!changes("SELECT 1"));
    }
}

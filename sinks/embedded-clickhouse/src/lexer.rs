//! Tokens of a ClickHouse statement: just enough to find where words, parentheses and texts begin and end, so that a
//! word inside a text or a comment is not taken for SQL. What they mean is in `statement`.

use std::ops::Range;

/// A token and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub range: Range<usize>,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a name without quotes, or a number.
    Word,
    /// A text, a quoted name, or a heredoc.
    Quoted,
    /// `(`, `[` or `{`
    Open,
    /// `)`, `]` or `}`
    Close,
    /// `;`
    Semicolon,
    /// Any other byte.
    Other,
}

/// Reads tokens from the front; comments and white space are skipped.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Over a statement. Bytes that are no UTF-8 are taken as parts of words.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at.min(self.text.len())..]
    }

    /// Moves behind white space and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0B).count();
            self.at += blank;
            let rest = self.rest();
            let line = rest.starts_with(b"--") || rest.starts_with(b"# ") || rest.starts_with(b"#!");
            if line {
                self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                self.at += find(&rest[2..], b"*/").map_or(rest.len(), |end| end + 4);
            } else {
                return;
            }
        }
    }

    /// The length of a text or quoted name that begins here.
    fn quoted(&self, quote: u8) -> usize {
        let rest = self.rest();
        let mut i = 1;
        while i < rest.len() {
            match rest[i] {
                b'\\' => i += 2,
                // Doubled it is a quote within the text.
                byte if byte == quote && rest.get(i + 1) == Some(&quote) => i += 2,
                byte if byte == quote => return i + 1,
                _ => i += 1,
            }
        }
        rest.len()
    }

    /// The length of `$tag$ … $tag$`, if one begins here.
    fn heredoc(&self) -> Option<usize> {
        let rest = self.rest();
        let tag = 2 + rest[1..].iter().take_while(|byte| is_word(**byte) && **byte != b'$').count();
        if rest.get(tag - 1) != Some(&b'$') {
            return None;
        }
        Some(find(&rest[tag..], &rest[..tag]).map_or(rest.len(), |end| tag + end + tag))
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip();
        let rest = self.rest();
        let first = *rest.first()?;
        let heredoc = if first == b'$' { self.heredoc() } else { None };
        let (kind, len) = match first {
            b'\'' | b'"' | b'`' => (Kind::Quoted, self.quoted(first)),
            b'(' | b'[' | b'{' => (Kind::Open, 1),
            b')' | b']' | b'}' => (Kind::Close, 1),
            b';' => (Kind::Semicolon, 1),
            _ => match heredoc {
                Some(len) => (Kind::Quoted, len),
                None if is_word(first) => (Kind::Word, rest.iter().take_while(|byte| is_word(**byte)).count()),
                None => (Kind::Other, 1),
            },
        };
        let begin = self.at;
        self.at = (begin + len).min(self.text.len());
        Some(Token { kind, range: begin..self.at })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        Lexer::new(text.as_bytes()).map(|token| &text[token.range]).collect()
    }

    #[test]
    fn texts_comments_and_heredocs_are_one_token_or_none() {
        assert_eq!(
            words("SELECT 'a;''b\\';' -- c;\n, `x;`, \"y\" /* ; */ FROM t"),
            ["SELECT", "'a;''b\\';'", ",", "`x;`", ",", "\"y\"", "FROM", "t"]
        );
        assert_eq!(words("SELECT $a$ ; ' $a$, $$x$$ # y\n;"), ["SELECT", "$a$ ; ' $a$", ",", "$$x$$", ";"]);
        assert_eq!(words("f(1.5)->x_2"), ["f", "(", "1", ".", "5", ")", "-", ">", "x_2"]);
    }

    #[test]
    fn what_does_not_end_ends_with_the_text() {
        assert_eq!(words("a 'b"), ["a", "'b"]);
        assert_eq!(words("a 'b\\"), ["a", "'b\\"]);
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a $x$ b"), ["a", "$x$ b"]);
        assert_eq!(words("a $x b"), ["a", "$x", "b"]);
        assert_eq!(words("$"), ["$"]);
        assert_eq!(words("$é"), ["$é"]);
    }
}

//! A text to tokens, by `sqlparser`, with operators cut where PostgreSQL cuts them. `sqlparser` makes one operator of all
//! characters of operators that stand together: `->>-1` is `->>-` and `1` there, `->>` and `-1` in PostgreSQL.

use super::parse::DIALECT;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError};
use std::collections::BTreeSet;

/// Operators with one of these may end with a sign, the others not; see "Lexical Structure" in PostgreSQL's manual.
const MAY_END_WITH_SIGN: [char; 10] = ['~', '!', '@', '#', '%', '^', '&', '|', '`', '?'];

/// The tokens of a text, with the places that they have in it.
pub fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location()?;
    let mut cuts = cuts(&tokens);
    if cuts.is_empty() {
        return Ok(tokens);
    }
    // A space at each cut makes two tokens of one. What follows may need another cut: a sign is cut off once.
    loop {
        let mut tokens = Tokenizer::new(&DIALECT, &spaced(text, &cuts)).tokenize_with_location()?;
        for token in &mut tokens {
            token.span.start = placed(token.span.start, &cuts);
            token.span.end = placed(token.span.end, &cuts);
        }
        let known = cuts.len();
        cuts.extend(self::cuts(&tokens));
        if cuts.len() == known {
            return Ok(tokens);
        }
    }
}

/// A place as (line, column), in characters from 1: in the order of the text.
type Cut = (u64, u64);

/// Where PostgreSQL ends an operator that goes on here.
fn cuts(tokens: &[TokenWithSpan]) -> BTreeSet<Cut> {
    let cut = |token: &TokenWithSpan| match &token.token {
        Token::CustomBinaryOperator(operator) => {
            let length = length(operator);
            let Location { line, column } = token.span.start;
            (length < operator.len()).then(|| (line, column + length as u64))
        }
        _ => None,
    };
    tokens.iter().filter_map(cut).collect()
}

/// How long the operator is that characters of operators begin with: up to a comment, and without signs at its end.
fn length(operator: &str) -> usize {
    let comment = ["--", "/*"].iter().filter_map(|start| operator.find(start)).min();
    let operator = &operator[..comment.unwrap_or(operator.len()).max(1)];
    let (_, last) = operator.split_at(operator.len() - 1);
    if !matches!(last, "+" | "-") || operator[..operator.len() - 1].contains(MAY_END_WITH_SIGN) {
        return operator.len();
    }
    operator.trim_end_matches(['+', '-']).len().max(1)
}

/// The text with a space at each cut.
fn spaced(text: &str, cuts: &BTreeSet<Cut>) -> String {
    let mut spaced = String::with_capacity(text.len() + cuts.len());
    let (mut line, mut column) = (1, 1);
    let mut left = cuts.iter().peekable();
    for character in text.chars() {
        if left.next_if_eq(&&(line, column)).is_some() {
            spaced.push(' ');
        }
        spaced.push(character);
        (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    spaced
}

/// The place in the text of a place in the text with spaces.
fn placed(at: Location, cuts: &BTreeSet<Cut>) -> Location {
    let mut column = at.column;
    for &(_, cut) in cuts.range((at.line, 0)..(at.line, u64::MAX)) {
        // A place right at the cut is before the space; what comes after the space moves back over it.
        if column > cut {
            column -= 1;
        } else {
            break;
        }
    }
    Location { line: at.line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let tokens = tokenize(text).unwrap();
        let tokens = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
        tokens.map(|t| t.token.to_string()).collect()
    }

    #[test]
    fn operators_end_where_those_of_postgresql_do() {
        for operator in ["+", "-", "*", "/", "<", ">", "=", "<=", ">=", "<>", "->", "->>"] {
            assert_eq!(
                texts(&format!("a{operator}-1")),
                if operator == "-" { vec!["a"] } else { vec!["a", operator, "-", "1"] }
            );
            assert_eq!(texts(&format!("a{operator}+1")), ["a", operator, "+", "1"]);
        }
        assert_eq!(texts("a>-b<-c"), ["a", ">", "-", "b", "<", "-", "c"]);
        assert_eq!(texts("a->>-+-1"), ["a", "->>", "-", "+", "-", "1"]);
        assert_eq!(texts("a>--comment\n1"), ["a", ">", "1"]);
        assert_eq!(texts("a>/*comment*/-1"), ["a", ">", "-", "1"]);
        // These may end with a sign, also there.
        assert_eq!(texts("a||-1"), ["a", "||-", "1"]);
        assert_eq!(texts("a%-1"), ["a", "%-", "1"]);
        assert_eq!(texts("'->>-1'"), ["'->>-1'"]);
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "é->>-1 >-b\n c<>-12 + d";
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        let mut seen = 0;
        for token in tokenize(text).unwrap() {
            let (start, end) = (token.span.start, token.span.end);
            if !matches!(token.token, Token::Whitespace(_) | Token::EOF) {
                assert_eq!(start.line, end.line);
                let columns = start.column as usize - 1..end.column as usize - 1;
                assert_eq!(lines[start.line as usize - 1][columns].iter().collect::<String>(), token.token.to_string());
                seen += 1;
            }
        }
        assert_eq!(seen, 13);
    }
}

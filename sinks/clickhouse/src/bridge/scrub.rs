//! Free text without student ids: a record's own student where it is named, and what an error's text quotes. Pure.
//!
//! A record names its student, so that this one can be found in what else it says. Other students in free text cannot be told
//! from other words: whoever sends events answers for those.

use std::borrow::Cow;

/// Shorter ids are replaced where they are a whole value, not within a longer text: `1` is in every other sentence.
const WITHIN_TEXT_CHARS_MIN: usize = 4;

/// What stands for what was left out.
const LEFT_OUT: &str = "…";

/// A text in which a student's id, as a word of its own, is the pseudonym.
pub fn text<'a>(text: &'a str, student: &str, pseudonym: &str) -> Cow<'a, str> {
    if text == student {
        return Cow::Owned(pseudonym.to_owned());
    }
    if student.chars().count() < WITHIN_TEXT_CHARS_MIN {
        return Cow::Borrowed(text);
    }
    words(text, student, pseudonym)
}

/// The same, however short the id is: for an identity, which means nothing but itself. Different ones stay different.
pub fn words<'a>(text: &'a str, student: &str, pseudonym: &str) -> Cow<'a, str> {
    if student.is_empty() || !text.contains(student) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut done) = (String::with_capacity(text.len() + pseudonym.len()), 0);
    for (at, _) in text.match_indices(student) {
        let end = at + student.len();
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let inside = is_word(text[..at].chars().next_back()) || is_word(text[end..].chars().next());
        if !inside {
            out.push_str(&text[done..at]);
            out.push_str(pseudonym);
            done = end;
        }
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// The same for every text, name and number of a JSON value, which is sound JSON. What is not replaced stays as it is written.
pub fn json<'a>(json: &'a str, student: &str, pseudonym: &str) -> Cow<'a, str> {
    // An escaped id is written differently.
    if !json.contains(student) && !json.contains('\\') {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 64);
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let width = match first {
            '"' => string_bytes(rest),
            '-' | '0'..='9' => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len())
            }
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(width.min(rest.len()));
        match first {
            '"' => match serde_json::from_str::<String>(token) {
                Ok(value) => match text(&value, student, pseudonym) {
                    Cow::Owned(new) if new != value => out.push_str(&serde_json::Value::from(new).to_string()),
                    Cow::Owned(_) | Cow::Borrowed(_) => out.push_str(token),
                },
                Err(_) => out.push_str(token),
            },
            '-' | '0'..='9' if token == student => out.push_str(&serde_json::Value::from(pseudonym).to_string()),
            _ => out.push_str(token),
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// How many bytes the string at the start takes, with its quotes.
fn string_bytes(json: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    json.len()
}

/// What an error says, without what it quotes: texts in quotes, numbers, and names of members that we do not know.
pub fn error(text: &str, known_members: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let width = match first {
            '`' | '"' | '\'' => {
                let inner = rest[1..].find(first).map_or(rest.len(), |end| end + 2);
                out.push_str(LEFT_OUT);
                inner
            }
            '/' => {
                let end = rest.find(|c: char| c.is_whitespace() || c == ':' || c == ';').unwrap_or(rest.len());
                out.push_str(&pointer(&rest[..end], known_members));
                end
            }
            c if c.is_numeric() => {
                out.push('#');
                rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len())
            }
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[width..];
    }
    out
}

/// A JSON pointer with the members that are known, and places as `#`.
fn pointer(pointer: &str, known_members: &[&str]) -> String {
    let part = |part: &str| match part {
        "" => String::new(),
        part if known_members.contains(&part) => part.to_owned(),
        part if part.bytes().all(|byte| byte.is_ascii_digit()) => "#".to_owned(),
        _ => LEFT_OUT.to_owned(),
    };
    pointer.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "b84d1b66-eabe-8dcd-9ec4-840ec728dd51";

    #[test]
    fn a_student_is_replaced_where_it_is_a_word() {
        let of = |text: &str| super::text(text, "stu_7", "P").into_owned();
        assert_eq!(of("stu_7"), "P");
        assert_eq!(of("/u/stu_7/x?stu_7=stu_71&xstu_7"), "/u/P/x?P=stu_71&xstu_7");
        assert_eq!(super::text("page 1", "1", "P"), "page 1");
        assert_eq!(super::text("1", "1", "P"), "P");
        assert_eq!(words("1-2026-1.11", "1", "P"), "P-2026-P.11");
        assert_eq!(super::text("Ñandú, ñandú", "Ñandú", "P"), "P, ñandú");
    }

    #[test]
    fn json_keeps_everything_else_as_it_is_written() {
        let of = |text: &str, student: &str| super::json(text, student, P).into_owned();
        let text = r#"{"a": [1.50e2, "x\"y", true], "who": "12345", "n": 12345, "12345": 123456, "m": "\u0031\u0032345 and more"}"#;
        let expected =
            format!(r#"{{"a": [1.50e2, "x\"y", true], "who": "{P}", "n": "{P}", "{P}": 123456, "m": "{P} and more"}}"#);
        assert_eq!(of(text, "12345"), expected);
        assert!(matches!(super::json(r#"{"a":1}"#, "12345", P), Cow::Borrowed(_)));
        assert_eq!(of(r#"{"a":"\\","b":"s1234"}"#, "s1234"), format!(r#"{{"a":"\\","b":"{P}"}}"#));
    }

    #[test]
    fn errors_keep_no_values() {
        let known = ["student_id", "score", "context"];
        for (text, expected) in [
            (
                "/student_id: `Ana Pérez` is too long; /score: expected a number, found \"9,5\"",
                "/student_id: … is too long; /score: expected a number, found …",
            ),
            ("occurred_at 2026-03-02T15:04 is older", "occurred_at #-#-#T#:# is older"),
            ("/ana/3: is not known", "/…/#: is not known"),
            ("is not JSON: it ends at `", "is not JSON: it ends at …"),
            ("view often: division by zero", "view often: division by zero"),
        ] {
            assert_eq!(error(text, &known), expected);
        }
    }
}

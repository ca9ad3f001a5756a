//! Texts and numbers of a query: what ClickHouse's parser reads in them, and how they are written so that it reads the same.
//!
//! A text is decoded by ClickHouse's rules and not by the parser's, whose rules are another database's: `\d` keeps its backslash, `\x41`
//! is a byte. It is then written in one form only, whichever the analyst chose.

use sqlparser::ast::Value;

/// The bytes that ClickHouse reads between quotes, as `readQuotedStringInto` of its `ReadHelpers` does. An escape that it does not know
/// keeps its backslash, for patterns of LIKE and of `match`.
pub(super) fn decode(raw: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = match (first, behind) {
            // A quote stands twice.
            (b'\'', [b'\'', behind @ ..]) => {
                bytes.push(b'\'');
                behind
            }
            (b'\\', [b'x', high, low, behind @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(hexadecimal()) };
                bytes.push(high << 4 | low);
                behind
            }
            (b'\\', [b'x', ..]) => return Err(hexadecimal()),
            // ClickHouse's NULL of other formats: nothing.
            (b'\\', [b'N', behind @ ..]) => behind,
            (b'\\', [escape, behind @ ..]) => {
                let decoded = escaped(*escape);
                let keeps = !decoded.is_ascii_control() || decoded == 0x7f;
                if keeps && !matches!(decoded, b'\\' | b'`' | b'"' | b'\'' | b'/' | b'=') {
                    bytes.push(b'\\');
                }
                bytes.push(decoded);
                behind
            }
            (byte, behind) => {
                bytes.push(byte);
                behind
            }
        };
    }
    Ok(bytes)
}

fn escaped(escape: u8) -> u8 {
    match escape {
        b'a' => 0x07,
        b'b' => 0x08,
        b'e' => 0x1b,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'0' => 0,
        other => other,
    }
}

fn hexadecimal() -> String {
    r"the escape \x takes two hexadecimal digits, as in '\x41'; write '\\x' for a backslash and an x".to_owned()
}

/// A text of these bytes, with the quotes. A quote, a backslash, a control character and what is not UTF-8 are escapes: whoever reads
/// backslashes as escapes finds the same end.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('\'');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => out.extend(['\\', c]),
                c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('\'');
    out
}

/// A value as it is written; `None`: it is of a kind that is not allowed.
pub(super) fn written(value: &Value) -> Result<Option<String>, String> {
    Ok(Some(match value {
        Value::SingleQuotedString(raw) => encode(&decode(raw)?),
        // Between the tags everything means itself.
        Value::DollarQuotedString(text) => encode(text.value.as_bytes()),
        Value::HexStringLiteral(digits) => match bytes_of(digits) {
            Some(bytes) => encode(&bytes),
            None => return Err("x'…' takes pairs of hexadecimal digits".to_owned()),
        },
        Value::Boolean(true) => "true".to_owned(),
        Value::Boolean(false) => "false".to_owned(),
        Value::Null => "NULL".to_owned(),
        Value::Number(digits, false) if is_number(digits) => digits.clone(),
        _ => return Ok(None),
    }))
}

/// Whether it has the form of a number: digits, with a point and an exponent, or hexadecimal ones.
fn is_number(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit() || c == '_');
    }
    let known = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-' | '_');
    text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.chars().all(known)
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// `inf` and `nan` are numbers to ClickHouse wherever they stand without quotes.
pub(super) fn special_number(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => Some("inf"),
        "nan" => Some("nan"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn escapes_are_those_of_clickhouse() {
        let table: &[(&str, &[u8])] = &[
            (r"\d\+\_\%\q\.", br"\d\+\_\%\q\."),
            (r"\x41\xfF\x00", b"A\xff\x00"),
            (r"\a\b\e\f\n\r\t\v\0", b"\x07\x08\x1b\x0c\n\r\t\x0b\x00"),
            (r#"\\\'\"\`\/\="#, br#"\'"`/="#),
            ("''", b"'"),
            (r"a\Nb", b"ab"),
            ("\\\n\\\u{7f}\\é", b"\n\\\x7f\\\xc3\xa9"),
        ];
        for (raw, bytes) in table {
            assert_eq!(decode(raw).unwrap(), *bytes, "{raw:?}");
            // What is written is read as the same bytes.
            let written = encode(bytes);
            assert_eq!(decode(&written[1..written.len() - 1]).unwrap(), *bytes, "{written}");
        }
        for raw in [r"\x", r"\x4", r"\xZZ", r"\x4é"] {
            assert!(decode(raw).unwrap_err().contains("hexadecimal"), "{raw}");
        }
    }

    #[test]
    fn what_is_written_has_one_form() {
        assert_eq!(encode(b"it's \\ \n\x00\xff\x7f \xc3\xa9"), r"'it\'s \\ \x0a\x00\xff\x7f é'");
        let number = |text: &str| written(&Value::Number(text.to_owned(), false)).unwrap();
        for text in ["1", "1_000", "0x1F", "1e400", ".5", "1.", "1e-3"] {
            assert_eq!(number(text).as_deref(), Some(text));
        }
        for text in ["", "0x", "x", "1; SELECT", "1'", "0xg"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(written(&Value::HexStringLiteral("41fF".to_owned())).unwrap().as_deref(), Some(r"'A\xff'"));
        assert!(written(&Value::HexStringLiteral("414".to_owned())).is_err());
    }
}

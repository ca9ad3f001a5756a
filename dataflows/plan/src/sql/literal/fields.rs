//! Texts of times and intervals, cut into fields: numbers, dates, times of day, signed numbers and words. The rules are
//! those of PostgreSQL's `ParseDateTime`, so that what is a field there is one here; what the fields mean is read in
//! `timestamp.rs` and `interval.rs`.

use super::Unread;
use super::words;

/// The most fields of a text, as in PostgreSQL.
const FIELDS_MAX: usize = 25;

/// What a field looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Digits, with a fraction perhaps.
    Number,
    /// Parts with `-`, `/` or `.` between them; names of time zones too.
    Date,
    /// Digits and colons.
    Time,
    /// A sign and digits: an offset, or a signed number.
    Signed,
    /// Letters.
    Word,
    /// A sign and letters: `-infinity`.
    SignedWord,
}

/// A part of a text: ASCII, letters in lower case.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// The characters left to cut.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    fn skip(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    /// Moves the characters to `text` while they are of a kind.
    fn take(&mut self, text: &mut String, of: impl Fn(u8) -> bool) {
        while !self.0.is_empty() && of(self.peek()) {
            text.push(char::from(self.peek().to_ascii_lowercase()));
            self.skip();
        }
    }
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn digit(c: u8) -> bool {
    c.is_ascii_digit()
}

fn letter(c: u8) -> bool {
    c.is_ascii_alphabetic()
}

/// Cuts a text that needs no more than `bytes_max`, a separator after each field included.
pub(super) fn split(text: &str, bytes_max: usize) -> Result<Vec<Field>, Unread> {
    let mut fields = Vec::new();
    let mut bytes = 0;
    let mut rest = Rest(text.as_bytes());
    while !rest.0.is_empty() {
        let first = rest.peek();
        if is_space(first) {
            rest.skip();
            continue;
        }
        if fields.len() == FIELDS_MAX {
            return Err(Unread::Form("it has too many parts"));
        }
        let mut text = String::new();
        let kind = if digit(first) {
            number(&mut rest, &mut text)
        } else if first == b'.' {
            fraction(&mut rest, &mut text)
        } else if letter(first) {
            word(&mut rest, &mut text)
        } else if matches!(first, b'+' | b'-') {
            signed(&mut rest, &mut text)?
        } else if first.is_ascii_punctuation() {
            // Punctuation is a separator and means nothing.
            rest.skip();
            continue;
        } else {
            return Err(Unread::Form("it has characters that are in no such text"));
        };
        bytes += text.len() + 1;
        if bytes > bytes_max {
            return Err(Unread::Form("it is too long"));
        }
        fields.push(Field { kind, text });
    }
    Ok(fields)
}

/// `.5`
fn fraction(rest: &mut Rest<'_>, text: &mut String) -> Kind {
    text.push('.');
    rest.skip();
    rest.take(text, digit);
    Kind::Number
}

/// What begins with a digit: `2026`, `12.5`, `15:04:05.12`, `2026-03-02`, `2-Mar-2026`.
fn number(rest: &mut Rest<'_>, text: &mut String) -> Kind {
    rest.take(text, digit);
    let separator = rest.peek();
    match separator {
        b':' => {
            rest.take(text, |c| digit(c) || matches!(c, b':' | b'.'));
            Kind::Time
        }
        b'-' | b'/' | b'.' => {
            text.push(char::from(separator));
            rest.skip();
            if !digit(rest.peek()) {
                rest.take(text, |c| c.is_ascii_alphanumeric() || c == separator);
                return Kind::Date;
            }
            rest.take(text, digit);
            if rest.peek() == separator {
                rest.take(text, |c| digit(c) || c == separator);
                return Kind::Date;
            }
            if separator == b'.' { Kind::Number } else { Kind::Date }
        }
        _ => Kind::Number,
    }
}

/// What begins with a letter: a word, or a date or time zone with separators in it (`Mar-2-2026`, `America/New_York`).
/// A word that means something by itself ends before digits and `+`: `T15`, `Z+1`.
fn word(rest: &mut Rest<'_>, text: &mut String) -> Kind {
    rest.take(text, letter);
    let next = rest.peek();
    let goes_on = match next {
        b'-' | b'/' | b'.' => true,
        b'+' | b'0'..=b'9' => words::of_time(text).is_none(),
        _ => false,
    };
    if !goes_on {
        return Kind::Word;
    }
    rest.take(text, |c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'/' | b'_' | b'.' | b':'));
    Kind::Date
}

/// A sign, and digits or letters after it.
fn signed(rest: &mut Rest<'_>, text: &mut String) -> Result<Kind, Unread> {
    text.push(char::from(rest.peek()));
    rest.skip();
    while is_space(rest.peek()) {
        rest.skip();
    }
    if digit(rest.peek()) {
        rest.take(text, |c| digit(c) || matches!(c, b':' | b'.' | b'-'));
        Ok(Kind::Signed)
    } else if letter(rest.peek()) {
        rest.take(text, letter);
        Ok(Kind::SignedWord)
    } else {
        Err(Unread::Form("a sign stands before no number"))
    }
}

/// The integer that a text begins with, 0 where it begins with none, and what follows; a sign may come first.
pub(super) fn leading_integer(text: &str) -> (Option<i64>, &str) {
    let digits_at = usize::from(text.starts_with(['+', '-']));
    let count = text[digits_at..].bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return (Some(0), text);
    }
    let (number, rest) = text.split_at(digits_at + count);
    (number.parse().ok(), rest)
}

/// As [`leading_integer`], of 32 bits.
pub(super) fn leading_i32(text: &str) -> (Option<i64>, &str) {
    let (number, rest) = leading_integer(text);
    (number.filter(|n| i32::try_from(*n).is_ok()), rest)
}

/// A time of day or a length of time, in whole units and microseconds.
pub(super) struct Clock {
    pub(super) hours: i64,
    pub(super) minutes: i64,
    pub(super) seconds: i64,
    /// The fraction's digits.
    pub(super) fraction: String,
}

/// `15:04`, `15:04:05.12`, and `04:05.12`, which is minutes and seconds. Seconds may be 60.
pub(super) fn clock(text: &str) -> Result<Clock, Unread> {
    const FORM: Unread = Unread::Form("a time of day is 15:04 or 15:04:05.12");
    let large = Unread::Range("a number in it is too large");
    let (hours, rest) = leading_integer(text);
    let mut hours = hours.ok_or(large)?;
    let (minutes, rest) = leading_i32(rest.strip_prefix(':').ok_or(FORM)?);
    let mut minutes = minutes.ok_or(large)?;
    let (seconds, rest) = match rest.strip_prefix(':') {
        Some(rest) => {
            let (seconds, rest) = leading_i32(rest);
            (seconds.ok_or(large)?, rest)
        }
        None if rest.starts_with('.') => {
            if i32::try_from(hours).is_err() {
                return Err(large);
            }
            let seconds = minutes;
            (minutes, hours) = (hours, 0);
            (seconds, rest)
        }
        None => (0, rest),
    };
    let fraction = match rest.strip_prefix('.') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.to_owned(),
        None if rest.is_empty() => String::new(),
        Some(_) | None => return Err(FORM),
    };
    if hours < 0 || !(0..=59).contains(&minutes) || !(0..=60).contains(&seconds) {
        return Err(Unread::Range("minutes are 0 to 59 and seconds 0 to 60"));
    }
    Ok(Clock { hours, minutes, seconds, fraction })
}

//! A TOML text as JSON values, with the place of every key and value. What the values mean is the readers' concern;
//! they name a value by its JSON pointer, and get a diagnostic at its line and column.

use crate::diagnostic::{Diagnostic, Severity, Source, possible_secrets};
use aulaflow_model::fault::{Fault, join};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use toml_edit::{Item, TableLike};

/// A parsed TOML document.
#[derive(Debug, Clone)]
pub struct Document {
    source: Source,
    value: Value,
    places: BTreeMap<String, Place>,
    secrets: Vec<Range<usize>>,
}

/// Where a key and its value are. Elements of arrays have no key; the value of a table is its header.
#[derive(Debug, Clone)]
struct Place {
    key: Option<Range<usize>>,
    value: Range<usize>,
    /// What a value that JSON holds as a string is in TOML, in words, where it is no string.
    written: Option<&'static str>,
}

/// What a diagnostic underlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The key: it should not be there.
    Key,
    /// The value, or the nearest table's header where the key is missing.
    Value,
}

impl Document {
    /// Parses a text. A syntax error is one diagnostic: behind it nothing is certain.
    ///
    /// The JSON keeps the meaning exactly: whole numbers stay numbers, other numbers become their text (no float
    /// ever holds them), dates and times become their text.
    pub fn parse(source: &Source) -> Result<Self, Box<Diagnostic>> {
        let parsed = toml_edit::Document::parse(source.text()).map_err(|error| syntax_error(source, &error))?;
        let mut walk = Walk { text: source.text(), places: BTreeMap::new(), secrets: Vec::new() };
        walk.places.insert(String::new(), Place { key: None, value: 0..0, written: None });
        let value = walk.table("", parsed.as_table());
        let Walk { places, secrets, .. } = walk;
        Ok(Self { source: source.clone(), value, places, secrets })
    }

    /// The document's values.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// An error at a pointer. A pointer to nothing means the nearest table around it.
    pub fn error(&self, at: At, pointer: &str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, at, pointer, message)
    }

    /// A diagnostic at a pointer.
    pub fn diagnostic(&self, severity: Severity, at: At, pointer: &str, message: impl Into<String>) -> Diagnostic {
        self.source.diagnostic(severity, self.span(at, pointer), &self.secrets, message)
    }

    /// A reader's fault as a diagnostic. The reader speaks of a value whose pointer stands beside; here its key is
    /// named in the sentence, and other pointers become lines.
    pub fn fault(&self, fault: &Fault) -> Diagnostic {
        let (detail, help) = match fault.detail.split_once("; did you mean") {
            Some((detail, near)) => (detail, Some(format!("did you mean{near}"))),
            None => (fault.detail.as_str(), self.brackets(fault)),
        };
        let at = if detail.starts_with("unknown key") { At::Key } else { At::Value };
        let message = match (at, key_of(&fault.pointer)) {
            (At::Key, _) => format!("{detail} {}", self.surroundings(&fault.pointer)),
            (At::Value, None) => detail.to_owned(),
            (At::Value, Some(key)) if detail == "is required" => {
                format!("missing key `{key}` {}", self.surroundings(&fault.pointer))
            }
            (At::Value, Some(key)) => self.sentence(&key, &fault.pointer, detail),
        };
        Diagnostic { help, ..self.error(at, &fault.pointer, message) }
    }

    /// `[rule]` where `[[rule]]` was meant.
    fn brackets(&self, fault: &Fault) -> Option<String> {
        let place = self.places.get(&fault.pointer)?;
        let header = self.source.text().get(place.value.clone())?;
        let one_table = header.starts_with('[') && fault.detail == "expected an array, found a table";
        one_table.then(|| format!("write `[{header}]` with two brackets: there may be several"))
    }

    fn sentence(&self, key: &str, pointer: &str, detail: &str) -> String {
        let written = self.places.get(pointer).and_then(|place| place.written);
        let detail = match (detail.strip_suffix("found a string"), written) {
            (Some(start), Some(written)) => format!("{start}found {written}"),
            _ => detail.to_owned(),
        };
        let detail = match detail.rsplit_once("at /") {
            Some((start, path)) if self.places.contains_key(&format!("/{path}")) => {
                format!("{start}on line {}", self.error(At::Value, &format!("/{path}"), "").line)
            }
            _ => detail,
        };
        let about_the_value = ["is ", "must ", "has "].iter().any(|verb| detail.starts_with(verb));
        format!("`{key}`{} {detail}", if about_the_value { "" } else { ":" })
    }

    /// The table that a key stands in, as the file writes it.
    fn surroundings(&self, pointer: &str) -> String {
        let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let place = if parent.is_empty() { None } else { self.places.get(parent) };
        let header = place.and_then(|place| self.source.text().get(place.value.clone()));
        match (header.filter(|header| header.starts_with('[')), key_of(parent)) {
            (Some(header), _) => format!("in `{header}`"),
            (None, Some(key)) => format!("in `{key}`"),
            (None, None) => "at the top level".to_owned(),
        }
    }

    fn span(&self, at: At, pointer: &str) -> Range<usize> {
        if let Some(place) = self.places.get(pointer) {
            return match (at, &place.key) {
                (At::Key, Some(key)) => key.clone(),
                (At::Key, None) | (At::Value, _) => place.value.clone(),
            };
        }
        match pointer.rsplit_once('/') {
            Some((parent, _)) => self.span(At::Value, parent),
            None => 0..0,
        }
    }
}

/// The name of the last key of a pointer; the numbers of elements are none.
fn key_of(pointer: &str) -> Option<String> {
    let mut segments = pointer.rsplit('/');
    let key = segments.find(|segment| !segment.bytes().all(|b| b.is_ascii_digit()))?;
    Some(key.replace("~1", "/").replace("~0", "~"))
}

/// The parser's words, with a help line for what its words don't make plain.
fn syntax_error(source: &Source, error: &toml_edit::TomlError) -> Box<Diagnostic> {
    let end = source.text().len();
    let span = error.span().unwrap_or(end..end);
    let found = source.text().get(span.clone()).unwrap_or("");
    let (message, help) = match error.message() {
        message if message.starts_with("string values must be quoted") => match found {
            "" => ("a value is missing behind `=`".to_owned(), None),
            _ => ("expected a value".to_owned(), Some("write texts in quotes: \"…\"")),
        },
        message if message.starts_with("key with no value") => (message.to_owned(), Some("write `key = value`")),
        message if message.starts_with("duplicate key") => (format!("`{found}` is already defined further up"), None),
        _ if is_dotted_date(found) => ("this is no date".to_owned(), Some("dates are written 2026-01-15")),
        message if message.starts_with("missing assignment") && found.is_empty() => {
            (message.replace('\n', "; "), Some("a key and its value are joined by `=`: { exam = 0.7 }"))
        }
        message => (message.replace('\n', "; "), None),
    };
    let diagnostic = source.diagnostic(Severity::Error, span, &possible_secrets(source.text()), message);
    Box::new(Diagnostic { help: help.map(str::to_owned), ..diagnostic })
}

/// The year of `15.01.2026`, where the parser stops to see a number.
fn is_dotted_date(found: &str) -> bool {
    let digits = |year: &str| year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
    found.strip_prefix('.').is_some_and(digits)
}

/// The descent through a document.
struct Walk<'a> {
    text: &'a str,
    places: BTreeMap<String, Place>,
    secrets: Vec<Range<usize>>,
}

impl Walk<'_> {
    fn table(&mut self, at: &str, table: &dyn TableLike) -> Value {
        let mut map = Map::new();
        for (name, item) in table.iter() {
            let here = join(at, name);
            let key = table.key(name).and_then(toml_edit::Key::span);
            let value = item.span().or_else(|| key.clone()).unwrap_or(0..0);
            if name == "secret" {
                self.secrets.push(value.clone());
            }
            self.places.insert(here.clone(), Place { key, value, written: None });
            map.insert(name.to_owned(), self.item(&here, item));
        }
        Value::Object(map)
    }

    fn item(&mut self, at: &str, item: &Item) -> Value {
        match item {
            Item::None => Value::Null,
            Item::Value(value) => self.value(at, value),
            Item::Table(table) => self.table(at, table),
            Item::ArrayOfTables(tables) => {
                let mut elements = Vec::with_capacity(tables.len());
                for (index, table) in tables.iter().enumerate() {
                    let here = self.element(at, index, table.span());
                    elements.push(self.table(&here, table));
                }
                Value::Array(elements)
            }
        }
    }

    fn value(&mut self, at: &str, value: &toml_edit::Value) -> Value {
        match value {
            toml_edit::Value::String(text) => Value::String(text.value().clone()),
            toml_edit::Value::Integer(number) => Value::from(*number.value()),
            toml_edit::Value::Boolean(flag) => Value::Bool(*flag.value()),
            toml_edit::Value::Datetime(time) => {
                self.note(at, "a date or time");
                Value::String(time.value().to_string())
            }
            toml_edit::Value::Float(number) => {
                self.note(at, "a number with a fraction");
                Value::String(self.number_text(number))
            }
            toml_edit::Value::Array(array) => {
                let mut elements = Vec::with_capacity(array.len());
                for (index, element) in array.iter().enumerate() {
                    let here = self.element(at, index, element.span());
                    elements.push(self.value(&here, element));
                }
                Value::Array(elements)
            }
            toml_edit::Value::InlineTable(table) => self.table(at, table),
        }
    }

    fn element(&mut self, at: &str, index: usize, span: Option<Range<usize>>) -> String {
        let here = format!("{at}/{index}");
        let value = span.or_else(|| self.places.get(at).map(|place| place.value.clone())).unwrap_or(0..0);
        self.places.insert(here.clone(), Place { key: None, value, written: None });
        here
    }

    fn note(&mut self, at: &str, written: &'static str) {
        if let Some(place) = self.places.get_mut(at) {
            place.written = Some(written);
        }
    }

    /// The digits as written, in the form that JSON has for them: no `_`, no leading `+`.
    fn number_text(&self, number: &toml_edit::Formatted<f64>) -> String {
        let raw = number.span().and_then(|span| self.text.get(span));
        match raw {
            Some(raw) => raw.trim_start_matches('+').replace('_', ""),
            None => number.value().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Document {
        Document::parse(&Source::new("t.toml", text)).unwrap()
    }

    #[test]
    fn values_keep_their_meaning() {
        let text = "a = 1\nb = +1_0.50\nc = nan\nd = 2026-01-15\ne = 2026-01-15T10:00:00Z\nf = [1, 0.1]\ng = true\n\
                    h.i = 'x'\n[[r]]\nw = { x = 0.7 }\n[r.c.d]\nn = 0x10\n[[r]]\n";
        let expected = json!({
            "a": 1, "b": "10.50", "c": "nan", "d": "2026-01-15", "e": "2026-01-15T10:00:00Z", "f": [1, "0.1"],
            "g": true, "h": {"i": "x"}, "r": [{"w": {"x": "0.7"}, "c": {"d": {"n": 16}}}, {}],
        });
        assert_eq!(parse(text).value(), &expected);
    }

    #[test]
    fn places_of_keys_values_and_missing_ones() {
        let document = parse("a = 1\n[[rule]]\n\"x/y~\" = { z = [1, 22] }\n[rule.category.exam]\nn = 1\n[[rule]]\n");
        let place = |at, pointer: &str| {
            let d = document.error(at, pointer, "");
            (d.line, d.column, d.end_column)
        };
        assert_eq!(place(At::Key, "/a"), (1, 1, 2));
        assert_eq!(place(At::Value, "/a"), (1, 5, 6));
        assert_eq!(place(At::Value, "/rule/0"), (2, 1, 9));
        assert_eq!(place(At::Value, "/rule/1/subject"), (6, 1, 9));
        assert_eq!(place(At::Key, "/rule/0/x~1y~0/z"), (3, 12, 13));
        assert_eq!(place(At::Value, "/rule/0/x~1y~0/z/1"), (3, 20, 22));
        assert_eq!(place(At::Value, "/rule/0/category/exam"), (4, 1, 21));
        assert_eq!(place(At::Key, "/rule/0/category/exam"), (4, 16, 20));
        assert_eq!(place(At::Value, "/rule/0/category"), (4, 7, 15));
        assert_eq!(place(At::Value, "/tenant"), (1, 1, 1));
    }

    #[test]
    fn secrets_are_masked() {
        let document = parse("[[auth.key]]\nid = 'k'\nsecret = \"short\" # x\n");
        let diagnostic = document.error(At::Value, "/auth/key/0/secret", "too short");
        assert_eq!(diagnostic.source_line, "secret = ******* # x");
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let error = Document::parse(&Source::new("t.toml", "a = 1\nb = \n")).unwrap_err();
        assert_eq!((error.line, error.column), (2, 5));
    }
}

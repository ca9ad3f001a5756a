//! How one setting is read: its name, type, default, range and meaning are said once, where it is read. The same
//! calls check a file and, over nothing, list every setting for the reference page. What settings there are is in
//! `runtime_file`.

use crate::quantity::{format_bytes, format_duration, parse_bytes, parse_duration};
use aulaflow_model::fault::{join, nearest};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// One setting, for the reference page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its full name, such as `engine.tick`; a `[]` marks a repeated table: `auth.key[].id`.
    pub key: String,
    /// What is written there.
    pub kind: String,
    /// The default, as it would be written; `required` or `none` where there is no default.
    pub default: String,
    /// The values allowed; empty where the type says it all.
    pub range: String,
    /// What it does.
    pub meaning: &'static str,
}

/// A fault of a setting, with its place still a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingFault {
    /// Where.
    pub pointer: String,
    /// Whether the key itself is wrong, not its value.
    pub key: bool,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Collects faults and settings while a document is read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub faults: Vec<SettingFault>,
    pub settings: Vec<Setting>,
    unknown: Vec<Unknown>,
}

#[derive(Debug)]
struct Unknown {
    pointer: String,
    key: String,
    table: String,
    known: Vec<&'static str>,
}

impl Reader {
    /// A fault at a value.
    pub fn fault(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.faults.push(SettingFault { pointer: pointer.into(), key: false, message: message.into(), help: None });
    }

    /// A fault at a value, with a way out.
    pub fn fault_with_help(&mut self, at: impl Into<String>, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into());
        self.faults.push(SettingFault { pointer: at.into(), key: false, message: message.into(), help });
    }

    /// A fault at a key that should not be there.
    pub fn key_fault(&mut self, pointer: impl Into<String>, message: impl Into<String>, help: Option<String>) {
        self.faults.push(SettingFault { pointer: pointer.into(), key: true, message: message.into(), help });
    }

    /// Names the unknown keys. Last, because a key may be known in a table that was read later.
    pub fn finish(&mut self) {
        for unknown in std::mem::take(&mut self.unknown) {
            let Unknown { pointer, key, table, known } = unknown;
            let place = if table.is_empty() { "at the top level".to_owned() } else { format!("in {table}") };
            let elsewhere = self.settings.iter().find(|s| s.key.rsplit('.').next() == Some(key.as_str()));
            let help = match (nearest(&key, known.iter().copied()), elsewhere) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(setting)) => match setting.key.rsplit_once('.') {
                    Some((table, _)) => format!("`{key}` belongs under `[{}]`", table.replace("[]", "")),
                    None => format!("`{key}` is a top-level key: write it above the first `[table]`"),
                },
                (None, None) => format!("known here: {}", known.join(", ")),
            };
            self.key_fault(pointer, format!("unknown key `{key}` {place}"), Some(help));
        }
    }
}

/// One table of a document. Each of its methods reads one key, and answers with the default where the value is
/// absent or faulty: a fault is enough to refuse the whole, so the stand-in is never used.
pub(crate) struct Section<'r, 'v> {
    pub reader: &'r mut Reader,
    values: Option<&'v Map<String, Value>>,
    pub at: String,
    prefix: String,
    title: String,
    known: Vec<&'static str>,
}

impl<'r, 'v> Section<'r, 'v> {
    /// The document's top level.
    pub fn root(reader: &'r mut Reader, value: &'v Value) -> Self {
        let (at, prefix, title) = (String::new(), String::new(), String::new());
        Self { reader, values: value.as_object(), at, prefix, title, known: Vec::new() }
    }

    /// A table in this one.
    pub fn table<'s>(&'s mut self, name: &'static str) -> Section<'s, 'v> {
        self.known.push(name);
        let at = join(&self.at, name);
        let value = self.values.and_then(|values| values.get(name));
        let values = value.and_then(Value::as_object);
        if value.is_some() && values.is_none() {
            self.reader.fault_with_help(
                &at,
                format!("expected a table `[{name}]`"),
                "write its keys under that header",
            );
        }
        let prefix = format!("{}{name}.", self.prefix);
        let title = format!("`[{}{name}]`", self.prefix);
        Section { reader: self.reader, values, at, prefix, title, known: Vec::new() }
    }

    /// A repeated table in this one: `each` reads one element. Over nothing it reads one that is not there, so
    /// that its settings are known; faults of that one are forgotten.
    pub fn tables<T>(&mut self, name: &'static str, mut each: impl FnMut(&mut Section<'_, 'v>) -> Option<T>) -> Vec<T> {
        self.known.push(name);
        let at = join(&self.at, name);
        let value = self.values.and_then(|values| values.get(name));
        let elements: &[Value] = match value {
            None => &[],
            Some(Value::Array(elements)) => elements,
            Some(_) => {
                let full = format!("{}{name}", self.prefix);
                let help = format!("write `[[{full}]]` with two brackets: there may be several");
                self.reader.fault_with_help(&at, format!("expected the repeated table `[[{full}]]`"), help);
                &[]
            }
        };
        let prefix = format!("{}{name}[].", self.prefix);
        let title = format!("`[[{}{name}]]`", self.prefix);
        let faults = self.reader.faults.len();
        self.element(None, String::new(), &prefix, &title, &mut each);
        self.reader.faults.truncate(faults);
        let settings = self.reader.settings.len();
        let mut read = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let here = format!("{at}/{index}");
            match element.as_object() {
                Some(values) => read.extend(self.element(Some(values), here, &prefix, &title, &mut each)),
                None => self.reader.fault(here, format!("expected a table with the keys of {title}")),
            }
        }
        self.reader.settings.truncate(settings);
        read
    }

    fn element<T>(
        &mut self,
        values: Option<&'v Map<String, Value>>,
        at: String,
        prefix: &str,
        title: &str,
        each: &mut impl FnMut(&mut Section<'_, 'v>) -> Option<T>,
    ) -> Option<T> {
        let (prefix, title) = (prefix.to_owned(), title.to_owned());
        let mut section = Section { reader: &mut *self.reader, values, at, prefix, title, known: Vec::new() };
        let read = each(&mut section);
        section.finish();
        read
    }

    /// Notes the keys that nobody asked for. Call it when the section is read.
    pub fn finish(self) {
        for key in self.values.into_iter().flat_map(Map::keys) {
            if !self.known.contains(&key.as_str()) {
                let (pointer, key) = (join(&self.at, key), key.clone());
                let (table, known) = (self.title.clone(), self.known.clone());
                self.reader.unknown.push(Unknown { pointer, key, table, known });
            }
        }
    }

    /// The pointer to a key of this section.
    pub fn pointer(&self, name: &str) -> String {
        join(&self.at, name)
    }

    /// Whether the file has the key.
    pub fn has(&self, name: &str) -> bool {
        self.values.is_some_and(|values| values.contains_key(name))
    }

    fn setting(&mut self, name: &'static str, kind: &str, default: String, range: String, meaning: &'static str) {
        self.known.push(name);
        let key = format!("{}{name}", self.prefix);
        self.reader.settings.push(Setting { key, kind: kind.to_owned(), default, range, meaning });
    }

    /// The value of a key, turned into what it means; a fault where it cannot be.
    fn read<T>(&mut self, name: &str, parse: impl FnOnce(&'v Value) -> Result<T, String>) -> Option<T> {
        let value = self.values?.get(name)?;
        match parse(value) {
            Ok(read) => Some(read),
            Err(message) => {
                let at = self.pointer(name);
                self.reader.fault(at, format!("`{name}`: {message}"));
                None
            }
        }
    }

    /// A text with a unit of time.
    pub fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
        meaning: &'static str,
    ) -> Duration {
        let words = format!("{} to {}", format_duration(*range.start()), format_duration(*range.end()));
        self.setting(name, "duration", format!("{:?}", format_duration(default)), words.clone(), meaning);
        let read = self.read(name, |value| {
            let Value::String(text) = value else {
                return Err("expected a duration in quotes, such as \"10 milliseconds\" or \"5 minutes\"".to_owned());
            };
            let duration = parse_duration(text)?;
            if range.contains(&duration) { Ok(duration) } else { Err(format!("must be {words}")) }
        });
        read.unwrap_or(default)
    }

    /// A text with a unit of time, or a word for there being none, which is the default.
    pub fn duration_or(
        &mut self,
        (name, word): (&'static str, &'static str),
        range: RangeInclusive<Duration>,
        meaning: &'static str,
    ) -> Option<Duration> {
        let words = format!("{word:?}, or {} to {}", format_duration(*range.start()), format_duration(*range.end()));
        self.setting(name, "duration", format!("{word:?}"), words.clone(), meaning);
        let read = self.read(name, |value| match value {
            Value::String(text) if text == word => Ok(None),
            Value::String(text) => {
                let duration = parse_duration(text).map_err(|message| format!("{message}, or {word:?}"))?;
                if range.contains(&duration) { Ok(Some(duration)) } else { Err(format!("must be {words}")) }
            }
            _ => Err(format!("expected {word:?} or a duration in quotes, such as \"400 days\"")),
        });
        read.flatten()
    }

    /// A text with a unit of size, or a whole number of bytes.
    pub fn bytes(
        &mut self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        meaning: &'static str,
    ) -> usize {
        let words = format!("{} to {}", format_bytes(*range.start()), format_bytes(*range.end()));
        self.setting(name, "size", format!("{:?}", format_bytes(default)), words.clone(), meaning);
        let read = self.read(name, |value| {
            let bytes = match value {
                Value::String(text) => parse_bytes(text)?,
                Value::Number(number) => number.as_u64().unwrap_or(0),
                _ => return Err("expected a size, such as \"8 MiB\"".to_owned()),
            };
            if range.contains(&bytes) { Ok(bytes) } else { Err(format!("must be {words}")) }
        });
        // Saturating only where a pointer has 32 bits.
        usize::try_from(read.unwrap_or(default)).unwrap_or(usize::MAX)
    }

    /// A whole number. `shown` describes a default that depends on the machine.
    pub fn count(
        &mut self,
        name: &'static str,
        default: u32,
        shown: Option<&str>,
        range: RangeInclusive<u32>,
        meaning: &'static str,
    ) -> u32 {
        let words = format!("{} to {}", range.start(), range.end());
        let written = shown.map_or_else(|| default.to_string(), str::to_owned);
        self.setting(name, "whole number", written, words.clone(), meaning);
        let read = self.read(name, |value| {
            let Value::Number(number) = value else {
                return Err(format!("expected a whole number, {words}"));
            };
            let count = number.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
            count.ok_or_else(|| format!("must be {words}"))
        });
        read.unwrap_or(default)
    }

    /// One of some words; the first is the default.
    pub fn choice<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        words: [(&'static str, T); N],
        meaning: &'static str,
    ) -> T {
        const { assert!(N > 0, "a choice has a default") };
        let (default, stand_in) = words[0];
        self.setting(name, "word", format!("{default:?}"), quoted(&words), meaning);
        self.read(name, |value| one_of(value, &words)).unwrap_or(stand_in)
    }

    /// One of some words, without a default.
    pub fn required_choice<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        words: [(&'static str, T); N],
        meaning: &'static str,
    ) -> Option<T> {
        self.setting(name, "word", "required".to_owned(), quoted(&words), meaning);
        self.require(name);
        self.read(name, |value| one_of(value, &words))
    }

    /// `true` or `false`; `false` by default.
    pub fn flag(&mut self, name: &'static str, meaning: &'static str) -> bool {
        self.setting(name, "true or false", "false".to_owned(), String::new(), meaning);
        let read = self.read(name, |value| value.as_bool().ok_or_else(|| "expected true or false".to_owned()));
        read.unwrap_or(false)
    }

    /// An IP address and a port.
    pub fn address(&mut self, name: &'static str, default: SocketAddr, meaning: &'static str) -> SocketAddr {
        self.setting(name, "address", format!("{:?}", default.to_string()), String::new(), meaning);
        let read = self.read(name, |value| {
            let address = value.as_str().and_then(|text| text.parse().ok());
            address
                .ok_or_else(|| format!("expected an IP address and a port, such as \"{default}\" or \"0.0.0.0:8080\""))
        });
        read.unwrap_or(default)
    }

    /// A path, with a default.
    pub fn path(&mut self, name: &'static str, default: &str, meaning: &'static str) -> PathBuf {
        self.setting(name, "path", format!("{default:?}"), String::new(), meaning);
        let read = self.read(name, some_text);
        PathBuf::from(read.unwrap_or_else(|| default.to_owned()))
    }

    /// A text or nothing.
    pub fn text(&mut self, name: &'static str, kind: &str, range: &str, meaning: &'static str) -> Option<String> {
        self.setting(name, kind, "none".to_owned(), range.to_owned(), meaning);
        self.read(name, some_text)
    }

    /// A text, with a default.
    pub fn text_or(&mut self, name: &'static str, default: &str, meaning: &'static str) -> String {
        self.setting(name, "text", format!("{default:?}"), String::new(), meaning);
        self.read(name, some_text).unwrap_or_else(|| default.to_owned())
    }

    /// A text that has to be there.
    pub fn required_text(&mut self, name: &'static str, meaning: &'static str) -> Option<String> {
        self.setting(name, "text", "required".to_owned(), String::new(), meaning);
        self.require(name);
        self.read(name, some_text)
    }

    /// A list of texts, each with its pointer.
    pub fn texts(&mut self, name: &'static str, kind: &str, meaning: &'static str) -> Vec<(String, String)> {
        self.setting(name, kind, "[]".to_owned(), String::new(), meaning);
        let at = self.pointer(name);
        let read = self.read(name, |value| match value {
            Value::Array(elements) => Ok(elements.as_slice()),
            Value::String(text) => Err(format!("expected a list; write [{text:?}]")),
            _ => Err("expected a list of texts".to_owned()),
        });
        let mut texts = Vec::new();
        for (index, element) in read.unwrap_or_default().iter().enumerate() {
            let here = format!("{at}/{index}");
            match some_text(element) {
                Ok(text) => texts.push((here, text)),
                Err(message) => self.reader.fault(here, format!("`{name}`: {message}")),
            }
        }
        texts
    }

    fn require(&mut self, name: &'static str) {
        if !self.has(name) {
            let (at, message) = (self.pointer(name), format!("missing key `{name}` in {}", self.title));
            self.reader.fault(at, message);
        }
    }
}

fn some_text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err("must not be empty".to_owned()),
        Value::String(text) => Ok(text.clone()),
        _ => Err("expected a text in quotes".to_owned()),
    }
}

fn one_of<T: Copy>(value: &Value, words: &[(&'static str, T)]) -> Result<T, String> {
    let Value::String(text) = value else {
        return Err(format!("expected {}", quoted(words)));
    };
    if let Some((_, meant)) = words.iter().find(|(word, _)| word == text) {
        return Ok(*meant);
    }
    let near = nearest(text, words.iter().map(|(word, _)| *word));
    let near = near.map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"));
    Err(format!("expected {}{near}", quoted(words)))
}

fn quoted<T>(words: &[(&'static str, T)]) -> String {
    words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
}

/// A list of names, for messages.
pub(crate) fn list(names: impl IntoIterator<Item = impl Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

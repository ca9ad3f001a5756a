//! Reads a configuration's JSON values by type and collects every fault with its pointer. It knows no setting: the
//! callers name the keys, types and limits.
//!
//! ```
//! use aulaflow_model::fields::{Faults, Field};
//! let value = serde_json::json!({ "listen": "127.0.0.1:8080", "workers": "two", "prot": 1 });
//! let faults = Faults::default();
//! if let Some(server) = Field::root(&value, "", &faults).table(&["listen", "workers", "port"]) {
//!     let listen = server.need("listen").and_then(|field| field.parse(str::parse::<std::net::SocketAddr>));
//!     let workers = server.get("workers").and_then(|field| field.integer(1..=64)).unwrap_or(1);
//!     assert_eq!((listen.is_some(), workers), (true, 1));
//! }
//! let details: Vec<String> = faults.into_vec().iter().map(ToString::to_string).collect();
//! assert_eq!(details, [
//!     "/prot: unknown key `prot`; did you mean `port`?",
//!     "/workers: expected an integer, found a string",
//! ]);
//! ```

use crate::decimal::Decimal;
use crate::fault::{Fault, join, shown, suggestion};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// The faults found so far. Readers share it, so that one look finds all of them.
#[derive(Debug, Default)]
pub struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    /// Adds a fault.
    pub fn push(&self, fault: Fault) {
        self.0.borrow_mut().push(fault);
    }

    /// Adds a fault at a pointer.
    pub fn add(&self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.push(Fault::new(pointer, detail));
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// All of them, in the order found.
    pub fn into_vec(self) -> Vec<Fault> {
        self.0.into_inner()
    }

    /// The value if nothing is wrong with it, else the faults.
    ///
    /// A reader returns `None` only where it has added a fault; should one forget to, this adds a general one
    /// instead of panicking.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Fault>> {
        let mut faults = self.into_vec();
        match value {
            Some(value) if faults.is_empty() => Ok(value),
            Some(_) => Err(faults),
            None => {
                if faults.is_empty() {
                    faults.push(Fault::new("", "is not valid"));
                }
                Err(faults)
            }
        }
    }
}

/// One value and where it is. Each typed reading adds a fault and gives `None` where the value is of another type.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    value: &'a Value,
    pointer: String,
    faults: &'a Faults,
}

impl<'a> Field<'a> {
    /// The value at `pointer` (`""` for the whole document).
    pub fn root(value: &'a Value, pointer: impl Into<String>, faults: &'a Faults) -> Self {
        Self { value, pointer: pointer.into(), faults }
    }

    /// Where it is.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Adds a fault here.
    pub fn fault(&self, detail: impl Into<String>) {
        self.faults.add(self.pointer.clone(), detail);
    }

    /// Adds the fault of a wrong type here.
    pub fn expected(&self, what: &str) {
        self.fault(format!("expected {what}, found {}", kind(self.value)));
    }

    /// A string.
    pub fn string(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.expected("a string");
        }
        text
    }

    /// A string that `parse` takes; what it says against it becomes the fault.
    pub fn parse<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.string()?;
        parse(text).map_err(|error| self.fault(format!("`{}` {error}", shown(text)))).ok()
    }

    /// A string out of a list of names with their meanings.
    pub fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        if let Some((_, meaning)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(meaning.clone());
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let list = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        self.fault(format!("expected one of {list}, found `{}`{}", shown(text), suggestion(text, names())));
        None
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.expected("true or false");
        }
        value
    }

    /// A whole number within limits.
    pub fn integer(&self, limits: RangeInclusive<i64>) -> Option<i64> {
        let Some(number) = self.value.as_i64() else {
            // A whole number beyond 64 bits, or one with a fraction, is a number all the same.
            match self.value.as_u64() {
                Some(_) => self.fault("is out of range"),
                None => self.expected("an integer"),
            }
            return None;
        };
        if limits.contains(&number) {
            return Some(number);
        }
        self.outside(&limits);
        None
    }

    fn outside(&self, limits: &RangeInclusive<i64>) {
        let (low, high) = (limits.start(), limits.end());
        self.fault(match (*low, *high) {
            (0, i64::MAX) => "must not be negative".to_owned(),
            (low, i64::MAX) => format!("must be at least {low}"),
            (low, high) => format!("must be between {low} and {high}"),
        });
    }

    /// An exact decimal: a string of its text, or a number.
    ///
    /// `Value` holds fractions as doubles, yet nothing is lost: a legal decimal has at most 15 significant digits,
    /// and those survive the way to the nearest double and back to its shortest text.
    pub fn decimal(&self) -> Option<Decimal> {
        let text = match self.value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.expected("a decimal number");
                return None;
            }
        };
        Decimal::parse(&text).map_err(|error| self.fault(format!("`{}` {error}", shown(&text)))).ok()
    }

    /// An array's elements.
    pub fn array(&self) -> Option<Vec<Field<'a>>> {
        let Value::Array(elements) = self.value else {
            self.expected("an array");
            return None;
        };
        let place = |(i, value)| Field { value, pointer: format!("{}/{i}", self.pointer), faults: self.faults };
        Some(elements.iter().enumerate().map(place).collect())
    }

    /// An object with these keys and no others: each other one is a fault, with the nearest known key.
    pub fn table(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        let members = self.object()?;
        for key in members.keys().filter(|key| !known.contains(&key.as_str())) {
            self.faults.push(Fault::unknown_key(&self.pointer, key, known.iter().copied()));
        }
        Some(Fields { members, known, pointer: self.pointer.clone(), faults: self.faults })
    }

    /// An object's members where its keys are free names, in the order of the keys.
    pub fn entries(&self) -> Option<Vec<(&'a str, Field<'a>)>> {
        let place = |(key, value): (&'a String, &'a Value)| {
            (key.as_str(), Field { value, pointer: join(&self.pointer, key), faults: self.faults })
        };
        Some(self.object()?.iter().map(place).collect())
    }

    fn object(&self) -> Option<&'a Map<String, Value>> {
        let members = self.value.as_object();
        if members.is_none() {
            self.expected("a table");
        }
        members
    }
}

/// An object with known keys.
#[derive(Debug)]
pub struct Fields<'a> {
    members: &'a Map<String, Value>,
    known: &'static [&'static str],
    pointer: String,
    faults: &'a Faults,
}

impl<'a> Fields<'a> {
    /// Where it is.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Where faults go.
    pub fn faults(&self) -> &'a Faults {
        self.faults
    }

    /// A member that may be absent.
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        debug_assert!(self.known.contains(&key), "`{key}` is read but not among the known keys");
        let value = self.members.get(key)?;
        Some(Field { value, pointer: join(&self.pointer, key), faults: self.faults })
    }

    /// A member that must be there.
    pub fn need(&self, key: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            self.fault(key, "is required");
        }
        field
    }

    /// Adds a fault at a member, there or not.
    pub fn fault(&self, key: &str, detail: impl Into<String>) {
        self.faults.add(join(&self.pointer, key), detail);
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// An optional string.
    pub fn string(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.string()
    }

    /// An optional whole number within limits.
    pub fn integer(&self, key: &str, limits: RangeInclusive<i64>) -> Option<i64> {
        self.get(key)?.integer(limits)
    }

    /// An optional `true` or `false`.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.bool()
    }

    /// An optional decimal.
    pub fn decimal(&self, key: &str) -> Option<Decimal> {
        self.get(key)?.decimal()
    }

    /// An optional array's elements; none where it is absent.
    pub fn array(&self, key: &str) -> Vec<Field<'a>> {
        self.get(key).and_then(|field| field.array()).unwrap_or_default()
    }

    /// An optional object with known keys.
    pub fn table(&self, key: &str, known: &'static [&'static str]) -> Option<Fields<'a>> {
        self.get(key)?.table(known)
    }
}

/// What a value is, in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

/// Parses a JSON text; what is broken is one fault at `""` with line and column, and a repeated key one at its pointer.
pub fn parse_json(json: &[u8]) -> Result<Value, Vec<Fault>> {
    let broken = |error: serde_json::Error| vec![Fault::new("", format!("is not JSON: {error}"))];
    let (value, repeated) = crate::json::value(json).map_err(broken)?;
    if repeated.is_empty() { Ok(value) } else { Err(repeated) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults_of(value: Value, read: impl FnOnce(Fields<'_>)) -> Vec<String> {
        let faults = Faults::default();
        if let Some(fields) = Field::root(&value, "/x", &faults).table(&["a", "mode", "list"]) {
            read(fields);
        }
        faults.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wrong_types_are_named() {
        let found = faults_of(json!([1]), |_| unreachable!());
        assert_eq!(found, ["/x: expected a table, found an array"]);
        let found = faults_of(json!({ "a": 1, "mode": true, "list": {} }), |fields| {
            assert_eq!(fields.string("a"), None);
            assert_eq!(fields.decimal("mode"), None);
            assert_eq!(fields.array("list").len(), 0);
        });
        assert_eq!(
            found,
            [
                "/x/a: expected a string, found a number",
                "/x/mode: expected a decimal number, found a boolean",
                "/x/list: expected an array, found a table"
            ]
        );
    }

    #[test]
    fn limits_and_choices_are_checked() {
        let found = faults_of(json!({ "a": -1, "mode": "halfup", "list": [1.5, 99999999999999999999.0] }), |fields| {
            assert_eq!(fields.integer("a", 0..=i64::MAX), None);
            assert_eq!(fields.get("mode").unwrap().choice(&[("half_up", 1), ("down", 2)]), None);
            for element in fields.array("list") {
                assert_eq!(element.integer(0..=6), None);
            }
        });
        assert_eq!(
            found,
            [
                "/x/a: must not be negative",
                "/x/mode: expected one of `half_up`, `down`, found `halfup`; did you mean `half_up`?",
                "/x/list/0: expected an integer, found a number",
                "/x/list/1: expected an integer, found a number"
            ]
        );
    }

    #[test]
    fn missing_and_unknown_keys_are_told() {
        let found = faults_of(json!({ "moed": 1, "b/c": 2 }), |fields| assert!(fields.need("a").is_none()));
        assert_eq!(
            found,
            ["/x/b~1c: unknown key `b/c`", "/x/moed: unknown key `moed`; did you mean `mode`?", "/x/a: is required"]
        );
    }

    #[test]
    fn decimals_come_exactly_from_numbers_and_strings() {
        let value: Value = serde_json::from_str("[0.1, \"0.1\", 999999999.999999, 1e2, 100, 0.000001]").unwrap();
        let faults = Faults::default();
        let read = Field::root(&value, "", &faults).array().unwrap();
        let texts: Vec<String> = read.iter().map(|field| field.decimal().unwrap().to_string()).collect();
        assert_eq!(texts, ["0.1", "0.1", "999999999.999999", "100", "100", "0.000001"]);
        assert!(faults.is_empty());
    }

    #[test]
    fn a_value_is_given_only_without_faults() {
        assert_eq!(Faults::default().finish(Some(1)), Ok(1));
        assert_eq!(Faults::default().finish::<i32>(None).unwrap_err().len(), 1);
        let faults = Faults::default();
        faults.add("/a", "is odd");
        assert_eq!(faults.finish(Some(1)), Err(vec![Fault::new("/a", "is odd")]));
    }
}

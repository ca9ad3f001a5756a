//! `->` and `->>` over JSON texts: the document is scanned where an expression reads it, and only as far as the
//! answer needs; nothing is built.

use super::expr::{EvalError, Value};
use super::node::Evaluated;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The member (by a text) or element (by an integer; negative from the end) of a document; NULL where there is none.
pub fn get<'r>(document: Value<'r>, key: &Value<'_>, as_text: bool) -> Evaluated<'r> {
    let found = match (document, key) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Json(Cow::Borrowed(raw)), key) => select(raw, key)?.map(Cow::Borrowed),
        (Value::Json(Cow::Owned(raw)), key) => select(&raw, key)?.map(|found| Cow::Owned(found.to_owned())),
        _ => return Err(EvalError::WrongType),
    };
    match found {
        None => Ok(Value::Null),
        Some(raw) if !as_text => Ok(Value::Json(raw)),
        Some(Cow::Borrowed(raw)) => text(raw),
        Some(Cow::Owned(raw)) => Ok(match text(&raw)? {
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            _ => Value::Null,
        }),
    }
}

/// The text of a document: strings without quotes and escapes, null as NULL, anything else as it is written.
fn text(raw: &RawValue) -> Evaluated<'_> {
    let json = raw.get();
    let Some(quoted) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(if json == "null" { Value::Null } else { Value::Text(Cow::Borrowed(json)) });
    };
    if !quoted.contains('\\') {
        return Ok(Value::Text(Cow::Borrowed(quoted)));
    }
    // Half a surrogate pair is valid JSON but no text.
    serde_json::from_str(json).map(|text| Value::Text(Cow::Owned(text))).map_err(|_| EvalError::InvalidCast("text"))
}

fn select<'d>(raw: &'d RawValue, key: &Value<'_>) -> Result<Option<&'d RawValue>, EvalError> {
    let mut document = serde_json::Deserializer::from_str(raw.get());
    match key {
        Value::Text(name) => Ok(Member(name).deserialize(&mut document).unwrap_or_default()),
        Value::Bigint(index) if *index >= 0 => Ok(element(raw, *index as u64)),
        Value::Bigint(index) => {
            let count = Length.deserialize(&mut document).unwrap_or_default();
            Ok(count.checked_sub(index.unsigned_abs()).and_then(|index| element(raw, index)))
        }
        _ => Err(EvalError::WrongType),
    }
}

fn element(raw: &RawValue, index: u64) -> Option<&RawValue> {
    Element(index).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).unwrap_or_default()
}

/// Finds a member by name: the last one, should the name stand twice.
struct Member<'n>(&'n str);

/// Whether a key is the name looked for.
struct Is<'n>(&'n str);

impl<'d> DeserializeSeed<'d> for Is<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'d>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

impl<'d> DeserializeSeed<'d> for Member<'_> {
    type Value = Option<&'d RawValue>;
    fn deserialize<D: Deserializer<'d>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

/// Scalars hold nothing: an error of the visitor, which its callers read as "not there".
impl<'d> Visitor<'d> for Member<'_> {
    type Value = Option<&'d RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(here) = map.next_key_seed(Is(self.0))? {
            if here {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Finds an element by its place.
struct Element(u64);

impl<'d> DeserializeSeed<'d> for Element {
    type Value = Option<&'d RawValue>;
    fn deserialize<D: Deserializer<'d>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Element {
    type Value = Option<&'d RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'d>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Counts elements; 0 for what is no array.
struct Length;

impl<'d> DeserializeSeed<'d> for Length {
    type Value = u64;
    fn deserialize<D: Deserializer<'d>>(self, d: D) -> Result<u64, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Length {
    type Value = u64;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'d>>(self, mut seq: A) -> Result<u64, A::Error> {
        let mut count = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

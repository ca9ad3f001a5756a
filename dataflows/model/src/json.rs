//! JSON texts as values, with every key that stands twice in its object: which of the two is meant, nobody can say.
//! (Rejected: the last one wins, as most parsers have it. RFC 8259, section 4, calls that unpredictable.)

use crate::fault::{Fault, join};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// The value of a text, and a fault for each repetition of a key, at the key's pointer.
pub fn value(json: &[u8]) -> Result<(Value, Vec<Fault>), serde_json::Error> {
    let faults = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = At { pointer: String::new(), faults: &faults }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, faults.into_inner()))
}

/// The fault of a key that is there more than once.
pub(crate) fn repeated(pointer: &str, key: &str) -> Fault {
    Fault::new(join(pointer, key), "is there more than once")
}

/// Where a value stands.
struct At<'f> {
    pointer: String,
    faults: &'f RefCell<Vec<Fault>>,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        let place = |at: usize| At { pointer: format!("{}/{at}", self.pointer), faults: self.faults };
        while let Some(element) = seq.next_element_seed(place(all.len()))? {
            all.push(element);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(At { pointer: join(&self.pointer, &key), faults: self.faults })?;
            if members.contains_key(&key) {
                self.faults.borrow_mut().push(repeated(&self.pointer, &key));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repeated_in(json: &str) -> Vec<String> {
        value(json.as_bytes()).unwrap().1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn repeated_keys_are_named_wherever_they_stand() {
        assert_eq!(repeated_in(r#"{"a":1,"b":{"a":1}}"#), Vec::<String>::new());
        assert_eq!(repeated_in(r#"{"min":1,"min":1}"#), ["/min: is there more than once"]);
        let nested = r#"{"rule":[{"weights":{"exam":0.9,"exam":0.1,"a/b":1,"a\/b":2}}]}"#;
        assert_eq!(
            repeated_in(nested),
            ["/rule/0/weights/exam: is there more than once", "/rule/0/weights/a~1b: is there more than once"]
        );
        for broken in ["", "{", "{}{}", "[1,]", "1e999", "nul", &"[".repeat(100_000)] {
            assert!(value(broken.as_bytes()).is_err(), "{broken:.20}");
        }
    }

    proptest! {
        /// Where no key stands twice, it is the value that serde_json reads.
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}\",:0-9a-c.eE+\\- ntrufals\\\\]{0,40}") {
            let (ours, theirs) = (value(text.as_bytes()), serde_json::from_str::<Value>(&text));
            prop_assert_eq!(ours.as_ref().ok().map(|(value, _)| value), theirs.as_ref().ok());
        }
    }
}

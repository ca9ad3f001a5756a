//! A JSON object as the raw texts of its members, and typed readings of those. Faults are collected with pointers.

use crate::decimal::{Decimal, DecimalError};
use crate::fault::{Fault, join, shown, suggestion};
use crate::instant::Millis;
use crate::json::repeated;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The deepest nesting kept in a context: those who read it later parse it with a stack.
const NESTING_MAX: usize = 100;

/// An object whose members are known by `N` names, and the others.
pub(super) struct Members<'a, const N: usize> {
    names: &'static [&'static str; N],
    known: [Option<&'a RawValue>; N],
    others: Vec<(Cow<'a, str>, &'a RawValue)>,
    faults: Vec<Fault>,
}

/// One member: its name and its raw text, which is valid JSON.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    name: &'static str,
    raw: &'a str,
    value: &'a RawValue,
}

impl<'a, const N: usize> Members<'a, N> {
    /// Splits the text of an object. What is no object, or no JSON, is one fault. Repeated keys are kept as faults.
    pub(super) fn read(json: &'a [u8], names: &'static [&'static str; N]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(json)
            .map_err(|error| Fault::new("", format!("is not UTF-8: wrong byte at offset {}", error.valid_up_to())))?;
        let mut members = Self { names, known: [None; N], others: Vec::new(), faults: Vec::new() };
        let mut reader = serde_json::Deserializer::from_str(text);
        reader
            .deserialize_map(Split(&mut members))
            .and_then(|()| reader.end())
            .map_err(|error| broken(text, &error))?;
        members.find_repeated_others();
        Ok(members)
    }

    fn put(&mut self, place: usize, value: &'a RawValue) {
        if self.known[place].replace(value).is_some() {
            self.faults.push(repeated("", self.names[place]));
        }
    }

    /// By sorting, since an object of a million unknown keys must not take a million squared.
    fn find_repeated_others(&mut self) {
        if self.others.len() < 2 {
            return;
        }
        let mut keys: Vec<&str> = self.others.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| repeated("", pair[0]));
        self.faults.extend(twice);
    }

    /// Adds a fault at a member, there or not.
    pub(super) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(Fault::new(join("", name), detail));
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    /// Whether the member is there, even as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some_and(|place| self.known[place].is_some())
    }

    /// A member that may be absent; `null` is absent too.
    pub(super) fn get(&self, name: &'static str) -> Option<Member<'a>> {
        let value = self.known[self.place(name)?]?;
        let raw = value.get();
        (raw != "null").then_some(Member { name, raw, value })
    }

    /// A member that must be there.
    pub(super) fn need(&mut self, name: &'static str) -> Option<Member<'a>> {
        let member = self.get(name);
        if member.is_none() {
            self.fault(name, "is required");
        }
        member
    }

    fn expected<T>(&mut self, member: Member<'a>, what: &str) -> Option<T> {
        self.fault(member.name, format!("expected {what}, found {}", kind(member.raw)));
        None
    }

    /// A string; borrowed where nothing in it is escaped.
    pub(super) fn string(&mut self, member: Member<'a>) -> Option<Cow<'a, str>> {
        match unquote(member.raw) {
            Some(Ok(text)) => Some(text),
            Some(Err(error)) => {
                self.fault(member.name, format!("holds a broken escape: {error}"));
                None
            }
            None => self.expected(member, "a string"),
        }
    }

    /// A string that passes a check.
    pub(super) fn text<E: fmt::Display>(
        &mut self,
        member: Member<'a>,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Option<Cow<'a, str>> {
        let text = self.string(member)?;
        check(&text).map_err(|error| self.fault(member.name, error.to_string())).ok()?;
        Some(text)
    }

    /// A string made into something.
    pub(super) fn parse<T, E: fmt::Display>(
        &mut self,
        member: Member<'a>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.string(member)?;
        parse(&text).map_err(|error| self.fault(member.name, error.to_string())).ok()
    }

    /// One of a list of names.
    pub(super) fn choice<T: Copy>(&mut self, member: Member<'a>, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(member)?;
        if let Some((_, meaning)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*meaning);
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let list = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let near = suggestion(&text, names());
        self.fault(member.name, format!("expected one of {list}, found `{}`{near}", shown(&text)));
        None
    }

    /// An instant.
    pub(super) fn time(&mut self, member: Member<'a>) -> Option<Millis> {
        self.parse(member, Millis::parse_rfc3339)
    }

    /// A decimal, exactly as its text says: a number or a string.
    pub(super) fn decimal(&mut self, member: Member<'a>) -> Option<Decimal> {
        self.number(member, Decimal::parse)
    }

    /// An event's value: a number or a string, to the nearest millionth.
    pub(super) fn value(&mut self, member: Member<'a>) -> Option<Decimal> {
        self.number(member, Decimal::parse_value)
    }

    fn number(&mut self, member: Member<'a>, parse: fn(&str) -> Result<Decimal, DecimalError>) -> Option<Decimal> {
        let parsed = match member.raw.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => parse(member.raw),
            Some(b'"') => parse(&self.string(member)?),
            _ => return self.expected(member, "a decimal number"),
        };
        parsed.map_err(|error| self.fault(member.name, error.to_string())).ok()
    }

    /// A decimal that is not negative.
    pub(super) fn amount(&mut self, member: Member<'a>) -> Option<Decimal> {
        let amount = self.decimal(member)?;
        if amount < Decimal::ZERO {
            self.fault(member.name, "must not be negative");
            return None;
        }
        Some(amount)
    }

    /// The amount if it is above zero.
    pub(super) fn positive(&mut self, member: Member<'a>, amount: Decimal) -> Option<Decimal> {
        if amount == Decimal::ZERO {
            self.fault(member.name, "must be above 0");
            return None;
        }
        Some(amount)
    }

    /// An object, unparsed.
    pub(super) fn object(&mut self, member: Member<'a>) -> Option<&'a RawValue> {
        if !member.raw.starts_with('{') {
            return self.expected(member, "an object");
        }
        if too_deep(member.raw, NESTING_MAX) {
            self.fault(member.name, format!("is nested deeper than {NESTING_MAX} levels"));
            return None;
        }
        Some(member.value)
    }

    /// Every member that is not known is a fault.
    pub(super) fn refuse_others(&mut self) {
        for (key, _) in std::mem::take(&mut self.others) {
            self.faults.push(Fault::unknown_key("", &key, self.names.iter().copied()));
        }
    }

    /// Checks that the other members can be kept as members of the object `name`.
    pub(super) fn check_extra(&mut self, name: &str, object: Option<&'a RawValue>) {
        if self.others.is_empty() {
            return;
        }
        let taken = object.map_or_else(Vec::new, keys);
        let others = std::mem::take(&mut self.others);
        for (key, value) in &others {
            if taken.binary_search(key).is_ok() {
                self.fault(key, format!("is not a known field, and `{name}` has a member of this name already"));
            }
            // It moves one level down.
            if too_deep(value.get(), NESTING_MAX - 1) {
                self.fault(key, format!("is nested deeper than {NESTING_MAX} levels"));
            }
        }
        self.others = others;
    }

    /// The members that are not known.
    pub(super) fn take_others(&mut self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        std::mem::take(&mut self.others)
    }

    /// The value if there are no faults. Readings give `None` only with a fault; a general one covers a mistake there.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Fault>> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            None if self.faults.is_empty() => Err(vec![Fault::new("", "is not valid")]),
            Some(_) | None => Err(self.faults),
        }
    }
}

/// Takes an object apart.
struct Split<'m, 'a, const N: usize>(&'m mut Members<'a, N>);

impl<'a, const N: usize> Visitor<'a> for Split<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // Writers mostly keep one order of keys, so the next key is looked for from the last one on.
        let mut next = 0;
        while let Some(Key(key)) = map.next_key()? {
            let names = self.0.names;
            let found = (next..N).chain(0..next).find(|place| names[*place] == key);
            let value: &'a RawValue = map.next_value()?;
            match found {
                Some(place) => {
                    self.0.put(place, value);
                    next = (place + 1) % N;
                }
                None => self.0.others.push((key, value)),
            }
        }
        Ok(())
    }
}

/// A key, borrowed where nothing in it is escaped. (`Cow`'s own `Deserialize` always copies.)
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(KeyVisitor)
    }
}

/// The fault of a text that is no object.
fn broken(text: &str, error: &serde_json::Error) -> Fault {
    let first = text.trim_start();
    let is_json = !first.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok();
    Fault::new(
        "",
        if is_json { format!("expected an object, found {}", kind(first)) } else { format!("is not JSON: {error}") },
    )
}

/// What the value of a raw text is, in words.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The text of a raw string; `None` where it is no string.
fn unquote(raw: &str) -> Option<Result<Cow<'_, str>, serde_json::Error>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Ok(Cow::Borrowed(inner)));
    }
    Some(serde_json::from_str::<String>(raw).map(Cow::Owned))
}

/// The keys of an object, sorted.
fn keys(object: &RawValue) -> Vec<Cow<'_, str>> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<Cow<'de, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some((Key(key), IgnoredAny)) = map.next_entry()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    let mut keys = serde_json::Deserializer::from_str(object.get()).deserialize_map(Keys).unwrap_or_default();
    keys.sort_unstable();
    keys
}

/// Whether a raw value is nested deeper than that. Few texts have as many brackets as would take.
fn too_deep(raw: &str, nesting_max: usize) -> bool {
    if raw.bytes().filter(|b| matches!(b, b'{' | b'[')).count() <= nesting_max {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > nesting_max {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

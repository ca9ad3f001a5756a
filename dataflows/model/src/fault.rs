//! What is wrong with a value from outside, and where in it.

use serde::Serialize;

/// One fault in a document, placed by a JSON pointer (RFC 6901) from the document's root.
///
/// The HTTP edge shows pointers as they are; for a TOML file they are mapped to line and column. The pointer of a
/// missing member names the member, so its place is the nearest ancestor that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: `""` is the whole document, `/rule/0/weights/exam` a value in it.
    pub pointer: String,
    /// What is wrong, what was expected and, where there is one, the nearest known name. Lower case, no full stop.
    pub detail: String,
}

impl Fault {
    /// A fault at a pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// A key that is not known here, with the nearest one that is.
    pub fn unknown_key<'a>(pointer: &str, key: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(join(pointer, key), format!("unknown key `{}`{}", shown(key), suggestion(key, known)))
    }
}

impl std::fmt::Display for Fault {
    /// `/score: must not be negative`; the pointer is left out where it is the whole document.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer.is_empty() { f.write_str(&self.detail) } else { write!(f, "{}: {}", self.pointer, self.detail) }
    }
}

/// The pointer of a member of the object (or an element of the array) at `pointer`.
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// `; did you mean …?` where a known name is near, else nothing.
pub fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The longest text from outside that is repeated in a fault, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// A text from outside as a fault shows it: cut where it is long.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// Names longer than this (in bytes) are near to nothing: the distance costs the product of both lengths.
const NAME_BYTES_MAX: usize = 64;

/// The known name nearest to `given`, if one is near enough to be meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > NAME_BYTES_MAX {
        return None;
    }
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(3) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_are_near() {
        let known = ["score", "max_score", "weight"];
        assert_eq!(nearest("scoer", known), Some("score"));
        assert_eq!(nearest("maxscore", known), Some("max_score"));
        assert_eq!(nearest("WEIGHT", known), Some("weight"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }

    #[test]
    fn pointers_are_escaped_and_long_texts_cut() {
        assert_eq!(join("/a", "b/c~d"), "/a/b~1c~0d");
        let fault = Fault::unknown_key("/rule/0", "weigths", ["weights"]);
        assert_eq!(fault.to_string(), "/rule/0/weigths: unknown key `weigths`; did you mean `weights`?");
        assert_eq!(shown(&"é".repeat(100)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}

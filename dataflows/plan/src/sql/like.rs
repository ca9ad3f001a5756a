//! LIKE and ILIKE: patterns, compiled once, and matching.

use super::literal::fold_case;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    shape: Shape,
    /// ILIKE: the pattern is in lower case, and so must the text be.
    insensitive: bool,
}

/// Common shapes need no search by characters.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    General(Box<[Piece]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `%`
    Any,
    /// `_`
    One,
    /// The character itself.
    Just(char),
}

/// The pattern ends with its escape character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndsWithEscape;

impl Pattern {
    /// Compiles a pattern; `escape` is `\` unless ESCAPE says otherwise, `None` for `ESCAPE ''`.
    pub fn new(text: &str, escape: Option<char>, insensitive: bool) -> Result<Self, EndsWithEscape> {
        let mut pieces = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let piece = match c {
                c if Some(c) == escape => Piece::Just(rest.next().ok_or(EndsWithEscape)?),
                '%' => Piece::Any,
                '_' => Piece::One,
                c => Piece::Just(c),
            };
            // `%%` matches what `%` matches.
            if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                pieces.push(match piece {
                    Piece::Just(c) if insensitive => Piece::Just(fold_case(c)),
                    Piece::Just(_) | Piece::Any | Piece::One => piece,
                });
            }
        }
        Ok(Self { shape: Shape::of(pieces), insensitive })
    }

    /// Whether the text matches, whole.
    pub fn matches(&self, text: &str) -> bool {
        if self.insensitive {
            self.shape.matches(&text.chars().map(fold_case).collect::<String>())
        } else {
            self.shape.matches(text)
        }
    }

    /// Whether it is ILIKE's, and the pattern with `\` as its escape.
    pub fn canonical(&self) -> (bool, String) {
        (self.insensitive, self.shape.text())
    }
}

impl Shape {
    fn of(pieces: Vec<Piece>) -> Self {
        let text = |pieces: &[Piece]| -> Option<Box<str>> {
            let just = pieces.iter().map(|p| match p {
                Piece::Just(c) => Some(*c),
                Piece::Any | Piece::One => None,
            });
            just.collect::<Option<String>>().map(String::into_boxed_str)
        };
        let shape = match pieces.as_slice() {
            [Piece::Any, inner @ .., Piece::Any] => text(inner).map(Self::Contains),
            [Piece::Any, rest @ ..] => text(rest).map(Self::Suffix),
            [rest @ .., Piece::Any] => text(rest).map(Self::Prefix),
            all => text(all).map(Self::Exact),
        };
        shape.unwrap_or_else(|| Self::General(pieces.into()))
    }

    fn text(&self) -> String {
        let escaped = |text: &str| -> String {
            text.chars().flat_map(|c| [matches!(c, '%' | '_' | '\\').then_some('\\'), Some(c)]).flatten().collect()
        };
        match self {
            Self::Exact(all) => escaped(all),
            Self::Prefix(start) => escaped(start) + "%",
            Self::Suffix(end) => format!("%{}", escaped(end)),
            Self::Contains(part) => format!("%{}%", escaped(part)),
            Self::General(pieces) => {
                let piece = |piece: &Piece| match piece {
                    Piece::Any => "%".to_owned(),
                    Piece::One => "_".to_owned(),
                    Piece::Just(c) => escaped(c.encode_utf8(&mut [0; 4])),
                };
                pieces.iter().map(piece).collect()
            }
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(all) => text == &**all,
            Self::Prefix(start) => text.starts_with(&**start),
            Self::Suffix(end) => text.ends_with(&**end),
            Self::Contains(part) => text.contains(&**part),
            Self::General(pieces) => matches_pieces(pieces, text),
        }
    }
}

/// Greedy with one point to go back to, the last `%`: at worst the product of both lengths, no recursion.
fn matches_pieces(pieces: &[Piece], text: &str) -> bool {
    let (mut at, mut rest) = (0, text.chars());
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        match (pieces.get(at), rest.next()) {
            (Some(Piece::Any), _) => {
                rest = before;
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            (Some(Piece::One), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(Piece::Just(c)), Some(found)) if *c == found => {
                at += 1;
                continue;
            }
            (None, None) => return true,
            (Some(Piece::One | Piece::Just(_)) | None, _) => {}
        }
        // A dead end: let the last `%` take one character more.
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (at, rest) = (*after, from.clone());
    }
}

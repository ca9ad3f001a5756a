//! What form of an answer a caller wants: the header `Accept` as RFC 9110 (12.5.1) reads it.

use crate::error::{ApiError, Kind};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// A range of the header: `text/csv;q=0.5`, `text/*`, `*/*`.
struct Range {
    kind: String,
    subtype: String,
    /// Thousandths; 0: not wanted.
    quality: u32,
}

/// The offer that the caller prefers. Of equal ones it is what the header names first, then what is offered first; without a header the
/// first. Media types have no case, and the range that says most about an offer decides. An error where nothing of it is wanted.
pub(crate) fn preferred<T: Copy>(headers: &HeaderMap, offers: &[(&str, T)]) -> Result<T, ApiError> {
    let all: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut ranges: Vec<Range> = all.iter().flat_map(|value| parts(value, ',')).filter_map(range).collect();
    if ranges.is_empty() {
        ranges.push(Range { kind: "*".to_owned(), subtype: "*".to_owned(), quality: 1_000 });
    }
    let ranked = offers.iter().enumerate().filter_map(|(offered, (media, form))| {
        let (kind, subtype) = media.split_once('/')?;
        let fits = ranges.iter().enumerate().filter_map(|(named, range)| {
            let specific = match (range.kind.as_str(), range.subtype.as_str()) {
                ("*", "*") => 0,
                (of, "*") if of == kind => 1,
                (of, sub) if of == kind && sub == subtype => 2,
                _ => return None,
            };
            Some((specific, std::cmp::Reverse(named), range.quality))
        });
        let (_, named, quality) = fits.max()?;
        (quality > 0).then_some(((quality, named, std::cmp::Reverse(offered)), *form))
    });
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, form)| form).ok_or_else(|| {
        let media: Vec<_> = offers.iter().map(|(media, _)| format!("`{media}`")).collect();
        ApiError::new(Kind::NotAcceptable, format!("there are {}", media.join(", ")))
    })
}

/// One range; `None`: it is none, and says nothing.
fn range(text: &str) -> Option<Range> {
    let mut pieces = parts(text, ';');
    let (kind, subtype) = pieces.next()?.split_once('/')?;
    let mut quality = 1_000;
    for piece in pieces {
        if let Some((name, value)) = piece.split_once('=')
            && name.trim().eq_ignore_ascii_case("q")
        {
            quality = thousandths(value.trim())?;
        }
    }
    Some(Range { kind: kind.trim().to_ascii_lowercase(), subtype: subtype.trim().to_ascii_lowercase(), quality })
}

/// `0`, `0.5`, `1.000`.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match whole {
        "0" => format!("{fraction:0<3}").parse().ok(),
        "1" if fraction.bytes().all(|byte| byte == b'0') => Some(1_000),
        _ => None,
    }
}

/// What stands between separators, but not between those within quotes.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let pieces = text.split(move |c: char| {
        let here = c == separator && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        here
    });
    pieces.map(str::trim).filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::HeaderValue;

    const OFFERS: &[(&str, &str)] = &[
        ("application/json", "json"),
        ("text/csv", "csv"),
        ("application/x-ndjson", "lines"),
        ("application/jsonl", "lines"),
    ];

    #[test]
    fn the_header_is_read_as_the_rfc_says() {
        let table = [
            (&[][..], "json"),
            (&[""], "json"),
            (&["*/*"], "json"),
            (&["text/csv"], "csv"),
            (&["TEXT/CSV"], "csv"),
            (&["Application/X-NDJSON"], "lines"),
            (&["application/jsonl"], "lines"),
            (&["text/*"], "csv"),
            (&["application/json;q=0.1, text/csv;q=0.9"], "csv"),
            (&["application/json;q=0.9,text/csv; Q=0.1"], "json"),
            (&["text/csv, application/json"], "csv"),
            (&["application/json, text/csv"], "json"),
            (&["text/html, */*;q=0.1"], "json"),
            (&["text/html", "text/csv;q=0.5"], "csv"),
            // The more specific range decides, wherever it stands.
            (&["*/*, application/json;q=0"], "csv"),
            (&["application/json;q=0, */*;q=0.5, text/csv;q=0.4"], "lines"),
            (&["text/csv; header=\"a,b;q=0\", application/json;q=0.5"], "csv"),
            (&["text/csv;charset=utf-8"], "csv"),
            (&["text/csv;q=0.500, application/json;q=0.499"], "csv"),
            // What is no range says nothing.
            (&["csv, text/csv;q=2, application/json"], "json"),
            (&["text/html"], "none"),
            (&["text/csv;q=0"], "none"),
            (&["*/*;q=0"], "none"),
            (&["text/plain, application/xml;q=0.9"], "none"),
        ];
        for (values, expected) in table {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(preferred(&headers, OFFERS).unwrap_or("none"), expected, "{values:?}");
        }
    }
}

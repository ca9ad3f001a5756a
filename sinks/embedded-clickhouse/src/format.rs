//! ClickHouse's output formats: which of them can be sent piece by piece, and the media type of each.
//!
//! The library writes what begins a format (`CSVWithNames`' header, `JSON`'s `"meta"`) at the beginning of *every* piece
//! of a stream. Formats that have no such beginning are streamed; where it is a fixed number of lines or columns it is
//! cut from all pieces but the first; all others are made as a whole.

/// How a result is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In pieces that just follow each other.
    Pieces,
    /// In pieces that begin with the same header.
    PiecesAfter(Header),
    /// As a whole, within limits.
    Whole,
}

/// What comes before the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// So many lines.
    Lines(usize),
    /// So many lines in which quoted values may hold ends of lines.
    CsvLines(usize),
    /// A number of columns, then so many texts for each.
    Columns(usize),
}

/// How a format's results are handed over. Names are taken in any case, as the engine does.
pub fn way(format: &str) -> Way {
    let name = format.to_ascii_lowercase();
    // `TSV` is another name of `TabSeparated`.
    let name = if let Some(rest) = name.strip_prefix("tabseparated") { format!("tsv{rest}") } else { name };
    let (name, texts) = match (name.strip_suffix("withnamesandtypes"), name.strip_suffix("withnames")) {
        (Some(name), _) => (name, 2),
        (None, Some(name)) => (name, 1),
        (None, None) => (name.as_str(), 0),
    };
    let header = match name {
        "csv" => Header::CsvLines(texts),
        "rowbinary" => Header::Columns(texts),
        "tsv" | "tsvraw" | "jsoncompacteachrow" | "jsoncompactstringseachrow" => Header::Lines(texts),
        "raw" | "tskv" | "jsoneachrow" | "jsonlines" | "ndjson" | "jsonstringseachrow" | "native" | "bsoneachrow"
        | "msgpack" => return if texts == 0 { Way::Pieces } else { Way::Whole },
        _ => return Way::Whole,
    };
    if texts == 0 { Way::Pieces } else { Way::PiecesAfter(header) }
}

/// Settings with which a result is more than rows: an array around them, or extremes behind them.
pub const SETTINGS_OF_WHOLES: &[&str] = &["output_format_json_array_of_rows", "extremes"];

/// Words of a statement with which it is, or may be: the library writes a header behind totals too.
pub const WORDS_OF_WHOLES: &[&str] = &["TOTALS", "EXTREMES", "OUTPUT_FORMAT_JSON_ARRAY_OF_ROWS"];

impl Header {
    /// Its length at the beginning of `piece`; all of it if it does not end.
    pub fn len(self, piece: &[u8]) -> usize {
        let (mut lines, quotes) = match self {
            Self::Columns(texts) => return columns(piece, texts).unwrap_or(piece.len()),
            Self::Lines(lines) => (lines, false),
            Self::CsvLines(lines) => (lines, true),
        };
        let mut quoted = false;
        for (i, byte) in piece.iter().enumerate() {
            match byte {
                // A doubled quote opens and closes: the same.
                b'"' if quotes => quoted = !quoted,
                b'\n' if !quoted => lines -= 1,
                _ => {}
            }
            if lines == 0 {
                return i + 1;
            }
        }
        piece.len()
    }
}

/// A number of columns and `texts` texts for each, all numbers as LEB128.
fn columns(piece: &[u8], texts: usize) -> Option<usize> {
    let (count, mut at) = leb128(piece, 0)?;
    for _ in 0..count.checked_mul(texts)? {
        let (len, begin) = leb128(piece, at)?;
        at = begin.checked_add(len)?;
    }
    (at <= piece.len()).then_some(at)
}

fn leb128(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut value, mut shift) = (0_usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= usize::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
        shift += 7;
    }
}

/// The media type, as ClickHouse's server says it.
pub fn media_type(format: &str) -> &'static str {
    let name = format.to_ascii_lowercase();
    match name.as_str() {
        "csv" => "text/csv; charset=UTF-8; header=absent",
        "csvwithnames" | "csvwithnamesandtypes" => "text/csv; charset=UTF-8; header=present",
        "json"
        | "jsoncompact"
        | "jsonstrings"
        | "jsoncompactstrings"
        | "jsoncolumns"
        | "jsoncompactcolumns"
        | "jsoncolumnswithmetadata"
        | "jsonobjecteachrow" => "application/json; charset=UTF-8",
        "jsoneachrow"
        | "jsonlines"
        | "ndjson"
        | "jsonstringseachrow"
        | "jsoncompacteachrow"
        | "jsoneachrowwithprogress" => "application/x-ndjson; charset=UTF-8",
        "xml" => "application/xml; charset=UTF-8",
        "native" | "parquet" | "arrow" | "arrowstream" | "orc" | "avro" | "msgpack" | "bsoneachrow" => {
            "application/octet-stream"
        }
        _ if name.starts_with("rowbinary") => "application/octet-stream",
        _ if name.starts_with("tabseparated") || name.starts_with("tsv") => "text/tab-separated-values; charset=UTF-8",
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_begin_with_something_are_not_just_joined() {
        for format in ["TSV", "TabSeparated", "CSV", "JSONEachRow", "RowBinary", "Native", "jsoncompacteachrow"] {
            assert_eq!(way(format), Way::Pieces, "{format}");
        }
        assert_eq!(way("CSVWithNames"), Way::PiecesAfter(Header::CsvLines(1)));
        assert_eq!(way("TabSeparatedWithNamesAndTypes"), Way::PiecesAfter(Header::Lines(2)));
        assert_eq!(way("RowBinaryWithNamesAndTypes"), Way::PiecesAfter(Header::Columns(2)));
        for format in ["JSON", "Parquet", "Pretty", "Arrow", "Values", "NativeWithNames", "SomethingNew", ""] {
            assert_eq!(way(format), Way::Whole, "{format}");
        }
    }

    #[test]
    fn headers_are_measured() {
        assert_eq!(Header::Lines(2).len(b"a\tb\nInt8\tInt8\n1\t2\n"), 14);
        assert_eq!(Header::CsvLines(1).len(b"\"a\nb\",\"c\"\"\n\"\n1,2\n"), 13);
        assert_eq!(Header::Columns(2).len(b"\x02\x01a\x01b\x04Int8\x05Int16\x01\x02\x00"), 16);
        assert_eq!(Header::Columns(2).len(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 12);
        assert_eq!(Header::Columns(1).len(b"\x05\x01a"), 3);
        assert_eq!(Header::Lines(1).len(b"abc"), 3);
    }
}

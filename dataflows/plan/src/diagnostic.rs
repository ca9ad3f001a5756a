//! A fault in a configuration file and how it is printed: `file:line:column: error: …`, the line, and a caret.
//! Where a fault is, others say; what a byte offset means in lines and columns is said here.

use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing starts with it.
    Error,
    /// It runs, and probably not as it was meant.
    Warning,
}

/// The most characters of a line that are printed; where it is cut, `…` says so.
const LINE_MAX: usize = 300;
/// The most of them before the place.
const BEFORE_MAX: usize = 200;

/// One fault at one place, ready to be printed. Places are sorted before words, so `sort` gives the order of reading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file's name, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column of the first character, from 1, counted in characters.
    pub column: usize,
    /// Column behind the last character; equal to `column` where there is nothing to underline.
    pub end_column: usize,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong and what was expected. Lower case, no full stop.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
    /// The line's text; secrets are masked, control characters replaced.
    pub source_line: String,
}

impl fmt::Display for Diagnostic {
    /// Without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, source_line, .. } = self;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{file}:{line}:{column}: {severity}: {message}")?;
        let from = column.saturating_sub(BEFORE_MAX);
        let (before, after) = (if from > 0 { "…" } else { "" }, source_line.chars().skip(from).nth(LINE_MAX).is_some());
        let shown: String = source_line.chars().skip(from).take(LINE_MAX).collect();
        writeln!(f, "{before}{shown}{}", if after { "…" } else { "" })?;
        // Tabs stay tabs, so that the caret stands under its character however wide the terminal makes them.
        for character in before.chars().chain(shown.chars().take(column - 1 - from)) {
            f.write_str(if character == '\t' { "\t" } else { " " })?;
        }
        f.write_str("^")?;
        for _ in column + 1..self.end_column.min(from + LINE_MAX + 1) {
            f.write_str("~")?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

/// Prints diagnostics one after the other, each ending in a newline.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

/// Whether one of them is an error.
pub fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Sorts by file, line and column, and drops repetitions.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort();
    diagnostics.dedup();
}

/// A configuration file's text and its name. The text has no byte order mark: it belongs to no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A text and the name to print for it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        Self { name: name.into(), text }
    }

    /// A file's bytes. Bytes that are no UTF-8 are a diagnostic at the first of them.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Box<Diagnostic>> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let marked = error.as_bytes().starts_with("\u{feff}".as_bytes());
                let lossy = Self::new(name, String::from_utf8_lossy(error.as_bytes()));
                let at = if marked { at - '\u{feff}'.len_utf8() } else { at };
                let message = "the file is not UTF-8 text";
                let help = "save it as UTF-8; other encodings, such as Latin-1 or UTF-16, are not read";
                let secrets = possible_secrets(&lossy.text);
                Err(Box::new(lossy.diagnostic(Severity::Error, at..at, &secrets, message).with_help(help)))
            }
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at a range of bytes. A range over several lines is underlined on its first; one that cuts a
    /// character or lies behind the end is moved to what is there.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, span, &[], message)
    }

    /// A warning at a range of bytes.
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, span, &[], message)
    }

    /// A diagnostic whose line shows `*` for each character of the `secrets`.
    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        span: Range<usize>,
        secrets: &[Range<usize>],
        message: impl Into<String>,
    ) -> Diagnostic {
        let start = self.boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &self.text[line_start..];
        let content = rest.split('\n').next().unwrap_or(rest);
        let content = content.strip_suffix('\r').unwrap_or(content);
        // A place within the line's end (`\r\n`) is the end of the line.
        let start = start.min(line_start + content.len());
        let end = self.boundary(span.end).clamp(start, line_start + content.len());
        let column = self.text[line_start..start].chars().count() + 1;
        let shown = |(offset, character): (usize, char)| {
            let at = line_start + offset;
            match character {
                _ if secrets.iter().any(|secret| secret.contains(&at)) => '*',
                '\t' => '\t',
                control if control.is_control() => '\u{fffd}',
                other => other,
            }
        };
        Diagnostic {
            file: self.name.clone(),
            line: self.text[..line_start].matches('\n').count() + 1,
            column,
            end_column: column + self.text[start..end].chars().count(),
            severity,
            message: message.into(),
            help: None,
            source_line: content.char_indices().map(shown).collect(),
        }
    }

    /// The nearest start of a character at or before an offset.
    fn boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

impl Diagnostic {
    /// The same with a help line.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Where a text that does not parse may hold secrets: behind each `secret =`, to the end of the line.
pub(crate) fn possible_secrets(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    for (at, word) in text.match_indices("secret") {
        let rest = text[at + word.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
        if rest.starts_with(['=', ':']) {
            let start = text.len() - rest.len() + 1;
            let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
            secrets.push(start..end);
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_the_line_and_a_caret() {
        let source = Source::new("a.toml", "x = 1\n\tclave = \"número\" # ñ\r\nz = 2");
        let at = source.text().find("\"número").unwrap();
        let diagnostic = source.error(at..at + "\"número\"".len(), "not a number").with_help("write 3");
        let expected = "a.toml:2:10: error: not a number\n\tclave = \"número\" # ñ\n\t        ^~~~~~~~\nhelp: write 3";
        assert_eq!(diagnostic.to_string(), expected);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = Source::new("a", format!("{}here{}", "x".repeat(1_000), "y".repeat(1_000)));
        let printed = source.error(1_000..1_004, "m").to_string();
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines[0], "a:1:1001: error: m");
        assert_eq!(lines[1], format!("…{}here{}…", "x".repeat(199), "y".repeat(97)));
        assert_eq!(lines[2], format!("{}^~~~", " ".repeat(200)));
        let all = source.error(0..2_004, "m").to_string();
        assert!(all.lines().all(|line| line.chars().count() <= LINE_MAX + 2), "{all}");
    }

    #[test]
    fn places_at_the_ends() {
        let source = Source::new("a", "ab\r\ncd\n");
        let place = |at: usize| {
            let d = source.error(at..at, "");
            (d.line, d.column, d.end_column)
        };
        assert_eq!(place(0), (1, 1, 1));
        assert_eq!(place(2), (1, 3, 3));
        assert_eq!(place(3), (1, 3, 3));
        assert_eq!(place(4), (2, 1, 1));
        assert_eq!(place(7), (3, 1, 1));
        assert_eq!(place(99), (3, 1, 1));
        assert_eq!(Source::new("a", "").error(0..0, "empty").to_string(), "a:1:1: error: empty\n\n^");
    }

    #[test]
    fn byte_order_marks_and_foreign_bytes() {
        assert_eq!(Source::new("a", "\u{feff}x = 1").text(), "x = 1");
        let broken = Source::from_bytes("a", b"\xef\xbb\xbfx = 1\ny = \"a\xf1o\"".to_vec()).unwrap_err();
        assert_eq!((broken.line, broken.column), (2, 7));
        assert_eq!(broken.source_line, "y = \"a\u{fffd}o\"");
    }

    #[test]
    fn secrets_and_control_characters_are_not_printed() {
        let source = Source::new("a", "s = \"año\" # \u{1b}[31m");
        let secret = 4..10;
        let diagnostic = source.diagnostic(Severity::Error, secret.clone(), std::slice::from_ref(&secret), "short");
        assert_eq!(diagnostic.source_line, "s = ***** # \u{fffd}[31m");
        assert_eq!((diagnostic.column, diagnostic.end_column), (5, 10));
    }

    proptest! {
        /// Any place in any text can be printed, and its column lies within its line.
        #[test]
        fn every_place_prints(text in "[a\u{f1}\u{1f600}\t\r\n]{0,30}", start in 0_usize..60, length in 0_usize..60) {
            let source = Source::new("f", text);
            let diagnostic = source.error(start..start + length, "m");
            prop_assert!(diagnostic.column <= diagnostic.end_column);
            prop_assert!(diagnostic.end_column <= diagnostic.source_line.chars().count() + 1);
            prop_assert_eq!(diagnostic.to_string().lines().count() >= 3 || diagnostic.source_line.is_empty(), true);
        }
    }
}

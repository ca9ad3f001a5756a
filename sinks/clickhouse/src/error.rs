//! What may go wrong between us and ClickHouse, and what to do then. Which error means what is a table here; who tries
//! again, and when, is not here.

use clickhouse::error::Error;

/// Longest reason that is kept: ClickHouse may quote a whole statement.
const REASON_CHARS: usize = 400;

/// A statement that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ServerError {
    /// What to do next.
    pub next: Next,
    /// ClickHouse's number, where it gave one.
    pub code: Option<u32>,
    /// What it says, shortened.
    pub reason: String,
}

/// What whoever sent a statement does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send it again, soon. It may have been done, and may not: an insert is sent with the same token, and looked for.
    Again,
    /// Nothing helps until somebody changes something: the password, a table, the configuration. Send it again now and then.
    Somebody,
    /// Send nothing any more: another process has the share.
    Ousted,
    /// Give up: this process was asked to stop.
    Stop,
}

/// Codes of errors that a repetition does not mend, with ClickHouse's names. Whatever is not here may pass: overload,
/// timeouts, replication, network, and codes that we do not know.
const NEEDS_SOMEBODY: &[(u32, &str)] = &[
    (6, "CANNOT_PARSE_TEXT"),
    (10, "NOT_FOUND_COLUMN_IN_BLOCK"),
    (16, "NO_SUCH_COLUMN_IN_TABLE"),
    (20, "NUMBER_OF_COLUMNS_DOESNT_MATCH"),
    (36, "BAD_ARGUMENTS"),
    (43, "ILLEGAL_TYPE_OF_ARGUMENT"),
    (44, "ILLEGAL_COLUMN"),
    (46, "UNKNOWN_FUNCTION"),
    (47, "UNKNOWN_IDENTIFIER"),
    (48, "NOT_IMPLEMENTED"),
    (50, "UNKNOWN_TYPE"),
    (53, "TYPE_MISMATCH"),
    (57, "TABLE_ALREADY_EXISTS"),
    (60, "UNKNOWN_TABLE"),
    (62, "SYNTAX_ERROR"),
    (70, "CANNOT_CONVERT_TYPE"),
    (81, "UNKNOWN_DATABASE"),
    (115, "UNKNOWN_SETTING"),
    (117, "INCORRECT_DATA"),
    (164, "READONLY"),
    (192, "UNKNOWN_USER"),
    (193, "WRONG_PASSWORD"),
    (194, "REQUIRED_PASSWORD"),
    (195, "IP_ADDRESS_NOT_ALLOWED"),
    (349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN"),
    (452, "SETTING_CONSTRAINT_VIOLATION"),
    (469, "VIOLATED_CONSTRAINT"),
    (497, "ACCESS_DENIED"),
    (516, "AUTHENTICATION_FAILED"),
];

impl ServerError {
    /// Nobody can say whether it was done.
    pub(crate) fn again(reason: impl Into<String>) -> Self {
        Self { next: Next::Again, code: None, reason: reason.into() }
    }

    /// Somebody must do something.
    pub(crate) fn somebody(reason: impl Into<String>) -> Self {
        Self { next: Next::Somebody, code: None, reason: reason.into() }
    }

    /// Another process writes now.
    pub(crate) fn ousted(reason: impl Into<String>) -> Self {
        Self { next: Next::Ousted, code: None, reason: reason.into() }
    }

    /// It was given up.
    pub(crate) fn stopped() -> Self {
        Self { next: Next::Stop, code: None, reason: "the process is stopping".to_owned() }
    }
}

impl From<Error> for ServerError {
    fn from(error: Error) -> Self {
        match error {
            Error::BadResponse(text) => said(&text),
            Error::TimedOut => Self::again("no answer in time"),
            // The sources say what happened: `connection refused` is two levels down.
            Error::Network(cause) => Self::again(format!("cannot be reached: {}", chain(cause.as_ref()))),
            // What a proxy may have put there.
            error @ (Error::Decompression(_) | Error::InvalidColumnsHeader(_) | Error::NotEnoughData) => {
                Self::again(shorten(&error.to_string()))
            }
            // Ours, or the configuration's.
            error @ (Error::Unsupported(_) | Error::InvalidParams(_) | Error::SchemaMismatch(_)) => {
                Self::somebody(shorten(&error.to_string()))
            }
            error => Self::again(shorten(&error.to_string())),
        }
    }
}

/// What an answer other than 200 means.
fn said(text: &str) -> ServerError {
    let code = code(text);
    let somebody = code.is_some_and(|code| NEEDS_SOMEBODY.iter().any(|(known, _)| *known == code));
    ServerError { next: if somebody { Next::Somebody } else { Next::Again }, code, reason: shorten(text) }
}

/// The number in `Code: 60. DB::Exception: …`.
fn code(text: &str) -> Option<u32> {
    let after = text.split("Code: ").nth(1)?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    shorten(&text)
}

/// One line of limited length.
fn shorten(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(REASON_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let table = [
            ("Code: 516. DB::Exception: default: Authentication failed (AUTHENTICATION_FAILED)", Next::Somebody),
            ("Code: 60. DB::Exception: Table aula.grades does not exist", Next::Somebody),
            ("Code: 16. DB::Exception: No such column rule_version", Next::Somebody),
            ("Code: 53. DB::Exception: Type mismatch", Next::Somebody),
            ("Code: 497. DB::Exception: Not enough privileges", Next::Somebody),
            ("Code: 202. DB::Exception: Too many simultaneous queries", Next::Again),
            ("Code: 241. DB::Exception: Memory limit exceeded", Next::Again),
            ("Code: 243. DB::Exception: Cannot reserve 1.00 MiB", Next::Again),
            ("Code: 252. DB::Exception: Too many parts (300)", Next::Again),
            ("Code: 319. DB::Exception: Unknown status, client must retry", Next::Again),
            // A body that a broken connection has cut.
            ("Code: 33. DB::Exception: Cannot read all data", Next::Again),
            ("Code: 159. DB::Exception: Timeout exceeded", Next::Again),
            ("Code: 99999. DB::Exception: something new", Next::Again),
            ("502 Bad Gateway", Next::Again),
            ("<html>nginx</html>", Next::Again),
        ];
        for (text, next) in table {
            assert_eq!(ServerError::from(Error::BadResponse(text.to_owned())).next, next, "{text}");
        }
        assert_eq!(ServerError::from(Error::TimedOut).next, Next::Again);
        assert_eq!(ServerError::from(Error::Network("reset".into())).next, Next::Again);
        assert_eq!(ServerError::from(Error::Unsupported("https".into())).next, Next::Somebody);
    }

    #[test]
    fn codes_are_found_and_reasons_are_short() {
        assert_eq!(code("x Code: 252. DB::Exception"), Some(252));
        assert_eq!(code("no code"), None);
        let error = said(&format!("Code: 62. DB::Exception: {}", "ñ ".repeat(1_000)));
        assert_eq!(error.reason.chars().count(), REASON_CHARS + 1);
        assert_eq!(error.code, Some(62));
    }
}

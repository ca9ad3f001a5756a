//! ClickHouse's exceptions: number, text, and the HTTP status that its server answers with. Nothing here does I/O.

use axum::http::StatusCode;

/// Numbers of exceptions that this crate makes itself, by ClickHouse's names.
pub mod code {
    /// `BAD_ARGUMENTS`
    pub const BAD_ARGUMENTS: u32 = 36;
    /// `NOT_IMPLEMENTED`
    pub const NOT_IMPLEMENTED: u32 = 48;
    /// `SYNTAX_ERROR`
    pub const SYNTAX_ERROR: u32 = 62;
    /// `UNKNOWN_SETTING`
    pub const UNKNOWN_SETTING: u32 = 115;
    /// `INCORRECT_DATA`
    pub const INCORRECT_DATA: u32 = 117;
    /// `READONLY`
    pub const READONLY: u32 = 164;
    /// `REQUIRED_PASSWORD`
    pub const REQUIRED_PASSWORD: u32 = 194;
    /// `TOO_MANY_SIMULTANEOUS_QUERIES`
    pub const TOO_MANY_SIMULTANEOUS_QUERIES: u32 = 202;
    /// `NETWORK_ERROR`
    pub const NETWORK_ERROR: u32 = 210;
    /// `QUERY_IS_TOO_LARGE`
    pub const QUERY_IS_TOO_LARGE: u32 = 229;
    /// `INTO_OUTFILE_NOT_ALLOWED`
    pub const INTO_OUTFILE_NOT_ALLOWED: u32 = 358;
    /// `SESSION_NOT_FOUND`
    pub const SESSION_NOT_FOUND: u32 = 372;
    /// `SESSION_IS_LOCKED`
    pub const SESSION_IS_LOCKED: u32 = 373;
    /// `QUERY_WAS_CANCELLED`
    pub const QUERY_WAS_CANCELLED: u32 = 394;
    /// `TOO_MANY_ROWS_OR_BYTES`
    pub const TOO_MANY_ROWS_OR_BYTES: u32 = 396;
    /// `AUTHENTICATION_FAILED`
    pub const AUTHENTICATION_FAILED: u32 = 516;
    /// `UNKNOWN_EXCEPTION`, which has no name in ClickHouse's own list.
    pub const UNKNOWN_EXCEPTION: u32 = 1002;
}

/// Something that ClickHouse, or this crate in its place, refuses or fails at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Exception {
    /// ClickHouse's number.
    pub code: u32,
    /// As ClickHouse writes it: `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`.
    pub text: String,
}

impl Exception {
    /// One of this crate's own; `name` is ClickHouse's name of the number.
    pub fn new(code: u32, name: &str, message: impl std::fmt::Display) -> Self {
        Self { code, text: format!("Code: {code}. DB::Exception: {message} ({name})") }
    }

    /// What the engine wrote. It always begins with the number, but for a few faults of the library's own interface.
    pub fn from_engine(text: &str) -> Self {
        let text = text.trim_end();
        let number = text.strip_prefix("Code: ").and_then(|rest| rest.split('.').next()?.parse().ok());
        match number {
            Some(code) => Self { code, text: text.to_owned() },
            None => Self::new(code::UNKNOWN_EXCEPTION, "UNKNOWN_EXCEPTION", text),
        }
    }

    /// The status that ClickHouse's server answers with (`exceptionCodeToHTTPStatus` in its sources).
    pub fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
            6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167 | 168 | 223 | 321
            | 376 | 427 | 441 | 675 | 676 => StatusCode::BAD_REQUEST,
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => StatusCode::NOT_FOUND,
            229 => StatusCode::PAYLOAD_TOO_LARGE,
            48 => StatusCode::NOT_IMPLEMENTED,
            76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
            381 => StatusCode::LENGTH_REQUIRED,
            159 => StatusCode::REQUEST_TIMEOUT,
            779 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The text as it goes over HTTP, with the engine's version, which clients look for.
    pub fn body(&self, version: &str) -> String {
        if self.text.ends_with("))") || self.text.contains("(version ") {
            format!("{}\n", self.text)
        } else {
            format!("{} (version {version} (libchdb))\n", self.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_writes_keeps_its_number() {
        let exception =
            Exception::from_engine("Code: 60. DB::Exception: Table default.t does not exist. (UNKNOWN_TABLE)\n");
        assert_eq!((exception.code, exception.status()), (60, StatusCode::NOT_FOUND));
        let text = exception.body("26.7.2.1");
        assert_eq!(
            text,
            "Code: 60. DB::Exception: Table default.t does not exist. (UNKNOWN_TABLE) (version 26.7.2.1 (libchdb))\n"
        );
    }

    #[test]
    fn what_has_no_number_gets_one() {
        let exception = Exception::from_engine("connection is shutting down");
        assert_eq!(exception.code, 1002);
        assert_eq!(exception.text, "Code: 1002. DB::Exception: connection is shutting down (UNKNOWN_EXCEPTION)");
        assert_eq!(exception.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn statuses_are_those_of_the_server() {
        for (code, status) in
            [(516, 403), (194, 401), (62, 400), (115, 404), (159, 408), (241, 500), (202, 500), (48, 501)]
        {
            assert_eq!(Exception::new(code, "X", "x").status().as_u16(), status, "{code}");
        }
    }
}

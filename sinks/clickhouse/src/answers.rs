//! Answers to analysts' queries: rows, and what is said of errors. ClickHouse's messages may hold values of rows that a query
//! only came by, names of the server's files, and the text that we wrote; of those nothing is passed on.

use crate::reader::ReadError;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Columns and rows.
#[derive(Debug)]
pub struct Answered {
    /// Names and types.
    pub columns: Vec<(String, String)>,
    /// Values in the order of the columns, as JSON.
    pub rows: Vec<Vec<Box<RawValue>>>,
}

/// Reads ClickHouse's `JSONCompact`; the error says what is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<Answered, String> {
    #[derive(Deserialize)]
    struct Column {
        name: String,
        r#type: String,
    }
    #[derive(Deserialize)]
    struct Answer {
        meta: Vec<Column>,
        data: Vec<Vec<Box<RawValue>>>,
    }
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| format!("an answer cannot be read: {error}"))?;
    let columns = answer.meta.into_iter().map(|column| (column.name, column.r#type)).collect();
    Ok(Answered { columns, rows: answer.data })
}

/// An answer of our own, of texts.
pub(crate) fn texts<'a>(columns: &[&str], rows: impl Iterator<Item = Vec<&'a str>>) -> Answered {
    // A text always serialises.
    let cell = |text: &str| serde_json::value::to_raw_value(text).unwrap_or_default();
    let columns = columns.iter().map(|name| ((*name).to_owned(), "String".to_owned())).collect();
    Answered { columns, rows: rows.map(|row| row.into_iter().map(cell).collect()).collect() }
}

/// Errors that come before any row is looked at: their messages are about the query alone.
const OF_THE_QUERY: &[(u32, &str)] = &[
    (10, "NOT_FOUND_COLUMN_IN_BLOCK"),
    (35, "TOO_FEW_ARGUMENTS_FOR_FUNCTION"),
    (42, "NUMBER_OF_ARGUMENTS_DOESNT_MATCH"),
    (43, "ILLEGAL_TYPE_OF_ARGUMENT"),
    (46, "UNKNOWN_FUNCTION"),
    (47, "UNKNOWN_IDENTIFIER"),
    (53, "TYPE_MISMATCH"),
    (59, "ILLEGAL_TYPE_OF_COLUMN_FOR_FILTER"),
    (62, "SYNTAX_ERROR"),
    (80, "INCORRECT_QUERY"),
    (133, "AGGREGATE_FUNCTION_DOESNT_ALLOW_PARAMETERS"),
    (179, "MULTIPLE_EXPRESSIONS_FOR_ALIAS"),
    (184, "ILLEGAL_AGGREGATION"),
    (207, "AMBIGUOUS_IDENTIFIER"),
    (215, "NOT_AN_AGGREGATE"),
    (258, "UNION_ALL_RESULT_STRUCTURES_MISMATCH"),
    (352, "AMBIGUOUS_COLUMN_NAME"),
    (386, "NO_COMMON_TYPE"),
    (403, "INVALID_JOIN_ON_EXPRESSION"),
    (456, "UNKNOWN_QUERY_PARAMETER"),
];

/// Errors that come from a value of a row: what the value is, is not said.
const OF_A_VALUE: &[(u32, &str)] = &[
    (6, "CANNOT_PARSE_TEXT"),
    (7, "INCORRECT_NUMBER_OF_COLUMNS"),
    (20, "NUMBER_OF_COLUMNS_DOESNT_MATCH"),
    (25, "CANNOT_PARSE_ESCAPE_SEQUENCE"),
    (26, "CANNOT_PARSE_QUOTED_STRING"),
    (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
    (32, "ATTEMPT_TO_READ_AFTER_EOF"),
    (36, "BAD_ARGUMENTS"),
    (38, "CANNOT_PARSE_DATE"),
    (41, "CANNOT_PARSE_DATETIME"),
    (44, "ILLEGAL_COLUMN"),
    (69, "ARGUMENT_OUT_OF_BOUND"),
    (70, "CANNOT_CONVERT_TYPE"),
    (72, "CANNOT_PARSE_NUMBER"),
    (117, "INCORRECT_DATA"),
    (125, "INCORRECT_RESULT_OF_SCALAR_SUBQUERY"),
    (128, "TOO_LARGE_ARRAY_SIZE"),
    (131, "TOO_LARGE_STRING_SIZE"),
    (153, "ILLEGAL_DIVISION"),
    (190, "SIZES_OF_ARRAYS_DONT_MATCH"),
    (321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE"),
    (349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN"),
    (376, "CANNOT_PARSE_UUID"),
    (407, "DECIMAL_OVERFLOW"),
    (427, "CANNOT_COMPILE_REGEXP"),
    (675, "CANNOT_PARSE_IPV4"),
];

/// Limits, and what is said of each.
const LIMITS: &[(u32, &str)] = &[
    (158, "the query looks at too many rows: name a period, or fewer students"),
    (159, "the query takes longer than `clickhouse.sql_timeout`: ask for less"),
    (160, "the query would take longer than `clickhouse.sql_timeout`: ask for less"),
    (162, "the query is nested too deeply"),
    (167, "the query is nested too deeply"),
    (168, "the query is too large"),
    (191, "a set behind IN is too large"),
    (241, "the query needs more memory than `clickhouse.sql_memory_max`: ask for less, or for an aggregate"),
    (306, "the query is nested too deeply"),
    (307, "the query reads too much: ask for less"),
    (396, "the answer is too large: ask for fewer columns or an aggregate"),
];

/// What of a message is about where, and not about what.
const CUTS: &[&str] = &[
    " in scope ",
    ". In scope ",
    ": In scope ",
    ". In query ",
    ": While ",
    ": while ",
    " While ",
    ". Stack trace",
    " (version ",
];

/// What an answer that is none means, and what is said of it.
pub(crate) fn failure(text: &str) -> ReadError {
    let code =
        text.split("Code: ").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    let Some(code) = code.and_then(|digits| digits.parse::<u32>().ok()) else {
        return ReadError::Unavailable(format!(
            "an answer that is not ClickHouse's: {}",
            text.chars().take(100).collect::<String>()
        ));
    };
    let named =
        |list: &'static [(u32, &'static str)]| list.iter().find(|(known, _)| *known == code).map(|(_, name)| *name);
    if let Some(message) = named(LIMITS) {
        return ReadError::Limit(message.to_owned());
    }
    if let Some(name) = named(OF_THE_QUERY) {
        let message = cleaned(text).unwrap_or_else(|| "the query does not fit its tables and types".to_owned());
        return ReadError::Failed(format!("{message} (ClickHouse's error {code}, {name})"));
    }
    if let Some(name) = named(OF_A_VALUE) {
        return ReadError::Failed(format!(
            "a value is not what a function or a CAST expects; functions such as toInt64OrNull give NULL instead (ClickHouse's \
             error {code}, {name})"
        ));
    }
    ReadError::Unavailable(format!("ClickHouse's error {code}"))
}

/// The message without what is the server's own; `None`: nothing is left that can be shown.
fn cleaned(text: &str) -> Option<String> {
    let message = text.split("DB::Exception: ").nth(1)?;
    let end = CUTS.iter().filter_map(|cut| message.find(cut)).min().unwrap_or(message.len());
    let message = message.get(..end)?.trim().trim_end_matches(['.', ':']);
    // `(NAME)` at the end: the caller says it.
    let message = match message.rsplit_once(" (") {
        Some((before, name))
            if name.strip_suffix(')').is_some_and(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')) =>
        {
            before.trim_end_matches('.')
        }
        _ => message,
    };
    let internal = ["__", "SELECT", "PREWHERE", "/", "tenant", "DB::"].iter().any(|word| message.contains(word));
    (!internal && !message.is_empty() && message.len() <= 300).then(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_about_the_query_is_passed_on() {
        let table = [
            (
                "Code: 47. DB::Exception: Unknown expression identifier `foo` in scope SELECT foo FROM (SELECT __t.a FROM \
                 aula.grades AS __t FINAL PREWHERE __t.tenant = 't0') AS g. (UNKNOWN_IDENTIFIER) (version 26.7.2.1 (libchdb))",
                "Unknown expression identifier `foo` (ClickHouse's error 47, UNKNOWN_IDENTIFIER)",
            ),
            (
                "Code: 215. DB::Exception: Column 'g.score' is not under aggregate function and not in GROUP BY keys. In query \
                 SELECT subject FROM (SELECT __t.a FROM aula.grades). (NOT_AN_AGGREGATE) (version 26.7.2.1 (libchdb))",
                "Column 'g.score' is not under aggregate function and not in GROUP BY keys (ClickHouse's error 215, NOT_AN_AGGREGATE)",
            ),
            (
                "Code: 43. DB::Exception: Illegal type String of argument for aggregate function sum. (ILLEGAL_TYPE_OF_ARGUMENT) \
                 (version 26.7.2.1 (libchdb))",
                "Illegal type String of argument for aggregate function sum (ClickHouse's error 43, ILLEGAL_TYPE_OF_ARGUMENT)",
            ),
            (
                "Code: 62. DB::Exception: Syntax error: SELECT x FROM `aula`.`grades` AS `__t`",
                "the query does not fit its tables and types (ClickHouse's error 62, SYNTAX_ERROR)",
            ),
            (
                "Code: 6. DB::Exception: Cannot parse string 'secret of another tenant' as UInt8: while executing",
                "a value is not what a function or a CAST expects; functions such as toInt64OrNull give NULL instead \
                 (ClickHouse's error 6, CANNOT_PARSE_TEXT)",
            ),
        ];
        for (text, said) in table {
            assert_eq!(failure(text), ReadError::Failed(said.to_owned()), "{text}");
        }
        assert!(matches!(
            failure("Code: 241. DB::Exception: (total) memory limit exceeded: 5 GiB"),
            ReadError::Limit(_)
        ));
        assert!(matches!(failure("Code: 159. DB::Exception: Timeout exceeded"), ReadError::Limit(_)));
        let other = "Code: 210. DB::Exception: /var/lib/clickhouse/data: secret";
        assert_eq!(failure(other), ReadError::Unavailable("ClickHouse's error 210".to_owned()));
        assert!(matches!(failure("<html>a proxy</html>"), ReadError::Unavailable(_)));
    }

    #[test]
    fn rows_stay_as_they_are_written() {
        let text =
            br#"{"meta":[{"name":"n","type":"UInt64"}],"data":[[18446744073709551615],["1.50"],[null]],"rows":3}"#;
        let answered = read(text).unwrap();
        assert_eq!(answered.columns, [("n".to_owned(), "UInt64".to_owned())]);
        let cells: Vec<_> = answered.rows.iter().map(|row| row[0].get()).collect();
        assert_eq!(cells, ["18446744073709551615", "\"1.50\"", "null"]);
        assert!(read(b"{}").is_err());
    }
}

//! Every scalar construct of feature SQL: (expression, expected text) over fixed rows, as PostgreSQL 15 answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aulaflow_model::instant::Millis;
use aulaflow_plan::sql::compile_scalar;
use aulaflow_plan::sql::expr::{EvalError, Expr, Row, Type, Value};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The columns of a behaviour event, and some more of the other types.
fn columns() -> Vec<(String, Type)> {
    [
        ("student_id", Type::Text),
        ("event_type", Type::Text),
        ("value", Type::Double),
        ("occurred_at", Type::Timestamp),
        ("context", Type::Json),
        ("n", Type::Bigint),
        ("flag", Type::Boolean),
    ]
    .map(|(name, ty)| (name.to_owned(), ty))
    .to_vec()
}

struct Event {
    context: Box<RawValue>,
}

impl Row for Event {
    fn column(&self, index: usize) -> Value<'_> {
        match index {
            0 => Value::Text(Cow::Borrowed("student_456")),
            1 => Value::Text(Cow::Borrowed("participation")),
            2 => Value::Double(2.5),
            // A Monday.
            3 => Value::Timestamp(Millis::parse_rfc3339("2026-03-02T15:04:05.120Z").unwrap()),
            4 => Value::Json(Cow::Borrowed(&self.context)),
            5 => Value::Bigint(7),
            6 => Value::Boolean(true),
            _ => panic!("no column {index}"),
        }
    }
}

/// A row whose every column is NULL.
struct Nulls;

impl Row for Nulls {
    fn column(&self, _: usize) -> Value<'_> {
        Value::Null
    }
}

fn event() -> Event {
    let context = r#"{"seconds": "90", "n": 5, "deep": {"list": [10, "x", {"k": "v"}]}, "nil": null, "t": true, "q": "a\"\u00e9"}"#;
    Event { context: RawValue::from_string(context.to_owned()).unwrap() }
}

fn compiled(text: &str) -> Expr {
    compile_scalar(text, &columns()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

/// Each expression gives the text; `NULL` stands for NULL.
fn check(cases: &[(&str, &str)]) {
    let event = event();
    for (text, expected) in cases {
        let expr = compiled(text);
        let value = expr.eval(&event).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value.to_text().as_deref().unwrap_or("NULL"), *expected, "{text}");
    }
}

/// Each expression raises the error.
fn check_errors(cases: &[(&str, EvalError)]) {
    let event = event();
    for (text, expected) in cases {
        assert_eq!(compiled(text).eval(&event).map(|v| v.to_text()), Err(expected.clone()), "{text}");
    }
}

#[test]
fn comparisons() {
    check(&[
        ("n = 7", "t"),
        ("n <> 7", "f"),
        ("n != 8", "t"),
        ("n < 7.5", "t"),
        ("value >= 2.5", "t"),
        ("value > n", "f"),
        ("event_type = 'participation'", "t"),
        ("event_type < 'q'", "t"),
        ("'Z' < 'a'", "t"),
        ("occurred_at >= '2026-03-02'", "t"),
        ("occurred_at < timestamp '2026-03-02 15:04:05.12'", "f"),
        ("occurred_at = '2026-03-02T09:04:05.120-06:00'", "t"),
        ("interval '1 month' = interval '30 days'", "t"),
        ("interval '1 day' < interval '25 hours'", "t"),
        ("flag > false", "t"),
        ("n = NULL", "NULL"),
        ("n IS DISTINCT FROM NULL", "t"),
        ("NULL IS NOT DISTINCT FROM NULL", "t"),
        ("n IS DISTINCT FROM 7", "f"),
    ]);
}

#[test]
fn three_valued_logic() {
    check(&[
        ("flag AND NULL", "NULL"),
        ("flag AND false", "f"),
        ("NULL AND false", "f"),
        ("flag OR NULL", "t"),
        ("NULL OR false", "NULL"),
        ("NOT NULL::boolean", "NULL"),
        ("NOT flag", "f"),
        ("(n > 8) IS TRUE", "f"),
        ("(n > NULL) IS TRUE", "f"),
        ("(n > NULL) IS NOT TRUE", "t"),
        ("(n > NULL) IS UNKNOWN", "t"),
        ("flag IS NOT FALSE", "t"),
        ("flag IS NOT UNKNOWN", "t"),
        ("n IS NULL", "f"),
        ("n IS NOT NULL", "t"),
        // What comes after the answer is not evaluated.
        ("flag OR 1 / (n - 7) = 1", "t"),
        ("NOT flag AND 1 / (n - 7) = 1", "f"),
    ]);
    check_errors(&[("1 / (n - 7) = 1 OR flag", EvalError::DivisionByZero)]);
}

#[test]
fn membership() {
    check(&[
        ("event_type IN ('answer', 'participation')", "t"),
        ("event_type NOT IN ('answer')", "t"),
        ("event_type IN ('answer', NULL)", "NULL"),
        ("event_type NOT IN ('participation', NULL)", "f"),
        ("n IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)", "t"),
        ("n IN (11, 12, 13, 14, 15, 16, 17, 18, 19)", "f"),
        ("event_type IN ('a','b','c','d','e','f','g','h','i','participation')", "t"),
        ("value IN (1, 2.5)", "t"),
        ("n IN (value, n)", "t"),
        ("NULL::bigint IN (1)", "NULL"),
        ("n BETWEEN 7 AND 9", "t"),
        ("n NOT BETWEEN 7 AND 9", "f"),
        ("n BETWEEN 8 AND NULL", "f"),
        ("n BETWEEN 1 AND NULL", "NULL"),
        ("value BETWEEN 2 AND 3", "t"),
        ("occurred_at BETWEEN '2026-03-01' AND '2026-04-01'", "t"),
    ]);
}

#[test]
fn patterns() {
    check(&[
        ("event_type LIKE 'part%'", "t"),
        ("event_type LIKE '%pax%'", "f"),
        ("event_type LIKE '%ion'", "t"),
        ("event_type LIKE '%cip%'", "t"),
        ("event_type LIKE 'p_rt%i_n'", "t"),
        ("event_type LIKE 'Part%'", "f"),
        ("event_type ILIKE 'PART%'", "t"),
        ("event_type NOT LIKE 'x%'", "t"),
        ("'100%' LIKE '100\\%'", "t"),
        ("'100x' LIKE '100\\%'", "f"),
        ("'a_b' LIKE 'a#_b' ESCAPE '#'", "t"),
        ("'axb' LIKE 'a#_b' ESCAPE '#'", "f"),
        ("'a\\b' LIKE 'a\\b' ESCAPE ''", "t"),
        ("'ÑANDÚ' ILIKE 'ñ_nd%'", "t"),
        ("'abcabd' LIKE '%ab_'", "t"),
        ("'' LIKE '%'", "t"),
        ("'' LIKE '_'", "f"),
        ("event_type LIKE NULL", "NULL"),
        ("event_type LIKE lower('PART') || '%'", "t"),
    ]);
    check_errors(&[("event_type LIKE (student_id || '\\')", EvalError::InvalidCast("LIKE pattern"))]);
}

#[test]
fn arithmetic() {
    check(&[
        ("n + 1", "8"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("7 / 2.0", "3.5"),
        ("n * value", "17.5"),
        ("5.5 % 2", "1.5"),
        ("- n", "-7"),
        ("+ n", "7"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("(n - 7 - 9223372036854775807 - 1) % -1", "0"),
        ("n + NULL", "NULL"),
        ("n + '1'", "8"),
        ("value - '0.5'", "2"),
        ("1 + 2 * 3", "7"),
        ("1_000 + 1", "1001"),
    ]);
    check_errors(&[
        ("n / 0", EvalError::DivisionByZero),
        ("n % 0", EvalError::DivisionByZero),
        ("value / 0", EvalError::DivisionByZero),
        ("9223372036854775807 + n", EvalError::OutOfRange("bigint")),
        ("n * 9223372036854775807", EvalError::OutOfRange("bigint")),
        ("(n - 7 - 9223372036854775807 - 1) / -1", EvalError::OutOfRange("bigint")),
        ("- (n - 7 - 9223372036854775807 - 1)", EvalError::OutOfRange("bigint")),
        ("value * 1e308", EvalError::OutOfRange("double precision")),
        ("(value * 1e-300) * 1e-300", EvalError::OutOfRange("double precision")),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("abs(-3)", "3"),
        ("abs(-2.5)", "2.5"),
        ("round(2.5)", "2"),
        ("round(3.5)", "4"),
        ("round(-2.5)", "-2"),
        ("round(7)", "7"),
        ("round(2.675, 2)", "2.68"),
        ("round(-2.675, 2)", "-2.68"),
        ("round(1234.5, -2)", "1200"),
        ("round(0.0000001, 2)", "0"),
        ("round(5.0, -1)", "10"),
        ("round(4.0, -1)", "0"),
        ("round(5.0, -9)", "0"),
        ("floor(-2.5)", "-3"),
        ("ceil(2.1)", "3"),
        ("ceiling(-2.1)", "-2"),
        ("floor(n)", "7"),
        ("least(3, 1, 2)", "1"),
        ("greatest(3, NULL, 4.5)", "4.5"),
        ("least(NULL, NULL)", "NULL"),
        ("greatest('a', event_type)", "participation"),
        ("abs(NULL)", "NULL"),
    ]);
    check_errors(&[("abs(n - 7 - 9223372036854775807 - 1)", EvalError::OutOfRange("bigint"))]);
}

#[test]
fn choices() {
    check(&[
        ("CASE WHEN n > 5 THEN 'many' ELSE 'few' END", "many"),
        ("CASE WHEN n > 9 THEN 'many' END", "NULL"),
        ("CASE n WHEN 1 THEN 'one' WHEN 7 THEN 'seven' END", "seven"),
        ("CASE n WHEN NULL THEN 'null' ELSE 'else' END", "else"),
        ("CASE WHEN NULL THEN 1 ELSE 2.5 END", "2.5"),
        ("CASE WHEN flag THEN 1 ELSE 1 / (n - 7) END", "1"),
        ("CASE event_type WHEN 'participation' THEN value END", "2.5"),
        ("COALESCE(NULL, n, 1 / (n - 7))", "7"),
        ("COALESCE(NULL, NULL)", "NULL"),
        ("COALESCE(context->>'none', 'x')", "x"),
        ("NULLIF(n, 7)", "NULL"),
        ("NULLIF(n, 8)", "7"),
        ("NULLIF(event_type, '')", "participation"),
        ("NULLIF(NULL, 1)", "NULL"),
    ]);
    check_errors(&[("CASE WHEN n = 7 THEN 1 / (n - 7) END", EvalError::DivisionByZero)]);
}

#[test]
fn casts() {
    check(&[
        ("CAST('42' AS BIGINT)", "42"),
        ("' 42 '::int", "42"),
        ("'1e3'::double", "1000"),
        ("2.5::bigint", "2"),
        ("3.5::bigint", "4"),
        ("n::double / 2", "3.5"),
        ("true::int", "1"),
        ("0::boolean", "f"),
        ("'yes'::boolean", "t"),
        ("flag::text", "true"),
        ("n::text || '!'", "7!"),
        ("1e15::text", "1e+15"),
        ("123456789.5::text", "123456789.5"),
        ("0.00001::text", "1e-05"),
        ("occurred_at::text", "2026-03-02 15:04:05.12"),
        ("'2026-03-02'::timestamp", "2026-03-02 00:00:00"),
        ("'1 year 2 mons -3 days 04:05:06.789'::interval", "1 year 2 mons -3 days +04:05:06.789"),
        ("'90 min'::interval::text", "01:30:00"),
        ("'{\"a\": 1}'::json ->> 'a'", "1"),
        ("context->'n'", "5"),
        ("(context->'n')::text", "5"),
        ("TRY_CAST('x' AS BIGINT)", "NULL"),
        ("TRY_CAST('12' AS DOUBLE)", "12"),
        ("TRY_CAST(event_type AS TIMESTAMP)", "NULL"),
        ("TRY_CAST(1e300 AS BIGINT)", "NULL"),
        ("CAST(NULL AS BIGINT)", "NULL"),
        ("CAST(context->>'seconds' AS DOUBLE)", "90"),
    ]);
    check_errors(&[
        (
            "CAST(event_type AS BIGINT)",
            EvalError::InvalidText { ty: Type::Bigint, why: "expected digits only, a sign before them perhaps" },
        ),
        ("CAST(event_type AS DOUBLE)", EvalError::InvalidText { ty: Type::Double, why: "expected a decimal number" }),
        ("CAST(value * 1e300 AS BIGINT)", EvalError::OutOfRange("bigint")),
        ("CAST(CAST(n AS TEXT) || 'e999' AS DOUBLE)", EvalError::OutOfRange("double precision")),
        ("CAST(substr('NaN', n - 6) AS DOUBLE)", EvalError::OutOfRange("double precision")),
        ("TRY_CAST(CAST(n / 0 AS TEXT) AS BIGINT)", EvalError::DivisionByZero),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("lower('ÑAndú')", "ñandú"),
        ("upper('ñandú ß')", "ÑANDÚ ß"),
        ("length('ñandú')", "5"),
        ("length('')", "0"),
        ("substr('hello', 2)", "ello"),
        ("substr('hello', 2, 3)", "ell"),
        ("substr('hello', 0, 3)", "he"),
        ("substr('hello', -1, 3)", "h"),
        ("substr('hello', -5, 3)", ""),
        ("substr('hello', 4, 99)", "lo"),
        ("substr('hello', -9223372036854775808)", "hello"),
        ("substr('hello', 2, 9223372036854775807)", "ello"),
        ("substring('ñandú' FROM 2 FOR 2)", "an"),
        ("substring('hello', 9)", ""),
        ("concat('a', NULL, 1, true, 2.5)", "a1t2.5"),
        ("concat(NULL)", ""),
        ("'a' || NULL", "NULL"),
        ("'a' || 1 || true", "a1true"),
        ("event_type || ':' || n", "participation:7"),
        ("'it''s'", "it's"),
        ("E'a\\nb'", "a\nb"),
    ]);
    check_errors(&[("substr('hello', 1, n - 8)", EvalError::OutOfRange("substring length"))]);
}

#[test]
fn times() {
    check(&[
        ("date_trunc('minute', occurred_at)", "2026-03-02 15:04:00"),
        ("date_trunc('hour', occurred_at)", "2026-03-02 15:00:00"),
        ("date_trunc('day', occurred_at)", "2026-03-02 00:00:00"),
        ("date_trunc('week', occurred_at)", "2026-03-02 00:00:00"),
        ("date_trunc('week', timestamp '2026-03-01')", "2026-02-23 00:00:00"),
        ("date_trunc('month', occurred_at)", "2026-03-01 00:00:00"),
        ("date_trunc('quarter', occurred_at)", "2026-01-01 00:00:00"),
        ("date_trunc('year', occurred_at)", "2026-01-01 00:00:00"),
        ("date_trunc('decade', occurred_at)", "2020-01-01 00:00:00"),
        ("date_trunc('century', occurred_at)", "2001-01-01 00:00:00"),
        ("date_trunc('second', timestamp '1969-12-31 23:59:59.5')", "1969-12-31 23:59:59"),
        ("date_part('hour', occurred_at)", "15"),
        ("extract(dow from occurred_at)", "1"),
        ("extract(isodow from timestamp '2026-03-01')", "7"),
        ("extract(doy from occurred_at)", "61"),
        ("extract(week from timestamp '2027-01-01')", "53"),
        ("extract(isoyear from timestamp '2027-01-01')", "2026"),
        ("extract(epoch from occurred_at)", "1772463845.12"),
        ("extract(second from occurred_at)", "5.12"),
        ("extract(milliseconds from occurred_at)", "5120"),
        ("extract(epoch from interval '1 day 01:00:00')", "90000"),
        ("date_part('month', interval '14 months')", "2"),
        ("occurred_at + interval '1 month'", "2026-04-02 15:04:05.12"),
        ("timestamp '2024-01-31' + interval '1 month'", "2024-02-29 00:00:00"),
        ("timestamp '2024-03-31' - interval '1 month 1 day'", "2024-02-28 00:00:00"),
        ("interval '1 day' + occurred_at", "2026-03-03 15:04:05.12"),
        ("occurred_at - '2026-03-01'", "1 day 15:04:05.12"),
        ("timestamp '2026-01-01' - timestamp '2026-01-02 12:00'", "-1 days -12:00:00"),
        ("interval '1 hour' * 2.5", "02:30:00"),
        ("2 * interval '1 day'", "2 days"),
        ("interval '1 month' / 2", "15 days"),
        ("interval '1 day' - interval '1 hour'", "1 day -01:00:00"),
        ("- interval '1 day 2 hours'", "-1 days -02:00:00"),
        ("interval '1' hour", "01:00:00"),
        ("interval '1 week 2 days'", "9 days"),
        ("interval '3 days ago'", "-3 days"),
        ("interval '1.5 days'", "1 day 12:00:00"),
        ("date_trunc('day', NULL)", "NULL"),
    ]);
    check_errors(&[
        ("occurred_at + interval '300000 years'", EvalError::OutOfRange("timestamp")),
        ("interval '1 day' * (value * 1e300)", EvalError::OutOfRange("interval")),
        ("interval '1 day' / (value - 2.5)", EvalError::DivisionByZero),
    ]);
}

#[test]
fn json() {
    check(&[
        ("context->>'seconds'", "90"),
        ("context->'seconds'", "\"90\""),
        ("context->'deep'->'list'->>1", "x"),
        ("context->'deep'->'list'->2->>'k'", "v"),
        ("context->'deep'->'list'-> -3", "10"),
        ("context->'deep'->'list'-> -4", "NULL"),
        ("context->'deep'->'list'->99", "NULL"),
        ("context->'deep'->>'list'", "[10, \"x\", {\"k\": \"v\"}]"),
        ("context->'nil'", "null"),
        ("context->>'nil'", "NULL"),
        ("context->>'t'", "true"),
        ("context->>'q'", "a\"é"),
        ("context->>'none'", "NULL"),
        ("context->'none'->>'deeper'", "NULL"),
        ("context->0", "NULL"),
        ("context->('sec' || 'onds')", "\"90\""),
        ("context->'deep'->'list'->(n - 6)", "\"x\""),
        ("'{\"k\": 1, \"k\": 2}'::json->>'k'", "2"),
        ("'[1]'::json->>'0'", "NULL"),
        ("CAST(context->>'n' AS BIGINT) + 1", "6"),
        ("context->>'seconds' = '90'", "t"),
    ]);
    check_errors(&[("'[\"\\ud800\"]'::json->>(n - 7)", EvalError::InvalidCast("text"))]);
}

#[test]
fn nulls_flow_through_everything() {
    for text in [
        "n + 1",
        "-n",
        "n > 1",
        "lower(event_type)",
        "substr(event_type, 1, 2)",
        "event_type || 'x'",
        "round(value, 1)",
        "date_trunc('day', occurred_at)",
        "extract(hour from occurred_at)",
        "occurred_at + interval '1 day'",
        "occurred_at - occurred_at",
        "context->'a'",
        "context->>'a'",
        "event_type LIKE 'x'",
        "event_type IN ('a', 'b')",
        "n BETWEEN 1 AND 2",
        "CAST(n AS TEXT)",
        "TRY_CAST(event_type AS BIGINT)",
        "NOT flag",
        "abs(n)",
        "n % 2",
        "NULLIF(n, 1)",
        "greatest(n, NULL)",
        "length(event_type)",
        "value IN (1.5, n)",
    ] {
        assert_eq!(compiled(text).eval(&Nulls).unwrap().to_text(), None, "{text}");
    }
}

#[test]
fn a_row_of_the_wrong_type_is_an_error() {
    struct Wrong;
    impl Row for Wrong {
        fn column(&self, _: usize) -> Value<'_> {
            Value::Interval { months: 0, days: 1, millis: 0 }
        }
    }
    for text in ["n + 1", "flag AND n > 1", "event_type LIKE 'x%'", "lower(event_type)", "context->'a'", "n IN (1, 2)"]
    {
        assert_eq!(compiled(text).eval(&Wrong).map(|v| v.to_text()), Err(EvalError::WrongType), "{text}");
    }
}

/// What the features that ship are made of.
#[test]
fn spans_of_time() {
    check(&[
        ("occurred_at - timestamp '2026-03-01'", "1 day 15:04:05.12"),
        ("timestamp '2026-03-01' - occurred_at", "-1 days -15:04:05.12"),
        ("extract(epoch FROM occurred_at - timestamp '2026-03-01')", "140645.12"),
        ("extract(day FROM timestamp '2026-03-09' - date_trunc('day', occurred_at))", "7"),
        ("extract(day FROM interval '49 hours')", "0"),
        ("extract(hour FROM interval '49 hours')", "49"),
        ("extract(epoch FROM interval '1 day 01:00:00')", "90000"),
        ("extract(epoch FROM date_trunc('day', occurred_at)) / 86400", "20514"),
        ("extract(dow FROM occurred_at)", "1"),
        ("extract(isodow FROM timestamp '2026-03-01')", "7"),
        ("extract(hour FROM occurred_at)", "15"),
        ("date_trunc('day', occurred_at)", "2026-03-02 00:00:00"),
        ("date_trunc('week', occurred_at) + interval '6 days'", "2026-03-08 00:00:00"),
        ("CASE WHEN occurred_at > timestamp '2026-03-01' + interval '1 day' THEN 'late' ELSE 'in time' END", "late"),
        ("CASE WHEN TRY_CAST(context->>'n' AS BIGINT) >= n THEN 1 ELSE 0 END", "0"),
        ("round(n / 2.0, 2)", "3.5"),
        ("n / 2", "3"),
        ("n / 2 * 2 + n % 2", "7"),
        ("n::double / 2", "3.5"),
        ("greatest(extract(day FROM interval '3 days'), 5)", "5"),
    ]);
    let ty = |text: &str| compiled(text).ty();
    assert_eq!(ty("occurred_at - occurred_at"), Type::Interval);
    assert_eq!(ty("occurred_at + interval '1 day'"), Type::Timestamp);
    assert_eq!(ty("extract(epoch FROM occurred_at - occurred_at)"), Type::Double);
    assert_eq!(ty("date_trunc('day', occurred_at)"), Type::Timestamp);
    assert_eq!(ty("n / 2"), Type::Bigint);
    assert_eq!(ty("n / value"), Type::Double);
    assert_eq!(ty("context->>'k'"), Type::Text);
    check_errors(&[("n / (n - 7)", EvalError::DivisionByZero)]);
}

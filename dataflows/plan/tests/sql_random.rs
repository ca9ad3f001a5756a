//! Arbitrary texts never panic the compiler; arbitrary well-typed expressions never panic the evaluation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aulaflow_model::instant::Millis;
use aulaflow_plan::sql::expr::{Row, Type, Value};
use aulaflow_plan::sql::{compile, compile_scalar};
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::borrow::Cow;

const TABLE: &str = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE,
  occurred_at TIMESTAMP, context JSON) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');";

/// Words that SQL is made of, and some that it is not.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "WITH",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "TRUE",
    "FALSE",
    "UNKNOWN",
    "DISTINCT",
    "BETWEEN",
    "LIKE",
    "ILIKE",
    "ESCAPE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "TRY_CAST",
    "EXTRACT",
    "INTERVAL",
    "TIMESTAMP",
    "DATE",
    "SUBSTRING",
    "FOR",
    "FLOOR",
    "CEIL",
    "TRIM",
    "CREATE",
    "TABLE",
    "MATERIALIZED",
    "VIEW",
    "OVER",
    "FILTER",
    "UNION",
    "JOIN",
    "ON",
    "EXISTS",
    "ARRAY",
    "ROW",
    "ALL",
    "student_id",
    "event_type",
    "value",
    "occurred_at",
    "context",
    "behavior",
    "v",
    "nothing",
    "count",
    "sum",
    "avg",
    "min",
    "coalesce",
    "nullif",
    "least",
    "round",
    "substr",
    "concat",
    "length",
    "date_trunc",
    "date_part",
    "tumble",
    "hop",
    "session",
    "BIGINT",
    "DOUBLE",
    "TEXT",
    "JSON",
    "hour",
    "year",
    "epoch",
    "serve",
    "connector",
    "(",
    ")",
    "(",
    ")",
    ",",
    ",",
    ";",
    "*",
    "+",
    "-",
    "/",
    "%",
    "||",
    "->",
    "->>",
    "=",
    "<>",
    "<",
    ">",
    "<=",
    ">=",
    "::",
    ".",
    ":",
    "[",
    "]",
    "{",
    "1",
    "0",
    "-1",
    "2.5",
    "1e400",
    "9223372036854775808",
    "''",
    "'x'",
    "'1 day'",
    "'7 days'",
    "'%a_'",
    "'\\'",
    "'2026-03-02'",
    "'{\"k\": 1}'",
    "\"V\"",
    "\"",
    "'",
    "--",
    "/*",
    "*/",
    "\n",
    "é",
    "😀",
    "$1",
    "@x",
    "E'\\n'",
    "\\",
    "~",
];

fn soup(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 0..most).prop_map(|words| words.join(" "))
}

const TYPES: [Type; 7] =
    [Type::Boolean, Type::Bigint, Type::Double, Type::Text, Type::Timestamp, Type::Interval, Type::Json];

/// Well-typed expressions as texts, by type. Made level by level, so that levels share what they are made of.
fn expressions(depth: u32) -> [BoxedStrategy<String>; 7] {
    let mut level = TYPES.map(leaf);
    for _ in 0..depth {
        let lower = level;
        level = TYPES.map(|ty| expression(ty, &lower));
    }
    level
}

fn expression(ty: Type, lower: &[BoxedStrategy<String>; 7]) -> BoxedStrategy<String> {
    let leaf = leaf(ty);
    let e = |ty: Type| lower[TYPES.iter().position(|t| *t == ty).unwrap()].clone();
    let any = prop_oneof![
        (e(Type::Boolean), e(ty), e(ty)).prop_map(|(c, a, b)| format!("CASE WHEN {c} THEN {a} ELSE {b} END")),
        (e(Type::Bigint), e(Type::Bigint), e(ty)).prop_map(|(o, w, a)| format!("CASE {o} WHEN {w} THEN {a} END")),
        (e(ty), e(ty)).prop_map(|(a, b)| format!("COALESCE({a}, {b})")),
    ];
    let own = match ty {
        Type::Boolean => boolean(lower),
        Type::Bigint => prop_oneof![
            (e(ty), prop::sample::select(vec!["+", "-", "*", "/", "%"]), e(ty))
                .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            e(Type::Text).prop_map(|a| format!("length({a})")),
            e(ty).prop_map(|a| format!("abs(- {a})")),
            e(Type::Double).prop_map(|a| format!("CAST({a} AS BIGINT)")),
            e(Type::Text).prop_map(|a| format!("TRY_CAST({a} AS BIGINT)")),
        ]
        .boxed(),
        Type::Double => prop_oneof![
            (e(ty), prop::sample::select(vec!["+", "-", "*", "/", "%"]), e(ty))
                .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (e(ty), e(Type::Bigint)).prop_map(|(a, n)| format!("round({a}, {n})")),
            (prop::sample::select(vec!["floor", "ceil", "round", "abs"]), e(ty)).prop_map(|(f, a)| format!("{f}({a})")),
            (unit(), e(Type::Timestamp)).prop_map(|(u, a)| format!("date_part('{u}', {a})")),
            e(Type::Interval).prop_map(|a| format!("extract(epoch from {a})")),
            e(Type::Text).prop_map(|a| format!("CAST({a} AS DOUBLE)")),
        ]
        .boxed(),
        Type::Text => prop_oneof![
            (e(ty), e(Type::Bigint), e(Type::Bigint)).prop_map(|(a, f, n)| format!("substr({a}, {f}, {n})")),
            (e(ty), e(Type::Double)).prop_map(|(a, b)| format!("({a} || {b})")),
            (e(Type::Timestamp), e(Type::Interval)).prop_map(|(a, b)| format!("concat({a}, {b})")),
            (prop::sample::select(vec!["lower", "upper"]), e(ty)).prop_map(|(f, a)| format!("{f}({a})")),
            (e(Type::Json), e(ty)).prop_map(|(a, k)| format!("({a} ->> {k})")),
            e(Type::Json).prop_map(|a| format!("CAST({a} AS TEXT)")),
        ]
        .boxed(),
        Type::Timestamp => prop_oneof![
            (e(ty), prop::sample::select(vec!["+", "-"]), e(Type::Interval))
                .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (unit(), e(ty)).prop_map(|(u, a)| format!("date_trunc('{u}', {a})")),
            e(Type::Text).prop_map(|a| format!("TRY_CAST({a} AS TIMESTAMP)")),
        ]
        .boxed(),
        Type::Interval => prop_oneof![
            (e(Type::Timestamp), e(Type::Timestamp)).prop_map(|(a, b)| format!("({a} - {b})")),
            (e(ty), prop::sample::select(vec!["+", "-"]), e(ty)).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (e(ty), prop::sample::select(vec!["*", "/"]), e(Type::Double))
                .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            e(ty).prop_map(|a| format!("(- {a})")),
            e(Type::Text).prop_map(|a| format!("TRY_CAST({a} AS INTERVAL)")),
        ]
        .boxed(),
        Type::Json => prop_oneof![
            (e(ty), e(Type::Text)).prop_map(|(a, k)| format!("({a} -> {k})")),
            (e(ty), e(Type::Bigint)).prop_map(|(a, k)| format!("({a} -> {k})")),
            e(Type::Text).prop_map(|a| format!("TRY_CAST({a} AS JSON)")),
        ]
        .boxed(),
    };
    prop_oneof![2 => leaf, 1 => any, 4 => own].boxed()
}

fn boolean(lower: &[BoxedStrategy<String>; 7]) -> BoxedStrategy<String> {
    let lower = lower.clone();
    let e = move |ty: Type| lower[TYPES.iter().position(|t| *t == ty).unwrap()].clone();
    let pair = e.clone();
    let ordered = prop::sample::select(vec![Type::Bigint, Type::Double, Type::Text, Type::Timestamp, Type::Interval]);
    prop_oneof![
        (ordered, prop::sample::select(vec!["=", "<>", "<", ">=", "IS DISTINCT FROM"]))
            .prop_flat_map(move |(ty, o)| (pair(ty), pair(ty)).prop_map(move |(a, b)| format!("({a} {o} {b})"))),
        (e(Type::Boolean), prop::sample::select(vec!["AND", "OR"]), e(Type::Boolean))
            .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
        (e(Type::Text), e(Type::Text)).prop_map(|(a, b)| format!("({a} LIKE {b})")),
        (e(Type::Text), prop::sample::select(vec!["%a_", "_%", "\\%%é"]))
            .prop_map(|(a, p)| format!("({a} ILIKE '{p}')")),
        (e(Type::Bigint), e(Type::Bigint), e(Type::Double)).prop_map(|(a, b, c)| format!("({a} BETWEEN {b} AND {c})")),
        (e(Type::Text), e(Type::Text)).prop_map(|(a, b)| format!("({a} NOT IN ('x', {b}, NULL))")),
        e(Type::Boolean).prop_map(|a| format!("(NOT ({a} IS NOT TRUE))")),
        e(Type::Json).prop_map(|a| format!("({a} IS NULL)")),
    ]
    .boxed()
}

fn unit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "microseconds",
        "second",
        "hour",
        "day",
        "week",
        "month",
        "quarter",
        "year",
        "decade",
        "century",
        "millennium",
    ])
}

fn leaf(ty: Type) -> BoxedStrategy<String> {
    let texts = match ty {
        Type::Boolean => vec!["p", "true", "NULL::boolean"],
        Type::Bigint => vec!["n", "0", "-1", "9223372036854775807", "(-9223372036854775808)", "NULL::bigint", "7"],
        Type::Double => vec!["x", "0.0", "2.5", "-1e308", "1e-308", "NULL::double"],
        Type::Text => vec!["t", "''", "'añ😀b'", "'12'", "'2026-03-02'", "'[1, {\"k\": 2}]'", "NULL::text"],
        Type::Timestamp => {
            vec!["ts", "timestamp '2024-02-29 23:59:59.999'", "timestamp '0001-01-01'", "NULL::timestamp"]
        }
        Type::Interval => vec!["iv", "interval '1 month -1 day'", "interval '2147483647 days'", "NULL::interval"],
        Type::Json => vec!["j", "'{\"k\": [1, \"é\\ud800\"], \"t\": null}'::json", "NULL::json"],
    };
    prop::sample::select(texts).prop_map(str::to_owned).boxed()
}

/// A row of extreme values; `None` is NULL.
#[derive(Debug)]
struct Random {
    p: Option<bool>,
    n: Option<i64>,
    x: Option<f64>,
    t: Option<String>,
    ts: Option<i64>,
    iv: Option<(i32, i32, i64)>,
    j: Option<Box<RawValue>>,
}

fn row() -> impl Strategy<Value = Random> {
    let n = prop_oneof![any::<i64>(), -9..9_i64, Just(i64::MIN), Just(i64::MAX)];
    let x = prop_oneof![any::<f64>().prop_filter("finite", |x| x.is_finite()), -9.0..9.0_f64, Just(0.0)];
    let ts = prop_oneof![any::<i64>(), 0..2_000_000_000_000_i64, -400_000_000_000_000..400_000_000_000_000_i64];
    let j = prop::sample::select(vec![
        "{}",
        "[]",
        "null",
        "\"k\"",
        "{\"k\": {\"k\": [1, 2]}}",
        "[[\"a\\\\\\\"\"], 1.5e400]",
    ])
    .prop_map(|text| RawValue::from_string(text.to_owned()).unwrap());
    use prop::option::of;
    (of(any::<bool>()), of(n), of(x), of(any::<String>()), of(ts), of(any::<(i32, i32, i64)>()), of(j))
        .prop_map(|(p, n, x, t, ts, iv, j)| Random { p, n, x, t, ts, iv, j })
}

impl Row for Random {
    fn column(&self, index: usize) -> Value<'_> {
        let value = match index {
            0 => self.p.map(Value::Boolean),
            1 => self.n.map(Value::Bigint),
            2 => self.x.map(Value::Double),
            3 => self.t.as_deref().map(|t| Value::Text(Cow::Borrowed(t))),
            4 => self.ts.map(|ms| Value::Timestamp(Millis(ms))),
            5 => self.iv.map(|(months, days, millis)| Value::Interval { months, days, millis }),
            6 => self.j.as_deref().map(|j| Value::Json(Cow::Borrowed(j))),
            _ => panic!("no column {index}"),
        };
        value.unwrap_or(Value::Null)
    }
}

const COLUMNS: [(&str, Type); 7] = [
    ("p", Type::Boolean),
    ("n", Type::Bigint),
    ("x", Type::Double),
    ("t", Type::Text),
    ("ts", Type::Timestamp),
    ("iv", Type::Interval),
    ("j", Type::Json),
];

/// Faults point into the text, at whole characters.
fn check_compile(text: &str) {
    if let Err(faults) = compile(&[("random.sql".to_owned(), text.to_owned())]) {
        assert!(!faults.is_empty());
        for (_, fault) in faults {
            assert!(text.get(fault.span.clone()).is_some(), "{fault:?} in {text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn soup_of_words_never_panics(text in soup(40)) {
        check_compile(&text);
    }

    #[test]
    fn soup_in_a_view_never_panics(select in soup(14), condition in soup(14), group in soup(8)) {
        check_compile(&format!("{TABLE}\nCREATE MATERIALIZED VIEW v AS SELECT student_id, {select} FROM behavior WHERE {condition} \
             GROUP BY student_id, tumble(interval '1 day') {group}"));
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        check_compile(&text);
        check_compile(&format!("{TABLE}{text}"));
        let _ = compile_scalar(&text, &[]);
    }

    #[test]
    fn well_typed_expressions_compile_and_never_panic(
        text in prop::strategy::Union::new(expressions(4)),
        rows in prop::collection::vec(row(), 1..4),
    ) {
        let columns = COLUMNS.map(|(name, ty)| (name.to_owned(), ty));
        match compile_scalar(&text, &columns) {
            Ok(expr) => {
                for row in &rows {
                    if let Ok(Value::Double(x)) = expr.eval(row) {
                        prop_assert!(x.is_finite(), "{} gives {}", text, x);
                    }
                    if let Ok(value) = expr.eval(row) {
                        let _ = value.to_text();
                    }
                }
            }
            // A literal that is no value of its type is found before any row.
            Err(faults) => prop_assert!(
                faults.iter().all(|f| f.message.starts_with("invalid input syntax") || f.message.starts_with("LIKE pattern")),
                "{}: {:?}", text, faults),
        }
    }
}

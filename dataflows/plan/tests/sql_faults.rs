//! Wrong SQL: the fault's message and the text it points at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;

use aulaflow_plan::sql::compile;
use faults::{GROUP, TABLE, check, check_selects, faults};

/// Conditions over the good table.
fn check_conditions(cases: &[(&str, &str, &str)]) {
    for (condition, message, at) in cases {
        let select = format!(
            "student_id, count(*) FROM behavior WHERE {condition} GROUP BY student_id, tumble(interval '1 day')"
        );
        check(&format!("{TABLE}CREATE MATERIALIZED VIEW v AS SELECT {select};"), message, at);
    }
}

#[test]
fn the_good_text_is_good() {
    let text = format!("{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, count(*) {GROUP};");
    assert_eq!(faults(&text), []);
}

#[test]
fn types_and_names() {
    check_conditions(&[
        ("event_typ = 'x'", "column \"event_typ\" does not exist", "event_typ"),
        ("event_type = \"answer\"", "column \"answer\" does not exist", "\"answer\""),
        ("b.value > 1", "there is no table \"b\" in FROM", "b"),
        ("event_type > 5", "operator does not exist: text > bigint", "event_type > 5"),
        ("event_type + 1 > 5", "operator does not exist: text + bigint", "event_type + 1"),
        ("(value || context) IS NULL", "operator does not exist: double precision || json", "value || context"),
        ("context = 'x'", "operator does not exist: json = unknown", "context = 'x'"),
        ("value", "argument of WHERE must be type boolean, not type double precision", "value"),
        ("NOT value", "argument of NOT must be type boolean, not type double precision", "value"),
        ("value > 1 AND event_type", "argument of AND must be type boolean, not type text", "event_type"),
        ("event_type IN ('a', 5)", "operator does not exist: text = bigint", "5"),
        ("value BETWEEN 1 AND occurred_at", "operator does not exist: double precision <= timestamp", "occurred_at"),
        ("occurred_at > 'yesterday'", "invalid input syntax for type timestamp: \"yesterday\"", "'yesterday'"),
        ("value > 'many'", "invalid input syntax for type double precision: \"many\"", "'many'"),
        ("value LIKE '1%'", "operator does not exist: double precision LIKE unknown", "value LIKE '1%'"),
        ("event_type LIKE 'x\\'", "LIKE pattern must not end with escape character", "'x\\'"),
        ("event_type LIKE 'x' ESCAPE 'ab'", "ESCAPE must be a text of one character, or empty for no escape", "'ab'"),
        ("lowr(event_type) = 'x'", "function lowr does not exist", "lowr(event_type)"),
        ("lower(value) = 'x'", "function lower(double precision) does not exist", "lower(value)"),
        ("length(event_type, 1) = 1", "function length(text, bigint) does not exist", "length(event_type, 1)"),
        ("date_trunc('hours ago', occurred_at) IS NULL", "timestamp units \"hours ago\" not recognized", "'hours ago'"),
        (
            "extract(fortnight from occurred_at) = 1",
            "timestamp units \"fortnight\" not recognized",
            "extract(fortnight from occurred_at)",
        ),
        (
            "extract(hour from value) = 1",
            "function extract(double precision) does not exist",
            "extract(hour from value)",
        ),
        ("CASE WHEN value > 1 THEN 'a' ELSE 2 END = 'a'", "invalid input syntax for type bigint: \"a\"", "'a'"),
        ("CASE WHEN value > 1 THEN event_type ELSE 2 END = 'a'", "CASE types text and bigint cannot be matched", "2"),
        ("coalesce(event_type, value) = 'a'", "COALESCE types text and double precision cannot be matched", "value"),
        ("CAST(occurred_at AS BIGINT) > 1", "cannot cast type timestamp to bigint", "CAST(occurred_at AS BIGINT)"),
        ("(context->'n')::bigint > 1", "cannot cast type json to bigint", "(context->'n')::bigint"),
        ("CAST(value AS UUID) IS NULL", "type uuid is not supported", "CAST(value AS UUID)"),
        ("value > interval 'soon'", "invalid input syntax for type interval: \"soon\"", "interval 'soon'"),
        ("event_type ~ 'x'", "operator ~ is not supported", "event_type ~ 'x'"),
        ("value > 99999999999999999999", "bigint out of range", "99999999999999999999"),
        ("event_type->>'k' = 'x'", "operator does not exist: text ->> unknown", "event_type->>'k'"),
        ("sum(value) > 3", "aggregate functions are not allowed in WHERE", "sum(value)"),
        ("value IN (SELECT 1)", "subqueries are not supported", "value IN (SELECT 1"),
        ("EXISTS (SELECT 1)", "subqueries are not supported", "SELECT 1"),
    ]);
}

#[test]
fn everything_wrong_in_one_expression_is_said() {
    let text = format!(
        "{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, sum(vaule), count(*) AS window FROM behavior \
         WHERE event_typ = 'x' AND value > 'many' GROUP BY student_id, hop(interval '2 hours', interval '3 hours')"
    );
    let found: Vec<(String, String)> = faults(&text).into_iter().map(|(message, at, _)| (message, at)).collect();
    let expected = [
        ("column \"vaule\" does not exist", "vaule"),
        ("an output cannot be called \"window\"", "window"),
        ("column \"event_typ\" does not exist", "event_typ"),
        ("invalid input syntax for type double precision: \"many\"", "'many'"),
        ("the window's size must be a multiple of its slide", "hop(interval '2 hours', interval '3 hours')"),
    ];
    assert_eq!(found, expected.map(|(message, at)| (message.to_owned(), at.to_owned())));
}

#[test]
fn selects() {
    let group = GROUP;
    check_selects(&[
        (
            &format!("student_id, value {group}"),
            "column \"value\" must appear in the GROUP BY clause or be used in an aggregate function",
            "value",
        ),
        (
            &format!("student_id, value + count(*) AS x {group}"),
            "column \"value\" must appear in the GROUP BY clause or be used in an aggregate function",
            "value",
        ),
        (&format!("count(*) {group}"), "SELECT must hold student_id", "SELECT"),
        (&format!("student_id {group}"), "the view has no outputs", "SELECT"),
        (&format!("student_id AS who, count(*) {group}"), "student_id keeps its name: it is the profile's key", "who"),
        (&format!("student_id, student_id, count(*) {group}"), "student_id is selected twice", "student_id"),
        (&format!("* {group}"), "SELECT * is not supported in a view", "*"),
        (&format!("student_id, count(*), count(value) {group}"), "output \"count\" is named twice", "count(value)"),
        (&format!("student_id, count(*) + 1 {group}"), "this output needs a name", "count(*) + 1"),
        (
            &format!("student_id, count(*) AS updated_at {group}"),
            "an output cannot be called \"updated_at\"",
            "updated_at",
        ),
        (
            &format!("student_id, count(*) AS \"N events\" {group}"),
            "\"N events\" is not a valid output name",
            "\"N events\"",
        ),
        (
            &format!("student_id, interval '1 day' * count(*) AS x {group}"),
            "an output cannot be interval",
            "interval '1 day' * count(*)",
        ),
        (
            &format!("student_id, tumble(interval '1 day') AS w, count(*) {group}"),
            "tumble stands only in GROUP BY",
            "tumble(interval '1 day')",
        ),
        (&format!("DISTINCT student_id, count(*) {group}"), "SELECT DISTINCT is not supported in a view", "DISTINCT"),
        (
            &format!("student_id, count(*) {group} HAVING count(*) > 1"),
            "HAVING is not supported in a view",
            "count(*) > 1",
        ),
        (&format!("student_id, count(*) {group} ORDER BY 1"), "ORDER BY is not supported in a view", "1"),
        (&format!("student_id, count(*) {group} LIMIT 10"), "LIMIT is not supported in a view", "10"),
        (
            &format!("student_id, count(*) {group} UNION SELECT student_id, count(*) {group}"),
            "UNION is not supported in a view",
            "UNION",
        ),
        (
            &format!("student_id, count(*) {group} FOR UPDATE"),
            "the SELECT has a clause that is not supported in a view",
            "SELECT",
        ),
    ]);
}

#[test]
fn from() {
    check_selects(&[
        (
            "student_id, count(*) FROM behaviour GROUP BY student_id, tumble(interval '1 day')",
            "table \"behaviour\" does not exist",
            "behaviour",
        ),
        (
            "student_id, count(*) FROM public.behavior GROUP BY student_id, tumble(interval '1 day')",
            "a table is named without a schema",
            "public.behavior",
        ),
        ("student_id, count(*) GROUP BY student_id, tumble(interval '1 day')", "FROM is missing", "SELECT"),
        (
            "student_id, count(*) FROM behavior a JOIN behavior b ON true GROUP BY student_id, tumble(interval '1 day')",
            "JOIN is not supported in a view",
            "behavior b",
        ),
        (
            "student_id, count(*) FROM behavior, behavior GROUP BY student_id, tumble(interval '1 day')",
            "several tables in FROM are not supported in a view",
            "behavior",
        ),
        (
            "student_id, count(*) FROM (SELECT 1) x GROUP BY student_id, tumble(interval '1 day')",
            "a subquery in FROM is not supported in a view",
            "SELECT 1) x",
        ),
    ]);
}

#[test]
fn windows() {
    check_selects(&[
        ("student_id, count(*) FROM behavior", "GROUP BY is missing", "SELECT"),
        ("student_id, count(*) FROM behavior GROUP BY student_id", "GROUP BY must hold a window", "student_id"),
        (
            "student_id, count(*) FROM behavior GROUP BY tumble(interval '1 day')",
            "GROUP BY must hold student_id",
            "tumble(interval '1 day')",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, event_type, tumble(interval '1 day')",
            "a view groups by student_id and a window only",
            "event_type",
        ),
        ("student_id, count(*) FROM behavior GROUP BY ALL", "a view groups by student_id and a window", "GROUP"),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumbel(interval '1 day')",
            "unknown window \"tumbel\"",
            "tumbel(interval '1 day')",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, hop(interval '1 day')",
            "hop takes two intervals, and a time zone if wanted",
            "hop(interval '1 day')",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumble('1 day')",
            "a window's length is an interval literal",
            "'1 day'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumble(interval '1 month')",
            "months and years are not all of one length, so a window cannot be so long",
            "interval '1 month'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumble(interval '-1 day')",
            "a window's length must be positive",
            "interval '-1 day'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, hop(interval '10 ms', interval '1 s')",
            "a window's length must be at least 1 second",
            "interval '10 ms'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, hop(interval '1 second', interval '7 days')",
            "the window has 604800 panes; at most 10000 are allowed",
            "hop(interval '1 second', interval '7 days')",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, hop(interval '7 days', interval '1 day')",
            "the window's slide is longer than its size",
            "hop(interval '7 days', interval '1 day')",
        ),
    ]);
}

#[test]
fn view_statements() {
    let select = format!("SELECT student_id, count(*) {GROUP}");
    for (view, message, at) in [
        ("CREATE VIEW v AS", "a feature is a materialized view", "VIEW"),
        ("CREATE OR REPLACE MATERIALIZED VIEW v AS", "only a plain CREATE MATERIALIZED VIEW is supported", "CREATE"),
        ("CREATE MATERIALIZED VIEW v (a, b) AS", "a view's columns are named in its SELECT", "a"),
        ("CREATE MATERIALIZED VIEW grades AS", "the name \"grades\" is reserved for a view that is built in", "grades"),
        ("CREATE MATERIALIZED VIEW behavior AS", "the name \"behavior\" is taken already", "behavior"),
        ("CREATE MATERIALIZED VIEW \"V\" AS", "\"V\" is not a valid view name", "\"V\""),
        ("CREATE MATERIALIZED VIEW a.v AS", "a view is named without a schema", "a.v"),
        ("CREATE MATERIALIZED VIEW v WITH (serv = true) AS", "unknown option \"serv\"", "serv"),
        ("CREATE MATERIALIZED VIEW v WITH (serve = 5) AS", "option \"serve\" must be true or false", "5"),
        ("CREATE MATERIALIZED VIEW v WITH (serve = true, serve = true) AS", "option \"serve\" is given twice", "serve"),
        (
            "CREATE MATERIALIZED VIEW v WITH (explain = -1) AS",
            "option \"explain\" must be a whole number from 0 to 1000",
            "-1",
        ),
        ("CREATE MATERIALIZED VIEW v WITH (analytics = 'hourly') AS", "analytics cannot be 'hourly'", "'hourly'"),
        (
            "CREATE MATERIALIZED VIEW v WITH (scope = 'platform') AS",
            "scope = 'platform' is not supported yet",
            "'platform'",
        ),
        (
            "CREATE MATERIALIZED VIEW v AS WITH x AS (SELECT 1)",
            "WITH (a common table expression) is not supported in a view",
            "WITH x AS (SELECT 1)",
        ),
    ] {
        check(&format!("{TABLE}{view} {select};"), message, at);
    }
    let text = format!("{TABLE}CREATE MATERIALIZED VIEW {} AS {select};", "v".repeat(64));
    check(&text, &format!("\"{}\" is not a valid view name", "v".repeat(64)), &"v".repeat(64));
    check(&format!("{TABLE}DROP TABLE behavior;"), "this statement is not supported", "DROP");
}

#[test]
fn table_statements() {
    let options = "connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at'";
    let columns = "event_id TEXT, student_id TEXT, occurred_at TIMESTAMP";
    for (columns, options, message, at) in [
        (
            "event_id TEXT, occurred_at TIMESTAMP, event_tipe TEXT",
            options,
            "behaviour events have no field \"event_tipe\"",
            "event_tipe",
        ),
        ("occurred_at TIMESTAMP, value TEXT", options, "column \"value\" is double precision, not text", "value"),
        ("occurred_at TIMESTAMP, value NUMERIC(10, 2)", options, "type numeric(10,2) is not supported", "value"),
        ("occurred_at TIMESTAMP, value DOUBLE, value DOUBLE", options, "column \"value\" is declared twice", "value"),
        ("occurred_at TIMESTAMP NOT NULL", options, "a column has a name and a type, nothing else", "occurred_at"),
        (
            columns,
            "connector = 'files', topic = 'aula.behavior.v1', event_time = 'occurred_at'",
            "unknown connector 'files'",
            "'files'",
        ),
        (columns, "topic = 'aula.behavior.v1', event_time = 'occurred_at'", "option \"connector\" is missing", "t"),
        (columns, "connector = 'log', event_time = 'occurred_at'", "option \"topic\" is missing", "t"),
        (
            columns,
            "connector = 'log', topic = 'aula.events.v1', event_time = 'occurred_at'",
            "topic 'aula.events.v1' cannot be a source table",
            "'aula.events.v1'",
        ),
        (columns, "connector = 'log', topic = 'aula.behavior.v1'", "option \"event_time\" is missing", "t"),
        (
            columns,
            "connector = 'log', topic = 'aula.behavior.v1', event_time = 'event_id'",
            "event_time must name a timestamp column; \"event_id\" is text",
            "'event_id'",
        ),
        (
            columns,
            "connector = 'log', topic = 'aula.behavior.v1', event_time = 'occured_at'",
            "column \"occured_at\" does not exist",
            "'occured_at'",
        ),
        (columns, &format!("{options}, latness = '1 s'"), "unknown option \"latness\"", "latness"),
        (
            columns,
            &format!("{options}, lateness = '1 month'"),
            "option \"lateness\" must be a duration such as '10 minutes', of at most 1000 days, without months or years",
            "'1 month'",
        ),
        (columns, &format!("{options}, dedupe = 'student_id'"), "dedupe must be 'event_id'", "'student_id'"),
        (columns, &format!("{options}, dedupe_horizon = '1 day'"), "dedupe_horizon needs dedupe", "dedupe_horizon"),
        (
            "occurred_at TIMESTAMP",
            &format!("{options}, dedupe = 'event_id'"),
            "column \"event_id\" does not exist",
            "'event_id'",
        ),
    ] {
        check(&format!("CREATE TABLE t ({columns}) WITH ({options});"), message, at);
    }
    check(
        &format!("CREATE TEMPORARY TABLE t ({columns}) WITH ({options});"),
        "only a plain CREATE TABLE is supported",
        "CREATE",
    );
}

#[test]
fn synonyms_are_the_same() {
    let text = "create table if not exists B (EVENT_ID varchar, Student_Id string, event_type character varying,
          value double precision, occurred_at timestamp with time zone, context jsonb)
        with (connector = 'kafka', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = interval '1 minute')";
    check(text, "only a plain CREATE TABLE is supported", "create");
    assert_eq!(faults(&text.replace("if not exists", "")), []);
}

#[test]
fn syntax_errors_do_not_hide_other_statements() {
    let text = "CREATE TABLE t (a TEXT;\nCREATE MATERIALIZED VIEW v AS SELECT student_id, count(*) FROM t GROUP BY x;
        CREATE MATERIALIZED VIEW grades AS SELECT student_id, FROM missing;\nSELEC 1;\nDROP TABLE x;";
    let found: Vec<(String, String)> = faults(text).into_iter().map(|(message, at, _)| (message, at)).collect();
    let expected = [
        ("syntax error: expected: ',' or ')' after column definition, found: EOF", ""),
        ("syntax error: expected an expression, found: FROM", "FROM"),
        ("syntax error: expected: an SQL statement, found: SELEC", "SELEC"),
        ("this statement is not supported", "DROP"),
    ];
    assert_eq!(found, expected.map(|(message, at)| (message.to_owned(), at.to_owned())));
    check("CREATE TABLE t 'x", "unterminated string literal", "'");
    check(
        "CREATE TABLE \"tä😀\" (1 b);",
        "syntax error: expected: column name or constraint definition, found: 1",
        "1",
    );
}

#[test]
fn deep_and_long_texts_are_refused() {
    let nested = format!(
        "{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, {}1{} AS x {GROUP}",
        "(".repeat(500),
        ")".repeat(500)
    );
    assert_eq!(faults(&nested)[0].0, "the statement is nested too deeply");
    let sum = vec!["count(*)"; 400].join(" + ");
    let text = format!("{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, {sum} AS x {GROUP}");
    assert_eq!(faults(&text)[0].0, "the expression is nested more than 200 deep");
    let long = format!(
        "{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, {} AS x {GROUP}",
        vec!["1"; 15_000].join(" + ")
    );
    assert_eq!(faults(&long)[0].0, "the file is too long: more than 20000 tokens");
    let all = vec!["value > 1"; 3000].join(" OR ");
    let text = format!(
        "{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, count(*) FROM behavior WHERE {all} GROUP BY student_id, tumble(interval '1 day')"
    );
    assert_eq!(faults(&text), []);
}

#[test]
fn helps_name_what_is_near() {
    let near = |text: &str, help: &str| {
        let found = faults(text);
        assert!(found.iter().any(|(_, _, h)| h.contains(help)), "{text}: {found:#?}");
    };
    let where_ = |condition: &str| {
        format!(
            "{TABLE}CREATE MATERIALIZED VIEW v AS SELECT student_id, count(*) FROM behavior WHERE {condition} GROUP BY student_id, tumble(interval '1 day')"
        )
    };
    near(&where_("event_typ = 'x'"), "did you mean \"event_type\"?");
    near(&where_("event_type = \"answer\""), "texts stand in single quotes");
    near(&where_("lowr(event_type) = 'x'"), "did you mean \"lower\"?");
    near(&where_("date_trunc('hor', occurred_at) IS NULL"), "did you mean \"hour\"?");
    near(&where_("context = 'x'"), "->>");
    near(&TABLE.replace("lateness", "latness"), "did you mean \"lateness\"?");
    near(&where_("true").replace("FROM behavior", "FROM behaviour"), "did you mean \"behavior\"?");
    near(&where_("true").replace("tumble", "tumbel"), "did you mean \"tumble\"?");
    let select = |output: &str| where_("true").replace("count(*)", output);
    near(&select("stdev_pop(value)"), "did you mean \"stddev_pop\"?");
    near(&select("cuont(*)"), "did you mean \"count\"?");
    near(&select("cuont(distinct value)"), "did you mean \"count\"?");
    near(&select("min(context)"), "context->>'key'");
    near(&select("min(distinct value)"), "min(x) is the same without distinct");
    near(&select("sum(context)"), "CAST(context->>'key' AS DOUBLE)");
    near(&select("max(window_end)"), "outside of aggregates");
    near(&where_("tenant_id = 'x'"), "no view sees those of another tenant");
    let window = |window: &str| where_("true").replace("tumble(interval '1 day')", window);
    near(&window("tumble(occurred_at, interval '1' day)"), "tumble(interval '1' day)");
    near(&window("hop(interval '7 days', interval '1 day')"), "hop(interval '1 day', interval '7 days')?");
    near(&window("session(interval '1 hour', interval '1 day')"), "WITH (horizon = ");
    near(&window("tumble('1 day')"), "INTERVAL '1 day'");
    for (zone, meant) in [
        ("America/Mexico_Citi", "'America/Mexico_City'"),
        ("mexico city", "'America/Mexico_City'"),
        ("Europe/Madird", "'Europe/Madrid'"),
        ("Mexico/Tijuana", "'America/Tijuana'"),
        ("-06:00", "an IANA name"),
        ("", "an IANA name"),
    ] {
        near(&window(&format!("tumble(interval '1 day', '{zone}')")), meant);
    }
}

#[test]
fn files_see_each_other() {
    let view = format!("CREATE MATERIALIZED VIEW v AS SELECT student_id, count(*) {GROUP};");
    let files = [("a.sql".to_owned(), view.clone()), ("b.sql".to_owned(), TABLE.to_owned())];
    let (tables, views) = compile(&files).unwrap();
    assert_eq!((tables.len(), views.len(), views[0].source), (1, 1, aulaflow_plan::sql::Relation::Table(0)));
    let twice = [files[0].clone(), files[1].clone(), ("c.sql".to_owned(), view)];
    let faults = compile(&twice).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].0, faults[0].1.message.as_str()), (2, "the name \"v\" is taken already"));
}

//! Wrong aggregates, sessions, time zones, views over views and views over grades: the fault's message and the text it
//! points at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;

use faults::{GROUP, TABLE, check, check_selects, faults};
use proptest::prelude::*;

#[test]
fn aggregates() {
    let group = GROUP;
    check_selects(&[
        (&format!("student_id, sum(count(*)) AS x {group}"), "aggregate function calls cannot be nested", "count(*)"),
        (&format!("student_id, sum(event_type) {group}"), "function sum(text) does not exist", "sum(event_type)"),
        (&format!("student_id, min(context) {group}"), "function min(json) does not exist", "min(context)"),
        (
            &format!("student_id, max(occurred_at - TIMESTAMP '2026-01-01') {group}"),
            "function max(interval) does not exist",
            "max(occurred_at - TIMESTAMP '2026-01-01')",
        ),
        (&format!("student_id, min(value > 1) {group}"), "function min(boolean) does not exist", "min(value > 1)"),
        (&format!("student_id, first(context) {group}"), "function first(json) does not exist", "first(context)"),
        (
            &format!("student_id, stddev_pop(event_type) {group}"),
            "function stddev_pop(text) does not exist",
            "stddev_pop(event_type)",
        ),
        (
            &format!("student_id, regr_slope(value) {group}"),
            "regr_slope takes two expressions, y and x",
            "regr_slope(value)",
        ),
        (
            &format!("student_id, regr_slope(value, occurred_at) {group}"),
            "function regr_slope(double precision, timestamp) does not exist",
            "regr_slope(value, occurred_at)",
        ),
    ]);
}

#[test]
fn calls_of_aggregates() {
    let group = GROUP;
    check_selects(&[
        (&format!("student_id, last(*) {group}"), "last takes one expression", "last(*)"),
        (
            &format!("student_id, last(value ORDER BY occurred_at) {group}"),
            "last takes no ORDER BY, LIMIT or other clause",
            "last(value ORDER BY occurred_at)",
        ),
        (
            &format!("student_id, last(value) FILTER (WHERE value > 1) {group}"),
            "FILTER is not supported for last",
            "last(value) FILTER (WHERE value > 1)",
        ),
        (
            &format!("student_id, count(*) FILTER (WHERE value) {group}"),
            "argument of FILTER must be type boolean, not type double precision",
            "value",
        ),
        (
            &format!("student_id, count(*) FILTER (WHERE count(*) > 1) {group}"),
            "aggregate function calls cannot be nested",
            "count(*)",
        ),
        (
            &format!("student_id, sum(distinct value) {group}"),
            "sum(distinct …) is not supported",
            "sum(distinct value)",
        ),
        (
            &format!("student_id, count(distinct context) {group}"),
            "function count(distinct json) does not exist",
            "count(distinct context)",
        ),
        (
            &format!("student_id, count(distinct value, event_type) {group}"),
            "count(distinct …) takes one expression",
            "count(distinct value, event_type)",
        ),
        (&format!("student_id, count(distinct *) {group}"), "count takes one expression", "count(distinct *)"),
        (&format!("student_id, cuont(*) {group}"), "function cuont does not exist", "cuont(*)"),
        (&format!("student_id, max(window_end) {group}"), "column \"window_end\" does not exist", "window_end"),
        (
            &format!("student_id, context AS c {group}"),
            "column \"context\" must appear in the GROUP BY clause or be used in an aggregate function",
            "context",
        ),
        (
            &format!("student_id, window_end - window_start AS length {group}"),
            "an output cannot be interval",
            "window_end - window_start",
        ),
        (
            &format!("student_id, count(*) AS window_start, window_start {group}"),
            "output \"window_start\" is named twice",
            "window_start",
        ),
        (&format!("student_id, sum(*) {group}"), "sum takes one expression", "sum(*)"),
        (&format!("student_id, count() {group}"), "count() of nothing: write count(*)", "count()"),
        (&format!("student_id, sum(value) OVER () {group}"), "window functions (OVER) are not supported", "sum(value)"),
    ]);
}

#[test]
fn sessions_and_zones() {
    check_selects(&[
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, session()",
            "session takes one interval, the gap",
            "session()",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, session(interval '30 minutes', interval '1 day')",
            "session takes one interval, the gap",
            "session(interval '30 minutes', interval '1 day')",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, session(interval '1 hour', 'UTC')",
            "a session has no time zone",
            "'UTC'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, session(interval '500 ms')",
            "a window's length must be at least 1 second",
            "interval '500 ms'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, session(interval '4000 days')",
            "a session's gap must be at most 10 years",
            "interval '4000 days'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumble(occurred_at, interval '1' day)",
            "tumble takes no column",
            "occurred_at",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '1 day', 'America/Mexico_City')",
            "a window in a time zone is made of whole days, not of 1 hour",
            "interval '1 hour'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_Citi')",
            "unknown time zone 'America/Mexico_Citi'",
            "'America/Mexico_Citi'",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, tumble(interval '1 day', UTC)",
            "a time zone is a text literal",
            "UTC",
        ),
        (
            "student_id, count(*) FROM behavior GROUP BY student_id, hop(interval '1 day', 'UTC')",
            "hop takes two intervals, and a time zone if wanted",
            "hop(interval '1 day', 'UTC')",
        ),
    ]);
}

/// Views over the good table and a few good views: `daily`, `hopping`, `sessions`, `present`, `trend`.
fn check_stacked(cases: &[(&str, &str, &str)]) {
    let views = [
        ("daily", "count(*) AS n FROM behavior GROUP BY student_id, tumble(interval '1 day')"),
        ("hopping", "count(*) AS n FROM behavior GROUP BY student_id, hop(interval '1 day', interval '2 days')"),
        ("sessions", "count(*) AS n FROM behavior GROUP BY student_id, session(interval '1 hour')"),
        ("fortnights", "count(*) AS n FROM behavior GROUP BY student_id, tumble(interval '2 days', 'UTC')"),
        ("clashing", "count(*) AS window_end FROM behavior GROUP BY student_id, tumble(interval '1 day')"),
        ("present", "avg(score) AS n FROM grades GROUP BY student_id"),
        ("trend", "avg(n) AS n FROM daily GROUP BY student_id, tumble(interval '1 day')"),
    ];
    let all: String = views
        .iter()
        .map(|(name, select)| format!("CREATE MATERIALIZED VIEW {name} AS SELECT student_id, {select};\n"))
        .collect();
    for (view, message, at) in cases {
        check(&format!("{TABLE}{all}CREATE MATERIALIZED VIEW {view};"), message, at);
        check(&format!("{TABLE}CREATE MATERIALIZED VIEW {view};{all}"), message, at);
    }
}

#[test]
fn views_over_views() {
    check_stacked(&[
        (
            "v AS SELECT student_id, max(n) FROM trend GROUP BY student_id, tumble(interval '1 day')",
            "view \"trend\" itself reads a view: views can be stacked two deep",
            "trend",
        ),
        (
            "v AS SELECT student_id, max(n) FROM hopping GROUP BY student_id, tumble(interval '1 day')",
            "view \"hopping\" has hop windows, which overlap: each event would count several times",
            "hopping",
        ),
        (
            "v AS SELECT student_id, max(n) FROM present GROUP BY student_id, tumble(interval '1 day')",
            "view \"present\" reads grades, which have no windows that another view could read",
            "present",
        ),
        (
            "v AS SELECT student_id, max(n) FROM clashing GROUP BY student_id, tumble(interval '1 day')",
            "view \"clashing\" has an output \"window_end\", the name of its window's own bound",
            "clashing",
        ),
        (
            "v AS SELECT student_id, max(n) FROM v GROUP BY student_id, tumble(interval '1 day')",
            "view \"v\" reads itself",
            "v",
        ),
        (
            "v AS SELECT student_id, max(n) FROM dayly GROUP BY student_id, tumble(interval '1 day')",
            "table \"dayly\" does not exist",
            "dayly",
        ),
        (
            "v AS SELECT student_id, max(n) FROM daily GROUP BY student_id, hop(interval '1 hour', interval '1 day')",
            "the slide of 1 hour must be a multiple of 1 day, the window of the view that is read",
            "hop(interval '1 hour', interval '1 day')",
        ),
        (
            "v AS SELECT student_id, max(n) FROM daily GROUP BY student_id, tumble(interval '36 hours')",
            "the size of 36 hours must be a multiple of 1 day, the window of the view that is read",
            "tumble(interval '36 hours')",
        ),
        (
            "v AS SELECT student_id, max(n) FROM daily GROUP BY student_id, tumble(interval '1 day', 'UTC')",
            "the time zones differ: 'UTC' here, none in the view that is read",
            "tumble(interval '1 day', 'UTC')",
        ),
        // Two weeks start on a Monday, which is no start of two days.
        (
            "v AS SELECT student_id, max(n) FROM fortnights GROUP BY student_id, tumble(interval '14 days', 'UTC')",
            "the size of 14 days must be a multiple of 2 days, the window of the view that is read",
            "tumble(interval '14 days', 'UTC')",
        ),
    ]);
}

#[test]
fn what_views_over_views_say() {
    check_stacked(&[
        (
            "v WITH (explain = 5) AS SELECT student_id, max(n) FROM daily GROUP BY student_id, tumble(interval '1 day')",
            "a view over a view has no events to explain it with",
            "explain",
        ),
        (
            "v WITH (horizon = '1 day') AS SELECT student_id, max(n) FROM daily \
             GROUP BY student_id, tumble(interval '1 day')",
            "only a view with a session window has a horizon",
            "horizon",
        ),
        (
            "v WITH (horizon = '1 minute') AS SELECT student_id, max(n) FROM sessions \
             GROUP BY student_id, session(interval '1 hour')",
            "the horizon is shorter than the gap of 1 hour",
            "horizon",
        ),
        (
            "v AS SELECT student_id, max(n) FROM daily WHERE student_id = 'x' GROUP BY student_id, tumble(interval '1 day')",
            "student_id can be selected and grouped here, and nothing else",
            "student_id",
        ),
        (
            "v AS SELECT student_id, max(value) FROM daily GROUP BY student_id, tumble(interval '1 day')",
            "column \"value\" does not exist",
            "value",
        ),
        (
            "v AS SELECT student_id, daily.window_end FROM daily GROUP BY student_id, tumble(interval '1 day')",
            "column \"window_end\" must appear in the GROUP BY clause or be used in an aggregate function",
            "daily.window_end",
        ),
    ]);
}

#[test]
fn circles_of_views() {
    let view = |name: &str, from: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {name} AS SELECT student_id, count(*) FROM {from} GROUP BY student_id, tumble(interval '1 day');"
        )
    };
    let found = faults(&[view("a", "b"), view("b", "c"), view("c", "a"), view("d", "a")].concat());
    let messages: Vec<&str> = found.iter().map(|(message, ..)| message.as_str()).collect();
    let expected = [
        "views read each other in a circle: a → b → c → a",
        "views read each other in a circle: b → c → a → b",
        "views read each other in a circle: c → a → b → c",
        "view \"a\" itself reads a view: views can be stacked two deep",
    ];
    assert_eq!(messages, expected);
    // Nothing more is said about a view that reads one with faults, whether it parses or not.
    let broken = view("a", "behavior").replace("count(*)", "cuont(*)");
    assert_eq!(faults(&[TABLE, &broken, &view("b", "a")].concat()).len(), 1);
    let unparsed = view("a", "behavior").replace("count(*)", "count(*");
    assert_eq!(faults(&[TABLE, &unparsed, &view("b", "a")].concat()).len(), 1);
}

#[test]
fn views_over_grades() {
    check_stacked(&[
        (
            "v AS SELECT student_id, avg(score) FROM grades GROUP BY student_id, tumble(interval '1 day')",
            "a view over grades has no window",
            "tumble(interval '1 day')",
        ),
        ("v AS SELECT student_id, avg(score) FROM grades", "GROUP BY is missing", "SELECT"),
        (
            "v AS SELECT student_id, avg(score) FROM grades GROUP BY student_id, subject",
            "a view groups by student_id only",
            "subject",
        ),
        (
            "v AS SELECT student_id, avg(scores) FROM grades GROUP BY student_id",
            "column \"scores\" does not exist",
            "scores",
        ),
        (
            "v AS SELECT student_id, avg(cohort.median) FROM grades GROUP BY student_id",
            "column \"cohort.median\" does not exist",
            "median",
        ),
        (
            "v AS SELECT student_id, avg(other.cohort.mean) FROM grades GROUP BY student_id",
            "there is no table \"other\" in FROM",
            "other",
        ),
        (
            "v AS SELECT student_id, avg(score), window_end FROM grades GROUP BY student_id",
            "a view over grades has no window",
            "window_end",
        ),
        (
            "v AS SELECT student_id, subject FROM grades GROUP BY student_id",
            "column \"subject\" must appear in the GROUP BY clause or be used in an aggregate function",
            "subject",
        ),
        (
            "v WITH (analytics = 'daily') AS SELECT student_id, avg(score) FROM grades GROUP BY student_id",
            "a view over grades is not kept for analytics",
            "analytics",
        ),
        (
            "v WITH (explain = 5) AS SELECT student_id, avg(score) FROM grades GROUP BY student_id",
            "a view over grades has no events to explain it with",
            "explain",
        ),
        (
            "v WITH (horizon = '1 day') AS SELECT student_id, avg(score) FROM grades GROUP BY student_id",
            "only a view with a session window has a horizon",
            "horizon",
        ),
        (
            "v AS SELECT student_id, avg(mean) FROM cohorts GROUP BY student_id",
            "cohorts cannot be read by a view: they hold other students' numbers",
            "cohorts",
        ),
        (
            "v AS SELECT student_id, avg(cohort.mean) FROM behavior GROUP BY student_id, tumble(interval '1 day')",
            "only the built-in table grades has a cohort",
            "cohort.mean",
        ),
    ]);
}

const VIEWS: &str = "CREATE MATERIALIZED VIEW daily WITH (serve = false) AS SELECT student_id, count(*) AS n,
  last(event_type) AS newest, window_end - max(occurred_at) < interval '1 hour' AS recent
  FROM behavior WHERE context->>'k' IN ('a', 'b') GROUP BY student_id, tumble(interval '1 day', 'Europe/Madrid');
CREATE MATERIALIZED VIEW trend AS SELECT student_id, regr_slope(n, extract(epoch FROM window_start)) AS slope, window_end
  FROM daily GROUP BY student_id, hop(interval '1 day', interval '28 days', 'Europe/Madrid');
CREATE MATERIALIZED VIEW sessions WITH (horizon = '30 days', explain = 5) AS SELECT student_id,
  count(distinct event_type) FILTER (WHERE value BETWEEN 1 AND 5) AS kinds FROM behavior
  GROUP BY student_id, session(interval '30 minutes');
CREATE MATERIALIZED VIEW standing AS SELECT student_id, avg(score - cohort.mean) AS above, max(updated_at) AS at
  FROM grades g WHERE g.passing GROUP BY student_id;
";

#[test]
fn the_views_that_are_damaged_are_good() {
    assert_eq!(faults(&format!("{TABLE}{VIEWS}")), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is done to the text, the answer is views or faults at places in it.
    #[test]
    fn damaged_views_are_answered(
        at in 0..VIEWS.len(),
        length in 0_usize..60,
        piece in prop_oneof![
            "[a-z0-9_(),.;'\"\n*<>=\u{f1}-]{0,6}",
            Just(" FROM daily ".to_owned()),
            Just("cohort.mean".to_owned()),
            Just("window_end".to_owned()),
            Just("session(interval '1 s')".to_owned()),
            Just("count(distinct *)".to_owned()),
        ],
    ) {
        let end = (at + length).min(VIEWS.len());
        let text = format!("{TABLE}{}{piece}{}", &VIEWS[..at], &VIEWS[end..]);
        for (message, ..) in faults(&text) {
            prop_assert!(!message.is_empty());
        }
    }
}

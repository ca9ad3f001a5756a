//! Views that are right: what they read, their windows, aggregates, outputs and types.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aulaflow_model::window::{WindowKind, WindowSpec, Zone};
use aulaflow_plan::sql::expr::Type;
use aulaflow_plan::sql::{AggregateFunction as F, Output, Relation, Table, View, columns, compile, reach};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

const TABLE: &str = "CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE,
  occurred_at TIMESTAMP, context JSON) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');\n";

fn all(text: &str) -> (Vec<Table>, Vec<View>) {
    let files = [("a.sql".to_owned(), format!("{TABLE}{text}"))];
    compile(&files).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"))
}

/// The one view of a text.
fn one(text: &str) -> View {
    all(text).1.pop().unwrap()
}

/// A view over the table with these outputs, over days.
fn outputs(select: &str) -> View {
    one(&format!(
        "CREATE MATERIALIZED VIEW v AS SELECT student_id, {select} FROM behavior \
         GROUP BY student_id, tumble(interval '1 day');"
    ))
}

/// The window of GROUP BY.
fn window(window: &str) -> WindowSpec {
    one(&format!(
        "CREATE MATERIALIZED VIEW v AS SELECT student_id, count(*) FROM behavior GROUP BY student_id, {window};"
    ))
    .schema
    .window
}

fn functions(view: &View) -> Vec<F> {
    view.aggregates.iter().map(|aggregate| aggregate.function).collect()
}

/// The texts of the view's aggregates.
fn texts(view: &View) -> Vec<String> {
    let columns = columns(Relation::Table(0), &all("").0, &[]);
    view.aggregates.iter().map(|aggregate| aggregate.canonical(&|i| columns[i].0.clone())).collect()
}

#[test]
fn aggregates_have_their_types() {
    for (call, function, ty) in [
        ("count(*)", F::CountRows, Type::Bigint),
        ("count(context)", F::Count, Type::Bigint),
        ("count(all value)", F::Count, Type::Bigint),
        ("count(distinct context->>'k')", F::CountDistinct, Type::Bigint),
        ("count(distinct value > 1)", F::CountDistinct, Type::Bigint),
        ("count(distinct date_trunc('day', occurred_at))", F::CountDistinct, Type::Bigint),
        ("sum(length(event_type))", F::SumInt, Type::Bigint),
        ("sum(value)", F::SumDecimal, Type::Double),
        ("avg(1)", F::Avg, Type::Double),
        ("min(length(event_type))", F::Min, Type::Bigint),
        ("min(value)", F::Min, Type::Double),
        ("max(event_type)", F::Max, Type::Text),
        ("max(occurred_at)", F::Max, Type::Timestamp),
        ("stddev_pop(value)", F::StddevPop, Type::Double),
        ("stddev_pop(1)", F::StddevPop, Type::Double),
        ("first(event_type)", F::First, Type::Text),
        ("first(value > 1)", F::First, Type::Boolean),
        ("last(occurred_at)", F::Last, Type::Timestamp),
        ("last(value)", F::Last, Type::Double),
        ("regr_slope(value, extract(epoch from occurred_at) / 86400)", F::RegrSlope, Type::Double),
        ("regr_slope(length(event_type), 1)", F::RegrSlope, Type::Double),
    ] {
        let view = outputs(&format!("{call} AS x"));
        assert_eq!((functions(&view), view.output_types.as_slice()), (vec![function], [ty].as_slice()), "{call}");
        assert!(matches!(view.outputs.as_slice(), [Output::Aggregate(0)]), "{call}");
    }
    let slope = outputs("regr_slope(value, length(event_type)) AS x");
    let types: Vec<Type> = slope.aggregates[0].arguments.iter().map(|argument| argument.ty()).collect();
    assert_eq!(types, [Type::Double, Type::Bigint]);
}

#[test]
fn aggregates_are_kept_once() {
    let view = outputs(
        "count(distinct event_type) AS kinds, count(event_type) AS n, count(DISTINCT event_type) + 1 AS more, \
         min(value), max(value), max(value) - min(value) AS spread",
    );
    assert_eq!(functions(&view), [F::CountDistinct, F::Count, F::Min, F::Max]);
    assert_eq!(view.schema.outputs, ["kinds", "n", "more", "min", "max", "spread"]);
    use Type::{Bigint, Double};
    assert_eq!(view.output_types, [Bigint, Bigint, Bigint, Double, Double, Double]);
    // The same in other words is the same.
    let view = outputs("sum(value), sum( behavior.VALUE ) + 1 AS b, sum(1 + 1) AS c, sum(2) AS d");
    assert_eq!(view.aggregates.len(), 2);
}

#[test]
fn filter_is_a_case() {
    for (filtered, same) in [
        ("count(*) FILTER (WHERE value > 1)", "count(CASE WHEN value > 1 THEN 1 END)"),
        ("count(value) FILTER (WHERE event_type = 'x')", "count(CASE WHEN event_type = 'x' THEN value END)"),
        ("sum(value) FILTER (WHERE event_type = 'x')", "sum(CASE WHEN event_type = 'x' THEN value END)"),
        ("count(distinct value) FILTER (WHERE value > 1)", "count(distinct CASE WHEN value > 1 THEN value END)"),
        (
            "regr_slope(value, length(event_type)) FILTER (WHERE value > 1)",
            "regr_slope(CASE WHEN value > 1 THEN value END, CASE WHEN value > 1 THEN length(event_type) END)",
        ),
        ("max(occurred_at) FILTER (WHERE true)", "max(occurred_at)"),
    ] {
        let view = outputs(&format!("{filtered} AS a, {same} AS b"));
        assert_eq!(view.aggregates.len(), 1, "{filtered}: {:?}", texts(&view));
    }
}

#[test]
fn sums_of_bigints_may_exceed_64_bits() {
    let whole = "CAST(value AS BIGINT)";
    let view = outputs(&format!(
        "sum({whole}) AS s, count(*) AS n, sum({whole}) * 2 AS d, max({whole}) AS m, count(*) + max({whole}) AS e"
    ));
    let wide: Vec<bool> = (0..view.outputs.len()).map(|output| view.is_wide(output)).collect();
    assert_eq!(wide, [true, false, true, false, false]);
}

#[test]
fn bounds_come_after_the_aggregates() {
    let view = outputs(
        "window_end AS until, count(*) AS n, extract(day from window_end - max(occurred_at)) AS days_since, \
         window_start, max(occurred_at) AS last_seen",
    );
    assert!(view.reads_bounds);
    assert_eq!(functions(&view), [F::CountRows, F::Max]);
    assert_eq!(view.schema.outputs, ["until", "n", "days_since", "window_start", "last_seen"]);
    use Type::{Bigint, Double, Timestamp};
    assert_eq!(view.output_types, [Timestamp, Bigint, Double, Timestamp, Timestamp]);
    let name = |i: usize| ["agg0", "agg1", "start", "end"][i].to_owned();
    let shown: Vec<String> = view
        .outputs
        .iter()
        .map(|output| match output {
            Output::Aggregate(index) => format!("#{index}"),
            Output::Expression(e) => e.canonical(&name),
        })
        .collect();
    assert_eq!(shown, ["\"end\"", "#0", "(exact (date_part{day} (- \"end\" \"agg1\")))", "\"start\"", "#1"]);
    assert!(!outputs("count(*)").reads_bounds);
    // Bounds alone, without an aggregate.
    let view = outputs("window_start");
    assert!(view.aggregates.is_empty() && matches!(view.outputs.as_slice(), [Output::Expression(_)]));
}

#[test]
fn windows_with_days_of_a_calendar() {
    let mexico = || Zone::new("America/Mexico_City");
    assert_eq!(window("tumble(interval '1 day', 'America/Mexico_City')"), WindowSpec::tumble(DAY_MS).in_zone(mexico()));
    assert_eq!(
        window("hop(interval '1 day', interval '1 week', 'America/Mexico_City')"),
        WindowSpec::hop(DAY_MS, 7 * DAY_MS).in_zone(mexico())
    );
    assert_eq!(window("hop(interval '1' hour, interval '7' day)"), WindowSpec::hop(HOUR_MS, 7 * DAY_MS));
    assert_eq!(window("tumble(interval '24 hours', 'UTC')").zone.unwrap().name(), "UTC");
}

#[test]
fn sessions_are_cut_into_panes() {
    let session = |gap: &str, horizon: &str| {
        let with = if horizon.is_empty() { String::new() } else { format!("WITH (horizon = '{horizon}')") };
        let window = one(&format!(
            "CREATE MATERIALIZED VIEW v {with} AS SELECT student_id, count(*) FROM behavior \
             GROUP BY student_id, session(interval '{gap}');"
        ))
        .schema
        .window;
        assert_eq!((window.kind, window.size_ms % window.slide_ms, &window.zone), (WindowKind::Session, 0, &None));
        assert!(window.slide_ms % 1000 == 0 && window.slide_ms < 49 * DAY_MS);
        (window.gap_ms, window.slide_ms, window.size_ms)
    };
    // 24 hours; a pane is as wide as the gap.
    assert_eq!(session("30 minutes", ""), (HOUR_MS / 2, HOUR_MS / 2, DAY_MS));
    // 24 hours in 256 panes are 337.5 seconds each.
    assert_eq!(session("1 second", ""), (1000, 338_000, 256 * 338_000));
    // Ten gaps.
    assert_eq!(session("1 day", ""), (DAY_MS, DAY_MS, 10 * DAY_MS));
    assert_eq!(session("1500 ms", "1 hour"), (1500, 15_000, HOUR_MS));
    // A year in 256 panes of 1.43 days.
    let pane_ms = (365 * DAY_MS / 256 + 999) / 1000 * 1000;
    assert_eq!(session("30 minutes", "365 days"), (HOUR_MS / 2, pane_ms, 256 * pane_ms));
    // Rounded up to whole panes.
    assert_eq!(session("2 hours", "25 hours"), (2 * HOUR_MS, 2 * HOUR_MS, 26 * HOUR_MS));
    // A pane is never wider than its instants can be kept.
    assert_eq!(session("100 days", ""), (100 * DAY_MS, 48 * DAY_MS, 21 * 48 * DAY_MS));
}

const DAILY: &str = "CREATE MATERIALIZED VIEW daily AS SELECT student_id, count(*) AS n, max(occurred_at) AS at, \
    min(event_type) AS kind FROM behavior GROUP BY student_id, tumble(interval '1 day');\n";

#[test]
fn views_read_views_whatever_their_order() {
    let trend = "CREATE MATERIALIZED VIEW trend AS SELECT student_id, \
        regr_slope(n, extract(epoch from window_start) / 86400) AS slope, last(kind) AS kind, window_end, \
        max(daily.window_end) AS until FROM daily WHERE n > 1 AND at < window_end \
        GROUP BY daily.student_id, hop(interval '1 day', interval '28 days');\n";
    for text in [format!("{DAILY}{trend}"), format!("{trend}{DAILY}")] {
        let (tables, views) = all(&text);
        let place = |name: &str| views.iter().position(|view| view.schema.name == name).unwrap();
        let (daily, trend) = (place("daily"), place("trend"));
        let view = &views[trend];
        assert_eq!(view.source, Relation::View(daily));
        assert_eq!(views[daily].source, Relation::Table(0));
        let expected = [
            ("n", Type::Bigint),
            ("at", Type::Timestamp),
            ("kind", Type::Text),
            ("window_start", Type::Timestamp),
            ("window_end", Type::Timestamp),
        ];
        let known = columns(view.source, &tables, &views);
        assert_eq!(known, expected.map(|(name, ty)| (name.to_owned(), ty)));
        use Type::{Double, Text, Timestamp};
        assert_eq!(view.output_types, [Double, Text, Timestamp, Timestamp]);
        assert!(view.reads_bounds && !views[daily].reads_bounds);
        let name = |i: usize| known[i].0.clone();
        assert_eq!(view.filter.as_ref().unwrap().canonical(&name), "(and (> \"n\" 1) (< \"at\" \"window_end\"))");
        assert_eq!(reach(view, &views), Some((0, 28 * DAY_MS)));
    }
    let files = [("a.sql".to_owned(), trend.to_owned()), ("b.sql".to_owned(), TABLE.to_owned() + DAILY)];
    assert_eq!(compile(&files).unwrap().1[0].source, Relation::View(1));
}

#[test]
fn what_can_be_stacked() {
    let inner = |window: &str, options: &str| {
        format!(
            "CREATE MATERIALIZED VIEW a WITH (serve = false{options}) AS SELECT student_id, count(*) AS n, window_start \
             FROM behavior GROUP BY student_id, {window};"
        )
    };
    let outer = |window: &str| {
        format!(
            "CREATE MATERIALIZED VIEW b AS SELECT student_id, count(*) AS windows, max(n) AS most, min(window_start) AS at \
             FROM a GROUP BY student_id, {window};"
        )
    };
    for (first, second) in [
        ("tumble(interval '1 day')", "tumble(interval '7 days')"),
        ("tumble(interval '1 day')", "session(interval '25 hours')"),
        ("tumble(interval '1 day')", "hop(interval '2 days', interval '4 days')"),
        ("tumble(interval '1 day', 'Asia/Tehran')", "hop(interval '7 days', interval '28 days', 'Asia/Tehran')"),
        ("tumble(interval '7 days', 'Asia/Tehran')", "tumble(interval '28 days', 'Asia/Tehran')"),
        ("session(interval '30 minutes')", "tumble(interval '1 day', 'Asia/Tehran')"),
        ("session(interval '30 minutes')", "hop(interval '1 second', interval '1 hour')"),
    ] {
        let (_, views) = all(&(inner(first, "") + &outer(second)));
        assert_eq!(views[1].source, Relation::View(0), "{first} {second}");
    }
    // What a session is made of may begin before the outer window does.
    let text = inner("session(interval '1 hour')", ", horizon = '2 days'") + &outer("tumble(interval '1 day')");
    let (_, views) = all(&text);
    assert_eq!(reach(&views[1], &views), Some((0, 3 * DAY_MS)));
    assert_eq!(reach(&views[0], &views), Some((0, 2 * DAY_MS)));
}

#[test]
fn grades_and_their_cohorts() {
    let (tables, views) =
        all("CREATE MATERIALIZED VIEW standing AS SELECT g.student_id, avg(score - cohort.mean) AS above_mean, \
         min(g.cohort.percentile) AS lowest, last(subject) AS newest, max(updated_at) AS at, \
         count(*) FILTER (WHERE NOT passing) AS failing, count(distinct period) AS periods, \
         sum(cohort.count) AS peers, stddev_pop(cohort.stddev) AS s, avg(cohort.pass_rate) AS rate \
         FROM grades g WHERE complete AND evaluations_count > 2 AND g.period LIKE '2026%' GROUP BY g.student_id;");
    let view = &views[0];
    assert_eq!((view.source, &view.schema.window), (Relation::Grades, &WindowSpec::present()));
    use Type::{Bigint, Double, Text, Timestamp};
    assert_eq!(view.output_types, [Double, Double, Text, Timestamp, Bigint, Bigint, Bigint, Double, Double]);
    let columns = columns(view.source, &tables, &views);
    assert_eq!(view.aggregates[0].canonical(&|i| columns[i].0.clone()), "(avg (- \"score\" \"cohort.mean\"))");
    assert_eq!(reach(view, &views), None);
}

#[test]
fn canonical_texts_are_of_the_meaning() {
    let columns = |order: [&str; 2]| {
        order.map(|name| (name.to_owned(), if name == "a" { Type::Bigint } else { Type::Text })).to_vec()
    };
    let canonical = |text: &str, order: [&str; 2]| {
        let columns = columns(order);
        let compiled = aulaflow_plan::sql::compile_scalar(text, &columns).unwrap_or_else(|f| panic!("{text}: {f:?}"));
        compiled.canonical(&|i| columns[i].0.clone())
    };
    // These texts are hashed and stored: where one of them changes, features are built again.
    for (text, expected) in [
        ("a = 1 AND b <> 'it''s' OR NOT a < 2", r#"(or (and (= "a" 1) (<> "b" 'it''s')) (not (< "a" 2)))"#),
        ("a IN (3, 1, 2, 1)", r#"(in{1 2 3} "a")"#),
        ("b NOT IN ('x', 'y', NULL)", r#"(not_in{'x''y'}+null "b")"#),
        ("a IN (a + 1, 2)", r#"(in "a" 2 (+ "a" 1))"#),
        ("a BETWEEN 1 AND 2", r#"(between "a" 1 2)"#),
        ("b LIKE 'x\\%%'", r#"(like{'x\%%'} "b")"#),
        ("b NOT ILIKE 'X_y%z'", r#"(not_like{i'x_y%z'} "b")"#),
        ("b LIKE b || '%' ESCAPE '#'", r#"(like{35} "b" (|| "b" '%'))"#),
        ("b IS DISTINCT FROM 'x'", r#"(distinct "b" 'x')"#),
        ("(a > 1) IS NOT TRUE", r#"(not_is_true (> "a" 1))"#),
        ("a IS NULL", r#"(is_null "a")"#),
        ("CASE WHEN a > 1 THEN 'x' END", r#"(case (> "a" 1) 'x' null)"#),
        ("CASE a WHEN 1 THEN 'x' ELSE b END", r#"(case_of "a" 1 'x' "b")"#),
        ("a * 2.5 - 1e300", r#"(- (* (cast{double precision} "a") 2.5d) 1e300d)"#),
        ("a % 2 / 3", r#"(/ (% "a" 2) 3)"#),
        ("coalesce(nullif(b, ''), upper(b))", r#"(coalesce (nullif "b" '') (upper "b"))"#),
        ("TRY_CAST(b AS TIMESTAMP) + interval '1 month 2 days 3 ms'", r#"(+ (try_cast{timestamp} "b") ~1/2/3)"#),
        ("date_trunc('weeks', b::timestamp)", r#"(date_trunc{week} (cast{timestamp} "b"))"#),
        (
            "extract(hours from timestamp '1970-01-01 00:00:01' + a * interval '1 s')",
            r#"(date_part{hour} (+ @1000 (* (cast{double precision} "a") ~0/0/1000)))"#,
        ),
        ("b::json->'k'->>0", r#"(->> (-> (cast{json} "b") 'k') 0)"#),
        ("greatest(a, 1)", r#"(greatest "a" 1)"#),
    ] {
        assert_eq!(canonical(text, ["a", "b"]), expected, "{text}");
        assert_eq!(canonical(text, ["b", "a"]), expected, "{text}");
    }
    // Long lists are hashed, in any order.
    let list: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let mut turned = list.clone();
    turned.reverse();
    let within = |list: &[String]| canonical(&format!("a IN ({})", list.join(",")), ["a", "b"]);
    assert_eq!(within(&list), within(&turned));
    assert_ne!(canonical("a > 1", ["a", "b"]), canonical("a > 1.0", ["a", "b"]));
    assert_ne!(canonical("b = 'a'", ["a", "b"]), canonical("b = 'A'", ["a", "b"]));
    let view = outputs("count(*), sum( value ) AS x, count(distinct event_type) AS k");
    assert_eq!(texts(&view), ["(count_rows)", "(sum_decimal \"value\")", "(count_distinct \"event_type\")"]);
}

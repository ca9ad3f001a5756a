//! Reading, checking and writing of configurations.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn school() -> Value {
    json!({
        "tenant": "school_123",
        "timezone": "America/Mexico_City",
        "period": [
            { "id": "2026-Q2", "start": "2026-04-16", "end": "2026-07-15" },
            { "id": "2026-Q1", "start": "2026-01-15", "end": "2026-04-15" },
        ],
        "rule": [
            { "subject": "*", "weights": "items", "min_passing": 40 },
            {
                "subject": "matematicas", "periods": ["*"], "weights": { "exam": "0.7", "homework": 0.2, "quiz": 0.1 },
                "min_passing": 60, "scale": { "min": 0, "max": 100 }, "rounding": { "mode": "half_up", "decimals": 2 },
                "absent_category": "renormalise", "category": { "homework": { "combine": "mean", "drop_lowest": 1 } },
            },
            { "subject": "matematicas", "periods": ["2026-Q2"], "weights": { "exam": 1 } },
        ],
    })
}

fn config() -> TenantConfig {
    TenantConfig::from_json(&school()).unwrap()
}

fn faults(value: Value) -> Vec<String> {
    TenantConfig::from_json(&value).unwrap_err().iter().map(ToString::to_string).collect()
}

fn rule_faults(value: Value) -> Vec<String> {
    Rule::from_json(&value, "").unwrap_err().iter().map(ToString::to_string).collect()
}

fn ms(text: &str) -> Millis {
    Millis::parse_rfc3339(text).unwrap()
}

fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

fn period(text: &str) -> PeriodId {
    PeriodId::new(text).unwrap()
}

#[test]
fn reads_the_contracts_example() {
    let config = config();
    assert_eq!(config.periods.iter().map(|period| period.id.as_str()).collect::<Vec<_>>(), ["2026-Q1", "2026-Q2"]);
    let rule = &config.rules[1];
    assert_eq!(rule.min_passing, Decimal::from_int(60));
    assert_eq!(rule.category(&EvaluationType::new("homework").unwrap()).drop_lowest, 1);
    assert_eq!(config.to_json()["rule"][1]["weights"], json!({ "exam": "0.7", "homework": "0.2", "quiz": "0.1" }));
    assert_eq!(config.to_json()["rule"][0]["subject"], json!("*"));
    assert_eq!(config.to_json()["rule"][1]["periods"], json!(["*"]));
    assert_eq!(config.to_json()["period"][0]["start"], json!("2026-01-15"));
    assert_eq!(TenantConfig::from_json(&config.to_json()), Ok(config));
}

#[test]
fn absent_keys_have_defaults() {
    let rule =
        Rule::from_json(&json!({ "subject": "*", "weights": { "exam": 1 }, "scale": { "min": 1, "max": 7 } }), "");
    let rule = rule.unwrap();
    assert_eq!(rule.min_passing.to_string(), "4.6");
    assert_eq!((rule.rounding.mode, rule.rounding.decimals), (RoundingMode::HalfUp, 2));
    assert_eq!((rule.absent_category, rule.extra_credit, &rule.periods), (AbsentCategory::Renormalise, false, &None));
    let rule = Rule::from_json(&json!({ "subject": "*", "weights": "items" }), "").unwrap();
    assert_eq!((rule.min_passing, rule.scale.max), (Decimal::from_int(60), Decimal::from_int(100)));
    let config = TenantConfig::from_json(&json!({ "tenant": "t" })).unwrap();
    assert_eq!(config, TenantConfig::empty(TenantId::new("t").unwrap()));
    assert_eq!(TenantConfig::from_json(&config.to_json()), Ok(config));
}

#[test]
fn periods_begin_and_end_at_local_midnight() {
    let config = config();
    for (at, expected) in [
        ("2026-01-15T05:59:59.999Z", None),
        ("2026-01-15T06:00:00Z", Some("2026-Q1")),
        ("2026-04-16T05:59:59.999Z", Some("2026-Q1")),
        ("2026-04-16T06:00:00Z", Some("2026-Q2")),
        ("2026-07-16T05:59:59.999Z", Some("2026-Q2")),
        ("2026-07-16T06:00:00Z", None),
        ("9999-01-01T00:00:00Z", None),
    ] {
        assert_eq!(config.period_at(ms(at)).map(PeriodId::as_str), expected, "{at}");
    }
    assert_eq!(
        config.period_bounds(&period("2026-Q1")),
        Some((ms("2026-01-15T06:00:00Z"), ms("2026-04-16T06:00:00Z")))
    );
}

#[test]
fn daylight_saving_time_moves_midnight() {
    let config = |zone: &str, start: &str, end: &str| {
        let periods = json!([{ "id": "p", "start": start, "end": end }]);
        TenantConfig::from_json(&json!({ "tenant": "t", "timezone": zone, "period": periods })).unwrap()
    };
    let p = period("p");
    let spain = config("Europe/Madrid", "2026-03-28", "2026-03-29");
    assert_eq!(spain.period_bounds(&p), Some((ms("2026-03-27T23:00:00Z"), ms("2026-03-29T22:00:00Z"))));
    // In Asunción the clocks went from 24:00 to 01:00: the day begins at one.
    let paraguay = config("America/Asuncion", "2023-10-01", "2023-10-01");
    assert_eq!(paraguay.period_bounds(&p), Some((ms("2023-10-01T04:00:00Z"), ms("2023-10-02T03:00:00Z"))));
    // Samoa left 2011-12-30 out: the day begins and ends where the next one begins.
    let samoa = config("Pacific/Apia", "2011-12-30", "2011-12-30");
    let next = ms("2011-12-30T10:00:00Z");
    assert_eq!(samoa.period_bounds(&p), Some((next, next)));
    assert_eq!(samoa.period_at(next), None);
}

#[test]
fn the_most_specific_rule_counts() {
    let config = config();
    let place = |s: &str, p: &str| {
        let rule = config.rule_for(&subject(s), &period(p))?;
        config.rules.iter().position(|other| Arc::ptr_eq(other, rule))
    };
    assert_eq!(place("matematicas", "2026-Q1"), Some(1));
    assert_eq!(place("matematicas", "2026-Q2"), Some(2));
    assert_eq!(place("historia", "2026-Q2"), Some(0));
    let only = json!({ "tenant": "t", "rule": [{ "subject": "a", "periods": ["x"], "weights": "items" }] });
    let only = TenantConfig::from_json(&only).unwrap();
    assert!(only.rule_for(&subject("a"), &period("x")).is_some());
    assert!(only.rule_for(&subject("a"), &period("y")).is_none());
    assert!(only.rule_for(&subject("b"), &period("x")).is_none());
}

#[test]
fn all_faults_of_a_configuration_come_at_once() {
    let mut value = school();
    value["timezone"] = json!("America/Mexico_Citi");
    value["color"] = json!("blue");
    value["period"][0]["start"] = json!("2026-04-15");
    value["period"][1]["id"] = json!("2026-Q2");
    value["rule"][2]["periods"] = json!(["2026-Q3"]);
    assert_eq!(
        faults(value),
        [
            "/color: unknown key `color`",
            "/timezone: unknown time zone `America/Mexico_Citi`, expected an IANA name such as `America/Mexico_City`; \
             did you mean `America/Mexico_City`?",
            "/period/1/id: the period `2026-Q2` is there twice",
            "/period/0/start: starts on 2026-04-15, within the period `2026-Q2` (2026-01-15 to 2026-04-15)",
            "/rule/2/periods/0: there is no period `2026-Q3`; did you mean `2026-Q2`?",
        ]
    );
    assert_eq!(faults(json!([])), ["expected a table, found an array"]);
    assert_eq!(
        faults(json!({ "tenant": "a/b" })),
        ["/tenant: `a/b` holds the character '/', which is not allowed here"]
    );
    assert_eq!(faults(json!({})), ["/tenant: is required"]);
}

#[test]
fn periods_are_checked() {
    let of = |periods: Value| faults(json!({ "tenant": "t", "period": periods }));
    assert_eq!(
        of(json!([{ "id": "a", "start": "2026-02-30", "end": "20260301" }, { "id": "*", "strat": 1 }])),
        [
            "/period/0/start: `2026-02-30` is not a date such as 2026-01-15",
            "/period/0/end: `20260301` is not a date such as 2026-01-15",
            "/period/1/strat: unknown key `strat`; did you mean `start`?",
            "/period/1/id: `*` stands for all periods and cannot be one",
            "/period/1/start: is required",
            "/period/1/end: is required",
        ]
    );
    assert_eq!(
        of(json!([{ "id": "a", "start": "2026-03-01", "end": "2026-02-01" }])),
        ["/period/0/end: ends on 2026-02-01, before its start on 2026-03-01"]
    );
    let year = json!([
        { "id": "year", "start": "2026-01-01", "end": "2026-12-31" },
        { "id": "q1", "start": "2026-01-01", "end": "2026-03-31" },
        { "id": "q3", "start": "2026-07-01", "end": "2026-09-30" },
    ]);
    assert_eq!(
        of(year),
        [
            "/period/0/start: starts on 2026-01-01, within the period `q1` (2026-01-01 to 2026-03-31)",
            "/period/2/start: starts on 2026-07-01, within the period `year` (2026-01-01 to 2026-12-31)",
        ]
    );
}

#[test]
fn periods_may_last_until_the_end_of_the_calendar() {
    for (zone, end) in [("UTC", "+010000-01-01T00:00:00.000Z"), ("America/New_York", "+010000-01-01T05:00:00.000Z")] {
        let periods = json!([{ "id": "open", "start": "2026-01-01", "end": "9999-12-31" }]);
        let config = json!({ "tenant": "t", "timezone": zone, "period": periods });
        let config = TenantConfig::from_json(&config).unwrap();
        assert_eq!(config.period_at(ms("9999-12-31T23:59:59Z")), Some(&period("open")), "{zone}");
        assert_eq!(config.period_bounds(&period("open")).unwrap().1.to_string(), end);
    }
    // The first year of RFC 3339, in a zone that is ahead of UTC: the period begins in the year before.
    let periods = json!([{ "id": "first", "start": "0000-01-01", "end": "0000-12-31" }]);
    let config = json!({ "tenant": "t", "timezone": "Asia/Tokyo", "period": periods });
    let config = TenantConfig::from_json(&config).unwrap();
    assert_eq!(config.period_at(ms("0000-01-01T00:00:00Z")), Some(&period("first")));
}

#[test]
fn rules_are_checked() {
    assert_eq!(rule_faults(json!({})), ["/subject: is required", "/weights: is required"]);
    assert_eq!(
        rule_faults(json!({
            "subject": 1, "periods": [], "weights": { "exam": -1, "": 1, "quiz": "0.0000001", "oral": true },
            "min_passing": 1e300, "scale": { "min": 5, "max": 5 }, "rounding": { "mode": "halfup", "decimals": 7 },
            "absent_category": "zeros", "extra_credit": "no", "wieghts": {},
            "category": { "exam": { "combine": "men", "drop_lowest": -1 }, "lab": 3 },
        })),
        [
            "/wieghts: unknown key `wieghts`; did you mean `weights`?",
            "/subject: expected a string, found a number",
            "/periods: must name at least one period; `[\"*\"]` is all of them",
            "/weights/: the name of the type must not be empty",
            "/weights/exam: must not be negative",
            "/weights/oral: expected a decimal number, found a boolean",
            "/weights/quiz: `0.0000001` has more than 6 fractional digits",
            "/scale: `min` (5) must be below `max` (5)",
            "/min_passing: `1e+300` is out of range; the magnitude must stay below 1000000000",
            "/rounding/mode: expected one of `half_up`, `half_even`, `down`, found `halfup`; did you mean `half_up`?",
            "/rounding/decimals: must be between 0 and 6",
            "/absent_category: expected one of `renormalise`, `zero`, found `zeros`; did you mean `zero`?",
            "/extra_credit: expected true or false, found a string",
            "/category/exam/combine: expected one of `mean`, `weighted`, `points`, found `men`; did you mean `mean`?",
            "/category/exam/drop_lowest: must be between 0 and 1000000",
            "/category/lab: expected a table, found a number",
        ]
    );
    let faulty = |changes: Value| {
        let mut rule = json!({ "subject": "a", "weights": { "homework": 1 } });
        rule.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        rule_faults(rule)
    };
    assert_eq!(
        faulty(json!({ "category": { "homewrk": {} } })),
        ["/category/homewrk: the type has no weight in `weights`; did you mean `homework`?"]
    );
    assert_eq!(
        faulty(json!({ "weights": "items", "category": { "homework": {} } })),
        ["/category: has no meaning with `weights = \"items\"`, which combines everything `weighted`"]
    );
    assert_eq!(faulty(json!({ "weights": {} })), ["/weights: must name at least one type with its weight"]);
    assert_eq!(
        faulty(json!({ "weights": "item" })),
        ["/weights: expected a table of weights or \"items\", found a string"]
    );
    assert_eq!(faulty(json!({ "min_passing": "100.1" })), ["/min_passing: must lie on the scale, 0 to 100"]);
    assert_eq!(faulty(json!({ "periods": ["a", "*"] })), ["/periods/1: `*` is all periods and stands alone"]);
    assert_eq!(faulty(json!({ "periods": ["a", "a"] })), ["/periods/1: the period `a` is named twice"]);
}

#[test]
fn two_rules_may_not_claim_the_same() {
    let rule = |subject: &str, periods: Value| json!({ "subject": subject, "periods": periods, "weights": "items" });
    let rules = json!([
        rule("a", json!(["*"])),
        rule("a", json!(["p", "q"])),
        rule("*", json!(["*"])),
        rule("a", json!(["r", "q"])),
        rule("a", json!(["*"])),
        rule("*", json!(["*"])),
        rule("b", json!(["q"])),
    ]);
    assert_eq!(
        faults(json!({ "tenant": "t", "rule": rules })),
        [
            "/rule/3/periods/1: `a` already has a rule for the period `q`, at /rule/1",
            "/rule/4/subject: `a` already has a rule for all periods, at /rule/0",
            "/rule/5/subject: `*` already has a rule for all periods, at /rule/2",
        ]
    );
}

#[test]
fn a_rule_may_get_its_subject_from_elsewhere() {
    let a = subject("a");
    let body = json!({ "weights": "items" });
    assert_eq!(Rule::from_json_for(Some(&a), &body, "").unwrap().subject, Some(a.clone()));
    assert_eq!(Rule::from_json_for(None, &body, "").unwrap().subject, None);
    let other = json!({ "subject": "b", "weights": "items" });
    let fault = Rule::from_json_for(Some(&a), &other, "").unwrap_err();
    assert_eq!(fault, [Fault::new("/subject", "this is the rule for `a`")]);
}

#[test]
fn rules_and_periods_can_be_replaced() {
    let old = config();
    let rule = |json: Value| Rule::from_json(&json, "").unwrap();
    let new = old.with_rule(rule(json!({ "subject": "matematicas", "weights": "items" }))).unwrap();
    assert_eq!(new.rules.len(), 2);
    assert_eq!(new.rule_for(&subject("matematicas"), &period("2026-Q2")).unwrap().weights, Weights::Items);
    assert_eq!(TenantConfig::from_json(&new.to_json()).unwrap(), new);
    let new = old.with_rule(rule(json!({ "subject": "historia", "weights": { "exam": 1 } }))).unwrap();
    assert_eq!(new.rules.len(), 4);
    assert_eq!(TenantConfig::from_json(&new.to_json()).unwrap(), new);
    let fault = old.with_rule(rule(json!({ "subject": "a", "periods": ["2026-Q9"], "weights": "items" }))).unwrap_err();
    assert_eq!(fault[0].pointer, "/periods/0");

    let list = json!([{ "id": "2026-Q2", "start": "2026-05-01", "end": "2026-07-15" }]);
    let new = old.with_periods(Period::list_from_json(&list, "").unwrap(), "").unwrap();
    assert_eq!(new.period_at(ms("2026-04-20T12:00:00Z")), None);
    assert_eq!(new.period_at(ms("2026-05-20T12:00:00Z")), Some(&period("2026-Q2")));
    assert_eq!(TenantConfig::from_json(&new.to_json()).unwrap(), new);
    let list = json!([{ "id": "x", "start": "2026-05-01", "end": "2026-07-15" }]);
    let fault = old.with_periods(Period::list_from_json(&list, "/p").unwrap(), "/p").unwrap_err();
    let detail = "the rule for `matematicas` names the period `2026-Q2`, which is not here";
    assert_eq!(fault, [Fault::new("/p", detail)]);
}

#[test]
fn versions_are_of_the_meaning() {
    let version = |json: Value| Rule::from_json_for(None, &json, "").unwrap().version();
    let base = version(json!({ "weights": { "exam": "0.70", "quiz": 0.3 } }));
    assert_eq!(base.len(), 14);
    assert!(base.starts_with("r-") && base[2..].bytes().all(|b| b.is_ascii_hexdigit()));
    // The same in other words; which grades it is for is no part of how they are computed.
    for same in [
        json!({ "category": { "exam": { "combine": "mean" } }, "weights": { "quiz": "0.3", "exam": 0.7 } }),
        json!({ "weights": { "exam": 0.7, "quiz": 0.3 }, "min_passing": "60.0", "rounding": { "mode": "half_up" } }),
        json!({ "weights": { "exam": 0.7, "quiz": 0.3 }, "periods": ["p"] }),
    ] {
        assert_eq!(version(same.clone()), base, "{same}");
    }
    let weights = json!({ "exam": 0.7, "quiz": 0.3 });
    let others = [
        json!({ "weights": "items" }),
        json!({ "weights": { "exam": 0.7, "quiz": 0.31 } }),
        json!({ "weights": { "exam": 0.7, "quis": 0.3 } }),
        json!({ "weights": weights, "min_passing": 61 }),
        json!({ "weights": weights, "min_passing": 60, "scale": { "max": 101 } }),
        json!({ "weights": weights, "rounding": { "mode": "down" } }),
        json!({ "weights": weights, "rounding": { "decimals": 3 } }),
        json!({ "weights": weights, "absent_category": "zero" }),
        json!({ "weights": weights, "extra_credit": true }),
        json!({ "weights": weights, "category": { "quiz": { "drop_lowest": 1 } } }),
        json!({ "weights": weights, "category": { "quiz": { "combine": "points" } } }),
    ];
    let versions: std::collections::BTreeSet<_> = others.iter().cloned().map(version).chain([base]).collect();
    assert_eq!(versions.len(), others.len() + 1);
}

#[test]
fn broken_json_is_one_fault() {
    let fault = TenantConfig::from_json_slice(b"{\"tenant\": ").unwrap_err();
    assert_eq!(fault, [Fault::new("", "is not JSON: EOF while parsing a value at line 1 column 11")]);
}

fn any_rule() -> impl Strategy<Value = Value> {
    let weights = prop_oneof![
        Just(json!("items")),
        prop::collection::btree_map("[a-z~/ é]{1,4}", 0..2_000_000_000_i64, 1..4).prop_map(|weights| {
            let text = |micros: i64| Decimal::from_micros(micros).to_string();
            json!(weights.into_iter().map(|(name, micros)| (name, text(micros))).collect::<BTreeMap<_, _>>())
        }),
    ];
    let rounding = (prop::sample::select(vec!["half_up", "half_even", "down"]), 0..=6);
    (weights, 0..=100, rounding, any::<bool>(), any::<bool>(), any::<bool>(), 0..5).prop_map(
        |(weights, passing, (mode, decimals), zero, extra_credit, some_periods, drop_lowest)| {
            let first = weights.as_object().and_then(|weights| weights.keys().next());
            let category =
                first.map_or(json!({}), |name| json!({ name: { "combine": "points", "drop_lowest": drop_lowest } }));
            json!({
                "weights": weights, "category": category, "min_passing": passing, "extra_credit": extra_credit,
                "rounding": { "mode": mode, "decimals": decimals },
                "absent_category": if zero { "zero" } else { "renormalise" },
                "periods": if some_periods { json!(["p0"]) } else { json!(["*"]) },
            })
        },
    )
}

fn any_config() -> impl Strategy<Value = Value> {
    let zone =
        prop::sample::select(vec!["UTC", "America/Mexico_City", "Asia/Kolkata", "Pacific/Apia", "europe/madrid"]);
    (zone, prop::collection::vec((0..200_i64, 0..100_i64), 0..5), prop::collection::vec(any_rule(), 0..4)).prop_map(
        |(zone, gaps, mut rules)| {
            let mut day = jiff::civil::date(2025, 1, 1);
            let mut periods = Vec::new();
            for (i, (gap, length)) in gaps.into_iter().enumerate() {
                let start = day + jiff::Span::new().days(gap);
                let end = start + jiff::Span::new().days(length);
                periods.push(json!({ "id": format!("p{i}"), "start": start.to_string(), "end": end.to_string() }));
                day = end.tomorrow().unwrap();
            }
            periods.reverse();
            for (i, rule) in rules.iter_mut().enumerate() {
                rule["subject"] = if i == 0 { json!("*") } else { json!(format!("s{i}")) };
                if periods.is_empty() {
                    rule["periods"] = json!(["anything"]);
                }
            }
            json!({ "tenant": "t", "timezone": zone, "period": periods, "rule": rules })
        },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "tenant",
        "timezone",
        "period",
        "rule",
        "id",
        "start",
        "end",
        "subject",
        "periods",
        "weights",
        "scale",
        "min",
        "max",
        "rounding",
        "decimals",
        "category",
        "exam",
        "combine",
        "drop_lowest",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["*", "items", "2026-01-01", "UTC", "exam", ""]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_config()) {
        let config = TenantConfig::from_json(&value).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        let written = serde_json::to_value(&config).unwrap();
        prop_assert_eq!(TenantConfig::from_json(&written), Ok(config.clone()));
        let bytes = serde_json::to_vec(&config).unwrap();
        prop_assert_eq!(TenantConfig::from_json_slice(&bytes), Ok(config));
    }

    /// The binary search says what the calendar says.
    #[test]
    fn period_at_is_the_local_date(value in any_config(), at in 1_700_000_000_000..1_800_000_000_000_i64) {
        let config = TenantConfig::from_json(&value).unwrap();
        let zone = jiff::tz::TimeZone::get(&config.timezone).unwrap();
        let date = jiff::Timestamp::from_millisecond(at).unwrap().to_zoned(zone).date();
        let expected = config.periods.iter().find(|period| period.start.0 <= date && date <= period.end.0);
        prop_assert_eq!(config.period_at(Millis(at)), expected.map(|period| &period.id));
    }

    #[test]
    fn nothing_panics(value in any_json()) {
        let _ = TenantConfig::from_json(&value);
        let _ = Rule::from_json(&value, "/x");
        let _ = Period::list_from_json(&value, "");
    }
}

fn scheduled_school() -> Value {
    let mut school = school();
    let rules = school["rule"].as_array_mut().unwrap();
    rules.push(json!({ "subject": "matematicas", "weights": "items", "effective_at": "2026-09-01T00:00:00Z" }));
    rules.push(json!({ "subject": "*", "weights": { "exam": 1 }, "effective_at": "2026-08-31T18:00:00-06:00" }));
    rules.push(json!({ "subject": "matematicas", "weights": { "quiz": 1 }, "effective_at": "2026-08-01T00:00:00Z" }));
    school
}

#[test]
fn scheduled_rules_replace_those_of_their_subject_when_their_time_comes() {
    let config = TenantConfig::from_json(&scheduled_school()).unwrap();
    assert_eq!((config.rules.len(), config.scheduled.len()), (3, 3));
    let weights = |at: &str, name: &str, id: &str| {
        let (config, _) = config.in_force(ms(at));
        config.rule_for(&subject(name), &period(id)).map(|rule| serde_json::to_value(&rule.weights).unwrap())
    };
    let (before, next) = config.in_force(ms("2026-07-31T23:59:59.999Z"));
    assert_eq!((&before, next), (&config, Some(ms("2026-08-01T00:00:00Z"))));
    assert_eq!(weights("2026-07-01T00:00:00Z", "matematicas", "2026-Q2"), Some(json!({ "exam": "1" })));
    // Both rules of the subject are gone, the one for a period as well.
    assert_eq!(weights("2026-08-01T00:00:00Z", "matematicas", "2026-Q2"), Some(json!({ "quiz": "1" })));
    assert_eq!(weights("2026-08-01T00:00:00Z", "other", "2026-Q1"), Some(json!("items")));
    assert_eq!(weights("2026-09-01T00:00:00Z", "matematicas", "2026-Q2"), Some(json!("items")));
    assert_eq!(weights("2026-09-01T00:00:00Z", "other", "2026-Q1"), Some(json!({ "exam": "1" })));
    let (after, next) = config.in_force(ms("2026-09-01T00:00:00Z"));
    assert_eq!((after.rules.len(), after.scheduled.len(), next), (2, 0, None));
    // Folding in steps is folding at once.
    let (step, _) = config.in_force(ms("2026-08-15T00:00:00Z"));
    assert_eq!(step.in_force(ms("2026-09-01T00:00:00Z")).0, after);
}

#[test]
fn schedules_are_written_and_read_back_and_older_records_have_none() {
    let config = TenantConfig::from_json(&scheduled_school()).unwrap();
    let json = config.to_json();
    assert_eq!(json["rule"][3]["effective_at"], "2026-08-01T00:00:00.000Z");
    assert_eq!(TenantConfig::from_json(&json).unwrap(), config);
    let plain = TenantConfig::from_json(&school()).unwrap();
    assert!(plain.scheduled.is_empty());
    assert!(!plain.to_json().to_string().contains("effective_at"));
}

#[test]
fn a_schedule_is_replaced_by_one_of_the_same_instant_and_kept_by_a_change_at_once() {
    let maths = subject("matematicas");
    let read = |value: Value| RuleChange::from_json_for(Some(&maths), &value, "").unwrap();
    let scheduled = |value: Value| {
        let RuleChange { rule, effective_at } = read(value);
        ScheduledRule { effective_at: effective_at.unwrap(), rule: Arc::new(rule) }
    };
    let at = "2026-09-01T00:00:00Z";
    let first = config().with_scheduled(scheduled(json!({ "weights": { "exam": 1 }, "effective_at": at }))).unwrap();
    let second = first.with_scheduled(scheduled(json!({ "weights": "items", "effective_at": at }))).unwrap();
    assert_eq!(second.scheduled.len(), 1);
    assert_eq!(second.scheduled[0].rule.weights, Weights::Items);
    let now = second.with_rule(read(json!({ "weights": { "quiz": 1 } })).rule).unwrap();
    assert_eq!((now.rules.len(), now.scheduled.len()), (2, 1));
    assert_eq!(now.without_scheduled(None), now);
    assert!(now.without_scheduled(Some(&maths)).scheduled.is_empty());
    let faults = config()
        .with_scheduled(scheduled(json!({ "weights": "items", "periods": ["2026-Q9"], "effective_at": at })))
        .unwrap_err();
    assert_eq!(faults[0].pointer, "/periods/0");
}

#[test]
fn wrong_schedules_are_named() {
    let mut school = school();
    let rules = school["rule"].as_array_mut().unwrap();
    let at = "2026-09-01T00:00:00Z";
    rules.push(json!({ "subject": "*", "weights": "items", "effective_at": "tomorrow" }));
    rules.push(json!({ "subject": "*", "weights": "items", "effective_at": at }));
    rules.push(json!({ "subject": "*", "weights": { "exam": 1 }, "effective_at": at }));
    assert_eq!(
        faults(school),
        [
            "/rule/3/effective_at: `tomorrow` is not an RFC 3339 time with an offset, such as 2026-03-02T15:04:05.120Z",
            "/rule/5/subject: `*` already has a rule for all periods, at /rule/4",
        ]
    );
    let at_once = rule_faults(json!({ "subject": "*", "weights": "items", "effective_at": at }));
    assert_eq!(at_once, ["/effective_at: unknown key `effective_at`"]);
}
